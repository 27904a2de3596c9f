//! What attention does beside its products: scale, cap of the scores, and which keys a query sees.

use std::sync::{Arc, OnceLock};

use burn::tensor::{Bool, Device, Tensor};

/// Windows up to this length have their mask made once and kept; for longer windows only the rows in use exist.
const WHOLE_MASK: usize = 4096;

/// What a layer's attention computes beside its products: `softmax(cap(scale · q kᵀ)) v`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Attention {
    /// What products of queries and keys are multiplied by; 1 / √D where it is not given.
    pub scale: Option<f64>,
    /// Scores s become `c · tanh(s / c)`, before any key is hidden.
    pub soft_cap: Option<f64>,
    /// How many of the latest tokens a query sees, its own among them: query i sees key j where i − window < j ≤ i.
    pub window: Option<usize>,
}

/// The same for numbers of known size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scores {
    pub(super) scale: f32,
    pub(super) soft_cap: Option<f32>,
    /// How many of the latest tokens a query sees, its own among them.
    pub(super) window: usize,
}

/// Causal attention over inputs of one length, with the mask of [`plain`](super::plain()): which keys a query may see.
///
/// It is made once for all layers that attend in the same way.
#[derive(Debug, Clone)]
pub struct CausalAttention {
    time: usize,
    attention: Attention,
    device: Device,
    /// `[T, T]`, for short windows; made at the first use.
    whole: Arc<OnceLock<Tensor<2, Bool>>>,
}

impl CausalAttention {
    /// Over inputs of `time` tokens; with a `window`, a query sees the last `window` tokens only, itself among them.
    pub fn new(time: usize, window: Option<usize>, device: &Device) -> Self {
        Self::with(Attention { window, ..Attention::default() }, time, device)
    }

    /// The same with other settings, too.
    pub fn with(attention: Attention, time: usize, device: &Device) -> Self {
        let window = attention.window.filter(|&window| window < time);
        Self {
            time,
            attention: Attention { window, ..attention },
            device: device.clone().inner(),
            whole: Arc::default(),
        }
    }

    /// How it is done for heads of so many channels.
    pub(super) fn scores(&self, channels: usize) -> Scores {
        let Attention { soft_cap, window, .. } = self.attention;
        Scores {
            scale: self.scale(channels) as f32,
            soft_cap: soft_cap.map(|cap| cap as f32),
            window: window.unwrap_or(self.time),
        }
    }

    pub(super) fn scale(&self, channels: usize) -> f64 {
        self.attention.scale.unwrap_or((channels as f64).powf(-0.5))
    }

    pub(super) fn soft_cap(&self) -> Option<f64> {
        self.attention.soft_cap
    }

    /// True where query `start + i` may not look at key `j`: `[count, end]`.
    pub(super) fn rows(&self, start: usize, count: usize, end: usize) -> Tensor<2, Bool> {
        if self.time > WHOLE_MASK {
            return self.made(start, count, end);
        }
        let whole = self.whole.get_or_init(|| self.made(0, self.time, self.time));
        whole.clone().narrow(0, start, count).narrow(1, 0, end)
    }

    fn made(&self, start: usize, count: usize, end: usize) -> Tensor<2, Bool> {
        let start = start as i64;
        let later = Tensor::<2, Bool>::tril_mask([count, end], start, &self.device);
        match self.attention.window {
            None => later,
            // True where the key lies `window` or more tokens back.
            Some(window) => later.bool_or(Tensor::triu_mask([count, end], start + 1 - window as i64, &self.device)),
        }
    }
}
