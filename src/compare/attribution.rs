//! Which token types and classes carry the change, the handful, and the change without them.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::change::{ClassChange, Handful, LossClass, LossClassChange, TypeChange, Without};
use super::pair::Pair;
use crate::error::Result;
use crate::evaluate::beyond_f64;
use crate::stats::{BOOTSTRAP_SEED, Ratio};
use crate::text::{TokenClass, Vocabulary};

/// The share of the worsening that a handful must carry.
const HANDFUL_SHARE: f64 = 0.9;
/// How many types are ranked on one half of the clusters and measured on the other.
const HELD_OUT_TYPES: usize = 10;
/// Draws of random types to compare the held-out share with.
const RANDOM_DRAWS: usize = 200;

/// Every token type's part of the change, the largest contribution first, ties by id. They sum to δ.
pub fn types(pairs: &[Pair], vocabulary: &Vocabulary, ratio: &Ratio<'_>) -> Result<Vec<TypeChange>> {
    let mut by_type: BTreeMap<u32, Vec<&Pair>> = BTreeMap::new();
    for pair in pairs {
        by_type.entry(pair.id).or_default().push(pair);
    }
    let by_type: Vec<(u32, Vec<&Pair>)> = by_type.into_iter().collect();
    let total = pairs.len() as f64;
    let mut types = by_type
        .par_iter()
        .map(|(id, pairs)| {
            let count = pairs.len() as f64;
            let before = pairs.iter().map(|p| p.before).sum::<f64>() / count;
            let after = pairs.iter().map(|p| p.after).sum::<f64>() / count;
            // Positions ascend, so the pairs of a cluster are adjacent.
            let sums = pairs
                .chunk_by(|a, b| a.cluster == b.cluster)
                .map(|chunk| (chunk[0].cluster, chunk.iter().map(|p| p.change()).sum::<f64>()));
            Ok(TypeChange {
                id: *id,
                token: vocabulary.text(*id).into_owned(),
                class: vocabulary.class(*id),
                count: pairs.len(),
                share: count / total,
                before,
                after,
                contribution: pairs.iter().map(|p| p.change()).sum::<f64>() / total,
                contribution_ci95: ratio.interval(sums)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    types.sort_by(|a, b| b.contribution.total_cmp(&a.contribution).then(a.id.cmp(&b.id)));
    Ok(types)
}

/// Every class's part of the change, in the order of [`TokenClass::ALL`]. They sum to δ.
pub fn classes(pairs: &[Pair], vocabulary: &Vocabulary) -> Vec<ClassChange> {
    parts(pairs, TokenClass::ALL, |pair| vocabulary.class(pair.id))
}

/// The part of the tokens that were unlikely or likely before and after, in the order of [`LossClass::ALL`]. They sum to δ.
pub fn loss_classes(pairs: &[Pair]) -> Vec<LossClassChange> {
    let border = pairs.iter().map(|p| p.before).sum::<f64>() / pairs.len() as f64;
    parts(pairs, LossClass::ALL, |pair| match (pair.before > border, pair.after > border) {
        (true, true) => LossClass::HighHigh,
        (true, false) => LossClass::HighLow,
        (false, true) => LossClass::LowHigh,
        (false, false) => LossClass::LowLow,
    })
}

/// The part of each class of `all` in the change; classes without a token are left out.
fn parts<C: Copy + PartialEq>(
    pairs: &[Pair],
    all: impl IntoIterator<Item = C>,
    class_of: impl Fn(&Pair) -> C,
) -> Vec<ClassChange<C>> {
    let total = pairs.len() as f64;
    all.into_iter()
        .filter_map(|class| {
            let of_class: Vec<&Pair> = pairs.iter().filter(|p| class_of(p) == class).collect();
            let count = of_class.len() as f64;
            (!of_class.is_empty()).then(|| ClassChange {
                class,
                count: of_class.len(),
                share: count / total,
                before: of_class.iter().map(|p| p.before).sum::<f64>() / count,
                after: of_class.iter().map(|p| p.after).sum::<f64>() / count,
                contribution: of_class.iter().map(|p| p.change()).sum::<f64>() / total,
            })
        })
        .collect()
}

/// How few types carry the worsening; `types` are sorted, the largest contribution first.
pub fn handful(pairs: &[Pair], types: &[TypeChange], clusters: usize) -> Handful {
    let worse: Vec<f64> = types.iter().map(|t| t.contribution).take_while(|&c| c > 0.0).collect();
    let worsening: f64 = worse.iter().sum();
    let mut carried = 0.0;
    let mut needed = 0;
    for contribution in &worse {
        if carried >= HANDFUL_SHARE * worsening {
            break;
        }
        carried += contribution;
        needed += 1;
    }
    let (held_out, reason) = match held_out(pairs, clusters) {
        Ok(shares) => (Some(shares), None),
        Err(reason) => (None, Some(reason.to_owned())),
    };
    Handful {
        types: needed,
        share_of_worsening: if worsening > 0.0 { carried / worsening } else { 0.0 },
        held_out_share_of_top_10: held_out.map(|(top, _)| top),
        held_out_share_of_random_10: held_out.map(|(_, random)| random),
        reason,
    }
}

/// The ten worst types of even clusters, measured on the odd ones: their share of the worsening there, and that of ten
/// random types; or why there is none.
fn held_out(pairs: &[Pair], clusters: usize) -> Result<(f64, f64), &'static str> {
    if clusters < 2 {
        return Err("a single document or window has no other half to measure on");
    }
    let sums = |odd: bool| {
        let mut sums: BTreeMap<u32, f64> = BTreeMap::new();
        for pair in pairs.iter().filter(|p| (p.cluster % 2 == 1) == odd) {
            *sums.entry(pair.id).or_default() += pair.change();
        }
        sums
    };
    let (ranked_on, measured_on) = (sums(false), sums(true));
    let worsening: f64 = measured_on.values().filter(|&&c| c > 0.0).sum();
    if worsening <= 0.0 {
        return Err("no token type got worse in the half that is measured");
    }
    let share = |ids: &[u32]| ids.iter().filter_map(|id| measured_on.get(id)).sum::<f64>() / worsening;

    let mut ranked: Vec<(u32, f64)> = ranked_on.into_iter().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut ids: Vec<u32> = ranked.iter().map(|(id, _)| *id).collect();
    let top = share(&ids[..HELD_OUT_TYPES.min(ids.len())]);

    let mut rng = ChaCha8Rng::seed_from_u64(BOOTSTRAP_SEED);
    let random = (0..RANDOM_DRAWS)
        .map(|_| {
            let (drawn, _) = ids.partial_shuffle(&mut rng, HELD_OUT_TYPES);
            share(drawn)
        })
        .sum::<f64>()
        / RANDOM_DRAWS as f64;
    Ok((top, random))
}

/// Perplexity over the targets that remain when some are left out. The model still reads the ones left out.
pub fn without(
    pairs: &[Pair],
    ids: &[u32],
    vocabulary: &Vocabulary,
    handful: &[TypeChange],
) -> BTreeMap<String, Without> {
    let newline = |id: u32| vocabulary.class(id) == TokenClass::Newline;
    let after_newline = |pair: &Pair| pair.position > 0 && newline(ids[pair.position - 1]);
    let handful: BTreeSet<u32> = handful.iter().map(|t| t.id).collect();

    let mut found: BTreeMap<String, Without> = TokenClass::ALL
        .into_iter()
        .map(|class| (class.name().to_owned(), remaining(pairs, |pair| vocabulary.class(pair.id) != class)))
        .collect();
    found.insert("after_newline".into(), remaining(pairs, |pair| !after_newline(pair)));
    found.insert("newline_and_after".into(), remaining(pairs, |pair| !newline(pair.id) && !after_newline(pair)));
    found.insert("handful".into(), remaining(pairs, |pair| !handful.contains(&pair.id)));
    found
}

fn remaining(pairs: &[Pair], keep: impl Fn(&Pair) -> bool) -> Without {
    let kept: Vec<&Pair> = pairs.iter().filter(|pair| keep(pair)).collect();
    let mean = |nll: fn(&Pair) -> f64| {
        (!kept.is_empty()).then(|| kept.iter().map(|pair| nll(pair)).sum::<f64>() / kept.len() as f64)
    };
    let (before, after) = (mean(|p| p.before), mean(|p| p.after));
    let ppl = [before, after].map(|nll| nll.map(f64::exp));
    let reason =
        if kept.is_empty() { Some("no target remains".to_owned()) } else { beyond_f64(ppl.into_iter().flatten()) };
    let [before_ppl, after_ppl] = ppl.map(|ppl| ppl.filter(|ppl| ppl.is_finite()));
    Without {
        scored: kept.len(),
        before: before_ppl,
        after: after_ppl,
        delta: before.zip(after).map(|(before, after)| after - before),
        reason,
    }
}
