//! What stands beside a `tokenizer.json` and changes tokens: `tokenizer_config.json`, `special_tokens_map.json` and
//! `added_tokens.json`. They do here what they do in transformers' `AutoTokenizer` (version 5, with the tokenizers
//! library): tokens that only they name are added, and get the ids that the library gives them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::{AddedToken, PreTokenizerWrapper};

use super::added::added_around;
use crate::error::{Error, Result};
use crate::files::read_json;
use crate::message::Message;
use crate::notice;

/// Keys of a special token each.
const SPECIAL: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Lists of further special tokens, the newer name first.
const FURTHER: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];
/// Classes that build their splitting anew with this `add_prefix_space`.
const PREFIXING: [&str; 2] = ["GPT2Tokenizer", "GPT2TokenizerFast"];

/// The settings of a folder.
#[derive(Debug, Default)]
pub(super) struct TokenizerSettings {
    settings: Map<String, Value>,
    /// Tokens to be added, by the ids that the folder gives them.
    added: BTreeMap<u64, AddedToken>,
}

/// What the settings did to a tokenizer.
pub(super) struct Applied {
    /// The tokens that they added or changed, in order, for a hash.
    pub changes: Vec<String>,
}

impl TokenizerSettings {
    /// Reads what stands in a folder; nothing where there is nothing.
    ///
    /// # Errors
    /// [`Error::Input`] for a file that is broken.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let object = |name: &str| -> Result<Option<Map<String, Value>>> {
            let path = folder.join(name);
            path.exists().then(|| read_json(&path)).transpose()
        };
        let mut settings = object("tokenizer_config.json")?.unwrap_or_default();
        let mut added = BTreeMap::new();
        let place = folder.join("tokenizer_config.json");
        match settings.get("added_tokens_decoder") {
            Some(Value::Object(tokens)) => {
                for (id, token) in tokens {
                    let token = token_of(token, false);
                    let (Ok(id), Some(token)) = (id.parse(), token) else {
                        let fault = format!("its `added_tokens_decoder` has no token at {id:?}");
                        return Err(Error::file(&place, fault, "get the tokenizer of this model again"));
                    };
                    added.insert(id, token);
                }
            }
            // Older folders have files of their own.
            _ => {
                settings.extend(object("special_tokens_map.json")?.unwrap_or_default());
                let special: Vec<String> = special_tokens(&settings).map(|token| token.content).collect();
                for (content, id) in object("added_tokens.json")?.unwrap_or_default() {
                    let Some(id) = id.as_u64() else {
                        let fault = format!("the id of {content:?} is {id}, expected a number");
                        let place = folder.join("added_tokens.json");
                        return Err(Error::file(&place, fault, "get the tokenizer of this model again"));
                    };
                    let is_special = special.contains(&content);
                    added.insert(id, AddedToken::from(content, is_special));
                }
            }
        }
        Ok(Self { settings, added })
    }

    /// Does to a tokenizer, the one of `path`, what `AutoTokenizer` does, and warns of what cannot be told.
    pub(super) fn apply(&self, path: &Path, tokenizer: &mut tokenizers::Tokenizer) -> tokenizers::Result<Applied> {
        let mut changes = Vec::new();
        let known = |tokenizer: &tokenizers::Tokenizer, token: &AddedToken| {
            tokenizer.get_added_tokens_decoder().values().any(|other| {
                other == token // in every respect
            })
        };
        // A special token that is named only: as the list of added tokens has it, where it is there.
        let mut listed: BTreeMap<String, AddedToken> = BTreeMap::new();
        if !self.settings.contains_key("added_tokens_decoder") {
            listed.extend(tokenizer.get_added_tokens_decoder().into_values().map(|t| (t.content.clone(), t)));
        }
        listed.extend(self.added.values().map(|token| (token.content.clone(), token.clone())));
        let special: Vec<AddedToken> = special_tokens(&self.settings)
            .map(|token| AddedToken { special: true, ..listed.get(&token.content).cloned().unwrap_or(token) })
            .collect();
        let wanted: Vec<(Option<u64>, AddedToken)> = self
            .added
            .iter()
            .map(|(id, token)| (Some(*id), token.clone()))
            .chain(special.into_iter().map(|token| (None, token)))
            .collect();
        for (id, token) in wanted {
            if token.content.is_empty() || known(tokenizer, &token) {
                continue;
            }
            let content = token.content.clone();
            tokenizer.add_tokens([token.clone()])?;
            let given = tokenizer.token_to_id(&content);
            if let (Some(id), Some(given)) = (id, given)
                && id != u64::from(given)
            {
                tracing::warn!(
                    "{}: {content:?} is token {id} in tokenizer_config.json or added_tokens.json, and {given} for the \
                     tokenizers library, which transformers goes by",
                    path.display()
                );
            }
            changes.push(format!("{token:?} {given:?}"));
        }
        if self.is_set("split_special_tokens") == Some(true) {
            tokenizer.set_encode_special_tokens(true);
            changes.push("split_special_tokens".to_owned());
        }
        changes.extend(self.prefix_space(path, tokenizer));
        self.warn_of_bos(path, tokenizer);
        Ok(Applied { changes })
    }

    fn is_set(&self, key: &str) -> Option<bool> {
        self.settings.get(key)?.as_bool()
    }

    /// Whether a text begins with a space that is not there: GPT-2's own classes go by the settings, others by
    /// `tokenizer.json`.
    fn prefix_space(&self, path: &Path, tokenizer: &mut tokenizers::Tokenizer) -> Option<String> {
        let class = self.settings.get("tokenizer_class").and_then(Value::as_str);
        let of_gpt2 = class.is_some_and(|class| PREFIXING.contains(&class));
        let wanted = self.is_set("add_prefix_space").or(of_gpt2.then_some(false))?;
        let Some(PreTokenizerWrapper::ByteLevel(own)) = tokenizer.get_pre_tokenizer() else { return None };
        if own.add_prefix_space == wanted {
            return None;
        }
        let own = *own;
        if of_gpt2 {
            tokenizer.with_pre_tokenizer(Some(own.add_prefix_space(wanted)));
            return Some(format!("add_prefix_space {wanted}"));
        }
        tracing::warn!(
            "{}: `add_prefix_space` is {} there and {wanted} in tokenizer_config.json; read as tokenizer.json says, as \
             transformers 5 does (older versions went by the other)",
            path.display(),
            own.add_prefix_space
        );
        None
    }

    /// transformers 5 goes by `tokenizer.json`; older versions by the settings.
    fn warn_of_bos(&self, path: &Path, tokenizer: &tokenizers::Tokenizer) {
        let Some(wanted) = self.is_set("add_bos_token") else { return };
        let adds = added_around(tokenizer).is_ok_and(|added| !added.before.is_empty());
        if adds != wanted {
            let own = if adds { "adds a begin-of-text token" } else { "adds no begin-of-text token" };
            let words = format!(
                "{}: it {own}, and `add_bos_token` in tokenizer_config.json is {wanted}; read as tokenizer.json says, as \
                 transformers 5 does (older versions went by the other); ",
                path.display()
            );
            notice::warn(Message::new(words).set("bos", "always").then(" or ").set("bos", "never").then(" settles it"));
        }
    }
}

/// The special tokens that settings name, in the order in which they are added.
fn special_tokens(settings: &Map<String, Value>) -> impl Iterator<Item = AddedToken> {
    let named = SPECIAL.iter().filter_map(|key| settings.get(*key));
    let of_model = settings.iter().filter(|(key, _)| key.ends_with("_token") && !SPECIAL.contains(&key.as_str()));
    let further = FURTHER.iter().find_map(|key| settings.get(*key).filter(|value| !is_empty(value)));
    let further: Vec<&Value> = match further {
        Some(Value::Array(list)) => list.iter().collect(),
        Some(Value::Object(tokens)) => tokens.values().collect(),
        _ => Vec::new(),
    };
    named.chain(of_model.map(|(_, value)| value)).chain(further).filter_map(|value| token_of(value, true))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(tokens) => tokens.is_empty(),
        _ => true,
    }
}

/// A token as it stands in JSON: its text, or an object with its properties.
fn token_of(value: &Value, special: bool) -> Option<AddedToken> {
    let properties = match value {
        Value::String(content) => return Some(AddedToken::from(content.as_str(), special)),
        Value::Object(properties) => properties,
        _ => return None,
    };
    let is = |key: &str| properties.get(key).and_then(Value::as_bool);
    let special = special || is("special").unwrap_or(false);
    Some(
        AddedToken::from(properties.get("content")?.as_str()?, special)
            .single_word(is("single_word").unwrap_or(false))
            .lstrip(is("lstrip").unwrap_or(false))
            .rstrip(is("rstrip").unwrap_or(false))
            .normalized(is("normalized").unwrap_or(!special)),
    )
}
