//! A study as its pages show it: read and prepared once, on a thread, so that drawing only draws.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::files;
use crate::report::{Outcome, Verdict, outcomes};
use crate::study::{self, Row, StudyResults};

/// An opened study.
pub struct OpenStudy {
    /// Its folder.
    pub folder: PathBuf,
    /// All that it found.
    pub results: StudyResults,
    /// What belongs together, by model and strategy.
    pub arms: Vec<Arm>,
    /// The groups of its domains, in the order of their colours.
    pub groups: Vec<String>,
}

/// The domains under one model and strategy.
pub struct Arm {
    /// "model / strategy".
    pub name: String,
    /// Its domains, by name.
    pub domains: Vec<DomainPoint>,
}

/// A domain, its seeds together.
pub struct DomainPoint {
    /// Its name.
    pub domain: String,
    /// Index of its group.
    pub group: usize,
    /// Change in log-perplexity, nats per token; positive is worse.
    pub delta: f64,
    /// 95 % interval of `delta`.
    pub ci95: [f64; 2],
    /// What the study calls it.
    pub verdict: Verdict,
    /// Indices of its rows in the results, one per seed.
    pub rows: Vec<usize>,
}

impl OpenStudy {
    /// Reads what stands in a study's folder, put together anew from its tasks.
    ///
    /// # Errors
    /// It is no study's folder, or what is in it cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let results = match study::collect(folder) {
            Ok(results) => results,
            // The tasks may have been thrown away once the results stood.
            Err(error) => files::read_json(&folder.join("results.json")).map_err(|_| error)?,
        };
        Ok(Self::new(folder, results))
    }

    fn new(folder: &Path, results: StudyResults) -> Self {
        let mut groups: Vec<String> = results.rows.iter().map(|row| row.group.clone()).collect();
        groups.sort();
        groups.dedup();
        let point = |outcome: &Outcome<'_>| DomainPoint {
            domain: outcome.domain.to_owned(),
            group: groups.iter().position(|group| group == outcome.group).unwrap_or(0),
            delta: outcome.delta,
            ci95: outcome.ci95,
            verdict: outcome.verdict(),
            rows: indices(&results, &outcome.rows),
        };
        let arm =
            |(name, outcomes): (String, Vec<Outcome<'_>>)| Arm { name, domains: outcomes.iter().map(point).collect() };
        let arms = outcomes(&results).into_iter().map(arm).collect();
        Self { folder: folder.to_owned(), arms, groups, results }
    }
}

fn indices(results: &StudyResults, rows: &[&Row]) -> Vec<usize> {
    let index = |row: &&Row| results.rows.iter().position(|other| std::ptr::eq(other, *row));
    rows.iter().filter_map(index).collect()
}

/// What is selected on every tab.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Index of the arm.
    pub arm: usize,
    /// The domain's name.
    pub domain: Option<String>,
}

impl Selection {
    /// What is selected of a study that was just opened: nothing yet.
    pub fn first(_study: &OpenStudy) -> Self {
        Self::default()
    }

    /// The same, as far as the study has it.
    pub fn kept_in(mut self, study: &OpenStudy) -> Self {
        self.arm = self.arm.min(study.arms.len().saturating_sub(1));
        let has = |name: &String| {
            study.arms.get(self.arm).is_some_and(|arm| arm.domains.iter().any(|point| point.domain == *name))
        };
        self.domain = self.domain.filter(has);
        self
    }

    /// The selected domain.
    pub fn point<'a>(&self, study: &'a OpenStudy) -> Option<&'a DomainPoint> {
        let wanted = self.domain.as_ref()?;
        study.arms.get(self.arm)?.domains.iter().find(|point| point.domain == *wanted)
    }

    /// Goes to the next (1) or previous (−1) domain, round and round.
    pub fn step(&mut self, study: &OpenStudy, step: isize) {
        let Some(arm) = study.arms.get(self.arm).filter(|arm| !arm.domains.is_empty()) else { return };
        let count = arm.domains.len() as isize;
        let now = arm.domains.iter().position(|point| Some(&point.domain) == self.domain.as_ref());
        let next = match (now, step) {
            (Some(now), step) => (now as isize + step).rem_euclid(count),
            (None, 1) => 0,
            (None, _) => count - 1,
        };
        self.domain = Some(arm.domains[next as usize].domain.clone());
    }
}
