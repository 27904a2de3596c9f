//! Studies: tasks, statistics, distances, advice and reports.

mod advise;
mod against_reference;
mod calls;
#[path = "../common/cli.rs"]
mod cli;
mod columns;
#[path = "../common/mod.rs"]
mod common;
mod correlations;
#[path = "../common/encoder.rs"]
mod encoder;
mod extremes;
mod kept;
#[path = "../common/made_up.rs"]
mod made_up;
mod rank;
mod report;
#[path = "../common/samples.rs"]
mod samples;
mod sentence_encoder;
mod similarity;
mod statistics;
mod studies;
mod tasks;
mod two_samples;
