"""Learning rates of transformers' schedules, step by step: tests/fixtures/schedules/transformers.json.

    python tests/scripts/make_schedules.py tests/fixtures/schedules/transformers.json

Needs transformers and torch. Number i of `rates` is the rate after i + 1 steps of the scheduler, which is the rate of
our step i + 1: transformers takes its first step at the rate of no step at all, 0 with a warm-up.
"""

import json
import sys

import torch
import transformers

CASES = {
    "constant": ("constant", {}, {"decay": "constant"}),
    "constant_with_warmup": ("constant_with_warmup", {}, {"decay": "constant", "warmup_steps": 7}),
    "linear": ("linear", {}, {"decay": "linear", "warmup_steps": 7, "min_lr_ratio": 0.0}),
    "cosine": ("cosine", {}, {"decay": "cosine", "warmup_steps": 7, "min_lr_ratio": 0.0}),
    "cosine_with_min_lr": (
        "cosine_with_min_lr",
        {"min_lr_rate": 0.1},
        {"decay": "cosine", "warmup_steps": 7, "min_lr_ratio": 0.1},
    ),
    # Its warm-up begins at the least rate where there is one, ours at 0: with a least rate, without a warm-up.
    "wsd_linear": (
        "warmup_stable_decay",
        {"num_decay_steps": 12, "decay_type": "linear"},
        {"decay": "wsd", "warmup_steps": 7, "min_lr_ratio": 0.0, "decay_share": 0.2, "decay_shape": "linear"},
    ),
    "wsd_sqrt": (
        "warmup_stable_decay",
        {"num_decay_steps": 12, "decay_type": "1-sqrt"},
        {"decay": "wsd", "warmup_steps": 7, "min_lr_ratio": 0.0, "decay_share": 0.2, "decay_shape": "sqrt"},
    ),
    "wsd_sqrt_to_a_tenth": (
        "warmup_stable_decay",
        {"num_decay_steps": 30, "decay_type": "1-sqrt", "min_lr_ratio": 0.1},
        {"decay": "wsd", "warmup_steps": 0, "min_lr_ratio": 0.1, "decay_share": 0.5, "decay_shape": "sqrt"},
    ),
}
STEPS, RATE = 60, 3e-4

cases = []
for name, (kind, options, settings) in CASES.items():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    warmup = settings.get("warmup_steps", 0)
    scheduler = transformers.get_scheduler(kind, optimizer, warmup, STEPS, scheduler_specific_kwargs=options)
    rates = []
    for _ in range(STEPS):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])
    cases.append({"name": name, "settings": {"lr": RATE, "warmup_ratio": 0.0, **settings}, "rates": rates})
with open(sys.argv[1], "w") as out:
    json.dump({"transformers": transformers.__version__, "steps": STEPS, "cases": cases}, out, indent=1)
