//! The inputs of advice: numbers of a domain, a base and a recipe, and the table of adaptations with known outcome.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::message::{Message, Setting};
use crate::shown::{cell, of_cell};

/// A number that is known before training: of domain and base (evidence), of the recipe, or of a pilot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// The base's loss on the domain's test text minus that on the reference's, nats per token.
    LossGap,
    /// Standard deviation between documents of the base's loss on the domain, nats per token.
    DocumentSd,
    /// The part of `LossGap` that tokens with a line break carry, nats per token.
    NewlineGap,
    /// That of punctuation.
    PunctuationGap,
    /// That of tokens that begin a word.
    WordStartGap,
    /// Jensen–Shannon divergence of token unigrams, bits.
    UnigramJs,
    /// Cross-entropy under the reference's unigrams, less that of the reference itself, nats per token.
    CrossEntropyExcess,
    /// Share of the most frequent token types in common.
    VocabularyOverlap,
    /// Squared maximum mean discrepancy of the base's features.
    Mmd2,
    /// Energy distance of the base's features.
    Energy,
    /// Share of tokens with a line break, less that of the reference.
    NewlineRateExcess,
    /// Share of line breaks, white space, punctuation and digits, less that of the reference.
    FormattingRateExcess,
    /// Tokens of the training text.
    AvailableTokens,
    /// The base's weights.
    Parameters,
    /// The recipe's peak learning rate.
    Lr,
    /// Optimiser steps.
    Steps,
    /// Tokens trained on, repeats counted.
    Tokens,
    /// 1 where adapters are trained, 0 where all weights are.
    Lora,
    /// 1 if documents are joined, or line breaks treated, in another way in training than in evaluation.
    JoinDiffers,
    /// Change in log-perplexity after a short run of the same recipe, nats per token.
    PilotDelta,
    /// Tokens that the short run trained on.
    PilotTokens,
}

impl Feature {
    /// All of them, in the order of the table's columns.
    pub const ALL: [Self; 21] = [
        Self::LossGap,
        Self::DocumentSd,
        Self::NewlineGap,
        Self::PunctuationGap,
        Self::WordStartGap,
        Self::UnigramJs,
        Self::CrossEntropyExcess,
        Self::VocabularyOverlap,
        Self::Mmd2,
        Self::Energy,
        Self::NewlineRateExcess,
        Self::FormattingRateExcess,
        Self::AvailableTokens,
        Self::Parameters,
        Self::Lr,
        Self::Steps,
        Self::Tokens,
        Self::Lora,
        Self::JoinDiffers,
        Self::PilotDelta,
        Self::PilotTokens,
    ];

    /// The column of the table, and the key in results.
    pub fn key(self) -> &'static str {
        match self {
            Self::LossGap => "loss_gap",
            Self::DocumentSd => "document_sd",
            Self::NewlineGap => "newline_gap",
            Self::PunctuationGap => "punctuation_gap",
            Self::WordStartGap => "word_start_gap",
            Self::UnigramJs => "unigram_js",
            Self::CrossEntropyExcess => "cross_entropy_excess",
            Self::VocabularyOverlap => "vocabulary_overlap",
            Self::Mmd2 => "mmd2",
            Self::Energy => "energy",
            Self::NewlineRateExcess => "newline_rate_excess",
            Self::FormattingRateExcess => "formatting_rate_excess",
            Self::AvailableTokens => "available_tokens",
            Self::Parameters => "parameters",
            Self::Lr => "lr",
            Self::Steps => "steps",
            Self::Tokens => "tokens",
            Self::Lora => "lora",
            Self::JoinDiffers => "join_differs",
            Self::PilotDelta => "pilot_delta",
            Self::PilotTokens => "pilot_tokens",
        }
    }
}

/// The known features of a case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features(BTreeMap<Feature, f64>);

impl Features {
    /// The value, if it is known.
    pub fn get(&self, feature: Feature) -> Option<f64> {
        self.0.get(&feature).copied()
    }

    /// Sets a value; one that is missing or not finite is not known.
    pub fn set(&mut self, feature: Feature, value: impl Into<Option<f64>>) {
        match value.into().filter(|value| value.is_finite()) {
            Some(value) => drop(self.0.insert(feature, value)),
            None => drop(self.0.remove(&feature)),
        }
    }

    /// The same, with the known values of `other` replacing its own.
    pub fn with(&self, other: &Self) -> Self {
        let mut both = self.0.clone();
        both.extend(&other.0);
        Self(both)
    }
}

impl FromIterator<(Feature, Option<f64>)> for Features {
    fn from_iter<I: IntoIterator<Item = (Feature, Option<f64>)>>(pairs: I) -> Self {
        let mut features = Self::default();
        pairs.into_iter().for_each(|(feature, value)| features.set(feature, value));
        features
    }
}

/// An adaptation whose outcome is known: one base, domain and recipe, seeds averaged.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Where it comes from: "shipped", or the name of a study.
    pub source: String,
    /// The base.
    pub model: String,
    /// The domain.
    pub domain: String,
    /// The strategy's name.
    pub strategy: String,
    /// The features that were known before training.
    pub features: Features,
    /// The change in log-perplexity on the domain's test text, nats per token.
    pub delta: f64,
    /// The change on held-out text of the reference corpus, nats per token.
    pub forgetting: Option<f64>,
}

/// Columns of the table beside the features.
const NAMES: [&str; 4] = ["source", "model", "domain", "strategy"];
const OUTCOMES: [&str; 2] = ["delta", "forgetting"];

/// The table that is built into the program.
const SHIPPED: &str = include_str!("shipped.csv");

/// The cases that are built into the program; `source` says where each comes from.
///
/// # Errors
/// None but a table that was broken when the program was built.
pub fn shipped() -> Result<Vec<Case>> {
    read_table(SHIPPED.as_bytes(), "the shipped table")
}

/// Reads a table of cases as [`write_table`] writes it. Columns may be in any order, and those of features may be missing;
/// an empty field is a number that is not known.
///
/// # Errors
/// The text is not such a table; the error names the line.
pub fn read_table(bytes: &[u8], place: &str) -> Result<Vec<Case>> {
    let broken = |line: u64, fault: String| {
        let cure = Message::new("give a table as ").command("advise", [Setting::new("write_table", "FILE")]);
        let cure = cure.then(" writes it");
        Error::input(format!("{place}: line {line}"), fault, cure)
    };
    let mut reader = ::csv::Reader::from_reader(bytes);
    let headers = reader.headers().map_err(|e| broken(1, e.to_string()))?.clone();
    let column = |name: &str| headers.iter().position(|header| header == name);
    let mut names = [0; NAMES.len()];
    for (at, name) in names.iter_mut().zip(NAMES) {
        *at = column(name).ok_or_else(|| broken(1, format!("has no column {name}")))?;
    }
    let delta = column("delta").ok_or_else(|| broken(1, "has no column delta".into()))?;
    let mut cases = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| broken(e.position().map_or(0, ::csv::Position::line), e.to_string()))?;
        let line = record.position().map_or(0, ::csv::Position::line);
        let number = |at: Option<usize>| -> Result<Option<f64>> {
            let text = at.and_then(|at| record.get(at)).unwrap_or_default().trim();
            if text.is_empty() {
                return Ok(None);
            }
            let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
            value.map(Some).ok_or_else(|| broken(line, format!("holds {text:?}, expected a number")))
        };
        let name = |at: usize| of_cell(record.get(names[at]).unwrap_or_default()).to_owned();
        let mut features = Features::default();
        for feature in Feature::ALL {
            features.set(feature, number(column(feature.key()))?);
        }
        cases.push(Case {
            source: name(0),
            model: name(1),
            domain: name(2),
            strategy: name(3),
            features,
            delta: number(Some(delta))?.ok_or_else(|| broken(line, "has no delta".into()))?,
            forgetting: number(column("forgetting"))?,
        });
    }
    Ok(cases)
}

/// A table of cases: one line each, numbers in full precision.
///
/// # Errors
/// None that the cases can cause.
pub fn write_table(cases: &[Case]) -> Result<Vec<u8>> {
    let failed =
        |e: ::csv::Error| Error::Io { path: "the table".into(), action: "write", source: std::io::Error::other(e) };
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let keys = Feature::ALL.map(Feature::key);
    writer.write_record(NAMES.iter().chain(&keys).chain(&OUTCOMES)).map_err(failed)?;
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    for case in cases {
        let mut fields = [&case.source, &case.model, &case.domain, &case.strategy].map(String::clone).to_vec();
        fields.extend(Feature::ALL.map(|feature| number(case.features.get(feature))));
        fields.extend([number(Some(case.delta)), number(case.forgetting)]);
        writer.write_record(fields.iter().map(|field| cell(field))).map_err(failed)?;
    }
    writer.into_inner().map_err(|e| failed(e.into_error().into()))
}

/// Whether a file is a table that [`write_table`] wrote.
pub fn is_table(path: &Path) -> bool {
    let columns: Vec<&str> = NAMES.into_iter().chain(Feature::ALL.map(Feature::key)).chain(OUTCOMES).collect();
    std::fs::read_to_string(path).is_ok_and(|text| text.lines().next() == Some(columns.join(",").as_str()))
}

/// Reads a table from a file.
///
/// # Errors
/// As [`read_table`], and a file that cannot be read.
pub fn read_table_file(path: &Path) -> Result<Vec<Case>> {
    read_table(&std::fs::read(path).map_err(|e| Error::reading(path, e))?, &path.display().to_string())
}
