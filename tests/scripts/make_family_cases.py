"""Makes the golden cases of Mistral, Qwen 2, Qwen 3, SmolLM 3 and GPT-NeoX: tiny random models, and what transformers computes with them.

    make_family_cases.py FIXTURES/models

Each case becomes a folder with config.json, model.safetensors, golden.safetensors (`input_ids` i64 [2, T], `logits_f64`
[2, T, V], `nll_f64` [2, T-1]) and golden.json (mean loss, its gradient's norm, every weight's gradient by norm and first four
values). Weights are large, norms random around 1 and biases random, so that a part left out or misplaced shows.

The numbers are float64. transformers casts norms, rotations and softmax to float32 whatever the weights are, so it is run with
those casts redirected to float64; that this gives the truth is checked first on two cases whose golden values another
implementation made (llama_gqa, olmo2), and on every case against plain float32.

Written for torch 2.15 and transformers 5.23.
"""

import json
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

SEED = 20240607
TIME = 20

LLAMA = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "hidden_act": "silu", "max_position_embeddings": 64, "initializer_range": 0.02,
    "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "use_cache": True,
}  # fmt: skip
NEOX = {
    "architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "vocab_size": 300, "hidden_size": 32,
    "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "gelu",
    "max_position_embeddings": 64, "layer_norm_eps": 1e-05, "initializer_range": 0.02, "bos_token_id": 0, "eos_token_id": 0,
    "use_cache": True,
}  # fmt: skip

# The spelling of the checkpoints that are around: transformers 4, but for one case.
CASES = {
    # A window on every layer, shorter than the text.
    "mistral": LLAMA | {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "head_dim": 12, "sliding_window": 6,
        "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "float32",
    },
    # Its window is switched off, as in every published Qwen 2.
    "qwen2": LLAMA | {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": False, "sliding_window": 6,
        "max_window_layers": 1, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    },
    # A window on the second layer alone; heads wider than hidden_size / num_attention_heads.
    "qwen3": LLAMA | {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False, "head_dim": 12,
        "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "rope_scaling": None, "tie_word_embeddings": False, "torch_dtype": "float32",
    },
    # As Pythia, with the buffers that old files carry.
    "neox_parallel": NEOX | {
        "rotary_pct": 0.25, "rotary_emb_base": 10000, "use_parallel_residual": True, "tie_word_embeddings": False,
        "torch_dtype": "float16",
    },
    "neox_sequential": NEOX | {
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0, "partial_rotary_factor": 0.5},
        "use_parallel_residual": False, "tie_word_embeddings": True, "dtype": "float32",
    },
    # The second of three layers does not rotate, and so it has the window.
    "smollm3": LLAMA | {
        "architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3", "num_hidden_layers": 3, "attention_bias": False,
        "no_rope_layer_interval": 2, "use_sliding_window": True, "sliding_window": 6, "rms_norm_eps": 1e-06,
        "rope_theta": 5000000.0, "pad_token_id": 2, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    },
}  # fmt: skip


@contextmanager
def float32_means_float64():
    """What asks for float32 gets float64."""
    kept = torch.float32, torch.float, torch.Tensor.float, torch.get_default_dtype()
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = kept[:3]
        torch.set_default_dtype(kept[3])


def load(folder: Path):
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(info.values()), info
    return model


def compute(model, ids: torch.Tensor) -> dict:
    """Logits, per-token negative log-likelihoods, and the gradient of their mean by the checkpoint's names."""
    model.train()  # no dropout in these configurations
    logits = model(ids, use_cache=False).logits
    nll = -torch.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]
    nll.mean().backward()
    # transformers 5 calls GPT-NeoX's head lm_head inside, embed_out in files.
    neox = model.config.model_type == "gpt_neox"
    gradients = {
        "embed_out.weight" if neox and name == "lm_head.weight" else name: parameter.grad
        for name, parameter in model.named_parameters()
    }
    return {"logits": logits.detach(), "nll": nll.detach(), "gradients": gradients}


def truth(folder: Path, ids: torch.Tensor) -> dict:
    single = load(folder)
    with float32_means_float64():
        # Built anew, because rotation tables are computed when a model is.
        model = AutoModelForCausalLM.from_config(single.config, attn_implementation="eager").double()
        model.load_state_dict(single.state_dict())
        result = compute(model, ids)
    assert result["logits"].dtype == torch.float64 and all(g.dtype == torch.float64 for g in result["gradients"].values())
    return result


def make_weights(folder: Path, config: dict, rng: np.random.Generator) -> None:
    """Random numbers in place of every weight that transformers would save."""
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    empty = folder / "empty"
    model.save_pretrained(empty)
    weights = {}
    for name, tensor in sorted(load_file(empty / "model.safetensors").items()):
        values = rng.standard_normal(tuple(tensor.shape))
        if name.endswith(".bias"):
            values = 0.3 * values
        elif values.ndim == 1:
            values = 1 + 0.2 * values
        else:
            values = 0.4 * values
        dtype = getattr(torch, config.get("dtype") or config["torch_dtype"])
        weights[name] = torch.tensor(values).to(dtype)
    shutil.rmtree(empty)
    if "rotary_pct" in config:
        positions, heads = config["max_position_embeddings"], config["num_attention_heads"]
        rotated = int(config["hidden_size"] // heads * config["rotary_pct"])
        for layer in range(config["num_hidden_layers"]):
            path = f"gpt_neox.layers.{layer}.attention"
            weights[f"{path}.bias"] = torch.ones(1, 1, positions, positions, dtype=torch.bool).tril()
            weights[f"{path}.masked_bias"] = torch.tensor(-1e9)
            weights[f"{path}.rotary_emb.inv_freq"] = 10000.0 ** -(torch.arange(0, rotated, 2) / rotated)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def summary(result: dict) -> dict:
    gradients = result["gradients"]
    return {
        "mean_loss": result["nll"].mean().item(),
        "grad_norm": sum(g.square().sum() for g in gradients.values()).sqrt().item(),
        "grads": {name: {"norm": g.norm().item(), "first4": g.flatten()[:4].tolist()} for name, g in gradients.items()},
    }


def largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a.double() - b.double()).abs().max().item()


def main() -> None:
    models = Path(sys.argv[1])
    for known in ["llama_gqa", "olmo2"]:
        golden = load_file(models / known / "golden.safetensors")
        result = truth(models / known, golden["input_ids"])
        assert largest(result["logits"], golden["logits_f64"]) < 1e-11, known
        norm = json.loads((models / known / "golden.json").read_text())["float64"]["grad_norm"]
        assert abs(summary(result)["grad_norm"] / norm - 1) < 1e-11, known
        print(f"{known}: as known, to {largest(result['logits'], golden['logits_f64']):.0e}")

    for number, (name, config) in enumerate(CASES.items()):
        rng = np.random.default_rng(SEED + number)
        folder = models / name
        folder.mkdir(exist_ok=True)
        make_weights(folder, config, rng)
        ids = torch.tensor(rng.integers(0, config["vocab_size"], (2, TIME)))
        ids[0, :2] = torch.tensor([0, config["vocab_size"] - 1])  # both ends of the vocabulary
        result, single = truth(folder, ids), compute(load(folder), ids)
        differences = {key: largest(result[key], single[key]) for key in ["logits", "nll"]}
        differences["gradients"] = max(
            ((gradient - single["gradients"][key].double()).norm() / gradient.norm()).item()
            for key, gradient in result["gradients"].items()
        )
        assert max(differences.values()) < 2e-4, (name, differences)
        golden = {"input_ids": ids, "logits_f64": result["logits"], "nll_f64": result["nll"]}
        save_file({key: value.contiguous() for key, value in golden.items()}, folder / "golden.safetensors")
        note = "transformers with its float32 casts redirected to float64; grads are of mean_loss; a tied head has one gradient"
        golden = {"note": note, "float64": summary(result), "deviation_of_float32": differences}
        (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
        size = sum(file.stat().st_size for file in folder.iterdir())
        assert size <= 300_000, (name, size)
        print(f"{name}: {size} bytes, mean loss {golden['float64']['mean_loss']:.4f}, float32 off by", differences)


if __name__ == "__main__":
    main()
