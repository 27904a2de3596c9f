//! A text with the negative log-likelihood of each token: what every later step starts from.

use burn::tensor::Device;

use super::protocol::{Protocol, Window};
use super::score;
use crate::device::batch_size;
use crate::error::{Error, Result};
use crate::message::Message;
use crate::model::LanguageModel;
use crate::progress::Monitor;
use crate::spool::Spool;
use crate::text::TokenStream;

/// With fewer documents than this, windows are resampled instead: an interval over three documents is useless.
const FEWEST_DOCUMENTS: usize = 10;

/// A stream with the negative log-likelihood of each token.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredStream {
    /// Token ids, `[n]`.
    pub ids: Spool<u32>,
    /// −ln p, nats; NaN where the protocol does not score the token. `[n]`.
    pub nll: Vec<f32>,
    /// The document each token belongs to, `[n]`.
    pub document: Spool<u32>,
    /// Offset of each token in its document, bytes. `[n]`.
    pub byte: Spool<u32>,
    /// The window each token is scored in, `[n]`; clusters of the bootstrap where documents are few.
    pub window: Vec<u32>,
}

/// Scores `stream` under `protocol`. `model` must be without autodiff, so that no graph is kept. Protocols that read
/// documents one by one need a stream from [`ProtocolResult::stream`], where documents are apart.
///
/// # Errors
/// A stream too short for the protocol; the device's failure; an interruption; a loss that is not finite.
pub fn evaluate(
    model: &LanguageModel,
    device: &Device,
    stream: &TokenStream,
    protocol: &Protocol,
    monitor: &mut dyn Monitor,
) -> Result<ScoredStream> {
    let windows = protocol.windows(&stream.document);
    if windows.is_empty() {
        return Err(Error::setting(
            "protocol",
            protocol.name,
            format!("finds nothing to score in {} tokens with windows of {}", stream.ids.len(), protocol.context),
            Message::new("use a longer text or a smaller ").key("context"),
        ));
    }
    monitor.begin("scoring", windows.iter().map(|w| (w.end - w.scored) as u64).sum());
    let nll = score::score(model, device, &stream.ids, &windows, batch_size(protocol.context), monitor)?;
    monitor.end();
    Ok(ScoredStream {
        ids: stream.ids.clone(),
        nll,
        document: stream.document.clone(),
        byte: stream.byte.clone(),
        window: window_of(&windows, stream.ids.len()),
    })
}

/// The index of the window that scores each token.
fn window_of(windows: &[Window], tokens: usize) -> Vec<u32> {
    let mut of = vec![0; tokens];
    for (index, window) in windows.iter().enumerate() {
        of[window.scored..window.end].fill(index as u32);
    }
    of
}

/// The clusters that the block bootstrap resamples.
#[derive(Debug, Clone, Copy)]
pub struct Clusters<'a> {
    /// The cluster of each token, `[n]`.
    pub of: &'a [u32],
    /// How many clusters there are.
    pub count: usize,
    /// "documents" or "windows".
    pub name: &'static str,
}

impl ScoredStream {
    /// Positions of the scored tokens.
    pub fn scored(&self) -> impl Iterator<Item = usize> + '_ {
        self.nll.iter().enumerate().filter(|(_, nll)| !nll.is_nan()).map(|(position, _)| position)
    }

    /// Sum of negative log-likelihoods in nats, and how many tokens it is over.
    pub fn total(&self) -> (f64, usize) {
        self.scored().fold((0.0, 0), |(sum, count), position| (sum + f64::from(self.nll[position]), count + 1))
    }

    /// Mean negative log-likelihood, nats per scored token.
    pub fn mean_nll(&self) -> f64 {
        let (sum, count) = self.total();
        sum / count as f64
    }

    /// Clusters for the block bootstrap: the cluster of every token, how many there are, and their name.
    ///
    /// Tokens of a document depend on one another, so documents are resampled; windows where documents are few.
    pub fn clusters(&self) -> Clusters<'_> {
        let documents = self.document.iter().max().map_or(0, |&last| last as usize + 1);
        if documents >= FEWEST_DOCUMENTS {
            Clusters { of: &self.document, count: documents, name: "documents" }
        } else {
            Clusters {
                of: &self.window,
                count: self.window.iter().max().map_or(0, |&w| w as usize + 1),
                name: "windows",
            }
        }
    }
}
