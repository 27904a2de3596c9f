//! The change of each domain, and whether the difference is significant: paired tests over documents, corrected over
//! domains.

use super::joint::Joint;
use super::results::{Call, DomainChange};
use crate::compare::PairedChanges;
use crate::error::Result;
use crate::stats::{
    BOOTSTRAP_SEED, DEFAULT_FLIPS, Estimate, benjamini_hochberg, paired_t, percentile_interval, percentile_interval_at,
    sign_flip_p, wilcoxon,
};

/// The control's documents are drawn with a seed of their own: it is independent of the seed of the domain's documents.
const CONTROL_SEED: u64 = BOOTSTRAP_SEED + 1;

/// The model, domain and strategy of a change.
#[derive(Debug, Clone, Default)]
pub struct Owner {
    /// The base model.
    pub model: String,
    /// The domain.
    pub domain: String,
    /// Its group.
    pub group: String,
    /// The strategy's name.
    pub strategy: String,
    /// The seeds.
    pub seeds: Vec<u64>,
}

/// Tests the change of one domain, `control` being the restart control's; `q` and the call are still to be found over
/// all domains, by [`decide`].
///
/// # Errors
/// [`crate::error::Error::Numeric`] where nothing is scored.
pub fn test(owner: Owner, joint: &Joint, control: Option<&Joint>, error_rate: f64) -> Result<DomainChange> {
    let Owner { model, domain, group, strategy, seeds } = owner;
    let PairedChanges { over, changes, tokens } = &joint.changes;
    // Documents that are not scored are left out.
    let scored: Vec<(f64, f64)> =
        changes.iter().copied().zip(tokens.iter().copied()).filter(|(_, n)| *n > 0.0).collect();
    let sums: Vec<f64> = scored.iter().map(|(change, _)| *change).collect();
    let means: Vec<f64> = scored.iter().map(|(change, tokens)| change / tokens).collect();
    let draws = joint.draws(BOOTSTRAP_SEED)?;
    let beyond = match control {
        Some(control) => {
            let differences = draws.iter().zip(control.draws(CONTROL_SEED)?).map(|(domain, control)| domain - control);
            percentile_interval(differences.collect())
        }
        None => None,
    };
    let [low, high] = percentile_interval_at(draws, error_rate).unwrap_or(joint.ci95);
    // The most extreme case is n differences of one sign: 2 of 2^n flips are as extreme.
    let powerless = 2_f64.powf(1.0 - sums.len() as f64) > error_rate;
    Ok(DomainChange {
        model,
        domain,
        group,
        strategy,
        seeds,
        delta: joint.delta,
        delta_ci95: joint.ci95,
        seed_sd: joint.seed_sd,
        over: over.clone(),
        clusters: sums.len(),
        p: sign_flip_p(&sums, DEFAULT_FLIPS, BOOTSTRAP_SEED),
        q: None,
        t_p: paired_t(&means).map(|test| test.p_two_sided),
        wilcoxon_p: wilcoxon(&means).map(|test| test.p_two_sided),
        call: Call::NoDifference,
        error_rate,
        smallest_effect: (high - low) / 2.0,
        restart_delta: control.map(|control| control.delta),
        beyond_restart: Estimate {
            value: control.map(|control| joint.delta - control.delta),
            ci95: beyond,
            ..Estimate::default()
        },
        reason: powerless.then(|| {
            format!("{} {over} are too few for a call at an error rate of {error_rate}: test on more text", sums.len())
        }),
    })
}

/// Corrects the p-values over the domains of each model and strategy, and makes the calls.
pub fn decide(domains: &mut [DomainChange]) {
    for at in 0..domains.len() {
        if domains[at].q.is_some() {
            continue;
        }
        let family: Vec<usize> = (at..domains.len())
            .filter(|&i| (&domains[i].model, &domains[i].strategy) == (&domains[at].model, &domains[at].strategy))
            .collect();
        let p: Vec<f64> = family.iter().map(|&i| domains[i].p.unwrap_or(f64::NAN)).collect();
        for (&i, q) in family.iter().zip(benjamini_hochberg(&p)) {
            let domain = &mut domains[i];
            domain.q = Some(q).filter(|q| q.is_finite());
            domain.call = match domain.q {
                Some(q) if q <= domain.error_rate && domain.delta > 0.0 => Call::Worse,
                Some(q) if q <= domain.error_rate && domain.delta < 0.0 => Call::Better,
                _ => Call::NoDifference,
            };
        }
    }
}
