//! −ln p of targets and its gradient, from hidden states and the output head, a chunk of positions at a time.
//!
//! Logits exist only for a limited number of positions at a time, forward and backward. So the memory of the head does
//! not grow with tokens × vocabulary. With p = softmax(logits), ∂(w·nll)/∂logits = w·(p − onehot(target)).

use burn::tensor::activation::softmax;
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use minijinja::context;
use rayon::prelude::*;

use super::head::Head;
use super::host::Numbers;
use super::matmul::{Held, product};
use super::place::{Place, place};
use super::table::within;
use super::vectors::{LANES, exponential};
use super::wgsl::{self, Ability, Buffer, Kernel};

/// Logits held at once, at most: 32 MiB of f32. Memory does not grow with vocabulary × tokens.
pub const LOGITS_AT_ONCE: usize = 1 << 23;

/// Positions whose logits are computed together, for a vocabulary of this size.
pub fn head_chunk(vocabulary: usize) -> usize {
    (LOGITS_AT_ONCE / vocabulary.max(1)).max(1)
}

/// The losses of a chunk and their gradients with respect to the products that its logits are made from.
pub struct ChunkGradient {
    /// −ln p of each position's target, nats: `[n]`.
    pub nll: Tensor<1>,
    /// ∂(Σ w·nll)/∂products of hidden states and the rows of each piece of the head, `[n, rows of the piece]`.
    pub products: Vec<Tensor<2>>,
}

/// −ln p of `targets` `[n]` given `hidden` `[n, channels]` and `head`: `[n]`, nats. Without autodiff.
pub fn nll(hidden: Tensor<2>, head: &Head, targets: &[u32]) -> Tensor<1> {
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

/// A teacher whose predictions at the same positions are kept near: Σ v·T²·KL(teacher at T ‖ predictions at T) is added.
#[derive(Clone)]
pub struct Toward<'a> {
    /// The teacher's head.
    pub head: &'a Head,
    /// Its hidden states `[n, channels]`, without autodiff.
    pub hidden: Tensor<2>,
    /// v of each position, `[n]`.
    pub weights: &'a [f32],
    /// T, by which logits of both are divided.
    pub temperature: f64,
}

/// The loss of positions, and its gradient by what the head is given and made of. Without autodiff.
pub struct HeadGradient {
    /// Σ w·nll: `[1]`.
    pub loss: Tensor<1>,
    /// −ln p of each target, nats: `[n]`.
    pub nll: Tensor<1>,
    /// Σ v·T²·KL, which `loss` does not contain: `[1]`; `None` without a teacher.
    pub divergence: Option<Tensor<1>>,
    /// ∂loss/∂hidden, `[n, channels]`.
    pub hidden: Tensor<2>,
    /// ∂loss/∂piece of each piece of the table; none where the table is frozen.
    pub pieces: Vec<Tensor<2>>,
}

impl Head {
    /// As [`nll`].
    pub fn nll(&self, hidden: Tensor<2>, targets: &[u32]) -> Tensor<1> {
        nll(hidden, self, targets)
    }

    /// Σ w·nll of `targets` `[n]` with `weights` `[n]` and its gradient, from `hidden` `[n, channels]` without autodiff.
    pub fn backward(&self, hidden: Tensor<2>, targets: &[u32], weights: &[f32]) -> HeadGradient {
        self.backward_toward(hidden, targets, weights, None)
    }

    /// The same with the divergence from a teacher added, if there is one.
    pub fn backward_toward(
        &self,
        hidden: Tensor<2>,
        targets: &[u32],
        weights: &[f32],
        toward: Option<Toward<'_>>,
    ) -> HeadGradient {
        let head = self.inner();
        let [positions, _] = hidden.dims();
        let chunk = head_chunk(head.rows());
        let (mut losses, mut of_hidden, mut nlls) = (Vec::new(), Vec::new(), Vec::new());
        let mut divergences = Vec::new();
        let mut pieces: Vec<Option<Tensor<2>>> = vec![None; head.table().starts().len()];
        for start in (0..positions).step_by(chunk) {
            let range = start..(start + chunk).min(positions);
            let hidden = hidden.clone().narrow(0, start, range.len()); // [n, C]
            let weights = &weights[range.clone()];
            let targets = &targets[range.clone()];
            let ChunkGradient { nll, products } = match &toward {
                None => chunk_gradient(hidden.clone(), &head, targets, weights),
                Some(toward) => {
                    let of_chunk = Toward {
                        hidden: toward.hidden.clone().narrow(0, start, range.len()),
                        weights: &toward.weights[range],
                        ..*toward
                    };
                    let (gradient, divergence) =
                        chunk_gradient_toward(hidden.clone(), &head, targets, weights, &of_chunk);
                    divergences.push(divergence);
                    gradient
                }
            };
            losses.push((nll.clone() * Tensor::<1>::from_floats(weights, &head.device())).sum());
            nlls.push(nll);
            let mut of_chunk: Option<Tensor<2>> = None;
            for ((gradient, piece), sum) in products.into_iter().zip(head.table().pieces()).zip(&mut pieces) {
                accumulate(&mut of_chunk, product(gradient.clone(), Held::Plain, piece, Held::Plain));
                if self.is_trained() {
                    accumulate(sum, product(gradient, Held::Transposed, hidden.clone(), Held::Plain));
                }
            }
            of_hidden.extend(of_chunk);
        }
        HeadGradient {
            loss: Tensor::cat(losses, 0).sum(),
            nll: Tensor::cat(nlls, 0),
            divergence: toward.is_some().then(|| Tensor::cat(divergences, 0).sum()),
            hidden: Tensor::cat(of_hidden, 0),
            pieces: pieces.into_iter().flatten().collect(),
        }
    }
}

fn accumulate(sum: &mut Option<Tensor<2>>, part: Tensor<2>) {
    *sum = Some(match sum.take() {
        Some(sum) => sum + part,
        None => part,
    });
}

/// Loss and gradient of one chunk: as [`nll`], with `weights` `[n]`.
pub fn chunk_gradient(hidden: Tensor<2>, head: &Head, targets: &[u32], weights: &[f32]) -> ChunkGradient {
    match place(&hidden) {
        Place::Host => on_host(hidden, head, targets, Some(weights)),
        Place::Wgpu(ability) => OnWgpu::new(hidden, head, targets, ability).gradient(head, weights),
        Place::Elsewhere => plain(hidden, head, targets, weights),
    }
}

/// [`chunk_gradient`] by the framework's operations, on any device.
pub fn plain(hidden: Tensor<2>, head: &Head, targets: &[u32], weights: &[f32]) -> ChunkGradient {
    let device = hidden.device();
    let [positions, _] = hidden.dims();
    let targets = column(targets.iter().map(|&id| id as i32).collect(), &device);
    let weights: Tensor<2> = Tensor::from_data(TensorData::new(weights.to_vec(), [positions, 1]), &device);
    let softmax = ChunkSoftmax::new(hidden, head);
    let nll = softmax.nll(head, targets.clone()).flatten(0, 1);
    let pieces = softmax.pieces.into_iter().zip(head.table().starts());
    let products = pieces.zip(softmax.logits).map(|((p, start), logits)| {
        let (local, inside) = within(targets.clone(), start, p.dims()[1]);
        let gradient = (p * weights.clone()).scatter(1, local, inside * weights.clone().neg(), IndexingUpdateOp::Add);
        if !head.bends() {
            return gradient;
        }
        let [a, b] = head.steepness();
        gradient * ((logits.clone() * logits) * -b + a)
    });
    ChunkGradient { nll, products: products.collect() }
}

/// Loss and gradient of one chunk with the divergence from a teacher, Σ v·T²·KL: `[1]`.
pub fn chunk_gradient_toward(
    hidden: Tensor<2>,
    head: &Head,
    targets: &[u32],
    weights: &[f32],
    toward: &Toward<'_>,
) -> (ChunkGradient, Tensor<1>) {
    match place(&hidden) {
        Place::Host => on_host_toward(hidden, head, targets, weights, toward),
        Place::Wgpu(_) | Place::Elsewhere => plain_toward(hidden, head, targets, weights, toward),
    }
}

/// The gradient with the divergence from a teacher by the framework's operations, on any device. With q the teacher's
/// probabilities and p those of the model, both at T, ∂(v·T²·KL)/∂logits = v·T·(p − q).
pub fn plain_toward(
    hidden: Tensor<2>,
    head: &Head,
    targets: &[u32],
    weights: &[f32],
    toward: &Toward<'_>,
) -> (ChunkGradient, Tensor<1>) {
    let Toward { head: of_teacher, hidden: hidden_of_teacher, weights: v, temperature } = toward;
    let positions = v.len();
    let v: Tensor<2> = Tensor::from_data(TensorData::new(v.to_vec(), [positions, 1]), &hidden.device());
    let gradient = plain(hidden.clone(), head, targets, weights);
    let log_softmax = |hidden: &Tensor<2>, head: &Head| {
        let logits = head.logits(hidden) / *temperature;
        let largest = logits.clone().max_dim(1);
        let shifted = logits - largest;
        shifted.clone() - shifted.exp().sum_dim(1).log()
    };
    let (of_model, of_teacher) = (log_softmax(&hidden, head), log_softmax(hidden_of_teacher, of_teacher));
    let (p, q) = (of_model.clone().exp(), of_teacher.clone().exp());
    let divergence = (q.clone() * (of_teacher - of_model)).sum_dim(1) * v.clone() * (temperature * temperature);
    let mut by_logits = (p - q) * v * *temperature;
    if head.bends() {
        let ([a, b], logits) = (head.steepness(), head.logits(&hidden));
        by_logits = by_logits * ((logits.clone() * logits) * -b + a);
    }
    let starts = head.table().starts().into_iter();
    let products = gradient.products.into_iter().zip(starts).map(|(products, start)| {
        let rows = products.dims()[1];
        products + by_logits.clone().narrow(1, start, rows)
    });
    (ChunkGradient { nll: gradient.nll, products: products.collect() }, divergence.sum())
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
    pub fn new(hidden: Tensor<2>, head: &Head) -> Self {
        let logits: Vec<Tensor<2>> = head.pieces(&hidden).collect();
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
    pub fn nll(&self, head: &Head, targets: Tensor<2, Int>) -> Tensor<2> {
        let pieces = self.logits.iter().zip(head.table().starts());
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
    fn new(hidden: Tensor<2>, head: &Head, targets: &[u32], ability: Ability) -> Self {
        let mut pieces = Vec::new();
        let mut found = Vec::new();
        for (logits, start) in head.pieces(&hidden).zip(head.table().starts()) {
            let [_, rows] = logits.dims();
            let logits = Buffer::of(logits);
            // A target of an earlier piece wraps around, so its index is also beyond this piece.
            let columns: Vec<u32> = targets.iter().map(|target| target.wrapping_sub(start as u32)).collect();
            let columns = logits.with(&columns);
            let of_piece = logits.beside([targets.len(), 4]);
            launch(ability, None, rows, targets.len(), &[&logits, &columns, &of_piece]);
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

    fn gradient(self, head: &Head, weights: &[f32]) -> ChunkGradient {
        let [a, b] = head.steepness();
        let steepness = if head.bends() { format!(" * ({a:?} - {b:?} * logit * logit)") } else { String::new() };
        let normaliser = Buffer::of(self.normaliser);
        let weights = normaliser.with(bytemuck::cast_slice(weights));
        let [positions] = self.nll.dims();
        let products = self.pieces.into_iter().map(|(rows, logits, columns)| {
            launch(self.ability, Some(&steepness), rows, positions, &[&logits, &columns, &normaliser, &weights]);
            logits.into_tensor()
        });
        ChunkGradient { nll: self.nll, products: products.collect() }
    }
}

/// With a `steepness`, which gradients by logits are multiplied by, logits become gradients by products.
fn launch(ability: Ability, steepness: Option<&str>, rows: usize, positions: usize, buffers: &[&Buffer]) {
    let lanes = ability.lanes();
    let values = context! {
        lanes,
        gradient => steepness.is_some(),
        steepness => steepness.unwrap_or_default(),
        aligned => rows.is_multiple_of(4),
    };
    let kernel = Kernel::new("cross_entropy", values, [lanes, 1, 1]);
    kernel.launch(wgsl::groups(positions), buffers, &[positions as u32, rows as u32]);
}

/// The logits of each piece of the head with the piece's rows, on the tensors' own memory.
fn pieces_on_host(hidden: &Tensor<2>, head: &Head) -> Vec<(usize, Numbers)> {
    head.pieces(hidden).map(|logits| (logits.dims()[1], Numbers::of(logits))).collect()
}

/// The same by position: its logits, in as many parts as the head has pieces.
fn by_position(pieces: &mut [(usize, Numbers)], positions: usize) -> Vec<Vec<&mut [f32]>> {
    let mut all: Vec<Vec<&mut [f32]>> = (0..positions).map(|_| Vec::with_capacity(pieces.len())).collect();
    for (rows, logits) in pieces {
        let parts = logits.as_mut_slice().chunks_exact_mut(*rows);
        all.iter_mut().zip(parts).for_each(|(position, part)| position.push(part));
    }
    all
}

/// Both on the tensors' own memory, a position at a time. The gradient overwrites the logits.
fn on_host(hidden: Tensor<2>, head: &Head, targets: &[u32], weights: Option<&[f32]>) -> ChunkGradient {
    let device = hidden.device();
    let mut logits = pieces_on_host(&hidden, head);
    let positions = by_position(&mut logits, targets.len());
    let of_position = |(i, (mut parts, &target)): (usize, (Vec<&mut [f32]>, &u32))| {
        let weight = weights.map(|weights| weights[i]);
        match weight {
            Some(weight) if head.bends() => bent_position(&mut parts, target as usize, weight, head.steepness()),
            _ => position(&mut parts, target as usize, weight),
        }
    };
    let nll: Vec<f32> = positions.into_par_iter().zip(targets).enumerate().map(of_position).collect();
    let count = nll.len();
    ChunkGradient {
        nll: Tensor::from_data(TensorData::new(nll, [count]), &device),
        products: logits.into_iter().map(|(_, logits)| logits.into_tensor()).collect(),
    }
}

/// As [`plain_toward`], a position at a time on the tensors' own memory.
fn on_host_toward(
    hidden: Tensor<2>,
    head: &Head,
    targets: &[u32],
    weights: &[f32],
    toward: &Toward<'_>,
) -> (ChunkGradient, Tensor<1>) {
    let device = hidden.device();
    let (mut logits, mut of_teacher) = (pieces_on_host(&hidden, head), pieces_on_host(&toward.hidden, toward.head));
    let positions = by_position(&mut logits, targets.len());
    let teacher = by_position(&mut of_teacher, targets.len());
    let (steepness, temperature) = (head.steepness(), toward.temperature as f32);
    let found: Vec<(f32, f32)> = positions
        .into_par_iter()
        .zip(teacher)
        .enumerate()
        .map(|(i, (mut parts, teacher))| {
            let [w, v] = [weights[i], toward.weights[i]];
            toward_position(&mut parts, &teacher, targets[i] as usize, w, v, temperature, steepness)
        })
        .collect();
    let (nll, divergence): (Vec<f32>, Vec<f32>) = found.into_iter().unzip();
    let count = nll.len();
    let divergence = divergence.iter().map(|&kl| f64::from(kl)).sum::<f64>() as f32;
    let gradient = ChunkGradient {
        nll: Tensor::from_data(TensorData::new(nll, [count]), &device),
        products: logits.into_iter().map(|(_, logits)| logits.into_tensor()).collect(),
    };
    (gradient, Tensor::from_data(TensorData::new(vec![divergence], [1]), &device))
}

/// Numbers whose sum is taken in f32.
const BLOCK: usize = 1024;

vectorised! {
    /// −ln p of a position's target; with a weight w its logits are replaced by w·(p − onehot(target)); without one
    /// they hold no useful values afterwards.
    fn position(parts: &mut [&mut [f32]], target: usize, weight: Option<f32>) -> f32 {
        let largest = parts.iter().map(|part| largest(part)).fold(f32::NEG_INFINITY, f32::max);
        let Some((part, place, logit)) = find(parts, target) else { return f32::NAN };
        let sum: f64 = parts.iter_mut().map(|part| exponentials(part, largest)).sum();
        if let Some(weight) = weight {
            let share = (f64::from(weight) / sum) as f32;
            parts.iter_mut().flat_map(|part| part.iter_mut()).for_each(|x| *x *= share);
            parts[part][place] -= weight;
        }
        (sum.ln() + f64::from(largest) - f64::from(logit)) as f32
    }
}

vectorised! {
    /// −ln p of a position's target, whose logits are not the products themselves: they are replaced by
    /// w·(p − onehot(target))·(a − b·logit²).
    fn bent_position(parts: &mut [&mut [f32]], target: usize, weight: f32, steepness: [f32; 2]) -> f32 {
        let largest = parts.iter().map(|part| largest(part)).fold(f32::NEG_INFINITY, f32::max);
        let Some((part, place, logit)) = find(parts, target) else { return f32::NAN };
        let block = |block: &[f32]| f64::from(block.iter().map(|x| exponential(*x - largest)).sum::<f32>());
        let sum: f64 = parts.iter().flat_map(|part| part.chunks(BLOCK)).map(block).sum();
        let (share, [a, b]) = ((f64::from(weight) / sum) as f32, steepness);
        for x in parts.iter_mut().flat_map(|part| part.iter_mut()) {
            *x = exponential(*x - largest) * share * (a - b * *x * *x);
        }
        parts[part][place] -= weight * (a - b * logit * logit);
        (sum.ln() + f64::from(largest) - f64::from(logit)) as f32
    }
}

vectorised! {
    /// −ln p of a position's target and v·T²·KL from a teacher's logits; the logits are replaced by
    /// (w·(p − onehot(target)) + v·T·(p at T − q at T))·(a − b·logit²).
    fn toward_position(
        parts: &mut [&mut [f32]],
        teacher: &[&mut [f32]],
        target: usize,
        w: f32,
        v: f32,
        temperature: f32,
        steepness: [f32; 2],
    ) -> (f32, f32) {
        let most = parts.iter().map(|part| largest(part)).fold(f32::NEG_INFINITY, f32::max);
        let most_of_teacher = teacher.iter().map(|part| largest(part)).fold(f32::NEG_INFINITY, f32::max);
        let Some((part, place, logit)) = find(parts, target) else { return (f32::NAN, f32::NAN) };
        let per = 1.0 / temperature;
        // Sums of e^x at T = 1, of both at T, and of what the logits of both differ by under the teacher's e^x.
        let (mut sum, mut at_t, mut of_teacher, mut differ) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64);
        for (x, y) in parts.iter().zip(teacher) {
            for (x, y) in x.chunks(BLOCK).zip(y.chunks(BLOCK)) {
                let mut lanes = [[0.0_f32; LANES]; 4];
                for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
                    for (lane, (x, y)) in x.iter().zip(y).enumerate() {
                        let (x, y) = (*x - most, *y - most_of_teacher);
                        let e = exponential(y * per);
                        lanes[0][lane] += exponential(x);
                        lanes[1][lane] += exponential(x * per);
                        lanes[2][lane] += e;
                        lanes[3][lane] += e * (y - x);
                    }
                }
                let [of_x, of_x_at_t, of_y, of_both] = lanes.map(|lanes| f64::from(lanes.iter().sum::<f32>()));
                sum += of_x;
                at_t += of_x_at_t;
                of_teacher += of_y;
                differ += of_both;
            }
        }
        let divergence = differ * f64::from(per) / of_teacher - of_teacher.ln() + at_t.ln();
        let [a, b] = steepness;
        let share = (f64::from(w) / sum) as f32;
        let pull = f64::from(v * temperature);
        let (of_model, from_teacher) = ((pull / at_t) as f32, (pull / of_teacher) as f32);
        for (x, y) in parts.iter_mut().zip(teacher) {
            for (x, y) in x.iter_mut().zip(y.iter()) {
                let (near, of) = (*x - most, *y - most_of_teacher);
                let by_logit =
                    exponential(near) * share + exponential(near * per) * of_model - exponential(of * per) * from_teacher;
                *x = by_logit * (a - b * *x * *x);
            }
        }
        parts[part][place] -= w * (a - b * logit * logit);
        let nll = (sum.ln() + f64::from(most) - f64::from(logit)) as f32;
        (nll, (divergence * f64::from(v) * f64::from(temperature) * f64::from(temperature)) as f32)
    }
}

/// The part that holds the target, its place there, and its logit.
#[inline(always)]
fn find(parts: &[&mut [f32]], target: usize) -> Option<(usize, usize, f32)> {
    let mut place = target;
    for (i, part) in parts.iter().enumerate() {
        if let Some(&logit) = part.get(place) {
            return Some((i, place, logit));
        }
        place -= part.len();
    }
    None
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
