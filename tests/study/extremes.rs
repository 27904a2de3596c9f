//! A study's file with the most extreme values of every key, and studies in which nothing changes: an answer or an error that
//! names the place, never a panic, and in bounded time.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cli::Place;
use odyssey::device::DeviceChoice;
use odyssey::error::Error;
use odyssey::progress::Silent;
use odyssey::study::{Plan, StudyConfig};
use toml::{Table, Value};

/// Every key that a study's file can have, with values that work.
const STUDY: &str = r#"
name = "extremes"
seeds = [1]
devices = ["cpu"]
restart_control = false

[text]
document = "blank-line"
join = "eot"
newlines = "keep"
bos = "auto"

[evaluation]
protocol = "strided"
context = 32
stride = 16
rank = false

[similarity]
features = "lexical"
chunk = 32
samples = 10
reference_samples = 20
kernel = "rbf"
permutations = 9
resamples = 9

[statistics]
error_rate = 0.05

[ablation]
train_join = ["eot"]
eval_join = ["eot"]
newlines = ["keep"]
eval_newlines = ["keep"]
lr = [1e-3]

[[models]]
name = "golden"
path = "model"
reference = "languages/base"

[[domains]]
name = "near"
path = "languages/lambda-0"
group = "one"

[[domains]]
name = "far"
path = "languages/lambda-1"
group = "two"

[[strategies]]
name = "full"

[strategies.recipe]
steps = 1
epochs = 1
max_steps = 1
batch = 2
micro_batch = 2
context = 32
max_context = 32
lr = 1e-3
warmup_ratio = 0.0
warmup_steps = 0
min_lr_ratio = 0.0
decay_share = 0.2
outlier = 3.0
clip = 1.0
validations = 1
valid_tokens = 100
patience = 1
patience_after = 0.5

[strategies.recipe.adamw]
beta1 = 0.9
beta2 = 0.95
epsilon = 1e-8
weight_decay = 0.1
"#;

/// What a study may take to be read and planned, on a machine that is busy.
const LONGEST: Duration = Duration::from_secs(20);

fn place() -> Place {
    Place::with_languages()
}

/// Values that no sane study has, of the type that `value` is of, and of others.
fn extremes(value: &Value) -> Vec<Value> {
    let integers = [0, 1, -1, 2, 1 << 20, 1 << 31, 1 << 40, i64::MAX, i64::MIN].map(Value::Integer).to_vec();
    let floats =
        [0.0, -0.0, 1.0, -1.0, 1e308, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(Value::Float).to_vec();
    let long = "x".repeat(100_000);
    let texts = ["", " ", "a/b", "a/../b", "CON", "nul", "\u{202e}x", "\u{1b}[31m", "=1+1", "日本", "a\nb", &long];
    let texts = texts.map(|text| Value::String(text.to_owned())).to_vec();
    let mut all = match value {
        Value::Integer(_) => [integers, vec![Value::Float(1.5)]].concat(),
        Value::Float(_) => [floats, vec![Value::Integer(0), Value::Integer(i64::MAX)]].concat(),
        Value::String(_) => texts,
        Value::Boolean(now) => vec![Value::Boolean(!now)],
        Value::Array(items) => {
            let twice = [items.clone(), items.clone()].concat();
            let of_items = items.first().map(extremes).unwrap_or_default().into_iter().map(|item| vec![item]);
            of_items.chain([Vec::new(), twice]).map(Value::Array).collect()
        }
        Value::Datetime(_) | Value::Table(_) => Vec::new(),
    };
    all.push(Value::Table(Table::new()));
    all.push(Value::Array(vec![Value::Boolean(true)]));
    all
}

/// The paths of all leaves: keys and indices, joined by dots.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    let under = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Table(table) => table.iter().for_each(|(key, value)| leaves(value, &under(key), found)),
        Value::Array(items) if items.iter().any(Value::is_table) => {
            items.iter().enumerate().for_each(|(at, value)| leaves(value, &under(&at.to_string()), found));
        }
        _ => found.push(path.to_owned()),
    }
}

fn at<'a>(value: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').fold(value, |value, key| match key.parse::<usize>() {
        Ok(index) => &mut value[index],
        Err(_) => &mut value[key],
    })
}

/// Reads and plans a study, which must give an answer in time. Whether there was one.
fn planned(place: &Place, study: &Value, what: &str) -> bool {
    place.write("study.toml", toml::to_string(study).unwrap());
    let path = place.path("study.toml");
    let started = Instant::now();
    let answer = catch_unwind(AssertUnwindSafe(|| {
        let mut config = StudyConfig::read(&path)?;
        config.devices = vec![DeviceChoice::Cpu];
        Plan::new(config, &[DeviceChoice::Cpu.open()?], &mut Silent).map(drop)
    }));
    assert!(started.elapsed() < LONGEST, "{what}: took {:?}", started.elapsed());
    match answer {
        Ok(Ok(())) => true,
        Ok(Err(Error::Input { place, fault, cure })) => {
            assert!(!place.is_empty() && !fault.is_empty() && !cure.is_empty(), "{what}: {place}: {fault}; {cure}");
            let said = format!("{place}{fault}{cure}");
            assert!(said.len() < 2000, "{what}: {} bytes of message", said.len());
            assert!(!said.contains(char::is_control), "{what}: {said:?}");
            false
        }
        Ok(Err(other)) => panic!("{what}: not said to be the study's fault: {other:?}"),
        Err(_) => panic!("{what}: panicked"),
    }
}

#[test]
fn every_key_of_a_study_withstands_every_extreme_value() {
    let place = place();
    let study: Value = toml::from_str::<Table>(STUDY).unwrap().into();
    assert!(planned(&place, &study, "as it is"));
    let mut paths = Vec::new();
    leaves(&study, "", &mut paths);
    // Every key but those that only another setting brings.
    let config = StudyConfig::read(&place.path("study.toml")).unwrap();
    let mut all = Vec::new();
    leaves(&config.to_toml().parse::<Table>().unwrap().into(), "", &mut all);
    let (mut tried, mut taken) = (0, BTreeSet::new());
    for path in paths.into_iter().chain(all).collect::<BTreeSet<_>>() {
        let mut study = study.clone();
        if path.starts_with("devices") || catch_unwind(AssertUnwindSafe(|| at(&mut study, &path).clone())).is_err() {
            continue;
        }
        let now = at(&mut study, &path).clone();
        for value in extremes(&now) {
            *at(&mut study, &path) = value.clone();
            tried += 1;
            let shown: String = value.to_string().chars().take(60).collect();
            if planned(&place, &study, &format!("{path} = {shown}")) {
                taken.insert(path.clone());
            }
        }
    }
    assert!(tried > 500 && taken.len() > 20, "{tried} values, {} keys took one", taken.len());
}

#[test]
fn lists_that_name_something_twice_or_nothing_are_refused() {
    let place = place();
    let refused = |from: &str, to: &str, says: &str| {
        assert!(STUDY.contains(from), "{from}");
        place.write("study.toml", STUDY.replacen(from, to, 1));
        place.refused("study run study.toml --out study", &["study.toml", says]);
    };
    refused("seeds = [1]", "seeds = [1, 2, 1]", "1 twice");
    refused("devices = [\"cpu\"]", "devices = [\"cpu\", \"cpu\"]", "cpu twice");
    refused("name = \"far\"", "name = \"near\"", "\"near\" twice");
    refused("name = \"far\"", "name = \" \"", "no name");
    refused("name = \"golden\"", "name = \"\"", "no name");
    refused("name = \"far\"", &format!("name = \"{}\"", "y".repeat(201)), "longer than 200");
    refused("permutations = 9", "permutations = 1000000001", "`permutations`: is 1000000001");
    refused("samples = 10", "samples = 1", "`samples`: is 1");
    // "golden / full / a" twice.
    let strategies =
        "[[strategies]]\nname = \"full / a\"\n\n[[strategies]]\nname = \"a\"\n\n[[strategies]]\nname = \"full\"";
    let models = "[[models]]\nname = \"golden / full\"\npath = \"model\"\nreference = \"languages/base\"\n\n[[models]]";
    place.write(
        "study.toml",
        STUDY.replacen("[[models]]", models, 1).replacen("[[strategies]]\nname = \"full\"", strategies, 1),
    );
    place.refused("study run study.toml --out study", &["golden / full / a", "another name"]);
}

#[test]
fn thousands_of_domains_are_planned_in_bounded_time() {
    let place = place();
    place.write("one.txt", "a b c\n\n".repeat(60));
    let domain = |at: usize| format!("[[domains]]\nname = \"d{at}\"\npath = \"languages/lambda-0\"\n");
    let domains: String = (0..3000).map(domain).collect();
    let study: Value = toml::from_str::<Table>(&(STUDY.to_owned() + &domains)).unwrap().into();
    assert!(planned(&place, &study, "3,002 domains"));
}

/// Runs a study to its end by the program, and reads its report again.
fn runs(place: &Place, study: &str, what: &str) -> serde_json::Value {
    place.write("study.toml", study);
    let started = Instant::now();
    let results = place.result("study run study.toml --out study");
    let report = place.odyssey("study report study");
    assert_eq!(report.status, Some(0), "{what}: {}", report.err);
    assert!(started.elapsed() < Duration::from_secs(200), "{what}: took {:?}", started.elapsed());
    assert!(Path::new(&place.path("study/report.html")).exists());
    std::fs::remove_dir_all(place.path("study")).unwrap();
    results
}

#[test]
fn a_study_in_which_nothing_changes_ends_with_no_difference() {
    let place = place();
    let still = STUDY.replace("\nlr = 1e-3\n", "\nlr = 0.0\n").replace("restart_control = false", "");
    let still = still.replace("lr = [1e-3]", "lr = [0.0]");
    let results = runs(&place, &still, "a rate of 0");
    assert!(results["correlations"].is_array());
    for domain in results["domains"].as_array().unwrap() {
        assert_eq!((&domain["delta"], &domain["call"]), (&0.0.into(), &"no difference".into()), "{domain}");
        assert_eq!(domain["delta_ci95"], serde_json::json!([0.0, 0.0]));
        assert_eq!(domain["p"], 1.0);
        assert!(domain["t_p"].is_null() && domain["wilcoxon_p"].is_null(), "nothing varies: {domain}");
    }
}

#[test]
fn studies_at_the_edge_of_what_is_allowed_end_with_an_answer() {
    let place = place();
    let with = |changes: &[(&str, &str)]| {
        let mut study = STUDY.to_owned();
        for (from, to) in changes {
            assert!(study.contains(from), "{from}");
            study = study.replacen(from, to, 1);
        }
        study
    };
    // No test, one draw, and as few samples as there can be; with hidden states too.
    for (features, permutations, resamples) in [("lexical", 0, 0), ("model", 1, 1), ("model", 0, 1)] {
        let study = with(&[
            ("\"lexical\"", &format!("\"{features}\"")),
            ("permutations = 9", &format!("permutations = {permutations}")),
            ("resamples = 9", &format!("resamples = {resamples}")),
            ("samples = 10", "samples = 2"),
            ("reference_samples = 20", "reference_samples = 2"),
        ]);
        runs(&place, &study, &format!("{features}, {permutations} permutations, {resamples} resamples"));
    }
    // The reference as the only domain, and the same text under two names; names that no file system takes.
    let names = "a/b\\\\c: \\u202e\\u001b[31m日本 ".repeat(6);
    let study = with(&[
        ("path = \"languages/lambda-0\"", "path = \"languages/base\""),
        ("path = \"languages/lambda-1\"", "path = \"languages/base\""),
        ("name = \"near\"", &format!("name = \"{names}\"")),
        ("name = \"far\"", "name = \"CON\""),
        ("name = \"golden\"", "name = \"..\""),
        ("name = \"full\"", "name = \"=1+1\""),
        ("\"lexical\"", "\"model\""),
        ("error_rate = 0.05", "error_rate = 5e-324"),
    ]);
    let results = runs(&place, &study, "the reference itself");
    for row in results["rows"].as_array().unwrap() {
        assert_eq!(row["similarity"]["unigram_js"], 0.0, "{}", row["similarity"]);
    }
}
