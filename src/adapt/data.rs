//! What the model trains on: blocks of a token stream, in which order, in which batches.

use std::ops::Range;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::spool::{Spool, SpoolWriter};
use crate::text::TokenStream;

/// How documents fill blocks of the context length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// One stream of all documents; every token but the first is a target exactly once, nothing is dropped.
    #[default]
    Stream,
    /// One stream cut side by side, as run_clm does: a block's first token is no target, the last partial block is dropped.
    Blocks,
    /// Every document starts a block of its own; nothing is read across documents.
    Document,
}

/// The order of blocks within an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Shuffled anew each epoch, from the seed.
    #[default]
    Shuffle,
    /// As in the file.
    File,
}

/// A training set cut into blocks.
#[derive(Debug, Clone)]
pub struct TrainingBlocks {
    ids: Spool<u32>,
    /// The document of each token.
    document: Spool<u32>,
    /// First token of each block and one past its last: all but the last are read, all but the first predicted.
    blocks: Spool<[u64; 2]>,
    order: Order,
    seed: u64,
}

/// Equally long windows to train on; short ones are padded with weight 0.
#[derive(Debug, Clone, PartialEq)]
pub struct MicroBatch {
    /// Tokens read, `[batch][time]`.
    pub inputs: Vec<Vec<u32>>,
    /// The token after each, `[batch · time]`.
    pub targets: Vec<u32>,
    /// w of each target in Σ w·nll / Σ w, `[batch · time]`; 0 for padding.
    pub weights: Vec<f32>,
}

impl TrainingBlocks {
    /// Cuts `stream` for windows of `context` tokens.
    ///
    /// # Errors
    /// Nothing is left to train on; no room on the disk for the blocks of a long text.
    pub fn new(stream: TokenStream, context: usize, packing: Packing, order: Order, seed: u64) -> Result<Self> {
        let TokenStream { ids, document, .. } = stream;
        let cut = |whole: Range<usize>| {
            // T inputs and T targets are T+1 tokens; the next block reads the last target.
            let end = whole.end;
            whole
                .step_by(context)
                .map(move |start| start..(start + context + 1).min(end))
                .filter(|block| block.len() > 1)
        };
        let mut blocks = SpoolWriter::default();
        let mut keep = |block: Range<usize>| blocks.push([block.start as u64, block.end as u64]);
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
        let blocks = blocks.finish()?;
        if blocks.is_empty() {
            return Err(Error::input(
                "the training text",
                format!("its {} tokens fill no block of {context}", ids.len()),
                "give more text or a smaller --context",
            ));
        }
        Ok(Self { ids, document, blocks, order, seed })
    }

    /// Blocks of an epoch.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Never true: a set without blocks is refused.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Targets of a block.
    pub fn targets(&self, block: usize) -> usize {
        self.tokens(block).len() - 1
    }

    /// Tokens that are read of the longest block.
    pub fn longest(&self) -> usize {
        self.blocks.iter().map(|[start, end]| (end - start) as usize - 1).max().unwrap_or(0)
    }

    fn tokens(&self, block: usize) -> &[u32] {
        let [start, end] = self.blocks[block];
        &self.ids[start as usize..end as usize]
    }

    /// Which blocks epoch `epoch` reads, in order. It depends on nothing but the seed and the epoch's number, so a run
    /// that goes on later reads what it would have read.
    pub fn epoch(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.blocks.len()).collect();
        if self.order == Order::Shuffle {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(epoch);
            order.shuffle(&mut rng);
        }
        order
    }

    /// In words, which documents of the training text the blocks `which` are of, counted from 1.
    pub fn documents(&self, which: &[usize]) -> String {
        const SHOWN: usize = 8;
        let mut found: Vec<[u32; 2]> = which
            .iter()
            .map(|&block| {
                let [start, end] = self.blocks[block];
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

    /// The blocks `which` as one micro-batch.
    pub fn micro_batch(&self, which: &[usize]) -> MicroBatch {
        let blocks = || which.iter().map(|&block| self.tokens(block));
        let time = blocks().map(|block| block.len() - 1).max().unwrap_or(0);
        let mut batch = MicroBatch { inputs: Vec::new(), targets: Vec::new(), weights: Vec::new() };
        for block in blocks() {
            let targets = block.len() - 1;
            let padding = time - targets;
            // Padding comes last and attention looks back only, so it changes nothing before it.
            batch.inputs.push([&block[..targets], &vec![0; padding]].concat());
            batch.targets.extend_from_slice(&block[1..]);
            batch.targets.resize(batch.targets.len() + padding, 0);
            batch.weights.resize(batch.weights.len() + targets, 1.0);
            batch.weights.resize(batch.weights.len() + padding, 0.0);
        }
        batch
    }
}

impl MicroBatch {
    /// Σ w over its targets.
    pub fn weight(&self) -> f64 {
        self.weights.iter().map(|&w| f64::from(w)).sum()
    }
}
