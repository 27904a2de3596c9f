//! Results as people read them: `results.json`, `results.csv`, `report.html` and the figures of a study.
//!
//! Everything is drawn from [`crate::study::StudyResults`] alone, so the same results give the same bytes. Which values are
//! shown, where and how, is said in [`crate::columns`].

pub mod ablation;
pub mod advice;
mod answer;
mod axis;
mod balance;
mod before_after;
pub mod calls;
mod card;
pub mod correlations;
pub mod csv;
pub mod distances;
mod draw;
mod figure;
pub mod page;
mod palette;
mod panels;
pub mod plots;
mod rates;
mod render;
pub mod table;
mod words;
mod write;

pub use answer::answer;
pub use figure::{Figure, Guides, Kind, drawable, short, slug};
pub use palette::PALETTE;
pub use words::handful_sentence;
pub use write::{ReportPaths, check_folder, write};

pub use crate::columns::written::{
    MISSING, coefficient, count, delta, interval, p_phrase, p_value, percent, significant,
};
pub use crate::columns::{Direction, Outcome, arm, class_label, outcomes, word};
pub use crate::shown::{visible, visible_token};
