//! Corpora, domains, tokenizers, token streams and token classes.

#[path = "../common/cli.rs"]
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod corpora;
mod faces;
mod formats;
mod guards;
mod lines;
mod overlap;
mod pieces;
mod references;
mod settings;
mod sources;
mod splits;
mod spools;
mod streams;
mod synth;
mod tokens;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use odyssey::device::DeviceChoice;
use odyssey::error::Error;
use odyssey::model::LoadedModel;
use odyssey::text::token_class::{FUNCTION_WORDS, TokenClass, classes};
use odyssey::text::{
    Bos, Corpus, Document, DocumentRule, Domain, Encoded, Join, Newlines, ReadOptions, Split, StreamOptions,
    TokenStream, Tokenizer, Vocabulary, open_corpus,
};
use serde_json::{Value, json};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(path: PathBuf, content: impl AsRef<[u8]>) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

fn texts(corpus: &Corpus) -> Vec<&str> {
    corpus.texts().unwrap().collect()
}

fn text_corpus(documents: &[&str]) -> Corpus {
    Corpus::new(Path::new("books.txt"), None, documents.iter().map(|text| Document::Text(text))).unwrap()
}

fn ids_corpus(documents: &[&[u32]]) -> Corpus {
    Corpus::new(Path::new("books.jsonl"), None, documents.iter().map(|ids| Document::Ids(ids))).unwrap()
}

/// Demands an input error whose message holds each of `parts`.
#[track_caller]
fn assert_input_error<T>(result: Result<T, Error>, parts: &[&str]) {
    let Err(error) = result else { panic!("expected an error about {parts:?}") };
    assert!(matches!(error, Error::Input { .. }), "{error:?}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
}

/// Byte-level BPE: ids 0..256 are the bytes, then "he", "Ġt", "Ġthe", and the special <|endoftext|> and <s>.
fn byte_level_json() -> Value {
    let alphabet: BTreeSet<char> = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    let pieces = alphabet.into_iter().map(String::from).chain(["he", "Ġt", "Ġthe"].map(str::to_owned));
    let vocab: serde_json::Map<String, Value> = pieces.zip(0..).map(|(piece, id)| (piece, json!(id))).collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [special(EOT, "<|endoftext|>"), special(BOS, "<s>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
                  "merges": [["h", "e"], ["Ġ", "t"], ["Ġt", "he"]]}
    })
}

const EOT: u32 = 259;
const BOS: u32 = 260;
const VOCABULARY: usize = 261;

/// A post-processor that puts `before` and `after` (special tokens) around a text.
fn template(before: &[&str], after: &[&str], id: u32) -> Value {
    let token = |name: &&str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let tokens: Vec<&&str> = before.iter().chain(after).collect();
    let known: serde_json::Map<String, Value> =
        tokens.iter().map(|n| (n.to_string(), json!({"id": n, "ids": [id], "tokens": [n]}))).collect();
    let single: Vec<Value> = before
        .iter()
        .map(token)
        .chain([json!({"Sequence": {"id": "A", "type_id": 0}})])
        .chain(after.iter().map(token))
        .collect();
    let pair = [single.clone(), vec![json!({"Sequence": {"id": "B", "type_id": 1}})]].concat();
    json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": known})
}

/// SentencePiece-like BPE with byte fallback, as Llama's: <unk>, <s>, 256 bytes, then pieces.
fn byte_fallback_json() -> Value {
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let pieces = ["<unk>", "<s>"].map(str::to_owned).into_iter().chain(bytes);
    let pieces = pieces.chain(["▁", "t", "h", "e", "▁t", "he", "▁the"].map(str::to_owned));
    let vocab: serde_json::Map<String, Value> = pieces.zip(0..).map(|(piece, id)| (piece, json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "pre_tokenizer": null,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "post_processor": template(&["<s>"], &[], 1),
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
                  "merges": [["▁", "t"], ["h", "e"], ["▁t", "he"]]}
    })
}

fn word_level_json(unknown: &str) -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": unknown,
                  "vocab": {"[UNK]": 0, "the": 1, "Cat": 2, ".": 3, "1999": 4, "sat": 5}}
    })
}

fn tokenizer(json: &Value) -> Tokenizer {
    let folder = folder();
    write(folder.path().join("tokenizer.json"), json.to_string());
    Tokenizer::load(folder.path()).unwrap()
}

fn byte_level() -> Tokenizer {
    tokenizer(&byte_level_json())
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Encoded {
    tokenizer.encode(&[text]).unwrap().remove(0)
}

fn options(join: Join) -> StreamOptions {
    StreamOptions { join, ..StreamOptions::default() }
}

fn stream(corpus: &Corpus, options: &StreamOptions) -> Result<TokenStream, Error> {
    TokenStream::build(corpus, Some(&byte_level()), Some(EOT), None, VOCABULARY, options)
}

fn printed(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|&id| tokenizer.token_text(id)).collect()
}
