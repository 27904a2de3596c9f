//! Kernels: measures of how similar two feature vectors are. MMD compares two samples with the means of a kernel.

use serde::{Deserialize, Serialize};

use super::bandwidth::median_distance;
use super::features::{Features, product, squared_distance};
use crate::error::{Error, Result};

/// Which kernel MMD takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum KernelKind {
    /// exp(−|a − b|² / 2σ²), σ the median distance over the pool of all corpora of the run
    #[default]
    Rbf,
    /// The mean of four of those, with ½σ, σ, 2σ and 4σ
    RbfMixture,
    /// (a·b / dimension + 1)³, as the kernel inception distance has it
    Polynomial,
    /// a·b: the squared distance of the means
    Linear,
}

/// A kernel with its constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kernel {
    /// `exp(−|a − b|² / 2σ²)`.
    Rbf {
        /// σ, the bandwidth.
        sigma: f64,
    },
    /// The mean of [`Kernel::Rbf`] with each of [`MIXTURE`] times σ.
    RbfMixture {
        /// σ, the bandwidth.
        sigma: f64,
    },
    /// `(a·b / dimension + 1)³`. Bińkowski et al., Demystifying MMD GANs, ICLR 2018.
    Polynomial,
    /// `a·b`.
    Linear,
    /// `−|a − b|`, whose discrepancy is the energy distance. Sejdinovic et al., Annals of Statistics 41, 2013.
    Distance,
}

/// Factors of the bandwidth in the mixture.
pub const MIXTURE: [f64; 4] = [0.5, 1.0, 2.0, 4.0];

impl From<f64> for Kernel {
    /// The RBF kernel of this bandwidth.
    fn from(sigma: f64) -> Self {
        Self::Rbf { sigma }
    }
}

impl KernelKind {
    /// Fixes the constants on the pool of all corpora of a run: discrepancies under different constants cannot be
    /// compared.
    ///
    /// # Errors
    /// As [`median_distance`].
    pub fn fit(self, pool: &[&Features], seed: u64) -> Result<Kernel> {
        Ok(match self {
            Self::Rbf => Kernel::Rbf { sigma: median_distance(pool, seed)? },
            Self::RbfMixture => Kernel::RbfMixture { sigma: median_distance(pool, seed)? },
            Self::Polynomial => Kernel::Polynomial,
            Self::Linear => Kernel::Linear,
        })
    }
}

impl KernelKind {
    /// The kernel with a bandwidth that was fitted before; `None` where it has none and needs one.
    pub fn with(self, sigma: Option<f64>) -> Option<Kernel> {
        match self {
            Self::Rbf => sigma.map(|sigma| Kernel::Rbf { sigma }),
            Self::RbfMixture => sigma.map(|sigma| Kernel::RbfMixture { sigma }),
            Self::Polynomial => Some(Kernel::Polynomial),
            Self::Linear => Some(Kernel::Linear),
        }
    }
}

impl Kernel {
    /// Refuses a bandwidth that is not a positive number.
    pub(super) fn check(&self) -> Result<()> {
        match self.sigma() {
            Some(sigma) if !(sigma.is_finite() && sigma > 0.0) => {
                Err(Error::numeric(format!("the kernel's bandwidth is {sigma}, a positive number is needed")))
            }
            _ => Ok(()),
        }
    }

    /// The bandwidth, where the kernel has one.
    pub fn sigma(&self) -> Option<f64> {
        match *self {
            Self::Rbf { sigma } | Self::RbfMixture { sigma } => Some(sigma),
            _ => None,
        }
    }

    /// Its value for a pair of vectors, f64.
    pub(super) fn of(&self, a: &[f32], b: &[f32]) -> f64 {
        match self {
            Self::Polynomial => (product(a, b) / a.len() as f64 + 1.0).powi(3),
            Self::Linear => product(a, b),
            _ => self.of_squared_distance(squared_distance(a, b)),
        }
    }

    /// The same for kernels that depend on `|a − b|²` alone; 0 for others.
    pub(super) fn of_squared_distance(&self, squared: f64) -> f64 {
        match self {
            Self::Rbf { sigma } => (-squared / (2.0 * sigma * sigma)).exp(),
            Self::RbfMixture { sigma } => {
                MIXTURE.iter().map(|factor| Self::from(factor * sigma).of_squared_distance(squared)).sum::<f64>() / 4.0
            }
            Self::Distance => -squared.sqrt(),
            Self::Polynomial | Self::Linear => 0.0,
        }
    }
}
