//! Models: what they compute, in every precision, with adapters, and how their perplexity is found.

#[path = "../common/cli.rs"]
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod divergence;
#[path = "../common/golden.rs"]
mod golden;
mod known_answers;
mod lora;
mod mixed_precision;
mod models;
mod perplexity;
mod plan;
mod precision;
mod sharding;
mod size;
mod transformers;
