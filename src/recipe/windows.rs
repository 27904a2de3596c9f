//! What the model trains on: windows of token streams, their order, and how they form batches.

use std::ops::Range;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::batch::MicroBatch;
use super::packing::{Order, Packing};
use crate::error::{Error, Result};
use crate::files;
use crate::message::Message;
use crate::spool::{Spool, SpoolWriter};
use crate::text::TokenStream;

/// A training set cut into windows, and the windows of further corpora that strategies mix in.
#[derive(Debug, Clone)]
pub struct TrainingWindows {
    /// The training text.
    own: Cut,
    /// Further corpora. Their windows have the numbers after those of the training text, in this order.
    further: Vec<Cut>,
    order: Order,
    seed: u64,
}

/// A stream cut into windows.
#[derive(Debug, Clone)]
struct Cut {
    ids: Spool<u32>,
    /// The document of each token.
    document: Spool<u32>,
    /// First token of each window and one past its last. The model reads all but the last token and predicts all but
    /// the first.
    windows: Spool<[u64; 2]>,
}

impl Cut {
    fn tokens(&self, window: usize) -> &[u32] {
        let [start, end] = self.windows[window];
        &self.ids[start as usize..end as usize]
    }
}

impl TrainingWindows {
    /// Cuts `stream` for windows of `context` tokens.
    ///
    /// # Errors
    /// Nothing is left to train on; no room on the disk for the windows of a long text.
    pub fn new(stream: TokenStream, context: usize, packing: Packing, order: Order, seed: u64) -> Result<Self> {
        let own = Cut::new(stream, context, packing, "the training text")?;
        Ok(Self { own, further: Vec::new(), order, seed })
    }

    /// Adds the windows of a further corpus, called `name` in messages; the numbers of its windows.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn add(&mut self, stream: TokenStream, context: usize, packing: Packing, name: &str) -> Result<Range<usize>> {
        let first = self.all();
        self.further.push(Cut::new(stream, context, packing, name)?);
        Ok(first..self.all())
    }

    /// Windows of the training text and of the further corpora.
    pub fn all(&self) -> usize {
        self.own.windows.len() + self.further.iter().map(|cut| cut.windows.len()).sum::<usize>()
    }

    /// The corpus of a window, and the window's number there.
    fn place(&self, window: usize) -> (&Cut, usize) {
        let mut number = window;
        for cut in std::iter::once(&self.own).chain(&self.further) {
            if number < cut.windows.len() {
                return (cut, number);
            }
            number -= cut.windows.len();
        }
        (&self.own, self.own.windows.len()) // out of range, as an index of a slice would be
    }
}

impl Cut {
    fn new(stream: TokenStream, context: usize, packing: Packing, name: &str) -> Result<Self> {
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
                name,
                format!("its {} tokens fill no window of {context}", ids.len()),
                Message::new("give more text or a smaller ").key("context"),
            ));
        }
        Ok(Self { ids, document, windows })
    }
}

impl TrainingWindows {
    /// Windows of the training text: those of an epoch.
    pub fn len(&self) -> usize {
        self.own.windows.len()
    }

    /// Never true: a set without windows is refused.
    pub fn is_empty(&self) -> bool {
        self.own.windows.is_empty()
    }

    /// Whether a window is of the training text, and not of a further corpus.
    pub fn is_own(&self, window: usize) -> bool {
        window < self.len()
    }

    /// Targets of a window.
    pub fn targets(&self, window: usize) -> usize {
        self.tokens(window).len() - 1
    }

    /// Tokens that are read of the longest window.
    pub fn longest(&self) -> usize {
        let cuts = std::iter::once(&self.own).chain(&self.further);
        let lengths = cuts.flat_map(|cut| cut.windows.iter().map(|[start, end]| (end - start) as usize - 1));
        lengths.max().unwrap_or(0)
    }

    /// The tokens of a window: all but the last are read, all but the first are predicted.
    pub fn tokens(&self, window: usize) -> &[u32] {
        let (cut, number) = self.place(window);
        cut.tokens(number)
    }

    /// What identifies the windows: a hash of their tokens.
    pub fn hash(&self) -> String {
        let mut hash = Vec::new();
        for cut in std::iter::once(&self.own).chain(&self.further) {
            hash.push(files::hash_bytes(bytemuck::cast_slice(&cut.ids)));
            hash.push(files::hash_bytes(bytemuck::cast_slice(&cut.windows)));
        }
        files::hash_bytes(hash.concat().as_bytes())
    }

    /// Which windows epoch `epoch` reads, in order. It depends only on the seed and the number of the epoch. So a
    /// resumed run reads the same windows as an uninterrupted one.
    pub fn epoch(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
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
            .filter(|&&window| self.is_own(window))
            .map(|&window| {
                let [start, end] = self.own.windows[window];
                [self.own.document[start as usize] + 1, self.own.document[end as usize - 1] + 1]
            })
            .collect();
        found.sort();
        found.dedup();
        let name =
            |[first, last]: &[u32; 2]| if first == last { first.to_string() } else { format!("{first}–{last}") };
        let shown = found.iter().take(SHOWN).map(name).collect::<Vec<_>>().join(", ");
        if found.is_empty() {
            return "windows of what is replayed".to_owned();
        }
        let more = if found.len() > SHOWN { " and more" } else { "" };
        format!("documents {shown}{more} of the training text")
    }

    /// The windows `which` as one micro-batch.
    pub fn micro_batch(&self, which: &[usize]) -> MicroBatch {
        let windows = || which.iter().map(|&window| self.tokens(window));
        let time = windows().map(|window| window.len() - 1).max().unwrap_or(0);
        let mut batch =
            MicroBatch { inputs: Vec::new(), targets: Vec::new(), weights: Vec::new(), penalised: Vec::new() };
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
