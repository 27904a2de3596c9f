//! `odyssey similarity`: distances between domains and a reference corpus.

use std::path::{Path, PathBuf};

use odyssey::compare::Vocabulary;
use odyssey::error::{Error, Result};
use odyssey::model::LoadedModel;
use odyssey::progress::Watched;
use odyssey::similarity::embed::Embedder;
use odyssey::similarity::{Distances, DomainDistances, Reference, SimilarityResult};
use odyssey::text::{Split, TokenStream, open_corpus};

use super::memory::HeldArgs;
use super::monitor::Terminal;
use super::text::TextArgs;
use super::{Common, output};

/// Distances of domains to the corpus a model was pretrained on, with that corpus against itself beside them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  odyssey similarity --features model:wiki-gpt2 --reference domains/wiki_general --domain domains/wiki_sports domains/novels")]
pub struct Args {
    /// The pretraining corpus or a sample of it; of a domain folder its train split.
    #[arg(long, value_name = "CORPUS")]
    reference: PathBuf,
    /// The domains; of domain folders their train splits.
    #[arg(long, required = true, num_args = 1.., value_name = "CORPUS")]
    domain: Vec<PathBuf>,
    /// What is compared: `model:DIR` (or its name on the hub), the last hidden states of this model, averaged over chunks.
    #[arg(long, value_name = "FEATURES")]
    features: String,
    /// Tokens of a chunk; the model's longest window by default.
    #[arg(long, value_name = "TOKENS")]
    chunk: Option<usize>,
    /// Chunks of a domain, evenly spaced.
    #[arg(long, value_name = "N", default_value_t = 512)]
    samples: usize,
    /// Chunks of the reference.
    #[arg(long, value_name = "N", default_value_t = 2048)]
    reference_samples: usize,
    /// Seed of what is drawn.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    held: HeldArgs,
    #[command(flatten)]
    reading: TextArgs,
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    let Some(folder) = args.features.strip_prefix("model:") else {
        return Err(Error::input(
            format!("--features {}", args.features),
            "is not a kind of features",
            "use model:DIR with the folder of a model",
        ));
    };
    let chosen = common.open_device()?;
    let base = LoadedModel::open_in(&common.model(Path::new(folder))?, args.held.dtype, &chosen.device)?;
    let tokenizer = base.tokenizer()?;
    let vocabulary = Vocabulary::new(tokenizer.as_ref(), base.config.vocabulary());
    let chunk = args.chunk.unwrap_or(base.config.context());
    if chunk == 0 || chunk > base.config.context() || args.samples < 2 || args.reference_samples < 2 {
        return Err(Error::input(
            "--chunk, --samples, --reference-samples",
            format!("are {chunk}, {} and {}", args.samples, args.reference_samples),
            format!("use a chunk of 1 to {} tokens and at least two samples", base.config.context()),
        ));
    }
    let stream = |path: &Path, monitor: &mut Terminal| -> Result<TokenStream> {
        let corpus = open_corpus(&common.corpus(path)?, Split::Train, Watched::by(args.reading.document, monitor))?;
        base.stream(&corpus, tokenizer.as_ref(), Watched::by(&args.reading.stream, monitor))
    };
    let embedder = Embedder { model: &base.model, device: &base.device, vocabulary: &vocabulary, chunk };
    let mut monitor = common.monitor();

    let reference = stream(&args.reference, &mut monitor)?.ids;
    let sample = embedder.sample(&reference, args.reference_samples, &mut monitor)?;
    let null = embedder.against_itself(&reference, args.samples, args.seed, &mut monitor)?;
    let reference = Reference::new(sample, vocabulary.len(), args.seed);

    let mut domains = Vec::new();
    for path in &args.domain {
        let sample = embedder.sample(&stream(path, &mut monitor)?.ids, args.samples, &mut monitor)?;
        domains.push(DomainDistances { domain: path.display().to_string(), distances: reference.distances(&sample) });
    }
    drop(monitor);
    let result = SimilarityResult {
        schema: "odyssey.similarity/1".into(),
        reference: args.reference.display().to_string(),
        features: args.features.clone(),
        domains,
        null,
    };
    output::result(common, &result, || table(&result))
}

fn table(result: &SimilarityResult) -> String {
    let mut headings = vec!["domain", "samples"];
    headings.extend(Distances::MEASURES.iter().map(|measure| measure.label));
    let row = |name: &str, distances: &Distances| {
        let values =
            Distances::MEASURES.iter().map(|m| distances.get(m.key).map_or("–".into(), |v| format!("{v:.4}")));
        [name.to_owned(), distances.samples.to_string()].into_iter().chain(values).collect()
    };
    let rows = result.domains.iter().map(|d| row(&d.domain, &d.distances));
    let null = row("reference against itself", &result.null);
    let reasons = result
        .domains
        .iter()
        .flat_map(|d| d.distances.reasons.iter().map(|(m, why)| format!("\n{}: no {m}: {why}", d.domain)));
    format!("{}{}", output::table(&headings, rows.chain([null])), reasons.collect::<String>())
}
