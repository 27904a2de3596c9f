//! Classes of tokens: which kinds of token carry a change. Function words are English.

use serde::{Deserialize, Serialize};

use super::tokenizer::Tokenizer;

/// The class of a token, from its text alone: the first in this order that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenClass {
    /// Holds a line break.
    Newline,
    /// White space only.
    Whitespace,
    /// Neither letter nor digit: punctuation and symbols, with or without white space before.
    Punctuation,
    /// Digits only (of any script), with or without white space before.
    Digit,
    /// Begins a word and is one of [`FUNCTION_WORDS`], in upper or lower case.
    FunctionWord,
    /// Holds a letter and begins a word: there is white space before it.
    WordStart,
    /// Holds a letter and continues the word before it.
    WordPiece,
    /// Anything else: special tokens, bytes that are not a whole character, digits mixed with punctuation.
    Other,
}

impl TokenClass {
    /// All classes.
    pub const ALL: [Self; 8] = [
        Self::Newline,
        Self::Whitespace,
        Self::Punctuation,
        Self::Digit,
        Self::FunctionWord,
        Self::WordStart,
        Self::WordPiece,
        Self::Other,
    ];

    /// The name in results: "newline", "function_word", ….
    pub fn name(self) -> &'static str {
        match self {
            Self::Newline => "newline",
            Self::Whitespace => "whitespace",
            Self::Punctuation => "punctuation",
            Self::Digit => "digit",
            Self::FunctionWord => "function_word",
            Self::WordStart => "word_start",
            Self::WordPiece => "word_piece",
            Self::Other => "other",
        }
    }

    /// The class of a token, from its text as [`Tokenizer::token_text`] gives it.
    ///
    /// `marks_word_starts` says whether the vocabulary tells a token that begins a word (" the") from one that does not
    /// ("the"). Without such marks, as in a vocabulary of whole words, every token with a letter begins a word.
    pub fn of(token_text: &str, marks_word_starts: bool) -> Self {
        if token_text.is_empty() || token_text.contains(char::REPLACEMENT_CHARACTER) {
            return Self::Other;
        }
        if token_text.contains('\n') {
            return Self::Newline;
        }
        let body = token_text.trim_start();
        if body.is_empty() {
            return Self::Whitespace;
        }
        if body.chars().all(char::is_numeric) {
            return Self::Digit;
        }
        if !body.chars().any(char::is_alphanumeric) {
            return Self::Punctuation;
        }
        if !body.chars().any(char::is_alphabetic) {
            return Self::Other;
        }
        if marks_word_starts && body.len() == token_text.len() {
            return Self::WordPiece;
        }
        match FUNCTION_WORDS.binary_search(&body.to_lowercase().as_str()) {
            Ok(_) => Self::FunctionWord,
            Err(_) => Self::WordStart,
        }
    }
}

/// The class of every id below `vocabulary`, `[vocabulary]`. Ids that the tokenizer does not know and its special tokens
/// are [`TokenClass::Other`].
pub fn classes(tokenizer: &Tokenizer, vocabulary: usize) -> Vec<TokenClass> {
    let texts: Vec<String> = (0..u32::MAX)
        .take(vocabulary)
        .map(|id| if tokenizer.is_special(id) { String::new() } else { tokenizer.token_text(id) })
        .collect();
    let marks_word_starts = texts.iter().any(|text| {
        let body = text.trim_start();
        body.len() < text.len() && body.starts_with(char::is_alphabetic)
    });
    texts.iter().map(|text| TokenClass::of(text, marks_word_starts)).collect()
}

/// English words that say little by themselves: articles, pronouns and determiners, prepositions, conjunctions,
/// auxiliary verbs and negation. Sorted.
#[rustfmt::skip]
pub const FUNCTION_WORDS: &[&str] = &[
    "a", "about", "above", "across", "after", "against", "all", "along", "although", "am", "among", "an", "and",
    "another", "any", "anybody", "anyone", "anything", "are", "around", "as", "at", "be", "because", "been", "before",
    "behind", "being", "below", "beneath", "beside", "between", "beyond", "both", "but", "by", "can", "cannot", "could",
    "despite", "did", "do", "does", "doing", "down", "during", "each", "either", "every", "everybody", "everyone",
    "everything", "except", "for", "from", "had", "has", "have", "having", "he", "her", "hers", "herself", "him",
    "himself", "his", "how", "i", "if", "in", "inside", "into", "is", "it", "its", "itself", "may", "me", "might",
    "mine", "must", "my", "myself", "neither", "no", "nobody", "none", "nor", "not", "nothing", "of", "off", "on",
    "onto", "or", "our", "ours", "ourselves", "out", "outside", "over", "per", "shall", "she", "should", "since", "so",
    "some", "somebody", "someone", "something", "such", "than", "that", "the", "their", "theirs", "them", "themselves",
    "there", "these", "they", "this", "those", "though", "through", "throughout", "till", "to", "toward", "towards",
    "under", "unless", "until", "up", "upon", "us", "was", "we", "were", "what", "whatever", "when", "whenever",
    "where", "whereas", "wherever", "whether", "which", "whichever", "while", "who", "whoever", "whom", "whose", "why",
    "will", "with", "within", "without", "would", "yet", "you", "your", "yours", "yourself", "yourselves",
];
