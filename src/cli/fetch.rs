//! `odyssey fetch`: models and data sets from the hub.

use odyssey::error::Result;
use odyssey::hub::{FetchedFile, FileState, Hub, Kind, Name};

use super::common::Common;
use super::output;

/// Fetch a model, adapter or data set from the Hugging Face hub into its ordinary cache, checked by hash.
///
/// Only the files of a model that this program reads are fetched. Names of models and data sets also work in other
/// commands, which fetch missing files. This command fetches them ahead of time and checks the files in the cache.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  odyssey fetch gpt2
  odyssey fetch EleutherAI/pythia-70m --revision step1000
  odyssey fetch machelreid/m2d2/data/cs.CL.tar.gz
  odyssey fetch --dataset owner/texts --file '*.jsonl.zst'

Environment:
  HF_ENDPOINT     the hub, if it is not https://huggingface.co
  HF_TOKEN        for models and data sets that ask who you are
  HF_HUB_CACHE    the cache, if it is not hub/ in HF_HOME or ~/.cache/huggingface
  HF_HUB_OFFLINE  1: use the cache only
  HF_HUB_DOWNLOAD_TIMEOUT  seconds without an answer after which a request is given up; 30 by default")]
pub struct Args {
    /// NAME or OWNER/NAME; of a data set also a file or folder in it: OWNER/NAME/FILE.
    #[arg(value_name = "NAME")]
    name: String,
    /// A branch, tag or commit; the newest commit of `main` by default.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// NAME is a data set; a name with a file in it always is one.
    #[arg(long)]
    dataset: bool,
    /// It is an adapter; OWNER/NAME/FOLDER where it is in a folder of the repository.
    #[arg(long, conflicts_with = "dataset")]
    adapter: bool,
    /// Only the files that fit one of these; `*` and `?` stand for any characters and for one.
    #[arg(long, num_args = 1.., value_name = "PATTERN")]
    file: Vec<String>,
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    let is_dataset = args.dataset || args.name.split('@').next().is_some_and(|name| name.matches('/').count() > 1);
    let kind = match (args.adapter, is_dataset) {
        (true, _) => Kind::Adapter,
        (_, true) => Kind::Dataset,
        _ => Kind::Model,
    };
    let name = Name::parse(kind, &args.name)?;
    let name = match &args.revision {
        Some(revision) => name.at(revision)?,
        None => name,
    };
    let mut monitor = common.monitor();
    let result = Hub::new().fetch(&name, &args.file, &mut monitor)?;
    drop(monitor);
    output::result(common, &result, || {
        let row = |file: &FetchedFile| {
            let state = match file.state {
                FileState::Fetched => "fetched",
                FileState::Cached => "in the cache",
            };
            vec![file.path.clone(), size(file.bytes), state.to_owned()]
        };
        let rows = result.files.iter().map(row);
        format!(
            "{}\ncommit {}\nin {}",
            output::table(&["file", "size", "from"], rows),
            result.revision,
            result.path.display()
        )
    })
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
