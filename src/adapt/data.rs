//! What the model trains on: windows of a token stream, their order, and how they form batches.

use std::ops::Range;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};
use crate::recipe::AdaptSettings;
pub use crate::recipe::{MicroBatch, Order, Packing};
use crate::spool::{Spool, SpoolWriter};
use crate::text::TokenStream;

/// A training set cut into windows.
#[derive(Debug, Clone)]
pub struct TrainingWindows {
    ids: Spool<u32>,
    /// The document of each token.
    document: Spool<u32>,
    /// First token of each window and one past its last. The model reads all but the last token and predicts all but
    /// the first.
    windows: Spool<[u64; 2]>,
    order: Order,
    seed: u64,
}

impl TrainingWindows {
    /// Cuts `stream` for windows of `context` tokens.
    ///
    /// # Errors
    /// Nothing is left to train on; no room on the disk for the windows of a long text.
    pub fn new(stream: TokenStream, context: usize, packing: Packing, order: Order, seed: u64) -> Result<Self> {
        let TokenStream { ids, document, .. } = stream;
        let cut = |whole: Range<usize>| {
            // T inputs and T targets are T+1 tokens; the next window reads the last target.
            let end = whole.end;
            whole
                .step_by(context)
                .map(move |start| start..(start + context + 1).min(end))
                .filter(|window| window.len() > 1)
        };
        let mut windows = SpoolWriter::default();
        let mut keep = |window: Range<usize>| windows.push([window.start as u64, window.end as u64]);
        match packing {
            Packing::Stream => cut(0..ids.len()).try_for_each(keep)?,
            Packing::Blocks => (0..ids.len() / context).map(|i| i * context..(i + 1) * context).try_for_each(keep)?,
            Packing::Document => {
                let mut start = 0;
                for part in document.chunk_by(|a, b| a == b) {
                    cut(start..start + part.len()).try_for_each(&mut keep)?;
                    start += part.len();
                }
            }
        }
        let windows = windows.finish()?;
        if windows.is_empty() {
            return Err(Error::input(
                "the training text",
                format!("its {} tokens fill no window of {context}", ids.len()),
                "give more text or a smaller --context",
            ));
        }
        Ok(Self { ids, document, windows, order, seed })
    }

    /// Windows of an epoch.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Never true: a set without windows is refused.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Targets of a window.
    pub fn targets(&self, window: usize) -> usize {
        self.tokens(window).len() - 1
    }

    /// Tokens that are read of the longest window.
    pub fn longest(&self) -> usize {
        self.windows.iter().map(|[start, end]| (end - start) as usize - 1).max().unwrap_or(0)
    }

    fn tokens(&self, window: usize) -> &[u32] {
        let [start, end] = self.windows[window];
        &self.ids[start as usize..end as usize]
    }

    /// Which windows epoch `epoch` reads, in order. It depends only on the seed and the number of the epoch. So a
    /// resumed run reads the same windows as an uninterrupted one.
    pub fn epoch(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.windows.len()).collect();
        if self.order == Order::Shuffle {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(epoch);
            order.shuffle(&mut rng);
        }
        order
    }

    /// In words, which documents of the training text the windows `which` are of, counted from 1.
    pub fn documents(&self, which: &[usize]) -> String {
        const SHOWN: usize = 8;
        let mut found: Vec<[u32; 2]> = which
            .iter()
            .map(|&window| {
                let [start, end] = self.windows[window];
                [self.document[start as usize] + 1, self.document[end as usize - 1] + 1]
            })
            .collect();
        found.sort();
        found.dedup();
        let name =
            |[first, last]: &[u32; 2]| if first == last { first.to_string() } else { format!("{first}–{last}") };
        let shown = found.iter().take(SHOWN).map(name).collect::<Vec<_>>().join(", ");
        let more = if found.len() > SHOWN { " and more" } else { "" };
        format!("documents {shown}{more} of the training text")
    }

    /// The windows `which` as one micro-batch.
    pub fn micro_batch(&self, which: &[usize]) -> MicroBatch {
        let windows = || which.iter().map(|&window| self.tokens(window));
        let time = windows().map(|window| window.len() - 1).max().unwrap_or(0);
        let mut batch = MicroBatch { inputs: Vec::new(), targets: Vec::new(), weights: Vec::new() };
        for window in windows() {
            let targets = window.len() - 1;
            let padding = time - targets;
            // Padding comes last and attention looks back only, so it changes nothing before it.
            batch.inputs.push([&window[..targets], &vec![0; padding]].concat());
            batch.targets.extend_from_slice(&window[1..]);
            batch.targets.resize(batch.targets.len() + padding, 0);
            batch.weights.resize(batch.weights.len() + targets, 1.0);
            batch.weights.resize(batch.weights.len() + padding, 0.0);
        }
        batch
    }
}

/// Targets of all steps of a run, also of steps that an earlier process did.
pub fn trained_tokens(windows: &TrainingWindows, settings: &AdaptSettings, steps: u64, steps_per_epoch: u64) -> u64 {
    let epochs = steps / steps_per_epoch;
    let batch = settings.batch;
    let targets = |epoch: u64, steps: u64| -> u64 {
        windows.epoch(epoch).iter().take(steps as usize * batch).map(|&window| windows.targets(window) as u64).sum()
    };
    (0..epochs).map(|epoch| targets(epoch, steps_per_epoch)).sum::<u64>() + targets(epochs, steps % steps_per_epoch)
}
