//! Attention on the tensors' own memory: a tile of queries at a time, by all threads.
//!
//! Scores are stored transposed: one row for each key, one column for each query of the tile. Maximum and sum of a
//! query then run over the rows, and every vector register is full.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use super::product::{COLUMNS, Rows, Strided, product};
use super::saved::Saved;
use super::settings::Scores;
use crate::kernels::host::Read;
use crate::kernels::vectors::{exponential, tanh};

/// Queries of a tile.
const QUERIES: usize = 32;
/// Keys whose scores are held at once.
const KEYS: usize = 128;
/// Replaces −∞ for keys that a query may not see: smaller than any score but finite, so that differences are finite
/// too.
const HIDDEN: f32 = -1e30;

/// One number for each query of a tile.
type Lanes = [f32; QUERIES];

/// Queries, keys, values or gradients of the same shape, in memory: `[B, H, T, D]` with `D` a multiple of [`COLUMNS`].
struct Heads {
    held: Held,
    /// Strides of batch, head and token.
    strides: [usize; 3],
}

enum Held {
    View(Read),
    /// Filled up with zeros to a multiple of [`COLUMNS`] channels.
    Padded(Vec<f32>),
}

impl Heads {
    /// A view of the tensor's memory, if its channels are contiguous and as many as products need.
    fn of(tensor: &Tensor<4>) -> Self {
        let [batch, heads, time, channels] = tensor.dims();
        let read = Read::as_held(tensor.clone());
        let strides: Option<Vec<usize>> = read.strides().iter().map(|&stride| usize::try_from(stride).ok()).collect();
        if let Some(&[of_batch, of_head, of_time, 1]) = strides.as_deref()
            && channels.is_multiple_of(COLUMNS)
        {
            return Self { held: Held::View(read), strides: [of_batch, of_head, of_time] };
        }
        let read = Read::of(tensor.clone());
        let padded = channels.next_multiple_of(COLUMNS);
        let mut numbers = vec![0.0; batch * heads * time * padded];
        for (to, from) in numbers.chunks_exact_mut(padded).zip(read.as_slice().chunks_exact(channels)) {
            to[..channels].copy_from_slice(from);
        }
        Self { held: Held::Padded(numbers), strides: [heads * time * padded, time * padded, padded] }
    }

    /// The rows of one head from token `time` on.
    fn rows(&self, batch: usize, head: usize, time: usize) -> Rows<'_> {
        let numbers = match &self.held {
            Held::View(read) => read.beginning(),
            Held::Padded(numbers) => numbers,
        };
        let [of_batch, of_head, of_time] = self.strides;
        Rows { numbers: &numbers[batch * of_batch + head * of_head + time * of_time..], stride: of_time }
    }
}

/// Sizes of a problem.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    time: usize,
    channels: usize,
    /// The channels filled up to a multiple of [`COLUMNS`].
    padded: usize,
    scores: Scores,
}

impl Sizes {
    fn of(q: &Tensor<4>, k: &Tensor<4>, scores: Scores) -> Self {
        let [batch, heads, time, channels] = q.dims();
        let padded = channels.next_multiple_of(COLUMNS);
        Self { batch, heads, kv_heads: k.dims()[1], time, channels, padded, scores }
    }

    /// The head of keys and values for a head of queries.
    fn kv_head(&self, head: usize) -> usize {
        head / (self.heads / self.kv_heads)
    }

    /// The tile of queries that begins at this token.
    fn tile(&self, start: usize) -> Tile {
        Tile { start, count: QUERIES.min(self.time - start), window: self.scores.window }
    }
}

/// Some queries that follow one another.
#[derive(Clone, Copy)]
struct Tile {
    start: usize,
    count: usize,
    window: usize,
}

impl Tile {
    /// The keys that at least one of the queries may see, in runs of at most [`KEYS`]: first key and count.
    fn runs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let end = self.start + self.count;
        let first = (self.start + 1).saturating_sub(self.window);
        (first..end).step_by(KEYS).map(move |start| (start, KEYS.min(end - start)))
    }

    /// Hides scores, one row for each key from `first` on, from the queries that may not see these keys.
    #[inline(always)]
    fn hide(&self, scores: &mut [Lanes], first: usize) {
        let last = first + scores.len() - 1;
        let (oldest, latest) = (self.start, self.start + QUERIES - 1);
        if last <= oldest && first + self.window > latest {
            return;
        }
        for (key, row) in (first..).zip(scores) {
            // Query `start + lane` sees keys from `start + lane + 1 − window` to `start + lane`.
            let from = key.saturating_sub(self.start) as u32;
            let to = (key + self.window).saturating_sub(self.start).min(QUERIES) as u32;
            for (lane, score) in (0..).zip(row) {
                *score = if lane >= from && lane < to { *score } else { HIDDEN };
            }
        }
    }
}

/// Rows of a tile of queries as columns, times `scale`: `[D][QUERIES]`.
#[inline(always)]
fn transposed(to: &mut [Lanes], rows: Rows<'_>, count: usize, scale: f32) {
    for lane in 0..count {
        let row = &rows.numbers[lane * rows.stride..][..to.len()];
        for (to, &from) in to.iter_mut().zip(row) {
            to[lane] = from * scale;
        }
    }
}

/// Scores held within ± the cap.
#[inline(always)]
fn bend(scores: &mut [Lanes], cap: f32) {
    scores.as_flattened_mut().iter_mut().for_each(|score| *score = cap * tanh(*score / cap));
}

/// How steeply a capped score rises with what it was before; 0 where it is hidden.
#[inline(always)]
fn steepness(score: f32, cap: f32) -> f32 {
    let share = score / cap;
    if score <= HIDDEN { 0.0 } else { 1.0 - share * share }
}

/// The result `[B, T, H, D]`, and ln Z of each query, `[B, T, H]`.
pub(super) fn forward([q, k, v]: [&Tensor<4>; 3], scores: Scores) -> (Tensor<4>, Tensor<3>) {
    let sizes = Sizes::of(q, k, scores);
    let Sizes { batch, heads, time, channels, .. } = sizes;
    let inputs = [q, k, v].map(Heads::of);
    let mut attended = vec![0.0; batch * time * heads * channels];
    let mut normalisers = vec![0.0; batch * time * heads];
    let of_batch = attended.par_chunks_mut(time * heads * channels).zip(normalisers.par_chunks_mut(time * heads));
    let tiles = of_batch.enumerate().flat_map(|(batch, (attended, normalisers))| {
        let tiles = attended.par_chunks_mut(QUERIES * heads * channels);
        let tiles = tiles.zip(normalisers.par_chunks_mut(QUERIES * heads)).enumerate();
        tiles.map(move |(tile, (attended, normalisers))| (batch, tile * QUERIES, attended, normalisers))
    });
    tiles.for_each_init(
        || Scratch::new(sizes.padded),
        |scratch, (batch, start, attended, normalisers)| {
            for head in 0..heads {
                forward_tile(&inputs, sizes, [batch, head, start], scratch);
                let rows = scratch.sums.chunks_exact(sizes.padded).zip(scratch.normaliser);
                let places = attended.chunks_exact_mut(heads * channels).zip(normalisers.chunks_exact_mut(heads));
                for ((row, normaliser), (attended, normalisers)) in rows.zip(places) {
                    attended[head * channels..][..channels].copy_from_slice(&row[..channels]);
                    normalisers[head] = normaliser;
                }
            }
        },
    );
    let device = Device::flex();
    (
        Tensor::from_data(TensorData::new(attended, [batch, time, heads, channels]), &device),
        Tensor::from_data(TensorData::new(normalisers, [batch, time, heads]), &device),
    )
}

/// The working memory of a thread.
struct Scratch {
    /// Queries as columns, and the gradient of their results.
    queries: Vec<Lanes>,
    gradients: Vec<Lanes>,
    /// A row for each key: scores, then probabilities.
    scores: Vec<Lanes>,
    /// Their gradient.
    of_scores: Vec<Lanes>,
    /// A row for each query.
    sums: Vec<f32>,
    normaliser: Lanes,
}

impl Scratch {
    fn new(padded: usize) -> Self {
        Self {
            queries: vec![[0.0; QUERIES]; padded],
            gradients: vec![[0.0; QUERIES]; padded],
            scores: vec![[0.0; QUERIES]; KEYS],
            of_scores: vec![[0.0; QUERIES]; KEYS],
            sums: vec![0.0; QUERIES * padded],
            normaliser: [0.0; QUERIES],
        }
    }
}

vectorised! {
    fn forward_tile(inputs: &[Heads; 3], sizes: Sizes, place: [usize; 3], scratch: &mut Scratch) by forward_tile_in
}

/// Adds the attention result of a tile of queries to the sums in the scratch memory.
#[inline(always)]
fn forward_tile_in<const TALL: usize, const WIDE: usize, const FUSED: bool>(
    [q, k, v]: &[Heads; 3],
    sizes: Sizes,
    [batch, head, start]: [usize; 3],
    scratch: &mut Scratch,
) {
    let (tile, kv_head, channels) = (sizes.tile(start), sizes.kv_head(head), sizes.padded);
    let Scratch { queries, scores, sums, normaliser, .. } = scratch;
    transposed(queries, q.rows(batch, head, start), tile.count, sizes.scores.scale);
    let queries = Rows { numbers: queries.as_flattened(), stride: QUERIES };
    let (mut largest, mut total): (Lanes, Lanes) = ([HIDDEN; QUERIES], [0.0; QUERIES]);
    for (i, (first, count)) in tile.runs().enumerate() {
        let scores = &mut scores[..count];
        let keys = k.rows(batch, kv_head, first);
        let keys = Strided { numbers: keys.numbers, row: keys.stride, column: 1 };
        let to = (scores.as_flattened_mut(), QUERIES);
        product::<TALL, WIDE, FUSED>(to, [count, QUERIES, channels], keys, queries, false);
        if let Some(cap) = sizes.scores.soft_cap {
            bend(scores, cap);
        }
        tile.hide(scores, first);
        let before = largest;
        for row in scores.iter() {
            largest.iter_mut().zip(row).for_each(|(most, &x)| *most = if x > *most { x } else { *most });
        }
        let mut sum: Lanes = [0.0; QUERIES];
        for row in scores.iter_mut() {
            for ((x, most), sum) in row.iter_mut().zip(&largest).zip(&mut sum) {
                *x = if *x <= HIDDEN { 0.0 } else { exponential(*x - most) };
                *sum += *x;
            }
        }
        // The earlier sums were relative to another maximum.
        let mut shrink: Lanes = [0.0; QUERIES];
        for (((shrink, total), sum), (before, largest)) in
            shrink.iter_mut().zip(&mut total).zip(sum).zip(before.iter().zip(&largest))
        {
            *shrink = exponential(before - largest);
            *total = *total * *shrink + sum;
        }
        if i > 0 {
            for (row, shrink) in sums.chunks_exact_mut(channels).zip(shrink) {
                row.iter_mut().for_each(|x| *x *= shrink);
            }
        }
        let shares = Strided { numbers: scores.as_flattened(), row: 1, column: QUERIES };
        let values = v.rows(batch, kv_head, first);
        let to = (sums.as_mut_slice(), channels);
        product::<TALL, WIDE, FUSED>(to, [QUERIES, channels, count], shares, values, i > 0);
    }
    for (row, total) in sums.chunks_exact_mut(channels).zip(total) {
        let share = 1.0 / total;
        row.iter_mut().for_each(|x| *x *= share);
    }
    for ((normaliser, total), largest) in normaliser.iter_mut().zip(total).zip(largest) {
        *normaliser = total.ln() + largest;
    }
}

/// ∂L/∂q, ∂L/∂k and ∂L/∂v, of each head of queries alone: `[B, H, T, padded]`.
pub(super) struct Gradients {
    sizes: Sizes,
    of_q: Vec<f32>,
    of_k: Vec<f32>,
    of_v: Vec<f32>,
}

impl Gradients {
    /// From ∂L/∂result, `[B, T, H, D]`.
    pub(super) fn of(saved: Saved, gradient: Tensor<4>, scores: Scores) -> Self {
        let Saved { q, k, v, attended, normalisers } = saved;
        let sizes = Sizes::of(&q, &k, scores);
        let Sizes { batch, heads, time, padded, .. } = sizes;
        let inputs = Inputs {
            q: Heads::of(&q),
            k: Heads::of(&k),
            v: Heads::of(&v),
            attended: Heads::of(&attended.swap_dims(1, 2)),
            gradient: Heads::of(&gradient.swap_dims(1, 2)),
            normalisers: Read::of(normalisers),
        };
        let [mut of_q, mut of_k, mut of_v] = [(); 3].map(|()| vec![0.0; batch * heads * time * padded]);
        let each = time * padded;
        let parts = of_q.par_chunks_mut(each).zip(of_k.par_chunks_mut(each)).zip(of_v.par_chunks_mut(each));
        parts.enumerate().for_each_init(
            || Scratch::new(padded),
            |scratch, (i, ((of_q, of_k), of_v))| {
                backward_head(&inputs, sizes, [i / heads, i % heads], [of_q, of_k, of_v], scratch);
            },
        );
        Self { sizes, of_q, of_k, of_v }
    }

    /// `[B, H, T, D]` and twice `[B, K, T, D]`, held by time.
    pub(super) fn apart(self) -> [Tensor<4>; 3] {
        let Sizes { batch, time, heads, kv_heads, channels, .. } = self.sizes;
        [(&self.of_q, heads), (&self.of_k, kv_heads), (&self.of_v, kv_heads)].map(|(part, kept)| {
            let data = TensorData::new(self.by_time(&[(part, kept)]), [batch, time, kept, channels]);
            Tensor::from_data(data, &Device::flex()).swap_dims(1, 2)
        })
    }

    /// Side by side: `[B, T, (H + 2K)·D]`.
    pub(super) fn side_by_side(self) -> Tensor<3> {
        let Sizes { batch, time, heads, kv_heads, channels, .. } = self.sizes;
        let all = self.by_time(&[(&self.of_q, heads), (&self.of_k, kv_heads), (&self.of_v, kv_heads)]);
        let data = TensorData::new(all, [batch, time, (heads + 2 * kv_heads) * channels]);
        Tensor::from_data(data, &Device::flex())
    }

    /// A row for each token of a batch: of each part so many heads, in which those of queries that share one add up.
    fn by_time(&self, parts: &[(&[f32], usize)]) -> Vec<f32> {
        /// Rows that a thread takes at least.
        const LEAST: usize = 16;
        let Sizes { batch, heads, time, channels, padded, .. } = self.sizes;
        let width = channels * parts.iter().map(|(_, kept)| kept).sum::<usize>();
        let mut all = vec![0.0; batch * time * width];
        all.par_chunks_mut(width).with_min_len(LEAST).enumerate().for_each(|(i, row)| {
            let heads_of = |(part, kept)| (0..kept).map(move |head| (part, head, heads / kept));
            let places = row.chunks_exact_mut(channels).zip(parts.iter().copied().flat_map(heads_of));
            for (to, (part, head, group)) in places {
                for member in 0..group {
                    let head = i / time * heads + head * group + member;
                    let from = &part[(head * time + i % time) * padded..][..channels];
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                }
            }
        });
        all
    }
}

/// The inputs of the gradient.
struct Inputs {
    q: Heads,
    k: Heads,
    v: Heads,
    attended: Heads,
    gradient: Heads,
    normalisers: Read,
}

vectorised! {
    fn backward_head(
        inputs: &Inputs,
        sizes: Sizes,
        place: [usize; 2],
        gradients: [&mut [f32]; 3],
        scratch: &mut Scratch,
    ) by backward_head_in
}

/// Adds the part of one head of queries to the gradients, which start at 0.
#[inline(always)]
fn backward_head_in<const TALL: usize, const WIDE: usize, const FUSED: bool>(
    inputs: &Inputs,
    sizes: Sizes,
    [batch, head]: [usize; 2],
    [of_q, of_k, of_v]: [&mut [f32]; 3],
    scratch: &mut Scratch,
) {
    let Inputs { q, k, v, attended, gradient, normalisers } = inputs;
    let (kv_head, channels) = (sizes.kv_head(head), sizes.padded);
    let Scores { scale, soft_cap, .. } = sizes.scores;
    let Scratch { queries, gradients, scores, of_scores, .. } = scratch;
    for start in (0..sizes.time).step_by(QUERIES) {
        let tile = sizes.tile(start);
        let [q, attended, gradient] = [q, attended, gradient].map(|x| x.rows(batch, head, start));
        transposed(queries, q, tile.count, scale);
        transposed(gradients, gradient, tile.count, 1.0);
        // ln Z, and Σ ∂L/∂result · result, which is Σ over keys of p · ∂L/∂p.
        let (mut normaliser, mut mean): (Lanes, Lanes) = ([0.0; QUERIES], [0.0; QUERIES]);
        for lane in 0..tile.count {
            normaliser[lane] = normalisers.as_slice()[(batch * sizes.time + start + lane) * sizes.heads + head];
            let [x, y] = [attended, gradient].map(|rows| &rows.numbers[lane * rows.stride..][..channels]);
            mean[lane] = dot(x, y);
        }
        let columns = [&*queries, &*gradients].map(|columns| Rows { numbers: columns.as_flattened(), stride: QUERIES });
        for (first, count) in tile.runs() {
            let (scores, of_scores) = (&mut scores[..count], &mut of_scores[..count]);
            let [keys, values] = [k, v].map(|x| x.rows(batch, kv_head, first));
            let products = [(&mut *scores, keys, columns[0]), (&mut *of_scores, values, columns[1])];
            for (to, rows, columns) in products {
                let rows = Strided { numbers: rows.numbers, row: rows.stride, column: 1 };
                let to = (to.as_flattened_mut(), QUERIES);
                product::<TALL, WIDE, FUSED>(to, [count, QUERIES, channels], rows, columns, false);
            }
            if let Some(cap) = soft_cap {
                bend(scores, cap);
            }
            tile.hide(scores, first);
            if let Some(cap) = soft_cap {
                // ∂L/∂p − its mean, by how steeply the score rises: the rest follows for all scores.
                for (row, of_row) in scores.iter().zip(of_scores.iter_mut()) {
                    for ((x, of_x), mean) in row.iter().zip(of_row).zip(&mean) {
                        *of_x = (*of_x - mean) * steepness(*x, cap) + mean;
                    }
                }
            }
            for (row, of_row) in scores.iter_mut().zip(of_scores.iter_mut()) {
                for (((x, of_x), normaliser), mean) in row.iter_mut().zip(of_row).zip(&normaliser).zip(&mean) {
                    *x = if *x <= HIDDEN { 0.0 } else { exponential(*x - normaliser) };
                    *of_x = *x * (*of_x - mean) * scale;
                }
            }
            let (scores, of_scores) = (scores.as_flattened(), of_scores.as_flattened());
            let by_query = Strided { numbers: of_scores, row: 1, column: QUERIES };
            let to = (&mut of_q[start * channels..], channels);
            product::<TALL, WIDE, FUSED>(to, [tile.count, channels, count], by_query, keys, true);
            for (to, shares, rows) in [(&mut *of_k, of_scores, q), (&mut *of_v, scores, gradient)] {
                let by_key = Strided { numbers: shares, row: QUERIES, column: 1 };
                let to = (&mut to[first * channels..], channels);
                product::<TALL, WIDE, FUSED>(to, [count, channels, tile.count], by_key, rows, true);
            }
        }
    }
}

/// The product of two rows, whose length is a multiple of [`COLUMNS`].
#[inline(always)]
fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut sums = [0.0_f32; COLUMNS];
    for (x, y) in x.as_chunks::<COLUMNS>().0.iter().zip(y.as_chunks::<COLUMNS>().0) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
    sums.iter().sum()
}
