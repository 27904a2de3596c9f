//! Models that are merged, and the weights at a share.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use burn::tensor::{Device, TensorData};
use safetensors::Dtype;

use super::fitting::{check, check_adapter};
use super::method::Method;
use super::part::Part;
use super::side::Side;
use super::ties;
use crate::error::{Error, Result};
use crate::files::Array;
use crate::model::weights::{WeightFiles, WeightSource, convert};
use crate::model::{Adapter, LoadedModel, ModelConfig, Precision, save_arrays};
use crate::progress::Monitor;

/// What is to be merged.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The model before adaptation.
    pub base: &'a Part,
    /// Models that were adapted from it: whole ones, or adapters.
    pub adapted: &'a [Part],
    /// A model adapted to general text: then it stands at α = 0 in place of the base.
    pub general: Option<&'a Part>,
    /// How.
    pub method: Method,
    /// The share of every task vector that TIES keeps; [`Method::DENSITY`] where absent.
    pub density: Option<f64>,
    /// Patterns of tensors that are left out of whole models.
    pub ignored: &'a [String],
}

impl Request<'_> {
    /// Refuses what makes no sense, before any file is opened.
    ///
    /// # Errors
    /// The setting at fault.
    pub fn check(&self) -> Result<()> {
        let refused = |key: &str, fault: String, cure: &str| Err(Error::input(key, fault, cure));
        match (self.method, self.adapted.len()) {
            (_, 0) => return refused("adapted", "names no model".into(), "name at least one"),
            (Method::Linear, several @ 2..) => {
                let fault = format!("names {several} models, and linear merges one with the base");
                return refused("adapted", fault, "use the method soup or ties, or name one");
            }
            _ => {}
        }
        match self.density {
            Some(_) if self.method != Method::Ties => {
                return refused("density", "is given, and the method is not ties".into(), "use ties, or leave it out");
            }
            Some(density) if !(density > 0.0 && density <= 1.0) => {
                return refused(
                    "density",
                    format!("is {density}"),
                    "use a share above 0, up to 1 (everything is kept)",
                );
            }
            _ => {}
        }
        if self.general.is_some() && self.method != Method::Linear {
            let fault = "is given, and the method is not linear".to_owned();
            return refused("general", fault, "use linear with one adapted model, or leave it out");
        }
        Ok(())
    }
}

/// Models that go together, their files open.
pub struct Merge {
    base: Side,
    adapted: Vec<Side>,
    general: Option<Side>,
    method: Method,
    density: f64,
    /// Of TIES, the smallest change that is kept of each adapted model, once it is known.
    thresholds: Option<Vec<f32>>,
}

impl Merge {
    /// Opens the models of `request`.
    ///
    /// # Errors
    /// As [`Request::check`]; models of different families, vocabularies, shapes or tokenizers; an adapter of another base;
    /// files that cannot be read.
    pub fn open(request: &Request<'_>) -> Result<Self> {
        request.check()?;
        let Request { base, adapted, general, method, density, ignored } = *request;
        let base_side = Side::whole(base, ignored)?;
        let open = |part: &Part| {
            if !Adapter::is_in(&part.folder) || WeightFiles::are_in(&part.folder) {
                let side = Side::whole(part, ignored)?;
                check(base, &base_side, part, &side)?;
                return Ok(side);
            }
            let adapter = Adapter::read(&part.folder)?;
            check_adapter(base, part, &adapter)?;
            Side::adapted(&adapter, base, ignored)
        };
        let adapted = adapted.iter().map(open).collect::<Result<Vec<_>>>()?;
        let general = general.map(open).transpose()?;
        let density = density.unwrap_or(Method::DENSITY);
        Ok(Self { base: base_side, adapted, general, method, density, thresholds: None })
    }

    /// What the base's `config.json` says, the head as its weights have it.
    pub fn config(&self) -> &ModelConfig {
        self.base.config()
    }

    /// Models that are read, the base among them.
    pub fn models(&self) -> usize {
        1 + self.adapted.len() + usize::from(self.general.is_some())
    }

    /// Whether the model at α = 0 is the base.
    pub fn starts_at_base(&self) -> bool {
        self.general.is_none()
    }

    /// The base itself, its matrices held in `precision`.
    ///
    /// # Errors
    /// As [`Self::model`].
    pub fn base(&mut self, precision: Precision, device: &Device, monitor: &mut dyn Monitor) -> Result<LoadedModel> {
        self.built(None, precision, device, monitor)
    }

    /// The model at the share `alpha`, its matrices held in `precision`. Each weight is read, merged and put on the device
    /// before the next.
    ///
    /// # Errors
    /// Files that cannot be read; a number that `precision` cannot hold; an interruption.
    pub fn model(
        &mut self,
        alpha: f64,
        precision: Precision,
        device: &Device,
        monitor: &mut dyn Monitor,
    ) -> Result<LoadedModel> {
        self.prepare(alpha, monitor)?;
        self.built(Some(alpha), precision, device, monitor)
    }

    /// Writes the model at the share `alpha` into the folder `into`, which exists: weights in f32, with the configuration and
    /// tokenizer of the base. Each weight is read, merged and written before the next.
    ///
    /// # Errors
    /// Files that cannot be read or written; an interruption.
    pub fn write(&mut self, alpha: f64, into: &Path, monitor: &mut dyn Monitor) -> Result<()> {
        self.prepare(alpha, monitor)?;
        let (config, folder) = (self.config().clone(), self.base.folder().to_owned());
        let shapes = self.base.shapes().to_vec();
        monitor.begin("merging", shapes.len() as u64);
        let shared = RefCell::new((&mut *self, &mut *monitor));
        let arrays = shapes.into_iter().map(|(name, shape)| {
            let (shared, of, rows) = (&shared, name.clone(), shape.first().copied().unwrap_or(0));
            Array::computed(name, shape.clone(), move || {
                let mut both = shared.borrow_mut();
                let (merge, monitor) = &mut *both;
                refuse_stopped(*monitor)?;
                monitor.advance(1, "");
                merge.values(Some(alpha), &of, &shape, 0..rows)
            })
        });
        save_arrays(arrays, &config, &folder, into)?;
        monitor.end();
        self.check_unchanged()
    }

    fn built(
        &mut self,
        at: Option<f64>,
        precision: Precision,
        device: &Device,
        monitor: &mut dyn Monitor,
    ) -> Result<LoadedModel> {
        let (config, folder) = (self.config().clone(), self.base.folder().to_owned());
        let mut source = Weights { merge: self, at, precision, monitor };
        let model = LoadedModel::from_source(config, &folder, &mut source, device)?;
        self.check_unchanged()?;
        Ok(model)
    }

    /// Finds what TIES keeps, where it is not known yet and needed.
    fn prepare(&mut self, alpha: f64, monitor: &mut dyn Monitor) -> Result<()> {
        if self.method == Method::Ties && self.thresholds.is_none() && alpha != 0.0 {
            self.thresholds = Some(ties::thresholds(&mut self.base, &mut self.adapted, self.density, monitor)?);
        }
        Ok(())
    }

    /// Some rows of a weight at a share; of the base where there is none.
    fn values(&mut self, at: Option<f64>, name: &str, shape: &[usize], rows: Range<usize>) -> Result<Vec<f32>> {
        let Some(alpha) = at else { return self.base.values(name, shape, rows) };
        let start = self.general.as_mut().unwrap_or(&mut self.base);
        // Both ends are exact: nothing is multiplied, so that −0 stays −0.
        if alpha == 0.0 {
            return start.values(name, shape, rows);
        }
        if let (Some(thresholds), Method::Ties) = (&self.thresholds, self.method) {
            return ties_of(&mut self.base, &mut self.adapted, thresholds, alpha, (name, shape, rows));
        }
        let mut others = self.adapted.iter_mut().map(|side| side.values(name, shape, rows.clone()));
        let mut first = others.next().unwrap_or(Ok(Vec::new()))?;
        let mut sums: Vec<f64> = Vec::new();
        let mut count = 1.0;
        for other in others {
            if sums.is_empty() {
                sums = std::mem::take(&mut first).into_iter().map(f64::from).collect();
            }
            sums.iter_mut().zip(other?).for_each(|(sum, value)| *sum += f64::from(value));
            count += 1.0;
        }
        if sums.is_empty() {
            if alpha == 1.0 {
                return Ok(first);
            }
            sums = first.into_iter().map(f64::from).collect();
        }
        if alpha == 1.0 {
            return Ok(sums.into_iter().map(|sum| (sum / count) as f32).collect());
        }
        // In f64, so that a model merged with itself comes out as it is.
        let start = start.values(name, shape, rows)?;
        let between = |(start, sum): (f32, f64)| ((1.0 - alpha) * f64::from(start) + alpha * (sum / count)) as f32;
        Ok(start.into_iter().zip(sums).map(between).collect())
    }

    fn check_unchanged(&self) -> Result<()> {
        let sides = self.adapted.iter().chain(&self.general).chain([&self.base]);
        sides.into_iter().try_for_each(Side::check_unchanged)
    }
}

/// Some rows of a weight merged by TIES.
fn ties_of(
    base: &mut Side,
    adapted: &mut [Side],
    thresholds: &[f32],
    alpha: f64,
    (name, shape, rows): (&str, &[usize], Range<usize>),
) -> Result<Vec<f32>> {
    let mut before = base.values(name, shape, rows.clone())?;
    let others = adapted.iter_mut().map(|side| side.values(name, shape, rows.clone()));
    let others = others.collect::<Result<Vec<_>>>()?;
    let mut changes = vec![0.0; others.len()];
    for (index, value) in before.iter_mut().enumerate() {
        for ((change, other), threshold) in changes.iter_mut().zip(&others).zip(thresholds) {
            let whole = other[index] - *value;
            *change = if whole.abs() >= *threshold { whole } else { 0.0 };
        }
        *value = ties::merged(*value, &changes, alpha);
    }
    Ok(before)
}

fn refuse_stopped(monitor: &dyn Monitor) -> Result<()> {
    match monitor.stopped() {
        true => Err(Error::Interrupted("stopped while weights were merged; nothing is written".into())),
        false => Ok(()),
    }
}

/// The weights at a share as a model asks for them; of the base where there is none.
struct Weights<'a> {
    merge: &'a mut Merge,
    at: Option<f64>,
    precision: Precision,
    monitor: &'a dyn Monitor,
}

impl WeightSource for Weights<'_> {
    fn has(&self, name: &str) -> bool {
        self.merge.base.has(name)
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn read(&mut self, name: &str, shape: &[usize], rows: Range<usize>, precision: Precision) -> Result<TensorData> {
        refuse_stopped(self.monitor)?;
        let mut whole = shape.to_vec();
        if let Some(first) = whole.first_mut() {
            *first = rows.len();
        }
        let values = self.merge.values(self.at, name, shape, rows)?;
        match precision {
            Precision::F32 => Ok(TensorData::new(values, whole)),
            narrow => {
                let bytes = bytemuck::cast_slice(&values);
                convert(self.merge.base.folder(), name, Dtype::F32, bytes, whole, narrow)
            }
        }
    }
}
