//! Adapted models as other programs see them: the layout of what is written. What transformers computes with it is asked by hand:
//! `tests/by_hand/transformers.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use crate::saved::{CASES, adapted, fixture, json_file, numbers, save};

/// Ends of names in old files that hold no weights.
const BUFFERS: [&str; 3] = [".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"];

/// Names and shapes of all tensors of a folder's safetensors files, with their types.
fn tensors(folder: &Path) -> BTreeMap<String, (Vec<usize>, Dtype)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let weights = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("model");
    let mut found = BTreeMap::new();
    for path in files.filter(weights).filter(|path| path.extension().unwrap() == "safetensors") {
        let bytes = std::fs::read(&path).unwrap();
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            found.insert(name, (view.shape().to_vec(), view.dtype()));
        }
    }
    found
}

#[test]
fn an_adapted_folder_holds_the_weights_of_its_base_by_name_and_shape_all_in_f32() {
    for case in CASES {
        let (base, adaptation) = adapted(case);
        let saved = save(&base, adaptation, &[&numbers(32)], None);
        let expected: BTreeMap<_, _> = tensors(&fixture(case))
            .into_iter()
            .filter(|(name, _)| !BUFFERS.iter().any(|end| name.ends_with(end)))
            .map(|(name, (shape, _))| (name, (shape, Dtype::F32)))
            .collect();
        assert_eq!(tensors(&saved.folder), expected, "{case}");

        // transformers asks for this before it reads a file.
        let bytes = std::fs::read(saved.folder.join("model.safetensors")).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt", "{case}");
    }
}

#[test]
fn an_adapted_folder_keeps_the_configuration_but_for_the_type_of_the_weights() {
    for case in ["gpt2_tied", "llama_gqa", "llama_mha", "qwen2", "neox_parallel", "neox_sequential"] {
        let (base, adaptation) = adapted(case);
        let saved = save(&base, adaptation, &[&numbers(32)], None);
        let mut expected = json_file(&fixture(case).join("config.json"));
        // One is read by transformers 4, the other by 5.
        for key in ["torch_dtype", "dtype"] {
            expected[key] = "float32".into();
        }
        assert_eq!(json_file(&saved.folder.join("config.json")), expected, "{case}");
    }
}
