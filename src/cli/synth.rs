//! `odyssey synth`: corpora with known answers.

use std::path::PathBuf;

use clap::Subcommand;
use odyssey::error::Result;
use odyssey::synth::{Sizes, write_family};
use serde_json::json;

use super::{Common, output};

/// Write corpora whose entropy and distances are known exactly.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  odyssey synth languages --out languages --lambda 0 0.25 0.5 1")]
pub struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// A family of related languages: a base corpus, and domains that mix in a foreign language's word order.
    Languages {
        /// The new folder.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// How foreign each domain is, 0 to 1.
        #[arg(long, num_args = 1.., value_name = "SHARE", default_values_t = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0])]
        lambda: Vec<f64>,
        /// Seed of everything.
        #[arg(long, default_value_t = 42)]
        seed: u64,
    },
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    let Kind::Languages { out, lambda, seed } = &args.kind;
    let known = write_family(out, *seed, lambda, Sizes::default())?;
    let value = json!({ "schema": "odyssey.synth/1", "out": out, "corpora": known });
    output::result(common, &value, || {
        let rows = known.iter().map(|k| {
            vec![
                k.domain.clone(),
                format!("{}", k.lambda),
                format!("{:.3}", k.floor_perplexity),
                format!("{:.4}", k.kl_to_base),
                k.tokens.train.to_string(),
            ]
        });
        let headings = ["corpus", "λ", "least perplexity", "KL to the base (nats/token)", "train tokens"];
        format!("{}\nwritten to {}", output::table(&headings, rows), out.display())
    })
}
