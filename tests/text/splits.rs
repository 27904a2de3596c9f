//! Split names as the `datasets` library knows them. What is expected here was tried on `datasets` 5.2.

use super::*;

/// A folder with these files, each of which holds its own path as its only document.
fn set(files: &[&str]) -> TempDir {
    let folder = folder();
    for file in files {
        let content = match file.ends_with(".jsonl") {
            true => json!({"text": file}).to_string(),
            false => (*file).to_owned(),
        };
        write(folder.path().join(file), content);
    }
    folder
}

fn split_of(folder: &TempDir, split: Split) -> Result<Corpus, Error> {
    open_corpus(folder.path(), split, DocumentRule::BlankLine)
}

#[test]
fn every_spelling_of_a_split_names_its_files() {
    for (files, split, expected) in [
        (&["train.txt", "validation.txt", "test.txt"][..], Split::Valid, &["validation.txt"][..]),
        (&["train.txt", "dev.txt", "test.txt"], Split::Valid, &["dev.txt"]),
        (&["train.txt", "val.txt", "test.txt"], Split::Valid, &["val.txt"]),
        (&["training.txt", "testing.txt"], Split::Train, &["training.txt"]),
        (&["training.txt", "evaluation.txt"], Split::Test, &["evaluation.txt"]),
        (&["books_train.jsonl", "books_eval.jsonl"], Split::Test, &["books_eval.jsonl"]),
        (&["my books train 1.txt", "my books test 1.txt"], Split::Test, &["my books test 1.txt"]),
        (&["train_0.txt", "train_1.txt", "test_0.txt"], Split::Train, &["train_0.txt", "train_1.txt"]),
        (&["train1.txt", "test2.txt"], Split::Test, &["test2.txt"]),
        // By folder, at any depth; folders count before files.
        (&["train/a.txt", "train/b.txt", "test/a.txt"], Split::Train, &["train/a.txt", "train/b.txt"]),
        (&["data/train/a.txt", "data/my-test/deep/a.txt"], Split::Test, &["data/my-test/deep/a.txt"]),
        (&["train/test.txt", "test/train.txt"], Split::Test, &["test/train.txt"]),
        (&["en/train.txt", "en/test.txt", "fr/test.txt"], Split::Test, &["en/test.txt", "fr/test.txt"]),
        // The whole name before the numbers counts in `data`.
        (
            &["data/train-00000-of-00001-0a1b.txt", "data/test-00000-of-00001-9f.txt"],
            Split::Test,
            &["data/test-00000-of-00001-9f.txt"],
        ),
        // What only looks like one.
        (&["train.txt", "test.txt", "latest.txt", "contest.txt"], Split::Test, &["test.txt"]),
        (&["train.txt", "test.txt", "README.txt", "LICENSE", "dataset_info.json"], Split::Test, &["test.txt"]),
        (&["__pycache__/test.txt", ".cache/test.txt", "train.txt", "test.txt"], Split::Test, &["test.txt"]),
    ] {
        let folder = set(files);
        let corpus = split_of(&folder, split).unwrap();
        assert_eq!(texts(&corpus), expected, "{files:?}");
    }
}

#[test]
fn names_in_capitals_or_of_other_splits_are_none() {
    let folder = set(&["TRAIN.txt", "TEST.txt"]);
    assert_eq!(texts(&split_of(&folder, Split::Test).unwrap()), ["TEST.txt", "TRAIN.txt"]);
    let folder = set(&["data/train_sft-00000-of-00001.txt", "data/test_sft-00000-of-00001.txt"]);
    assert_input_error(split_of(&folder, Split::Test), &["no test.txt", "called test_sft, train_sft"]);
    let folder = set(&["train_and_test.txt"]);
    assert_input_error(split_of(&folder, Split::Test), &["train_and_test.txt", "says train and test"]);
}

#[test]
fn a_part_of_a_set_of_files_is_never_taken_for_the_whole() {
    for (files, says) in [
        (&["data/test-00000-of-00002-0a1b.txt"][..], "1 of the 2 files test-…-of-00002.txt: number 00001 is missing"),
        (&["test-00001-of-00002.txt"], "number 00000 is missing"),
        (&["test-00000-of-00001-aa.txt", "test-00000-of-00001-bb.txt"], "2 of the 1 files"),
        (&["part.00000-of-00003.txt", "part.00002-of-00003.txt"], "number 00001 is missing"),
        (&["part_1-of-3.txt", "part_2-of-3.txt"], "number 00000 is missing"),
    ] {
        assert_input_error(split_of(&set(files), Split::Test), &[says, "download the data set again"]);
    }
    // Some count from one.
    let folder = set(&["part-1-of-2.txt", "part-2-of-2.txt"]);
    assert_eq!(split_of(&folder, Split::Test).unwrap().documents.len(), 2);
    // Named by itself, a part is what was asked for.
    let part = set(&["test-00000-of-00002.txt"]);
    let path = part.path().join("test-00000-of-00002.txt");
    assert!(open_corpus(&path, Split::Test, DocumentRule::BlankLine).is_ok());
}

#[test]
fn what_is_left_out_of_a_folder_is_counted() {
    let folder = set(&["train.txt", "test.txt", "notes.txt", "figure.png", "LICENSE.txt", "setup.py"]);
    let reading = split_of(&folder, Split::Test).unwrap().reading;
    assert_eq!((reading.files, reading.documents, reading.bytes), (1, 1, 8));
    let count = |kind: &str| reading.left_out.get(kind).map(|found| (found.count, found.examples.clone()));
    assert_eq!(count("of no split"), Some((1, vec!["notes.txt".to_owned()])));
    assert_eq!(count("of another kind"), Some((2, vec!["figure.png".to_owned(), "setup.py".to_owned()])));
    assert_eq!(count("about the corpus"), Some((1, vec!["LICENSE.txt".to_owned()])));
    let line = reading.to_string();
    assert!(line.starts_with("1 file, 1 document, 8 bytes; left out: 1 about the corpus (LICENSE.txt), "), "{line}");
}

#[test]
#[cfg(target_os = "linux")]
fn names_that_are_not_utf8_are_read() {
    use std::os::unix::ffi::OsStrExt;
    let folder = folder();
    write(folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.txt")), "one");
    write(folder.path().join("b.txt"), "two");
    assert_eq!(Corpus::read(folder.path(), DocumentRule::BlankLine).unwrap().documents.len(), 2);
}

#[test]
#[cfg(unix)]
fn pipes_links_in_circles_and_devices_in_a_folder_are_not_opened() {
    let folder = folder();
    write(folder.path().join("a.txt"), "text");
    for (name, target) in [("round", "round"), ("zero.txt", "/dev/zero"), ("gone.txt", "nowhere"), ("up", "..")] {
        std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
    }
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("b.txt")).status();
    assert!(made.is_ok_and(|status| status.success()));
    // The circle is refused by name; without it everything else is counted and left out.
    assert_input_error(Corpus::read(folder.path(), DocumentRule::BlankLine), &["round", "leads back to itself"]);
    fs::remove_file(folder.path().join("round")).unwrap();
    let corpus = Corpus::read(folder.path(), DocumentRule::BlankLine).unwrap();
    assert_eq!(texts(&corpus), ["text"]);
    let left_out: u64 = corpus.reading.left_out.values().map(|found| found.count).sum();
    assert_eq!(left_out, 4, "{}", corpus.reading);
}

#[test]
fn a_data_set_of_several_subsets_asks_for_one() {
    let folder = set(&["en/test.txt", "fr/test.txt"]);
    let card = |names: &[&str]| {
        let files = |name| format!("- config_name: {name}\n  data_files:\n  - split: test\n    path: {name}/*\n");
        let head: String = names.iter().map(files).collect();
        write(folder.path().join("README.md"), format!("---\nconfigs:\n{head}---\n# A data set\n"));
    };
    card(&["en", "fr"]);
    assert_input_error(split_of(&folder, Split::Test), &["README.md", "subsets en, fr", "one subset"]);
    assert!(open_corpus(&folder.path().join("en"), Split::Test, DocumentRule::BlankLine).is_ok());
    card(&["all"]);
    assert_eq!(split_of(&folder, Split::Test).unwrap().documents.len(), 2);
}
