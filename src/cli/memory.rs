//! What a run needs, before it starts: `--dtype` and `--dry-run`.

use std::path::{Path, PathBuf};

use odyssey::device::ChosenDevice;
use odyssey::error::Result;
use odyssey::memory::{Alternative, MemoryPlan, Work};
use odyssey::model::ModelConfig;
use odyssey::process::bytes;
use odyssey::progress::Watched;
use odyssey::text::{ReadOptions, Split, StreamOptions, Tokenizer, open_corpus};
use serde::Serialize;

use super::common::Common;
use super::output;

/// A plan with its options as on the command line.
#[derive(Serialize)]
struct Worded<'a> {
    #[serde(flatten)]
    plan: &'a MemoryPlan,
    options: Vec<WordedOption>,
}

#[derive(Serialize)]
struct WordedOption {
    option: String,
    needs_bytes: u64,
    fits: Option<bool>,
}

impl<'a> Worded<'a> {
    fn new(plan: &'a MemoryPlan, common: &Common) -> Self {
        let worded = |option: &Alternative| WordedOption {
            option: option.worded(&common.wording),
            needs_bytes: option.needs_bytes,
            fits: option.fits,
        };
        Self { plan, options: plan.options.iter().map(worded).collect() }
    }
}

/// What reads texts: the configuration and the tokenizer of a model that is not loaded yet.
pub struct Reader {
    folder: PathBuf,
    /// What `config.json` says.
    pub config: ModelConfig,
    /// The tokenizer, if the folder has one.
    pub tokenizer: Option<Tokenizer>,
}

/// Texts that a model will read.
pub struct Texts<'a> {
    /// Where they are, and which split is taken.
    pub read: &'a [(&'a Path, Split)],
    /// How files become documents.
    pub reading: ReadOptions,
    /// How documents become a stream.
    pub stream: StreamOptions,
    /// Whether windows end where documents do.
    pub by_document: bool,
}

impl Reader {
    /// Of the model in `folder`.
    pub fn of(folder: &Path) -> Result<Self> {
        let (config, tokenizer) = (ModelConfig::read(folder)?, Tokenizer::find(folder)?);
        Ok(Self { folder: folder.to_owned(), config, tokenizer })
    }

    /// Whether the model has room for `work` on `texts`; refused where it has not. With `dry_run` the plan is the result.
    pub fn plan(
        &self,
        work: Work,
        texts: &Texts<'_>,
        dry_run: bool,
        chosen: &ChosenDevice,
        common: &Common,
    ) -> Result<()> {
        let longest = |most| self.longest(texts, most, common);
        let plan = MemoryPlan::for_texts(&self.config, work, chosen, dry_run, longest)?;
        match dry_run {
            true => output::result(common, &Worded::new(&plan, common), || table(&plan, common)),
            false => plan.require(&self.folder),
        }
    }

    /// The longest window of `texts`, at most `most` tokens. What would have to be fetched first may have windows of any
    /// length.
    fn longest(&self, texts: &Texts<'_>, most: usize, common: &Common) -> Result<usize> {
        let Texts { read, reading, stream, by_document } = texts;
        let mut longest = 1;
        for (path, split) in *read {
            if longest >= most || !path.exists() {
                return Ok(most);
            }
            let mut monitor = common.monitor();
            let corpus = open_corpus(path, *split, Watched::by(reading.clone(), &mut monitor))?;
            let options = Watched::by(stream, &mut monitor);
            let tokenizer = self.tokenizer.as_ref();
            longest = longest.max(self.config.longest_reading(&corpus, tokenizer, *by_document, most, options)?);
        }
        Ok(longest)
    }
}

fn table(plan: &MemoryPlan, common: &Common) -> String {
    let word = |fits: Option<bool>| match fits {
        Some(true) => "fits",
        Some(false) => "does not fit",
        None => "not known",
    };
    let parts = plan.parts.iter().map(|part| vec![part.what.to_owned(), bytes(part.bytes)]);
    let free = match &plan.bound_by {
        Some(bound) => format!("free on this device ({bound})"),
        None => "free on this device".to_owned(),
    };
    let whole = vec![
        vec!["in all".to_owned(), bytes(plan.needs_bytes)],
        vec![free, plan.has_bytes.map_or("not known".to_owned(), bytes)],
    ];
    let largest =
        plan.largest_micro_batch.map(|n| format!("; the largest micro-batch that fits is {n}")).unwrap_or_default();
    let options =
        plan.options.iter().map(|o| vec![o.worded(&common.wording), bytes(o.needs_bytes), word(o.fits).to_owned()]);
    let obstacle = plan.obstacle.as_ref().map(|obstacle| format!(": {obstacle}")).unwrap_or_default();
    let reason = plan.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!(
        "{}\n{:.1} million weights; {}{obstacle}{reason}{largest}\n\n{}",
        output::table(&["what", "memory"], parts.chain(whole)),
        plan.parameters as f64 / 1e6,
        word(plan.fits),
        output::table(&["or with", "memory", ""], options),
    )
}
