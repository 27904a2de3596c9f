//! Advice before training: its regression and intervals against independent ones, its words on tables with known answers.

use std::fmt::Write as _;

use crate::cli::{Place, assert_has};
use odyssey::advise::features::{read_table, shipped, write_table};
use odyssey::advise::pilot::Law;
use odyssey::advise::terms::{shrink, stretch};
use odyssey::advise::{Case, Feature, Features, Outcome, Predictor};
use odyssey::progress::Silent;
use odyssey::stats::{LeftOut, Moments, fewest_groups, jackknife_plus};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

fn fixture() -> Value {
    let path = format!("{}/tests/fixtures/stats/ridge.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The fixture's rows: predictors, target, weight.
fn rows(fixture: &Value) -> Vec<(Vec<f64>, f64, f64)> {
    let x = fixture["x"].as_array().unwrap().iter().map(numbers);
    x.zip(numbers(&fixture["y"])).zip(numbers(&fixture["w"])).map(|((x, y), w)| (x, y, w)).collect()
}

fn moments(rows: &[(Vec<f64>, f64, f64)]) -> Moments {
    let mut moments = Moments::none(rows[0].0.len());
    rows.iter().for_each(|(x, y, w)| moments.add(*w, x, *y));
    moments
}

#[test]
fn ridge_equals_plain_least_squares_of_the_augmented_system() {
    let fixture = fixture();
    let moments = moments(&rows(&fixture));
    for case in fixture["ridge"].as_array().unwrap() {
        let ridge = moments.ridge(number(&case["penalty"])).unwrap();
        let found = ridge.predict(&numbers(&case["at"]));
        assert!((found - number(&case["prediction"])).abs() < 1e-10, "{found} {case}");
        for (found, expected) in ridge.standardised.iter().zip(numbers(&case["standardised"])) {
            assert!((found - expected).abs() < 1e-10, "{found} {expected}");
        }
    }
}

#[test]
fn a_predictor_that_does_not_vary_has_no_part_and_the_heaviest_penalty_leaves_the_mean() {
    let mut moments = Moments::none(2);
    for (x, y) in [(1.0, 2.0), (2.0, 4.0), (3.0, 9.0)] {
        moments.add(1.0, &[x, 7.3], y);
    }
    let ridge = moments.ridge(0.0).unwrap();
    // The least-squares line through three points, by hand: slope 3.5, mean 5 at 2.
    assert!((ridge.coefficients[0] - 3.5).abs() < 1e-9 && ridge.coefficients[1] == 0.0, "{ridge:?}");
    assert!((ridge.predict(&[2.0, 0.0]) - 5.0).abs() < 1e-9);
    assert!((moments.ridge(1e12).unwrap().predict(&[100.0, 7.3]) - 5.0).abs() < 1e-6);
    assert!(Moments::none(2).ridge(1.0).is_err(), "there are no rows");
}

#[test]
fn the_jackknife_plus_is_that_of_its_definition() {
    let fixture = fixture();
    let (rows, expected) = (rows(&fixture), &fixture["jackknife_plus"]);
    let (all, penalty, at) = (moments(&rows), number(&expected["penalty"]), numbers(&expected["at"]));
    let groups: Vec<LeftOut> = rows
        .iter()
        .map(|row| {
            let mut rest = all.clone();
            rest.minus(&moments(std::slice::from_ref(row)));
            let ridge = rest.ridge(penalty).unwrap();
            LeftOut { prediction: ridge.predict(&at), residuals: vec![(ridge.predict(&row.0) - row.1).abs()] }
        })
        .collect();
    let found = jackknife_plus(&groups, number(&expected["level"])).unwrap();
    for (found, expected) in found.iter().zip(numbers(&expected["interval"])) {
        assert!((found - expected).abs() < 1e-10, "{found} {expected}");
    }
}

#[test]
fn a_group_weighs_as_one_however_many_rows_it_has_and_too_few_groups_have_no_interval() {
    // ⌈0.9 (K + 1)⌉ ≤ K for the first time at K = 9, and at 19 for 95 %.
    assert_eq!((fewest_groups(0.9), fewest_groups(0.95), fewest_groups(0.5)), (9, 19, 1));
    let of = |residuals: &[f64]| LeftOut { prediction: 0.0, residuals: residuals.to_vec() };
    let nine: Vec<LeftOut> = (1..=9).map(|k| of(&[f64::from(k)])).collect();
    assert_eq!(jackknife_plus(&nine, 0.9), Some([-9.0, 9.0]));
    assert_eq!(jackknife_plus(&nine[..8], 0.9), None);
    let twice: Vec<LeftOut> = (1..=9).map(|k| of(&[f64::from(k); 2])).collect();
    assert_eq!(jackknife_plus(&twice, 0.9), Some([-9.0, 9.0]));
    // At half of the mass: 1 to 5 of ten parts. The group of two adds its smaller half first.
    let mut uneven = nine;
    uneven[4] = of(&[0.5, 20.0]);
    assert_eq!(jackknife_plus(&uneven, 0.5), Some([-6.0, 6.0]));
}

/// A case with these features.
fn case(domain: &str, features: &[(Feature, f64)], delta: f64) -> Case {
    let features = features.iter().map(|(feature, value)| (*feature, Some(*value)));
    Case {
        source: "made up".into(),
        model: "base".into(),
        domain: domain.into(),
        strategy: "full".into(),
        features: Features::from_iter(features),
        delta,
        forgetting: None,
    }
}

/// A domain with one outcome per learning rate: it gains by its gap, and pays for the restart by the rate; what no
/// predictor knows of the domain is `noise` on the shrunk scale.
fn made_up(rng: &mut ChaCha8Rng, domain: usize, noise: f64) -> Vec<Case> {
    let mut normal = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
    let gap = 0.3 * normal().abs();
    let js = (0.02 + 0.1 * gap + 0.01 * normal()).max(0.001);
    let own = noise * normal();
    [1e-4, 1e-3]
        .into_iter()
        .map(|lr: f64| {
            let shrunk = 2.5 * (lr / 1e-4).log10() - 1.2 * shrink(gap) - 2.0 * js.sqrt() + own + 0.3 * noise * normal();
            let features = [
                (Feature::LossGap, gap),
                (Feature::UnigramJs, js),
                (Feature::Lr, lr),
                (Feature::Lora, 0.0),
                (Feature::JoinDiffers, 0.0),
            ];
            case(&format!("domain {domain}"), &features, stretch(shrunk))
        })
        .collect()
}

#[test]
fn intervals_hold_nine_in_ten_of_new_domains() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (draws, mut held) = (200, 0);
    for _ in 0..draws {
        let cases: Vec<Case> = (0..16).flat_map(|domain| made_up(&mut rng, domain, 0.4)).collect();
        let predictor = Predictor::new(&cases, Outcome::Delta, None, false).unwrap();
        let new = &made_up(&mut rng, 99, 0.4)[1];
        let predicted = predictor.predict(std::slice::from_ref(&new.features)).unwrap()[0];
        let [low, high] = predicted.interval90.unwrap();
        held += usize::from((low..=high).contains(&new.delta));
    }
    assert!(held * 100 >= 88 * draws && held < draws, "{held} of {draws}");
}

#[test]
fn the_sign_of_a_change_is_found_where_the_truth_has_one() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let cases: Vec<Case> = (0..24).flat_map(|domain| made_up(&mut rng, domain, 0.2)).collect();
    let predictor = Predictor::new(&cases, Outcome::Delta, None, false).unwrap();
    let check = predictor.leave_domain_out(&mut Silent).unwrap();
    assert_eq!((check.rows, check.domains), (48, 24));
    assert!(check.sign_accuracy.unwrap() >= 0.9, "{:?}", check.sign_accuracy);
    assert!(check.coverage.unwrap() >= 0.85 && check.decided_right.unwrap() > 0.95, "{check:?}");
    let positive = cases.iter().filter(|case| case.delta > 0.0).count();
    assert!((8..=40).contains(&positive), "{positive} of 48 get worse: there is a sign to find");
}

#[test]
fn a_domain_left_out_is_predicted_as_by_a_table_that_never_had_it() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let cases: Vec<Case> = (0..11).flat_map(|domain| made_up(&mut rng, domain, 0.3)).collect();
    let check = Predictor::new(&cases, Outcome::Delta, None, false).unwrap().leave_domain_out(&mut Silent).unwrap();
    for left in ["domain 3", "domain 10"] {
        let (own, rest): (Vec<Case>, Vec<Case>) = cases.iter().cloned().partition(|case| case.domain == left);
        let asked: Vec<Features> = own.iter().map(|case| case.features.clone()).collect();
        let alone = Predictor::new(&rest, Outcome::Delta, None, false).unwrap().predict(&asked).unwrap();
        let found: Vec<_> = check.predictions.iter().filter(|checked| checked.domain == left).collect();
        assert_eq!((found.len(), alone.len()), (2, 2));
        for (found, alone) in found.iter().zip(alone) {
            assert!((found.predicted - alone.delta).abs() < 1e-12);
            assert_eq!(found.interval90.is_some(), alone.interval90.is_some());
            let ends = found.interval90.unwrap().into_iter().zip(alone.interval90.unwrap());
            ends.for_each(|(a, b)| assert!((a - b).abs() < 1e-12));
        }
    }
}

#[test]
fn the_shipped_table_is_whole_and_predicts_domains_it_was_not_fitted_on() {
    let cases = shipped().unwrap();
    assert_eq!(read_table(&write_table(&cases).unwrap(), "written").unwrap(), cases);
    let check = odyssey::advise::check(&cases, &mut Silent).unwrap();
    let found = check.rests_on.leave_domain_out.unwrap();
    println!(
        "{} rows, {} domains: sign {:.3}, median error {:.3}, coverage {:.3}, width {:.3}, decided {:.3}, rightly {:.3}",
        found.rows,
        found.domains,
        found.sign_accuracy.unwrap(),
        found.median_absolute_error.unwrap(),
        found.coverage.unwrap(),
        found.median_width.unwrap(),
        found.decided.unwrap(),
        found.decided_right.unwrap_or(1.0),
    );
    println!("{:?} {:?}", check.rests_on.terms, check.forgetting.map(|f| (f.coverage, f.median_absolute_error)));
    assert!(found.domains >= 20 && found.sign_accuracy.unwrap() >= 0.8, "{:?}", found.sign_accuracy);
    assert!(found.coverage.unwrap() >= 0.85 && found.decided_right.unwrap() >= 0.95);
    // What the base knows already is never adapted to: its own corpus, predicted from all others.
    let known: Vec<_> = found.predictions.iter().filter(|c| c.domain.starts_with("reference corpus of")).collect();
    assert!(!known.is_empty());
    for checked in known {
        assert!(checked.interval90.is_some_and(|[_, high]| high > 0.0), "{checked:?}");
    }
}

#[test]
fn the_law_of_a_pilot_is_found_where_there_is_one() {
    let curve: Vec<(u64, f64)> = (1..=8).map(|k| (1000 * k, 0.2 - 0.05 * (1000.0 * k as f64).powf(0.4))).collect();
    let law = Law::fit(&curve, 100_000).unwrap();
    assert!((law.a - 0.2).abs() < 1e-9 && (law.b - 0.05).abs() < 1e-9 && law.c == 0.4, "{law:?}");
    assert!((law.extrapolated - (0.2 - 0.05 * 100_000_f64.powf(0.4))).abs() < 1e-9);
    // What only gets worse is carried on as it is: neither a nor b is negative.
    let worse = Law::fit(&[(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)], 100).unwrap();
    assert!((worse.extrapolated - 0.25).abs() < 1e-12 && worse.b == 0.0, "{worse:?}");
    assert!(Law::fit(&curve[..3], 100_000).is_none(), "three points and three constants");
}

const ASK: &str = "advise --model model --reference languages/base --chunk 32 --samples 30 --reference-samples 60 \
                   --tokens-per-second 1000 --steps 20 --batch 4";

/// A table of so many domains; `delta` gives the change by domain, learning rate and loss gap.
fn table(domains: usize, delta: impl Fn(usize, f64) -> f64) -> String {
    let mut table = "source,model,domain,strategy,loss_gap,unigram_js,lr,lora,join_differs,delta\n".to_owned();
    for domain in 0..domains {
        for lr in [1e-3, 1e-4] {
            // Gaps and divergences on both sides of those of the languages.
            let (gap, js) = (0.1 * domain as f64 - 0.5, 0.05 + 0.03 * domain as f64);
            writeln!(table, "made up,model,made-up-{domain},full,{gap},{js},{lr},0,0,{}", delta(domain, lr)).unwrap();
        }
    }
    table
}

/// Advice on half a language from a table.
fn asked(place: &Place, table: &str, more: &str) -> Value {
    place.write("table.csv", table);
    place.result(&format!("{ASK} --only-fit --fit table.csv {more}"))
}

#[test]
fn the_word_follows_from_the_interval() {
    let place = Place::with_languages();
    let half = "--domain languages/lambda-0.5 --lr 1e-3";
    let wobble = |domain: usize| 0.01 * (domain % 3) as f64;

    let advice = asked(&place, &table(12, |domain, _| -0.5 - wobble(domain)), half);
    assert_eq!((&advice["schema"], &advice["verdict"]), (&json!("odyssey.advise/1"), &json!("adapt")));
    let keys = "strategy predicted_delta interval90/0 interval90/1 reasons/0/evidence reasons/0/value \
                reasons/0/points_to reasons/0/words cost/tokens cost/seconds cost/bytes evidence/loss_gap \
                rests_on/rows rests_on/domains rests_on/leave_domain_out/sign_accuracy \
                rests_on/leave_domain_out/median_absolute_error rests_on/leave_domain_out/coverage";
    keys.split_whitespace().for_each(|key| assert_has(&advice, &[&format!("/{key}")]));
    assert!(advice.get("forgetting").is_some() && advice["forgetting"]["predicted"].is_null());
    assert!(advice["forgetting"]["reason"].is_string(), "what is missing has its reason");
    assert_eq!(advice["cost"]["seconds"], number(&advice["cost"]["tokens"]) / 1000.0);
    assert_eq!((&advice["rests_on"]["rows"], &advice["rests_on"]["domains"]), (&json!(24), &json!(12)));
    let [low, delta, high] =
        [&advice["interval90"][0], &advice["predicted_delta"], &advice["interval90"][1]].map(number);
    assert!(low <= delta && delta <= high && high < 0.0, "{low} {delta} {high}");

    let advice = asked(&place, &table(12, |domain, _| 0.5 + wobble(domain)), half);
    assert_eq!(advice["verdict"], "rely");

    let advice = asked(&place, &table(12, |domain, _| if domain % 2 == 0 { 0.5 } else { -0.5 }), half);
    assert_eq!(advice["verdict"], "undecided");
    assert!(number(&advice["interval90"][0]) < 0.0 && number(&advice["interval90"][1]) > 0.0);
    assert!(advice["words"].as_str().unwrap().contains("holds zero"), "{}", advice["words"]);

    // The rate asked about hurts, another one of the table does not.
    let by_rate = |domain: usize, lr: f64| if lr > 5e-4 { 0.5 } else { -0.5 } - wobble(domain);
    let advice = asked(&place, &table(12, by_rate), half);
    assert_eq!((&advice["verdict"], &advice["strategy"]), (&json!("adapt-with"), &json!("full, lr 1e-4")));
    assert!(number(&advice["predicted_delta"]) > 0.0, "of the recipe asked about");

    // Eight domains are too few for an interval, however alike.
    let advice = asked(&place, &table(8, |_, _| -0.5), half);
    assert_eq!((&advice["verdict"], &advice["interval90"]), (&json!("undecided"), &Value::Null));
    assert!(advice["reason"].as_str().unwrap().contains("needs 9"), "{}", advice["reason"]);

    // A rate or a kind of training that the table has not seen.
    let better = table(12, |domain, _| -0.5 - wobble(domain));
    for recipe in ["--lr 1", "--lr 1e-3 --strategy lora"] {
        let advice = asked(&place, &better, &format!("--domain languages/lambda-0.5 {recipe}"));
        assert_eq!(advice["verdict"], "undecided", "{recipe}");
        assert!(advice["words"].as_str().unwrap().contains("the table"), "{}", advice["words"]);
    }
}

#[test]
fn what_the_base_knows_already_is_not_adapted_to_on_a_prediction_alone() {
    let place = Place::with_languages();
    let better = table(12, |domain, _| -0.5 - 0.01 * (domain % 3) as f64);
    let advice = asked(&place, &better, "--domain languages/base --lr 1e-3");
    assert_eq!(advice["verdict"], "undecided", "{}", advice["words"]);
    assert!(advice["words"].as_str().unwrap().contains("no farther from the reference"), "{}", advice["words"]);
    assert_eq!(advice["evidence"]["loss_gap"], 0.0);
}

#[test]
fn rows_of_the_domain_itself_do_not_speak_for_it() {
    let place = Place::with_languages();
    let lines = table(12, |domain, _| -0.5 - 0.01 * (domain % 3) as f64);
    let with_own = format!("{lines}made up,model,lambda-0.5,full,0,0.2,1e-3,0,0,5\n");
    let half = "--domain languages/lambda-0.5 --lr 1e-3";
    let (without, with) = (asked(&place, &lines, half), asked(&place, &with_own, half));
    assert_eq!(without["predicted_delta"], with["predicted_delta"]);
    assert_eq!(with["rests_on"]["rows"], 24);
    let caveats = with["caveats"].to_string();
    assert!(
        caveats.contains("were left out") && !without["caveats"].to_string().contains("were left out"),
        "{caveats}"
    );
}

const STUDY: &str = r#"
name = "Two languages"
similarity = { chunk = 32, samples = 30, reference_samples = 60 }

[[models]]
name = "model"
path = "model"
reference = "languages/base"

[[domains]]
path = "languages/lambda-0"

[[domains]]
path = "languages/lambda-0.5"

[[strategies]]
name = "full"
recipe = { steps = 20, batch = 4, lr = 1e-3, validations = 1, valid_tokens = 300 }

[[strategies]]
name = "full-pilot"
recipe = { steps = 4, batch = 4, lr = 1e-3, validations = 1, valid_tokens = 300 }
"#;

#[test]
fn a_study_gives_the_rows_that_advice_on_its_domains_measures_itself() {
    let place = Place::with_languages();
    place.write("study.toml", STUDY);
    let results = place.result("study run study.toml --out study");
    assert_eq!(results["rows"].as_array().unwrap().len(), 4);
    place.odyssey("advise --write-table learned.csv --only-fit --fit study --quiet");
    let cases = read_table(&place.read("learned.csv"), "learned.csv").unwrap();
    // A pilot is no case of its own. Of the reference corpus the base knows all.
    let domains: Vec<&str> = cases.iter().map(|case| case.domain.as_str()).collect();
    assert_eq!(domains, ["lambda-0", "lambda-0.5", "reference corpus of model"]);
    let control = &cases[2];
    assert_eq!((control.features.get(Feature::LossGap), control.forgetting), (Some(0.0), Some(control.delta)));
    assert_eq!(control.delta, number(&results["restart_control"][0]["delta"]));

    let advice = place.result(&format!(
        "{ASK} --domain languages/lambda-0.5 --lr 1e-3 --pilot 1024 --only-fit --fit study --valid-tokens 300"
    ));
    let case = cases.iter().find(|case| case.domain == "lambda-0.5").unwrap();
    let mut compared = 0;
    for feature in Feature::ALL {
        let (Some(learned), Some(measured)) = (case.features.get(feature), advice["evidence"].get(feature.key()))
        else {
            continue;
        };
        let measured = number(measured);
        // A study fixes the kernel of MMD on all its corpora, advice on the two at hand.
        let tolerance = if feature == Feature::Mmd2 { 0.1 * learned.abs() } else { 1e-9 * learned.abs().max(1.0) };
        assert!((learned - measured).abs() <= tolerance, "{feature:?}: {learned} {measured}");
        compared += 1;
    }
    assert!(compared >= 17, "{compared} features were compared");
    let row = |strategy: &str| {
        let rows = results["rows"].as_array().unwrap();
        rows.iter().find(|row| row["domain"] == "lambda-0.5" && row["strategy"] == strategy).unwrap()
    };
    assert_eq!(case.delta, number(&row("full")["delta"]));
    assert_eq!(case.forgetting.unwrap(), number(&row("full")["forgetting"]));

    // What it would have said of either domain.
    let report = place.odyssey("study report study --quiet").out;
    let said: Vec<&str> = report.lines().skip_while(|line| !line.contains("would have said")).collect();
    let of = |domain: &str| said.iter().filter(|line| line.trim_start_matches(['│', ' ']).starts_with(domain)).count();
    assert_eq!((of("lambda-0 "), of("lambda-0.5 "), of("reference")), (1, 1, 0), "{report}");

    // The pilot that the study made and the one that advice makes are the same run.
    let pilot = &advice["pilot"];
    assert_eq!(case.features.get(Feature::PilotTokens).unwrap(), number(&pilot["tokens"]));
    let (learned, measured) = (case.features.get(Feature::PilotDelta).unwrap(), number(&pilot["delta"]));
    assert_eq!(learned, number(&row("full-pilot")["delta"]));
    assert!((learned - measured).abs() < 1e-9, "{learned} {measured}");
    assert!((number(&pilot["forgetting"]) - number(&row("full-pilot")["forgetting"])).abs() < 1e-9);

    // Of three domains one is left out by its name; no verdict from two.
    assert_eq!((&advice["verdict"], &advice["rests_on"]["domains"]), (&json!("undecided"), &json!(2)));
    assert_eq!(pilot["used"], false);
    assert!(pilot["words"].as_str().unwrap().starts_with("not used: "), "{}", pilot["words"]);

    let mut again = place.result(&format!(
        "{ASK} --domain languages/lambda-0.5 --lr 1e-3 --pilot 1024 --only-fit --fit learned.csv --valid-tokens 300"
    ));
    let mut advice = advice;
    for advice in [&mut advice, &mut again] {
        advice["pilot"]["tokens_per_second"] = Value::Null;
    }
    assert_eq!(again, advice, "a table is as good as the study it was written from, and the answer the same each time");
}

#[test]
fn a_pilot_is_used_where_it_narrows_the_interval() {
    let place = Place::with_languages();
    // What a pilot shows of a domain nothing else does.
    let mut table =
        "source,model,domain,strategy,loss_gap,unigram_js,lr,lora,join_differs,tokens,pilot_delta,pilot_tokens,delta\n"
            .to_owned();
    for domain in 0..14 {
        let (gap, own) = (0.1 * f64::from(domain) - 0.5, 0.3 * f64::from(domain * 5 % 14) - 2.0);
        let js = 0.05 + 0.03 * f64::from(domain);
        writeln!(table, "made up,model,d{domain},full,{gap},{js},1e-3,0,0,5120,{own},1024,{}", 2.0 * own).unwrap();
    }
    let ask = "--domain languages/lambda-0.5 --lr 1e-3 --pilot 1024";
    let with = asked(&place, &table, ask);
    assert_eq!(with["pilot"]["used"], true, "{}", with["pilot"]["words"]);
    let width = |check: &str| number(&with["rests_on"][check]["median_width"]);
    let alone = asked(&place, &table, "--domain languages/lambda-0.5 --lr 1e-3");
    let without = number(&alone["rests_on"]["leave_domain_out"]["median_width"]);
    assert!(width("leave_domain_out") < 0.5 * without, "{} {without}", width("leave_domain_out"));
    assert_eq!(with["reasons"][0]["evidence"], "pilot_delta");
    // Twice the pilot, as in the table.
    let (delta, pilot) = (number(&with["predicted_delta"]), number(&with["pilot"]["delta"]));
    assert!((delta - 2.0 * pilot).abs() < 2.0 * pilot.abs(), "{delta} {pilot}");
}

#[test]
fn requests_that_no_advice_can_be_given_on_say_what_to_do() {
    let place = Place::with_languages();
    place.write("one.txt", "one document and no more");
    place.write("table.csv", "source,model,domain,strategy,delta\na,b,c,d,much\n");
    let ask = ASK.replace("--reference languages/base", "");
    for (line, says) in [
        (format!("{ASK} --domain one.txt"), &["one.txt", "too few documents"][..]),
        (format!("{ASK} --domain nowhere"), &["nowhere"][..]),
        (format!("{ask} --reference nowhere --domain languages/lambda-0"), &["nowhere"][..]),
        (format!("{ask} --reference one.txt --domain languages/lambda-0"), &["one.txt", "too few documents"][..]),
        (format!("{ASK} --domain languages/lambda-0 --fit table.csv"), &["table.csv: line 2", "\"much\""][..]),
        (format!("{ASK} --domain languages/lambda-0 --fit languages"), &["languages", "not the folder of a study"][..]),
        (format!("{ASK} --domain languages/lambda-0 --pilot 1"), &["--pilot 1", "0 steps"][..]),
        (format!("{ASK} --domain languages/lambda-0 --pilot 1000000"), &["--pilot 1000000", "has 20"][..]),
        (
            format!("{} --domain languages/lambda-0", ASK.replace("second 1000", "second 0")),
            &["--tokens-per-second"][..],
        ),
        (format!("{} --domain languages/lambda-0", ASK.replace("chunk 32", "chunk 1000")), &["--chunk", "1 to 64"][..]),
    ] {
        place.refused(&line, says);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_question_ends_at_once_and_leaves_nothing() {
    let place = Place::with_languages();
    let before = place.listing();
    let ask = "advise --model model --reference languages/base --domain languages/lambda-0 --steps 100000 --pilot 2000000 \
               --max-steps 100000";
    let said = place.interrupted(ask, |said| said.contains("device: ")).expect("a long pilot");
    assert_eq!((said.status, said.out.as_str()), (Some(130), ""), "{}", said.err);
    assert!(said.err.lines().last().unwrap().starts_with("odyssey: interrupted: "), "{}", said.err);
    assert_eq!(place.listing(), before);
}
