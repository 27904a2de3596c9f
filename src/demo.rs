//! The whole experiment on built-in data: no download, half a minute on two processor cores.
//!
//! The corpora are a family of synthetic languages ([`crate::synth`]) whose distance from the base language is known in
//! closed form; the base model is trained from random weights.

use std::path::Path;

use burn::tensor::Device;
use serde_json::{Map, Value, json};

use crate::adapt::{Form, Resumable, RunPlace};
use crate::device::DeviceChoice;
use crate::disk::lock::Lock;
use crate::disk::scratch;
use crate::error::Result;
use crate::pretrain::{PretrainConfig, pretrain};
use crate::progress::{Monitor, Watched};
use crate::recipe::AdamWConfig;
use crate::recipe::AdaptSettings;
use crate::recipe::Decay;
use crate::study::StudyConfig;
use crate::study::config::{
    DomainEntry, EvaluationSettings, ModelEntry, SimilaritySettings, StatisticsSettings, StrategyEntry, TextSettings,
};
use crate::synth::{Sizes, Splits, write_family};
use crate::text::{DocumentRule, StreamOptions, Tokenizer};

/// How foreign each domain is; the first is the base language itself, the control for restarting the optimiser.
const LAMBDAS: [f64; 7] = [0.0, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0];

/// Tokens of a window.
const CONTEXT: usize = 64;

const SIZES: Sizes = Sizes {
    base: Splits { train: 400_000, valid: 10_000, test: 10_000 },
    domain: Splits { train: 40_000, valid: 6_000, test: 20_000 },
};

/// Makes the corpora and the base model in `out` if they are missing, and returns the study over them.
///
/// # Errors
/// Writing fails, the device fails, the user interrupts.
pub fn prepare(
    out: &Path,
    seed: u64,
    choice: DeviceChoice,
    device: &Device,
    monitor: &mut dyn Monitor,
) -> Result<StudyConfig> {
    let _lock = Lock::inside(out, "demo")?;
    scratch::sweep_folder(out);
    let (corpora, base) = (out.join("corpora"), out.join("base"));
    if !corpora.exists() {
        write_family(&corpora, seed, &LAMBDAS, Watched::by(SIZES, monitor))?;
    }
    if !base.exists() {
        let tokenizer = corpora.join("tokenizer.json");
        let config = PretrainConfig {
            corpus: corpora.join("base"),
            seed,
            document: DocumentRule::BlankLine,
            text_field: None,
            text: StreamOptions::default(),
            model: architecture(&Tokenizer::from_file(&tokenizer)?),
            recipe: AdaptSettings {
                epochs: 5,
                lr: 3e-3,
                decay: Decay::Cosine,
                warmup_ratio: 0.05,
                adamw: AdamWConfig { beta2: 0.95, weight_decay: 0.1, ..AdamWConfig::default() },
                ..recipe()
            },
            tokenizer,
        };
        let place = RunPlace::take(&base, Form::default(), true, "demo")?;
        let resumable = place.resumable(None, Resumable::LONGEST, "the demo goes on from there when it is run again");
        pretrain(&config, &place, resumable, device, monitor)?;
    }
    let domain = |lambda: f64| DomainEntry {
        name: format!("lambda-{lambda}"),
        path: corpora.join(format!("lambda-{lambda}")),
        group: "languages".into(),
    };
    Ok(StudyConfig {
        name: "Demo: synthetic languages at known distances".into(),
        seeds: vec![seed],
        devices: vec![choice],
        restart_control: true,
        text: TextSettings::default(),
        evaluation: EvaluationSettings::default(),
        similarity: SimilaritySettings { samples: 256, reference_samples: 512, ..SimilaritySettings::default() },
        statistics: StatisticsSettings::default(),
        ablation: None,
        models: vec![ModelEntry { name: "base".into(), path: base, reference: corpora.join("base") }],
        domains: LAMBDAS.map(domain).to_vec(),
        strategies: vec![StrategyEntry::new(
            "full",
            AdaptSettings { lr: 1e-3, decay: Decay::Constant, warmup_ratio: 0.0, ..recipe() },
        )],
    })
}

/// The settings that pretraining and adaptation share.
fn recipe() -> AdaptSettings {
    AdaptSettings { batch: 32, micro_batch: 32, valid_tokens: 6_000, ..AdaptSettings::default() }
}

/// A GPT-2 small enough to train in seconds on two processor cores.
fn architecture(tokenizer: &Tokenizer) -> Map<String, Value> {
    let end_of_text = tokenizer.id_of("<|endoftext|>");
    let config = json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
        "vocab_size": tokenizer.vocabulary_size(), "n_positions": CONTEXT, "n_embd": 64, "n_layer": 2, "n_head": 4,
        "layer_norm_epsilon": 1e-5, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
        "bos_token_id": end_of_text, "eos_token_id": end_of_text, "tie_word_embeddings": true, "torch_dtype": "float32",
    });
    match config {
        Value::Object(object) => object,
        _ => Map::new(), // the literal above is an object
    }
}
