//! A tile of a kernel matrix from the products of its vectors.

use std::ops::Range;

use burn::tensor::Tensor;
use minijinja::context;
use rayon::prelude::*;

use super::host::{self, Read};
use super::place::{Place, place};
use super::vectors::exponential;
use super::wgsl::{Ability, Buffer, Kernel};

/// A kernel of two vectors' squared distance s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OfDistance {
    /// The mean of e^(factor·s) over the factors, which are negative.
    Exponentials([f64; 4]),
    /// e^(factor·s).
    Exponential(f64),
    /// factor·√s.
    Distance(f64),
}

/// How the values of a tile are computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    /// The kernel.
    pub of_distance: OfDistance,
    /// A number that is subtracted from every value.
    pub middle: f32,
    /// Whether row i and column i are one vector: a vector is not paired with itself, so the value is 0.
    pub diagonal: bool,
}

/// Kernel values `[rows, columns]`: with s = |a|² + |b|² − 2ab from the `products` `[rows, columns]` and the squared lengths
/// of the rows' and the columns' vectors, `[rows, 1]` and `[columns, 1]`.
pub fn tile(products: Tensor<2>, squares: [Tensor<2>; 2], values: Values) -> Tensor<2> {
    match place(&products) {
        Place::Host => on_host(products, squares, values),
        Place::Wgpu(ability) => on_wgpu(products, squares, values, ability),
        Place::Elsewhere => plain(products, squares, values),
    }
}

/// [`tile`] by the framework's operations, on any device.
pub fn plain(products: Tensor<2>, [rows, columns]: [Tensor<2>; 2], values: Values) -> Tensor<2> {
    let Values { of_distance, middle, diagonal } = values;
    let squared = (products * -2.0 + rows + columns.transpose()).clamp_min(0.0);
    let exponential = |factor: f64| (squared.clone() * factor as f32).exp();
    let values = match of_distance {
        OfDistance::Exponentials(factors) => {
            let [a, b, c, d] = factors.map(exponential);
            (a + b + c + d) * 0.25
        }
        OfDistance::Exponential(factor) => exponential(factor),
        OfDistance::Distance(factor) => squared.clone().sqrt() * factor as f32,
    };
    let values = values - middle;
    if diagonal { without_diagonal(values) } else { values }
}

/// `values` `[n, n]` with 0 on the diagonal.
pub fn without_diagonal(values: Tensor<2>) -> Tensor<2> {
    let ([count, _], device) = (values.dims(), values.device());
    values * (Tensor::<2>::ones([count, count], &device) - Tensor::eye(count, &device))
}

/// The contribution of a tile K of a kernel matrix to the draws: sums over its rows, `[3, draws]`, of `columns ∘ K U`,
/// of `columns ∘ K 1` and of `K U`.
///
/// `columns` `[rows, draws]` says how many times each draw takes the vector of a row. `of_tile` `[rows, draws]` is K U;
/// in it the draw `ones` takes every vector once.
pub fn found(columns: Tensor<2>, of_tile: Tensor<2>, ones: usize) -> Tensor<2> {
    let [rows, draws] = of_tile.dims();
    if !host::holds(&of_tile) || rows == 0 || draws == 0 {
        return plain_found(columns, of_tile, ones);
    }
    let (columns, of_tile) = (Read::of(columns), Read::of(of_tile));
    let add = |sums: &mut [f32], rows: Range<usize>| {
        let numbers = rows.start * draws..rows.end * draws;
        found_in_rows(sums, &columns.as_slice()[numbers.clone()], &of_tile.as_slice()[numbers], ones);
    };
    let sums = host::sums_over_rows(rows, 3 * draws, add);
    host::tensor(sums, [3, draws])
}

/// [`found`] by the framework's operations, on any device.
pub fn plain_found(columns: Tensor<2>, of_tile: Tensor<2>, ones: usize) -> Tensor<2> {
    let of_rows = of_tile.clone().narrow(1, ones, 1); // [rows, 1]
    let inside = (columns.clone() * of_tile.clone()).sum_dim(0);
    Tensor::cat(vec![inside, (columns * of_rows).sum_dim(0), of_tile.sum_dim(0)], 0)
}

vectorised! {
    fn found_in_rows(sums: &mut [f32], columns: &[f32], of_tile: &[f32], ones: usize) {
        let draws = sums.len() / 3;
        let (inside, rest) = sums.split_at_mut(draws);
        let (across, all) = rest.split_at_mut(draws);
        for (columns, of_tile) in columns.chunks_exact(draws).zip(of_tile.chunks_exact(draws)) {
            let of_row = of_tile[ones];
            let sums = inside.iter_mut().zip(across.iter_mut()).zip(all.iter_mut());
            for (((inside, across), all), (taken, value)) in sums.zip(columns.iter().zip(of_tile)) {
                *inside += taken * value;
                *across += taken * of_row;
                *all += value;
            }
        }
    }
}

impl OfDistance {
    /// The number of exponentials, and the factor of the squared distance in each.
    fn terms(self) -> (usize, [f32; 4]) {
        match self {
            Self::Exponentials(factors) => (4, factors.map(|factor| factor as f32)),
            Self::Exponential(factor) => (1, [factor as f32; 4]),
            Self::Distance(factor) => (0, [factor as f32; 4]),
        }
    }
}

fn on_wgpu(products: Tensor<2>, squares: [Tensor<2>; 2], values: Values, ability: Ability) -> Tensor<2> {
    let Values { of_distance, middle, diagonal } = values;
    let [rows, columns] = products.dims();
    let ((terms, factors), aligned) = (of_distance.terms(), columns.is_multiple_of(4));
    let items = if aligned { columns / 4 } else { columns };
    let (lanes, each) = (ability.lanes(), if ability.software { 32 } else { 4 });
    let kernel = Kernel::new("gram", context! { lanes, each, terms, aligned }, [lanes, 1, 1]);
    let products = Buffer::of(products);
    let [of_rows, of_columns] = squares.map(Buffer::of);
    let tile = products.beside([rows, columns]);
    let mut constants = vec![rows as u32, items as u32, u32::from(diagonal), middle.to_bits()];
    constants.extend(factors.map(f32::to_bits));
    let groups = [items.div_ceil((lanes * each) as usize) as u32, rows as u32, 1];
    kernel.launch(groups, &[&products, &of_rows, &of_columns, &tile], &constants);
    tile.into_tensor()
}

fn on_host(products: Tensor<2>, squares: [Tensor<2>; 2], values: Values) -> Tensor<2> {
    let Values { of_distance, middle, diagonal } = values;
    let [rows, columns] = products.dims();
    if rows == 0 || columns == 0 {
        return products;
    }
    let (terms, factors) = of_distance.terms();
    let [of_rows, of_columns] = squares.map(Read::of);
    let products = Read::of(products);
    let mut values = vec![0.0; rows * columns];
    values
        .par_chunks_mut(columns)
        .zip(products.as_slice().par_chunks(columns))
        .zip(of_rows.as_slice())
        .enumerate()
        .for_each(|(i, ((values, products), &square))| {
            row(values, products, square, of_columns.as_slice(), terms, factors, middle);
            if diagonal && let Some(value) = values.get_mut(i) {
                *value = 0.0;
            }
        });
    host::tensor(values, [rows, columns])
}

vectorised! {
    fn row(
        values: &mut [f32],
        products: &[f32],
        square: f32,
        squares: &[f32],
        terms: usize,
        factors: [f32; 4],
        middle: f32,
    ) {
        let all = values.iter_mut().zip(products).zip(squares);
        let squared = |product: f32, other: f32| {
            let squared = product * -2.0 + square + other;
            if squared < 0.0 { 0.0 } else { squared }
        };
        match terms {
            0 => all.for_each(|((value, &p), &s)| *value = squared(p, s).sqrt() * factors[0] - middle),
            1 => all.for_each(|((value, &p), &s)| *value = exponential(squared(p, s) * factors[0]) - middle),
            _ => all.for_each(|((value, &p), &s)| {
                let squared = squared(p, s);
                let [a, b, c, d] = factors.map(|factor| exponential(squared * factor));
                *value = (a + b + c + d) * 0.25 - middle;
            }),
        }
    }
}
