//! Whether two tokenizers do the same, whatever their files look like.
//!
//! The same tokenizer is written in many ways: by other versions of the library, with merges as texts or as pairs, with
//! options that are left out or spelled out, with tokens that were added and are not used. So files are not compared, but
//! what the library made of them.

use serde_json::{Map, Value};

use super::tokenizer::Tokenizer;

/// Parts of a tokenizer beside its vocabulary, by their keys in `tokenizer.json`, and what people call them.
const PARTS: [(&str, &str); 3] =
    [("normalizer", "normaliser"), ("pre_tokenizer", "pre-tokeniser"), ("added_tokens", "added tokens")];

impl Tokenizer {
    /// The first id below `vocabulary` that both give to a token, but not to the same one.
    pub fn first_other_token(&self, other: &Self, vocabulary: usize) -> Option<u32> {
        (0..u32::MAX).take(vocabulary).find(|&id| match (self.token(id), other.token(id)) {
            (Some(ours), Some(theirs)) => ours != theirs,
            _ => false,
        })
    }

    /// In words, the first thing that two tokenizers do in another way; `None` where there is none.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let most = self.vocabulary_size().max(other.vocabulary_size());
        if let Some(id) = self.first_other_token(other, most) {
            let [ours, theirs] = [self, other].map(|tokenizer| tokenizer.token(id).unwrap_or_default());
            return Some(format!("token {id} is {ours:?} in one and {theirs:?} in the other"));
        }
        let lacks = |id: &u32| self.token(*id).is_some() != other.token(*id).is_some();
        if let Some(id) = (0..u32::MAX).take(most).find(lacks) {
            let token = self.token(id).or_else(|| other.token(id)).unwrap_or_default();
            return Some(format!("only one of them has token {id}, {token:?}"));
        }
        let [ours, theirs] = [self, other].map(Tokenizer::parts);
        if let Some(difference) = options_difference(ours.get("model")?, theirs.get("model")?) {
            return Some(difference);
        }
        for (key, name) in PARTS {
            let [ours, theirs] = [&ours, &theirs].map(|parts| plain(parts.get(key).unwrap_or(&Value::Null)));
            if ours != theirs {
                return Some(format!("as {name} one has {} and the other {}", shown(&ours), shown(&theirs)));
            }
        }
        None
    }
}

/// The first option of two tokenizers' models that differs.
fn options_difference(ours: &Value, theirs: &Value) -> Option<String> {
    let [Value::Object(ours), Value::Object(theirs)] = [plain(ours), plain(theirs)] else { return None };
    let keys = ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key)));
    for key in keys.filter(|key| *key != "vocab") {
        let [a, b] = [&ours, &theirs].map(|model| model.get(key).unwrap_or(&Value::Null));
        match (a, b) {
            _ if a == b => {}
            (Value::Array(a), Value::Array(b)) => {
                let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
                let [a, b] = [a, b].map(|list| list.get(at).map_or("nothing".into(), shown));
                return Some(format!("number {} of their {key} is {a} in one and {b} in the other", at + 1));
            }
            _ => return Some(format!("`{key}` is {} in one and {} in the other", shown(a), shown(b))),
        }
    }
    None
}

/// A value without what says no more than its absence: nulls, empty texts, options that are off.
fn plain(value: &Value) -> Value {
    let says_something = |value: &Value| !matches!(value, Value::Null | Value::Bool(false)) && value != "";
    match value {
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.clone(), plain(value)));
            Value::Object(entries.filter(|(_, value)| says_something(value)).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        other => other.clone(),
    }
}

/// A value as JSON, cut where it is long.
fn shown(value: &Value) -> String {
    const MOST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
