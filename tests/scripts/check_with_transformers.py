"""Loads a model folder that odyssey saved with transformers, and compares what it computes.

    check_with_transformers.py FOLDER REFERENCE

REFERENCE is a safetensors file with what odyssey computes: `input_ids` i64 [B, T] and `logits` f32 [B, T, V]. Where FOLDER
has a tokenizer.json, its metadata may hold `text`, whose tokens are then to be the first row of `input_ids`.

Prints one JSON object. Exit status 1 and one line a fault on standard error where transformers sees another model.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 2e-4


def main() -> int:
    folder, reference = Path(sys.argv[1]), Path(sys.argv[2])
    with safe_open(reference, "pt") as file:
        ids, expected = file.get_tensor("input_ids"), file.get_tensor("logits")
        text = (file.metadata() or {}).get("text")

    # No dtype is asked for: what the configuration says is part of what is checked.
    model, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    model.eval()
    with torch.no_grad():
        logits = model(ids).logits
    difference = (logits.double() - expected.double()).abs().max().item()

    faults = [f"{kind}: {sorted(map(str, names))}" for kind, names in loading.items() if names]
    dtypes = sorted({str(parameter.dtype) for parameter in model.parameters()} | {str(model.dtype)})
    if dtypes != ["torch.float32"]:
        faults.append(f"dtypes {dtypes}, expected torch.float32 alone")
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    if tied != model.config.tie_word_embeddings:
        faults.append(f"head tied: {tied}, the configuration says {model.config.tie_word_embeddings}")
    if logits.shape != expected.shape or not difference <= TOLERANCE:  # also where it is NaN
        faults.append(f"logits {tuple(logits.shape)} differ by up to {difference:.1e} from {tuple(expected.shape)}")

    if text is not None and (folder / "tokenizer.json").exists():
        tokens = AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]
        if tokens != ids[0].tolist():
            faults.append(f"tokens {tokens[:10]}…, expected {ids[0, :10].tolist()}…")

    print(json.dumps({"largest_difference": difference, "dtypes": dtypes, "tied": tied, "faults": faults}))
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
