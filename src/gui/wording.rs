//! How the application words settings: by the labels of its form.

use crate::message::{Setting, Wording};

/// Labels of settings.
const LABELS: [(&str, &str); 8] = [
    ("strategy", "What is trained"),
    ("dtype", "Weights held in"),
    ("adamw.moments", "AdamW's moments held in"),
    ("micro_batch", "Micro-batch"),
    ("gradient_checkpointing", "Gradient checkpointing"),
    ("context", "Context"),
    ("stride", "Stride"),
    ("protocol", "Protocol"),
];

/// As in the application's form: `What is trained: lora`.
pub struct Labels;

impl Wording for Labels {
    fn setting(&self, Setting { key, value }: &Setting) -> String {
        match value.as_str() {
            "true" => self.key(key),
            value => format!("“{}”: {value}", label(key)),
        }
    }

    fn key(&self, key: &str) -> String {
        format!("“{}”", label(key))
    }
}

fn label(key: &str) -> String {
    let known = LABELS.iter().find(|(of, _)| *of == key);
    known.map_or_else(|| key.replace('_', " "), |(_, label)| (*label).to_owned())
}
