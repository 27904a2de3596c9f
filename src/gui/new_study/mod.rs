//! A form that makes a study: model, reference corpus, domains, device; and what it will cost.
//!
//! `form` holds the typed values and makes the study, `inputs` draws it, `estimate` computes what the study takes, and
//! `outlook` shows that. When typing pauses, the values are checked on a thread, as `odyssey study run` checks them.

mod estimate;
mod form;
mod inputs;
mod outlook;
mod page;

pub use page::NewStudy;
