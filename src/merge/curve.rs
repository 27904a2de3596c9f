//! The curve of a merge: the losses on a target and on a reference by share.

use burn::tensor::Device;

use super::merging::Merge;
use super::point::{Loss, Point};
use super::result::TextOfCurve;
use super::shares::Shares;
use crate::compare::PairedChanges;
use crate::error::{Error, Result};
use crate::evaluate::{ProtocolResult, ScoredStream, evaluate};
use crate::model::{LanguageModel, Precision};
use crate::perplexity::Evaluation;
use crate::progress::Monitor;
use crate::stats::{BOOTSTRAP_SEED, RESAMPLES, Resamples};
use crate::text::{Corpus, TokenStream, Tokenizer};

/// A text to be scored.
pub struct CurveText<'a> {
    /// Its name in results.
    pub name: String,
    /// The text.
    pub corpus: &'a Corpus,
}

/// What is measured, and how.
pub struct Measure<'a> {
    /// The text of the domain.
    pub target: CurveText<'a>,
    /// The text that should not be forgotten.
    pub reference: Option<CurveText<'a>>,
    /// How texts are read and cut into windows.
    pub protocol: &'a ProtocolResult,
    /// The tokenizer of the base.
    pub tokenizer: Option<&'a Tokenizer>,
    /// How matrices are held.
    pub precision: Precision,
    /// Where it is computed.
    pub device: &'a Device,
}

/// The losses by share.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// The text of the domain.
    pub target: TextOfCurve,
    /// The text that should not be forgotten.
    pub reference: Option<TextOfCurve>,
    /// By share, in ascending order.
    pub points: Vec<Point>,
}

/// A text as the base scores it.
struct Scored {
    name: String,
    stream: TokenStream,
    base: ScoredStream,
    resamples: Resamples,
}

impl Scored {
    fn about(&self) -> TextOfCurve {
        TextOfCurve {
            text: self.name.clone(),
            scored: self.base.total().1,
            base_loss: self.base.mean_nll(),
            ci_over: self.base.clusters().name.to_owned(),
        }
    }

    fn loss(&self, model: &LanguageModel, measure: &Measure<'_>, monitor: &mut dyn Monitor) -> Result<Loss> {
        let scored = evaluate(model, measure.device, &self.stream, &measure.protocol.protocol, monitor)?;
        let PairedChanges { changes, tokens, .. } = PairedChanges::of(&self.base, &scored, ["base", "merged"])?;
        Ok(Loss {
            loss: scored.mean_nll(),
            delta: changes.iter().sum::<f64>() / tokens.iter().sum::<f64>(),
            delta_ci95: self.resamples.ratio_interval(&changes, &tokens)?,
        })
    }

    /// The loss of the base itself.
    fn unchanged(&self) -> Loss {
        Loss { loss: self.base.mean_nll(), delta: 0.0, delta_ci95: [0.0; 2] }
    }
}

/// Scores the base and the model at every share, one model at a time.
///
/// # Errors
/// As [`Merge::model`] and [`evaluate`].
pub fn curve(merge: &mut Merge, shares: &Shares, measure: &Measure<'_>, monitor: &mut dyn Monitor) -> Result<Curve> {
    let (target, reference) = of_base(merge, measure, monitor)?;
    let count = shares.all().len();
    monitor.begin("shares", count as u64);
    let mut points = Vec::with_capacity(count);
    for &alpha in shares.all() {
        let point = if alpha == 0.0 && merge.starts_at_base() {
            let reference = reference.as_ref().map(Scored::unchanged);
            Ok(Point { alpha, target: target.unchanged(), reference })
        } else {
            point(merge, alpha, &target, reference.as_ref(), measure, monitor)
        };
        points.push(point.map_err(|error| match error {
            Error::Interrupted(_) => Error::Interrupted(format!(
                "stopped after {} of {count} shares; nothing is saved, give the same command again",
                points.len()
            )),
            other => other,
        })?);
        monitor.advance(1, &format!("α = {alpha}"));
    }
    monitor.end();
    let about = reference.as_ref().map(Scored::about);
    Ok(Curve { target: target.about(), reference: about, points })
}

/// Reads the texts, and scores them with the base.
fn of_base(merge: &mut Merge, measure: &Measure<'_>, monitor: &mut dyn Monitor) -> Result<(Scored, Option<Scored>)> {
    let base = merge.base(measure.precision, measure.device, monitor)?;
    let evaluation = Evaluation::new(&base, measure.tokenizer, measure.protocol.clone());
    let mut score = |text: &CurveText<'_>| {
        let stream = evaluation.read(text.corpus, monitor)?;
        let scored = evaluation.score(&base.model, &stream, monitor)?;
        let resamples = Resamples::new(scored.clusters().count, RESAMPLES, BOOTSTRAP_SEED);
        Ok::<_, Error>(Scored { name: text.name.clone(), stream, base: scored, resamples })
    };
    Ok((score(&measure.target)?, measure.reference.as_ref().map(score).transpose()?))
}

fn point(
    merge: &mut Merge,
    alpha: f64,
    target: &Scored,
    reference: Option<&Scored>,
    measure: &Measure<'_>,
    monitor: &mut dyn Monitor,
) -> Result<Point> {
    let model = merge.model(alpha, measure.precision, measure.device, monitor)?.model;
    let target = target.loss(&model, measure, monitor)?;
    let reference = reference.map(|text| text.loss(&model, measure, monitor)).transpose()?;
    Ok(Point { alpha, target, reference })
}
