//! What strategies read beside base and texts: further corpora, models, losses.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use serde_json::{Value, json};

use super::data::TrainingWindows;
use super::sampling::sampled;
use super::training::Training;
use crate::error::{Error, Result};
use crate::model::weights::hash_folder;
use crate::model::{LanguageModel, LoadedModel};
use crate::progress::{Monitor, Watched};
use crate::recipe::{AdaptSettings, Found, Need, Packing, Samples, Scorer, Stack, Strategies, Strategy, WindowLosses};
use crate::text::{Domain, Split, TokenStream, open_corpus};

/// Finds what the strategies of `stack` need. Windows of further corpora are added to `windows`.
///
/// # Errors
/// A corpus or a model that cannot be read or does not fit the base; the device's failure; an interruption.
pub fn find_needs(
    training: &Training<'_>,
    stack: &Stack,
    train: &TokenStream,
    valid: &TokenStream,
    windows: &mut TrainingWindows,
    monitor: &mut dyn Monitor,
) -> Result<Vec<Found>> {
    let needs = stack.needs();
    let mut found: Vec<Found> = needs.iter().map(|_| Found::default()).collect();
    // Corpora come first: losses are asked for of all windows.
    for (needs, found) in needs.iter().zip(&mut found) {
        found.windows = add_windows(training, needs, windows, monitor)?;
        for need in needs {
            if let Need::Model(path) = need {
                found.models.push(open_teacher(training.base, path)?);
            }
        }
    }
    let mut known: BTreeMap<String, Rc<WindowLosses>> = BTreeMap::new();
    for (needs, found) in needs.iter().zip(&mut found) {
        for need in needs {
            let Need::Losses(scorer) = need else { continue };
            let losses = match known.get(&format!("{scorer:?}")) {
                Some(losses) => Rc::clone(losses),
                None => Rc::new(losses_by(training, scorer, train, valid, windows, monitor)?),
            };
            known.insert(format!("{scorer:?}"), Rc::clone(&losses));
            found.losses.push(losses);
        }
    }
    Ok(found)
}

/// Adds the windows of the corpora and samples among `needs`; their numbers.
fn add_windows(
    training: &Training<'_>,
    needs: &[Need],
    windows: &mut TrainingWindows,
    monitor: &mut dyn Monitor,
) -> Result<Vec<std::ops::Range<usize>>> {
    let mut added = Vec::new();
    for need in needs {
        match need {
            Need::Corpus(path) => added.push(add_corpus(training, path, windows, monitor)?),
            Need::Samples(samples) => added.push(add_samples(training, *samples, windows, monitor)?),
            Need::Model(_) | Need::Losses(_) => {}
        }
    }
    Ok(added)
}

fn add_corpus(
    training: &Training<'_>,
    path: &Path,
    windows: &mut TrainingWindows,
    monitor: &mut dyn Monitor,
) -> Result<std::ops::Range<usize>> {
    let Training { base, settings, texts, .. } = *training;
    let corpus = match texts.divide {
        true => {
            Domain::open(path, Watched::by(texts.read.clone(), monitor))?.split(Watched::by(Split::Train, monitor))?
        }
        false => open_corpus(path, Split::Train, Watched::by(texts.read.clone(), monitor))?,
    };
    let stream = base.stream(&corpus, base.tokenizer()?.as_ref(), Watched::by(&texts.stream, monitor))?;
    let context = settings.window_length(base.config.context());
    windows.add(stream, context, settings.packing, &corpus.to_string())
}

fn add_samples(
    training: &Training<'_>,
    samples: Samples,
    windows: &mut TrainingWindows,
    monitor: &mut dyn Monitor,
) -> Result<std::ops::Range<usize>> {
    let Training { base, settings, keep, .. } = *training;
    let context = settings.window_length(base.config.context());
    let stream = sampled(base, samples, context, keep, monitor)?;
    windows.add(stream, context, Packing::Document, "what the base writes itself")
}

/// A model whose predictions are compared with those of the model that is trained.
fn open_teacher(base: &LoadedModel, path: &Path) -> Result<LoadedModel> {
    let teacher = LoadedModel::open(path, &base.device)?;
    let [of_teacher, of_base] = [&teacher, base].map(|model| model.model.head().rows());
    if of_teacher != of_base {
        return Err(Error::file(
            path,
            format!("predicts {of_teacher} tokens, and the base {of_base}"),
            "use a teacher with the base's tokenizer and vocabulary",
        ));
    }
    Ok(teacher)
}

/// Half of the windows of every epoch: those with an even or an odd number.
struct EverySecond(usize);

impl Strategy for EverySecond {
    fn plan(&self, windows: usize) -> Option<Vec<usize>> {
        Some(vec![(windows + 1 - self.0) / 2])
    }

    fn epoch(&mut self, _epoch: u64, order: &mut Vec<usize>) {
        order.retain(|window| window % 2 == self.0);
    }
}

fn losses_by(
    training: &Training<'_>,
    scorer: &Scorer,
    train: &TokenStream,
    valid: &TokenStream,
    windows: &TrainingWindows,
    monitor: &mut dyn Monitor,
) -> Result<WindowLosses> {
    let Training { base, settings, seed, keep, .. } = *training;
    // What the run would be without the strategies that are added.
    let strategies = Strategies { lora: settings.strategies.lora.clone(), ..Strategies::default() };
    let plain = AdaptSettings { strategies, validations: 0, patience: None, ..settings.clone() };
    let of_base = json!({
        "base": base.hash()?, "dtype": base.precision, "device": format!("{:?}", base.device),
        "windows": windows.hash(),
    });
    let of_run =
        |of: &str, settings: &AdaptSettings| json!({ "base": of_base, "run": of, "settings": settings, "seed": seed });
    let measure =
        |model: &LanguageModel, monitor: &mut dyn Monitor| WindowLosses::measure(model, &base.device, windows, monitor);
    match scorer {
        Scorer::Base => WindowLosses::kept(keep, &of_base, || measure(&base.model, monitor)),
        Scorer::Model(path) => {
            let teacher = open_teacher(base, path)?;
            let key = json!({ "base": of_base, "model": teacher.hash()? });
            WindowLosses::kept(keep, &key, || measure(&teacher.model, monitor))
        }
        Scorer::Adapted => WindowLosses::kept(keep, &of_run("adapted", &plain), || {
            let run = Training { settings: &plain, resumable: None, ..*training };
            let adapted = run.run_stack(Stack::new(&plain), train.clone(), valid, monitor)?;
            measure(&adapted.last, monitor)
        }),
        Scorer::CrossFitted => {
            let once = AdaptSettings { epochs: 1, steps: None, max_steps: None, ..plain };
            let key = of_run("cross-fitted", &once);
            WindowLosses::kept(keep, &key, || {
                let [even, odd] = [0, 1];
                let mut after = |half: usize| -> Result<WindowLosses> {
                    let run = Training { settings: &once, resumable: None, ..*training };
                    let stack = Stack::new(&once).with("every_second", Box::new(EverySecond(half)));
                    let adapted = run.run_stack(stack, train.clone(), valid, monitor)?;
                    measure(&adapted.last, monitor)
                };
                let (of_even, of_odd) = (after(even)?, after(odd)?);
                // Each window by the model that has not seen it.
                Ok(of_odd.or(&of_even, |window| window % 2 == even))
            })
        }
    }
}

/// What identifies what strategies need, for the run's record; `None` where they need nothing.
///
/// # Errors
/// A model that cannot be read.
pub fn identity(stack: &Stack, windows: &TrainingWindows) -> Result<Option<Value>> {
    let needs: Vec<Need> = stack.needs().into_iter().flatten().collect();
    if needs.is_empty() {
        return Ok(None);
    }
    let mut models = Vec::new();
    for need in &needs {
        if let Need::Model(path) | Need::Losses(Scorer::Model(path)) = need {
            models.push(hash_folder(path)?);
        }
    }
    Ok(Some(json!({ "windows": windows.hash(), "models": models })))
}

/// All windows that a run reads, of the training text and of what its strategies need.
///
/// # Errors
/// As [`find_needs`].
pub fn all_windows(training: &Training<'_>, train: &TokenStream, monitor: &mut dyn Monitor) -> Result<TrainingWindows> {
    let Training { base, settings, seed, .. } = *training;
    let context = settings.window_length(base.config.context());
    let mut windows = TrainingWindows::new(train.clone(), context, settings.packing, settings.order, seed)?;
    for needs in Stack::new(settings).needs() {
        add_windows(training, &needs, &mut windows, monitor)?;
    }
    Ok(windows)
}
