//! The answer of a study in words.

use std::collections::BTreeSet;

use super::{Direction, Outcome, arm, calls, coefficient, delta, outcomes, p_phrase, visible};
use crate::columns::{measure_label, scope_label};
use crate::similarity::Measure;
use crate::study::{Correlation, StudyResults};

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
    let number = |direction| outcomes.iter().filter(|outcome| Direction::of(outcome.ci95) == direction).count();
    let changes: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.change).collect();
    let called = (changes.len() == outcomes.len()).then(|| calls::tally(of, &changes)).flatten();
    let mut text = called.unwrap_or_else(|| format!(
        "{}: by the 95 % interval of δ, additional pretraining made perplexity on the domain's own test text better \
         for {} of {} {}, worse for {}, and left {} undecided.",
        visible(of),
        number(Direction::Better),
        outcomes.len(),
        if outcomes.len() == 1 { "domain" } else { "domains" },
        number(Direction::Worse),
        number(Direction::Undecided),
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
    let measured: Vec<(Direction, Direction)> = outcomes
        .iter()
        .filter_map(|outcome| Some((Direction::of(outcome.ci95), Direction::of(ends(outcome)?))))
        .collect();
    if measured.is_empty() {
        return None;
    }
    let number = |direction| measured.iter().filter(|(_, rank)| *rank == direction).count();
    Some(format!(
        "{}: by the 95 % interval of the change in mean ln rank, the words that follow where a term of the domain should \
         are ranked better for {} of {} {}, worse for {}, and undecided for {}. Perplexity and rank agree \
         for {}.",
        visible(of),
        number(Direction::Better),
        measured.len(),
        if measured.len() == 1 { "domain" } else { "domains" },
        number(Direction::Worse),
        number(Direction::Undecided),
        measured.iter().filter(|(perplexity, rank)| perplexity == rank).count(),
    ))
}

/// The distance with the strongest pooled correlation with δ, with warnings.
fn strongest(results: &StudyResults, of: &str) -> Option<String> {
    let pooled: Vec<(&Correlation, f64)> = results
        .correlations
        .iter()
        .filter(|c| c.of == of && c.scope == "pooled")
        .filter_map(|c| Some((c, c.pearson.value.filter(|r| r.is_finite())?)))
        .collect();
    // The rate of line breaks is a rival explanation, not a distance.
    let (rival, distances): (Vec<_>, Vec<_>) =
        pooled.into_iter().partition(|(c, _)| Measure::of_key(&c.x).is_some_and(Measure::is_rival));
    let (best, r) = distances.iter().copied().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
    let similarity = Measure::of_key(&best.x).is_some_and(Measure::is_similarity);
    let direction = match (best.pearson.p.is_some_and(|p| p < 0.05), (r > 0.0) == similarity) {
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
        .map(|c| match c.pearson.value {
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
    let p = c.pearson.p.map(|p| format!(", {}", p_phrase(p))).unwrap_or_default();
    format!("r = {} (n = {}{p})", coefficient(r), c.n)
}
