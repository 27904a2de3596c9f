//! What the command line says of texts: what was read, on standard error and in the JSON, and texts from standard input.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::cli::Place;
use super::*;

/// The golden GPT-2 with the tokenizer of this file.
fn place() -> Place {
    let place = Place::with_model();
    place.write("model/tokenizer.json", byte_level_json().to_string());
    place
}

/// Runs a command line with `input` on its standard input.
fn with_input(place: &Place, line: &str, input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_odyssey"))
        .args(line.split_whitespace())
        .current_dir(place.path(""))
        .envs([("ODYSSEY_DEVICE", "cpu"), ("HF_HUB_OFFLINE", "1"), ("XDG_RUNTIME_DIR", "/tmp")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn one_line_says_what_was_read_and_the_json_has_it_too() {
    let place = place();
    place.write(
        "notes.jsonl",
        "{\"body\": \"the cat sat\", \"id\": NaN}\n{\"body\": null}\n{\"body\": \"on the mat\"}\n",
    );
    let line = "eval --model model --text notes.jsonl --text-field body";
    let said = place.odyssey(line);
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(said.err.contains("read notes.jsonl: 1 file, 2 documents, 21 bytes, "), "{}", said.err);
    assert!(said.err.contains("left out: 1 without a text (null) (notes.jsonl: line 2)"), "{}", said.err);
    let result = place.result(line);
    let read = &result["read"][0];
    assert_eq!((&read["text"], &read["documents"], &read["bytes"]), (&json!("notes.jsonl"), &json!(2), &json!(21)));
    assert_eq!(read["tokens"], result["texts"][0]["tokens"]);
    assert_eq!(read["left_out"]["without a text (null)"]["count"], 1);
    place.refused("eval --model model --text notes.jsonl", &["line 1", "its keys are `body`, `id`", "--text-field"]);
}

#[test]
#[cfg(unix)]
fn standard_input_is_a_text() {
    let place = place();
    let text = "the cat sat on the mat\n\nthe end of the tale\n";
    place.write("a.txt", text);
    let number = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["texts"][0]["nll"].clone();
    let expected = place.result("eval --model model --text a.txt")["texts"][0]["nll"].clone();
    let lines = text.trim().split("\n\n").map(|text| format!("{}\n", json!({"text": text}))).collect::<String>();
    for input in [text.as_bytes().to_vec(), lines.into_bytes(), super::formats::gzip(text.as_bytes())] {
        for name in ["-", "/dev/stdin"] {
            let done = with_input(&place, &format!("eval --model model --json -q --text {name}"), &input);
            assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
            assert_eq!(number(&done.stdout), expected, "{name}");
        }
    }
    let empty = with_input(&place, "eval --model model -q --text -", b"");
    assert_eq!(empty.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&empty.stderr).contains("holds no document"));
}
