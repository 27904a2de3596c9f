//! The one result of a command, on standard output.

use std::io::{ErrorKind, Write};
use std::path::Path;

use odyssey::error::{Error, Result};
use serde::Serialize;

use super::{Common, monitor};

/// Prints `value` as JSON, with what was read of texts beside it, or `table` as text.
pub fn result(common: &Common, value: &impl Serialize, table: impl FnOnce() -> String) -> Result<()> {
    print(common, || with_read(value), table)
}

/// The same where the JSON is that of a file which is kept: to the letter.
pub fn kept(common: &Common, value: &impl Serialize, table: impl FnOnce() -> String) -> Result<()> {
    print(common, || serde_json::to_string_pretty(value), table)
}

fn print(
    common: &Common,
    json: impl FnOnce() -> serde_json::Result<String>,
    table: impl FnOnce() -> String,
) -> Result<()> {
    let text = match common.json {
        true => json().map_err(|e| Error::Numeric(format!("the result is no JSON: {e}")))?,
        false => table(),
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(text.trim_end().as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()), // the reader has seen enough
        done => done.map_err(|e| Error::writing(Path::new("standard output"), e)),
    }
}

/// The result as JSON, with what was read of each text as `read`.
fn with_read(value: &impl Serialize) -> serde_json::Result<String> {
    let (mut text, read) = (serde_json::to_string_pretty(value)?, monitor::read());
    // As text, because numbers of 32 bits would look different if they went through a JSON value.
    if let Some(open) = text.strip_suffix("\n}").filter(|_| !read.is_empty()).map(str::len) {
        let more = serde_json::to_string_pretty(&serde_json::json!({ "read": read }))?;
        text.truncate(open);
        text.push(',');
        text.push_str(&more[1..]);
    }
    Ok(text)
}

/// A table of rows under headings, numbers to the right.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    use comfy_table::{CellAlignment, Table, presets};
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(headings.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}
