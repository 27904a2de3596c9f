//! Adapters by their names on the hub.

use std::fs;

use serde_json::Value;

use super::place::{Place, downloads, states};
use super::server::{Fault, Stored};

const OFFLINE: [(&str, &str); 1] = [("HF_HUB_OFFLINE", "1")];
const FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

impl Place {
    /// A place whose hub has an adapter of its model: alone, and in a folder. It lies in `made`, too.
    fn with_adapter() -> Self {
        let place = Self::new();
        let text = "org/texts/data/ids.jsonl";
        let line = format!("adapt --model org/tiny --train {text} --valid {text} --out made --strategy lora");
        place.result(&format!("{line} --steps 2 --batch 2 --lr 1e-2"));
        place.put_adapter("models/org/lora", "", &[("README.md", Stored::small("read me"))]);
        place.put_adapter("models/org/many", "second/", &[("README.md", Stored::small("read me"))]);
        place.hub.asked();
        place
    }

    fn put_adapter(&self, repository: &str, folder: &str, more: &[(&str, Stored)]) {
        let paths = FILES.map(|file| format!("{folder}{file}"));
        let stored = FILES.iter().zip(&paths).map(|(file, path)| {
            let bytes = fs::read(self.path("made").join(file)).unwrap();
            (path.as_str(), Stored { bytes, large: file.ends_with(".safetensors") })
        });
        self.hub.put(repository, &stored.chain(more.iter().cloned()).collect::<Vec<_>>());
    }
}

/// The losses of an evaluation's texts.
fn losses(result: &Value) -> Vec<f64> {
    result["texts"].as_array().unwrap().iter().map(|text| text["nll"].as_f64().unwrap()).collect()
}

#[test]
fn an_adapters_name_gives_the_same_numbers_as_its_folder_online_and_then_offline() {
    let place = Place::with_adapter();
    let expected = losses(&place.result("eval --model local --adapter made --text test.jsonl"));
    assert!(expected.len() == 2 && expected[0] != expected[1], "{expected:?}");
    for name in ["org/lora", "org/lora@v1", "hub:org/lora", "org/many/second", "org/many@v1/second"] {
        let line = format!("eval --model local --adapter {name} --text test.jsonl");
        assert_eq!(losses(&place.result(&line)), expected, "{name}");
        assert_eq!(losses(&place.result_with(&line, &OFFLINE)), expected, "{name} offline");
    }
    assert!(!downloads(&place.hub.asked()).contains("README.md"), "only what is used is fetched");
}

#[test]
fn in_a_models_place_an_adapter_brings_the_base_that_it_names() {
    let place = Place::with_adapter();
    let adapted = losses(&place.result("eval --model local --adapter made --text test.jsonl"))[1];
    let line = "eval --model org/lora --text test.jsonl";
    assert_eq!(losses(&place.result(line)), [adapted]);
    assert_eq!(losses(&place.result_with(line, &OFFLINE)), [adapted]);
    let compared = place.result_with("compare --before org/tiny --after org/lora --text test.jsonl", &OFFLINE);
    assert!(compared["delta"].is_number());

    let fetched = place.result("fetch org/lora");
    assert_eq!(states(&fetched), FILES.map(|file| (file, "cached")).into());
    let fetched = place.result("fetch --adapter org/many/second");
    assert_eq!(fetched["kind"], "adapter");
    assert_eq!(states(&fetched).len(), 2);
    // A base that is a folder of somebody else's machine is not here.
    let config = fs::read_to_string(place.path("made/adapter_config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["base_model_name_or_path"] = "/home/somebody/model".into();
    fs::write(place.path("made/adapter_config.json"), config.to_string()).unwrap();
    place.put_adapter("models/org/far", "", &[]);
    let says = ["adapter_config.json", "\"/home/somebody/model\", which is not here", "--adapter"];
    place.refused("eval --model org/far --text test.jsonl", &says);
    let line = "eval --model local --adapter org/far --text test.jsonl";
    assert_eq!(losses(&place.result_with(line, &OFFLINE))[1], adapted);
}

#[test]
fn what_is_no_adapter_or_may_not_be_had_is_refused_before_anything_is_fetched() {
    let place = Place::with_adapter();
    let line = |name: &str| format!("eval --model local --adapter {name} --text test.jsonl");
    place.refused(&line("org/tiny"), &["org/tiny: no such adapter's folder here", "no adapter_config.json"]);
    place.refused(&line("org/many"), &["no adapter_config.json", "it has README.md"]);
    place.refused(&line("org/many/third"), &["no such file or folder"]);
    place.refused(&line("org/nobody"), &["no adapter of this name", "adapter_model.safetensors"]);
    place.refused_with(&line("org/nobody"), &OFFLINE, &["/org/nobody/resolve/main/adapter_config.json"]);
    let config = Stored::small(fs::read(place.path("made/adapter_config.json")).unwrap());
    place.hub.put("models/org/old", &[(FILES[0], config), ("adapter_model.bin", Stored::large("pickled"))]);
    place.refused(&line("org/old"), &["adapter_model.bin only", "save it again"]);
    place.refused("eval --model org/old --text test.jsonl", &["adapter_model.bin only"]);
    place.hub.fault("/revision/main", 1, Fault::Status(401, "X-Error-Code: GatedRepo\r\n"));
    place.refused(&line("org/lora"), &["accepted its licence", "/org/lora", "set HF_TOKEN to it"]);
    place.hub.fault("/revision/main", 1, Fault::Status(401, ""));
    place.refused(&line("org/private"), &["no public adapter of this name", "set HF_TOKEN if it is private"]);
    assert!(downloads(&place.hub.asked()).is_empty());
    // What is a path is never asked of the hub.
    for path in ["made/gone", "./gone", "../gone"] {
        place.refused(&line(path), &["no adapter's folder"]);
    }
    assert!(place.hub.asked().is_empty());
}
