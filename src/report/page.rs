//! `report.html`: one self-contained page that opens offline, and the page of a single comparison.
//!
//! The template escapes everything; corpora and names are shown literally, invisible characters made visible. The page
//! has no script, and its content policy forbids scripts.

use std::collections::BTreeSet;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context, escape_formatter};

use super::before_after::{before_and_after, null_lines};
use super::card::card;
use super::figure::{Figure, Kind};
use super::plots::figures;
use super::{
    Direction, Outcome, ablation, advice, answer, arm, calls, correlations, count, delta, distances, interval,
    outcomes, significant, visible,
};
use crate::advise::hindsight::hindsight;
use crate::columns::{Cell, Face, Heading, Sheet, measure_label};
use crate::compare::Comparison;
use crate::error::{Error, Result};
use crate::shown::visible_lines;
use crate::study::{Row, StudyResults};

/// The page of a study.
///
/// # Errors
/// None that input could cause.
pub fn study_page(results: &StudyResults) -> Result<String> {
    let figures = figures(results);
    let of_kind = |of: Option<&str>, wanted: fn(Kind) -> bool| -> Result<Vec<Value>> {
        let chosen = figures.iter().filter(|f| wanted(f.kind) && of.is_none_or(|of| f.of == of));
        chosen.map(figure_value).collect()
    };
    let by_arm = outcomes(results);
    let arms = by_arm
        .keys()
        .map(|of| {
            Ok(context! {
                of => visible(of),
                scatters => of_kind(Some(of), |kind| matches!(kind, Kind::Scatter(_)))?,
                forest => of_kind(Some(of), |kind| kind == Kind::Forest)?,
            })
        })
        .collect::<Result<Vec<Value>>>()?;
    let several = |of: fn(&Row) -> String| results.rows.iter().map(of).collect::<BTreeSet<_>>().len() > 1;
    let (several_arms, several_seeds) = (several(arm), several(|row| row.seed.to_string()));
    let cards = results.rows.iter().enumerate().map(|(index, row)| {
        let mut name = visible(&row.domain);
        if several_arms {
            name.push_str(&format!(" · {}", visible(&arm(row))));
        }
        if several_seeds {
            name.push_str(&format!(" · seed {}", row.seed));
        }
        context! {
            id => index,
            name,
            verdict => Outcome::of_row(results, row).direction().name(),
            delta => delta(row.delta),
            interval => interval(row.delta_ci95, delta),
            card => card(&row.top_types, (&row.classes, &row.loss_classes), &row.handful, &row.without, &row.passages,
                [row.zero_shot_ppl, row.adapted_ppl, row.delta], row.test_tokens),
        }
    });
    let (said, no_advice) = match hindsight(results) {
        Ok(said) => (said, None),
        Err(error) => (Vec::new(), Some(visible(&error.to_string()))),
    };
    let sheet = before_and_after(results, Face::Page);
    render(context! {
        page => "study",
        title => visible(&results.name),
        version => visible(&results.version),
        missing => results.missing.iter().map(|task| visible(task)).collect::<Vec<_>>(),
        answer => answer(results),
        arms,
        unplaced => of_kind(Some(""), |kind| matches!(kind, Kind::NoScatter | Kind::Forest))?,
        losses => of_kind(None, |kind| kind == Kind::Losses)?,
        calls => calls::sheet(results).as_ref().map(sheet_value),
        calls_note => calls::note(results),
        rates => of_kind(None, |kind| matches!(kind, Kind::Rates | Kind::LineBreaks))?,
        ablation => ablation::sheet(results).as_ref().map(sheet_value),
        advice => advice::sheet(&said).as_ref().map(sheet_value),
        advice_note => advice::note(&said),
        reasons => advice::reasons(&said),
        no_advice,
        warnings => warnings(results),
        several_arms,
        ranked => sheet.column("rank_change").is_some(),
        header => sheet.headings.iter().map(heading_value).collect::<Vec<_>>(),
        rows => sheet.rows.iter().map(|row| cells_value(&sheet, row)).collect::<Vec<_>>(),
        null => null_lines(results, &sheet).iter().map(|line| cells_value(&sheet, line)).collect::<Vec<_>>(),
        devices => results.rows.iter().map(device_value).collect::<Vec<_>>(),
        distance_sheets => distances::sheets(results).iter().map(sheet_value).collect::<Vec<_>>(),
        distance_note => distances::NOTE,
        correlations => correlations::sheet(results).as_ref().map(sheet_value),
        cards => cards.collect::<Vec<_>>(),
        settings => results.settings.lines().map(visible).collect::<Vec<_>>().join("\n"),
    })
}

/// How every page begins. Pages of earlier versions do, too.
const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
    <meta name=\"color-scheme\" content=\"light dark\">\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n";
/// Only the page of a study contains this.
const STUDY_NOTE: &str = "<p class=\"note\">odyssey ";

/// Whether a file is the page of a study, as [`study_page`] makes it.
pub fn is_study_page(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|page| page.trim_start().starts_with(HEAD) && page.contains(STUDY_NOTE))
}

/// Whether a file is a page as [`comparison_page`] makes it.
pub fn is_comparison_page(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|page| page.trim_start().starts_with(HEAD) && !page.contains(STUDY_NOTE))
}

/// The page of one comparison: the same content that the page of a study shows for a domain.
///
/// # Errors
/// None that input could cause.
pub fn comparison_page(comparison: &Comparison) -> Result<String> {
    let Comparison { before, after, .. } = comparison;
    render(context! {
        page => "comparison",
        title => format!("{} against {}", visible(&after.model), visible(&before.model)),
        answer => vec![format!(
            "Perplexity {} before ({}) and {} after ({}): δ = {} nats per token, 95 % interval {}, over {} tokens. \
             Verdict: {}.",
            significant(before.ppl), visible(&before.model), significant(after.ppl), visible(&after.model),
            delta(comparison.delta), interval(comparison.delta_ci95, delta), count(comparison.scored as u64),
            Direction::of(comparison.delta_ci95).name(),
        )],
        card => card(&comparison.types, (&comparison.classes, &comparison.loss_classes), &comparison.handful, &comparison.without,
            &comparison.passages, [before.ppl, after.ppl, comparison.delta], comparison.scored),
    })
}

fn render(values: Value) -> Result<String> {
    let failed = |e: minijinja::Error| Error::Io {
        path: "report.html".into(),
        action: "fill in the template",
        source: std::io::Error::other(format!("{e:#}")),
    };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    // Whatever comes to the page: markup that this program made is marked as safe.
    environment.set_formatter(|out, state, value| match value.as_str().filter(|_| !value.is_safe()) {
        Some(text) => escape_formatter(out, state, &Value::from(visible_lines(text))),
        None => escape_formatter(out, state, value),
    });
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?;
    environment.set_syntax(syntax);
    environment.add_template("report.html", include_str!("report.html")).map_err(failed)?;
    environment.get_template("report.html").and_then(|template| template.render(values)).map_err(failed)
}

fn figure_value(figure: &Figure) -> Result<Value> {
    let label = match figure.kind {
        Kind::Scatter(measure) => measure.label(),
        _ => "",
    };
    Ok(context! {
        label,
        title => &figure.title,
        caption => &figure.caption,
        // Made by the plotting library, which escapes the names it draws.
        svg => Value::from_safe_string(figure.svg()?),
    })
}

/// A table for the template.
pub(super) fn sheet_value(sheet: &Sheet) -> Value {
    context! {
        header => sheet.headings.iter().map(heading_value).collect::<Vec<_>>(),
        rows => sheet.rows.iter().map(|row| cells_value(sheet, row)).collect::<Vec<_>>(),
    }
}

fn heading_value(heading: &Heading) -> Value {
    context! { name => &heading.title, help => &heading.help, number => heading.number }
}

fn cells_value(sheet: &Sheet, cells: &[Cell]) -> Vec<Value> {
    let value = |(cell, heading): (&Cell, &Heading)| {
        context! {
            text => &cell.text, why => &cell.note, number => heading.number, is_call => heading.key == "verdict",
        }
    };
    cells.iter().zip(&sheet.headings).map(value).collect()
}

/// The warnings about correlations, each once.
fn warnings(results: &StudyResults) -> Vec<String> {
    let warned = results
        .correlations
        .iter()
        .filter_map(|c| Some(format!("{}, {}: {}", visible(&c.of), measure_label(&c.x), visible(c.warning.as_ref()?))));
    warned.collect()
}

/// Where a row was computed and how it was measured.
fn device_value(row: &Row) -> Value {
    context! {
        domain => visible(&row.domain),
        arm => visible(&arm(row)),
        seed => row.seed,
        device => visible(&row.device),
        seconds => significant(row.seconds),
        fingerprint => visible(&row.fingerprint),
    }
}
