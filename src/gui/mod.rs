//! The desktop application: a face over the same library calls as the command line.
//!
//! A page is a struct with its visible state and a `show` that draws it. Nothing is computed while drawing: what a page
//! shows of a study is prepared when the study is opened ([`opened`]), what takes long happens on threads
//! ([`background`], [`queue`]). A page changes only itself. It requests changes of the whole application through
//! [`Asks`].
//!
//! Read [`app`] first; `home`, `new_study`, `live`, `study_page` and `devices` are the pages, and `scatter`, `table`, `card`,
//! `heat` and `strategies` what the page of a study shows.

pub mod against;
pub mod app;
pub mod background;
mod card;
mod curves;
mod devices;
pub mod export;
mod frames;
mod heat;
mod home;
pub mod library;
mod live;
mod marks;
mod new_study;
pub mod opened;
pub mod queue;
mod scatter;
pub mod settings;
mod sorting;
mod strategies;
mod study_page;
mod table;
pub mod theme;
mod tokens;
mod window;

use std::path::PathBuf;

pub use app::App;
pub use window::{WindowOptions, run};

use queue::Job;

/// The pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Page {
    /// Recent studies, and what to do first.
    #[default]
    Home,
    /// A form that makes a study.
    NewStudy,
    /// The opened study.
    Study,
    /// Running and waiting jobs.
    Live,
    /// The machine's devices and whether they compute right.
    Devices,
}

impl Page {
    /// All, in the order of the navigation.
    pub const ALL: [Self; 5] = [Self::Home, Self::NewStudy, Self::Study, Self::Live, Self::Devices];

    /// Its label in the navigation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Home => "Home",
            Self::NewStudy => "New study",
            Self::Study => "Study",
            Self::Live => "Live",
            Self::Devices => "Devices",
        }
    }
}

/// A request of a page to the application.
#[derive(Debug)]
pub enum Ask {
    /// Show this page.
    Go(Page),
    /// Ask which study to open.
    Choose,
    /// Open the study in this folder and show it.
    Open(PathBuf),
    /// Run this when its turn comes, and show how it goes.
    Run(Box<Job>),
    /// Say that something was done.
    Say(String),
    /// Say that something failed, and how to go on.
    Fail(String),
}

/// The requests of the pages during one frame.
#[derive(Debug, Default)]
pub struct Asks(Vec<Ask>);

impl Asks {
    /// One more.
    pub fn push(&mut self, ask: Ask) {
        self.0.push(ask);
    }
}
