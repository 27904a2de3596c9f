//! Folders that PEFT writes: an adapter's settings, its weights, and what puts them upon a base.
//!
//! Names of weights are read in every spelling that training frames leave behind; what cannot be placed is refused, never
//! dropped: the base alone would be scored as if it were the adapted model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::{Map, Value};

use super::adapter_folder::{self, PREFIX};
pub use super::adapter_folder::{CONFIG, WEIGHTS};
use super::adapters::{attach, fits, layer_names, linear_layers, scale};
use super::config::ModelConfig;
use super::families::LanguageModel;
use super::loaded::LoadedModel;
use super::lora_layer::{ENDS, Lora};
use super::numbers::check_finite;
use super::weight_formats::folder_within;
use super::weight_names::{find_layer, unwrapped};
use super::weights::{self, Shapes};
use crate::device::precision::Precision;
use crate::device::read_back::to_host;
use crate::error::{Error, Result};
use crate::files;
use crate::kernels::matmul::Held;
use crate::message::{Message, Setting};

/// Keys of `adapter_config.json` that do not change the computation, or that are implemented here. All other keys must
/// be absent or off.
const UNDERSTOOD: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "bias", // checked separately, like the next two
    "init_lora_weights",
    "peft_type",
    "ensure_weight_tying", // only of modules_to_save
    "eva_config",          // how A was initialised
    "exclude_modules",     // the file holds only layers that are not excluded
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern", // the file holds only the chosen layers
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
    /// Values and shape of `A` and `B`, by the path of their layer as the file has it, without wrappers' words.
    factors: BTreeMap<String, [Values; 2]>,
}

/// An `adapter_config.json` being read.
struct AdapterConfig {
    path: PathBuf,
    json: Map<String, Value>,
}

impl AdapterConfig {
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        if !path.is_file() {
            let fault = format!("is no adapter's folder: it has no {CONFIG}");
            let cure = match folder_within(folder, &[CONFIG]) {
                Some(within) => Message::new(format!("name the adapter in it, {within}")),
                None => Message::new("name a folder that peft or ")
                    .command("adapt", [Setting::new("strategy", "lora")])
                    .then(" wrote"),
            };
            return Err(Error::file(folder, fault, cure));
        }
        Ok(Self { json: files::read_json(&path)?, path })
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The refusal of a setting that only PEFT computes.
    fn refusal(&self, key: &str, why: &str) -> Error {
        let fault = format!("`{key}` is {}: {why}", self.json.get(key).unwrap_or(&Value::Null));
        Error::file(&self.path, fault, "merge the adapter into its base with peft, and name the merged model")
    }

    fn number(&self, key: &str, value: Option<&Value>) -> Result<f64> {
        value.and_then(Value::as_f64).filter(|n| *n > 0.0 && n.is_finite()).ok_or_else(|| {
            let shown = value.cloned().unwrap_or_default();
            let cure = if shown.is_string() { "write the number without quotation marks" } else { "restore the file" };
            Error::file(&self.path, format!("`{key}` is {shown}, expected a number above 0"), cure)
        })
    }

    fn whole(&self, key: &str, value: Option<&Value>) -> Result<usize> {
        let number = self.number(key, value)?;
        if number.fract() != 0.0 || number > f64::from(u32::MAX) {
            let fault = format!("`{key}` is {number}, expected a whole number");
            return Err(Error::file(&self.path, fault, "restore the file"));
        }
        Ok(number as usize)
    }

    fn switch(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(other) => {
                let fault = format!("`{key}` is {other}, expected true or false");
                Err(Error::file(&self.path, fault, "write true or false there, without quotation marks"))
            }
        }
    }

    /// Numbers by names of layers. Plain names only: a pattern is a regular expression to PEFT.
    fn patterns(&self, key: &str) -> Result<Map<String, Value>> {
        match self.get(key) {
            None => Ok(Map::new()),
            Some(Value::Object(patterns)) if !patterns.keys().any(|p| p.contains(|c| r"^$*+?()[]{}|\".contains(c))) => {
                for (name, value) in patterns {
                    self.number(&format!("{key}.{name}"), Some(value))?;
                }
                Ok(patterns.clone())
            }
            _ => Err(self.refusal(key, "only names of layers are implemented")),
        }
    }

    /// Refuses whatever changes what is computed and is not implemented.
    fn check(&self) -> Result<()> {
        if self.get("peft_type").is_none()
            && ["lora_parameters", "fine_tune_type"].iter().any(|key| self.get(key).is_some())
        {
            let cure = "fuse it into its base with mlx_lm.fuse, and name the model that comes out";
            return Err(Error::file(&self.path, "is an adapter of mlx-lm, expected one of peft", cure));
        }
        if self.text("peft_type") != Some("LORA") {
            return Err(self.refusal("peft_type", "only \"LORA\" is implemented"));
        }
        if self.get("bias").is_some_and(|bias| bias != "none") {
            return Err(self.refusal("bias", "only \"none\" is implemented"));
        }
        // Other initialisations change the base itself, so the adapter fits only the changed base.
        match self.get("init_lora_weights") {
            None | Some(Value::Bool(_)) => {}
            Some(Value::String(how)) if ["gaussian", "eva", "orthogonal"].contains(&how.as_str()) => {}
            Some(_) => {
                let why = "it changes the base's weights, which is not implemented";
                return Err(self.refusal("init_lora_weights", why));
            }
        }
        for (key, value) in self.json.iter().filter(|(key, _)| !UNDERSTOOD.contains(&key.as_str())) {
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(items) => items.is_empty(),
                Value::Object(items) => items.is_empty(),
                _ => key == "megatron_config",
            };
            if !off {
                return Err(self.refusal(key, "it changes the computation and is not implemented"));
            }
        }
        Ok(())
    }
}

impl Adapter {
    /// Whether `folder` holds an adapter.
    pub fn is_in(folder: &Path) -> bool {
        adapter_folder::is_in(folder)
    }

    /// Refuses a `folder` that holds an adapter, for uses that need a model without one.
    pub fn refuse_in(folder: &Path) -> Result<()> {
        adapter_folder::refuse_in(folder)
    }

    /// Reads the adapter in `folder`.
    ///
    /// # Errors
    /// A file or key that is missing, broken, or changes the computation in a way that is not implemented; the message
    /// names it.
    pub fn read(folder: &Path) -> Result<Self> {
        let config = AdapterConfig::read(folder)?;
        config.check()?;
        // If it is a pattern (a regular expression of PEFT) and not a list, the layers in the file are used.
        let chosen = ["layers_to_transform", "exclude_modules"].iter().any(|key| config.get(key).is_some());
        let targets = match config.get("target_modules") {
            Some(Value::Array(targets)) if !chosen => {
                targets.iter().filter_map(|target| target.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        Ok(Self {
            base: config.text("base_model_name_or_path").filter(|base| !base.is_empty()).map(str::to_owned),
            revision: config.text("revision").map(str::to_owned),
            targets,
            rslora: config.switch("use_rslora")?,
            rank: config.whole("r", config.get("r"))?,
            alpha: config.number("lora_alpha", config.get("lora_alpha"))?,
            ranks: config.patterns("rank_pattern")?,
            alphas: config.patterns("alpha_pattern")?,
            factors: read_factors(folder)?,
            folder: folder.to_owned(),
        })
    }

    /// `base` with this adapter.
    ///
    /// # Errors
    /// Layers that the base does not have, or has in other sizes; layers without weights; a base that has an adapter.
    pub fn attach(&self, base: &LoadedModel) -> Result<LoadedModel> {
        let factors = self.placed(&base.config)?;
        let model = attach(base, |path| Ok(factors.get(path).map(|pair| self.layer(path, pair, &base.device))))?;
        Ok(LoadedModel { model, ..base.clone() })
    }

    /// What it adds to the weights of a base of this configuration.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn updates(&self, config: &ModelConfig) -> Result<AdapterUpdates> {
        let (factors, device) = (self.placed(config)?, Device::flex());
        let model = LanguageModel::build(config, &mut Shapes::default(), &device)?;
        let updates = model.linears().into_iter().filter_map(|(path, linear)| {
            let pair = factors.get(path.as_str())?;
            Some((format!("{path}.weight"), (self.layer(&path, pair, &device), linear.held())))
        });
        Ok(AdapterUpdates(updates.collect()))
    }

    /// The factors of each adapted layer, by its path in a base of this configuration.
    fn placed(&self, config: &ModelConfig) -> Result<BTreeMap<String, &[Values; 2]>> {
        let path = self.folder.join(WEIGHTS);
        let fault = |fault: String| Err(Error::file(&path, fault, "name the base that the adapter was made for"));
        let layers = linear_layers(config)?;
        let body = config.names().body;
        let sizes: BTreeMap<&str, [usize; 2]> = layers.iter().map(|(path, sizes)| (path.as_str(), *sizes)).collect();
        let mut factors: BTreeMap<String, &[Values; 2]> = BTreeMap::new();
        for (name, pair) in &self.factors {
            let found = find_layer(name, sizes.keys().copied(), body);
            let Some((layer, [of_input, of_output])) = found.and_then(|layer| Some((layer, sizes.get(layer)?))) else {
                let own = layer_names(&layers);
                return fault(format!("adapts {name:?}, which is not a linear layer of this base; it has {own}"));
            };
            let [(_, [rank, input]), (_, [output, rank_of_b])] = pair;
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
            if factors.insert(layer.to_owned(), pair).is_some() {
                return fault(format!("adapts {layer:?} twice, by different names"));
            }
        }
        let left_out = |path: &str| !factors.contains_key(path) && self.targets.iter().any(|t| fits(path, t));
        if let Some((layer, _)) = layers.iter().find(|(path, _)| left_out(path)) {
            return fault(format!("has nothing for {layer:?}, which `target_modules` in {CONFIG} names"));
        }
        for (key, patterns) in [("rank_pattern", &self.ranks), ("alpha_pattern", &self.alphas)] {
            for name in patterns.keys().filter(|name| !factors.keys().any(|layer| fits(layer, name))) {
                tracing::warn!(
                    "{}: `{key}` names {name:?}, which is none of the layers that it adapts: as in peft, that has no effect",
                    self.folder.join(CONFIG).display()
                );
            }
        }
        Ok(factors)
    }

    /// The adapter of the layer at `path`.
    fn layer(&self, path: &str, pair: &[Values; 2], device: &Device) -> Lora {
        let [(_, [rank, _]), _] = pair;
        Lora::new(pair.clone(), scale(self.value(&self.alphas, path, self.alpha), *rank, self.rslora), device)
    }

    /// The value of the first of `patterns` that matches `layer`, or the default.
    fn value(&self, patterns: &Map<String, Value>, layer: &str, otherwise: f64) -> f64 {
        let found = patterns.iter().find(|(name, _)| fits(layer, name));
        found.and_then(|(_, value)| value.as_f64()).unwrap_or(otherwise)
    }
}

/// What an adapter adds to the weights of its base, computed on the processor.
#[derive(Debug)]
pub struct AdapterUpdates(BTreeMap<String, (Lora, Held)>);

impl AdapterUpdates {
    /// What it adds to the weight of this published name, row-major in the weight's published shape; `None` where it leaves
    /// the weight as it is. The sum is the merged weight, to the bit as [`super::save()`] merges it on the processor.
    ///
    /// # Errors
    /// The device's failure.
    pub fn of(&self, weight: &str) -> Option<Result<Vec<f32>>> {
        let (adapter, held) = self.0.get(weight)?;
        let update = adapter.update(*held);
        let count = update.shape().num_elements();
        Some(to_host(update.reshape([count])))
    }
}

/// The parts of an adapter's tensor name: its layer, whether it is `A` (0) or `B` (1), and what the adapter was called
/// where it was trained.
///
/// PEFT itself writes `LAYER.lora_A.weight`; a state that was saved past it has `LAYER.lora_A.NAME.weight`.
fn parts_of(name: &str) -> Option<(String, usize, Option<String>)> {
    let bare = unwrapped(name);
    let (layer, half, rest) = [".lora_A.", ".lora_B."]
        .iter()
        .zip(0..)
        .find_map(|(mark, half)| bare.rsplit_once(mark).map(|(layer, rest)| (layer, half, rest)))?;
    let adapter = match rest.rsplit_once('.') {
        None if rest == "weight" => None,
        Some((adapter, "weight")) if !adapter.contains('.') => Some(adapter.to_owned()),
        _ => return None,
    };
    let layer = layer.strip_prefix(PREFIX).unwrap_or(layer);
    Some((layer.to_owned(), half, adapter))
}

/// Why a tensor that is neither `A` nor `B` of a linear layer cannot be used.
fn refusal_of(path: &Path, name: &str) -> Error {
    let what = match name {
        _ if name.contains("lora_magnitude_vector") => ", a part of DoRA, which is not implemented",
        _ if name.contains("lora_embedding_") => ", of an adapted token table, which is not implemented",
        _ if name.contains("modules_to_save") || name.ends_with("lm_head.weight") || name.contains("embed") => {
            ", a whole table that was trained beside the adapter, which is not implemented"
        }
        _ if name.ends_with(".lora_a") || name.ends_with(".lora_b") => {
            return Error::file(
                path,
                format!("holds {name:?}, the name that mlx-lm gives"),
                "fuse the adapter into its base with mlx_lm.fuse, and name the model that comes out",
            );
        }
        _ => "",
    };
    let fault = format!("holds {name:?}{what}, expected {PREFIX}LAYER{} and {}", ENDS[0], ENDS[1]);
    Error::file(path, fault, "merge the adapter into its base with peft")
}

fn read_factors(folder: &Path) -> Result<BTreeMap<String, [Values; 2]>> {
    let path = folder.join(WEIGHTS);
    for (other, cure) in [
        ("adapter_model.bin", "load it with peft and save it again, which writes safetensors"),
        ("adapters.safetensors", "fuse it into its base with mlx_lm.fuse, and name the model that comes out"),
    ] {
        if !path.exists() && folder.join(other).exists() {
            return Err(Error::file(folder, format!("has {other}, a format that this program does not read"), cure));
        }
    }
    let bytes = files::read(&path)?;
    let tensors = weights::parse(&path, &bytes)?;
    let mut halves: BTreeMap<String, [Option<Values>; 2]> = BTreeMap::new();
    let mut called: Option<Option<String>> = None;
    for (name, view) in tensors.iter() {
        let fault = |fault: String| Error::file(&path, fault, "merge the adapter into its base with peft");
        let (layer, half, adapter) = parts_of(name).ok_or_else(|| refusal_of(&path, name))?;
        if *called.get_or_insert_with(|| adapter.clone()) != adapter {
            let shown = |adapter: &Option<String>| adapter.clone().unwrap_or_else(|| "one without a name".to_owned());
            let both = [called.as_ref().unwrap_or(&None), &adapter].map(shown).join(" and ");
            let cure = "save the one you mean alone, with peft's save_pretrained(…, selected_adapters=[…])";
            return Err(Error::file(&path, format!("holds several adapters: {both}"), cure));
        }
        let &[rows, columns] = view.shape() else {
            return Err(fault(format!("tensor {name:?} has shape {:?}, expected a matrix", view.shape())));
        };
        let data = weights::convert(&path, name, view.dtype(), view.data(), vec![rows, columns], Precision::F32)?;
        check_finite(&path, name, &data)?;
        let values = data.try_to_vec().map_err(|e| fault(format!("tensor {name:?}: {e:?}")))?;
        let place = &mut halves.entry(layer.clone()).or_default()[half];
        if place.replace((values, [rows, columns])).is_some() {
            return Err(fault(format!("holds {name:?} twice, by different names")));
        }
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
