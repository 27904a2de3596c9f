//! A sentence encoder as features: texts become vectors of length 1; texts with similar meaning have near vectors.
//!
//! BERT-type encoders in the layout of sentence-transformers, such as all-MiniLM-L6-v2; [`folder`] describes the
//! allowed settings. A passage is encoded as sentence-transformers does it (Reimers and Gurevych, arXiv 1908.10084):
//! pooled token states, divided by their length. [`SentenceEncoder::embed`] makes vectors of documents of those of
//! their passages.

pub mod bert;
mod documents;
pub mod folder;
mod sentence;

pub use documents::{Embedded, SampleUnit};
pub use sentence::{SentenceEncoder, hash_of};
