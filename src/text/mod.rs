//! From files to tokens: corpora, domains with their splits, tokenizers, token streams.

mod archive;
mod columns;
pub mod corpus;
pub mod domain;
mod format;
mod guard;
pub mod letters;
pub mod overlap;
mod pieces;
mod source;
pub mod stream;
mod thrift;
mod token_bytes;
pub mod tokenizer;

pub use corpus::{Corpus, Document, DocumentRule, Documents};
pub use domain::{Domain, Split, open_corpus};
pub use letters::Letters;
pub use overlap::Overlap;
pub use stream::{Bos, Join, Newlines, StreamOptions, TokenStream};
pub use tokenizer::{Added, Encoded, Tokenizer};
