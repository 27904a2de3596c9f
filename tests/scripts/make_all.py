"""Makes everything in tests/fixtures anew, and checks that what is committed agrees with it.

    make_all.py INTO [--check] [WHAT…]

INTO is a folder that is not there yet, or empty. WHAT limits it to entries of FIXTURES that begin so: `make_all.py /tmp/new models`.
With `--check` every file is compared with the committed one: numbers to the tolerance of its folder (libraries of another version,
or another processor, round otherwise), everything else exactly. Exit status 1 and one line a difference where they differ.

Needs what the scripts import (torch, transformers, peft, scipy, polars, pyarrow), the programs gzip, zstd and tar, and for `rank` the
shared models in ODYSSEY_TEST_DATA, or beside this checkout.
"""

import argparse
import gzip
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
COMMITTED = SCRIPTS.parent / "fixtures"
DATA = Path(os.environ.get("ODYSSEY_TEST_DATA") or SCRIPTS.parents[2] / "shared").resolve()

FIRST = "make_first_cases.py {committed} {into}"
FAMILIES = "make_family_cases.py {into}/models"
TRAINING = "make_training.py {committed} {into}"
RANKS = "rank_with_transformers.py {into}/rank/prompts.jsonl {into}/rank/ranks.json"

# What makes every entry of tests/fixtures. Each command runs once, in this order: those after `models` read the models.
FIXTURES = {
    "models/gpt2_tied": FIRST,
    "models/gpt2_odd": FIRST,
    "models/llama_mha": FIRST,
    "models/llama_gqa": FIRST,
    "models/olmo": FIRST,
    "models/olmo_clip": FIRST,
    "models/olmo2": FIRST,
    "models/mistral": FAMILIES,
    "models/qwen2": FAMILIES,
    "models/qwen3": FAMILIES,
    "models/neox_parallel": FAMILIES,
    "models/neox_sequential": FAMILIES,
    "models/smollm3": FAMILIES,
    "spellings.json": "make_spellings.py {into}",
    "training": TRAINING,
    "lora": TRAINING,
    "encoder": "make_encoder_case.py {into}/encoder",
    "stats": "make_statistics.py {committed} {into}",
    "schedules": "make_schedules.py {into}/schedules/transformers.json",
    "corpora": "make_corpora.py {into}/corpora",
    "results": "keep_results.py {committed} {into}",
    "rank": f"{RANKS} wiki-gpt2={{data}}/models/wiki-gpt2 stories260K={{data}}/data/stories260K",
}

# A person wrote these.
BY_HAND = ["rank/prompts.jsonl"]

# How far numbers may be apart, relative to 1 or to what is larger.
TOLERANCES = {
    "lora": 1e-4,  # the saved adapter and the merged weights are those of peft in float32
    "spellings.json": 1e-4,  # transformers in float32
    "models/spellings.json": 1e-4,
    "training": 1e-7,  # twenty steps, each of which makes a difference larger
}
TOLERANCE = 1e-9

# What says by which versions a file was made, and how far float32 was off then.
OF_VERSIONS = {"scipy", "transformers", "source", "peft_version", "deviation_of_float32"}


def tolerance(path: str) -> float:
    return next((value for place, value in TOLERANCES.items() if path.startswith(place)), TOLERANCE)


def make(into: Path, wanted: list) -> None:
    for file in BY_HAND:
        if chosen(file, wanted):
            (into / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(COMMITTED / file, into / file)
    places = {"into": into, "committed": COMMITTED, "data": DATA}
    for command in dict.fromkeys(command for entry, command in FIXTURES.items() if chosen(entry, wanted)):
        for entry in (entry for entry, of in FIXTURES.items() if of == command):
            folder = into / entry
            (folder.parent if folder.suffix else folder).mkdir(parents=True, exist_ok=True)
        script, *arguments = (str(word).format(**places) for word in shlex.split(command))
        print(script, flush=True)
        subprocess.run([sys.executable, SCRIPTS / script, *arguments], check=True)


def chosen(path: str, wanted: list) -> bool:
    return not wanted or any(path.startswith(what) for what in wanted)


def differences(path: str, made: Path, kept: Path) -> list[str]:
    """What differs, in words."""
    readers = {".json": read_json, ".safetensors": read_tensors, ".parquet": read_table}
    archive = path.endswith((".tar.gz", ".tgz"))
    reader = read_archive if archive else readers.get(kept.suffix, read_bytes)
    return list(apart(reader(made), reader(kept), "", tolerance(path)))


def read_json(file: Path):
    return json.loads(file.read_text())


def read_tensors(file: Path):
    from safetensors.torch import load_file

    return load_file(file)


def read_table(file: Path):
    import pyarrow.parquet as parquet

    table = parquet.read_table(file)
    return {"types": str(table.schema.remove_metadata()), "rows": table.to_pylist(), "codec": codec(file)}


def codec(file: Path) -> str:
    import pyarrow.parquet as parquet

    return parquet.ParquetFile(file).metadata.row_group(0).column(0).compression


def read_archive(file: Path):
    with tarfile.open(file) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}


def read_bytes(file: Path):
    if file.suffix == ".gz":
        return gzip.decompress(file.read_bytes())
    if file.suffix == ".zst":
        return subprocess.run(["zstd", "-qdc", file], stdout=subprocess.PIPE, check=True).stdout
    return file.read_bytes()


def apart(made, kept, place: str, tolerance: float):
    if isinstance(kept, dict) and isinstance(made, dict):
        for key in made.keys() ^ kept.keys():
            yield f"{place}/{key}: only {'made' if key in made else 'committed'}"
        for key in sorted(made.keys() & kept.keys() - OF_VERSIONS):
            # Biases of GPT-2's keys have no gradient but rounding, which AdamW makes whole steps of.
            if "final_params" in place and key.endswith("attn.c_attn.bias"):
                continue
            yield from apart(made[key], kept[key], f"{place}/{key}", tolerance)
    elif isinstance(kept, list) and isinstance(made, list) and len(made) == len(kept):
        for i, (a, b) in enumerate(zip(made, kept, strict=True)):
            yield from apart(a, b, f"{place}/{i}", tolerance)
    elif isinstance(kept, float) and isinstance(made, float | int):
        if not abs(made - kept) <= tolerance * max(1.0, abs(kept)):
            yield f"{place}: made {made}, committed {kept}"
    elif hasattr(kept, "dtype"):
        if made.dtype != kept.dtype or made.shape != kept.shape:
            yield f"{place}: made {made.dtype} {list(made.shape)}, committed {kept.dtype} {list(kept.shape)}"
        elif made.is_floating_point():
            off = ((made.double() - kept.double()).abs() / kept.double().abs().clamp(min=1)).max().item()
            if not off <= tolerance:
                yield f"{place}: off by {off:.1e}"
        elif not made.equal(kept):
            yield f"{place}: differs"
    elif made != kept:
        yield f"{place}: made {str(made)[:60]}, committed {str(kept)[:60]}"


def files(folder: Path, wanted: list) -> set[str]:
    names = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    return {name for name in names if chosen(name, wanted)}


def check(into: Path, wanted: list) -> int:
    made, kept = files(into, wanted), files(COMMITTED, wanted)
    found = [f"{path}: only {'made' if path in made else 'committed'}" for path in sorted(made ^ kept)]
    exact = 0
    for path in sorted(made & kept):
        if (into / path).read_bytes() == (COMMITTED / path).read_bytes():
            exact += 1
            continue
        found += [f"{path}{difference}" for difference in differences(path, into / path, COMMITTED / path)]
    for line in found:
        print(line, file=sys.stderr)
    print(f"{len(made & kept)} files, {exact} of them to the byte, {len(found)} differences")
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("into", type=Path)
    parser.add_argument("what", nargs="*")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    into = arguments.into.resolve()
    if into.exists() and any(into.iterdir()):
        parser.error(f"{into} is not empty")
    into.mkdir(parents=True, exist_ok=True)
    make(into, arguments.what)
    return check(into, arguments.what) if arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
