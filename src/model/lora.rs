//! Low-rank adapters (LoRA, arXiv 2106.09685): `y = x W + s · B (A x)`, of which only `A` and `B` are trained.
//!
//! Names, files and first values are those of PEFT, which loads what is written here and whose folders are read
//! (`adapter_config.json`, `adapter_model.safetensors`). `A` is `[r, in]` and `B` is `[out, r]`; the scale `s` is
//! alpha / r, with rsLoRA (arXiv 2312.03732) alpha / √r. The base stays as it is held, in 16 bits too, and is shared by
//! all models made from it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::adapter_folder::{CONFIG, PREFIX, WEIGHTS};
use super::adapters::{attach, fits, last_part, layer_names, linear_layers, scale};
use super::config::ModelConfig;
use super::families::LanguageModel;
use super::loaded::LoadedModel;
pub use super::lora_layer::is_adapter_weight;
use super::lora_layer::{Dropout, Lora};
use super::parameters::PublishedTensor;
use crate::error::{Error, Result};
use crate::files::{self, Array};

/// A new adapter's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSettings {
    /// LoRA: the rank of every adapter.
    #[arg(long = "lora-rank", value_name = "N", default_value_t = Self::default().rank)]
    pub rank: usize,
    /// LoRA: the output of an adapter is multiplied by alpha / rank.
    #[arg(long = "lora-alpha", value_name = "NUMBER", default_value_t = Self::default().alpha)]
    pub alpha: f64,
    /// LoRA: the share of an adapter's inputs that are left out at random in training.
    #[arg(long = "lora-dropout", value_name = "SHARE", default_value_t = Self::default().dropout)]
    pub dropout: f64,
    /// LoRA: the layers that get an adapter: `auto` (PEFT's choice for the family: queries and values), `all` (every
    /// linear layer inside the model's layers), or names such as q_proj,v_proj.
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

/// The number of weights of adapters, and the width of the layers that they adapt.
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
        let refuse = |key, value: String, cure: &str| Err(Error::key(key, format!("is {value}"), cure));
        if self.rank == 0 {
            return refuse("lora.rank", "0".into(), "use at least 1");
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return refuse("lora.alpha", self.alpha.to_string(), "use a number above 0");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("lora.dropout", self.dropout.to_string(), "use a share from 0 to below 1");
        }
        Ok(())
    }

    fn scale(&self) -> f64 {
        scale(self.alpha, self.rank, self.rslora)
    }

    /// The layers that get an adapter: their paths and `[in, out]`.
    ///
    /// # Errors
    /// A name that matches no linear layer (the message lists them); a rank above that of all of them.
    pub fn layers(&self, config: &ModelConfig) -> Result<Vec<(String, [usize; 2])>> {
        self.check()?;
        let all = linear_layers(config)?;
        let is = |word: &str| self.targets.len() == 1 && self.targets[0] == word;
        let wanted: Vec<&str> = match is("auto") {
            true => config.names().adapted.to_vec(),
            false => self.targets.iter().map(String::as_str).collect(),
        };
        if let (false, Some(unknown)) =
            (is("all"), wanted.iter().find(|target| !all.iter().any(|(path, _)| fits(path, target))))
        {
            let fault = format!("{unknown:?} is not a linear layer of this model, which has {}", layer_names(&all));
            return Err(Error::key("lora.targets", fault, "name some of these, or auto or all"));
        }
        let chosen: Vec<_> =
            all.into_iter().filter(|(path, _)| is("all") || wanted.iter().any(|target| fits(path, target))).collect();
        let most = chosen.iter().map(|(_, [input, output])| *input.min(output)).max().unwrap_or(0);
        if self.rank > most {
            let fault = format!("is {}, and no layer to adapt has a rank above {most}", self.rank);
            return Err(Error::key("lora.rank", fault, "use a smaller one; 4 to 64 is usual"));
        }
        Ok(chosen)
    }

    /// Their size.
    ///
    /// # Errors
    /// As [`Self::layers`].
    pub fn size(&self, config: &ModelConfig) -> Result<AdapterSize> {
        let layers = self.layers(config)?;
        let [inputs, outputs] = [0, 1].map(|side| layers.iter().map(|(_, sizes)| sizes[side] as u64).sum::<u64>());
        let masked = if self.dropout > 0.0 { inputs } else { 0 };
        Ok(AdapterSize { weights: self.rank as u64 * (inputs + outputs), masked })
    }

    /// `base` with new adapters, which do not change the output yet: `A` as PEFT draws it (Kaiming-uniform with a = √5:
    /// within ±1/√in), `B` zero. Only they can be trained.
    ///
    /// # Errors
    /// As [`Self::layers`]; a base that has adapters already.
    pub fn attach(&self, base: &LoadedModel, seed: u64) -> Result<LanguageModel> {
        let chosen: BTreeMap<String, [usize; 2]> = self.layers(&base.config)?.into_iter().collect();
        let mut layer = 0;
        attach(base, |path| {
            let Some(&[input, output]) = chosen.get(path) else { return Ok(None) };
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(layer);
            let bound = (input as f64).powf(-0.5);
            let mut uniform = || bound * (f64::from(rng.next_u32()) / 2f64.powi(31) - 1.0);
            let a = (0..self.rank * input).map(|_| uniform() as f32).collect();
            let dropout = Dropout { rate: self.dropout, seed, layer, step: 0, window: 0 };
            layer += 1;
            let dropout = (self.dropout > 0.0).then_some(dropout);
            Ok(Some(Lora::fresh(a, [self.rank, input, output], self.scale(), dropout, &base.device)))
        })
    }

    /// Writes the adapters of `model`, made by these settings upon `base`, into the folder `into`, which exists, as PEFT
    /// does.
    pub fn save(&self, model: &LanguageModel, base: &LoadedModel, into: &Path) -> Result<()> {
        let targets: BTreeSet<String> =
            self.layers(&base.config)?.iter().map(|(path, _)| last_part(path).to_owned()).collect();
        // A target such as `attn.c_proj` must keep all its parts, so the requested names are written.
        let named = self.targets.iter().any(|target| !["auto", "all"].contains(&target.as_str()));
        let targets = if named { json!(self.targets) } else { json!(targets) };
        // Whole numbers without a point, as PEFT has them.
        let alpha = if self.alpha.fract() == 0.0 { json!(self.alpha as i64) } else { json!(self.alpha) };
        let config = json!({
            "alpha_pattern": {},
            "base_model_name_or_path": base.name,
            "bias": "none",
            "fan_in_fan_out": base.config.names().conv1d,
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

impl LanguageModel {
    /// Sets the step (counted from 1) and the windows that are computed next; dropout depends on them. Step 0 means no
    /// training.
    pub fn begin_windows(&mut self, step: u64, window: u64) {
        for (_, linear) in self.linears_mut() {
            if let Some(dropout) = linear.adapter_mut().and_then(Lora::dropout_mut) {
                (dropout.step, dropout.window) = (step, window);
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
