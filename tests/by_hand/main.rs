//! What a person runs, one by one and for a reason: it takes minutes or gigabytes, needs a program or a model that no check has, or
//! makes something to look at. The other tests do without, and `cargo test --tests` leaves these out.
//!
//!     cargo test --release --features gui --test by_hand NAME -- --nocapture
//!
//! | NAME | what it does |
//! |---|---|
//! | `large_corpus` | adapts to a corpus of gigabytes in little memory |
//! | `long_document` | refuses a document longer than a gibibyte |
//! | `many_steps` | ten thousand steps hold no more memory than a thousand |
//! | `peft` | asks peft about adapters |
//! | `pictures` | draws the pages of the application |
//! | `sentence_encoder` | all-MiniLM-L6-v2: golden embeddings, and documents a second |
//! | `size` | models of real size: numbers, memory, time |
//! | `transformers` | asks transformers about adapted models |
//! | `two_samples` | null, power and time of the tests between two samples |
//!
//! Each module says what it needs.

#[path = "../common/adapters.rs"]
mod adapters;
#[path = "../common/cli.rs"]
mod cli;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/golden.rs"]
mod golden;
#[cfg(feature = "gui")]
#[path = "../common/gui.rs"]
mod gui;
#[path = "../common/held.rs"]
mod held;
mod large_corpus;
mod long_document;
mod many_steps;
mod peft;
#[cfg(feature = "gui")]
mod pictures;
#[path = "../common/samples.rs"]
mod samples;
#[path = "../common/saved.rs"]
mod saved;
mod sentence_encoder;
mod size;
mod transformers;
mod two_samples;
#[cfg(feature = "gui")]
#[path = "../common/window.rs"]
mod window;
