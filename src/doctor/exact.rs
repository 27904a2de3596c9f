//! Reference values in f64, computed on the host by plain loops over rows, independent of the models and their backend.

use std::collections::BTreeMap;
use std::f64::consts::{PI, SQRT_2};

use serde_json::{Map, Value};
use statrs::function::erf::erf;

use crate::error::Result;
use crate::kernels::attention::Attention;
use crate::model::family::Names;
use crate::model::{LanguageModel, ModelConfig};

/// Numbers in rows, `[T][C]`.
pub type Rows = Vec<Vec<f64>>;

/// The epsilon of norms in every model that is checked.
pub const NORM_EPSILON: f64 = 1e-5;

/// The `index`-th of uniform numbers in [−1, 1), in f32. Each `seed` has its own.
pub fn number(seed: u64, index: usize) -> f32 {
    // SplitMix64 (Steele et al. 2014), whose state is a counter, so any number can be computed without the ones before
    // it.
    let mut z =
        (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed.wrapping_mul(0xd134_2543_de82_ef95));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0 // 24 bits, exact
}

/// The dot product of two rows.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Softmax of a row.
pub fn softmax(x: &[f64]) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = x.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.into_iter().map(|e| e / sum).collect()
}

/// −ln of the softmax of a row at `target`.
pub fn nll(logits: &[f64], target: usize) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + logits.iter().map(|x| (x - largest).exp()).sum::<f64>().ln() - logits[target]
}

/// Mean and variance of a row, as layer norms take them.
pub fn moments(x: &[f64]) -> (f64, f64) {
    let count = x.len() as f64;
    let mean = x.iter().sum::<f64>() / count;
    (mean, x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count)
}

/// Mean square of a row.
pub fn mean_square(x: &[f64]) -> f64 {
    dot(x, x) / x.len() as f64
}

/// The logistic function.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// GELU by the error function.
pub fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / SQRT_2))
}

/// GELU approximated by tanh.
pub fn gelu_new(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

/// A head's channels `x` at `position`: the first `rotated` of them turned, halves paired.
pub fn rotate(x: &[f64], position: usize, rotated: usize) -> Vec<f64> {
    let half = rotated / 2;
    let mut turned = x.to_vec();
    for i in 0..half {
        let (sin, cos) = (position as f64 * 10_000f64.powf(-2.0 * i as f64 / rotated as f64)).sin_cos();
        turned[i] = x[i] * cos - x[i + half] * sin;
        turned[i + half] = x[i + half] * cos + x[i] * sin;
    }
    turned
}

/// Causal attention of `heads` query heads over `kv_heads` heads of keys and values, with the scale, soft cap and window of
/// `settings`. `q` is `[T][H·D]`, `k` and `v` are `[T][K·D]`. Returns the result `[T][H·D]` and the same sum over the
/// absolute values of v.
pub fn attention(q: &Rows, k: &Rows, v: &Rows, heads: usize, kv_heads: usize, settings: Attention) -> (Rows, Rows) {
    let channels = q[0].len() / heads;
    let Attention { scale, soft_cap, window } = settings;
    let (scale, window) = (scale.unwrap_or((channels as f64).powf(-0.5)), window.unwrap_or(usize::MAX));
    let head = |row: &[f64], h: usize| row[h * channels..(h + 1) * channels].to_vec();
    let of_query = |t: usize| -> (Vec<f64>, Vec<f64>) {
        let seen = (t + 1).saturating_sub(window)..t + 1;
        let of_head = |h: usize| {
            let kv = h * kv_heads / heads;
            let query = head(&q[t], h);
            let score = |s: usize| {
                let score = dot(&query, &head(&k[s], kv)) * scale;
                soft_cap.map_or(score, |cap| cap * (score / cap).tanh())
            };
            let weights = softmax(&seen.clone().map(score).collect::<Vec<_>>());
            let sum = |c: usize, of: fn(f64) -> f64| -> f64 {
                weights.iter().zip(seen.clone()).map(|(w, s)| w * of(v[s][kv * channels + c])).sum()
            };
            (0..channels).map(move |c| (sum(c, |v| v), sum(c, f64::abs))).collect::<Vec<_>>()
        };
        (0..heads).flat_map(of_head).unzip()
    };
    (0..q.len()).map(of_query).unzip()
}

/// A small model of any family, its weights in f64.
#[derive(Debug, Clone)]
pub struct ExactModel {
    config: Map<String, Value>,
    weights: BTreeMap<String, Weight>,
    names: Names,
}

#[derive(Debug, Clone)]
struct Weight {
    columns: usize,
    values: Vec<f64>,
}

impl ExactModel {
    /// A copy of `model`'s weights. Its norms must add [`NORM_EPSILON`], and its rotations have the base 10 000.
    ///
    /// # Errors
    /// The device's failure.
    pub fn of(model: &LanguageModel, config: &ModelConfig) -> Result<Self> {
        let weights = model.published().into_iter().map(|weight| {
            let values = weight.values()?.into_iter().map(f64::from).collect();
            let columns = weight.shape.last().copied().unwrap_or(1);
            Ok((weight.name, Weight { columns, values }))
        });
        Ok(Self { config: config.json.clone(), weights: weights.collect::<Result<_>>()?, names: config.about().names })
    }

    /// The model moved along `direction` by `distance`.
    pub fn moved(&self, direction: &BTreeMap<String, Vec<f32>>, distance: f64) -> Self {
        let mut moved = self.clone();
        for (name, direction) in direction {
            if let Some(weight) = moved.weights.get_mut(name) {
                weight.values.iter_mut().zip(direction).for_each(|(w, &d)| *w += distance * f64::from(d));
            }
        }
        moved
    }

    /// The values of a weight.
    pub fn values(&self, name: &str) -> &[f64] {
        &self.weights[name].values
    }

    /// −ln p of each token's successor in a window of `targets.len()` tokens, nats.
    pub fn nll(&self, inputs: &[u32], targets: &[u32]) -> Vec<f64> {
        let hidden = self.hidden(inputs);
        let Names { table, head, .. } = self.names;
        let head = self.weights.get(head).unwrap_or(&self.weights[table]);
        let logits = |h: &Vec<f64>| -> Vec<f64> { head.values.chunks(head.columns).map(|row| dot(row, h)).collect() };
        hidden.iter().zip(targets).map(|(h, &target)| nll(&logits(h), target as usize)).collect()
    }

    /// The mean of the same over windows that are equally long.
    pub fn loss(&self, inputs: &[Vec<u32>], targets: &[u32]) -> f64 {
        let time = inputs[0].len();
        let nll: Vec<f64> = inputs.iter().zip(targets.chunks(time)).flat_map(|(i, t)| self.nll(i, t)).collect();
        nll.iter().sum::<f64>() / nll.len() as f64
    }

    /// Hidden states after the last norm. There are three kinds of models here, told apart by what they call their body.
    fn hidden(&self, ids: &[u32]) -> Rows {
        match self.names.body {
            "transformer." => self.gpt2(ids),
            "gpt_neox." => self.gpt_neox(ids),
            _ => self.llama(ids),
        }
    }

    fn gpt2(&self, ids: &[u32]) -> Rows {
        let heads = self.size("n_head");
        let positions: Vec<u32> = (0..ids.len() as u32).collect();
        let mut x = add(&self.rows("transformer.wte.weight", ids), &self.rows("transformer.wpe.weight", &positions));
        for i in 0..self.size("n_layer") {
            let path = format!("transformer.h.{i}");
            let qkv = self.linear(&self.norm(&x, &format!("{path}.ln_1")), &format!("{path}.attn.c_attn"));
            let part = |i: usize| columns(&qkv, |row| row.chunks(row.len() / 3).nth(i).unwrap_or_default().to_vec());
            let (attended, _) = attention(&part(0), &part(1), &part(2), heads, heads, Attention::default());
            x = add(&x, &self.linear(&attended, &format!("{path}.attn.c_proj")));
            let inner = self.linear(&self.norm(&x, &format!("{path}.ln_2")), &format!("{path}.mlp.c_fc"));
            x = add(&x, &self.linear(&each(&inner, gelu_new), &format!("{path}.mlp.c_proj")));
        }
        self.norm(&x, "transformer.ln_f")
    }

    fn gpt_neox(&self, ids: &[u32]) -> Rows {
        let heads = self.size("num_attention_heads");
        let channels = self.size("hidden_size") / heads;
        let rotated = (self.config["rotary_pct"].as_f64().unwrap_or(0.25) * channels as f64) as usize;
        let mut x = self.rows("gpt_neox.embed_in.weight", ids);
        for i in 0..self.size("num_hidden_layers") {
            let path = format!("gpt_neox.layers.{i}");
            let normed = self.norm(&x, &format!("{path}.input_layernorm"));
            let qkv = self.linear(&normed, &format!("{path}.attention.query_key_value"));
            // Head by head: its query, its key, its value.
            let part =
                |i: usize| columns(&qkv, |row| row.chunks(channels).skip(i).step_by(3).flatten().copied().collect());
            let [q, k] = [part(0), part(1)].map(|x| self.rotated(&x, channels, rotated));
            let (attended, _) = attention(&q, &k, &part(2), heads, heads, Attention::default());
            let attended = self.linear(&attended, &format!("{path}.attention.dense"));
            let normed = self.norm(&x, &format!("{path}.post_attention_layernorm"));
            let inner = self.linear(&normed, &format!("{path}.mlp.dense_h_to_4h"));
            let mlp = self.linear(&each(&inner, gelu), &format!("{path}.mlp.dense_4h_to_h"));
            x = add(&add(&x, &attended), &mlp);
        }
        self.norm(&x, "gpt_neox.final_layer_norm")
    }

    /// LLaMA and its cousins: with norms of queries and keys and with norms after each part where there are weights for them,
    /// with a window where the configuration has one, without rotations where it says so.
    fn llama(&self, ids: &[u32]) -> Rows {
        let (heads, kv_heads) = (self.size("num_attention_heads"), self.size("num_key_value_heads"));
        let channels = self.size("head_dim");
        let window = self.config.get("sliding_window").and_then(Value::as_u64).map(|n| n as usize);
        let settings = Attention { window, ..Attention::default() };
        let norms_after = self.weights.contains_key("model.layers.0.post_feedforward_layernorm.weight");
        let rotates = |layer: usize| self.config.get("no_rope_layers").is_none_or(|layers| layers[layer] == 1);
        let before = |x: &Rows, path: &str| if norms_after { x.clone() } else { self.norm(x, path) };
        let after = |x: Rows, path: &str| if norms_after { self.norm(&x, path) } else { x };
        let mut x = self.rows("model.embed_tokens.weight", ids);
        for i in 0..self.size("num_hidden_layers") {
            let path = format!("model.layers.{i}");
            let read = before(&x, &format!("{path}.input_layernorm"));
            let projected = |name: &str| self.linear(&read, &format!("{path}.self_attn.{name}_proj"));
            let turned = |name: &str| {
                let norm = format!("{path}.self_attn.{name}_norm");
                let x = projected(name);
                let x = if self.weights.contains_key(&format!("{norm}.weight")) { self.norm(&x, &norm) } else { x };
                if rotates(i) { self.rotated(&x, channels, channels) } else { x }
            };
            let (attended, _) = attention(&turned("q"), &turned("k"), &projected("v"), heads, kv_heads, settings);
            let attended = self.linear(&attended, &format!("{path}.self_attn.o_proj"));
            x = add(&x, &after(attended, &format!("{path}.post_attention_layernorm")));
            let read = before(&x, &format!("{path}.post_attention_layernorm"));
            let [gate, up] = ["gate", "up"].map(|name| self.linear(&read, &format!("{path}.mlp.{name}_proj")));
            let inner: Rows = gate
                .iter()
                .zip(&up)
                .map(|(gate, up)| gate.iter().zip(up).map(|(g, u)| g * sigmoid(*g) * u).collect())
                .collect();
            let mlp = self.linear(&inner, &format!("{path}.mlp.down_proj"));
            x = add(&x, &after(mlp, &format!("{path}.post_feedforward_layernorm")));
        }
        self.norm(&x, "model.norm")
    }

    fn size(&self, key: &str) -> usize {
        self.config[key].as_u64().unwrap_or_default() as usize
    }

    fn rows(&self, name: &str, ids: &[u32]) -> Rows {
        let Weight { columns, values } = &self.weights[name];
        ids.iter().map(|&id| values[id as usize * columns..][..*columns].to_vec()).collect()
    }

    fn linear(&self, x: &Rows, path: &str) -> Rows {
        let Weight { columns: width, values } = &self.weights[&format!("{path}.weight")];
        // GPT-2 stores `[in, out]`, all others `[out, in]`.
        let weight: Rows = match path.starts_with("transformer.") {
            true => (0..*width).map(|c| values.iter().skip(c).step_by(*width).copied().collect()).collect(),
            false => values.chunks(*width).map(<[f64]>::to_vec).collect(),
        };
        let bias = self.weights.get(&format!("{path}.bias")).map(|bias| &bias.values);
        let bias = |c: usize| bias.map_or(0.0, |bias| bias[c]);
        columns(x, |x| weight.iter().enumerate().map(|(c, weight)| dot(x, weight) + bias(c)).collect())
    }

    /// The norm at `path`: a layer norm if it has a bias or no weight at all; otherwise an RMS norm over groups as long
    /// as its weight.
    fn norm(&self, x: &Rows, path: &str) -> Rows {
        let values = |name: &str| self.weights.get(&format!("{path}.{name}")).map(|w| w.values.as_slice());
        match (values("weight"), values("bias")) {
            (Some(weight), None) => columns(x, |row| {
                let normed = |run: &[f64]| {
                    let root = (mean_square(run) + NORM_EPSILON).sqrt();
                    run.iter().zip(weight).map(|(x, w)| x / root * w).collect::<Vec<_>>()
                };
                row.chunks(weight.len()).flat_map(normed).collect()
            }),
            (weight, bias) => columns(x, |row| {
                let (mean, variance) = moments(row);
                let normed = row.iter().map(|x| (x - mean) / (variance + NORM_EPSILON).sqrt());
                let at = |values: Option<&[f64]>, i: usize, default| values.map_or(default, |values| values[i]);
                normed.enumerate().map(|(i, x)| x * at(weight, i, 1.0) + at(bias, i, 0.0)).collect()
            }),
        }
    }

    fn rotated(&self, x: &Rows, channels: usize, rotated: usize) -> Rows {
        let turn =
            |(t, row): (usize, &Vec<f64>)| row.chunks(channels).flat_map(|head| rotate(head, t, rotated)).collect();
        x.iter().enumerate().map(turn).collect()
    }
}

fn columns(x: &Rows, of_row: impl Fn(&[f64]) -> Vec<f64>) -> Rows {
    x.iter().map(|row| of_row(row)).collect()
}

fn each(x: &Rows, function: fn(f64) -> f64) -> Rows {
    columns(x, |row| row.iter().map(|&x| function(x)).collect())
}

fn add(a: &Rows, b: &Rows) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
}
