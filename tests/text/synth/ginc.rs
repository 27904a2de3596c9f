//! GINC: likelihoods are exact, and a concept of the mixture leaves nothing to gain but its own name.

use std::path::Path;

use odyssey::error::Error;
use odyssey::pretrain::PretrainConfig;
use odyssey::study::StudyConfig;
use odyssey::synth::{
    CONCEPTS, DELIMITER, Family, Ginc, GincDomain, Hmm, Known, MAX_TOKENS, Mixture, SPECIAL, Sizes, Splits, block,
    write_ginc,
};
use odyssey::text::{Document, DocumentRule, Domain, Split};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokenizers::Tokenizer;

fn ginc() -> Ginc {
    Ginc::new(7, 50, CONCEPTS).unwrap()
}

fn only(mixture: &Mixture) -> &Hmm {
    let [(weight, hmm)] = mixture.parts() else { panic!("{} parts", mixture.parts().len()) };
    assert_eq!(*weight, 1.0);
    hmm
}

/// Two chains of three states, two of which write the same token.
fn small() -> Mixture {
    let a = [0.5, 0.2, 0.3, 0.1, 0.9, 0.0, 0.25, 0.25, 0.5];
    let b = [0.0, 0.6, 0.4, 0.3, 0.3, 0.4, 0.8, 0.1, 0.1];
    let chain = |start: [f64; 3], rows: [f64; 9]| Hmm::new(start.to_vec(), rows.to_vec(), vec![0, 1, 0]).unwrap();
    Mixture::new([(3.0, chain([0.2, 0.5, 0.3], a)), (1.0, chain([1.0, 0.0, 0.0], b))]).unwrap()
}

/// p of the first tokens of a text: the sum over every path through the hidden states of every chain.
fn probability(mixture: &Mixture, text: &[usize]) -> f64 {
    let of = |hmm: &Hmm| {
        let paths = hmm.states().pow(text.len() as u32);
        let path = |number: usize| {
            let mut number = number;
            let states: Vec<usize> = text.iter().map(|_| (number % hmm.states(), number /= hmm.states()).0).collect();
            let writes = states.iter().zip(text).all(|(state, token)| hmm.token(*state) == *token);
            let moves: f64 = states.windows(2).map(|pair| hmm.row(pair[0])[pair[1]]).product();
            if writes { hmm.start()[states[0]] * moves } else { 0.0 }
        };
        (0..paths).map(path).sum::<f64>()
    };
    mixture.parts().iter().map(|(weight, hmm)| weight * of(hmm)).sum()
}

#[test]
fn the_forward_algorithm_agrees_with_the_sum_over_all_hidden_paths() {
    let mixture = small();
    let mut total = 0.0;
    for number in 0..64 {
        let text: Vec<usize> = (0..6).map(|bit| number >> bit & 1).collect();
        let p = probability(&mixture, &text);
        total += p;
        let nll = mixture.nll(&text);
        assert!((nll.iter().sum::<f64>() + p.ln()).abs() < 1e-12, "{text:?}");
        for until in 1..6 {
            let before = probability(&mixture, &text[..until]);
            let given = probability(&mixture, &text[..=until]) / before;
            assert!((nll[until] + given.ln()).abs() < 1e-12, "{text:?} {until}");
            let next = mixture.next_token(&text[..until]);
            assert!((next[text[until]] - given).abs() < 1e-14 && (next.iter().sum::<f64>() - 1.0).abs() < 1e-14);
        }
    }
    assert!((total - 1.0).abs() < 1e-12);
}

#[test]
fn what_no_chain_can_write_has_infinite_loss_from_there_on_and_never_is_no_number() {
    let certain = Hmm::new(vec![1.0, 0.0], vec![0.0, 1.0, 1.0, 0.0], vec![0, 1]).unwrap(); // 0 1 0 1 …
    let mixture = Mixture::new([(1.0, certain)]).unwrap();
    assert_eq!(mixture.nll(&[0, 1, 0, 1]), [0.0; 4]);
    assert_eq!(mixture.nll(&[0, 1, 1, 0]), [0.0, 0.0, f64::INFINITY, f64::INFINITY]);
    assert_eq!(mixture.nll(&[7]), [f64::INFINITY]);
    assert_eq!(mixture.next_token(&[1]), [0.0, 0.0]);
}

#[test]
fn chains_that_are_none_are_refused() {
    let refused = |start: &[f64], rows: &[f64]| {
        assert!(matches!(Hmm::new(start.to_vec(), rows.to_vec(), vec![0, 1]), Err(Error::Numeric(_))));
    };
    refused(&[0.5, 0.6], &[0.5, 0.5, 0.5, 0.5]);
    refused(&[0.5, 0.5], &[0.5, 0.5, 0.5, 0.6]);
    refused(&[0.5, 0.5], &[0.5, 0.5, 1.5, -0.5]);
    refused(&[0.5, 0.5], &[0.5, 0.5, f64::NAN, 0.5]);
    refused(&[0.5, 0.5], &[0.5, 0.5]);
    assert!(matches!(Hmm::new(vec![], vec![], vec![]), Err(Error::Numeric(_))));
    assert!(matches!(Mixture::new([]), Err(Error::Numeric(_))));
    let part = |weight| (weight, small().parts()[0].1.clone());
    assert!(matches!(Mixture::new([part(1.0), part(-0.5)]), Err(Error::Numeric(_))));
    assert!(matches!(Mixture::new([part(f64::NAN)]), Err(Error::Numeric(_))));
    assert_eq!(Mixture::new([part(0.0), part(2.0)]).unwrap().parts().len(), 1);
}

#[test]
fn a_language_read_as_a_hidden_chain_has_the_same_likelihoods_entropy_and_kl_rate() {
    let family = Family::new(3, 40).unwrap();
    let (language, base) = (family.language(0.4).unwrap(), family.language(0.0).unwrap());
    let chain = |language: &odyssey::synth::Language| {
        let symbols = language.symbols();
        let rows = (0..symbols).flat_map(|symbol| language.row(symbol).to_vec()).collect();
        let start = language.row(language.line_break()).to_vec(); // documents begin as lines do
        Mixture::new([(1.0, Hmm::new(start, rows, (0..symbols).collect()).unwrap())]).unwrap()
    };
    let (chain, base_chain) = (chain(&language), chain(&base));
    let length = 400;
    let documents = chain.documents(200_000, length, 5);
    assert_eq!(documents.len(), 500);
    let mean = |f: &dyn Fn(&Vec<usize>) -> f64| {
        let values: Vec<f64> = documents.iter().map(|document| f(document) / length as f64).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (mean, squares.sqrt() / values.len() as f64)
    };
    let sum = |chain: &Mixture, document: &Vec<usize>| chain.nll(document).iter().sum::<f64>();
    let steps = |document: &Vec<usize>| {
        let from = std::iter::once(language.line_break()).chain(document.iter().copied());
        from.zip(document).map(|(from, to)| -language.row(from)[*to].ln()).sum::<f64>()
    };
    assert!((sum(&chain, &documents[0]) - steps(&documents[0])).abs() < 1e-9);
    // a word at the start where the long run also has ends of sentences: 1/length of a nat at most
    let (entropy, error) = mean(&|document| sum(&chain, document));
    assert!((entropy - language.entropy_rate()).abs() < 4.0 * error + 1.0 / length as f64, "{entropy} ± {error}");
    let (kl, error) = mean(&|document| sum(&base_chain, document) - sum(&chain, document));
    let expected = language.kl_rate(&base).unwrap();
    assert!((kl - expected).abs() < 4.0 * error + 1.0 / length as f64 && expected > 20.0 * error, "{kl} ± {error}");
}

#[test]
fn rows_and_columns_of_a_block_sum_to_one() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (size, temperature) in [(10, 0.1), (10, 10.0), (3, 1.0), (1, 0.1)] {
        let block = block(size, temperature, &mut rng);
        for i in 0..size {
            let (row, column) = (&block[i * size..][..size], block.iter().skip(i).step_by(size));
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12 && (column.sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }
}

#[test]
fn rows_and_columns_of_every_concept_sum_to_one_so_all_concepts_use_all_tokens_alike() {
    let ginc = ginc();
    let base = ginc.base().unwrap();
    assert_eq!(base.parts().len(), CONCEPTS);
    let domains = [GincDomain::Known, GincDomain::Unseen, GincDomain::Blend(0.3), GincDomain::Between(0.7)];
    let domains = domains.map(|domain| ginc.domain(domain).unwrap());
    for (_, hmm) in base.parts().iter().chain(domains.iter().flat_map(Mixture::parts)) {
        assert!((hmm.start().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        for i in 0..100 {
            assert!((hmm.row(i).iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(((0..100).map(|from| hmm.row(from)[i]).sum::<f64>() - 1.0).abs() < 1e-12);
            assert_eq!(hmm.token(i) == DELIMITER, i % 10 == 0);
        }
        // so the uniform law is stationary, and a token is as frequent as there are states that write it
        let start = hmm.sibling(vec![0.01; 100], (0..100).flat_map(|i| hmm.row(i).to_vec()).collect()).unwrap();
        let tokens = Mixture::new([(1.0, start)]).unwrap().next_token(&[]);
        assert!((tokens[DELIMITER] - 0.1).abs() < 1e-12);
    }
    // entities move alike in all concepts: the sum over properties of where they go is the same
    let entity = |hmm: &Hmm, v: usize, w: usize| hmm.row(v * 10)[w * 10..][..10].iter().sum::<f64>();
    for (v, w) in (0..10).flat_map(|v| (0..10).map(move |w| (v, w))) {
        let expected = entity(only(&domains[1]), v, w);
        assert!(base.parts().iter().all(|(_, hmm)| (entity(hmm, v, w) - expected).abs() < 1e-12));
        assert!(v != w || expected > 0.9 - 1e-12);
    }
}

#[test]
fn the_mixture_loses_a_logarithm_of_five_on_a_known_concept_over_a_whole_document_and_never_more() {
    let ginc = ginc();
    let (base, known) = (ginc.base().unwrap(), ginc.domain(GincDomain::Known).unwrap());
    let mut found = 0;
    for document in known.documents(20 * 1024, 1024, 3) {
        assert_eq!(document.len(), 1024);
        let sum = |mixture: &Mixture| mixture.nll(&document).iter().sum::<f64>();
        let gain = sum(&base) - sum(&known);
        assert!(gain <= 5_f64.ln() + 1e-9, "{gain}");
        // 0.157 % of perplexity, wherever the document has given its concept away, as a long one does
        let percent = 100.0 * ((gain / 1024.0).exp() - 1.0);
        found += usize::from((percent - 0.1573).abs() < 0.0001);
    }
    assert_eq!(found, 20);
}

#[test]
fn between_begins_at_the_known_concept_ends_at_the_unseen_one_and_its_kl_rate_grows() {
    let lambdas = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0];
    let mut rates = [0.0; 6];
    let seeds = 4;
    for seed in 0..seeds {
        let ginc = Ginc::new(seed, 50, CONCEPTS).unwrap();
        let base = ginc.base().unwrap();
        for (rate, lambda) in rates.iter_mut().zip(lambdas) {
            let domain = ginc.domain(GincDomain::Between(lambda)).unwrap();
            let end = [(0.0, GincDomain::Known), (1.0, GincDomain::Unseen)].into_iter().find(|(at, _)| *at == lambda);
            let documents = domain.documents(10 * 1024, 1024, 9);
            for document in &documents {
                let sum = |mixture: &Mixture| mixture.nll(document).iter().sum::<f64>();
                *rate += (sum(&base) - sum(&domain)) / (1024 * 10 * seeds) as f64;
            }
            if let Some((_, end)) = end {
                assert_eq!(ginc.domain(end).unwrap().nll(&documents[0]), domain.nll(&documents[0]));
            }
        }
    }
    assert!(rates.is_sorted_by(|a, b| a < b), "{rates:?}");
    // of one data set of the same sizes, by another program: 0, 0.097, 0.36, 1.0, 1.67, 2.0
    for (rate, published) in rates.iter().zip([0.0, 0.097, 0.36, 1.0, 1.67, 2.0]) {
        assert!((rate - published).abs() < 0.01 + 0.35 * published, "{rates:?}");
    }
}

#[test]
fn a_blend_mixes_the_documents_of_known_and_unseen_concepts() {
    let ginc = ginc();
    let weights = |lambda| {
        let blend = ginc.domain(GincDomain::Blend(lambda)).unwrap();
        blend.parts().iter().map(|(weight, _)| *weight).collect::<Vec<_>>()
    };
    assert_eq!((weights(0.0), weights(1.0)), (vec![0.2; 5], vec![0.2; 5]));
    let expected = [0.15; 5].into_iter().chain([0.05; 5]);
    assert!(weights(0.25).iter().zip(expected).all(|(weight, expected)| (weight - expected).abs() < 1e-12));
    let document = &ginc.base().unwrap().documents(500, 500, 1)[0];
    let nll = ginc.domain(GincDomain::Blend(0.0)).unwrap().nll(document);
    assert_eq!(nll, ginc.base().unwrap().nll(document));
}

const SIZES: Sizes = Sizes {
    base: Splits { train: 4000, valid: 600, test: 1000 },
    domain: Splits { train: 1000, valid: 600, test: 1500 },
};
const DOMAINS: [GincDomain; 4] =
    [GincDomain::Known, GincDomain::Between(0.5), GincDomain::Blend(0.25), GincDomain::Unseen];

fn domain(folder: &Path, name: &str) -> Domain {
    Domain::open(folder.join(name), DocumentRule::BlankLine).unwrap()
}

#[test]
fn a_data_set_on_disk_holds_documents_of_equal_length_what_is_known_and_configurations_that_can_be_read() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("ginc");
    let ginc = ginc();
    let known = write_ginc(&out, 5, &ginc, &DOMAINS, 100, SIZES).unwrap();
    let names: Vec<&str> = known.iter().map(|known| known.domain.as_str()).collect();
    assert_eq!(names, ["base", "A", "D-0.5", "C-0.25", "B"]);
    let tokenizer = Tokenizer::from_file(out.join("tokenizer.json")).unwrap();
    assert_eq!(tokenizer.get_vocab_size(true), 50 + SPECIAL);
    assert_eq!(tokenizer.token_to_id("/"), Some((DELIMITER + SPECIAL) as u32));

    let writers = [ginc.base().unwrap()].into_iter().chain(DOMAINS.map(|domain| ginc.domain(domain).unwrap()));
    for (known, writer) in known.iter().zip(writers) {
        let text = std::fs::read_to_string(out.join(&known.domain).join("known.json")).unwrap();
        assert_eq!(&serde_json::from_str::<Known>(&text).unwrap(), known);
        let sizes = if known.domain == "base" { SIZES.base } else { SIZES.domain };
        assert_eq!(known.tokens, sizes);
        // what is known is the mean over the test split, read back from its text
        let documents = domain(&out, &known.domain).split(Split::Test).unwrap().documents;
        let (mut floor, mut before, mut tokens) = (0.0, 0.0, 0);
        for document in documents.iter() {
            let ids = tokenizer.encode(document.text().unwrap(), false).unwrap();
            let document: Vec<usize> = ids.get_ids().iter().map(|id| *id as usize - SPECIAL).collect();
            assert_eq!(document.len(), 100);
            floor += writer.nll(&document).iter().sum::<f64>();
            before += ginc.base().unwrap().nll(&document).iter().sum::<f64>();
            tokens += document.len();
        }
        assert_eq!(tokens, sizes.test);
        assert!((known.entropy_rate - floor / tokens as f64).abs() < 1e-12);
        assert!((known.kl_to_base.unwrap() - (before - floor) / tokens as f64).abs() < 1e-12);
        assert!((known.floor_perplexity - known.entropy_rate.exp()).abs() < 1e-12);
        assert!(known.standard_errors.unwrap().entropy_rate > 0.0);
    }
    assert_eq!(known[0].kl_to_base, Some(0.0));
    let lambdas: Vec<f64> = known.iter().map(|known| known.lambda.unwrap()).collect();
    assert_eq!(lambdas, [0.0, 0.0, 0.5, 0.25, 1.0]);

    let config = PretrainConfig::read(&out.join("pretrain.toml")).unwrap();
    assert_eq!((&config.model["vocab_size"], &config.model["n_positions"]), (&52.into(), &100.into()));
    assert!(config.corpus.join("train.txt").is_file() && config.tokenizer.is_file());
    let without_model = StudyConfig::read(&out.join("study.toml")).unwrap_err();
    assert!(without_model.to_string().contains("model, which does not exist"), "{without_model}");
    std::fs::create_dir(out.join("model")).unwrap();
    let study = StudyConfig::read(&out.join("study.toml")).unwrap();
    assert!(study.domains.iter().map(|domain| domain.name.as_str()).eq(names[1..].iter().copied()));

    let again = scratch.path().join("again");
    write_ginc(&again, 5, &ginc, &DOMAINS, 100, SIZES).unwrap();
    for file in ["base/train.txt", "B/test.txt", "D-0.5/known.json", "tokenizer.json", "study.toml"] {
        assert_eq!(std::fs::read(out.join(file)).unwrap(), std::fs::read(again.join(file)).unwrap(), "{file}");
    }
    let first = |name: &str, split| match domain(&out, name).split(split).unwrap().documents.get(0) {
        Document::Text(text) => text.to_owned(),
        Document::Ids(_) => panic!("text was written"),
    };
    assert_ne!(first("A", Split::Valid), first("A", Split::Test));
}

#[test]
fn wrong_requests_are_refused_and_leave_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("ginc");
    let refused = |domains: &[GincDomain], length, sizes, says: &str| {
        let error = write_ginc(&out, 5, &ginc(), domains, length, sizes).unwrap_err();
        assert!(matches!(error, Error::Input { .. }) && error.to_string().contains(says), "{error}");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    };
    refused(&[GincDomain::Between(1.5)], 100, SIZES, "lambda: 1.5 found, expected 0 to 1");
    refused(&[GincDomain::Blend(f64::NAN)], 100, SIZES, "NaN");
    refused(&[GincDomain::Known, GincDomain::Known], 100, SIZES, "A is given twice");
    refused(&[GincDomain::Known], 1, SIZES, "document: of 1 tokens");
    refused(&[GincDomain::Known], 1000, SIZES, "less than two documents in a test split");
    let endless = Splits { train: 1 << 50, ..SIZES.base };
    refused(&[GincDomain::Known], 100, Sizes { base: endless, ..SIZES }, "train: a split of 1125899906842624 tokens");
    for tokens in [0, 1, MAX_TOKENS + 1] {
        assert!(matches!(Ginc::new(1, tokens, 5), Err(Error::Input { .. })));
    }
    for concepts in [0, 101] {
        assert!(matches!(Ginc::new(1, 50, concepts), Err(Error::Input { .. })));
    }
    let names = Ginc::new(1, MAX_TOKENS, 1).unwrap().names();
    assert_eq!((names[1].as_str(), names[27].as_str(), names[MAX_TOKENS - 1].as_str()), ("a", "aa", "zz"));
}
