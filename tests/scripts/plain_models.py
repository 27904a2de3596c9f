"""GPT-2, LLaMA, OLMo and OLMo 2 in plain torch, in whatever float type their weights have, with or without LoRA.

transformers computes norms, rotations and softmax in float32, whatever the weights are: its float64 is no float64. Here nothing
changes the type, so float64 weights give the truth. In float32 it equals transformers up to rounding, which those who use it check.
"""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional as F


class Model:
    """A configuration, weights by the names of transformers, and perhaps an adapter.

    An adapter is {"scale": alpha / r, "A": {module: [r, in]}, "B": {module: [out, r]}}.
    """

    def __init__(self, config: dict, weights: dict, adapter: dict | None = None):
        self.config, self.weights, self.adapter = config, weights, adapter

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids [batch, time] to logits [batch, time, vocabulary]."""
        return self.gpt2(ids) if self.config["model_type"] == "gpt2" else self.llama(ids)

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight = self.weights[f"{name}.weight"]
        # GPT-2 stores [in, out], the others [out, in].
        y = x @ (weight if self.config["model_type"] == "gpt2" else weight.T)
        if f"{name}.bias" in self.weights:
            y = y + self.weights[f"{name}.bias"]
        if self.adapter and name in self.adapter["A"]:
            y = y + self.adapter["scale"] * (x @ self.adapter["A"][name].T @ self.adapter["B"][name].T)
        return y

    def gpt2(self, ids: torch.Tensor) -> torch.Tensor:
        config, weights = self.config, self.weights
        eps, heads = config["layer_norm_epsilon"], config["n_head"]

        def norm(x, name):
            return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

        x = weights["transformer.wte.weight"][ids] + weights["transformer.wpe.weight"][: ids.shape[1]]
        for layer in range(config["n_layer"]):
            path = f"transformer.h.{layer}"
            parts = self.linear(norm(x, f"{path}.ln_1"), f"{path}.attn.c_attn").chunk(3, -1)
            x = x + self.linear(attention(*(split(part, heads) for part in parts)), f"{path}.attn.c_proj")
            inner = self.linear(norm(x, f"{path}.ln_2"), f"{path}.mlp.c_fc")
            x = x + self.linear(F.gelu(inner, approximate="tanh"), f"{path}.mlp.c_proj")
        return norm(x, "transformer.ln_f") @ weights["transformer.wte.weight"].T

    def llama(self, ids: torch.Tensor) -> torch.Tensor:
        config, weights, kind = self.config, self.weights, self.config["model_type"]
        heads = config["num_attention_heads"]
        pairs = config.get("num_key_value_heads") or heads
        turn = rotation(config, config.get("head_dim") or config["hidden_size"] // heads, ids.shape[1], torch.float64)

        def norm(x, name):
            if kind == "olmo":  # without weights
                return F.layer_norm(x, x.shape[-1:], None, None, 1e-5)
            return x / (x.square().mean(-1, keepdim=True) + config["rms_norm_eps"]).sqrt() * weights[f"{name}.weight"]

        def queries_keys_values(x, path):
            q, k, v = (self.linear(x, f"{path}.{part}_proj") for part in "qkv")
            if kind == "olmo2":  # over all heads together
                q, k = norm(q, f"{path}.q_norm"), norm(k, f"{path}.k_norm")
            if limit := config.get("clip_qkv"):
                q, k, v = (part.clamp(-limit, limit) for part in (q, k, v))
            return rotate(split(q, heads), turn), rotate(split(k, pairs), turn), split(v, pairs)

        def gated(x, path):
            return self.linear(F.silu(self.linear(x, f"{path}.gate_proj")) * self.linear(x, f"{path}.up_proj"), f"{path}.down_proj")

        x = weights["model.embed_tokens.weight"][ids]
        for layer in range(config["num_hidden_layers"]):
            path = f"model.layers.{layer}"

            def attend(x, path=path):
                return self.linear(attention(*queries_keys_values(x, f"{path}.self_attn")), f"{path}.self_attn.o_proj")

            if kind == "olmo2":  # its norms come after
                x = x + norm(attend(x), f"{path}.post_attention_layernorm")
                x = x + norm(gated(x, f"{path}.mlp"), f"{path}.post_feedforward_layernorm")
            else:
                x = x + attend(norm(x, f"{path}.input_layernorm"))
                x = x + gated(norm(x, f"{path}.post_attention_layernorm"), f"{path}.mlp")
        head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
        return norm(x, "model.norm") @ head.T


def split(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[batch, time, channels] to [batch, heads, time, channels / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Causal; a head of keys and values serves as many heads of queries as follow one another."""
    shared = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return (torch.softmax(scores.masked_fill(later, -math.inf), -1) @ v).transpose(1, 2).flatten(-2)


def rotation(config: dict, width: int, time: int, dtype: torch.dtype) -> torch.Tensor:
    """Angles [time, width / 2]."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    base = scaling.get("rope_theta") or config.get("rope_theta", 10000.0)
    frequencies = base ** -(torch.arange(0, width, 2, dtype=dtype) / width)
    if scaling.get("rope_type", "default") == "llama3":
        factor, low, high = (scaling[key] for key in ["factor", "low_freq_factor", "high_freq_factor"])
        # Slow ones are slowed down by the factor, fast ones stay, those between are mixed.
        turns = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
        kept = ((turns - low) / (high - low)).clamp(0, 1)
        frequencies = (1 - kept) * frequencies / factor + kept * frequencies
    else:
        assert scaling.get("rope_type", "default") == "default", scaling
    return torch.arange(time, dtype=dtype)[:, None] * frequencies


def rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Element i turns with element i + width / 2."""
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def token_losses(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihoods [batch, time - 1]."""
    return -torch.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]


def mean_loss(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return token_losses(logits, ids).mean()


def read(folder: Path, dtype: torch.dtype) -> tuple[dict, dict]:
    """The configuration and the weights of a folder, by the names of transformers."""
    config = json.loads((folder / "config.json").read_text())
    weights = {}
    for file in sorted(folder.glob("model*.safetensors")):
        for name, tensor in load_file(file).items():
            if name.endswith(".attn.bias"):  # a mask that old files of GPT-2 carry
                continue
            if config["model_type"] == "gpt2" and not name.startswith("transformer."):
                name = f"transformer.{name}"
            weights[name] = tensor.to(dtype)
    return config, weights
