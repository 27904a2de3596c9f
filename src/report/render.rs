//! A figure as SVG and as PNG.
//!
//! All figures are laid out on a canvas 1600 wide; the PNG has that many pixels, the SVG is shown at half of it. The
//! typeface is built in, so that no font of the system is needed and the same results give the same bytes.

use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::draw::{self, Drawn};
use super::figure::{Content, Figure, columns, short};
use super::panels;
use crate::disk::scratch;
use crate::error::{Error, Result};

/// The canvas's width in the units everything is laid out in.
const WIDTH: u32 = 1600;

impl Figure {
    /// The figure as an SVG document; its text is text.
    ///
    /// # Errors
    /// None that input could cause.
    pub fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, (WIDTH, self.height)).into_drawing_area();
        self.draw(&root).map_err(|e| self.failed(e))?;
        drop(root);
        let size = |w, h| format!("width=\"{w}\" height=\"{h}\" viewBox");
        Ok(svg.replacen(&size(WIDTH, self.height), &size(WIDTH / 2, self.height / 2), 1))
    }

    /// The figure as a PNG file's bytes, twice the SVG's size.
    ///
    /// # Errors
    /// When the system's folder for temporary files cannot be written: the encoder can only write files.
    pub fn png(&self) -> Result<Vec<u8>> {
        // The name is known: if this run is killed, the next one removes the folder.
        let figure = std::env::temp_dir().join("figure.png");
        scratch::sweep(&figure);
        let folder = scratch::folder_for(&figure).map_err(|e| self.failed(e))?;
        let path = folder.path().join("figure.png");
        let root = BitMapBackend::new(&path, (WIDTH, self.height)).into_drawing_area();
        self.draw(&root).map_err(|e| self.failed(e))?;
        drop(root);
        fs::read(&path).map_err(|e| Error::reading(&path, e))
    }

    fn failed(&self, e: impl std::error::Error) -> Error {
        Error::Io {
            path: Path::new("plots").join(&self.name),
            action: "draw",
            source: std::io::Error::other(e.to_string()),
        }
    }

    fn draw<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Drawn<DB> {
        draw::heading(root, &self.title, &short(&self.caption, 130))?;
        match &self.content {
            Content::Empty => draw::nothing(root)?,
            Content::Scatter { axis, marks, guides } => draw::scatter(root, &self.groups, axis, marks, guides)?,
            Content::Forest { marks, restart } => draw::forest(root, &self.groups, marks, *restart)?,
            Content::Balance { marks } => draw::balance(root, &self.groups, marks)?,
            Content::Losses { panels } => panels::losses(root, &self.groups, columns(panels.len()), panels)?,
            Content::Rates { panels } => panels::rates(root, &self.groups, columns(panels.len()), panels)?,
        }
        root.present()
    }
}
