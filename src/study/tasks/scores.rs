//! Scores of a text's test split under the study's protocol.

use std::time::Instant;

use crate::error::Result;
use crate::evaluate::{EvalResult, Protocol, ProtocolResult, ScoredStream, evaluate, summarise};
use crate::model::LanguageModel;
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
    let protocol = protocol(runner, loaded, options)?;
    let stream = runner.stream(text, loaded, Split::Test, &protocol.stream(), monitor)?;
    let scored = evaluate(model, &loaded.base.device, &stream, &protocol.protocol, monitor)?;
    let summary = scored.summary(text.in_results(), &stream, &protocol.protocol)?;
    let device = &runner.plan.devices[task.device];
    let result = summarise(&task.model, loaded.base.precision, device, protocol, vec![summary], started);
    Ok((scored, result))
}

fn protocol(runner: &Runner<'_>, loaded: &Loaded, options: &StreamOptions) -> Result<ProtocolResult> {
    let config = &runner.plan.config;
    let evaluation = config.evaluation;
    let (base, tokenizer) = (&loaded.base.config, loaded.tokenizer.as_ref());
    let EvaluationSettings { protocol, context, stride, .. } = evaluation;
    let protocol = Protocol::for_model(protocol, context, stride, base, tokenizer, options)?;
    Ok(ProtocolResult::new(protocol, config.text.document, options, tokenizer))
}
