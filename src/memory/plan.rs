//! Whether there is room for a run, and what else would fit.

use std::path::Path;

use serde::Serialize;

use super::sizes::{Part, Sizes};
use super::work::{F32, Training, Work};
use crate::device::ChosenDevice;
use crate::device::limits::Bound;
use crate::error::{Error, Result};
use crate::message::{Message, Setting, Wording};
use crate::model::lora::AdapterSize;
use crate::model::{LoraSettings, ModelConfig, Precision};
use crate::process::bytes;

/// `--dry-run`: what a run needs and whether it fits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryPlan {
    /// "odyssey.plan/1".
    pub schema: &'static str,
    /// Weights of the model.
    pub parameters: u64,
    /// Bytes by what takes them.
    pub parts: Vec<Part>,
    /// Their sum.
    pub needs_bytes: u64,
    /// The free memory of the device; null if not known.
    pub has_bytes: Option<u64>,
    /// What sets that bound: the machine, a limit of `ulimit`, a control group; absent where nobody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_by: Option<Bound>,
    /// Whether it fits; null where that is not known.
    pub fits: Option<bool>,
    /// Why a number is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// An obstacle besides the total memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// Of training, the most windows of a micro-batch that fit, up to the whole batch; absent if none fits or if it is
    /// not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest_micro_batch: Option<usize>,
    /// Other settings, and the memory that they need. Each face words them in its own way, in JSON too.
    #[serde(skip)]
    pub options: Vec<Alternative>,
}

/// Another way to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// The settings.
    pub settings: Vec<Setting>,
    /// Bytes it needs.
    pub needs_bytes: u64,
    /// Whether it fits; null where that is not known.
    pub fits: Option<bool>,
}

impl Alternative {
    /// The settings, as a face words them.
    pub fn worded(&self, wording: &dyn Wording) -> String {
        Message::default().all(&self.settings).worded(wording)
    }
}

impl MemoryPlan {
    /// What `work` needs with a model of this configuration, and whether `device` has it.
    ///
    /// # Errors
    /// A configuration that no model can be built from.
    pub fn new(config: &ModelConfig, work: Work, device: &ChosenDevice) -> Result<Self> {
        let sizes = Sizes::of(config)?;
        let on_gpu = device.largest_binding.is_some();
        let needs = |work| sizes.parts(work, on_gpu).iter().map(|part| part.bytes).sum::<u64>();
        let needs_bytes = needs(work);
        let (has, bound_by) = device.free_memory().map(|free| (free.bytes, free.bound_by)).unzip();
        // Whether there is room and no matrix is larger than a kernel may see; None where the device does not say.
        let largest = sizes.largest_whole * F32;
        let obstacle = device.largest_binding.filter(|&binding| largest > binding).map(|binding| {
            format!(
                "its largest matrix takes {}, and this device shows a kernel {} at most",
                bytes(largest),
                bytes(binding)
            )
        });
        let fits = |needs_bytes: u64| match obstacle {
            Some(_) => Some(false),
            None => has.map(|has| needs_bytes <= has),
        };
        let adapters = LoraSettings::default().size(config).ok(); // the narrowest of models have no room for them
        let possible = |work: &Work| match work {
            Work::Embed(_) | Work::Merge { scored: None, .. } => true,
            Work::Evaluate { precision, .. } | Work::Merge { scored: Some((_, precision)), .. } => {
                precision.check("dtype", &device.device).is_ok()
            }
            Work::Train(Training { adapters, moments, .. }) => {
                let held = adapters.map_or(Precision::F32, |(_, precision)| precision);
                held.check("dtype", &device.device).is_ok() && moments.check("adamw.moments", &device.device).is_ok()
            }
        };
        let mut options: Vec<Alternative> = alternatives(work, config.context(), adapters)
            .into_iter()
            .filter(|(_, other)| possible(other))
            .map(|(settings, other)| (settings, needs(other)))
            .map(|(settings, needs_bytes)| Alternative { settings, needs_bytes, fits: fits(needs_bytes) })
            .collect();
        let largest_micro_batch = match work {
            Work::Train(training) => (1..=training.batch)
                .rev()
                .find(|&micro_batch| fits(needs(Work::Train(Training { micro_batch, ..training }))) == Some(true)),
            Work::Evaluate { .. } | Work::Embed(_) | Work::Merge { .. } => None,
        };
        // A shorter context that saves no more memory is not listed.
        let is_shorter = |settings: &[Setting]| settings.iter().any(|setting| setting.key == "context");
        options.dedup_by(|b, a| is_shorter(&b.settings) && b.needs_bytes >= a.needs_bytes);
        options.retain(|option| option.needs_bytes < needs_bytes);
        Ok(Self {
            schema: "odyssey.plan/1",
            parameters: sizes.matrices + sizes.vectors,
            parts: sizes.parts(work, on_gpu),
            needs_bytes,
            has_bytes: has,
            bound_by,
            fits: fits(needs_bytes),
            reason: has.is_none().then(|| "this device does not say how much memory it has".to_owned()),
            obstacle,
            largest_micro_batch,
            options,
        })
    }

    /// The same for the windows that texts really have, which may be much shorter than the longest that the model reads.
    /// That is only asked, of `longest`, where the plan depends on it, since it takes reading the texts: where there is no
    /// room for the longest windows, or where the numbers are to be `shown`. `longest` is given the tokens of those.
    ///
    /// # Errors
    /// As [`MemoryPlan::new`], and those of `longest`.
    pub fn for_texts(
        config: &ModelConfig,
        work: Work,
        device: &ChosenDevice,
        shown: bool,
        longest: impl FnOnce(usize) -> Result<usize>,
    ) -> Result<Self> {
        let plan = Self::new(config, work, device)?;
        match work.window() {
            Some(window) if shown || plan.fits == Some(false) => {
                Self::new(config, work.within(longest(window)?), device)
            }
            _ => Ok(plan),
        }
    }

    /// Bytes that `work` needs with a model of this configuration.
    ///
    /// # Errors
    /// As [`MemoryPlan::new`].
    pub fn needs(config: &ModelConfig, work: Work, on_gpu: bool) -> Result<u64> {
        Ok(Sizes::of(config)?.parts(work, on_gpu).iter().map(|part| part.bytes).sum())
    }

    /// Refuses a run that does not fit. If the memory of the device is not known, the run is tried.
    ///
    /// # Errors
    /// [`Error::Input`] with what is needed, what there is, and which settings fit.
    pub fn require(&self, model: &Path) -> Result<()> {
        if self.fits != Some(false) {
            return Ok(());
        }
        let fault = match (&self.obstacle, self.has_bytes) {
            (Some(obstacle), _) => format!("does not fit this device: {obstacle}"),
            (None, has) => format!(
                "needs about {} of memory here, and {} are free{}",
                bytes(self.needs_bytes),
                bytes(has.unwrap_or(0)),
                self.bound_by.as_ref().map(|bound| format!(" ({bound})")).unwrap_or_default()
            ),
        };
        let cure = match self.options.iter().find(|option| option.fits == Some(true)) {
            Some(option) => {
                Message::new("use ").all(&option.settings).then(format!(", which needs {}", bytes(option.needs_bytes)))
            }
            None => {
                let raised = if matches!(self.bound_by, Some(Bound::Limit(_))) { ", or raise that limit" } else { "" };
                Message::new(format!("use another device or a smaller model{raised}; "))
                    .key("dry_run")
                    .then(" shows what takes how much")
            }
        };
        Err(Error::file(model, fault, cure))
    }
}

/// Less demanding ways to do the same work, the least intrusive first, each with its settings.
fn alternatives(work: Work, longest: usize, adapters: Option<AdapterSize>) -> Vec<(Vec<Setting>, Work)> {
    let halves = |from: usize, least: usize| {
        std::iter::successors(Some(from / 2), |n| Some(n / 2)).take_while(move |&n| n >= least && n > 0)
    };
    match work {
        Work::Embed(_) | Work::Merge { scored: None, .. } => Vec::new(),
        Work::Merge { models, scored: Some((context, precision)) } => {
            let others = alternatives(Work::Evaluate { context, precision }, longest, adapters).into_iter();
            let merge = |(settings, other)| match other {
                Work::Evaluate { context, precision } => {
                    (settings, Work::Merge { models, scored: Some((context, precision)) })
                }
                other => (settings, other),
            };
            others.map(merge).collect()
        }
        Work::Evaluate { context, precision } => {
            let narrow = [Precision::Bf16, Precision::F16]
                .into_iter()
                .filter(|&p| precision == Precision::F32 && p != precision);
            let narrow =
                narrow.map(|precision| (vec![Setting::new("dtype", precision)], Work::Evaluate { context, precision }));
            let shorter = halves(context.min(longest), 128)
                .map(|context| (vec![Setting::new("context", context)], Work::Evaluate { context, precision }));
            narrow.chain(shorter).collect()
        }
        Work::Train(training @ Training { context, micro_batch, by_layers, moments, adapters: trained, .. }) => {
            let with = |settings: Vec<Setting>, training| (settings, Work::Train(training));
            let smaller = halves(micro_batch, 1).map(|micro_batch| {
                with(vec![Setting::new("micro_batch", micro_batch)], Training { micro_batch, ..training })
            });
            let by_layer = (!by_layers).then(|| {
                with(vec![Setting::new("gradient_checkpointing", true)], Training { by_layers: true, ..training })
            });
            let narrow = [Precision::Bf16, Precision::F16].into_iter();
            let moments = narrow
                .clone()
                .filter(|_| moments == Precision::F32 && trained.is_none())
                .map(|moments| with(vec![Setting::new("adamw.moments", moments)], Training { moments, ..training }));
            let held = narrow.filter(|_| trained.is_some_and(|(_, precision)| precision == Precision::F32));
            let held = held.filter_map(|precision| {
                let (size, _) = trained?;
                let training = Training { adapters: Some((size, precision)), by_layers: true, ..training };
                Some(with(vec![Setting::new("dtype", precision)], training))
            });
            let lora = adapters.filter(|_| trained.is_none()).into_iter().flat_map(|adapters| {
                [Precision::F32, Precision::Bf16].map(|precision| {
                    let by_layers = by_layers || precision != Precision::F32;
                    let training = Training { adapters: Some((adapters, precision)), by_layers, ..training };
                    let mut settings = vec![Setting::new("strategy", "lora")];
                    settings.extend((precision != Precision::F32).then(|| Setting::new("dtype", precision)));
                    with(settings, training)
                })
            });
            let shorter = halves(context.min(longest), 128).map(|context| {
                let training = Training { context, micro_batch: 1, ..training };
                with(vec![Setting::new("micro_batch", 1), Setting::new("context", context)], training)
            });
            smaller.chain(by_layer).chain(moments).chain(held).chain(lora).chain(shorter).collect()
        }
    }
}
