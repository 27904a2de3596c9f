//! Low-rank adapters (LoRA, arXiv 2106.09685): `y = x W + s · B (A x)`, of which only `A` and `B` are trained.
//!
//! Names, files and first values are those of PEFT, which loads what is written here and whose folders are read
//! (`adapter_config.json`, `adapter_model.safetensors`). `A` is `[r, in]` and `B` is `[out, r]`; the scale `s` is
//! alpha / r, with rsLoRA (arXiv 2312.03732) alpha / √r. The base stays as it is held, in 16 bits too, and is shared by
//! all models made from it.

// `lora_A` and `lora_B`, as PEFT names them.
#![allow(non_snake_case)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::layers::{Layout, Linear};
use super::parameters::PublishedTensor;
use super::weights::{self, Shapes};
use super::{Architecture, LanguageModel, LoadedModel, ModelConfig, Precision};
use crate::error::{Error, Result};
use crate::files::{self, Array};
use crate::kernels::matmul::{self, Held};

/// The file that makes a folder an adapter's.
pub const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// What PEFT puts before the names of a causal language model's layers.
const PREFIX: &str = "base_model.model.";
const ENDS: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];

/// Keys of `adapter_config.json` that say nothing about what the adapter computes, or that are implemented here. All
/// others must be absent or off.
const UNDERSTOOD: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "bias", // looked at by itself, as the next two
    "init_lora_weights",
    "peft_type",
    "ensure_weight_tying", // only of modules_to_save
    "eva_config",          // how A began
    "exclude_modules",     // the file has what is not excluded
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern", // the file has what is chosen
    "layers_to_transform",
    "lora_dropout", // in training only
    "megatron_core",
    "peft_version",
    "qalora_group_size", // only with use_qalora
    "revision",
    "runtime_config",
    "task_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "target_modules",
    "rank_pattern",
    "alpha_pattern",
];

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

fn scale(alpha: f64, rank: usize, rslora: bool) -> f64 {
    alpha / if rslora { (rank as f64).sqrt() } else { rank as f64 }
}

/// Whether PEFT's `target` means the layer at `path`: all of it, or its last parts.
fn fits(path: &str, target: &str) -> bool {
    path.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn last_part(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, last)| last)
}

fn layer_names(layers: &[(String, [usize; 2])]) -> String {
    let names: BTreeSet<&str> = layers.iter().map(|(path, _)| last_part(path)).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// Every linear layer of the blocks, its path and `[in, out]`, without the weights.
fn linear_layers(config: &ModelConfig) -> Result<Vec<(String, [usize; 2])>> {
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
fn attach(base: &LoadedModel, mut make: impl FnMut(&str, Layout) -> Result<Option<Lora>>) -> Result<LanguageModel> {
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

/// A matrix of a file, row-major, and its shape.
type Values = (Vec<f32>, [usize; 2]);

/// A PEFT folder.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Where it is.
    pub folder: PathBuf,
    /// The base it was made for, by its path or name on the hub.
    pub base: Option<String>,
    /// The base's revision on the hub.
    pub revision: Option<String>,
    targets: Vec<String>,
    rslora: bool,
    rank: usize,
    alpha: f64,
    ranks: Map<String, Value>,
    alphas: Map<String, Value>,
    /// Values and shape of `A` and `B`, by the path of their layer.
    factors: BTreeMap<String, [Values; 2]>,
}

impl Adapter {
    /// Whether `folder` holds an adapter.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(CONFIG).is_file()
    }

    /// Reads the adapter in `folder`.
    ///
    /// # Errors
    /// Whatever is missing, broken, or changes the computation in a way that is not implemented, by name.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        if !path.is_file() {
            let fault = format!("is no adapter's folder: it has no {CONFIG}");
            return Err(Error::file(folder, fault, "name a folder that peft or `adapt --strategy lora` wrote"));
        }
        let config: Map<String, Value> = files::read_json(&path)?;
        let refusal = |key: &str, why: &str| {
            let fault = format!("`{key}` is {}: {why}", config.get(key).unwrap_or(&Value::Null));
            Error::file(&path, fault, "merge the adapter into its base with peft, and name the merged model")
        };
        let text = |key: &str| config.get(key).and_then(Value::as_str);
        if text("peft_type") != Some("LORA") {
            return Err(refusal("peft_type", "only \"LORA\" is implemented"));
        }
        if text("bias").is_some_and(|bias| bias != "none") {
            return Err(refusal("bias", "only \"none\" is implemented"));
        }
        // Other ways to begin change the base itself, so that the adapter fits only what they made of it.
        match config.get("init_lora_weights") {
            None | Some(Value::Null | Value::Bool(_)) => {}
            Some(Value::String(how)) if ["gaussian", "eva", "orthogonal"].contains(&how.as_str()) => {}
            Some(_) => {
                return Err(refusal("init_lora_weights", "it changes the base's weights, which is not implemented"));
            }
        }
        for (key, value) in config.iter().filter(|(key, _)| !UNDERSTOOD.contains(&key.as_str())) {
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(items) => items.is_empty(),
                Value::Object(items) => items.is_empty(),
                _ => key == "megatron_config",
            };
            if !off {
                return Err(refusal(key, "it changes the computation and is not implemented"));
            }
        }
        let number = |key: &str, value: Option<&Value>| {
            value.and_then(Value::as_f64).filter(|n| *n > 0.0 && n.is_finite()).ok_or_else(|| {
                let shown = value.cloned().unwrap_or_default();
                Error::file(&path, format!("`{key}` is {shown}, expected a number above 0"), "restore the file")
            })
        };
        let patterns = |key: &str| match config.get(key) {
            None | Some(Value::Null) => Ok(Map::new()),
            // Plain names only: a pattern is a regular expression to PEFT.
            Some(Value::Object(patterns)) if !patterns.keys().any(|p| p.contains(|c| r"^$*+?()[]{}|\".contains(c))) => {
                patterns
                    .iter()
                    .try_for_each(|(name, value)| number(&format!("{key}.{name}"), Some(value)).map(drop))?;
                Ok(patterns.clone())
            }
            _ => Err(refusal(key, "only names of layers are implemented")),
        };
        // Without a list, a pattern that only PEFT can tell the meaning of, the file's own layers count.
        let chosen =
            ["layers_to_transform", "exclude_modules"].iter().any(|key| !config.get(*key).is_none_or(Value::is_null));
        let targets = match config.get("target_modules") {
            Some(Value::Array(targets)) if !chosen => {
                targets.iter().filter_map(|target| target.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        Ok(Self {
            base: text("base_model_name_or_path").filter(|base| !base.is_empty()).map(str::to_owned),
            revision: text("revision").map(str::to_owned),
            targets,
            rslora: config.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
            rank: number("r", config.get("r"))? as usize,
            alpha: number("lora_alpha", config.get("lora_alpha"))?,
            ranks: patterns("rank_pattern")?,
            alphas: patterns("alpha_pattern")?,
            factors: read_factors(folder)?,
            folder: folder.to_owned(),
        })
    }

    /// `base` with this adapter.
    ///
    /// # Errors
    /// Layers that the base does not have, or has in other sizes; layers without weights; a base that has an adapter.
    pub fn attach(&self, base: &LoadedModel) -> Result<LoadedModel> {
        let path = self.folder.join(WEIGHTS);
        let fault = |fault: String| Err(Error::file(&path, fault, "name the base that the adapter was made for"));
        let layers = linear_layers(&base.config)?;
        let sizes: BTreeMap<&str, [usize; 2]> = layers.iter().map(|(path, sizes)| (path.as_str(), *sizes)).collect();
        for (layer, [(_, [rank, input]), (_, [output, rank_of_b])]) in &self.factors {
            let Some([of_input, of_output]) = sizes.get(layer.as_str()) else {
                let own = layer_names(&layers);
                return fault(format!("adapts {layer:?}, which is no linear layer of this base; its own are {own}"));
            };
            if [input, output] != [of_input, of_output] {
                return fault(format!(
                    "adapts {layer:?} from {input} to {output} channels, but in this base it goes from {of_input} to \
                     {of_output}"
                ));
            }
            let expected = self.value(&self.ranks, layer, self.rank as f64) as usize;
            if [*rank, *rank_of_b] != [expected; 2] {
                return fault(format!("{layer:?} has rank {rank} and {rank_of_b}, but {CONFIG} says {expected}"));
            }
        }
        let left_out = |path: &str| !self.factors.contains_key(path) && self.targets.iter().any(|t| fits(path, t));
        if let Some((layer, _)) = layers.iter().find(|(path, _)| left_out(path)) {
            return fault(format!("has nothing for {layer:?}, which `target_modules` in {CONFIG} names"));
        }
        let model = attach(base, |path, _| {
            Ok(self.factors.get(path).map(|[(a, shape_a), (b, shape_b)]| Lora {
                lora_A: Factor::new(a.clone(), *shape_a, &base.device),
                lora_B: Factor::new(b.clone(), *shape_b, &base.device),
                scale: scale(self.value(&self.alphas, path, self.alpha), shape_a[0], self.rslora),
                dropout: None,
            }))
        })?;
        Ok(LoadedModel { model, ..base.clone() })
    }

    /// The first of `patterns` that means `layer`, or what holds for all others.
    fn value(&self, patterns: &Map<String, Value>, layer: &str, otherwise: f64) -> f64 {
        let found = patterns.iter().find(|(name, _)| fits(layer, name));
        found.and_then(|(_, value)| value.as_f64()).unwrap_or(otherwise)
    }
}

fn read_factors(folder: &Path) -> Result<BTreeMap<String, [Values; 2]>> {
    let path = folder.join(WEIGHTS);
    if !path.exists() && folder.join("adapter_model.bin").exists() {
        let cure = "load it with peft and save it again, which writes safetensors";
        return Err(Error::file(folder, "has adapter_model.bin, which is not read", cure));
    }
    let bytes = crate::files::read(&path)?;
    let tensors = weights::parse(&path, &bytes)?;
    let mut halves: BTreeMap<String, [Option<Values>; 2]> = BTreeMap::new();
    for (name, view) in tensors.iter() {
        let fault = |fault: String| Error::file(&path, fault, "merge the adapter into its base with peft");
        let bare = name.strip_prefix(PREFIX);
        let named = ENDS.iter().zip(0..).find_map(|(end, half)| Some((bare?.strip_suffix(end)?, half)));
        let Some((layer, half)) = named else {
            return Err(fault(format!("holds {name:?}, expected {PREFIX}LAYER{} and {}", ENDS[0], ENDS[1])));
        };
        let &[rows, columns] = view.shape() else {
            return Err(fault(format!("tensor {name:?} has shape {:?}, expected a matrix", view.shape())));
        };
        let data = weights::convert(&path, name, view.dtype(), view.data(), vec![rows, columns], Precision::F32)?;
        let values = data.try_to_vec().map_err(|e| fault(format!("tensor {name:?}: {e:?}")))?;
        halves.entry(layer.to_owned()).or_default()[half as usize] = Some((values, [rows, columns]));
    }
    if halves.is_empty() {
        return Err(Error::file(&path, "holds no adapter", "restore the file"));
    }
    let whole = |(layer, [a, b]): (String, [Option<Values>; 2])| match (a, b) {
        (Some(a), Some(b)) => Ok((layer, [a, b])),
        _ => Err(Error::file(&path, format!("has only one of lora_A and lora_B for {layer:?}"), "restore the file")),
    };
    halves.into_iter().map(whole).collect()
}
