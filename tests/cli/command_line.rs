//! The real binary from outside: what it refuses and how, what it prints, what it leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::cli;
use crate::cli::{Place, assert_has};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

const EVAL: &str = "eval --model model --text test.jsonl";
const ADAPT: &str = "adapt --model model --train train.jsonl --valid valid.jsonl --out adapted --batch 4";

/// Sets `key` of a model's `config.json`; null removes it.
fn configure(place: &Place, model: &str, key: &str, value: Value) {
    let name = format!("{model}/config.json");
    let mut config = place.json(&name);
    match value {
        Value::Null => drop(config.as_object_mut().unwrap().shift_remove(key)),
        value => config[key] = value,
    }
    place.write(&name, config.to_string());
}

/// A tensor of a file: type, shape, bytes.
type RawTensor = (Dtype, Vec<usize>, Vec<u8>);

/// The tensors of a safetensors file by name.
fn tensors(path: &Path) -> BTreeMap<String, RawTensor> {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let raw = |(name, view): (_, TensorView<'_>)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    tensors.tensors().into_iter().map(raw).collect()
}

/// Writes a safetensors file.
fn write_tensors(path: &Path, tensors: &BTreeMap<String, RawTensor>) {
    let view = |(dtype, shape, bytes)| TensorView::new(dtype, shape, bytes).unwrap();
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| (name, view((*dtype, shape.clone(), bytes))));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The numbers of a tensor.
fn numbers<T: bytemuck::Pod>((_, _, bytes): &RawTensor) -> Vec<T> {
    bytemuck::pod_collect_to_vec(bytes)
}

// ---------------------------------------------------------------------------------------------------------------------
// Bad input: status 2, one line that names the place, the fault and the cure, and nothing left behind.

#[test]
fn a_model_folder_that_is_none_is_refused() {
    let place = Place::with_model();
    place.refused("eval --model gone --text test.jsonl", &["gone: no such model folder", "config.json"]);
    place.refused("eval --model test.jsonl --text test.jsonl", &["test.jsonl: is a file, expected a model's folder"]);
    place.refused(&ADAPT.replace("--model model", "--model gone"), &["gone: no such model folder"]);
    fs::rename(place.path("model/model.safetensors"), place.path("weights")).unwrap();
    place.refused(EVAL, &["model: ", "neither model.safetensors nor model.safetensors.index.json"]);
    fs::remove_file(place.path("model/config.json")).unwrap();
    place.refused(EVAL, &["config.json: no such file", "check the path"]);
}

#[test]
fn a_configuration_without_a_needed_key_is_refused_by_the_keys_name() {
    for key in ["model_type", "vocab_size", "n_positions", "n_embd", "n_layer", "n_head"] {
        let place = Place::with_model();
        configure(&place, "model", key, Value::Null);
        place.refused(EVAL, &["config.json: ", &format!("`{key}`")]);
    }
    let place = Place::with_model();
    for content in ["", "{", "[1]", "\u{0}", "{\"model_type\": 1}"] {
        place.write("model/config.json", content);
        place.refused(EVAL, &["config.json: "]);
    }
    place.write("model/config.json", b"{\"model_type\": \"gpt2\", \"name\": \"\xff\"}");
    place.refused(EVAL, &["config.json: not text in UTF-8"]);
}

#[test]
fn an_unknown_architecture_is_refused_and_the_known_ones_named() {
    let place = Place::with_model();
    configure(&place, "model", "model_type", json!("mamba"));
    place.refused(EVAL, &["config.json: `model_type` is \"mamba\"", "\"gpt2\"", "\"llama\""]);
}

#[test]
fn a_setting_that_changes_the_mathematics_is_refused_by_name_and_value() {
    let place = Place::with_model();
    cli::copy_model("llama_gqa", &place.path("llama"));
    let yarn = json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64 });
    let partial = json!({ "rope_type": "default", "partial_rotary_factor": 0.5 });
    for (model, key, value, says) in [
        ("model", "attn_logit_softcapping", json!(30.0), "30.0"),
        ("model", "activation_function", json!("relu"), "relu"),
        ("model", "scale_attn_by_inverse_layer_idx", json!(true), "true"),
        ("model", "scale_attn_weights", json!(false), "false"),
        ("model", "quantization_config", json!({ "bits": 4 }), "bits"),
        ("llama", "hidden_act", json!("gelu"), "gelu"),
        ("llama", "sliding_window", json!(128), "128"),
        ("llama", "rope_scaling", yarn, "yarn"),
        ("llama", "rope_scaling", partial, "partial"),
        ("llama", "rope_scaling", json!({ "rope_type": "linear" }), "factor"),
    ] {
        let name = format!("{model}/config.json");
        let whole = place.read(&name);
        configure(&place, model, key, value);
        place.refused(&format!("eval --model {model} --text test.jsonl"), &["config.json: ", key, says]);
        place.write(&name, whole);
        // The same folder without the setting is read.
        assert_eq!(place.odyssey(&format!("eval --model {model} --text test.jsonl")).status, Some(0), "{key}");
    }
}

#[test]
fn sizes_that_do_not_go_together_are_refused() {
    for (key, value, says) in [
        ("n_head", json!(5), "`n_embd` = 48 is not a multiple of n_head = 5"),
        ("n_head", json!(0), "n_head = 0"),
        ("n_layer", json!(0), "layers"),
        ("n_positions", json!(0), "context"),
        ("n_embd", json!(-48), "-48"),
        ("eos_token_id", json!("end"), "`eos_token_id` is \"end\""),
    ] {
        let place = Place::with_model();
        configure(&place, "model", key, value);
        place.refused(EVAL, &["config.json: ", says]);
    }
}

#[test]
fn a_weight_file_that_is_cut_or_lies_about_its_lengths_is_refused() {
    let place = Place::with_model();
    let whole = place.read("model/model.safetensors");
    let header = |length: u64, json: &str| [length.to_le_bytes().as_slice(), json.as_bytes()].concat();
    let beyond = r#"{"transformer.wte.weight":{"dtype":"F32","shape":[512,48],"data_offsets":[0,98304]}}"#;
    let wraps = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
    for broken in [
        whole[..whole.len() / 2].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        whole[..100].to_vec(),
        whole[..5].to_vec(),
        Vec::new(),
        [whole.as_slice(), b"more"].concat(),
        header(99_999_999, "{}"), // longer than the file
        header(u64::MAX, "{}"),   // longer than memory
        header(1 << 40, "{}"),    // longer than any header
        header(3, "{}}"),         // no JSON
        header(beyond.len() as u64, beyond),
        header(wraps.len() as u64, wraps),
    ] {
        place.write("model/model.safetensors", broken);
        place.refused(EVAL, &["model.safetensors: not a whole safetensors file", "fetch or save it again"]);
    }
}

#[test]
fn weights_that_do_not_fit_the_configuration_are_refused_by_name() {
    let place = Place::with_model();
    let file = place.path("model/model.safetensors");
    let whole = tensors(&file);
    let name = "transformer.h.1.mlp.c_fc.weight";
    let (_, shape, bytes) = whole[name].clone();

    let mut changed = whole.clone();
    changed.insert(name.into(), (Dtype::F32, vec![shape[1], shape[0]], bytes.clone()));
    write_tensors(&file, &changed);
    place.refused(EVAL, &["model.safetensors: ", name, "[192, 48]", "[48, 192]"]);

    for (dtype, width) in [(Dtype::I64, 8), (Dtype::F64, 8), (Dtype::I32, 4), (Dtype::U8, 1)] {
        let zeros = vec![0; shape.iter().product::<usize>() * width];
        changed.insert(name.into(), (dtype, shape.clone(), zeros));
        write_tensors(&file, &changed);
        place.refused(EVAL, &["model.safetensors: ", name, &format!("{dtype:?}"), "F32, F16 or BF16"]);
    }

    changed.remove(name);
    write_tensors(&file, &changed);
    place.refused(EVAL, &["model: has no tensor", name]);

    let mut changed = whole;
    changed.insert("transformer.h.3.extra".into(), (Dtype::F32, vec![1], vec![0; 4]));
    write_tensors(&file, &changed);
    place.refused(EVAL, &["model: holds 1 tensor that", "transformer.h.3.extra"]);
}

#[test]
fn a_shard_index_reaches_for_nothing_outside_its_folder_and_promises_nothing_that_is_not_there() {
    let place = Place::with_model();
    cli::copy_model("llama_mha", &place.path("shards"));
    let line = "eval --model shards --text test.jsonl";
    assert_eq!(place.odyssey(line).status, Some(0));

    let index = "shards/model.safetensors.index.json";
    let whole = place.json(index);
    let shard = |name: &str| {
        let mut index = whole.clone();
        index["weight_map"]["model.norm.weight"] = name.into();
        index.to_string()
    };
    let absolute = place.path("model/model.safetensors").display().to_string();
    for outside in ["../model/model.safetensors", "..", "", absolute.as_str()] {
        place.write(index, shard(outside));
        place.refused(line, &["index.json: names the shard", "not a file beside it"]);
    }
    place.write(index, shard("model-00004-of-00004.safetensors"));
    place.refused(line, &["index.json: names model-00004-of-00004.safetensors, which is not there"]);
    let mut promise = whole.clone();
    promise["weight_map"]["model.extra"] = "model-00001-of-00003.safetensors".into();
    place.write(index, promise.to_string());
    place.refused(line, &["index.json: promises \"model.extra\" in model-00001-of-00003.safetensors"]);
    place.write(index, "{}");
    place.refused(line, &["index.json: ", "weight_map"]);
}

#[test]
fn a_tokenizer_that_does_not_belong_to_the_model_is_refused() {
    let place = Place::with_languages();
    let line = "eval --model model --text languages/base";
    assert_eq!(place.odyssey(line).status, Some(0));

    let tokenizer = String::from_utf8(place.read("model/tokenizer.json")).unwrap();
    let full_stop = "\".\":";
    let (before, after) = tokenizer.split_once(full_stop).unwrap();
    let after = after.trim_start().trim_start_matches(char::is_numeric);
    place.write("model/tokenizer.json", format!("{before}{full_stop} 600{after}"));
    place.refused(line, &["test.txt: token 600 (\" .\")", "vocabulary of 512", "tokenizer.json"]);

    for content in ["", "{", "{}", "[]", &tokenizer.replace("WordLevel", "Sentences")] {
        place.write("model/tokenizer.json", content);
        place.refused(line, &["tokenizer.json: not a tokenizer", "get the tokenizer of this model again"]);
    }
    fs::remove_file(place.path("model/tokenizer.json")).unwrap();
    place.refused(line, &["test.txt: holds texts, and the model has no tokenizer", "tokenizer.json", "ids"]);
}

#[test]
fn a_corpus_that_cannot_be_read_is_refused_with_its_line() {
    let place = Place::with_languages();
    for (name, content, says) in [
        ("latin.txt", b"one line\nanother\nna\xefve\n".as_slice(), "latin.txt: line 3: not UTF-8 at byte 19"),
        ("empty.txt", b"", "empty.txt: holds no document"),
        ("blank.txt", b" \n\n\t\n", "blank.txt: holds no document"),
        ("one.txt", b".", "one.txt: gives 1 token(s), expected at least two"),
        ("one.jsonl", b"{\"ids\": [7]}\n", "one.jsonl: gives 1 token(s), expected at least two"),
        ("empty.jsonl", b"", "empty.jsonl: holds no document"),
        ("large.jsonl", b"{\"ids\": [1, 511, 512]}\n", "large.jsonl: token 512"),
        ("negative.jsonl", b"{\"ids\": [1]}\n{\"ids\": [-1]}\n", "negative.jsonl: line 2: "),
        ("torn.jsonl", b"{\"ids\": [1, 2]}\n\n{\"ids\": [3", "torn.jsonl: line 3: "),
        ("mixed.jsonl", b"{\"ids\": [1, 2]}\n{\"text\": \"a\"}\n", "mixed.jsonl: line 2: "),
        ("neither.jsonl", b"{\"words\": 3}\n", "neither.jsonl: line 1: has neither `text` nor `ids`"),
        ("table.parquet", b"PAR1", "table.parquet: not a whole parquet file"),
        ("table.csv", b"text", "table.csv: cannot be read as a corpus"),
        ("cut.txt.gz", b"\x1f\x8b\x08", "cut.txt.gz: its gzip data is damaged, cut short"),
        ("domain.tar.gz", b"", "domain.tar.gz: its gzip data is damaged, cut short"),
        ("plain", b"text", "plain: cannot be read as a corpus"),
    ] {
        place.write(name, content);
        place.refused(&format!("eval --model model --text {name}"), &[says]);
    }
    place.refused("eval --model model --text gone.txt", &["gone.txt: no such file or folder"]);
    place.refused("eval --model model --text test.jsonl/part", &["part: no such file or folder"]);
    place.refused("eval --model model --text test.jsonl gone.txt", &["gone.txt: no such file or folder"]);
}

#[test]
fn a_domain_folder_with_an_empty_or_missing_split_is_refused() {
    let place = Place::with_languages();
    let line = "adapt --model model --train languages/base --valid languages/base --out adapted";
    for split in ["train", "valid"] {
        let name = format!("languages/base/{split}.txt");
        let whole = place.read(&name);
        place.write(&name, "");
        place.refused(line, &[&format!("{split}.txt: holds no document")]);
        fs::remove_file(place.path(&name)).unwrap();
        place.refused(line, &["base: has split files but no ", &format!("{split}.txt")]);
        place.write(&name, whole);
    }
    fs::create_dir(place.path("nothing")).unwrap();
    place.refused("eval --model model --text nothing", &["nothing: holds no file to read"]);
}

#[test]
fn an_output_folder_that_is_taken_or_cannot_be_is_refused_before_any_work() {
    let place = Place::with_model();
    place.write("pretrain.toml", PRETRAIN);
    fs::create_dir(place.path("adapted")).unwrap();
    place.write("adapted/notes.txt", "mine");
    place.refused(ADAPT, &["adapted: exists already", "choose another folder or remove it"]);
    place.refused("synth languages --out adapted", &["adapted: exists already"]);
    place.refused("pretrain pretrain.toml --out adapted", &["adapted: exists already"]);
    for line in [ADAPT, "synth languages --out adapted", "pretrain pretrain.toml --out adapted"] {
        let line = line.replace("--out adapted", "--out test.jsonl/adapted");
        place.refused(&line, &["test.jsonl", "a file stands where a folder is needed"]);
    }
    place.refused(&format!("{EVAL} --per-token model"), &["model: is a folder, expected a file's name"]);
    place.refused(&format!("{EVAL} --per-token test.jsonl/x"), &["x: cannot be made"]);
}

#[cfg(unix)]
#[test]
fn a_folder_that_takes_no_files_is_refused_before_any_work() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_model();
    let locked = place.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(locked.join("probe"), "").is_err() {
        for line in [&ADAPT.replace("--out adapted", "--out locked/adapted"), "synth languages --out locked/new"] {
            place.refused(line, &["locked", "cannot be written (permission denied)"]);
        }
        place.refused(&format!("{EVAL} --per-token locked/new"), &["cannot be written (permission denied)"]);
    } // else we are root, whom nothing stops
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_unknown_device_is_refused_and_those_there_are_listed() {
    let place = Place::with_model();
    for (device, says) in [("gpu:99", "no such GPU"), ("abacus", "no card has this in its name")] {
        place.refused(&format!("{EVAL} --device {device}"), &["--device ", device, says, "this machine has: cpu"]);
        place.refused(&format!("{ADAPT} --device {device}"), &["--device ", device, says]);
    }
    place.refused(&format!("{EVAL} --device gpu:one"), &["--device gpu:one", "\"one\" is not a number"]);
}

#[test]
fn a_size_that_makes_no_sense_is_refused_by_its_options_name() {
    let place = Place::with_model();
    for (options, says) in [
        ("--context 65", "--context 65: is longer than the model's 64 positions"),
        ("--context 1", "--context 1: leaves nothing to predict"),
        ("--protocol strided --stride 0", "--stride 0: must lie between 1 and the context, 64"),
        ("--protocol strided --stride 65", "--stride 65: must lie between 1 and the context, 64"),
        ("--protocol strided --context 16 --stride 17", "--stride 17: must lie between 1 and the context, 16"),
        ("--stride 32", "--stride 32: disjoint windows do not overlap"),
        ("--join newline", "test.jsonl: holds token ids, which only --join eot and --join none can join"),
        ("--newlines strip", "test.jsonl: holds token ids"),
        ("--per-token scores --text test.jsonl valid.jsonl", "--per-token: keeps one text"),
    ] {
        place.refused(&format!("{EVAL} {options}"), &[says]);
    }
    for (options, says) in [
        ("--lr NaN", "--lr: is NaN"),
        ("--lr=-1e-4", "--lr: is -0.0001"),
        ("--lr inf", "--lr: is inf"),
        ("--batch 0", "--batch: is 0"),
        ("--micro-batch 0", "--micro-batch: is 0"),
        ("--steps 0", "--steps: is 0"),
        ("--epochs 0", "--epochs: is 0"),
        ("--context 65", "--context: is 65, the model reads 64 tokens"),
        ("--context 1", "--context: is 1"),
        ("--warmup-ratio 1.5", "--warmup-ratio: is 1.5"),
        ("--beta2 1", "--beta2: is 1"),
        ("--clip=-1", "--clip: is -1"),
        ("--batch 400 --drop-last", "the training text: its 32 windows do not fill one batch of 400"),
    ] {
        place.refused(&ADAPT.replace("--batch 4", options), &[says]);
    }
    let similarity = "similarity --reference train.jsonl --domain test.jsonl";
    place.refused(&format!("{similarity} --features model:model --chunk 65"), &["--chunk", "65", "1 to 64 tokens"]);
    place.refused(&format!("{similarity} --features model:model --samples 1"), &["--samples", "at least two"]);
    place.refused(&format!("{similarity} --features colours"), &["--features colours", "model:DIR"]);
    place.refused(&format!("{similarity} --features model:gone"), &["gone: no such model folder"]);
    place.refused("synth languages --out new --lambda 0.5 1.5", &["1.5"]);
    place.refused("synth languages --out new --lambda 0.5 0.5", &["0.5 is given twice"]);
}

#[test]
fn a_command_line_that_is_none_ends_with_status_2_and_prints_nothing_on_standard_output() {
    let place = Place::empty();
    for line in ["", "sing", "eval", "eval --model", "adapt --strategy hope", "eval --model a --text b --stride many"] {
        let said = place.odyssey(line);
        assert_eq!((said.status, said.out.as_str()), (Some(2), ""), "{line}: {}", said.err);
        assert!(said.err.contains("Usage: ") || said.err.starts_with("error: "), "{line}: {}", said.err);
    }
}

#[test]
fn two_scorings_are_compared_only_if_they_are_of_one_text_by_one_recipe() {
    let place = Place::with_model();
    for (options, file) in [
        ("--text test.jsonl", "a.safetensors"),
        ("--text test.jsonl --context 32", "b.safetensors"),
        ("--text valid.jsonl", "c.safetensors"),
    ] {
        place.result(&format!("eval --model model {options} --per-token {file}"));
    }
    let compare = |before: &str, after: &str| format!("compare --before {before} --after {after} --text test.jsonl");
    let protocols = "were scored by different protocols (fingerprints ";
    place.refused(&compare("a.safetensors", "b.safetensors"), &["a.safetensors and b.safetensors", protocols]);
    place.refused(&compare("b.safetensors", "model"), &["b.safetensors and model", protocols]);
    place.refused(&compare("a.safetensors", "c.safetensors"), &["c.safetensors: ", "valid.jsonl", "test.jsonl"]);
    place.refused(&compare("gone.safetensors", "model"), &["gone.safetensors: no such model folder"]);

    let something_else = ["model/model.safetensors", "model/config.json", "test.jsonl"];
    for file in something_else {
        place.refused(&compare(file, "model"), &[file, "write it again with `odyssey eval --per-token FILE`"]);
    }
    let whole = place.read("a.safetensors");
    place.write("a.safetensors", &whole[..whole.len() - 1]);
    place.refused(&compare("a.safetensors", "model"), &["a.safetensors: not a whole safetensors file"]);
}

#[test]
fn a_checkpoint_is_neither_overwritten_nor_taken_for_one_that_it_is_not() {
    let place = Place::with_model();
    for (content, says) in [
        (b"junk".to_vec(), "adapted.checkpoint: not a whole checkpoint"),
        (place.read("model/model.safetensors"), "adapted.checkpoint: not a checkpoint of this program"),
    ] {
        place.write("adapted.checkpoint", content);
        place.refused(ADAPT, &["adapted.checkpoint: is left by an interrupted run", "--resume"]);
        place.refused(&format!("{ADAPT} --resume"), &[says, "start again without --resume, or remove the file"]);
    }
}

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
steps = 4
batch = 4
"#;

#[test]
fn a_pretraining_configuration_that_does_not_fit_is_refused_with_its_line_or_key() {
    let place = Place::with_languages();
    for (from, to, says) in [
        ("steps = 4", "stepz = 4", "pretrain.toml: line 13: not a pretraining configuration: unknown field `stepz`"),
        ("steps = 4", "steps = four", "pretrain.toml: line 13: "),
        ("corpus =", "# corpus =", "missing field `corpus`"),
        (
            "n_embd = 16",
            "",
            "pretrain.toml: [model]: architecture \"gpt2\": not a complete configuration: missing field `n_embd`",
        ),
        ("\"gpt2\"", "\"rnn\"", "pretrain.toml: [model]: `model_type` is \"rnn\""),
        ("languages/tokenizer.json", "gone.json", "gone.json: no such file"),
        ("languages/base", "gone", "gone: no such file"),
        ("vocab_size = 224", "vocab_size = 20", "vocabulary of 20"),
    ] {
        place.write("pretrain.toml", PRETRAIN.replace(from, to));
        place.refused("pretrain pretrain.toml --out base", &[says]);
    }
    place.refused("pretrain gone.toml --out base", &["gone.toml: no such file"]);
}

#[test]
fn a_study_that_does_not_fit_is_refused_with_its_line_or_key() {
    let place = Place::with_model();
    for split in ["train", "valid", "test"] {
        fs::create_dir_all(place.path("domain")).unwrap();
        fs::copy(place.path(&format!("{split}.jsonl")), place.path(&format!("domain/{split}.jsonl"))).unwrap();
    }
    let study = "name = \"s\"\nmodels = [{ name = \"m\", path = \"model\", reference = \"train.jsonl\" }]\n\
                 domains = [{ path = \"domain\" }]\n[[strategies]]\nname = \"full\"\nrecipe = { lr = 1e-4 }\n";
    let unknown = "study.toml: line 6: not a study: unknown field `rate`, expected one of";
    for (from, to, says) in [
        ("lr = ", "rate = ", unknown),
        ("lr = 1e-4", "lr = 1e-4,\u{a0}", "study.toml: line 6: "),
        ("lr = 1e-4", "lr = nan", "study.toml: strategy \"full\": `lr`: is NaN"),
        ("lr = 1e-4", "batch = 0", "study.toml: strategy \"full\": `batch`: is 0"),
        ("name = \"s\"\n", "", "missing field `name`"),
        ("name = \"s\"", "name = \"s\"\nseeds = []", "study.toml: its list of seeds is empty"),
        ("name = \"s\"", "name = \"s\"\ndevices = [\"abacus\"]", "--device abacus"),
        ("\"model\"", "\"gone\"", "gone, which does not exist"),
        ("\"train.jsonl\"", "\"gone\"", "gone, which does not exist"),
        ("path = \"domain\"", "path = \"gone\"", "gone, which does not exist"),
        ("{ path = \"domain\" }", "{ path = \"domain\" }, { path = \"domain\" }", "names \"domain\" twice"),
        ("{ path = \"domain\" }", "", "study.toml: has no domains"),
        ("\"model\"", "\"domain\"", "config.json: no such file"),
        ("lr = 1e-4", "context = 65", "model \"m\": strategy \"full\": `context`: is 65, the model reads 64"),
        ("name = \"s\"", "name = \"s\"\nevaluation = { context = 65 }", "context = 65: is longer than the model's 64"),
        ("name = \"s\"", "name = \"s\"\nsimilarity = { chunk = 65 }", "`chunk`: is 65"),
        ("name = \"s\"", "name = \"s\"\nsimilarity = { samples = 1 }", "`samples`: is 1"),
    ] {
        place.write("study.toml", study.replace(from, to));
        place.refused("study run study.toml --out study --device auto", &[says]);
    }
    place.refused("study run gone.toml --out study", &["gone.toml: no such file"]);
    place.write("study.toml", b"name = \"\xff\"");
    place.refused("study run study.toml --out study", &["study.toml: not text in UTF-8"]);
    for command in ["status", "report"] {
        place.refused(&format!("study {command} model"), &["model: is not the folder of a study", "study run"]);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// What is printed: one JSON document on standard output, talk on standard error.

/// Every null has its reason beside it, in the same object or the one that holds it.
fn assert_nulls_have_reasons(value: &Value) {
    fn walk(value: &Value, path: &str, explained: bool) {
        match value {
            Value::Null => assert!(explained, "{path} is null without a reason"),
            Value::Array(items) => items.iter().for_each(|item| walk(item, path, explained)),
            Value::Object(object) => {
                let explained = explained || object.contains_key("reason") || object.contains_key("reasons");
                object.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}"), explained));
            }
            _ => {}
        }
    }
    walk(value, "", false);
}

#[test]
fn eval_prints_the_keys_that_scripts_rely_on() {
    let place = Place::with_languages();
    let eval = place.result("eval --model model --text languages/base languages/lambda-1 --protocol strided");
    let of_text = "text tokens scored nll ppl ppl_ci95/0 ppl_ci95/1 bits_per_byte bytes words word_ppl";
    let keys = "model device/backend device/adapter protocol/context protocol/join protocol/fingerprint macro_ppl \
                seconds tokens_per_second";
    for text in 0..2 {
        for key in of_text.split_whitespace() {
            assert_has(&eval, &[&format!("/texts/{text}/{key}")]);
        }
    }
    keys.split_whitespace().for_each(|key| assert_has(&eval, &[&format!("/{key}")]));
    assert_eq!(eval["schema"], "odyssey.eval/1");
    assert_eq!(eval["protocol"]["name"], "strided");
    assert_eq!(eval["protocol"]["stride"], 32);

    // What is printed goes together: exponentials of the means, and the macro-average of both.
    let nll: Vec<f64> = (0..2).map(|text| eval["texts"][text]["nll"].as_f64().unwrap()).collect();
    for (text, nll) in eval["texts"].as_array().unwrap().iter().zip(&nll) {
        let number = |key: &str| text[key].as_f64().unwrap();
        assert!((number("ppl") / nll.exp() - 1.0).abs() < 1e-12);
        let sum = nll * number("scored");
        assert!((number("bits_per_byte") * number("bytes") * 2f64.ln() / sum - 1.0).abs() < 1e-12);
        assert!((number("word_ppl").ln() * number("words") / sum - 1.0).abs() < 1e-12);
        let interval = [&text["ppl_ci95"][0], &text["ppl_ci95"][1]].map(|end| end.as_f64().unwrap());
        assert!(interval[0] < number("ppl") && number("ppl") < interval[1]);
    }
    assert!((eval["macro_ppl"].as_f64().unwrap().ln() - (nll[0] + nll[1]) / 2.0).abs() < 1e-12);
    assert_nulls_have_reasons(&eval);
    assert_nulls_have_reasons(&place.result(EVAL)); // of ids, whose bytes are not known
}

#[test]
fn devices_similarity_and_synth_print_the_keys_that_scripts_rely_on() {
    let place = Place::with_languages();
    let devices = place.result("devices");
    assert_has(&devices, &["/schema", "/auto/backend", "/auto/adapter", "/cpu/backend", "/adapters"]);

    let synth = place.result("synth languages --out new --lambda 0.5");
    assert_eq!((&synth["schema"], &synth["out"]), (&json!("odyssey.synth/1"), &json!("new")));
    assert_has(&synth, &["/corpora/1/domain", "/corpora/1/floor_perplexity", "/corpora/1/kl_to_base"]);

    let similarity = place.result(
        "similarity --features model:model --reference languages/base --domain languages/lambda-0 languages/lambda-1 \
         --chunk 32 --samples 40 --reference-samples 80",
    );
    assert_eq!(similarity["schema"], "odyssey.similarity/1");
    assert_has(&similarity, &["/reference", "/features", "/null/mmd2", "/null/frechet"]);
    let keys = "domain samples mmd2 mmd2_p mmd2_q mmd2_ci95/1 frechet frechet_p frechet_q frechet_ci95/0 centroid_cosine \
                energy energy_p energy_q energy_ci95/1 effect_mmd2 effect_energy auc auc_p auc_ci95/0 unigram_js \
                unigram_js_ci95/0 vocabulary_overlap bigram_overlap bigram_type_overlap trigram_overlap newline_rate_ci95/1";
    for key in keys.split_whitespace() {
        assert_has(&similarity, &[&format!("/domains/0/{key}"), &format!("/domains/1/{key}")]);
    }
    assert_has(&similarity, &["/settings/kernel", "/settings/permutations", "/sigma", "/null/mmd2_ci95/0"]);
    assert_nulls_have_reasons(&similarity);
}

#[test]
fn a_corpus_goes_through_the_model_once_and_words_need_none() {
    let place = Place::with_languages();
    let line = "similarity --reference languages/base --domain languages/lambda-0 languages/lambda-1 --chunk 32 \
                --samples 40 --reference-samples 80 --permutations 19 --resamples 19";
    let model = format!("{line} --features model:model@1,last --kernel polynomial");
    let first = place.odyssey(&format!("{model} --json"));
    assert!(first.status == Some(0) && !first.err.contains("cached"), "{}", first.err);
    let again = place.odyssey(&format!("{model} --json"));
    assert_eq!(again.out, first.out);
    assert_eq!(again.err.matches(": cached").count(), 3, "{}", again.err);
    // other settings, other features
    let other = place.odyssey(&format!("{line} --features model:model@1 --json"));
    assert!(!other.err.contains("cached") && other.out != first.out, "{}", other.err);

    let words = place.result(&format!("{line} --features lexical"));
    assert_has(&words, &["/domains/1/unigram_js", "/domains/1/trigram_overlap_ci95/0", "/null/unigram_js_ci95/0"]);
    assert!(words["domains"][0]["mmd2"].is_null());
    assert_nulls_have_reasons(&words);
    let table = place.odyssey(&format!("{line} --features lexical"));
    assert!(table.out.contains("bigram overlap") && table.out.contains("words alone are compared"), "{}", table.out);

    let itself = place.odyssey("similarity --features model:model --reference languages/base --domain languages/base");
    assert!(itself.out.contains("reference's own text"), "{}", itself.out);
    place.refused(&format!("{line} --features model:model@9"), &["layer 9"]);
    place.refused(&format!("{line} --features model"), &["names no model"]);
}

#[test]
fn talk_goes_to_standard_error_and_quiet_silences_it() {
    let place = Place::with_model();
    let said = place.odyssey(&format!("{EVAL} --json"));
    assert_eq!(said.err.lines().count(), 2, "{}", said.err);
    assert!(said.err.starts_with("device: cpu"), "{}", said.err);
    assert!(said.err.contains("\nread test.jsonl: 1 file, 14 documents, "), "{}", said.err);
    assert!(serde_json::from_str::<Value>(&said.out).is_ok() && !said.out.contains("device: "));
    assert_eq!(place.odyssey(&format!("{EVAL} --quiet")).err, "");
    assert_eq!(place.odyssey(&format!("--quiet {EVAL}")).err, "");
    // An error is said all the same.
    assert!(place.odyssey("eval --quiet --model gone --text test.jsonl").err.starts_with("odyssey: gone"));
}

#[test]
fn no_colour_reaches_a_pipe_whatever_is_asked_for_in_json() {
    let place = Place::with_model();
    for options in ["", "--color never", "--color auto", "--color always"] {
        let said = place.odyssey(&format!("{EVAL} --json {options}"));
        assert_eq!(said.status, Some(0), "{}", said.err);
        assert!(!said.out.contains('\u{1b}'), "{options}");
    }
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_odyssey"))
        .args(EVAL.split_whitespace())
        .current_dir(place.path(""))
        .env("NO_COLOR", "1")
        .env("ODYSSEY_DEVICE", "cpu")
        .env("XDG_RUNTIME_DIR", place.path(""))
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b));
    let said = place.odyssey(&format!("{EVAL} --color rainbow"));
    assert_eq!((said.status, said.out.as_str()), (Some(2), ""));
}

// ---------------------------------------------------------------------------------------------------------------------
// Per-token files and comparisons.

#[test]
fn a_per_token_file_holds_what_the_printed_numbers_are_made_of() {
    let place = Place::with_languages();
    for protocol in ["disjoint", "strided"] {
        let file = format!("{protocol}.safetensors");
        let line = format!("eval --model model --text languages/lambda-1 --protocol {protocol} --per-token {file}");
        let text = place.result(&line)["texts"][0].clone();
        let arrays = tensors(&place.path(&file));
        let tokens = text["tokens"].as_u64().unwrap() as usize;
        for (name, dtype) in [("ids", Dtype::U32), ("nll", Dtype::F32), ("document", Dtype::U32), ("byte", Dtype::U64)]
        {
            assert_eq!((arrays[name].0, arrays[name].1.as_slice()), (dtype, [tokens].as_slice()), "{name}");
        }
        let nll: Vec<f32> = numbers(&arrays["nll"]);
        let scored: Vec<f64> = nll.iter().filter(|nll| !nll.is_nan()).map(|&nll| f64::from(nll)).collect();
        assert_eq!(scored.len() as u64, text["scored"].as_u64().unwrap());
        let mean = scored.iter().sum::<f64>() / scored.len() as f64;
        assert!((mean - text["nll"].as_f64().unwrap()).abs() < 1e-12);

        // Offsets count bytes of the document: they begin at 0 and end within the text.
        let (document, byte): (Vec<u32>, Vec<u64>) = (numbers(&arrays["document"]), numbers(&arrays["byte"]));
        let corpus = String::from_utf8(place.read("languages/lambda-1/test.txt")).unwrap();
        let documents: Vec<&str> = corpus.trim_matches('\n').split("\n\n").collect();
        assert_eq!(document.last(), Some(&(documents.len() as u32 - 1)));
        for (index, text) in documents.iter().enumerate() {
            let offsets: Vec<u64> =
                document.iter().zip(&byte).filter(|(d, _)| **d == index as u32).map(|(_, b)| *b).collect();
            assert_eq!(offsets[0], 0);
            assert!(offsets.is_sorted() && offsets.iter().all(|&offset| offset <= text.len() as u64));
        }
    }
}

/// Two different models in `model` and `after`, and the languages.
fn before_and_after() -> Place {
    let place = Place::with_languages();
    place.result(
        "adapt --model model --train languages/lambda-1 --valid languages/lambda-1 --out after --steps 10 --batch 4 \
         --lr 1e-3 --valid-tokens 500",
    );
    place
}

#[test]
fn a_comparison_of_files_equals_that_of_the_models() {
    let place = before_and_after();
    for text in ["languages/lambda-1", "test.jsonl"] {
        let compare = |before: &str, after: &str| {
            let mut result = place.result(&format!("compare --before {before} --after {after} --text {text}"));
            assert_eq!(result["before"]["model"], before);
            assert_eq!(result["after"]["model"], after);
            result["before"]["model"].take();
            result["after"]["model"].take();
            // Files were read when they were made.
            result.as_object_mut().unwrap().remove("read");
            result
        };
        for model in ["model", "after"] {
            place.result(&format!("eval --model {model} --text {text} --per-token {model}.safetensors"));
        }
        let mut models = compare("model", "after");
        // Predictions over the whole vocabulary take both models; files hold those of the text's own tokens.
        let divergence = models.as_object_mut().unwrap().remove("divergence").unwrap();
        assert!(divergence["kl"].as_f64().unwrap() > 0.0);
        assert_eq!(compare("model.safetensors", "after.safetensors"), models, "{text}");
        assert_eq!(compare("model", "after.safetensors"), models, "{text}");
    }
}

#[test]
fn contributions_of_types_and_of_classes_sum_to_the_change() {
    let place = before_and_after();
    let compare = place.result("compare --before model --after after --text languages/lambda-1");
    assert_eq!(compare["schema"], "odyssey.compare/1");
    let keys = "before/ppl after/ppl delta delta_ci95/0 types/0/id types/0/token types/0/class types/0/count \
                types/0/share types/0/before types/0/after types/0/contribution types/0/contribution_ci95/1 \
                handful/types handful/share_of_worsening without/newline/before without/newline/after \
                without/newline/delta";
    keys.split_whitespace().for_each(|key| assert_has(&compare, &[&format!("/{key}")]));

    let delta = compare["delta"].as_f64().unwrap();
    let ppl = |side: &str| compare[side]["ppl"].as_f64().unwrap();
    assert!(delta.abs() > 0.01, "the models differ: {delta}");
    assert!((delta - (ppl("after") / ppl("before")).ln()).abs() < 1e-9);
    for parts in ["types", "classes"] {
        let of = |key: &str| compare[parts].as_array().unwrap().iter().map(|p| p[key].as_f64().unwrap()).sum::<f64>();
        assert!((of("contribution") - delta).abs() < 1e-9, "{parts}");
        assert!((of("share") - 1.0).abs() < 1e-9, "{parts}");
    }
    // Each side is what `eval` says of that model.
    for (side, model) in [("before", "model"), ("after", "after")] {
        let eval = place.result(&format!("eval --model {model} --text languages/lambda-1"));
        assert_eq!(eval["texts"][0]["ppl"], compare[side]["ppl"]);
    }
}

#[test]
fn a_model_compared_with_itself_has_not_changed() {
    let place = Place::with_languages();
    let compare = place.result("compare --before model --after model --text languages/base");
    assert_eq!(compare["delta"], 0.0);
    assert_eq!(compare["delta_ci95"], json!([0.0, 0.0]));
    assert_eq!(compare["handful"]["types"], 0);
    for part in compare["types"].as_array().unwrap().iter().chain(compare["classes"].as_array().unwrap()) {
        assert_eq!(part["contribution"], 0.0, "{part}");
    }
}

#[test]
fn a_comparison_can_be_kept_as_a_page() {
    let place = before_and_after();
    let line = "compare --before model --after after --text languages/lambda-1";
    let printed = place.result(&format!("{line} --report page.html"));
    let page = String::from_utf8(place.read("page.html")).unwrap();
    assert!(page.starts_with("<!") && page.contains("</html>"));
    assert_eq!(printed, place.result(line), "the page changes nothing of what is printed");
}

// ---------------------------------------------------------------------------------------------------------------------
// Adaptation.

/// An `adapt` result without what differs from run to run.
fn untimed(mut result: Value) -> Value {
    result.as_object_mut().unwrap().shift_remove("read");
    for key in ["out", "seconds", "tokens_per_second", "peak_memory_bytes"] {
        assert!(result.as_object_mut().unwrap().shift_remove(key).is_some(), "{key}");
    }
    result
}

#[test]
fn the_same_adaptation_twice_gives_the_same_bits() {
    let place = Place::with_model();
    let mut first = place.result(&format!("{ADAPT} --steps 6 --lr 1e-3"));
    let read = first.as_object_mut().unwrap().shift_remove("read").unwrap();
    assert_eq!((&read[0]["text"], &read[1]["text"]), (&json!("train.jsonl"), &json!("valid.jsonl")));
    assert_eq!(first["schema"], "odyssey.adapt/1");
    assert_eq!((&first["out"], &first["steps"]), (&json!("adapted"), &json!(6)));
    let keys = "tokens train_loss/5/1 valid_loss/0/1 best/step best/loss seconds tokens_per_second peak_memory_bytes";
    keys.split_whitespace().for_each(|key| assert_has(&first, &[&format!("/{key}")]));
    assert_eq!(place.json("adapted/adapt.json"), first);

    let again = place.result(&format!("{ADAPT} --steps 6 --lr 1e-3").replace("--out adapted", "--out again"));
    assert_eq!(untimed(again), untimed(first.clone()));
    let weights = place.read("adapted/model.safetensors");
    assert_eq!(place.read("again/model.safetensors"), weights);

    let other = place.result(&format!("{ADAPT} --steps 6 --lr 1e-3 --seed 7").replace("--out adapted", "--out other"));
    assert_ne!(untimed(other), untimed(first));
    assert_ne!(place.read("other/model.safetensors"), weights);
}

#[test]
fn the_micro_batch_changes_weights_by_rounding_only() {
    let place = Place::with_model();
    for size in [1, 3, 4] {
        let line = ADAPT.replace("--out adapted", &format!("--out by-{size}"));
        place.result(&format!("{line} --steps 6 --lr 1e-4 --micro-batch {size}"));
    }
    let base = tensors(&place.path("model/model.safetensors"));
    let whole = tensors(&place.path("by-4/model.safetensors"));
    for size in [1, 3] {
        let parts = tensors(&place.path(&format!("by-{size}/model.safetensors")));
        assert_eq!(parts.len(), whole.len());
        for (name, tensor) in &parts {
            let [a, b, start] = [tensor, &whole[name], &base[name]].map(numbers::<f32>);
            let keys = if name.ends_with("c_attn.bias") { a.len() / 3..2 * a.len() / 3 } else { 0..0 };
            let mut moved = false;
            for i in (0..a.len()).filter(|i| !keys.contains(i)) {
                // The keys' bias has no gradient but rounding noise, which Adam turns into whole steps.
                assert!((a[i] - b[i]).abs() < 1e-5, "{name}[{i}]: {} and {}", a[i], b[i]);
                moved |= (a[i] - start[i]).abs() > 1e-4;
            }
            assert!(moved, "{name} is trained");
        }
    }
}

#[test]
fn best_holds_the_weights_of_the_best_validation_where_it_is_not_the_last() {
    let place = Place::with_model();
    let steady = format!("{ADAPT} --decay constant --warmup-ratio 0 --validations 40 --lr 1e-2");
    let result = place.result(&format!("{steady} --steps 40"));
    let best = result["best"]["step"].as_u64().unwrap();
    assert!(0 < best && best < 40, "this rate first helps and then overfits: {}", result["valid_loss"]);
    let lowest = result["valid_loss"].as_array().unwrap().iter().map(|v| v[1].as_f64().unwrap()).reduce(f64::min);
    assert_eq!(result["best"]["loss"].as_f64(), lowest);

    // At a constant rate a run that ends at the best step ends with the same weights.
    place.result(&format!("{steady} --steps {best}").replace("--out adapted", "--out shorter"));
    assert_eq!(place.read("adapted/best/model.safetensors"), place.read("shorter/model.safetensors"));
    assert_ne!(place.read("adapted/model.safetensors"), place.read("shorter/model.safetensors"));
    assert!(!place.path("shorter/best").exists(), "the last weights are the best ones");

    // A rate so large that the base stays the best keeps the base, also where perplexities leave the range of numbers.
    let line = steady.replace("--lr 1e-2", "--lr 1e3").replace("--out adapted", "--out broken");
    let result = place.result(&format!("{line} --steps 3"));
    assert_eq!(result["best"]["step"], 0);
    assert_eq!(tensors(&place.path("broken/best/model.safetensors")), tensors(&place.path("model/model.safetensors")));
    let eval = place.result("eval --model broken --text test.jsonl --per-token broken.safetensors");
    assert_eq!(eval["texts"][0]["ppl"], Value::Null, "exp of {}", eval["texts"][0]["nll"]);
    assert!(eval["texts"][0]["reason"].as_str().unwrap().contains("the perplexity is beyond the range of f64"));
    let compare = place.result("compare --before model --after broken.safetensors --text test.jsonl");
    assert!(compare["delta"].as_f64().unwrap() > 709.0);
}

#[test]
fn an_adapted_folder_is_a_model_in_f32_with_its_tokenizer() {
    let place = Place::with_languages();
    configure(&place, "model", "torch_dtype", json!("float16"));
    place.write("model/generation_config.json", "{}");
    let result = place.result(
        "adapt --model model --train languages/lambda-1 --valid languages/lambda-1 --out adapted --steps 20 --batch 8 \
         --lr 1e-3 --valid-tokens 700",
    );
    let mut expected = place.json("model/config.json");
    for key in ["torch_dtype", "dtype"] {
        expected[key] = "float32".into();
    }
    assert_eq!(place.json("adapted/config.json"), expected);
    for companion in ["tokenizer.json", "generation_config.json"] {
        assert_eq!(place.read(&format!("adapted/{companion}")), place.read(&format!("model/{companion}")));
    }
    let [before, after] = ["model", "adapted"].map(|model| {
        let eval = place.result(&format!("eval --model {model} --text languages/lambda-1/valid.txt"));
        eval["texts"][0]["nll"].as_f64().unwrap()
    });
    assert!(after < before - 0.5, "{before} to {after}");
    // `eval` and the validation of `adapt` agree on a text they both read whole.
    let result = place.result(
        "adapt --model adapted --train languages/lambda-1 --valid languages/lambda-1 --out further --steps 1 --lr 0",
    )["valid_loss"][0][1]
        .as_f64()
        .zip(result["best"]["loss"].as_f64())
        .unwrap();
    assert!((result.0 - after).abs() < 1e-9, "{} and {after}", result.0);
    assert!(result.1.is_finite());
}

#[test]
fn a_learning_rate_of_zero_changes_no_bit() {
    let place = Place::with_model();
    let result = place.result(&format!("{ADAPT} --steps 3 --lr 0 --weight-decay 0.1"));
    assert_eq!(result["valid_loss"][0][1], result["valid_loss"][1][1]);
    assert_eq!(tensors(&place.path("adapted/model.safetensors")), tensors(&place.path("model/model.safetensors")));
    let compare = place.result("compare --before model --after adapted --text test.jsonl");
    assert_eq!(compare["delta"], 0.0);
}

#[cfg(unix)]
#[test]
fn an_interrupted_adaptation_goes_on_to_the_same_bits() {
    let place = Place::with_model();
    let line = format!("{ADAPT} --steps 60 --lr 1e-3 --validations 6");
    let whole = place.result(&line.replace("--out adapted", "--out whole"));
    let before = place.listing();

    let kept = format!("{line} --checkpoint-every 1");
    let said = place.interrupted(&kept, |_| place.path("adapted.checkpoint").exists()).expect("it takes sixty steps");
    assert_eq!((said.status, said.out.as_str()), (Some(130), ""), "{}", said.err);
    let last = said.err.lines().last().unwrap();
    let step: u64 = last
        .strip_prefix("odyssey: interrupted: stopped after step ")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..60).contains(&step));
    assert!(last.contains("saved in adapted.checkpoint") && last.contains("--resume"), "{last}");
    let left: Vec<_> = place.listing().difference(&before).cloned().collect();
    assert_eq!(left, [Path::new("adapted.checkpoint")], "nothing but the checkpoint is left");

    // Other settings, another base, another text or a checkpoint cut short are another run, and the difference is said.
    let another = "adapted.checkpoint: is of another run: ";
    place.refused(&line, &["adapted.checkpoint: is left by an interrupted run", "--resume"]);
    let resume = format!("{line} --resume");
    for (from, to, says) in [
        ("--lr 1e-3", "--lr 2e-3", "settings.lr was 0.001, is 0.002"),
        ("--steps 60", "--steps 61", "settings.steps was 60, is 61"),
        ("--batch 4", "--batch 5", "settings.batch was 4, is 5"),
        ("--resume", "--resume --seed 7", "seed was 42, is 7"),
        ("--train train.jsonl", "--train test.jsonl", "train was \""),
        ("--model model", "--model whole", "base was \""),
    ] {
        place.refused(&resume.replace(from, to), &[another, says]);
    }
    let checkpoint = place.read("adapted.checkpoint");
    place.write("adapted.checkpoint", &checkpoint[..checkpoint.len() - 1]);
    place.refused(&resume, &["adapted.checkpoint: not a whole checkpoint"]);
    place.write("adapted.checkpoint", checkpoint);

    let resumed = place.result(&resume);
    assert_eq!(untimed(resumed), untimed(whole));
    assert_eq!(place.read("adapted/model.safetensors"), place.read("whole/model.safetensors"));
    assert!(!place.path("adapted.checkpoint").exists());
}

#[cfg(unix)]
#[test]
fn an_interrupted_evaluation_ends_with_status_130_and_writes_nothing() {
    let place = Place::with_model();
    place.write("long.jsonl", cli::id_documents(9, 20_000));
    let before = place.listing();
    let line = "eval --model model --text long.jsonl --per-token scores";
    let said = place.interrupted(line, |err| err.starts_with("device: ")).expect("a million tokens take a while");
    assert_eq!((said.status, said.out.as_str()), (Some(130), ""), "{}", said.err);
    assert!(said.err.lines().last().unwrap().starts_with("odyssey: interrupted: "), "{}", said.err);
    assert_eq!(place.listing(), before);
}

// ---------------------------------------------------------------------------------------------------------------------
// A base from scratch.

#[test]
fn pretrain_makes_a_model_that_is_evaluated_and_repeated_to_the_bit() {
    let place = Place::with_languages();
    place.write("pretrain.toml", PRETRAIN);
    let result = place.result("pretrain pretrain.toml --out base");
    assert_eq!((&result["schema"], &result["steps"]), (&json!("odyssey.adapt/1"), &json!(4)));
    // A new model knows nothing: its loss is about that of 224 equally likely tokens.
    let first = result["valid_loss"][0][1].as_f64().unwrap();
    assert!((first - 224f64.ln()).abs() < 0.1, "{first}");
    assert_has(&place.result("eval --model base --text languages/base"), &["/texts/0/ppl"]);
    place.result("pretrain pretrain.toml --out again");
    assert_eq!(place.read("again/model.safetensors"), place.read("base/model.safetensors"));
}
