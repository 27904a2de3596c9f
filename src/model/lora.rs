//! Low-rank adapters (LoRA, arXiv 2106.09685): `y = x W + s · B (A x)`, of which only `A` and `B` are trained.
//!
//! Names, files and first values are those of PEFT, which loads what is written here and whose folders are read
//! (`adapter_config.json`, `adapter_model.safetensors`). `A` is `[r, in]` and `B` is `[out, r]`; the scale `s` is
//! alpha / r, with rsLoRA (arXiv 2312.03732) alpha / √r. The base stays as it is held, in 16 bits too, and is shared by
//! all models made from it.

// `lora_A` and `lora_B`, as PEFT names them.
#![allow(non_snake_case)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::layers::{Layout, Linear};
use super::parameters::PublishedTensor;
use super::peft::{CONFIG, ENDS, PREFIX, WEIGHTS};
use super::weights::Shapes;
use super::{Architecture, LanguageModel, LoadedModel, ModelConfig, Precision};
use crate::error::{Error, Result};
use crate::files::{self, Array};
use crate::kernels::matmul::{self, Held};

/// An adapter of one linear layer.
#[derive(Module, Debug)]
pub struct Lora {
    lora_A: Factor,
    lora_B: Factor,
    #[module(skip)]
    scale: f64,
    #[module(skip)]
    dropout: Option<Dropout>,
}

/// `A` or `B`, a linear layer without bias.
#[derive(Module, Debug)]
struct Factor {
    weight: Param<Tensor<2>>,
}

impl Factor {
    fn new(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Self {
        let data = TensorData::new(values, shape);
        Self { weight: Param::from_tensor(Tensor::from_data(data, (device, DType::F32))) }
    }
}

impl Lora {
    /// One whose `A` `[r, in]` and `B` `[out, r]` are known; it leaves out no inputs.
    pub(super) fn new([a, b]: [(Vec<f32>, [usize; 2]); 2], scale: f64, device: &Device) -> Self {
        let [lora_A, lora_B] = [a, b].map(|(values, shape)| Factor::new(values, shape, device));
        Self { lora_A, lora_B, scale, dropout: None }
    }

    /// `x` is `[B·T, in]`, rows of a batch one after the other; the result is `[B·T, out]`.
    pub(super) fn forward(&self, x: Tensor<2>, batch: usize) -> Tensor<2> {
        let x = match self.dropout {
            Some(dropout) if dropout.step > 0 => x.clone() * dropout.mask(x.dims(), batch, &x.device()),
            _ => x,
        };
        let [a, b] = [&self.lora_A, &self.lora_B].map(|factor| factor.weight.val());
        matmul::linear(matmul::linear(x, a, Held::Transposed, None) * self.scale, b, Held::Transposed, None)
    }

    /// What it adds to the layer's weight, in the layer's layout; without autodiff.
    pub(super) fn update(&self, layout: Layout) -> Tensor<2> {
        let [a, b] = [&self.lora_A, &self.lora_B].map(|factor| factor.weight.val().inner());
        let update = b.matmul(a) * self.scale; // [out, in]
        match layout {
            Layout::InOut => update.transpose(),
            Layout::OutIn => update,
        }
    }
}

/// Which of a layer's inputs its adapter does not see. Every block of a step has a mask of its own, drawn from the
/// run's seed: the same on every device, however the step is divided into micro-batches, and after a resume.
#[derive(Debug, Clone, Copy)]
struct Dropout {
    rate: f64,
    seed: u64,
    layer: u64,
    /// Counted from 1; 0 outside training, where nothing is left out.
    step: u64,
    /// The micro-batch's first block, counted over the step.
    block: u64,
}

impl Dropout {
    /// 1 / (1 − rate) where an input is kept, else 0: `[B·T, in]`.
    fn mask(self, [rows, channels]: [usize; 2], batch: usize, device: &Device) -> Tensor<2> {
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        let threshold = (self.rate * 2f64.powi(32)) as u32;
        let of_block = rows / batch.max(1) * channels;
        let mut mask = Vec::with_capacity(rows * channels);
        for block in self.block..self.block + batch as u64 {
            let parts = [self.seed, self.layer, self.step, block].map(u64::to_le_bytes);
            let mut rng = ChaCha8Rng::from_seed(bytemuck::cast(parts));
            mask.extend((0..of_block).map(|_| if rng.next_u32() < threshold { 0.0 } else { kept }));
        }
        Tensor::from_data(TensorData::new(mask, [rows, channels]), &device.clone().inner())
    }
}

/// A new adapter's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSettings {
    /// LoRA: the rank of every adapter.
    #[arg(long = "lora-rank", value_name = "N", default_value_t = Self::default().rank)]
    pub rank: usize,
    /// LoRA: what adapters add is multiplied by alpha / rank.
    #[arg(long = "lora-alpha", value_name = "NUMBER", default_value_t = Self::default().alpha)]
    pub alpha: f64,
    /// LoRA: the share of an adapter's inputs that are left out at random in training.
    #[arg(long = "lora-dropout", value_name = "SHARE", default_value_t = Self::default().dropout)]
    pub dropout: f64,
    /// LoRA: the layers that get an adapter: `auto` (PEFT's choice for the family: queries and values), `all` (every
    /// linear layer of the blocks), or names such as q_proj,v_proj.
    #[arg(long = "lora-targets", value_name = "auto|all|NAME,…", value_delimiter = ',', default_value = "auto")]
    pub targets: Vec<String>,
    /// LoRA: multiply by alpha / √rank instead (rsLoRA).
    #[arg(long = "lora-rslora")]
    pub rslora: bool,
}

impl Default for LoraSettings {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, dropout: 0.0, targets: vec!["auto".into()], rslora: false }
    }
}

/// How many weights adapters have, and how wide the layers are that they adapt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdapterSize {
    /// Weights of all of them.
    pub weights: u64,
    /// Channels of their layers' inputs, summed, where dropout masks these; else 0.
    pub masked: u64,
}

impl LoraSettings {
    /// Checks the numbers, naming the one that makes no sense.
    pub fn check(&self) -> Result<()> {
        let refuse = |key: &str, value: String, cure: &str| Err(Error::input(key, format!("is {value}"), cure));
        if self.rank == 0 {
            return refuse("lora rank", "0".into(), "use at least 1");
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return refuse("lora alpha", self.alpha.to_string(), "use a number above 0");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("lora dropout", self.dropout.to_string(), "use a share from 0 to below 1");
        }
        Ok(())
    }

    fn scale(&self) -> f64 {
        scale(self.alpha, self.rank, self.rslora)
    }

    /// The layers that get an adapter: their paths and `[in, out]`.
    ///
    /// # Errors
    /// A name that fits no layer, with those that there are; a rank beyond that of any of them.
    pub fn layers(&self, config: &ModelConfig) -> Result<Vec<(String, [usize; 2])>> {
        self.check()?;
        let all = linear_layers(config)?;
        let is = |word: &str| self.targets.len() == 1 && self.targets[0] == word;
        let wanted: Vec<&str> = match &config.architecture {
            _ if !is("auto") => self.targets.iter().map(String::as_str).collect(),
            Architecture::Gpt2(_) => vec!["c_attn"],
            Architecture::Llama(_) | Architecture::Olmo(_) => vec!["q_proj", "v_proj"],
            Architecture::GptNeox(_) => vec!["query_key_value"],
        };
        if let (false, Some(unknown)) =
            (is("all"), wanted.iter().find(|target| !all.iter().any(|(path, _)| fits(path, target))))
        {
            let fault = format!("{unknown:?} is no linear layer of this model; its own are {}", layer_names(&all));
            return Err(Error::input("lora targets", fault, "name some of these, or auto or all"));
        }
        let chosen: Vec<_> =
            all.into_iter().filter(|(path, _)| is("all") || wanted.iter().any(|target| fits(path, target))).collect();
        let most = chosen.iter().map(|(_, [input, output])| *input.min(output)).max().unwrap_or(0);
        if self.rank > most {
            let fault = format!("is {}, and no layer to adapt has a rank above {most}", self.rank);
            return Err(Error::input("lora rank", fault, "use a smaller one; 4 to 64 is usual"));
        }
        Ok(chosen)
    }

    /// What they take.
    ///
    /// # Errors
    /// As [`Self::layers`].
    pub fn size(&self, config: &ModelConfig) -> Result<AdapterSize> {
        let layers = self.layers(config)?;
        let [inputs, outputs] = [0, 1].map(|side| layers.iter().map(|(_, sizes)| sizes[side] as u64).sum::<u64>());
        let masked = if self.dropout > 0.0 { inputs } else { 0 };
        Ok(AdapterSize { weights: self.rank as u64 * (inputs + outputs), masked })
    }

    /// `base` with new adapters, which change nothing yet: `A` as PEFT draws it (Kaiming-uniform with a = √5: within
    /// ±1/√in), `B` zero. Only they can be trained.
    ///
    /// # Errors
    /// As [`Self::layers`]; a base that has adapters already.
    pub fn attach(&self, base: &LoadedModel, seed: u64) -> Result<LanguageModel> {
        let chosen: BTreeMap<String, [usize; 2]> = self.layers(&base.config)?.into_iter().collect();
        let mut layer = 0;
        attach(base, |path, _| {
            let Some(&[input, output]) = chosen.get(path) else { return Ok(None) };
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(layer);
            let bound = (input as f64).powf(-0.5);
            let mut uniform = || bound * (f64::from(rng.next_u32()) / 2f64.powi(31) - 1.0);
            let a = (0..self.rank * input).map(|_| uniform() as f32).collect();
            let dropout = Dropout { rate: self.dropout, seed, layer, step: 0, block: 0 };
            layer += 1;
            Ok(Some(Lora {
                lora_A: Factor::new(a, [self.rank, input], &base.device),
                lora_B: Factor::new(vec![0.0; output * self.rank], [output, self.rank], &base.device),
                scale: self.scale(),
                dropout: (self.dropout > 0.0).then_some(dropout),
            }))
        })
    }

    /// Writes the adapters of `model`, made by these settings upon `base`, into the folder `into`, which exists, as PEFT
    /// does.
    pub fn save(&self, model: &LanguageModel, base: &LoadedModel, into: &Path) -> Result<()> {
        let targets: BTreeSet<String> =
            self.layers(&base.config)?.iter().map(|(path, _)| last_part(path).to_owned()).collect();
        // A target such as `attn.c_proj` means more than its last part; what was asked for is kept.
        let named = self.targets.iter().any(|target| !["auto", "all"].contains(&target.as_str()));
        let targets = if named { json!(self.targets) } else { json!(targets) };
        // Whole numbers without a point, as PEFT has them.
        let alpha = if self.alpha.fract() == 0.0 { json!(self.alpha as i64) } else { json!(self.alpha) };
        let config = json!({
            "alpha_pattern": {},
            "base_model_name_or_path": base.name,
            "bias": "none",
            "fan_in_fan_out": matches!(base.config.architecture, Architecture::Gpt2(_)),
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": alpha,
            "lora_dropout": self.dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.rank,
            "rank_pattern": {},
            "revision": base.revision,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": self.rslora,
        });
        let arrays: Vec<Array<'_>> = model.adapter_arrays().collect();
        files::write_safetensors(&into.join(WEIGHTS), arrays, ("format", "pt".to_owned()))?;
        files::write_json(&into.join(CONFIG), &config)
    }
}

pub(super) fn scale(alpha: f64, rank: usize, rslora: bool) -> f64 {
    alpha / if rslora { (rank as f64).sqrt() } else { rank as f64 }
}

/// Whether PEFT's `target` means the layer at `path`: all of it, or its last parts.
pub(super) fn fits(path: &str, target: &str) -> bool {
    path.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn last_part(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, last)| last)
}

pub(super) fn layer_names(layers: &[(String, [usize; 2])]) -> String {
    let names: BTreeSet<&str> = layers.iter().map(|(path, _)| last_part(path)).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// Every linear layer of the blocks, its path and `[in, out]`, without the weights.
pub(super) fn linear_layers(config: &ModelConfig) -> Result<Vec<(String, [usize; 2])>> {
    let mut shapes = Shapes::default();
    let mut model = LanguageModel::build(config, &mut shapes, &Device::flex())?;
    let shapes: BTreeMap<String, Vec<usize>> = shapes.found.into_iter().collect();
    let layers = model.linears().into_iter().filter_map(|(path, linear)| {
        let [rows, columns] = *shapes.get(&format!("{path}.weight"))?.as_slice() else { return None };
        let sizes = match linear.layout() {
            Layout::InOut => [rows, columns],
            Layout::OutIn => [columns, rows],
        };
        Some((path, sizes))
    });
    Ok(layers.collect())
}

/// `base`, frozen, with what `make` gives for each linear layer, its path and layout. No weight is copied.
pub(super) fn attach(
    base: &LoadedModel,
    mut make: impl FnMut(&str, Layout) -> Result<Option<Lora>>,
) -> Result<LanguageModel> {
    if base.model.has_adapters() {
        let place = base.folder.display();
        return Err(Error::input(place, "has an adapter already", "name the base model, or a merged model"));
    }
    let mut model = base.model.clone().no_grad();
    for (path, linear) in model.linears() {
        let layout = linear.layout();
        linear.set_adapter(make(&path, layout)?);
    }
    Ok(model)
}

impl LanguageModel {
    /// The linear layers of the blocks by their paths in the checkpoint.
    pub(super) fn linears(&mut self) -> Vec<(String, &mut Linear)> {
        match self {
            Self::Gpt2(model) => model.linears(),
            Self::Llama(model) => model.linears(),
            Self::Olmo(model) => model.linears(),
            Self::GptNeox(model) => model.linears(),
        }
    }

    /// Whether some layer has an adapter.
    pub fn has_adapters(&self) -> bool {
        self.clone().linears().iter().any(|(_, linear)| linear.adapter().is_some())
    }

    /// Computes the products of its blocks in `precision`: what goes into them is rounded to it, what comes out is f32
    /// again, as are norms, activations, softmaxes and the head. Weights stay as they are held (mixed precision, arXiv
    /// 1710.03740).
    pub fn compute_in(mut self, precision: Precision) -> Self {
        for (_, linear) in self.linears() {
            linear.set_compute(precision);
        }
        self
    }

    /// Whether matrices are held in fewer bits than they are computed with, and so converted whenever they are used.
    pub fn is_narrow(&self) -> bool {
        self.clone().linears().iter().any(|(_, linear)| linear.is_narrow())
    }

    /// Says which blocks of which step, counted from 1, are computed next: dropout depends on it. Step 0 is none.
    pub fn begin_blocks(&mut self, step: u64, block: u64) {
        for (_, linear) in self.linears() {
            if let Some(dropout) = linear.adapter_mut().and_then(|adapter| adapter.dropout.as_mut()) {
                (dropout.step, dropout.block) = (step, block);
            }
        }
    }

    /// The adapters' weights as PEFT names them.
    fn adapter_arrays(&self) -> impl Iterator<Item = Array<'static>> {
        self.trained().into_iter().map(|weight| {
            let name = format!("{PREFIX}{}", weight.name);
            PublishedTensor::from(weight).array(name)
        })
    }
}

/// Whether this is the published name of an adapter's weight.
pub fn is_adapter_weight(name: &str) -> bool {
    ENDS.iter().any(|end| name.ends_with(end))
}
