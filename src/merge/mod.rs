//! Merging after adaptation: weights between a base and what was adapted from it, without training.
//!
//! [`Merge`] opens the models and gives the weights at any share α: for scoring as a model, for keeping as a folder. Weights are
//! read and written tensor by tensor, so that never more than one whole model is in memory. `fitting` refuses models that do
//! not go together, `side` reads one of them, `ties` resolves conflicts of several. [`curve()`] measures a share on a target
//! and on a reference text, [`choose`] picks one of them.

mod choice;
mod curve;
mod fitting;
mod merging;
mod method;
mod part;
mod point;
mod result;
mod shares;
mod side;
mod ties;

pub use choice::{Choice, Select, choose};
pub use curve::{Curve, CurveText, Measure, curve};
pub use merging::{Merge, Request};
pub use method::Method;
pub use part::Part;
pub use point::{Loss, Point};
pub use result::{MergeResult, TextOfCurve};
pub use shares::Shares;
