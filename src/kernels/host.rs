//! Tensors as slices, where they lie in this process's memory.

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
