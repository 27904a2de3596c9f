//! Every weight of a model by its published name.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};

use super::LanguageModel;

/// A weight by name, in the published shape.
#[derive(Debug, Clone)]
pub struct NamedTensor {
    /// As in the checkpoint, `transformer.h.0.attn.c_attn.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values in a row, without autodiff: `[product of shape]`.
    pub values: Tensor<1>,
}

/// The path of the weight being visited, as published.
struct Path {
    /// What transformers puts before the body's weights: `transformer.` or `model.`.
    prefix: &'static str,
    parts: Vec<String>,
}

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        // The enum of families is no part of a checkpoint's names.
        self.parts.push(if container.starts_with("Enum:") { String::new() } else { name.to_owned() });
    }

    fn name(&self) -> String {
        let path = self.parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(".");
        if path.starts_with("lm_head") { path } else { format!("{}{path}", self.prefix) }
    }
}

struct Collector {
    path: Path,
    found: Vec<NamedTensor>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.parts.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val().inner();
        let shape = tensor.dims().to_vec();
        let values = tensor.reshape([shape.iter().product::<usize>()]);
        self.found.push(NamedTensor { name: self.path.name(), shape, values });
    }
}

struct GradientCollector {
    path: Path,
    gradients: Gradients,
    found: BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for GradientCollector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.parts.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad_remove(&mut self.gradients) {
            let count = gradient.shape().num_elements();
            self.found.insert(self.path.name(), gradient.reshape([count]));
        }
    }
}

struct Replacer<F> {
    path: Path,
    replace: F,
}

impl<F: FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>> ModuleMapper for Replacer<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.parts.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        param.map(|tensor| {
            let (shape, trained) = (tensor.shape(), tensor.is_require_grad());
            let values = (self.replace)(&name, &shape, tensor.inner().reshape([shape.num_elements()]));
            let tensor = values.reshape(shape);
            if trained { Tensor::from_inner(tensor).require_grad() } else { tensor }
        })
    }
}

impl LanguageModel {
    /// Every weight, in the order of the checkpoint. Tied weights appear once.
    pub fn parameters(&self) -> Vec<NamedTensor> {
        let mut collector = Collector { path: self.path(), found: Vec::new() };
        self.visit(&mut collector);
        collector.found
    }

    /// The gradient of every weight that has one, by name, its values in a row: `[n]`, without autodiff.
    pub fn gradients(&self, gradients: Gradients) -> BTreeMap<String, Tensor<1>> {
        let mut collector = GradientCollector { path: self.path(), gradients, found: BTreeMap::new() };
        self.visit(&mut collector);
        collector.found
    }

    /// The model with each weight replaced by what `replace` makes of its name, shape and values `[n]`.
    pub fn map_parameters(self, replace: impl FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>) -> Self {
        let path = self.path();
        self.map(&mut Replacer { path, replace })
    }

    fn path(&self) -> Path {
        let prefix = match self {
            Self::Gpt2(_) => "transformer.",
            Self::Llama(_) => "model.",
        };
        Path { prefix, parts: Vec::new() }
    }
}

/// Values of `tensor` on the host.
///
/// # Errors
/// The device's own failure: errors of earlier launches surface here, at the first read-back.
pub fn to_host(tensor: Tensor<1>) -> crate::error::Result<Vec<f32>> {
    let device = tensor.device();
    let failed = |fault: String| crate::error::Error::Device { device: format!("{device:?}"), fault };
    let data: TensorData = tensor.try_into_data().map_err(|e| failed(format!("{e:?}")))?;
    data.try_to_vec::<f32>().map_err(|e| failed(format!("{e:?}")))
}
