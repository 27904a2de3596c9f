//! Measures what is known about a domain before training, on its texts and those of the reference corpus, with the
//! base.

use std::path::Path;

use super::features::{Feature, Features};
use super::learn::{Known, Trained, evidence, recipe};
use crate::adapt::data::TrainingWindows;
use crate::adapt::timing::tokens_per_second;
use crate::adapt::{AdaptSettings, trained_tokens};
use crate::compare::LossProfile;
use crate::device::ChosenDevice;
use crate::error::{Error, Result};
use crate::evaluate::{ProtocolResult, ScoredStream};
use crate::memory::{MemoryPlan, Work};
use crate::message::Message;
use crate::model::{LanguageModel, LoadedModel, Precision};
use crate::perplexity::Evaluation;
use crate::progress::{Monitor, Watched};
use crate::similarity::embed::Embedder;
use crate::similarity::extract::Hidden;
use crate::similarity::{Distances, Reference, TestSettings};
use crate::study::config::{EvaluationSettings, SIMILARITY_SEED, SimilaritySettings, TextSettings};
use crate::text::{Corpus, Domain, Overlap, Split, TokenStream, Vocabulary, open_corpus};

/// The question that advice answers.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The base.
    pub base: &'a LoadedModel,
    /// The base's name in tables.
    pub model: &'a str,
    /// The corpus it was pretrained on, or a sample of it.
    pub reference: &'a Path,
    /// The domain: a folder with splits, or one corpus.
    pub domain: &'a Path,
    /// The recipe in question.
    pub recipe: &'a AdaptSettings,
    /// How texts become tokens.
    pub text: TextSettings,
    /// How perplexity is measured.
    pub evaluation: EvaluationSettings,
    /// How distances are measured.
    pub similarity: SimilaritySettings,
    /// Seed of everything random.
    pub seed: u64,
    /// Where it is computed.
    pub device: &'a ChosenDevice,
}

/// A text to score, with the base's scores of it.
#[derive(Debug, Clone)]
pub(super) struct Scored {
    pub stream: TokenStream,
    pub before: ScoredStream,
    pub profile: LossProfile,
}

/// The measured values.
pub(super) struct Gathered {
    pub domain: String,
    pub features: Features,
    /// The same measures for the reference corpus itself: their values when there is no distance.
    pub null: Features,
    pub distances: Distances,
    pub protocol: ProtocolResult,
    pub test: Scored,
    pub reference: Scored,
    pub train: TokenStream,
    pub valid: TokenStream,
    pub trained: Trained,
    pub caveats: Vec<String>,
}

/// With fewer scored tokens or documents than these a loss is too uncertain.
const FEW_TOKENS: usize = 2000;
const FEW_DOCUMENTS: u64 = 10;
/// From this share of test 13-grams in the training text on, a gain may come from memorised text.
const LEAK: f64 = 0.05;

impl Question<'_> {
    /// Reads the texts and measures the evidence before training.
    pub(super) fn gather(&self, monitor: &mut dyn Monitor) -> Result<Gathered> {
        self.recipe.check(self.base.config.context())?;
        if self.base.precision != Precision::F32 && self.recipe.adapters().is_none() {
            return Err(Error::input(
                format!("a base held in {}", self.base.precision),
                "training its weights needs them in f32",
                Message::new("use ").set("dtype", "f32").then(", or ").set("strategy", "lora"),
            ));
        }
        let longest = self.base.config.context();
        let chunk = self.similarity.check(longest)?;
        let tokenizer = self.base.tokenizer()?;
        let vocabulary = Vocabulary::new(tokenizer.as_ref(), self.base.config.vocabulary());
        let options = self.text.stream();
        let EvaluationSettings { protocol, context, stride, .. } = self.evaluation;
        let (config, rule) = (&self.base.config, self.text.document);
        let protocol =
            ProtocolResult::for_model(protocol, [context, stride], config, tokenizer.as_ref(), rule, &options)?;
        let evaluation = Evaluation::new(self.base, tokenizer.as_ref(), protocol);
        let stream = |corpus: &Corpus, monitor: &mut dyn Monitor| {
            self.base.stream(corpus, tokenizer.as_ref(), Watched::by(&options, monitor))
        };

        let domain = Domain::open(self.domain, Watched::by(self.text.read(), monitor))?;
        let splits = |split, monitor: &mut dyn Monitor| domain.split(Watched::by(split, monitor));
        let [train, valid, test] =
            [splits(Split::Train, monitor)?, splits(Split::Valid, monitor)?, splits(Split::Test, monitor)?];
        let held_out = valid.documents.bytes().max(test.documents.bytes());
        let documents = test.documents.len() as u64;
        let reference = Domain::open(self.reference, Watched::by(self.text.read(), monitor))?;
        let of_reference = reference.split(Watched::by(Split::Test, monitor))?;
        // As much text as the restart control of a study is tested on.
        let of_reference = if reference.is_divided() { of_reference.first(held_out)? } else { of_reference };

        let scored = |corpus: &Corpus, monitor: &mut dyn Monitor| -> Result<Scored> {
            let stream = evaluation.read(corpus, monitor)?;
            let before = evaluation.score(&self.base.model, &stream, monitor)?;
            let profile = LossProfile::of(&before, &vocabulary);
            Ok(Scored { stream, before, profile })
        };
        let (test, held_out) = (scored(&test, monitor)?, scored(&of_reference, monitor)?);
        let (train, valid) = (stream(&train, monitor)?, stream(&valid, monitor)?);

        let (model, device) = (&self.base.model, &self.base.device);
        let embedder = Embedder { model, device, vocabulary: &vocabulary, chunk, hidden: Hidden::default() };
        let SimilaritySettings { samples, reference_samples, .. } = self.similarity;
        let corpus = open_corpus(self.reference, Split::Train, Watched::by(self.text.read(), monitor))?;
        let sample = embedder.sample(&stream(&corpus, monitor)?, reference_samples, monitor)?;
        let of_domain = embedder.sample(&train, samples, monitor)?;
        // Advice uses the distances, not their tests.
        let tests = TestSettings { permutations: 0, resamples: 0, ..self.similarity.tests(SIMILARITY_SEED) };
        let kernel = tests.fit(&sample, of_domain.features.as_ref().ok());
        let reference = Reference::new(sample, vocabulary.len(), SIMILARITY_SEED).with_kernel(kernel);
        let null = reference.against_itself(samples, of_domain.counts.unigrams.total(), &tests, device, monitor)?;
        let distances = reference.test(&of_domain, &tests, device, monitor)?;

        let weights = LanguageModel::weight_count(&self.base.config)?;
        let (trained, available) = (self.trained(&train)?, train.ids.len() as u64);
        let known = |profile, distances| Known {
            base_loss: Some(profile),
            reference_loss: Some(&held_out.profile),
            distances,
            null: Some(&null),
            available_tokens: Some(available),
            parameters: Some(weights),
        };
        let recipe = recipe(self.recipe, false, trained);
        let features = evidence(&known(&test.profile, &distances)).with(&recipe);
        let mut of_null = evidence(&known(&held_out.profile, &null)).with(&recipe);
        // The spread between documents is a property of the domain, so it is not compared.
        of_null.set(Feature::DocumentSd, features.get(Feature::DocumentSd));
        let caveats = caveats(&test, documents, &Overlap::of(&train, &test.stream, self.base.config.eos_token_id));
        Ok(Gathered {
            domain: domain.name,
            features,
            null: of_null,
            distances,
            protocol: evaluation.protocol,
            test,
            reference: held_out,
            train,
            valid,
            trained,
            caveats,
        })
    }

    fn windows(&self, train: &TokenStream) -> Result<TrainingWindows> {
        let context = self.recipe.window_length(self.base.config.context());
        TrainingWindows::new(train.clone(), context, self.recipe.packing, self.recipe.order, self.seed)
    }

    /// How long the recipe trains on this text.
    pub(super) fn trained(&self, train: &TokenStream) -> Result<Trained> {
        let windows = self.windows(train)?;
        let (steps, per_epoch) = self.recipe.steps(windows.len())?;
        Ok(Trained { steps, tokens: trained_tokens(&windows, self.recipe, steps, per_epoch) })
    }

    /// Tokens per second of training: one micro-batch is run first, the second is timed.
    pub(super) fn tokens_per_second(&self, train: &TokenStream, monitor: &mut dyn Monitor) -> Result<f64> {
        let windows = self.windows(train)?;
        let most = self.recipe.micro_batch.min(self.recipe.batch).min(windows.len());
        let batch = windows.micro_batch(&(0..most).collect::<Vec<_>>());
        tokens_per_second(self.base, self.recipe, &batch, self.seed, monitor)
    }

    /// What training on this text takes of memory.
    pub(super) fn plan(&self, train: &TokenStream) -> Result<MemoryPlan> {
        let work = Work::training(self.recipe, &self.base.config, self.base.precision)?;
        MemoryPlan::new(&self.base.config, work.within(train.ids.len()), self.device)
    }
}

fn caveats(test: &Scored, documents: u64, overlap: &Overlap) -> Vec<String> {
    let mut caveats = Vec::new();
    let scored = test.profile.scored;
    if scored < FEW_TOKENS {
        caveats.push(format!("the test text has {scored} scored tokens: its loss is hardly known"));
    }
    if documents < FEW_DOCUMENTS {
        caveats.push(format!("the test text has {documents} documents: how much documents differ is hardly known"));
    }
    if let Some(share) = overlap.test_13grams_in_train.filter(|share| *share > LEAK) {
        caveats.push(format!(
            "{:.0} % of the test text's runs of 13 tokens stand in the training text: a gain may be memory",
            100.0 * share
        ));
    }
    caveats
}
