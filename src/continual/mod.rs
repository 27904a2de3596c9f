//! A stream of domains: a model is adapted to one domain after another, f_t = train(f_{t−1}, D_t), and after each its losses on
//! the test texts of all are measured (Lifelong pretraining, arXiv 2110.08534; Continual pretraining, arXiv 2402.17400).
//!
//! [`DomainStream`] runs it and goes on after an interruption, [`Retention`] is the matrix of losses with what is computed of
//! it: forgetting, backward and forward transfer.

mod place;
mod result;
mod retention;
mod running;

pub use place::StreamPlace;
pub use result::{DomainOfStream, StreamResult};
pub use retention::{Retention, Transfer};
pub use running::DomainStream;
