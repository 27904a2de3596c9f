//! The one result of a command, on standard output.

use std::io::Write;

use odyssey::error::{Error, Result};
use odyssey::shown::{fixed, is_invisible, visible, visible_lines};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter};

use super::common::Common;
use super::monitor;
use super::say::{print, printed};

/// Prints `value` as JSON, with what was read of texts beside it, or `table` as text.
pub fn result(common: &Common, value: &impl Serialize, table: impl FnOnce() -> String) -> Result<()> {
    put(common, || with_read(value), table)
}

/// The same where the JSON is that of a file which is kept: to the letter.
pub fn kept(common: &Common, value: &impl Serialize, table: impl FnOnce() -> String) -> Result<()> {
    put(common, || json(value), table)
}

fn put(common: &Common, json: impl FnOnce() -> Result<String>, table: impl FnOnce() -> String) -> Result<()> {
    let text = match common.json {
        true => json()?,
        false => visible_lines(&table()),
    };
    printed(|| print(format!("{}\n", text.trim_end()).as_bytes()))
}

/// The result as JSON, with what was read of each text as `read`.
fn with_read(value: &impl Serialize) -> Result<String> {
    let (mut text, read) = (json(value)?, monitor::read());
    // As text, because numbers of 32 bits would look different if they went through a JSON value.
    if let Some(open) = text.strip_suffix("\n}").filter(|_| !read.is_empty()).map(str::len) {
        let more = json(&serde_json::json!({ "read": read }))?;
        text.truncate(open);
        text.push(',');
        text.push_str(&more[1..]);
    }
    Ok(text)
}

/// Indented JSON. Invisible characters are written as `\u202e`, which every reader takes for the same: as they are, they
/// would be commands to the terminal that shows them.
fn json(value: &impl Serialize) -> Result<String> {
    let failed = |e: &dyn std::fmt::Display| Error::numeric(format!("the result is no JSON: {e}"));
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Visible(PrettyFormatter::new()));
    value.serialize(&mut serializer).map_err(|e| failed(&e))?;
    String::from_utf8(out).map_err(|e| failed(&e))
}

/// Writes strings without invisible characters.
struct Visible(PrettyFormatter<'static>);

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> std::io::Result<()> {
        let mut from = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| is_invisible(*c)) {
            writer.write_all(&fragment.as_bytes()[from..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            from = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[from..])
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// A table of rows under headings, numbers to the right.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    use comfy_table::{CellAlignment, Table, presets};
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(headings.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| visible(cell)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// What a strategy did, in a line: its name, and what it says by key.
pub fn strategy_line(name: &str, did: &Value) -> String {
    let number = |value: &Value| match value.as_f64().filter(|_| value.is_f64()) {
        Some(number) => fixed(number, 4),
        None => value.to_string(),
    };
    let words = did.as_object().into_iter().flatten();
    let words: Vec<String> = words.map(|(key, value)| format!("{} {}", key.replace('_', " "), number(value))).collect();
    format!("{name}: {}\n", words.join(", "))
}
