//! Sums of squares, for the norm of a gradient.

use burn::tensor::Tensor;
use minijinja::context;
use rayon::prelude::*;

use super::host::{Read, STRETCH};
use super::place::{Place, place};
use super::vectors::LANES;
use super::wgsl::{self, Ability, Buffer, Kernel};
use crate::device::read_back::to_host;
use crate::error::Result;

/// Σ x² of all numbers in `all`, `[n]` each.
///
/// # Errors
/// The device's failure, which appears at this read-back.
pub fn sum_of_squares<'a>(all: impl IntoIterator<Item = &'a Tensor<1>>) -> Result<f64> {
    let mut sum = 0.0;
    let mut on_wgpu = Vec::new();
    for x in all {
        match place(x) {
            Place::Host => sum += sum_on_host(x.clone()),
            Place::Wgpu(ability) => on_wgpu.push((x.clone(), ability)),
            Place::Elsewhere => {
                sum += to_host((x.clone() * x.clone()).sum())?.iter().copied().map(f64::from).sum::<f64>()
            }
        }
    }
    Ok(sum + sum_on_wgpu(on_wgpu)?)
}

fn sum_on_host(x: Tensor<1>) -> f64 {
    let x = Read::of(x);
    // Sums of stretches, added in their order: the same for any number of threads.
    let sums: Vec<f64> = x.as_slice().par_chunks(STRETCH).map(squares).collect();
    sums.iter().sum()
}

/// A sum of every workgroup's share, in f32, is written into one buffer, and that read back.
fn sum_on_wgpu(all: Vec<(Tensor<1>, Ability)>) -> Result<f64> {
    /// Numbers or vectors of four that an invocation takes.
    const EACH: u32 = 16;
    let launches: Vec<_> = all
        .into_iter()
        .filter(|(x, _)| x.dims() != [0])
        .map(|(x, ability)| {
            let [count] = x.dims();
            let aligned = count.is_multiple_of(4);
            let items = if aligned { count / 4 } else { count };
            let (lanes, shuffles) = (ability.lanes(), ability.shuffles());
            let kernel = Kernel::new("squares", context! { lanes, shuffles, each => EACH, aligned }, [lanes, 1, 1]);
            (kernel, Buffer::of(x), items, items.div_ceil((lanes * EACH) as usize))
        })
        .collect();
    let Some((_, first, ..)) = launches.first() else { return Ok(0.0) };
    let count: usize = launches.iter().map(|(.., groups)| groups).sum();
    let sums = first.beside([count]);
    let mut offset = 0;
    for (kernel, x, items, groups) in launches {
        kernel.launch(wgsl::groups(groups), &[&x, &sums], &[items as u32, offset]);
        offset += groups as u32;
    }
    Ok(to_host(sums.into_tensor::<1>())?.iter().copied().map(f64::from).sum())
}

vectorised! {
    /// Taken in f64: the square of a gradient may be beyond f32 although the gradient is not.
    fn squares(x: &[f32]) -> f64 {
        let (blocks, rest) = x.as_chunks::<LANES>();
        let mut lanes = [0.0_f64; LANES];
        for block in blocks {
            lanes.iter_mut().zip(block).for_each(|(lane, &x)| *lane += f64::from(x) * f64::from(x));
        }
        lanes.iter_mut().zip(rest).for_each(|(lane, &x)| *lane += f64::from(x) * f64::from(x));
        lanes.iter().sum()
    }
}
