//! The configurations that stand beside synthetic corpora: a small base model, and a study over all domains.

use std::path::Path;

use super::{Known, put};
use crate::error::Result;

/// Longest window of the base, tokens: short enough to train in minutes on a processor.
pub(super) const LONGEST_CONTEXT: usize = 256;

/// Writes `pretrain.toml` and `study.toml` into `folder`; `known` are its corpora, the base first.
pub(super) fn write(folder: &Path, name: &str, vocabulary: usize, context: usize, known: &[Known]) -> Result<()> {
    put(&folder.join("pretrain.toml"), &pretrain(vocabulary, context, known[0].tokens.train))?;
    put(&folder.join("study.toml"), &study(name, known))
}

/// A GPT-2 that reads documents by themselves, each begun by the end-of-text token.
fn pretrain(vocabulary: usize, context: usize, tokens: usize) -> String {
    format!(
        r#"# A small GPT-2 from random weights, on the reference corpus of this folder. Run it here:
#
#   odyssey pretrain pretrain.toml --out model

corpus = "base"
tokenizer = "tokenizer.json"
seed = 42

# Every document is read by itself and begins with <|endoftext|>, so that all of its tokens are predicted: what is known of
# the corpora (known.json) is of all tokens of the documents and of no others.
[text]
join = "apart"
bos = "always"

[model]
architectures = ["GPT2LMHeadModel"]
model_type = "gpt2"
vocab_size = {vocabulary} # <|endoftext|>, <unk> and the symbols
n_positions = {context}
n_embd = 64
n_layer = 2
n_head = 4
activation_function = "gelu_new"
layer_norm_epsilon = 1e-5
attn_pdrop = 0.0
embd_pdrop = 0.0
resid_pdrop = 0.0
tie_word_embeddings = true
bos_token_id = 0 # <|endoftext|>
eos_token_id = 0
torch_dtype = "float32"

[recipe]
epochs = 5 # of {tokens} tokens
packing = "document"
batch = 16
micro_batch = 16
lr = 3e-3
decay = "cosine"
warmup_ratio = 0.05
adamw = {{ beta2 = 0.95, weight_decay = 0.1 }}
valid_tokens = 10_000
"#
    )
}

/// Plain additional pretraining on every domain, perplexity over all tokens of the documents.
fn study(name: &str, known: &[Known]) -> String {
    let mut text = format!(
        r#"# The base of pretrain.toml, adapted to each of the corpora beside it. Run it here:
#
#   odyssey study run study.toml --out study
#
# What a perfect model would score stands in each domain's known.json.

name = "{name}: known answers"

# Every document by itself, begun by <|endoftext|>, all of its tokens scored.
[text]
join = "apart"

[evaluation]
protocol = "doc"

[similarity]
samples = 256
reference_samples = 512

[[models]]
name = "base"
path = "model"
reference = "base"

[[strategies]]
name = "full"
train_text = {{ join = "apart", bos = "always" }}

[strategies.recipe]
packing = "document"
lr = 1e-3
batch = 16
micro_batch = 16
valid_tokens = 10_000
"#
    );
    for Known { domain, kind, .. } in known.iter().skip(1) {
        text += &format!("\n[[domains]]\nname = \"{domain}\"\npath = \"{domain}\"\ngroup = \"{}\"\n", group(kind));
    }
    text
}

/// Kinds with a number are of one group.
fn group(kind: &str) -> &str {
    kind.split('-').next().unwrap_or(kind)
}
