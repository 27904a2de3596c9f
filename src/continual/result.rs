//! What a stream of domains comes to.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::retention::{Retention, Transfer};
use crate::evaluate::ProtocolResult;

/// `adapt --stream --json`, and `stream.json` in the folder of the stream, also while it is unfinished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamResult {
    /// "odyssey.stream/1".
    pub schema: String,
    /// The folder of the stream.
    pub out: String,
    /// The model before the stream.
    pub model: String,
    /// The domains in order.
    pub domains: Vec<DomainOfStream>,
    /// Stages that are done.
    pub done: usize,
    /// Stages in all.
    pub of: usize,
    /// The losses on the test texts, nats per token: one row before the stream and one after each stage that is done, each with
    /// one number for every domain.
    pub retention: Retention,
    /// Mean loss over all domains before the stream.
    pub zero_shot: f64,
    /// Mean over stages of the loss on the domain that was just learned; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<f64>,
    /// Mean loss over all domains now.
    pub last: f64,
    /// By domain, how far its loss now lies above the least that it ever had.
    pub forgetting: Vec<f64>,
    /// Its mean.
    pub mean_forgetting: f64,
    /// By domain that was learned, its loss now less that right after it was learned.
    pub since_learned: Vec<f64>,
    /// By stage from the second on, by how much the domains before it got better than before the stream.
    pub backward: Vec<Transfer>,
    /// By stage up to the last but one, the same for the domains that come later.
    pub forward: Vec<Transfer>,
    /// How test texts are scored.
    pub protocol: ProtocolResult,
    /// Everything that determines the losses but the stages' own trainings, which are in their folders.
    pub determined_by: Value,
    /// Seconds of training and scoring.
    pub seconds: f64,
    /// Largest resident memory of the process, bytes.
    pub peak_memory_bytes: u64,
}

/// A domain of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainOfStream {
    /// Its name.
    pub domain: String,
    /// Where its texts are.
    pub text: String,
    /// The folder of its stage, in that of the stream.
    pub folder: String,
    /// Tokens of its test text.
    pub tokens_of_test: usize,
    /// Optimiser steps of its stage; absent where that is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Targets that the stage trained on; absent where it is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

impl StreamResult {
    /// The same with everything that is computed of the retention matrix.
    pub(super) fn with(mut self, retention: Retention) -> Self {
        self.done = retention.stages();
        self.zero_shot = retention.zero_shot();
        self.current = retention.current();
        self.last = retention.last();
        self.forgetting = retention.forgetting();
        self.mean_forgetting = self.forgetting.iter().sum::<f64>() / self.forgetting.len().max(1) as f64;
        self.since_learned = retention.since_learned();
        self.backward = retention.backward();
        self.forward = retention.forward();
        self.retention = retention;
        self
    }
}
