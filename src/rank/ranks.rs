//! The ranks of one model, their summary, and the change between two models.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::prompts::PromptSet;
use super::score;
use crate::error::Result;
use crate::model::{LanguageModel, LoadedModel};
use crate::progress::Monitor;
use crate::stats::{BOOTSTRAP_SEED, RESAMPLES, Resamples};
use crate::text::{Bos, Tokenizer};

/// Share of the ranks left out at each end of the trimmed mean.
const TRIMMED: f64 = 0.2;
/// With fewer keywords than this there is no interval.
const FEWEST_KEYWORDS: usize = 5;

/// The ranks of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranks {
    /// How sentences were matched with terms, [`PromptSet::similarity`].
    pub similarity: String,
    /// The keyword of each prompt that was asked.
    pub keywords: Vec<String>,
    /// The target's rank, `[prompts]`; 1 is best.
    pub ranks: Vec<u64>,
    /// Prompts whose beginning was cut off to fit the model's context.
    pub cut: usize,
    /// Prompts not asked: the tokenizer puts the end of the prompt and the beginning of the target into one token.
    pub skipped: usize,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The result of `eval --rank` for a text. The numbers are null where there is a reason.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RankSummary {
    /// How sentences were matched with terms: "tfidf", or "given" for prompts of a file.
    pub similarity: String,
    /// Different keywords.
    pub keywords: usize,
    /// Prompts asked.
    pub prompts: usize,
    /// Mean of the ranks without the lowest and the highest 20 %: the authors' number.
    pub trimmed_mean: Option<f64>,
    /// Mean of ln rank, nats.
    pub mean_log_rank: Option<f64>,
    /// 95 % bootstrap interval of `mean_log_rank`, keywords resampled.
    pub mean_log_rank_ci95: Option<[f64; 2]>,
    /// Median rank.
    pub median: Option<f64>,
    /// Share of the prompts with rank 1.
    pub rank_1: Option<f64>,
    /// Share of the prompts with rank 10 or better.
    pub rank_10: Option<f64>,
    /// Prompts whose beginning was cut off to fit the model's context.
    pub cut: usize,
    /// Prompts not asked, because no token begins with their target.
    pub skipped: usize,
    /// Why numbers are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Ranks before and after, on the same prompts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RankChange {
    /// The model before.
    pub before: RankSummary,
    /// The model after.
    pub after: RankSummary,
    /// Change in mean ln rank, after minus before, nats: positive is worse.
    pub change: Option<f64>,
    /// Its 95 % paired bootstrap interval, keywords resampled.
    pub change_ci95: Option<[f64; 2]>,
    /// Why there is no change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Asks `model`, with the configuration and device of `loaded` (its own model, or one adapted from it).
///
/// # Errors
/// The tokenizer's and the device's; an interruption.
pub fn rank(
    set: &PromptSet,
    model: &LanguageModel,
    loaded: &LoadedModel,
    tokenizer: Option<&Tokenizer>,
    bos: Bos,
    monitor: &mut dyn Monitor,
) -> Result<Ranks> {
    let mut found = Ranks {
        similarity: set.similarity.clone(),
        keywords: Vec::new(),
        ranks: Vec::new(),
        cut: 0,
        skipped: 0,
        reason: set.reason.clone(),
    };
    let Some(tokenizer) = tokenizer else {
        found.reason = Some("prompts are text, and the model's folder has no tokenizer to read them with".into());
        return Ok(found);
    };
    let questions = score::questions_for(&set.prompts, loaded, tokenizer, bos)?;
    found.skipped = questions.iter().filter(|question| question.is_none()).count();
    let asked = set.prompts.iter().zip(&questions).filter_map(|(prompt, question)| Some((prompt, question.as_ref()?)));
    let (keywords, questions): (Vec<String>, Vec<_>) =
        asked.map(|(prompt, question)| (prompt.keyword.clone(), question)).unzip();
    found.cut = questions.iter().filter(|question| question.cut).count();
    found.ranks = score::ranks(model, &loaded.device, &questions, monitor)?;
    found.keywords = keywords;
    if found.ranks.is_empty() && found.reason.is_none() {
        found.reason = Some("no token of this tokenizer begins where a target does".into());
    }
    Ok(found)
}

impl Ranks {
    /// The summary of these ranks.
    ///
    /// # Errors
    /// None that input could cause.
    pub fn summary(&self) -> Result<RankSummary> {
        let groups = self.by_keyword();
        let mut summary = RankSummary {
            similarity: self.similarity.clone(),
            keywords: groups.len(),
            prompts: self.ranks.len(),
            cut: self.cut,
            skipped: self.skipped,
            reason: self.reason.clone(),
            ..RankSummary::default()
        };
        if self.ranks.is_empty() {
            return Ok(summary);
        }
        let mut sorted = self.ranks.clone();
        sorted.sort_unstable();
        let count = sorted.len();
        let share = |most: u64| sorted.iter().filter(|&&rank| rank <= most).count() as f64 / count as f64;
        summary.trimmed_mean = Some(trimmed_mean(&sorted));
        summary.median = Some((sorted[(count - 1) / 2] + sorted[count / 2]) as f64 / 2.0);
        summary.rank_1 = Some(share(1));
        summary.rank_10 = Some(share(10));
        let logs: Vec<f64> = self.ranks.iter().map(|&rank| (rank as f64).ln()).collect();
        summary.mean_log_rank = Some(mean(&logs));
        summary.mean_log_rank_ci95 = interval(&groups, &logs)?;
        if summary.mean_log_rank_ci95.is_none() {
            summary.reason = Some(few(groups.len()));
        }
        Ok(summary)
    }

    /// The change from `self` to `after`, which must have been asked the same prompts.
    ///
    /// # Errors
    /// None that input could cause.
    pub fn change(&self, after: &Self) -> Result<RankChange> {
        let mut change = RankChange { before: self.summary()?, after: after.summary()?, ..RankChange::default() };
        if self.keywords != after.keywords {
            change.reason = Some("the two models were not asked the same prompts".into());
        } else if self.ranks.is_empty() {
            change.reason.clone_from(&change.before.reason);
        } else {
            let groups = self.by_keyword();
            let log = |rank: u64| (rank as f64).ln();
            let changes: Vec<f64> =
                self.ranks.iter().zip(&after.ranks).map(|(&before, &after)| log(after) - log(before)).collect();
            change.change = Some(mean(&changes));
            change.change_ci95 = interval(&groups, &changes)?;
            if change.change_ci95.is_none() {
                change.reason = Some(few(groups.len()));
            }
        }
        Ok(change)
    }

    /// The prompts of each keyword.
    fn by_keyword(&self) -> Vec<Vec<usize>> {
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, keyword) in self.keywords.iter().enumerate() {
            groups.entry(keyword).or_default().push(index);
        }
        groups.into_values().collect()
    }
}

fn few(keywords: usize) -> String {
    format!("{keywords} keywords, at least {FEWEST_KEYWORDS} are needed for an interval")
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean of sorted ranks without the lowest and the highest 20 %, each rounded down to whole ranks, as
/// `scipy.stats.trim_mean(ranks, 0.2)`.
pub fn trimmed_mean(sorted: &[u64]) -> f64 {
    let cut = (TRIMMED * sorted.len() as f64) as usize;
    let kept = &sorted[cut..sorted.len() - cut];
    kept.iter().sum::<u64>() as f64 / kept.len() as f64
}

/// 95 % interval of the mean of `values`, groups of them resampled; `None` for too few groups.
fn interval(groups: &[Vec<usize>], values: &[f64]) -> Result<Option<[f64; 2]>> {
    if groups.len() < FEWEST_KEYWORDS {
        return Ok(None);
    }
    let sums: Vec<f64> = groups.iter().map(|group| group.iter().map(|&index| values[index]).sum()).collect();
    let counts: Vec<f64> = groups.iter().map(|group| group.len() as f64).collect();
    Resamples::new(groups.len(), RESAMPLES, BOOTSTRAP_SEED).ratio_interval(&sums, &counts).map(Some)
}
