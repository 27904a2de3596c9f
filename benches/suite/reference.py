"""The references: PyTorch, transformers, PEFT, scipy and tokenizers, as usually called.

Reads an order and answers it as `side.rs` says. Whatever is not installed is reported as absent.
"""

import json
import pathlib
import sys
import time

LONG_ENOUGH = 0.05


def prepare(order):
    """The reference's name, and the work as a function that returns what came out."""
    task = order["task"]
    inputs = pathlib.Path(order["inputs"])
    if task == "tokenise":
        return tokenise(order, inputs)
    if task == "frechet":
        return frechet(order, inputs)

    import torch

    torch.set_num_threads(order["threads"])
    on_gpu = order["device"] not in ("cpu", "software")
    if on_gpu and not torch.cuda.is_available():
        raise RuntimeError("PyTorch finds no GPU through CUDA")
    device = torch.device("cuda" if on_gpu else "cpu")
    where = torch.cuda.get_device_name() if on_gpu else "cpu"
    name = f"torch {torch.__version__} on {where}"
    if task in ("train", "evaluate"):
        import transformers

        name += f", transformers {transformers.__version__}"
        return name, language_model(order, inputs, torch, transformers, device)
    if task == "product":
        x = numbers(torch, order["size"] ** 2, device).reshape(order["size"], order["size"])
        return name, lambda: (x @ x)[-1, -1].item()
    if task == "copy":
        x = numbers(torch, order["numbers"], device)
        return name, lambda: (x + 1.0)[-1].item()
    if task == "mmd":
        return name, mmd(order, inputs, torch, device)
    raise RuntimeError(f"no reference for {task}")


def numbers(torch, count, device):
    return ((torch.arange(count) * 37 % 1001).float() / 500.0 - 1.0).to(device)


def language_model(order, inputs, torch, transformers, device):
    batch, context = order["batch"], order["context"]
    count = order.get("windows", batch)
    model = transformers.AutoModelForCausalLM.from_pretrained(order["model"], dtype=torch.float32).to(device)
    ids = torch.frombuffer(bytearray((inputs / "ids.u32").read_bytes()), dtype=torch.int32).long()
    windows = ids[: count * (context + 1)].reshape(count, context + 1).to(device)

    def loss(windows):
        logits = model(windows[:, :-1], use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), windows[:, 1:].reshape(-1))

    if order["task"] == "evaluate":
        model.eval()

        def evaluate():
            with torch.inference_mode():
                losses = [loss(together).item() for together in windows.split(batch)]
                return sum(losses) / len(losses)

        return evaluate

    if order.get("rank"):
        import peft

        gpt2 = model.config.model_type == "gpt2"
        settings = peft.LoraConfig(
            r=order["rank"], lora_alpha=16, target_modules=["c_attn"] if gpt2 else ["q_proj", "v_proj"], fan_in_fan_out=gpt2
        )
        model = peft.get_peft_model(model, settings)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)

    def step():
        optimizer.zero_grad(set_to_none=True)
        value = loss(windows)
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return value.item()

    return step


def mmd(order, inputs, torch, device):
    samples, dimension, sigma = order["samples"], order["dimension"], order["sigma"]
    x, y = (
        torch.frombuffer(bytearray((inputs / name).read_bytes()), dtype=torch.float32).reshape(samples, dimension).to(device)
        for name in ("x.f32", "y.f32")
    )

    def statistic():
        pool = torch.cat([x, y])
        n = len(pool)
        kernel = torch.exp(torch.cdist(pool, pool).square_() / (-2.0 * sigma * sigma))
        kernel.fill_diagonal_(0.0)
        sides = torch.zeros(n, 1 + order["permutations"], device=device)
        sides[:samples, 0] = 1.0
        for column in range(1, sides.shape[1]):
            sides[torch.randperm(n, device=device)[:samples], column] = 1.0
        within = (sides * (kernel @ sides)).sum(0).double()
        rows = kernel.sum(1)
        reached = (rows @ sides).double()
        total = rows.double().sum()
        pairs = samples * (samples - 1)
        between = (reached - within) / samples**2
        values = within / pairs + (total - 2.0 * reached + within) / pairs - 2.0 * between
        return values[0].item()

    def statistics():
        return [statistic() for _ in range(order["domains"])][-1]

    return statistics


def frechet(order, inputs):
    import numpy
    import scipy
    import scipy.linalg

    samples, dimension = order["samples"], order["dimension"]
    x, y = (numpy.fromfile(inputs / name, dtype=numpy.float32).reshape(samples, dimension) for name in ("x.f32", "y.f32"))

    def distance():
        a, b = x.astype(numpy.float64), y.astype(numpy.float64)
        first, second = numpy.cov(a, rowvar=False), numpy.cov(b, rowvar=False)
        root = scipy.linalg.sqrtm(first @ second).real
        means = a.mean(0) - b.mean(0)
        return float(means @ means + numpy.trace(first) + numpy.trace(second) - 2.0 * numpy.trace(root))

    return f"numpy {numpy.__version__}, scipy {scipy.__version__}", distance


def tokenise(order, inputs):
    import numpy
    import transformers

    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(pathlib.Path(order["model"]) / "tokenizer.json"))
    end = json.loads((pathlib.Path(order["model"]) / "config.json").read_text())["eos_token_id"]
    context = order["context"]

    def windows():
        with open(inputs / "documents.jsonl", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines]
        documents = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        joined = [token for document in documents for token in [*document, end]][:-1]
        stream = numpy.array(joined, dtype=numpy.int64)
        stream[: len(stream) // context * context].reshape(-1, context)
        return float(len(stream))

    return f"transformers {transformers.__version__} (tokenizers in Rust)", windows


def peak_bytes():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no mark of the peak")


def answer(**values):
    print(json.dumps(values), flush=True)


def main():
    order = json.loads(sys.stdin.readline())
    try:
        started = time.perf_counter()
        name, work = prepare(order)
        prepared = time.perf_counter()
        check = work()
        answer(name=name, prepare_s=prepared - started, first_s=time.perf_counter() - prepared, check=check)
    except Exception as error:  # whatever it is, it is said
        answer(name="", absent=f"{type(error).__name__}: {error}"[:300])
        return
    times = 1
    for line in sys.stdin:
        if line.strip() != "run":
            try:
                answer(peak_bytes=peak_bytes())
            except (OSError, RuntimeError):
                answer(peak_bytes=0)
            return
        started = time.perf_counter()
        for _ in range(times):
            work()
        seconds = (time.perf_counter() - started) / times
        answer(seconds=seconds)
        times = int(min(max(LONG_ENOUGH / seconds, 1), 1000))


main()
