//! Language models: reading them from Hugging Face folders, computing with them, writing them back.
//!
//! A model is read from `config.json` ([`config`]) and safetensors files ([`weights`]), built of the parts in
//! [`layers`] by one short file for each family ([`families`]), and saved so that transformers loads it unchanged
//! ([`save()`]). [`lora`] adds small trained parts to a frozen model; [`peft`] reads those that others made.

mod adapter_folder;
mod adapters;
pub mod config;
mod config_file;
mod config_keys;
pub mod families;
pub mod family;
mod folder_weights;
mod language_model;
pub mod layers;
mod loaded;
mod loading;
pub mod lora;
mod lora_layer;
mod numbers;
pub mod parameters;
pub mod peft;
mod reading;
pub mod rope_scaling;
pub mod rotary;
mod save;
mod weight_formats;
mod weight_names;
pub mod weights;

pub use config::ModelConfig;
pub use config_file::ConfigFile;
pub use families::{Architecture, FAMILIES, LanguageModel};
pub use folder_weights::FolderWeights;
pub use language_model::token_ids;
pub use loaded::LoadedModel;
pub(crate) use loading::Source;
pub use lora::LoraSettings;
pub use peft::{Adapter, AdapterUpdates};
pub use save::{COMPANIONS, save, save_arrays};

pub use crate::device::precision::Precision;
pub use crate::kernels::head::Head;
pub use crate::kernels::table::Table;
