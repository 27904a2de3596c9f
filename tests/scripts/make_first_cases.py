"""Makes the golden cases of GPT-2, LLaMA, OLMo and OLMo 2: tiny random models, and what they compute in float64.

    make_first_cases.py COMMITTED INTO

Each case becomes a folder INTO/models/CASE of the same files as those of make_family_cases.py. The weights are drawn again from
their seeds. From COMMITTED (tests/fixtures) come the configurations, and token ids where those are of texts that do not lie here.

The truth is plain_models.py in float64. transformers, in float32, must agree with it.

Written for torch 2.15 and transformers 5.24.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from make_family_cases import compute, largest, load, summary
from plain_models import Model, read, token_losses
from safetensors.torch import load_file, save_file

# The seed of the weights; the type they are stored in; files; tokens a row where the ids are random too.
CASES = {
    "gpt2_tied": (1001, torch.float32, 1, None),
    # The names of the first upload to the hub, and its masks.
    "gpt2_odd": (1011, torch.float16, 1, 33),
    "llama_mha": (1021, torch.float32, 3, None),
    "llama_gqa": (1031, torch.bfloat16, 1, None),
    "olmo": (1041, torch.float32, 1, None),
    # Many values are clipped.
    "olmo_clip": (1051, torch.float32, 1, 31),
    "olmo2": (1061, torch.float32, 1, None),
}
LARGE, NORM, BIAS = 0.2, 0.2, 0.1
NOTE = "plain_models.py in float64; grads are of mean_loss; a tied head has one gradient"


def shapes(config: dict) -> dict:
    """Every weight's shape, in the order of drawing."""
    if config["model_type"] == "gpt2":
        width = config["n_embd"]
        inner = config.get("n_inner") or 4 * width
        shapes = {"wte.weight": (config["vocab_size"], width), "wpe.weight": (config["n_positions"], width)}
        for layer in range(config["n_layer"]):
            for part, shape in [
                ("ln_1", (width,)), ("attn.c_attn", (width, 3 * width)), ("attn.c_proj", (width, width)),
                ("ln_2", (width,)), ("mlp.c_fc", (width, inner)), ("mlp.c_proj", (inner, width)),
            ]:  # fmt: skip
                shapes |= {f"h.{layer}.{part}.weight": shape, f"h.{layer}.{part}.bias": shape[-1:]}
        shapes |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
        return {f"transformer.{name}": shape for name, shape in shapes.items()}
    width, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head = config.get("head_dim") or width // heads
    queries, keys = heads * head, (config.get("num_key_value_heads") or heads) * head
    kind = config["model_type"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], width)}
    for layer in range(config["num_hidden_layers"]):
        parts = {
            "self_attn.q_proj": (queries, width), "self_attn.k_proj": (keys, width), "self_attn.v_proj": (keys, width),
            "self_attn.o_proj": (width, queries),
        }  # fmt: skip
        if kind == "olmo2":
            parts |= {"self_attn.q_norm": (queries,), "self_attn.k_norm": (keys,)}
        parts |= {"mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner)}
        if kind == "llama":
            parts |= {"input_layernorm": (width,), "post_attention_layernorm": (width,)}
        elif kind == "olmo2":
            parts |= {"post_attention_layernorm": (width,), "post_feedforward_layernorm": (width,)}
        shapes |= {f"model.layers.{layer}.{part}.weight": shape for part, shape in parts.items()}
    if kind != "olmo":
        shapes["model.norm.weight"] = (width,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], width)
    return shapes


def draw(config: dict, seed: int, dtype: torch.dtype) -> dict:
    rng, weights = np.random.default_rng(seed), {}
    for name, shape in shapes(config).items():
        values = rng.standard_normal(shape)
        if name.endswith(".bias"):
            values = BIAS * values
        elif len(shape) == 1:
            values = 1 + NORM * values
        else:
            values = LARGE * values
        weights[name] = torch.tensor(values, dtype=torch.float32).to(dtype)
    return weights


def write_weights(folder: Path, config: dict, weights: dict, files: int) -> None:
    pt = {"format": "pt"}
    if files == 1:
        save_file(weights, folder / "model.safetensors", metadata=pt)
        return
    names, places = list(weights), {}
    for i in range(files):
        file = f"model-{i + 1:05d}-of-{files:05d}.safetensors"
        part = names[i * len(names) // files : (i + 1) * len(names) // files]
        save_file({name: weights[name] for name in part}, folder / file, metadata=pt)
        places |= dict.fromkeys(part, file)
    size = sum(weight.numel() * weight.element_size() for weight in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def old_names(config: dict, weights: dict) -> dict:
    longest = config["n_positions"]
    weights = {name.removeprefix("transformer."): weight for name, weight in weights.items()}
    for layer in range(config["n_layer"]):
        mask = torch.ones(longest, longest, dtype=torch.uint8).tril()
        weights[f"h.{layer}.attn.bias"] = mask[None, None]
    return weights


def truth(folder: Path, ids: torch.Tensor) -> dict:
    config, weights = read(folder, torch.float64)
    weights = {name: weight.requires_grad_() for name, weight in weights.items()}
    logits = Model(config, weights)(ids)
    nll = token_losses(logits, ids)
    nll.mean().backward()
    gradients = {name: weight.grad for name, weight in weights.items()}
    return {"logits": logits.detach(), "nll": nll.detach(), "gradients": gradients}


def main() -> None:
    committed, into = (Path(argument) / "models" for argument in sys.argv[1:])
    for case, (seed, dtype, files, random) in CASES.items():
        folder = into / case
        folder.mkdir(parents=True, exist_ok=True)
        for file in (committed / case).glob("config*.json"):
            shutil.copy(file, folder)
        config = json.loads((folder / "config.json").read_text())
        weights = draw(config, seed, dtype)
        write_weights(folder, config, old_names(config, weights) if case == "gpt2_odd" else weights, files)
        if random:
            ids = torch.tensor(np.random.default_rng(seed + 1).integers(0, config["vocab_size"], (2, random)))
            ids[0, :2] = torch.tensor([0, config["vocab_size"] - 1])  # both ends of the vocabulary
        else:
            ids = load_file(committed / case / "golden.safetensors")["input_ids"]

        result, single = truth(folder, ids), compute(load(folder), ids)
        assert set(result["gradients"]) == set(single["gradients"]), case
        differences = {key: largest(result[key], single[key]) for key in ["logits", "nll"]}
        # Keys' biases have no gradient but rounding: softmax takes what all scores have in common away.
        differences["gradients"] = max(
            ((gradient - single["gradients"][key].double()).norm() / gradient.norm()).item()
            for key, gradient in result["gradients"].items()
        )
        assert max(differences.values()) < 2e-4, (case, differences)
        golden = {"input_ids": ids, "logits_f64": result["logits"], "nll_f64": result["nll"]}
        save_file({key: value.contiguous() for key, value in golden.items()}, folder / "golden.safetensors")
        golden = {"note": NOTE, "float64": summary(result), "deviation_of_float32": differences}
        (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
        print(f"{case}: mean loss {golden['float64']['mean_loss']:.4f}, float32 off by", differences)


if __name__ == "__main__":
    main()
