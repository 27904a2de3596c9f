//! A file's numbers on their way into a tensor, in the precision that this is held in.

use burn::tensor::TensorData;
use half::{bf16, f16};
use safetensors::Dtype;

use super::weights::Precision;

/// Numbers of one tensor, put together stretch by stretch.
pub(super) enum Numbers {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    /// With the first number that is finite, and not in f16.
    F16(Vec<f16>, Option<f32>),
}

impl Numbers {
    /// None yet, with room for `count`.
    pub(super) fn new(precision: Precision, count: usize) -> Self {
        match precision {
            Precision::F32 => Self::F32(Vec::with_capacity(count)),
            Precision::Bf16 => Self::Bf16(Vec::with_capacity(count)),
            Precision::F16 => Self::F16(Vec::with_capacity(count), None),
        }
    }

    /// Adds numbers.
    pub(super) fn push(&mut self, values: impl Iterator<Item = f32>) {
        match self {
            Self::F32(all) => all.extend(values),
            Self::Bf16(all) => all.extend(values.map(bf16::from_f32)),
            Self::F16(all, too_large) => all.extend(values.map(|value| {
                let narrowed = f16::from_f32(value);
                *too_large = too_large.or((value.is_finite() && narrowed.is_infinite()).then_some(value));
                narrowed
            })),
        }
    }

    /// Adds the numbers in these bytes of a file, little-endian, of a type that weights are read in. 16-bit ones are exact in
    /// f32.
    pub(super) fn extend(&mut self, dtype: Dtype, bytes: &[u8]) {
        // Bytes need not be aligned for their type, so numbers are put together from them.
        match dtype {
            Dtype::F16 => self.push(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32())),
            Dtype::BF16 => self.push(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32())),
            _ => self.push(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
        }
    }

    /// All of them, shaped.
    ///
    /// # Errors
    /// A number that is finite, but not in this precision; in words.
    pub(super) fn finish(self, shape: Vec<usize>) -> Result<TensorData, String> {
        match self {
            Self::F32(all) => Ok(TensorData::new(all, shape)),
            Self::Bf16(all) => Ok(TensorData::new(all, shape)),
            Self::F16(_, Some(value)) => Err(format!("holds {value:e}, which f16 does not reach")),
            Self::F16(all, None) => Ok(TensorData::new(all, shape)),
        }
    }
}
