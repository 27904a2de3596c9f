//! `odyssey similarity`: distances between domains and a reference corpus.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use odyssey::error::{Error, Result};
use odyssey::memory::Work;
use odyssey::model::LoadedModel;
use odyssey::progress::Watched;
use odyssey::shown::fixed;
use odyssey::similarity::embed::Embedder;
use odyssey::similarity::encoder::SentenceEncoder;
use odyssey::similarity::extract::Hidden;
use odyssey::similarity::measures::Compares;
use odyssey::similarity::words::Words;
use odyssey::similarity::{
    CorpusSample, Counts, Distances, DomainDistances, FeatureSpec, Features, KernelKind, Measure, Reference,
    SimilarityResult, TestSettings, adjust, usual,
};
use odyssey::stats::Estimate;
use odyssey::study::config::SimilaritySettings;
use odyssey::text::{Corpus, Split, Vocabulary, open_corpus};
use serde_json::json;

use super::common::Common;
use super::held::HeldArgs;
use super::memory::{Reader, Texts};
use super::output;
use super::text::TextArgs;

/// Distances of domains to the corpus a model was pretrained on, with tests, and with the corpus against parts of
/// itself for comparison.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
P-values ask whether the domain's documents could have been drawn from the reference: documents are permuted between the
two (MMD, energy and Fréchet distance) or between the classifier's two verdicts (AUC). An asterisk marks a p-value that,
corrected for the number of domains, is below 0.05. The reference against itself is cut into a part as large as a domain
and the rest, many times. Features of a corpus are kept in ODYSSEY_CACHE and not computed again.

Examples:
  odyssey similarity --features model:wiki-gpt2 --reference domains/wiki_general --domain domains/wiki_sports domains/novels
  odyssey similarity --features model:gpt2@6,last --kernel rbf-mixture --reference sample.jsonl --domain news.jsonl --json
  odyssey similarity --features minilm:sentence-transformers/all-MiniLM-L6-v2 --reference sample.jsonl --domain news.jsonl
  odyssey similarity --features lexical --reference sample.jsonl --domain news.jsonl")]
pub struct Args {
    /// The pretraining corpus or a sample of it; of a domain folder its train split.
    #[arg(long, value_name = "CORPUS")]
    reference: PathBuf,
    /// The domains; of domain folders their train splits.
    #[arg(long, required = true, num_args = 1.., value_name = "CORPUS")]
    domain: Vec<PathBuf>,
    /// What is compared: `model:DIR[@LAYER][,mean|last]`, hidden states of this model (a folder or a name on the hub)
    /// after so many layers (default: all), averaged over chunks or of their last token; `minilm:DIR`, a sentence
    /// encoder's vectors of documents; or `lexical`, words alone.
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
    /// The kernel of MMD.
    #[arg(long, value_enum, default_value_t)]
    kernel: KernelKind,
    /// Permutations for p-values (the Fréchet distance takes at most 200); 0 for none.
    #[arg(long, value_name = "N", default_value_t = TestSettings::default().permutations)]
    permutations: usize,
    /// Bootstrap resamples for 95 % intervals; 0 for none.
    #[arg(long, value_name = "N", default_value_t = TestSettings::default().resamples)]
    resamples: usize,
    /// Seed of everything that is drawn.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    held: HeldArgs,
    #[command(flatten)]
    reading: TextArgs,
}

/// The corpora of the run as the measures see them.
struct Sampled {
    reference: CorpusSample,
    domains: Vec<CorpusSample>,
    /// Size of the vocabulary they are counted in.
    vocabulary: usize,
    /// Where they are compared.
    device: Device,
}

impl Args {
    fn similarity(&self) -> Result<SimilaritySettings> {
        let Self { chunk, samples, reference_samples, kernel, permutations, resamples, .. } = *self;
        let features = self.features.parse()?;
        Ok(SimilaritySettings { features, chunk, samples, reference_samples, kernel, permutations, resamples })
    }
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    let similarity = args.similarity()?;
    similarity.check(usize::MAX)?;
    let settings = similarity.tests(args.seed);
    let sampled = match similarity.features {
        FeatureSpec::Model { folder: Some(folder), hidden } => by_model(args, common, &folder, hidden)?,
        FeatureSpec::Lexical => {
            by_words(args, common, Device::flex(), |_, _, _| Ok(Err("words alone are compared".into())))?
        }
        FeatureSpec::Model { folder: None, .. } => {
            return Err(Error::setting(
                "features",
                "model",
                "names no model",
                "use model:DIR with the folder of a model",
            ));
        }
        FeatureSpec::Encoder { folder } => by_encoder(args, common, &folder)?,
    };
    let Sampled { reference, domains, vocabulary, device } = sampled;
    let kernel = settings.fit(&reference, domains.iter().filter_map(|domain| domain.features.as_ref().ok()));
    let sigma = kernel.as_ref().ok().and_then(|kernel| kernel.sigma());
    let reference = Reference::new(reference, vocabulary, args.seed).with_kernel(kernel);

    let mut monitor = common.monitor();
    let tokens: Vec<u64> = domains.iter().map(|domain| domain.counts.unigrams.total()).collect();
    let null = reference.against_itself(args.samples, usual(&tokens), &settings, &device, &mut monitor)?;
    let mut found = Vec::new();
    for (path, sample) in args.domain.iter().zip(&domains) {
        let distances = reference.test(sample, &settings, &device, &mut monitor)?;
        found.push(DomainDistances { domain: path.display().to_string(), distances });
    }
    drop(monitor);
    adjust(&mut found.iter_mut().map(|domain| &mut domain.distances).collect::<Vec<_>>());
    let result = SimilarityResult {
        schema: "odyssey.similarity/1".into(),
        reference: args.reference.display().to_string(),
        features: args.features.clone(),
        settings,
        sigma,
        domains: found,
        null,
    };
    output::result(common, &result, || table(&result))
}

fn by_model(args: &Args, common: &Common, folder: &Path, hidden: Hidden) -> Result<Sampled> {
    let chosen = common.open_device()?;
    let folder = common.model(folder)?;
    let reader = Reader::of(&folder)?;
    let Reader { config, tokenizer, .. } = &reader;
    hidden.check(config.layers())?;
    let chunk = args.similarity()?.check(config.context())?;
    let work = Work::Evaluate { context: chunk, precision: args.held.dtype };
    let paths = std::iter::once(&args.reference).chain(&args.domain);
    let read: Vec<_> = paths.map(|path| (path.as_path(), Split::Train)).collect();
    let texts = Texts { read: &read, reading: args.reading.read(), stream: args.reading.stream, by_document: false };
    reader.plan(work, &texts, false, &chosen, common)?;
    let base = LoadedModel::open_without(&folder, &args.held.ignore_tensors, args.held.dtype, &chosen.device)?;
    let vocabulary = Vocabulary::new(tokenizer.as_ref(), base.config.vocabulary());
    let of = json!({
        "model": base.hash()?, "precision": base.precision, "device": chosen.name, "text": args.reading.stream,
    });
    let embedder = Embedder { model: &base.model, device: &base.device, vocabulary: &vocabulary, chunk, hidden };
    let mut monitor = common.monitor();
    let mut sample = |path: &Path, samples: usize| -> Result<CorpusSample> {
        let corpus = open(args, common, path)?;
        let stream = base.stream(&corpus, tokenizer.as_ref(), Watched::by(&args.reading.stream, &mut monitor))?;
        let (sample, kept) = embedder.sample_kept(&stream, samples, &of, &mut monitor)?;
        if kept {
            common.say(&format!("features of {}: cached", path.display()));
        }
        Ok(sample)
    };
    Ok(Sampled {
        reference: sample(&args.reference, args.reference_samples)?,
        domains: args.domain.iter().map(|path| sample(path, args.samples)).collect::<Result<_>>()?,
        vocabulary: vocabulary.len(),
        device: chosen.device,
    })
}

fn by_encoder(args: &Args, common: &Common, folder: &Path) -> Result<Sampled> {
    let chosen = common.open_device()?;
    let encoder = SentenceEncoder::open(&common.model(folder)?, &chosen.device)?;
    let device = json!(chosen.name);
    let mut monitor = common.monitor();
    by_words(args, common, chosen.device, |corpus, path, samples| {
        let (features, kept) = encoder.features_kept(corpus, samples, &device, &mut monitor)?;
        if kept {
            common.say(&format!("features of {}: cached", path.display()));
        }
        Ok(features)
    })
}

/// Corpora counted in words, `features` gives the features of a corpus from its path and the wanted number.
fn by_words(
    args: &Args,
    common: &Common,
    device: Device,
    mut features: impl FnMut(&Corpus, &Path, usize) -> Result<std::result::Result<Features, String>>,
) -> Result<Sampled> {
    let mut words = Words::default();
    let mut sample = |path: &Path, samples: usize| -> Result<CorpusSample> {
        let corpus = open(args, common, path)?;
        corpus.note(&corpus.reading, &mut common.monitor());
        let stream = words.divide(&corpus)?;
        let counts = Counts::of((&stream).into(), 1, |id| words.is_newline(id));
        Ok(CorpusSample { features: features(&corpus, path, samples)?, counts })
    };
    let reference = sample(&args.reference, args.reference_samples)?;
    let domains = args.domain.iter().map(|path| sample(path, args.samples)).collect::<Result<_>>()?;
    Ok(Sampled { reference, domains, vocabulary: words.len(), device })
}

fn open(args: &Args, common: &Common, path: &Path) -> Result<Corpus> {
    let mut monitor = common.monitor();
    open_corpus(&common.corpus(path)?, Split::Train, Watched::by(args.reading.read(), &mut monitor))
}

/// Measures of features, and of words: two tables, because one would be too wide.
fn table(result: &SimilarityResult) -> String {
    let has = |measure: &Measure| result.domains.iter().any(|d| d.distances.get(*measure).is_some());
    let tables: Vec<String> = [Compares::Features, Compares::Words]
        .map(|what| Measure::shown().filter(|measure| measure.about().compares == what).collect::<Vec<_>>())
        .into_iter()
        .filter(|measures| measures.iter().any(has))
        .map(|measures| one_table(result, &measures))
        .collect();
    let notes = result.domains.iter().flat_map(|d| {
        let mut reasons: Vec<(&str, Vec<String>)> = Vec::new(); // measures that share a reason stand together
        for (measure, why) in d.distances.reasons() {
            match reasons.iter_mut().find(|(other, _)| *other == why) {
                Some((_, measures)) => measures.push(measure),
                None => reasons.push((why, vec![measure])),
            }
        }
        let missing = reasons.into_iter().map(|(why, measures)| format!("no {}: {why}", measures.join(", ")));
        let caveats = d.distances.caveats.iter().cloned();
        missing.chain(caveats).map(|note| format!("\n{}: {note}", d.domain)).collect::<Vec<_>>()
    });
    format!("{}{}", tables.join("\n\n"), notes.collect::<String>())
}

fn one_table(result: &SimilarityResult, measures: &[Measure]) -> String {
    let mut headings = vec!["domain", "samples"];
    headings.extend(measures.iter().map(|measure| measure.label()));
    let effects: Vec<Measure> = measures.iter().copied().filter(|m| !m.about().effect.is_empty()).collect();
    headings.extend(effects.iter().map(|measure| measure.about().effect));
    let row = |name: &str, distances: &Distances| -> Vec<String> {
        let value = |&measure: &Measure| {
            let Estimate { value, q, .. } = distances[measure];
            let mark = if q.is_some_and(|q| q < 0.05) { "*" } else { "" };
            value.map_or("–".into(), |v| format!("{}{mark}", fixed(v, 4)))
        };
        let effect = |measure: &Measure| distances.effects.get(measure).map_or("–".into(), |v| fixed(*v, 3));
        let values = measures.iter().map(value).chain(effects.iter().map(effect));
        [name.to_owned(), distances.samples.to_string()].into_iter().chain(values).collect()
    };
    let band = |&measure: &Measure| {
        result.null[measure].ci95.map_or("–".into(), |[low, high]| format!("{} to {}", fixed(low, 4), fixed(high, 4)))
    };
    let mut band: Vec<String> =
        ["95 % of its parts".to_owned(), String::new()].into_iter().chain(measures.iter().map(band)).collect();
    band.resize(headings.len(), String::new());
    let rows = result.domains.iter().map(|d| row(&d.domain, &d.distances));
    output::table(&headings, rows.chain([row("reference against itself", &result.null), band]))
}
