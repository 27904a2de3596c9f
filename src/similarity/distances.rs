//! The distances between a domain and the reference corpus, as every result holds them.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use super::measures::Measure;
use crate::stats::{Estimate, benjamini_hochberg};

/// How far a domain is from the reference corpus, by all measures.
///
/// `distances[Measure::Mmd2]` is an [`Estimate`]. p-values test "the documents of the domain come from the same
/// distribution as those of the reference": documents are permuted. Intervals are bootstrap intervals over documents:
/// percentiles of the resampled values, moved so that their mean is the value, because resampling increases distances. For
/// the reference against itself, an interval contains 95 of 100 parts of it.
///
/// JSON has flat keys: `mmd2`, `mmd2_p`, `mmd2_q`, `effect_mmd2`, `mmd2_ci95`, and `reasons` by key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Distances {
    /// Feature vectors compared on the domain's side.
    pub samples: usize,
    /// By measure, in the order of [`Measure::ALL`].
    pub estimates: [Estimate; Measure::ALL.len()],
    /// Effect sizes of tested measures: they can be compared across kernels and features, for samples of one size.
    pub effects: BTreeMap<Measure, f64>,
    /// Warnings about the numbers.
    pub caveats: Vec<String>,
}

impl Index<Measure> for Distances {
    type Output = Estimate;

    fn index(&self, measure: Measure) -> &Estimate {
        &self.estimates[measure as usize]
    }
}

impl IndexMut<Measure> for Distances {
    fn index_mut(&mut self, measure: Measure) -> &mut Estimate {
        &mut self.estimates[measure as usize]
    }
}

impl<E: Into<Estimate>> FromIterator<(Measure, E)> for Distances {
    fn from_iter<I: IntoIterator<Item = (Measure, E)>>(values: I) -> Self {
        let mut distances = Self::default();
        values.into_iter().for_each(|(measure, value)| distances[measure] = value.into());
        distances
    }
}

impl Distances {
    /// The value of a measure; `None` if it is missing.
    pub fn get(&self, measure: Measure) -> Option<f64> {
        self[measure].value
    }

    /// Why the value of a measure is missing.
    pub fn why_missing(&self, measure: Measure) -> &str {
        self[measure].why_missing().unwrap_or("was not computed")
    }

    /// Why values are missing and why values were not tested, by the key in JSON: `mmd2`, `mmd2_p`.
    pub fn reasons(&self) -> BTreeMap<String, &str> {
        let reasons = Measure::ALL.into_iter().filter_map(|measure| {
            let Estimate { value, reason, .. } = &self[measure];
            let key = if value.is_none() { measure.key().to_owned() } else { format!("{}_p", measure.key()) };
            Some((key, reason.as_deref()?))
        });
        reasons.collect()
    }
}

/// Corrects the p-values of the domains of one run for their number, for each measure: sets the q-values.
pub fn adjust(domains: &mut [&mut Distances]) {
    for measure in Measure::tested() {
        let values: Vec<f64> = domains.iter().map(|domain| domain[measure].p.unwrap_or(f64::NAN)).collect();
        for (domain, q) in domains.iter_mut().zip(benjamini_hochberg(&values)) {
            domain[measure].q = q.is_finite().then_some(q);
        }
    }
}
