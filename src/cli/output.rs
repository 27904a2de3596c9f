//! The one result of a command, on standard output, and what is said beside it on standard error.

use std::io::{ErrorKind, Write};
use std::time::Duration;

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
    printed(|| print(format!("{}\n", text.trim_end()).as_bytes()))
}

/// What came of printing something on standard output.
pub fn printed(print: impl FnOnce() -> std::io::Result<()>) -> Result<()> {
    let closed = || Err(std::io::Error::other("it is closed"));
    match if standard_output::was_closed() { closed() } else { print() } {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()), // the reader has seen enough
        done => done.map_err(Error::printing),
    }
}

/// Writes to standard output, also to one that takes a part at a time and asks to come again.
fn print(mut text: &[u8]) -> std::io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(10);
    let mut out = std::io::stdout().lock();
    loop {
        let done = if text.is_empty() { out.flush().map(|()| 0) } else { out.write(text) };
        match done {
            Ok(0) if text.is_empty() => return Ok(()),
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => text = &text[written..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
            Err(e) => return Err(e),
        }
    }
}

/// Says a line on standard error. Where that is full, closed, or a terminal that is gone, nobody hears it, and work goes on.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Standard error for logs, which never fails.
pub struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = std::io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether standard output was there when the program started. Rust opens /dev/null in the place of one that is closed, and
/// takes one that cannot be written to for written: a result would be gone without a word.
mod standard_output {
    use std::sync::atomic::{AtomicBool, Ordering};

    static CLOSED: AtomicBool = AtomicBool::new(false);

    pub fn was_closed() -> bool {
        CLOSED.load(Ordering::Relaxed)
    }

    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    extern "C" fn look() {
        // SAFETY: it asks for the state of a descriptor, which need not be open.
        let flags = unsafe { libc::fcntl(1, libc::F_GETFL) };
        CLOSED.store(flags == -1 || flags & libc::O_ACCMODE == libc::O_RDONLY, Ordering::Relaxed);
    }

    // Called before `main`, and so before Rust looks.
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    #[used]
    #[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
    #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
    static LOOK: extern "C" fn() = look;
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
