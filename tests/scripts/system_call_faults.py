"""Makes system calls of odyssey fail, one in each run, and looks at how it ends. By hand: it takes minutes, and needs strace.

    system_call_faults.py ODYSSEY [--commands adapt,study,fetch] [--positions N] [--seed N]

For every kind of call that a command makes, some of the calls are made to fail (evenly spread, those of the program's start
left out, which are the loader's), each in a run of its own, by each of the errors that such a call may give. A run must end
by itself with status 0, 1, 2 or 130, without a panic, and its result be whole or absent: with status 0 it is that of an
undisturbed run, and otherwise the same command, run again without a fault, gives that.

Prints a table of the runs, and one line a fault found on standard error. Exit status 1 where there are any.
"""

import argparse
import collections
import hashlib
import http.server
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent / "fixtures" / "models" / "gpt2_tied"
TIMEOUT = 120

# What such a call may answer; signals and memory are other tests' affair (a failed mmap is an allocation that fails).
ERRORS = {
    "openat": ["EMFILE", "EACCES", "ENOSPC", "EIO", "EINTR", "ESTALE"],
    "read": ["EIO", "EINTR", "ESTALE"],
    "pread64": ["EIO", "EINTR"],
    "write": ["ENOSPC", "EIO", "EINTR", "EDQUOT", "EFBIG"],
    "pwrite64": ["ENOSPC", "EIO"],
    "lseek": ["EIO"],
    "statx": ["EACCES", "EIO"],
    "newfstatat": ["EACCES", "EIO"],
    "fstat": ["EIO"],
    "getdents64": ["EIO", "EACCES"],
    "readlink": ["EIO", "EACCES"],
    "ftruncate": ["ENOSPC", "EIO"],
    "fsync": ["EIO", "ENOSPC", "EINVAL"],
    "fdatasync": ["EIO"],
    "rename": ["ENOSPC", "EACCES", "EIO"],
    "renameat": ["ENOSPC", "EACCES", "EIO"],
    "renameat2": ["ENOSPC", "EACCES", "EIO"],
    "link": ["EIO", "EPERM"],
    "linkat": ["EIO", "EPERM"],
    "symlink": ["EIO", "EPERM"],
    "symlinkat": ["EIO", "EPERM"],
    "mkdir": ["ENOSPC", "EACCES", "EIO"],
    "mkdirat": ["ENOSPC", "EACCES", "EIO"],
    "rmdir": ["EIO", "EACCES"],
    "unlink": ["EIO", "EACCES"],
    "unlinkat": ["EIO", "EACCES"],
    "chmod": ["EPERM", "EIO"],
    "fchmod": ["EPERM", "EIO"],
    "fchmodat": ["EPERM", "EIO"],
    "flock": ["ENOLCK", "EIO", "EINTR"],
    "fcntl": ["EMFILE", "EINTR"],
    "ioctl": ["EIO", "ENOTTY"],
    "dup": ["EMFILE"],
    "dup2": ["EMFILE"],
    "clone3": ["EAGAIN"],
    "clone": ["EAGAIN"],
    "socket": ["EMFILE", "EACCES"],
    "connect": ["ECONNREFUSED", "EINTR", "ENETUNREACH"],
    "sendto": ["EPIPE", "ECONNRESET"],
    "recvfrom": ["ECONNRESET", "EINTR"],
    "epoll_wait": ["EINTR"],
    "epoll_create1": ["EMFILE"],
    "eventfd2": ["EMFILE"],
}

STUDY = """
name = "small"
restart_control = false
[similarity]
features = "lexical"
permutations = 20
resamples = 20
samples = 8
reference_samples = 16
[[models]]
name = "base"
path = "model"
reference = "train.jsonl"
[[domains]]
path = "one"
[[domains]]
path = "two"
[[strategies]]
name = "full"
[strategies.recipe]
steps = 3
batch = 4
validations = 1
"""


def documents(seed: int, count: int) -> str:
    numbers = random.Random(seed)
    return "".join(json.dumps({"ids": [numbers.randint(1, 511) for _ in range(50)]}) + "\n" for _ in range(count))


def make_place(folder: Path) -> None:
    shutil.copytree(MODEL, folder / "model", ignore=shutil.ignore_patterns("golden*"))
    for seed, (name, count) in enumerate([("train", 40), ("valid", 6), ("test", 14)]):
        (folder / f"{name}.jsonl").write_text(documents(seed, count))
        for place in ("one", "two"):
            (folder / place).mkdir(exist_ok=True)
            (folder / place / f"{name}.jsonl").write_text(documents(10 * seed + len(place), count))
    (folder / "study.toml").write_text(STUDY)


class Hub(http.server.BaseHTTPRequestHandler):
    """The addresses of the hub that are asked for one model of small files."""

    commit = "0123456789abcdef0123456789abcdef01234567"
    files = {path.name: path.read_bytes() for path in sorted(MODEL.iterdir()) if not path.name.startswith("golden")}

    @staticmethod
    def oid(content: bytes) -> str:
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def log_message(self, *_arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        headers, status = {}, 200
        if path.startswith("/api/") and "/revision/" in path:
            body = json.dumps({"_id": "1", "id": "org/tiny", "sha": self.commit}).encode()
        elif path.startswith("/api/"):
            of = lambda name, content: {"type": "file", "oid": self.oid(content), "size": len(content), "path": name}
            body = json.dumps([of(*item) for item in self.files.items()]).encode()
        else:
            body = self.files.get(path.rsplit("/", 1)[1], b"")
            headers = {"ETag": f'"{self.oid(body)}"', "X-Repo-Commit": self.commit}
            if found := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                start, end = int(found[1]), min(int(found[2]) + 1, len(body))
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
                body, status = body[start:end], 206
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            try:
                self.wfile.write(body)
            except OSError:
                pass


COMMANDS = {
    "adapt": "adapt --model model --train train.jsonl --valid valid.jsonl --out adapted --batch 4 --steps 4 --lr 1e-3 "
    "--checkpoint-every 1 --resume",
    "study": "study run study.toml --out study",
    "fetch": "fetch org/tiny",
}


def whole(command: str, place: Path) -> str | None:
    """What identifies the command's result; None where there is none."""
    if command == "adapt":
        weights = place / "adapted" / "model.safetensors"
        return hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else None
    if command == "study":
        results = place / "study" / "results.json"
        if not results.exists():
            return None
        rows = json.loads(results.read_text())["rows"]
        kept = ["model", "domain", "strategy", "seed", "zero_shot_ppl", "adapted_ppl", "delta", "delta_ci95"]
        return json.dumps([[row[key] for key in kept] for row in rows])
    snapshot = place / "home" / "hub" / "models--org--tiny" / "snapshots" / Hub.commit
    weights = snapshot / "model.safetensors"
    return hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else None


def run(line: list[str], place: Path, environment: dict[str, str]) -> tuple[int | None, str]:
    try:
        done = subprocess.run(
            line, cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=TIMEOUT, check=False,
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stderr.decode(errors="replace")


def calls(line: list[str], place: Path, environment: dict[str, str]) -> collections.Counter[str]:
    """How often each kind of call is made."""
    with tempfile.NamedTemporaryFile(mode="r") as log:
        status, err = run(["strace", "-f", "-qq", "-o", log.name, *line], place, environment)
        if status != 0:
            sys.exit(f"{' '.join(line)} fails without a fault: status {status}\n{err}")
        names = (re.match(r"\d+ +(\w+)\(", entry) for entry in log)
        return collections.Counter(name[1] for name in names if name)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("odyssey", type=Path)
    parser.add_argument("--commands", default="adapt,study,fetch")
    parser.add_argument("--positions", type=int, default=4, help="of each kind of call")
    parser.add_argument("--seed", type=int, default=42)
    arguments = parser.parse_args()
    odyssey = str(arguments.odyssey.resolve())
    chance = random.Random(arguments.seed)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = 0
    for command in arguments.commands.split(","):
        line = [odyssey, *COMMANDS[command].split()]

        def fresh() -> tuple[Path, dict[str, str]]:
            place = Path(tempfile.mkdtemp(prefix="odyssey-faults-"))
            make_place(place)
            kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
            ours = {
                "ODYSSEY_DEVICE": "cpu", "ODYSSEY_CACHE": str(place / "cache"), "HF_HOME": str(place / "home"),
                "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "no_proxy": "127.0.0.1", "RUST_BACKTRACE": "0",
            }
            return place, {**kept, **ours}

        place, environment = fresh()
        start = calls([odyssey, "--version"], place, environment)
        counts = calls(line, place, environment)
        expected = whole(command, place)
        shutil.rmtree(place)
        assert expected is not None, f"{command} leaves nothing"
        ends: collections.Counter[str] = collections.Counter()
        for call, errors in ERRORS.items():
            first, last = start[call] + 1, counts[call]
            if last < first:
                continue
            at = sorted({chance.randint(first, last) for _ in range(arguments.positions)} | {first, last})
            for error in errors:
                for when in at:
                    place, environment = fresh()
                    inject = f"inject={call}:error={error}:when={when}"
                    traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject, *line]
                    status, err = run(traced, place, environment)
                    faults = []
                    if status is None:
                        faults.append(f"no end within {TIMEOUT} s")
                    elif status not in (0, 1, 2, 130):
                        faults.append(f"status {status}")
                    # An event descriptor that cannot be written to is no fault that a system has.
                    if "panicked" in err and "failed to wake I/O driver" not in err:
                        faults.append("a panic")
                    if status not in (0, None) and "odyssey: " not in err and call != "write":
                        faults.append("no sentence")
                    if status == 0 and whole(command, place) != expected:
                        faults.append("status 0 and another result")
                    if not faults and status != 0 and whole(command, place) != expected:
                        again, later = run(line, place, environment)
                        if again != 0 or whole(command, place) != expected:
                            faults.append(f"another result when run again (status {again}: {later.strip()[-300:]})")
                    ends[str(status)] += 1
                    if faults:
                        found += 1
                        said = " | ".join(err.strip().splitlines()[-3:])[-400:]
                        print(f"{command}: {call} {when} {error}: {', '.join(faults)}: {said}", file=sys.stderr, flush=True)
                    shutil.rmtree(place, ignore_errors=True)
        total = sum(ends.values())
        print(f"{command}: {total} runs: " + ", ".join(f"status {end} {n}" for end, n in sorted(ends.items())), flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
