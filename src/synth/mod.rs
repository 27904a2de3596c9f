//! Corpora with known answers: what a perfect model would score, and the true distance of two corpora.
//!
//! Three kinds, each put on disk as a reference corpus `base`, domains beside it, and what is known of each:
//! [`write_family`] a family of related [languages](Family), [`write_ginc`] documents of [hidden Markov chains](Ginc),
//! [`write_artificial`] [lines of integers](Artificial) with one kind of structure. Beside them stand a tokenizer and, for
//! the latter two, the configurations of a small base and of a study.

mod alphabet;
mod artificial;
mod configs;
mod ginc;
mod hmm;
mod language;
mod tokenizer;

pub use alphabet::{Alphabet, MAX_SYMBOLS};
pub use artificial::{Artificial, ArtificialKind, write_artificial};
pub use ginc::{CONCEPTS, DELIMITER, Ginc, GincDomain, MAX_TOKENS, block, write_ginc};
pub use hmm::{Hmm, Mixture};
pub use language::{Family, Language, MAX_WORDS, WORDS, write_domain, write_family};
pub use tokenizer::SPECIAL;

use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::disk::lock::Lock;
use crate::disk::{paths, scratch};
use crate::error::{Error, Result};
use crate::files;
use crate::progress::Monitor;

/// What says what is known of a corpus.
const KNOWN: &str = "known.json";

/// Most tokens of a split, which is held in memory while it is written.
pub const MOST_TOKENS: usize = 20_000_000;

/// One document as symbols; which numbers stand for what depends on the kind. Symbol s is token s + [`SPECIAL`].
pub type Document = Vec<usize>;

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

/// `known.json`: the known facts about a synthetic corpus.
///
/// Rates are per token of the documents themselves. Score every one of these and nothing else (`--protocol doc`) to compare
/// a loss with them: an end-of-text token between documents, or a first token left out, moves the mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// "odyssey.synth/1".
    pub schema: String,
    /// The folder's name.
    pub domain: String,
    /// Its generator: "language", "ginc", or the kind of an artificial data set.
    pub kind: String,
    /// How foreign it is, 0 to 1; absent where the kind has no such scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
    /// Entropy rate, nats per token: the least loss possible.
    pub entropy_rate: f64,
    /// exp of the entropy rate: the least perplexity possible.
    pub floor_perplexity: f64,
    /// KL rate to the generator of the base, nats per token. A perfect model of the base loses this much here, so it is
    /// the largest possible gain from adaptation.
    pub kl_to_base: Option<f64>,
    /// Why `kl_to_base` is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Present where the rates have no closed form: then they are exact for the written test split, and these are their
    /// standard errors for endless text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_errors: Option<StandardErrors>,
    /// Tokens of each split as written.
    pub tokens: Splits,
}

impl Known {
    /// The closed-form facts about the corpus in `folder`.
    fn exact(folder: &Path, kind: String, entropy_rate: f64, kl_to_base: Option<f64>, tokens: Splits) -> Self {
        Self {
            schema: "odyssey.synth/1".to_owned(),
            domain: name_of(folder),
            kind,
            lambda: None,
            entropy_rate,
            floor_perplexity: entropy_rate.exp(),
            kl_to_base,
            reason: None,
            standard_errors: None,
            tokens,
        }
    }

    /// Writes `known.json` into `folder`.
    fn write(self, folder: &Path) -> Result<Self> {
        files::write_json(&folder.join(KNOWN), &self)?;
        Ok(self)
    }
}

/// Standard errors of rates that are means over the documents of a test split, nats per token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StandardErrors {
    /// Of the entropy rate.
    pub entropy_rate: f64,
    /// Of the KL rate.
    pub kl_to_base: f64,
}

/// Fills `folder` with `train`, `valid` and `test`, each written whole and drawn from a seed of its own. `draw` makes
/// documents of at least so many tokens from a seed, `render` the file of them.
///
/// Returns the tokens as written and the documents of the test split.
fn write_splits(
    folder: &Path,
    extension: &str,
    sizes: Splits,
    seed: u64,
    draw: impl Fn(usize, u64) -> Vec<Document>,
    render: impl Fn(&[Document]) -> String,
) -> Result<(Splits, Vec<Document>)> {
    let split = |name: &str, tokens: usize| -> Result<(usize, Vec<Document>)> {
        if !(1..=MOST_TOKENS).contains(&tokens) {
            let cure = format!("ask for at least one and at most {MOST_TOKENS}");
            return Err(Error::input(name, format!("a split of {tokens} tokens"), cure));
        }
        let documents = draw(tokens, derived(seed, name));
        let path = folder.join(name).with_extension(extension);
        put(&path, &render(&documents))?;
        Ok((documents.iter().map(Vec::len).sum(), documents))
    };
    let (train, valid) = (split("train", sizes.train)?.0, split("valid", sizes.valid)?.0);
    let (test, documents) = split("test", sizes.test)?;
    Ok((Splits { train, valid, test }, documents))
}

/// One more corpus is written; an error where the user wants no more.
fn one_more(monitor: &mut dyn Monitor) -> Result<()> {
    monitor.advance(1, "");
    match monitor.stopped() {
        true => Err(Error::Interrupted("stopped while making corpora; nothing is left of them".into())),
        false => Ok(()),
    }
}

/// Writes a file whole.
fn put(path: &Path, text: &str) -> Result<()> {
    files::write_whole(path, |out| out.write_all(text.as_bytes()))
}

/// Fills the new folder `out`, which no other run fills meanwhile. A folder that holds the same already, of a run that
/// was ended after it was done or is given twice, is as good.
fn corpora_whole<T>(out: &Path, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let out = paths::folder_place(out)?;
    let is_ours = out.join("tokenizer.json").is_file() && out.join("base").join(KNOWN).is_file();
    if !is_ours {
        files::check_new_folder(&out)?;
    }
    let _lock = Lock::beside(&out, "synth")?;
    scratch::sweep_locked(&out);
    if !is_ours {
        return files::folder_whole(&out, fill);
    }
    let again = scratch::folder_for(&out).map_err(|e| Error::writing(&out, e))?;
    let value = fill(again.path())?;
    match files::is_same_tree(&out, again.path()).map_err(|e| Error::reading(&out, e))? {
        true => Ok(value),
        false => Err(Error::file(
            &out,
            "exists already, with other corpora in it or more than these",
            "choose another folder or remove it first",
        )),
    }
}

/// The name of a domain is its kind, so no kind may occur twice.
fn refuse_twice<T: PartialEq + Display>(what: &str, all: &[T]) -> Result<()> {
    match all.iter().enumerate().find(|(i, one)| all[..*i].contains(one)) {
        Some((_, twice)) => Err(Error::input(what, format!("{twice} is given twice"), "give every value once")),
        None => Ok(()),
    }
}

fn name_of(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A separate seed for each name, so that λ = 0 is the language of the base in other documents.
fn derived(seed: u64, name: impl Display) -> u64 {
    let digest = files::hash_bytes(format!("{seed} {name}").as_bytes());
    u64::from_str_radix(&digest[..16], 16).expect("sixteen hexadecimal digits are a u64")
}
