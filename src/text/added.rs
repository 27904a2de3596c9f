//! The tokens that a tokenizer puts around every text.

use tokenizers::{Encoding, Token};

/// The tokens that the post-processor of a tokenizer puts around a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Added {
    /// In front of it: `<s>` or `[CLS]`.
    pub before: Vec<u32>,
    /// Behind it: `[SEP]`.
    pub after: Vec<u32>,
}

/// The tokens that the post-processor puts around a sequence, found by processing one.
pub(super) fn added_around(tokenizer: &tokenizers::Tokenizer) -> tokenizers::Result<Added> {
    const SEQUENCE: u32 = u32::MAX;
    let encoding = Encoding::from_tokens(vec![Token::new(SEQUENCE, "a".to_owned(), (0, 1))], 0);
    let processed = tokenizer.post_process(encoding, None, true)?;
    let mut sides = processed.get_ids().split(|&id| id == SEQUENCE).map(<[u32]>::to_vec);
    Ok(Added { before: sides.next().unwrap_or_default(), after: sides.next().unwrap_or_default() })
}
