"""What each remedy keeps: a study of wiki-gpt2 with every strategy against forgetting beside plain adaptation.

    python3 benches/remedies.py DATA OUT [--domains NAME ...] [--rates 3e-4 1e-3] [--seeds 42] [--only NAME ...] [--reference DIR] [--write]

DATA has `models/wiki-gpt2` and `data/domains`. The study file is written to OUT.toml; the study is run (and resumed) in OUT
by the program `odyssey`, or by the one that ODYSSEY names. At the end the means over domains are printed: δ on the domain,
δ on the reference, and the time of a run over that of plain adaptation. `--write` only writes the file.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

# One line a strategy: its name, and its keys in the recipe.
STRATEGIES = {
    "plain": "",
    "replay-5": 'replay = { corpus = "reference", share = 0.05 }',
    "replay-25": 'replay = { corpus = "reference", share = 0.25 }',
    "replay-self-25": 'replay = { corpus = "self", share = 0.25, samples = 192 }',
    "kd": "kd = { weight = 1.0 }",
    "kd-replay": 'replay = { corpus = "reference", share = 0.25, weight = 0.0 }\nkd = { weight = 1.0, near = "replay" }',
    "kd-hidden": "kd = { weight = 0.0, hidden = 1.0 }",
    "l2-sp": "l2_sp = 0.1",
    "recadam": "recadam = {}",
    "freeze-embeddings": "freeze = { embeddings = true }",
    "freeze-half": "freeze = { embeddings = true, layers = 2 }",
    "vectors-only": "freeze = { matrices = true }",
    "stm": "stm = {}",
    "stm-rising": "stm = { most = 20.0, rising = true }",
    "flow": "flow = {}",
    "slm": "slm = { keep = 0.6 }",
    "tlt-high": "tlt = { share = 0.1 }",
    "ema": "ema = 0.9",
    "lawa": "lawa = { states = 5 }",
    "wise-ft": "wise_ft = 0.5",
}


def study(data, reference, domains, rates, seeds, only):
    lines = ['name = "Remedies, wiki-gpt2"', f"seeds = {json.dumps(seeds)}", "", "[similarity]", 'features = "lexical"', ""]
    lines += ["[[models]]", 'name = "wiki-gpt2"', f'path = "{data}/models/wiki-gpt2"',
              f'reference = "{reference}"', ""]
    for domain in domains:
        lines += ["[[domains]]", f'name = "{domain}"', f'path = "{data}/data/domains/{domain}"', ""]
    for rate in rates:
        for name, keys in STRATEGIES.items():
            if only and name not in only:
                continue
            lines += ["[[strategies]]", f'name = "{name} {rate:g}"', "", "[strategies.recipe]", f"lr = {rate:g}",
                      "max_steps = 48", "batch = 16", "micro_batch = 16", 'order = "file"', "validations = 1", keys, ""]
    return "\n".join(lines)


def table(results):
    rows = {}
    for row in results["rows"]:
        rows.setdefault(row["strategy"], []).append(row)
    plain = {}
    for name, of in rows.items():
        if name.startswith("plain"):
            plain[name.split()[1]] = of
    print(f"{'strategy':24} {'n':>3} {'δ domain':>9} {'δ near':>9} {'δ reference':>11} {'kept':>6} {'time':>6}")
    for name, of in rows.items():
        mean = lambda key, among=of: sum(row[key] for row in among if row.get(key) is not None) / max(len(among), 1)
        near = [row for row in of if row["domain"].startswith("wiki")]
        base = plain.get(name.split()[1], of)
        forgot = mean("forgetting", base)
        kept = 1 - mean("forgetting") / forgot if forgot else float("nan")
        time = mean("seconds") / mean("seconds", base) if base and "seconds" in base[0] else float("nan")
        print(f"{name:24} {len(of):3} {mean('delta'):+9.4f} {mean('delta', near):+9.4f} {mean('forgetting'):+11.4f} {kept:6.0%} {time:6.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--domains", nargs="*")
    parser.add_argument("--rates", nargs="*", type=float, default=[3e-4, 1e-3])
    parser.add_argument("--seeds", nargs="*", type=int, default=[42])
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--reference", help="a part of the pretraining corpus: a folder with train, valid and test")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    data = pathlib.Path(args.data).resolve()
    all_domains = sorted(path.name for path in (data / "data/domains").iterdir() if path.is_dir() and path.name != "wiki_general")
    reference = pathlib.Path(args.reference).resolve() if args.reference else data / "data/domains/wiki_general"
    text = study(data, reference, args.domains or all_domains, args.rates, args.seeds, args.only)
    file = pathlib.Path(args.out).with_suffix(".toml")
    file.write_text(text)
    if args.write:
        return
    run = subprocess.run([os.environ.get("ODYSSEY", "odyssey"), "study", "run", str(file), "--out", args.out], check=False)
    results = pathlib.Path(args.out) / "results.json"
    if run.returncode != 0 or not results.exists():
        sys.exit(run.returncode or 1)
    table(json.loads(results.read_text()))


main()
