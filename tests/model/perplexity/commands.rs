//! The protocols from outside: `eval`, `compare` and studies.

use odyssey::evaluate::per_token;

use super::*;
use crate::cli::{Place, assert_has};

#[test]
fn every_protocol_goes_through_eval_per_token_files_and_compare() {
    let place = Place::with_languages();
    for name in PROTOCOLS {
        let of = format!("--text languages/lambda-1 --protocol {name}");
        let mut eval = place.result(&format!("eval --model model {of} --per-token {name} --by-position"));
        eval.as_object_mut().unwrap().remove("read"); // what was read of the texts is said beside it
        assert_eq!(eval["protocol"]["name"], name.to_string());
        let row = &eval["texts"][0];
        let (scored, result) = per_token::read(&place.path(&name.to_string())).unwrap();
        assert_eq!(serde_json::to_value(&result).unwrap(), eval);
        let counts = [scored.ids.len(), scored.scored().count()];
        assert_eq!(counts.map(|n| n as u64), ["tokens", "scored"].map(|key| row[key].as_u64().unwrap()), "{name}");
        for place in ["window", "document"] {
            assert_has(
                row,
                &["from", "to", "count", "nll"]
                    .map(|key| format!("/positions/{place}/0/{key}"))
                    .each_ref()
                    .map(String::as_str),
            );
            let bins = row["positions"][place].as_array().unwrap();
            assert_eq!(bins.iter().map(|bin| bin["count"].as_u64().unwrap()).sum::<u64>(), counts[1] as u64);
        }
        // Bytes and words are those of the whole text, of which half-window scores a half.
        let half = name == ProtocolName::HalfWindow;
        assert_eq!((row["bits_per_byte"].is_null(), row["word_ppl"].is_null()), (half, half), "{name}");
        assert_eq!(row["reason"].as_str().is_some_and(|reason| reason.contains("half of the text")), half, "{name}");
        // Scored again and compared, nothing has changed.
        let change = place.result(&format!("compare --before {name} --after model {of}"));
        assert_eq!(change["delta"], 0.0, "{name}");
        assert_eq!(change["scored"], row["scored"], "{name}");
        assert_ne!(change["types"][0]["token"], "#0", "tokens are called by their text");
    }
    // Protocols that read documents by themselves score every token of the text and no end-of-text.
    let [rolling, doc] = ["rolling", "doc"].map(|name| per_token::read(&place.path(name)).unwrap().0);
    assert!(rolling.scored().count() == rolling.ids.len() && doc.scored().count() == doc.ids.len());
    assert_eq!(rolling.ids, doc.ids);
    let (disjoint, _) = per_token::read(&place.path("disjoint")).unwrap();
    let documents = rolling.document.last().unwrap() + 1;
    assert_eq!(rolling.ids.len() + documents as usize - 1, disjoint.ids.len());
}

#[test]
fn the_table_shows_losses_by_position_only_where_asked_for() {
    let place = Place::with_languages();
    let line = "eval --model model --text languages/base languages/lambda-1 --context 16";
    let said = place.odyssey(&format!("{line} --by-position --quiet"));
    assert_eq!(said.status, Some(0), "{}", said.err);
    for heading in ["tokens before it in the window", "tokens before it in the document"] {
        assert_eq!(said.out.matches(heading).count(), 2, "{}", said.out);
    }
    assert!(said.out.contains(" 8–15 ") && !said.out.contains(" 16–31 \u{2502}"), "{}", said.out);
    let plain = place.odyssey(&format!("{line} --quiet"));
    assert!(!plain.out.contains("tokens before it"), "{}", plain.out);
    assert_eq!(place.result(line)["texts"][0]["positions"], Value::Null);
}

#[test]
fn what_a_protocol_cannot_do_is_refused_with_the_cure() {
    let place = Place::with_languages();
    let eval = "eval --model model --text languages/lambda-1";
    for (options, says) in [
        ("--protocol rolling --join newline", "--protocol rolling: reads every document by itself"),
        ("--protocol doc --join none", "leave --join out"),
        ("--protocol doc --stride 32", "--stride 32: doc windows do not overlap"),
        ("--protocol half-window --context 2", "--context 2: leaves nothing to predict; use at least 3"),
        ("--protocol rolling --context 65", "use at most --context 64"),
        ("--protocol m2d2-exact --stride 3", "--stride 3: m2d2-exact windows do not overlap"),
    ] {
        place.refused(&format!("{eval} {options}"), &[says]);
    }
    place.write("short.jsonl", r#"{"ids": [1, 2, 3, 4, 5]}"#);
    let short = "eval --model model --text short.jsonl --protocol half-window";
    place.refused(short, &["finds nothing to score in 5 tokens with windows of 64", "smaller --context"]);
    assert_eq!(place.result(&format!("{short} --context 5"))["texts"][0]["scored"], 2);

    let mut config = place.json("model/config.json");
    for key in ["bos_token_id", "eos_token_id"] {
        config.as_object_mut().unwrap().shift_remove(key);
    }
    place.write("model/config.json", config.to_string());
    let neither = "eval --model model --text test.jsonl --protocol rolling";
    place.refused(neither, &["the model names neither", "put `bos_token_id` or `eos_token_id` into its config.json"]);
}

#[test]
fn scorings_by_different_protocols_are_refused_in_words() {
    let place = Place::with_model();
    for (options, file) in [("", "a"), ("--context 32", "b"), ("--protocol rolling", "c"), ("--bos never", "d")] {
        place.result(&format!("eval --model model --text test.jsonl {options} --per-token {file}"));
    }
    for (other, says) in [
        ("b", "which differ in context (64 and 32), stride (64 and 32);"),
        ("c", "which differ in protocol (disjoint and rolling), prefix (none and 0), join (eot and apart);"),
        ("d", "which differ in bos (auto and never);"),
    ] {
        place.refused(&format!("compare --before a --after {other} --text test.jsonl"), &[says]);
    }
}

#[test]
fn a_study_scores_by_the_protocol_it_names() {
    let place = Place::with_languages();
    let study = "name = \"s\"\nmodels = [{ name = \"m\", path = \"model\", reference = \"languages/base\" }]\n\
                 domains = [{ path = \"languages/lambda-1\" }]\nsimilarity = { samples = 20, reference_samples = 40 }\n\
                 evaluation = { protocol = \"rolling\" }\n\
                 [[strategies]]\nname = \"full\"\nrecipe = { steps = 2, batch = 4 }\n";
    place.write("study.toml", study.replace("samples = 20", "chunk = 32, samples = 20"));
    let results = place.result("study run study.toml --out study");
    let row = &results["rows"][0];
    let eval = place.result("eval --model model --text languages/lambda-1 --protocol rolling");
    assert_eq!(row["fingerprint"], eval["protocol"]["fingerprint"]);
    assert_eq!(row["test_tokens"], eval["texts"][0]["tokens"], "every token of the text is scored");
    assert_eq!(row["zero_shot_ppl"], eval["texts"][0]["ppl"]);

    place.write("study.toml", format!("text = {{ join = \"newline\" }}\n{study}"));
    place.refused("study run study.toml --out other", &["protocol = \"rolling\": reads every document by itself"]);
}
