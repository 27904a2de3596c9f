//! What is computed on the tensors' own memory, against f64 and against the framework's operations.

use burn::tensor::{Device, Tensor, TensorData};
use odyssey::kernels::adamw::{Constants, State};
use odyssey::kernels::cross_entropy::{
    ChunkGradient, Toward, chunk_gradient, chunk_gradient_toward, head_chunk, nll, plain, plain_toward,
};
use odyssey::kernels::squares::sum_of_squares;
use odyssey::model::parameters::to_host;
use odyssey::model::{Head, Table};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn numbers(count: usize, size: f64, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| (size * (f64::from(rng.next_u32()) / 2f64.powi(31) - 1.0)) as f32).collect()
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
}

/// A chunk of positions with everything that its loss depends on.
struct Chunk {
    hidden: Vec<f32>,
    rows: Vec<f32>,
    targets: Vec<u32>,
    weights: Vec<f32>,
    channels: usize,
    /// Rows of each piece of the head.
    pieces: Vec<usize>,
    /// What products are multiplied by, and the cap of what comes out.
    scale: f64,
    cap: Option<f64>,
}

impl Chunk {
    /// Logits of about `size`; every third position weighs nothing, as padding does.
    fn new(positions: usize, channels: usize, pieces: &[usize], size: f64) -> Self {
        let vocabulary: usize = pieces.iter().sum();
        let targets = (0..positions).map(|i| ((i * 7919 + vocabulary - 1) % vocabulary) as u32).collect();
        let weights = (0..positions).map(|i| [0.25, 1.5, 0.0][i % 3]).collect();
        let hidden = numbers(positions * channels, size, 1);
        let rows = numbers(vocabulary * channels, 1.0, 2);
        Self { hidden, rows, targets, weights, channels, pieces: pieces.to_vec(), scale: 1.0, cap: None }
    }

    fn hidden(&self) -> Tensor<2> {
        tensor(&self.hidden, [self.targets.len(), self.channels])
    }

    fn head(&self) -> Head {
        let mut rest = self.rows.as_slice();
        let piece = |&rows: &usize| {
            let (piece, after) = rest.split_at(rows * self.channels);
            rest = after;
            tensor(piece, [rows, self.channels])
        };
        let head = Head::from(Table::from(self.pieces.iter().map(piece).collect::<Vec<_>>())).scaled(self.scale);
        match self.cap {
            Some(cap) => head.capped(cap),
            None => head,
        }
    }

    /// The logit of a product, and how steeply it rises there.
    fn logit(&self, product: f64) -> (f64, f64) {
        let scaled = self.scale * product;
        match self.cap {
            Some(cap) => (cap * (scaled / cap).tanh(), self.scale / (scaled / cap).cosh().powi(2)),
            None => (scaled, self.scale),
        }
    }

    /// Loss and gradient by products of each position in f64.
    fn exact(&self) -> (Vec<f64>, Vec<f64>) {
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let (mut losses, mut gradient) = (Vec::new(), Vec::new());
        for ((hidden, &target), &weight) in self.hidden.chunks(self.channels).zip(&self.targets).zip(&self.weights) {
            let (logits, steepness): (Vec<f64>, Vec<f64>) =
                self.rows.chunks(self.channels).map(|row| self.logit(product(hidden, row))).unzip();
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let normaliser = largest + logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln();
            losses.push(normaliser - logits[target as usize]);
            gradient.extend(logits.iter().enumerate().map(|(token, logit)| {
                let hit = if token == target as usize { 1.0 } else { 0.0 };
                f64::from(weight) * ((logit - normaliser).exp() - hit) * steepness[token]
            }));
        }
        (losses, gradient)
    }
}

impl Chunk {
    /// Logits of each position in f64, and how steeply each rises with its product.
    fn logits(&self) -> Vec<Vec<(f64, f64)>> {
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let of = |hidden: &[f32]| self.rows.chunks(self.channels).map(|row| self.logit(product(hidden, row))).collect();
        self.hidden.chunks(self.channels).map(of).collect()
    }

    /// Σ v·T²·KL(teacher ‖ this) in f64, and its gradient by products.
    fn exact_toward(&self, teacher: &Chunk, v: &[f32], temperature: f64) -> (f64, Vec<f64>) {
        let softmax = |logits: &[(f64, f64)]| -> Vec<f64> {
            let largest = logits.iter().map(|(logit, _)| *logit).fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> = logits.iter().map(|(logit, _)| ((logit - largest) / temperature).exp()).collect();
            let sum: f64 = powers.iter().sum();
            powers.into_iter().map(|power| power / sum).collect()
        };
        let (mut divergence, mut gradient) = (0.0, Vec::new());
        for ((of_model, of_teacher), &v) in self.logits().iter().zip(teacher.logits()).zip(v) {
            let (p, q) = (softmax(of_model), softmax(&of_teacher));
            let kl: f64 = p.iter().zip(&q).map(|(p, q)| if *q > 0.0 { q * (q / p).ln() } else { 0.0 }).sum();
            divergence += f64::from(v) * temperature * temperature * kl;
            let by_logits = p.iter().zip(&q).map(|(p, q)| f64::from(v) * temperature * (p - q));
            gradient.extend(by_logits.zip(of_model).map(|(by_logit, (_, steep))| by_logit * steep));
        }
        (divergence, gradient)
    }
}

/// The pieces' columns side by side, `[positions, vocabulary]`.
fn whole(logits: Vec<Tensor<2>>) -> Vec<f32> {
    to_host(Tensor::cat(logits, 1).flatten(0, 1)).unwrap()
}

#[track_caller]
fn assert_near(found: &[f32], exact: &[f64], allowed: f64) {
    assert_eq!(found.len(), exact.len());
    for (i, (found, exact)) in found.iter().zip(exact).enumerate() {
        assert!((f64::from(*found) - exact).abs() <= allowed * exact.abs().max(1.0), "{i}: {found} instead of {exact}");
    }
}

#[test]
fn loss_and_gradient_of_a_chunk_are_exact_for_any_shape() {
    let shapes: [(usize, usize, &[usize]); 8] = [
        (1, 1, &[1]),
        (1, 5, &[2]),
        (3, 4, &[17]),
        (7, 8, &[307]),
        (13, 16, &[1024]),
        (5, 3, &[1, 30, 2]),
        (9, 6, &[200, 200, 112]),
        (2, 4, &[50257]),
    ];
    for (positions, channels, pieces) in shapes {
        for size in [0.5, 20.0] {
            let chunk = Chunk::new(positions, channels, pieces, size);
            let (losses, gradient) = chunk.exact();
            let found = chunk_gradient(chunk.hidden(), &chunk.head(), &chunk.targets, &chunk.weights);
            // A logit is a sum in f32, so off by its size times the grain.
            let allowed = 1e-6 * size.max(1.0);
            assert_near(&to_host(found.nll).unwrap(), &losses, allowed);
            assert_near(&whole(found.products), &gradient, 4.0 * allowed);
            assert_near(&to_host(nll(chunk.hidden(), &chunk.head(), &chunk.targets)).unwrap(), &losses, allowed);
            let ChunkGradient { nll, products } = plain(chunk.hidden(), &chunk.head(), &chunk.targets, &chunk.weights);
            assert_near(&to_host(nll).unwrap(), &losses, 4.0 * allowed);
            assert_near(&whole(products), &gradient, 4.0 * allowed);
        }
    }
}

#[test]
fn loss_and_gradient_of_a_head_with_a_scale_and_a_cap_are_exact() {
    for (scale, cap) in [(0.25, None), (1.0, Some(3.0)), (2.5, Some(30.0)), (0.1, Some(0.7))] {
        for (positions, channels, pieces) in [(1, 1, &[2][..]), (7, 8, &[307]), (5, 3, &[1, 30, 2]), (2, 4, &[50257])] {
            let chunk = Chunk { scale, cap, ..Chunk::new(positions, channels, pieces, 4.0) };
            let (losses, gradient) = chunk.exact();
            let found = chunk_gradient(chunk.hidden(), &chunk.head(), &chunk.targets, &chunk.weights);
            assert_near(&to_host(found.nll).unwrap(), &losses, 4e-6);
            assert_near(&whole(found.products), &gradient, 2e-5);
            assert_near(&to_host(nll(chunk.hidden(), &chunk.head(), &chunk.targets)).unwrap(), &losses, 4e-6);
            let ChunkGradient { nll, products } = plain(chunk.hidden(), &chunk.head(), &chunk.targets, &chunk.weights);
            assert_near(&to_host(nll).unwrap(), &losses, 2e-5);
            assert_near(&whole(products), &gradient, 4e-5);
        }
    }
}

#[test]
fn the_gradient_of_a_head_by_hidden_states_and_table_is_that_of_its_logits() {
    let chunk = Chunk { scale: 1.5, cap: Some(4.0), ..Chunk::new(6, 5, &[20, 11], 2.0) };
    let loss = |chunk: &Chunk| -> f64 {
        let (losses, _) = chunk.exact();
        losses.iter().zip(&chunk.weights).map(|(loss, &weight)| loss * f64::from(weight)).sum()
    };
    let found = chunk.head().backward(chunk.hidden(), &chunk.targets, &chunk.weights);
    assert_near(&to_host(found.loss).unwrap(), &[loss(&chunk)], 1e-5);
    assert!(found.pieces.is_empty(), "a frozen table has a gradient");
    let of_hidden = to_host(found.hidden.flatten(0, 1)).unwrap();
    for (i, gradient) in of_hidden.iter().enumerate() {
        let moved = |by: f32| {
            let mut hidden = chunk.hidden.clone();
            hidden[i] += by;
            let rows = chunk.rows.clone();
            Chunk {
                hidden,
                rows,
                targets: chunk.targets.clone(),
                weights: chunk.weights.clone(),
                ..Chunk::new(6, 5, &[20, 11], 2.0)
            }
        };
        let step = 1.0 / 256.0;
        let [after, before] = [step, -step].map(|by| loss(&Chunk { scale: 1.5, cap: Some(4.0), ..moved(by) }));
        let slope = (after - before) / (2.0 * f64::from(step));
        assert!((f64::from(*gradient) - slope).abs() < 2e-3, "{i}: {gradient} instead of {slope}");
    }
}

#[test]
fn the_divergence_from_a_teacher_and_its_gradient_are_exact_and_vanish_where_both_are_one() {
    let v = [1.0, 0.0, 0.5, 2.0, 0.25, 1.0, 0.125];
    for (positions, channels, pieces) in [(1, 2, &[2][..]), (7, 8, &[307]), (5, 3, &[1, 30, 2]), (3, 4, &[5000])] {
        for (temperature, scale, cap) in [(1.0, 1.0, None), (2.5, 1.0, None), (0.7, 1.5, Some(4.0))] {
            let new = |size| Chunk { scale, cap, ..Chunk::new(positions, channels, pieces, size) };
            let model = new(2.0);
            let teacher = Chunk { hidden: numbers(positions * channels, 1.5, 9), ..new(2.0) };
            let v = &v[..positions];
            let (of_teacher, head) = (teacher.head(), model.head());
            let toward = Toward { head: &of_teacher, hidden: teacher.hidden(), weights: v, temperature };
            let (divergence, mut gradient) = model.exact_toward(&teacher, v, temperature);
            let (losses, plain_gradient) = model.exact();
            gradient.iter_mut().zip(plain_gradient).for_each(|(sum, part)| *sum += part);
            assert!(divergence > 0.0);
            for form in [chunk_gradient_toward, plain_toward] {
                let (found, kl) = form(model.hidden(), &head, &model.targets, &model.weights, &toward);
                assert_near(&to_host(found.nll).unwrap(), &losses, 1e-5);
                assert_near(&whole(found.products), &gradient, 2e-5);
                assert_near(&to_host(kl).unwrap(), &[divergence], 2e-5);
                let own = Toward { head: &head, hidden: model.hidden(), weights: v, temperature };
                let (_, kl) = form(model.hidden(), &head, &model.targets, &model.weights, &own);
                assert_near(&to_host(kl).unwrap(), &[0.0], 2e-6);
            }
        }
    }
}

#[test]
fn losses_are_the_same_whether_a_chunk_ends_between_positions_or_not() {
    let vocabulary = 40_000;
    let positions = head_chunk(vocabulary) + 3;
    let chunk = Chunk::new(positions, 2, &[vocabulary], 1.0);
    let at_once = to_host(nll(chunk.hidden(), &chunk.head(), &chunk.targets)).unwrap();
    let last = chunk.hidden().narrow(0, positions - 3, 3);
    let alone = to_host(nll(last, &chunk.head(), &chunk.targets[positions - 3..])).unwrap();
    assert_near(&at_once[positions - 3..], &alone.iter().map(|&nll| f64::from(nll)).collect::<Vec<_>>(), 1e-6);
}

#[test]
fn a_number_that_is_none_is_not_hidden() {
    for broken in [f32::NAN, f32::INFINITY] {
        let mut chunk = Chunk::new(2, 4, &[40], 1.0);
        chunk.hidden[1] = broken;
        let found = to_host(nll(chunk.hidden(), &chunk.head(), &chunk.targets)).unwrap();
        assert!(!found[0].is_finite() && found[1].is_finite(), "{broken} gives {found:?}");
    }
}

#[test]
fn unlikely_tokens_have_their_loss_to_the_end() {
    // A logit of 200 above all others: their probabilities are below what f32 reaches, their losses are not.
    let chunk = Chunk {
        hidden: vec![1.0, 1.0],
        rows: vec![200.0, 0.0, 0.0],
        targets: vec![0, 2],
        weights: vec![1.0, 1.0],
        channels: 1,
        pieces: vec![3],
        scale: 1.0,
        cap: None,
    };
    let found = chunk_gradient(chunk.hidden(), &chunk.head(), &chunk.targets, &chunk.weights);
    assert_eq!(to_host(found.nll).unwrap(), [0.0, 200.0]);
    assert_near(&whole(found.products), &[0.0, 0.0, 0.0, 1.0, 0.0, -1.0], 1e-30);
}

#[test]
fn a_step_of_adamw_is_the_plain_one_and_the_one_in_f64() {
    let constants = Constants {
        factor: 0.5,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        rate: 1e-3 / 0.1,
        correction: 0.001,
        keep: 1.0 - 1e-4,
    };
    for count in [1, 7, 40_000] {
        let values: Vec<Vec<f32>> = (0..4).map(|seed| numbers(count, 0.5, seed)).collect();
        let state = || {
            let second: Vec<f32> = values[2].iter().map(|v| v * v).collect();
            State {
                weight: tensor(&values[0], [count]),
                first: tensor(&values[1], [count]),
                second: tensor(&second, [count]),
            }
        };
        let [found, plain] = [
            state().step(tensor(&values[3], [count]), constants),
            state().plain(tensor(&values[3], [count]), constants),
        ]
        .map(|state| [state.weight, state.first, state.second].map(|part| to_host(part).unwrap()));
        for i in 0..count {
            let [w, m, root, g] = [0, 1, 2, 3].map(|which| f64::from(values[which][i]));
            let g = constants.factor * g;
            let m = 0.9 * m + 0.1 * g;
            let v = 0.999 * root * root + 0.001 * g * g;
            let w = w * constants.keep - m * constants.rate / ((v / constants.correction).sqrt() + 1e-8);
            for ((found, plain), exact) in found.iter().zip(&plain).zip([w, m, v]) {
                let allowed = 1e-6 * exact.abs().max(1.0);
                assert!((f64::from(found[i]) - exact).abs() < allowed, "{i}: {} instead of {exact}", found[i]);
                assert!(f64::from((found[i] - plain[i]).abs()) < allowed, "{i}: {} and {}", found[i], plain[i]);
            }
        }
    }
}

#[test]
fn a_sum_of_squares_is_the_one_in_f64() {
    for count in [1, 15, 1024, 100_003] {
        let x = numbers(count, 3.0, 5);
        let exact: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
        let found = sum_of_squares([&tensor(&x, [count])]).unwrap();
        assert!((found - exact).abs() < 1e-12 * exact, "{count}: {found} instead of {exact}");
    }
    assert_eq!(
        sum_of_squares([&tensor(&[3e30, 4e30], [2])]).unwrap(),
        f64::from(3e30_f32).powi(2) + f64::from(4e30_f32).powi(2)
    );
}
