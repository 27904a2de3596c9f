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
    /// How much each target counts where a penalty compares two models, `[batch · time]`; empty where nothing does.
    pub penalised: Vec<f32>,
}

impl MicroBatch {
    /// Σ w over its targets.
    pub fn weight(&self) -> f64 {
        self.weights.iter().map(|&w| f64::from(w)).sum()
    }

    /// Puts values of targets, window by window without padding, at their places: `[batch · time]`, 0 for padding.
    pub fn laid_out<'v>(&self, windows: impl Iterator<Item = &'v [f32]>) -> Vec<f32> {
        let time = self.inputs.first().map_or(0, Vec::len);
        let mut all = vec![0.0; self.targets.len()];
        for (row, values) in all.chunks_mut(time.max(1)).zip(windows) {
            row[..values.len()].copy_from_slice(values);
        }
        all
    }

    /// The contrary: from values `[batch · time]` those of the first `lengths` targets of each window, in a row.
    pub fn without_padding(&self, values: &[f32], lengths: impl Iterator<Item = usize>) -> Vec<f32> {
        let time = self.inputs.first().map_or(0, Vec::len);
        values.chunks(time.max(1)).zip(lengths).flat_map(|(row, length)| row[..length].to_vec()).collect()
    }
}
