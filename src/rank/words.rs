//! Words and sentences, by rules that need no model and, except for a few abbreviations, no language.

use std::ops::Range;

/// Short forms whose full stop ends no sentence, in lower case. A single letter is one too.
const ABBREVIATIONS: [&str; 34] = [
    "al", "approx", "art", "bros", "ca", "cf", "co", "col", "corp", "dept", "dr", "ed", "eds", "eq", "etc", "fig",
    "figs", "gen", "inc", "jr", "lt", "ltd", "mr", "mrs", "ms", "no", "nos", "pp", "prof", "rev", "sec", "sr", "st",
    "vs",
];

/// The words of a text as byte ranges, in order: runs of letters, digits and `_`, with a hyphen, dash or apostrophe between two
/// of them (`state-of-the-art`, `don't`).
pub fn words(text: &str) -> Vec<Range<usize>> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let is_joint = |c: char| matches!(c, '-' | '\'' | '’' | '\u{2010}' | '\u{2011}' | '–');
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut joint = None; // end of the word that a joint has just followed
    let mut previous = '\0';
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        match words.last_mut() {
            Some(word) if is_part(c) && (word.end == at || joint == Some(word.end)) => word.end = end,
            _ if is_part(c) => words.push(at..end),
            _ => {}
        }
        joint =
            words.last().map(|word| word.end).filter(|&word_end| is_joint(c) && word_end == at && is_part(previous));
        previous = c;
    }
    words
}

/// Whether the characters between two words allow them to belong to one phrase: spaces, or the line break of a text
/// that is wrapped, after which a small letter follows.
pub fn joins(gap: &str, next: &str) -> bool {
    let breaks = gap.matches('\n').count();
    !gap.is_empty()
        && gap.chars().all(char::is_whitespace)
        && (breaks == 0 || breaks == 1 && next.starts_with(char::is_lowercase))
}

/// The sentences of a text as byte ranges without white space at their ends.
///
/// A sentence ends at `.`, `!` or `?`, closing quotes and brackets after it included, before white space and anything but
/// a small letter, unless the full stop follows a single letter or a common short form ("Dr."). It also ends at a line
/// break, unless a small letter follows, as in text that is wrapped.
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut end_here = |end: usize| {
        let piece = &text[start..end];
        let from = start + (piece.len() - piece.trim_start().len());
        if !piece.trim().is_empty() {
            sentences.push(from..from + piece.trim().len());
        }
        start = end;
    };
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let after = at + c.len_utf8();
        let mut next = after;
        let ends = match c {
            '\n' => {
                let rest = text[after..].trim_start_matches([' ', '\t', '\r']);
                !rest.starts_with(char::is_lowercase)
            }
            '.' | '!' | '?' => {
                let closers = |c: char| matches!(c, '"' | '\'' | ')' | ']' | '”' | '’' | '»');
                let rest = text[after..].trim_start_matches(closers);
                next = text.len() - rest.len();
                let following = rest.trim_start_matches([' ', '\t']);
                following.len() < rest.len()
                    && !following.starts_with(char::is_lowercase)
                    && !(c == '.' && next == after && is_short_form(&text[start_of_word(text, at)..at]))
            }
            _ => false,
        };
        if ends {
            end_here(next);
        }
        at = next;
    }
    end_here(text.len());
    sentences
}

/// Where the letters that end at `end` begin.
fn start_of_word(text: &str, end: usize) -> usize {
    end - text[..end].chars().rev().take_while(|c| c.is_alphanumeric()).map(char::len_utf8).sum::<usize>()
}

fn is_short_form(word: &str) -> bool {
    let mut letters = word.chars();
    let single = letters.next().is_some_and(char::is_alphabetic) && letters.next().is_none();
    single || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

/// The form in which two equal sentences agree: their words in lower case, separated by a space.
pub fn normalised(sentence: &str) -> String {
    let words: Vec<String> = words(sentence).into_iter().map(|word| sentence[word].to_lowercase()).collect();
    words.join(" ")
}
