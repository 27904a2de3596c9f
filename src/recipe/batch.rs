//! Windows that are computed together.

/// Windows of one length to train on. Shorter ones are padded; the padding has weight 0.
#[derive(Debug, Clone, PartialEq)]
pub struct MicroBatch {
    /// Tokens read, `[batch][time]`.
    pub inputs: Vec<Vec<u32>>,
    /// The token after each, `[batch · time]`.
    pub targets: Vec<u32>,
    /// w of each target in Σ w·nll / Σ w, `[batch · time]`; 0 for padding.
    pub weights: Vec<f32>,
}

impl MicroBatch {
    /// Σ w over its targets.
    pub fn weight(&self) -> f64 {
        self.weights.iter().map(|&w| f64::from(w)).sum()
    }
}
