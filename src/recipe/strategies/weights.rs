//! The trained weights of a model by name.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Tensor;

use crate::model::LanguageModel;

/// The weights that a run trains, by name: those of `model`, which is free of autodiff.
pub(super) fn weights_by_name(model: &LanguageModel) -> BTreeMap<String, Tensor<1>> {
    model.trained().into_iter().map(|weight| (weight.name, weight.values)).collect()
}

/// The same of a model that is being trained.
pub(super) fn now_of(model: &LanguageModel) -> BTreeMap<String, Tensor<1>> {
    weights_by_name(&model.valid())
}

/// The model with these weights in place of its own.
pub(super) fn with_weights(model: LanguageModel, mut weights: BTreeMap<String, Tensor<1>>) -> LanguageModel {
    model.map_parameters(|name, _, weight| weights.remove(name).unwrap_or(weight))
}
