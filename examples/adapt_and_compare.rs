//! Adapts a model to a domain in memory, and says which tokens carry the change.
//!
//!     cargo run --release --example adapt_and_compare -- MODEL_FOLDER DOMAIN

use std::path::PathBuf;

use odyssey::adapt::{AdaptSettings, adapt};
use odyssey::compare::compare;
use odyssey::device::DeviceChoice;
use odyssey::error::{Error, Result};
use odyssey::evaluate::{Protocol, ProtocolName, evaluate};
use odyssey::model::{LanguageModel, LoadedModel};
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
    let domain = Domain::open(domain, DocumentRule::BlankLine)?;
    let stream = |split| base.stream(&domain.split(split)?, tokenizer.as_ref(), &StreamOptions::default());
    let (train, valid, test) = (stream(Split::Train)?, stream(Split::Valid)?, stream(Split::Test)?);

    let protocol = Protocol::new(ProtocolName::Disjoint, None, None, base.config.context())?;
    let score = |model: &LanguageModel| evaluate(model, &base.device, &test, &protocol, &mut Silent);

    // Everything not named here has its default: one epoch, AdamW, a rate that is held and falls over the last fifth (wsd).
    let settings = AdaptSettings { lr: 1e-4, ..AdaptSettings::default() };
    let before = score(&base.model)?;
    let adapted = adapt(&base, train, &valid, &settings, 42, None, &mut Silent)?;
    let after = score(&adapted.last)?;

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
