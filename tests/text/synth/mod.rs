//! Synthetic corpora: what is said to be known of them is true of the texts they produce. Here the languages.

mod artificial;
mod ginc;

use odyssey::error::Error;
use odyssey::synth::{Family, Known, Language, MAX_WORDS, Sizes, Splits, write_family};
use tokenizers::Tokenizer;

const LAMBDAS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

fn family() -> Family {
    Family::new(7, 220).unwrap()
}

fn languages(family: &Family) -> Vec<Language> {
    LAMBDAS.iter().map(|lambda| family.language(*lambda).unwrap()).collect()
}

#[test]
fn rows_sum_to_one_and_line_breaks_never_follow_each_other() {
    for language in languages(&family()) {
        for symbol in 0..language.symbols() {
            assert!((language.row(symbol).iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let can_break = symbol == language.full_stop();
            assert_eq!(language.row(symbol)[language.line_break()] > 0.0, can_break);
        }
    }
}

#[test]
fn the_stationary_distribution_is_left_as_it_is_by_a_step() {
    for language in languages(&family()) {
        let pi = language.stationary();
        assert!((pi.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        for j in 0..language.symbols() {
            let next: f64 = (0..language.symbols()).map(|i| pi[i] * language.row(i)[j]).sum();
            assert!((next - pi[j]).abs() < 1e-13);
        }
        // flow balance: a sentence is 12 words on average, and every fourth one ends a line
        let (stop, line) = (pi[language.full_stop()], pi[language.line_break()]);
        assert!((stop - 1.0 / 13.25).abs() < 1e-12 && (line - stop / 4.0).abs() < 1e-12);
    }
}

#[test]
fn the_kl_rate_to_the_base_is_zero_for_the_base_and_grows_with_lambda() {
    for seed in 0..3 {
        let family = Family::new(seed, 220).unwrap();
        let languages = languages(&family);
        let rates: Vec<f64> = languages.iter().map(|l| l.kl_rate(&languages[0]).unwrap()).collect();
        assert_eq!(rates[0], 0.0);
        assert!(rates.is_sorted_by(|a, b| a < b), "{rates:?}");
        assert!(rates[4].is_finite() && rates[4] > 0.5, "{rates:?}");
    }
}

#[test]
fn languages_of_different_lexicons_have_no_kl_rate() {
    let other = Family::new(8, 220).unwrap().language(0.0).unwrap();
    assert_eq!(family().language(0.0).unwrap().kl_rate(&other), None);
}

/// Mean and its standard error over documents of `f(from, to)`, summed per document; a document starts from a line break.
fn per_token(language: &Language, documents: &[Vec<usize>], f: impl Fn(usize, usize) -> f64) -> (f64, f64) {
    let sums: Vec<f64> = documents
        .iter()
        .map(|document| {
            let from = std::iter::once(language.line_break()).chain(document.iter().copied());
            from.zip(document).map(|(from, to)| f(from, *to)).sum()
        })
        .collect();
    let total: f64 = documents.iter().map(|document| document.len() as f64).sum();
    let mean = sums.iter().sum::<f64>() / total;
    let squares: f64 = sums.iter().zip(documents).map(|(s, d)| (s - mean * d.len() as f64).powi(2)).sum();
    (mean, squares.sqrt() / total)
}

#[test]
fn the_loss_of_the_true_chain_on_its_text_is_the_entropy_rate() {
    for language in languages(&family()) {
        let documents = language.documents(300_000, 1);
        let (mean, error) = per_token(&language, &documents, |i, j| -language.row(i)[j].ln());
        assert!(error < 0.01, "{error}");
        assert!((mean - language.entropy_rate()).abs() < 4.0 * error, "{mean} ± {error}, {}", language.entropy_rate());
        assert!((language.floor_perplexity().ln() - language.entropy_rate()).abs() < 1e-12);
    }
}

#[test]
fn the_loss_of_the_base_on_a_domain_exceeds_its_floor_by_the_kl_rate() {
    let family = family();
    let (base, domain) = (family.language(0.0).unwrap(), family.language(0.5).unwrap());
    let documents = domain.documents(300_000, 2);
    let (excess, error) = per_token(&domain, &documents, |i, j| (domain.row(i)[j] / base.row(i)[j]).ln());
    let expected = domain.kl_rate(&base).unwrap();
    assert!(expected > 20.0 * error);
    assert!((excess - expected).abs() < 4.0 * error, "{excess} ± {error}, expected {expected}");
}

#[test]
fn transitions_are_as_frequent_as_the_chain_says() {
    let language = family().language(0.25).unwrap();
    let symbols = language.symbols();
    let mut counts = vec![0.0; symbols * symbols];
    for document in language.documents(400_000, 3) {
        for pair in document.windows(2) {
            counts[pair[0] * symbols + pair[1]] += 1.0;
        }
    }
    let mut checked = 0;
    for i in 0..symbols {
        let total: f64 = counts[i * symbols..][..symbols].iter().sum();
        for j in 0..symbols {
            let p = language.row(i)[j];
            let found = counts[i * symbols + j];
            if total * p > 25.0 {
                let five_errors = 5.0 * (total * p * (1.0 - p)).sqrt();
                assert!((found - total * p).abs() < five_errors, "{i} to {j}: {found}, expected {}", total * p);
                checked += 1;
            }
            assert!(p > 0.0 || found == 0.0, "{i} to {j} is impossible");
        }
    }
    assert!(checked > 1000, "{checked}");
}

#[test]
fn the_same_seed_gives_the_same_language_and_text() {
    let text = |family_seed, seed| {
        let language = Family::new(family_seed, 220).unwrap().language(0.5).unwrap();
        language.text(&language.documents(2000, seed))
    };
    assert_eq!(text(7, 1), text(7, 1));
    assert_ne!(text(7, 1), text(7, 2));
    assert_ne!(text(7, 1), text(8, 1));
}

#[test]
fn documents_are_whole_sentences_with_no_empty_line_inside_and_one_between() {
    let language = family().language(0.5).unwrap();
    let documents = language.documents(20_000, 4);
    let text = language.text(&documents);
    let parts: Vec<&str> = text.trim_end().split("\n\n").collect();
    assert_eq!(parts.len(), documents.len());
    for (part, document) in parts.iter().zip(&documents) {
        assert_eq!(*part, language.render(document));
        assert!(part.ends_with(" .") && !part.starts_with(['.', '\n', ' ']));
        assert!(part.lines().all(|line| line.ends_with(" .") && !line.contains("  ") && line.trim() == line));
        assert!((200..600).contains(&document.len()));
    }
    assert!(text.ends_with(" .\n") && text.matches('\n').count() > 2 * documents.len());
}

#[test]
fn words_differ_and_leave_the_vocabulary_below_256() {
    let family = Family::new(1, MAX_WORDS).unwrap();
    let mut words = family.lexicon().to_vec();
    words.sort();
    words.dedup();
    assert_eq!(words.len(), MAX_WORDS);
    assert!(words.iter().all(|word| word.chars().all(|c| c.is_ascii_lowercase())));
    let tokenizer: Tokenizer = family.tokenizer_json().parse().unwrap();
    assert_eq!(tokenizer.get_vocab_size(true), MAX_WORDS + 4);
}

#[test]
fn the_tokenizer_gives_one_token_per_symbol_and_decodes_to_the_same_text() {
    let family = family();
    let tokenizer: Tokenizer = family.tokenizer_json().parse().unwrap();
    let language = family.language(1.0).unwrap();
    for document in language.documents(20_000, 5) {
        let text = language.render(&document);
        let encoding = tokenizer.encode(text.as_str(), true).unwrap();
        let expected: Vec<u32> = document.iter().map(|symbol| *symbol as u32 + 2).collect();
        assert_eq!(encoding.get_ids(), expected);
        assert_eq!(tokenizer.decode(encoding.get_ids(), false).unwrap(), text);
        let tokens = encoding.get_offsets().iter().map(|(start, end)| &text[*start..*end]);
        assert!(tokens.eq(encoding.get_tokens()), "offsets are those of the tokens");
    }
    assert_eq!(tokenizer.token_to_id("<|endoftext|>"), Some(0));
    assert_eq!(tokenizer.token_to_id("<unk>"), Some(1));
    assert_eq!(tokenizer.encode("notaword", false).unwrap().get_ids(), [1]);
    assert_eq!(tokenizer.decode(&[language.line_break() as u32 + 2], false).unwrap(), "\n");
    let joined = format!("{w} .\n\n{w} .", w = family.lexicon()[0]);
    let ids = tokenizer.encode(joined.as_str(), false).unwrap();
    assert_eq!((ids.len(), tokenizer.decode(ids.get_ids(), false).unwrap()), (6, joined));
    assert_eq!(family.tokenizer_json(), family.tokenizer_json());
}

const SMALL: Sizes = Sizes {
    base: Splits { train: 5000, valid: 1000, test: 1000 },
    domain: Splits { train: 2000, valid: 500, test: 800 },
};

#[test]
fn a_family_on_disk_holds_the_splits_the_tokenizer_and_what_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("family");
    let known = write_family(&out, 3, &[0.0, 0.5], SMALL).unwrap();
    let tokenizer = Tokenizer::from_file(out.join("tokenizer.json")).unwrap();
    assert_eq!(known.iter().map(|k| k.domain.as_str()).collect::<Vec<_>>(), ["base", "lambda-0", "lambda-0.5"]);
    for known in &known {
        let domain = out.join(&known.domain);
        let text = std::fs::read_to_string(domain.join("known.json")).unwrap();
        let read: Known = serde_json::from_str(&text).unwrap();
        assert_eq!((&read.schema, &read.domain, read.tokens), (&"odyssey.synth/1".into(), &known.domain, known.tokens));
        let numbers = |known: &Known| {
            [known.lambda.unwrap(), known.entropy_rate, known.floor_perplexity, known.kl_to_base.unwrap()]
        };
        assert!(numbers(&read).iter().zip(numbers(known)).all(|(a, b)| (a - b).abs() < 1e-12));
        assert!((read.entropy_rate.exp() - read.floor_perplexity).abs() < 1e-9);
        let splits = [("train", known.tokens.train), ("valid", known.tokens.valid), ("test", known.tokens.test)];
        for (split, tokens) in splits {
            let text = std::fs::read_to_string(domain.join(format!("{split}.txt"))).unwrap();
            let counts = text.trim_end().split("\n\n").map(|d| tokenizer.encode(d, false).unwrap().len());
            assert_eq!(counts.sum::<usize>(), tokens);
        }
    }
    assert!((5000..5600).contains(&known[0].tokens.train) && (800..1400).contains(&known[2].tokens.test));
    assert_eq!((known[0].kl_to_base, known[1].kl_to_base), (Some(0.0), Some(0.0)));
    assert!(known[2].kl_to_base > Some(0.1));
    // the same language in other documents, and no split repeats another
    let read = |path: &str| std::fs::read_to_string(out.join(path)).unwrap();
    assert_ne!(read("base/valid.txt")[..200], read("lambda-0/valid.txt")[..200]);
    assert_ne!(read("base/valid.txt")[..200], read("base/test.txt")[..200]);

    let again = folder.path().join("again");
    assert_eq!(write_family(&again, 3, &[0.0, 0.5], SMALL).unwrap(), known);
    for file in ["tokenizer.json", "base/train.txt", "lambda-0.5/test.txt", "lambda-0.5/known.json"] {
        assert_eq!(std::fs::read(out.join(file)).unwrap(), std::fs::read(again.join(file)).unwrap(), "{file}");
    }
}

#[test]
fn wrong_requests_are_refused_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("family");
    let refused = |lambdas: &[f64], sizes| {
        let error = write_family(&out, 3, lambdas, sizes).unwrap_err();
        assert!(matches!(error, Error::Input { .. }), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    };
    refused(&[0.5, 1.5], SMALL);
    refused(&[f64::NAN], SMALL);
    refused(&[0.5, 0.5], SMALL);
    refused(&[0.5], Sizes { domain: Splits { test: 0, ..SMALL.domain }, ..SMALL });
    for words in [0, 1, MAX_WORDS + 1] {
        assert!(matches!(Family::new(1, words), Err(Error::Input { .. })));
    }
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("notes.txt"), "mine").unwrap();
    assert!(write_family(&out, 3, &[0.5], SMALL).unwrap_err().to_string().contains("exists already"));
}
