//! Layer norm and RMS norm over the last dimension: one pass over a row forward and one back.

use burn::tensor::{Tensor, module};
use minijinja::context;
use rayon::prelude::*;

use super::host::{self, Numbers, Read, STRETCH};
use super::node::{self, Function};
use super::place::{Place, place};
use super::vectors::{SUM_LANES, added, sum};
use super::wgsl::{self, Ability, Buffer, Kernel};

/// Layer normalisation of `x`, `[B, T, C]`, as `torch.nn.functional.layer_norm`: with weight and bias, `[C]` each, or
/// without both.
pub fn layer_norm(x: Tensor<3>, affine: Option<[Tensor<1>; 2]>, epsilon: f64) -> Tensor<3> {
    let norm = Norm { centred: true, epsilon };
    let affine = affine.map(|parts| parts.map(Tensor::unsqueeze::<3>));
    match (place(&x), affine) {
        (Place::Elsewhere, affine) => {
            plain_layer_norm(x, affine.map(|parts| parts.map(|part| part.flatten(0, 2))), epsilon)
        }
        (_, Some([weight, bias])) => node::apply(norm, [x, weight, bias]),
        (_, None) => node::apply(norm, [x]),
    }
}

/// [`layer_norm`] by the framework's operations, on any device.
pub fn plain_layer_norm(x: Tensor<3>, affine: Option<[Tensor<1>; 2]>, epsilon: f64) -> Tensor<3> {
    let [_, _, channels] = x.dims();
    match affine {
        Some([weight, bias]) => module::layer_norm(x, weight, Some(bias), epsilon),
        None => {
            let ones = Tensor::ones([channels], &x.device());
            module::layer_norm(x, ones, None, epsilon)
        }
    }
}

/// Root-mean-square normalisation (arXiv 1910.07467) of `x`, `[B, T, C]`, times a weight, `[C]`.
pub fn rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    match place(&x) {
        Place::Elsewhere => plain_rms_norm(x, weight, epsilon),
        _ => node::apply(Norm { centred: false, epsilon }, [x, weight.unsqueeze()]),
    }
}

/// [`rms_norm`] by the framework's operations, on any device.
pub fn plain_rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    let mean_square = (x.clone() * x.clone()).mean_dim(2); // [B, T, 1]
    x * (mean_square + epsilon).sqrt().recip() * weight.unsqueeze()
}

/// x̂ = (x − mean) / deviation, times a weight and plus a bias where these are the second and third input.
#[derive(Debug, Clone, Copy)]
struct Norm {
    /// Whether the mean is subtracted; an RMS norm uses a mean of 0.
    centred: bool,
    /// Added to the variance.
    epsilon: f64,
}

/// What the gradient needs.
#[derive(Debug, Clone)]
struct Saved {
    x: Tensor<3>,
    weight: Option<Tensor<3>>,
    /// Of each row the mean and 1/deviation, `[1, rows, 2]`.
    moments: Tensor<3>,
}

impl<const N: usize> Function<N> for Norm {
    type Saved = Saved;

    fn forward(&self, inputs: [Tensor<3>; N]) -> (Tensor<3>, Saved) {
        let mut inputs = inputs.into_iter();
        let (Some(x), weight, bias) = (inputs.next(), inputs.next(), inputs.next()) else {
            unreachable!("a norm has an input")
        };
        let (y, moments) = match place(&x) {
            Place::Wgpu(ability) => self.forward_on_wgpu(ability, x.clone(), weight.clone(), bias),
            _ => self.forward_on_host(x.clone(), weight.clone(), bias),
        };
        (y, Saved { x, weight, moments })
    }

    fn backward(&self, saved: Saved, gradient: Tensor<3>, wanted: [bool; N]) -> [Option<Tensor<3>>; N] {
        let wanted = [1, 2].map(|input| wanted.get(input).copied().unwrap_or(false));
        let [x, weight, bias] = match place(&saved.x) {
            Place::Wgpu(ability) => self.backward_on_wgpu(ability, saved, gradient, wanted),
            _ => self.backward_on_host(saved, gradient, wanted),
        };
        let mut found = [x, weight, bias].into_iter();
        [(); N].map(|()| found.next().flatten())
    }
}

/// Parts at most in which the gradients of weight and bias are summed.
const PARTS: usize = 32;

impl Norm {
    fn forward_on_host(
        self,
        x: Tensor<3>,
        weight: Option<Tensor<3>>,
        bias: Option<Tensor<3>>,
    ) -> (Tensor<3>, Tensor<3>) {
        let [batch, time, channels] = x.dims();
        let rows = batch * time;
        let x = Read::of(x);
        let affine = Affine::of(weight, bias, channels);
        let mut y = vec![0.0_f32; rows * channels];
        let mut moments = vec![0.0_f32; rows * 2];
        let together = STRETCH.div_ceil(channels.max(1));
        (y.par_chunks_mut((together * channels).max(1)))
            .zip(moments.par_chunks_mut(together * 2))
            .zip(x.as_slice().par_chunks((together * channels).max(1)))
            .for_each(|((y, moments), x)| forward(x, self, affine.weight(), affine.bias(), y, moments));
        (host::tensor(y, [batch, time, channels]), host::tensor(moments, [1, rows, 2]))
    }

    /// Sums over rows are taken in parts that depend only on the number of rows.
    fn backward_on_host(self, saved: Saved, gradient: Tensor<3>, wanted: [bool; 2]) -> [Option<Tensor<3>>; 3] {
        let [batch, time, channels] = saved.x.dims();
        let rows = batch * time;
        let [x, moments] = [saved.x, saved.moments].map(Read::of);
        let mut gradient = Numbers::of(gradient); // becomes ∂L/∂x
        let affine = Affine::of(saved.weight, None, channels);
        let together = rows.div_ceil(PARTS).max(STRETCH.div_ceil(channels.max(1))).max(1);
        let [of_weight, of_bias] = wanted.map(|wanted| if wanted { channels } else { 0 });
        let mut sums = vec![vec![0.0_f32; of_weight + of_bias]; rows.div_ceil(together)];
        (gradient.as_mut_slice().par_chunks_mut((together * channels).max(1)))
            .zip(sums.par_iter_mut())
            .zip(x.as_slice().par_chunks((together * channels).max(1)))
            .zip(moments.as_slice().par_chunks(together * 2))
            .for_each(|(((gradient, sums), x), moments)| {
                let (of_weight, of_bias) = sums.split_at_mut(of_weight);
                backward(x, moments, self.centred, affine.weight(), gradient, of_weight, of_bias);
            });
        let mut total = vec![0.0_f32; of_weight + of_bias];
        for part in &sums {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        let bias = total.split_off(of_weight);
        let [of_weight, of_bias] =
            [total, bias].map(|sum| (!sum.is_empty()).then(|| host::tensor(sum, [1, 1, channels])));
        [Some(gradient.into_tensor()), of_weight, of_bias]
    }
}

/// Weight and bias as they are read.
struct Affine {
    weight: Result<Read, Vec<f32>>,
    bias: Option<Read>,
}

impl Affine {
    fn of(weight: Option<Tensor<3>>, bias: Option<Tensor<3>>, channels: usize) -> Self {
        let weight = weight.map(Read::of).ok_or_else(|| vec![1.0; channels]);
        Self { weight, bias: bias.map(Read::of) }
    }

    /// Ones if there is no weight.
    fn weight(&self) -> &[f32] {
        match &self.weight {
            Ok(weight) => weight.as_slice(),
            Err(ones) => ones,
        }
    }

    fn bias(&self) -> Option<&[f32]> {
        self.bias.as_ref().map(Read::as_slice)
    }
}

vectorised! {
    /// Rows of as many channels as `weight` has.
    fn forward(x: &[f32], norm: Norm, weight: &[f32], bias: Option<&[f32]>, y: &mut [f32], moments: &mut [f32]) {
        let channels = weight.len();
        let (moments, _) = moments.as_chunks_mut::<2>();
        for ((x, y), moments) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)).zip(moments) {
            let mean = if norm.centred { sum(x, |x| x) / channels as f32 } else { 0.0 };
            let variance = sum(x, |x| (x - mean) * (x - mean)) / channels as f32;
            let inverse = 1.0 / (variance + norm.epsilon as f32).sqrt();
            *moments = [mean, inverse];
            for ((y, &x), &weight) in y.iter_mut().zip(x).zip(weight) {
                *y = (x - mean) * inverse * weight;
            }
            if let Some(bias) = bias {
                y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        }
    }
}

vectorised! {
    /// With g = ∂L/∂y and h = g·weight: ∂L/∂x = (h − mean(h) − x̂·mean(h·x̂)) / deviation, without mean(h) if no mean
    /// is subtracted from x; it overwrites g. Σ g·x̂ is added to `of_weight`, Σ g to `of_bias`; an empty one is not
    /// needed.
    fn backward(
        x: &[f32],
        moments: &[f32],
        centred: bool,
        weight: &[f32],
        gradient: &mut [f32],
        of_weight: &mut [f32],
        of_bias: &mut [f32],
    ) {
        let channels = weight.len();
        let (moments, _) = moments.as_chunks::<2>();
        let rows = x.chunks_exact(channels).zip(gradient.chunks_exact_mut(channels)).zip(moments);
        for ((x, gradient), &[mean, inverse]) in rows {
            for ((sum, &x), &g) in of_weight.iter_mut().zip(x).zip(&*gradient) {
                *sum += g * ((x - mean) * inverse);
            }
            for (sum, &g) in of_bias.iter_mut().zip(&*gradient) {
                *sum += g;
            }
            let (all, along) = projections(x, gradient, weight, mean, inverse);
            let all = if centred { all / channels as f32 } else { 0.0 };
            let along = along / channels as f32;
            for ((g, &x), &weight) in gradient.iter_mut().zip(x).zip(weight) {
                *g = inverse * (*g * weight - all - (x - mean) * inverse * along);
            }
        }
    }
}

/// Σ g·weight and Σ g·weight·x̂ of a row.
#[inline(always)]
fn projections(x: &[f32], gradient: &[f32], weight: &[f32], mean: f32, inverse: f32) -> (f32, f32) {
    let (x, x_rest) = x.as_chunks::<SUM_LANES>();
    let (g, g_rest) = gradient.as_chunks::<SUM_LANES>();
    let (w, w_rest) = weight.as_chunks::<SUM_LANES>();
    let [mut all, mut along] = [[0.0_f32; SUM_LANES]; 2];
    for ((x, g), w) in x.iter().zip(g).zip(w) {
        for lane in 0..SUM_LANES {
            let h = g[lane] * w[lane];
            all[lane] += h;
            along[lane] += h * ((x[lane] - mean) * inverse);
        }
    }
    for (lane, ((x, g), w)) in x_rest.iter().zip(g_rest).zip(w_rest).enumerate() {
        all[lane] += g * w;
        along[lane] += g * w * ((x - mean) * inverse);
    }
    (added(all), added(along))
}

/// Rows whose share of the gradients of weight and bias one invocation sums up.
const ROWS_AT_ONCE: usize = 32;

/// The same passes of `shaders/norm.wgsl`: a workgroup for each row.
impl Norm {
    fn forward_on_wgpu(
        self,
        ability: Ability,
        x: Tensor<3>,
        weight: Option<Tensor<3>>,
        bias: Option<Tensor<3>>,
    ) -> (Tensor<3>, Tensor<3>) {
        let shape @ [batch, time, _] = x.dims();
        let rows = batch * time;
        let (x, weight, bias) = (Buffer::of(x), weight.map(Buffer::of), bias.map(Buffer::of));
        let (y, moments) = (x.beside(shape), x.beside([1, rows, 2]));
        let buffers: Vec<&Buffer> =
            [Some(&x), weight.as_ref(), bias.as_ref(), Some(&y), Some(&moments)].into_iter().flatten().collect();
        self.launch(ability, "forward", [weight.is_some(), bias.is_some()], shape, &buffers);
        (y.into_tensor(), moments.into_tensor())
    }

    fn backward_on_wgpu(
        self,
        ability: Ability,
        saved: Saved,
        gradient: Tensor<3>,
        wanted: [bool; 2],
    ) -> [Option<Tensor<3>>; 3] {
        let shape @ [batch, time, channels] = saved.x.dims();
        let [x, gradient, moments] = [saved.x, gradient, saved.moments].map(Buffer::of);
        let weight = saved.weight.map(Buffer::of);
        let dx = x.beside(shape);
        let buffers: Vec<&Buffer> =
            [Some(&x), Some(&gradient), Some(&moments), weight.as_ref(), Some(&dx)].into_iter().flatten().collect();
        self.launch(ability, "input", [weight.is_some(), false], shape, &buffers);
        let parts = (batch * time).div_ceil(ROWS_AT_ONCE);
        let [of_weight, of_bias] = wanted.map(|wanted| wanted.then(|| x.beside([1, parts, channels])));
        if of_weight.is_some() || of_bias.is_some() {
            // The gradient of the bias alone needs only ∂L/∂y.
            let read = if of_weight.is_some() {
                [Some(&gradient), Some(&x), Some(&moments)]
            } else {
                [Some(&gradient), None, None]
            };
            let buffers: Vec<&Buffer> =
                read.into_iter().chain([of_weight.as_ref(), of_bias.as_ref()]).flatten().collect();
            self.launch(ability, "weights", wanted, shape, &buffers);
        }
        let summed = |parts: Buffer| parts.into_tensor::<3>().sum_dim(1);
        [Some(dx.into_tensor()), of_weight.map(summed), of_bias.map(summed)]
    }

    /// Runs `pass` of the template; `with` says whether there are a weight and a bias.
    fn launch(
        self,
        ability: Ability,
        pass: &str,
        [weight, bias]: [bool; 2],
        [batch, time, channels]: [usize; 3],
        buffers: &[&Buffer],
    ) {
        let rows = batch * time;
        if rows == 0 || channels == 0 {
            return;
        }
        let width = if channels.is_multiple_of(4) { 4 } else { 1 };
        let lanes = ability.lanes();
        let values = context! {
            pass, weight, bias, width, lanes,
            shuffles => ability.shuffles(),
            centred => self.centred,
            epsilon => format!("{:e}", self.epsilon as f32),
            rows_at_once => ROWS_AT_ONCE,
        };
        let across = (channels / width) as u32;
        let groups = match pass {
            "weights" => rows.div_ceil(ROWS_AT_ONCE) as u32 * across.div_ceil(lanes),
            _ => rows as u32,
        };
        Kernel::new("norm", values, [lanes, 1, 1]).launch(
            wgsl::groups(groups as usize),
            buffers,
            &[rows as u32, across],
        );
    }
}
