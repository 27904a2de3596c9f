//! `odyssey study` as users run it: what it finds, what it keeps, how it goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::cli::{Place, assert_has};
use odyssey::device::DeviceChoice;
use odyssey::memory::{MemoryPlan, Work};
use odyssey::model::{ModelConfig, Precision};
use odyssey::study::{StudyConfig, training_memory};
use serde_json::{Value, json};

/// Two seeds of one strategy on four languages: eight adaptations of three steps.
const STUDY: &str = r#"
name = "Four languages"
seeds = [1, 2]

[similarity]
chunk = 32
samples = 30
reference_samples = 60

[[models]]
name = "golden"
path = "model"
reference = "languages/base"

[[domains]]
path = "languages/lambda-0"
group = "near"

[[domains]]
path = "languages/lambda-0.25"
name = "quarter"
group = "near"

[[domains]]
path = "languages/lambda-0.5"
name = "half"
group = "far"

[[domains]]
path = "languages/lambda-1"
group = "far"

[[strategies]]
name = "full"
recipe = { steps = 3, batch = 4, lr = 1e-3, validations = 1, valid_tokens = 300 }
"#;

const RUN: &str = "study run study.toml --out study";
/// One reference, per domain the perplexity before, the distance, and an adaptation per seed, and the restart control.
const TASKS: usize = 1 + 4 * (1 + 1 + 2) + (1 + 2);

fn planned(study: &str) -> Place {
    let place = Place::with_languages();
    place.write("study.toml", study);
    place
}

/// The folders of tasks with the time of the latest change in each, by name.
fn tasks(place: &Place) -> BTreeMap<String, SystemTime> {
    let changed = |path: PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    let entries = fs::read_dir(place.path("study/tasks")).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.is_dir()) // a checkpoint is no task
        .map(|folder| {
            let files = fs::read_dir(&folder).unwrap().map(|entry| changed(entry.unwrap().path()));
            let latest = files.chain([changed(folder.clone())]).max().unwrap();
            (folder.file_name().unwrap().to_string_lossy().into_owned(), latest)
        })
        .collect()
}

fn names(tasks: &BTreeMap<String, SystemTime>, kind: &str) -> BTreeSet<String> {
    tasks.keys().filter(|name| name.starts_with(kind)).cloned().collect()
}

/// Makes the study one of an older version, which wrote no checksums.
fn without_checksums(place: &Place) {
    for folder in names(&tasks(place), "") {
        fs::remove_file(place.path("study/tasks").join(folder).join("checksums.json")).unwrap();
    }
    let plan = place.kept("study/plan.json");
    place.write("study/plan.json", plan.to_string());
}

/// Results without what differs from run to run.
fn untimed(mut results: Value) -> Value {
    for row in results["rows"].as_array_mut().unwrap() {
        assert!(row.as_object_mut().unwrap().shift_remove("seconds").is_some());
    }
    results
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_study_writes_results_table_report_and_figures() {
    let place = planned(STUDY);
    let results = place.result(RUN);
    assert_eq!(results["schema"], "odyssey.study/1");
    assert_eq!(results["missing"], json!([]));
    let rows = results["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 8);
    let keys = "model domain group strategy seed zero_shot_ppl adapted_ppl delta delta_ci95/0 delta_ci95/1 \
                similarity/mmd2 similarity/frechet newline_rate overlap/test_13grams_in_train \
                overlap/near_duplicate_documents";
    for row in rows {
        keys.split_whitespace().for_each(|key| assert_has(row, &[&format!("/{key}")]));
        let change = (number(&row["adapted_ppl"]) / number(&row["zero_shot_ppl"])).ln();
        assert!((number(&row["delta"]) - change).abs() < 1e-9);
        let ends = [&row["delta_ci95"][0], &row["delta_ci95"][1]].map(number);
        assert!(ends[0] < number(&row["delta"]) && number(&row["delta"]) < ends[1], "{ends:?}");
    }
    let domains: BTreeSet<_> = rows.iter().map(|r| (r["domain"].as_str(), r["group"].as_str())).collect();
    let expected = [("half", "far"), ("lambda-0", "near"), ("lambda-1", "far"), ("quarter", "near")];
    assert_eq!(domains, expected.map(|(domain, group)| (Some(domain), Some(group))).into());

    // Every correlation has numbers or says why not: two domains of a group are too few.
    let correlations = results["correlations"].as_array().unwrap();
    for correlation in correlations {
        assert_has(correlation, &["/x", "/scope", "/n"]);
        match correlation["scope"].as_str().unwrap() {
            "pooled" => {
                assert_eq!(correlation["n"], 4);
                assert_has(correlation, &["/pearson", "/pearson_p", "/spearman", "/spearman_p", "/kendall"]);
            }
            scope => {
                assert!(["within:near", "within:far"].contains(&scope), "{scope}");
                assert_eq!((&correlation["n"], &correlation["pearson"]), (&json!(2), &Value::Null));
                assert!(correlation["reason"].as_str().unwrap().contains("at least 3"));
            }
        }
    }
    assert!(correlations.len() >= 3 * 4 && correlations.len().is_multiple_of(3));

    assert_eq!(place.kept("study/results.json"), results);
    let csv = String::from_utf8(place.read("study/results.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 8);
    let page = String::from_utf8(place.read("study/report.html")).unwrap();
    for text in ["Four languages", "lambda-0", "quarter", "half", "lambda-1"] {
        assert!(page.contains(text), "{text}");
    }
    let figures: Vec<PathBuf> = fs::read_dir(place.path("study/plots")).unwrap().map(|e| e.unwrap().path()).collect();
    let count = |kind: &str| figures.iter().filter(|path| path.extension().is_some_and(|e| e == kind)).count();
    assert!(count("svg") > 0 && count("svg") == count("png"));
}

#[test]
fn a_study_finds_what_its_commands_find_one_by_one() {
    let place = planned(STUDY);
    let results = place.result(RUN);
    let row = |domain: &str, seed: u64| {
        let rows = results["rows"].as_array().unwrap();
        rows.iter().find(|row| row["domain"] == domain && row["seed"] == seed).unwrap()
    };

    let eval = place.result("eval --model model --text languages/lambda-0 languages/lambda-0.5");
    assert_eq!(row("lambda-0", 1)["zero_shot_ppl"], eval["texts"][0]["ppl"]);
    assert_eq!(row("half", 2)["zero_shot_ppl"], eval["texts"][1]["ppl"]);

    place.result(
        "adapt --model model --train languages/lambda-0.5 --valid languages/lambda-0.5 --out adapted --seed 2 \
         --steps 3 --batch 4 --lr 1e-3 --validations 1 --valid-tokens 300",
    );
    let compare = place.result("compare --before model --after adapted --text languages/lambda-0.5");
    for key in ["delta", "delta_ci95", "handful", "without", "classes", "passages"] {
        assert_eq!(row("half", 2)[key], compare[key], "{key}");
    }
    assert_ne!(row("half", 1)["delta"], compare["delta"], "another seed is another order of windows");

    let similarity = place.result(
        "similarity --features model:model --reference languages/base --domain languages/lambda-0 \
         languages/lambda-0.25 languages/lambda-0.5 languages/lambda-1 --chunk 32 --samples 30 --reference-samples 60",
    );
    for (at, domain) in [(0, "lambda-0"), (2, "half")] {
        let of_study = row(domain, 1)["similarity"].as_object().unwrap();
        assert!(of_study.len() > 30, "{of_study:?}");
        for (key, value) in of_study {
            assert_eq!(*value, similarity["domains"][at][key], "{domain} {key}");
        }
        assert_eq!(results["null"][0]["distances"], similarity["null"]);
    }
}

/// [`STUDY`] with features of the golden encoder, which is in `encoder`.
fn planned_with_encoder() -> Place {
    let place = planned(&STUDY.replace("chunk = 32", "features = \"minilm:encoder\""));
    copy_encoder(&place, "encoder");
    place
}

fn copy_encoder(place: &Place, to: &str) {
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder");
    fs::create_dir_all(place.path(to).join("1_Pooling")).unwrap();
    for name in
        "config.json model.safetensors tokenizer.json modules.json sentence_bert_config.json 1_Pooling/config.json"
            .split_whitespace()
    {
        fs::write(place.path(to).join(name), fs::read(from.join(name)).unwrap()).unwrap();
    }
}

#[test]
fn a_study_compares_by_a_sentence_encoder_as_the_command_does() {
    let place = planned_with_encoder();
    let results = place.result(RUN);
    let similarity = place.result(
        "similarity --features minilm:encoder --reference languages/base --domain languages/lambda-0 \
         languages/lambda-0.25 languages/lambda-0.5 languages/lambda-1 --samples 30 --reference-samples 60",
    );
    let mut compared = 0;
    for (at, domain) in ["lambda-0", "quarter", "half", "lambda-1"].iter().enumerate() {
        let rows = results["rows"].as_array().unwrap();
        let of_study = &rows.iter().find(|row| row["domain"] == *domain).unwrap()["similarity"];
        // Words are counted by the model's tokenizer here and as words there.
        for key in "samples mmd2 mmd2_p mmd2_q mmd2_ci95 frechet frechet_p frechet_ci95 energy energy_p energy_ci95 \
                    centroid_cosine auc effect_mmd2 effect_frechet effect_energy"
            .split_whitespace()
        {
            assert_eq!(of_study[key], similarity["domains"][at][key], "{domain} {key}");
            assert!(!of_study[key].is_null(), "{domain} {key}");
            compared += 1;
        }
    }
    assert_eq!(compared, 4 * 16);
    let says =
        |row: &Value| row["similarity"]["caveats"].to_string().contains("the reference: a token of the encoder holds");
    assert!(results["rows"].as_array().unwrap().iter().all(says), "what the encoder said of the reference is kept");

    // Advice knows distances between the base's own states: others are not taken for them.
    place.odyssey("advise --write-table learned.csv --only-fit --fit study --quiet");
    let mut table = csv::Reader::from_path(place.path("learned.csv")).unwrap();
    let cases: Vec<BTreeMap<String, String>> = table.deserialize().collect::<Result<_, _>>().unwrap();
    assert_eq!(cases.len(), 4 + 1);
    let known = |key: &str| cases.iter().filter(|case| !case[key].is_empty()).count();
    assert_eq!(["mmd2", "energy", "unigram_js", "loss_gap"].map(known), [0, 0, 5, 5]);
}

#[test]
fn an_encoder_is_known_by_what_is_in_its_folder_and_its_features_are_kept() {
    let place = planned_with_encoder();
    place.result(RUN);
    let first = tasks(&place);
    let kept = |place: &Place| fs::read_dir(place.path("cache/features")).unwrap().count();
    // The reference and four domains, each embedded once: by the reference's task.
    assert_eq!(kept(&place), 5);

    fs::rename(place.path("encoder"), place.path("moved")).unwrap();
    let moved = String::from_utf8(place.read("study.toml")).unwrap().replace("minilm:encoder", "minilm:moved");
    place.write("study.toml", &moved);
    place.result(RUN);
    assert_eq!(tasks(&place), first, "the same encoder elsewhere");

    // Another way to pool is another encoder: all distances anew, and nothing else.
    place.write("moved/1_Pooling/config.json", r#"{"word_embedding_dimension": 32, "pooling_mode_cls_token": true}"#);
    place.result(RUN);
    let second = tasks(&place);
    let added = |kind: &str| names(&second, kind).difference(&names(&first, kind)).count();
    assert_eq!((added("reference"), added("similarity"), added("zero-shot"), added("adapt")), (1, 4, 0, 0));
    assert_eq!(kept(&place), 10);
}

#[test]
fn an_encoder_that_is_missing_or_has_no_text_to_read_is_refused_before_anything_is_computed() {
    let place = planned_with_encoder();
    fs::remove_file(place.path("encoder/tokenizer.json")).unwrap();
    place.refused(RUN, &["encoder", "has no tokenizer.json"]);
    fs::remove_dir_all(place.path("encoder")).unwrap();
    place.refused(RUN, &["names", "encoder", "does not exist"]);
    copy_encoder(&place, "encoder");
    fs::create_dir(place.path("ids")).unwrap();
    for split in ["train", "valid", "test"] {
        fs::copy(place.path(&format!("{split}.jsonl")), place.path(&format!("ids/{split}.jsonl"))).unwrap();
    }
    let study = String::from_utf8(place.read("study.toml")).unwrap().replace("languages/lambda-1", "ids");
    place.write("study.toml", study);
    place.refused(RUN, &["ids", "holds token ids, but text is needed here"]);
    place.write("study.toml", STUDY.replace("chunk = 32", "features = \"model:model\""));
    place.refused(RUN, &["features is \"model:model\"", "minilm:DIR"]);
    place.write("study.toml", STUDY.replace("chunk = 32", "chunk = 65"));
    place.refused(RUN, &["similarity, with model \"golden\"", "`chunk`: is 65", "1 to 64"]);
}

#[test]
fn a_finished_study_run_again_does_nothing_and_says_the_same() {
    let place = planned(STUDY);
    let first = place.result(RUN);
    let (bytes, before) = (place.read("study/results.json"), tasks(&place));
    assert_eq!(before.len(), TASKS);
    let status = place.result("study status study");
    assert_eq!((&status["done"], &status["of"]), (&json!(TASKS), &json!(TASKS)));

    assert_eq!(place.result(RUN), first);
    assert_eq!(place.read("study/results.json"), bytes);
    assert_eq!(tasks(&place), before, "no task's folder is touched");

    // The report comes from the tasks alone: neither models nor texts are needed.
    fs::remove_dir_all(place.path("model")).unwrap();
    fs::remove_dir_all(place.path("languages")).unwrap();
    let (csv, page) = (place.read("study/results.csv"), place.read("study/report.html"));
    for file in ["results.json", "results.csv", "report.html"] {
        fs::remove_file(place.path("study").join(file)).unwrap();
    }
    fs::remove_dir_all(place.path("study/plots")).unwrap();
    assert_eq!(place.result("study report study"), first);
    assert_eq!(place.read("study/results.json"), bytes);
    assert_eq!((place.read("study/results.csv"), place.read("study/report.html")), (csv, page));
    assert!(place.path("study/plots").exists());
}

#[test]
fn a_task_that_is_removed_is_the_only_one_done_again() {
    let place = planned(STUDY);
    let first = place.result(RUN);
    let before = tasks(&place);
    let gone = names(&before, "adapt-golden-half").pop_first().unwrap();
    fs::remove_dir_all(place.path("study/tasks").join(&gone)).unwrap();

    let status = place.result("study status study");
    assert_eq!((&status["done"], &status["of"]), (&json!(TASKS - 1), &json!(TASKS)));
    let missing: Vec<_> = status["tasks"].as_array().unwrap().iter().filter(|task| task["done"] == false).collect();
    assert_eq!(missing.len(), 1);
    let label = missing[0]["task"].clone();
    assert!(label.as_str().unwrap().starts_with("golden adapted to half (full, seed "), "{label}");

    // A report of what is there says what is not.
    let partial = place.result("study report study");
    assert_eq!((&partial["missing"], partial["rows"].as_array().unwrap().len()), (&json!([label]), 7));

    assert_eq!(untimed(place.result(RUN)), untimed(first));
    let mut after = tasks(&place);
    assert!(after.remove(&gone).is_some());
    let mut before = before;
    before.remove(&gone);
    assert_eq!(after, before);
}

#[cfg(unix)]
#[test]
fn an_interrupted_study_goes_on_and_finds_the_same() {
    // Long adaptations, so that one is hit in the middle.
    let study = STUDY.replace("seeds = [1, 2]", "seeds = [1]").replace("steps = 3", "steps = 12");
    let whole = planned(&study).result(RUN);

    let place = planned(&study);
    let first_adaptation = || tasks_done(&place, "adapt-") > 0;
    let said = place.interrupted(RUN, |_| first_adaptation()).expect("three adaptations are left");
    assert_eq!((said.status, said.out.as_str()), (Some(130), ""), "{}", said.err);
    let last = said.err.lines().last().unwrap();
    assert!(last.starts_with("odyssey: interrupted: golden adapted to "), "{last}");
    assert!(last.ends_with("stay in study, give the same command again to go on"), "{last}");

    let status = place.result("study status study");
    assert_eq!(status["of"], TASKS - 5);
    assert_eq!(status["done"], tasks_done(&place, ""), "what waits to go on is not done");
    assert!(status["done"].as_u64() < status["of"].as_u64());

    let kept = tasks(&place);
    assert_eq!(untimed(place.result(RUN)), untimed(whole));
    let after = tasks(&place);
    assert!(kept.iter().all(|(name, changed)| after[name] == *changed), "what was done is not done again");
    let left = fs::read_dir(place.path("study/tasks")).unwrap().count();
    assert_eq!((after.len(), left), (TASKS - 5, TASKS - 5), "neither checkpoints nor scratch folders are left");
}

/// Finished tasks of a kind, also where there are none yet.
#[cfg(unix)]
fn tasks_done(place: &Place, kind: &str) -> usize {
    match place.path("study/tasks").exists() {
        true => names(&tasks(place), kind).iter().filter(|name| !name.starts_with('.')).count(),
        false => 0,
    }
}

#[test]
fn another_seed_or_rate_leaves_what_comes_before_adaptation_as_it_is() {
    let place = planned(STUDY);
    place.result(RUN);
    let first = tasks(&place);

    for (from, to, new) in [("[1, 2]", "[2, 3]", 5), ("lr = 1e-3", "lr = 1e-4", 10)] {
        let before = tasks(&place);
        place.write("study.toml", STUDY.replace(from, to));
        let results = place.result(RUN);
        assert_eq!(results["rows"].as_array().unwrap().len(), 8);
        let after = tasks(&place);
        assert!(before.iter().all(|(name, changed)| after[name] == *changed), "old results stay");
        for kind in ["reference", "zero-shot", "similarity"] {
            assert_eq!(names(&after, kind), names(&first, kind));
        }
        let added = names(&after, "adapt").difference(&names(&before, "adapt")).count();
        assert_eq!(added, new, "{to}");
    }

    // Back at the first study everything is there.
    place.write("study.toml", STUDY);
    let before = tasks(&place);
    place.result(RUN);
    assert_eq!(tasks(&place), before);
}

#[test]
fn another_text_or_protocol_makes_new_tasks() {
    let study = one_domain("languages/lambda-0");
    let place = planned(&study);
    let first = place.result(RUN);
    let before = tasks(&place);

    place.write("study.toml", format!("evaluation = {{ context = 32 }}\n{study}"));
    place.result(RUN);
    let after = tasks(&place);
    for (kind, count) in [("reference", 1), ("similarity", 1), ("zero-shot", 4), ("adapt", 4)] {
        assert_eq!(names(&after, kind).len(), count, "{kind}");
    }
    assert!(before.iter().all(|(name, changed)| after[name] == *changed));

    place.write("study.toml", &study);
    let test = [place.read("languages/lambda-0/test.txt"), place.read("languages/lambda-1/test.txt")].join(&b"\n"[..]);
    place.write("languages/lambda-0/test.txt", test);
    let second = place.result(RUN);
    assert_ne!(second["rows"][0]["zero_shot_ppl"], first["rows"][0]["zero_shot_ppl"]);
    assert_eq!(second["rows"][0]["train_loss"], first["rows"][0]["train_loss"]);
}

/// A study of one domain and one seed.
fn one_domain(path: &str) -> String {
    let (head, _) = STUDY.split_once("[[domains]]").unwrap();
    let (_, strategies) = STUDY.split_once("[[strategies]]").unwrap();
    let head = head.replace("[1, 2]", "[1]");
    format!("{head}\n[[domains]]\npath = {path:?}\n\n[[strategies]]{strategies}")
}

#[test]
fn a_broken_result_of_a_task_is_named() {
    let place = planned(&one_domain("languages/lambda-0"));
    let whole = place.result(RUN);
    for (kind, file) in [
        ("reference", "reference.json"),
        ("zero-shot", "eval.json"),
        ("similarity", "similarity.json"),
        ("adapt", "adapt.json"),
    ] {
        let folder = names(&tasks(&place), kind).pop_first().unwrap();
        let name = format!("study/tasks/{folder}/{file}");
        let bytes = place.read(&name);
        for content in [&bytes[..bytes.len() / 2], b"{}", b"", b"\xff"] {
            place.write(&name, content);
            place.refused("study report study", &[&folder, file]);
        }
        fs::remove_file(place.path(&name)).unwrap();
        place.refused("study report study", &[&folder, file, "no such file"]);
        place.write(&name, bytes);
    }
    assert_eq!(place.result("study report study"), whole);

    place.write("study/plan.json", "{");
    for command in ["status", "report"] {
        place.refused(&format!("study {command} study"), &["plan.json: "]);
    }
}

#[test]
fn a_domain_in_one_file_is_split_by_document_the_same_way_wherever_it_is() {
    let documents = |place: &Place| -> Vec<String> {
        let text = ["train", "valid", "test"].map(|split| {
            String::from_utf8(place.read(&format!("languages/lambda-0/{split}.txt"))).unwrap().trim().to_owned()
        });
        // Shorter pieces, one sentence each, so that every split gets some.
        let joined = text.join("\n").replace("\n\n", "\n");
        joined.split('\n').map(str::to_owned).collect()
    };
    let run = |write: &dyn Fn(&Place) -> String| {
        let place = Place::with_languages();
        let name = write(&place);
        place.write("study.toml", one_domain(&name));
        let mut results = untimed(place.result(RUN));
        results["settings"].take(); // it holds the path
        results
    };
    let plain = run(&|place| {
        place.write("mixed.txt", documents(place).join("\n\n"));
        "mixed.txt".into()
    });
    let lines = run(&|place| {
        let lines = documents(place).iter().map(|text| json!({ "text": text }).to_string() + "\n").collect::<String>();
        fs::create_dir(place.path("elsewhere")).unwrap();
        place.write("elsewhere/mixed.jsonl", lines);
        "elsewhere/mixed.jsonl".into()
    });
    assert_eq!(plain, lines);

    // About a tenth is the test split: no document stands in two, and none is lost.
    let place = Place::with_languages();
    let total: usize = documents(&place).iter().map(|text| text.split_whitespace().count()).sum();
    let tested = number(&plain["rows"][0]["test_tokens"]) / total as f64;
    assert!((0.05..0.2).contains(&tested), "{tested}");
}

#[test]
fn adapters_that_a_model_has_no_layers_for_are_refused_before_anything_is_computed() {
    let lora = "lr = 1e-3, strategy = \"lora\", lora = { targets = [\"q_proj\"] }";
    let place = planned(&one_domain("languages/lambda-1").replace("lr = 1e-3", lora));
    place.refused(
        RUN,
        &[
            "study.toml: model \"golden\": strategy \"full\": `lora.targets`: \"q_proj\"",
            "which has c_attn, c_fc, c_proj",
        ],
    );
}

#[test]
fn the_memory_of_adaptations_is_planned_with_the_field_that_the_study_reads() {
    let place = Place::with_model();
    fs::create_dir(place.path("domain")).unwrap();
    for split in ["train", "valid", "test"] {
        let document = json!({ "text": "short", "body": format!("{split}: {}", "a longer body ".repeat(2)) });
        place.write(&format!("domain/{split}.jsonl"), document.to_string());
    }
    let study = |text: &str| {
        let study = one_domain("domain").replace("languages/base", "domain");
        place.write("study.toml", format!("{study}\n[text]\n{text}"));
        StudyConfig::read(&place.path("study.toml")).unwrap()
    };
    let base = ModelConfig::read(&place.path("model")).unwrap();
    // A device on which nothing fits, so that the texts are asked.
    let mut device = DeviceChoice::Cpu.open().unwrap();
    device.largest_binding = Some(0);
    let mut found = Vec::new();
    for (text, longest) in [("text_field = \"body\"", "train: a longer body a longer body ".len()), ("", "short".len())]
    {
        let config = study(text);
        let (model, strategy) = (&config.models[0], &config.strategies[0]);
        let plan = training_memory(&config, model, strategy, &device).unwrap();
        // Without a tokenizer a byte is at most a token.
        let work = Work::training(&strategy.recipe, &base, Precision::F32).unwrap().within(longest);
        assert_eq!(plan.needs_bytes, MemoryPlan::needs(&base, work, true).unwrap(), "{text}");
        found.push(plan.needs_bytes);
    }
    assert!(found[0] > found[1], "{found:?}");
}

#[test]
fn an_adaptation_that_diverges_does_not_break_the_study() {
    let place = planned(&one_domain("languages/lambda-1").replace("lr = 1e-3", "lr = 1e3"));
    let results = place.result(RUN);
    assert_eq!(results["rows"][0]["adapted_ppl"], Value::Null, "beyond the range of numbers");
    assert!(number(&results["rows"][0]["delta"]) > 709.0);
    assert_eq!(place.result("study report study"), results);
    assert!(place.odyssey("study report study").out.contains("lambda-1"));
}

/// What `adapt` and `compare` find for one way to train and to evaluate: δ and its interval.
fn by_hand(place: &Place, train: &str, text: &str, how_to_train: &str, how_to_evaluate: &str) -> (Value, Value) {
    place.result(&format!(
        "adapt --model model --train {train} --valid {text} --out by-hand --seed 1 --steps 3 --batch 4 \
         --validations 1 --valid-tokens 300 {how_to_train}"
    ));
    let compare = place.result(&format!("compare --before model --after by-hand --text {text} {how_to_evaluate}"));
    fs::remove_dir_all(place.path("by-hand")).unwrap();
    (compare["delta"].clone(), compare["delta_ci95"].clone())
}

/// The documents of a split that the restart control reads: as many as it takes to hold so many bytes.
fn first_documents(text: &str, bytes: usize) -> String {
    let mut taken = Vec::new();
    let mut held = 0;
    for document in text.trim_end_matches('\n').split("\n\n") {
        if held >= bytes {
            break;
        }
        held += document.len();
        taken.push(document);
    }
    taken.join("\n\n")
}

#[test]
fn the_restart_control_is_an_adaptation_to_as_much_of_the_reference_corpus() {
    let place = planned(&one_domain("languages/lambda-0"));
    let results = place.result(RUN);
    let control = &results["restart_control"].as_array().unwrap()[..];
    assert_eq!(control.len(), 1);
    let control = &control[0];
    assert_eq!(
        (&control["model"], &control["strategy"], &control["seeds"]),
        (&json!("golden"), &json!("full"), &json!([1]))
    );
    assert!(control["held_out"].as_str().unwrap().contains("own test split"), "{control}");
    assert_eq!(results["rows"].as_array().unwrap().len(), 1, "the control is no row");

    // The reference's documents up to the length of the domain's training text, as a file of its own. Its last document
    // is whole there; three steps do not come so far.
    let text = |name: &str| String::from_utf8(place.read(name)).unwrap();
    let documents = |text: &str| text.trim_end_matches('\n').split("\n\n").map(str::len).sum::<usize>();
    let bytes = documents(&text("languages/lambda-0/train.txt"));
    let base = text("languages/base/train.txt");
    assert!(documents(&base) > 2 * bytes, "there is something to cut");
    fs::create_dir(place.path("cut")).unwrap();
    place.write("cut/train.txt", first_documents(&base, bytes));
    for split in ["valid", "test"] {
        place.write(&format!("cut/{split}.txt"), text(&format!("languages/base/{split}.txt")));
    }
    let order = one_domain("languages/lambda-0").replace("steps = 3", "order = \"file\", steps = 3");
    place.write("study.toml", order);
    let control = place.result(RUN)["restart_control"][0].clone();
    let (delta, interval) = by_hand(&place, "cut", "cut", "--lr 1e-3 --order file", "");
    assert!((number(&control["delta"]) - number(&delta)).abs() < 1e-9, "{control} {delta}");
    assert!((number(&control["delta_ci95"][1]) - number(&interval[1])).abs() < 1e-9);

    // Without it only what the adaptation forgets is not known.
    let off = place.read("study.toml");
    place.write("study.toml", [&b"restart_control = false\n"[..], &off].concat());
    let before = tasks(&place);
    let without = place.result(RUN);
    assert_eq!((&without["restart_control"], &without["missing"]), (&json!([]), &json!([])));
    let after = tasks(&place);
    assert!(before.iter().all(|(name, changed)| after[name] == *changed));
    assert_eq!((after.len(), names(&after, "adapt").len()), (before.len() + 1, names(&before, "adapt").len() + 1));
    let row = &without["rows"][0];
    assert_eq!((&row["forgetting"], &row["forgetting_ci95"]), (&Value::Null, &Value::Null));
    assert!(row["forgetting_reason"].as_str().unwrap().contains("no restart control"), "{row}");
}

#[test]
fn a_row_says_what_was_forgotten_of_the_reference_and_what_was_known_before_training() {
    let place = planned(&one_domain("languages/lambda-0"));
    let results = place.result(RUN);
    let row = &results["rows"][0];
    let text = "languages/lambda-0";
    place.result(&format!(
        "adapt --model model --train {text} --valid {text} --out adapted --seed 1 --steps 3 --batch 4 --lr 1e-3 \
         --validations 1 --valid-tokens 300"
    ));
    let forgotten = place.result("compare --before model --after adapted --text languages/base");
    assert!((number(&row["forgetting"]) - number(&forgotten["delta"])).abs() < 1e-9, "{}", forgotten["delta"]);
    for end in 0..2 {
        let ends = [&row["forgetting_ci95"][end], &forgotten["delta_ci95"][end]].map(number);
        assert!((ends[0] - ends[1]).abs() < 1e-9, "{ends:?}");
    }

    // The base's loss on domain and reference, whole and by class, as `eval` and `compare` have it.
    let base = &results["bases"][0];
    let eval = place.result("eval --model model --text languages/lambda-0 languages/base");
    for (profile, of) in [(&row["base_loss"], &eval["texts"][0]), (&base["reference_loss"], &eval["texts"][1])] {
        assert!((number(&profile["loss"]) - number(&of["nll"])).abs() < 1e-9);
        assert_eq!(profile["scored"], of["scored"]);
        let classes = profile["classes"].as_array().unwrap();
        let sum: f64 = classes.iter().map(|c| number(&c["share"]) * number(&c["loss"])).sum();
        assert!((sum - number(&profile["loss"])).abs() < 1e-9);
        assert!(number(&profile["document_sd"]) > 0.0);
    }
    for class in forgotten["classes"].as_array().unwrap() {
        let classes = base["reference_loss"]["classes"].as_array().unwrap();
        let found = classes.iter().find(|found| found["class"] == class["class"]).unwrap();
        assert!((number(&found["loss"]) - number(&class["before"])).abs() < 1e-9, "{class}");
        assert!((number(&found["share"]) - number(&class["share"])).abs() < 1e-12, "{class}");
    }
    let weights: usize = {
        let bytes = place.read("model/model.safetensors");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        tensors.tensors().iter().map(|(_, view)| view.shape().iter().product::<usize>()).sum()
    };
    assert_eq!((&base["parameters"], &base["vocabulary"]), (&json!(weights), &json!(512)));
    let train = place.result(&format!("eval --model model --text {text}/train.txt"));
    assert_eq!(row["available_tokens"], train["texts"][0]["tokens"]);

    let bytes = place.read("study/results.csv");
    let mut reader = csv::Reader::from_reader(&bytes[..]);
    let column = reader.headers().unwrap().iter().position(|name| name == "forgetting").unwrap();
    let field = reader.records().next().unwrap().unwrap()[column].parse::<f64>().unwrap();
    assert_eq!(field, number(&row["forgetting"]));
}

#[test]
fn a_reference_of_one_file_is_held_out_by_document_and_one_too_small_says_why_there_is_no_control() {
    let place = Place::with_languages();
    let base = String::from_utf8(place.read("languages/base/train.txt")).unwrap();
    place.write("reference.txt", &base);
    place.write("tiny.txt", base.split("\n\n").next().unwrap());
    let study = one_domain("languages/lambda-0");
    place.write("study.toml", study.replace("languages/base", "reference.txt"));
    let control = place.result(RUN)["restart_control"][0].clone();
    assert!(control["held_out"].as_str().unwrap().contains("kept out of this training"), "{control}");
    assert!(number(&control["delta"]).is_finite() && number(&control["test_tokens"]) > 100.0);

    place.write(
        "study.toml",
        study.replace("languages/base", "tiny.txt").replace("reference_samples = 60", "reference_samples = 4"),
    );
    let results = place.result(RUN);
    let control = &results["restart_control"][0];
    assert_eq!((&control["delta"], &results["missing"]), (&Value::Null, &json!([])));
    assert!(control["reason"].as_str().unwrap().contains("too few documents to divide"), "{control}");
    assert_eq!(results["rows"].as_array().unwrap().len(), 1);
}

#[test]
fn every_cell_of_the_ablation_grid_is_what_its_commands_find_and_trains_once() {
    let study = one_domain("languages/lambda-0.5").replace("steps = 3", "order = \"file\", steps = 3");
    let grid = "[ablation]\ntrain_join = [\"eot\", \"none\"]\neval_join = [\"eot\", \"none\"]\n\
                newlines = [\"keep\", \"strip\"]\nlr = [1e-3, 1e-2]\n\n[[models]]";
    let place = planned(&study);
    place.result(RUN);
    let plain = tasks(&place);
    place.write("study.toml", study.replacen("[[models]]", grid, 1));
    let results = place.result(RUN);
    // 2 joins × 2 ways with line breaks × 2 rates of training, for the domain and the control; each read in two ways.
    let added = |kind: &str| names(&tasks(&place), kind).difference(&names(&plain, kind)).count();
    assert_eq!((added("adapt"), added("zero-shot"), added("similarity")), (16, 2, 0));
    let rows = results["ablation"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * 8 * 2);
    assert_eq!(results["rows"].as_array().unwrap().len(), 1);

    let cell = |train: &str, newlines: &str, eval: &str, lr: f64, control: bool| {
        let found: Vec<_> = rows
            .iter()
            .filter(|row| {
                (&row["train_join"], &row["newlines"], &row["eval_join"])
                    == (&json!(train), &json!(newlines), &json!(eval))
                    && row["lr"] == lr
                    && row["control"] == control
            })
            .collect();
        assert_eq!(found.len(), 1, "{train} {newlines} {eval} {lr}");
        found[0]
    };
    for (train, newlines, eval, lr) in
        [("eot", "keep", "eot", 1e-3), ("none", "strip", "eot", 1e-2), ("none", "strip", "none", 1e-2)]
    {
        let found = cell(train, newlines, eval, lr, false);
        let text = "languages/lambda-0.5";
        // Validation reads text as the study does, which nothing depends on here.
        let (delta, interval) = by_hand(
            &place,
            text,
            text,
            &format!("--lr {lr} --order file --join {train} --newlines {newlines}"),
            &format!("--join {eval}"),
        );
        assert!((number(&found["delta"]) - number(&delta)).abs() < 1e-9, "{found} {delta}");
        assert!((number(&found["delta_ci95"][0]) - number(&interval[0])).abs() < 1e-9, "{found} {interval}");
        let parts = ["newline", "after_newline", "boundary", "rest"];
        let sum: f64 = parts.iter().map(|part| number(&found["parts"][part])).sum();
        assert!((sum - number(&found["delta"])).abs() < 1e-9);
        for part in parts {
            let ends = &found["parts_ci95"][part];
            let (low, high) = (number(&ends[0]), number(&ends[1]));
            assert!(low <= number(&found["parts"][part]) && number(&found["parts"][part]) <= high, "{part} {ends}");
        }
        assert_eq!(number(&found["parts"]["boundary"]) == 0.0, eval == "none", "glued texts have no end-of-text token");
        assert_eq!(found["restart_delta"], cell(train, newlines, eval, lr, true)["delta"]);
    }
    let row = &results["rows"][0];
    let own = cell("eot", "keep", "eot", 1e-3, false);
    assert!((number(&own["delta"]) - number(&row["delta"])).abs() < 1e-9);
    let newline: f64 = row["classes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["class"] == "newline")
        .map(|c| number(&c["contribution"]))
        .sum();
    assert!((number(&own["parts"]["newline"]) - newline).abs() < 1e-12);
}

#[test]
fn domains_are_called_with_their_seeds_together_and_shown_beyond_the_restart() {
    let place = planned(STUDY);
    let results = place.result(RUN);
    let control = &results["restart_control"][0];
    let domains = results["domains"].as_array().unwrap();
    assert_eq!(domains.len(), 4);
    for domain in domains {
        let rows: Vec<&Value> =
            results["rows"].as_array().unwrap().iter().filter(|row| row["domain"] == domain["domain"]).collect();
        let deltas: Vec<f64> = rows.iter().map(|row| number(&row["delta"])).collect();
        let mean = (deltas[0] + deltas[1]) / 2.0;
        assert!((number(&domain["delta"]) - mean).abs() < 1e-9, "{domain}");
        // Of two values the standard deviation is half their distance times √2.
        let sd = (deltas[0] - deltas[1]).abs() / 2.0_f64.sqrt();
        assert!((number(&domain["seed_sd"]) - sd).abs() < 1e-9);
        assert!((number(&domain["beyond_restart"]) - (mean - number(&control["delta"]))).abs() < 1e-9);
        assert_eq!((&domain["seeds"], &domain["error_rate"]), (&json!([1, 2]), &json!(0.05)));
        let call = match (number(&domain["q"]) <= 0.05, number(&domain["delta"]) > 0.0) {
            (true, true) => "worse",
            (true, false) => "better",
            (false, _) => "no difference",
        };
        assert_eq!(domain["call"], call);
        assert_has(
            domain,
            &["/p", "/t_p", "/wilcoxon_p", "/smallest_effect", "/delta_ci95/0", "/beyond_restart_ci95/1"],
        );
    }
    let p: Vec<f64> = domains.iter().map(|domain| number(&domain["p"])).collect();
    let q: Vec<f64> = domains.iter().map(|domain| number(&domain["q"])).collect();
    assert_eq!(odyssey::stats::benjamini_hochberg(&p), q);
    assert_eq!(String::from_utf8(place.read("study/domains.csv")).unwrap().lines().count(), 1 + 4);

    // Tasks of before documents were kept come to the same numbers, from the per-token files.
    for folder in names(&tasks(&place), "adapt-golden-").iter().filter(|name| !name.contains("restart")) {
        let name = format!("study/tasks/{folder}/adapt.json");
        let mut task = place.json(&name);
        assert!(task.as_object_mut().unwrap().remove("changes").is_some());
        place.write(&name, task.to_string());
    }
    without_checksums(&place);
    assert_eq!(place.result("study report study"), results);

    // Nothing is called at an error rate below the smallest p-value; the tasks stay.
    let before = tasks(&place);
    place.write("study.toml", STUDY.replace("[similarity]", "[statistics]\nerror_rate = 1e-5\n[similarity]"));
    let strict = place.result(RUN);
    assert!(strict["domains"].as_array().unwrap().iter().all(|domain| domain["call"] == "no difference"));
    assert_eq!(names(&tasks(&place), ""), names(&before, ""));
    for (from, to, says) in [
        ("[similarity]", "[statistics]\nerror_rate = 1.5\n[similarity]", "error_rate is 1.5"),
        ("[similarity]", "[ablation]\nlr = [-1.0]\n[similarity]", "[ablation]"),
        ("[similarity]", "[ablation]\nrate = [1.0]\n[similarity]", "rate"),
    ] {
        place.write("study.toml", STUDY.replace(from, to));
        place.refused(RUN, &["study.toml", says]);
    }
}
