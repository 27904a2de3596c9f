//! Whether white space divides a text into words.

/// Characters of a text, and those of scripts that put no space between words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Letters {
    /// All of them.
    pub all: u64,
    /// Those of scripts without spaces between words.
    pub unspaced: u64,
}

/// Characters to a word from which on white space does not stand between words: minified code, DNA, base64. In prose
/// a word has 4 to 12 with the space after it, in code 6 to 15.
const LONGEST_MEAN: f64 = 20.0;
/// The same where some of the text is in a script without spaces; such a text that was divided by hand stays below.
const LONGEST_MEAN_UNSPACED: f64 = 8.0;
/// The share of characters that is some.
const FEW: f64 = 0.1;

impl Letters {
    /// Counts those of a text.
    pub fn add(&mut self, text: &str) {
        if text.is_ascii() {
            self.all += text.len() as u64;
            return;
        }
        for c in text.chars() {
            self.all += 1;
            self.unspaced += u64::from(is_unspaced(c));
        }
    }

    /// Why `words` that white space told apart are no words; `None` where they are, or nothing is known.
    pub fn no_words(&self, words: u64) -> Option<String> {
        if self.all == 0 || words == 0 {
            return None;
        }
        let share = self.unspaced as f64 / self.all as f64;
        let mean = self.all as f64 / words as f64;
        if share > FEW && mean > LONGEST_MEAN_UNSPACED {
            return Some(format!(
                "{:.0} % of the characters belong to scripts that put no space between words (such as Chinese, Japanese or \
                 Thai), so that white space does not divide the text into words",
                100.0 * share
            ));
        }
        (mean > LONGEST_MEAN).then(|| {
            format!("there is white space at every {mean:.0} characters only, so that it does not divide the text into words")
        })
    }
}

/// Thai, Lao, Tibetan, Burmese, Khmer and their neighbours, Chinese and Japanese (Korean has spaces).
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{fff}' // Thai, Lao, Tibetan
        | '\u{1000}'..='\u{109f}' // Burmese
        | '\u{1780}'..='\u{17ff}' // Khmer
        | '\u{1950}'..='\u{19ff}' // Tai Le, New Tai Lue, Khmer symbols
        | '\u{1a20}'..='\u{1aaf}' // Tai Tham
        | '\u{1b00}'..='\u{1b7f}' // Balinese
        | '\u{2e80}'..='\u{303f}' // radicals, ideographic punctuation
        | '\u{3040}'..='\u{312f}' // Hiragana, Katakana, Bopomofo
        | '\u{3190}'..='\u{4dbf}' // annotations, Katakana extensions, ideographs
        | '\u{4e00}'..='\u{9fff}' // ideographs
        | '\u{a000}'..='\u{a4cf}' // Yi
        | '\u{a980}'..='\u{a9df}' // Javanese
        | '\u{aa60}'..='\u{aadf}' // Burmese extended, Tai Viet
        | '\u{f900}'..='\u{faff}' // compatibility ideographs
        | '\u{ff00}'..='\u{ff9f}' // full-width forms, half-width Katakana
        | '\u{1aff0}'..='\u{1b16f}' // Kana
        | '\u{20000}'..='\u{3ffff}' // ideographs
    )
}
