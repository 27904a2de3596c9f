//! −ln p of targets and its gradient, from hidden states and the output head, a chunk of positions at a time.
//!
//! Logits exist only for a limited number of positions at a time, forward and backward. So the memory of the head does
//! not grow with tokens × vocabulary. With p = softmax(logits), ∂(w·nll)/∂logits = w·(p − onehot(target)).

use burn::tensor::activation::softmax;
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use minijinja::context;
use rayon::prelude::*;

use super::host::Numbers;
use super::matmul::{Held, product};
use super::vectors::{LANES, exponential};
use super::wgsl::{self, Ability, Buffer, Kernel};
use super::{Place, place};
use crate::model::Table;
use crate::model::layers::within;

/// Logits held at once, at most: 32 MiB of f32. Memory does not grow with vocabulary × tokens.
pub const LOGITS_AT_ONCE: usize = 1 << 23;

/// Positions whose logits are computed together, for a vocabulary of this size.
pub fn head_chunk(vocabulary: usize) -> usize {
    (LOGITS_AT_ONCE / vocabulary.max(1)).max(1)
}

/// The losses of a chunk and their gradients with respect to its logits.
pub struct ChunkGradient {
    /// −ln p of each position's target, nats: `[n]`.
    pub nll: Tensor<1>,
    /// ∂(Σ w·nll)/∂logits of the tokens of each piece of the head, `[n, rows of the piece]`.
    pub logits: Vec<Tensor<2>>,
}

/// −ln p of `targets` `[n]` given `hidden` `[n, channels]` and `head` `[vocab, channels]`: `[n]`, nats. Without autodiff.
pub fn nll(hidden: Tensor<2>, head: &Table, targets: &[u32]) -> Tensor<1> {
    let [positions, _] = hidden.dims();
    let chunk = head_chunk(head.rows());
    let parts = (0..positions)
        .step_by(chunk)
        .map(|start| {
            let range = start..(start + chunk).min(positions);
            let hidden = hidden.clone().narrow(0, start, range.len());
            let targets = &targets[range];
            match place(&hidden) {
                Place::Host => on_host(hidden, head, targets, None).nll,
                Place::Wgpu(ability) => OnWgpu::new(hidden, head, targets, ability).nll,
                Place::Elsewhere => {
                    let targets = column(targets.iter().map(|&id| id as i32).collect(), &hidden.device());
                    ChunkSoftmax::new(hidden, head).nll(head, targets).flatten(0, 1)
                }
            }
        })
        .collect();
    Tensor::cat(parts, 0)
}

/// Loss and gradient of one chunk: as [`nll`], with `weights` `[n]`.
pub fn chunk_gradient(hidden: Tensor<2>, head: &Table, targets: &[u32], weights: &[f32]) -> ChunkGradient {
    match place(&hidden) {
        Place::Host => on_host(hidden, head, targets, Some(weights)),
        Place::Wgpu(ability) => OnWgpu::new(hidden, head, targets, ability).gradient(weights),
        Place::Elsewhere => plain(hidden, head, targets, weights),
    }
}

/// [`chunk_gradient`] by the framework's operations, on any device.
pub fn plain(hidden: Tensor<2>, head: &Table, targets: &[u32], weights: &[f32]) -> ChunkGradient {
    let device = hidden.device();
    let [positions, _] = hidden.dims();
    let targets = column(targets.iter().map(|&id| id as i32).collect(), &device);
    let weights: Tensor<2> = Tensor::from_data(TensorData::new(weights.to_vec(), [positions, 1]), &device);
    let softmax = ChunkSoftmax::new(hidden, head);
    let nll = softmax.nll(head, targets.clone()).flatten(0, 1);
    let pieces = softmax.pieces.into_iter().zip(head.starts());
    let logits = pieces.map(|(p, start)| {
        let (local, inside) = within(targets.clone(), start, p.dims()[1]);
        (p * weights.clone()).scatter(1, local, inside * weights.clone().neg(), IndexingUpdateOp::Add)
    });
    ChunkGradient { nll, logits: logits.collect() }
}

fn column(ids: Vec<i32>, device: &Device) -> Tensor<2, Int> {
    let count = ids.len();
    Tensor::from_data(TensorData::new(ids, [count, 1]), device)
}

/// The softmax over the vocabulary of one chunk of positions. Computed piece by piece of the head.
pub struct ChunkSoftmax {
    /// Logits of the tokens of each piece of the head, `[n, rows of the piece]`.
    pub logits: Vec<Tensor<2>>,
    /// p of the same tokens.
    pub pieces: Vec<Tensor<2>>,
    /// ln Z of each position, `[n, 1]`: ln p = logit − ln Z.
    pub normaliser: Tensor<2>,
}

impl ChunkSoftmax {
    /// From hidden states `[n, channels]` and the head `[vocab, channels]`.
    ///
    /// ln Z is computed from the most likely token of a piece: ln Z = max − ln p_max. Its probability within the piece
    /// is at least 1/rows, so the logarithm is safe. The probability of another token may round to 0.
    pub fn new(hidden: Tensor<2>, head: &Table) -> Self {
        let logits: Vec<Tensor<2>> =
            head.pieces().map(|piece| product(hidden.clone(), Held::Plain, piece, Held::Transposed)).collect();
        let pieces: Vec<Tensor<2>> = logits.iter().map(|logits| normalised(softmax(logits.clone(), 1))).collect();
        let normalisers: Vec<Tensor<2>> = logits
            .iter()
            .zip(&pieces)
            .map(|(logits, p)| logits.clone().max_dim(1) - p.clone().max_dim(1).log())
            .collect();
        if let [normaliser] = normalisers.as_slice() {
            return Self { logits, pieces, normaliser: normaliser.clone() };
        }
        let normalisers = Tensor::cat(normalisers, 1); // ln Z of each piece, [n, pieces]
        let largest = normalisers.clone().max_dim(1);
        let normaliser = (normalisers.clone() - largest.clone()).exp().sum_dim(1).log() + largest;
        let shares = (normalisers - normaliser.clone()).exp(); // Z of the piece over Z
        let pieces = pieces.into_iter().enumerate().map(|(i, p)| p * shares.clone().narrow(1, i, 1)).collect();
        Self { logits, pieces, normaliser }
    }

    /// −ln p of each position's target, nats: `[n, 1]`; targets are `[n, 1]`.
    pub fn nll(&self, head: &Table, targets: Tensor<2, Int>) -> Tensor<2> {
        let pieces = self.logits.iter().zip(head.starts());
        pieces.fold(self.normaliser.clone(), |nll, (logits, start)| {
            // The logit of a target counts only in the piece that holds the target; elsewhere it is 0.
            let (local, inside) = within(targets.clone(), start, logits.dims()[1]);
            nll - logits.clone().gather(1, local) * inside
        })
    }
}

/// Probabilities `[n, vocab]`, scaled to add up to 1. The framework's softmax adds its terms one by one in f32. Over
/// tens of thousands of tokens this loses up to 5e-5 of the sum. Here the sum is taken in parts.
fn normalised(p: Tensor<2>) -> Tensor<2> {
    let total = p.clone().sum_dim(1);
    p / total
}

/// Both by kernels: a workgroup takes a position.
struct OnWgpu {
    ability: Ability,
    /// −ln p of each position's target: `[n]`.
    nll: Tensor<1>,
    /// ln Z of each position, `[n]`.
    normaliser: Tensor<1>,
    /// Of each piece of the head: its rows, the logits `[n, rows]`, and the targets as columns of these.
    pieces: Vec<(usize, Buffer, Buffer)>,
}

impl OnWgpu {
    fn new(hidden: Tensor<2>, head: &Table, targets: &[u32], ability: Ability) -> Self {
        let mut pieces = Vec::new();
        let mut found = Vec::new();
        for (piece, start) in head.pieces().zip(head.starts()) {
            let [rows, _] = piece.dims();
            let logits = Buffer::of(product(hidden.clone(), Held::Plain, piece, Held::Transposed));
            // A target of an earlier piece wraps around, so its index is also beyond this piece.
            let columns: Vec<u32> = targets.iter().map(|target| target.wrapping_sub(start as u32)).collect();
            let columns = logits.with(&columns);
            let of_piece = logits.beside([targets.len(), 4]);
            launch(ability, false, rows, targets.len(), &[&logits, &columns, &of_piece]);
            pieces.push((rows, logits, columns));
            found.push(of_piece.into_tensor::<2>());
        }
        let part = |i| Tensor::cat(found.iter().map(|found| found.clone().narrow(1, i, 1)).collect(), 1); // [n, pieces]
        let [largest, sums, of_target]: [Tensor<2>; 3] = [part(0), part(1), part(2)];
        let most = largest.clone().max_dim(1);
        let normaliser = ((largest - most.clone()).exp() * sums).sum_dim(1).log() + most; // [n, 1]
        let nll = normaliser.clone() - of_target.sum_dim(1);
        Self { ability, nll: nll.flatten(0, 1), normaliser: normaliser.flatten(0, 1), pieces }
    }

    fn gradient(self, weights: &[f32]) -> ChunkGradient {
        let normaliser = Buffer::of(self.normaliser);
        let weights = normaliser.with(bytemuck::cast_slice(weights));
        let [positions] = self.nll.dims();
        let logits = self.pieces.into_iter().map(|(rows, logits, columns)| {
            launch(self.ability, true, rows, positions, &[&logits, &columns, &normaliser, &weights]);
            logits.into_tensor()
        });
        ChunkGradient { nll: self.nll, logits: logits.collect() }
    }
}

fn launch(ability: Ability, gradient: bool, rows: usize, positions: usize, buffers: &[&Buffer]) {
    let lanes = ability.lanes();
    let values = context! { lanes, gradient, aligned => rows.is_multiple_of(4) };
    let kernel = Kernel::new("cross_entropy", values, [lanes, 1, 1]);
    kernel.launch(wgsl::groups(positions), buffers, &[positions as u32, rows as u32]);
}

/// Both on the tensors' own memory, a position at a time. The gradient overwrites the logits.
fn on_host(hidden: Tensor<2>, head: &Table, targets: &[u32], weights: Option<&[f32]>) -> ChunkGradient {
    let device = hidden.device();
    let of_piece = |piece: Tensor<2>| {
        (piece.dims()[0], Numbers::of(product(hidden.clone(), Held::Plain, piece, Held::Transposed)))
    };
    let mut logits: Vec<(usize, Numbers)> = head.pieces().map(of_piece).collect();
    // A position's logits, in as many parts as the head has pieces.
    let mut positions: Vec<Vec<&mut [f32]>> = targets.iter().map(|_| Vec::with_capacity(logits.len())).collect();
    for (rows, logits) in &mut logits {
        let parts = logits.as_mut_slice().chunks_exact_mut(*rows);
        positions.iter_mut().zip(parts).for_each(|(position, part)| position.push(part));
    }
    let of_position = |(i, (mut parts, &target)): (usize, (Vec<&mut [f32]>, &u32))| {
        position(&mut parts, target as usize, weights.map(|weights| weights[i]))
    };
    let nll: Vec<f32> = positions.into_par_iter().zip(targets).enumerate().map(of_position).collect();
    let count = nll.len();
    ChunkGradient {
        nll: Tensor::from_data(TensorData::new(nll, [count]), &device),
        logits: logits.into_iter().map(|(_, logits)| logits.into_tensor()).collect(),
    }
}

/// Numbers whose sum is taken in f32.
const BLOCK: usize = 1024;

vectorised! {
    /// −ln p of a position's target; with a weight w its logits are replaced by w·(p − onehot(target)); without one
    /// they hold no useful values afterwards.
    fn position(parts: &mut [&mut [f32]], target: usize, weight: Option<f32>) -> f32 {
        let largest = parts.iter().map(|part| largest(part)).fold(f32::NEG_INFINITY, f32::max);
        let mut place = target;
        let mut of_target = None;
        for (i, part) in parts.iter().enumerate() {
            if let Some(&logit) = part.get(place) {
                of_target = Some((i, place, logit));
                break;
            }
            place -= part.len();
        }
        let Some((part, place, logit)) = of_target else { return f32::NAN };
        let sum: f64 = parts.iter_mut().map(|part| exponentials(part, largest)).sum();
        if let Some(weight) = weight {
            let share = (f64::from(weight) / sum) as f32;
            parts.iter_mut().flat_map(|part| part.iter_mut()).for_each(|x| *x *= share);
            parts[part][place] -= weight;
        }
        (sum.ln() + f64::from(largest) - f64::from(logit)) as f32
    }
}

#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, &x)| *lane = larger(*lane, x));
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// Turns each x into e^(x − largest); their sum.
#[inline(always)]
fn exponentials(x: &mut [f32], largest: f32) -> f64 {
    let mut total = 0.0;
    for block in x.chunks_mut(BLOCK) {
        let (blocks, rest) = block.as_chunks_mut::<LANES>();
        let mut lanes = [0.0_f32; LANES];
        for block in blocks {
            for (x, lane) in block.iter_mut().zip(&mut lanes) {
                *x = exponential(*x - largest);
                *lane += *x;
            }
        }
        let mut sum: f32 = lanes.iter().sum();
        for x in rest {
            *x = exponential(*x - largest);
            sum += *x;
        }
        total += f64::from(sum);
    }
    total
}
