//! The features by which corpora are compared: their kind, their model, and the layer.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::disk::paths::normal;
use crate::error::{Error, Result};

/// What `--features` and a study's `features` ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FeatureSpec {
    /// `model:DIR[@LAYER][,mean|last]`: hidden states of a language model, one vector a chunk. Without `:DIR` those of the
    /// model at hand, in studies.
    Model {
        /// Its folder or its name on the hub.
        folder: Option<PathBuf>,
        /// From where in it.
        hidden: Hidden,
    },
    /// `minilm:DIR`: a sentence encoder, one vector a document.
    Encoder {
        /// Its folder or its name on the hub.
        folder: PathBuf,
    },
    /// `lexical`: no features; words and sequences of words alone.
    Lexical,
}

/// The layer whose hidden states are taken, and how those of a chunk's tokens become one vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hidden {
    /// Layers gone through, 0 for the token embeddings; all of them and the last norm where absent.
    pub layer: Option<usize>,
    /// How a chunk becomes one vector.
    pub pooling: Pooling,
}

/// One vector of the many of a chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// The vector of the last token, which depends on all others.
    Last,
}

impl Default for FeatureSpec {
    fn default() -> Self {
        Self::Model { folder: None, hidden: Hidden::default() }
    }
}

impl FromStr for FeatureSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |fault: String| {
            Err(Error::setting(
                "features",
                text,
                fault,
                "use model:DIR with the folder of a model, and if wanted a layer and mean or last (model:DIR@6,last), \
                 minilm:DIR, or lexical",
            ))
        };
        let (kind, folder) = text.split_once(':').map_or((text, None), |(kind, folder)| (kind, Some(folder)));
        // without a folder the layer stands behind the kind
        let (kind, mut rest) = match folder {
            Some(folder) => (kind, folder),
            None => kind.find(['@', ',']).map_or((kind, ""), |at| kind.split_at(at)),
        };
        match (kind, folder) {
            ("lexical", None) if rest.is_empty() => Ok(Self::Lexical),
            ("minilm", Some(folder)) if !folder.is_empty() => Ok(Self::Encoder { folder: normal(Path::new(folder)) }),
            ("model", _) => {
                let mut hidden = Hidden::default();
                for (ending, pooling) in [(",mean", Pooling::Mean), (",last", Pooling::Last)] {
                    if let Some(before) = rest.strip_suffix(ending) {
                        (rest, hidden.pooling) = (before, pooling);
                        break;
                    }
                }
                // a revision on the hub also follows an @, but it is not a number
                if let Some((before, layer)) = rest.rsplit_once('@')
                    && let Ok(layer) = layer.parse()
                {
                    (rest, hidden.layer) = (before, Some(layer));
                }
                match folder {
                    Some(_) if rest.is_empty() => refuse("names no model".into()),
                    None if !rest.is_empty() => refuse(format!("{rest:?} is not a layer, mean or last")),
                    _ => Ok(Self::Model { folder: folder.map(|_| normal(Path::new(rest))), hidden }),
                }
            }
            _ => refuse("is not a kind of features".into()),
        }
    }
}

impl fmt::Display for FeatureSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model { folder, hidden } => {
                f.write_str("model")?;
                if let Some(folder) = folder {
                    write!(f, ":{}", folder.display())?;
                }
                if let Some(layer) = hidden.layer {
                    write!(f, "@{layer}")?;
                }
                f.write_str(if hidden.pooling == Pooling::Last { ",last" } else { "" })
            }
            Self::Encoder { folder } => write!(f, "minilm:{}", folder.display()),
            Self::Lexical => f.write_str("lexical"),
        }
    }
}

impl TryFrom<String> for FeatureSpec {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<FeatureSpec> for String {
    fn from(spec: FeatureSpec) -> Self {
        spec.to_string()
    }
}

impl Hidden {
    /// Refuses a layer that a model of so many layers does not have.
    ///
    /// # Errors
    /// [`Error::Input`].
    pub fn check(&self, layers: usize) -> Result<()> {
        match self.layer {
            Some(layer) if layer > layers => Err(Error::key(
                "features",
                format!("asks for layer {layer}, the model has {layers}"),
                format!("use a layer of 0 (token embeddings) to {layers}, or leave it out"),
            )),
            _ => Ok(()),
        }
    }
}
