//! `odyssey synth`: corpora with known answers.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use odyssey::error::Result;
use odyssey::progress::Watched;
use odyssey::shown::fixed;
use odyssey::synth::{
    Alphabet, ArtificialKind, CONCEPTS, Ginc, GincDomain, Known, Sizes, Splits, write_artificial, write_family,
    write_ginc,
};
use odyssey::text::ReadOptions;
use serde_json::json;

use super::common::Common;
use super::output;

/// Write corpora whose entropy and distances are known exactly.
///
/// Each writes a new folder with a reference corpus `base`, a folder for every domain, a tokenizer, and for every corpus a
/// known.json: the least loss possible, and what a perfect model of the base loses there. `ginc` and `artificial` add
/// pretrain.toml and study.toml, which train a small base and adapt it to all domains.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  odyssey synth languages --out languages --lambda 0 0.25 0.5 1
  odyssey synth ginc --out ginc --kind A D B --lambda 0.1 0.25 0.5 0.75
  odyssey synth artificial --out pair --kind unigram flat-128
  odyssey synth artificial --out pairs --kind bigram shuffle-6 --unigram-from texts/train.txt

Then, in a folder of ginc or artificial:
  odyssey pretrain pretrain.toml --out model
  odyssey study run study.toml --out study")]
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
    /// Documents of hidden Markov chains (GINC): a base that mixes several concepts, and domains known and unknown to it.
    Ginc(GincArgs),
    /// Lines of integers with one kind of structure each; the first kind is also the kind of the base.
    Artificial(ArtificialArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum GincKind {
    /// A concept of the base's mixture
    #[value(name = "A", alias = "a")]
    Known,
    /// A concept that the base has never seen
    #[value(name = "B", alias = "b")]
    Unseen,
    /// Documents of unseen concepts, with share λ, among documents of the base's concepts
    #[value(name = "C", alias = "c")]
    Blend,
    /// One concept, share λ of the way from A to B
    #[value(name = "D", alias = "d")]
    Between,
}

#[derive(Debug, clap::Args)]
struct GincArgs {
    /// The new folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The domains.
    #[arg(long, num_args = 1.., value_enum, default_values = ["A", "D", "B"])]
    kind: Vec<GincKind>,
    /// How foreign the domains C and D are, 0 to 1: one of each for every share.
    #[arg(long, num_args = 1.., value_name = "SHARE", default_values_t = [0.1, 0.25, 0.5, 0.75])]
    lambda: Vec<f64>,
    /// Different tokens.
    #[arg(long, value_name = "N", default_value_t = 50)]
    vocabulary: usize,
    /// Concepts that the base mixes, and as many that it has never seen.
    #[arg(long, value_name = "N", default_value_t = CONCEPTS)]
    concepts: usize,
    /// Tokens of a document.
    #[arg(long, value_name = "TOKENS", default_value_t = 1024)]
    document: usize,
    #[command(flatten)]
    sizes: SizeArgs,
    /// Seed of everything.
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
struct ArtificialArgs {
    /// The new folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The kinds: uniform, unigram, bigram, flat-2, flat-4, flat-6, flat-128, nest, shuffle-N.
    #[arg(long, num_args = 1.., required = true, value_name = "KIND")]
    kind: Vec<String>,
    /// A corpus that gives the frequencies of words, and of word pairs for bigram; without it Zipf's law is used. Of a
    /// domain folder its train split.
    #[arg(long, value_name = "CORPUS")]
    unigram_from: Option<PathBuf>,
    /// The field of .jsonl files, and the column of .parquet files, that holds the text of that corpus.
    #[arg(long, value_name = "NAME", requires = "unigram_from")]
    text_field: Option<String>,
    /// Different symbols, or as many as the corpus has words.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    alphabet: usize,
    #[command(flatten)]
    sizes: SizeArgs,
    /// Seed of everything.
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct SizeArgs {
    /// Tokens of the base's train split.
    #[arg(long, value_name = "TOKENS", default_value_t = Sizes::default().base.train)]
    base_tokens: usize,
    /// Tokens of each domain's train split.
    #[arg(long, value_name = "TOKENS", default_value_t = Sizes::default().domain.train)]
    domain_tokens: usize,
}

impl SizeArgs {
    fn sizes(self) -> Sizes {
        let Sizes { base, domain } = Sizes::default();
        Sizes {
            base: Splits { train: self.base_tokens, ..base },
            domain: Splits { train: self.domain_tokens, ..domain },
        }
    }
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    let (out, known) = match &args.kind {
        Kind::Languages { out, lambda, seed } => {
            (out, write_family(out, *seed, lambda, Watched::by(Sizes::default(), &mut common.monitor()))?)
        }
        Kind::Ginc(args) => (&args.out, ginc(args, common)?),
        Kind::Artificial(args) => (&args.out, artificial(args, common)?),
    };
    show(out, &known, common)
}

fn ginc(args: &GincArgs, common: &Common) -> Result<Vec<Known>> {
    let mut domains = Vec::new();
    for kind in &args.kind {
        match kind {
            GincKind::Known => domains.push(GincDomain::Known),
            GincKind::Unseen => domains.push(GincDomain::Unseen),
            GincKind::Blend => domains.extend(args.lambda.iter().map(|lambda| GincDomain::Blend(*lambda))),
            GincKind::Between => domains.extend(args.lambda.iter().map(|lambda| GincDomain::Between(*lambda))),
        }
    }
    let ginc = Ginc::new(args.seed, args.vocabulary, args.concepts)?;
    let sizes = args.sizes.sizes();
    write_ginc(&args.out, args.seed, &ginc, &domains, args.document, Watched::by(sizes, &mut common.monitor()))
}

fn artificial(args: &ArtificialArgs, common: &Common) -> Result<Vec<Known>> {
    let kinds = args.kind.iter().map(|kind| kind.parse()).collect::<Result<Vec<ArtificialKind>>>()?;
    let alphabet = match &args.unigram_from {
        None => Alphabet::zipf(args.alphabet)?,
        Some(corpus) => {
            let mut monitor = common.monitor();
            let corpus = common.corpus(corpus)?;
            {
                let options = ReadOptions { text_field: args.text_field.clone(), ..ReadOptions::default() };
                Alphabet::count(&corpus, args.alphabet, Watched::by(options, &mut monitor))?
            }
        }
    };
    let sizes = args.sizes.sizes();
    write_artificial(&args.out, args.seed, &alphabet, &kinds, Watched::by(sizes, &mut common.monitor()))
}

fn show(out: &Path, known: &[Known], common: &Common) -> Result<()> {
    let value = json!({ "schema": "odyssey.synth/1", "out": out, "corpora": known });
    output::result(common, &value, || {
        let some = |value: Option<f64>, digits| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
        let rows = known.iter().map(|k| {
            vec![
                k.domain.clone(),
                k.kind.clone(),
                k.lambda.map_or("–".to_owned(), |lambda| lambda.to_string()),
                fixed(k.floor_perplexity, 3),
                some(k.kl_to_base, 4),
                some(k.kl_to_base.map(|kl| (k.entropy_rate + kl).exp()), 3),
                k.tokens.train.to_string(),
            ]
        });
        let headings = [
            "corpus",
            "kind",
            "λ",
            "least perplexity",
            "KL to the base (nats/token)",
            "perplexity of a perfect base",
            "train tokens",
        ];
        format!("{}\nwritten to {}", output::table(&headings, rows), out.display())
    })
}
