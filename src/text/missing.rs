//! Characters that a tokenizer drops: they are in the text and not among its tokens, so that numbers would be those of
//! another text.

use std::sync::Arc;
use std::time::Duration;

use tokenizers::models::bpe::BPE;
use tokenizers::{
    Model, ModelWrapper, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use super::reading::Counted;
use super::time_limit::within;
use super::tokenizer::Tokenizer;
use crate::guard;

/// Seconds that the look at all characters of a text may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often each character stands in a text.
pub(super) struct Census {
    /// By code point.
    counts: Vec<u32>,
}

impl Census {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; char::MAX as usize + 1] }
    }

    /// Counts the characters of a text. White space, which many tokenizers leave out on purpose, does not count.
    pub(super) fn take(&mut self, text: &str) {
        for c in text.chars() {
            let count = &mut self.counts[c as usize];
            *count = count.saturating_add(1);
        }
    }

    /// The characters that this tokenizer drops. Nothing where that cannot be told.
    pub(super) fn dropped_by(&self, tokenizer: &Tokenizer) -> Counted {
        let present: Vec<char> = (0..=char::MAX as u32)
            .filter(|&code| self.counts[code as usize] > 0)
            .filter_map(char::from_u32)
            .filter(|c| !c.is_whitespace())
            .collect();
        let inner = Arc::clone(&tokenizer.inner);
        let is_dropped = move |c: &char| guard::without_panic(|| is_dropped(&inner, *c)).flatten().unwrap_or(false);
        let dropped = within(PATIENCE, move || present.into_iter().filter(is_dropped).collect::<Vec<char>>());
        let mut dropped = dropped.unwrap_or_default();
        // The most frequent first.
        dropped.sort_by_key(|&c| (std::cmp::Reverse(self.counts[c as usize]), c));
        let mut counted = Counted::default();
        for c in dropped {
            counted.add(self.counts[c as usize].into(), || shown(c));
        }
        counted
    }
}

/// A character for people: itself, with its code point.
fn shown(c: char) -> String {
    format!("{} (U+{:04X})", c.escape_debug(), u32::from(c))
}

/// Whether a character leaves nothing among the tokens of a text that it stands in; `None` where that cannot be told.
fn is_dropped(tokenizer: &tokenizers::Tokenizer, c: char) -> Option<bool> {
    // A letter that surely has a token of its own, or is what is looked at.
    let beside = if c == 'x' { 'y' } else { 'x' };
    if tokenizer.get_added_tokens_decoder().values().any(|token| token.content.contains(c)) {
        return Some(false);
    }
    let with = prepared(tokenizer, &format!("{beside}{c}{beside}"))?;
    let without = prepared(tokenizer, &format!("{beside}{beside}"))?;
    if with.concat() == without.concat() {
        return Some(true);
    }
    let ModelWrapper::BPE(model) = tokenizer.get_model() else { return Some(false) };
    if model.unk_token.is_some() {
        return Some(false);
    }
    let new = with.iter().flat_map(|word| word.chars()).filter(|&other| other != beside);
    Some(new.into_iter().any(|c| !has_token(model, c)))
}

/// A text as the model sees it, in words.
fn prepared(tokenizer: &tokenizers::Tokenizer, text: &str) -> Option<Vec<String>> {
    let mut text = NormalizedString::from(text);
    if let Some(normalizer) = tokenizer.get_normalizer() {
        normalizer.normalize(&mut text).ok()?;
    }
    let mut words = PreTokenizedString::from(text);
    if let Some(splitter) = tokenizer.get_pre_tokenizer() {
        splitter.pre_tokenize(&mut words).ok()?;
    }
    let words = words.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
    Some(words.into_iter().map(|(word, ..)| word.to_owned()).collect())
}

/// Whether a model without an unknown token has one for this character, or for each of its bytes.
fn has_token(model: &BPE, c: char) -> bool {
    let (prefix, suffix) = (&model.continuing_subword_prefix, &model.end_of_word_suffix);
    let (prefix, suffix) = (prefix.as_deref().unwrap_or_default(), suffix.as_deref().unwrap_or_default());
    let forms = [format!("{c}"), format!("{prefix}{c}"), format!("{c}{suffix}"), format!("{prefix}{c}{suffix}")];
    let in_bytes = || {
        let mut bytes = [0; 4];
        let mut bytes = c.encode_utf8(&mut bytes).bytes();
        bytes.all(|byte| model.token_to_id(&format!("<{byte:#04X}>")).is_some())
    };
    forms.iter().any(|form| model.token_to_id(form).is_some()) || model.byte_fallback && in_bytes()
}
