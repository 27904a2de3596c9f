//! Where weights come from.

use std::ops::Range;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use super::super::numbers::Numbers;
use crate::device::precision::Precision;
use crate::error::{Error, Result};
use crate::kernels::table::LARGEST_PIECE;

/// Gives weights by their published name.
pub trait WeightSource {
    /// Whether there is a weight of this name.
    fn has(&self, name: &str) -> bool;

    /// Some rows of a weight, row-major, in `precision`. The whole weight must have this shape; of a vector the rows are
    /// its elements.
    fn read(&mut self, name: &str, shape: &[usize], rows: Range<usize>, precision: Precision) -> Result<TensorData>;

    /// What matrices are held in.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// Bytes of the largest piece that a token table may be cut into, in f32, as it is computed with.
    fn largest_piece(&self) -> usize {
        LARGEST_PIECE
    }
}

impl dyn WeightSource + '_ {
    /// The weight as a parameter on `device`.
    pub fn parameter<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        device: &Device,
    ) -> Result<Param<Tensor<D>>> {
        self.rows(name, shape, 0..shape.first().copied().unwrap_or(0), device)
    }

    /// The same of some rows only.
    pub fn rows<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        rows: Range<usize>,
        device: &Device,
    ) -> Result<Param<Tensor<D>>> {
        let precision = if D > 1 { self.precision() } else { Precision::F32 };
        let data = self.read(name, &shape, rows, precision)?;
        Ok(Param::from_tensor(Tensor::from_data(data, (device, precision.dtype()))))
    }
}

/// `shape` with this many rows.
pub(super) fn with_rows(shape: &[usize], rows: usize) -> Vec<usize> {
    std::iter::once(rows).chain(shape.iter().skip(1).copied()).collect()
}

/// Only records which weights a model asks for, before anything is read.
#[derive(Debug, Default)]
pub struct Shapes {
    /// Names and shapes, in the order they are asked for.
    pub found: Vec<(String, Vec<usize>)>,
}

impl WeightSource for Shapes {
    fn has(&self, _name: &str) -> bool {
        false
    }

    fn read(&mut self, name: &str, shape: &[usize], _rows: Range<usize>, precision: Precision) -> Result<TensorData> {
        // A table in pieces asks once for each.
        if self.found.last().is_none_or(|(last, _)| last != name) {
            self.found.push((name.to_owned(), shape.to_vec()));
        }
        Numbers::new(precision, 0).finish(vec![0; shape.len()]).map_err(Error::numeric)
    }
}
