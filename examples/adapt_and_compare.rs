//! Adapts a model to a domain in memory, and says which tokens carry the change.
//!
//!     cargo run --release --example adapt_and_compare -- MODEL_FOLDER DOMAIN

use std::path::PathBuf;

use odyssey::adapt::{AdaptSettings, adapt};
use odyssey::compare::compare;
use odyssey::device::DeviceChoice;
use odyssey::error::{Error, Result};
use odyssey::evaluate::{ProtocolName, ProtocolResult};
use odyssey::model::LoadedModel;
use odyssey::perplexity::Evaluation;
use odyssey::progress::Silent;
use odyssey::text::{DocumentRule, Domain, Split, StreamOptions, Vocabulary};

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [folder, domain] = &arguments[..] else {
        return Err(Error::input("the command line", "not two arguments", "give a model folder and a domain"));
    };
    let chosen = DeviceChoice::Auto.open()?;
    let base = LoadedModel::open(folder, &chosen.device)?;
    let tokenizer = base.tokenizer()?;

    // A folder with train, valid and test, or one corpus that is divided by document.
    let (name, rule, options) = (ProtocolName::Disjoint, DocumentRule::BlankLine, StreamOptions::default());
    let protocol = ProtocolResult::for_model(name, [None, None], &base.config, tokenizer.as_ref(), rule, &options)?;
    let evaluation = Evaluation::new(&base, tokenizer.as_ref(), protocol);
    let domain = Domain::open(domain, rule)?;
    let stream = |split| evaluation.read(&domain.split(split)?, &mut Silent);
    let (train, valid, test) = (stream(Split::Train)?, stream(Split::Valid)?, stream(Split::Test)?);

    // Everything not named here has its default: one epoch, AdamW, a rate that is held and falls over the last fifth (wsd).
    let settings = AdaptSettings { lr: 1e-4, ..AdaptSettings::default() };
    let before = evaluation.score(&base.model, &test, &mut Silent)?;
    let adapted = adapt(&base, train, &valid, &settings, 42, None, &mut Silent)?;
    let after = evaluation.score(&adapted.last, &test, &mut Silent)?;

    let vocabulary = Vocabulary::new(tokenizer.as_ref(), base.config.vocabulary());
    let comparison = compare(&before, &after, ["base", "adapted"], &vocabulary)?;
    let [low, high] = comparison.delta_ci95;
    println!("perplexity {:.2} before, {:.2} after", comparison.before.ppl, comparison.after.ppl);
    println!("δ = {:+.4} nats per token, 95 % interval {low:+.4} to {high:+.4}", comparison.delta);

    // Contributions of all types add up to δ; the list begins with the worst.
    println!("the five token types that got worse the most, with their parts of δ:");
    for kind in comparison.types.iter().take(5) {
        println!("  {:+.5}  {:?}, {} times", kind.contribution, kind.token, kind.count);
    }
    Ok(())
}
