//! The number formats: in what numbers are held and computed.

use std::fmt;

use burn::tensor::{DType, Device, FloatDType};
use serde::{Deserialize, Serialize};

use super::diagnosis::f16_fault;
use crate::error::{Error, Result};
use crate::message::Message;

/// The precision in which numbers are held or computed: a model's matrices, the products with them, an optimiser's
/// moments. Vectors (norms, biases) are always held in f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits: 4 bytes a weight
    #[default]
    F32,
    /// 16 bits with the range of f32: exactly what most models are published in
    Bf16,
    /// 16 bits with finer spacing and a range to ±65,504
    F16,
}

impl Precision {
    /// Bytes of a weight.
    pub fn bytes(self) -> usize {
        self.dtype().size()
    }

    pub(crate) fn dtype(self) -> DType {
        self.float().into()
    }

    /// The type of tensors of such numbers.
    pub(crate) fn float(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }

    /// Whether it is f32, the default, which is not written out.
    pub(crate) fn is_f32(&self) -> bool {
        *self == Self::F32
    }

    /// Whether `device` has such numbers, asked for by the setting `key`.
    ///
    /// # Errors
    /// The device lacks them; the message says which it has.
    pub fn check(self, key: &'static str, device: &Device) -> Result<()> {
        self.check_for(key, device, false)
    }

    /// The same for numbers that are computed with, and not only held.
    pub fn check_computed(self, key: &'static str, device: &Device) -> Result<()> {
        self.check_for(key, device, true)
    }

    fn check_for(self, key: &'static str, device: &Device, computed: bool) -> Result<()> {
        if self == Self::F32 {
            return Ok(());
        }
        if device.supports_dtype(self.dtype()) {
            let fault = if self == Self::F16 { f16_fault(device, computed) } else { None };
            return fault.map_or(Ok(()), |fault| {
                let fault = format!("odyssey doctor found the f16 of this device's driver wrong: {fault}");
                Err(Error::setting(key, self, fault, Message::new("use ").set(key, Self::F32)))
            });
        }
        let others = [Self::Bf16, Self::F16].into_iter().filter(|other| device.supports_dtype(other.dtype()));
        let cure = Message::new("use ").set(key, Self::F32);
        let cure = others.fold(cure, |cure, other| cure.then(format!(" or {other}")));
        Err(Error::setting(key, self, "this device has no numbers of that kind", cure))
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}
