//! Every weight of a model by its published name.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{FloatDType, Gradients, Tensor, TensorData};

use super::LanguageModel;
use super::layers::Layout;
use super::lora::{Lora, is_adapter_weight};
use super::weight_names::WeightNames;
use crate::device::faults::failure;
use crate::error::Result;
use crate::files::Array;

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

/// A weight as a checkpoint holds it: pieces of a table are put together again.
#[derive(Debug, Clone)]
pub struct PublishedTensor {
    /// Its published name.
    pub name: String,
    /// Its published shape.
    pub shape: Vec<usize>,
    /// Its rows in order, cut as they are held.
    pieces: Vec<Tensor<1>>,
    /// What is merged into it when its turn comes.
    adapter: Option<(Lora, Layout)>,
}

impl From<NamedTensor> for PublishedTensor {
    fn from(NamedTensor { name, shape, values }: NamedTensor) -> Self {
        Self { name, shape, pieces: vec![values], adapter: None }
    }
}

impl PublishedTensor {
    /// Its values on the host, row-major.
    ///
    /// # Errors
    /// The device's failure.
    pub fn values(&self) -> Result<Vec<f32>> {
        if let (Some((adapter, layout)), [weight]) = (&self.adapter, self.pieces.as_slice()) {
            let update = adapter.update(*layout);
            let count = update.shape().num_elements();
            return to_host(weight.clone().cast(FloatDType::F32) + update.reshape([count]));
        }
        let mut pieces = self.pieces.iter().map(|piece| to_host(piece.clone()));
        let mut values = pieces.next().unwrap_or(Ok(Vec::new()))?;
        for piece in pieces {
            values.extend(piece?);
        }
        Ok(values)
    }

    /// It as an array of a file, called `name` there; the values come to the host when they are written.
    pub fn array(self, name: String) -> Array<'static> {
        let shape = self.shape.clone();
        Array::computed(name, shape, move || self.values())
    }
}

/// Stands between a table's published name and the number of a piece of it.
const PIECE: char = '#';

/// The path of the weight being visited, as published.
struct Path {
    /// What transformers puts before the body's weights: `transformer.`, `model.` or `gpt_neox.`.
    prefix: &'static str,
    parts: Vec<String>,
}

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        // The enum of families is no part of a checkpoint's names, nor is what holds an adapter's two weights.
        let unnamed = container.starts_with("Enum:") || name == "adapter";
        self.parts.push(if unnamed { String::new() } else { name.to_owned() });
    }

    /// `h.0.attn.c_attn.weight`; pieces of a table after the first are `wte.weight#1`, `wte.weight#2`, …
    fn name(&self) -> String {
        let mut parts: Vec<&str> = self.parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect();
        let piece = match parts[..] {
            [.., "weight", piece] => {
                parts.pop();
                Some(piece).filter(|piece| *piece != "0")
            }
            _ => None,
        };
        let path = piece.map_or_else(|| parts.join("."), |piece| format!("{}{PIECE}{piece}", parts.join(".")));
        let head = path.starts_with("lm_head.") || path.starts_with("embed_out.");
        if head { path } else { format!("{}{path}", self.prefix) }
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
        let weight = param.val();
        if !weight.is_require_grad() {
            return; // frozen below adapters
        }
        if let Some(gradient) = weight.grad_remove(&mut self.gradients) {
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
    /// Every weight, in the order of the checkpoint. Tied weights appear once, a table in pieces once per piece.
    pub fn parameters(&self) -> Vec<NamedTensor> {
        let mut collector = Collector { path: self.path(), found: Vec::new() };
        self.visit(&mut collector);
        collector.found
    }

    /// Every weight as a checkpoint holds it, adapters merged.
    pub fn published(&self) -> Vec<PublishedTensor> {
        let mut adapters: BTreeMap<String, (Lora, Layout)> = BTreeMap::new();
        for (path, linear) in self.clone().linears() {
            if let Some(adapter) = linear.adapter() {
                adapters.insert(format!("{path}.weight"), (adapter.clone(), linear.layout()));
            }
        }
        let mut whole: Vec<PublishedTensor> = Vec::new();
        for NamedTensor { name, shape, values } in self.parameters() {
            match whole.last_mut() {
                Some(table) if name.contains(PIECE) => {
                    table.shape[0] += shape[0];
                    table.pieces.push(values);
                }
                _ if is_adapter_weight(&name) => {}
                _ => {
                    let adapter = adapters.remove(&name);
                    whole.push(PublishedTensor { adapter, ..NamedTensor { name, shape, values }.into() });
                }
            }
        }
        whole
    }

    /// The name of each piece of the output head, as [`Self::gradients`] has it.
    pub fn head_names(&self) -> Vec<String> {
        let names: Vec<String> = self.parameters().into_iter().map(|weight| weight.name).collect();
        let pieces = |table: &str| {
            let is_piece = |name: &&String| name.split(PIECE).next() == Some(table);
            names.iter().filter(is_piece).cloned().collect::<Vec<_>>()
        };
        let WeightNames { table, head, .. } = self.names();
        let own = pieces(head);
        if own.is_empty() { pieces(table) } else { own }
    }

    /// What a run trains and keeps: the adapters' weights where there are adapters, else every weight.
    pub fn trained(&self) -> Vec<NamedTensor> {
        let mut weights = self.parameters();
        if weights.iter().any(|weight| is_adapter_weight(&weight.name)) {
            weights.retain(|weight| is_adapter_weight(&weight.name));
        }
        weights
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

    fn names(&self) -> WeightNames {
        match self {
            Self::Gpt2(_) => WeightNames::GPT2,
            Self::Llama(_) | Self::Olmo(_) => WeightNames::LLAMA,
            Self::GptNeox(_) => WeightNames::GPT_NEOX,
        }
    }

    fn path(&self) -> Path {
        Path { prefix: self.names().body, parts: Vec::new() }
    }
}

/// Values of `tensor` on the host, in f32.
///
/// # Errors
/// The device's own failure: errors of earlier launches surface here, at the first read-back.
pub fn to_host(tensor: Tensor<1>) -> Result<Vec<f32>> {
    let device = tensor.device();
    let data: TensorData = tensor.cast(FloatDType::F32).try_into_data().map_err(|e| failure(&device, e))?;
    data.try_to_vec::<f32>().map_err(|e| failure(&device, e))
}
