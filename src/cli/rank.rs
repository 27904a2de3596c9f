//! Options of prediction rank, and its tables.

use std::path::{Path, PathBuf};

use odyssey::disk::outputs::Outputs;
use odyssey::error::{Error, Result};
use odyssey::model::LoadedModel;
use odyssey::progress::Monitor;
use odyssey::rank::{PromptSet, RankChange, RankSummary, Ranks, rank};
use odyssey::shown::fixed;
use odyssey::text::{Corpus, Split, Tokenizer, open_corpus};

use super::common::Common;
use super::output;
use super::text::TextArgs;

/// How high a model ranks the right word at the place of a term of the domain.
#[derive(Debug, Clone, clap::Args)]
pub struct RankArgs {
    /// Also the prediction rank of the domain's terms: found in its train split, asked for in its test split.
    #[arg(long)]
    pub rank: bool,
    /// Find the terms in this corpus instead of the train split.
    #[arg(long, value_name = "CORPUS", requires = "rank", conflicts_with = "rank_from")]
    rank_terms_from: Option<PathBuf>,
    /// Leave out terms that are just as frequent in this corpus (or its train split), for example in a sample of the
    /// pretraining text.
    #[arg(long, value_name = "CORPUS", requires = "rank", conflicts_with = "rank_from")]
    rank_reference: Option<PathBuf>,
    /// Write the prompts to this file, one JSON object on each line (one text only).
    #[arg(long, value_name = "FILE", requires = "rank")]
    rank_prompts: Option<PathBuf>,
    /// Ask the prompts of this file instead: objects with keyword, prompt and target, one on each line (one text only).
    #[arg(long, value_name = "FILE", requires = "rank")]
    rank_from: Option<PathBuf>,
}

impl RankArgs {
    /// The files it reads.
    pub fn inputs(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.rank_terms_from, &self.rank_reference, &self.rank_from].into_iter().flatten()
    }

    /// Where the prompts are to be written, if they are.
    ///
    /// # Errors
    /// What is there must not be written over.
    pub fn prompts_place(&self, outputs: &mut Outputs) -> Result<Option<PathBuf>> {
        self.rank_prompts.as_ref().map(|path| outputs.file(path, PromptSet::is_in)).transpose()
    }

    /// Refuses files that are for one text if several texts are given.
    pub fn check(&self, texts: usize) -> Result<()> {
        for (option, given) in [("--rank-prompts", &self.rank_prompts), ("--rank-from", &self.rank_from)] {
            if given.is_some() && texts > 1 {
                return Err(Error::input(option, "is for one text, but several are given", "evaluate them one by one"));
            }
        }
        Ok(())
    }

    /// The prompts for a text, which are written to `place` where that is given; `test` is what is evaluated of it. `None` without
    /// `--rank`.
    ///
    /// # Errors
    /// Errors of reading and writing the files.
    pub fn prompts(
        &self,
        text: &Path,
        test: &Corpus,
        reading: &TextArgs,
        place: Option<&Path>,
        common: &Common,
    ) -> Result<Option<PromptSet>> {
        if !self.rank {
            return Ok(None);
        }
        let set = match &self.rank_from {
            Some(file) => PromptSet::read(file)?,
            None => self.found(text, test, reading, common)?,
        };
        if let Some(file) = place {
            set.write(file)?;
        }
        Ok(Some(set))
    }

    fn found(&self, text: &Path, test: &Corpus, reading: &TextArgs, common: &Common) -> Result<PromptSet> {
        let train = match &self.rank_terms_from {
            Some(path) => open_corpus(&common.corpus(path)?, Split::Train, reading.read())?,
            None => match open_corpus(text, Split::Train, reading.read()) {
                // For a corpus without splits this is the evaluated text itself.
                Ok(train) if train.hash != test.hash => train,
                Ok(_) => {
                    let reason = "the text has no train split to find terms in: name a domain, or --rank-terms-from";
                    return Ok(PromptSet::none(reason));
                }
                Err(Error::Input { place, fault, .. }) => {
                    return Ok(PromptSet::none(format!("no train split to find terms in: {place}: {fault}")));
                }
                Err(other) => return Err(other),
            },
        };
        let reference = match &self.rank_reference {
            Some(path) => Some(open_corpus(&common.corpus(path)?, Split::Train, reading.read())?),
            None => None,
        };
        Ok(PromptSet::build(&train, test, reference.as_ref()))
    }
}

/// Asks a model the prompts, if there are any.
///
/// # Errors
/// As [`rank`].
pub fn ask(
    set: Option<&PromptSet>,
    model: &LoadedModel,
    tokenizer: Option<&Tokenizer>,
    reading: &TextArgs,
    monitor: &mut dyn Monitor,
) -> Result<Option<Ranks>> {
    set.map(|set| rank(set, &model.model, model, tokenizer, reading.stream.bos, monitor)).transpose()
}

/// A table of ranks, one row each, with the notes that belong to them.
pub fn table(rows: &[(&str, &RankSummary)]) -> String {
    let number = |value: Option<f64>, decimals: usize| value.map_or("–".to_owned(), |v| fixed(v, decimals));
    let percent = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{:.1} %", 100.0 * v));
    let headings = [
        "prediction rank",
        "keywords",
        "prompts",
        "trimmed mean",
        "median",
        "mean ln rank",
        "95 % interval",
        "rank 1",
        "rank ≤ 10",
    ];
    let cells = rows.iter().map(|(name, rank)| {
        vec![
            (*name).to_owned(),
            rank.keywords.to_string(),
            rank.prompts.to_string(),
            number(rank.trimmed_mean, 1),
            number(rank.median, 1),
            number(rank.mean_log_rank, 3),
            rank.mean_log_rank_ci95.map_or("–".to_owned(), |[low, high]| format!("{low:.3} … {high:.3}")),
            percent(rank.rank_1),
            percent(rank.rank_10),
        ]
    });
    let mut lines = vec![output::table(&headings, cells)];
    for (name, rank) in rows {
        if let Some(reason) = &rank.reason {
            lines.push(format!("{name}: {reason}"));
        }
        if rank.cut > 0 {
            lines.push(format!("{name}: {} prompts were cut from the left to the model's context", rank.cut));
        }
        if rank.skipped > 0 {
            lines.push(format!("{name}: {} prompts were not asked, no token begins with their target", rank.skipped));
        }
    }
    lines.join("\n")
}

/// Ranks before and after, and the change.
pub fn change_table(change: &RankChange, names: [&str; 2]) -> String {
    let table = table(&[(names[0], &change.before), (names[1], &change.after)]);
    let change = match (change.change, change.change_ci95) {
        (Some(change), Some([low, high])) => {
            format!("change in mean ln rank {change:+.4} [{low:+.4}, {high:+.4}] nats: negative is better")
        }
        (Some(value), None) => format!("change in mean ln rank {value:+.4} nats: negative is better"),
        _ => format!("no change in rank: {}", change.reason.as_deref().unwrap_or("there are no prompts")),
    };
    format!("{table}\n{change}")
}
