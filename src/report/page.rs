//! `report.html`: one self-contained page that opens offline, and the page of a single comparison.
//!
//! The template escapes everything; corpora and names are shown literally, invisible characters made visible. The page
//! has no script, and its content policy forbids scripts.

use std::collections::BTreeSet;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use super::card::card;
use super::plots::{Figure, Kind, figures};
use super::sheet::Sheet;
use super::{
    MISSING, Outcome, Verdict, ablation, advice, arm, calls, change_of, coefficient, count, delta, distances, interval,
    outcomes, p_phrase, p_value, percent, significant, verdict_of, visible,
};
use crate::advise::hindsight::hindsight;
use crate::compare::Comparison;
use crate::error::{Error, Result};
use crate::similarity::Distances;
use crate::study::{Correlation, Row, StudyResults};

/// The distances that the table of results has columns for; the others are in the figures and in `results.csv`.
const MAIN_DISTANCES: [&str; 4] = ["mmd2", "frechet", "unigram_js", "vocabulary_overlap"];

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
            verdict => verdict_of(change_of(results, row), row).name(),
            delta => delta(row.delta),
            interval => interval(row.delta_ci95, delta),
            card => card(&row.top_types, &row.classes, &row.handful, &row.without, &row.passages,
                [row.zero_shot_ppl, row.adapted_ppl, row.delta], row.test_tokens),
        }
    });
    let (said, no_advice) = match hindsight(results) {
        Ok(said) => (said, None),
        Err(error) => (Vec::new(), Some(visible(&error.to_string()))),
    };
    render(context! {
        page => "study",
        title => visible(&results.name),
        version => visible(&results.version),
        missing => results.missing.iter().map(|task| visible(task)).collect::<Vec<_>>(),
        answer => answer(results),
        arms,
        unplaced => of_kind(Some(""), |kind| matches!(kind, Kind::NoScatter | Kind::Forest))?,
        losses => of_kind(None, |kind| kind == Kind::Losses)?,
        calls => calls::sheet(results).map(|sheet| sheet.value()),
        calls_note => calls::note(results),
        rates => of_kind(None, |kind| matches!(kind, Kind::Rates | Kind::LineBreaks))?,
        ablation => ablation::sheet(results).map(|sheet| sheet.value()),
        advice => advice::sheet(&said).map(|sheet| sheet.value()),
        advice_note => advice::note(&said),
        reasons => advice::reasons(&said),
        no_advice,
        warnings => warnings(results),
        several_arms,
        several_seeds,
        ranked => results.rows.iter().any(|row| row.rank.is_some()),
        distances => MAIN_DISTANCES.map(measure_label).to_vec(),
        rows => results.rows.iter().enumerate().map(|(index, row)| row_value(results, index, row)).collect::<Vec<_>>(),
        null => null_rows(results),
        distance_sheets => distances::sheets(results).iter().map(Sheet::value).collect::<Vec<_>>(),
        distance_note => distances::NOTE,
        correlations => results.correlations.iter().map(correlation_value).collect::<Vec<_>>(),
        several_correlated => results.correlations.iter().map(|c| &c.of).collect::<BTreeSet<_>>().len() > 1,
        cards => cards.collect::<Vec<_>>(),
        settings => results.settings.lines().map(visible).collect::<Vec<_>>().join("\n"),
    })
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
            Verdict::of(comparison.delta_ci95).name(),
        )],
        card => card(&comparison.types, &comparison.classes, &comparison.handful, &comparison.without,
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
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?;
    environment.set_syntax(syntax);
    environment.add_template("report.html", include_str!("report.html")).map_err(failed)?;
    environment.get_template("report.html").and_then(|template| template.render(values)).map_err(failed)
}

/// The answer in words, drawn from the numbers: how many domains got better or worse, and which distance correlates
/// with it.
pub fn answer(results: &StudyResults) -> Vec<String> {
    let by_arm = outcomes(results);
    if by_arm.is_empty() {
        return vec!["No adaptation is finished yet, so there is nothing to conclude.".to_owned()];
    }
    let sentences = by_arm.iter().flat_map(|(of, outcomes)| {
        let changes: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.change).collect();
        [Some(tally(of, outcomes)), calls::restart_sentence(&changes), rank_tally(of, outcomes), strongest(results, of)]
    });
    sentences.flatten().collect()
}

fn tally(of: &str, outcomes: &[Outcome]) -> String {
    let number = |verdict| outcomes.iter().filter(|outcome| Verdict::of(outcome.ci95) == verdict).count();
    let changes: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.change).collect();
    let called = (changes.len() == outcomes.len()).then(|| calls::tally(of, &changes)).flatten();
    let mut text = called.unwrap_or_else(|| format!(
        "{}: by the 95 % interval of δ, additional pretraining made perplexity on the domain's own test text better \
         for {} of {} {}, worse for {}, and left {} undecided.",
        visible(of),
        number(Verdict::Better),
        outcomes.len(),
        if outcomes.len() == 1 { "domain" } else { "domains" },
        number(Verdict::Worse),
        number(Verdict::Undecided),
    ));
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_by(|a, b| a.delta.total_cmp(&b.delta));
    if let [best, .., worst] = sorted[..] {
        text.push_str(&format!(
            " δ runs from {} ({}) to {} ({}) nats per token; positive is worse.",
            delta(best.delta),
            visible(best.domain),
            delta(worst.delta),
            visible(worst.domain),
        ));
    }
    text
}

/// The change of prediction rank, and whether it agrees with perplexity; `None` if it was not measured.
fn rank_tally(of: &str, outcomes: &[Outcome]) -> Option<String> {
    // Domains with an interval on every seed, and the mean of its ends.
    let ends = |outcome: &Outcome| {
        let ends: Vec<[f64; 2]> =
            outcome.rows.iter().map(|row| row.rank.as_ref()?.rank_change_ci95).collect::<Option<_>>()?;
        let mean = |end: usize| ends.iter().map(|ends| ends[end]).sum::<f64>() / ends.len() as f64;
        Some([mean(0), mean(1)])
    };
    let measured: Vec<(Verdict, Verdict)> =
        outcomes.iter().filter_map(|outcome| Some((Verdict::of(outcome.ci95), Verdict::of(ends(outcome)?)))).collect();
    if measured.is_empty() {
        return None;
    }
    let number = |verdict| measured.iter().filter(|(_, rank)| *rank == verdict).count();
    Some(format!(
        "{}: by the 95 % interval of the change in mean ln rank, the words that follow where a term of the domain should \
         are ranked better for {} of {} {}, worse for {}, and undecided for {}. Perplexity and rank give the same verdict \
         for {}.",
        visible(of),
        number(Verdict::Better),
        measured.len(),
        if measured.len() == 1 { "domain" } else { "domains" },
        number(Verdict::Worse),
        number(Verdict::Undecided),
        measured.iter().filter(|(perplexity, rank)| perplexity == rank).count(),
    ))
}

/// The distance with the strongest pooled correlation with δ, with warnings.
fn strongest(results: &StudyResults, of: &str) -> Option<String> {
    let pooled: Vec<(&Correlation, f64)> = results
        .correlations
        .iter()
        .filter(|c| c.of == of && c.scope == "pooled")
        .filter_map(|c| Some((c, c.pearson.filter(|r| r.is_finite())?)))
        .collect();
    // The rate of line breaks is a rival explanation, not a distance.
    let (rival, distances): (Vec<_>, Vec<_>) = pooled.into_iter().partition(|(c, _)| c.x == "newline_rate");
    let (best, r) = distances.iter().copied().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
    let similarity = Distances::MEASURES.iter().any(|measure| measure.key == best.x && measure.similarity);
    let direction = match (best.pearson_p.is_some_and(|p| p < 0.05), (r > 0.0) == similarity) {
        (false, _) => "Chance alone may give as much.",
        (true, true) => "Domains closer to the reference corpus gained less, or lost more.",
        (true, false) => "Domains farther from the reference corpus gained less, or lost more.",
    };
    let mut text = format!(
        "Of the distances, {} has the strongest correlation with δ: Pearson {}. {direction}",
        measure_label(&best.x),
        r_phrase(best, r)
    );
    if distances.len() > 1 {
        text.push_str(&format!(
            " It is the strongest of {}, and its p-value does not account for this choice.",
            distances.len()
        ));
    }
    let within: Vec<String> = results
        .correlations
        .iter()
        .filter(|c| c.of == of && c.x == best.x && c.scope != "pooled")
        .map(|c| match c.pearson {
            Some(r) => format!("{} {}", scope_label(&c.scope), r_phrase(c, r)),
            None => format!("{} no r (n = {})", scope_label(&c.scope), c.n),
        })
        .collect();
    if let Some(warning) = &best.warning {
        text.push_str(&format!(" Caution: it is {}.", visible(warning)));
    }
    let groups: BTreeSet<&str> =
        results.rows.iter().filter(|row| arm(row) == of).map(|row| row.group.as_str()).collect();
    if groups.len() > 1 {
        text.push_str(&format!(
            " Caution: the domains come from {} groups, and a pooled r over clusters is mostly the contrast between \
             them.",
            groups.len()
        ));
        if !within.is_empty() {
            text.push_str(&format!(" Judged apart: {}.", within.join("; ")));
        }
    }
    if let Some((c, r)) = rival.first() {
        text.push_str(&format!(" The rate of line breaks, a rival explanation, has {}.", r_phrase(c, *r)));
    }
    Some(text)
}

/// `r = −0.62 (n = 25, p = 0.003)`.
fn r_phrase(c: &Correlation, r: f64) -> String {
    let p = c.pearson_p.map(|p| format!(", {}", p_phrase(p))).unwrap_or_default();
    format!("r = {} (n = {}{p})", coefficient(r), c.n)
}

/// The label of a measure on axes and in tables.
pub(super) fn measure_label(key: &str) -> String {
    let known = Distances::MEASURES.iter().find(|measure| measure.key == key);
    known.map_or_else(|| visible(key), |measure| measure.label.to_owned())
}

/// Over which domains a correlation is taken.
pub(super) fn scope_label(scope: &str) -> String {
    match scope.strip_prefix("within:") {
        Some(group) => format!("within {}", visible(group)),
        None => visible(scope),
    }
}

fn figure_value(figure: &Figure) -> Result<Value> {
    let label = match figure.kind {
        Kind::Scatter(measure) => measure.label,
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

/// A number for the page; a missing one is a dash that says why.
pub(super) fn cell(value: Option<f64>, write: fn(f64) -> String, why: &str) -> Value {
    match value.filter(|v| v.is_finite()) {
        Some(value) => context! { text => write(value), why => "" },
        None => context! { text => MISSING, why => visible(why) },
    }
}

fn distance_cells(distances: &Distances) -> Vec<Value> {
    let why = |key: &str| distances.reasons.get(key).map_or("was not computed", String::as_str);
    MAIN_DISTANCES.iter().map(|key| cell(distances.get(key), significant, why(key))).collect()
}

fn row_value(results: &StudyResults, index: usize, row: &Row) -> Value {
    let without_newline = row.without.get("newline").and_then(|without| without.delta);
    context! {
        id => index,
        domain => visible(&row.domain),
        group => visible(&row.group),
        arm => visible(&arm(row)),
        seed => row.seed,
        before => cell(Some(row.zero_shot_ppl), significant, "not a finite number"),
        after => cell(Some(row.adapted_ppl), significant, "not a finite number"),
        delta => cell(Some(row.delta), delta, "not a finite number"),
        interval => interval(row.delta_ci95, delta),
        verdict => verdict_of(change_of(results, row), row).name(),
        without_newline => cell(without_newline, delta, "perplexity without line breaks was not computed"),
        distances => distance_cells(&row.similarity),
        newline_rate => cell(Some(row.newline_rate), percent, "not a finite number"),
        in_train => in_train(row),
        train_tokens => count(row.train_tokens),
        test_tokens => count(row.test_tokens as u64),
        rank => rank_cells(row),
        device => visible(&row.device),
        fingerprint => visible(&row.fingerprint),
        seconds => cell(Some(row.seconds), significant, "not a finite number"),
    }
}

/// Prediction rank before and after, and the change with its interval on hovering.
fn rank_cells(row: &Row) -> Vec<Value> {
    let Some(rank) = &row.rank else { return vec![cell(None, significant, "was not measured"); 3] };
    let why = rank.rank_reason.as_deref().unwrap_or("was not measured");
    let change = match (rank.rank_change, rank.rank_change_ci95) {
        (Some(change), Some(ends)) => context! {
            text => delta(change),
            why => format!("95 % interval {}, {} prompts", interval(ends, delta), rank.rank_prompts),
        },
        (change, _) => cell(change, delta, why),
    };
    vec![cell(rank.rank_before, significant, why), cell(rank.rank_after, significant, why), change]
}

/// How much of the test text stands in the training text, near-duplicate documents on hovering.
fn in_train(row: &Row) -> Value {
    let Some(overlap) = &row.overlap else { return cell(None, percent, "was not measured") };
    match overlap.near_duplicate_documents.filter(|share| *share > 0.0) {
        Some(share) => context! {
            text => overlap.test_13grams_in_train.map_or_else(|| MISSING.to_owned(), percent),
            why => format!("{} of the test documents are near-duplicates of training text", percent(share)),
        },
        None => cell(overlap.test_13grams_in_train, percent, overlap.reason.as_deref().unwrap_or("was not measured")),
    }
}

fn null_rows(results: &StudyResults) -> Vec<Value> {
    let row = |null: &crate::study::NullDistance| {
        context! {
            name => format!("{} against itself", visible(&null.reference)),
            model => visible(&null.model),
            distances => distance_cells(&null.distances),
            newline_rate => cell(null.distances.newline_rate, percent, "was not computed"),
        }
    };
    results.null.iter().map(row).collect()
}

/// The warnings about correlations, each once.
fn warnings(results: &StudyResults) -> Vec<String> {
    let warned = results
        .correlations
        .iter()
        .filter_map(|c| Some(format!("{}, {}: {}", visible(&c.of), measure_label(&c.x), visible(c.warning.as_ref()?))));
    warned.collect()
}

fn correlation_value(c: &Correlation) -> Value {
    let partial = c.partial.as_ref();
    let no_partial = partial.and_then(|partial| partial.reason.as_deref()).unwrap_or("was not computed");
    let without = match &c.influence {
        Some(influence) => context! {
            text => coefficient(influence.pearson),
            why => format!("r without {}, which counts most", visible(&influence.domain)),
        },
        None => cell(None, coefficient, "fewer than four domains"),
    };
    let why = c.reason.as_deref().unwrap_or("was not computed");
    let ci = match c.ci95 {
        Some(ci) => context! { text => interval(ci, coefficient), why => "" },
        None => context! { text => MISSING, why => visible(why) },
    };
    context! {
        x => measure_label(&c.x),
        scope => scope_label(&c.scope),
        pooled => c.scope == "pooled",
        of => visible(&c.of),
        n => c.n,
        numbers => vec![
            cell(c.pearson, coefficient, why), ci, cell(c.pearson_p, p_value, why),
            cell(c.spearman, coefficient, why), cell(c.spearman_p, p_value, why),
            cell(c.kendall, coefficient, why), cell(c.kendall_p, p_value, why),
            cell(c.within_groups, coefficient, "one group, or nothing varies inside groups"),
            cell(c.permutation_p, p_value, why),
            cell(partial.and_then(|partial| partial.pearson), coefficient, no_partial),
            cell(partial.and_then(|partial| partial.pearson_p), p_value, no_partial),
            without,
        ],
    }
}
