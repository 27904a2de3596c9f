//! The task of an adaptation: training, the perplexity after it, the comparison.

use std::path::Path;

use super::ranks;
use super::scores::score_test;
use crate::adapt::{Resumable, Training};
use crate::compare::{Comparison, LossProfile, PairedChanges, PartChanges, Scoring, check_comparable, compare};
use crate::error::{Error, Result};
use crate::evaluate::{EvalResult, ScoredStream, per_token};
use crate::files;
use crate::model::LanguageModel;
use crate::progress::Monitor;
use crate::seal;
use crate::spool::cache_folder;
use crate::stats::{BOOTSTRAP_SEED, RESAMPLES, Resamples};
use crate::study::config::StrategyEntry;
use crate::study::runner::{Loaded, Runner, unknown};
use crate::study::task::{Adaptation, Task, TaskText};
use crate::study::task_results::{ADAPT, AdaptTaskResult, Forgetting, OtherEvaluation, PER_TOKEN, TYPES_KEPT};
use crate::text::{Domain, Overlap, Split, StreamOptions, TextOptions, TokenStream};

/// A test text scored by base and adapted model.
struct ScoredBoth {
    comparison: Comparison,
    changes: PairedChanges,
    parts: PartChanges,
    base_loss: LossProfile,
    after: ScoredStream,
    result: EvalResult,
}

pub(in crate::study) fn run(
    runner: &Runner<'_>,
    task: &Task,
    adaptation: &Adaptation,
    loaded: &Loaded,
    out: &Path,
    monitor: &mut dyn Monitor,
) -> Result<()> {
    let Adaptation { text, strategy: name, seed, training } = adaptation;
    let config = &runner.plan.config;
    let strategy: Option<&StrategyEntry> = config.strategies.iter().find(|s| s.name == *name);
    let strategy = strategy.ok_or_else(|| unknown("strategy", name))?;
    let strategy = training.map_or_else(|| strategy.clone(), |training| strategy.varied(training));
    let options = strategy.train_text.unwrap_or(config.text.stream());
    let train = runner.stream(text, loaded, Split::Train, &options, monitor)?;
    let valid = runner.stream(text, loaded, Split::Valid, &config.text.stream(), monitor)?;
    // Values that exist once for a domain are taken from its plain adaptation.
    let plain = adaptation.is_row();
    let overlap = if plain { Some(overlap(runner, text, loaded, &train, &options, monitor)?) } else { None };

    let available_tokens = train.ids.len() as u64;
    let checkpoint = runner.checkpoint(task);
    let resumable = Resumable {
        path: &checkpoint,
        resume: true,
        every: None,
        longest: Resumable::LONGEST,
        how_to_resume: "the study goes on from there when it is run again",
    };
    let recipe = runner.recipe(task, &strategy.recipe)?;
    let texts = TextOptions { read: config.text.read(), stream: options, divide: true };
    let cache = cache_folder();
    let training = Training {
        base: &loaded.base,
        settings: &recipe,
        seed: *seed,
        resumable: Some(resumable),
        texts: &texts,
        keep: Some(&cache),
    };
    let adapted = training.run(train, &valid, monitor)?;
    let mut scored = score_both(runner, task, text, loaded, &adapted.last, &config.text.stream(), monitor)?;
    let mut evaluations = Vec::new();
    for read in config.other_evaluations() {
        let ScoredBoth { comparison, changes, parts: of_parts, .. } =
            score_both(runner, task, text, loaded, &adapted.last, &read, monitor)?;
        let Comparison { delta, delta_ci95, .. } = comparison;
        let parts = of_parts.shares(&changes);
        evaluations.push(OtherEvaluation {
            text: read,
            delta,
            delta_ci95,
            parts,
            changes,
            part_changes: Some(of_parts),
        });
    }
    let forgetting = forgetting(runner, task, text, loaded, &adapted.last, monitor)?;
    if !plain {
        scored.comparison.shorten(TYPES_KEPT);
        scored.comparison.passages.clear();
    }
    let rank = match runner.plan.zero_shot_of(task) {
        Some(zero_shot) if plain && config.evaluation.rank => Some(ranks::change(
            runner,
            loaded,
            &runner.plan.result_of(zero_shot, runner.folder)?,
            &adapted.last,
            monitor,
        )?),
        _ => None,
    };
    let result = AdaptTaskResult {
        adapt: adapted.result,
        test_newline_rate: loaded.vocabulary.newline_rate(&scored.after.ids),
        after: scored.result,
        comparison: scored.comparison,
        overlap,
        rank,
        changes: Some(scored.changes),
        part_changes: Some(scored.parts),
        evaluations,
        divided: *text == TaskText::Control && loaded.control.as_ref().is_some_and(Domain::is_divided),
        base_loss: Some(scored.base_loss),
        available_tokens: Some(available_tokens),
        base_size: Some((LanguageModel::weight_count(&loaded.base.config)?, loaded.base.config.vocabulary())),
        forgetting,
    };
    seal::folder_whole(out, &runner.plan.made_with(task), |folder| {
        if plain {
            per_token::write(&folder.join(PER_TOKEN), &scored.after, &result.after)?;
        }
        files::write_json(&folder.join(ADAPT), &result)
    })?;
    let _ = std::fs::remove_file(&checkpoint); // the result is completely written
    Ok(())
}

/// Scores the test split, read as `options` say, with the adapted model, beside the base's scores of it.
fn before_and_after(
    runner: &Runner<'_>,
    task: &Task,
    text: &TaskText,
    loaded: &Loaded,
    adapted: &LanguageModel,
    options: &StreamOptions,
    monitor: &mut dyn Monitor,
) -> Result<(ScoredStream, ScoredStream, EvalResult)> {
    let (after, result) = score_test(runner, task, text, loaded, adapted, options, monitor)?;
    let zero_shot =
        runner.plan.zero_shot(task, text, options).ok_or_else(|| unknown("zero-shot task of", text.in_results()))?;
    let (before, before_result) =
        per_token::read_kept(&runner.plan.result_of(zero_shot, runner.folder)?.join(PER_TOKEN))?;
    let scoring = |name, stream, protocol| Scoring { name, stream, protocol, tokenizer: None, vocabulary: None };
    check_comparable(
        scoring("the base's scores", &before, &before_result.protocol),
        scoring("those now", &after, &result.protocol),
    )
    .map_err(|error| {
        let fault = match error {
            Error::Input { fault, .. } => format!("its scores and those of now {fault}"),
            other => other.to_string(),
        };
        Error::file(&zero_shot.folder, fault, "remove this folder and run again")
    })?;
    Ok((before, after, result))
}

/// Scores the test split, read as `options` say, with the adapted model, and compares with the base's scores.
fn score_both(
    runner: &Runner<'_>,
    task: &Task,
    text: &TaskText,
    loaded: &Loaded,
    adapted: &LanguageModel,
    options: &StreamOptions,
    monitor: &mut dyn Monitor,
) -> Result<ScoredBoth> {
    let (before, after, result) = before_and_after(runner, task, text, loaded, adapted, options, monitor)?;
    let adapted_name = format!("{} adapted to {}", task.model, text.label());
    let names = [task.model.as_str(), adapted_name.as_str()];
    let comparison = compare(&before, &after, names, &loaded.vocabulary)?;
    let changes = PairedChanges::of(&before, &after, names)?;
    let parts = PartChanges::of(&before, &after, names, &loaded.vocabulary, loaded.base.config.eos_token_id)?;
    let base_loss = LossProfile::of(&before, &loaded.vocabulary);
    Ok(ScoredBoth { comparison, changes, parts, base_loss, after, result })
}

/// The change of the model adapted by `task` on the test text of the restart control; `None` if there is none.
fn forgetting(
    runner: &Runner<'_>,
    task: &Task,
    text: &TaskText,
    loaded: &Loaded,
    adapted: &LanguageModel,
    monitor: &mut dyn Monitor,
) -> Result<Option<Forgetting>> {
    if *text == TaskText::Control || !runner.has_control(task) {
        return Ok(None);
    }
    let options = runner.plan.config.text.stream();
    let (before, after, _) = before_and_after(runner, task, &TaskText::Control, loaded, adapted, &options, monitor)?;
    let changes = PairedChanges::of(&before, &after, [&task.model, &task.label()])?;
    let draws = Resamples::new(changes.tokens.len(), RESAMPLES, BOOTSTRAP_SEED);
    let delta_ci95 = draws.ratio_interval(&changes.changes, &changes.tokens)?;
    let delta = changes.changes.iter().sum::<f64>() / changes.tokens.iter().sum::<f64>();
    Ok(Some(Forgetting { delta, delta_ci95, changes }))
}

/// How much of the test split stands in the train split, both as they are evaluated; `train` is as `options` made it.
fn overlap(
    runner: &Runner<'_>,
    text: &TaskText,
    loaded: &Loaded,
    train: &TokenStream,
    options: &StreamOptions,
    monitor: &mut dyn Monitor,
) -> Result<Overlap> {
    let evaluated = runner.plan.config.text.stream();
    let test = runner.stream(text, loaded, Split::Test, &evaluated, monitor)?;
    let eot = loaded.base.config.eos_token_id;
    Ok(if *options == evaluated {
        Overlap::of(train, &test, eot)
    } else {
        Overlap::of(&runner.stream(text, loaded, Split::Train, &evaluated, monitor)?, &test, eot)
    })
}
