//! Tensors as slices, where they lie in this process's memory.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Device, Tensor, TensorData};

/// Whether a tensor lies in this process's memory, in f32.
pub(super) fn holds<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && tensor.device() == Device::flex()
}

/// The numbers of a tensor that [`holds`] is true of: taken out of it and put back, without a copy where nobody else holds
/// them.
pub(super) struct Numbers(TensorData);

impl Numbers {
    /// Row-major.
    pub(super) fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        // What lies in this memory can be read.
        Self(tensor.into_data())
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        self.0.as_mut_slice().expect("they are in f32")
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        self.0.as_slice().expect("they are in f32")
    }

    /// A tensor again.
    pub(super) fn into_tensor<const D: usize>(self) -> Tensor<D> {
        Tensor::from_data(self.0, &Device::flex())
    }
}

/// The numbers of a tensor that [`holds`] is true of, to be read where they lie.
pub(super) struct Read(FlexTensor);

impl Read {
    /// Row-major: copied only where the tensor is a view whose rows do not follow one another.
    pub(super) fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        let read = Self::as_held(tensor);
        match read.0.as_slice::<f32>() {
            Some(_) => read,
            None => Self(read.0.to_contiguous()),
        }
    }

    /// As they lie, which a view's [`Read::strides`] tell. Never copied.
    pub(super) fn as_held<const D: usize>(tensor: Tensor<D>) -> Self {
        Self(tensor.try_into_primitive::<Flex>().expect("it lies in this process's memory"))
    }

    /// All of them in order, of one that was read by [`Read::of`].
    pub(super) fn as_slice(&self) -> &[f32] {
        self.0.as_slice().expect("they are in f32 and follow one another")
    }

    /// What follows the view's first number in memory.
    pub(super) fn from_first(&self) -> &[f32] {
        &self.0.storage()[self.0.layout().start_offset()..]
    }

    /// From each dimension's index to the next: so many numbers.
    pub(super) fn strides(&self) -> &[isize] {
        self.0.layout().strides()
    }
}

/// e^x for x ≤ 0, within two units in the last place; e^−87 for all below, and NaN for NaN. Moshier's expf (Cephes):
/// e^x = 2ⁿ·e^r, with a polynomial for |r| ≤ ln 2 / 2. No branch and no call, so that compilers make vectors of it.
#[inline(always)]
pub(super) fn exponential(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// 1.5·2²³: added to a number, it rounds it to an integer, whose bits are the sum's last.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + coefficient;
    }
    let power = f32::from_bits(1.0_f32.to_bits().wrapping_add(shifted.to_bits() << 23));
    (p * r * r + r + 1.0) * power
}
