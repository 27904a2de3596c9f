//! `config.json`: which architecture, which sizes, and whether anything in it changes the mathematics.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::gpt_neox::GptNeoxConfig;
use super::gpt2::Gpt2Config;
use super::llama::{Family, LlamaConfig};
use super::lora::Adapter;
use super::rotary::RopeScaling;
use crate::error::{Error, Result};
use crate::files;

/// Keys that alter the computation in some architecture, with the `model_type`s here that implement them. For all others
/// any value but the ones that switch the feature off is refused by name.
const SPECIAL: &[(&str, &[&str])] = &[
    ("quantization_config", &[]),
    ("sliding_window", &["mistral", "qwen2", "qwen3"]),
    ("attn_logit_softcapping", &[]),
    ("final_logit_softcapping", &[]),
    ("query_pre_attn_scalar", &[]),
    ("logit_scale", &[]),
    ("logits_scaling", &[]),
    ("embedding_multiplier", &[]),
    ("residual_multiplier", &[]),
    ("attention_multiplier", &[]),
    ("use_qk_norm", &[]),
    ("qk_norm", &[]),
    ("clip_qkv", &["olmo"]),
    ("alibi", &[]),
    ("parallel_attn", &[]),
    ("use_parallel_residual", &["gpt_neox"]),
    ("num_experts", &[]),
    ("num_local_experts", &[]),
    ("no_rope_layers", &[]),
];

/// The largest value of each size, far above that of any model: products of two do not overflow, and what is tabulated
/// from one of them stays small.
const SIZES: &[(&str, u64)] = &[
    ("vocab_size", i32::MAX as u64), // ids are 32-bit numbers with a sign on the device
    ("n_positions", i32::MAX as u64),
    ("max_position_embeddings", i32::MAX as u64),
    ("n_embd", LARGEST_WIDTH),
    ("n_inner", LARGEST_WIDTH),
    ("n_head", LARGEST_WIDTH),
    ("type_vocab_size", LARGEST_WIDTH),
    ("hidden_size", LARGEST_WIDTH),
    ("intermediate_size", LARGEST_WIDTH),
    ("num_attention_heads", LARGEST_WIDTH),
    ("num_key_value_heads", LARGEST_WIDTH),
    ("head_dim", LARGEST_WIDTH),
    ("n_layer", 1 << 16),
    ("num_hidden_layers", 1 << 16),
];
const LARGEST_WIDTH: u64 = 1 << 24;

/// The architectures that can be read, with their sizes.
#[derive(Debug, Clone, PartialEq)]
pub enum Architecture {
    /// GPT-2.
    Gpt2(Gpt2Config),
    /// LLaMA 1, 2, 3, Mistral, Qwen 2 and 3.
    Llama(LlamaConfig),
    /// OLMo 1, 2.
    Olmo(LlamaConfig),
    /// GPT-NeoX, Pythia.
    GptNeox(GptNeoxConfig),
}

/// What a model folder's `config.json` says.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The family and its sizes.
    pub architecture: Architecture,
    /// The end-of-text token that separates documents.
    pub eos_token_id: Option<u32>,
    /// The begin-of-text token.
    pub bos_token_id: Option<u32>,
    /// The file as it is, carried along when the model is saved.
    pub json: Map<String, Value>,
}

impl ModelConfig {
    /// Reads `config.json` in `folder`.
    ///
    /// # Errors
    /// A missing file or key, an architecture that is not implemented, or a setting that changes the mathematics.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        if !folder.is_dir() {
            return Err(Error::file(
                folder,
                "no such model folder",
                "give a folder with config.json, model.safetensors and tokenizer.json",
            ));
        }
        if !path.exists() && Adapter::is_in(folder) {
            return Err(Error::file(
                folder,
                "holds an adapter, no whole model",
                "name its base, or a folder that `adapt --merge` or peft's merge_and_unload made",
            ));
        }
        Self::parse(ConfigFile::read(path)?)
    }

    /// The same from JSON that is not a file; `place` names it in errors.
    pub fn from_json(place: impl Into<PathBuf>, json: Map<String, Value>) -> Result<Self> {
        Self::parse(ConfigFile { path: place.into(), json })
    }

    fn parse(file: ConfigFile) -> Result<Self> {
        let model_type = file.string("model_type")?;
        for (key, _) in SPECIAL.iter().filter(|(_, families)| !families.contains(&model_type)) {
            let off = match file.json.get(*key) {
                None | Some(Value::Null | Value::Bool(false)) => true,
                Some(Value::Number(n)) => n.as_f64() == Some(0.0),
                Some(Value::Array(items)) => items.is_empty(),
                Some(_) => false,
            };
            if !off {
                return Err(file.refusal(key, "changes the computation and is not implemented"));
            }
        }
        file.check_sizes()?;
        let llama = |family| LlamaConfig::read(&file, family).map(Architecture::Llama);
        let olmo = |family| LlamaConfig::read(&file, family).map(Architecture::Olmo);
        let architecture = match model_type {
            "gpt2" => Architecture::Gpt2(Gpt2Config::read(&file)?),
            "llama" => llama(Family::Llama)?,
            "mistral" => llama(Family::Mistral)?,
            "qwen2" => llama(Family::Qwen2)?,
            "qwen3" => llama(Family::Qwen3)?,
            "olmo" => olmo(Family::Olmo)?,
            "olmo2" => olmo(Family::Olmo2)?,
            "gpt_neox" => Architecture::GptNeox(GptNeoxConfig::read(&file)?),
            other => {
                return Err(Error::file(
                    &file.path,
                    format!(
                        "`model_type` is {other:?}; implemented are \"gpt2\", \"llama\", \"mistral\", \"qwen2\", \"qwen3\", \
                         \"olmo\", \"olmo2\" and \"gpt_neox\""
                    ),
                    "choose a model of one of these architectures",
                ));
            }
        };
        let config = Self {
            architecture,
            eos_token_id: file.token_id("eos_token_id")?,
            bos_token_id: file.token_id("bos_token_id")?,
            json: file.json.clone(),
        };
        for (key, size) in [
            ("vocabulary", config.vocabulary()),
            ("context", config.context()),
            ("layers", config.layers()),
            ("width", config.channels()),
        ] {
            file.require_some(key, size)?;
        }
        Ok(config)
    }

    /// Entries of the token table.
    pub fn vocabulary(&self) -> usize {
        match &self.architecture {
            Architecture::Gpt2(c) => c.vocab_size,
            Architecture::Llama(c) | Architecture::Olmo(c) => c.vocab_size,
            Architecture::GptNeox(c) => c.vocab_size,
        }
    }

    /// The longest window the model can read, tokens.
    pub fn context(&self) -> usize {
        match &self.architecture {
            Architecture::Gpt2(c) => c.n_positions,
            Architecture::Llama(c) | Architecture::Olmo(c) => c.max_position_embeddings,
            Architecture::GptNeox(c) => c.max_position_embeddings,
        }
    }

    /// Channels of the hidden states.
    pub fn channels(&self) -> usize {
        match &self.architecture {
            Architecture::Gpt2(c) => c.n_embd,
            Architecture::Llama(c) | Architecture::Olmo(c) => c.hidden_size,
            Architecture::GptNeox(c) => c.hidden_size,
        }
    }

    /// Whether the token table is the output head.
    pub fn tied_head(&self) -> bool {
        match &self.architecture {
            Architecture::Gpt2(c) => c.tie_word_embeddings,
            Architecture::Llama(c) | Architecture::Olmo(c) => c.tie_word_embeddings,
            Architecture::GptNeox(c) => c.tie_word_embeddings,
        }
    }

    /// Transformer blocks.
    pub fn layers(&self) -> usize {
        match &self.architecture {
            Architecture::Gpt2(c) => c.n_layer,
            Architecture::Llama(c) | Architecture::Olmo(c) => c.num_hidden_layers,
            Architecture::GptNeox(c) => c.num_hidden_layers,
        }
    }
}

/// A `config.json` being read, for errors that name file and key.
pub struct ConfigFile {
    path: PathBuf,
    json: Map<String, Value>,
}

impl ConfigFile {
    /// Reads the file at `path`.
    pub fn read(path: PathBuf) -> Result<Self> {
        let json = files::read_json(&path)?;
        Ok(Self { path, json })
    }

    /// Refuses sizes that no model has.
    pub fn check_sizes(&self) -> Result<()> {
        for (key, most) in SIZES {
            if self.json.get(*key).and_then(Value::as_u64).is_some_and(|size| size > *most) {
                return Err(self.fault(format!("`{key}` is {}, expected at most {most}", self.json[*key])));
            }
        }
        Ok(())
    }

    /// Refuses a `size` of 0.
    pub fn require_some(&self, what: &str, size: usize) -> Result<()> {
        match size {
            0 => Err(Error::file(&self.path, format!("its {what} has size 0"), "restore the file")),
            _ => Ok(()),
        }
    }

    /// The family's keys as a typed structure.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        self.parse_with(Vec::new())
    }

    /// The same, with these values for keys that the file lacks.
    pub fn parse_with<T: DeserializeOwned>(&self, defaults: Vec<(&str, Value)>) -> Result<T> {
        let mut json = self.json.clone();
        for (key, value) in defaults {
            json.entry(key).or_insert(value);
        }
        // Through text with one key a line, because the error then knows a line, and so the key.
        let text = serde_json::to_string_pretty(&json).unwrap_or_default();
        serde_json::from_str(&text).map_err(|e| {
            let line =
                text.lines().nth(e.line().saturating_sub(1)).map_or("", |line| line.trim().trim_end_matches(','));
            let message = e.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            let fault = match line.starts_with('"') {
                true => format!("{line} does not fit: {message}"),
                false => format!("not a complete configuration: {message}"),
            };
            Error::file(&self.path, fault, "restore the file from the model's source")
        })
    }

    /// Refuses the file unless `key` is absent, null or `implemented`.
    pub fn refuse_unless(&self, key: &str, implemented: impl Into<Value>) -> Result<()> {
        let implemented = implemented.into();
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if *value == implemented => Ok(()),
            Some(_) => Err(self.refusal(key, &format!("only {implemented} is implemented"))),
        }
    }

    /// Refuses sizes of which the first is not a multiple of the second.
    pub fn require_multiple(&self, key: &str, value: usize, of: &str, divisor: usize) -> Result<()> {
        if divisor != 0 && value != 0 && value.is_multiple_of(divisor) {
            return Ok(());
        }
        Err(Error::file(
            &self.path,
            format!("`{key}` = {value} is not a multiple of {of} = {divisor}"),
            "restore the file",
        ))
    }

    /// Base and scaling of rotary positions: `rope_theta` + `rope_scaling` (transformers 4) or `rope_parameters` (5).
    pub fn rope(&self) -> Result<(f64, RopeScaling)> {
        let (theta, scaling, share) = self.partial_rope("rope_theta", "partial_rotary_factor", 1.0)?;
        if share != 1.0 {
            let inside = |key: &&str| self.json.get(*key).is_some_and(|v| v.get("partial_rotary_factor").is_some());
            let key = ["rope_parameters", "rope_scaling"].into_iter().find(inside).unwrap_or("partial_rotary_factor");
            return Err(self.refusal(key, "a partial rotation is not implemented for this architecture"));
        }
        Ok((theta, scaling))
    }

    /// The same, and the share of a head's channels that is rotated, `partial_rotary_factor` of `rope_parameters`. Where
    /// there is no `rope_parameters`, base and share stand under the keys given; `share` applies where neither says it.
    pub fn partial_rope(&self, theta_key: &str, share_key: &str, share: f64) -> Result<(f64, RopeScaling, f64)> {
        let scaling = ["rope_parameters", "rope_scaling"].iter().find_map(|key| match self.json.get(*key) {
            None | Some(Value::Null) => None,
            Some(value) => Some((*key, value)),
        });
        let number = |inner: &str, outer: &str| {
            scaling.and_then(|(_, value)| value.get(inner)).or(self.json.get(outer)).and_then(Value::as_f64)
        };
        let theta = number("rope_theta", theta_key).unwrap_or(10_000.0);
        let share = number("partial_rotary_factor", share_key).unwrap_or(share);
        let Some((key, value)) = scaling else {
            return Ok((theta, RopeScaling::Default, share));
        };
        // Before transformers 4.43 the kind stood under "type".
        let mut value = value.clone();
        if let Some(object) = value.as_object_mut()
            && !object.contains_key("rope_type")
        {
            let kind = object.get("type").cloned().unwrap_or_else(|| "default".into());
            object.insert("rope_type".into(), kind);
        }
        let scaling = serde_json::from_value(value).map_err(|e| {
            self.refusal(
                key,
                &format!("implemented are \"default\", \"linear\" and \"llama3\", each with all its numbers ({e})"),
            )
        })?;
        Ok((theta, scaling, share))
    }

    /// A key that is text.
    pub fn string(&self, key: &str) -> Result<&str> {
        self.json.get(key).and_then(Value::as_str).ok_or_else(|| {
            Error::file(&self.path, format!("has no `{key}`"), "restore the file from the model's source")
        })
    }

    /// A token id; the first one where the file lists several.
    fn token_id(&self, key: &str) -> Result<Option<u32>> {
        let value = match self.json.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(items)) => items.first().unwrap_or(&Value::Null),
            Some(value) => value,
        };
        match value.as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(id) => Ok(Some(id)),
            None => Err(Error::file(&self.path, format!("`{key}` is {value}, not a token id"), "restore the file")),
        }
    }

    /// An error about the file as a whole.
    pub fn fault(&self, fault: impl Into<String>) -> Error {
        Error::file(&self.path, fault, "restore the file from the model's source")
    }

    /// An error that names `key` and its value.
    pub fn refusal(&self, key: &str, why: &str) -> Error {
        let value = self.json.get(key).unwrap_or(&Value::Null);
        Error::file(&self.path, format!("`{key}` is {value}: {why}"), "choose a model without this setting")
    }
}
