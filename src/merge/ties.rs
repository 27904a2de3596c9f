//! TIES (arXiv 2306.01708): of what each model changed only the largest is kept; where models changed a weight in opposite
//! directions, the direction with more weight behind it wins; the changes in that direction are averaged.

use super::side::Side;
use crate::error::{Error, Result};
use crate::progress::Monitor;

/// Bins of half a float's bits.
const BINS: usize = 1 << 16;

/// For every model the smallest change that is kept: the ⌊density · weights⌋-th largest of all its changes, as the paper's
/// authors take it over the whole model; equal ones are kept too.
///
/// It is found exactly in two passes over the weights, by the upper and then the lower half of the bits of |τ|, which order
/// as the numbers do.
pub(super) fn thresholds(
    base: &mut Side,
    adapted: &mut [Side],
    density: f64,
    monitor: &mut dyn Monitor,
) -> Result<Vec<f32>> {
    let shapes = base.shapes().to_vec();
    let weights: u64 = shapes.iter().map(|(_, shape)| shape.iter().map(|&n| n as u64).product::<u64>()).sum();
    let wanted = ((weights as f64 * density).floor() as u64).max(1);
    monitor.begin("finding the largest changes", 2 * shapes.len() as u64);
    let mut upper = vec![vec![0_u64; BINS]; adapted.len()];
    each_change(base, adapted, &shapes, monitor, |model, bits| upper[model][(bits >> 16) as usize] += 1)?;
    let chosen: Vec<(usize, u64)> = upper.iter().map(|bins| bin_of(bins, wanted)).collect();
    let mut lower = vec![vec![0_u64; BINS]; adapted.len()];
    each_change(base, adapted, &shapes, monitor, |model, bits| {
        if (bits >> 16) as usize == chosen[model].0 {
            lower[model][(bits & 0xffff) as usize] += 1;
        }
    })?;
    monitor.end();
    let of = |(&(high, left), bins): (&(usize, u64), &Vec<u64>)| {
        let (low, _) = bin_of(bins, left);
        f32::from_bits((high as u32) << 16 | low as u32)
    };
    Ok(chosen.iter().zip(&lower).map(of).collect())
}

/// Calls `see` with the number of the model and the bits of |τ| for every weight of every model.
fn each_change(
    base: &mut Side,
    adapted: &mut [Side],
    shapes: &[(String, Vec<usize>)],
    monitor: &mut dyn Monitor,
    mut see: impl FnMut(usize, u32),
) -> Result<()> {
    for (name, shape) in shapes {
        let rows = 0..shape.first().copied().unwrap_or(0);
        let before = base.values(name, shape, rows.clone())?;
        for (model, side) in adapted.iter_mut().enumerate() {
            let after = side.values(name, shape, rows.clone())?;
            before.iter().zip(&after).for_each(|(before, after)| see(model, (after - before).abs().to_bits()));
        }
        monitor.advance(1, "");
        if monitor.stopped() {
            return Err(Error::Interrupted("stopped while the largest changes were sought; nothing is written".into()));
        }
    }
    Ok(())
}

/// The bin of the `wanted`-th number from above, and which number of that bin it is.
fn bin_of(bins: &[u64], wanted: u64) -> (usize, u64) {
    let mut left = wanted;
    for (bin, &count) in bins.iter().enumerate().rev() {
        if count >= left {
            return (bin, left);
        }
        left -= count;
    }
    (0, left)
}

/// One weight at the share `alpha`; `changes` are those of all models, 0 where it is not kept.
pub(super) fn merged(base: f32, changes: &[f32], alpha: f64) -> f32 {
    let total: f64 = changes.iter().map(|&change| f64::from(change)).sum();
    if total == 0.0 {
        return base; // nobody changed it, or nobody wins
    }
    let agree = changes.iter().map(|&change| f64::from(change)).filter(|change| change * total > 0.0);
    let (sum, count) = agree.fold((0.0, 0.0), |(sum, count), change| (sum + change, count + 1.0));
    (f64::from(base) + alpha * sum / count) as f32
}
