//! The details of one adaptation on the page, token by token: types, classes, perplexity without them, passages.

use std::collections::BTreeMap;

use minijinja::{Value, context};

use super::{class_label, count, delta, handful_sentence, interval, percent, significant, visible, visible_token};
use crate::columns::{Cell, without_label};
use crate::compare::{ClassChange, Handful, LossClassChange, Passage, PassageToken, TypeChange, Without};

/// Token types shown of those that got worse, and of those that got better.
const WORST_TYPES: usize = 15;
const BEST_TYPES: usize = 10;
/// Changes in nats from which a token's shade is one step stronger; each about three times the one before.
const SHADES: [f64; 4] = [0.1, 0.3, 1.0, 3.0];

/// The details of one adaptation, token by token. `whole` is the perplexity before, after, and δ.
pub(super) fn card(
    types: &[TypeChange],
    (classes, loss_classes): (&[ClassChange], &[LossClassChange]),
    handful: &Handful,
    without: &BTreeMap<String, Without>,
    passages: &[Passage],
    whole: [f64; 3],
    scored: usize,
) -> Value {
    let worst = types.iter().filter(|t| t.contribution > 0.0).take(WORST_TYPES);
    let best = types.iter().rev().filter(|t| t.contribution < 0.0).take(BEST_TYPES);
    let nothing = "no target remains";
    let mut left_out = vec![without_value("nothing", scored, whole.map(Some), nothing)];
    left_out.extend(
        without
            .iter()
            .map(|(name, w)| without_value(&without_label(name), w.scored, [w.before, w.after, w.delta], nothing)),
    );
    context! {
        worst => worst.map(type_value).collect::<Vec<_>>(),
        best => best.map(type_value).collect::<Vec<_>>(),
        classes => classes.iter().map(|c| class_value(c, &class_label(c.class.name()))).collect::<Vec<_>>(),
        loss_classes => loss_classes.iter().map(|c| class_value(c, c.class.label())).collect::<Vec<_>>(),
        handful => handful_sentence(handful),
        without => left_out,
        passages => passages.iter().map(passage_value).collect::<Vec<_>>(),
        shades => SHADES.map(|least| least.to_string()).to_vec(),
    }
}

fn type_value(t: &TypeChange) -> Value {
    context! {
        token => visible_token(&t.token),
        id => t.id,
        class => class_label(t.class.name()),
        count => count(t.count as u64),
        before => cell(Some(t.before), significant, "not a finite number"),
        after => cell(Some(t.after), significant, "not a finite number"),
        contribution => cell(Some(t.contribution), delta, "not a finite number"),
        interval => interval(t.contribution_ci95, delta),
    }
}

fn class_value<C>(c: &ClassChange<C>, label: &str) -> Value {
    context! {
        class => label,
        count => count(c.count as u64),
        share => percent(c.share),
        before => cell(Some(c.before), significant, "no token of this class"),
        after => cell(Some(c.after), significant, "no token of this class"),
        contribution => cell(Some(c.contribution), delta, "not a finite number"),
    }
}

fn without_value(name: &str, scored: usize, [before, after, change]: [Option<f64>; 3], why: &str) -> Value {
    context! {
        name,
        scored => count(scored as u64),
        before => cell(before, significant, why),
        after => cell(after, significant, why),
        delta => cell(change, delta, why),
    }
}

fn passage_value(passage: &Passage) -> Value {
    context! {
        document => passage.document,
        byte => passage.byte,
        delta => delta(passage.delta),
        tokens => passage.tokens.iter().map(token_value).collect::<Vec<_>>(),
    }
}

fn token_value(token: &PassageToken) -> Value {
    // A line break is shown as a symbol, followed by a real line break.
    let text = visible(&token.text).replace('⏎', "⏎\n");
    let (shade, title) = match (token.before, token.after) {
        (Some(before), Some(after)) => {
            let (before, after) = (f64::from(before), f64::from(after));
            let change = after - before;
            let strength = SHADES.iter().filter(|&&least| change.abs() >= least).count();
            let side = if change > 0.0 { "w" } else { "b" };
            let numbers = format!("{} → {} nats: {}", significant(before), significant(after), delta(change));
            (if strength > 0 { format!("{side}{strength}") } else { String::new() }, numbers)
        }
        _ => ("u".to_owned(), "not scored".to_owned()),
    };
    context! { text, shade, title }
}

/// A number for the page; a missing one is a dash with the reason.
fn cell(value: Option<f64>, write: fn(f64) -> String, why: &str) -> Value {
    let Cell { text, note, .. } = Cell::number(value, write, why);
    context! { text, why => note }
}
