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
mod asks;
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
mod pages;
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
mod wording;

pub use app::App;
pub use asks::{Ask, Asks};
pub use pages::Page;
pub use window::{WindowOptions, run};
