//! What a run will need in memory, before it starts: what the device has, and what would fit where it does not.
//!
//! Weights, gradients and moments are counted from the shapes that `config.json` calls for. What a pass through the
//! model holds beside them is estimated from how many numbers of each size live at once, counted by measuring runs
//! (`tests/size.rs` compares plan and measurement).

use std::path::Path;

use serde::Serialize;

use crate::adapt::AdaptSettings;
use crate::device::ChosenDevice;
use crate::device::limits::Bound;
use crate::error::{Error, Result};
use crate::evaluate::batch_size;
use crate::kernels::cross_entropy::head_chunk;
use crate::model::lora::AdapterSize;
use crate::model::weights::LARGEST_PIECE;
use crate::model::{Architecture, LanguageModel, LoraSettings, ModelConfig, Precision};
use crate::process::bytes;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Scoring windows of `context` tokens.
    Evaluate {
        /// Tokens of a window.
        context: usize,
        /// What matrices are held in.
        precision: Precision,
    },
    /// Training steps.
    Train(Training),
    /// Embedding texts with a sentence encoder, while a model stands by.
    Embed(EncoderSize),
}

/// Sizes of a sentence encoder that memory depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderSize {
    /// Its weights.
    pub weights: u64,
    /// Tokens of its longest passage.
    pub passage: usize,
    /// Tokens of the passages that it encodes together.
    pub together: usize,
    /// Its channels.
    pub channels: usize,
    /// Channels inside its MLP.
    pub inner: usize,
    /// Its attention heads.
    pub heads: usize,
}

impl EncoderSize {
    /// The most that lives at once inside a block: in attention two and a half score matrices, of which long ones are worked
    /// on in stretches, inside the MLP three tensors of its width, each beside some of the hidden states' width.
    fn pass(self) -> u64 {
        let Self { passage, together, channels, inner, heads, .. } = self;
        let [passage, together, channels, inner, heads] = [passage, together, channels, inner, heads].map(|n| n as u64);
        let scores = (together * passage * heads).min(LARGEST_PIECE as u64 / F32);
        let attention = 5 * scores / 2 + 6 * together * channels;
        let mlp = 3 * together * inner + 4 * together * channels;
        F32 * attention.max(mlp)
    }
}

/// Training steps, of all weights or of adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Training {
    /// Tokens of a block.
    pub context: usize,
    /// Blocks of a step.
    pub batch: usize,
    /// Blocks of a micro-batch.
    pub micro_batch: usize,
    /// Whether blocks are computed twice and not kept.
    pub by_blocks: bool,
    /// What products are computed in.
    pub compute: Precision,
    /// What the optimiser's moments are held in.
    pub moments: Precision,
    /// Where only adapters are trained: their size, and what the matrices of the frozen base are held in.
    pub adapters: Option<(AdapterSize, Precision)>,
}

impl Work {
    /// Tokens of its windows; `None` where it has none.
    pub fn window(self) -> Option<usize> {
        match self {
            Self::Evaluate { context, .. } | Self::Train(Training { context, .. }) => Some(context),
            Self::Embed(_) => None,
        }
    }

    /// The same with windows of at most so many tokens.
    pub fn within(self, longest: usize) -> Self {
        let within = |context: usize| context.min(longest.max(1));
        match self {
            Self::Evaluate { context, precision } => Self::Evaluate { context: within(context), precision },
            Self::Train(training) => Self::Train(Training { context: within(training.context), ..training }),
            Self::Embed(_) => self,
        }
    }

    /// Training a model of this configuration by `settings`, its matrices held in `precision` where it is frozen.
    ///
    /// # Errors
    /// Adapters that the model has no layers for.
    pub fn training(settings: &AdaptSettings, config: &ModelConfig, precision: Precision) -> Result<Self> {
        let adapters = match settings.adapters() {
            Some(lora) => Some((lora.size(config)?, precision)),
            None => None,
        };
        let AdaptSettings { batch, micro_batch, compute, .. } = *settings;
        Ok(Self::Train(Training {
            context: settings.block_length(config.context()),
            batch,
            micro_batch: micro_batch.min(batch),
            // A base held in fewer bits than it is computed with goes by blocks anyhow.
            by_blocks: settings.gradient_checkpointing || adapters.is_some() && precision.bytes() < compute.bytes(),
            compute,
            moments: settings.adamw.moments,
            adapters,
        }))
    }
}

/// One thing that takes memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is.
    pub what: &'static str,
    /// Its bytes.
    pub bytes: u64,
}

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
    /// What the device has free; null where it does not say.
    pub has_bytes: Option<u64>,
    /// What sets that bound: the machine, a limit of `ulimit`, a control group; absent where nobody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_by: Option<Bound>,
    /// Whether it fits; null where that is not known.
    pub fits: Option<bool>,
    /// Why a number is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What stands in the way besides the sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// Of training, the most blocks of a micro-batch that fit, up to the whole batch; absent where none does, or nobody
    /// knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest_micro_batch: Option<usize>,
    /// Other ways to do it, and what they need.
    pub options: Vec<Alternative>,
}

/// Another way to run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alternative {
    /// What to give on the command line.
    pub option: String,
    /// Bytes it needs.
    pub needs_bytes: u64,
    /// Whether it fits; null where that is not known.
    pub fits: Option<bool>,
}

/// Sizes of a model that memory depends on.
struct Sizes {
    /// Weights in matrices, and in vectors.
    matrices: u64,
    vectors: u64,
    /// Weights of the largest matrix that is never cut into pieces, of the largest that is, and of all that are.
    largest_whole: u64,
    largest_table: u64,
    tables: u64,
    vocabulary: u64,
    channels: u64,
    inner: u64,
    heads: u64,
    layers: u64,
    /// Channels of a head that are rotated by its position.
    rotated: u64,
    gated: bool,
}

impl Sizes {
    fn of(config: &ModelConfig) -> Result<Self> {
        let shapes = LanguageModel::shapes(config)?;
        let count = |shape: &[usize]| shape.iter().map(|&n| n as u64).product::<u64>();
        let sum = |matrices: bool| {
            shapes.iter().filter(|(_, shape)| (shape.len() > 1) == matrices).map(|(_, s)| count(s)).sum::<u64>()
        };
        let vocabulary = config.vocabulary();
        // What is numbered belongs to a block, even if it should have as many rows as there are tokens.
        let in_block = |name: &str| name.split('.').any(|part| part.parse::<u64>().is_ok());
        let is_table = move |name: &str, shape: &[usize]| shape.first() == Some(&vocabulary) && !in_block(name);
        let counts = |tables: bool| {
            let counted = shapes.iter().filter(move |(name, shape)| tables == is_table(name, shape));
            counted.map(|(_, shape)| count(shape))
        };
        let (inner, heads, rotated, gated) = match &config.architecture {
            Architecture::Gpt2(c) => (c.inner(), c.n_head, 0, false),
            Architecture::Llama(c) | Architecture::Olmo(c) => {
                (c.intermediate_size, c.num_attention_heads, c.head_dim(), true)
            }
            Architecture::GptNeox(c) => (c.intermediate_size, c.num_attention_heads, 2 * c.frequencies.len(), false),
        };
        Ok(Self {
            matrices: sum(true),
            vectors: sum(false),
            largest_whole: counts(false).max().unwrap_or(0),
            largest_table: counts(true).max().unwrap_or(0),
            tables: counts(true).sum(),
            vocabulary: vocabulary as u64,
            channels: config.channels() as u64,
            inner: inner as u64,
            heads: heads as u64,
            layers: config.layers() as u64,
            rotated: rotated as u64,
            gated,
        })
    }

    fn weights(&self, precision: Precision) -> u64 {
        self.matrices * precision.bytes() as u64 + self.vectors * F32
    }

    /// What the device needs for `work`, in parts.
    fn parts(&self, work: Work, on_gpu: bool) -> Vec<Part> {
        let part = |what, bytes| Part { what, bytes };
        let program = part("the program itself", if on_gpu { GPU_PROGRAM } else { PROGRAM });
        match work {
            Work::Evaluate { context, precision } => {
                let mut parts = vec![
                    part("weights", self.weights(precision)),
                    part("one pass through a block or the head", self.pass(context, batch_size(context))),
                    program,
                ];
                if precision != Precision::F32 {
                    parts.push(part("a matrix in f32, while it is used", self.largest_piece() * F32));
                }
                parts
            }
            Work::Embed(encoder) => vec![
                part("weights", self.weights(Precision::F32)),
                part("weights of the sentence encoder", F32 * encoder.weights),
                part("one pass through a block of it", encoder.pass()),
                program,
            ],
            Work::Train(training @ Training { moments, adapters: None, .. }) => {
                let all = self.weights(Precision::F32);
                vec![
                    part("weights: base, trained and best", 3 * all),
                    part("moments of the optimiser", 2 * all / F32 * moments.bytes() as u64),
                    part("activations, then gradients and the new weights", (2 * all).max(self.backward(training))),
                    program,
                ]
            }
            Work::Train(training @ Training { moments, adapters: Some((adapters, precision)), .. }) => {
                let of_each = 4 * F32 + 2 * moments.bytes() as u64;
                vec![
                    part("weights of the base", self.weights(precision)),
                    part("adapters: trained, best, gradients and moments", of_each * adapters.weights),
                    part("activations", self.backward_of_adapters(training, adapters, precision)),
                    program,
                ]
            }
        }
    }

    /// The most that lives at once while nothing is kept for a gradient: in a block tensors of the MLP's width and some of
    /// the hidden states', in the head a chunk of logits, once more for a moment, with the piece of the token table that a product packs.
    fn pass(&self, context: usize, windows: usize) -> u64 {
        let tokens = (context * windows) as u64;
        let (of_inner, of_channels) = if self.gated { (3, 4) } else { (2, 5) };
        let block = tokens * (of_inner * self.inner + of_channels * self.channels);
        let head = 2 * self.logits(tokens) + tokens * self.channels + self.table_piece();
        F32 * (block.max(head) + self.rotations(context))
    }

    /// Cosines and sines of so many positions.
    fn rotations(&self, context: usize) -> u64 {
        context as u64 * self.rotated
    }

    /// Logits of the largest chunk of so many tokens.
    fn logits(&self, tokens: u64) -> u64 {
        tokens.min(head_chunk(self.vocabulary as usize) as u64) * self.vocabulary
    }

    /// What a block keeps for the gradient, bytes: of every token what norms and linear layers read, queries, keys, values
    /// and what the nonlinearity reads and gives. Products in 16 bits keep less of that, and all scores of attention.
    fn kept(&self, tokens: u64, context: usize, compute: Precision) -> f64 {
        let of_inner = if self.gated { 3 } else { 2 };
        let of_layers = (8 * self.channels + of_inner * self.inner) as f64;
        let of_token = match compute {
            Precision::F32 => of_layers,
            Precision::Bf16 | Precision::F16 => 0.65 * of_layers + 2.8 * (self.heads * context as u64) as f64,
        };
        (F32 * tokens) as f64 * of_token
    }

    /// What a backward pass through a frozen base to its adapters holds at its peak.
    ///
    /// What is kept follows from the model; what lives beside it for a moment was fitted, here and in [`Self::backward`],
    /// to the peaks of 280 training runs on the CPU backend: two families, 7 models of 4 to 26 million weights, windows of
    /// 128 to 1,024 tokens. The whole need is off by 10 % at most (where the best weights are not yet apart from the base's,
    /// these come on top), by 14 % of adapters in 16 bits or by blocks, and by 19 % of both.
    fn backward_of_adapters(&self, training: Training, adapters: AdapterSize, precision: Precision) -> u64 {
        let Training { context, micro_batch, by_blocks, compute, .. } = training;
        let tokens = (context * micro_batch) as u64;
        let [layers, inner, logits] =
            [self.layers, F32 * tokens * self.inner, F32 * self.logits(tokens)].map(|n| n as f64);
        // Dropout keeps its mask and what that leaves.
        let masked = (2 * F32 * tokens * adapters.masked) as f64;
        let kept = self.kept(tokens, context, compute) + masked / layers.max(1.0);
        if !by_blocks {
            let inner = if compute.is_f32() { 1.8 * inner } else { 0.0 };
            return (layers * kept + inner + 1.4 * logits) as u64 + F32 * self.rotations(context);
        }
        // What each block reads, and one block's share or the head's. A matrix in 16 bits is converted as it is used, kept
        // for the gradient and converted again by it.
        let converted = |weights: u64| if precision == compute { 0 } else { compute.bytes() as u64 * weights } as f64;
        let block = match precision == compute {
            true => kept + 3.0 * inner,
            false => kept + 1.2 * inner + 3.3 * converted((self.matrices - self.tables) / self.layers.max(1)),
        };
        let head = 2.0 * logits + converted(self.table_piece());
        self.layers * F32 * tokens * self.channels + block.max(head) as u64 + F32 * self.rotations(context)
    }

    /// What a backward pass holds at its peak, beside weights and moments: what the blocks kept for the gradient, what is
    /// at hand, and gradients of what is done already.
    fn backward(&self, training: Training) -> u64 {
        let Training { context, batch, micro_batch, by_blocks, compute, .. } = training;
        let tokens = (context * micro_batch) as u64;
        let weights = self.weights(Precision::F32);
        let [layers, inner, logits, tables, all] =
            [self.layers, F32 * tokens * self.inner, F32 * self.logits(tokens), F32 * self.tables, weights]
                .map(|n| n as f64);
        let kept = self.kept(tokens, context, compute);
        // Gradients of the micro-batches before.
        let sum = if batch > micro_batch { weights } else { 0 };
        let peak = match (by_blocks, compute.is_f32()) {
            (false, true) => layers * kept + 6.5 * inner + 3.1 * tables,
            (false, false) => layers * kept + 6.0 * inner + 2.3 * tables + 0.75 * all,
            // What each block reads; then the last block or the head, and the gradients of all others.
            (true, _) => {
                let reads = (self.layers * F32 * tokens * self.channels) as f64;
                1.4 * all + reads + (kept + 0.4 * inner).max(1.45 * logits)
            }
        };
        sum + peak as u64 + F32 * self.rotations(context)
    }

    /// Weights of the largest matrix as it is converted: tables only a piece at a time.
    fn largest_piece(&self) -> u64 {
        self.largest_whole.max(self.table_piece())
    }

    /// Weights of the largest table's largest piece.
    fn table_piece(&self) -> u64 {
        self.largest_table.min(LARGEST_PIECE as u64 / F32)
    }
}

/// Bytes of a number in f32.
const F32: u64 = size_of::<f32>() as u64;
/// Memory of the program beside all this.
const PROGRAM: u64 = 34 << 20;
/// The same with a graphics driver.
const GPU_PROGRAM: u64 = 200 << 20;

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
            Work::Embed(_) => true,
            Work::Evaluate { precision, .. } => precision.check("--dtype", &device.device).is_ok(),
            Work::Train(Training { adapters, moments, .. }) => {
                let held = adapters.map_or(Precision::F32, |(_, precision)| precision);
                held.check("--dtype", &device.device).is_ok() && moments.check("--moments", &device.device).is_ok()
            }
        };
        let mut options: Vec<Alternative> = alternatives(work, config.context(), adapters)
            .into_iter()
            .filter(|(_, other)| possible(other))
            .map(|(option, other)| (option, needs(other)))
            .map(|(option, needs_bytes)| Alternative { option, needs_bytes, fits: fits(needs_bytes) })
            .collect();
        let largest_micro_batch = match work {
            Work::Train(training) => (1..=training.batch)
                .rev()
                .find(|&micro_batch| fits(needs(Work::Train(Training { micro_batch, ..training }))) == Some(true)),
            Work::Evaluate { .. } | Work::Embed(_) => None,
        };
        // A shorter context that saves nothing more is no option.
        options.dedup_by(|b, a| b.option.contains("--context") && b.needs_bytes >= a.needs_bytes);
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

    /// Refuses a run that does not fit. Where the device does not say what it has, it is tried.
    ///
    /// # Errors
    /// [`Error::Input`] with what is needed, what there is, and which option fits.
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
            Some(option) => format!("use {}, which needs {}", option.option, bytes(option.needs_bytes)),
            None => {
                let raised = if matches!(self.bound_by, Some(Bound::Limit(_))) { ", or raise that limit" } else { "" };
                format!("use another device or a smaller model{raised}; --dry-run shows what takes how much")
            }
        };
        Err(Error::file(model, fault, cure))
    }
}

/// Less demanding ways to do the same work, the least intrusive first, as options of the command line.
fn alternatives(work: Work, longest: usize, adapters: Option<AdapterSize>) -> Vec<(String, Work)> {
    let halves = |from: usize, least: usize| {
        std::iter::successors(Some(from / 2), |n| Some(n / 2)).take_while(move |&n| n >= least && n > 0)
    };
    match work {
        Work::Embed(_) => Vec::new(),
        Work::Evaluate { context, precision } => {
            let narrow = [Precision::Bf16, Precision::F16]
                .into_iter()
                .filter(|&p| precision == Precision::F32 && p != precision);
            let narrow =
                narrow.map(|precision| (format!("--dtype {precision}"), Work::Evaluate { context, precision }));
            let shorter = halves(context.min(longest), 128)
                .map(|context| (format!("--context {context}"), Work::Evaluate { context, precision }));
            narrow.chain(shorter).collect()
        }
        Work::Train(training @ Training { context, micro_batch, by_blocks, moments, adapters: trained, .. }) => {
            let with = |option: String, training| (option, Work::Train(training));
            let smaller = halves(micro_batch, 1)
                .map(|micro_batch| with(format!("--micro-batch {micro_batch}"), Training { micro_batch, ..training }));
            let blocks =
                (!by_blocks).then(|| with("--gradient-checkpointing".into(), Training { by_blocks: true, ..training }));
            let narrow = [Precision::Bf16, Precision::F16].into_iter();
            let moments = narrow
                .clone()
                .filter(|_| moments == Precision::F32 && trained.is_none())
                .map(|moments| with(format!("--moments {moments}"), Training { moments, ..training }));
            let held = narrow.filter(|_| trained.is_some_and(|(_, precision)| precision == Precision::F32));
            let held = held.filter_map(|precision| {
                let (size, _) = trained?;
                let training = Training { adapters: Some((size, precision)), by_blocks: true, ..training };
                Some(with(format!("--dtype {precision}"), training))
            });
            let lora = adapters.filter(|_| trained.is_none()).into_iter().flat_map(|adapters| {
                [(Precision::F32, ""), (Precision::Bf16, " --dtype bf16")].map(|(precision, dtype)| {
                    let by_blocks = by_blocks || precision != Precision::F32;
                    let training = Training { adapters: Some((adapters, precision)), by_blocks, ..training };
                    with(format!("--strategy lora{dtype}"), training)
                })
            });
            let shorter = halves(context.min(longest), 128).map(|context| {
                let training = Training { context, micro_batch: 1, ..training };
                with(format!("--micro-batch 1 --context {context}"), training)
            });
            smaller.chain(blocks).chain(moments).chain(held).chain(lora).chain(shorter).collect()
        }
    }
}
