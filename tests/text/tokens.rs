//! Tokenizers and token classes.

use super::*;

#[test]
fn tokens_read_as_they_are_printed() {
    let bytes = byte_level();
    let print = |name| bytes.token_text(bytes.id_of(name).unwrap());
    assert_eq!(
        ["Ġthe", "he", "Ġ", "Ċ", "ĉ", "Ã", "<|endoftext|>"].map(print),
        [" the", "he", " ", "\n", "\t", "\u{fffd}", "<|endoftext|>"]
    );
    assert_eq!(bytes.token_text(9999), "");
    assert!(bytes.is_special(EOT) && !bytes.is_special(0));

    let fallback = tokenizer(&byte_fallback_json());
    let print = |name| fallback.token_text(fallback.id_of(name).unwrap());
    assert_eq!(
        ["▁the", "he", "▁", "<0x0A>", "<0x41>", "<0xE6>"].map(print),
        [" the", "he", " ", "\n", "A", "\u{fffd}"]
    );

    let words = tokenizer(&word_level_json("[UNK]"));
    assert_eq!(printed(&words, &[0, 1, 2, 77]), ["[UNK]", "the", "Cat", ""]);
}

#[test]
fn every_token_begins_where_its_text_does() {
    let text = "the café  the naïve 日本語\n\nthe 🙂the\tthe";
    for tokenizer in [byte_level(), tokenizer(&byte_fallback_json())] {
        let Encoded { ids, starts } = encode(&tokenizer, text);
        assert_eq!(ids.len(), starts.len());
        let mut covered = BTreeSet::new();
        for (index, (&id, &start)) in ids.iter().zip(&starts).enumerate() {
            let printed = tokenizer.token_text(id);
            // A piece that is no character by itself stands at the start of its character; slicing demands that it is one.
            let rest = &text[start as usize..];
            // The space that SentencePiece puts before a text is not in it.
            let printed = if index == 0 { printed.trim_start() } else { &printed };
            assert!(printed.contains('\u{fffd}') || rest.starts_with(printed), "{printed:?} at {start}");
            covered.insert(start as usize);
        }
        assert!(starts.is_sorted());
        let many = text.char_indices().filter(|(_, c)| c.len_utf8() > 1).map(|(i, _)| i);
        assert!(many.into_iter().all(|i| covered.contains(&i)), "a character without a token");
    }
    // Two bytes, two tokens, one offset.
    assert_eq!(encode(&byte_level(), "aé").starts, [0, 1, 1]);
    // The space belongs to the token, though the post-processor of this file would trim it off.
    assert_eq!(encode(&byte_level(), "a the").starts, [0, 1]);
}

#[test]
fn the_tokenizer_tells_which_token_it_adds_in_front_and_adds_none() {
    let with = |processor: Value| {
        let mut json = byte_level_json();
        json["post_processor"] = processor;
        tokenizer(&json)
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    let front = template(&["<s>"], &[], BOS);
    for (processor, expected) in [
        (Value::Null, None),
        (bytes.clone(), None),
        (front.clone(), Some(BOS)),
        (template(&[], &["<|endoftext|>"], EOT), None),
        (json!({"type": "Sequence", "processors": [bytes, front]}), Some(BOS)),
    ] {
        let tokenizer = with(processor.clone());
        assert_eq!(tokenizer.bos_added(), expected, "{processor}");
        assert_eq!(encode(&tokenizer, "the the"), encode(&byte_level(), "the the"));
    }
}

#[test]
fn truncation_padding_and_dropped_merges_in_the_file_are_switched_off() {
    let mut json = byte_level_json();
    json["truncation"] = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({"strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                             "pad_type_id": 0, "pad_token": "!"});
    json["model"]["dropout"] = json!(1.0);
    let text = "a the the";
    assert_eq!(encode(&tokenizer(&json), text), encode(&byte_level(), text));
    assert_eq!(encode(&byte_level(), text).ids.len(), 3);
}

#[test]
fn many_texts_come_back_in_order_and_the_same_as_one_by_one() {
    let tokenizer = byte_level();
    let texts: Vec<String> = (0..200).map(|i| "the ".repeat(i % 7) + &i.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let alone: Vec<Encoded> = texts.iter().map(|text| encode(&tokenizer, text)).collect();
    assert_eq!(tokenizer.encode(&texts).unwrap(), alone);
}

#[test]
fn the_vocabulary_size_counts_added_tokens_and_gaps() {
    assert_eq!(byte_level().vocabulary_size(), VOCABULARY);
    let mut json = word_level_json("[UNK]");
    json["model"]["vocab"]["far"] = json!(99);
    assert_eq!(tokenizer(&json).vocabulary_size(), 100);
}

#[test]
fn a_missing_or_broken_tokenizer_is_refused_with_a_cure() {
    let folder = folder();
    assert_input_error(Tokenizer::load(folder.path()), &["has no tokenizer.json", "`ids`"]);
    assert_input_error(Tokenizer::load(&folder.path().join("gone")), &["gone", "no such"]);
    let mut unmerged = byte_level_json();
    unmerged["model"]["merges"] = json!([["zz", "zz"]]);
    let mut unnamed = byte_level_json();
    unnamed["post_processor"] = template(&["<s>"], &[], BOS);
    unnamed["post_processor"]["special_tokens"] = json!({});
    for broken in ["", "{}", "[1]", "{\"version\": \"1.0\"", &unmerged.to_string(), &unnamed.to_string()] {
        let path = write(folder.path().join("tokenizer.json"), broken);
        assert_input_error(Tokenizer::from_file(&path), &["tokenizer.json", "not a tokenizer", "again"]);
    }
    let unknown = tokenizer(&word_level_json("absent"));
    assert_input_error(unknown.encode(&["the dog"]), &["tokenizer.json", "cannot tokenise", "unknown token"]);
}

#[test]
fn a_token_has_the_class_its_text_says() {
    use TokenClass::*;
    for (text, marked, unmarked) in [
        ("\n", Newline, Newline),
        (" \n\n", Newline, Newline),
        (".\n", Newline, Newline),
        (" ", Whitespace, Whitespace),
        ("\t\r", Whitespace, Whitespace),
        (" ,", Punctuation, Punctuation),
        ("…”", Punctuation, Punctuation),
        ("=", Punctuation, Punctuation),
        (" 1999", Digit, Digit),
        ("7", Digit, Digit),
        ("٣", Digit, Digit),
        (" the", FunctionWord, FunctionWord),
        (" The", FunctionWord, FunctionWord),
        ("the", WordPiece, FunctionWord),
        (" theory", WordStart, WordStart),
        (" Ω", WordStart, WordStart),
        ("ing", WordPiece, WordStart),
        ("'s", WordPiece, WordStart),
        ("1,", Other, Other),
        ("\u{fffd}", Other, Other),
        (" \u{fffd}", Other, Other),
        ("", Other, Other),
    ] {
        assert_eq!(TokenClass::of(text, true), marked, "{text:?}, marked");
        assert_eq!(TokenClass::of(text, false), unmarked, "{text:?}, unmarked");
    }
}

#[test]
fn every_id_of_the_model_has_a_class() {
    let bytes = byte_level();
    let classes_of_bytes = classes(Some(&bytes), VOCABULARY + 10);
    let of = |name| classes_of_bytes[bytes.id_of(name).unwrap() as usize];
    use TokenClass::*;
    assert_eq!(
        ["Ċ", "Ġ", "!", "7", "Ġthe", "he", "Ġt", "Ã", "<|endoftext|>"].map(of),
        [Newline, Whitespace, Punctuation, Digit, FunctionWord, WordPiece, WordStart, Other, Other]
    );
    assert_eq!(classes_of_bytes[VOCABULARY..], [Other; 10]);
    // A vocabulary of words marks no starts: each word is one. "[UNK]" is no special token in this file.
    let words = tokenizer(&word_level_json("[UNK]"));
    assert_eq!(classes(Some(&words), 6), [WordStart, FunctionWord, WordStart, Punctuation, Digit, WordStart]);
    assert_eq!(classes(None, 2), [Other, Other]);
}

#[test]
fn function_words_are_sorted_lower_case_and_classes_have_one_name() {
    assert!(FUNCTION_WORDS.is_sorted_by(|a, b| a < b), "binary search needs order");
    assert!(FUNCTION_WORDS.iter().all(|word| word.to_lowercase() == *word));
    for class in TokenClass::ALL {
        assert_eq!(serde_json::to_value(class).unwrap(), json!(class.name()));
    }
}
