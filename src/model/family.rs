//! What a family is: its names, its sizes, its configuration, and a decoder made of the parts in [`super::layers`].
//!
//! A family is one file in [`super::families`] and one line of the table there. Everything else reads what is said here.

use burn::tensor::{Device, Int, Tensor};
use serde_json::Value;

use super::config_file::ConfigFile;
use super::layers::{Linear, Stage};
use super::weights::WeightSource;
use crate::error::Result;
use crate::kernels::head::Head;

/// What a family calls its parts in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// What transformers puts before the weights of all but the head.
    pub body: &'static str,
    /// The token table.
    pub table: &'static str,
    /// The output head, where it is no part of the body.
    pub head: &'static str,
    /// How the names of weights end that write into the residual stream.
    pub residual: &'static [&'static str],
    /// How the names of tensors end that files hold and that are no weights.
    pub buffers: &'static [&'static str],
    /// The linear layers that PEFT adapts by itself: `auto`.
    pub adapted: &'static [&'static str],
    /// Whether matrices are stored `[in, out]` (`Conv1D`), which PEFT calls `fan_in_fan_out`.
    pub conv1d: bool,
}

/// What is known of a family before any file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The models that belong to it, as the documentation lists them.
    pub models: &'static str,
    /// What is special about them that is read, in the same place.
    pub reads: &'static str,
    /// Names in checkpoints.
    pub names: Names,
    /// The keys of `config.json` that it reads.
    pub keys: &'static [&'static [&'static str]],
    /// The keys that change the computation in some family and that this one looks at itself
    /// ([`super::config_keys`]).
    pub special: &'static [&'static str],
    /// The words in `position_embedding_type` for its kind of positions.
    pub positions: &'static [&'static str],
    /// The begin-of-text and end-of-text ids of its configuration class in transformers 5.
    pub token_ids: [Option<u32>; 2],
}

/// Words for positions that rotate queries and keys.
pub const ROTARY: &[&str] = &["rope", "rotary"];

/// The sizes of a model. Memory plans, trackers and loops read them; none of them depends on the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Entries of the token table.
    pub vocabulary: usize,
    /// The longest window, tokens.
    pub context: usize,
    /// Channels of the hidden states.
    pub width: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Channels of a head that its position rotates.
    pub rotated: usize,
    /// Channels inside the MLP.
    pub inner: usize,
    /// Whether the MLP has a gate beside what it gates.
    pub gated: bool,
    /// Whether the token table is the output head.
    pub tied: bool,
}

/// A family of models.
pub trait Family {
    /// What is known of it before any file is read.
    const ABOUT: About;

    /// What its `config.json` says beside the sizes.
    type Config: std::fmt::Debug + Clone + PartialEq;

    /// A model of it.
    type Model: Decoder;

    /// Reads the family's keys.
    ///
    /// # Errors
    /// What is missing or does not fit, and what changes the computation and is not implemented, key by key.
    fn config(file: &ConfigFile) -> Result<(Self::Config, Sizes)>;

    /// Builds the model from its weights.
    fn load(
        config: &Self::Config,
        sizes: &Sizes,
        source: &mut dyn WeightSource,
        device: &Device,
    ) -> Result<Self::Model>;

    /// Keys of the `config.json` of a tiny model, for checks: two layers of 48 channels that read 32 tokens; nothing is a
    /// multiple of a workgroup. Vocabulary and `model_type` are put in.
    fn tiny() -> Value;
}

/// A causal language model that knows nothing of files.
pub trait Decoder {
    /// The input of the first layer: `ids` `[B, T]` to `[B, T, C]`.
    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3>;

    /// The layers for windows of `time` tokens, and the last norm: hidden states go through them in order.
    fn stages(&self, time: usize, device: &Device) -> Vec<Stage<'_>>;

    /// The output head.
    fn head(&self) -> Head;

    /// The linear layers inside the transformer layers, by their paths in the checkpoint.
    fn linears(&self) -> Vec<(String, &Linear)>;

    /// The same, to be changed.
    fn linears_mut(&mut self) -> Vec<(String, &mut Linear)>;
}

/// A family in the table: what can be asked without a model.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What is known of it.
    pub about: &'static About,
    /// [`Family::tiny`].
    pub tiny: fn() -> Value,
}

/// Writes [`Decoder::linears`] and [`Decoder::linears_mut`]: the linear layers in each element of a field, whose path in
/// the checkpoint is given.
macro_rules! linears {
    ($layers:ident at $path:literal: $($part:ident . $linear:ident),+ $(,)?) => {
        fn linears(&self) -> Vec<(String, &Linear)> {
            let layers = self.$layers.iter().enumerate();
            let linears = layers.flat_map(|(i, layer)| {
                [$((concat!(stringify!($part), ".", stringify!($linear)), &layer.$part.$linear)),+]
                    .map(|(name, linear)| (format!("{}.{i}.{name}", $path), linear))
            });
            linears.collect()
        }

        fn linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
            let layers = self.$layers.iter_mut().enumerate();
            let linears = layers.flat_map(|(i, layer)| {
                [$((concat!(stringify!($part), ".", stringify!($linear)), &mut layer.$part.$linear)),+]
                    .map(|(name, linear)| (format!("{}.{i}.{name}", $path), linear))
            });
            linears.collect()
        }
    };
}
pub(super) use linears;

/// Makes the table of families, and the two types that hold any one of them: its model and its configuration. This is the
/// only place that tells families apart.
macro_rules! families {
    ($($name:ident: $family:ty),+ $(,)?) => {
        /// A causal language model of any family.
        // Only one exists at a time, so the different sizes of the families on the stack do not matter.
        #[allow(clippy::large_enum_variant)]
        #[derive(Module, Debug)]
        pub enum LanguageModel {
            $(#[doc = concat!("Of the family `", stringify!($family), "`.")] $name(<$family as Family>::Model)),+
        }

        /// What the `config.json` of any family says beside the sizes.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Architecture {
            $(#[doc = concat!("Of the family `", stringify!($family), "`.")] $name(<$family as Family>::Config)),+
        }

        /// All families, in the order in which they are named.
        pub const FAMILIES: &[Entry] =
            &[$(Entry { about: &<$family as Family>::ABOUT, tiny: <$family as Family>::tiny }),+];

        impl Architecture {
            /// Reads the keys of the family with this `model_type`; `None` where there is none.
            ///
            /// # Errors
            /// As [`Family::config`].
            pub fn read(file: &ConfigFile, model_type: &str) -> Result<Option<(Self, Sizes)>> {
                $(if model_type == <$family as Family>::ABOUT.model_type {
                    return <$family as Family>::config(file).map(|(config, sizes)| Some((Self::$name(config), sizes)));
                })+
                Ok(None)
            }

            /// What is known of its family.
            pub fn about(&self) -> &'static About {
                match self { $(Self::$name(_) => &<$family as Family>::ABOUT),+ }
            }

            /// Builds the model from its weights.
            ///
            /// # Errors
            /// What the source has to say.
            pub fn build(&self, sizes: &Sizes, source: &mut dyn WeightSource, device: &Device) -> Result<LanguageModel> {
                Ok(match self {
                    $(Self::$name(config) => {
                        LanguageModel::$name(<$family as Family>::load(config, sizes, source, device)?)
                    })+
                })
            }
        }

        impl LanguageModel {
            /// What is known of its family.
            pub fn about(&self) -> &'static About {
                match self { $(Self::$name(_) => &<$family as Family>::ABOUT),+ }
            }

            pub(crate) fn decoder(&self) -> &dyn Decoder {
                match self { $(Self::$name(model) => model),+ }
            }

            pub(crate) fn decoder_mut(&mut self) -> &mut dyn Decoder {
                match self { $(Self::$name(model) => model),+ }
            }
        }
    };
}
pub(super) use families;
