//! The rotation of queries and keys by their positions, and its inverse, combined with the transposition of heads and
//! time.

use burn::tensor::Tensor;
use minijinja::context;
use rayon::prelude::*;

use super::host::{self, Read, STRETCH};
use super::node::{self, Function};
use super::place::{Place, place};
use super::wgsl::{self, Ability, Buffer, Kernel};

/// Rotates `x`, `[B, H, T, D]`, by the angles of positions 0 … T−1, whose cosines and sines are `[positions, R]` each:
/// element `i` of a head with element `i + R`, for `i` below `R`. Channels beyond `2·R` stay as they are.
pub fn rotate(x: Tensor<4>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<4> {
    if let Place::Elsewhere = place(&x) {
        return plain(x, cos, sin);
    }
    let [batch, heads, time, channels] = x.dims();
    let [cos, sin] = [cos, sin].map(|table| if table.is_autodiff() { table.inner() } else { table });
    // Heads are split from channels, so the tensor has this layout in memory.
    let x = x.swap_dims(1, 2).reshape([batch * time, heads, channels]);
    node::apply(Rotation { cos, sin, time }, [x]).reshape([batch, heads, time, channels])
}

/// [`rotate`] by the framework's operations, on any device.
pub fn plain(x: Tensor<4>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<4> {
    let ([_, _, time, channels], [_, half]) = (x.dims(), cos.dims());
    let [cos, sin] = [cos, sin].map(|table| table.narrow(0, 0, time).unsqueeze::<4>()); // [1, 1, T, R]
    let first = x.clone().narrow(3, 0, half);
    let second = x.clone().narrow(3, half, half);
    let mut parts = vec![first.clone() * cos.clone() - second.clone() * sin.clone(), second * cos + first * sin];
    if 2 * half < channels {
        parts.push(x.narrow(3, 2 * half, channels - 2 * half));
    }
    Tensor::cat(parts, 3)
}

/// From `[B·T, H, D]` to `[B·H, T, D]`; its gradient is the rotation back.
#[derive(Debug)]
struct Rotation {
    /// `[positions, R]`, as the sines.
    cos: Tensor<2>,
    sin: Tensor<2>,
    time: usize,
}

impl Function<1> for Rotation {
    /// The heads.
    type Saved = usize;

    fn forward(&self, [x]: [Tensor<3>; 1]) -> (Tensor<3>, usize) {
        let [tokens, heads, channels] = x.dims();
        let shape = [tokens / self.time.max(1) * heads, self.time, channels];
        (self.turned(x, shape, heads, false), heads)
    }

    fn backward(&self, heads: usize, gradient: Tensor<3>, _: [bool; 1]) -> [Option<Tensor<3>>; 1] {
        let [sequences, time, channels] = gradient.dims();
        let shape = [sequences / heads * time, heads, channels];
        [Some(self.turned(gradient, shape, heads, true))]
    }
}

/// Which row of `[B·T, H, D]` is which row of `[B·H, T, D]`.
#[derive(Clone, Copy)]
struct Places {
    heads: usize,
    time: usize,
    /// Whether rows go from the second to the first.
    back: bool,
}

impl Places {
    /// The row that row `row` of the result comes from, and its position.
    fn source(self, row: usize) -> (usize, usize) {
        let Self { heads, time, back } = self;
        if back {
            let (token, head) = (row / heads, row % heads);
            let (sequence, position) = (token / time, token % time);
            ((sequence * heads + head) * time + position, position)
        } else {
            let (head, position) = (row / time, row % time);
            let (sequence, head) = (head / heads, head % heads);
            ((sequence * time + position) * heads + head, position)
        }
    }
}

impl Rotation {
    fn turned(&self, x: Tensor<3>, shape: [usize; 3], heads: usize, back: bool) -> Tensor<3> {
        let places = Places { heads, time: self.time, back };
        match place(&x) {
            Place::Wgpu(ability) => self.on_wgpu(ability, x, shape, places),
            _ => self.on_host(x, shape, places),
        }
    }

    fn on_host(&self, x: Tensor<3>, shape: [usize; 3], places: Places) -> Tensor<3> {
        let [_, _, channels] = shape;
        let count = shape.iter().product();
        let [x, cos, sin] = [Read::of(x), Read::of(self.cos.clone()), Read::of(self.sin.clone())];
        let [_, half] = self.cos.dims();
        let tables = Tables { cos: cos.as_slice(), sin: sin.as_slice(), half };
        let together = STRETCH.div_ceil(channels.max(1));
        let mut turned = vec![0.0_f32; count];
        let stretches = turned.par_chunks_mut((together * channels).max(1)).enumerate();
        stretches.for_each(|(i, turned)| turn(x.as_slice(), tables, places, channels, i * together, turned));
        host::tensor(turned, shape)
    }

    /// The same by `shaders/rotary.wgsl`.
    fn on_wgpu(&self, ability: Ability, x: Tensor<3>, shape: [usize; 3], places: Places) -> Tensor<3> {
        let [first, second, channels] = shape;
        let rows = first * second;
        let [_, half] = self.cos.dims();
        let [x, cos, sin] = [Buffer::of(x), Buffer::of(self.cos.clone()), Buffer::of(self.sin.clone())];
        let turned = x.beside(shape);
        let width = if channels.is_multiple_of(4) && half.is_multiple_of(4) { 4 } else { 1 };
        let lanes = ability.lanes();
        let [channels, half] = [channels, half].map(|count| count / width);
        let values = context! { width, lanes, half, channels, back => places.back };
        let invocations = (rows * (channels - half)) as u32; // one for each pair, and for each channel that stays
        let sizes = [rows, places.time, places.heads].map(|size| size as u32);
        let kernel = Kernel::new("rotary", values, [lanes, 1, 1]);
        kernel.launch(wgsl::groups(invocations.div_ceil(lanes) as usize), &[&x, &cos, &sin, &turned], &sizes);
        turned.into_tensor()
    }
}

/// Cosines and sines, `half` of them for a position.
#[derive(Clone, Copy)]
struct Tables<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    half: usize,
}

vectorised! {
    /// Writes rows from `start` on.
    fn turn(x: &[f32], tables: Tables<'_>, places: Places, channels: usize, start: usize, turned: &mut [f32]) {
        let Tables { cos, sin, half } = tables;
        let sign = if places.back { -1.0 } else { 1.0 };
        for (row, turned) in (start..).zip(turned.chunks_exact_mut(channels)) {
            let (source, position) = places.source(row);
            let (first, rest) = x[source * channels..][..channels].split_at(half);
            let (second, rest) = rest.split_at(half);
            let [cos, sin] = [cos, sin].map(|table| &table[position * half..][..half]);
            let (turned_first, turned_rest) = turned.split_at_mut(half);
            let (turned_second, turned_rest) = turned_rest.split_at_mut(half);
            for i in 0..half {
                let sin = sign * sin[i];
                turned_first[i] = first[i] * cos[i] - second[i] * sin;
                turned_second[i] = second[i] * cos[i] + first[i] * sin;
            }
            turned_rest.copy_from_slice(rest);
        }
    }
}
