//! The perplexity of a text under a model, with its interval.
//!
//!     cargo run --release --example evaluate -- MODEL_FOLDER TEXT

use std::path::PathBuf;

use odyssey::device::DeviceChoice;
use odyssey::error::{Error, Result};
use odyssey::evaluate::{ProtocolName, ProtocolResult};
use odyssey::model::LoadedModel;
use odyssey::perplexity::Evaluation;
use odyssey::progress::Silent;
use odyssey::text::{DocumentRule, Split, StreamOptions, open_corpus};

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [folder, text] = &arguments[..] else {
        return Err(Error::input("the command line", "not two arguments", "give a model folder and a text"));
    };
    let chosen = DeviceChoice::Auto.open()?;
    let model = LoadedModel::open(folder, &chosen.device)?;

    // Windows of the model's longest context, side by side, of documents that end at blank lines.
    let tokenizer = model.tokenizer()?;
    let (name, rule, options) = (ProtocolName::Disjoint, DocumentRule::BlankLine, StreamOptions::default());
    let protocol = ProtocolResult::for_model(name, [None, None], &model.config, tokenizer.as_ref(), rule, &options)?;
    let evaluation = Evaluation::new(&model, tokenizer.as_ref(), protocol);

    // Documents, one stream of tokens, the scores of all tokens and their mean; of a domain folder the test split.
    let corpus = open_corpus(text, Split::Test, rule)?;
    let (_, row) = evaluation.of(&text.display().to_string(), &corpus, &mut Silent)?;
    let [low, high] = row.ppl_ci95;
    println!("perplexity {:.2}, 95 % interval {low:.2} to {high:.2}, over {} tokens", row.ppl, row.scored);
    Ok(())
}
