//! **odyssey**: will additional pretraining help or hurt here, which tokens carry the change, and how sure are we?
//!
//! The experiment of "Adaptation Odyssey in LLMs: Why Does Additional Pretraining Sometimes Fail to Improve?"
//! (arXiv 2410.05581), read from top to bottom:
//!
//! 1. [`text`]: files become documents, documents a stream of tokens.
//! 2. [`model`]: a pretrained causal language model, read from a Hugging Face folder, on any [`device`].
//! 3. [`evaluate`]: its perplexity on a domain's test text, with an interval; every token's negative log-likelihood is
//!    kept.
//! 4. [`adapt`]: the same model, pretrained further on the domain's training text.
//! 5. [`compare`]: the change in log-perplexity, exactly attributed to the tokens that carry it. [`rank`] measures
//!    instead how high the models rank the terms of the domain.
//! 6. [`similarity`]: how far the domain lies from the corpus the model was pretrained on.
//! 7. [`study`]: all of this over models, domains, strategies and seeds, and the correlation of the change with the
//!    distance.
//! 8. [`report`]: the answer as a page, plots and tables.
//!
//! [`advise`] learns from such results to predict the change for a domain before training. [`merge`] makes weights between a
//! base and what was adapted from it; [`continual`] adapts to one domain after another.
//!
//! Beside it: [`synth`] makes corpora with known answers, [`pretrain`] a base whose corpus is known, [`demo`] runs
//! everything on those; [`stats`] holds correlations and bootstrap intervals, [`memory`] says what a run needs before
//! it starts, [`hub`] finds models and texts by their names on the Hugging Face hub, [`doctor`] checks whether a device
//! computes right, and [`kernels`] has operations that are too slow in the framework. [`error`] and [`message`], [`last_words`],
//! [`files`], [`disk`] (paths, locks, what must not be overwritten), [`seal`] (checksums of what is kept),
//! [`safetensors_file`], [`spool`] (arrays too large for memory), [`process`], [`threads`], [`notice`], [`shown`] (text
//! and numbers for people) and [`progress`] serve them all. Nothing here prints: the command line and `gui`, the
//! desktop application (with the feature of that name), are thin faces over the same calls.
//!
//! [`perplexity`] and [`experiment`] are the short way to the first five steps; [`guard`] catches panics.
//!
//! From a model and a text to perplexity, adaptation and comparison:
//!
//! ```
//! use odyssey::prelude::*;
//!
//! # let place = tempfile::tempdir()?;
//! # let (model, novels, adapted_folder) = (place.path().join("model"), place.path().join("novels"), place.path().join("out"));
//! # for folder in [&model, &novels] { std::fs::create_dir(folder)?; }
//! # let sizes = r#"{"model_type": "gpt2", "vocab_size": 16, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2, "eos_token_id": 0}"#;
//! # std::fs::write(model.join("config.json"), sizes)?;
//! # let config = odyssey::model::ModelConfig::read(&model)?;
//! # let device = DeviceChoice::Cpu.open()?.device;
//! # let random = odyssey::model::LoadedModel::random(config, &model, 1, &device)?;
//! # odyssey::model::save(&random.model, &random, &model)?;
//! # let document = |i: usize| format!("{{\"ids\": {:?}}}\n", (0..40).map(|t| (t * i + t / 3) % 16).collect::<Vec<_>>());
//! # for split in ["train", "valid", "test"] {
//! #     std::fs::write(novels.join(format!("{split}.jsonl")), (1..13).map(document).collect::<String>())?;
//! # }
//! let base = Model::open(model)?; // a folder, or a name on the hub such as "gpt2"
//! let novels = Domain::open(novels, ReadOptions::default())?; // files train, valid and test, or one text
//! let before = base.perplexity(&novels)?;
//! let mut adapted = base.adapt(&novels).lr(1e-4).steps(2).run()?;
//! let change = adapted.compare(&novels)?;
//! println!("perplexity {before} → {}", change.after);
//! println!("δ = {change}, worst: {:?}", change.worst(5));
//! adapted.save(adapted_folder)?;
//! # assert_eq!(change.before, before);
//! # assert_eq!(Model::open(place.path().join("out"))?.perplexity(&novels)?.value(), change.after.value());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(missing_docs)]

pub mod adapt;
pub mod advise;
pub mod columns;
pub mod compare;
pub mod continual;
pub mod demo;
pub mod device;
pub mod disk;
pub mod doctor;
pub mod error;
pub mod evaluate;
pub mod experiment;
pub mod files;
pub mod guard;
#[cfg(feature = "gui")]
pub mod gui;
pub mod hub;
pub mod kernels;
pub mod last_words;
pub mod memory;
pub mod merge;
pub mod message;
pub mod model;
pub mod notice;
pub mod perplexity;
pub mod prelude;
pub mod pretrain;
pub mod process;
pub mod progress;
pub mod rank;
pub mod recipe;
pub mod report;
pub mod safetensors_file;
pub mod seal;
pub mod shown;
pub mod similarity;
pub mod spool;
pub mod stats;
pub mod study;
pub mod synth;
pub mod text;
pub mod threads;
