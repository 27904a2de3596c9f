//! The tokenizer of a model: a Hugging Face `tokenizer.json`, run by the `tokenizers` crate.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tokenizers::{Decoder, Encoding, ModelWrapper, PostProcessorWrapper, Token};

use crate::error::{Error, Result};
use crate::files::hash_bytes;

/// A tokenizer that adds no special tokens, truncates nothing, pads nothing and drops no merges at random, whatever its
/// file says.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    hash: String,
    vocabulary_size: usize,
    bos_added: Option<u32>,
    special: BTreeSet<u32>,
}

/// A text as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids, `[tokens]`.
    pub ids: Vec<u32>,
    /// Byte offset in the text of the first character each token has a part of, `[tokens]`; the tokens of one
    /// character share its offset. The space that a token begins with belongs to it.
    pub starts: Vec<u64>,
}

impl Tokenizer {
    /// Loads `tokenizer.json` of a model folder.
    ///
    /// # Errors
    /// [`Error::Input`] where the folder has none, and as [`Tokenizer::from_file`].
    pub fn load(model_folder: &Path) -> Result<Self> {
        let path = model_folder.join("tokenizer.json");
        if model_folder.is_dir() && !path.exists() {
            return Err(Error::file(
                model_folder,
                "has no tokenizer.json, which is needed to read text",
                "put the model's tokenizer.json there (transformers writes one with \
                 `AutoTokenizer.from_pretrained(…).save_pretrained(…)`), or give corpora as token ids (.jsonl with `ids`)",
            ));
        }
        Self::from_file(&path)
    }

    /// Loads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Input`] where the file is missing or is not a tokenizer.
    pub fn from_file(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| Error::reading(path, e))?;
        let broken = |e: tokenizers::Error| {
            let fault = format!("not a tokenizer in the format of the tokenizers library: {e}");
            Error::file(path, fault, "get the tokenizer.json of this model again")
        };
        // The library panics on some malformed files, such as a template with a token that is not in its list.
        let (inner, bos_added) = catch_unwind(|| prepare(&bytes))
            .unwrap_or_else(|_| Err("its parts do not fit together".into()))
            .map_err(broken)?;
        let largest = inner.get_vocab(true).into_values().max();
        let special = inner.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special);
        Ok(Self {
            path: path.to_owned(),
            hash: hash_bytes(&bytes),
            vocabulary_size: largest.map_or(0, |id| id as usize + 1),
            bos_added,
            special: special.map(|(id, _)| id).collect(),
            inner,
        })
    }

    /// SHA-256 of the file.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The largest id, those of added tokens included, plus one.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    /// Tokenises each text by itself, all of them in parallel. Special tokens written out in a text
    /// (`<|endoftext|>`) are read as such.
    ///
    /// # Errors
    /// [`Error::Input`] where the tokenizer has no token for something in a text.
    pub fn encode(&self, texts: &[&str]) -> Result<Vec<Encoded>> {
        let encode = |text: &&str| {
            let encoding = self.inner.encode(*text, false).map_err(|e| {
                let fault = format!("cannot tokenise this text: {e}");
                Error::file(&self.path, fault, "use a tokenizer with an unknown token or with byte fallback")
            })?;
            Ok(Encoded {
                ids: encoding.get_ids().to_vec(),
                starts: encoding.get_offsets().iter().map(|&(start, _)| start as u64).collect(),
            })
        };
        texts.par_iter().map(encode).collect()
    }

    /// A token as it is printed in the middle of a text: "Ġthe" and "▁the" are " the", "Ċ" and "<0x0A>" a line break.
    /// Bytes that are no character by themselves become U+FFFD; an id without a token is "".
    pub fn token_text(&self, id: u32) -> String {
        // Decoders strip the space at the start of a text, so the token is decoded after something else.
        const BEFORE: &str = "x";
        let Some(token) = self.inner.id_to_token(id) else { return String::new() };
        let Some(decoder) = self.inner.get_decoder() else { return token };
        match decoder.decode(vec![BEFORE.to_owned(), token.clone()]) {
            Ok(text) => text.strip_prefix(BEFORE).map_or(token, str::to_owned),
            Err(_) => token,
        }
    }

    /// The begin-of-text id that the tokenizer itself puts in front of a text (its post-processor does), if any.
    pub fn bos_added(&self) -> Option<u32> {
        self.bos_added
    }

    /// Id of a token by its exact name ("<|endoftext|>", "Ġthe").
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether an id is a special token (`<s>`, `<|endoftext|>`), which stands for no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }
}

/// The tokenizer in these bytes, with what must not happen switched off, and the token it adds in front.
fn prepare(bytes: &[u8]) -> tokenizers::Result<(tokenizers::Tokenizer, Option<u32>)> {
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes)?;
    tokenizer.with_truncation(None)?;
    tokenizer.with_padding(None);
    if let ModelWrapper::BPE(model) = tokenizer.get_model()
        && model.dropout.is_some()
    {
        let mut model = model.clone();
        model.dropout = None;
        tokenizer.with_model(model);
    }
    let bos_added = first_added(&tokenizer)?;
    // It would add nothing more, but it may move offsets past the space that a token begins with.
    tokenizer.with_post_processor(None::<PostProcessorWrapper>);
    Ok((tokenizer, bos_added))
}

/// What the post-processor puts before a sequence, found by processing one.
fn first_added(tokenizer: &tokenizers::Tokenizer) -> tokenizers::Result<Option<u32>> {
    const SEQUENCE: u32 = u32::MAX;
    let encoding = Encoding::from_tokens(vec![Token::new(SEQUENCE, "a".to_owned(), (0, 1))], 0);
    let processed = tokenizer.post_process(encoding, None, true)?;
    Ok(processed.get_ids().first().copied().filter(|&id| id != SEQUENCE))
}
