//! Where the loss of a model on a text comes from: its mean, its spread over documents, and its parts by class of
//! token.

use serde::{Deserialize, Serialize};

use crate::evaluate::ScoredStream;
use crate::text::{TokenClass, Vocabulary};

/// The loss of one model on one text, `loss = Σ_k share_k · loss_k` over the classes k of tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossProfile {
    /// Mean negative log-likelihood, nats per token.
    pub loss: f64,
    /// Scored tokens.
    pub scored: usize,
    /// Standard deviation of the mean loss between documents (windows where documents are few), each weighted by its
    /// scored tokens; null with fewer than two.
    pub document_sd: Option<f64>,
    /// "documents" or "windows".
    pub over: String,
    /// Share of the text's tokens that hold a line break.
    pub newline_rate: f64,
    /// By class of token; classes that do not occur are left out.
    pub classes: Vec<ClassLoss>,
}

/// One class's part of a loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassLoss {
    /// The class.
    pub class: TokenClass,
    /// Its share of the scored tokens.
    pub share: f64,
    /// Mean negative log-likelihood, nats.
    pub loss: f64,
}

impl LossProfile {
    /// Computes it from a scored text.
    pub fn of(scored: &ScoredStream, vocabulary: &Vocabulary) -> Self {
        let clusters = scored.clusters();
        let mut documents = vec![(0.0, 0.0); clusters.count];
        let mut classes = [(0.0, 0.0); TokenClass::ALL.len()];
        for position in scored.scored() {
            let nll = f64::from(scored.nll[position]);
            let class = vocabulary.class(scored.ids[position]);
            for (sum, count) in [&mut documents[clusters.of[position] as usize], &mut classes[class as usize]] {
                *sum += nll;
                *count += 1.0;
            }
        }
        let (sum, count) = scored.total();
        let (loss, total) = (sum / count.max(1) as f64, count.max(1) as f64);
        let occurring = |(_, count): &&(f64, f64)| *count > 0.0;
        let squares: f64 = documents.iter().filter(occurring).map(|(sum, n)| n * (sum / n - loss).powi(2)).sum();
        Self {
            loss,
            scored: count,
            document_sd: (documents.iter().filter(occurring).count() > 1).then(|| (squares / total).sqrt()),
            over: clusters.name.to_owned(),
            newline_rate: vocabulary.newline_rate(&scored.ids),
            classes: TokenClass::ALL
                .into_iter()
                .zip(classes)
                .filter(|(_, (_, count))| *count > 0.0)
                .map(|(class, (sum, count))| ClassLoss { class, share: count / total, loss: sum / count })
                .collect(),
        }
    }

    /// The part of the loss that a class carries, `share · loss`, nats per token of the text; 0 where it does not occur.
    pub fn part(&self, class: TokenClass) -> f64 {
        self.classes.iter().find(|found| found.class == class).map_or(0.0, |found| found.share * found.loss)
    }
}
