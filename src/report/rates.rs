//! Figures of the ablation grid: δ, and the part of it that line breaks carry, against the learning rate.

use std::collections::BTreeSet;

use super::figure::{Content, Figure, Kind, RateCurve, RatePanel, RatePoint, columns, drawable, short};
use super::{visible, word};
use crate::study::{self, AblationRow, StudyResults};

/// A value and its 95 % interval.
type Shown = (f64, [f64; 2]);

/// The value of a cell that is drawn against the learning rate, if the cell has it.
struct Rated {
    kind: Kind,
    name: &'static str,
    title: &'static str,
    value: fn(&AblationRow) -> Option<Shown>,
    /// Whether the restart control's is drawn beside the domains'.
    restart: bool,
}

const RATES: [Rated; 2] = [
    Rated {
        kind: Kind::Rates,
        name: "ablation",
        title: "δ against the learning rate",
        value: |row| Some((row.delta, row.delta_ci95)),
        restart: true,
    },
    Rated {
        kind: Kind::LineBreaks,
        name: "ablation-line-breaks",
        title: "The part of δ that line breaks carry",
        value: |row| Some((row.parts.newline, row.parts_ci95?.newline)),
        restart: false,
    },
];

/// All figures of the grid.
pub(super) fn figures(results: &StudyResults) -> Vec<Figure> {
    RATES.iter().flat_map(|shown| rates(results, shown)).collect()
}

/// δ, or a part of it, against the learning rate: a figure for each model, strategy and way to evaluate of the ablation grid.
fn rates(results: &StudyResults, shown: &Rated) -> Vec<Figure> {
    let way = |join: String, newlines: String| format!("join {join}, line breaks {newlines}");
    let read = |row: &AblationRow| way(word(row.eval_join), word(row.eval_newlines));
    let trained = |row: &AblationRow| way(word(row.train_join), word(row.newlines));
    let arms: Vec<String> = results.ablation.iter().map(trained).collect::<BTreeSet<_>>().into_iter().collect();
    let of = |row: &AblationRow| (study::arm(&row.model, &row.strategy), read(row));
    let all: BTreeSet<(String, String)> = results.ablation.iter().map(of).collect();
    let figure = |(index, (arm, reading)): (usize, &(String, String))| {
        let rows: Vec<&AblationRow> = results
            .ablation
            .iter()
            .filter(|row| of(row) == (arm.clone(), reading.clone()))
            .filter(|row| (shown.value)(row).is_some_and(|(value, _)| drawable(&value)))
            .collect();
        let domains: BTreeSet<(bool, &str)> = rows.iter().map(|row| (!row.control, row.domain.as_str())).collect();
        let panel = |(domain, title): (bool, &str)| {
            let mine: Vec<&&AblationRow> =
                rows.iter().filter(|row| row.control != domain && row.domain == title).collect();
            let curves = arms.iter().enumerate().map(|(arm, how)| {
                let mut points: Vec<RatePoint> = mine
                    .iter()
                    .filter(|row| trained(row) == *how && row.lr > 0.0)
                    .filter_map(|row| (shown.value)(row).map(|(delta, ci95)| RatePoint { lr: row.lr, delta, ci95 }))
                    .collect();
                points.sort_by(|a, b| a.lr.total_cmp(&b.lr));
                RateCurve { arm, points }
            });
            let first = mine.first().map(|row| trained(row));
            let mut restart: Vec<(f64, f64)> = mine
                .iter()
                .filter(|row| Some(trained(row)) == first && row.lr > 0.0)
                .filter_map(|row| Some((row.lr, row.restart_delta.filter(drawable)?)))
                .collect();
            restart.sort_by(|a, b| a.0.total_cmp(&b.0));
            RatePanel {
                title: short(&visible(title), 30),
                curves: curves.filter(|curve| !curve.points.is_empty()).collect(),
                restart: (shown.restart && domain && !restart.is_empty()).then_some(restart),
            }
        };
        let panels: Vec<RatePanel> = domains.into_iter().map(panel).filter(|panel| !panel.curves.is_empty()).collect();
        (!panels.is_empty()).then(|| Figure {
            name: if all.len() > 1 { format!("{}-{}", shown.name, index + 1) } else { shown.name.to_owned() },
            kind: shown.kind,
            of: arm.clone(),
            title: shown.title.to_owned(),
            caption: format!(
                "{}: tested with {reading}; colours: training text{}",
                visible(arm),
                if shown.restart { "; grey crosses: restart control" } else { "; 95 % intervals draw documents" }
            ),
            height: 210 + 290 * panels.len().div_ceil(columns(panels.len())) as u32,
            groups: arms.clone(),
            content: Content::Rates { panels },
        })
    };
    all.iter().enumerate().filter_map(figure).collect()
}
