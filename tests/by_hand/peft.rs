//! What peft makes of an adapter that is written here. `tests/scripts/check_with_peft.py` asks it, by a Python that has torch,
//! transformers and peft:
//!
//!     ODYSSEY_PYTHON=/path/to/python cargo test --release --test by_hand peft -- --nocapture

use std::fs;
use std::path::Path;

use odyssey::adapt::{self, Form};
use odyssey::model::LoraSettings;
use serde_json::json;

use crate::adapters::{adapted, attached, base, cpu, ids, largest_difference, logits, lora};
use crate::golden;

#[test]
fn peft_loads_what_is_written_and_computes_the_same_with_it_on_off_and_merged() {
    let python = std::env::var_os("ODYSSEY_PYTHON").unwrap_or_else(|| "python3".into());
    for case in golden::CASES {
        for (targets, rslora) in [("auto", false), ("all", true)] {
            let base = base(case, &cpu());
            let settings = LoraSettings { rank: 4, targets: vec![targets.into()], rslora, ..LoraSettings::default() };
            let mut adaptation = adapted(&base, &lora(settings));
            let scratch = tempfile::tempdir().unwrap();
            let out = scratch.path().join("merged");
            adaptation.form = Form::Merged;
            adapt::write(&mut adaptation, &base, &out).unwrap();
            let read = ids(40);
            fs::write(scratch.path().join("ids.json"), json!(read).to_string()).unwrap();
            let [off, on] = [&base.model, &adaptation.last].map(|model| logits(model, &read, &cpu()));
            fs::write(scratch.path().join("logits.json"), json!({ "off": off, "on": on }).to_string()).unwrap();
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/check_with_peft.py");
            let asked = std::process::Command::new(&python)
                .arg(script)
                .arg(scratch.path())
                .env("HF_HUB_OFFLINE", "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&asked.stdout).into_owned();
            assert!(asked.status.success(), "{case} {targets}: {said}{}", String::from_utf8_lossy(&asked.stderr));
            println!("{case} {targets}: {}", said.trim());
            // What peft made and saved itself is read here.
            let again = attached(&scratch.path().join("saved"), &base);
            let worst = largest_difference(&logits(&again.model, &read, &cpu()), &on);
            assert!(worst < 1e-5, "{case} {targets}: read back, logits differ by {worst:.1e}");
        }
    }
}
