//! The product of two matrices on software adapters, where the framework's is several times slower than it need be.

use burn::tensor::Tensor;
use minijinja::context;

use super::node::{self, Function};
use super::wgsl::{self, Ability, Buffer, Kernel};

/// Rows that a subgroup computes at once: as many as pay, measured; 16 take half as long again.
const ROWS: u32 = 32;
/// Vectors of four columns that an invocation computes at once.
const VECTORS: u32 = 2;

/// How a matrix is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// As it is used.
    Plain,
    /// As its transpose.
    Transposed,
}

/// `x W` for `x` `[n, in]` and a weight `[in, out]`, or held as `[out, in]`: `[n, out]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, held: Held) -> Tensor<2> {
    if !suits(&x) || !suits(&weight) {
        return match held {
            Held::Plain => x.matmul(weight),
            Held::Transposed => x.matmul(weight.transpose()),
        };
    }
    node::apply(Linear(held), [x.unsqueeze(), weight.unsqueeze()]).squeeze_dim(0)
}

/// `a b`, neither of which is differentiated: `[m, k]` and `[k, n]` to `[m, n]`, each as it is held.
pub fn product(a: Tensor<2>, a_held: Held, b: Tensor<2>, b_held: Held) -> Tensor<2> {
    match (wgsl::ability(&a).filter(Ability::shuffles), (a_held, b_held)) {
        (None, _) | (_, (Held::Transposed, Held::Transposed)) => plain(a, a_held, b, b_held),
        (Some(ability), _) => on_software(a, a_held, b, b_held, ability),
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

fn on_software(a: Tensor<2>, a_held: Held, b: Tensor<2>, b_held: Held, ability: Ability) -> Tensor<2> {
    let [a_rows, a_columns] = a.dims();
    let [b_rows, b_columns] = b.dims();
    let [m, k] = if a_held == Held::Plain { [a_rows, a_columns] } else { [a_columns, a_rows] };
    let n = if b_held == Held::Plain { b_columns } else { b_rows };
    if m == 0 || n == 0 || k == 0 {
        return Tensor::zeros([m, n], &a.device());
    }
    let lanes = ability.subgroup;
    let values = context! {
        lanes,
        rows => ROWS,
        vectors => VECTORS,
        a_transposed => a_held == Held::Transposed,
        b_transposed => b_held == Held::Transposed,
        a_aligned => a_columns.is_multiple_of(4),
        b_aligned => b_columns.is_multiple_of(4),
        c_aligned => n.is_multiple_of(4),
    };
    let (a, b) = (Buffer::of(a), Buffer::of(b));
    let c = a.beside([m, n]);
    let [m, n, k] = [m, n, k].map(|size| size as u32);
    let groups = [n.div_ceil(4 * VECTORS * lanes), m.div_ceil(ROWS), 1];
    Kernel::new("matmul", values, [lanes, 1, 1]).launch(groups, &[&a, &b, &c], &[m, n, k]);
    c.into_tensor()
}

/// `x W`: of `x` `[1, n, in]` and the weight as it is held.
#[derive(Debug)]
struct Linear(Held);

impl Function<2> for Linear {
    /// Both inputs.
    type Saved = [Tensor<3>; 2];

    fn forward(&self, [x, weight]: [Tensor<3>; 2]) -> (Tensor<3>, Self::Saved) {
        let y = product(x.clone().squeeze_dim(0), Held::Plain, weight.clone().squeeze_dim(0), self.0);
        (y.unsqueeze(), [x, weight])
    }

    fn backward(&self, [x, weight]: Self::Saved, gradient: Tensor<3>, wanted: [bool; 2]) -> [Option<Tensor<3>>; 2] {
        let [x, weight, gradient]: [Tensor<2>; 3] = [x, weight, gradient].map(|tensor| tensor.squeeze_dim(0));
        let of_x = || match self.0 {
            Held::Plain => product(gradient.clone(), Held::Plain, weight, Held::Transposed),
            Held::Transposed => product(gradient.clone(), Held::Plain, weight, Held::Plain),
        };
        let of_x = wanted[0].then(of_x);
        let of_weight = || match self.0 {
            Held::Plain => product(x, Held::Transposed, gradient, Held::Plain),
            Held::Transposed => product(gradient, Held::Transposed, x, Held::Plain),
        };
        let of_weight = wanted[1].then(of_weight);
        [of_x, of_weight].map(|gradient| gradient.map(Tensor::unsqueeze))
    }
}
