//! Every reader against files that are cut short, changed at random, or made to lie: an answer or an error that says what is
//! wrong, never a panic, never a long wait. And numbers that cannot be computed: null with a reason beside it.

use crate::{cli, common, readers};

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use odyssey::adapt::checkpoint::{Checkpoint, Position};
use odyssey::adapt::optimizer::{AdamW, AdamWConfig};
use odyssey::adapt::{AdaptSettings, Best, Curves};
use odyssey::compare::{LossClass, compare};
use odyssey::device::{ChosenDevice, DeviceChoice};
use odyssey::error::Error;
use odyssey::evaluate::{per_token, summarise};
use odyssey::model::weights::{Precision, WeightFiles, WeightSource};
use odyssey::model::{LoadedModel, ModelConfig};
use odyssey::pretrain::PretrainConfig;
use odyssey::study::{Plan, StudyConfig};
use odyssey::text::{Corpus, DocumentRule, Domain, Split, Tokenizer, Vocabulary};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A reading takes milliseconds; this is room for a machine that is busy.
const LONGEST: Duration = Duration::from_secs(5);
/// Places at which a file is cut or changed.
const PLACES: usize = 200;

type Read<'a> = Box<dyn Fn() -> Result<(), Error> + 'a>;

/// A file, its right content, and what reads it.
struct Target<'a> {
    path: PathBuf,
    whole: Vec<u8>,
    read: Read<'a>,
}

impl Target<'_> {
    /// Whether `content` is read. Panics, long waits and errors that are not about the file fail the test.
    #[track_caller]
    fn reads(&self, content: &[u8], what: &str) -> bool {
        fs::write(&self.path, content).unwrap();
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| (self.read)()));
        let name = self.path.file_name().unwrap().display();
        assert!(started.elapsed() < LONGEST, "{name}, {what}: took {:?}", started.elapsed());
        match result {
            Ok(Ok(())) => true,
            Ok(Err(Error::Input { .. } | Error::Io { .. })) => false,
            Ok(Err(other)) => panic!("{name}, {what}: not an error of a file: {other:?}"),
            Err(_) => panic!("{name}, {what}: panicked"),
        }
    }

    /// Cuts the file at every byte of a short file, at 200 places of a long one. Returns how many of the stumps are read.
    #[track_caller]
    fn cut(&self) -> usize {
        assert!(self.reads(&self.whole, "whole"), "{}: the control must be read", self.path.display());
        let step = self.whole.len().div_ceil(2 * PLACES);
        let stumps = (0..self.whole.len()).step_by(step);
        stumps.filter(|&length| self.reads(&self.whole[..length], &format!("cut after {length} bytes"))).count()
    }

    /// Changes one bit, one byte or a run of bytes at random places of `range`. Returns how many files are still read.
    #[track_caller]
    fn change(&self, range: std::ops::Range<usize>) -> usize {
        let mut random = ChaCha8Rng::seed_from_u64(self.whole.len() as u64);
        let mut read = 0;
        for attempt in 0..2 * PLACES {
            let mut content = self.whole.clone();
            let at = random.random_range(range.clone());
            match attempt % 4 {
                0 => content[at] ^= 1 << random.random_range(0..8),
                1 => content[at] = [0, 0xff, 0x7f, 0x80][random.random_range(0..4)],
                2 => random.fill_bytes(&mut content[at..range.end.min(at + 8)]),
                _ => drop(content.drain(at..range.end.min(at + 3))),
            }
            read += usize::from(self.reads(&content, &format!("change {attempt} at byte {at}")));
        }
        read
    }

    /// Both attacks; every cut must be found out.
    #[track_caller]
    fn withstands_and_notices_every_cut(&self) {
        assert_eq!(self.cut(), 0, "{} is read though it is cut short", self.path.display());
        self.change(0..self.whole.len());
    }

    /// Both attacks, on formats in which a part may be a whole.
    #[track_caller]
    fn withstands(&self) {
        self.cut();
        self.change(0..self.whole.len());
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn cpu() -> ChosenDevice {
    "cpu".parse::<DeviceChoice>().unwrap().open().unwrap()
}

fn corpus<'a>(folder: &TempDir, name: &str, whole: impl Into<Vec<u8>>) -> Target<'a> {
    let path = folder.path().join(name);
    let read = {
        let path = path.clone();
        move || {
            Corpus::read(&path, DocumentRule::BlankLine)?;
            Corpus::read(&path, DocumentRule::File).map(drop)
        }
    };
    Target { path, whole: whole.into(), read: Box::new(read) }
}

fn archive<'a>(folder: &TempDir, name: &str, whole: Vec<u8>) -> Target<'a> {
    let path = folder.path().join(name);
    let read = {
        let path = path.clone();
        move || {
            let domain = Domain::open(&path, DocumentRule::BlankLine)?;
            Split::ALL.into_iter().try_for_each(|split| domain.split(split).map(drop))
        }
    };
    Target { path, whole, read: Box::new(read) }
}

fn made(name: &str) -> Vec<u8> {
    fs::read(common::fixture("corpora").join(name)).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const TEXT: &str = "\u{feff}A document.\r\nIts second line.\n\n\nCafé, 日本語, 🙂\n\n\n\nThe third\n";
const JSON_LINES: &str =
    "{\"text\": \"a \\u00e9 \\ud83d\\ude42\", \"other\": [1, {\"x\": null}]}\n\n{\"text\": \"b\\n\\nc\"}\r\n";

#[test]
fn corpora_of_lines_withstand_cuts_and_changes() {
    let folder = folder();
    corpus(&folder, "a.txt", TEXT).withstands();
    corpus(&folder, "a.jsonl", JSON_LINES).withstands();
    corpus(&folder, "ids.jsonl", "{\"ids\": [1, 20, 4294967295]}\n{\"ids\": [3], \"n\": -1.5e3}\n").withstands();
}

#[test]
fn compressed_corpora_withstand_cuts_and_changes_and_notice_every_cut() {
    let folder = folder();
    let zstd = |bytes: &str| zstd::encode_all(bytes.as_bytes(), 3).unwrap();
    for target in [
        corpus(&folder, "a.txt.gz", gzip(TEXT.as_bytes())),
        corpus(&folder, "a.jsonl.gz", gzip(JSON_LINES.as_bytes())),
        corpus(&folder, "a.txt.zst", zstd(TEXT)),
        corpus(&folder, "a.jsonl.zst", zstd(JSON_LINES)),
        corpus(&folder, "lines.jsonl.zst", made("lines.jsonl.zst")), // with a checksum, as the zstd program writes it
    ] {
        target.withstands_and_notices_every_cut();
    }
    // A file of two members, cut where the first ends, is a whole one of one.
    let twice = [gzip(b"one\n"), gzip(b"two\n")].concat();
    assert_eq!(corpus(&folder, "two.txt.gz", twice).cut(), 1);
}

#[test]
fn parquet_withstands_cuts_changes_and_every_byte_of_its_footer_made_a_lie() {
    let folder = folder();
    for name in ["polars.parquet", "snappy.parquet", "gzip.parquet", "delta.parquet", "required.parquet"] {
        let path = folder.path().join(name);
        let read = {
            let path = path.clone();
            move || Corpus::read(&path, DocumentRule::BlankLine).map(drop)
        };
        let target = Target { path, whole: made(name), read: Box::new(read) };
        target.withstands_and_notices_every_cut();
        // The last eight bytes are the footer's length and "PAR1".
        let end = target.whole.len() - 8;
        let length = u32::from_le_bytes(target.whole[end..end + 4].try_into().unwrap());
        for lie in [0, 1, length - 1, length + 1, end as u32, end as u32 + 1, 1 << 24, i32::MAX as u32, u32::MAX] {
            let mut content = target.whole.clone();
            content[end..end + 4].copy_from_slice(&lie.to_le_bytes());
            assert!(!target.reads(&content, &format!("a footer of {lie} bytes")));
        }
        for at in end - length as usize..end {
            for byte in [0xff, target.whole[at] ^ 1, target.whole[at].wrapping_add(2)] {
                let mut content = target.whole.clone();
                content[at] = byte;
                target.reads(&content, &format!("byte {at} is {byte}"));
            }
        }
    }
}

#[test]
fn parquet_headers_that_repeat_nothing_a_thousand_million_times_are_refused_at_once() {
    let folder = folder();
    // A list of 2^31 - 1 truth values, which the library's parser takes for no bytes at all; a thousand such lists.
    let list = [0xf1, 0xff, 0xff, 0xff, 0xff, 0x07];
    let one = [[0xf9].as_slice(), &list, &[0]].concat();
    let thousand = [[0xf9, 0xf9, 0xe8, 0x07].as_slice(), &list.repeat(1000), &[0]].concat();
    for footer in [one, thousand] {
        let length = (footer.len() as u32).to_le_bytes();
        let target = corpus(&folder, "footer.parquet", [b"PAR1".as_slice(), &footer, &length, b"PAR1"].concat());
        assert!(!target.reads(&target.whole, "footer"));
    }
    // The same between the statistics in the header of a page.
    let target = corpus(&folder, "page.parquet", made("required.parquet"));
    assert_eq!(target.whole[105..110], *b"\x18%The");
    let mut content = target.whole.clone();
    content[105..112].copy_from_slice(&[[0xf9].as_slice(), &list].concat());
    assert!(target.reads(&target.whole, "whole") && !target.reads(&content, "page"));
}

#[test]
fn archives_withstand_cuts_and_changes() {
    let folder = folder();
    let packed = made("cs.CL.tar.gz");
    archive(&folder, "packed.tar.gz", packed.clone()).withstands_and_notices_every_cut();
    // Unpacked, so that changes reach the archive itself. Beyond its members it is padding, which may be missing.
    let mut bare = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(packed.as_slice()), &mut bare).unwrap();
    let target = archive(&folder, "bare.tar", bare);
    target.withstands();
    target.change(0..1024); // the headers of the folder and of its first file
    let mut extended = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(made("python.tgz").as_slice()), &mut extended).unwrap();
    let target = archive(&folder, "extended.tar", extended);
    target.withstands();
    target.change(0..2048);
}

#[test]
fn json_nested_a_hundred_thousand_deep_is_refused_by_every_reader_of_json() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("merges.txt"), "a b\n").unwrap();
    let vocabulary = path("vocab.json");
    let with_pair = || -> Result<(), Error> {
        fs::write(&vocabulary, "{\"a\": 0, \"b\": 1, \"ab\": 2}").unwrap();
        Ok(())
    };
    let readers: [(&str, Read); 9] = [
        ("config.json", Box::new(|| ModelConfig::read(folder.path()).map(drop))),
        ("model.safetensors.index.json", Box::new(|| WeightFiles::open(folder.path()).map(drop))),
        ("tokenizer.json", Box::new(|| Tokenizer::load(folder.path()).map(drop))),
        ("vocab.json", Box::new(|| Tokenizer::from_pair(&vocabulary, &path("merges.txt")).map(drop))),
        ("added_tokens.json", Box::new(|| with_pair().and_then(|()| Tokenizer::load(folder.path()).map(drop)))),
        ("plan.json", Box::new(|| Plan::read(folder.path()).map(drop))),
        ("study.toml", Box::new(|| StudyConfig::read(&path("study.toml")).map(drop))),
        ("pretrain.toml", Box::new(|| PretrainConfig::read(&path("pretrain.toml")).map(drop))),
        ("a.jsonl", Box::new(|| Corpus::read(&path("a.jsonl"), DocumentRule::File).map(drop))),
    ];
    for (name, read) in readers {
        let target = Target { path: path(name), whole: Vec::new(), read };
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{\"text\":[", "]}"), ("x = [", "]"), ("[a.", "]")] {
            for close in ["", close] {
                let content = format!("{}0{}", open.repeat(100_000), close.repeat(100_000));
                assert!(!target.reads(content.as_bytes(), open), "{name}: {open} is read");
            }
        }
        fs::remove_file(&target.path).unwrap();
    }
}

/// A safetensors file with this header, and as many bytes of data.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &vec![0; data]].concat()
}

/// The header of a safetensors file.
fn header(file: &[u8]) -> (Value, usize) {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&file[8..8 + length]).unwrap(), 8 + length)
}

/// A reader of safetensors against headers that lie.
#[track_caller]
fn withstands_headers_that_lie(target: &Target) {
    let (whole, start) = header(&target.whole);
    let data = &target.whole[start..];
    let name = whole.as_object().unwrap().keys().find(|key| *key != "__metadata__").unwrap().clone();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut header = whole.clone();
        change(&mut header[&name]);
        let header = header.to_string();
        [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), data].concat()
    };
    assert!(target.reads(&with(&|_| ()), "the header as it was"), "the control must be read");
    let last = data.len();
    let lies: [(&str, Value); 9] = [
        ("shape", json!([1_000_000_000])),
        ("shape", json!([u64::MAX])),
        ("shape", json!([1_u64 << 33, 1_u64 << 33])),
        ("shape", json!([-1])),
        ("dtype", json!("F99")),
        ("data_offsets", json!([0, last + 4])),
        ("data_offsets", json!([0, u64::MAX])),
        ("data_offsets", json!([8, 4])),
        ("data_offsets", json!([0, last])), // over all the others
    ];
    for (key, lie) in lies {
        assert!(!target.reads(&with(&|tensor| tensor[key] = lie.clone()), &format!("{key}: {lie}")), "{key}: {lie}");
    }
    for length in [0, 1, target.whole.len() as u64 - 7, 1 << 27, 1 << 40, u64::MAX] {
        let mut content = target.whole.clone();
        content[..8].copy_from_slice(&length.to_le_bytes());
        assert!(!target.reads(&content, &format!("a header of {length} bytes")));
    }
    for nested in ["[".repeat(100_000), "{\"a\":".repeat(100_000), format!("{{\"a\":{}", "[".repeat(100_000))] {
        assert!(!target.reads(&safetensors(&nested, 64), "nested"));
    }
    for header in ["", "{}", "null", "[]", "{\"__metadata__\": {\"a\": 1}}", "\u{0}"] {
        assert!(!target.reads(&safetensors(header, 0), header), "{header}");
    }
    target.change(0..start);
}

#[test]
fn weight_files_withstand_cuts_changes_and_headers_that_lie() {
    let folder = folder();
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(common::model_folder("gpt2_odd").join("model.safetensors")).unwrap();
    let shapes: Vec<(String, Vec<usize>)> = {
        let tensors = safetensors::SafeTensors::deserialize(&whole).unwrap();
        // Masks of older files are of types that are never asked for.
        let weights = tensors.iter().filter(|(name, _)| !name.contains("attn.bias") && !name.contains("masked_bias"));
        weights.map(|(name, view)| (name.to_owned(), view.shape().to_vec())).collect()
    };
    let read = || {
        let mut files = WeightFiles::open(folder.path())?;
        shapes.iter().try_for_each(|(name, shape)| files.read(name, shape, 0..shape[0], Precision::F32).map(drop))
    };
    let target = Target { path, whole, read: Box::new(read) };
    target.withstands_and_notices_every_cut();
    withstands_headers_that_lie(&target);
}

#[test]
fn a_shard_index_withstands_cuts_and_changes() {
    let folder = folder();
    let whole = fs::read(common::model_folder("gpt2_odd").join("model.safetensors")).unwrap();
    let (tensors, _) = header(&whole);
    fs::write(folder.path().join("model-00001-of-00001.safetensors"), whole).unwrap();
    let names = tensors.as_object().unwrap().keys().filter(|key| *key != "__metadata__");
    let map: serde_json::Map<String, Value> =
        names.map(|name| (name.clone(), "model-00001-of-00001.safetensors".into())).collect();
    let target = Target {
        path: folder.path().join("model.safetensors.index.json"),
        whole: json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string().into_bytes(),
        read: Box::new(|| WeightFiles::open(folder.path()).map(drop)),
    };
    target.withstands_and_notices_every_cut();
}

#[test]
fn configurations_withstand_cuts_and_changes() {
    let folder = folder();
    for entry in fs::read_dir(common::fixture("models")).unwrap() {
        let target = Target {
            path: folder.path().join("config.json"),
            whole: fs::read(entry.unwrap().path().join("config.json")).unwrap().trim_ascii().to_vec(),
            read: Box::new(|| ModelConfig::read(folder.path()).map(drop)),
        };
        target.withstands_and_notices_every_cut();
    }
}

#[test]
fn tokenizers_withstand_cuts_and_changes() {
    let folder = folder();
    let family = odyssey::synth::write_family;
    let sizes = odyssey::synth::Splits { train: 2000, valid: 200, test: 200 };
    let languages = folder.path().join("languages");
    family(&languages, 1, &[0.5], odyssey::synth::Sizes { base: sizes, domain: sizes }).unwrap();
    let load = |path: &Path| Tokenizer::load(path.parent().unwrap()).and_then(|t| t.encode(&["a b <s> é"]).map(drop));
    let target = |name: &str, whole: Vec<u8>| {
        let path = folder.path().join(name);
        let read = {
            let path = path.clone();
            move || load(&path)
        };
        Target { path, whole, read: Box::new(read) }
    };
    let json = fs::read(languages.join("tokenizer.json")).unwrap().trim_ascii().to_vec();
    target("tokenizer.json", json).withstands();
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();

    let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
    let vocab: serde_json::Map<String, Value> =
        alphabet.into_iter().map(String::from).chain(["ab".into()]).zip((0..).map(Value::from)).collect();
    let (vocab, merges) = (Value::Object(vocab).to_string().into_bytes(), b"#version: 0.2\na b\n".to_vec());
    let [vocabulary, merged] = [target("vocab.json", vocab.clone()), target("merges.txt", merges.clone())];
    fs::write(&merged.path, &merges).unwrap();
    vocabulary.withstands();
    fs::write(&vocabulary.path, &vocab).unwrap();
    merged.withstands();
    fs::write(&merged.path, &merges).unwrap();
    target("tokenizer_config.json", b"{\"tokenizer_class\": \"GPT2Tokenizer\"}".to_vec()).withstands();
}

#[test]
fn per_token_files_withstand_cuts_changes_and_headers_that_lie() {
    let place = cli::Place::with_model();
    place.result("eval --model model --text test.jsonl --per-token scored.safetensors");
    let path = place.path("scored.safetensors");
    let target = Target {
        whole: fs::read(&path).unwrap(),
        read: Box::new(|| per_token::read(&place.path("scored.safetensors")).map(drop)),
        path,
    };
    target.withstands_and_notices_every_cut();
    withstands_headers_that_lie(&target);
}

#[test]
fn checkpoints_withstand_cuts_changes_and_headers_that_lie() {
    let device = cpu();
    let model = LoadedModel::open(&common::model_folder("gpt2_odd"), &device.device).unwrap().model;
    let folder = folder();
    let path = folder.path().join("checkpoint.safetensors");
    let run = json!({"seed": 1});
    let best = Best { step: 3, loss: 2.5 };
    let position = Position::new(3, Curves::default(), best, 1.0, run.clone());
    let optimizer = AdamW::new(AdamWConfig::default());
    let checkpoint = Checkpoint {
        position,
        model: model.clone(),
        best: model.clone(),
        optimizer: optimizer.clone(),
        strategies: Default::default(),
    };
    checkpoint.write(&path).unwrap();
    let target = Target {
        whole: fs::read(&path).unwrap(),
        read: {
            let path = path.clone();
            Box::new(move || Checkpoint::read(&path, &model, optimizer.clone(), &device.device, &run).map(drop))
        },
        path,
    };
    target.withstands_and_notices_every_cut();
    withstands_headers_that_lie(&target);
}

#[test]
fn every_seed_of_the_fuzz_corpus_gives_a_result_or_an_error_never_a_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let listed =
        |folder: &Path| -> Vec<PathBuf> { fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect() };
    let mut bytes = 0;
    for (target, read) in readers::READERS {
        let mut answered = 0;
        for seed in listed(&corpus.join(target)) {
            let content = fs::read(&seed).unwrap();
            bytes += content.len();
            let started = Instant::now();
            let result = catch_unwind(|| read(&content));
            answered += usize::from(result.unwrap_or_else(|_| panic!("{}: panicked", seed.display())));
            assert!(started.elapsed() < LONGEST, "{}: took {:?}", seed.display(), started.elapsed());
        }
        assert!(answered > 0, "{target}: no seed is read, so nothing was tried");
    }
    assert_eq!(listed(&corpus).len(), readers::READERS.len(), "every folder has a reader");
    assert!(bytes <= 120_000, "the corpora have grown to {bytes} bytes");
}

/// A seed of the fuzz corpus.
fn seed(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name)).unwrap()
}

#[test]
fn a_sealed_seed_is_read_and_not_with_a_bit_of_a_number_changed() {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    let mut sealed = seed("per_token/sealed");
    fs::write(&path, &sealed).unwrap();
    let (scored, _) = per_token::read(&path).unwrap();
    assert_eq!(scored.ids.len(), 6);
    // The checksum's 32 bytes come last.
    let last = sealed.len() - 33;
    sealed[last] ^= 1;
    fs::write(&path, &sealed).unwrap();
    assert!(per_token::read(&path).unwrap_err().to_string().contains("checksum"));
}

#[test]
fn a_kept_sample_whose_counts_are_not_as_many_as_its_ids_is_refused() {
    assert!(readers::kept_sample(&seed("kept_sample/whole")));
    assert!(!readers::kept_sample(&seed("kept_sample/unequal")));
}

#[test]
fn every_fuzz_target_is_one_of_the_readers() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest: toml::Table = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap().parse().unwrap();
    let programs = manifest["bin"].as_array().unwrap();
    assert_eq!(programs.len(), readers::READERS.len());
    for (target, _) in readers::READERS {
        assert!(programs.iter().any(|program| program["name"].as_str() == Some(target)), "{target} has no program");
        assert!(fuzz.join(format!("fuzz_targets/{target}.rs")).exists(), "{target} has no source");
    }
}

#[test]
fn fuzzing_builds_everything_but_the_program_as_the_program_does() {
    let profile = |folder: &str| -> toml::Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("Cargo.toml");
        let manifest: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
        manifest["profile"]["release"].clone()
    };
    let mut of_fuzzing = profile("tests/fuzz");
    let own = of_fuzzing["package"].as_table_mut().unwrap().remove("odyssey");
    assert!(own.is_some_and(|own| own["debug-assertions"].as_bool() == Some(true)));
    assert_eq!(of_fuzzing, profile("."));
}

/// The most that this process has ever held, bytes.
#[cfg(target_os = "linux")]
fn most_held() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

#[test]
#[cfg(target_os = "linux")]
fn settings_of_ten_gibibytes_are_refused_by_every_reader_of_json_and_toml_without_being_held() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let readers: [(&str, Read); 5] = [
        ("config.json", Box::new(|| ModelConfig::read(folder.path()).map(drop))),
        ("model.safetensors.index.json", Box::new(|| WeightFiles::open(folder.path()).map(drop))),
        ("plan.json", Box::new(|| Plan::read(folder.path()).map(drop))),
        ("study.toml", Box::new(|| StudyConfig::read(&path("study.toml")).map(drop))),
        ("pretrain.toml", Box::new(|| PretrainConfig::read(&path("pretrain.toml")).map(drop))),
    ];
    for (name, read) in readers {
        // A hole, which reads as zeros.
        fs::File::create(path(name)).unwrap().set_len(10 << 30).unwrap();
        assert!(matches!(read(), Err(Error::Input { .. })), "{name}");
        fs::remove_file(path(name)).unwrap();
    }
    // What other tests of this file hold at the same time is little.
    assert!(most_held() < 3 << 30, "held {} MiB", most_held() >> 20);
}

#[test]
fn metadata_nested_a_hundred_thousand_deep_is_refused() {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    for key in ["eval", "position"] {
        let header = json!({"__metadata__": {key: "[".repeat(100_000)}}).to_string();
        let read: Read = match key {
            "eval" => Box::new(|| per_token::read(&path).map(drop)),
            _ => Box::new(|| {
                let (device, optimizer) = (cpu().device, AdamW::new(AdamWConfig::default()));
                let model = LoadedModel::open(&common::model_folder("gpt2_odd"), &device).unwrap().model;
                Checkpoint::read(&path, &model, optimizer, &device, &json!({})).map(drop)
            }),
        };
        let target = Target { path: path.clone(), whole: Vec::new(), read };
        assert!(!target.reads(&safetensors(&header, 0), key));
    }
}

#[test]
fn sizes_that_no_model_has_are_refused_by_the_key_in_every_family() {
    let folder = folder();
    let sizes = [
        "vocab_size",
        "n_positions",
        "max_position_embeddings",
        "n_embd",
        "n_inner",
        "n_head",
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "n_layer",
        "num_hidden_layers",
    ];
    let mut refused = std::collections::BTreeSet::new();
    for entry in fs::read_dir(common::fixture("models")).unwrap() {
        let config: Value =
            serde_json::from_slice(&fs::read(entry.unwrap().path().join("config.json")).unwrap()).unwrap();
        for key in sizes.into_iter().filter(|key| config.get(*key).is_some()) {
            for size in [1_u64 << 40, 1 << 62, u64::MAX] {
                let mut config = config.clone();
                config[key] = size.into();
                fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
                let started = Instant::now();
                let message = ModelConfig::read(folder.path()).unwrap_err().to_string();
                assert!(message.contains(&format!("`{key}` is {size}")), "{message}");
                assert!(started.elapsed() < LONGEST, "{key} = {size}: took {:?}", started.elapsed());
                refused.insert(key);
            }
        }
    }
    assert!(refused.len() >= 10, "the fixtures have these sizes: {refused:?}");
}

#[test]
fn more_channels_than_a_head_has_are_not_rotated() {
    let text = fs::read(common::model_folder("neox_parallel").join("config.json")).unwrap();
    let mut config: serde_json::Map<String, Value> = serde_json::from_slice(&text).unwrap();
    config.retain(|key, _| !key.starts_with("rope") && key != "partial_rotary_factor");
    let mut read = |share: f64| {
        config.insert("rotary_pct".into(), share.into());
        ModelConfig::from_json("config.json", config.clone()).map(drop)
    };
    read(1.0).unwrap();
    assert!(read(2.0).unwrap_err().to_string().contains("of the"), "{:?}", read(2.0));
    assert!(read(-1.0).is_err());
}

#[test]
fn a_base_too_large_to_train_is_refused_before_it_takes_memory() {
    let folder = folder();
    let path = folder.path().join("pretrain.toml");
    let read = |vocabulary: u64, layers: u64| {
        let model = format!("model_type = 'gpt2'\nvocab_size = {vocabulary}\nn_positions = 64\nn_embd = 64\n");
        let model = format!("{model}n_layer = {layers}\nn_head = 4\n");
        fs::write(&path, format!("corpus = 'a'\ntokenizer = 'b'\n[model]\n{model}")).unwrap();
        PretrainConfig::read(&path).map(drop)
    };
    read(50_000, 12).unwrap();
    let message = read(2_000_000_000, 12).unwrap_err().to_string();
    assert!(message.contains("[model]") && message.contains("parameters"), "{message}");
}

#[test]
fn epochs_without_end_are_more_steps_than_any_and_not_none() {
    let settings = AdaptSettings { epochs: 1 << 63, batch: 1, ..AdaptSettings::default() };
    // 2 windows, so 2 · 2^63 steps: 0 if they wrapped round.
    assert_eq!(settings.steps(2).unwrap(), (u64::MAX, 2));
}

#[test]
fn what_a_message_quotes_of_a_file_cannot_command_a_terminal() {
    let folder = folder();
    let path = folder.path().join("a.tar");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(2);
    archive.append_data(&mut header, "a\u{1b}[2J\n/train.txt", b"a\n".as_slice()).unwrap();
    fs::write(&path, archive.into_inner().unwrap()).unwrap();
    let message = Domain::open(&path, DocumentRule::BlankLine).unwrap_err().to_string();
    assert!(message.contains("holds a\\u{1b}[2J\\n/train.txt"), "{message:?}");
}

/// Every null of a result must have a `reason` beside it, or one of its own name in `reasons`.
fn nulls_without_reason(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = format!("{path}/{key}");
                // An interval's ends share the reason of what they are the ends of.
                let null = value.is_null() || value.as_array().is_some_and(|items| items.iter().any(Value::is_null));
                if null
                    && !object.contains_key("reason")
                    && object.get("reasons").is_none_or(|all| all.get(key).is_none())
                {
                    found.push(path.clone());
                }
                nulls_without_reason(value, &path, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| nulls_without_reason(item, path, found)),
        _ => {}
    }
}

#[track_caller]
fn assert_nulls_have_reasons(result: &impl serde::Serialize) -> Value {
    let value = serde_json::to_value(result).unwrap();
    let mut found = Vec::new();
    nulls_without_reason(&value, "", &mut found);
    assert!(found.is_empty(), "null without a reason: {found:?}");
    value
}

/// A per-token file of one document, read.
fn scored(nll: &[f32]) -> (odyssey::evaluate::ScoredStream, odyssey::evaluate::EvalResult) {
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/per_token/whole");
    let (mut header, _) = header(&fs::read(seed).unwrap());
    let mut data = Vec::new();
    let (zeros, ids) = (vec![0_u32; nll.len()], (1..=nll.len() as u32).collect::<Vec<u32>>());
    let bytes = vec![0_u64; nll.len()];
    let columns: [(&str, &[u8]); 5] = [
        ("ids", bytemuck::cast_slice(&ids)),
        ("nll", bytemuck::cast_slice(nll)),
        ("document", bytemuck::cast_slice(&zeros)),
        ("window", bytemuck::cast_slice(&zeros)),
        ("byte", bytemuck::cast_slice(&bytes)),
    ];
    for (name, column) in columns {
        header[name]["shape"] = json!([nll.len()]);
        header[name]["data_offsets"] = json!([data.len(), data.len() + column.len()]);
        data.extend_from_slice(column);
    }
    let header = header.to_string();
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    fs::write(&path, [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &data].concat()).unwrap();
    per_token::read(&path).unwrap()
}

#[test]
fn a_perplexity_beyond_the_range_of_numbers_is_null_with_its_reason_wherever_it_stands() {
    let (diverged, result) = scored(&[f32::NAN, 900.0, 800.0, 1000.0]);
    let mut stream = common::id_stream(&[4]);
    (stream.bytes, stream.words) = (10, 2);
    let row = diverged.summary("a", &stream, &result.protocol.protocol).unwrap();
    let name = odyssey::device::DeviceName { backend: "cpu".into(), card: "any".into() };
    let eval = summarise("m", Precision::F32, &name, result.protocol.clone(), vec![row], Instant::now());
    let eval = assert_nulls_have_reasons(&eval);
    for pointer in ["/macro_ppl", "/texts/0/ppl", "/texts/0/ppl_ci95/1", "/texts/0/word_ppl"] {
        assert_eq!(eval.pointer(pointer), Some(&Value::Null), "{pointer}");
    }

    let (sane, _) = scored(&[f32::NAN, 1.0, 2.0, 3.0]);
    let change = compare(&sane, &diverged, ["a", "b"], &Vocabulary::new(None, 5)).unwrap();
    let change = assert_nulls_have_reasons(&change);
    assert_eq!(change["after"]["ppl"], Value::Null);
    assert_eq!(change["without"]["newline"]["after"], Value::Null);
    assert_eq!(change["before"].get("reason"), None, "what could be computed needs no reason");
    // All of it can be read again.
    serde_json::from_value::<odyssey::compare::Comparison>(change).unwrap();
}

#[test]
fn a_text_of_few_words_has_no_word_perplexity_and_says_why() {
    let (diverged, result) = scored(&[f32::NAN, 300.0, 300.0, 300.0]);
    let mut stream = common::id_stream(&[4]);
    (stream.bytes, stream.words) = (10, 1);
    let row = diverged.summary("a", &stream, &result.protocol.protocol).unwrap();
    let row = assert_nulls_have_reasons(&row);
    assert!(row["ppl"].is_number() && row["word_ppl"].is_null(), "{row}");
    assert!(row["reason"].as_str().unwrap().contains("word perplexity"), "{row}");
}

#[test]
fn where_nothing_remains_or_no_half_can_be_held_out_the_reason_stands_beside() {
    let [(before, _), (after, _)] = [[f32::NAN, 1.0, 2.0], [f32::NAN, 0.5, 1.5]].map(|nll| scored(&nll));
    let change = compare(&before, &after, ["a", "b"], &Vocabulary::new(None, 4)).unwrap();
    let change = assert_nulls_have_reasons(&change);
    assert_eq!(change["without"]["other"]["scored"], 0, "without a tokenizer every token is of the class \"other\"");
    assert_eq!(change["without"]["other"]["delta"], Value::Null);
    assert_eq!(change["handful"]["held_out_share_of_top_10"], Value::Null);
}

#[test]
fn tokens_are_learned_or_unlearned_by_the_mean_loss_before() {
    // The mean before is 3.
    let [(before, _), (after, _)] =
        [[f32::NAN, 1.0, 5.0, 2.0, 4.0, 3.0], [f32::NAN, 3.5, 2.5, 3.0, 6.0, 1.0]].map(|nll| scored(&nll));
    let change = compare(&before, &after, ["a", "b"], &Vocabulary::new(None, 6)).unwrap();
    let found: Vec<_> = change.loss_classes.iter().map(|c| (c.class, c.count, c.contribution)).collect();
    let expected = [
        (LossClass::HighHigh, 1, 0.4),
        (LossClass::HighLow, 1, -0.5),
        (LossClass::LowHigh, 1, 0.5),
        (LossClass::LowLow, 2, -0.2),
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!((found.0, found.1), (expected.0, expected.1));
        assert!((found.2 - expected.2).abs() < 1e-7, "{found:?}");
    }
    let sum: f64 = found.iter().map(|found| found.2).sum();
    assert!(found.len() == 4 && (sum - change.delta).abs() < 1e-12, "{sum} {}", change.delta);
}

#[test]
fn no_command_prints_a_null_without_a_reason() {
    let place = cli::Place::with_model();
    for line in [
        "eval --model model --text test.jsonl --by-position",
        "eval --model model --text test.jsonl --protocol half-window",
        "compare --before model --after model --text test.jsonl",
        "similarity --reference train.jsonl --domain test.jsonl --features model:model",
        "similarity --reference train.jsonl --domain test.jsonl --features model:model --samples 2 --reference-samples 2",
        "adapt --model model --train train.jsonl --valid valid.jsonl --out adapted --steps 2",
        "synth languages --out languages --lambda 0 1",
        "devices",
    ] {
        assert_nulls_have_reasons(&place.result(line));
    }
}
