"""Makes the golden curves of training and of LoRA on four of the models of make_first_cases.py, in float64.

    make_training.py COMMITTED INTO

INTO/models must be there. INTO/training gets adamw.json and the token ids of every batch; INTO/lora gets lora.json, and of each model
its batches, the first values of the adapter, the trained adapter as peft saves it, and the logits with it.

From COMMITTED (tests/fixtures) come the batches, which are texts that do not lie here.

The truth is plain_models.py in float64 with torch's AdamW. transformers and peft, in float32, must agree with it. Two things are
theirs and float32: the saved adapter, and the merged weights.

Written for torch 2.15, transformers 5.24 and peft 0.21.2.
"""

import json
import math
import shutil
import sys
from pathlib import Path

import torch
from make_family_cases import largest, load
from peft import LoraConfig, get_peft_model
from plain_models import Model, mean_loss, read
from safetensors.torch import load_file, save_file

TRAINED = ["gpt2_tied", "llama_mha", "llama_gqa", "olmo", "olmo2"]
RATE, WARMUP, STEPS, LEAST = 1e-3, 5, 20, 0.1

# Modules, and the seed of the first values.
ADAPTED = {
    "gpt2_tied": (["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"], 1071),
    "llama_mha": (["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], 1072),
}
HYPER = {
    "steps": 10, "batch": 4, "r": 4, "alpha": 8, "lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-08, "weight_decay": 0.0,
    "clip": 1.0,
}  # fmt: skip
# Positions whose logits are kept.
KEPT = 12


def learning_rate(step: int) -> float:
    if step <= WARMUP:
        return RATE * step / WARMUP
    progress = (step - WARMUP) / (STEPS - WARMUP)
    return RATE * (LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * progress)))


def train(loss, weights: dict, batches: torch.Tensor, rate, betas, decay: float) -> dict:
    """Batches [steps, micro-batches, rows, time]. Matrices decay, vectors do not. The norm is that before clipping to 1."""
    groups = [
        {"params": [weight for weight in weights.values() if weight.ndim == 2], "weight_decay": decay},
        {"params": [weight for weight in weights.values() if weight.ndim != 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=1.0, betas=betas, eps=1e-8)
    log = {"lr": [], "loss": [], "grad_norm": []}
    for step, micro_batches in enumerate(batches, 1):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.zero_grad()
        total = 0.0
        for ids in micro_batches:
            part = loss(ids) / len(micro_batches)
            part.backward()
            total += part.item()
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        for key, value in [("lr", rate(step)), ("loss", total), ("grad_norm", norm.item())]:
            log[key].append(value)
    return log


def sums(weight: torch.Tensor) -> dict:
    weight = weight.detach().double()
    return {"sum": weight.sum().item(), "sumsq": weight.square().sum().item()}


def of_weights(weights: dict) -> dict:
    """Sums of weights. The biases of GPT-2's keys have no gradient but rounding, which AdamW makes steps of: also without them."""
    result = {}
    for name, weight in sorted(weights.items()):
        result[name] = sums(weight)
        if name.endswith("attn.c_attn.bias"):
            queries, _, values = weight.chunk(3)
            result[f"{name}#q_and_v_only"] = sums(torch.cat([queries, values]))
    return result


def agree(name: str, log: dict, single: dict) -> None:
    for key in ["loss", "grad_norm"]:
        apart = max(abs(a / b - 1) for a, b in zip(log[key], single[key], strict=True))
        assert apart < 2e-5, (name, key, apart)


def make_training(committed: Path, into: Path) -> None:
    (into / "training").mkdir(parents=True, exist_ok=True)
    result = {}
    for name in TRAINED:
        file = f"training/{name}.batches.safetensors"
        shutil.copy(committed / file, into / file)
        batches = load_file(into / file)["input_ids"]
        config, weights = read(into / "models" / name, torch.float64)
        weights = {key: weight.requires_grad_() for key, weight in weights.items()}
        model = Model(config, weights)
        log = train(lambda ids: mean_loss(model(ids), ids), weights, batches, learning_rate, (0.9, 0.95), 0.1)

        hf = load(into / "models" / name).train()
        single = train(
            lambda ids: mean_loss(hf(ids).logits, ids), dict(hf.named_parameters()), batches, learning_rate, (0.9, 0.95), 0.1
        )
        agree(name, log, single)
        result[name] = log | {"final_params": of_weights(weights)}
        print(f"{name}: loss {log['loss'][0]:.4f} to {log['loss'][-1]:.4f}")
    (into / "training/adamw.json").write_text(json.dumps(result, indent=1) + "\n")


def first_values(weights: dict, modules: list, seed: int, gpt2: bool) -> tuple[dict, dict]:
    generator, a, b = torch.Generator().manual_seed(seed), {}, {}
    for name, weight in weights.items():
        module = name.removesuffix(".weight")
        if module != name and any(module.endswith(f".{end}") for end in modules):
            width, out = weight.shape if gpt2 else reversed(weight.shape)
            a[module] = (torch.randn(HYPER["r"], width, generator=generator) / math.sqrt(width)).double()
            b[module] = torch.zeros(out, HYPER["r"], dtype=torch.float64)
    return a, b


def save_adapter(model, folder: Path, name: str, modules: list) -> None:
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": f"models/{name}", "target_modules": sorted(modules)}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")


def make_lora(committed: Path, into: Path) -> None:
    result = {}
    for name, (modules, seed) in ADAPTED.items():
        folder, gpt2 = into / "lora" / name, name.startswith("gpt2")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(committed / "lora" / name / "batches.safetensors", folder)
        batches = load_file(folder / "batches.safetensors")["input_ids"]
        rate = lambda step: HYPER["lr"]

        config, base = read(into / "models" / name, torch.float64)
        a, b = first_values(base, modules, seed, gpt2)
        init = {}
        for module in a:
            init[f"base_model.model.{module}.lora_A.weight"] = a[module].float()
            init[f"base_model.model.{module}.lora_B.weight"] = b[module].float()
        save_file(init, folder / "init.safetensors", metadata={"format": "pt"})

        setting = LoraConfig(
            r=HYPER["r"], lora_alpha=HYPER["alpha"], lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
            target_modules=modules, fan_in_fan_out=gpt2,
        )  # fmt: skip
        hf = get_peft_model(load(into / "models" / name).train(), setting)
        places = {place.removeprefix("base_model.model."): m for place, m in hf.named_modules() if hasattr(m, "lora_A")}
        assert set(places) == set(a), set(places) ^ set(a)
        for module, place in places.items():
            place.lora_A["default"].weight.data.copy_(a[module])
        trained = {key: weight for key, weight in hf.named_parameters() if weight.requires_grad}
        single = train(lambda ids: mean_loss(hf(ids).logits, ids), trained, batches, rate, (0.9, 0.999), 0.0)

        weights = {f"{module}.lora_A": weight.requires_grad_() for module, weight in a.items()}
        weights |= {f"{module}.lora_B": weight.requires_grad_() for module, weight in b.items()}
        model = Model(config, base, {"scale": HYPER["alpha"] / HYPER["r"], "A": a, "B": b})
        log = train(lambda ids: mean_loss(model(ids), ids), weights, batches, rate, (0.9, 0.999), 0.0)
        agree(name, log, single)

        ids = batches[0, 0]
        with torch.no_grad():
            logits = model(ids)
            assert largest(hf(ids).logits, logits) < 2e-4, name
            save_adapter(hf, folder / "adapter", name, modules)
            merged = hf.merge_and_unload()
            assert largest(merged(ids).logits, logits) < 2e-4, name
        # The last positions see the most.
        after = {"input_ids": ids[:1].contiguous(), "logits_f64": logits[:1, -KEPT:].contiguous()}
        save_file(after, folder / "logits_after.safetensors")
        del log["lr"]
        result[name] = {
            "target_modules": modules,
            **log,
            "trainable_parameters": sum(weight.numel() for weight in weights.values()),
            "final": {key: sums(weight) for key, weight in weights.items()},
            "merged": {key: sums(w) for key, w in merged.named_parameters() if key.removesuffix(".weight") in a},
        }
        print(f"lora {name}: loss {log['loss'][0]:.4f} to {log['loss'][-1]:.4f}")
    (into / "lora/lora.json").write_text(json.dumps({"hyper": HYPER, "cases": result}, indent=1) + "\n")


def main() -> None:
    committed, into = (Path(argument) for argument in sys.argv[1:])
    make_training(committed, into)
    make_lora(committed, into)


if __name__ == "__main__":
    main()
