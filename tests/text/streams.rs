//! Token streams.

use super::*;

#[test]
fn end_of_text_stands_between_documents_and_belongs_to_the_one_before() {
    let corpus = text_corpus(&["a the", "é", "b"]);
    let stream = stream(&corpus, &StreamOptions::default()).unwrap();
    assert_eq!(
        printed(&byte_level(), &stream.ids),
        ["a", " the", "<|endoftext|>", "\u{fffd}", "\u{fffd}", "<|endoftext|>", "b"]
    );
    assert_eq!(stream.document, [0, 0, 0, 1, 1, 1, 2]);
    assert_eq!(stream.byte, [0, 1, 5, 0, 0, 2, 0]);
    assert_eq!((stream.bytes, stream.words, stream.documents), (8, 4, 3));
    assert_eq!(stream.corpus_hash, corpus.hash);
}

#[test]
fn joined_texts_are_tokenised_as_one() {
    let corpus = text_corpus(&["a", " the", "hé"]);
    let tokenizer = byte_level();
    for (join, text, document, byte) in [
        (Join::None, "a thehé", vec![0, 1, 2, 2, 2], vec![0, 0, 0, 1, 1]),
        (Join::Newline, "a\n the\nhé", vec![0, 0, 1, 1, 2, 2, 2], vec![0, 1, 0, 4, 0, 1, 1]),
        (Join::BlankLine, "a\n\n the\n\nhé", vec![0, 0, 0, 1, 1, 1, 2, 2, 2], vec![0, 1, 2, 0, 4, 5, 0, 1, 1]),
    ] {
        let stream = stream(&corpus, &options(join)).unwrap();
        assert_eq!(stream.ids, encode(&tokenizer, text).ids);
        assert_eq!(stream.document, document, "{join:?}");
        assert_eq!(stream.byte, byte, "{join:?}");
        assert_eq!(stream.bytes, text.len() as u64);
        assert_eq!(stream.words, 4);
    }
    // A token that reaches over the seam belongs to the document it begins in.
    let stream = stream(&text_corpus(&["a t", "he"]), &options(Join::None)).unwrap();
    assert_eq!(printed(&tokenizer, &stream.ids), ["a", " the"]);
    assert_eq!(stream.document, [0, 0]);
    assert_eq!(stream.byte, [0, 1]);
}

#[test]
fn stripped_lines_are_glued_with_nothing_between() {
    let corpus = text_corpus(&["a \n\n\tb\u{1f}\r\nc", " \n ", "\u{a0}d e\n"]);
    let strip = StreamOptions { join: Join::None, newlines: Newlines::Strip, bos: Bos::Auto };
    let glued = stream(&corpus, &strip).unwrap();
    assert_eq!(glued.ids, encode(&byte_level(), "abcd e").ids);
    assert_eq!(glued.document, [0, 0, 0, 2, 2, 2]);
    assert_eq!(glued.byte, [0, 1, 2, 0, 1, 2]);
    assert_eq!((glued.bytes, glued.words), (6, 3));
    // The document that is gone leaves no second end-of-text behind.
    let apart = stream(&corpus, &StreamOptions { join: Join::Eot, ..strip }).unwrap();
    assert_eq!(printed(&byte_level(), &apart.ids).concat(), "abc<|endoftext|>d e");
}

#[test]
fn token_ids_skip_the_tokenizer() {
    let corpus = ids_corpus(&[&[5, 6], &[7]]);
    let build = |options: &StreamOptions| TokenStream::build(&corpus, None, Some(9), Some(8), 10, options);
    let stream = build(&StreamOptions::default()).unwrap();
    assert_eq!(stream.ids, [5, 6, 9, 7]);
    assert_eq!(stream.document, [0, 0, 0, 1]);
    assert_eq!(stream.byte, [0; 4]);
    assert_eq!((stream.bytes, stream.words, stream.documents), (0, 0, 2));
    assert_eq!(build(&options(Join::None)).unwrap().ids, [5, 6, 7]);
    let mut json = byte_level_json();
    json["post_processor"] = template(&["<s>"], &[], BOS);
    let beside =
        TokenStream::build(&corpus, Some(&tokenizer(&json)), Some(9), None, VOCABULARY, &StreamOptions::default());
    assert_eq!(beside.unwrap().ids, [5, 6, 9, 7]);
    let always = StreamOptions { bos: Bos::Always, ..StreamOptions::default() };
    assert_eq!(build(&always).unwrap().ids, [8, 5, 6, 9, 7]);
    for join in [Join::Newline, Join::BlankLine] {
        assert_input_error(build(&options(join)), &["books.jsonl", "token ids", "join = \"eot\""]);
    }
    let strip = StreamOptions { newlines: Newlines::Strip, ..StreamOptions::default() };
    assert_input_error(build(&strip), &["books.jsonl", "token ids", "newlines = \"strip\""]);
}

#[test]
fn begin_of_text_stands_once_at_the_start_of_the_stream() {
    let mut json = byte_level_json();
    json["post_processor"] = template(&["<s>"], &[], BOS);
    let [adds, adds_not] = [tokenizer(&json), byte_level()];
    let corpus = text_corpus(&["a", "b"]);
    let build = |corpus: &Corpus, tokenizer, bos, policy| {
        let options = StreamOptions { bos: policy, ..StreamOptions::default() };
        TokenStream::build(corpus, Some(tokenizer), Some(EOT), bos, VOCABULARY, &options)
    };
    let a = encode(&adds, "a").ids[0];
    let plain = [a, EOT, a + 1].to_vec();
    let with = [BOS, a, EOT, a + 1].to_vec();
    for (tokenizer, bos, policy, expected) in [
        (&adds, None, Bos::Auto, &with),
        (&adds, None, Bos::Always, &with),
        (&adds, Some(BOS), Bos::Never, &plain),
        (&adds_not, Some(BOS), Bos::Auto, &plain),
        (&adds_not, Some(BOS), Bos::Always, &with),
    ] {
        let stream = build(&corpus, tokenizer, bos, policy).unwrap();
        assert_eq!(stream.ids, *expected, "{policy:?}");
        assert_eq!((stream.document.len(), stream.byte.len()), (expected.len(), expected.len()));
        assert_eq!((stream.document[0], stream.byte[0], stream.bytes), (0, 0, 2));
    }
    // Never twice, where the text begins with it already.
    let begun = text_corpus(&["<s>a", "b"]);
    assert_eq!(build(&begun, &adds, None, Bos::Auto).unwrap().ids, with);
    assert_input_error(
        build(&corpus, &adds_not, None, Bos::Always),
        &["bos = \"always\"", "no begin-of-text", "bos = \"auto\""],
    );
}

#[test]
fn documents_apart_are_tokenised_one_by_one_and_each_begins_like_a_text() {
    let mut json = byte_level_json();
    json["post_processor"] = template(&["<s>"], &[], BOS);
    let adds = tokenizer(&json);
    let corpus = text_corpus(&["a t", "he", "<s>é"]);
    let build = |bos| {
        let options = StreamOptions { join: Join::Apart, bos, ..StreamOptions::default() };
        TokenStream::build(&corpus, Some(&adds), None, None, VOCABULARY, &options).unwrap()
    };
    let stream = build(Bos::Auto);
    let each = ["a t", "he", "é"].map(|text| [vec![BOS], encode(&adds, text).ids].concat());
    assert_eq!(stream.ids, each.concat(), "glued, \" the\" would be one token");
    let lengths = each.iter().map(Vec::len);
    assert_eq!(stream.document, (0..).zip(lengths).flat_map(|(of, n)| vec![of; n]).collect::<Vec<u32>>());
    assert_eq!((stream.bytes, stream.words), (10, 4));
    // What is written out in a text stays; --bos never adds no more.
    assert_eq!(build(Bos::Never).ids, [&each[0][1..], &each[1][1..], &each[2]].concat());
}

#[test]
fn a_stream_that_cannot_be_made_says_why_and_what_to_do() {
    let corpus = text_corpus(&["a the", "b"]);
    let bytes = byte_level();
    let build = |tokenizer, eot, vocabulary| {
        TokenStream::build(&corpus, tokenizer, eot, None, vocabulary, &StreamOptions::default())
    };
    assert_input_error(build(None, Some(EOT), VOCABULARY), &["books.txt", "no tokenizer", "`ids`"]);
    assert_input_error(build(Some(&bytes), None, VOCABULARY), &["join = \"eot\"", "end-of-text", "join = \"newline\""]);
    let parts = ["books.txt", "token 258 (\" the\")", "vocabulary of 258", "another model?"];
    assert_input_error(build(Some(&bytes), Some(EOT), 258), &parts);
    assert_input_error(build(Some(&bytes), Some(EOT), 259), &["token 259", "<|endoftext|>"]);
    let ids = ids_corpus(&[&[1, 70]]);
    let narrow = TokenStream::build(&ids, None, None, None, 70, &StreamOptions::default());
    assert_input_error(narrow, &["books.jsonl", "token 70 does not fit the model's vocabulary of 70"]);
    assert_input_error(
        stream(&text_corpus(&["a"]), &StreamOptions::default()),
        &["books.txt", "1 token", "at least two"],
    );
    // One document needs no end-of-text token.
    let one = text_corpus(&["ab"]);
    assert!(TokenStream::build(&one, Some(&bytes), None, None, VOCABULARY, &StreamOptions::default()).is_ok());
}

#[test]
fn words_are_counted_as_python_splits_them() {
    // len(re.split(r"\s+", text)) in Python 3.
    for (text, expected) in
        [("ab", 1), ("a b", 2), (" a  b\n", 4), ("a\u{a0}\u{2003}b", 2), ("a\u{1c}b\u{85}c", 3), ("a\u{200b}b", 1)]
    {
        assert_eq!(stream(&text_corpus(&[text]), &options(Join::None)).unwrap().words, expected, "{text:?}");
    }
}

#[test]
fn options_have_one_name_on_the_command_line_and_in_files() {
    fn names<T: ValueEnum + serde::Serialize>() -> Vec<String> {
        let name = |value: &T| {
            let name = value.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(serde_json::to_value(value).unwrap(), json!(name));
            name
        };
        T::value_variants().iter().map(name).collect()
    }
    assert_eq!(names::<DocumentRule>(), ["blank-line", "file"]);
    assert_eq!(names::<Join>(), ["eot", "newline", "blank-line", "none", "apart"]);
    assert_eq!(names::<Newlines>(), ["keep", "strip"]);
    assert_eq!(names::<Bos>(), ["auto", "always", "never"]);
    assert_eq!(names::<Split>(), Split::ALL.map(Split::name));
}
