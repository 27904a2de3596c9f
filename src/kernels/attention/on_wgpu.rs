//! Attention by the kernels of `shaders/`: on software cards each lane computes one query and holds its sums; on real
//! cards this would need too many registers, so a workgroup computes a tile of queries.

use burn::tensor::Tensor;
use minijinja::{Value, context};

use super::saved::Saved;
use super::settings::Scores;
use crate::kernels::wgsl::{self, Buffer, Kernel};

/// Channels of a head at most: the variables of an invocation for each channel are unrolled in the text of the kernel.
const MOST_CHANNELS: usize = 128;
/// Workgroups along one axis at most; also the most tokens of a window, as llvmpipe, the usual software card, ends every
/// loop of a kernel after 65,532 rounds, of two tokens each.
const MOST_GROUPS: usize = 65_535;
/// Invocations of a workgroup that takes a tile.
const TILE_WORKGROUP: [u32; 3] = [16, 16, 1];

/// How the work is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One token for each of so many invocations, which exchange numbers.
    Lanes(u32),
    /// So many tokens for a workgroup, which shares memory.
    Tiles(u32),
}

impl Form {
    /// The best division for the device of these queries `[B, H, T, D]`. `None` if it is not a wgpu device, if the
    /// channels of a head are not a multiple of 4 up to 128, or if its workgroups are too small.
    pub(super) fn of(q: &Tensor<4>) -> Option<Self> {
        let [batch, heads, time, channels] = q.dims();
        let fits = channels.is_multiple_of(4) && channels <= MOST_CHANNELS && (batch * heads).max(time) <= MOST_GROUPS;
        let ability = wgsl::ability(q).filter(|_| fits)?;
        if ability.shuffles() {
            return Some(Self::Lanes(ability.subgroup));
        }
        // On a software card loops over shared memory are the slowest.
        if ability.software || ability.workgroup < TILE_WORKGROUP.iter().product() {
            return None;
        }
        let fits = |tile: &usize| tile_bytes(*tile, channels) <= ability.workgroup_memory as usize;
        [32, 16].into_iter().find(fits).map(|tile| Self::Tiles(tile as u32))
    }

    /// Tokens of a workgroup.
    fn tokens(self) -> u32 {
        match self {
            Self::Lanes(tokens) | Self::Tiles(tokens) => tokens,
        }
    }
}

/// Memory that a workgroup shares: two tiles of vectors with one unused vector in each row, and two tiles of weights
/// with one unused number in each row.
fn tile_bytes(tile: usize, channels: usize) -> usize {
    2 * tile * (channels + 4 + tile + 1) * size_of::<f32>()
}

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Forward,
    Queries,
    Keys,
}

/// Where the rows `[D]` of a tensor `[B, H, T, D]` lie in its buffer: that of batch b, head h and token t begins
/// `offset + b · batch + h · head + t · time` vectors of four after the first number.
#[derive(Debug, Clone, Copy)]
struct Rows {
    offset: u32,
    batch: u32,
    head: u32,
    time: u32,
}

impl Rows {
    /// For `[B, T, H, D]`, whose H heads are a part of `all` heads, beginning at head `first`.
    fn of_heads([_, time, _, channels]: [usize; 4], all: usize, first: usize) -> Self {
        let [head, first, row] = [channels / 4, first * channels / 4, all * channels / 4].map(|n| n as u32);
        Self { offset: first, batch: time as u32 * row, head, time: row }
    }

    fn words(self) -> [u32; 4] {
        let Self { offset, batch, head, time } = self;
        [offset, batch, head, time]
    }
}

/// Queries, keys or values, read without a copy.
struct Input {
    buffer: Buffer,
    rows: Rows,
}

impl Input {
    fn of(tensor: &Tensor<4>) -> Self {
        let (buffer, [batch, head, time]) = Buffer::of_rows(tensor.clone());
        Self { buffer, rows: Rows { offset: 0, batch, head, time } }
    }
}

/// A problem in the form that kernels need.
struct Problem {
    form: Form,
    q: Input,
    k: Input,
    v: Input,
    batch: u32,
    heads: u32,
    kv_heads: u32,
    time: u32,
    channels: u32,
    scores: Scores,
}

impl Problem {
    fn of([q, k, v]: [&Tensor<4>; 3], scores: Scores, form: Form) -> Self {
        let [[batch, heads, time, channels], [_, kv_heads, _, _]] = [q.dims(), k.dims()];
        let [batch, heads, kv_heads, time, channels] = [batch, heads, kv_heads, time, channels].map(|size| size as u32);
        let [q, k, v] = [q, k, v].map(Input::of);
        Self { form, q, k, v, batch, heads, kv_heads, time, channels, scores }
    }

    fn kernel(&self, pass: Pass) -> Kernel {
        let (vectors, scale) = (self.channels / 4, format!("{:?}", self.scores.scale));
        let cap = self.scores.soft_cap.map(|cap| format!("{cap:?}"));
        let name = match pass {
            Pass::Forward => "attention",
            Pass::Queries => "attention_of_queries",
            Pass::Keys => "attention_of_keys",
        };
        match self.form {
            Form::Lanes(lanes) => Kernel::new(name, context! { lanes, vectors, scale, cap }, [lanes, 1, 1]),
            Form::Tiles(tile) => {
                let pass = Value::from(match pass {
                    Pass::Forward => "forward",
                    Pass::Queries => "queries",
                    Pass::Keys => "keys",
                });
                Kernel::new("attention_tiled", context! { pass, tile, vectors, scale, cap }, TILE_WORKGROUP)
            }
        }
    }

    /// Runs a pass on queries, keys, values and what else it takes; its results' rows lie like these `outputs`.
    fn launch(&self, pass: Pass, others: &[&Buffer], outputs: [Rows; 2]) {
        let heads = if pass == Pass::Keys { self.kv_heads } else { self.heads };
        let groups = [self.time.div_ceil(self.form.tokens()), self.batch * heads, 1];
        let inputs = [&self.q, &self.k, &self.v];
        let buffers: Vec<&Buffer> =
            inputs.map(|input| &input.buffer).into_iter().chain(others.iter().copied()).collect();
        let rows = inputs.map(|input| input.rows).into_iter().chain(outputs).flat_map(Rows::words);
        let sizes: Vec<u32> =
            [self.time, self.heads, self.kv_heads, self.scores.window as u32].into_iter().chain(rows).collect();
        self.kernel(pass).launch(groups, &buffers, &sizes);
    }
}

/// The result `[B, T, H, D]`, and ln Z of each query, `[B, T, H]`.
pub(super) fn forward([q, k, v]: [&Tensor<4>; 3], scores: Scores, form: Form) -> (Tensor<4>, Tensor<3>) {
    let problem = Problem::of([q, k, v], scores, form);
    let [batch, heads, time, channels] = q.dims();
    let shape = [batch, time, heads, channels];
    let beside = &problem.q.buffer;
    let (attended, normalisers) = (beside.beside(shape), beside.beside([batch, time, heads]));
    problem.launch(Pass::Forward, &[&attended, &normalisers], [Rows::of_heads(shape, heads, 0); 2]);
    (attended.into_tensor(), normalisers.into_tensor())
}

/// ∂L/∂q, ∂L/∂k and ∂L/∂v from ∂L/∂result, `[B, T, H, D]`.
pub(super) fn backward(saved: Saved, gradient: Tensor<4>, scores: Scores, form: Form) -> [Tensor<4>; 3] {
    let ([batch, heads, time, channels], [_, kv_heads, _, _]) = (saved.q.dims(), saved.k.dims());
    let [of_queries, of_keys] = [heads, kv_heads].map(|heads| [batch, time, heads, channels]);
    let gradient = Buffer::of(gradient);
    let [of_q, of_k, of_v] = [of_queries, of_keys, of_keys].map(|shape| gradient.beside(shape));
    let rows = [of_queries, of_keys, of_keys].map(|shape| Rows::of_heads(shape, shape[2], 0));
    gradients(saved, gradient, [&of_q, &of_k, &of_v], rows, scores, form);
    [of_q, of_k, of_v].map(|gradient| gradient.into_tensor().swap_dims(1, 2))
}

/// The same side by side: `[B, T, 3·H·D]`.
pub(super) fn backward_side_by_side(saved: Saved, gradient: Tensor<4>, scores: Scores, form: Form) -> Tensor<3> {
    let [batch, heads, time, channels] = saved.q.dims();
    let gradient = Buffer::of(gradient);
    let all = gradient.beside([batch, time, 3 * heads * channels]);
    let rows = [0, 1, 2].map(|part| Rows::of_heads([batch, time, heads, channels], 3 * heads, part * heads));
    gradients(saved, gradient, [&all; 3], rows, scores, form);
    all.into_tensor()
}

/// Writes the gradients by queries, keys and values into these buffers.
fn gradients(saved: Saved, gradient: Buffer, into: [&Buffer; 3], rows: [Rows; 3], scores: Scores, form: Form) {
    let Saved { q, k, v, attended, normalisers } = saved;
    let problem = Problem::of([&q, &k, &v], scores, form);
    let delta = gradient.beside(normalisers.dims());
    let [attended, normalisers] = [Buffer::of(attended), Buffer::of(normalisers)];
    let ([of_q, of_k, of_v], [rows_of_q, rows_of_k, rows_of_v]) = (into, rows);
    problem.launch(Pass::Queries, &[&attended, &gradient, &normalisers, of_q, &delta], [rows_of_q; 2]);
    problem.launch(Pass::Keys, &[&gradient, &normalisers, &delta, of_k, of_v], [rows_of_k, rows_of_v]);
}
