//! The `odyssey` command.

use std::process::ExitCode;

use odyssey::last_words::TellingAllocator;

mod cli;

#[global_allocator]
static ALLOCATOR: TellingAllocator = TellingAllocator;

fn main() -> ExitCode {
    cli::run()
}
