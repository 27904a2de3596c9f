#!/usr/bin/env python3
"""Makes tests/fixtures/results with a program of an older version: old_results.py ODYSSEY

The files are what that program wrote; tests read the results and write the same files from them. The study is as small as
possible: a model of a few hundred thousand weights, two domains of token ids, two steps. Long lists are cut.
"""
import json, pathlib, random, shutil, subprocess, sys, tempfile

binary = pathlib.Path(sys.argv[1]).resolve()
fixtures = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
model = fixtures / "models" / "gpt2_odd"
vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
draw = random.Random(1)


def corpus(path, documents, common):
    """Documents of token ids; the larger `common`, the more often the first ids occur."""
    with open(path, "w") as out:
        for _ in range(documents):
            ids = [int(vocabulary * draw.random() ** common) for _ in range(60)]
            out.write(json.dumps({"ids": ids}) + "\n")


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    for name, documents, common in [("reference", 40, 2.0), ("near", 40, 2.2), ("far", 40, 5.0)]:
        corpus(folder / f"{name}.jsonl", documents, common)
    small = ["--chunk", "16", "--samples", "24", "--reference-samples", "48", "--permutations", "19", "--resamples", "19"]
    found = subprocess.run(
        [binary, "similarity", "--device", "cpu", "--features", f"model:{model}", "--reference", "reference.jsonl"]
        + ["--domain", "near.jsonl", "far.jsonl", "--json"] + small,
        cwd=folder, check=True, capture_output=True, text=True,
    ).stdout
    (fixtures / "results" / "similarity.json").write_text(found.replace(str(model), "model"))
    (folder / "study.toml").write_text(f"""
name = "kept"
models = [{{ name = "m", path = "{model}", reference = "reference.jsonl" }}]
domains = [{{ path = "near.jsonl" }}, {{ path = "far.jsonl" }}]
strategies = [{{ name = "full", recipe = {{ max_steps = 2, batch = 2, context = 16 }} }}]
[similarity]
features = "model"
chunk = 16
samples = 24
reference_samples = 48
permutations = 19
resamples = 19
[ablation]
lr = [1e-4, 1e-3]
""")
    subprocess.run([binary, "study", "run", "study.toml", "--out", "out", "--device", "cpu"], cwd=folder, check=True)
    study = json.loads((folder / "out" / "results.json").read_text())
    for row in study["rows"]:
        row["top_types"] = row["top_types"][:2]
        row["passages"] = row["passages"][:1]
        row["passages"][0]["tokens"] = row["passages"][0]["tokens"][:3]
    text = json.dumps(study, indent=1).replace(str(folder.resolve()), "folder").replace(str(model), "model")
    (fixtures / "results" / "study.json").write_text(text)
    for name in ["results.csv", "domains.csv", "ablation.csv"]:
        shutil.copy(folder / "out" / name, fixtures / "results" / name)
