//! Long texts are tokenised in pieces; the whole text, tokenised at once, is the answer they must give.

use std::sync::LazyLock;

use super::*;

/// The tokens of a text in pieces of this length.
fn in_pieces(tokenizer: &Tokenizer, text: &str, piece: usize) -> Encoded {
    let mut all = Encoded::default();
    tokenizer
        .encode_in_pieces(text, piece, |ids, starts| {
            all.ids.extend(ids);
            all.starts.extend(starts);
            Ok(())
        })
        .unwrap();
    all
}

#[track_caller]
fn assert_same_in_pieces(tokenizer: &Tokenizer, text: &str, piece: usize, what: &str) {
    let whole = encode(tokenizer, text);
    let pieces = in_pieces(tokenizer, text, piece);
    let differs = whole.ids.iter().zip(&pieces.ids).position(|(a, b)| a != b);
    assert!(whole == pieces, "{what}: {} and {} tokens, differ at {differs:?}", whole.ids.len(), pieces.ids.len());
}

/// Texts that leave no good place to cut, each of some fifty thousand bytes.
fn nasty_texts() -> Vec<(&'static str, String)> {
    let words = "the cat sat on the mat, the end.\n".repeat(600);
    let [a, b] = [&words[..10_001], &words[10_001..]];
    vec![
        ("one endless word", "the".repeat(20_000)),
        ("an endless word among others", format!("{a}{}{b}", "he".repeat(20_000))),
        ("a word that repeats after 7", "aathehe".repeat(8000)),
        ("spaces alone", " ".repeat(50_000)),
        ("a run of spaces among words", format!("{a}{}{b}", " ".repeat(40_001))),
        ("line breaks alone", "\n".repeat(50_000)),
        ("spaces and line breaks in turn", " \n\n\t \r\n  ".repeat(5000)),
        ("emoji", "🙂👩‍👩‍👧‍👦🏳️‍🌈".repeat(1000)),
        ("combining marks on one letter", format!("{a}e{}{b}", "\u{301}\u{323}".repeat(12_000))),
        ("letters with combining marks", "e\u{301}o\u{308}\u{323} ".repeat(6000)),
        ("special tokens", "<|endoftext|>".repeat(4000)),
        ("special tokens among words", "the <|endoftext|>he <s> the<|endof text|>".repeat(1000)),
        ("no break in Chinese", "日本語中文字".repeat(3000)),
        ("digits", "0123456789".repeat(5000)),
    ]
}

#[test]
fn nasty_texts_have_the_tokens_of_the_whole_text() {
    for tokenizer in [byte_level(), tokenizer(&byte_fallback_json())] {
        for (what, text) in nasty_texts() {
            assert_same_in_pieces(&tokenizer, &text, 1 << 13, what);
        }
    }
}

#[test]
fn a_token_longer_than_several_pieces_stays_one() {
    let tokenizer = tokenizer(&word_level_json("[UNK]"));
    let words = "the Cat sat . ".repeat(2000);
    let text = format!("{words}{} {words}", "x".repeat(50_000));
    assert_same_in_pieces(&tokenizer, &text, 1 << 13, "an unknown word");
    assert_eq!(encode(&tokenizer, &text).ids.len(), 2 * 4 * 2000 + 1);
}

#[test]
fn texts_that_are_simply_cut_would_have_other_tokens() {
    let tokenizer = byte_level();
    let text = "the cat sat on the mat ".repeat(2000);
    let whole = encode(&tokenizer, &text);
    let cut: Vec<u32> =
        text.as_bytes().chunks(8191).flat_map(|part| encode(&tokenizer, str::from_utf8(part).unwrap()).ids).collect();
    assert_ne!(whole.ids, cut, "nothing to put together");
    assert_eq!(in_pieces(&tokenizer, &text, 8192), whole);
}

#[test]
fn long_documents_and_long_joined_texts_have_the_stream_of_the_whole_text() {
    // A stream is made in pieces from 64 KiB on.
    let long: String = (0..40_000).map(|i| format!("the {i} hé\n")).collect();
    let documents = ["he", &long, "the", &long[..300_000], "é"];
    let corpus = text_corpus(&documents);
    let tokenizer = byte_level();
    for (join, between) in [(Join::None, ""), (Join::Newline, "\n"), (Join::BlankLine, "\n\n")] {
        let made = stream(&corpus, &options(join)).unwrap();
        let whole = encode(&tokenizer, &documents.join(between));
        assert_eq!(made.ids, whole.ids);
        // Where a document and its token lie in the whole is the sum of what comes before.
        let firsts = documents.iter().scan(0, |at, text| {
            let first = *at;
            *at += (text.len() + between.len()) as u64;
            Some(first)
        });
        let firsts: Vec<u64> = firsts.collect();
        let at =
            made.document.iter().zip(&made.byte).map(|(&document, &byte)| firsts[document as usize] + u64::from(byte));
        assert_eq!(at.collect::<Vec<u64>>(), whole.starts, "{join:?}");
    }
    let apart = stream(&corpus, &options(Join::Apart)).unwrap();
    let each: Vec<Encoded> = documents.iter().map(|text| encode(&tokenizer, text)).collect();
    assert_eq!(apart.ids, each.iter().flat_map(|e| e.ids.clone()).collect::<Vec<_>>());
    let starts = each.iter().flat_map(|e| e.starts.iter().map(|&start| start as u32));
    assert_eq!(apart.byte, starts.collect::<Vec<_>>());
    assert_eq!(apart.bytes, documents.iter().map(|text| text.len() as u64).sum::<u64>());
}

/// The tokenizers of the shared data, by name. Reading them takes longer than their tests.
static SHARED: LazyLock<Vec<(&str, Tokenizer)>> = LazyLock::new(|| {
    let data = common::test_data();
    let files = [
        "data/tokenizers/gpt2/tokenizer.json",
        "data/tokenizers/olmo/allenai_dolma2.json",
        "data/tokenizers/olmo/allenai_gpt-neox-olmo-dolma-v1_5.json",
        "data/stories260K/tokenizer.json", // SentencePiece, as LLaMA's
        "models/wiki-gpt2/tokenizer.json",
    ];
    files.map(|file| (file, Tokenizer::from_file(&data.join(file)).unwrap())).into()
});

#[machine::needs(test_data)]
#[test]
fn texts_of_every_shared_tokenizer_have_the_tokens_of_the_whole_text_in_pieces() {
    let domains = common::test_data().join("data/domains");
    let texts = ["arxiv_math.CT", "python_code", "man_pages", "dialogue", "wiki_general"].map(|name| {
        let text = fs::read_to_string(domains.join(name).join("test.txt")).unwrap();
        (name, text[..text.floor_char_boundary(60_000)].to_owned())
    });
    for (file, tokenizer) in &*SHARED {
        for (name, text) in &texts {
            assert_same_in_pieces(tokenizer, text, 1 << 13, &format!("{file} on {name}"));
        }
    }
}

#[machine::needs(test_data)]
#[test]
fn nasty_texts_have_the_tokens_of_the_whole_text_with_every_shared_tokenizer() {
    for (file, tokenizer) in &*SHARED {
        for (what, text) in nasty_texts() {
            assert_same_in_pieces(tokenizer, &text, 1 << 13, &format!("{file} on {what}"));
        }
    }
}
