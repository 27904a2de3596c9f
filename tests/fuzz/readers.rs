//! What each fuzz target does with its bytes, also run on every seed of `corpus/` by `tests/hostile.rs`.
//!
//! A reader answers, or refuses its file by an [`Error::Input`] of one printable line. Where it answers, the answer holds
//! to something: the same file reads the same twice, and what was read and written again reads the same.

use std::fs;
use std::io::Write;
use std::path::Path;

use odyssey::adapt::checkpoint::Checkpoint;
use odyssey::adapt::optimizer::{AdamW, AdamWConfig};
use odyssey::compare::compare;
use odyssey::device::{ChosenDevice, DeviceChoice};
use odyssey::error::{Error, Result};
use odyssey::evaluate::per_token;
use odyssey::files::{self, Array};
use odyssey::model::weights::{Precision, WeightFiles, WeightSource};
use odyssey::model::{Adapter, LoadedModel, ModelConfig, peft};
use odyssey::pretrain::PretrainConfig;
use odyssey::rank::PromptSet;
use odyssey::report::{answer, csv, page, plots, table};
use odyssey::similarity::encoder::folder::EncoderFolder;
use odyssey::similarity::{Features, cache, stored};
use odyssey::study::{self, Plan, StudyConfig, StudyResults};
use odyssey::text::{Corpus, DocumentRule, Domain, Split, Tokenizer, Vocabulary};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Gives a reader these bytes, and says whether it answered.
type Reader = fn(&[u8]) -> bool;

/// Every target with its reader; the folders of `corpus/` have these names.
pub const READERS: &[(&str, Reader)] = &[
    ("corpus_txt", corpus_txt),
    ("corpus_jsonl", corpus_jsonl),
    ("corpus_parquet", corpus_parquet),
    ("corpus_gzip", corpus_gzip),
    ("corpus_zstd", corpus_zstd),
    ("parquet_footer", parquet_footer),
    ("parquet_pages", parquet_pages),
    ("archive", archive),
    ("config", config),
    ("weights", weights),
    ("weight_index", weight_index),
    ("tokenizer_json", tokenizer_json),
    ("tokenizer_pair", tokenizer_pair),
    ("tokenizer_settings", tokenizer_settings),
    ("adapter", adapter),
    ("sentence_encoder", sentence_encoder),
    ("rank_prompts", rank_prompts),
    ("kept_features", kept_features),
    ("kept_sample", kept_sample),
    ("checkpoint", checkpoint),
    ("per_token", per_token_file),
    ("study_toml", study_toml),
    ("pretrain_toml", pretrain_toml),
    ("study_plan", study_plan),
    ("study_results", study_results),
];

/// A folder in memory where the system has such a place, so that fuzzing wears no disk.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

fn put(folder: &TempDir, name: &str, data: &[u8]) -> std::path::PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, data).expect("a file in the temporary folder");
    path
}

/// What was read; `None` for a refusal, which must be of the file and fit on a line of a terminal.
#[track_caller]
fn answered<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error @ Error::Input { .. }) => {
            let message = error.to_string();
            assert!(!message.contains(char::is_control), "a message with control characters: {message:?}");
            None
        }
        Err(other) => panic!("not an error of a file: {other:?}"),
    }
}

/// Reads a corpus by both rules. Written again as JSON lines, it is the same corpus.
fn corpus(name: &str, data: &[u8]) -> Option<String> {
    let folder = folder();
    let path = put(&folder, name, data);
    let read = |rule| answered(Corpus::read(&path, rule));
    let [by_line, whole] = [DocumentRule::BlankLine, DocumentRule::File].map(read);
    let hash = |corpus: &Option<Corpus>| corpus.as_ref().map(|corpus| corpus.hash.clone());
    if !name.starts_with("a.txt") {
        assert_eq!(hash(&by_line), hash(&whole), "the rule is for plain text");
    } else if by_line.is_some() != whole.is_some() {
        // Byte for byte, a byte-order mark is a character like any other.
        let whole = whole.expect("what has documents is not empty");
        let text: String = whole.texts().expect("a text").collect();
        assert_eq!(text.trim().trim_start_matches('\u{feff}').trim(), "");
    }
    assert_eq!(hash(&by_line), hash(&read(DocumentRule::BlankLine)));
    let corpus = by_line?;
    if let Ok(texts) = corpus.texts() {
        let lines: String = texts.map(|text| json!({ "text": text }).to_string() + "\n").collect();
        let again = Corpus::read(&put(&folder, "again.jsonl", lines.as_bytes()), DocumentRule::File);
        assert_eq!(again.expect("lines of texts").hash, corpus.hash);
    }
    Some(corpus.hash)
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// Plain text: documents between empty lines. Compressed, it is the same.
pub fn corpus_txt(data: &[u8]) -> bool {
    let plain = corpus("a.txt", data);
    assert_eq!(plain, corpus("a.txt.gz", &gzip(data)));
    assert_eq!(plain, corpus("a.txt.zst", &zstd::encode_all(data, 1).expect("memory takes everything")));
    plain.is_some()
}

/// One JSON object a line.
pub fn corpus_jsonl(data: &[u8]) -> bool {
    corpus("a.jsonl", data).is_some()
}

/// Apache Parquet.
pub fn corpus_parquet(data: &[u8]) -> bool {
    corpus("a.parquet", data).is_some()
}

/// What claims to be gzip.
pub fn corpus_gzip(data: &[u8]) -> bool {
    corpus("a.txt.gz", data).is_some()
}

/// What claims to be Zstandard.
pub fn corpus_zstd(data: &[u8]) -> bool {
    corpus("a.txt.zst", data).is_some()
}

/// A parquet file of one column, and where its pages end and its footer begins.
const PARQUET: &[u8] = include_bytes!("../fixtures/corpora/required.parquet");

fn parquet_pages_end() -> usize {
    let end = PARQUET.len() - 8;
    let length = [PARQUET[end], PARQUET[end + 1], PARQUET[end + 2], PARQUET[end + 3]];
    end - u32::from_le_bytes(length) as usize
}

/// The footer of a parquet file whose pages are in order, which fuzzing of whole files seldom gets to: Thrift's compact
/// protocol.
pub fn parquet_footer(data: &[u8]) -> bool {
    let pages = &PARQUET[..parquet_pages_end()];
    corpus("a.parquet", &[pages, data, &(data.len() as u32).to_le_bytes(), b"PAR1"].concat()).is_some()
}

/// The pages of a parquet file whose footer is in order.
pub fn parquet_pages(data: &[u8]) -> bool {
    let mut file = PARQUET.to_vec();
    let pages = &mut file[4..parquet_pages_end()];
    let length = data.len().min(pages.len());
    pages[..length].copy_from_slice(&data[..length]);
    corpus("a.parquet", &file).is_some()
}

/// A tar archive of a domain. Compressed, it is the same.
pub fn archive(data: &[u8]) -> bool {
    let folder = folder();
    let hashes = |name: &str, data: &[u8]| {
        let path = put(&folder, name, data);
        let domain = answered(Domain::open(&path, DocumentRule::BlankLine))?;
        Some(Split::ALL.map(|split| answered(domain.split(split)).map(|corpus| corpus.hash)))
    };
    let plain = hashes("a.tar", data);
    assert_eq!(plain, hashes("a.tar.gz", &gzip(data)));
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 2, "nothing is ever unpacked");
    plain.is_some()
}

/// A model's `config.json`.
pub fn config(data: &[u8]) -> bool {
    let folder = folder();
    put(&folder, "config.json", data);
    let Some(config) = answered(ModelConfig::read(folder.path())) else { return false };
    assert!(config.vocabulary() > 0 && config.context() > 0 && config.layers() > 0 && config.channels() > 0);
    let written = serde_json::to_vec(&config.json).expect("an object");
    put(&folder, "config.json", &written);
    assert_eq!(answered(ModelConfig::read(folder.path())), Some(config));
    true
}

/// A model's weights.
pub fn weights(data: &[u8]) -> bool {
    let folder = folder();
    put(&folder, "model.safetensors", data);
    let Some(mut files) = answered(WeightFiles::open(folder.path())) else { return false };
    let tensors = SafeTensors::deserialize(data).expect("it was opened");
    for (name, view) in tensors.iter() {
        assert!(files.has(name));
        let rows = 0..view.shape().first().copied().unwrap_or(1);
        let read = answered(files.read(name, view.shape(), rows, Precision::F32));
        let readable = matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16);
        // A single number has no rows, and no model has one.
        if readable && !view.shape().is_empty() {
            assert_eq!(read.map(|data| data.num_elements()), Some(view.shape().iter().product()), "{name}");
        }
    }
    answered(files.finish(false));
    true
}

/// The index of a model in shards. The shard `a` holds `x` and `y`, the shard `b` holds `z`.
pub fn weight_index(data: &[u8]) -> bool {
    const HELD: [(&str, &str); 3] = [("x", "a"), ("y", "a"), ("z", "b")];
    let folder = folder();
    let shard = |header: Value| {
        let header = header.to_string();
        [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &[0; 8]].concat()
    };
    let tensor =
        |start: usize, end: usize| json!({"dtype": "F32", "shape": [(end - start) / 4], "data_offsets": [start, end]});
    put(&folder, "a", &shard(json!({"x": tensor(0, 4), "y": tensor(4, 8)})));
    put(&folder, "b", &shard(json!({"z": tensor(0, 8)})));
    put(&folder, "model.safetensors.index.json", data);
    if answered(WeightFiles::open(folder.path())).is_none() {
        return false;
    }
    let index: Value = serde_json::from_slice(data).expect("it was read");
    for (tensor, shard) in index["weight_map"].as_object().expect("it was read") {
        assert!(HELD.contains(&(tensor, shard.as_str().unwrap_or(""))), "{tensor} is not in {shard}");
    }
    true
}

const TEXTS: [&str; 5] =
    ["", "a b", "The cat's café, 日本語 🙂\r\n\t <s></s>", "\u{0}\u{301}\u{202e}<|endoftext|>", "aaaaaaaa 12345"];

fn use_tokenizer(tokenizer: &Tokenizer) {
    let size = tokenizer.vocabulary_size();
    for text in TEXTS {
        let Some(encoded) = answered(tokenizer.encode(&[text])) else { continue };
        assert_eq!(encoded[0].ids.len(), encoded[0].starts.len());
        assert!(encoded[0].ids.iter().all(|&id| (id as usize) < size), "an id beyond the vocabulary");
        assert!(encoded[0].starts.iter().all(|&start| start <= text.len() as u64), "a token beyond the text");
    }
    for id in (0..size.min(300) as u32).chain([u32::MAX]) {
        tokenizer.token_text(id);
        tokenizer.is_special(id);
    }
    tokenizer.bos_added();
}

/// A `tokenizer.json`.
pub fn tokenizer_json(data: &[u8]) -> bool {
    let folder = folder();
    put(&folder, "tokenizer.json", data);
    let Some(tokenizer) = answered(Tokenizer::load(folder.path())) else { return false };
    let again = Tokenizer::load(folder.path()).expect("read once already");
    assert_eq!(tokenizer.hash(), again.hash());
    use_tokenizer(&tokenizer);
    true
}

/// Files of these names, with a NUL between them; what is empty is not there.
fn put_parts<const N: usize>(folder: &TempDir, names: [&str; N], data: &[u8]) {
    for (name, part) in names.into_iter().zip(data.splitn(N, |&byte| byte == 0)) {
        if !part.is_empty() {
            put(folder, name, part);
        }
    }
}

/// GPT-2's vocabulary, merges, added tokens and settings.
pub fn tokenizer_pair(data: &[u8]) -> bool {
    let folder = folder();
    put_parts(&folder, ["vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"], data);
    let Some(tokenizer) = answered(Tokenizer::load(folder.path())) else { return false };
    use_tokenizer(&tokenizer);
    true
}

/// What stands beside a `tokenizer.json` that is in order.
pub fn tokenizer_settings(data: &[u8]) -> bool {
    let folder = folder();
    put(&folder, "tokenizer.json", include_bytes!("corpus/tokenizer_json/bpe"));
    put_parts(&folder, ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"], data);
    let Some(tokenizer) = answered(Tokenizer::load(folder.path())) else { return false };
    let again = Tokenizer::load(folder.path()).expect("read once already");
    assert_eq!(tokenizer.hash(), again.hash());
    use_tokenizer(&tokenizer);
    true
}

/// An adapter of the tiny model: its settings and its weights.
pub fn adapter(data: &[u8]) -> bool {
    let folder = folder();
    put_parts(&folder, [peft::CONFIG, peft::WEIGHTS], data);
    let Some(adapter) = answered(Adapter::read(folder.path())) else { return false };
    let Some(adapted) = answered(adapter.attach(&tiny_model())) else { return false };
    assert!(adapted.model.has_adapters(), "it was read, so it adapts something");
    true
}

/// What a folder of a sentence encoder says of itself.
pub fn sentence_encoder(data: &[u8]) -> bool {
    let folder = folder();
    fs::create_dir(folder.path().join("1_Pooling")).expect("a folder");
    let names = [
        "config.json",
        "modules.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "tokenizer_config.json",
    ];
    put_parts(&folder, names, data);
    let Some(encoder) = answered(EncoderFolder::read(folder.path())) else { return false };
    assert!(encoder.longest >= 3 && encoder.body.starts_with(folder.path()));
    encoder.config.weight_count();
    true
}

/// Features that are kept, sealed, and of the text that is asked for.
pub fn kept_features(data: &[u8]) -> bool {
    const KEY: &str = "odyssey.features";
    let folder = folder();
    let asked = |value| {
        let computed = move || Ok(Features::new(1, 1, vec![value]).map_err(|e| e.to_string()));
        let (features, was_read) = cache::features(folder.path(), &json!({"text": 1}), computed).expect("features");
        (features.expect("one number or more"), was_read)
    };
    asked(0.5); // which makes the file, with its key
    let path = fs::read_dir(folder.path()).expect("the folder").next().expect("a file").expect("the folder").path();
    let whole = fs::read(&path).expect("a file");
    let (_, header) = SafeTensors::read_metadata(&whole).expect("written by the program");
    let key = header.metadata().as_ref().expect("a key")[KEY].clone();
    let Some(sealed) = sealed_with(data, KEY, key) else { return false };
    fs::write(&path, sealed).expect("a file");
    let (features, was_read) = asked(0.25);
    assert!(features.samples > 0 && features.values.len() == features.samples * features.dimension);
    assert!(features.values.iter().all(|value| value.is_finite()) && features.documents().len() == features.samples);
    assert!(was_read || features.values == [0.25]);
    features.units();
    was_read
}

/// A sample of a reference corpus. Written again it is the same.
pub fn kept_sample(data: &[u8]) -> bool {
    let folder = folder();
    let path = put(&folder, "sample.safetensors", data);
    let Some(sample) = answered(stored::read(&path)) else { return false };
    stored::write(&path, &sample).expect("a sample");
    let again = stored::read(&path).expect("written by the program");
    assert_eq!((&again.features, &again.counts), (&sample.features, &sample.counts));
    true
}

/// Prompts for the rank of words. Written again they are the same.
pub fn rank_prompts(data: &[u8]) -> bool {
    let folder = folder();
    let path = put(&folder, "prompts.jsonl", data);
    let Some(prompts) = answered(PromptSet::read(&path)) else { return false };
    prompts.write(&path).expect("prompts");
    assert_eq!(answered(PromptSet::read(&path)), Some(prompts));
    true
}

/// The smallest model there is: 4 tokens, 2 channels, one layer.
fn tiny_model() -> LoadedModel {
    let json = json!({
        "model_type": "gpt2", "vocab_size": 4, "n_positions": 4, "n_embd": 2, "n_layer": 1, "n_head": 1,
        "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
    });
    let Value::Object(json) = json else { unreachable!("the literal above is an object") };
    let ChosenDevice { device, .. } = DeviceChoice::Cpu.open().expect("the CPU backend");
    let config = ModelConfig::from_json("config.json", json).expect("a configuration");
    LoadedModel::random(config, Path::new("."), 1, &device).expect("random weights")
}

/// What determines the run whose checkpoint is read.
fn determined_by() -> Value {
    json!({"seed": 1})
}

/// The arrays and the metadata of a sealed file with the checksum that they need now: what fuzzing changes behind the
/// checksum is read too. `None` for what is no such file.
fn sealed_again(data: &[u8], key: &str) -> Option<Vec<u8>> {
    let (_, header) = SafeTensors::read_metadata(data).ok()?;
    sealed_with(data, key, header.metadata().as_ref()?.get(key)?.clone())
}

/// The same with this text in the metadata.
fn sealed_with(data: &[u8], key: &str, metadata: String) -> Option<Vec<u8>> {
    let folder = folder();
    let path = folder.path().join("sealed");
    let tensors = SafeTensors::deserialize(data).ok()?;
    let arrays = tensors.iter().filter(|(name, _)| *name != "sha256").map(|(name, view)| {
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        Array { name: name.to_owned(), dtype, shape, bytes: Box::new(move || Ok(view.data().to_vec().into())) }
    });
    files::write_sealed(&path, arrays, (key, metadata)).ok()?;
    fs::read(&path).ok()
}

/// A checkpoint of the tiny model, as it is and with a checksum of its own.
pub fn checkpoint(data: &[u8]) -> bool {
    let sealed = sealed_again(data, "position");
    checkpoint_as_it_is(data) | sealed.is_some_and(|sealed| checkpoint_as_it_is(&sealed))
}

fn checkpoint_as_it_is(data: &[u8]) -> bool {
    let folder = folder();
    let path = put(&folder, "checkpoint", data);
    let base = tiny_model();
    let read =
        || Checkpoint::read(&path, &base.model, AdamW::new(AdamWConfig::default()), &base.device, &determined_by());
    let Some(checkpoint) = answered(read()) else { return false };
    checkpoint.write(&path).expect("a checkpoint");
    let again = read().expect("written by the program");
    assert_eq!(again.position, checkpoint.position);
    assert_eq!(again.optimizer.state().count(), checkpoint.optimizer.state().count());
    true
}

/// A per-token file, as it is and with a checksum of its own.
pub fn per_token_file(data: &[u8]) -> bool {
    let sealed = sealed_again(data, "eval");
    per_token_as_it_is(data) | sealed.is_some_and(|sealed| per_token_as_it_is(&sealed))
}

/// Written again it is the same; compared with itself nothing changed.
fn per_token_as_it_is(data: &[u8]) -> bool {
    let folder = folder();
    let path = put(&folder, "a.safetensors", data);
    let Some((scored, result)) = answered(per_token::read(&path)) else { return false };
    per_token::write(&path, &scored, &result).expect("a per-token file");
    let (again, result_again) = per_token::read(&path).expect("written by the program");
    assert_eq!(result_again, result);
    assert_eq!(
        (&again.ids, &again.document, &again.byte, &again.window),
        (&scored.ids, &scored.document, &scored.byte, &scored.window)
    );
    let vocabulary = Vocabulary::new(None, scored.ids.iter().max().map_or(0, |&id| id as usize + 1));
    if let Some(same) = answered(compare(&scored, &again, ["a", "b"], &vocabulary)) {
        assert_eq!((same.delta, same.delta_ci95), (0.0, [0.0, 0.0]));
        serde_json::to_string(&same).expect("a result");
    }
    true
}

/// A study's TOML, in a folder that has `a` and `b`. Written with its defaults it is the same study.
pub fn study_toml(data: &[u8]) -> bool {
    let folder = folder();
    put(&folder, "a", b"");
    put(&folder, "b", b"");
    let path = put(&folder, "study.toml", data);
    let Some(config) = answered(StudyConfig::read(&path)) else { return false };
    put(&folder, "study.toml", config.to_toml().as_bytes());
    assert_eq!(answered(StudyConfig::read(&path)), Some(config));
    true
}

/// A pretraining configuration.
pub fn pretrain_toml(data: &[u8]) -> bool {
    let folder = folder();
    let path = put(&folder, "pretrain.toml", data);
    let Some(config) = answered(PretrainConfig::read(&path)) else { return false };
    put(&folder, "pretrain.toml", toml::to_string(&config).expect("a configuration").as_bytes());
    assert_eq!(answered(PretrainConfig::read(&path)), Some(config));
    true
}

/// A JSON document with a checksum as its last key; `None` where it has one, or no end to put it at.
fn sealed_document(data: &[u8]) -> Option<Vec<u8>> {
    let body = data.trim_ascii_end().strip_suffix(b"}")?;
    if body.windows(6).any(|bytes| bytes == b"sha256") {
        return None;
    }
    let end = format!(",\n  \"sha256\": \"{}\"\n}}\n", files::hash_bytes(body));
    Some([body, end.as_bytes()].concat())
}

/// A study's `plan.json` in a folder without a single task done.
pub fn study_plan(data: &[u8]) -> bool {
    let folder = folder();
    put(&folder, "plan.json", data);
    let Some(plan) = answered(Plan::read(folder.path())) else { return false };
    if let Some(sealed) = sealed_document(data) {
        put(&folder, "plan.json", &sealed);
        let sealed = answered(Plan::read(folder.path())).map(|plan| serde_json::to_value(plan).expect("JSON"));
        assert_eq!(sealed, serde_json::to_value(&plan).ok(), "a checksum changes nothing");
    }
    plan.write(folder.path()).expect("a plan");
    // What is written has a checksum, whatever was read had.
    let written = answered(Plan::read(folder.path())).map(|plan| serde_json::to_value(plan).expect("JSON"));
    assert_eq!(written, serde_json::to_value(plan).ok());
    answered(study::status(folder.path()));
    answered(study::collect(folder.path()));
    true
}

/// A study's `results.json`, shown in every way there is. Written again it is the same.
pub fn study_results(data: &[u8]) -> bool {
    let folder = folder();
    let path = put(&folder, "results.json", data);
    let Some(results) = answered(files::read_json::<StudyResults>(&path)) else { return false };
    files::write_json(&path, &results).expect("results");
    // What f32 does not reach is infinite when it is read, and gone when it is written.
    let results = files::read_json::<StudyResults>(&path).expect("written by the program");
    files::write_json(&path, &results).expect("results");
    assert_eq!(files::read_json::<StudyResults>(&path).expect("written by the program"), results);
    page::study_page(&results).expect("a page");
    answer(&results);
    csv::rows(&results).expect("lines");
    table::results_table(&results);
    table::correlations_table(&results);
    for figure in plots::figures(&results) {
        figure.png().expect("a figure");
    }
    true
}
