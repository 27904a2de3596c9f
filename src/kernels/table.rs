//! Token tables in pieces, small enough for a kernel to bind.

use burn::tensor::{Device, FloatDType, Int, Tensor};

/// The largest binding of a kernel by WebGPU's default limit and on software cards: 128 MiB.
pub const LARGEST_PIECE: usize = 1 << 27;

/// An embedding's rows `[rows, channels]`, as pieces of consecutive rows. As output head: logits are `hidden · rowsᵀ`.
#[derive(Debug, Clone)]
pub struct Table {
    /// `[rows of the piece, channels]` each, in order, in the precision they are held in.
    held: Vec<Tensor<2>>,
}

impl From<Vec<Tensor<2>>> for Table {
    /// Of pieces of consecutive rows, in order.
    fn from(held: Vec<Tensor<2>>) -> Self {
        Self { held }
    }
}

impl Table {
    /// The pieces in order, in f32: `[rows of the piece, channels]` each. A piece held in 16 bits is converted when it
    /// is reached and dropped after its use.
    pub fn pieces(&self) -> impl ExactSizeIterator<Item = Tensor<2>> + '_ {
        self.held.iter().map(|piece| piece.clone().cast(FloatDType::F32))
    }

    /// The pieces as they are held.
    pub fn held(&self) -> &[Tensor<2>] {
        &self.held
    }

    /// All rows.
    pub fn rows(&self) -> usize {
        self.held.iter().map(|piece| piece.dims()[0]).sum()
    }

    /// The first row of each piece.
    pub fn starts(&self) -> Vec<usize> {
        let ends = self.held.iter().scan(0, |end, piece| {
            *end += piece.dims()[0];
            Some(*end)
        });
        std::iter::once(0).chain(ends).take(self.held.len()).collect()
    }

    /// Where it is; a model without tokens is refused when it is read.
    pub fn device(&self) -> Device {
        self.held[0].device()
    }

    /// Whether it is trained; with adapters it may be frozen.
    pub fn is_trained(&self) -> bool {
        self.held.iter().any(Tensor::is_require_grad)
    }

    /// The same rows without autodiff.
    pub fn inner(&self) -> Self {
        Self { held: self.held.iter().map(|piece| piece.clone().inner()).collect() }
    }
}

/// Ids as rows of a piece that begins at row `start`, and 1 where they lie in it: `[.., ..]` each. Ids outside name the
/// nearest row, so that looking them up stays within bounds.
pub fn within<const D: usize>(ids: Tensor<D, Int>, start: usize, rows: usize) -> (Tensor<D, Int>, Tensor<D>) {
    let local = ids - start as i64;
    let nearest = local.clone().clamp(0, rows as i64 - 1);
    let inside = nearest.clone().equal(local).float();
    (nearest, inside)
}
