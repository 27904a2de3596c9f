//! What a run will need in memory, before it starts: what the device has, and what would fit where it does not.
//!
//! Weights, gradients and moments are counted from the shapes that `config.json` calls for. What a pass through the
//! model holds beside them is estimated from how many numbers of each size live at once, counted by measuring runs
//! (`tests/size.rs` compares plan and measurement).

use std::path::Path;

use serde::Serialize;

use crate::adapt::AdaptSettings;
use crate::device::ChosenDevice;
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
    fn pass(self) -> u64 {
        let Self { passage, together, channels, inner, heads, .. } = self;
        let [passage, together, channels, inner, heads] = [passage, together, channels, inner, heads].map(|n| n as u64);
        block_pass(passage, together, channels, inner, heads)
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
    /// Weights of the largest matrix that is never cut into pieces, and of the largest that is.
    largest_whole: u64,
    largest_table: u64,
    vocabulary: u64,
    channels: u64,
    inner: u64,
    heads: u64,
    layers: u64,
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
        let largest = |tables: bool| {
            let counted = shapes.iter().filter(|(_, shape)| tables == (shape.first() == Some(&vocabulary)));
            counted.map(|(_, shape)| count(shape)).max().unwrap_or(0)
        };
        let (inner, heads, gated) = match &config.architecture {
            Architecture::Gpt2(c) => (c.inner(), c.n_head, false),
            Architecture::Llama(c) | Architecture::Olmo(c) => (c.intermediate_size, c.num_attention_heads, true),
            Architecture::GptNeox(c) => (c.intermediate_size, c.num_attention_heads, false),
        };
        Ok(Self {
            matrices: sum(true),
            vectors: sum(false),
            largest_whole: largest(false),
            largest_table: largest(true),
            vocabulary: vocabulary as u64,
            channels: config.channels() as u64,
            inner: inner as u64,
            heads: heads as u64,
            layers: config.layers() as u64,
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

    /// The most that lives at once while nothing is kept for a gradient, in a block or in the head.
    fn pass(&self, context: usize, windows: usize) -> u64 {
        self.block_pass(context, windows).max(self.head_pass(context, windows))
    }

    fn block_pass(&self, context: usize, windows: usize) -> u64 {
        let [time, windows] = [context as u64, windows as u64];
        block_pass(time, time * windows, self.channels, self.inner, self.heads)
    }

    /// Three chunks of logits, beside the hidden states.
    fn head_pass(&self, context: usize, windows: usize) -> u64 {
        let tokens = (context * windows) as u64;
        let logits = tokens.min(head_chunk(self.vocabulary as usize) as u64) * self.vocabulary;
        F32 * (3 * logits + tokens * self.channels)
    }

    /// What a backward pass through a frozen base to its adapters holds at its peak. Fitted as [`Self::backward`], with
    /// GPT-2 124M among the models: off by 7 % of the whole need at most.
    fn backward_of_adapters(&self, training: Training, adapters: AdapterSize, precision: Precision) -> u64 {
        let Training { context, micro_batch: windows, by_blocks, compute, .. } = training;
        let tokens = F32 * (context * windows) as u64; // bytes of a number for each
        let (of_channels, of_inner, of_scores, passes) =
            if self.gated { (7.5, 3.2, 3.0, 0.8) } else { (5.5, 4.0, 3.0, 1.0) };
        let of_token = of_channels * self.channels as f64
            + of_inner * self.inner as f64
            + of_scores * (self.heads * context as u64) as f64;
        let of_inputs = (tokens * adapters.inputs) as f64;
        let of_block = tokens as f64 * of_token + of_inputs / self.layers as f64;
        if !by_blocks {
            let pass = passes * self.pass(context, windows) as f64;
            return (self.layers as f64 * of_block + pass) as u64;
        }
        // What each block reads, and one block's share or the head's; matrices held in 16 bits are in f32 meanwhile.
        let converted = |weights: u64| if precision == compute { 0 } else { compute.bytes() as u64 * weights };
        let block = (of_block + passes * self.block_pass(context, windows) as f64) as u64;
        let block = block + converted(3 * self.largest_whole);
        let head = self.head_pass(context, windows) + converted(self.largest_piece());
        self.layers * tokens * self.channels + block.max(head)
    }

    /// What a backward pass holds at its peak, beside weights and moments: what the blocks kept for the gradient, the
    /// pass at hand, and the gradients of what is done already. Fitted to the peaks of training runs on the CPU backend,
    /// two families, 6 models of 4 to 42 million weights and windows of 128 to 1,024 tokens: off by 8 % at most.
    fn backward(&self, training: Training) -> u64 {
        let Training { context, batch, micro_batch: windows, by_blocks, .. } = training;
        let [time, tokens] = [context as u64, (context * windows) as u64];
        let (of_channels, of_inner, of_scores, passes, of_weights) =
            if self.gated { (0.3, 10.0, 3.0, 0.3, 0.5) } else { (16.0, 6.0, 2.3, 1.25, 0.2) };
        let of_token =
            of_channels * self.channels as f64 + of_inner * self.inner as f64 + of_scores * (self.heads * time) as f64;
        let of_block = (F32 * tokens) as f64 * of_token;
        let weights = self.weights(Precision::F32);
        // Gradients of the micro-batches before.
        let sum = if batch > windows { weights } else { 0 };
        let pass = passes * self.pass(context, windows) as f64;
        if !by_blocks {
            return sum + (self.layers as f64 * of_block + pass + of_weights * weights as f64) as u64;
        }
        // What each block reads; then the head, or the last block and the gradients of all others.
        let block = weights + (of_block + passes * self.block_pass(context, windows) as f64) as u64;
        sum + self.layers * F32 * tokens * self.channels + block.max(self.head_pass(context, windows))
    }

    /// Weights of the largest matrix as it is converted: tables only a piece at a time.
    fn largest_piece(&self) -> u64 {
        self.largest_whole.max(self.largest_table.min(LARGEST_PIECE as u64 / F32))
    }
}

/// The most that lives at once inside a block, bytes, of so many tokens in windows of `time`: in attention two and a half
/// score matrices, of which long ones are worked on in stretches, inside the MLP three or four tensors of its width, each
/// beside some tensors of the hidden states' width.
fn block_pass(time: u64, tokens: u64, channels: u64, inner: u64, heads: u64) -> u64 {
    let scores = (tokens * time * heads).min(LARGEST_PIECE as u64 / F32);
    let attention = 5 * scores / 2 + 6 * tokens * channels;
    let mlp = 3 * tokens * inner + 4 * tokens * channels;
    F32 * attention.max(mlp)
}

/// Bytes of a number in f32.
const F32: u64 = size_of::<f32>() as u64;
/// Memory of the program before it has a model.
const PROGRAM: u64 = 20 << 20;
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
        let has = device.free_memory();
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
            fits: fits(needs_bytes),
            reason: has.is_none().then(|| "this device does not say how much memory it has".to_owned()),
            obstacle,
            largest_micro_batch,
            options,
        })
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
                "needs about {} of memory here, and {} are free",
                bytes(self.needs_bytes),
                bytes(has.unwrap_or(0))
            ),
        };
        let cure = match self.options.iter().find(|option| option.fits == Some(true)) {
            Some(option) => format!("use {}, which needs {}", option.option, bytes(option.needs_bytes)),
            None => "use another device or a smaller model; --dry-run shows what takes how much".to_owned(),
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
