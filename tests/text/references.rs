//! Streams against the reference values.

use super::*;

fn hash_u16(ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|&id| u16::try_from(id).unwrap().to_le_bytes()).collect();
    odyssey::files::hash_bytes(&bytes)
}

fn hash_u32(ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    odyssey::files::hash_bytes(&bytes)
}

fn json_of(path: &str) -> Value {
    serde_json::from_slice(&fs::read(common::test_data().join(path)).unwrap()).unwrap()
}

#[machine::needs(test_data)]
#[test]
fn stories260k_tokens_bytes_and_words_are_those_of_the_reference() {
    let data = common::test_data();
    let tokenizer = Tokenizer::load(&data.join("data/stories260K")).unwrap();
    assert_eq!(tokenizer.bos_added(), Some(1));
    assert_eq!(tokenizer.vocabulary_size(), 512);
    for (name, golden) in json_of("reference/perplexity/perplexity.json")["texts"].as_object().unwrap() {
        let path = data.join(format!("reference/perplexity/texts/{name}.txt"));
        let corpus = Corpus::read(&path, DocumentRule::File).unwrap();
        let build = |bos| {
            let options = StreamOptions { bos, ..StreamOptions::default() };
            TokenStream::build(&corpus, Some(&tokenizer), None, None, 512, &options).unwrap()
        };
        let stream = build(Bos::Never);
        assert_eq!(stream.ids.len() as u64, golden["tokens_without_bos"], "{name}");
        assert_eq!(hash_u32(&stream.ids), golden["tokens_sha256_of_little_endian_u32"]);
        assert_eq!(stream.bytes, golden["bytes"]);
        assert_eq!(stream.words, golden["words_re_split_whitespace"]);
        assert_eq!(build(Bos::Auto).ids, [&[1], &*stream.ids].concat());
    }
}

#[machine::needs(test_data)]
#[test]
fn wiki_gpt2_streams_of_every_domain_are_those_of_the_reference() {
    let data = common::test_data();
    let tokenizer = Tokenizer::load(&data.join("models/wiki-gpt2")).unwrap();
    assert_eq!(tokenizer.bos_added(), None);
    let eot = tokenizer.id_of("<|endoftext|>");
    let classes = classes(&tokenizer, 4096);
    let golden = json_of("models/wiki-gpt2/reference_adaptation.json");
    for row in golden["domains"].as_array().unwrap() {
        let name = row["domain"].as_str().unwrap();
        let domain = Domain::open(data.join("data/domains").join(name), DocumentRule::BlankLine).unwrap();
        let ids = |split| {
            let corpus = domain.split(split).unwrap();
            TokenStream::build(&corpus, Some(&tokenizer), eot, None, 4096, &StreamOptions::default()).unwrap().ids
        };
        let test = ids(Split::Test);
        assert_eq!(hash_u16(&test), row["sha256"]["eval_ids_u16le"], "{name}");
        // All of them take minutes in a debug build.
        if ["arxiv_econ.EM", "python_code", "wiki_sports"].contains(&name) {
            assert_eq!(hash_u16(&ids(Split::Train)), row["sha256"]["train_ids_u16le"], "{name}");
        }
        // Scored are all but the first of each window of 256.
        let scored = test.chunks(256).flat_map(|window| &window[1..]);
        let newlines = scored.filter(|&&id| classes[id as usize] == TokenClass::Newline).count();
        assert_eq!(newlines as u64, row["tokens"]["newline"]["count"], "{name}");
    }
}

#[machine::needs(test_data)]
#[test]
fn the_glued_stream_spells_the_glued_text_of_the_reference() {
    let data = common::test_data();
    let path = data.join("models/wiki-gpt2/tokenizer.json");
    let tokenizer = Tokenizer::from_file(&path).unwrap();
    let decoder = tokenizers::Tokenizer::from_file(&path).unwrap();
    let strip = StreamOptions { join: Join::None, newlines: Newlines::Strip, bos: Bos::Auto };
    // SHA-256 of `glued_text` (models/wiki-gpt2/scripts/common.py) of the test split, by Python.
    for (name, bytes, glued) in [
        ("wiki_sports", 151_035, "a003749e2de50ca7dae0c4db569bec64374e59036fa6ad7f40f89f1582ed66d0"),
        ("python_code", 156_741, "5248d85da8491b3a2d4ee8946efceccfc8e638c09788adc7efc16b2b5fd17b77"),
    ] {
        let corpus = open_corpus(&data.join("data/domains").join(name), Split::Test, DocumentRule::BlankLine).unwrap();
        let stream = TokenStream::build(&corpus, Some(&tokenizer), None, None, 4096, &strip).unwrap();
        let spelled = decoder.decode(&stream.ids, false).unwrap();
        assert_eq!(stream.bytes, bytes);
        assert_eq!(odyssey::files::hash_bytes(spelled.as_bytes()), glued, "{name}");
    }
}

#[machine::needs(test_data)]
#[test]
fn gpt2s_vocabulary_and_merges_give_the_ids_of_its_tokenizer_json() {
    let data = common::test_data();
    let published = data.join("data/tokenizers/gpt2");
    let from_json = Tokenizer::load(&published).unwrap();
    let folder = folder();
    for (name, called) in [("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")] {
        fs::copy(published.join(name), folder.path().join(called)).unwrap();
    }
    let from_pair = Tokenizer::load(folder.path()).unwrap();
    assert_eq!((from_pair.vocabulary_size(), from_pair.id_of("<|endoftext|>")), (50257, Some(50256)));
    for name in ["wiki_sports", "python_code", "man_pages", "math_latex", "dialogue"] {
        let path = data.join("data/domains").join(name);
        let corpus = open_corpus(&path, Split::Test, DocumentRule::BlankLine).unwrap();
        let texts = texts(&corpus);
        assert_eq!(from_pair.encode(&texts).unwrap(), from_json.encode(&texts).unwrap(), "{name}");
    }
    for id in (0..50257).step_by(97).chain([50256]) {
        assert_eq!(from_pair.token_text(id), from_json.token_text(id));
        assert_eq!(from_pair.is_special(id), from_json.is_special(id));
    }
}

#[machine::needs(test_data)]
#[test]
fn gpt2_tokens_are_those_of_the_reference() {
    let data = common::test_data();
    let tokenizer = Tokenizer::load(&data.join("data/tokenizers/gpt2")).unwrap();
    assert_eq!((tokenizer.vocabulary_size(), tokenizer.bos_added()), (50257, None));
    let golden = &json_of("reference/stats/stats.json")["unigrams"]["b"];
    let text = fs::read(data.join("data").join(golden["source"].as_str().unwrap())).unwrap();
    let folder = folder();
    let excerpt = write(folder.path().join("excerpt.txt"), &text[..golden["bytes"].as_u64().unwrap() as usize]);
    let corpus = Corpus::read(&excerpt, DocumentRule::File).unwrap();
    let stream = TokenStream::build(&corpus, Some(&tokenizer), None, None, 50257, &options(Join::None)).unwrap();
    assert_eq!(hash_u32(&stream.ids), golden["tokens_sha256_of_little_endian_u32"]);
    // Every token that is text by itself stands where its offset says.
    let text = texts(&corpus)[0];
    for (&id, &byte) in stream.ids.iter().zip(&stream.byte) {
        let printed = tokenizer.token_text(id);
        assert!(printed.contains('\u{fffd}') || text[byte as usize..].starts_with(&printed), "{printed:?} at {byte}");
    }
}
