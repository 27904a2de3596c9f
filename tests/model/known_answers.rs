//! Trained models, adaptations and distances, held against what is true of the synthetic corpora they are trained on.

use std::collections::BTreeMap;

use crate::cli;
use crate::cli::Place;
use odyssey::stats::spearman;
use serde_json::Value;

/// A place with a data set in `set` that `synth` made of `arguments`, and its base, trained as its own pretrain.toml says
/// but smaller and for so many epochs.
fn with_base(arguments: &str, epochs: usize) -> Place {
    let place = Place::empty();
    place.result(&format!("synth {arguments} --out set"));
    replace(&place, "set/pretrain.toml", "n_embd = 64", "n_embd = 32");
    replace(&place, "set/pretrain.toml", "epochs = 5", &format!("epochs = {epochs}"));
    place.result("pretrain set/pretrain.toml --out set/model");
    place
}

fn replace(place: &Place, file: &str, old: &str, new: &str) {
    let text = String::from_utf8(place.read(file)).unwrap();
    assert!(text.contains(old), "{file} has no {old:?}");
    place.write(file, text.replace(old, new));
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is {} in {value:#}", value[key]))
}

fn known(place: &Place, domain: &str) -> Value {
    place.json(&format!("set/{domain}/known.json"))
}

/// What a study found in a domain, beside what is known of it.
struct Row {
    before: f64,
    after: f64,
    floor: f64,
    /// KL rate to the base, where there is a closed form.
    kl: Option<f64>,
}

/// Runs the study that `synth` wrote; losses in nats per token, by domain.
fn study(place: &Place) -> BTreeMap<String, Row> {
    let study = place.result("study run set/study.toml --out study");
    let row = |row: &Value| {
        let domain = row["domain"].as_str().unwrap().to_owned();
        let known = known(place, &domain);
        let row = Row {
            before: number(row, "zero_shot_ppl").ln(),
            after: number(row, "adapted_ppl").ln(),
            floor: number(&known, "entropy_rate"),
            kl: known["kl_to_base"].as_f64(),
        };
        (domain, row)
    };
    study["rows"].as_array().unwrap().iter().map(row).collect()
}

/// The distances of domains of `set` to the train split of its base, by measure, and those of the base to itself.
fn distances(place: &Place, domains: &[&str], options: &str) -> (BTreeMap<String, Vec<f64>>, Value) {
    let paths: Vec<String> = domains.iter().map(|domain| format!("set/{domain}")).collect();
    let similarity = place.result(&format!(
        "similarity --features model:set/model --reference set/base --domain {} --join apart {options}",
        paths.join(" ")
    ));
    let rows = similarity["domains"].as_array().unwrap();
    let measures = ["mmd2", "frechet", "energy", "centroid_cosine", "unigram_js", "unigram_cross_entropy"];
    let by_measure = |measure: &str| (measure.to_owned(), rows.iter().map(|row| number(row, measure)).collect());
    (measures.map(by_measure).into(), similarity["null"].clone())
}

#[test]
fn no_model_evaluates_below_the_floor_and_the_gain_of_adaptation_grows_with_the_true_kl_rate() {
    let sizes = "--base-tokens 60000 --domain-tokens 25000";
    let place = with_base(&format!("ginc --concepts 2 --document 63 --kind A D B --lambda 0.5 {sizes}"), 3);
    let rows = study(&place);
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["A", "B", "D-0.5"]);
    for (domain, Row { before, after, floor, .. }) in &rows {
        // the floor is the true loss on these very texts, so what is left of sampling error is small
        assert!(before - floor > -0.005 && after - floor > -0.005, "{domain}: {before}, {after}, floor {floor}");
        assert!(*before < 50_f64.ln(), "{domain}: {before}, the base has learned something");
    }
    let gain = |domain: &str| rows[domain].before - rows[domain].after;
    assert!(gain("A") < gain("D-0.5") && gain("D-0.5") < gain("B"), "{} {} {}", gain("A"), gain("D-0.5"), gain("B"));

    // The known concept is in the mixture: a perfect base could gain the name of the concept once a document, no more. Ours
    // can also gain what it has not learned of the mixture.
    let Row { before, floor, kl, .. } = rows["A"];
    let bound = 2_f64.ln() / 63.0;
    assert!(kl.unwrap() <= bound + 1e-12 && kl.unwrap() > 0.9 * bound, "{kl:?}");
    let not_learned = before - (floor + kl.unwrap());
    assert!(gain("A") <= not_learned + bound + 0.005, "{} {not_learned}", gain("A"));
}

#[test]
fn models_of_plain_data_sets_reach_their_floors_and_stay_above_them_unless_they_have_seen_the_test_text() {
    let sizes = "--base-tokens 60000 --domain-tokens 40000";
    let place = with_base(&format!("artificial --kind flat-2 unigram uniform --alphabet 16 {sizes}"), 2);
    let rows = study(&place);
    // sampling error of a test split of 20,000 tokens: none where all symbols are equally likely, whatever they are
    for (domain, error, near) in [("uniform", 0.001, 0.12), ("unigram", 0.02, 0.08), ("flat-2", 0.02, 0.3)] {
        let Row { before, after, floor, .. } = rows[domain];
        assert!(before > floor - error && after > floor - error, "{domain}: {before}, {after}, floor {floor}");
        assert!(after < floor + near, "{domain}: {after}, floor {floor}");
    }
    // the control: what falls below a floor has seen what it is asked
    let lines = String::from_utf8(place.read("set/uniform/test.jsonl")).unwrap();
    let few: Vec<&str> = lines.lines().take(8).collect();
    place.write("seen.jsonl", few.join("\n") + "\n");
    place.result(
        "adapt --model set/model --train seen.jsonl --valid seen.jsonl --out leaked --steps 80 --batch 8 --micro-batch 8 \
         --lr 5e-3 --packing document --join apart --bos always --validations 1",
    );
    let leaked = place.result("eval --model leaked --text seen.jsonl --protocol doc");
    let nll = number(&leaked["texts"][0], "nll");
    assert!(nll < rows["uniform"].floor - 0.05, "{nll}, floor {}", rows["uniform"].floor);
}

#[test]
fn frechet_distance_ranks_the_way_to_an_unseen_concept_and_unigrams_cannot() {
    let sizes = "--base-tokens 120000 --domain-tokens 120000";
    let lambdas = [0.0, 0.25, 0.5, 1.0];
    let place = with_base(&format!("ginc --concepts 1 --document 127 --kind A D B --lambda 0.25 0.5 {sizes}"), 1);
    let domains = ["A", "D-0.25", "D-0.5", "B"];
    let rates: Vec<f64> = domains.iter().map(|domain| number(&known(&place, domain), "kl_to_base")).collect();
    assert!(rates.is_sorted_by(|a, b| a < b) && rates[0] == 0.0, "{rates:?}");
    let (distances, null) = distances(&place, &domains, "--chunk 16 --samples 4000 --reference-samples 4000");
    let rank = |measure: &str| spearman(&lambdas, &distances[measure]).unwrap().statistic;
    assert_eq!(rank("frechet"), 1.0, "{distances:?}");
    assert!(distances["frechet"][3] > 3.0 * distances["frechet"][0], "{distances:?}");
    // All concepts use all tokens alike, so a bag of words sees nothing but chance.
    let js = &distances["unigram_js"];
    assert!(js.iter().all(|js| *js < 0.003), "{js:?}, null {}", null["unigram_js"]);
}

#[test]
fn the_same_unigrams_in_another_order_are_alike_to_bags_of_words_and_not_to_hidden_states() {
    let sizes = "--base-tokens 120000 --domain-tokens 120000";
    let place = with_base(&format!("artificial --kind flat-128 unigram --alphabet 20 {sizes}"), 1);
    // chunks as long as the longest line
    let options = "--chunk 124 --samples 900 --reference-samples 900";
    let (distances, null) = distances(&place, &["flat-128", "unigram"], options);
    let [null_js, null_mmd2] = ["unigram_js", "mmd2"].map(|measure| number(&null, measure));
    for js in &distances["unigram_js"] {
        assert!(*js < 2.0 * null_js && *js < 0.0005, "{distances:?}, null {null:#}");
    }
    let [same, other] = distances["mmd2"][..] else { panic!("two domains") };
    assert!(other > 4.0 * same.abs().max(null_mmd2.abs()), "{distances:?}, null {null:#}");
    let [same, other] = distances["frechet"][..] else { panic!("two domains") };
    assert!(other > 3.0 * same.max(number(&null, "frechet")), "{distances:?}, null {null:#}");
}

#[test]
fn synth_refuses_what_it_cannot_make_and_names_the_cure() {
    let place = Place::empty();
    place.write("short.txt", "word word");
    for (line, says) in [
        ("ginc --vocabulary 1", &["vocabulary: of 1 tokens", "2 to 703"][..]),
        ("ginc --concepts 0", &["concepts: 0 found"]),
        ("ginc --lambda 1.5", &["lambda: 1.5 found, expected 0 to 1"]),
        ("ginc --lambda 0.5 0.5", &["D-0.5 is given twice"]),
        ("ginc --document 20001", &["document: of 20001 tokens", "shorter"]),
        ("ginc --base-tokens 20000001", &["train: a split of 20000001 tokens", "at most 20000000"]),
        ("artificial --kind flat-3", &["--kind flat-3: is none", "flat-2, flat-4"]),
        ("artificial --kind bigram", &["kind bigram", "--unigram-from CORPUS"]),
        ("artificial --kind shuffle-16 --alphabet 16", &["kind shuffle-16", "more than 16 symbols"]),
        ("artificial --kind uniform --alphabet 1", &["alphabet: of 1 symbols"]),
        ("artificial --kind unigram --unigram-from gone.txt", &["gone.txt: no such file"]),
        ("artificial --kind unigram --unigram-from short.txt", &["short.txt: has 1 different words"]),
    ] {
        place.refused(&format!("synth {line} --out new"), says);
    }
    let synth = place.result("synth ginc --out new --kind C --lambda 0.5 --base-tokens 2000 --domain-tokens 2000");
    assert_eq!(synth["corpora"][1]["domain"], "C-0.5");
    cli::assert_has(&synth, &["/schema", "/corpora/0/floor_perplexity", "/corpora/1/kl_to_base", "/corpora/1/lambda"]);
    let synth =
        place.result("synth artificial --out pairs --kind nest unigram --base-tokens 2000 --domain-tokens 2000");
    assert_eq!(synth["corpora"][2]["kl_to_base"], Value::Null);
    cli::assert_has(&synth, &["/corpora/2/reason"]);
}
