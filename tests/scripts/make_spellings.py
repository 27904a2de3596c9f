"""Asks transformers what it computes for the ways in which a config.json can say a thing.

    make_spellings.py FIXTURES

For each line of CASES: the configuration of a golden model with some keys changed (null takes a key out, "null" in
quotes writes a null), and what transformers makes of the golden input with it: every token's negative log-likelihood, or
that it refuses. Then the same for a head of its own in a file whose configuration calls the head tied. All of it goes to
FIXTURES/spellings.json.

Written for torch 2.15 and transformers 5.24.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
TOP = {"rope_parameters": None, "rope_theta": 700.0}

CASES = [
    # The two spellings of a kind, alone and together, with whole numbers and with points.
    ("llama_mha", TOP),
    ("llama_mha", TOP | {"rope_scaling": {"type": "linear", "factor": 3}}),
    ("llama_mha", TOP | {"rope_scaling": {"rope_type": "linear", "factor": 3.0}}),
    ("llama_mha", TOP | {"rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 3.0}}),
    ("llama_mha", TOP | {"rope_scaling": {"type": "llama3", **LLAMA3}}),
    ("llama_mha", TOP | {"rope_scaling": {"type": "dynamic", "factor": 4.0}}),
    ("llama_mha", TOP | {"rope_scaling": {}}),
    ("llama_mha", TOP | {"rope_scaling": {"factor": 4.0}}),
    ("llama_mha", TOP | {"rope_scaling": {"rope_type": "default", "mrope_section": [2, 2, 2]}}),
    # A base inside and outside.
    ("llama_mha", {"rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 500}, "rope_theta": 9000.0}),
    ("llama_mha", {"rope_parameters": {"rope_type": "linear", "factor": 2}, "rope_theta": 900}),
    ("llama_mha", {"rope_parameters": {"rope_type": "linear", "factor": 2}}),
    ("llama_mha", {"rope_parameters": None}),
    # Both keys: the older one counts.
    ("llama_mha", {"rope_scaling": {"type": "linear", "factor": 2.5}}),
    ("llama_mha", {"rope_scaling": {"type": "linear", "factor": 2.5, "rope_theta": 333.0}, "rope_theta": 50.0}),
    # Where LLaMA 3's original length may stand.
    ("llama_gqa", {"original_max_position_embeddings": 16}),
    ("llama_gqa", {"rope_scaling": {k: v for k, v in LLAMA3.items() if k[0] != "o"} | {"rope_type": "llama3"}}),
    ("neox_parallel", {"rotary_pct": None, "rotary_emb_base": None}),
    ("neox_parallel", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
    ("qwen2", {"rope_theta": None, "rope_parameters": {"rope_theta": 400.0}}),
    # GPT-2's sizes under the names of all other families.
    ("gpt2_tied", {"n_head": None, "num_attention_heads": 2}),
    ("gpt2_tied", {"num_attention_heads": 2}),
    ("gpt2_tied", {"n_embd": None, "hidden_size": 48, "n_layer": None, "num_hidden_layers": 3}),
    # Other names of one function.
    ("gpt2_tied", {"activation_function": "gelu_accurate"}),
    ("gpt2_tied", {"activation_function": "gelu_python_tanh"}),
    ("gpt2_tied", {"activation_function": "gelu_python"}),
    ("llama_mha", {"hidden_act": "swish"}),
    # Heads that a null leaves to the default.
    ("llama_mha", {"num_key_value_heads": "null", "head_dim": "null"}),
    # What a program would have to guess.
    ("llama_mha", TOP | {"rope_theta": "700"}),
    ("llama_mha", TOP | {"rope_theta": "null"}),
    ("llama_mha", TOP | {"rope_scaling": {"type": "linear"}}),
    ("llama_mha", TOP | {"rope_scaling": {"type": "linear", "factor": "3.0"}}),
    ("llama_mha", TOP | {"rope_scaling": {"type": "su", "short_factor": [1.0] * 6, "long_factor": [2.0] * 6}}),
    ("llama_mha", {"rms_norm_eps": "1e-5"}),
    ("llama_mha", {"num_hidden_layers": 3.0}),
    ("llama_mha", {"tie_word_embeddings": "false"}),
    ("llama_mha", {"tie_word_embeddings": "null"}),
    ("llama_mha", {"attention_bias": 0}),
]  # fmt: skip


def changed(config: dict, changes: dict) -> dict:
    config = {key: value for key, value in config.items() if changes.get(key, 0) is not None}
    return config | {key: None if value == "null" else value for key, value in changes.items() if value is not None}


def nll(folder: Path, ids: torch.Tensor) -> list:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits.double()
    found = -torch.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]
    return [round(x, 6) for x in found.flatten().tolist()]


def read_weights(folder: Path) -> dict:
    return {name: tensor for file in sorted(folder.glob("model*.safetensors")) for name, tensor in load_file(file).items()}


def copy_weights(source: Path, into: Path) -> None:
    save_file(read_weights(source), into / "model.safetensors", {"format": "pt"})


def own_head(weights: dict, table: str) -> torch.Tensor:
    """A head that another program can make again."""
    rows, columns = weights[table].shape
    i, j = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return ((i * 37 + j * 101) % 97).float() / 97 - 0.5


def main(fixtures: Path) -> None:
    models = fixtures / "models"
    found = []
    scratch = Path(tempfile.mkdtemp())
    for case, changes in CASES:
        source = models / case
        config = json.loads((source / "config.json").read_text())
        copy_weights(source, scratch)
        (scratch / "config.json").write_text(json.dumps(changed(config, changes)))
        ids = load_file(source / "golden.safetensors")["input_ids"]
        try:
            result = {"nll": nll(scratch, ids)}
        except Exception as error:
            result = {"refused": type(error).__name__}
        found.append({"model": case, "changes": changes} | result)
        print(case, changes, str(result)[:70])
    heads = []
    for case, table, head in [
        ("gpt2_tied", "transformer.wte.weight", "lm_head.weight"),
        ("llama_gqa", "model.embed_tokens.weight", "lm_head.weight"),
        ("neox_sequential", "gpt_neox.embed_in.weight", "embed_out.weight"),
    ]:
        source = models / case
        weights = {name: tensor.float() for name, tensor in read_weights(source).items()}
        weights[head] = own_head(weights, table)
        save_file(weights, scratch / "model.safetensors", {"format": "pt"})
        shutil.copy(source / "config.json", scratch / "config.json")
        ids = load_file(source / "golden.safetensors")["input_ids"]
        heads.append({"model": case, "table": table, "head": head, "nll": nll(scratch, ids)})
    shutil.rmtree(scratch)
    text = ",\n".join(json.dumps(entry) for entry in found)
    ends = ",\n".join(json.dumps(entry) for entry in heads)
    (fixtures / "spellings.json").write_text(f'{{"spellings": [\n{text}\n],\n"own_heads": [\n{ends}\n]}}\n')


main(Path(sys.argv[1]))
