//! `odyssey gui`: the desktop application.

use std::path::PathBuf;

use odyssey::error::Result;

/// Open the desktop application: scatter, domain cards, live training.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  odyssey gui\n  odyssey gui study\n  odyssey gui all-my-studies")]
pub struct Args {
    /// The folder of a study, or a folder of studies.
    dir: Option<PathBuf>,
    /// Draw without pause; with -v, say at the end how long frames took.
    #[arg(long)]
    frame_times: bool,
}

#[cfg(feature = "gui")]
pub fn run(args: &Args) -> Result<()> {
    let options = odyssey::gui::WindowOptions {
        folder: args.dir.as_deref(),
        interrupted: Some(super::signals::is_interrupted),
        frame_times: args.frame_times,
    };
    odyssey::gui::run(options)
}

#[cfg(not(feature = "gui"))]
pub fn run(_args: &Args) -> Result<()> {
    let cure = "install it with its application: `cargo install --path . --features gui`";
    Err(odyssey::error::Error::input("gui", "this program was built without its desktop application", cure))
}
