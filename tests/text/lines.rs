//! JSON lines as other programs write them.

use super::*;

fn read(content: &str) -> Result<Corpus, Error> {
    read_field(content, None)
}

fn read_field(content: &str, field: Option<&str>) -> Result<Corpus, Error> {
    let folder = folder();
    let path = write(folder.path().join("a.jsonl"), content);
    Corpus::read(&path, ReadOptions { document: DocumentRule::BlankLine, text_field: field.map(str::to_owned) })
}

#[test]
fn quirks_that_have_one_meaning_are_read() {
    for (content, expected) in [
        // Python's json.dumps writes these where a number is not finite; inside a text they are words.
        ("{\"text\": \"NaN and Infinity\", \"score\": NaN}\n", &["NaN and Infinity"][..]),
        ("{\"score\": -Infinity, \"text\": \"a\\\"NaN\"}\n{\"text\": \"b\", \"s\": [Infinity]}", &["a\"NaN", "b"]),
        // Line ends of old Macs and of Windows, marks at the start of any line, empty lines.
        ("{\"text\": \"a\"}\r{\"text\": \"b\"}\r\r{\"text\": \"c\"}", &["a", "b", "c"]),
        ("\u{feff}{\"text\": \"a\"}\r\n\r\n\u{feff}{\"text\": \"b\"}\r\n", &["a", "b"]),
        // Line separators of Unicode end no line.
        ("{\"text\": \"a\u{2028}b\u{2029}c\u{85}d\"}\n", &["a\u{2028}b\u{2029}c\u{85}d"]),
        // Half a character elsewhere does no harm, and neither does what is nested there.
        ("{\"meta\": \"\\ud83d\", \"text\": \"a\", \"more\": {\"text\": [1, {}]}}", &["a"]),
        ("{\"text\": \"\\ud83d\\ude42\"}", &["🙂"]),
        ("{\"te\\u0078t\": \"escaped key\"}", &["escaped key"]),
    ] {
        assert_eq!(texts(&read(content).unwrap()), expected, "{content:?}");
    }
}

#[test]
fn rows_whose_text_is_null_are_left_out_and_counted() {
    let corpus = read("{\"text\": null}\n{\"text\": \"a\"}\n{\"text\": null, \"ids\": null}\n").unwrap();
    assert_eq!(texts(&corpus), ["a"]);
    let [null] = corpus.reading.left_out.values().collect::<Vec<_>>()[..] else { panic!("one kind is left out") };
    assert_eq!(null.count, 2);
    assert!(null.examples[0].ends_with("a.jsonl: line 1") && null.examples[1].ends_with("line 3"), "{null}");
    assert_input_error(read("{\"text\": null}\n"), &["a.jsonl", "no document"]);
    // pyarrow's file with a null in its second row.
    let path = common::fixture("corpora").join("null.parquet");
    let corpus = Corpus::read(&path, DocumentRule::BlankLine).unwrap();
    let places: Vec<&str> =
        corpus.reading.left_out.values().flat_map(|found| &found.examples).map(String::as_str).collect();
    assert!(places[0].ends_with("null.parquet: row 2"), "{places:?}");
}

#[test]
fn what_cannot_be_read_is_refused_by_line_with_a_cure_that_fits() {
    for (line, fault, cure) in [
        ("[", "not a JSON object", "jq -c '.[]'"),
        ("[{\"text\": \"a\"}]", "not a JSON object", "jq -c '.[]'"),
        ("{", "EOF", "jq -c ."),
        ("{\"text\": \"a\"}{\"text\": \"b\"}", "trailing characters", "on a line of its own"),
        ("{\"text\": \"a\", \"text\": \"b\"}", "duplicate field `text`", "keep the one"),
        ("{\"text\": \"\\ud83d\"}", "surrogate", "surrogatepass"),
        ("{\"text\": [\"a\", \"b\"]}", "`text` is a list, expected a string", "name another field"),
        ("{\"text\": {\"en\": \"a\"}}", "`text` is an object, expected a string", "name another field"),
        ("{\"content\": \"a\", \"id\": NaN}", "its keys are `content`, `id`", "text_field"),
    ] {
        let content = format!("{{\"text\": \"fine\"}}\n{line}\n");
        assert_input_error(read(&content), &["a.jsonl: line 2", fault, cure]);
    }
}

#[test]
fn the_field_of_the_text_can_have_any_name() {
    let content = "{\"content\": \"a\", \"text\": 3}\n{\"content\": \"b\"}\n";
    assert_eq!(texts(&read_field(content, Some("content")).unwrap()), ["a", "b"]);
    assert_input_error(read_field(content, Some("body")), &["line 1", "neither `body` nor `ids`", "`content`, `text`"]);
    // `ids` is a name like others where it is asked for.
    assert_eq!(texts(&read_field("{\"ids\": \"a\"}", Some("ids")).unwrap()), ["a"]);
    let columns = common::fixture("corpora").join("no_text.parquet");
    let options = |field: &str| ReadOptions { text_field: Some(field.to_owned()), ..ReadOptions::default() };
    assert!(Corpus::read(&columns, options("body")).is_ok());
    assert_input_error(Corpus::read(&columns, options("title")), &["no column `title`", "body", "text_field"]);
}
