//! The product of two matrices, and linear layers: on software cards, where the framework's product is several times
//! slower than necessary, and on the CPU backend, where its product is good but the work around it runs on one thread.

use std::ops::Range;

use burn::tensor::Tensor;
use minijinja::context;
use rayon::prelude::*;

use super::host::{self, Numbers, Read, STRETCH};
use super::node::{self, Function};
use super::place::{Place, place};
use super::wgsl::{self, Ability, Buffer, Kernel};

/// Rows that a subgroup computes at once: the fastest number, measured; 16 take 1.5 times as long.
const ROWS: u32 = 32;
/// Vectors of four columns that an invocation computes at once.
const VECTORS: u32 = 2;

/// How a matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// As it is used.
    Plain,
    /// As its transpose.
    Transposed,
}

/// `x W`, plus a bias `[out]` where there is one, for `x` `[n, in]` and a weight `[in, out]`, or held as `[out, in]`:
/// `[n, out]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, held: Held, bias: Option<Tensor<1>>) -> Tensor<2> {
    let ours = match place(&x) {
        Place::Host => weight.dtype() == x.dtype(),
        Place::Wgpu(ability) => ability.shuffles() && suits(&weight),
        Place::Elsewhere => false,
    };
    match (ours, bias) {
        (false, bias) => plain_linear(x, weight, held, bias),
        (true, None) => node::apply(Linear(held), [x.unsqueeze(), weight.unsqueeze()]).squeeze_dim(0),
        (true, Some(bias)) => {
            node::apply(Linear(held), [x.unsqueeze(), weight.unsqueeze(), bias.unsqueeze()]).squeeze_dim(0)
        }
    }
}

/// [`linear`] by the framework's operations, on any device.
pub fn plain_linear(x: Tensor<2>, weight: Tensor<2>, held: Held, bias: Option<Tensor<1>>) -> Tensor<2> {
    let y = plain(x, Held::Plain, weight, held);
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// `a b`, neither of which is differentiated: `[m, k]` and `[k, n]` to `[m, n]`, each as it is held.
pub fn product(a: Tensor<2>, a_held: Held, b: Tensor<2>, b_held: Held) -> Tensor<2> {
    match (wgsl::ability(&a).filter(Ability::shuffles), (a_held, b_held)) {
        (None, _) | (_, (Held::Transposed, Held::Transposed)) => plain(a, a_held, b, b_held),
        (Some(ability), _) => on_software([a, b], [a_held, b_held], None, ability),
    }
}

/// [`product`] by the framework's operations, on any device.
pub fn plain(a: Tensor<2>, a_held: Held, b: Tensor<2>, b_held: Held) -> Tensor<2> {
    let used = |matrix: Tensor<2>, held| match held {
        Held::Plain => matrix,
        Held::Transposed => matrix.transpose(),
    };
    used(a, a_held).matmul(used(b, b_held))
}

fn suits(matrix: &Tensor<2>) -> bool {
    wgsl::ability(matrix).is_some_and(|ability| ability.shuffles())
}

/// `a b`, plus a bias of its columns.
fn on_software(
    [a, b]: [Tensor<2>; 2],
    [a_held, b_held]: [Held; 2],
    bias: Option<Tensor<1>>,
    ability: Ability,
) -> Tensor<2> {
    let [a_rows, a_columns] = a.dims();
    let [b_rows, b_columns] = b.dims();
    let [m, k] = if a_held == Held::Plain { [a_rows, a_columns] } else { [a_columns, a_rows] };
    let n = if b_held == Held::Plain { b_columns } else { b_rows };
    if m == 0 || n == 0 || k == 0 {
        let nothing = Tensor::zeros([m, n], &a.device());
        return bias.into_iter().fold(nothing, |y, bias| y + bias.unsqueeze());
    }
    let (lanes, down) = (ability.subgroup, m < n);
    let values = context! {
        lanes,
        down,
        rows => ROWS,
        vectors => VECTORS,
        a_transposed => a_held == Held::Transposed,
        b_transposed => b_held == Held::Transposed,
        a_aligned => a_columns.is_multiple_of(4),
        b_aligned => b_columns.is_multiple_of(4),
        c_aligned => n.is_multiple_of(4),
        biased => bias.is_some(),
    };
    let (a, b, bias) = (Buffer::of(a), Buffer::of(b), bias.map(Buffer::of));
    let c = a.beside([m, n]);
    let [m, n, k] = [m, n, k].map(|size| size as u32);
    let buffers: Vec<&Buffer> = [&a, &b, &c].into_iter().chain(&bias).collect();
    let (across, below) = (n.div_ceil(4 * VECTORS * lanes), m.div_ceil(ROWS));
    let groups = if down { [below, across, 1] } else { [across, below, 1] };
    Kernel::new("matmul", values, [lanes, 1, 1]).launch(groups, &buffers, &[m, n, k]);
    c.into_tensor()
}

/// `x W`: of `x` `[1, n, in]`, the weight as it is held, and the bias `[1, 1, out]` where there is one.
#[derive(Debug)]
struct Linear(Held);

impl<const N: usize> Function<N> for Linear {
    /// `x` and the weight.
    type Saved = [Tensor<2>; 2];

    fn forward(&self, inputs: [Tensor<3>; N]) -> (Tensor<3>, Self::Saved) {
        let mut inputs = inputs.into_iter();
        let (Some(x), Some(weight), bias) = (inputs.next(), inputs.next(), inputs.next()) else {
            unreachable!("a linear layer has an input and a weight")
        };
        let (x, weight, bias) = (x.squeeze_dim(0), weight.squeeze_dim(0), bias.map(|bias| bias.flatten(0, 2)));
        let [both, held] = [[x.clone(), weight.clone()], [x, weight]];
        let y = match place(&both[0]) {
            Place::Wgpu(ability) => on_software(both, [Held::Plain, self.0], bias, ability),
            _ => {
                let [x, weight] = both;
                let y = plain(x, Held::Plain, weight, self.0);
                bias.into_iter().fold(y, add_on_host)
            }
        };
        (y.unsqueeze(), held)
    }

    fn backward(&self, [x, weight]: Self::Saved, gradient: Tensor<3>, wanted: [bool; N]) -> [Option<Tensor<3>>; N] {
        let gradient: Tensor<2> = gradient.squeeze_dim(0);
        let wanted = [0, 1, 2].map(|input| wanted.get(input).copied().unwrap_or(false));
        let of_x = || match self.0 {
            Held::Plain => product(gradient.clone(), Held::Plain, weight, Held::Transposed),
            Held::Transposed => product(gradient.clone(), Held::Plain, weight, Held::Plain),
        };
        let of_x = wanted[0].then(of_x);
        let of_weight = || match self.0 {
            Held::Plain => product(x, Held::Transposed, gradient.clone(), Held::Plain),
            Held::Transposed => product(gradient.clone(), Held::Transposed, x, Held::Plain),
        };
        let of_weight = wanted[1].then(of_weight);
        let of_bias = wanted[2].then(|| column_sums(gradient));
        let mut found = [of_x, of_weight, of_bias].map(|gradient| gradient.map(Tensor::unsqueeze)).into_iter();
        [(); N].map(|()| found.next().flatten())
    }
}

/// `y` `[n, out]` plus a bias `[out]`, in place.
fn add_on_host(y: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    let [_, columns] = y.dims();
    let (mut y, bias) = (Numbers::of(y), Read::of(bias));
    let together = STRETCH.div_ceil(columns.max(1)) * columns.max(1);
    y.as_mut_slice().par_chunks_mut(together).for_each(|rows| add_to_rows(rows, bias.as_slice()));
    y.into_tensor()
}

/// The sum of all rows of `x` `[n, columns]`: `[1, columns]`.
fn column_sums(x: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = x.dims();
    if !host::holds(&x) || columns == 0 {
        return x.sum_dim(0);
    }
    let x = Read::of(x);
    let add = |sums: &mut [f32], rows: Range<usize>| {
        sum_of_rows(sums, &x.as_slice()[rows.start * columns..rows.end * columns]);
    };
    let sums = host::sums_over_rows(rows, columns, add);
    host::tensor(sums, [1, columns])
}

vectorised! {
    fn add_to_rows(rows: &mut [f32], bias: &[f32]) {
        for row in rows.chunks_exact_mut(bias.len().max(1)) {
            row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
    }
}

vectorised! {
    fn sum_of_rows(sums: &mut [f32], rows: &[f32]) {
        for row in rows.chunks_exact(sums.len().max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    }
}
