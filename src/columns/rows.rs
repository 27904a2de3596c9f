//! The table of what is said of a domain. `results.csv` has the columns in this order; a new one stands at the end.

use super::cell::{Cell, Value};
use super::column::{A, C, Column, Face, K, N, Shown, columns};
use super::labels::without_label;
use super::outcome::{Outcome, arm};
use super::unit::Unit;
use super::written::{delta, interval, percent, size};
use crate::similarity::Measure;
use crate::similarity::measures::Shown as Place;
use crate::study::{NullDistance, Row, RowRank};

/// Sets of targets whose absence is worth a column: the line breaks, the tokens after them, the worst types.
const WITHOUT: [&str; 4] = ["newline", "after_newline", "newline_and_after", "handful"];

/// Every column of a domain. The faces in brackets are those of [`Face::ALL`]: CSV, points, terminal, page, app, strategies.
pub fn rows<'a>() -> Vec<Column<Outcome<'a>>> {
    let mut all = columns! { Outcome<'a>;
        "model" "model" Text [A N N N N N] o => o.row.model.as_str(),
            "The base model";
        "domain" "domain" Text [A A A A A N] o => o.domain,
            "The domain";
        "group" "group" Text [A A A A A N] o => o.group,
            "Its group in the study";
        "strategy" "strategy" Text [A N N N N N] o => o.row.strategy.as_str(),
            "The name of the strategy";
        "arm" "model / strategy" Text [N N V V N A] o => arm(o.row),
            "The base model and the name of the strategy";
        "seed" "seed" Exact [A N V V N A] o => seeds(o),
            "The seed of everything random";
        "device" "device" Text [A N N N N N] o => o.row.device.as_str(),
            "The device it ran on";
        "fingerprint" "fingerprint" Text [A N N N N N] o => o.row.fingerprint.as_str(),
            "Of the evaluation protocol: numbers with different ones are not comparable";
        "zero_shot_ppl" "ppl before" Plain [A A A A A N] o => o.perplexities()[0],
            "Perplexity of the base on the domain's test text";
        "adapted_ppl" "ppl after" Plain [A A A A A A] o => o.perplexities()[1],
            "Perplexity of the adapted model";
        "delta" "δ" Nats [A A A A A A] o => o.delta,
            "Change in log-perplexity, nats per token: positive is worse";
        "delta_ci95" "95 % interval" Nats [A A A A A A] o => (o.ci95, "not finite numbers"),
            "Of δ, documents resampled; sorted by its lower end";
        "verdict" "call" Text [N A A A A A] o => o.direction().name(),
            "The call of the study: a test, corrected over domains; without one the side of 0 of the interval";
        "p" "p" P [N A N N A N] o => o.change.and_then(|change| change.p),
            "Of a paired sign-flip test";
        "q" "q" P [N A N N A N] o => o.change.and_then(|change| change.q),
            "p corrected over the domains, after Benjamini and Hochberg";
    };
    all.extend(WITHOUT.map(without));
    all.extend(columns! { Outcome<'a>;
        "samples" "samples" Count [A N N N N N] o => o.row.similarity.samples,
            "Feature vectors of the domain that are compared";
    });
    all.extend(Measure::shown().map(value));
    all.extend(Measure::tested().flat_map(|measure| [p(measure), q(measure)]));
    all.extend(Measure::shown().map(ends));
    all.extend(Measure::ALL.into_iter().filter(|measure| !measure.about().effect.is_empty()).map(effect));
    all.extend(columns! { Outcome<'a>;
        "test_newline_rate" "⏎ rate" Share [A A A A A N] o => mean(o, |row| Some(row.newline_rate)),
            "Share of test tokens that contain a line break";
        "test_13grams_in_train" "in train" Share [A N A A K N] o => in_train(o),
            "Share of the test text's sequences of 13 tokens that are in the training text too";
        "near_duplicate_documents" "near-duplicates" Share [A N N N N N] o => mean(o, |row| row.overlap.as_ref()?.near_duplicate_documents),
            "Share of test documents that are near-duplicates of training text";
        "forgetting" "forgetting" Nats [A A K K A A] o => forgetting(o),
            "Change on held-out text of the reference corpus, nats per token: positive is forgotten";
        "forgetting_ci95" "95 % interval" Nats [A N N N N N] o => o.row.evidence.forgetting.ci95,
            "Of the forgetting";
        "base_loss_document_sd" "sd of base loss" Plain [A N N N N N] o => o.row.evidence.base_loss.as_ref().and_then(|loss| loss.document_sd),
            "Standard deviation of the base's loss between test documents";
        "available_tokens" "available tokens" Count [A N N N N N] o => o.row.evidence.available_tokens,
            "Tokens of the domain's training text";
        "train_tokens" "tokens trained" Count [A N N A N N] o => o.row.train_tokens,
            "Tokens the adaptation trained on";
        "test_tokens" "tokens tested" Count [A A N A A N] o => o.row.test_tokens,
            "Test tokens scored";
        "handful_types" "handful" Count [A N N N N N] o => o.row.handful.types,
            "The fewest token types that carry nine tenths of the worsening";
        "handful_share_of_worsening" "share of worsening" Share [A N N N N N] o => o.row.handful.share_of_worsening,
            "What the handful carries";
        "held_out_share_of_top_10" "worst ten held out" Share [A N N N N N] o => o.row.handful.held_out_share_of_top_10,
            "What the ten worst types of one half of the documents carry in the other half";
        "held_out_share_of_random_10" "random ten held out" Share [A N N N N N] o => o.row.handful.held_out_share_of_random_10,
            "What ten random types carry in that half";
        "seconds" "seconds" Plain [A N N N N N] o => o.row.seconds,
            "Seconds of training";
        "restart_delta" "δ of the restart" Nats [A N N N N N] o => o.change.and_then(|change| change.restart_delta),
            "δ of the restart control";
        "beyond_restart" "beyond restart" Nats [A A K K A N] o => beyond_restart(o),
            "δ minus that of the restart control";
        "rank_before" "rank before" Plain [P N P P N N] o => rank(o, |rank| rank.rank_before),
            "Trimmed mean of the base's ranks of the word that follows where a term of the domain should; 1 is best";
        "rank_after" "rank after" Plain [P N P P N N] o => rank(o, |rank| rank.rank_after),
            "The same of the adapted model";
        "rank_change" "Δ ln rank" Nats [P N P P P N] o => rank_change(o),
            "Change in the mean logarithm of the rank, nats: positive is worse";
        "rank_change_ci95" "95 % interval" Nats [P N P N N N] o => of_rank(o, |rank| rank.rank_change_ci95.into()),
            "Of Δ ln rank; terms resampled";
        "rank_prompts" "prompts" Count [P N N N N N] o => of_rank(o, |rank| rank.rank_prompts.into()),
            "Prompts whose ranks are compared";
        "perplexity_change" "ppl change" Share [A A N A A A] o => o.delta.exp_m1(),
            "Relative change of perplexity, exp(δ) − 1: positive is worse";
    });
    all
}

/// The reference corpus against itself, as a line below the rows of a table: its distances stand in their columns.
pub fn null_line(columns: &[Column<Outcome<'_>>], keys: &[&str], null: &NullDistance) -> Vec<Cell> {
    let cell = |key: &&str| match *key {
        "domain" => Cell::words(&format!("{} against itself", null.reference)),
        "arm" => Cell::words(&null.model),
        key => {
            let measure = if key == "test_newline_rate" { Some(Measure::NewlineRate) } else { Measure::of_key(key) };
            let column = columns.iter().find(|column| column.key == key);
            match measure.zip(column) {
                Some((measure, column)) => Cell::of(Value::from(&null.distances[measure]), column.unit),
                None => Cell::default(),
            }
        }
    };
    keys.iter().map(cell).collect()
}

fn mean(outcome: &Outcome<'_>, of: fn(&Row) -> Option<f64>) -> Option<f64> {
    outcome.mean(of)
}

/// A column of δ without some targets.
fn without<'a>(name: &'static str) -> Column<Outcome<'a>> {
    let (label, is_main) = (without_label(name), name == "newline");
    Column {
        key: format!("delta_without_{name}"),
        title: format!("δ without {}", if is_main { "⏎" } else { &label }),
        help: format!("δ over the other targets, without {label}; the model still reads them"),
        unit: Unit::Nats,
        measure: None,
        shown: if is_main { [A, N, A, A, K, N] } else { [A, N, N, N, N, N] },
        get: Box::new(move |o| {
            let left = o.mean(|row| row.without.get(name)?.delta);
            Value::or(left, format!("perplexity without {label} was not computed"))
        }),
    }
}

fn of_measure<'a>(
    measure: Measure,
    key: String,
    title: &str,
    unit: Unit,
    shown: [Shown; Face::ALL.len()],
    get: impl Fn(&Outcome<'a>) -> Value + 'static,
) -> Column<Outcome<'a>> {
    let help = format!("{title}: {}", measure.label());
    Column { key, title: title.to_owned(), help, unit, measure: Some(measure), shown, get: Box::new(get) }
}

fn value<'a>(measure: Measure) -> Column<Outcome<'a>> {
    let about = measure.about();
    let on = |place| if about.shown <= place { A } else { N };
    let shown = [A, C, on(Place::Terminal), on(Place::Page), C, N];
    let mut column = of_measure(measure, about.key.to_owned(), about.label, Unit::Plain, shown, move |o| {
        let value = o.mean(|row| row.similarity.get(measure));
        Value::or(value, o.row.similarity.why_missing(measure))
    });
    column.help =
        "Distance to the reference corpus; no larger than that of the corpus against itself is no distance".into();
    column
}

fn p<'a>(measure: Measure) -> Column<Outcome<'a>> {
    let key = format!("{}_p", measure.key());
    of_measure(measure, key, "p", Unit::P, [A, N, N, N, N, N], move |o| o.row.similarity[measure].p.into())
}

fn q<'a>(measure: Measure) -> Column<Outcome<'a>> {
    let key = format!("{}_q", measure.key());
    of_measure(measure, key, "q", Unit::P, [A, N, N, N, N, N], move |o| o.row.similarity[measure].q.into())
}

fn ends<'a>(measure: Measure) -> Column<Outcome<'a>> {
    let key = format!("{}_ci95", measure.key());
    let shown = [A, C, N, N, N, N];
    of_measure(measure, key, "95 % interval", Unit::Plain, shown, move |o| o.row.similarity[measure].ci95.into())
}

fn effect<'a>(measure: Measure) -> Column<Outcome<'a>> {
    let about = measure.about();
    let shown = [A, N, N, N, N, N];
    of_measure(measure, format!("effect_{}", about.key), about.effect, Unit::Plain, shown, move |o| {
        o.row.similarity.effects.get(&measure).copied().into()
    })
}

/// The seed; of several seeds that they are all, and how much δ varies between them.
fn seeds(outcome: &Outcome<'_>) -> Value {
    if let [row] = outcome.rows[..] {
        return Value::Count(row.seed);
    }
    let sd = outcome.change.and_then(|change| change.seed_sd);
    sd.map_or_else(|| "all".to_owned(), |sd| format!("all, sd {}", size(sd))).into()
}

/// How much of the test text is in the training text, and the near-duplicate documents as a note.
fn in_train(outcome: &Outcome<'_>) -> Value {
    let shared = outcome.mean(|row| row.overlap.as_ref()?.test_13grams_in_train);
    let Some(overlap) = &outcome.row.overlap else { return Value::or(shared, "was not measured") };
    match overlap.near_duplicate_documents.filter(|share| *share > 0.0) {
        Some(share) => Value::noted(
            shared,
            format!("{} of the test documents are near-duplicates of training text", percent(share)),
        ),
        None => Value::or(shared, overlap.reason.as_deref().unwrap_or("was not measured")),
    }
}

fn forgetting(outcome: &Outcome<'_>) -> Value {
    let why = outcome.row.evidence.forgetting.why_missing().unwrap_or("was not measured");
    Value::or(outcome.mean(|row| row.evidence.forgetting.value), why)
}

fn beyond_restart(outcome: &Outcome<'_>) -> Value {
    let restart = outcome.change.and_then(|change| change.restart_delta);
    Value::or(restart.map(|restart| outcome.delta - restart), "the study has no restart control for it")
}

/// A value of the ranks; nothing where the study does not measure them.
fn of_rank(outcome: &Outcome<'_>, of: impl FnOnce(&RowRank) -> Value) -> Value {
    match &outcome.row.rank {
        Some(rank) => Value::or(of(rank), rank.rank_reason.as_deref().unwrap_or("was not measured")),
        None => Value::Blank,
    }
}

fn rank(outcome: &Outcome<'_>, of: fn(&RowRank) -> Option<f64>) -> Value {
    of_rank(outcome, |_| outcome.mean(|row| of(row.rank.as_ref()?)).into())
}

/// The change in rank, its interval as a note.
fn rank_change(outcome: &Outcome<'_>) -> Value {
    of_rank(outcome, |rank| {
        let change = outcome.mean(|row| row.rank.as_ref()?.rank_change);
        match rank.rank_change_ci95.filter(|_| change.is_some()) {
            Some(ends) => {
                Value::noted(change, format!("95 % interval {}, {} prompts", interval(ends, delta), rank.rank_prompts))
            }
            None => change.into(),
        }
    })
}
