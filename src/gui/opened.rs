//! A study prepared for its pages: read once, on a thread, so that drawing computes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::against::Against;
use super::theme;
use crate::columns::{self, Face, Sheet};
use crate::error::Result;
use crate::report::{
    Direction, Outcome, ablation, answer, count, delta, interval, outcomes, p_value, percent, short, significant,
};
use crate::seal;
use crate::similarity::Measure;
use crate::study::{self, DomainChange, Row, StudyResults};

/// Characters of a name that lists show.
const NAME: usize = 48;

/// An opened study.
pub struct OpenStudy {
    /// Its folder.
    pub folder: PathBuf,
    /// All that it found.
    pub results: Arc<StudyResults>,
    /// The arms: the domains under one model and strategy.
    pub arms: Vec<Arm>,
    /// The groups of its domains as they are shown, in the order of their colours.
    pub groups: Vec<String>,
    /// What it found, in sentences.
    pub answer: Vec<String>,
    /// The ablation grid, where there is one.
    pub ablation: Option<Sheet>,
}

/// The domains under one model and strategy.
pub struct Arm {
    /// "model / strategy".
    pub name: String,
    /// Its domains, by name.
    pub domains: Vec<DomainPoint>,
    /// Its domains against each distance that the study has, in the order of [`Measure::shown`].
    pub against: Vec<Against>,
    /// Its domains in numbers, with the columns of every distance.
    pub sheet: Sheet,
    /// Test tokens of the domain that has the most.
    pub most_tokens: usize,
}

/// A domain, its seeds together.
pub struct DomainPoint {
    /// Its name.
    pub domain: String,
    /// Its name as lists show it: everything in it visible, not too long.
    pub name: String,
    /// Index of its group.
    pub group: usize,
    /// Change in log-perplexity, nats per token; positive is worse.
    pub delta: f64,
    /// 95 % interval of `delta`.
    pub ci95: [f64; 2],
    /// The call of the study.
    pub direction: Direction,
    /// The test and call, as an index into the results' domains; `None` in results of older versions.
    pub change: Option<usize>,
    /// Perplexity of the base on the test text.
    pub before: f64,
    /// Perplexity of the adapted model; over several seeds the geometric mean.
    pub after: f64,
    /// Test tokens scored.
    pub tokens: usize,
    /// The lines of its tooltip.
    pub summary: Vec<String>,
    /// Indices of its rows in the results, one per seed.
    pub rows: Vec<usize>,
}

impl OpenStudy {
    /// Reads the folder of a study and collects its results from its tasks.
    ///
    /// # Errors
    /// The folder is not a study, or its files cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let results = match study::collect(folder) {
            Ok(results) => results,
            // The tasks may have been deleted after the results were written.
            Err(error) => {
                seal::read_json(&folder.join("results.json")).map(|(results, _)| results).map_err(|_| error)?
            }
        };
        Ok(Self::new(folder, results))
    }

    /// Of results that are already read; `folder` is where they stand.
    pub fn new(folder: &Path, results: StudyResults) -> Self {
        let mut groups: Vec<&str> = results.rows.iter().map(|row| row.group.as_str()).collect();
        groups.sort_unstable();
        groups.dedup();
        let of_arm = |(name, outcomes): (String, Vec<Outcome<'_>>)| Arm {
            domains: outcomes.iter().map(|outcome| DomainPoint::of(&results, outcome, &groups)).collect(),
            against: Measure::shown().filter_map(|measure| Against::of(&results, &name, &outcomes, measure)).collect(),
            sheet: in_numbers(&outcomes),
            most_tokens: outcomes
                .iter()
                .flat_map(|outcome| &outcome.rows)
                .map(|row| row.test_tokens)
                .max()
                .unwrap_or(0),
            name,
        };
        let arms = outcomes(&results).into_iter().map(of_arm).collect();
        Self {
            folder: folder.to_owned(),
            arms,
            groups: groups.into_iter().map(name).collect(),
            answer: answer(&results),
            ablation: ablation::sheet(&results),
            results: Arc::new(results),
        }
    }

    /// The test and call of a domain.
    pub fn change(&self, point: &DomainPoint) -> Option<&DomainChange> {
        self.results.domains.get(point.change?)
    }

    /// The rows of a domain, one per seed.
    pub fn rows<'a>(&'a self, point: &'a DomainPoint) -> impl Iterator<Item = &'a Row> {
        point.rows.iter().filter_map(|&row| self.results.rows.get(row))
    }
}

impl DomainPoint {
    fn of(results: &StudyResults, outcome: &Outcome<'_>, groups: &[&str]) -> Self {
        let index = |row: &&Row| results.rows.iter().position(|other| std::ptr::eq(other, *row));
        let [before, after] = outcome.perplexities();
        let group = groups.iter().position(|group| *group == outcome.group).unwrap_or(0);
        let tokens = outcome.rows.first().map_or(0, |row| row.test_tokens);
        let mut summary = vec![
            format!("group {}", name(outcome.group)),
            format!("δ {} {}: {}", delta(outcome.delta), interval(outcome.ci95, delta), outcome.direction().name()),
            format!("perplexity {} → {}", significant(before), significant(after)),
        ];
        if let Some(DomainChange { p: Some(p), q: Some(q), .. }) = outcome.change {
            summary.push(format!("p {}, q {}", p_value(*p), p_value(*q)));
        }
        let newline_rate = outcome.mean(|row| Some(row.newline_rate)).unwrap_or(f64::NAN);
        summary.push(format!("{} test tokens, {} with line breaks", count(tokens as u64), percent(newline_rate)));
        Self {
            domain: outcome.domain.to_owned(),
            name: name(outcome.domain),
            group,
            delta: outcome.delta,
            ci95: outcome.ci95,
            direction: outcome.direction(),
            change: outcome.change.and_then(|change| results.domains.iter().position(|c| std::ptr::eq(c, change))),
            before,
            after,
            tokens,
            summary,
            rows: outcome.rows.iter().filter_map(index).collect(),
        }
    }

    /// Whether no difference was found, so that its marker is open.
    pub fn is_open(&self) -> bool {
        matches!(self.direction, Direction::NoDifference | Direction::Undecided)
    }
}

/// The table of domains, in the order of `outcomes`.
fn in_numbers(outcomes: &[Outcome<'_>]) -> Sheet {
    shown_here(Sheet::of(&columns::rows(), Face::App, outcomes))
}

/// A table as the application shows it: names are not too long, and every character is in its fonts.
pub fn shown_here(mut sheet: Sheet) -> Sheet {
    for heading in &mut sheet.headings {
        heading.title = theme::in_this_font(&heading.title);
    }
    for row in &mut sheet.rows {
        for (cell, heading) in row.iter_mut().zip(&sheet.headings) {
            cell.text = match heading.key.as_str() {
                "domain" | "group" | "arm" => cell.fields.first().map(|text| name(text)).unwrap_or_default(),
                _ => theme::in_this_font(&cell.text),
            };
        }
    }
    sheet
}

/// A name as lists show it: everything in it visible, not too long, never nothing.
pub fn name(text: &str) -> String {
    if text.is_empty() { "(no name)".to_owned() } else { short(&theme::visible(text), NAME) }
}

/// The selection, common to all tabs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Index of the arm.
    pub arm: usize,
    /// The domain's name.
    pub domain: Option<String>,
    /// The distance; the first that the study has where there is none.
    pub measure: Option<Measure>,
}

impl Selection {
    /// The selection in a newly opened study: none yet.
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

    /// The arm.
    pub fn arm<'a>(&self, study: &'a OpenStudy) -> Option<&'a Arm> {
        study.arms.get(self.arm)
    }

    /// The arm's domains against the chosen distance.
    pub fn against<'a>(&self, study: &'a OpenStudy) -> Option<&'a Against> {
        let against = &self.arm(study)?.against;
        against.iter().find(|against| Some(against.measure) == self.measure).or_else(|| against.first())
    }

    /// The index of the selected domain in its arm.
    pub fn index(&self, study: &OpenStudy) -> Option<usize> {
        let wanted = self.domain.as_ref()?;
        self.arm(study)?.domains.iter().position(|point| point.domain == *wanted)
    }

    /// The selected domain.
    pub fn point<'a>(&self, study: &'a OpenStudy) -> Option<&'a DomainPoint> {
        self.arm(study)?.domains.get(self.index(study)?)
    }

    /// Goes to the next (1) or previous (−1) domain, with wrap-around.
    pub fn step(&mut self, study: &OpenStudy, step: isize) {
        let Some(arm) = study.arms.get(self.arm) else { return };
        let now = arm.domains.iter().position(|point| Some(&point.domain) == self.domain.as_ref());
        if let Some(next) = round(now, step, arm.domains.len()) {
            self.domain = Some(arm.domains[next].domain.clone());
        }
    }
}

/// The index after (1) or before (−1) `now` of `count`, round and round; without a present one the first or the last.
/// `None` if `count` is 0.
pub fn round(now: Option<usize>, step: isize, count: usize) -> Option<usize> {
    let last = count.checked_sub(1)?;
    Some(match (now, step) {
        (Some(now), step) => (now as isize + step).rem_euclid(count as isize) as usize,
        (None, 1) => 0,
        (None, _) => last,
    })
}
