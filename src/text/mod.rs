//! From files to tokens: corpora, domains with their splits, tokenizers, token streams.

pub mod corpus;
pub mod domain;
pub mod stream;
pub mod tokenizer;

pub use corpus::{Content, Corpus, Document, DocumentRule};
pub use domain::{Domain, Split, open_corpus};
pub use stream::{Bos, Join, Newlines, StreamOptions, TokenStream};
pub use tokenizer::{Encoded, Tokenizer};
