//! Which share is taken.

use serde::{Deserialize, Serialize};

use super::point::Point;
use crate::error::{Error, Result};

/// By what a share is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// The least loss on the target
    Target,
    /// The least sum of both losses
    Sum,
    /// The least loss on the reference among the shares that keep 95 % of the best gain on the target
    Pareto,
}

/// The part of the best gain that [`Select::Pareto`] keeps.
const KEPT: f64 = 0.95;

/// A share that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The share.
    pub alpha: f64,
    /// Why.
    pub words: String,
}

/// Chooses among `points`, in ascending order of their shares. Of equal ones the lowest share is taken: the fewest weights
/// move.
///
/// # Errors
/// There are no points, or they lack the reference that `select` asks for.
pub fn choose(points: &[Point], select: Select) -> Result<Choice> {
    let on_reference = |point: &Point| {
        point.reference.map(|loss| loss.loss).ok_or_else(|| {
            let cure = "give a reference, or choose by target";
            Error::input("select", "asks for the loss on a reference, and none is given", cure)
        })
    };
    let gain = |point: &Point| -point.target.delta;
    let best = points.iter().map(gain).fold(f64::NEG_INFINITY, f64::max);
    let no_gain = best <= 0.0;
    let (scores, words): (Vec<f64>, &str) = match select {
        Select::Pareto if no_gain => {
            points.iter().try_for_each(|point| on_reference(point).map(drop))?;
            let words = "no share lowers the loss on the target; the least loss there";
            (points.iter().map(|point| point.target.loss).collect(), words)
        }
        Select::Target => (points.iter().map(|point| point.target.loss).collect(), "the least loss on the target"),
        Select::Sum => {
            let sum = |point: &Point| Ok(point.target.loss + on_reference(point)?);
            (points.iter().map(sum).collect::<Result<_>>()?, "the least sum of both losses")
        }
        Select::Pareto => {
            let score = |point: &Point| {
                let loss = on_reference(point)?;
                Ok(if gain(point) >= KEPT * best { loss } else { f64::INFINITY })
            };
            let words = "the least loss on the reference with 95 % of the best gain on the target";
            (points.iter().map(score).collect::<Result<_>>()?, words)
        }
    };
    // The first of equal ones, which `min_by` takes.
    let chosen = points.iter().zip(&scores).min_by(|(_, a), (_, b)| a.total_cmp(b));
    let (point, _) = chosen.ok_or_else(|| Error::input("alpha", "names no share", "name at least one"))?;
    Ok(Choice { alpha: point.alpha, words: words.to_owned() })
}
