//! Models and data sets by name: against a hub on the loopback interface, with the real binary.

mod place;
pub mod server;

mod adapters;
mod bounds;
mod cached;
mod credentials;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cli::{copy_model, id_documents};
use burn::tensor::Device;
use odyssey::hub::name::unusable;
use odyssey::hub::{Kind, Name};
use odyssey::similarity::encoder::SentenceEncoder;
use place::{ALWAYS, PIECE, Place, downloads, listing, states};
use serde_json::{Value, json};
use server::{Asked, Fault, Stored, git_hash, sha256};

// ---------------------------------------------------------------------------------------------------------------------
// What is fetched and where it lies.

#[test]
fn the_servers_hashes_are_those_of_git() {
    // `git hash-object` of "hello world\n", and of the pointer that git-lfs writes for it.
    let bytes = b"hello world\n".to_vec();
    assert_eq!(Stored::small(bytes.clone()).oid(), "3b18e512dba79e4c8300dd08aeb37f8e728b8dad");
    assert_eq!(Stored::large(bytes.clone()).oid(), "0db788d9cca75b69bc4c2430024a654fafdb504e");
    assert_eq!(sha256(&bytes), "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447");
}

#[test]
fn a_model_lies_in_the_cache_as_other_programs_expect_it_and_only_what_is_used() {
    let place = Place::new();
    let fetched = place.result("fetch org/tiny");
    let snapshot = place.cached(&format!("snapshots/{}", place.commit));
    assert_eq!(fetched["schema"], "odyssey.fetch/1");
    assert_eq!((&fetched["name"], &fetched["kind"]), (&json!("org/tiny"), &json!("model")));
    assert_eq!((&fetched["revision"], &fetched["folder"]), (&json!(place.commit), &json!(snapshot)));
    let used = ["config.json", "generation_config.json", "model.safetensors"];
    assert_eq!(states(&fetched), used.map(|path| (path, "fetched")).into());

    assert_eq!(fs::read_to_string(place.cached("refs/main")).unwrap(), place.commit);
    assert_eq!(listing(&snapshot), used.map(str::to_owned).into());
    let (config, weights) = (fs::read(place.path("local/config.json")).unwrap(), place.weights());
    let names = [git_hash(&config), git_hash(b"{}"), sha256(&weights)];
    assert_eq!(listing(&place.cached("blobs")), names.clone().into());
    #[cfg(unix)]
    for (path, name) in used.iter().zip(&names) {
        let target = fs::read_link(snapshot.join(path)).unwrap();
        assert_eq!(target, Path::new("../../blobs").join(name), "a relative link, so that the cache can be moved");
    }
    assert_eq!(fs::read(snapshot.join("model.safetensors")).unwrap(), weights);
    assert_eq!(fetched["files"][2]["sha256"], json!(sha256(&weights)));
    assert_eq!(fetched["files"][0]["sha256"], json!(sha256(&config)));
    assert_eq!(fetched["files"][2]["bytes"], weights.len());
    assert_eq!(downloads(&place.hub.asked()), used.into());
}

#[test]
fn what_is_in_the_cache_is_not_fetched_again() {
    let place = Place::new();
    place.result("fetch org/tiny");
    place.hub.asked();
    let again = place.result("fetch org/tiny");
    assert!(states(&again).iter().all(|(_, state)| *state == "cached"), "{again:#}");
    assert_eq!(downloads(&place.hub.asked()), BTreeSet::new());

    // A newer commit shares its files with the older one; what changed is fetched alone.
    let (config, weights) = (fs::read(place.path("local/config.json")).unwrap(), place.weights());
    let files = [
        ("config.json", Stored::small(config)),
        ("generation_config.json", Stored::small("{ }")),
        ("model.safetensors", Stored::large(weights)),
    ];
    let commit = place.hub.put("models/org/tiny", &files);
    let newer = place.result("fetch org/tiny");
    assert_eq!(newer["revision"], json!(commit));
    assert_eq!(downloads(&place.hub.asked()), ["generation_config.json"].into());
    assert_eq!(fs::read_to_string(place.cached("refs/main")).unwrap(), commit);
    assert_eq!(listing(&place.cached("snapshots")).len(), 6, "the older commit stays");
}

#[test]
fn a_name_gives_the_same_numbers_as_the_folder_online_and_then_offline() {
    let place = Place::new();
    let numbers = |result: &Value| result["texts"][0]["nll"].as_f64().unwrap();
    let local = place.result("eval --model local --text test.jsonl");
    let online = place.result("eval --model org/tiny --text org/texts/data/ids.jsonl");
    assert_eq!(numbers(&local), numbers(&online));
    assert_eq!(
        (&online["model"], &online["texts"][0]["text"]),
        (&json!("org/tiny"), &json!("org/texts/data/ids.jsonl"))
    );

    place.hub.asked();
    let offline = [("HF_HUB_OFFLINE", "1")];
    let again = place.result_with("eval --model org/tiny --text org/texts/data/ids.jsonl", &offline);
    assert_eq!(numbers(&local), numbers(&again));
    assert!(place.hub.asked().is_empty(), "offline asks nothing");
}

#[test]
fn every_command_that_takes_a_model_or_a_text_takes_their_names() {
    let place = Place::new();
    let text = "org/texts/data/ids.jsonl";
    place.result(&format!("adapt --model org/tiny --train {text} --valid {text} --out adapted --steps 1 --batch 2"));
    let compared = place.result(&format!("compare --before org/tiny --after adapted --text {text}"));
    assert!(compared["delta"].is_number());
    let line = format!("similarity --features model:org/tiny --reference {text} --domain {text} --samples 4");
    assert_eq!(place.result(&line)["domains"][0]["domain"], json!(text));

    let domain = place.path("domain");
    fs::create_dir(&domain).unwrap();
    for (seed, split) in [(1, "train"), (2, "valid"), (3, "test")] {
        fs::write(domain.join(format!("{split}.jsonl")), id_documents(seed, 12)).unwrap();
    }
    let study = format!(
        "name = \"s\"\nmodels = [{{ name = \"m\", path = \"hub:org/tiny\", reference = \"hub:{text}\" }}]\n\
         domains = [{{ path = \"domain\" }}]\nsimilarity = {{ samples = 4, reference_samples = 4 }}\n\
         [[strategies]]\nname = \"full\"\nrecipe = {{ lr = 1e-4, batch = 4 }}\n"
    );
    fs::write(place.path("study.toml"), study).unwrap();
    assert_eq!(place.result("study run study.toml --out study")["rows"].as_array().unwrap().len(), 1);
}

#[test]
fn a_model_in_shards_comes_with_the_shards_of_its_index() {
    let place = Place::new();
    copy_model("llama_mha", &place.path("shards"));
    let files = listing(&place.path("shards"));
    let stored: Vec<(String, Stored)> = files
        .iter()
        .map(|name| {
            let bytes = fs::read(place.path("shards").join(name)).unwrap();
            (name.clone(), Stored { bytes, large: name.ends_with(".safetensors") })
        })
        .chain([("model-of-another.safetensors".to_owned(), Stored::large("not in the index"))])
        .collect();
    let stored: Vec<(&str, Stored)> = stored.iter().map(|(name, file)| (name.as_str(), file.clone())).collect();
    place.hub.put("models/sharded", &stored);
    let fetched = place.result("fetch sharded");
    assert_eq!(states(&fetched), files.iter().map(|name| (name.as_str(), "fetched")).collect());
    let [local, named] = ["shards", "hub:sharded"]
        .map(|model| place.result(&format!("eval --model {model} --text test.jsonl"))["texts"][0]["nll"].clone());
    assert_eq!(local, named);

    // Without one shard, which only a whole look at the index can tell, the cache is not enough.
    let shard = files.iter().find(|name| name.contains("00002")).unwrap();
    let snapshot = PathBuf::from(fetched["folder"].as_str().unwrap());
    fs::remove_file(snapshot.join(shard)).unwrap();
    let line = "eval --model sharded --text test.jsonl";
    let err = place.refused_with(line, &[("HF_HUB_OFFLINE", "1")], &["sharded/resolve/main/model-00002-of-00003"]);
    assert!(!err.contains("00001"), "only what is missing is named: {err}");
}

#[test]
fn a_sentence_encoder_comes_with_what_says_how_it_pools() {
    let place = Place::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder");
    let used = [
        "1_Pooling/config.json",
        "config.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
    ];
    let others = ["2_Normalize/note.txt", "onnx/model.onnx", "vocab.txt"].map(|path| (path, Stored::small("not used")));
    let stored = used.map(|path| (path, Stored::small(fs::read(folder.join(path)).unwrap())));
    place.hub.put("models/org/encoder", &[stored.to_vec(), others.to_vec()].concat());
    let fetched = place.result("fetch org/encoder");
    assert_eq!(states(&fetched), used.map(|path| (path, "fetched")).into());
    let hash = |folder: &Path| SentenceEncoder::open(folder, &Device::flex()).unwrap().hash().unwrap();
    assert_eq!(hash(Path::new(fetched["folder"].as_str().unwrap())), hash(&folder));

    // The cache serves it whole, and what has no such folder is fetched without.
    let offline = place.result_with("fetch org/encoder", &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(states(&offline), used.map(|path| (path, "cached")).into());
    place.hub.put("models/org/odd", &stored[1..]);
    assert_eq!(states(&place.result("fetch org/odd")).len(), used.len() - 1);
}

#[test]
fn a_model_that_moved_keeps_its_old_name() {
    let place = Place::new();
    place.hub.moved("models/tiny", "models/org/tiny");
    let fetched = place.result("fetch tiny");
    assert!(fetched["folder"].as_str().unwrap().contains("models--tiny"), "as Python names it: {fetched:#}");
    assert_eq!(fetched["revision"], json!(place.commit));
}

#[test]
fn a_revision_is_fetched_and_noted_under_its_name() {
    let place = Place::new();
    for line in ["fetch org/tiny --revision v1", "fetch org/tiny@v1"] {
        let fetched = place.result(line);
        assert_eq!((&fetched["revision"], &fetched["name"]), (&json!(place.commit), &json!("org/tiny@v1")));
    }
    assert_eq!(fs::read_to_string(place.cached("refs/v1")).unwrap(), place.commit);
    assert!(!place.cached("refs/main").exists());
    // A commit needs no note.
    place.result(&format!("fetch org/tiny@{}", place.commit));
    assert_eq!(listing(&place.cached("refs")), ["v1".to_owned()].into());
    place.refused("fetch org/tiny@v2", &["org/tiny@v2: ", "no revision \"v2\"", "/org/tiny/tree/main"]);
}

#[test]
fn of_a_data_set_a_file_a_folder_or_what_fits_a_pattern_is_fetched() {
    let place = Place::new();
    let paths = |line: &str| {
        let fetched = place.result(line);
        assert_eq!(fetched["kind"], "dataset");
        states(&fetched).into_iter().map(|(path, _)| path.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(paths("fetch org/texts/data/ids.jsonl"), ["data/ids.jsonl"]);
    assert_eq!(paths("fetch org/texts/data"), ["data/ids.jsonl", "data/more/ids.jsonl"]);
    assert_eq!(paths("fetch --dataset org/texts --file data/*.png"), ["data/picture.png"]);
    assert_eq!(paths("fetch --dataset org/texts --file other.tx? *more*"), ["data/more/ids.jsonl", "other.txt"]);
    assert_eq!(paths("fetch --dataset org/texts"), ["data/ids.jsonl", "data/more/ids.jsonl", "other.txt"]);
    place.refused("fetch org/texts/data/idz.jsonl", &["neither a file data/idz.jsonl", "it has data/ids.jsonl"]);
    place.refused("fetch org/texts/date/ids.jsonl", &["no such file or folder"]);
    place.refused("fetch --dataset org/texts --file *.csv", &["no file that fits \"*.csv\""]);

    // A folder of links is read as a corpus.
    let model = "--model local";
    let whole = place.result(&format!("eval {model} --text org/texts/data"));
    let parts = place.result(&format!("eval {model} --text org/texts/data/ids.jsonl org/texts/data/more/ids.jsonl"));
    let tokens = |at: usize| parts["texts"][at]["tokens"].as_u64().unwrap();
    assert!(whole["texts"][0]["tokens"].as_u64().unwrap() >= tokens(0) + tokens(1));
}

#[test]
fn a_model_without_safetensors_is_refused_with_the_way_to_convert_it() {
    let place = Place::new();
    let config = Stored::small("{}");
    place.hub.put("models/org/old", &[("config.json", config.clone()), ("pytorch_model.bin", Stored::large("old"))]);
    let says = ["org/old: ", "pytorch_model.bin only", "from_pretrained('org/old').save_pretrained('DIR')"];
    place.refused("fetch org/old", &says);
    place.hub.put("models/org/gguf", &[("config.json", config), ("q4.gguf", Stored::large("q"))]);
    place.refused("eval --model org/gguf --text test.jsonl", &["no model.safetensors", "it has config.json, q4.gguf"]);
    place.hub.put("models/org/none", &[("README.md", Stored::small(""))]);
    place.refused("fetch org/none", &["no config.json", "it has README.md"]);
    assert_eq!(downloads(&place.hub.asked()), BTreeSet::new(), "nothing is fetched in vain");
}

// ---------------------------------------------------------------------------------------------------------------------
// Names and paths.

#[test]
fn a_name_is_told_from_a_path() {
    let place = tempfile::tempdir().unwrap();
    let existing = place.path().join("here");
    fs::create_dir(&existing).unwrap();
    let name = |kind, text: &str| Name::of_path(kind, Path::new(text)).unwrap().map(|name| name.to_string());
    for model in ["gpt2", "openai-community/gpt2", "EleutherAI/pythia-70m@step1000", "hub:gpt2", "a/b@refs/pr/1"] {
        assert_eq!(name(Kind::Model, model).as_deref(), Some(model.trim_start_matches("hub:")));
    }
    // The parent `tests` exists where tests run; the rest looks like a path, a file, or nothing that the hub could have.
    for path in ["./gpt2", "../gpt2", "/gpt2", "~/gpt2", "a\\b", "C:gpt2", "tests", "tests/gone", "a/b/c"] {
        assert_eq!(name(Kind::Model, path), None, "{path}");
    }
    for path in ["before.safetensors", "org/before.safetensors", "a--b", "a..b", "-a", "a/", "", "a b", "ä", "a@../b"]
    {
        assert_eq!(name(Kind::Model, path), None, "{path}");
    }
    assert_eq!(name(Kind::Model, existing.to_str().unwrap()), None);
    for data in ["org/texts", "org/texts/data/x.jsonl", "org/texts@v1/data", "hub:wikitext"] {
        assert_eq!(name(Kind::Dataset, data).as_deref(), Some(data.trim_start_matches("hub:")));
    }
    for path in ["novel", "novel.txt", "gone/novel.txt", "tests/gone/x.txt", "a/b/../c.txt", "a/b//c.txt"] {
        assert_eq!(name(Kind::Dataset, path), None, "{path}");
    }
    assert!(Name::of_path(Kind::Model, Path::new("hub:../secret")).is_err());
}

#[test]
fn names_that_a_system_cannot_hold_are_refused_there_and_there_alone() {
    for name in ["aux.txt", "data/NUL", "com1.jsonl", "a.", "b /c", "who?.txt"] {
        assert!(unusable(&[name], true, true).is_some(), "{name}");
        assert!(unusable(&[name], false, false).is_none(), "{name}");
    }
    for name in ["auxiliary.txt", "company.txt", "com12.txt", "a.b", "console/x"] {
        assert!(unusable(&[name], true, true).is_none(), "{name}");
    }
    let both = ["a/Read.txt", "a/read.txt"];
    assert!(unusable(&both, false, true).unwrap().contains("case only"));
    assert!(unusable(&both, false, false).is_none());
}

#[test]
fn what_is_here_or_looks_like_a_path_is_never_asked_of_the_hub() {
    let place = Place::new();
    fs::create_dir(place.path("org")).unwrap();
    for model in ["org/tiny", "./tiny", "org/tiny/x", "../tiny", "tiny.safetensors"] {
        place.refused(&format!("eval --model {model} --text test.jsonl"), &["no such model folder"]);
    }
    place.refused("eval --model local --text org/texts", &["org/texts: no such file or folder"]);
    place.refused("eval --model local --text gone.txt", &["gone.txt: no such file or folder"]);
    // In a study names say that they are names: a folder that is missing never becomes a download.
    let study = "name = \"s\"\nmodels = [{ name = \"m\", path = \"other/tiny\", reference = \"test.jsonl\" }]\n\
                 domains = [{ path = \"test.jsonl\" }]\n";
    fs::write(place.path("study.toml"), study).unwrap();
    place.refused("study run study.toml --out study", &["other/tiny, which does not exist"]);
    assert!(place.hub.asked().is_empty());
    // `hub:` asks in spite of the folder.
    place.result("eval --model hub:org/tiny --text test.jsonl");
}

// ---------------------------------------------------------------------------------------------------------------------
// What goes wrong on the way.

#[test]
fn a_download_that_is_cut_goes_on_from_where_it_was() {
    let place = Place::new();
    place.hub.fault("/org/tiny/model.safetensors?", 2, Fault::Cut(100_000));
    place.result("fetch org/tiny");
    let asked = place.hub.asked();
    let from: Vec<Option<usize>> = asked.iter().filter(|asked| asked.elsewhere).map(|asked| asked.from).collect();
    assert_eq!(from, [None, Some(100_000), Some(200_000)], "what has arrived is not fetched again");
    let snapshot = place.cached(&format!("snapshots/{}", place.commit));
    assert_eq!(fs::read(snapshot.join("model.safetensors")).unwrap(), place.weights());
}

#[test]
fn a_download_that_is_cut_again_and_again_goes_on_in_the_next_run() {
    let place = Place::new();
    let weights = place.weights();
    let incomplete = place.cached(&format!("blobs/{}.incomplete", sha256(&weights)));
    place.hub.fault("/org/tiny/model.safetensors?", 1, Fault::Cut(PIECE));
    // Bytes that come in tens do not count as progress.
    place.hub.fault("/org/tiny/model.safetensors?", ALWAYS, Fault::Cut(10));
    let have = PIECE + 4 * 10;
    let cut = format!("cut off at {have} of {} bytes", weights.len());
    let err = place.refused("fetch org/tiny", &[&cut, "org/tiny: model.safetensors", "same command again"]);
    assert!(!err.contains("secret"), "signatures of addresses are not shown: {err}");
    assert_eq!(fs::read(&incomplete).unwrap(), weights[..have]);
    assert!(!place.cached("snapshots").exists() && !place.cached("refs").exists(), "no half a model");

    place.hub.heal();
    place.hub.asked();
    place.result("fetch org/tiny");
    let asked = place.hub.asked();
    let from =
        asked.iter().filter(|asked| asked.elsewhere && asked.method == "GET").filter_map(|asked| asked.from).min();
    assert_eq!(from, Some(have), "what was there is not fetched again");
    assert!(!incomplete.exists());
    assert_eq!(fs::read(place.cached(&format!("blobs/{}", sha256(&weights)))).unwrap(), weights);
}

#[test]
fn a_damaged_download_is_fetched_anew_once_and_never_kept() {
    let (large, small) = ("/org/tiny/model.safetensors?", "/config.json");
    for on in [large, small] {
        let place = Place::new();
        place.hub.fault(on, 1, Fault::Garble);
        let said = place.run_with("fetch org/tiny", &[]);
        assert_eq!(said.status, Some(0), "{}", said.err);
        assert!(said.err.contains("arrived damaged"), "{}", said.err);
        let snapshot = place.cached(&format!("snapshots/{}", place.commit));
        assert_eq!(fs::read(snapshot.join("model.safetensors")).unwrap(), place.weights());

        let place = Place::new();
        place.hub.fault(on, ALWAYS, Fault::Garble);
        place.refused("fetch org/tiny", &["its hash was wrong twice", "nothing of it was kept"]);
        assert!(!place.cached("snapshots").exists());
        let names = listing(&place.cached("blobs"));
        assert!(names.iter().all(|name| !name.ends_with(".incomplete")), "{names:?}");
        for name in names {
            let bytes = fs::read(place.cached("blobs").join(&name)).unwrap();
            assert!([git_hash(&bytes), sha256(&bytes)].contains(&name), "{name} is not what it says");
        }
    }
}

#[test]
fn what_an_earlier_run_left_damaged_is_fetched_anew() {
    let place = Place::new();
    let weights = place.weights();
    let hash = sha256(&weights);
    fs::create_dir_all(place.cached("blobs")).unwrap();
    // Other bytes, and more of them than there are.
    for left in [vec![7; PIECE], vec![7; weights.len() + 1]] {
        fs::write(place.cached(&format!("blobs/{hash}.incomplete")), left).unwrap();
        place.result("fetch org/tiny");
        let blob = place.cached(&format!("blobs/{}", sha256(&weights)));
        assert_eq!(fs::read(&blob).unwrap(), weights);
        fs::remove_file(blob).unwrap();
    }
}

#[test]
fn a_damaged_file_in_the_cache_is_noticed_by_fetch_and_one_of_another_size_by_every_command() {
    let place = Place::new();
    let weights = place.weights();
    place.result("fetch org/tiny");
    let blob = place.cached(&format!("blobs/{}", sha256(&weights)));
    let mut damaged = weights.clone();
    damaged[weights.len() / 2] ^= 1;
    fs::write(&blob, damaged).unwrap();
    let again = place.result("fetch org/tiny");
    let expected = [("config.json", "cached"), ("generation_config.json", "cached"), ("model.safetensors", "fetched")];
    assert_eq!(states(&again), expected.into());
    assert_eq!(fs::read(&blob).unwrap(), weights);
    fs::write(&blob, &weights[..1000]).unwrap();
    place.result("eval --model org/tiny --text test.jsonl");
    assert_eq!(fs::read(&blob).unwrap(), weights);
}

#[test]
fn a_server_that_fails_twice_is_asked_a_third_time() {
    let place = Place::new();
    for on in ["/revision/main", "/tree/", "/config.json", "/org/tiny/model.safetensors?"] {
        place.hub.fault(on, 2, Fault::Status(500, ""));
    }
    place.result("fetch org/tiny");
    let place = Place::new();
    place.hub.fault("/revision/main", ALWAYS, Fault::Status(503, ""));
    place.refused("fetch org/tiny", &["fails again and again (status 503", "try again later"]);
    assert_eq!(place.hub.asked().len(), 5);
}

#[test]
fn a_server_that_asks_to_wait_is_waited_for_within_reason() {
    let place = Place::new();
    place.hub.fault("/revision/main", 1, Fault::Status(429, "Retry-After: 1\r\n"));
    place.hub.fault("/resolve/", 1, Fault::Status(429, "Retry-After: 1\r\n"));
    let started = Instant::now();
    place.result("fetch org/tiny");
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    place.hub.fault("/revision/main", ALWAYS, Fault::Status(429, "Retry-After: 1000\r\n"));
    let place = Place { folder: tempfile::tempdir().unwrap(), ..place };
    let started = Instant::now();
    place.refused("fetch org/tiny", &["too many questions (it asks to wait 1000 s)", "HF_TOKEN"]);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_may_not_be_had_says_why_and_what_to_do() {
    let place = Place::new();
    let page = format!("{}/org/tiny", place.hub.endpoint);
    let line = "eval --model org/tiny --text test.jsonl";
    place.hub.fault("/revision/main", 1, Fault::Status(401, "X-Error-Code: GatedRepo\r\n"));
    let says = ["org/tiny: no such model folder here, and", "accepted its licence", &page, "set HF_TOKEN to it"];
    place.refused(line, &says);
    place.hub.fault("/revision/main", 1, Fault::Status(403, "X-Error-Code: GatedRepo\r\n"));
    place.refused_with(line, &[("HF_TOKEN", "hf_secret")], &["accept it on", "account that HF_TOKEN belongs to"]);
    place.hub.fault("/resolve/", 1, Fault::Status(403, "X-Error-Code: GatedRepo\r\n"));
    place.refused(line, &["accepted its licence"]);
    // The hub says 401 of what does not exist.
    place.hub.fault("/revision/main", 1, Fault::Status(401, ""));
    place.refused("fetch org/tyny", &["org/tyny: ", "no public model of this name", "check the name"]);
    place.hub.fault("/revision/main", 1, Fault::Status(401, ""));
    place.refused(line, &["no public model of this name", "check the name", "set HF_TOKEN if it is private"]);
    place.hub.fault("/revision/main", 1, Fault::Status(401, ""));
    place.refused_with(line, &[("HF_TOKEN", "hf_secret")], &["check that HF_TOKEN is valid"]);
    place.refused("fetch org/tyny", &["no model of this name", "a data set needs `odyssey fetch --dataset`"]);
    place.refused("fetch org/tyny --dataset", &["no data set of this name"]);
    place.hub.fault("/tree/", 1, Fault::Status(418, ""));
    place.refused(line, &["status 418"]);
    let left = listing(&place.path("home/hub"));
    assert!(left.iter().all(|path| path.starts_with(".locks/")), "nothing is left of what was refused: {left:?}");
    for name in ["../x", "a/b/c@v", "a--b", "a@b@c"] {
        place.refused(&format!("fetch {name}"), &["is not the name of a"]);
    }
}

#[test]
fn the_token_goes_to_the_hub_and_to_no_other_host_and_is_never_shown() {
    let place = Place::new();
    place.hub.require("hf_secret");
    place.refused("fetch org/tiny", &["set HF_TOKEN"]);
    place.hub.asked();
    let said = place.run_with("fetch org/tiny -vv", &[("HF_TOKEN", " hf_secret\n")]);
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(!said.err.contains("hf_secret") && !said.out.contains("hf_secret"), "{}", said.err);
    let (elsewhere, hub): (Vec<Asked>, Vec<Asked>) = place.hub.asked().into_iter().partition(|asked| asked.elsewhere);
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|asked| asked.token.is_none()), "{elsewhere:?}");
    assert!(hub.iter().all(|asked| asked.token.as_deref() == Some("hf_secret")));

    // The same from the file that a login leaves.
    let place = Place { folder: tempfile::tempdir().unwrap(), ..place };
    fs::create_dir(place.path("home")).unwrap();
    fs::write(place.path("home/token"), "hf_secret\n").unwrap();
    place.result("fetch org/tiny");
    let unwanted = [("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
    place.refused_with("fetch org/tiny", &unwanted, &["licence"]);
}

#[test]
fn without_a_network_the_cache_serves_and_is_mentioned_once() {
    let place = Place::new();
    // A port that nobody listens on.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = format!("http://{closed}");
    let settings = [("HF_ENDPOINT", nowhere.as_str())];
    let line = "eval --model org/tiny --text test.jsonl org/texts/data/ids.jsonl org/texts/data/ids.jsonl";
    let url = format!("{nowhere}/org/tiny/resolve/main/config.json");
    let says = ["cannot be reached", &url, "/model.safetensors", "/tokenizer.json", "into one folder"];
    place.refused_with(line, &settings, &says);
    let file = format!("{nowhere}/datasets/org/texts/resolve/main/data/ids.jsonl");
    place.refused_with("eval --model local --text org/texts/data/ids.jsonl", &settings, &[&file, "name that file"]);

    place.hub.asked();
    place.result(line);
    let questions = place.hub.asked().iter().filter(|asked| asked.target.contains("/revision/")).count();
    assert_eq!(questions, 2, "the newest commit of each is asked for once");
    let said = place.run_with(line, &settings);
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert_eq!(said.err.matches("using what is in the cache").count(), 2, "one name, one word: {}", said.err);
}

#[test]
fn offline_a_missing_model_says_which_files_to_put_where() {
    let place = Place::new();
    let offline = [("HF_HUB_OFFLINE", "1")];
    let says =
        ["gpt2: no such model folder here", "HF_HUB_OFFLINE", "/gpt2/resolve/main/config.json", "name that folder"];
    place.refused_with("eval --model gpt2 --text test.jsonl", &offline, &says);
    place.refused_with("fetch org/texts/data/ids.jsonl", &offline, &["/resolve/main/data/ids.jsonl"]);
    assert!(place.hub.asked().is_empty());
    assert!(!place.path("home").exists());
}

#[test]
fn a_cache_that_another_program_filled_is_used() {
    let place = Place::new();
    // As Python's huggingface_hub leaves it.
    let snapshot = place.cached(&format!("snapshots/{}", place.commit));
    for folder in [snapshot.clone(), place.cached("blobs"), place.cached("refs")] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(place.cached("refs/main"), &place.commit).unwrap();
    for name in ["config.json", "model.safetensors"] {
        let bytes = fs::read(place.path("local").join(name)).unwrap();
        let blob = if name == "config.json" { git_hash(&bytes) } else { sha256(&bytes) };
        fs::write(place.cached("blobs").join(&blob), bytes).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(Path::new("../../blobs").join(&blob), snapshot.join(name)).unwrap();
        #[cfg(not(unix))]
        fs::copy(place.cached("blobs").join(&blob), snapshot.join(name)).unwrap();
    }
    place.result_with("eval --model org/tiny --text test.jsonl", &[("HF_HUB_OFFLINE", "1")]);
    place.result("eval --model org/tiny --text test.jsonl");
    assert_eq!(downloads(&place.hub.asked()), ["generation_config.json"].into(), "only what is missing is fetched");
}

#[test]
fn two_that_fetch_the_same_model_at_once_both_have_it() {
    let place = Place::new();
    let start = || {
        let mut command = place.command("fetch org/tiny --json --quiet", &[]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut fetched_by = BTreeSet::new();
    for (process, child) in [start(), start(), start()].into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        if states(&result).contains(&("model.safetensors", "fetched")) {
            fetched_by.insert(process);
        }
    }
    assert_eq!(fetched_by.len(), 1, "the weights are fetched once");
    let snapshot = place.cached(&format!("snapshots/{}", place.commit));
    assert_eq!(fs::read(snapshot.join("model.safetensors")).unwrap(), place.weights());
    assert_eq!(listing(&snapshot).len(), 3, "no scratch files");
}

#[cfg(unix)]
#[test]
fn an_interrupted_download_keeps_what_has_arrived() {
    let place = Place::new();
    let weights = place.weights();
    let incomplete = place.cached(&format!("blobs/{}.incomplete", sha256(&weights)));
    fs::create_dir_all(incomplete.parent().unwrap()).unwrap();
    fs::write(&incomplete, &weights[..1000]).unwrap();
    place.hub.fault("/org/tiny/model.safetensors?", ALWAYS, Fault::Stall(5000));
    let mut command = place.command("fetch org/tiny", &[]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while fs::metadata(&incomplete).unwrap().len() < 6000 {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("6000 of ") && err.contains("same command again"), "{err}");
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(fs::read(&incomplete).unwrap(), weights[..6000]);
    place.hub.heal();
    place.result("fetch org/tiny");
}

#[test]
fn a_hub_that_lists_paths_which_lead_out_of_the_cache_is_not_followed() {
    for path in ["../../../../evil", "/evil", "a/../../evil", "a\\..\\evil"] {
        let place = Place::new();
        let files = [("config.json", Stored::small("{}")), (path, Stored::small("evil"))];
        place.hub.put("datasets/org/evil", &files);
        place.refused("fetch --dataset org/evil --file *", &["cannot be understood", "evil"]);
        assert!(!place.path("home").exists());
    }
}

#[test]
fn an_answer_that_is_none_is_refused() {
    let place = Place::new();
    place.hub.fault("/revision/main", ALWAYS, Fault::Garble);
    place.refused("fetch org/tiny", &["org/tiny: ", "an answer that cannot be understood", "HF_HUB_OFFLINE=1"]);
    for (endpoint, says) in [("nonsense", "HF_ENDPOINT nonsense"), ("http://", "HF_ENDPOINT http:")] {
        place.refused_with("fetch org/tiny", &[("HF_ENDPOINT", endpoint)], &[says]);
    }
}
