//! One step of training, and evaluation after it, of a tiny model of each family.
//!
//! The truth is the model's loss in f64 ([`ExactModel`]). It also gives the norm of the gradient: along the gradient g
//! the loss rises by |g| per unit, and by less in any other direction. Each number of the gradient is compared with the
//! CPU backend's, and the weights after the step with AdamW in f64 on the gradient that the device itself found.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Map, Value};

use super::exact::{ExactModel, number};
use super::{Aspect, Cases, EPSILON, Expected, Plan};
use crate::adapt::data::MicroBatch;
use crate::adapt::objective::Objective;
use crate::adapt::optimizer::{AdamW, AdamWConfig, clip, gradient_norm};
use crate::error::Result;
use crate::evaluate::Window;
use crate::evaluate::score::score;
use crate::model::family::Entry;
use crate::model::parameters::to_host;
use crate::model::{FAMILIES, LanguageModel, LoadedModel, ModelConfig, Precision};
use crate::progress::Silent;

/// Odd sizes: nothing is a multiple of a workgroup.
const VOCABULARY: usize = 307;
const WINDOWS: usize = 3;
const TIME: usize = 19;
/// Nats: a tenth of the last digit that results show.
const LOSS_ALLOWED: f64 = 1e-5;
/// Of the root mean square of a weight's gradient, or of the whole gradient's where that is larger.
const GRADIENT_ALLOWED: f64 = 3e-4;
const LR: f64 = 1e-2;
/// With ε as large as a gradient, the step depends on the size of the gradient, and so on clipping.
const ADAMW: AdamWConfig =
    AdamWConfig { beta1: 0.9, beta2: 0.999, epsilon: 1e-3, weight_decay: 0.1, moments: Precision::F32 };

const BOUND: &str = "loss: nats, a tenth of the last digit shown; gradient norm: of itself, 1e-5; gradient: of its root \
                     mean square, 3e-4; weights: of |w| + rate, 8·ε; evaluation: nats per token, 1e-4";

pub(super) fn plans() -> Vec<Plan> {
    let of_family = |family: &'static Entry| {
        Plan::new(format!("training step: {}", family.about.model_type), Aspect::F32, BOUND, move |device, cases| {
            step(family, device, cases)
        })
    };
    FAMILIES.iter().map(of_family).collect()
}

/// The configuration of a tiny model.
fn config(family: &Entry) -> Result<ModelConfig> {
    let mut json: Map<String, Value> = (family.tiny)().as_object().cloned().unwrap_or_default();
    json.insert("model_type".into(), family.about.model_type.into());
    json.insert("vocab_size".into(), VOCABULARY.into());
    ModelConfig::from_json("a tiny model", json)
}

/// The tiny model with weights that make every part matter: norms around 1, biases around 0, and matrices large enough
/// that attention is not uniform.
pub(super) fn tiny_model(config: ModelConfig, device: &Device) -> Result<LoadedModel> {
    let mut loaded = LoadedModel::random(config, Path::new(""), 1, device)?;
    let mut seed = 100;
    loaded.model = loaded.model.map_parameters(|name, shape, _| {
        seed += 1;
        let is_norm = shape.len() == 1 && !name.ends_with(".bias");
        let value = |i| if is_norm { 1.0 + 0.3 * number(seed, i) } else { 0.3 * number(seed, i) };
        let count = shape.iter().product::<usize>();
        Tensor::from_data(TensorData::new((0..count).map(value).collect::<Vec<f32>>(), [count]), device)
    });
    Ok(loaded)
}

/// Windows that read and predict random tokens below `vocabulary`.
pub(super) fn batch(windows: usize, time: usize, vocabulary: usize) -> MicroBatch {
    let id = |i| ((f64::from(number(41, i)) + 1.0) / 2.0 * vocabulary as f64) as u32;
    let ids_of = |w: usize| (w * (time + 1)..(w + 1) * (time + 1)).map(id).collect::<Vec<u32>>();
    let ids: Vec<Vec<u32>> = (0..windows).map(ids_of).collect();
    MicroBatch {
        inputs: ids.iter().map(|ids| ids[..time].to_vec()).collect(),
        targets: ids.iter().flat_map(|ids| ids[1..].to_vec()).collect(),
        weights: vec![1.0; windows * time],
        penalised: Vec::new(),
    }
}

/// Loss and gradient on `device`, the gradient still there.
struct Backward {
    loaded: LoadedModel,
    loss: f32,
    gradients: BTreeMap<String, Tensor<1>>,
}

fn backward(family: &Entry, batch: &MicroBatch, device: &Device) -> Result<Backward> {
    let mut loaded = tiny_model(config(family)?, device)?;
    loaded.model = loaded.model.train();
    let backward = Objective::default().backward(&loaded.model, batch, batch.weight())?;
    Ok(Backward { loaded, loss: to_host(backward.loss)?[0], gradients: backward.gradients })
}

fn on_host(gradients: &BTreeMap<String, Tensor<1>>) -> Result<BTreeMap<String, Vec<f32>>> {
    gradients.iter().map(|(name, gradient)| Ok((name.clone(), to_host(gradient.clone())?))).collect()
}

fn step(family: &Entry, device: &Device, cases: &mut Cases) -> Result<()> {
    let batch = batch(WINDOWS, TIME, VOCABULARY);
    let Backward { loaded, loss, gradients } = backward(family, &batch, device)?;
    let (config, model) = (loaded.config, loaded.model);
    let exact = ExactModel::of(&model, &config)?;
    let exact_loss = |model: &ExactModel| model.loss(&batch.inputs, &batch.targets);
    cases.judge("loss", &[loss], &Expected::within(LOSS_ALLOWED, vec![exact_loss(&exact)], vec![1.0]));

    let found = on_host(&gradients)?;
    let norm = gradient_norm(&gradients)?;
    // A central difference in f64: off by 1e-10 of the norm or so.
    let distance = 1e-5;
    let ahead = |sign: f64| exact_loss(&exact.moved(&found, sign * distance / norm));
    let rise = (ahead(1.0) - ahead(-1.0)) / (2.0 * distance);
    cases.judge("gradient norm", &[norm as f32], &Expected::relative(1e-5, vec![rise]));

    let of_cpu = on_host(&backward(family, &batch, &Device::flex())?.gradients)?;
    cases.judge("gradient", &found.values().flatten().copied().collect::<Vec<f32>>(), &gradient(&of_cpu));

    let max_norm = norm / 3.0;
    let stepped = AdamW::new(ADAMW).step(LR, clip(norm, max_norm), model, gradients);
    let clipped = max_norm / (norm + 1e-6);
    let (mut weights, mut expected) = (Vec::new(), Expected::within(8.0 * EPSILON, Vec::new(), Vec::new()));
    for weight in stepped.parameters() {
        let decay = if weight.shape.len() > 1 { LR * ADAMW.weight_decay } else { 0.0 };
        for (before, gradient) in exact.values(&weight.name).iter().zip(&found[&weight.name]) {
            // After the first step the bias-corrected moments are the gradient and its square.
            let gradient = f64::from(*gradient) * clipped;
            let update = LR * gradient / (gradient.abs() + ADAMW.epsilon);
            expected.exact.push(before * (1.0 - decay) - update);
            expected.scale.push(before.abs() + LR);
        }
        weights.extend(to_host(weight.values)?);
    }
    cases.judge("weights", &weights, &expected);
    evaluation(&stepped.valid(), &config, &batch, device, cases)
}

/// The expected gradient, from the CPU backend.
fn gradient(of_cpu: &BTreeMap<String, Vec<f32>>) -> Expected {
    let root_mean_square = |values: &mut dyn Iterator<Item = f32>| {
        let (count, sum) = values.fold((0, 0.0), |(n, sum), g| (n + 1, sum + f64::from(g).powi(2)));
        (sum / f64::from(count)).sqrt()
    };
    let whole = root_mean_square(&mut of_cpu.values().flatten().copied());
    let scale = of_cpu.values().flat_map(|gradient| {
        let own = root_mean_square(&mut gradient.iter().copied());
        vec![own.max(whole); gradient.len()]
    });
    let exact = of_cpu.values().flatten().map(|&g| f64::from(g)).collect();
    Expected::within(GRADIENT_ALLOWED, exact, scale.collect())
}

/// The loss of every token from the scorer, which uses other code than training.
fn evaluation(
    model: &LanguageModel,
    config: &ModelConfig,
    batch: &MicroBatch,
    device: &Device,
    cases: &mut Cases,
) -> Result<()> {
    let ids: Vec<u32> =
        batch.inputs.iter().zip(batch.targets.chunks(TIME)).flat_map(|(i, t)| [&i[..1], t].concat()).collect();
    let window = |w: usize| {
        let start = w * (TIME + 1);
        Window { prefix: None, start, end: start + TIME + 1, scored: start + 1 }
    };
    let windows: Vec<Window> = (0..WINDOWS).map(window).collect();
    let nll = score(model, device, &ids, &windows, 2, &mut Silent)?;
    let scored: Vec<f32> = nll.into_iter().filter(|nll| !nll.is_nan()).collect();
    let exact = ExactModel::of(model, config)?;
    let truth: Vec<f64> =
        batch.inputs.iter().zip(batch.targets.chunks(TIME)).flat_map(|(i, t)| exact.nll(i, t)).collect();
    cases.judge("evaluation", &scored, &Expected::within(1e-4, truth.clone(), vec![1.0; truth.len()]));
    Ok(())
}
