"""Loads an adapter that odyssey wrote with peft, and compares what it computes with it on, off and merged.

    check_with_peft.py FOLDER

FOLDER has `merged/` (a whole model, and the adapter in `merged/adapter`), `ids.json` and `logits.json`: what odyssey
computes with the adapter off and on. Writes what peft saves of the adapter into FOLDER/saved.

Prints one JSON object. Exit status 1 and one line a fault on standard error where peft sees another model.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM

TOLERANCE = 2e-4


def main() -> int:
    folder = Path(sys.argv[1])
    ids = torch.tensor([json.loads((folder / "ids.json").read_text())])
    expected = {side: torch.tensor(values) for side, values in json.loads((folder / "logits.json").read_text()).items()}

    with warnings.catch_warnings(record=True) as warned:  # of missing keys, for one
        warnings.simplefilter("always")
        # The base is found by what the adapter says; weights in 16 bits are computed with in f32.
        model = AutoPeftModelForCausalLM.from_pretrained(folder / "merged" / "adapter", dtype=torch.float32)
    model.eval()
    differences = {}

    def compare(side: str, of: str, logits: torch.Tensor) -> None:
        differences[side] = (logits.flatten().double() - expected[of].double()).abs().max().item()

    with torch.no_grad():
        compare("on", "on", model(ids).logits)
        with model.disable_adapter():
            compare("off", "off", model(ids).logits)
        model.save_pretrained(folder / "saved")
        compare("merged by odyssey", "on", AutoModelForCausalLM.from_pretrained(folder / "merged").eval()(ids).logits)
        compare("merged by peft", "on", model.merge_and_unload()(ids).logits)

    faults = [f"{side}: logits differ by {d:.1e}" for side, d in differences.items() if not d <= TOLERANCE]
    faults += [str(w.message) for w in warned if "adapter keys" in str(w.message)]
    print(json.dumps(differences))
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
