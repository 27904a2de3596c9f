//! Corpora with known answers: what a perfect model would score, and how far two corpora truly are apart.
//!
//! So far there is one kind, a family of related [languages](Family): [`write_family`] puts on disk a reference corpus,
//! domains at chosen distances from it, and what is known of each.

mod language;

pub use language::{Document, Family, Language, MAX_WORDS};

use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;

/// Words of the family that [`write_family`] makes.
pub const WORDS: usize = 220;

/// Tokens of each split; documents are whole, so a split is longer by less than one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splits {
    /// For training.
    pub train: usize,
    /// For choosing when to stop.
    pub valid: usize,
    /// For the perplexity reported.
    pub test: usize,
}

/// Tokens of the reference corpus and of each domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Of the reference corpus.
    pub base: Splits,
    /// Of every domain.
    pub domain: Splits,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            base: Splits { train: 400_000, valid: 20_000, test: 20_000 },
            domain: Splits { train: 60_000, valid: 10_000, test: 20_000 },
        }
    }
}

/// `known.json`: what is known of a synthetic corpus without any model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// "odyssey.synth/1".
    pub schema: String,
    /// The folder's name.
    pub domain: String,
    /// How foreign the language is, 0 to 1.
    pub lambda: f64,
    /// Entropy rate, nats per token: the least loss possible.
    pub entropy_rate: f64,
    /// exp of the entropy rate: the least perplexity possible.
    pub floor_perplexity: f64,
    /// KL rate to the base language, nats per token: what a perfect model of the base loses here.
    pub kl_to_base: f64,
    /// Tokens of each split as written.
    pub tokens: Splits,
}

/// Fills `folder` with `train.txt`, `valid.txt` and `test.txt` of a language, and `known.json`. Each file is written
/// whole. The splits are drawn from seeds of their own, derived from `seed`.
///
/// # Errors
/// [`Error::Input`] where a split has no tokens or `base` is of another family; [`Error::Io`] where writing fails.
pub fn write_domain(folder: &Path, language: &Language, base: &Language, sizes: Splits, seed: u64) -> Result<Known> {
    let split = |name: &str, tokens: usize, seed: u64| -> Result<usize> {
        if tokens == 0 {
            return Err(Error::input(name, "a split of 0 tokens", "ask for at least one"));
        }
        let documents = language.documents(tokens, seed);
        let path = folder.join(name).with_extension("txt");
        files::write_whole(&path, |out| out.write_all(language.text(&documents).as_bytes()))?;
        Ok(documents.iter().map(Vec::len).sum())
    };
    let known = Known {
        schema: "odyssey.synth/1".to_owned(),
        domain: folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        lambda: language.lambda(),
        entropy_rate: language.entropy_rate(),
        floor_perplexity: language.floor_perplexity(),
        kl_to_base: language
            .kl_rate(base)
            .ok_or_else(|| Error::input("base", "a language over other words", "take both from one family"))?,
        tokens: Splits {
            train: split("train", sizes.train, derived(seed, "train"))?,
            valid: split("valid", sizes.valid, derived(seed, "valid"))?,
            test: split("test", sizes.test, derived(seed, "test"))?,
        },
    };
    files::write_json(&folder.join("known.json"), &known)?;
    Ok(known)
}

/// Writes a new folder `out`: `tokenizer.json`, the reference corpus `base`, and a domain `lambda-L` for each of
/// `lambdas`. Returns what is known of each, the base first.
///
/// # Errors
/// [`Error::Input`] where `out` exists, a λ lies outside 0 to 1 or is given twice, or a split has no tokens;
/// [`Error::Io`] where writing fails. Nothing is left behind then.
pub fn write_family(out: &Path, seed: u64, lambdas: &[f64], sizes: Sizes) -> Result<Vec<Known>> {
    let family = Family::new(seed, WORDS)?;
    let base = family.language(0.0)?;
    let languages = lambdas.iter().map(|lambda| family.language(*lambda)).collect::<Result<Vec<_>>>()?;
    if let Some(twice) = lambdas.iter().enumerate().find(|(i, lambda)| lambdas[..*i].contains(lambda)) {
        return Err(Error::input("lambda", format!("{} is given twice", twice.1), "give every value once"));
    }
    files::folder_whole(out, |folder| {
        files::write_whole(&folder.join("tokenizer.json"), |file| file.write_all(family.tokenizer_json().as_bytes()))?;
        let mut known = vec![write_domain(&folder.join("base"), &base, &base, sizes.base, derived(seed, "base"))?];
        for language in &languages {
            let name = format!("lambda-{}", language.lambda());
            known.push(write_domain(&folder.join(&name), language, &base, sizes.domain, derived(seed, &name))?);
        }
        Ok(known)
    })
}

/// A seed of its own for everything that has a name, so that λ = 0 is the base language in other documents.
fn derived(seed: u64, name: impl Display) -> u64 {
    let digest = files::hash_bytes(format!("{seed} {name}").as_bytes());
    u64::from_str_radix(&digest[..16], 16).expect("sixteen hexadecimal digits are a u64")
}
