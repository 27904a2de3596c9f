//! The desktop application.
#![cfg(feature = "gui")]

mod app;
#[path = "../common/cli.rs"]
mod cli;
#[path = "../common/gui.rs"]
mod gui;
mod live;
#[path = "../common/made_up.rs"]
mod made_up;
mod snapshots;
mod study;
#[path = "../common/window.rs"]
mod window;
