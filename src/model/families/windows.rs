//! Sliding windows of the families that have them, as `config.json` says it.

use serde::Deserialize;

use super::super::config_file::ConfigFile;
use crate::error::Result;

/// The keys about windows.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Windows {
    num_hidden_layers: usize,
    /// How many of the latest tokens a layer with a window sees.
    pub sliding_window: Option<usize>,
    /// Qwen and SmolLM 3: whether any layer has a window.
    #[serde(default)]
    use_sliding_window: bool,
    /// Qwen: the first layer with a window, where `layer_types` does not say it.
    #[serde(default = "default_max_window_layers")]
    pub max_window_layers: usize,
    layer_types: Option<Vec<LayerType>>,
}

/// The keys that the queries of a layer see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LayerType {
    FullAttention,
    SlidingAttention,
}

fn default_max_window_layers() -> usize {
    28
}

impl Windows {
    /// Checks that no layer has a window.
    ///
    /// # Errors
    /// `layer_types` says otherwise.
    pub fn none(file: &ConfigFile) -> Result<()> {
        Self::read(file, None, |_| false).map(|_| ())
    }

    /// One window for all layers, where the file gives one; `default` where it says nothing of it.
    pub fn on_all(file: &ConfigFile, default: usize) -> Result<Vec<Option<usize>>> {
        let windows = Self::read(file, Some(default), |_| false)?;
        windows.of_layers(file, |_| windows.sliding_window.is_some())
    }

    /// The window of each layer, where `use_sliding_window` is on: of the layers that `layer_types` names or, if that is
    /// missing, of the `chosen`. `default` is the window where the file says nothing of it.
    pub fn by_layer(
        file: &ConfigFile,
        default: Option<usize>,
        chosen: impl Fn(&Self, usize) -> bool,
    ) -> Result<Vec<Option<usize>>> {
        let windows = Self::read(file, default, |windows| windows.use_sliding_window)?;
        windows.of_layers(file, |layer| match &windows.layer_types {
            Some(types) => types[layer] == LayerType::SlidingAttention,
            None => windows.use_sliding_window && chosen(&windows, layer),
        })
    }

    /// Reads the keys; layers may only have windows where `allowed` says so.
    fn read(file: &ConfigFile, default: Option<usize>, allowed: impl Fn(&Self) -> bool) -> Result<Self> {
        let default = default.map(|window| ("sliding_window", window.into()));
        let windows: Self = file.parse_with(default.into_iter().collect())?;
        if let Some(types) = &windows.layer_types {
            if types.len() != windows.num_hidden_layers {
                return Err(file.refusal("layer_types", "as many as `num_hidden_layers` are needed"));
            }
            if types.contains(&LayerType::SlidingAttention) && !allowed(&windows) {
                return Err(file.refusal("layer_types", "only \"full_attention\" is implemented here"));
            }
        }
        Ok(windows)
    }

    fn of_layers(&self, file: &ConfigFile, has: impl Fn(usize) -> bool) -> Result<Vec<Option<usize>>> {
        let window = self.sliding_window.filter(|&window| window > 0);
        let layers: Vec<bool> = (0..self.num_hidden_layers).map(has).collect();
        if layers.contains(&true) && window.is_none() {
            return Err(file.refusal("sliding_window", "layers with a window need its length"));
        }
        Ok(layers.into_iter().map(|has| window.filter(|_| has)).collect())
    }
}
