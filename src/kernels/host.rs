//! Tensors as slices of this process's memory.

use std::ops::Range;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::prelude::*;

/// Numbers that one thread takes at a time.
pub(super) const STRETCH: usize = 1 << 14;

/// Sums over so many rows, `[width]`, each taken by `add`, which adds a range of rows to the sums it is given. Rows are
/// grouped in fixed numbers and the sums are added in order, so the result is the same for any number of threads.
pub(super) fn sums_over_rows(rows: usize, width: usize, add: impl Fn(&mut [f32], Range<usize>) + Sync) -> Vec<f32> {
    const TOGETHER: usize = 64;
    let of_part = |part: usize| {
        let mut sums = vec![0.0; width];
        add(&mut sums, part * TOGETHER..((part + 1) * TOGETHER).min(rows));
        sums
    };
    let parts: Vec<Vec<f32>> = (0..rows.div_ceil(TOGETHER)).into_par_iter().map(of_part).collect();
    let mut sums = vec![0.0; width];
    parts.iter().for_each(|part| sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += x));
    sums
}

/// Whether a tensor lies in this process's memory, in f32.
pub(super) fn holds<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && tensor.device() == Device::flex()
}

/// The numbers of a tensor that [`holds`] is true of: taken out of the tensor and put back; they are copied only if
/// another tensor shares them.
pub(super) struct Numbers(TensorData);

impl Numbers {
    /// Row-major.
    pub(super) fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        // A tensor in this memory can be read.
        Self(tensor.into_data())
    }

    /// New ones, to be overwritten.
    pub(super) fn zeros<const D: usize>(shape: [usize; D]) -> Self {
        Self(TensorData::new(vec![0.0_f32; shape.iter().product()], shape))
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

/// The numbers of a tensor that [`holds`] is true of, to be read without a copy.
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

    /// With the strides of the view, [`Read::strides`]. Never copied.
    pub(super) fn as_held<const D: usize>(tensor: Tensor<D>) -> Self {
        Self(tensor.try_into_primitive::<Flex>().expect("it lies in this process's memory"))
    }

    /// All of them in order, of one that was read by [`Read::of`].
    pub(super) fn as_slice(&self) -> &[f32] {
        self.0.as_slice().expect("they are in f32 and follow one another")
    }

    /// The view's first number, and what follows it in memory.
    pub(super) fn beginning(&self) -> &[f32] {
        &self.0.storage()[self.0.layout().start_offset()..]
    }

    /// The stride of each dimension, in numbers.
    pub(super) fn strides(&self) -> &[isize] {
        self.0.layout().strides()
    }
}

/// A tensor of numbers that are row-major in `shape`.
pub(super) fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), &Device::flex())
}
