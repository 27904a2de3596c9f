//! The command line: options, hubs, hostile files and failing systems, with the real binary.

mod benchmarks;
#[path = "../common/cli.rs"]
mod cli;
mod command_line;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod endings;
mod examples;
mod faults;
mod fixtures;
mod floors;
mod hostile;
mod hub;
mod places;
mod random_kills;
#[path = "../fuzz/readers.rs"]
mod readers;
mod shown;

/// What the benchmarks' own files return.
type Fallible<T> = Result<T, Box<dyn std::error::Error>>;
