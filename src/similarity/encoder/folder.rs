//! The settings in the folder of a sentence encoder that turn token states into one vector.
//!
//! Follows sentence-transformers: `modules.json` lists what is applied one after the other, the pooling's own folder
//! (`1_Pooling`) says what is pooled, `sentence_bert_config.json` how many tokens are read. A folder without
//! `modules.json` is a plain BERT, for which sentence-transformers too takes the mean.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::bert::BertConfig;
use crate::error::{Error, Result};
use crate::files::read_json;

const CURE: &str = "choose an encoder with mean or CLS pooling, such as sentence-transformers/all-MiniLM-L6-v2";

/// How the vector of a passage is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of the states of all tokens, those around the text included.
    Mean,
    /// The state of the first token, `[CLS]`.
    Cls,
}

/// The parts of an encoder's folder.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderFolder {
    /// Where configuration, weights and tokenizer are: the folder itself or one in it.
    pub body: PathBuf,
    /// What `config.json` there says.
    pub config: BertConfig,
    /// What is pooled.
    pub pooling: Pooling,
    /// Tokens of a passage at most, those around the text included.
    pub longest: usize,
    /// Whether texts are made lower-case before they are tokenised.
    pub lowercase: bool,
    /// Whether pooling was given by the folder rather than assumed.
    pub says_pooling: bool,
}

#[derive(Deserialize)]
struct ModuleEntry {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
struct Reading {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

impl EncoderFolder {
    /// Reads what `folder` says, without weights and tokenizer.
    ///
    /// # Errors
    /// No such folder, files that are missing or broken, another architecture, and settings that change the vectors and
    /// are not implemented: other poolings, other modules, prompts.
    pub fn read(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::file(
                folder,
                "no such folder of a sentence encoder",
                "give a folder with config.json, model.safetensors and tokenizer.json",
            ));
        }
        let modules = folder.join("modules.json");
        let (body, pooling) = if modules.exists() {
            let (body, pooling) = read_modules(&modules, folder)?;
            (body, Some(pooling))
        } else {
            (folder.to_owned(), None)
        };
        let config = BertConfig::read(&body)?;
        refuse_prompts(&folder.join("config_sentence_transformers.json"))?;

        let path = body.join("sentence_bert_config.json");
        let reading: Reading = if path.exists() { read_json(&path)? } else { Reading::default() };
        let longest = match reading.max_seq_length {
            Some(longest) => longest,
            None => tokenizer_limit(&body.join("tokenizer_config.json"))?
                .map_or(config.max_position_embeddings, |limit| limit.min(config.max_position_embeddings)),
        };
        if !(3..=config.max_position_embeddings).contains(&longest) {
            let most = config.max_position_embeddings;
            let fault = format!("`max_seq_length` is {longest}, expected 3 to {most} (`max_position_embeddings`)");
            return Err(Error::file(&path, fault, "restore the file from the model's source"));
        }
        Ok(Self {
            body,
            config,
            pooling: pooling.unwrap_or(Pooling::Mean),
            longest,
            lowercase: reading.do_lower_case,
            says_pooling: pooling.is_some(),
        })
    }
}

/// The folder of the model, and the pooling.
fn read_modules(path: &Path, folder: &Path) -> Result<(PathBuf, Pooling)> {
    let modules: Vec<ModuleEntry> = read_json(path)?;
    let (mut body, mut pooling) = (None, None);
    for ModuleEntry { path: inside, kind } in &modules {
        let place = beside(path, folder, inside)?;
        match kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" if body.is_none() => body = Some(place),
            "Pooling" if body.is_some() && pooling.is_none() => {
                pooling = Some(read_pooling(&place.join("config.json"))?);
            }
            // Every vector is given length 1 here anyway.
            "Normalize" if pooling.is_some() => {}
            _ => return Err(Error::file(path, format!("has {kind:?}, which is not implemented there"), CURE)),
        }
    }
    body.zip(pooling).ok_or_else(|| {
        let fault = "has no Transformer with a Pooling after it";
        Error::file(path, fault, "restore the file from the model's source")
    })
}

/// A folder that a file names: the file's own or one in it, never one outside.
fn beside(file: &Path, folder: &Path, inside: &str) -> Result<PathBuf> {
    let inside = Path::new(inside);
    if !inside.components().all(|part| matches!(part, Component::Normal(_))) {
        let fault = format!("names {inside:?}, which is not a folder beside it");
        return Err(Error::file(file, fault, "restore the file from the model's source"));
    }
    Ok(if inside.as_os_str().is_empty() { folder.to_owned() } else { folder.join(inside) })
}

/// What `1_Pooling/config.json` says, in the old or the new spelling: a switch for each mode, or the mode's name.
fn read_pooling(path: &Path) -> Result<Pooling> {
    let json: Map<String, Value> = read_json(path)?;
    let modes: Vec<&str> = match json.get("pooling_mode") {
        Some(Value::String(mode)) => vec![mode],
        _ => json
            .iter()
            .filter(|(_, value)| **value == Value::Bool(true))
            .filter_map(|(key, _)| key.strip_prefix("pooling_mode_"))
            .collect(),
    };
    match modes[..] {
        ["mean" | "mean_tokens"] => Ok(Pooling::Mean),
        ["cls" | "cls_token"] => Ok(Pooling::Cls),
        [] => Err(Error::file(path, "switches no pooling on", CURE)),
        _ => Err(Error::file(path, format!("pools by {}, which is not implemented", modes.join(" and ")), CURE)),
    }
}

#[derive(Deserialize)]
struct Prompts {
    #[serde(default)]
    prompts: Map<String, Value>,
    default_prompt_name: Option<String>,
}

/// Refuses an encoder that expects words in front of every text.
fn refuse_prompts(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let Prompts { prompts, default_prompt_name } = read_json(path)?;
    let Some(name) = default_prompt_name else { return Ok(()) };
    match prompts.get(&name).and_then(Value::as_str) {
        Some("") => Ok(()),
        _ => {
            let fault = format!("puts the prompt {name:?} in front of every text, which is not implemented");
            Err(Error::file(path, fault, "choose an encoder without prompts"))
        }
    }
}

/// The longest input that the tokenizer's settings name; extremely large if there is no limit.
fn tokenizer_limit(path: &Path) -> Result<Option<usize>> {
    if !path.exists() {
        return Ok(None);
    }
    let json: Map<String, Value> = read_json(path)?;
    // Without a limit transformers writes 1e30, which saturates.
    Ok(json.get("model_max_length").and_then(Value::as_f64).map(|limit| limit as usize))
}
