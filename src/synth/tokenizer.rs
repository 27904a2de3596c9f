//! Tokenizers of synthetic corpora: one token per symbol.

use tokenizers::decoders::{fuse::Fuse, sequence::Sequence as Decoders, wordpiece::WordPiece};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::normalizers::Replace;
use tokenizers::pre_tokenizers::{sequence::Sequence as PreTokenizers, split::Split};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

/// Tokens before the first symbol's: `<|endoftext|>` and `<unk>`. Symbol s is token s + SPECIAL.
pub const SPECIAL: usize = 2;

/// A Hugging Face `tokenizer.json` with these symbols, which stand between spaces or are a line break.
///
/// Ids 0 and 1 are `<|endoftext|>` and `<unk>`; then follow the symbols. Decoding gives the text back.
pub(super) fn word_level(symbols: impl Iterator<Item = String>) -> String {
    // only the constants below could be refused, and a test builds them
    build(symbols).expect("a word-level tokenizer can be built and written")
}

fn build(symbols: impl Iterator<Item = String>) -> tokenizers::Result<String> {
    let special = ["<|endoftext|>", "<unk>"];
    let vocabulary = special.into_iter().map(str::to_owned).chain(symbols).zip(0..).collect();
    let mut tokenizer = Tokenizer::new(WordLevel::builder().vocab(vocabulary).unk_token("<unk>".to_owned()).build()?);
    tokenizer.add_special_tokens(special.map(|token| AddedToken::from(token, true)))?;
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![
        Split::new(" ", SplitDelimiterBehavior::Removed, false)?.into(),
        Split::new("\n", SplitDelimiterBehavior::Isolated, false)?.into(),
    ])));
    // a space before every token but the first ("##" begins no token), then none around line breaks
    tokenizer.with_decoder(Some(Decoders::new(vec![
        WordPiece::new("##".to_owned(), false).into(),
        Fuse::new().into(),
        Replace::new(" \n", "\n")?.into(),
        Replace::new("\n ", "\n")?.into(),
    ])));
    tokenizer.to_string(true)
}
