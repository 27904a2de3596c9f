//! One domain: before and after, the call, the tokens that carry the change.

use egui::{Grid, RichText, ScrollArea, Ui};

use super::background::{Arrival, Background};
use super::curves::Curves;
use super::heat::Heat;
use super::opened::{DomainPoint, OpenStudy, Selection};
use super::tokens::Tokens;
use super::{marks, theme};
use crate::advise::hindsight::{Hindsight, hindsight};
use crate::advise::verdict::{PointsTo, Reason};
use crate::columns::{Cell, class_label};
use crate::compare::Without;
use crate::error::Result;
use crate::report::{MISSING, count, delta, handful_sentence, interval, p_phrase, percent, significant};
use crate::study::{DomainChange, Row};

/// The key of the numbers without line breaks.
const NEWLINE: &str = "newline";

/// Parts of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Section {
    #[default]
    Found,
    Tokens,
    Passages,
    Curves,
}

impl Section {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Found, "Verdict and classes"),
        (Self::Tokens, "Tokens"),
        (Self::Passages, "Passages"),
        (Self::Curves, "Curves"),
    ];
}

/// The visible state of a card.
#[derive(Default)]
pub struct Card {
    section: Section,
    without_newlines: bool,
    /// Which of the domain's seeds.
    seed: usize,
    tokens: Tokens,
    heat: Heat,
    curves: Curves,
    /// What advice would have said about every domain; computed on demand.
    advice: Advice,
    seen: Option<Seen>,
}

/// What advice would have said, computed when a card is first opened.
#[derive(Default)]
enum Advice {
    #[default]
    NotAsked,
    Asked(Background<Result<Vec<Hindsight>>>),
    Said(Vec<Hindsight>),
    Nothing(String),
}

/// The content of a card, prepared when something is chosen.
struct Seen {
    arm: usize,
    domain: String,
    without: bool,
    seed: usize,
    /// Seed, perplexity before and after, δ, interval.
    numbers: Vec<[String; 5]>,
    /// The numbers without line breaks, if they are known.
    note: String,
    found: Vec<String>,
    /// `None` until it is known.
    predicted: Option<Predicted>,
    classes: Vec<[String; 6]>,
    handful: String,
}

/// What would have been predicted, in sentences.
#[derive(Default)]
struct Predicted {
    lines: Vec<String>,
    /// Evidence without effect on the prediction.
    without_weight: Vec<String>,
}

impl From<String> for Predicted {
    fn from(line: String) -> Self {
        Self { lines: vec![line], without_weight: Vec::new() }
    }
}

impl Card {
    /// Drops the prepared content, because the study was read again.
    pub fn renew(&mut self) {
        self.advice = Advice::NotAsked;
        self.seen = None;
    }

    fn keep_up(&mut self, ui: &Ui, study: &OpenStudy) {
        match &self.advice {
            Advice::NotAsked => {
                let results = study.results.clone();
                self.advice = Advice::Asked(Background::start(ui.ctx(), move || hindsight(&results)));
            }
            Advice::Asked(asked) => {
                self.advice = match asked.poll() {
                    Arrival::Pending => return,
                    Arrival::Here(Ok(said)) => Advice::Said(said),
                    Arrival::Here(Err(error)) => Advice::Nothing(theme::visible(&error.to_string())),
                    Arrival::Lost => Advice::Nothing("advice failed; try `odyssey study report`".into()),
                };
            }
            Advice::Said(_) | Advice::Nothing(_) => {}
        }
    }

    fn prepare(&mut self, study: &OpenStudy, arm: usize, point: &DomainPoint) {
        self.seed = self.seed.min(point.rows.len().saturating_sub(1));
        let same = |seen: &Seen| seen.arm == arm && seen.domain == point.domain;
        let kept = self
            .seen
            .take()
            .filter(|seen| same(seen) && (seen.without, seen.seed) == (self.without_newlines, self.seed));
        let mut seen = match kept {
            Some(seen) => seen,
            None => {
                if let Some(row) = row(study, point, self.seed) {
                    self.tokens.take(&row.top_types);
                }
                self.heat.renew();
                self.curves.take(&study.results, &point.rows);
                Seen::of(study, arm, point, self.without_newlines, self.seed)
            }
        };
        if seen.predicted.is_none() {
            seen.predicted = match &self.advice {
                Advice::Said(said) => Some(predicted(said, study, point)),
                Advice::Nothing(why) => Some(format!("It is not known: {why}").into()),
                Advice::NotAsked | Advice::Asked(_) => None,
            };
        }
        self.seen = Some(seen);
    }

    /// Draws the card of the selected domain.
    pub fn show(&mut self, ui: &mut Ui, study: &OpenStudy, selection: &Selection) {
        let Some(point) = selection.point(study) else {
            ui.label("No domain is selected. Choose one above, click one on the scatter, or press an arrow key.");
            return;
        };
        self.keep_up(ui, study);
        self.prepare(study, selection.arm, point);
        self.head(ui, study, point);
        ui.horizontal_wrapped(|ui| {
            for (section, name) in Section::ALL {
                ui.selectable_value(&mut self.section, section, name);
            }
            if point.rows.len() > 1 {
                let seeds: Vec<String> = study.rows(point).map(|row| row.seed.to_string()).collect();
                let chosen = seeds.get(self.seed).map_or("", String::as_str);
                egui::ComboBox::from_label("seed of tokens, passages and curves").selected_text(chosen).show_ui(
                    ui,
                    |ui| {
                        for (index, seed) in seeds.iter().enumerate() {
                            ui.selectable_value(&mut self.seed, index, seed);
                        }
                    },
                );
            }
        });
        ui.separator();
        let Some(row) = row(study, point, self.seed) else { return };
        ScrollArea::vertical().id_salt(("card", self.section as u8)).auto_shrink(false).show(ui, |ui| {
            match self.section {
                Section::Found => self.found(ui),
                Section::Tokens => self.tokens.show(ui, &row.top_types),
                Section::Passages => self.heat.show(ui, &row.passages),
                Section::Curves => {
                    let at = point.rows.get(self.seed).copied().unwrap_or(0);
                    self.curves.show(ui, &study.folder, &study.results, at);
                }
            }
        });
    }

    fn head(&mut self, ui: &mut Ui, study: &OpenStudy, point: &DomainPoint) {
        let dark = ui.visuals().dark_mode;
        ui.horizontal_wrapped(|ui| {
            marks::inline(ui, point.group, point.is_open());
            ui.label(RichText::new(&point.name).size(19.0).strong());
            ui.weak(study.groups.get(point.group).map_or("", String::as_str));
            let word = RichText::new(point.direction.name()).size(19.0).strong();
            ui.label(word.color(theme::direction(point.direction, dark)));
            ui.checkbox(&mut self.without_newlines, "without line breaks").on_hover_text(
                "Perplexities and δ over the targets without a line break; the model still reads the line breaks",
            );
        });
        let Some(seen) = &self.seen else { return };
        grid(
            ui,
            "before and after",
            ["seed", "perplexity before", "perplexity after", "δ, nats per token", "95 % interval"],
            &seen.numbers,
        );
        if !seen.note.is_empty() {
            ui.weak(&seen.note);
        }
    }

    fn found(&self, ui: &mut Ui) {
        let Some(seen) = &self.seen else { return };
        ui.strong("What was found");
        for line in &seen.found {
            ui.label(line);
        }
        ui.add_space(8.0);
        ui.strong("What advice would have said before, without this domain's own rows");
        match &seen.predicted {
            Some(Predicted { lines, without_weight }) => {
                for line in lines {
                    ui.label(line);
                }
                if !without_weight.is_empty() {
                    ui.collapsing(format!("{} pieces of evidence without weight", without_weight.len()), |ui| {
                        for line in without_weight {
                            ui.label(line);
                        }
                    });
                }
            }
            None => {
                ui.horizontal(|ui| {
                    ui.spinner();
                    ui.label("predicting every domain from the others…");
                });
            }
        }
        ui.add_space(8.0);
        ui.strong("By class of token");
        grid(ui, "classes", ["class", "count", "share", "before", "after", "part of δ"], &seen.classes);
        ui.label(&seen.handful);
    }
}

/// A small table: titles and cells.
fn grid<const N: usize>(ui: &mut Ui, id: &str, titles: [&str; N], lines: &[[String; N]]) {
    ScrollArea::horizontal().id_salt(id).auto_shrink([false, true]).show(ui, |ui| {
        Grid::new(id).num_columns(N).striped(true).spacing([24.0, 4.0]).show(ui, |ui| {
            for title in titles {
                ui.weak(title);
            }
            ui.end_row();
            for line in lines {
                for cell in line {
                    ui.label(cell);
                }
                ui.end_row();
            }
        });
    });
}

fn row<'a>(study: &'a OpenStudy, point: &DomainPoint, seed: usize) -> Option<&'a Row> {
    study.results.rows.get(*point.rows.get(seed)?)
}

impl Seen {
    fn of(study: &OpenStudy, arm: usize, point: &DomainPoint, without: bool, seed: usize) -> Self {
        let (numbers, note) =
            if without { numbers_without(study, point) } else { (numbers(study, point), String::new()) };
        let row = row(study, point, seed);
        let classes = row.map_or(&[][..], |row| &row.classes);
        let class = |of: &crate::compare::ClassChange| {
            [
                class_label(of.class.name()),
                count(of.count as u64),
                percent(of.share),
                significant(of.before),
                significant(of.after),
                delta(of.contribution),
            ]
        };
        Self {
            arm,
            domain: point.domain.clone(),
            without,
            seed,
            numbers,
            note,
            found: found(study, point),
            predicted: None,
            classes: classes.iter().map(class).collect(),
            handful: row.map(|row| handful_sentence(&row.handful)).unwrap_or_default(),
        }
    }
}

fn numbers(study: &OpenStudy, point: &DomainPoint) -> Vec<[String; 5]> {
    let mut lines: Vec<[String; 5]> = study
        .rows(point)
        .map(|row| {
            [
                row.seed.to_string(),
                significant(row.zero_shot_ppl),
                significant(row.adapted_ppl),
                delta(row.delta),
                interval(row.delta_ci95, delta),
            ]
        })
        .collect();
    if lines.len() > 1 {
        let [before, after] = [point.before, point.after].map(significant);
        lines.insert(0, ["all".into(), before, after, delta(point.delta), interval(point.ci95, delta)]);
    }
    lines
}

fn numbers_without(study: &OpenStudy, point: &DomainPoint) -> (Vec<[String; 5]>, String) {
    let number = |value: Option<f64>, write: fn(f64) -> String| Cell::number(value, write, "").text;
    let line = |row: &Row| match row.without.get(NEWLINE) {
        Some(left) => [
            row.seed.to_string(),
            number(left.before, significant),
            number(left.after, significant),
            number(left.delta, delta),
            MISSING.to_owned(),
        ],
        None => [row.seed.to_string(), MISSING.into(), MISSING.into(), MISSING.into(), MISSING.into()],
    };
    let first = study.rows(point).next();
    let note = match first.map(|row| (row.test_tokens, row.without.get(NEWLINE))) {
        Some((_, Some(Without { reason: Some(why), .. }))) => theme::visible(why),
        Some((all, Some(left))) => format!(
            "Over {} of {} test tokens; no interval is kept of it.",
            count(left.scored as u64),
            count(all as u64)
        ),
        _ => "The results do not hold it: the test text may have no line break.".to_owned(),
    };
    (study.rows(point).map(line).collect(), note)
}

/// The call of the study and its details, in sentences.
fn found(study: &OpenStudy, point: &DomainPoint) -> Vec<String> {
    let mut said = Vec::new();
    match study.change(point) {
        Some(change) => said.extend(call(change)),
        None => said.push(format!(
            "{}: that is what the 95 % interval of δ says; the results hold no test.",
            point.direction.name()
        )),
    }
    let Some(row) = study.rows(point).next() else { return said };
    said.push(match (row.evidence.forgetting.value, row.evidence.forgetting.ci95) {
        (Some(forgotten), ends) => {
            let ends = ends.map(|ends| format!(" {}", interval(ends, delta))).unwrap_or_default();
            let seed = if point.rows.len() > 1 { format!(" (seed {})", row.seed) } else { String::new() };
            format!("On the reference corpus the change is {}{ends}{seed}: positive is forgotten.", delta(forgotten))
        }
        (None, _) => {
            let why = row.evidence.forgetting.why_missing().unwrap_or("it was not measured");
            format!("How much of the reference corpus it forgot is not known: {}.", theme::visible(why))
        }
    });
    if let Some(rank) = &row.rank {
        said.push(match (rank.rank_change, rank.rank_change_ci95) {
            (Some(change), Some(ends)) => format!(
                "Prediction rank of the domain's terms: Δ ln rank {} {}; positive is worse.",
                delta(change),
                interval(ends, delta)
            ),
            _ => format!(
                "No prediction rank: {}.",
                theme::visible(rank.rank_reason.as_deref().unwrap_or("not measured"))
            ),
        });
    }
    if let Some(share) = row.overlap.as_ref().and_then(|overlap| overlap.test_13grams_in_train) {
        said.push(format!("{} of the test text's runs of 13 tokens stand in the training text too.", percent(share)));
    }
    let tokens = row.evidence.available_tokens.unwrap_or(row.train_tokens);
    said.push(format!(
        "Trained on {} of {} available tokens, tested on {}.",
        count(row.train_tokens),
        count(tokens),
        count(row.test_tokens as u64)
    ));
    said.extend(row.reason.as_ref().map(|why| theme::visible(why)));
    said
}

fn call(change: &DomainChange) -> Vec<String> {
    let p = |name: &str, p: Option<f64>| match p {
        Some(p) => p_phrase(p).replacen('p', name, 1),
        None => format!("{name} {MISSING}"),
    };
    let mut said = vec![format!(
        "{}: δ = {} {}; {}, {} over {} {}, called at an error rate of {} over the domains ({}, {}).",
        change.call.name(),
        delta(change.delta),
        interval(change.delta_ci95, delta),
        p("p", change.p),
        p("q", change.q),
        change.clusters,
        theme::visible(&change.over),
        percent(change.error_rate),
        p("t test p", change.t_p),
        p("Wilcoxon p", change.wilcoxon_p),
    )];
    said.push(format!(
        "A change below {:.4} could not have been detected with this much text.",
        change.smallest_effect
    ));
    said.extend(
        change.seed_sd.map(|sd| format!("Between {} seeds δ has a standard deviation of {sd:.4}.", change.seeds.len())),
    );
    said.push(match (change.restart_delta, change.beyond_restart.value) {
        (Some(restart), Some(beyond)) => {
            let ends = change.beyond_restart.ci95.map(|ends| format!(" {}", interval(ends, delta))).unwrap_or_default();
            format!(
                "The restart control, the same recipe on the reference corpus itself, comes to {}; beyond it this domain's \
                 change is {}{ends}.",
                delta(restart),
                delta(beyond)
            )
        }
        _ => "The study has no restart control for it.".to_owned(),
    });
    said.extend(change.reason.as_ref().map(|why| theme::visible(why)));
    said
}

/// What would have been predicted of this domain, with its reasons.
fn predicted(said: &[Hindsight], study: &OpenStudy, point: &DomainPoint) -> Predicted {
    let Some(row) = study.rows(point).next() else { return Predicted::default() };
    let mine = said
        .iter()
        .filter(|said| (&said.model, &said.domain, &said.strategy) == (&row.model, &row.domain, &row.strategy));
    // The study's own recipe, not those of the ablation grid.
    let far = |said: &&Hindsight| (said.joined_otherwise, (said.found - point.delta).abs());
    let Some(said) = mine.min_by(|a, b| far(a).0.cmp(&far(b).0).then(far(a).1.total_cmp(&far(b).1))) else {
        return "Nothing: the results lack values that advice needs.".to_owned().into();
    };
    let mut lines = vec![theme::visible(&said.words)];
    match &said.predicted {
        Some(predicted) => {
            let ends = predicted.interval90.map(|ends| format!(" {} (90 %)", interval(ends, delta)));
            let held = match said.inside {
                Some(true) => ", inside the interval",
                Some(false) => ", outside the interval",
                None => "",
            };
            let shipped = if said.with_shipped { ", the table that comes with the program among them" } else { "" };
            lines.push(format!(
                "Predicted δ {}{}; found {}{held}. Learned from {} domains{shipped}.",
                delta(predicted.delta),
                ends.unwrap_or_default(),
                delta(said.found),
                said.domains
            ));
        }
        None => lines.extend(said.reason.as_ref().filter(|why| **why != said.words).map(|why| theme::visible(why))),
    }
    // Evidence without weight comes last.
    let (light, weighty): (Vec<&Reason>, Vec<&Reason>) =
        said.reasons.iter().partition(|reason| reason.points_to == PointsTo::Neither);
    let said = |reasons: Vec<&Reason>| reasons.into_iter().map(|r| format!("• {}", theme::visible(&r.words))).collect();
    lines.extend::<Vec<String>>(said(weighty));
    Predicted { lines, without_weight: said(light) }
}
