//! What is measured.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A piece of work that both sides do on the same inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case")]
pub enum Task {
    /// `[size, size]` times `[size, size]`, f32.
    Product {
        /// Rows.
        size: usize,
    },
    /// `x + 1` of so many f32.
    Copy {
        /// Numbers.
        numbers: usize,
    },
    /// One optimiser step: gradient, clipping, AdamW.
    Train {
        /// Windows of a step.
        batch: usize,
        /// Tokens of a window.
        context: usize,
        /// Rank of the adapters where only these are trained.
        rank: Option<usize>,
    },
    /// The negative log-likelihood of every token.
    Evaluate {
        /// Windows at once.
        batch: usize,
        /// Windows in all.
        windows: usize,
        /// Tokens of a window.
        context: usize,
    },
    /// MMD² with an RBF kernel, and its permutations.
    Mmd {
        /// Vectors on each side.
        samples: usize,
        /// Their components.
        dimension: usize,
        /// Permutations.
        permutations: usize,
        /// The kernel's bandwidth.
        sigma: f64,
        /// How many domains are compared with the first, one after the other.
        domains: usize,
    },
    /// Fréchet distance of two samples, covariances included.
    Frechet {
        /// Vectors on each side.
        samples: usize,
        /// Their components.
        dimension: usize,
    },
    /// A text to tokens to windows of `context`.
    Tokenise {
        /// Tokens of a window.
        context: usize,
    },
}

/// Where a case's model or tokenizer comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// It needs none.
    None,
    /// Random weights for this `config.json`.
    Random(Value),
    /// A folder below the test data.
    Folder(&'static str),
}

/// When a case is run without being named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Always: the device's own rates, which others are compared with.
    Rates,
    /// By default.
    Usual,
    /// With `--scaling`.
    Scaling,
    /// With `--large`.
    Large,
    /// Only by name.
    Smoke,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What `--filter` finds.
    pub name: String,
    /// When it is run.
    pub group: Group,
    /// The work.
    pub task: Task,
    /// What on.
    pub source: Source,
}

/// All of them.
pub fn all() -> Vec<Case> {
    let case =
        |name: &str, group, source: &Source, task| Case { name: name.into(), group, task, source: source.clone() };
    let train = |batch, context| Task::Train { batch, context, rank: None };
    let lora = |batch, context| Task::Train { batch, context, rank: Some(8) };
    let evaluate = |batch, context| Task::Evaluate { batch, windows: batch, context };
    let mmd = |samples, permutations| Task::Mmd { samples, dimension: 256, permutations, sigma: 22.0, domains: 1 };
    let of = |vocabulary, context| Source::Random(gpt2(vocabulary, context, 256, 4, 4));
    let (small, large) = (of(4096, 128), Source::Random(gpt2(50257, 1024, 768, 12, 12)));
    let (stories, wiki) = (Source::Folder("data/stories260K"), Source::Folder("models/wiki-gpt2"));
    let none = Source::None;
    let mut cases = vec![
        case("rate-product", Group::Rates, &none, Task::Product { size: 1024 }),
        case("rate-copy", Group::Rates, &none, Task::Copy { numbers: 1 << 24 }),
        case("tiny", Group::Smoke, &Source::Random(gpt2(256, 16, 32, 1, 2)), train(2, 16)),
        case("gpt2-256-train", Group::Usual, &small, train(4, 128)),
        case("gpt2-256-lora", Group::Usual, &small, lora(4, 128)),
        case("gpt2-256-evaluate", Group::Usual, &small, evaluate(4, 128)),
        case("stories260K-train", Group::Usual, &stories, train(4, 128)),
        case("stories260K-evaluate", Group::Usual, &stories, evaluate(4, 128)),
        case("wiki-gpt2-train", Group::Usual, &wiki, train(4, 256)),
        case("wiki-gpt2-evaluate", Group::Usual, &wiki, evaluate(4, 256)),
        case("mmd-permutations", Group::Usual, &none, mmd(1000, 1000)),
        case("frechet", Group::Usual, &none, Task::Frechet { samples: 2000, dimension: 256 }),
        case("tokenise", Group::Usual, &wiki, Task::Tokenise { context: 256 }),
        case("gpt2-124M-evaluate", Group::Large, &large, evaluate(1, 1024)),
        case("gpt2-124M-train", Group::Large, &large, train(1, 128)),
        case("gpt2-124M-lora", Group::Large, &large, lora(1, 128)),
    ];
    let mut scaled = |name: &str, size: usize, source: &Source, task| {
        cases.push(case(&format!("scaling-{name}-{size}"), Group::Scaling, source, task));
    };
    for batch in [1, 2, 8, 16] {
        scaled("batch", batch, &small, train(batch, 128));
    }
    for context in [64, 256, 512, 1024] {
        scaled("context", context, &of(4096, context), train(1, context));
    }
    for vocabulary in [512, 16384, 50257] {
        scaled("vocabulary", vocabulary, &of(vocabulary, 128), train(4, 128));
    }
    for tokens in [2048, 8192, 32768] {
        scaled("tokens", tokens, &small, Task::Evaluate { batch: 4, windows: tokens / 128, context: 128 });
    }
    for domains in [2, 8] {
        scaled(
            "domains",
            domains,
            &none,
            Task::Mmd { samples: 500, dimension: 256, permutations: 1000, sigma: 22.0, domains },
        );
    }
    for samples in [250, 500, 2000] {
        scaled("samples", samples, &none, mmd(samples, 1000));
    }
    cases
}

fn gpt2(vocabulary: usize, context: usize, channels: usize, layers: usize, heads: usize) -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
        "vocab_size": vocabulary, "n_positions": context, "n_ctx": context, "n_embd": channels, "n_layer": layers,
        "n_head": heads, "layer_norm_epsilon": 1e-5, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
        "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": true, "torch_dtype": "float32",
    })
}

/// What a side is told: the work, and where its inputs lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The work.
    #[serde(flatten)]
    pub task: Task,
    /// The model's folder, where there is one.
    pub model: Option<PathBuf>,
    /// Files of inputs: `ids.u32`, `x.f32`, `y.f32`, `documents.jsonl`.
    pub inputs: PathBuf,
    /// Threads to compute with.
    pub threads: usize,
    /// The device, as odyssey calls it.
    pub device: String,
}

impl Order {
    /// A file of inputs.
    pub fn input(&self, name: &str) -> PathBuf {
        Path::new(&self.inputs).join(name)
    }
}
