//! What a folder holds instead of safetensors files, and what can be done about it.

use std::fs;
use std::path::Path;

use crate::error::Error;

/// How files of another kind are called, what they are, and what makes safetensors of them.
const OTHERS: &[(&str, &str, &str)] = &[
    (
        ".gguf",
        "llama.cpp's format",
        "take the model that it was made from; or load it with transformers (`gguf_file=`) and save it",
    ),
    (".distcp", "shards of a distributed checkpoint", "join them with `accelerate merge-weights`"),
    (".bin", "PyTorch's own format", SAVE),
    (".pt", "PyTorch's own format", SAVE),
    (".pth", "PyTorch's own format", SAVE),
    (".ckpt", "a training checkpoint", SAVE),
    (".msgpack", "Flax's format", "load it with transformers 4 (`from_flax=True`) and save it"),
    (".h5", "TensorFlow's format", "load it with transformers 4 (`from_tf=True`) and save it"),
    (".onnx", "ONNX, made for running only", "take the model that it was made from"),
    (".tflite", "TensorFlow Lite, made for running only", "take the model that it was made from"),
    (".npz", "MLX's format", "take the model that it was made from"),
];
const SAVE: &str = "load it with transformers and save it: from_pretrained(DIR).save_pretrained(DIR)";

/// The error for a `folder` that has neither `model.safetensors` nor an index of shards.
pub(super) fn no_weights(folder: &Path) -> Error {
    let names = names(folder);
    let fault = "holds neither model.safetensors nor model.safetensors.index.json";
    let refuse = |what: String, cure: &str| Error::file(folder, format!("{fault}, but {what}"), cure);
    let safetensors: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| name.ends_with(".safetensors")).collect();
    if let Some(name) = safetensors.iter().find(|name| name.starts_with("model-") && name.contains("-of-")) {
        return refuse(format!("shards such as {name}"), "fetch model.safetensors.index.json, too");
    }
    if let Some(name) = safetensors.iter().find(|name| name.starts_with("consolidated")) {
        let cure = "fetch the files that transformers reads, or convert them with its script for this family";
        return refuse(format!("{name}, with the names of another program"), cure);
    }
    if safetensors.contains(&"adapter_model.safetensors") {
        return refuse("adapter_model.safetensors, an adapter".to_owned(), "name its base, and the adapter beside it");
    }
    if let Some(name) = safetensors.first() {
        return refuse((*name).to_owned(), "call the file model.safetensors where it holds the whole model");
    }
    for (ending, what, cure) in OTHERS {
        if let Some(name) = names.iter().find(|name| name.ends_with(ending) && !is_no_weight(name)) {
            return refuse(format!("{name}: {what}"), cure);
        }
    }
    if names.iter().any(|name| name == "zero_to_fp32.py" || name.starts_with("global_step")) {
        let cure = "run its zero_to_fp32.py with --safe_serialization";
        return refuse("the state of a training by DeepSpeed".to_owned(), cure);
    }
    match folder_within(folder, &["model.safetensors", "model.safetensors.index.json"]) {
        Some(within) => refuse(format!("{within} in it does"), &format!("name the folder {within}")),
        None => Error::file(folder, fault, "save the model with transformers' save_pretrained"),
    }
}

/// Files that end like weights and are none.
fn is_no_weight(name: &str) -> bool {
    ["training_args", "optimizer", "scheduler", "rng_state", "tokenizer", "adapter"]
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

/// The first folder in `folder` that has one of these files.
pub(super) fn folder_within(folder: &Path, files: &[&str]) -> Option<String> {
    names(folder).into_iter().find(|name| files.iter().any(|file| folder.join(name).join(file).is_file()))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
