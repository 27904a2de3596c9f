//! Where results come to lie: however the place is written, by one run at a time, over nothing of others, and found again
//! by whoever was killed at the last instant.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cli::{Place, Said};
use serde_json::Value;

const ADAPT: &str = "adapt --model model --train train.jsonl --valid valid.jsonl --batch 4";
const EVAL: &str = "eval --model model --text test.jsonl";
const PRETRAIN: &str = r#"
corpus = "languages/base"
tokenizer = "languages/tokenizer.json"
[model]
model_type = "gpt2"
vocab_size = 224
n_positions = 32
n_embd = 16
n_layer = 1
n_head = 2
eos_token_id = 0
[recipe]
steps = 60
batch = 4
validations = 6
"#;

fn start(place: &Place, line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_odyssey"))
        .args(line.split_whitespace())
        .current_dir(place.path("."))
        .env("ODYSSEY_DEVICE", "cpu")
        .env("ODYSSEY_CACHE", place.path("cache"))
        .env("HF_HUB_OFFLINE", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait_for(what: &str, ready: impl Fn() -> bool) {
    let started = Instant::now();
    while !ready() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} never came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn names(place: &Place) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(place.path(".")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[cfg(unix)]
#[test]
fn a_folder_is_the_same_whatever_way_it_is_written() {
    use std::os::unix::fs::symlink;
    let place = Place::with_model();
    let steps = "--steps 40 --lr 1e-3 --checkpoint-every 1";
    place.result(&format!("{ADAPT} {steps} --out whole"));
    let weights = place.read("whole/model.safetensors");
    fs::create_dir_all(place.path("far/filled-later")).unwrap();
    symlink("far/filled-later", place.path("link")).unwrap();
    for (written, means) in
        [("a/", "a"), ("./b//", "b"), ("model/../c", "c"), ("new/d/.", "new/d"), ("link/", "far/filled-later")]
    {
        let line = format!("{ADAPT} {steps} --out {written}");
        let checkpoint = place.path(&format!("{means}.checkpoint"));
        let said = place.interrupted(&line, |_| checkpoint.exists()).expect("it takes forty steps");
        assert_eq!(said.status, Some(130), "{}", said.err);
        assert!(checkpoint.exists(), "{written}");
        // On from there, written in the other way.
        let result = place.result(&format!("{ADAPT} {steps} --out {means} --resume"));
        assert_eq!(result["steps"], 40);
        assert!(!checkpoint.exists());
        assert!(place.read(&format!("{means}/model.safetensors")) == weights, "{written}: other bits");
    }
    assert!(place.path("link").is_symlink());
    let result = place.result("eval --model ./model// --text ././test.jsonl");
    assert_eq!((&result["model"], &result["texts"][0]["text"]), (&"./model".into(), &"./test.jsonl".into()));
}

#[test]
fn an_empty_folder_takes_a_result_and_nothing_else_may_come_into_it() {
    let place = Place::with_model();
    for out in ["out", "out-2"] {
        fs::create_dir(place.path(out)).unwrap();
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(place.path("out"), fs::Permissions::from_mode(0o710)).unwrap();
    }
    let line = format!("{ADAPT} --steps 2 --out out");
    place.refused(&format!("{line} --metrics out/metrics.jsonl"), &["lies in ", "which is made whole at the end"]);
    place.refused(&format!("{line} --tensorboard out/runs"), &["lies in "]);
    place.result(&line);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(place.path("out")).unwrap().permissions().mode() & 0o777, 0o710);
    }
    assert!(place.path("out/adapt.json").exists());
    assert_eq!(place.odyssey("synth languages --out out-2/ --lambda 1 --quiet").status, Some(0));
    place.refused(&format!("{ADAPT} --steps 2 --out ."), &["exists already"]);
    place.refused(&format!("{ADAPT} --steps 2 --out .."), &["exists already"]);
}

#[test]
fn a_second_run_is_refused_at_once_by_the_name_of_the_first_which_loses_nothing() {
    let place = Place::with_model();
    let line = format!("{ADAPT} --steps 300 --out out --checkpoint-every 1 --outlier 0");
    let mut first = start(&place, &line);
    let owner = format!("`adapt`, process {} on ", first.id());
    wait_for("the lock", || names(&place).iter().any(|name| name.ends_with(".lock")));
    let refused = |line: &str| {
        let said: Said = place.odyssey(line);
        assert_eq!(said.status, Some(2), "{line}: {}", said.err);
        assert!(said.err.contains("another run is at work there") && said.err.contains(&owner), "{}", said.err);
    };
    refused(&line);
    wait_for("the checkpoint", || place.path("out.checkpoint").exists());
    for other in [&line.replace("--out out", "--out ./out/"), &format!("{line} --resume")] {
        refused(other);
    }
    assert!(first.try_wait().unwrap().is_none(), "the first was done too soon");
    let other = place.odyssey(&format!("{ADAPT} --steps 1 --out out-2 --quiet"));
    assert_eq!(other.status, Some(0), "another folder: {}", other.err);

    // What a killed run leaves of its lock keeps nobody off.
    first.kill().unwrap();
    first.wait().unwrap();
    let result = place.result(&format!("{line} --resume"));
    assert_eq!(result["steps"], 300);
    assert!(names(&place).iter().all(|name| !name.starts_with('.')), "{:?}", names(&place));
}

#[test]
fn studies_too_are_run_by_one_at_a_time() {
    let place = Place::with_languages();
    place.write(
        "study.toml",
        "name = \"s\"\nrestart_control = false\n[[models]]\nname = \"m\"\npath = \"model\"\nreference = \"languages/base\"\n\
         [[domains]]\npath = \"languages/lambda-1/\"\n[[strategies]]\nname = \"full\"\n[strategies.recipe]\nsteps = 40\n\
         batch = 4\n[similarity]\nchunk = 32\nsamples = 16\nreference_samples = 32\n",
    );
    let line = "study run study.toml --out results/";
    let mut first = start(&place, line);
    wait_for("the lock", || place.path("results/.odyssey.lock").exists());
    let said = place.odyssey(line);
    assert_eq!(said.status, Some(2), "{}", said.err);
    assert!(said.err.contains(&format!("`study`, process {} on ", first.id())), "{}", said.err);
    assert!(first.wait().unwrap().success());
    assert!(place.listing().iter().all(|path| !path.display().to_string().contains(".odyssey")));

    // What an earlier run left, also of a task that is done.
    let task = fs::read_dir(place.path("results/tasks")).unwrap().map(|e| e.unwrap().path());
    let task = task.into_iter().find(|path| path.to_str().unwrap().contains("/adapt-")).unwrap();
    fs::write(format!("{}.checkpoint", task.display()), "old").unwrap();
    let before = place.listing();
    assert_eq!(place.odyssey(line).status, Some(0));
    let gone: Vec<_> = before.difference(&place.listing()).cloned().collect();
    assert_eq!(gone.len(), 1, "{gone:?}");
}

#[test]
fn a_run_that_was_killed_after_its_result_was_whole_is_done() {
    let place = Place::with_model();
    for (out, more) in [("full", ""), ("lora", "--strategy lora"), ("merged", "--strategy lora --merge")] {
        let line = format!("{ADAPT} --steps 3 --out {out} {more}");
        let result = place.result(&line);
        let before = place.listing();
        for line in [format!("{line} --resume"), line.clone()] {
            // What it would have removed next.
            place.write(&format!("{out}.checkpoint"), "whole");
            let said = place.odyssey(&format!("{line} --json"));
            assert_eq!(said.status, Some(0), "{}", said.err);
            assert!(said.err.contains("has the whole result of this run already"), "{}", said.err);
            assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap(), result);
            assert_eq!(place.listing(), before);
        }
        for (other, says) in [("--steps 4", "settings.steps"), ("--steps 3 --seed 7", "seed was 42, is 7")] {
            let line = line.replace("--steps 3", other);
            place.refused(&line, &["exists already, with the result of another run", says, "choose another folder"]);
        }
    }
    place.refused(&format!("{ADAPT} --steps 3 --out lora --strategy lora --merge"), &["lora: exists already"]);
    fs::remove_file(place.path("full/model.safetensors")).unwrap();
    place.refused(&format!("{ADAPT} --steps 3 --out full --resume"), &["full: exists already"]);
}

#[cfg(unix)]
#[test]
fn pretraining_stops_and_goes_on_to_the_same_bits() {
    let place = Place::with_languages();
    place.write("pretrain.toml", PRETRAIN);
    let line = "pretrain pretrain.toml";
    let whole = place.result(&format!("{line} --out whole --metrics whole.jsonl"));
    let again = format!("{line} --out base/ --checkpoint-every 1 --metrics metrics.jsonl");
    let said = place.interrupted(&again, |_| place.path("base.checkpoint").exists()).expect("it takes sixty steps");
    assert_eq!(said.status, Some(130), "{}", said.err);
    assert!(said.err.contains("saved in base.checkpoint; give the same command with --resume"), "{}", said.err);
    place.refused(&again, &["base.checkpoint: is left by an interrupted run"]);
    // Another architecture, though its weights would fit.
    place.write("other.toml", PRETRAIN.replace("n_head = 2", "n_head = 4"));
    place.refused("pretrain other.toml --out base --resume", &["is of another run: base was"]);

    let result = place.result(&format!("{again} --resume"));
    assert_eq!(result["train_loss"], whole["train_loss"]);
    assert_eq!(result["determined_by"], whole["determined_by"]);
    assert!(place.read("base/model.safetensors") == place.read("whole/model.safetensors"), "other bits");
    let steps = |name: &str| String::from_utf8(place.read(name)).unwrap().lines().count();
    assert_eq!(steps("metrics.jsonl"), steps("whole.jsonl"));
    let said = place.odyssey(&format!("{line} --out base --resume"));
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(said.err.contains("has the whole result of this run already"), "{}", said.err);
    assert!(names(&place).iter().all(|name| !name.starts_with('.') && !name.ends_with(".checkpoint")));
}

#[test]
fn synthetic_corpora_that_are_there_already_are_as_good_as_new() {
    let place = Place::empty();
    let line = "synth languages --out out --lambda 0.5";
    let known = place.result(line);
    let before = place.listing();
    assert_eq!(place.result(line), known);
    assert_eq!(place.listing(), before);
    place.refused(&format!("{line} 1"), &["out: exists already, with other corpora"]);
    place.refused(&format!("{line} --seed 7"), &["out: exists already, with other corpora"]);
}

#[test]
fn no_output_takes_the_place_of_what_others_wrote_or_the_command_reads() {
    let place = Place::with_languages();
    let texts = "languages/lambda-1";
    place.write("mine.txt", "my own words");
    let weights = place.read("model/model.safetensors");
    let per_token = format!("{EVAL} --per-token");
    place.refused(&format!("{per_token} model/model.safetensors"), &["belongs to model, which this command reads"]);
    place.refused(&format!("{per_token} model/model.safetensors --force"), &["which this command reads"]);
    place.refused(&format!("{per_token} ./test.jsonl --force"), &["is what this command reads"]);
    place.refused(&format!("{per_token} mine.txt"), &["mine.txt: exists already, and is no earlier output", "--force"]);
    let ranks = format!("eval --model model --text {texts} --rank --rank-prompts");
    place.refused(&format!("{ranks} mine.txt"), &["mine.txt: exists already"]);
    place.refused(&format!("{ranks} {texts}/train.txt --force"), &["which this command reads"]);
    place.refused("advise --check --write-table mine.txt", &["mine.txt: exists already"]);
    place.refused(&format!("{ADAPT} --out out --resume --metrics mine.txt"), &["mine.txt: exists already"]);
    let same = format!("{ranks} p --per-token ./p");
    place.refused(&same, &["is given for two outputs"]);
    if cfg!(unix) {
        for force in ["", "--force"] {
            place.refused(&format!("{per_token} /dev/null {force}"), &["/dev/null: is a device"]);
        }
    }
    assert_eq!(place.read("mine.txt"), b"my own words");
    assert!(place.read("model/model.safetensors") == weights);

    // Its own it renews, and others' when told to.
    place.result(&format!("{per_token} own.safetensors"));
    place.result(&format!("{per_token} own.safetensors"));
    place.result(&format!("{per_token} mine.txt --force"));
    let compare = "compare --before own.safetensors --after mine.txt --text test.jsonl --report";
    place.refused(&format!("{compare} own.safetensors"), &["is what this command reads"]);
    place.result(&format!("{compare} page.html"));
    place.result(&format!("{compare} page.html"));
    place.refused(&format!("{per_token} page.html"), &["page.html: exists already"]);
    place.result("advise --check --write-table table.csv");
    place.result("advise --check --write-table table.csv");
    place.refused("advise --check --fit table.csv --write-table table.csv", &["is what this command reads"]);
}

#[test]
fn a_study_writes_over_no_file_of_others() {
    let place = Place::with_languages();
    place.write(
        "study.toml",
        "name = \"s\"\n[[models]]\nname = \"m\"\npath = \"model\"\nreference = \"languages/base\"\n\
         [[domains]]\npath = \"languages/lambda-1\"\n[[strategies]]\nname = \"full\"\n",
    );
    fs::create_dir_all(place.path("out/plots")).unwrap();
    for name in ["plan.json", "results.csv", "results.json", "report.html", "plots/mine.png"] {
        place.write(&format!("out/{name}"), "{\"mine\": 1}");
        place.refused("study run study.toml --out out", &[&format!("{name}: exists already")]);
        fs::remove_file(place.path(&format!("out/{name}"))).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn what_is_written_has_the_permissions_that_the_umask_gives() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_model();
    for (umask, file, folder) in [("077", 0o600, 0o700), ("022", 0o644, 0o755), ("007", 0o660, 0o770)] {
        let odyssey = env!("CARGO_BIN_EXE_odyssey");
        let line = format!(
            "umask {umask} && {odyssey} -q {ADAPT} --steps 1 --out a{umask} && \
             {odyssey} -q {EVAL} --per-token p{umask}.safetensors"
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(place.path(".")).env("ODYSSEY_DEVICE", "cpu").stdout(Stdio::null());
        assert!(shell.env("ODYSSEY_CACHE", place.path("cache")).status().unwrap().success());
        let mode = |name: &str| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&format!("a{umask}")), folder);
        for name in ["a/adapt.json", "a/config.json", "a/model.safetensors", "p.safetensors"] {
            let (place, rest) = name.split_at(1);
            assert_eq!(mode(&format!("{place}{umask}{rest}")), file, "{name}");
        }
    }
}
