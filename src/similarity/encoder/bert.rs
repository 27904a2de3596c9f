//! BERT (Devlin et al. 2018, arXiv 1810.04805): the body of sentence encoders such as all-MiniLM-L6-v2.
//!
//! Follows `modeling_bert.py` of transformers: learned positions and token types, layer norm after each part, every
//! token looks at every other one. It has no output head here and is not a [`crate::model::LanguageModel`]: it gives vectors
//! for text, not probabilities ([`super::SentenceEncoder`]).

use std::path::Path;

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Int, Tensor};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::kernels::matmul::Held;
use crate::model::layers::{Embedding, Gelu, LayerNorm, Linear, split_heads};
use crate::model::weights::{WeightFiles, WeightSource};
use crate::model::{ConfigFile, Source};

/// `config.json` of the family, under its published names.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BertConfig {
    /// Entries of the token table.
    pub vocab_size: usize,
    /// Channels.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Channels inside the MLP.
    pub intermediate_size: usize,
    /// Longest window.
    pub max_position_embeddings: usize,
    /// Kinds of text that a window may hold; only the first is used here.
    #[serde(default = "default_types")]
    pub type_vocab_size: usize,
    /// The MLP's nonlinearity.
    #[serde(default = "default_activation")]
    pub hidden_act: Gelu,
    /// Added to the variance in every layer norm.
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f64,
}

fn default_types() -> usize {
    2
}

fn default_activation() -> Gelu {
    Gelu::Gelu
}

fn default_epsilon() -> f64 {
    1e-12
}

impl BertConfig {
    /// Reads `config.json` in `folder`.
    ///
    /// # Errors
    /// A missing file or key, another architecture, or a setting that changes the mathematics.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let file = ConfigFile::read(path.clone())?;
        match file.string("model_type")? {
            "bert" => {}
            other => {
                return Err(Error::file(
                    &path,
                    format!("`model_type` is {other:?}, and of sentence encoders only \"bert\" is implemented"),
                    "choose an encoder of this architecture, such as sentence-transformers/all-MiniLM-L6-v2",
                ));
            }
        }
        file.check_sizes()?;
        file.refuse_unless("position_embedding_type", "absolute")?;
        file.refuse_unless("is_decoder", false)?;
        file.refuse_unless("add_cross_attention", false)?;
        let config: Self = file.parse()?;
        file.require_multiple("hidden_size", config.hidden_size, "num_attention_heads", config.num_attention_heads)?;
        for (what, size) in [
            ("vocabulary", config.vocab_size),
            ("context", config.max_position_embeddings),
            ("table of token types", config.type_vocab_size),
            ("number of layers", config.num_hidden_layers),
            ("MLP", config.intermediate_size),
        ] {
            file.require_some(what, size)?;
        }
        Ok(config)
    }

    /// Weights that are read: three tables of embeddings and their norm; in each layer four square matrices, the two of the
    /// MLP, their biases, and two norms.
    pub fn weight_count(&self) -> u64 {
        let [channels, inner] = [self.hidden_size, self.intermediate_size].map(|n| n as u64);
        let rows = (self.vocab_size + self.max_position_embeddings + self.type_vocab_size) as u64;
        let layer = 4 * (channels + 1) * channels + (channels + 1) * inner + (inner + 1) * channels + 2 * 2 * channels;
        rows * channels + 2 * channels + self.num_hidden_layers as u64 * layer
    }
}

/// The model, `bert.*` of the checkpoint or without that prefix.
#[derive(Module, Debug)]
pub struct Bert {
    embeddings: Embeddings,
    layer: Vec<Layer>,
}

impl Bert {
    /// Reads the weights in `folder` onto `device`, in f32 for any format of the file.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or left over; the message names file and tensor.
    pub fn open(config: &BertConfig, folder: &Path, device: &Device) -> Result<Self> {
        let mut source = Source::of(WeightFiles::open(folder)?);
        let bert = Self::load(config, &mut source, device)?;
        let mut files = source.files;
        // Heads of other uses, and a buffer of old files.
        files.pass_over(|name| {
            let name = name.strip_prefix("bert.").unwrap_or(name);
            name.starts_with("pooler.") || name.starts_with("cls.") || name == "embeddings.position_ids"
        });
        files.finish(false)?;
        Ok(bert)
    }

    /// Builds the model from its weights.
    pub fn load(config: &BertConfig, source: &mut dyn WeightSource, device: &Device) -> Result<Self> {
        // Written by `BertModel` without the prefix, by models that have a head with it.
        let bare = source.has("embeddings.word_embeddings.weight");
        let prefix = if bare { "" } else { "bert." };
        Ok(Self {
            embeddings: Embeddings::load(config, source, &format!("{prefix}embeddings"), device)?,
            layer: (0..config.num_hidden_layers)
                .map(|i| Layer::load(config, source, &format!("{prefix}encoder.layer.{i}"), device))
                .collect::<Result<_>>()?,
        })
    }

    /// Last hidden states of `ids` `[B, T]`: `[B, T, C]`. `padding`, `[B, T]`, is true where there is no token: these
    /// positions are not attended to, and their outputs are meaningless. No row may be all padding.
    pub fn hidden_states(&self, ids: Tensor<2, Int>, padding: Option<&Tensor<2, Bool>>) -> Tensor<3> {
        // A finite floor: exp() of it is exactly 0 in f32. Added, so that it is not repeated for every head and query.
        let floor = padding.map(|mask| mask.clone().float().mul_scalar(-1e30).unsqueeze_dims(&[1, 1])); // [B, 1, 1, T]
        self.layer.iter().fold(self.embeddings.forward(ids), |x, layer| layer.forward(x, floor.as_ref()))
    }
}

#[derive(Module, Debug)]
struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    norm: LayerNorm,
}

impl Embeddings {
    fn load(config: &BertConfig, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let channels = config.hidden_size;
        let mut table =
            |name: &str, rows: usize| Embedding::load(source, &format!("{path}.{name}"), [rows, channels], device);
        Ok(Self {
            word_embeddings: table("word_embeddings", config.vocab_size)?,
            position_embeddings: table("position_embeddings", config.max_position_embeddings)?,
            token_type_embeddings: table("token_type_embeddings", config.type_vocab_size)?,
            norm: LayerNorm::load(source, &format!("{path}.LayerNorm"), channels, config.layer_norm_eps, device)?,
        })
    }

    /// `ids` `[B, T]` to `[B, T, C]`.
    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let ([_, time], device) = (ids.dims(), ids.device());
        let positions = Tensor::<1, Int>::arange(0..time as i64, &device).unsqueeze::<2>();
        let kind = self.token_type_embeddings.forward(Tensor::zeros([1, 1], &device)); // [1, 1, C]
        let places = self.position_embeddings.forward(positions) + kind; // [1, T, C]
        self.norm.forward(self.word_embeddings.forward(ids) + places)
    }
}

/// Attention and an MLP, each added to its input and then normalised.
#[derive(Module, Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    activation: Gelu,
}

impl Layer {
    fn load(config: &BertConfig, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let (channels, inner, epsilon) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let mut linear =
            |name: &str, shape| Linear::load(source, &format!("{path}.{name}"), shape, true, Held::Transposed, device);
        let (query, key, value, attention_output, intermediate, output) = (
            linear("attention.self.query", [channels, channels])?,
            linear("attention.self.key", [channels, channels])?,
            linear("attention.self.value", [channels, channels])?,
            linear("attention.output.dense", [channels, channels])?,
            linear("intermediate.dense", [channels, inner])?,
            linear("output.dense", [inner, channels])?,
        );
        let mut norm = |name: &str| LayerNorm::load(source, &format!("{path}.{name}"), channels, epsilon, device);
        Ok(Self {
            query,
            key,
            value,
            attention_output,
            attention_norm: norm("attention.output.LayerNorm")?,
            intermediate,
            output,
            output_norm: norm("output.LayerNorm")?,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
        })
    }

    /// `x` is `[B, T, C]`; `floor`, `[B, 1, 1, T]`, is added to the scores of every query.
    fn forward(&self, x: Tensor<3>, floor: Option<&Tensor<4>>) -> Tensor<3> {
        let attended = self.attention_output.forward(self.attend(x.clone(), floor));
        let x = self.attention_norm.forward(attended + x);
        let inner = self.activation.forward(self.intermediate.forward(x.clone()));
        self.output_norm.forward(self.output.forward(inner) + x)
    }

    /// `softmax(q kᵀ / √D) v` of every head: `[B, T, C]`.
    fn attend(&self, x: Tensor<3>, floor: Option<&Tensor<4>>) -> Tensor<3> {
        let [batch, time, channels] = x.dims();
        let [q, k, v] =
            [&self.query, &self.key, &self.value].map(|linear| split_heads(linear.forward(x.clone()), self.heads)); // [B, H, T, D]
        let scale = ((channels / self.heads) as f64).powf(-0.5);
        let scores = (q * scale).matmul(k.swap_dims(2, 3)); // [B, H, T, T]
        let scores = match floor {
            Some(floor) => scores + floor.clone(),
            None => scores,
        };
        softmax(scores, 3).matmul(v).swap_dims(1, 2).reshape([batch, time, channels])
    }
}
