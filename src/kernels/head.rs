//! The output head: from hidden states to logits.

use burn::tensor::{Device, Tensor};

use super::matmul::{Held, linear};
use super::table::Table;

/// The output head. A logit is `scale · x` or, with a soft cap c, `c · tanh(scale · x / c)`, where x is the product of a
/// hidden state and the token's row of the table.
///
/// Nothing else multiplies hidden states by the table. Losses and their gradients are in
/// [`cross_entropy`](super::cross_entropy).
#[derive(Debug, Clone)]
pub struct Head {
    table: Table,
    scale: f64,
    soft_cap: Option<f64>,
}

impl From<Table> for Head {
    /// One whose logits are the products themselves.
    fn from(table: Table) -> Self {
        Self { table, scale: 1.0, soft_cap: None }
    }
}

impl Head {
    /// The same with products multiplied by `scale`.
    pub fn scaled(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// The same with logits held within ± `cap`.
    pub fn capped(self, cap: f64) -> Self {
        Self { soft_cap: Some(cap), ..self }
    }

    /// The token table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Entries of the vocabulary.
    pub fn rows(&self) -> usize {
        self.table.rows()
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.table.device()
    }

    /// Whether its table is trained; with adapters it may be frozen.
    pub fn is_trained(&self) -> bool {
        self.table.is_trained()
    }

    /// The same without autodiff.
    pub fn inner(&self) -> Self {
        Self { table: self.table.inner(), ..*self }
    }

    /// The logits of hidden states `[n, channels]`, of the tokens of each piece of the table: `[n, rows of the piece]`.
    pub fn pieces(&self, hidden: &Tensor<2>) -> impl ExactSizeIterator<Item = Tensor<2>> + '_ {
        let hidden = hidden.clone();
        self.table.pieces().map(move |piece| self.logits_of(linear(hidden.clone(), piece, Held::Transposed, None)))
    }

    /// The logits of hidden states `[n, channels]`: `[n, vocabulary]`.
    pub fn logits(&self, hidden: &Tensor<2>) -> Tensor<2> {
        Tensor::cat(self.pieces(hidden).collect(), 1)
    }

    /// What becomes of products.
    fn logits_of(&self, products: Tensor<2>) -> Tensor<2> {
        match self.soft_cap {
            Some(cap) => (products * (self.scale / cap)).tanh() * cap,
            None if self.scale == 1.0 => products,
            None => products * self.scale,
        }
    }

    /// Whether logits are anything else than the products.
    pub(super) fn bends(&self) -> bool {
        self.scale != 1.0 || self.soft_cap.is_some()
    }

    /// ∂logit/∂product of a logit is `a − b · logit²`: a and b.
    pub(super) fn steepness(&self) -> [f32; 2] {
        let of_square = self.soft_cap.map_or(0.0, |cap| self.scale / (cap * cap));
        [self.scale as f32, of_square as f32]
    }
}
