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

    // Different parts of characters are told apart.
    let shown = |tokenizer: &Tokenizer, name| tokenizer.token_shown(tokenizer.id_of(name).unwrap());
    assert_eq!(
        ["Ġthe", "Ċ", "Ã", "<|endoftext|>"].map(|name| shown(&bytes, name)),
        [" the", "\n", "<0xC3>", "<|endoftext|>"]
    );
    assert_eq!(["<0x41>", "<0xE6>"].map(|name| shown(&fallback, name)), ["A", "<0xE6>"]);
    let names: BTreeSet<String> = (0..VOCABULARY as u32).map(|id| bytes.token_shown(id)).collect();
    assert!(!names.iter().any(|name| name.contains('\u{fffd}')), "{names:?}");

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

/// A folder with the byte-level tokenizer in two files, as GPT-2 was published, under these names.
fn pair_folder(vocabulary: &str, merges: &str) -> TempDir {
    let folder = folder();
    let json = byte_level_json();
    let mut vocab = json["model"]["vocab"].as_object().unwrap().clone();
    vocab.insert("<|endoftext|>".to_owned(), json!(EOT));
    write(folder.path().join(vocabulary), Value::Object(vocab).to_string());
    write(folder.path().join(merges), "#version: 0.2\nh e\nĠ t\nĠt he\n");
    folder
}

#[test]
fn vocabulary_and_merges_are_a_tokenizer_under_either_pair_of_names() {
    let text = "the café\n\nhe the<|endoftext|>the  日本語";
    let folders = [pair_folder("vocab.json", "merges.txt"), pair_folder("encoder.json", "vocab.bpe")];
    let [transformers, published] = folders.each_ref().map(|folder| Tokenizer::load(folder.path()).unwrap());
    for tokenizer in [&transformers, &published] {
        assert_eq!(encode(tokenizer, text), encode(&byte_level(), text));
        assert_eq!((tokenizer.vocabulary_size(), tokenizer.bos_added()), (EOT as usize + 1, None));
        assert!(tokenizer.is_special(EOT) && tokenizer.id_of("<|endoftext|>") == Some(EOT));
    }
    // The hash is that of what the files hold: either one counts, and names do not.
    assert_eq!(transformers.hash(), published.hash());
    let [_, folder] = &folders;
    write(folder.path().join("vocab.bpe"), "h e\nĠ t\n");
    let fewer = Tokenizer::load(folder.path()).unwrap();
    assert_ne!(encode(&fewer, text), encode(&byte_level(), text));
    let vocab = fs::read_to_string(folder.path().join("encoder.json")).unwrap();
    write(folder.path().join("encoder.json"), vocab.replacen('{', "{ ", 1));
    let same_ids = Tokenizer::load(folder.path()).unwrap();
    assert_eq!(BTreeSet::from([transformers.hash(), fewer.hash(), same_ids.hash()]).len(), 3);
    // A tokenizer.json is what counts where there is one.
    write(folder.path().join("tokenizer.json"), byte_level_json().to_string());
    assert_eq!(Tokenizer::load(folder.path()).unwrap().hash(), byte_level().hash());
}

#[test]
fn tokens_added_to_a_vocabulary_keep_their_ids() {
    let folder = pair_folder("vocab.json", "merges.txt");
    let added = folder.path().join("added_tokens.json");
    write(added.clone(), "{\"<pad>\": 261, \"<s>\": 260, \"<|endoftext|>\": 259}");
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    assert_eq!(encode(&tokenizer, "he<pad><s>").ids, [256, 261, 260]);
    write(added, "{\"<pad>\": 300}");
    assert_input_error(
        Tokenizer::load(folder.path()),
        &["added_tokens.json", "\"<pad>\" the id 300", "save_pretrained"],
    );
}

#[test]
fn a_broken_vocabulary_or_merge_is_refused_by_file_and_line() {
    for (name, content, says) in [
        ("merges.txt", "h e\nĠ  t\n", "merges.txt: line 2: \"Ġ  t\" is no merge"),
        ("merges.txt", "h e\nnothing\n", "merges.txt: line 2"),
        ("merges.txt", "zz zz\n", "not a tokenizer"),
        ("vocab.json", "[]", "vocab.json: not a vocabulary"),
        ("vocab.json", "{\"a\": 1", "vocab.json: not a vocabulary"),
        ("vocab.json", "{\"a\": -1}", "the id of \"a\" is -1"),
        ("vocab.json", "{\"a\": 4294967296}", "the id of \"a\" is 4294967296"),
        ("vocab.json", "{\"a\": 1}", "not a tokenizer"),
    ] {
        let folder = pair_folder("vocab.json", "merges.txt");
        write(folder.path().join(name), content);
        assert_input_error(Tokenizer::load(folder.path()), &[says]);
        assert!(Tokenizer::find(folder.path()).is_err(), "what is broken is not what is missing");
    }
    let folder = pair_folder("vocab.json", "merges.txt");
    write(folder.path().join("merges.txt"), b"h e\n\xff\n");
    assert_input_error(Tokenizer::load(folder.path()), &["merges.txt: line 2: not UTF-8"]);
    fs::remove_file(folder.path().join("merges.txt")).unwrap();
    assert_input_error(Tokenizer::load(folder.path()), &["has no tokenizer.json (nor vocab.json with merges.txt)"]);
}

#[test]
fn vocabularies_that_are_not_used_as_gpt2s_are_refused_with_the_way_to_convert_them() {
    for (settings, says) in [
        ("{\"tokenizer_class\": \"Qwen2Tokenizer\"}", Some("class \"Qwen2Tokenizer\"")),
        ("{\"tokenizer_class\": \"GPT2Tokenizer\", \"add_prefix_space\": true}", Some("add_prefix_space")),
        ("{\"add_bos_token\": true}", Some("add_bos_token")),
        ("{\"tokenizer_class\": \"GPT2Tokenizer\", \"add_prefix_space\": false, \"model_max_length\": 1024}", None),
        ("{\"tokenizer_class\": \"GPT2TokenizerFast\"}", None),
    ] {
        let folder = pair_folder("vocab.json", "merges.txt");
        write(folder.path().join("tokenizer_config.json"), settings);
        match says {
            Some(says) => {
                assert_input_error(Tokenizer::load(folder.path()), &["tokenizer_config.json", says, "python -c"])
            }
            None => assert!(Tokenizer::load(folder.path()).is_ok(), "{settings}"),
        }
    }
}

#[test]
fn a_sentencepiece_model_alone_is_refused_with_the_way_to_convert_it() {
    let folder = folder();
    write(folder.path().join("tokenizer.model"), b"\x0a\x0e\x0a\x05<unk>");
    let cure = format!("d = '{}'; T.from_pretrained(d).save_pretrained(d)", folder.path().display());
    assert_input_error(Tokenizer::load(folder.path()), &["tokenizer.model", "SentencePiece", &cure, "`ids`"]);
    // Token ids need none.
    assert!(Tokenizer::find(folder.path()).unwrap().is_none());
}

#[test]
fn a_saved_model_keeps_the_files_of_its_tokenizer() {
    let device = "cpu".parse::<DeviceChoice>().unwrap().open().unwrap();
    let weights = ["config.json", "model.safetensors"];
    for names in [["vocab.json", "merges.txt"], ["encoder.json", "vocab.bpe"]] {
        let [from, into] = [pair_folder(names[0], names[1]), folder()];
        for name in weights {
            fs::copy(common::model_folder("gpt2_tied").join(name), from.path().join(name)).unwrap();
        }
        let base = LoadedModel::open(from.path(), &device.device).unwrap();
        odyssey::model::save(&base.model, &base, into.path()).unwrap();
        let [before, after] = [&from, &into].map(|folder| Tokenizer::load(folder.path()).unwrap());
        assert_eq!(before.hash(), after.hash());
        assert_eq!(base.tokenizer().unwrap().unwrap().hash(), before.hash());
    }
}

#[test]
fn a_model_with_a_sentencepiece_model_reads_ids_and_says_how_to_read_texts() {
    let device = "cpu".parse::<DeviceChoice>().unwrap().open().unwrap();
    let folder = folder();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(common::model_folder("gpt2_tied").join(name), folder.path().join(name)).unwrap();
    }
    write(folder.path().join("tokenizer.model"), "a model");
    let model = LoadedModel::open(folder.path(), &device.device).unwrap();
    assert!(model.tokenizer().unwrap().is_none());
    let options = StreamOptions { join: Join::None, ..StreamOptions::default() };
    assert_eq!(model.stream(&ids_corpus(&[&[1, 2, 3]]), None, &options).unwrap().ids, [1, 2, 3]);
    assert_input_error(model.stream(&text_corpus(&["a b"]), None, &options), &["tokenizer.model", "python -c"]);
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
    let classes_of_bytes = classes(&bytes, VOCABULARY + 10);
    let of = |name| classes_of_bytes[bytes.id_of(name).unwrap() as usize];
    use TokenClass::*;
    assert_eq!(
        ["Ċ", "Ġ", "!", "7", "Ġthe", "he", "Ġt", "Ã", "<|endoftext|>"].map(of),
        [Newline, Whitespace, Punctuation, Digit, FunctionWord, WordPiece, WordStart, Other, Other]
    );
    assert_eq!(classes_of_bytes[VOCABULARY..], [Other; 10]);
    // A vocabulary of words marks no starts: each word is one. "[UNK]" is no special token in this file.
    let words = tokenizer(&word_level_json("[UNK]"));
    assert_eq!(classes(&words, 6), [WordStart, FunctionWord, WordStart, Punctuation, Digit, WordStart]);
    assert_eq!([0, 1, 9].map(|id| Vocabulary::new(None, 2).class(id)), [Other; 3], "nothing is known of ids alone");
}

#[test]
fn function_words_are_sorted_lower_case_and_classes_have_one_name() {
    assert!(FUNCTION_WORDS.is_sorted_by(|a, b| a < b), "binary search needs order");
    assert!(FUNCTION_WORDS.iter().all(|word| word.to_lowercase() == *word));
    for class in TokenClass::ALL {
        assert_eq!(serde_json::to_value(class).unwrap(), json!(class.name()));
    }
}
