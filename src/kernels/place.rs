//! Where a function is computed.

use burn::tensor::{DType, Device, Tensor};

use super::wgsl;

/// Where the functions of a tensor are computed.
pub(super) enum Place {
    /// On the tensor's own memory.
    Host,
    /// By kernels of `shaders/`.
    Wgpu(wgsl::Ability),
    /// By the framework's operations.
    Elsewhere,
}

/// Where the functions of `tensor` are computed, whether it is differentiated or not.
pub(super) fn place<const D: usize>(tensor: &Tensor<D>) -> Place {
    if tensor.dtype() == DType::F32 && tensor.device().inner() == Device::flex() {
        return Place::Host;
    }
    wgsl::ability(tensor).map_or(Place::Elsewhere, Place::Wgpu)
}
