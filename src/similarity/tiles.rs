//! Discrepancies of many permutations and resamples of two samples, from one kernel matrix that is never stored as a
//! whole.
//!
//! With the pooled kernel matrix K̃ (zero diagonal), the indicator u of the vectors that fall to x, and r = K̃1: `Σ_XX
//! = uᵀK̃u`, `Σ_XY = uᵀr − uᵀK̃u`, `Σ_YY = 1ᵀr − 2uᵀr + uᵀK̃u`. All permutations together are one product K̃U. K̃ is
//! made in tiles on the device, each is multiplied with its part of U and then dropped: products in f32, the sums of
//! tiles in f64. For n pooled vectors in dimension d and c columns that is n²(d + c) multiplications and additions for
//! one kernel, and n(d + c) numbers of memory beside the samples.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use super::draws::Draws;
use super::features::{Features, comparable};
use super::kernel::{Kernel, MIXTURE};
use crate::error::{Error, Result};
use crate::kernels::gram::{self, OfDistance, Values};
use crate::kernels::matmul::{Held, product};
use crate::model::parameters::to_host;
use crate::progress::Monitor;

/// Vectors on a side of a tile.
const TILE: usize = 1024;

/// What one kernel's discrepancy `E k(x,x') + E k(y,y') − 2 E k(x,y)` is for each draw (u-statistic: no vector is paired
/// with itself).
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// For the samples as they are.
    pub observed: f64,
    /// For each permutation after the observed one.
    pub permuted: Vec<f64>,
    /// For each resample. Copies of a vector are not paired with each other; [`Kernel::Linear`] and
    /// [`Kernel::Polynomial`] are computed relative to the centre of the pool, without the terms that depend on one of
    /// the two vectors alone.
    pub resampled: Vec<f64>,
}

/// Vectors of one side that make up rows or columns of a tile, on the device.
struct Block {
    /// Whether they are of x.
    first: bool,
    /// Centred and scaled, `[t, dimension]`.
    rows: Tensor<2>,
    /// Squared lengths of those, `[t, 1]`.
    squares: Tensor<2>,
    /// Products of the vectors with the pool's centre, over the dimension, `[t, 1]`.
    shift: Tensor<2>,
    /// Permutations, a column of ones, resamples: `[t, permutations + 1 + resamples]`.
    columns: Tensor<2>,
}

/// The pool centred and scaled so that f32 holds distances well: only [`Kernel::Polynomial`] depends on the origin, and
/// it gets the centre back as `shift`. Terms of a kernel that depend on one vector alone, f(a) + f(b), or on neither,
/// add nothing to a discrepancy; leaving them out reduces rounding.
struct Pool {
    centre: Vec<f64>,
    /// Root of the mean squared distance of two vectors; 1 where all are equal.
    scale: f64,
    dimension: usize,
}

impl Pool {
    fn of(x: &Features, y: &Features) -> Self {
        let (m, n) = (x.samples as f64, y.samples as f64);
        let mut centre = vec![0.0; x.dimension];
        for row in x.rows().chain(y.rows()) {
            centre.iter_mut().zip(row).for_each(|(c, v)| *c += f64::from(*v) / (m + n));
        }
        let from_centre = |row: &[f32]| row.iter().zip(&centre).map(|(v, c)| (f64::from(*v) - c).powi(2)).sum::<f64>();
        let spread: f64 = x.rows().chain(y.rows()).map(from_centre).sum::<f64>() / (m + n);
        let scale = (2.0 * spread).sqrt();
        Self { centre, scale: if scale > 0.0 { scale } else { 1.0 }, dimension: x.dimension }
    }

    fn block(&self, x: &Features, y: &Features, draws: &Draws, rows: std::ops::Range<usize>, device: &Device) -> Block {
        let mut values = vec![0.0; rows.len() * self.dimension];
        let lines = values.par_chunks_mut(self.dimension).zip(rows.clone());
        let (squares, shift) = lines
            .map(|(line, i)| {
                let row = if i < x.samples { x.row(i) } else { y.row(i - x.samples) };
                let (mut square, mut shifted) = (0.0, 0.0);
                for ((scaled, v), centre) in line.iter_mut().zip(row).zip(&self.centre) {
                    *scaled = ((f64::from(*v) - centre) / self.scale) as f32;
                    square += f64::from(*scaled).powi(2);
                    shifted += self.scale * f64::from(*scaled) * centre / self.dimension as f64;
                }
                (square as f32, shifted as f32)
            })
            .unzip();
        let (permutations, resamples) = (draws.permutations(), draws.resamples());
        let width = permutations + 1 + resamples;
        let mut columns = vec![1.0; rows.len() * width];
        columns.par_chunks_mut(width).zip(rows.clone()).for_each(|(line, i)| {
            let (permuted, rest) = line.split_at_mut(permutations);
            permuted.iter_mut().enumerate().for_each(|(p, taken)| *taken = f32::from(draws.falls_to_first(p, i)));
            rest[1..].iter_mut().enumerate().for_each(|(r, taken)| *taken = f32::from(draws.taken(r, i)));
        });
        let tensor = |values: Vec<f32>| {
            let width = values.len() / rows.len();
            Tensor::<2>::from_data(TensorData::new(values, [rows.len(), width]), device)
        };
        Block {
            first: rows.start < x.samples,
            rows: tensor(values),
            squares: tensor(squares),
            shift: tensor(shift),
            columns: tensor(columns),
        }
    }

    /// The kernel's values for a tile, without the terms that add nothing to a discrepancy, `[rows of a, rows of b]`; 0
    /// on the `diagonal`, as no vector is paired with itself.
    fn tile(&self, kernel: &Kernel, products: &Tensor<2>, a: &Block, b: &Block, diagonal: bool) -> Tensor<2> {
        let middle = kernel.of_squared_distance(self.scale * self.scale) as f32;
        let factor = |sigma: f64| -0.5 * (self.scale / sigma).powi(2);
        let of_distance = match kernel {
            Kernel::Rbf { sigma } => OfDistance::Exponential(factor(*sigma)),
            Kernel::RbfMixture { sigma } => OfDistance::Exponentials(MIXTURE.map(|times| factor(times * sigma))),
            Kernel::Distance => OfDistance::Distance(-self.scale),
            Kernel::Linear | Kernel::Polynomial => return self.of_products(kernel, products, a, b, diagonal),
        };
        gram::tile(products.clone(), [a.squares.clone(), b.squares.clone()], Values { of_distance, middle, diagonal })
    }

    /// The same of a kernel of two vectors' product.
    fn of_products(&self, kernel: &Kernel, products: &Tensor<2>, a: &Block, b: &Block, diagonal: bool) -> Tensor<2> {
        let values = match kernel {
            Kernel::Polynomial => {
                // (Q + c + s + t)³, where Q = |centre|²/d + 1, c is the centred product over d, and s, t are the shifts;
                // without Q³, 3Q²(s + t) and 3Q(s² + t²)
                let dimension = self.dimension as f64;
                let q = self.centre.iter().map(|c| c * c).sum::<f64>() / dimension + 1.0;
                let c = products.clone() * (self.scale * self.scale / dimension) as f32;
                let (s, t) = (a.shift.clone(), b.shift.clone().transpose());
                let both = c.clone().zeros_like() + s.clone() + t.clone();
                let square = c.clone() * (c.clone() + both.clone() * 2.0) + s.matmul(t) * 2.0;
                let all = c.clone() + both;
                c * (3.0 * q * q) as f32 + square * (3.0 * q) as f32 + all.clone() * all.clone() * all
            }
            _ => products.clone() * (self.scale * self.scale) as f32,
        };
        if diagonal { gram::without_diagonal(values) } else { values }
    }
}

/// Sums of a tile, one for each column.
#[derive(Clone)]
struct Sums {
    /// uᵀK̃u of each permutation.
    inside: Vec<f64>,
    /// uᵀr of each permutation.
    across: Vec<f64>,
    /// 1ᵀr.
    total: f64,
    /// Of each resample: within x, within y, between.
    resampled: [Vec<f64>; 3],
}

/// Discrepancies under each of `kernels` for all of `draws`.
///
/// # Errors
/// [`Error::Numeric`] for samples that cannot be compared or values beyond f32, the device's failure, an interruption.
pub fn discrepancies(
    x: &Features,
    y: &Features,
    kernels: &[Kernel],
    draws: &Draws,
    device: &Device,
    monitor: &mut dyn Monitor,
) -> Result<Vec<Drawn>> {
    comparable(x, y)?;
    kernels.iter().try_for_each(Kernel::check)?;
    drawn(x, y, kernels, draws, device, monitor)
}

/// The same for parts of one sample against the rest of it, see [`Draws::parts`].
///
/// # Errors
/// As [`discrepancies`].
pub fn discrepancies_of_parts(
    x: &Features,
    kernels: &[Kernel],
    draws: &Draws,
    device: &Device,
    monitor: &mut dyn Monitor,
) -> Result<Vec<Drawn>> {
    kernels.iter().try_for_each(Kernel::check)?;
    drawn(x, &x.select(&[]), kernels, draws, device, monitor)
}

fn drawn(
    x: &Features,
    y: &Features,
    kernels: &[Kernel],
    draws: &Draws,
    device: &Device,
    monitor: &mut dyn Monitor,
) -> Result<Vec<Drawn>> {
    let device = device.clone().inner();
    let pool = Pool::of(x, y);
    // No block holds vectors of both sides, so that a tile is within x, within y or between them.
    let (m, all) = (x.samples, x.samples + y.samples);
    let starts = (0..m).step_by(TILE).chain((m..all).step_by(TILE));
    let ranges = starts.map(|start| start..(start + TILE).min(if start < m { m } else { all }));
    let blocks: Vec<Block> = ranges.map(|range| pool.block(x, y, draws, range, &device)).collect();

    let (permutations, resamples) = (draws.permutations(), draws.resamples());
    let nothing = Sums {
        inside: vec![0.0; permutations],
        across: vec![0.0; permutations],
        total: 0.0,
        resampled: [(); 3].map(|()| vec![0.0; resamples]),
    };
    let mut sums = vec![nothing; kernels.len()];
    monitor.begin("permutations", (blocks.len() * (blocks.len() + 1) / 2) as u64);
    for (i, a) in blocks.iter().enumerate() {
        for (j, b) in blocks.iter().enumerate().skip(i) {
            let products = product(a.rows.clone(), Held::Plain, b.rows.clone(), Held::Transposed);
            for (kernel, sums) in kernels.iter().zip(&mut sums) {
                let tile = pool.tile(kernel, &products, a, b, i == j);
                sums.add(tile, a, b, i == j, permutations)?;
            }
            monitor.advance(1, "");
            if monitor.stopped() {
                return Err(Error::Interrupted(
                    "stopped while permuting; the next run starts from the beginning".into(),
                ));
            }
        }
    }
    monitor.end();
    kernels.iter().zip(sums).map(|(kernel, sums)| sums.discrepancies(kernel, draws)).collect()
}

impl Sums {
    fn add(&mut self, tile: Tensor<2>, a: &Block, b: &Block, diagonal: bool, permutations: usize) -> Result<()> {
        let of_tile = product(tile, Held::Plain, b.columns.clone(), Held::Plain); // [t, columns]
        let found = to_host(gram::found(a.columns.clone(), of_tile, permutations).flatten::<1>(0, 1))?;
        let draws = found.len() / 3;
        let (quadratic, across) = found.split_at(draws);
        let (from_a, from_b) = across.split_at(draws);
        // A tile off the diagonal also counts for its mirror image.
        let times = if diagonal { 1.0 } else { 2.0 };
        for p in 0..permutations {
            self.inside[p] += times * f64::from(quadratic[p]);
            self.across[p] += f64::from(from_a[p]) + if diagonal { 0.0 } else { f64::from(from_b[p]) };
        }
        self.total += times * f64::from(quadratic[permutations]);
        let (which, times) = match (a.first, b.first) {
            (true, true) => (0, times),
            (false, false) => (1, times),
            _ => (2, 1.0),
        };
        for (sum, value) in self.resampled[which].iter_mut().zip(&quadratic[permutations + 1..]) {
            *sum += times * f64::from(*value);
        }
        Ok(())
    }

    fn discrepancies(self, kernel: &Kernel, draws: &Draws) -> Result<Drawn> {
        let all = draws.vectors();
        let pairs = |n: f64| n * (n - 1.0);
        let discrepancy = |p: usize| {
            let (m, inside, across) = (draws.size_of_first(p) as f64, self.inside[p], self.across[p]);
            let n = all as f64 - m;
            inside / pairs(m) + (self.total - 2.0 * across + inside) / pairs(n) - 2.0 * (across - inside) / (m * n)
        };
        let resampled = |r: usize| {
            // numbers of pairs: each side's Σw and Σw²
            let mut sizes = [[0.0; 2]; 2];
            for i in 0..all {
                let taken = f64::from(draws.taken(r, i));
                let side = &mut sizes[usize::from(i >= draws.first)];
                side[0] += taken;
                side[1] += taken * taken;
            }
            let [[m, m2], [n, n2]] = sizes;
            let [within_x, within_y, between] = [0, 1, 2].map(|which| self.resampled[which][r]);
            within_x / (m * m - m2) + within_y / (n * n - n2) - 2.0 * between / (m * n)
        };
        let observed = discrepancy(0);
        if !observed.is_finite() {
            return Err(Error::numeric(format!("the discrepancy under the kernel {kernel:?} is {observed}")));
        }
        Ok(Drawn {
            observed,
            permuted: (1..draws.permutations()).map(discrepancy).collect(),
            resampled: (0..draws.resamples()).map(resampled).collect(),
        })
    }
}
