"""Ranks the targets of prompts with transformers, one prompt at a time, in float64.

    rank_with_transformers.py PROMPTS.jsonl OUT.json NAME=FOLDER…

PROMPTS has one object a line with `prompt` and `target`. OUT gets, by the NAME of each model, what a rank is made of for every
prompt: `first` (the first token of the target), `read` (tokens the model read), and `rank` as [lowest, highest]: 1 + the
entries of the vocabulary whose logit is higher than that token's by more than 1e-5, and by more than -1e-5. The two differ
only where logits tie.

Written for torch 2.15 and transformers 5.23.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TIE = 1e-5


def question(tokenizer, prompt: str, target: str, context: int) -> tuple[list[int], int]:
    """What is read, and the token asked for."""
    plain = tokenizer(f"{prompt} {target}", add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = plain["input_ids"], plain["offset_mapping"]
    # The first token with more in it than the prompt's characters and white space: a space alone is read, not asked for.
    text = f"{prompt} {target}"
    at = next(i for i, (_, end) in enumerate(offsets) if end > len(prompt) and text[len(prompt) : end].strip())
    special = tokenizer("", add_special_tokens=True)["input_ids"]
    return special + ids[:at][-(context - len(special)) :], ids[at]


def main() -> int:
    prompts = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    result = {}
    for argument in sys.argv[3:]:
        name, folder = argument.split("=", 1)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
        rows = []
        for prompt in prompts:
            read, first = question(tokenizer, prompt["prompt"], prompt["target"], model.config.max_position_embeddings)
            with torch.no_grad():
                logits = model(torch.tensor([read])).logits[0, -1]
            others = torch.cat([logits[:first], logits[first + 1 :]])
            ranks = [1 + int((others > logits[first] + tie).sum()) for tie in (TIE, -TIE)]
            rows.append({"first": first, "read": len(read), "rank": ranks})
        result[name] = rows
    rows = [f'"{name}": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]" for name, rows in result.items()]
    Path(sys.argv[2]).write_text("{\n" + ",\n".join(rows) + "\n}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
