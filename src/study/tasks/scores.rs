//! Scores of a text's test split under the study's protocol.

use std::time::Instant;

use crate::error::Result;
use crate::evaluate::{EvalResult, ProtocolResult, ScoredStream, summarise};
use crate::model::LanguageModel;
use crate::perplexity::Evaluation;
use crate::progress::Monitor;
use crate::study::config::EvaluationSettings;
use crate::study::runner::{Loaded, Runner};
use crate::study::task::{Task, TaskText};
use crate::text::{Split, StreamOptions};

/// Scores the domain's test split, read as `options` say, with `model`.
pub(super) fn score_test(
    runner: &Runner<'_>,
    task: &Task,
    text: &TaskText,
    loaded: &Loaded,
    model: &LanguageModel,
    options: &StreamOptions,
    monitor: &mut dyn Monitor,
) -> Result<(ScoredStream, EvalResult)> {
    let started = Instant::now();
    let (base, tokenizer) = (&loaded.base, loaded.tokenizer.as_ref());
    let rule = runner.plan.config.text.document;
    let EvaluationSettings { protocol, context, stride, .. } = runner.plan.config.evaluation;
    let protocol = ProtocolResult::for_model(protocol, [context, stride], &base.config, tokenizer, rule, options)?;
    let evaluation = Evaluation::new(base, tokenizer, protocol);
    // As much of the text as the study reads, which is not all of a reference corpus.
    let stream = runner.stream(text, loaded, Split::Test, &evaluation.protocol.stream(), monitor)?;
    let scored = evaluation.score(model, &stream, monitor)?;
    let summary = evaluation.summary(text.in_results(), &scored, &stream)?;
    let device = &runner.plan.devices[task.device];
    let result = summarise(&task.model, base.precision, device, evaluation.protocol, vec![summary], started);
    Ok((scored, result))
}
