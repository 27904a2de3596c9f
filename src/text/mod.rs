//! From files to tokens: corpora, domains with their splits, tokenizers, token streams.

mod archive;
mod columns;
pub mod corpus;
pub mod domain;
mod encoding;
mod folder;
mod format;
mod growth;
mod guard;
mod identity;
mod json_lines;
pub mod letters;
mod missing;
pub mod options;
pub mod overlap;
mod pieces;
pub mod pipe;
pub mod reading;
mod source;
pub mod splits;
pub mod stream;
mod thrift;
mod token_bytes;
pub mod tokenizer;
mod tokenizer_settings;

pub use corpus::{Corpus, Document, DocumentRule, Documents};
pub use domain::{Domain, Split, open_corpus};
pub use letters::Letters;
pub use options::ReadOptions;
pub use overlap::Overlap;
pub use pipe::is_pipe;
pub use reading::Reading;
pub use splits::has_split_files;
pub use stream::{Bos, Join, Newlines, StreamOptions, TokenStream};
pub use tokenizer::{Added, Encoded, Tokenizer};
