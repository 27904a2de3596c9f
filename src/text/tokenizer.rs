//! The tokenizer of a model, run by the `tokenizers` crate: a Hugging Face `tokenizer.json`, or the vocabulary and
//! merges of GPT-2 in older folders.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokenizers::{Decoder, ModelWrapper, PostProcessorWrapper};

use super::added::{Added, added_around};
use super::growth::growth;
use super::time_limit::{NoAnswer, within};
use super::token_bytes;
use super::tokenizer_settings::TokenizerSettings;
use crate::error::{Error, Result};
use crate::files::{self, hash_bytes, read_json};
use crate::guard;

/// A tokenizer without special tokens, truncation, padding and random dropping of merges, also if its file has them.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    pub(super) inner: Arc<tokenizers::Tokenizer>,
    path: PathBuf,
    hash: String,
    vocabulary_size: usize,
    added: Added,
    special: BTreeSet<u32>,
    /// The token that stands for what the vocabulary lacks.
    unknown: Option<u32>,
}

/// A text as tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids, `[tokens]`.
    pub ids: Vec<u32>,
    /// Byte offset in the text of the first character each token has a part of, `[tokens]`; the tokens of one
    /// character share its offset. The space that a token begins with belongs to it.
    pub starts: Vec<u64>,
}

/// Seconds that the shortest text may take to be tokenised, and bytes for which there is one more: a hundredth of the speed
/// of slow tokenizers on slow processors.
const PATIENCE: u64 = 30;
const BYTES_A_SECOND: usize = 20_000;

/// The largest tokenizer that is read, bytes.
const LARGEST: u64 = 1 << 30;

/// A vocabulary and its merges in one format under two pairs of file names: those of transformers and the original
/// ones.
const PAIRS: [[&str; 2]; 2] = [["vocab.json", "merges.txt"], ["encoder.json", "vocab.bpe"]];

impl Tokenizer {
    /// Loads the tokenizer of a model folder: `tokenizer.json`, or where there is none `vocab.json` with `merges.txt` (or
    /// `encoder.json` with `vocab.bpe`), which are read as GPT-2's.
    ///
    /// # Errors
    /// [`Error::Input`] where the folder has neither, with the way to convert a `tokenizer.model` (SentencePiece) if
    /// the folder has one, and as [`Tokenizer::from_file`] and [`Tokenizer::from_pair`].
    pub fn load(model_folder: &Path) -> Result<Self> {
        let path = model_folder.join("tokenizer.json");
        if !model_folder.is_dir() {
            return Self::from_file(&path);
        }
        if let Some(tokenizer) = Self::find(model_folder)? {
            return Ok(tokenizer);
        }
        let sentencepiece = model_folder.join("tokenizer.model");
        if sentencepiece.exists() {
            let fault = "is a SentencePiece model, and what is read is tokenizer.json";
            return Err(Error::file(&sentencepiece, fault, conversion(model_folder)));
        }
        Err(Error::file(
            model_folder,
            "has no tokenizer.json (nor vocab.json with merges.txt), which is needed to read text",
            "put the model's tokenizer.json there (transformers writes one with \
             `AutoTokenizer.from_pretrained(…).save_pretrained(…)`), or give corpora as token ids (.jsonl with `ids`)",
        ))
    }

    /// As [`Tokenizer::load`]; `None` where the folder has no tokenizer that can be read.
    ///
    /// # Errors
    /// [`Error::Input`] where it has one that is broken.
    pub fn find(model_folder: &Path) -> Result<Option<Self>> {
        let path = model_folder.join("tokenizer.json");
        if path.exists() {
            return Self::from_file_with(&path, &TokenizerSettings::read(model_folder)?).map(Some);
        }
        let pair = PAIRS.map(|names| names.map(|name| model_folder.join(name)));
        match pair.iter().find(|pair| pair.iter().all(|path| path.exists())) {
            Some([vocabulary, merges]) => Self::from_pair(vocabulary, merges).map(Some),
            None => Ok(None),
        }
    }

    /// Loads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Input`] where the file is missing or is not a tokenizer.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_file_with(path, &TokenizerSettings::default())
    }

    fn from_file_with(path: &Path, settings: &TokenizerSettings) -> Result<Self> {
        if path.metadata().is_ok_and(|metadata| metadata.len() > LARGEST) {
            return Err(Error::file(path, "is larger than 1 GiB, expected a tokenizer", "get the tokenizer again"));
        }
        let bytes = files::read(path)?;
        let hash = hash_bytes(&bytes);
        Self::from_json(path, bytes, hash, settings)
    }

    /// Loads a byte-level BPE with GPT-2's settings from its vocabulary (a JSON object, token to id) and merges (two
    /// tokens a line, the most frequent first), with the `added_tokens.json` beside them, if any.
    ///
    /// # Errors
    /// [`Error::Input`] where a file is missing or broken, where the two do not fit together, and where
    /// `tokenizer_config.json` beside them names another kind of tokenizer, which would give other ids.
    pub fn from_pair(vocabulary: &Path, merges: &Path) -> Result<Self> {
        let folder = vocabulary.parent().unwrap_or(Path::new("."));
        check_settings(folder)?;
        let read = |path: &Path| files::read(path);
        let added = folder.join("added_tokens.json");
        let files = [read(vocabulary)?, read(merges)?, if added.exists() { read(&added)? } else { Vec::new() }];
        let vocab: Map<String, Value> = parse_vocabulary(vocabulary, &files[0])?;
        let extra = if files[2].is_empty() { Map::new() } else { parse_vocabulary(&added, &files[2])? };
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
            "added_tokens": added_tokens(&vocab, &extra),
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                      "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
                      "vocab": vocab, "merges": parse_merges(merges, &files[1])?},
        });
        let hashes: Vec<String> = files.iter().map(|bytes| hash_bytes(bytes)).collect();
        let hash = hash_bytes(hashes.join("\n").as_bytes());
        let settings = TokenizerSettings::read(folder)?;
        let read = Self::from_json(vocabulary, tokenizer.to_string().into_bytes(), hash, &settings)?;
        // The library gives added tokens the next ids after the vocabulary and ignores the ids in the file.
        match extra.iter().find(|(token, id)| read.id_of(token).map(u64::from) != id.as_u64()) {
            Some((token, id)) => {
                let fault = format!("gives {token:?} the id {id}, which does not follow the vocabulary's");
                Err(Error::file(&added, fault, conversion(folder)))
            }
            None => Ok(read),
        }
    }

    /// The tokenizer in these bytes, with the settings beside it; `path` is its name in messages.
    fn from_json(path: &Path, bytes: Vec<u8>, hash: String, settings: &TokenizerSettings) -> Result<Self> {
        let broken = |e: tokenizers::Error| {
            let fault = format!("not a tokenizer in the format of the tokenizers library: {e}");
            Error::file(path, fault, "get the tokenizer of this model again")
        };
        let limit = patience(bytes.len());
        let unknown = unknown_of_unigram(&bytes);
        // The library panics on some malformed files, such as a template with a token that is not in its list.
        let (inner, added) = within(limit, move || growth(&bytes).and_then(|()| prepare(&bytes)))
            .map_err(|fault| match fault {
                NoAnswer::Panicked => broken("its parts do not fit together".into()),
                other => no_answer(path, other, limit),
            })?
            .map_err(broken)?;
        let (inner, changes) = guard::without_panic(|| {
            let mut inner = inner;
            let applied = settings.apply(path, &mut inner)?;
            // It would add nothing, but it may move offsets past the space at the start of a token.
            inner.with_post_processor(None::<PostProcessorWrapper>);
            Ok((inner, applied.changes))
        })
        .unwrap_or_else(|| Err("its parts do not fit together".into()))
        .map_err(broken)?;
        // Where the settings change nothing, the file alone says what it is.
        let hash =
            if changes.is_empty() { hash } else { hash_bytes(format!("{hash}\n{}", changes.join("\n")).as_bytes()) };
        let largest = inner.get_vocab(true).into_values().max();
        let special = inner.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special);
        let mut read = Self {
            path: path.to_owned(),
            hash,
            vocabulary_size: largest.map_or(0, |id| id as usize + 1),
            added,
            special: special.map(|(id, _)| id).collect(),
            unknown: None,
            inner: Arc::new(inner),
        };
        read.unknown = read.unknown_token().or(unknown);
        Ok(read)
    }

    /// SHA-256 of the file, or of the SHA-256 of each of its files; it does not depend on their names.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The largest id, those of added tokens included, plus one.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    /// The file it was read from, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Tokenises each text by itself, all of them in parallel. Special tokens written out in a text
    /// (`<|endoftext|>`) are read as such.
    ///
    /// # Errors
    /// [`Error::Input`] where the tokenizer has no token for something in a text, where its library panics, and where it
    /// takes a hundred times as long as a slow one would.
    pub fn encode<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Encoded>> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        // A thread of the pool that waits for the pool would wait for itself.
        let is_in_pool = rayon::current_thread_index().is_some();
        let texts: Vec<String> = texts.iter().map(|text| text.as_ref().to_owned()).collect();
        let limit = patience(texts.iter().map(String::len).sum());
        let inner = Arc::clone(&self.inner);
        // On the threads of the pool, whose memory of words is kept.
        let encode = move || -> Result<Vec<Encoded>, tokenizers::Error> {
            let one =
                |text: &String| guard::without_panic(|| encode_one(&inner, text)).unwrap_or_else(|| Err(PANIC.into()));
            match is_in_pool {
                true => texts.iter().map(one).collect(),
                false => texts.par_iter().map(one).collect(),
            }
        };
        within(limit, encode).map_err(|fault| no_answer(&self.path, fault, limit))?.map_err(|e| {
            let said = e.to_string();
            match said == PANIC {
                true => no_answer(&self.path, NoAnswer::Panicked, limit),
                false => {
                    let fault = format!("cannot tokenise this text: {said}");
                    Error::file(&self.path, fault, "use a tokenizer with an unknown token or with byte fallback")
                }
            }
        })
    }

    /// Tokenises a text as a whole, which takes some 400 bytes for each token of it.
    pub(super) fn encode_one(&self, text: &str) -> Result<Encoded> {
        Ok(self.encode(&[text])?.pop().unwrap_or_default())
    }

    /// A token as it is printed in the middle of a text: "Ġthe" and "▁the" are " the", "Ċ" and "<0x0A>" a line break.
    /// Bytes that are no character by themselves become U+FFFD; an id without a token is "".
    pub fn token_text(&self, id: u32) -> String {
        // Decoders strip the space at the start of a text, so the token is decoded after another token.
        const BEFORE: &str = "x";
        let Some(token) = self.inner.id_to_token(id) else { return String::new() };
        let Some(decoder) = self.inner.get_decoder() else { return token };
        match guard::without_panic(|| decoder.decode(vec![BEFORE.to_owned(), token.clone()])) {
            Some(Ok(text)) => text.strip_prefix(BEFORE).map_or(token, str::to_owned),
            _ => token,
        }
    }

    /// The same for people: bytes that are no character by themselves are `<0xE2>` each, so that tokens which are different
    /// parts of characters are told apart.
    pub fn token_shown(&self, id: u32) -> String {
        let name = self.inner.id_to_token(id).unwrap_or_default();
        token_bytes::shown(&name, self.token_text(id))
    }

    /// The begin-of-text id that the tokenizer itself puts in front of a text (its post-processor does), if any.
    pub fn bos_added(&self) -> Option<u32> {
        self.added.before.first().copied()
    }

    /// The tokens that the tokenizer itself would put around a text.
    pub fn added(&self) -> &Added {
        &self.added
    }

    /// The token for text outside the vocabulary (`[UNK]`), if there is one.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    fn unknown_token(&self) -> Option<u32> {
        let token = match self.inner.get_model() {
            ModelWrapper::WordPiece(model) => Some(&model.unk_token),
            ModelWrapper::WordLevel(model) => Some(&model.unk_token),
            ModelWrapper::BPE(model) => model.unk_token.as_ref(),
            ModelWrapper::Unigram(_) => None, // the library does not give it
        };
        self.id_of(token?)
    }

    /// Id of a token by its exact name ("<|endoftext|>", "Ġthe").
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id as the vocabulary spells it ("Ġthe"), added ones included.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// What the library made of its file, by the keys of a `tokenizer.json`.
    pub(super) fn parts(&self) -> Value {
        serde_json::to_value(&self.inner).unwrap_or_default()
    }

    /// Whether an id is a special token (`<s>`, `<|endoftext|>`), which stands for no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }
}

/// What a text is refused with where the library panics on it.
const PANIC: &str = "the tokenizers library failed";

fn encode_one(inner: &tokenizers::Tokenizer, text: &str) -> tokenizers::Result<Encoded> {
    let encoding = inner.encode(text, false)?;
    Ok(Encoded {
        ids: encoding.get_ids().to_vec(),
        starts: encoding.get_offsets().iter().map(|&(start, _)| start as u64).collect(),
    })
}

/// How long the tokenizing of so many bytes may take.
fn patience(bytes: usize) -> Duration {
    Duration::from_secs(PATIENCE + (bytes / BYTES_A_SECOND) as u64)
}

/// The error for a tokenizer that gave no answer.
fn no_answer(path: &Path, fault: NoAnswer, limit: Duration) -> Error {
    let fault = match fault {
        NoAnswer::Panicked => {
            "the tokenizers library failed on it: its parts do not fit together, or its pattern takes \
                               more steps than any text needs"
                .to_owned()
        }
        NoAnswer::Overdue => format!(
            "takes longer than {} s for this text: its pattern, most likely, has a form whose time doubles with each \
             character",
            limit.as_secs()
        ),
        NoAnswer::NoThread(source) => return Error::Io { path: path.to_owned(), action: "start a thread for", source },
    };
    Error::file(
        path,
        fault,
        "get the tokenizer of this model again, or give the corpus as token ids (.jsonl with `ids`)",
    )
}

/// The id of the unknown token of a Unigram model, which its library keeps to itself.
fn unknown_of_unigram(bytes: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct File {
        model: Model,
    }
    #[derive(Deserialize)]
    struct Model {
        unk_id: Option<u32>,
    }
    serde_json::from_slice::<File>(bytes).ok()?.model.unk_id
}

/// How to make a `tokenizer.json` from the files of a folder.
fn conversion(folder: &Path) -> String {
    format!(
        "convert it with `python -c \"from transformers import AutoTokenizer as T; d = '{}'; \
         T.from_pretrained(d).save_pretrained(d)\"` (Python packages transformers, sentencepiece, protobuf), or give \
         corpora as token ids (.jsonl with `ids`)",
        folder.display()
    )
}

/// The settings of `tokenizer_config.json` that change ids.
#[derive(Deserialize)]
struct Settings {
    tokenizer_class: Option<String>,
    #[serde(default)]
    add_prefix_space: bool,
    #[serde(default)]
    add_bos_token: bool,
}

/// Refuses a folder whose vocabulary and merges do not work as those of GPT-2.
fn check_settings(folder: &Path) -> Result<()> {
    let path = folder.join("tokenizer_config.json");
    if !path.exists() {
        return Ok(());
    }
    let Settings { tokenizer_class, add_prefix_space, add_bos_token } = read_json(&path)?;
    let other = match tokenizer_class {
        Some(class) if !matches!(class.as_str(), "GPT2Tokenizer" | "GPT2TokenizerFast") => format!("class {class:?}"),
        _ if add_prefix_space => "`add_prefix_space`".to_owned(),
        _ if add_bos_token => "`add_bos_token`".to_owned(),
        _ => return Ok(()),
    };
    let fault =
        format!("names a tokenizer ({other}) that needs a tokenizer.json; without one only plain GPT-2's is read");
    Err(Error::file(&path, fault, conversion(folder)))
}

/// Tokens with their ids.
fn parse_vocabulary(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>> {
    let broken = |fault: String| Error::file(path, fault, "get the tokenizer of this model again");
    let tokens: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|e| broken(format!("not a vocabulary, an object of tokens and their ids: {e}")))?;
    match tokens.iter().find(|(_, id)| id.as_u64().is_none_or(|id| u32::try_from(id).is_err())) {
        Some((token, id)) => Err(broken(format!("the id of {token:?} is {id}, expected a number below 2^32"))),
        None => Ok(tokens),
    }
}

/// The pairs of a merges file: the first line may give its version.
fn parse_merges(path: &Path, bytes: &[u8]) -> Result<Vec<[String; 2]>> {
    let place = |number: usize| format!("{}: line {number}", path.display());
    let cure = "get the tokenizer of this model again";
    let text = str::from_utf8(bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        Error::input(place(line), "not UTF-8", cure)
    })?;
    let lines = (1..)
        .zip(text.lines())
        .filter(|(number, line)| !(line.is_empty() || *number == 1 && line.starts_with("#version")));
    lines
        .map(|(number, line)| match line.split(' ').collect::<Vec<_>>()[..] {
            [a, b] => Ok([a.to_owned(), b.to_owned()]),
            _ => {
                Err(Error::input(place(number), format!("{line:?} is no merge, two tokens with a space between"), cure))
            }
        })
        .collect()
}

/// `<|endoftext|>` where the vocabulary has it, and the tokens added to the vocabulary, by id.
fn added_tokens(vocab: &Map<String, Value>, extra: &Map<String, Value>) -> Vec<Value> {
    const END_OF_TEXT: &str = "<|endoftext|>";
    let of_vocabulary = vocab.iter().filter(|(token, _)| *token == END_OF_TEXT);
    let mut tokens: Vec<(&String, &Value)> =
        of_vocabulary.chain(extra.iter().filter(|(token, _)| *token != END_OF_TEXT)).collect();
    tokens.sort_by_key(|(_, id)| id.as_u64());
    let added = |(content, id): (&String, &Value)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    tokens.into_iter().map(added).collect()
}

/// The tokenizer in these bytes, with truncation, padding and dropout switched off, and the tokens that it adds.
fn prepare(bytes: &[u8]) -> tokenizers::Result<(tokenizers::Tokenizer, Added)> {
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
    let added = added_around(&tokenizer)?;
    Ok((tokenizer, added))
}
