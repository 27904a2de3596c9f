//! A form that makes a study: model, reference corpus, domains, device; and what it will cost.
//!
//! `form` is what is typed and the study that it makes, `inputs` and `recipe` draw it, `estimate` finds out what the study takes, and
//! `outlook` shows that. What is typed is checked on a thread once the typing rests, as `odyssey study run` would check it.

mod estimate;
mod form;
mod inputs;
mod outlook;
mod page;
mod recipe;

pub use page::NewStudy;
