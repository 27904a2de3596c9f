//! Models: what they compute, in every precision, with adapters, and how their perplexity is found.

#[path = "../common/adapters.rs"]
mod adapters;
#[path = "../common/cli.rs"]
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod divergence;
mod foreign_models;
#[path = "../common/golden.rs"]
mod golden;
mod known_answers;
mod limits;
mod long_context;
mod lora;
mod mixed_precision;
mod models;
mod perplexity;
mod plan;
mod precision;
mod same_tokenizer;
#[path = "../common/saved.rs"]
mod saved;
mod sharding;
mod transformers;
mod weight_files;
