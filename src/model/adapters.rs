//! What all adapters have in common, whoever made them: which layers they mean, and how they are put upon a base.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::Module;
use burn::tensor::Device;

use super::config::ModelConfig;
use super::families::LanguageModel;
use super::loaded::LoadedModel;
use super::lora_layer::Lora;
use super::weights::Shapes;
use crate::error::{Error, Result};
use crate::kernels::matmul::Held;

pub(super) fn scale(alpha: f64, rank: usize, rslora: bool) -> f64 {
    alpha / if rslora { (rank as f64).sqrt() } else { rank as f64 }
}

/// Whether PEFT's `target` means the layer at `path`: all of it, or its last parts.
pub(super) fn fits(path: &str, target: &str) -> bool {
    path.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

pub(super) fn last_part(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, last)| last)
}

pub(super) fn layer_names(layers: &[(String, [usize; 2])]) -> String {
    let names: BTreeSet<&str> = layers.iter().map(|(path, _)| last_part(path)).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// Every linear layer inside the transformer layers, its path and `[in, out]`, without the weights.
pub(super) fn linear_layers(config: &ModelConfig) -> Result<Vec<(String, [usize; 2])>> {
    let mut shapes = Shapes::default();
    let model = LanguageModel::build(config, &mut shapes, &Device::flex())?;
    let shapes: BTreeMap<String, Vec<usize>> = shapes.found.into_iter().collect();
    let layers = model.linears().into_iter().filter_map(|(path, linear)| {
        let [rows, columns] = *shapes.get(&format!("{path}.weight"))?.as_slice() else { return None };
        let sizes = match linear.held() {
            Held::Plain => [rows, columns],
            Held::Transposed => [columns, rows],
        };
        Some((path, sizes))
    });
    Ok(layers.collect())
}

/// `base`, frozen, with the adapter that `make` gives for each linear layer from its path. No weight is copied.
pub(super) fn attach(base: &LoadedModel, mut make: impl FnMut(&str) -> Result<Option<Lora>>) -> Result<LanguageModel> {
    if base.model.has_adapters() {
        let place = base.folder.display();
        return Err(Error::input(place, "has an adapter already", "name the base model, or a merged model"));
    }
    let mut model = base.model.clone().no_grad();
    for (path, linear) in model.linears_mut() {
        linear.set_adapter(make(&path)?);
    }
    Ok(model)
}
