//! Every operation the models use, at small and awkward sizes: 1, primes, more than a workgroup.
//!
//! A sum of k terms with independent roundings is off by about √k·ε/2 of the root of its terms' squares; the largest of
//! many results by five times that. Four times the effect of rounding on one result is allowed; coarser number formats
//! (TF32, f16) still exceed this a hundredfold. Functions may have the errors that WGSL allows
//! (<https://www.w3.org/TR/WGSL/#floating-point-accuracy>).

use std::ops::Range;

use burn::tensor::activation::{sigmoid, silu, softmax};
use burn::tensor::{Bool, Device, IndexingUpdateOp, Int, Tensor, TensorData};
use statrs::function::erf::erf;

use super::exact::{self, NORM_EPSILON, Rows, dot, number};
use super::{Aspect, Cases, EPSILON, Expected, Plan};
use crate::device::precision::Precision;
use crate::error::Result;
use crate::kernels::attention::Attention;
use crate::kernels::cross_entropy::ChunkSoftmax;
use crate::kernels::head::Head;
use crate::kernels::matmul::{self, Held};
use crate::kernels::table::{LARGEST_PIECE, within};
use crate::model::layers::{CausalAttention, Embedding, Gelu, LayerNorm, RmsNorm, causal_attention};
use crate::model::parameters::to_host;
use crate::model::rope_scaling::RopeScaling;
use crate::model::rotary::Rotary;
use crate::model::weights::WeightSource;

const SUM: &str = "of the root of the summed squares of a result's terms; 4·ε·(√k + 1) for k terms, four times what \
                   independent roundings do";
const FUNCTION: &str = "of the value; the rounding of its few steps, and of exp (3 + 2·|x|)·ε, which WGSL allows";
const SOFTMAX: &str = "of the value times 7 + 2·|x − largest| + n/16; ε: what WGSL allows for exp, and of n terms added one \
                       by one the small ones that are lost beside the sum";
const MOVED: &str = "absolute; numbers are moved, not computed";

/// The checks of operations in f32.
pub(super) fn plans() -> Vec<Plan> {
    let f32_plan =
        |name: &str, bound: &str, run: fn(&Device, &mut Cases) -> Result<()>| Plan::new(name, Aspect::F32, bound, run);
    vec![
        f32_plan("matrix product", SUM, matrix_product),
        f32_plan("batched matrix product", SUM, batched_product),
        f32_plan("sums and means", SUM, sums),
        f32_plan("largest values", MOVED, largest),
        f32_plan("arithmetic", "of the value; division and square root may be off by 2.5 ε in WGSL", arithmetic),
        f32_plan("exp and log", "of the value (of 1 where a logarithm is smaller), as WGSL allows", exp_and_log),
        f32_plan("softmax", SOFTMAX, softmax_with_mask),
        f32_plan("layer norm", "of |w|·(|x| + |mean|)/deviation + |b|; 4·ε·(√k + 1) for k channels", layer_norm),
        f32_plan("RMS norm", "of the value; 4·ε·(√k + 1) for k channels", rms_norm),
        f32_plan("GELU", "of |x|; 8·ε, and in the approximated form what WGSL allows for exp", gelu),
        f32_plan("sigmoid and SiLU", FUNCTION, sigmoid_and_silu),
        f32_plan("erf", "absolute; 8·ε, since it is a polynomial times an exp", error_function),
        f32_plan("rotary positions", "of the length of the pair that is turned; 4·ε", rotary),
        f32_plan("attention", "of the weighted sum of |v|; 4·ε·(√T + 1 + 2·largest score) for T keys", attention),
        f32_plan("token table", MOVED, token_table),
        f32_plan("token table's gradient", SUM, token_table_gradient),
        f32_plan("gather and scatter", "of the sum; ε, one addition", gather_and_scatter),
        f32_plan("shapes", MOVED, shapes),
        f32_plan("masks", MOVED, masks),
        f32_plan("numbers at the edge", SOFTMAX, edges),
        Plan::new("128 MiB at once", Aspect::Large, SUM, large_table),
        Plan::new("long rows", Aspect::LongRows, SOFTMAX, long_rows),
    ]
}

/// Uniform numbers within `range`, in f32.
pub(super) fn numbers(seed: u64, count: usize, range: Range<f32>) -> Vec<f32> {
    let (middle, half) = ((range.start + range.end) / 2.0, (range.end - range.start) / 2.0);
    (0..count).map(|i| middle + half * number(seed, i)).collect()
}

pub(super) fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn ids<const D: usize>(values: &[usize], shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values.iter().map(|&id| id as i32).collect::<Vec<_>>(), shape), device)
}

pub(super) fn exactly(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

pub(super) fn rows(values: &[f32], width: usize) -> Rows {
    values.chunks(width).map(exactly).collect()
}

/// 4·ε·(√k + 1).
fn sum_of(k: usize) -> f64 {
    4.0 * EPSILON * ((k as f64).sqrt() + 1.0)
}

impl Cases {
    /// Judges a tensor, read back from its device.
    pub(super) fn judge_tensor<const D: usize>(
        &mut self,
        at: impl Into<String>,
        found: Tensor<D>,
        expected: Expected,
    ) -> Result<()> {
        let count = found.shape().num_elements();
        self.judge(at, &to_host(found.reshape([count]))?, &expected);
        Ok(())
    }
}

/// `a` `[m, k]` times `b` `[k, n]`, which are given by rows of k numbers each, with a rounding unit of `epsilon`.
pub(super) fn product(a: &Rows, b: &Rows, allowed: f64) -> Expected {
    let each = |f: fn(f64) -> f64| -> Vec<f64> {
        let term = move |(a, b): (&f64, &f64)| f(a * b);
        a.iter().flat_map(|a| b.iter().map(move |b| a.iter().zip(b).map(term).sum())).collect()
    };
    let squares = each(|term| term * term);
    Expected::within(allowed, each(|term| term), squares.into_iter().map(f64::sqrt).collect())
}

fn matrix_product(device: &Device, cases: &mut Cases) -> Result<()> {
    for [m, k, n] in [[1, 1, 1], [1, 1031, 1], [7, 257, 13], [64, 64, 64], [130, 300, 70]] {
        let (a, b) = (numbers(1, m * k, -1.0..1.0), numbers(2, n * k, -1.0..1.0));
        let expected = product(&rows(&a, k), &rows(&b, k), sum_of(k));
        let (a_t, b_t) = (transposed(&a, k), transposed(&b, k));
        let (plain, turned) = (Held::Plain, Held::Transposed);
        let ways = [
            ("", tensor(&a, [m, k], device), plain, tensor(&b_t, [k, n], device), plain),
            (", right transposed", tensor(&a, [m, k], device), plain, tensor(&b, [n, k], device), turned),
            (", left transposed", tensor(&a_t, [k, m], device), turned, tensor(&b_t, [k, n], device), plain),
        ];
        for (way, a, a_held, b, b_held) in ways {
            // Our own product, if there is one, and the framework's, which computes the logits everywhere.
            let framework = matmul::plain(a.clone(), a_held, b.clone(), b_held);
            for found in [matmul::product(a, a_held, b, b_held), framework] {
                cases.judge_tensor(format!("{m}×{k}×{n}{way}"), found, expected.clone())?;
            }
        }
    }
    Ok(())
}

/// Rows of `width` numbers as columns.
fn transposed(values: &[f32], width: usize) -> Vec<f32> {
    (0..width).flat_map(|column| values.iter().skip(column).step_by(width).copied()).collect()
}

fn batched_product(device: &Device, cases: &mut Cases) -> Result<()> {
    for [batch, heads, m, k, n] in [[1, 1, 1, 1, 1], [2, 3, 37, 16, 29], [3, 5, 65, 7, 65]] {
        let count = batch * heads;
        let (a, b) = (numbers(3, count * m * k, -1.0..1.0), numbers(4, count * n * k, -1.0..1.0));
        let (mut exact, mut scale) = (Vec::new(), Vec::new());
        for (a, b) in a.chunks(m * k).zip(b.chunks(n * k)) {
            let one = product(&rows(a, k), &rows(b, k), 0.0);
            exact.extend(one.exact);
            scale.extend(one.scale);
        }
        let found =
            tensor(&a, [batch, heads, m, k], device).matmul(tensor(&b, [batch, heads, n, k], device).swap_dims(2, 3));
        let at = format!("{batch}×{heads} of {m}×{k}×{n}");
        cases.judge_tensor(at, found, Expected::within(sum_of(k), exact, scale))?;
    }
    Ok(())
}

/// Rows and their length, for what works on rows.
const ROWS: [[usize; 2]; 5] = [[1, 1], [1, 1031], [7, 257], [300, 2], [2, 8191]];

fn sums(device: &Device, cases: &mut Cases) -> Result<()> {
    for [m, n] in ROWS {
        let x = numbers(5, m * n, -1.0..1.0);
        let row = rows(&x, n);
        let each = |f: &dyn Fn(&Vec<f64>) -> f64| -> Vec<f64> { row.iter().map(f).collect() };
        let length = |row: &Vec<f64>| dot(row, row).sqrt();
        let count = n as f64;
        let at = |what: &str| format!("{what} of {m}×{n}");
        let on_device = || tensor(&x, [m, n], device);
        let summed = Expected::within(sum_of(n), each(&|row| row.iter().sum()), each(&length));
        cases.judge_tensor(at("sum"), on_device().sum_dim(1), summed)?;
        let mean =
            Expected::within(sum_of(n), each(&|row| row.iter().sum::<f64>() / count), each(&|row| length(row) / count));
        cases.judge_tensor(at("mean"), on_device().mean_dim(1), mean)?;
        let all = exactly(&x);
        let whole = Expected::within(sum_of(m * n), vec![all.iter().sum()], vec![dot(&all, &all).sqrt()]);
        cases.judge_tensor(at("whole sum"), on_device().sum(), whole)?;
    }
    Ok(())
}

fn largest(device: &Device, cases: &mut Cases) -> Result<()> {
    for [m, n] in ROWS {
        let x = numbers(6, m * n, -9.0..-1.0);
        let largest = rows(&x, n).iter().map(|row| row.iter().copied().fold(f64::NEG_INFINITY, f64::max)).collect();
        let found = tensor(&x, [m, n], device).max_dim(1);
        cases.judge_tensor(format!("{m}×{n}"), found, Expected::same(largest))?;
    }
    Ok(())
}

fn arithmetic(device: &Device, cases: &mut Cases) -> Result<()> {
    type Exact = fn(f64, f64) -> f64;
    type OnDevice = fn(Tensor<2>, Tensor<2>) -> Tensor<2>;
    let operations: [(&str, f64, Exact, OnDevice); 6] = [
        ("sum", 1.0, |a, b| a + b, |a, b| a + b),
        ("difference", 1.0, |a, b| a - b, |a, b| a - b),
        ("product", 1.0, |a, b| a * b, |a, b| a * b),
        ("quotient", 4.0, |a, b| a / b, |a, b| a / b),
        ("square root", 4.0, |a, b| a.abs().sqrt() * b, |a, b| a.abs().sqrt() * b),
        ("reciprocal", 4.0, |a, b| 1.0 / b * a, |a, b| b.recip() * a),
    ];
    for [m, n] in [[1, 1], [7, 257], [3, 1031]] {
        let (a, b) = (numbers(7, m * n, -100.0..100.0), numbers(8, n, 0.01..3.0));
        for (name, ulps, exact, on_device) in operations {
            // `b` is one row, for all rows of `a`.
            let exact = a.iter().enumerate().map(|(i, &a)| exact(f64::from(a), f64::from(b[i % n]))).collect();
            let found = on_device(tensor(&a, [m, n], device), tensor(&b, [1, n], device));
            cases.judge_tensor(format!("{name}, {m}×{n}"), found, Expected::relative(ulps * EPSILON, exact))?;
        }
    }
    Ok(())
}

fn exp_and_log(device: &Device, cases: &mut Cases) -> Result<()> {
    for count in [1, 1031] {
        let x = numbers(9, count, -80.0..80.0);
        let truth: Vec<f64> = exactly(&x).iter().map(|x| x.exp()).collect();
        let scale = x.iter().zip(&truth).map(|(x, e)| e * (3.0 + 2.0 * f64::from(x.abs()))).collect();
        let found = tensor(&x, [count], device).exp();
        cases.judge_tensor(format!("exp of {count}"), found, Expected::within(EPSILON, truth.clone(), scale))?;
        // The input of log must be an f32.
        let values: Vec<f32> = truth.iter().map(|&e| e as f32).collect();
        let logs: Vec<f64> = values.iter().map(|&e| f64::from(e).ln()).collect();
        let scale = logs.iter().map(|log| log.abs().max(1.0)).collect();
        let found = tensor(&values, [count], device).log();
        cases.judge_tensor(format!("log of {count}"), found, Expected::within(4.0 * EPSILON, logs, scale))?;
    }
    Ok(())
}

/// A softmax whose terms may be off by what WGSL allows for exp, their sum, and a division.
fn softmax_of(rows: &Rows) -> Expected {
    let (mut exact, mut scale) = (Vec::new(), Vec::new());
    for row in rows {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let p = exact::softmax(row);
        let steps = |x: &f64| 3.0 + 2.0 * (largest - x).min(100.0) + 4.0 + row.len() as f64 / 16.0;
        scale.extend(row.iter().zip(&p).map(|(x, p)| p * steps(x)));
        exact.extend(p);
    }
    Expected::within(EPSILON, exact, scale)
}

fn softmax_with_mask(device: &Device, cases: &mut Cases) -> Result<()> {
    for [m, n] in [[1, 1], [7, 257], [3, 1031], [2, 50_257]] {
        let x = numbers(10, m * n, -8.0..8.0);
        let found = softmax(tensor(&x, [m, n], device), 1);
        cases.judge_tensor(format!("{m}×{n}"), found, softmax_of(&rows(&x, n)))?;
    }
    for n in [1, 37, 257] {
        let x = numbers(11, n * n, -8.0..8.0);
        let masked = rows(&x, n).into_iter().enumerate().map(|(t, row)| {
            row.into_iter().enumerate().map(|(s, x)| if s > t { f64::NEG_INFINITY } else { x }).collect()
        });
        let mask = Tensor::<2, Bool>::tril_mask([n, n], 0, device);
        let found = softmax(tensor(&x, [n, n], device).mask_fill(mask, -1e30), 1);
        cases.judge_tensor(format!("{n}×{n}, masked"), found, softmax_of(&masked.collect()))?;
    }
    Ok(())
}

/// Weights by a function of name and index.
struct Given<F>(F);

impl<F: Fn(&str, usize) -> f32> WeightSource for Given<F> {
    fn has(&self, _name: &str) -> bool {
        false
    }

    fn read(&mut self, name: &str, shape: &[usize], rows: Range<usize>, _held: Precision) -> Result<TensorData> {
        let width: usize = shape[1..].iter().product();
        let values: Vec<f32> = (rows.start * width..rows.end * width).map(|i| (self.0)(name, i)).collect();
        let shape: Vec<usize> = std::iter::once(rows.len()).chain(shape[1..].iter().copied()).collect();
        Ok(TensorData::new(values, shape))
    }
}

/// The weight of norms: around 1, the bias around 0.
fn norm_weight(name: &str, index: usize) -> f32 {
    if name.ends_with(".bias") { number(12, index) } else { 1.0 + 0.5 * number(13, index) }
}

fn layer_norm(device: &Device, cases: &mut Cases) -> Result<()> {
    for [m, n] in [[1, 2], [7, 257], [3, 1031], [2, 4096]] {
        let x = numbers(14, m * n, -1.0..2.0);
        let norm = LayerNorm::load(&mut Given(norm_weight), "norm", n, NORM_EPSILON, device)?;
        let (mut exact, mut scale) = (Vec::new(), Vec::new());
        for row in rows(&x, n) {
            let (mean, variance) = exact::moments(&row);
            let deviation = (variance + NORM_EPSILON).sqrt();
            for (i, x) in row.into_iter().enumerate() {
                let [weight, bias] = ["norm.weight", "norm.bias"].map(|name| f64::from(norm_weight(name, i)));
                exact.push((x - mean) / deviation * weight + bias);
                scale.push((x.abs() + mean.abs()) / deviation * weight.abs() + bias.abs());
            }
        }
        let found = norm.forward(tensor(&x, [1, m, n], device));
        cases.judge_tensor(format!("{m}×{n}"), found, Expected::within(sum_of(n), exact, scale))?;
    }
    Ok(())
}

fn rms_norm(device: &Device, cases: &mut Cases) -> Result<()> {
    for [m, n] in [[1, 1], [7, 257], [3, 1031], [2, 4096]] {
        let x = numbers(15, m * n, -2.0..2.0);
        let norm = RmsNorm::load(&mut Given(norm_weight), "norm", n, NORM_EPSILON, device)?;
        let mut exact = Vec::new();
        for row in rows(&x, n) {
            let root = (exact::mean_square(&row) + NORM_EPSILON).sqrt();
            exact.extend(row.iter().enumerate().map(|(i, x)| x / root * f64::from(norm_weight("norm.weight", i))));
        }
        let found = norm.forward(tensor(&x, [1, m, n], device));
        cases.judge_tensor(format!("{m}×{n}"), found, Expected::relative(sum_of(n), exact))?;
    }
    Ok(())
}

fn gelu(device: &Device, cases: &mut Cases) -> Result<()> {
    for count in [1, 1031] {
        let x = numbers(16, count, -9.0..9.0);
        let each = |f: fn(f64) -> f64| -> Vec<f64> { exactly(&x).into_iter().map(f).collect() };
        let found = |form: Gelu| form.forward(tensor(&x, [1, 1, count], device));
        let by_erf = Expected::within(8.0 * EPSILON, each(exact::gelu), each(f64::abs));
        cases.judge_tensor(format!("by erf, {count}"), found(Gelu::Gelu), by_erf)?;
        // x times a sigmoid: of a negative argument u it is exp(u), whose relative error grows with |u|, but not its own.
        let by_tanh = Expected::within(8.0 * EPSILON, each(exact::gelu_new), each(f64::abs));
        cases.judge_tensor(format!("approximated, {count}"), found(Gelu::GeluNew), by_tanh)?;
    }
    Ok(())
}

fn sigmoid_and_silu(device: &Device, cases: &mut Cases) -> Result<()> {
    for count in [1, 1031] {
        let x = numbers(17, count, -20.0..20.0);
        let expected = |f: fn(f64) -> f64| {
            let exact: Vec<f64> = exactly(&x).into_iter().map(f).collect();
            let steps = |x: &f32| 3.0 + 2.0 * f64::from(x.abs()) + 6.0;
            let scale = x.iter().zip(&exact).map(|(x, y)| y.abs() * steps(x)).collect();
            Expected::within(EPSILON, exact, scale)
        };
        let on_device = || tensor(&x, [count], device);
        cases.judge_tensor(format!("sigmoid of {count}"), sigmoid(on_device()), expected(exact::sigmoid))?;
        cases.judge_tensor(format!("SiLU of {count}"), silu(on_device()), expected(|x| x * exact::sigmoid(x)))?;
    }
    Ok(())
}

fn error_function(device: &Device, cases: &mut Cases) -> Result<()> {
    for count in [1, 1031] {
        let x = numbers(18, count, -5.0..5.0);
        let exact: Vec<f64> = exactly(&x).into_iter().map(erf).collect();
        let expected = Expected::within(8.0 * EPSILON, exact, vec![1.0; count]);
        cases.judge_tensor(format!("{count}"), tensor(&x, [count], device).erf(), expected)?;
    }
    Ok(())
}

fn rotary(device: &Device, cases: &mut Cases) -> Result<()> {
    for [heads, time, channels, rotated] in [[1, 1, 2, 2], [3, 37, 16, 16], [2, 1031, 12, 6]] {
        let x = numbers(19, heads * time * channels, -2.0..2.0);
        let heads_of_tokens = rows(&x, channels);
        let turned: Rows =
            heads_of_tokens.iter().enumerate().map(|(i, x)| exact::rotate(x, i % time, rotated)).collect();
        let scale = heads_of_tokens.iter().flat_map(|x| {
            let half = rotated / 2;
            let length = |i: usize| match i < rotated {
                true => x[i % half].hypot(x[i % half + half]),
                false => x[i].abs(),
            };
            (0..channels).map(length).collect::<Vec<_>>()
        });
        let expected = Expected::within(4.0 * EPSILON, turned.concat(), scale.collect());
        let rotary = Rotary::new(RopeScaling::Default.frequencies(10_000.0, rotated));
        let found = rotary.forward(tensor(&x, [1, heads, time, channels], device));
        cases.judge_tensor(format!("{heads}×{time}×{channels}, {rotated} turned"), found, expected)?;
    }
    Ok(())
}

fn attention(device: &Device, cases: &mut Cases) -> Result<()> {
    let with = |scale, soft_cap, window| Attention { scale, soft_cap, window };
    for ([heads, kv_heads, time, channels], settings) in [
        ([1, 1, 1, 1], with(None, None, None)),
        ([4, 2, 37, 16], with(None, None, None)),
        ([4, 1, 131, 12], with(None, None, None)),
        ([6, 3, 67, 8], with(None, None, Some(11))),
        ([4, 2, 37, 16], with(Some(0.2), Some(2.0), Some(11))),
    ] {
        let values = |seed, heads: usize| numbers(seed, time * heads * channels, -2.0..2.0);
        let (q, k, v) = (values(20, heads), values(21, kv_heads), values(22, kv_heads));
        let by_time = |x: &[f32], heads: usize| rows(x, heads * channels);
        let (exact, of_magnitudes) = exact::attention(
            &by_time(&q, heads),
            &by_time(&k, kv_heads),
            &by_time(&v, kv_heads),
            heads,
            kv_heads,
            settings,
        );
        let on_device = |x: &[f32], heads| tensor(x, [1, time, heads, channels], device).swap_dims(1, 2);
        let mask = CausalAttention::with(settings, time, device);
        let found = causal_attention(
            on_device(&q, heads),
            on_device(&k, kv_heads),
            on_device(&v, kv_heads),
            &mask,
            Precision::F32,
        );
        let largest_score = 4.0 * (channels as f64).sqrt();
        let allowed = 4.0 * EPSILON * ((time as f64).sqrt() + 1.0 + 2.0 * largest_score);
        let Attention { scale, soft_cap, window } = settings;
        let mut at = format!("{heads} heads over {kv_heads}, {time} tokens of {channels}");
        let told = [("window", window.map(|n| n as f64)), ("scale", scale), ("cap", soft_cap)];
        for (what, value) in told.into_iter().filter_map(|(what, value)| Some((what, value?))) {
            at.push_str(&format!(", {what} {value}"));
        }
        cases.judge_tensor(at, found, Expected::within(allowed, exact.concat(), of_magnitudes.concat()))?;
    }
    Ok(())
}

/// Ids of a table, some more than once.
fn some_ids(count: usize, rows: usize) -> Vec<usize> {
    (0..count).map(|i| ((f64::from(number(23, i)) + 1.0) / 2.0 * rows as f64) as usize).collect()
}

fn token_table(device: &Device, cases: &mut Cases) -> Result<()> {
    for [table, width, count] in [[1, 1, 1], [307, 13, 37], [1031, 257, 300]] {
        let weight = |_: &str, i| number(24, i);
        let embedding = Embedding::load(&mut Given(weight), "table", [table, width], device)?;
        let which = some_ids(count, table);
        let exact = which.iter().flat_map(|id| (0..width).map(move |c| f64::from(number(24, id * width + c))));
        let found = embedding.forward(ids(&which, [1, count], device));
        cases.judge_tensor(format!("{count} of {table}×{width}"), found, Expected::same(exact.collect()))?;
    }
    Ok(())
}

fn token_table_gradient(device: &Device, cases: &mut Cases) -> Result<()> {
    for [table, width, count] in [[1, 1, 1], [17, 13, 300], [1031, 65, 300]] {
        let which = some_ids(count, table);
        let upstream = numbers(25, count * width, -1.0..1.0);
        let (mut exact, mut squares) = (vec![0.0; table * width], vec![0.0; table * width]);
        for (row, id) in rows(&upstream, width).iter().zip(&which) {
            for (c, x) in row.iter().enumerate() {
                exact[id * width + c] += x;
                squares[id * width + c] += x * x;
            }
        }
        let zeros = Tensor::zeros([table, width], device);
        let found =
            zeros.select_assign(0, ids(&which, [count], device), tensor(&upstream, [count, width], device), ADD);
        let expected = Expected::within(sum_of(count), exact, squares.into_iter().map(f64::sqrt).collect());
        cases.judge_tensor(format!("{count} into {table}×{width}"), found, expected)?;
    }
    Ok(())
}

const ADD: IndexingUpdateOp = IndexingUpdateOp::Add;

fn gather_and_scatter(device: &Device, cases: &mut Cases) -> Result<()> {
    for [m, n] in [[1, 1], [37, 257], [300, 1031]] {
        let x = numbers(26, m * n, -1.0..1.0);
        let which = some_ids(m, n);
        let on_device = || tensor(&x, [m, n], device);
        let columns = || ids(&which, [m, 1], device);
        let picked = which.iter().enumerate().map(|(row, column)| f64::from(x[row * n + column])).collect();
        cases.judge_tensor(format!("gather of {m}×{n}"), on_device().gather(1, columns()), Expected::same(picked))?;

        let added = numbers(27, m, -1.0..1.0);
        let mut exact = exactly(&x);
        which.iter().enumerate().for_each(|(row, column)| exact[row * n + column] += f64::from(added[row]));
        let found = on_device().scatter(1, columns(), tensor(&added, [m, 1], device), ADD);
        cases.judge_tensor(format!("scatter into {m}×{n}"), found, Expected::relative(EPSILON, exact))?;
    }
    Ok(())
}

fn shapes(device: &Device, cases: &mut Cases) -> Result<()> {
    for [a, b, c] in [[1, 1, 1], [3, 37, 13], [5, 7, 257]] {
        let x = numbers(28, a * b * c, -1.0..1.0);
        let at = |what: &str| format!("{what} of {a}×{b}×{c}");
        let on_device = || tensor(&x, [a, b, c], device);
        let value = |i: usize, j: usize, k: usize| f64::from(x[(i * b + j) * c + k]);
        let swapped = (0..b).flat_map(|j| (0..a).flat_map(move |i| (0..c).map(move |k| (i, j, k))));
        let expected = Expected::same(swapped.map(|(i, j, k)| value(i, j, k)).collect());
        cases.judge_tensor(at("swapped dimensions"), on_device().swap_dims(0, 1), expected)?;

        let (half, rest) = (b / 2, b - b / 2);
        let turned = (0..a).flat_map(|i| (half..b).chain(0..half).flat_map(move |j| (0..c).map(move |k| (i, j, k))));
        let expected = Expected::same(turned.map(|(i, j, k)| value(i, j, k)).collect());
        let mut parts = vec![on_device().narrow(1, half, rest)];
        if half > 0 {
            parts.push(on_device().narrow(1, 0, half));
        }
        cases.judge_tensor(at("two parts joined"), Tensor::cat(parts, 1), expected)?;

        let repeated = [exactly(&x), exactly(&x)].concat();
        let found = on_device().reshape([1, a, b * c]).expand([2, a, b * c]).reshape([2 * a, b, c]);
        cases.judge_tensor(at("repetition"), found, Expected::same(repeated))?;
    }
    Ok(())
}

fn masks(device: &Device, cases: &mut Cases) -> Result<()> {
    for n in [1, 37, 257] {
        let x = numbers(29, n * n, -1.0..1.0);
        let masked = |hidden: fn(i64, i64) -> bool| -> Expected {
            let value =
                |(i, x): (usize, &f32)| if hidden((i / n) as i64, (i % n) as i64) { 7.0 } else { f64::from(*x) };
            Expected::same(x.iter().enumerate().map(value).collect())
        };
        let fill = |mask: Tensor<2, Bool>| tensor(&x, [n, n], device).mask_fill(mask, 7.0);
        let later = Tensor::<2, Bool>::tril_mask([n, n], 0, device);
        let earlier = Tensor::<2, Bool>::triu_mask([n, n], -3, device);
        cases.judge_tensor(format!("{n}×{n}"), fill(later.clone()), masked(|t, s| s > t))?;
        let both = fill(later.bool_or(earlier));
        cases.judge_tensor(format!("{n}×{n}, window"), both, masked(|t, s| s > t || s < t - 3))?;

        let which = some_ids(n, 100);
        let (nearest, inside) = within(ids(&which, [n], device), 10, 50);
        let clamped = which.iter().map(|&id| (id as f64 - 10.0).clamp(0.0, 49.0)).collect();
        cases.judge_tensor(format!("{n} clamped"), nearest.float(), Expected::same(clamped))?;
        let there = which.iter().map(|id| f64::from(u8::from((10..60).contains(id)))).collect();
        cases.judge_tensor(format!("{n} compared"), inside, Expected::same(there))?;
    }
    Ok(())
}

fn edges(device: &Device, cases: &mut Cases) -> Result<()> {
    let x = [1e30f32, 0.0, -1e30, -1e30, -1e30, 5.0, 88.0, -88.0, 0.0, 1e4, 9999.0, -1e4, -1e30, -1e30, -1e30];
    let found = softmax(tensor(&x, [5, 3], device), 1);
    cases.judge_tensor("softmax of large numbers", found, softmax_of(&rows(&x, 3)))?;

    // exp(±200) is 0 or beyond f32. Functions that use it must still give their limits.
    let x = [-1e30f32, -1e4, -200.0, 200.0, 1e4, 1e30];
    let on_device = || tensor(&x, [6], device);
    let limits =
        |of: fn(f64) -> f64| Expected::within(EPSILON, exactly(&x).into_iter().map(of).collect(), vec![1.0; 6]);
    cases.judge_tensor("exp", on_device().exp(), limits(f64::exp))?;
    cases.judge_tensor("sigmoid", sigmoid(on_device()), limits(exact::sigmoid))?;
    cases.judge_tensor("erf", on_device().erf(), limits(f64::signum))?;
    let x = [-1e4f32, -200.0, 200.0, 1e4];
    let on_device = || tensor(&x, [1, 1, 4], device);
    let (exact, scale) = exactly(&x).into_iter().map(|x| (x.max(0.0), x.abs())).unzip();
    let rectified = Expected::within(2.0 * EPSILON, exact, scale);
    cases.judge_tensor("SiLU", silu(on_device()), rectified.clone())?;
    cases.judge_tensor("GELU by erf", Gelu::Gelu.forward(on_device()), rectified.clone())?;
    cases.judge_tensor("GELU approximated", Gelu::GeluNew.forward(on_device()), rectified)?;

    // Logits 150, 0, −150: the last token's probability is 0 in f32, its loss is not infinite.
    let weight = |_: &str, i: usize| [150.0, 0.0, -150.0][i];
    let head = Head::from(Embedding::load(&mut Given(weight), "head", [3, 1], device)?.table());
    let loss = ChunkSoftmax::new(tensor(&[1.0; 3], [3, 1], device), &head).nll(&head, ids(&[0, 1, 2], [3, 1], device));
    let exact = (0..3).map(|target| exact::nll(&[150.0, 0.0, -150.0], target)).collect();
    cases.judge_tensor("loss of impossible tokens", loss, Expected::within(4.0 * EPSILON, exact, vec![150.0; 3]))?;

    // The same held within ±30.
    let loss = head.capped(30.0).nll(tensor(&[1.0; 3], [3, 1], device), &[0, 1, 2]);
    let logits = [150.0, 0.0, -150.0].map(|logit: f64| 30.0 * (logit / 30.0).tanh());
    let exact = (0..3).map(|target| exact::nll(&logits, target)).collect();
    cases.judge_tensor("loss under a cap", loss, Expected::within(8.0 * EPSILON, exact, vec![30.0; 3]))
}

/// Rows of more numbers than a piece of a token table has.
fn long_rows(device: &Device, cases: &mut Cases) -> Result<()> {
    let n = 70_001;
    let x = numbers(31, n, -8.0..8.0);
    let on_device = || tensor(&x, [1, n], device);
    let row = exactly(&x);
    let sum = Expected::within(sum_of(n), vec![row.iter().sum()], vec![dot(&row, &row).sqrt()]);
    cases.judge_tensor(format!("sum of {n}"), on_device().sum_dim(1), sum)?;
    cases.judge_tensor(format!("softmax of {n}"), softmax(on_device(), 1), softmax_of(&vec![row]))
}

/// A token table of more than the largest piece: rows looked up on both sides of the cut, and all of it as output head.
fn large_table(device: &Device, cases: &mut Cases) -> Result<()> {
    const WIDTH: usize = 1024;
    const WHOLE: usize = LARGEST_PIECE / (WIDTH * size_of::<f32>());
    const ROWS: usize = WHOLE + 7;
    // A cheap formula, because there are 33 million values: multiples of 1/1021, with a different row for every id.
    let weight = |_: &str, i: usize| ((i % WIDTH * 31 + i / WIDTH * 17) % 1021) as f32 / 1021.0 - 0.5;
    let row = |id: usize| -> Vec<f64> { (0..WIDTH).map(|c| f64::from(weight("", id * WIDTH + c))).collect() };
    let table = Embedding::load(&mut Given(weight), "table", [ROWS, WIDTH], device)?;
    let which = [0, 1, WHOLE / 2, WHOLE - 1, WHOLE, ROWS - 1];
    let found = table.forward(ids(&which, [1, which.len()], device));
    cases.judge_tensor("rows", found, Expected::same(which.iter().flat_map(|&id| row(id)).collect()))?;

    let hidden = numbers(30, WIDTH, -1.0..1.0);
    let on_device = tensor(&hidden, [1, WIDTH], device);
    let logits = Head::from(table.table()).logits(&on_device);
    let expected = product(&rows(&hidden, WIDTH), &(0..ROWS).map(row).collect(), sum_of(WIDTH));
    cases.judge_tensor("logits", logits, expected)
}
