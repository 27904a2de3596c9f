//! Models, adapters and data sets by name, from the Hugging Face hub into its ordinary cache.
//!
//! [`name`] says what a name is and what a path, `settings` what the environment says, `cache` where files lie (as
//! Python's `huggingface_hub` has them, so that either finds what the other fetched), `local` what is there already.
//! `http` makes requests, each within bounds and with the user's token for the hub's own address alone; `remote` asks the
//! hub by it, `patience` says how often; `transfer` brings a file, resumed and checked; `choose` says which files of a
//! repository are used, and `complaint` what to do where one cannot be had.
//!
//! The newest commit of a revision is requested once. If the hub cannot be reached, the cache is used. A commit's links
//! appear when all its files are there, so an interrupted fetch never looks like a whole one.

mod cache;
mod choose;
mod client;
mod complaint;
mod entry;
mod fetched;
mod http;
mod local;
pub mod name;
mod patience;
mod remote;
mod settings;
mod transfer;
mod trouble;

pub use client::Hub;
pub use fetched::{Fetched, FetchedFile, FileState};
pub use name::{Kind, Name};
