//! The perplexity of a text under a model, with its interval.
//!
//!     cargo run --release --example evaluate -- MODEL_FOLDER TEXT

use std::path::PathBuf;

use odyssey::device::DeviceChoice;
use odyssey::error::{Error, Result};
use odyssey::evaluate::{Protocol, ProtocolName, evaluate};
use odyssey::model::LoadedModel;
use odyssey::progress::Silent;
use odyssey::text::{DocumentRule, Split, StreamOptions, open_corpus};

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [folder, text] = &arguments[..] else {
        return Err(Error::input("the command line", "not two arguments", "give a model folder and a text"));
    };
    let chosen = DeviceChoice::Auto.open()?;
    let model = LoadedModel::open(folder, &chosen.device)?;

    // Documents, then one stream of tokens; of a domain folder the test split.
    let corpus = open_corpus(text, Split::Test, DocumentRule::BlankLine)?;
    let stream = model.stream(&corpus, model.tokenizer()?.as_ref(), &StreamOptions::default())?;

    // Windows of the model's longest context, side by side.
    let protocol = Protocol::new(ProtocolName::Disjoint, None, None, model.config.context())?;
    let scored = evaluate(&model.model, &model.device, &stream, &protocol, &mut Silent)?;

    let row = scored.summary(&text.display().to_string(), &stream, &protocol)?;
    let [low, high] = row.ppl_ci95;
    println!("perplexity {:.2}, 95 % interval {low:.2} to {high:.2}, over {} tokens", row.ppl, row.scored);
    Ok(())
}
