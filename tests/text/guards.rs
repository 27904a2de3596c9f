//! Tokenizers that panic, search without end or ask for all memory, and characters that a tokenizer drops.

use std::time::{Duration, Instant};

use super::*;

fn with(key: &str, value: Value) -> Value {
    let mut json = byte_level_json();
    json[key] = value;
    json
}

/// Loads and tokenises, in bounded time.
#[track_caller]
fn refuse(json: &Value, text: &str, says: &str) {
    let folder = folder();
    write(folder.path().join("tokenizer.json"), json.to_string());
    let started = Instant::now();
    let done = Tokenizer::load(folder.path()).and_then(|tokenizer| tokenizer.encode(&[text]));
    assert_input_error(done, &["tokenizer.json", says]);
    assert!(started.elapsed() < Duration::from_secs(90), "took {:?}", started.elapsed());
}

#[test]
fn a_tokenizer_that_panics_is_refused_by_its_file() {
    let text = "the cat";
    for json in [
        with("normalizer", json!({"type": "Replace", "pattern": {"String": ""}, "content": "x"})),
        with("pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
        with("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "////////"})),
    ] {
        refuse(&json, text, "tokenizer");
    }
}

#[test]
fn a_pattern_whose_time_doubles_with_each_character_is_refused() {
    let split = json!({"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false});
    refuse(&with("pre_tokenizer", split), &format!("{}!", "a".repeat(60)), "steps");
}

#[test]
fn a_normalizer_that_asks_for_all_memory_is_refused() {
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let sequence = json!({"type": "Sequence", "normalizers": vec![double; 60]});
    refuse(&with("normalizer", sequence), "a", "times as long");
    let long = json!({"type": "Replace", "pattern": {"Regex": "."}, "content": "b".repeat(100_000)});
    refuse(&with("normalizer", long), "a", "times as long");
}

#[test]
fn a_long_run_of_spaces_is_tokenised_under_the_pattern_of_llama_3() {
    let pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\
                   \\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let mut json = with("pre_tokenizer", json!({"type": "Sequence", "pretokenizers": [split, bytes]}));
    // Tokens of two, four and eight spaces.
    let [two, four, eight] = [2, 4, 8].map(|count| "Ġ".repeat(count));
    for (id, token) in [(261, &two), (262, &four), (263, &eight)] {
        json["model"]["vocab"][token] = json!(id);
    }
    let merges = json["model"]["merges"].as_array_mut().unwrap();
    merges.extend([json!(["Ġ", "Ġ"]), json!([two, two]), json!([four, four])]);
    let tokenizer = tokenizer(&json);
    let text = format!("x{}y and the end", " ".repeat(400_001));
    let mut ids = Vec::new();
    tokenizer
        .encode_in_pieces(&text, 1 << 16, |more, _| {
            ids.extend_from_slice(more);
            Ok(())
        })
        .unwrap();
    assert_eq!(ids, encode(&tokenizer, &text).ids);
    assert_eq!(ids.iter().filter(|&&id| id == 263).count(), 50_000);
}

/// Byte-level, but only letters of ASCII have tokens.
fn ascii_json() -> Value {
    let mut json = byte_level_json();
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    vocab.retain(|token, _| token.is_ascii() || token.starts_with(['Ġ', 'Ċ']));
    json
}

fn stream_by(json: &Value, text: &str) -> TokenStream {
    let tokenizer = tokenizer(json);
    TokenStream::build(&text_corpus(&[text]), Some(&tokenizer), Some(EOT), None, VOCABULARY, &options(Join::Eot))
        .unwrap()
}

#[test]
fn characters_that_a_tokenizer_drops_are_counted_with_examples() {
    let text = "the café, naïve café 🙂 the\n\tend";
    let reading = stream_by(&ascii_json(), text).reading;
    assert_eq!(reading.dropped.count, 4, "{reading}");
    assert_eq!(reading.dropped.examples, ["é (U+00E9)", "ï (U+00EF)", "🙂 (U+1F642)"]);
    assert!(reading.to_string().ends_with("; 4 characters without a token"), "{reading}");
    // A normalizer that takes characters out, and splitting that removes them.
    let delete = json!({"type": "Replace", "pattern": {"String": "é"}, "content": ""});
    assert_eq!(stream_by(&with("normalizer", delete), text).reading.dropped.examples, ["é (U+00E9)"]);
    let commas = json!({"type": "Sequence", "pretokenizers": [
        {"type": "CharDelimiterSplit", "delimiter": ","}, byte_level_json()["pre_tokenizer"]]});
    assert_eq!(stream_by(&with("pre_tokenizer", commas), text).reading.dropped.examples, [", (U+002C)"]);
    // All bytes have tokens; white space that is left out is no news.
    for json in [byte_level_json(), byte_fallback_json()] {
        let tokenizer = tokenizer(&json);
        let build = TokenStream::build(&text_corpus(&[text]), Some(&tokenizer), None, None, 1000, &options(Join::None));
        assert!(build.unwrap().reading.dropped.is_none());
    }
}

#[test]
fn unknown_tokens_are_counted_with_the_text_that_they_stand_for() {
    let reading = stream_by(&word_level_json("[UNK]"), "the Cat sat at home .").reading;
    assert_eq!((reading.unknown.count, reading.unknown.examples.len()), (2, 2), "{reading}");
    assert!(reading.unknown.examples[0].contains("at"), "{reading}");
    assert!(reading.dropped.is_none());
}
