//! Two models are compared if their tokenizers do the same to the text, whatever their files look like.

use crate::cli;
use crate::cli::Place;
use odyssey::text::Tokenizer;
use serde_json::{Map, Value, json};

/// A byte-level BPE of the single bytes, a few merges and an end-of-text token.
fn tokenizer() -> Value {
    let bytes = (b'!'..=b'~').map(|byte| (byte as char).to_string()).chain(["Ġ".into(), "Ċ".into()]);
    let merged = ["he", "th", "the", "Ġthe", "in", "Ġin", "er"].map(str::to_owned);
    let tokens = ["<|endoftext|>".to_owned()].into_iter().chain(bytes).chain(merged);
    let vocab: Map<String, Value> = tokens.enumerate().map(|(id, token)| (token, id.into())).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<|endoftext|>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["h e", "t h", "t he", "Ġ the", "i n", "Ġ in", "e r"]},
    })
}

fn added(id: u32, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
           "special": true})
}

/// The same, saved by a program that spells everything out, in another order.
fn saved_again(tokenizer: &Value) -> Value {
    let old = &tokenizer["model"];
    let merges: Vec<Vec<&str>> =
        old["merges"].as_array().unwrap().iter().map(|merge| merge.as_str().unwrap().split(' ').collect()).collect();
    let mut vocab: Vec<(&String, &Value)> = old["vocab"].as_object().unwrap().iter().collect();
    vocab.sort_by_key(|(token, _)| *token);
    let vocab: Map<String, Value> = vocab.into_iter().map(|(token, id)| (token.clone(), id.clone())).collect();
    json!({
        "model": {"merges": merges, "ignore_merges": false, "byte_fallback": false, "fuse_unk": false,
                  "end_of_word_suffix": "", "continuing_subword_prefix": "", "unk_token": null, "dropout": null,
                  "vocab": vocab, "type": "BPE"},
        "decoder": tokenizer["decoder"],
        "post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {}},
        "pre_tokenizer": tokenizer["pre_tokenizer"], "normalizer": null, "added_tokens": tokenizer["added_tokens"],
        "padding": null, "truncation": null, "version": "1.0",
    })
}

const TEXT: &str = "the father in the inner ring\n\nother things in there, and here\n\n";

/// Two folders of one model, `before` and `after`, the second with this tokenizer.
fn place(after: &Value) -> Place {
    let place = Place::empty();
    for (folder, tokenizer) in [("before", &tokenizer()), ("after", after)] {
        cli::copy_model("gpt2_tied", &place.path(folder));
        place.write(&format!("{folder}/tokenizer.json"), tokenizer.to_string());
    }
    place.write("text.txt", TEXT.repeat(4));
    place
}

const COMPARE: &str = "compare --before before --after after --text text.txt";

#[test]
fn a_tokenizer_in_another_layout_is_the_same_tokenizer() {
    let after = saved_again(&tokenizer());
    let place = place(&after);
    let [a, b] = ["before", "after"].map(|folder| Tokenizer::load(&place.path(folder)).unwrap());
    assert_ne!(a.hash(), b.hash());
    assert_eq!(a.difference(&b), None);
    let result = place.result(COMPARE);
    assert_eq!(result["delta"], json!(0.0));
    assert_eq!(result["divergence"]["kl"], json!(0.0));
    // And so with what was scored before, by either.
    place.result("eval --model before --text text.txt --per-token before.safetensors");
    place.result("eval --model after --text text.txt --per-token after.safetensors");
    for (before, after) in [("before.safetensors", "after"), ("before", "after.safetensors")] {
        assert_eq!(place.result(&format!("compare --before {before} --after {after} --text text.txt"))["delta"], 0.0);
    }
    let files = "compare --before before.safetensors --after after.safetensors --text text.txt";
    assert_eq!(place.result(files)["delta"], 0.0);
}

#[test]
fn tokens_that_were_added_and_that_the_text_does_not_have_change_nothing() {
    let mut after = saved_again(&tokenizer());
    let next = after["model"]["vocab"].as_object().unwrap().len() as u32;
    let more = ["<pad>", "<|user|>"].iter().zip(next..).map(|(token, id)| added(id, token));
    after["added_tokens"].as_array_mut().unwrap().extend(more);
    let place = place(&after);
    let [a, b] = ["before", "after"].map(|folder| Tokenizer::load(&place.path(folder)).unwrap());
    assert_eq!(a.difference(&b), Some(format!("only one of them has token {next}, \"<pad>\"")));
    let result = place.result(COMPARE);
    assert_eq!((&result["delta"], &result["divergence"]["kl"]), (&json!(0.0), &json!(0.0)));
}

#[test]
fn tokenizers_that_cut_the_text_differently_are_refused_with_the_first_difference() {
    let mut fewer = tokenizer();
    fewer["model"]["merges"] = json!(["h e", "t h", "t he", "Ġ the", "i n", "Ġ in"]);
    place(&fewer).refused(COMPARE, &["before and after", "read the text as other tokens: number", "\"er\"", "merges"]);

    let mut small = tokenizer();
    small["normalizer"] = json!({"type": "Replace", "pattern": {"String": "father"}, "content": "mother"});
    place(&small).refused(COMPARE, &["read the text as other tokens", "normaliser"]);

    // Two tokens have changed their names, so that the text has the same ids in another order.
    let mut swapped = tokenizer();
    let vocab = swapped["model"]["vocab"].as_object_mut().unwrap();
    let [f, g] = ["f", "g"].map(|token| vocab[token].clone());
    vocab.insert("f".into(), g);
    vocab.insert("g".into(), f.clone());
    place(&swapped)
        .refused(COMPARE, &["read the text as other tokens", &format!("token {f} is \"f\" in one and \"g\"")]);
}

#[test]
fn tokens_that_only_the_vocabulary_knows_forbid_the_divergence_alone() {
    let mut swapped = tokenizer();
    let vocab = swapped["model"]["vocab"].as_object_mut().unwrap();
    let [y, z] = ["Y", "Z"].map(|token| vocab[token].clone());
    vocab.insert("Y".into(), z);
    vocab.insert("Z".into(), y.clone());
    let result = place(&swapped).result(COMPARE);
    assert_eq!(result["delta"], json!(0.0));
    assert_eq!(result.get("divergence"), None);
    let reason = result["divergence_reason"].as_str().unwrap();
    assert!(reason.contains(&format!("token {y}, which the text does not have, is \"Y\"")), "{reason}");
}

#[test]
fn a_padded_token_table_is_compared_without_the_divergence() {
    let place = place(&tokenizer());
    // Rows that no token has, as tables are padded to a multiple of 64 or 128.
    let (rows, channels) = (512, 48);
    let path = place.path("after/model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let table = tensors.names().into_iter().find(|name| name.ends_with("wte.weight")).unwrap().to_owned();
    let view = tensors.tensor(&table).unwrap();
    assert_eq!(view.shape(), [rows, channels]);
    let size = view.data().len() / rows;
    let mut padded = view.data().to_vec();
    padded.resize(padded.len() + 64 * size, 0);
    let larger = safetensors::tensor::TensorView::new(view.dtype(), vec![rows + 64, channels], &padded).unwrap();
    let all = tensors.tensors().into_iter().map(|(name, view)| match name == table {
        true => (name, larger.clone()),
        false => (name, view),
    });
    let whole = safetensors::serialize(all, None).unwrap();
    std::fs::write(&path, whole).unwrap();
    let mut config = place.json("after/config.json");
    config["vocab_size"] = (rows + 64).into();
    place.write("after/config.json", config.to_string());

    for (before, after) in [("before", "after"), ("after", "before")] {
        let line = format!("compare --before {before} --after {after} --text text.txt");
        let result = place.result(&line);
        let sides = ["before", "after"].map(|side| result[side]["nll"].as_f64().unwrap());
        assert!((result["delta"].as_f64().unwrap() - (sides[1] - sides[0])).abs() < 1e-12);
        // 64 logits of 0 take a share of what the 512 tokens had.
        let more = sides[usize::from(after == "after")] - sides[usize::from(after != "after")];
        assert!((0.01..0.2).contains(&more), "{sides:?}");
        assert_eq!(result.get("divergence"), None);
        let reason = result["divergence_reason"].as_str().unwrap();
        assert!(reason.contains("512") && reason.contains("576"), "{reason}");
        let said = place.odyssey(&line).out;
        assert!(said.contains("no KL(before‖after): the models predict"), "{said}");
    }
}
