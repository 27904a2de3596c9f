//! The command line: a thin face over the library. One file per command; each prints exactly one result.

mod adapt;
mod advise;
mod common;
mod compare;
mod demo;
mod devices;
mod diary;
mod doctor;
mod entry;
mod eval;
mod fetch;
mod gui;
mod held;
mod lines;
mod memory;
mod merge;
mod monitor;
mod output;
mod place;
mod pretrain;
mod rank;
mod say;
mod signals;
mod similarity;
mod stream;
mod study;
mod synth;
mod text;
mod wording;

pub use entry::run;
