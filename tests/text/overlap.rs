//! How much of a test text stands in the training text.

use odyssey::text::Overlap;

use super::*;

const END: u32 = 9;

/// A stream of documents with `END` between them.
fn stream_of(documents: &[Vec<u32>]) -> TokenStream {
    let corpus = ids_corpus(&documents.iter().map(Vec::as_slice).collect::<Vec<_>>());
    TokenStream::build(&corpus, None, Some(END), None, 10, &options(Join::Eot)).unwrap()
}

fn overlap(train: &[Vec<u32>], test: &[Vec<u32>]) -> Overlap {
    Overlap::of(&stream_of(train), &stream_of(test), Some(END))
}

/// The definition, word for word: every test 13-gram against every one of the training text.
fn by_brute_force(train: &[Vec<u32>], test: &[Vec<u32>]) -> [f64; 2] {
    let is_in_train = |gram: &[u32]| train.iter().any(|document| document.windows(13).any(|other| other == gram));
    let documents: Vec<Vec<bool>> =
        test.iter().filter(|d| d.len() >= 13).map(|d| d.windows(13).map(is_in_train).collect()).collect();
    let share = |found: &[bool]| found.iter().filter(|&&found| found).count() as f64 / found.len() as f64;
    let near: Vec<bool> = documents.iter().map(|document| share(document) >= 0.8).collect();
    [share(&documents.concat()), share(&near)]
}

/// Documents of 1 to 60 tokens, 0 or 1: so few that long runs come twice by chance.
fn random_documents(seed: u64, count: usize) -> Vec<Vec<u32>> {
    let mut state = seed;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    (0..count).map(|_| (0..=next(60)).map(|_| next(2) as u32).collect()).collect()
}

#[test]
fn shares_are_those_of_a_comparison_of_everything_with_everything() {
    let mut near_duplicates = 0;
    for seed in 0..30 {
        let train = random_documents(seed, 60);
        let mut test = random_documents(1000 + seed, 20);
        // Two copies, one with a changed token near its end.
        let long = train.iter().find(|document| document.len() > 50).unwrap();
        let mut changed = long.clone();
        *changed.last_mut().unwrap() = 2;
        test.extend([long.clone(), changed]);
        let found = overlap(&train, &test);
        let [grams, documents] = by_brute_force(&train, &test);
        assert_eq!((found.test_13grams_in_train, found.near_duplicate_documents), (Some(grams), Some(documents)));
        assert!(grams > 0.0 && grams < 1.0 && documents < 1.0, "{grams} {documents}: nothing to tell apart");
        near_duplicates += usize::from(documents > 0.0);
    }
    assert_eq!(near_duplicates, 30);
}

#[test]
fn a_text_is_in_itself_and_the_same_tokens_in_another_order_are_not() {
    let text: Vec<Vec<u32>> = (0..4).map(|d| (0..40).map(|i| (i * i + d) % 7).collect()).collect();
    let same = overlap(&text, &text[..2]);
    assert_eq!((same.test_13grams_in_train, same.near_duplicate_documents), (Some(1.0), Some(1.0)));
    let backwards: Vec<Vec<u32>> = text.iter().map(|d| d.iter().rev().map(|id| 8 - id).collect()).collect();
    let none = overlap(&backwards, &text);
    assert_eq!((none.test_13grams_in_train, none.near_duplicate_documents), (Some(0.0), Some(0.0)));
}

#[test]
fn runs_across_documents_and_the_token_between_them_do_not_count() {
    let text: Vec<u32> = (0..8).chain(0..8).chain(0..4).collect();
    // Cut in two, no half holds a run of 13.
    let cut = vec![text[..10].to_vec(), text[10..].to_vec()];
    assert_eq!(overlap(&cut, std::slice::from_ref(&text)).test_13grams_in_train, Some(0.0));
    let nothing = overlap(std::slice::from_ref(&text), &cut);
    assert_eq!(nothing.test_13grams_in_train, None);
    assert_eq!(nothing.reason.as_deref(), Some("no document of the test text has 13 tokens"));
    // In one text a document is followed by `END`, in the other it is the last.
    let followed = overlap(std::slice::from_ref(&text), &[text.clone(), vec![1]]);
    assert_eq!(followed.test_13grams_in_train, Some(1.0));
}

#[machine::needs(test_data)]
#[test]
fn shares_of_the_shared_domains_are_those_of_the_reference() {
    let data = common::test_data();
    let tokenizer = Tokenizer::load(&data.join("models/wiki-gpt2")).unwrap();
    let eot = tokenizer.id_of("<|endoftext|>");
    // Counted in Python on the ids of the tokenizers package, as sets of tuples: of so many runs of 13 in the test text so
    // many are in the training text, and of so many documents so many to 80 % or more.
    for (name, in_train, of, near_duplicates, documents) in [
        ("arxiv_econ.EM", 17, 18_409, 0, 61),
        ("dialogue", 15_272, 78_206, 0, 192),
        ("man_pages", 25_965, 101_631, 0, 38),
        ("wiki_sports", 1493, 43_384, 1, 88),
    ] {
        let domain = Domain::open(data.join("data/domains").join(name), DocumentRule::BlankLine).unwrap();
        let [train, test] = [Split::Train, Split::Test].map(|split| {
            let corpus = domain.split(split).unwrap();
            TokenStream::build(&corpus, Some(&tokenizer), eot, None, 4096, &StreamOptions::default()).unwrap()
        });
        let found = Overlap::of(&train, &test, eot);
        assert_eq!(found.test_13grams_in_train, Some(f64::from(in_train) / f64::from(of)), "{name}");
        assert_eq!(found.near_duplicate_documents, Some(f64::from(near_duplicates) / f64::from(documents)), "{name}");
    }
}
