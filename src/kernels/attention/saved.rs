//! What a gradient of attention needs.

use burn::tensor::Tensor;

/// What the gradient needs.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    pub(super) q: Tensor<4>,
    pub(super) k: Tensor<4>,
    pub(super) v: Tensor<4>,
    /// `[B, T, H, D]`.
    pub(super) attended: Tensor<4>,
    /// ln Z of each query: `[B, T, H]`.
    pub(super) normalisers: Tensor<3>,
}
