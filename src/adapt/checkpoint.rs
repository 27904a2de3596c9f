//! A run's whole state in one file that appears whole or not at all.
//!
//! A safetensors file, sealed by a checksum, with the weights now (`model.*`), the best weights so far (`best.*`) and the
//! optimiser's moments (`first.*`, `second.*`) by published names, and what strategies remember (`strategy.*`); its metadata holds the [`Position`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::micro_batch::Smaller;
use super::optimizer::AdamW;
use super::result::{Best, Curves};
use super::step::LossScale;
use crate::error::{Error, Result};
use crate::files::{self, Array, Sealed, Unsealed};
use crate::message::Message;
use crate::model::LanguageModel;
use crate::model::parameters::to_host;
use crate::recipe::Remembered;

/// The format's version; others are refused by name.
const FORMAT: u32 = 2;
/// The key of the metadata that holds the [`Position`].
const POSITION: &str = "position";
/// What stands before the names of what strategies remember.
const STRATEGY: &str = "strategy.";

/// Settings that change the result by rounding alone. A run that ran out of memory may be resumed with other values of
/// these.
const ROUNDING_ALONE: [&str; 2] = ["settings.micro_batch", "settings.gradient_checkpointing"];

/// How far a run has come, and what determines it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Position {
    format: u32,
    /// Steps done.
    pub step: u64,
    /// Losses so far.
    pub curves: Curves,
    /// The best validation so far.
    pub best: Best,
    /// Seconds of training so far.
    pub seconds: f64,
    /// The scale of the gradients, if they are scaled.
    #[serde(default, skip_serializing_if = "LossScale::is_none")]
    pub loss_scale: LossScale,
    /// Targets trained on so far; absent in files of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// What strategies remember beside arrays.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub strategies: Value,
    /// The steps from which fewer windows were computed at once than asked for. A resumed run begins with the last of
    /// these numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smaller_micro_batches: Vec<Smaller>,
    /// Everything that determines the run; a checkpoint is resumed only if all of it is the same.
    pub determined_by: Value,
}

impl Position {
    /// The position of a run after `step` steps.
    pub fn new(step: u64, curves: Curves, best: Best, seconds: f64, determined_by: Value) -> Self {
        Self {
            format: FORMAT,
            step,
            curves,
            best,
            seconds,
            loss_scale: LossScale::default(),
            tokens: None,
            strategies: Value::Null,
            smaller_micro_batches: Vec::new(),
            determined_by,
        }
    }
}

/// A run's state.
pub struct Checkpoint {
    /// How far it has come.
    pub position: Position,
    /// The weights now, without autodiff.
    pub model: LanguageModel,
    /// The best weights so far, without autodiff.
    pub best: LanguageModel,
    /// The optimiser.
    pub optimizer: AdamW,
    /// What the strategies remember.
    pub strategies: Remembered,
}

impl Checkpoint {
    /// Writes the state to `path`, whole; an older checkpoint there stays until this one is complete.
    pub fn write(&self, path: &Path) -> Result<()> {
        let flat = |name: String, values: Tensor<1>| {
            Array::computed(name, vec![values.dims()[0]], move || to_host(values.clone()))
        };
        let mut arrays: Vec<Array<'_>> = Vec::new();
        for (prefix, model) in [("model", &self.model), ("best", &self.best)] {
            arrays.extend(model.trained().into_iter().map(|p| flat(format!("{prefix}.{}", p.name), p.values)));
        }
        for (name, [first, second]) in self.optimizer.state() {
            arrays.push(flat(format!("first.{name}"), first));
            arrays.push(flat(format!("second.{name}"), second));
        }
        let remembered = self.strategies.arrays.iter();
        arrays.extend(remembered.map(|(key, values)| flat(format!("{STRATEGY}{key}"), values.clone())));
        let position = Position { strategies: self.strategies.values.clone(), ..self.position.clone() };
        let position = serde_json::to_string(&position)
            .map_err(|e| Error::file(path, format!("cannot be laid out: {e}"), "report this"))?;
        files::write_sealed(path, arrays, (POSITION, position))
    }

    /// Reads the state at `path` into a model of the shape of `model`, and the moments into `optimizer`.
    ///
    /// # Errors
    /// The file is not a checkpoint, has another format, or belongs to a run with other settings; the message shows the
    /// difference.
    pub fn read(
        path: &Path,
        model: &LanguageModel,
        mut optimizer: AdamW,
        device: &Device,
        determined_by: &Value,
    ) -> Result<Self> {
        let cure = Message::new("start again without ").key("resume").then(", or remove the file");
        let broken = |fault: String| Error::file(path, fault, cure.clone());
        let mut sealed = Sealed::open(path, POSITION)?.map_err(|unsealed| match unsealed {
            Unsealed::WithoutSeal(position) if is_of_format_1(&position) => {
                broken("is of checkpoint format 1, which an older version of this program wrote".into())
            }
            Unsealed::WithoutSeal(_) => broken("not a whole checkpoint: it has no checksum".into()),
            Unsealed::OtherKind => broken("not a checkpoint of this program".into()),
            Unsealed::Damaged(fault) => broken(format!("not a whole checkpoint: {fault}")),
        })?;
        let position: Value =
            serde_json::from_str(&sealed.metadata).map_err(|e| broken(format!("not a checkpoint: {e}")))?;
        let format = position.get("format").and_then(Value::as_u64);
        if format != Some(u64::from(FORMAT)) {
            return Err(broken(format!("is of checkpoint format {format:?}, this program reads {FORMAT}")));
        }
        let mut position: Position =
            serde_json::from_value(position).map_err(|e| broken(format!("not a checkpoint: {e}")))?;
        let differences = differences_of_runs(&position.determined_by, determined_by);
        if !differences.is_empty() {
            return Err(broken(format!("is of another run: {}", differences.join(", "))));
        }

        let mut arrays: BTreeMap<String, Tensor<1>> = BTreeMap::new();
        for name in sealed.names() {
            if sealed.kind_of(&name).is_none_or(|(dtype, _)| dtype != Dtype::F32) {
                continue;
            }
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(&sealed.read(&name)?);
            let count = values.len();
            arrays.insert(name, Tensor::from_data(TensorData::new(values, [count]), device));
        }
        sealed.check_unchanged()?;
        let trained: BTreeSet<String> = model.trained().into_iter().map(|weight| weight.name).collect();
        let mut missing = None;
        let mut filled = |prefix: &str| {
            model.clone().map_parameters(|name, shape, old| {
                if !trained.contains(name) {
                    return old; // a weight of the base, which checkpoints do not store
                }
                let key = format!("{prefix}.{name}");
                match arrays.remove(&key) {
                    Some(values) if values.dims()[0] == shape.iter().product::<usize>() => values,
                    _ => {
                        missing.get_or_insert(key);
                        old
                    }
                }
            })
        };
        let (now, best) = (filled("model"), filled("best"));
        if let Some(key) = missing {
            return Err(broken(format!("lacks the weight {key:?}")));
        }
        for parameter in model.trained() {
            let moments = arrays
                .remove(&format!("first.{}", parameter.name))
                .zip(arrays.remove(&format!("second.{}", parameter.name)));
            if let Some((first, second)) = moments {
                optimizer.restore(parameter.name, [first, second]);
            }
        }
        optimizer.step = position.step;
        let of_strategies = arrays.into_iter();
        let of_strategies =
            of_strategies.filter_map(|(name, values)| Some((name.strip_prefix(STRATEGY)?.to_owned(), values)));
        let strategies = Remembered { arrays: of_strategies.collect(), values: position.strategies.take() };
        Ok(Self { position, model: now, best, optimizer, strategies })
    }
}

/// Whether this is the position of a checkpoint of format 1, which had no checksum.
fn is_of_format_1(position: &str) -> bool {
    serde_json::from_str::<Value>(position).is_ok_and(|position| position.get("format") == Some(&Value::from(1)))
}

/// In words, what tells one run from another by what determined them; nothing where it is rounding alone.
pub fn differences_of_runs(was: &Value, is: &Value) -> Vec<String> {
    let differences = differences("", was, is).into_iter();
    differences.filter_map(|(key, words)| (!ROUNDING_ALONE.contains(&key.as_str())).then_some(words)).collect()
}

/// The keys in which two JSON values differ, and both values in words.
fn differences(path: &str, was: &Value, is: &Value) -> Vec<(String, String)> {
    match (was, is) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            keys.into_iter()
                .flat_map(|key| {
                    let value =
                        |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or(Value::Null);
                    differences(&join(key), &value(a), &value(b))
                })
                .collect()
        }
        _ if was == is => Vec::new(),
        _ => vec![(path.to_owned(), format!("{path} was {was}, is {is}"))],
    }
}
