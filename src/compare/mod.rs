//! What adaptation changed, token by token, from two scored streams of the same text.
//!
//! `δ = Σ_v c_v` with `c_v = f_v (ℓ_v^after − ℓ_v^before)`: an exact attribution of the change in log-perplexity to token
//! types v of share f_v and mean negative log-likelihood ℓ_v.

mod attribution;
mod change;
mod comparable;
mod comparing;
mod loss_profile;
mod pair;
mod paired;
mod parts;
mod passages;

pub use change::{
    ClassChange, Comparison, Handful, LineBreakParts, LossClass, LossClassChange, Passage, PassageToken, Side,
    TypeChange, Without,
};
pub use comparable::{Scoring, check_comparable};
pub use comparing::compare;
pub use loss_profile::{ClassLoss, LossProfile};
pub use paired::PairedChanges;
pub use parts::PartChanges;
