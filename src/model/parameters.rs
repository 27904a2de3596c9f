//! Every weight of a model by its published name.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{FloatDType, Gradients, Tensor};

use super::families::LanguageModel;
use super::family::Names;
use super::lora_layer::{Lora, is_adapter_weight};
pub use crate::device::read_back::to_host;
use crate::error::Result;
use crate::files::Array;
use crate::kernels::matmul::Held;

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
    /// The adapter that is merged into it when it is written.
    adapter: Option<(Lora, Held)>,
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
        if let (Some((adapter, held)), [weight]) = (&self.adapter, self.pieces.as_slice()) {
            let update = adapter.update(*held);
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

    /// The weight as an array of a file with the name `name`. Its values are copied to the host when they are written.
    pub fn array(self, name: String) -> Array<'static> {
        let shape = self.shape.clone();
        Array::computed(name, shape, move || self.values())
    }
}

/// Separates the published name of a table from the number of a piece.
const PIECE: char = '#';

/// The path of the weight being visited, as published.
struct Path {
    names: &'static Names,
    parts: Vec<String>,
}

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        // Names in a checkpoint contain neither the enum of families nor the struct of an adapter's two weights.
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
        let is_head = path.split(PIECE).next() == Some(self.names.head);
        if is_head { path } else { format!("{}{path}", self.names.body) }
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

struct Freezer<F> {
    path: Path,
    trains: F,
}

impl<F: FnMut(&str, &[usize]) -> bool> ModuleMapper for Freezer<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.parts.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match (self.trains)(&self.path.name(), &param.shape()) {
            true => param,
            false => param.set_require_grad(false),
        }
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
        let mut adapters: BTreeMap<String, (Lora, Held)> = BTreeMap::new();
        for (path, linear) in self.linears() {
            if let Some(adapter) = linear.adapter() {
                adapters.insert(format!("{path}.weight"), (adapter.clone(), linear.held()));
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

    /// The name of each piece of the output head, as in [`Self::gradients`].
    pub fn head_names(&self) -> Vec<String> {
        let names: Vec<String> = self.parameters().into_iter().map(|weight| weight.name).collect();
        let pieces = |table: &str| {
            let is_piece = |name: &&String| name.split(PIECE).next() == Some(table);
            names.iter().filter(is_piece).cloned().collect::<Vec<_>>()
        };
        let Names { table, head, .. } = self.about().names;
        let own = pieces(head);
        if own.is_empty() { pieces(table) } else { own }
    }

    /// The weights that a run trains and saves: those of the adapters if there are adapters, otherwise all.
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

    /// The model with each weight replaced by `replace(name, shape, values [n])`.
    pub fn map_parameters(self, replace: impl FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>) -> Self {
        let path = self.path();
        self.map(&mut Replacer { path, replace })
    }

    /// The model in which weights of which `trains(name, shape)` is false get no gradient.
    pub fn training(self, trains: impl FnMut(&str, &[usize]) -> bool) -> Self {
        let path = self.path();
        self.map(&mut Freezer { path, trains })
    }

    fn path(&self) -> Path {
        Path { names: &self.about().names, parts: Vec::new() }
    }
}
