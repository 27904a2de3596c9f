//! Whether two scorings may be compared: one text, read as the same tokens, by one protocol.
//!
//! Tokenizers are compared by the tokens that they make of the text. Their files may differ: a model that was tuned and
//! saved by another program has its base's tokenizer in another layout, or with tokens added that no text has.

use crate::error::{Error, Result};
use crate::evaluate::{ProtocolResult, ScoredStream};
use crate::text::Tokenizer;

/// One of two scorings.
#[derive(Clone, Copy)]
pub struct Scoring<'a> {
    /// What messages call it: a model's folder, or a per-token file.
    pub name: &'a str,
    /// The text and its scores.
    pub stream: &'a ScoredStream,
    /// How it was scored.
    pub protocol: &'a ProtocolResult,
    /// The tokenizer that made the tokens, where it is known.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Entries of the model's vocabulary, where the model is known.
    pub vocabulary: Option<usize>,
}

/// Refuses two scorings that cannot be compared token by token. What comes back says why predictions over the whole
/// vocabulary cannot be compared, where that is so.
///
/// # Errors
/// [`Error::Input`] where the protocols or the tokens differ, with the first difference.
pub fn check_comparable(before: Scoring<'_>, after: Scoring<'_>) -> Result<Option<String>> {
    let place = || format!("{} and {}", before.name, after.name);
    let (a, b) = (before.protocol, after.protocol);
    if a.fingerprint != b.fingerprint && !a.differs_in_tokenizer_alone(b) {
        let fault = format!(
            "were scored by different protocols (fingerprints {} and {}), which differ in {}",
            a.fingerprint,
            b.fingerprint,
            a.difference(b)
        );
        return Err(Error::input(place(), fault, "score both with the same protocol and joins"));
    }
    if a.tokenizer != b.tokenizer {
        check_tokens(before, after).map_err(|fault| {
            let cure = "compare models of one tokenizer, or put the base's tokenizer.json into the other's folder if that \
                        is what it was tuned with";
            Error::input(place(), fault, cure)
        })?;
    }
    Ok(other_predictions(before, after))
}

/// Whether two tokenizers made the same of the text; where not, the first difference in words.
fn check_tokens(before: Scoring<'_>, after: Scoring<'_>) -> Result<(), String> {
    let (a, b) = (before.stream, after.stream);
    let text = |scoring: Scoring<'_>, id: u32| {
        let text = scoring.tokenizer.map(|tokenizer| format!(" ({:?})", tokenizer.token_text(id)));
        format!("{id}{}", text.unwrap_or_default())
    };
    let tokenizers = before.tokenizer.zip(after.tokenizer);
    let their_difference = || {
        let difference = tokenizers.and_then(|(a, b)| a.difference(b));
        difference.map(|difference| format!(" (of their tokenizers: {difference})")).unwrap_or_default()
    };
    if let Some(at) = a.ids.iter().zip(&b.ids).position(|(a, b)| a != b) {
        return Err(format!(
            "read the text as other tokens: number {} is {} in one and {} in the other{}",
            at + 1,
            text(before, a.ids[at]),
            text(after, b.ids[at]),
            their_difference()
        ));
    }
    if a.ids.len() != b.ids.len() {
        let (a, b) = (a.ids.len(), b.ids.len());
        return Err(format!("read the text as {a} and as {b} tokens{}", their_difference()));
    }
    match tokenizers {
        // The same ids mean the same only where they stand for the same tokens.
        Some((first, second)) => match a.ids.iter().find(|&&id| first.token(id) != second.token(id)) {
            Some(&id) => Err(format!(
                "read the text as the same ids, but token {id} is {:?} in one and {:?} in the other",
                first.token(id).unwrap_or_default(),
                second.token(id).unwrap_or_default()
            )),
            None => Ok(()),
        },
        None => match a.byte.iter().zip(&b.byte).position(|(a, b)| a != b) {
            Some(at) => Err(format!(
                "cut the text elsewhere: token number {} begins at byte {} of its document in one, and at {} in the other",
                at + 1,
                a.byte[at],
                b.byte[at]
            )),
            None => Ok(()),
        },
    }
}

/// Why predictions over the whole vocabulary cannot be compared.
fn other_predictions(before: Scoring<'_>, after: Scoring<'_>) -> Option<String> {
    let (a, b) = before.vocabulary.zip(after.vocabulary)?;
    if a != b {
        return Some(format!(
            "the models predict {a} and {b} tokens, so that their probabilities are shares of different wholes"
        ));
    }
    let (first, second) = before.tokenizer.zip(after.tokenizer)?;
    if first.hash() == second.hash() {
        return None;
    }
    let id = first.first_other_token(second, a)?;
    let [ours, theirs] = [first, second].map(|tokenizer| tokenizer.token(id).unwrap_or_default());
    Some(format!("token {id}, which the text does not have, is {ours:?} in one model and {theirs:?} in the other"))
}
