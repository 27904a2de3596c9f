//! From the device to the host.

use burn::tensor::{FloatDType, Tensor, TensorData};

use super::faults::failure;
use crate::error::Result;

/// Values of `tensor` on the host, in f32.
///
/// # Errors
/// The device's own failure: errors of earlier launches appear here, at the first read-back.
pub fn to_host(tensor: Tensor<1>) -> Result<Vec<f32>> {
    let device = tensor.device();
    let data: TensorData = tensor.cast(FloatDType::F32).try_into_data().map_err(|e| failure(&device, e))?;
    data.try_to_vec::<f32>().map_err(|e| failure(&device, e))
}
