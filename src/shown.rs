//! How text and numbers are shown to people. Names, file names, tokens and what models bring along may hold commands to a
//! terminal, or characters that turn the order of others round: whatever prints, logs or draws text passes it through here.

/// Text in which everything invisible can be seen: ⏎ for a line break, ⇥ for a tab, `\u{202e}` and the like for control
/// characters and those that have no shape or change the order of others. Spaces stay.
pub fn visible(text: &str) -> String {
    written(text, |c| match c {
        '\n' => Some('⏎'),
        '\t' => Some('⇥'),
        _ => None,
    })
}

/// The same of a text of several lines: its line breaks stay.
pub fn visible_lines(text: &str) -> String {
    written(text, |c| match c {
        '\n' => Some('\n'),
        '\t' => Some('⇥'),
        _ => None,
    })
}

/// Text on one line as messages quote it: line breaks and tabs are `\n` and `\t`.
pub fn quoted(text: &str) -> String {
    written(text, |_| None)
}

fn written(text: &str, instead: impl Fn(char) -> Option<char>) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match instead(c) {
            Some(other) => out.push(other),
            None if c.is_control() => out.extend(c.escape_default()),
            None if is_invisible(c) => out.extend(c.escape_unicode()),
            None => out.push(c),
        }
    }
    out
}

/// Whether a character has no shape of its own: control characters, marks that turn the order of others round, joiners,
/// fillers and tags.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{fffe}'
            | '\u{ffff}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// A token as text, its spaces as ·.
pub fn visible_token(text: &str) -> String {
    if text.is_empty() { "(empty)".to_owned() } else { visible(text).replace(' ', "·") }
}

/// From here on a number is written as `1.234e8`: more digits are not read any more.
const LARGE: f64 = 1e6;

/// A number with so many decimals; from a million on as `1.234e8`, and a dash where it is none.
pub fn fixed(value: f64, decimals: usize) -> String {
    match value {
        value if !value.is_finite() => "–".to_owned(),
        value if value.abs() < LARGE => format!("{value:.decimals$}"),
        value => format!("{value:.3e}"),
    }
}

/// A number as it was given; from a million on as `1e308`.
pub fn plain(value: f64) -> String {
    if value.is_finite() && value.abs() >= LARGE { format!("{value:e}") } else { value.to_string() }
}

/// [`fixed`] with its sign, also a plus.
pub fn signed(value: f64, decimals: usize) -> String {
    match value {
        value if !value.is_finite() => "–".to_owned(),
        value if value.abs() < LARGE => format!("{value:+.decimals$}"),
        value => format!("{value:+.3e}"),
    }
}

/// What a spreadsheet takes for the beginning of a formula.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// A cell of a table for spreadsheets. A number stays one; text that would be run as a formula gets an apostrophe before
/// it, as OWASP recommends, and what is invisible in it is escaped.
pub fn cell(text: &str) -> String {
    if text.parse::<f64>().is_ok_and(f64::is_finite) {
        return text.to_owned();
    }
    let text = visible(text);
    if text.starts_with(FORMULA) { format!("'{text}") } else { text }
}

/// The text of which [`cell()`] made a cell.
pub fn of_cell(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| text.starts_with(FORMULA)).unwrap_or(cell)
}
