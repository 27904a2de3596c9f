//! Artificial data sets: every floor against the likelihood of the lines, computed here from first principles.

use std::collections::BTreeMap;

use odyssey::error::Error;
use odyssey::pretrain::PretrainConfig;
use odyssey::study::StudyConfig;
use odyssey::synth::{Alphabet, Artificial, ArtificialKind, Known, SPECIAL, Sizes, Splits, write_artificial};
use odyssey::text::{Document, DocumentRule, Domain, Split};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const KINDS: [&str; 10] =
    ["uniform", "unigram", "bigram", "flat-2", "flat-4", "flat-6", "flat-128", "nest", "shuffle-4", "shuffle-64"];

fn kind(name: &str) -> ArtificialKind {
    name.parse().unwrap()
}

/// The first `symbols` words of a made-up text by a skewed law, counted.
fn counted(symbols: usize) -> Alphabet {
    let scratch = tempfile::tempdir().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut last = 0;
    let text: Vec<String> = (0..20_000)
        .map(|_| {
            let jump = (rng.random::<f64>() * rng.random::<f64>() * 100.0) as usize;
            last = if rng.random_bool(0.5) { (last + 1) % 100 } else { jump };
            format!("w{last}")
        })
        .collect();
    let path = scratch.path().join("words.txt");
    std::fs::write(&path, text.join(" ")).unwrap();
    Alphabet::count(&path, symbols, DocumentRule::BlankLine).unwrap()
}

/// Mean of `f` per token and its standard error, over lines.
fn per_token(lines: &[Vec<usize>], f: impl Fn(&[usize]) -> f64) -> (f64, f64) {
    let sums: Vec<f64> = lines.iter().map(|line| f(line)).collect();
    let total: f64 = lines.iter().map(|line| line.len() as f64).sum();
    let mean = sums.iter().sum::<f64>() / total;
    let squares: f64 = sums.iter().zip(lines).map(|(sum, line)| (sum - mean * line.len() as f64).powi(2)).sum();
    (mean, squares.sqrt() / total)
}

fn ln_factorial(n: usize) -> f64 {
    (2..=n).map(|k| (k as f64).ln()).sum()
}

/// ln p of a shuffled group of symbols by `p`, each written twice; −∞ for what is none.
fn ln_group(p: &[f64], group: &[usize]) -> f64 {
    let mut counts = BTreeMap::new();
    group.iter().for_each(|symbol| *counts.entry(*symbol).or_insert(0) += 1);
    if counts.values().any(|count| count % 2 == 1) {
        return f64::NEG_INFINITY;
    }
    let mut ln = ln_factorial(group.len() / 2) - ln_factorial(group.len());
    for (symbol, count) in counts {
        ln += (count / 2) as f64 * p[symbol].ln() - ln_factorial(count / 2) + ln_factorial(count);
    }
    ln
}

#[test]
fn the_likelihood_of_a_group_agrees_with_all_draws_in_all_orders() {
    let p = [0.5, 0.3, 0.2];
    for size in [1, 2, 3] {
        // every draw, its doubled symbols in every order of the 2·size of them
        let mut found: BTreeMap<Vec<usize>, f64> = BTreeMap::new();
        for number in 0..3_usize.pow(size) {
            let draw: Vec<usize> = (0..size).map(|at| number / 3_usize.pow(at) % 3).collect();
            let chance: f64 = draw.iter().map(|symbol| p[*symbol]).product();
            let doubled: Vec<usize> = draw.iter().flat_map(|symbol| [*symbol, *symbol]).collect();
            let orders = orders(doubled.len());
            for order in &orders {
                let text = order.iter().map(|at| doubled[*at]).collect();
                *found.entry(text).or_insert(0.0) += chance / orders.len() as f64;
            }
        }
        assert!((found.values().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(found.iter().all(|(text, p_text)| (ln_group(&p, text) - p_text.ln()).abs() < 1e-9));
    }
    assert_eq!(ln_group(&p, &[0, 0, 0, 1]), f64::NEG_INFINITY);
}

/// All orders of `n` things.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let longer = |order: Vec<usize>| (0..n).map(move |at| [&order[..at], &[n - 1], &order[at..]].concat());
    orders(n - 1).into_iter().flat_map(longer).collect()
}

/// ln p of a line of `flat-6`: the sum over all ways to cut it into groups of four and six, the last as long as it may be.
fn ln_flat6(p: &[f64], line: &[usize]) -> f64 {
    let mut until = vec![0.0; line.len() + 1];
    until[0] = 1.0;
    let mut scale = 0.0; // ln of what all of `until` is to be multiplied with
    for start in (0..line.len()).step_by(2) {
        for size in [4, 6] {
            let end = (start + size).min(line.len());
            until[end] += 0.5 * until[start] * ln_group(p, &line[start..end]).exp();
        }
        // the next five starts hold all that counts; keep them within the range of numbers
        let largest = until[start + 1..].iter().copied().fold(0.0, f64::max);
        until[start + 1..].iter_mut().for_each(|chance| *chance /= largest);
        scale += largest.ln();
    }
    until[line.len()].ln() + scale
}

#[test]
fn floors_are_the_mean_loss_of_who_knows_how_the_lines_are_made() {
    let alphabet = counted(60);
    let p = alphabet.chances();
    let pairs = alphabet.pairs().unwrap();
    // nest has a test of its own, and blocks of 64 need more symbols
    for name in KINDS.into_iter().filter(|name| !["nest", "shuffle-64"].contains(name)) {
        let lines = Artificial::new(kind(name), &alphabet).unwrap();
        let documents = lines.documents(300_000, 3);
        let nll = |line: &[usize]| -> f64 {
            match name {
                "uniform" => line.len() as f64 * 60_f64.ln(),
                "unigram" => line.iter().map(|symbol| -p[*symbol].ln()).sum(),
                "bigram" => {
                    let chance = |pair: &[usize]| pairs[pair[0]].iter().find(|(after, _)| *after == pair[1]).unwrap().1;
                    let inside: f64 = line.windows(2).map(|pair| -chance(pair).ln()).sum();
                    inside * line.len() as f64 / (line.len() - 1) as f64 // without the first, which is by p
                }
                "flat-2" => -line.chunks(2).map(|group| ln_group(p, group)).sum::<f64>(),
                "flat-4" => -line.chunks(4).map(|group| ln_group(p, group)).sum::<f64>(),
                "flat-6" => -ln_flat6(p, line),
                "flat-128" => -ln_group(p, line),
                _ => {
                    let size: usize = name.strip_prefix("shuffle-").unwrap().parse().unwrap();
                    let block = |block: &[usize]| {
                        let follows = |symbol: &usize| block.contains(&((symbol + 59) % 60));
                        let first = block.iter().find(|symbol| !follows(symbol)).unwrap();
                        let covers = (0..size).all(|step| block.contains(&((first + step) % 60)));
                        assert!(covers && block.len() == size, "{block:?}");
                        ln_factorial(size) - p[*first].ln()
                    };
                    line.chunks(size).map(block).sum()
                }
            }
        };
        let (mean, error) = per_token(&documents, nll);
        let floor = lines.entropy_rate();
        match name {
            // group sizes must be guessed: at most ln 2 for every group of 4 or 6 tokens
            "flat-6" => assert!(mean > floor - 4.0 * error && mean < floor + 2_f64.ln() / 4.9, "{mean}, {floor}"),
            _ => assert!((mean - floor).abs() < 4.0 * error + 1e-9, "{name}: {mean} ± {error}, floor {floor}"),
        }
        assert!(name == "uniform" || error < 0.02, "{name}: {error}");
    }
}

#[test]
fn floors_are_those_of_the_published_forms() {
    let alphabet = counted(80);
    let h = alphabet.entropy();
    let floor = |name: &str| Artificial::new(kind(name), &alphabet).unwrap().entropy_rate();
    assert!((floor("uniform").exp() - 80.0).abs() < 1e-9);
    assert!((floor("unigram").exp() - h.exp()).abs() < 1e-12);
    assert!((floor("flat-2").exp() - (h / 2.0).exp()).abs() < 1e-12);
    assert!((floor("shuffle-4").exp() - ((h + 24_f64.ln()) / 4.0).exp()).abs() < 1e-12);
    let all: f64 = (2..=64).map(|n| f64::from(n).ln()).sum();
    assert!((floor("shuffle-64") - (h + all) / 64.0).abs() < 1e-12);
    // an alphabet so large that chance pairs do not matter
    let large = Alphabet::new(vec![1.0; 50_000]).unwrap();
    let binary = -0.4 * 0.4_f64.ln() - 0.6 * 0.6_f64.ln();
    let published = 5.0 / 6.0 * binary + large.entropy() / 2.0;
    let nest = Artificial::new(ArtificialKind::Nest, &large).unwrap().entropy_rate();
    assert!(nest < published && nest > published - 1e-3, "{nest}, {published}");
    let flat = Artificial::new(ArtificialKind::Flat4, &large).unwrap().entropy_rate();
    // two symbols and one of three patterns in four tokens; the odd symbol of a line's end has one pattern
    let whole = (2.0 * large.entropy() + 3_f64.ln()) / 4.0;
    assert!(flat < whole && flat > whole - 0.005, "{flat}, {whole}");
}

#[test]
fn the_floor_of_nest_is_the_loss_of_who_sees_the_open_pairs() {
    let alphabet = counted(20); // so few symbols that chance pairs are frequent
    let p = alphabet.chances();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut open: Vec<usize> = Vec::new();
    let draw = |mut u: f64| p.iter().position(|p| (u < *p, u -= p).0).unwrap_or(0);
    let losses: Vec<f64> = (0..400_000)
        .map(|_| {
            let latest = open.last().copied();
            let written = match latest {
                Some(symbol) if rng.random_bool(0.6) => {
                    open.pop();
                    symbol
                }
                _ => {
                    open.push(draw(rng.random()));
                    open[open.len() - 1]
                }
            };
            let chance = match latest {
                None => p[written],
                Some(latest) => 0.4 * p[written] + if written == latest { 0.6 } else { 0.0 },
            };
            -chance.ln()
        })
        .collect();
    // neighbours depend on one another: errors over blocks
    let blocks: Vec<Vec<usize>> = losses.chunks(1000).enumerate().map(|(block, _)| vec![block; 1000]).collect();
    let (mean, error) = per_token(&blocks, |block| losses[block[0] * 1000..][..1000].iter().sum());
    let floor = Artificial::new(ArtificialKind::Nest, &alphabet).unwrap().entropy_rate();
    assert!((mean - floor).abs() < 4.0 * error && error < 0.01, "{mean} ± {error}, {floor}");
}

#[test]
fn pairs_of_nest_open_and_close_like_brackets_over_line_ends() {
    let alphabet = Alphabet::new(vec![1.0; 50_000]).unwrap();
    let lines = Artificial::new(ArtificialKind::Nest, &alphabet).unwrap().documents(100_000, 1);
    assert!(lines.iter().all(|line| (80..=124).contains(&line.len())));
    let (mut open, mut opened, mut at_ground) = (Vec::new(), 0.0, 0.0);
    for symbol in lines.iter().flatten() {
        at_ground += f64::from(u8::from(open.is_empty()));
        if open.last() == Some(symbol) {
            open.pop();
        } else {
            open.push(*symbol);
            opened += 1.0;
        }
    }
    let tokens: f64 = lines.iter().map(|line| line.len() as f64).sum();
    assert!(open.len() < 60, "what is opened is closed");
    assert!((opened / tokens - 0.5).abs() < 0.01 && (at_ground / tokens - 1.0 / 6.0).abs() < 0.02);
}

#[test]
fn symbols_are_as_frequent_as_the_kind_says() {
    let alphabet = counted(60);
    for name in KINDS.iter().filter(|name| **name != "shuffle-64") {
        let lines = Artificial::new(kind(name), &alphabet).unwrap();
        let expected = lines.unigram();
        assert!((expected.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let documents = lines.documents(300_000, 4);
        for symbol in [0, 1, 5, 20, 59] {
            let (share, error) = per_token(&documents, |line| line.iter().filter(|s| **s == symbol).count() as f64);
            assert!((share - expected[symbol]).abs() < 4.5 * error, "{name} {symbol}: {share} ± {error}");
        }
    }
}

#[test]
fn lines_have_the_published_lengths_and_flat_symbols_come_twice() {
    let alphabet = counted(60);
    let lengths = |name: &str| {
        let lines = Artificial::new(kind(name), &alphabet).unwrap().documents(50_000, 5);
        let lengths = || lines.iter().map(Vec::len);
        (lengths().min().unwrap(), lengths().max().unwrap())
    };
    for name in ["uniform", "unigram", "bigram"] {
        assert_eq!(lengths(name), (100, 119), "{name}");
    }
    assert_eq!((lengths("flat-2"), lengths("flat-4")), ((110, 118), (110, 122)));
    assert_eq!((lengths("flat-6"), lengths("flat-128")), ((110, 122), (100, 122)));
    assert_eq!(lengths("shuffle-4"), (100, 116)); // whole blocks
    for name in ["flat-2", "flat-4", "flat-6", "flat-128"] {
        for line in Artificial::new(kind(name), &alphabet).unwrap().documents(5000, 6) {
            assert!((0..60).all(|symbol| line.iter().filter(|s| **s == symbol).count() % 2 == 0), "{name}");
            assert!(name != "flat-2" || line.chunks(2).all(|pair| pair[0] == pair[1]));
        }
    }
}

#[test]
fn kl_rates_to_independent_symbols_are_the_structure_that_they_miss() {
    let alphabet = counted(60);
    let h = alphabet.entropy();
    let of = |name: &str| Artificial::new(kind(name), &alphabet).unwrap();
    let kl = |name: &str, base: &str| of(name).kl_rate(&of(base));
    assert_eq!(kl("unigram", "unigram"), Some(0.0));
    assert!((kl("unigram", "uniform").unwrap() - (60_f64.ln() - h)).abs() < 1e-9);
    assert!((kl("flat-2", "unigram").unwrap() - h / 2.0).abs() < 1e-9);
    let uniform: f64 = alphabet.chances().iter().map(|p| (1.0 / 60.0 / p).ln() / 60.0).sum();
    assert!((kl("uniform", "unigram").unwrap() - uniform).abs() < 1e-9);
    assert_eq!(kl("unigram", "flat-2"), None);
    let other = counted(50);
    assert_eq!(of("unigram").kl_rate(&Artificial::new(ArtificialKind::Unigram, &other).unwrap()), None);
}

#[test]
fn an_alphabet_is_counted_from_words_or_ids_the_most_frequent_first() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("corpus.txt");
    std::fs::write(&path, "b a b\na c\n\nb d b").unwrap();
    let alphabet = Alphabet::count(&path, 3, DocumentRule::BlankLine).unwrap();
    // b 4, a 2, then c before d, which is passed over: b a b a c b b, and round to b
    assert!(alphabet.chances().iter().zip([4.0, 2.0, 1.0]).all(|(p, n)| (p - n / 7.0).abs() < 1e-12));
    let pairs = alphabet.pairs().unwrap();
    assert_eq!(pairs[0], [(0, 0.5), (1, 0.5)]);
    assert_eq!(pairs[1], [(0, 0.5), (2, 0.5)]);
    assert_eq!(pairs[2], [(0, 1.0)]);
    let entropy = (4.0 * 2_f64.ln() + 2.0 * 2_f64.ln()) / 7.0;
    assert!((Artificial::new(ArtificialKind::Bigram, &alphabet).unwrap().entropy_rate() - entropy).abs() < 1e-12);

    let path = scratch.path().join("ids.jsonl");
    std::fs::write(&path, "{\"ids\": [9, 9, 4]}\n{\"ids\": [9, 7]}\n").unwrap();
    let alphabet = Alphabet::count(&path, 1000, DocumentRule::BlankLine).unwrap();
    assert_eq!((alphabet.symbols(), alphabet.chances()[0]), (3, 0.6));
    std::fs::write(&path, "{\"ids\": [9, 9]}\n").unwrap();
    let error = Alphabet::count(&path, 10, DocumentRule::BlankLine).unwrap_err();
    assert!(error.to_string().contains("1 different words"), "{error}");

    // the chances of symbols are left as they are by a step of the pairs
    let alphabet = counted(60);
    for symbol in 0..60 {
        let arrives = |(from, p): (&Vec<(usize, f64)>, &f64)| {
            from.iter().filter(|(to, _)| *to == symbol).map(|(_, chance)| p * chance).sum::<f64>()
        };
        let next: f64 = alphabet.pairs().unwrap().iter().zip(alphabet.chances()).map(arrives).sum();
        assert!((next - alphabet.chances()[symbol]).abs() < 1e-12);
    }
}

const SIZES: Sizes = Sizes {
    base: Splits { train: 3000, valid: 500, test: 500 },
    domain: Splits { train: 1000, valid: 500, test: 800 },
};

#[test]
fn data_sets_on_disk_hold_ids_what_is_known_and_configurations_that_can_be_read() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("artificial");
    let alphabet = counted(70);
    let kinds = KINDS.map(kind);
    let known = write_artificial(&out, 5, &alphabet, &kinds, SIZES).unwrap();
    assert_eq!(known[0].domain, "base");
    assert_eq!(known[0].kind, "uniform");
    assert!(known[1..].iter().map(|known| known.domain.as_str()).eq(KINDS));
    for known in &known {
        let text = std::fs::read_to_string(out.join(&known.domain).join("known.json")).unwrap();
        assert_eq!(&serde_json::from_str::<Known>(&text).unwrap(), known);
        let domain = Domain::open(out.join(&known.domain), DocumentRule::BlankLine).unwrap();
        let train = domain.split(Split::Train).unwrap().documents;
        let ids = |document| match document {
            Document::Ids(ids) => ids.to_vec(),
            Document::Text(_) => panic!("ids were written"),
        };
        let ids: Vec<u32> = train.iter().flat_map(ids).collect();
        assert_eq!(ids.len(), known.tokens.train);
        assert!(ids.iter().all(|id| (SPECIAL..70 + SPECIAL).contains(&(*id as usize))));
        assert!(known.kl_to_base.unwrap() >= 0.0 && known.lambda.is_none());
    }
    let config = PretrainConfig::read(&out.join("pretrain.toml")).unwrap();
    assert_eq!((&config.model["vocab_size"], &config.model["n_positions"]), (&72.into(), &124.into()));
    std::fs::create_dir(out.join("model")).unwrap();
    let study = StudyConfig::read(&out.join("study.toml")).unwrap();
    assert_eq!((study.domains.len(), study.domains[4].group.as_str()), (10, "flat"));

    let again = scratch.path().join("again");
    write_artificial(&again, 5, &alphabet, &kinds, SIZES).unwrap();
    for file in ["base/train.jsonl", "nest/test.jsonl", "flat-6/known.json", "tokenizer.json"] {
        assert_eq!(std::fs::read(out.join(file)).unwrap(), std::fs::read(again.join(file)).unwrap(), "{file}");
    }
}

#[test]
fn kinds_have_names_and_wrong_requests_are_refused() {
    for name in KINDS {
        assert_eq!(kind(name).to_string(), name);
    }
    for name in ["", "flat", "flat-3", "shuffle", "shuffle-1", "shuffle-101", "shuffle-x", "Unigram"] {
        let error = name.parse::<ArtificialKind>().unwrap_err();
        assert!(error.to_string().contains("use uniform, unigram,") && error.exit_code() == 2, "{error}");
    }
    let zipf = Alphabet::zipf(10).unwrap();
    assert!((zipf.chances()[0] / zipf.chances()[9] - 10.0).abs() < 1e-12);
    let refused = |kind, alphabet, says: &str| {
        let error = Artificial::new(kind, alphabet).unwrap_err();
        assert!(matches!(error, Error::Input { .. }) && error.to_string().contains(says), "{error}");
    };
    refused(ArtificialKind::Bigram, &zipf, "unigram_from");
    refused(ArtificialKind::Shuffle(10), &zipf, "needs more than 10 symbols");
    for symbols in [0, 1, odyssey::synth::MAX_SYMBOLS + 1] {
        assert!(matches!(Alphabet::zipf(symbols), Err(Error::Input { .. })));
    }
    assert!(matches!(Alphabet::new(vec![1.0, 0.0]), Err(Error::Input { .. })));
    assert!(matches!(Alphabet::new(vec![1.0, f64::NAN]), Err(Error::Input { .. })));

    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("artificial");
    let unigram = ArtificialKind::Unigram;
    for (kinds, sizes, says) in [
        (&[][..], SIZES, "kind: none given"),
        (&[unigram, unigram], SIZES, "unigram is given twice"),
        (&[unigram], Sizes { base: Splits { valid: 0, ..SIZES.base }, ..SIZES }, "a split of 0 tokens"),
        (&[unigram], Sizes { base: Splits { valid: usize::MAX, ..SIZES.base }, ..SIZES }, "valid: a split of"),
    ] {
        let error = write_artificial(&out, 1, &zipf, kinds, sizes).unwrap_err();
        assert!(matches!(error, Error::Input { .. }) && error.to_string().contains(says), "{error}");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
