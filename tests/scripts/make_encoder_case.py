"""Makes the golden case of sentence encoders: a tiny random BERT, and what transformers computes with it in float64.

    make_encoder_case.py FIXTURES/encoder

The folder is laid out as sentence-transformers does it. golden.json holds for each text the token ids of its passages (those
around the text included), and its vector by mean and by CLS pooling: passages are encoded one by one, without padding, their
vectors divided by their length, averaged with their numbers of tokens of text as weights, and divided by the length again.

Weights are large, norms random around 1 and biases random, so that a part left out or misplaced shows. The vocabulary is made
up. tokenizer.json stores a truncation and a padding, as that of all-MiniLM-L6-v2 does; neither must have an effect.

Written for torch 2.15, transformers 5.23 and tokenizers 0.23.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

SEED = 20240608
LONGEST = 16
PASSAGE = LONGEST - 2

WORDS = "the a of and in on to is was it old new red sea river house stone walk walks sing count tree light night day".split()
PIECES = [*"abcdefghijklmnopqrstuvwxyz", "ing", "ed", "er", "ly", "tion"]
VOCABULARY = (
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "?", "-"]
    + [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    + [word for word in WORDS if len(word) > 1]
    + [f"##{piece}" for piece in PIECES]
)

CONFIG = {
    "architectures": ["BertModel"], "model_type": "bert", "vocab_size": len(VOCABULARY), "hidden_size": 32,
    "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "hidden_act": "gelu",
    "max_position_embeddings": 24, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
    "position_embedding_type": "absolute", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip

TEXTS = [
    "The old house.",
    "a",
    "Was it the RIVER, or the sea?",
    "The light of day and the light of night walk on the old stone",  # 14 tokens, one passage just filled
    "The light of day and the light of night walk on the old red stone",  # one token too many
    "the river walks to the sea and the tree sings in the night. " * 5,
    "Counting stones, counting trees, walking in new light; is the sea red?",
    "Москва is an old house",  # the first word is unknown
    "12 houses, 345 trees",
]


def tokenizer():
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer


def main(folder):
    torch.manual_seed(SEED)
    model = BertModel(BertConfig(**CONFIG, attn_implementation="eager")).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "LayerNorm.weight" in name:
                weight.copy_(1 + 0.3 * torch.randn_like(weight))
            elif name.endswith("bias"):
                weight.copy_(0.3 * torch.randn_like(weight))
            else:
                weight.copy_((0.8 if "embeddings" in name else 0.25) * torch.randn_like(weight))

    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    write = lambda path, content: (folder / path).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write("config.json", CONFIG)
    write("sentence_bert_config.json", {"max_seq_length": LONGEST, "do_lower_case": False})
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    module = "sentence_transformers.models."
    write("modules.json", [{"idx": i, "name": str(i), "path": p, "type": module + k} for i, (p, k) in enumerate(kinds)])
    write(
        "1_Pooling/config.json",
        {
            "word_embedding_dimension": 32,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )
    plain = tokenizer()
    stored = tokenizer()
    stored.enable_truncation(8)
    stored.enable_padding(length=8)
    stored.save(str(folder / "tokenizer.json"))
    weights = {name: weight.detach().contiguous() for name, weight in model.state_dict().items()}
    # A buffer of old files.
    weights["embeddings.position_ids"] = torch.arange(CONFIG["max_position_embeddings"]).unsqueeze(0)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    model = model.double()
    unit = lambda vector: vector / vector.norm()
    golden = []
    for text in TEXTS:
        ids = plain.encode(text, add_special_tokens=False).ids
        passages = [ids[i : i + PASSAGE] for i in range(0, len(ids), PASSAGE)]
        sums = {"mean": torch.zeros(32, dtype=torch.float64), "cls": torch.zeros(32, dtype=torch.float64)}
        for passage in passages:
            with torch.no_grad():
                states = model(torch.tensor([[2, *passage, 3]])).last_hidden_state[0]
            sums["mean"] += len(passage) * unit(states.mean(0))
            sums["cls"] += len(passage) * unit(states[0])
        vectors = {pooling: unit(total).tolist() for pooling, total in sums.items()}
        golden.append({"text": text, "passages": [[2, *passage, 3] for passage in passages], **vectors})
    (folder / "golden.json").write_text(
        "[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in golden) + "\n]\n"
    )


main(Path(sys.argv[1]))
