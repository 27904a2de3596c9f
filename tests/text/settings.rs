//! Settings beside a tokenizer. The ids are those of transformers 5.24's AutoTokenizer for the same folders.

use super::*;

/// The tokenizer of a folder with these files beside its tokenizer.json, which has 261 tokens.
fn beside(files: &[(&str, Value)]) -> Tokenizer {
    let folder = folder();
    write(folder.path().join("tokenizer.json"), byte_level_json().to_string());
    for (name, content) in files {
        write(folder.path().join(name), content.to_string());
    }
    Tokenizer::load(folder.path()).unwrap()
}

fn token(content: &str) -> Value {
    json!({"content": content, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false,
           "special": true})
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    encode(tokenizer, text).ids
}

#[test]
fn tokens_that_only_the_settings_name_are_tokens() {
    let plain = byte_level();
    for (files, text, expected) in [
        (
            vec![(
                "tokenizer_config.json",
                json!({"added_tokens_decoder": {"262": token("<b>"), "261": token("<a>")}}),
            )],
            "<b>the<a>",
            vec![262, ids(&plain, "the")[0], ids(&plain, "the")[1], 261],
        ),
        (
            vec![("tokenizer_config.json", json!({"additional_special_tokens": ["<x>", "<y>"], "pad_token": "<pad>"}))],
            "<pad><x><y>",
            vec![261, 262, 263],
        ),
        (
            vec![("tokenizer_config.json", json!({"extra_special_tokens": {"image_token": "<img>"}}))],
            "<img>",
            vec![261],
        ),
        (
            vec![("special_tokens_map.json", json!({"pad_token": "<pad>", "eos_token": "<|endoftext|>"}))],
            "<pad>",
            vec![261],
        ),
        (vec![("added_tokens.json", json!({"<r>": 262, "<q>": 261}))], "<q><r>", vec![261, 262]),
        // What is there already stays what it is.
        (vec![("tokenizer_config.json", json!({"eos_token": "<|endoftext|>", "bos_token": "<s>"}))], "<s>", vec![BOS]),
    ] {
        let tokenizer = beside(&files);
        assert_eq!(ids(&tokenizer, text), expected, "{files:?}");
        let adds = expected.iter().any(|&id| id > BOS);
        assert_eq!(tokenizer.hash() == plain.hash(), !adds, "a hash says what the tokenizer does");
        assert_eq!(tokenizer.vocabulary_size() == plain.vocabulary_size(), !adds);
    }
}

#[test]
fn the_prefix_of_gpt2s_classes_and_split_special_tokens_are_as_in_transformers() {
    let plain = byte_level();
    let gpt2 =
        beside(&[("tokenizer_config.json", json!({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true}))]);
    assert_eq!(ids(&gpt2, "the"), ids(&plain, " the"));
    let other = json!({"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": true});
    assert_eq!(ids(&beside(&[("tokenizer_config.json", other)]), "the"), ids(&plain, "the"));
    let split = beside(&[("tokenizer_config.json", json!({"split_special_tokens": true}))]);
    assert!(ids(&split, "<|endoftext|>").len() > 5);
}

#[test]
fn broken_settings_are_refused_by_file() {
    let folder = folder();
    write(folder.path().join("tokenizer.json"), byte_level_json().to_string());
    for (name, content, says) in [
        ("tokenizer_config.json", "{", "not the JSON expected"),
        ("tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": 1}}", "no token at \"x\""),
        ("added_tokens.json", "{\"<q>\": \"one\"}", "expected a number"),
    ] {
        let path = write(folder.path().join(name), content);
        assert_input_error(Tokenizer::load(folder.path()), &[name, says]);
        fs::remove_file(path).unwrap();
    }
}
