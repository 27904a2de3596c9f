//! Prediction rank: how high a model ranks the right word at the place of a term of the domain.
//!
//! The measure of Sharma, Wolfers and Yıldız (arXiv 2506.07658), which needs no other model and no annotators: [`terms`]
//! are found in a domain's training text, [`prompts`] in its test text, and [`score`] asks the model. Sentences are matched
//! with terms by TF-IDF, not by a sentence encoder as in the paper; results say so.

pub mod prompts;
mod ranks;
pub mod score;
pub mod terms;
pub mod words;

pub use prompts::{Prompt, PromptSet};
pub use ranks::{RankChange, RankSummary, Ranks, rank, trimmed_mean};
