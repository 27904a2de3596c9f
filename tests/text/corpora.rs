//! Corpora and domains.

use super::formats::gzip;
use super::*;

#[test]
fn an_empty_line_separates_documents_whose_own_line_breaks_stay() {
    let folder = folder();
    // Python: s.strip("\n").split("\n\n") == ["a\nb", "\nc", "", "d"]; the empty one is dropped.
    let path = write(folder.path().join("a.txt"), "\n\na\nb\n\n\nc\n\n\n\nd\n");
    let corpus = Corpus::read(&path, DocumentRule::BlankLine).unwrap();
    assert_eq!(texts(&corpus), ["a\nb", "\nc", "d"]);
    assert_eq!(corpus.path, path);
}

/// Python's `text.replace("\r\n", "\n").removeprefix("\ufeff").strip("\n").split("\n\n")`, empty ones dropped.
fn paragraphs(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n");
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).trim_matches('\n');
    text.split("\n\n").filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

#[test]
fn documents_read_line_by_line_are_those_of_the_whole_text() {
    let folder = folder();
    // Every text of up to seven of these pieces would be 6^7; each number from 0 picks another one.
    let pieces = ["\n", "\n\n", "\r\n", "\r", "a", "\u{feff}", "é b"];
    for number in (0..40_000_usize).step_by(7) {
        let digits = (0..8).scan(number * 144 + number % 11, |rest, _| {
            let digit = *rest % pieces.len();
            *rest /= pieces.len();
            Some(pieces[digit])
        });
        let text: String = digits.chain(["x"]).collect();
        let path = write(folder.path().join("a.txt"), &text);
        assert_eq!(texts(&Corpus::read(&path, DocumentRule::BlankLine).unwrap()), paragraphs(&text), "{text:?}");
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_do_not_change_documents() {
    let folder = folder();
    let plain = write(folder.path().join("plain.txt"), "a\nb\n\nc\n");
    let windows = write(folder.path().join("windows.TXT"), "\u{feff}a\r\nb\r\n\r\nc\r\n");
    let [plain, windows] = [plain, windows].map(|path| Corpus::read(&path, DocumentRule::BlankLine).unwrap());
    assert_eq!(plain.documents, windows.documents);
    assert_eq!(plain.hash, windows.hash);
}

#[test]
fn a_file_as_one_document_keeps_every_byte() {
    let folder = folder();
    let text = "\u{feff}\r\na\n\nb \n\n";
    let corpus = Corpus::read(&write(folder.path().join("a.txt"), text), DocumentRule::File).unwrap();
    assert_eq!(texts(&corpus), [text]);
}

#[test]
fn json_lines_give_a_document_each_and_empty_ones_are_passed_over() {
    let folder = folder();
    let content = "{\"text\": \"a\\n\\nb\", \"url\": 3}\n\n \r\n{\"text\": \"\"}\r\n{\"text\": \" é\"}";
    let corpus = Corpus::read(&write(folder.path().join("a.jsonl"), content), DocumentRule::File).unwrap();
    assert_eq!(texts(&corpus), ["a\n\nb", " é"]);

    let content = "{\"ids\": [1, 2]}\n{\"ids\": []}\n{\"ids\": [4294967295]}\n";
    let corpus = Corpus::read(&write(folder.path().join("b.jsonl"), content), DocumentRule::BlankLine).unwrap();
    assert_eq!(corpus.documents, ids_corpus(&[&[1, 2], &[u32::MAX]]).documents);
    assert_input_error(corpus.texts(), &["b.jsonl", "token ids", "`text`"]);
}

#[test]
fn the_hash_depends_on_the_documents_and_not_on_the_file_format() {
    let folder = folder();
    let plain = write(folder.path().join("a.txt"), "one\n\ntwo\n");
    let lines = write(folder.path().join("a.jsonl"), "{\"text\":\"one\"}\n{\"text\":\"two\"}\n");
    let [plain, lines] = [plain, lines].map(|path| Corpus::read(&path, DocumentRule::BlankLine).unwrap().hash);
    assert_eq!(plain, lines);
    let others = [
        text_corpus(&["one", "two"]).hash,
        text_corpus(&["two", "one"]).hash,
        text_corpus(&["onet", "wo"]).hash,
        text_corpus(&["onetwo"]).hash,
        text_corpus(&["ids\u{1}\0\0\0"]).hash,
        ids_corpus(&[&[1]]).hash,
    ];
    assert_eq!(others[0], plain);
    assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), others.len());
}

#[test]
fn a_bad_line_is_named_with_its_number_and_fault() {
    let folder = folder();
    let good = "{\"text\": \"fine\"}\n\n";
    for (line, fault) in [
        ("{\"text\": \"open", "EOF"),
        ("{\"text\": 3}", "expected a string"),
        ("{\"ids\": [1, -1]}", "expected u32"),
        ("{\"ids\": [4294967296]}", "expected u32"),
        ("{\"ids\": \"1 2\"}", "expected a sequence"),
        ("{\"body\": \"x\"}", "neither `text` nor `ids`"),
        ("{\"text\": \"x\", \"ids\": [1]}", "both `text` and `ids`"),
        ("[\"x\", null]", "not a JSON object"),
        ("words", "not a JSON object"),
        ("{\"ids\": [1]}", "one kind"),
    ] {
        let path = write(folder.path().join("a.jsonl"), format!("{good}{line}\n{good}"));
        assert_input_error(Corpus::read(&path, DocumentRule::BlankLine), &["a.jsonl: line 3", fault]);
    }
}

#[test]
fn text_that_is_not_utf8_is_named_with_line_and_byte() {
    let folder = folder();
    for (name, content, byte) in [
        ("a.txt", b"caf\xc3\xa9\nna\xefve\n".as_slice(), "byte 8"),
        ("a.jsonl", b"{\"ids\": [1]}\nna\xefve\n", "byte 15"),
    ] {
        let path = write(folder.path().join(name), content);
        let parts = [&format!("{name}: line 2"), "not UTF-8", byte, "iconv"];
        assert_input_error(Corpus::read(&path, DocumentRule::BlankLine), &parts);
    }
}

#[test]
fn other_formats_are_refused_with_what_is_read_and_a_cure() {
    let folder = folder();
    for (name, cure) in [
        ("a.csv", "convert it to .jsonl"),
        ("a.txt.xz", "unpack it"),
        ("a.gz", "books.txt.gz"),
        ("a.tar.gz", "where a domain is expected"),
        (".txt", "rename"),
        ("a.md", "rename"),
        ("noname", "rename"),
    ] {
        let path = write(folder.path().join(name), "text");
        assert_input_error(Corpus::read(&path, DocumentRule::BlankLine), &[name, ".txt", ".jsonl", cure]);
    }
    assert_input_error(
        Corpus::read(&folder.path().join("gone.txt"), DocumentRule::BlankLine),
        &["gone.txt", "no such"],
    );
}

#[test]
fn a_corpus_without_a_document_is_refused() {
    let folder = folder();
    for (name, content) in
        [("a.txt", ""), ("b.txt", "\n\n\n"), ("c.txt", " \n\n\t\n"), ("d.jsonl", "\n"), ("e.jsonl", "{\"ids\": []}")]
    {
        let path = write(folder.path().join(name), content);
        for rule in [DocumentRule::BlankLine, DocumentRule::File] {
            assert_input_error(Corpus::read(&path, rule), &[name, "no document"]);
        }
    }
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_input_error(Corpus::read(&empty, DocumentRule::BlankLine), &["empty", "no file to read", ".jsonl"]);
    write(empty.join("a.arrow"), "");
    assert_input_error(Corpus::read(&empty, DocumentRule::BlankLine), &["a.arrow", "convert"]);
}

#[test]
fn a_folder_is_read_sorted_by_path_at_every_depth() {
    let folder = folder();
    for (name, content) in [
        ("b.txt", "3"),
        ("a/z.jsonl", "{\"text\": \"2\"}"),
        ("a/b/c.txt", "1\n\n1b"),
        ("c.md", "not read"),
        ("c.tar.gz", "not read"),
        (".hidden.txt", "not read"),
        (".git/x.txt", "not read"),
    ] {
        write(folder.path().join(name), content);
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), folder.path().join("a/round")).unwrap();
    let corpus = Corpus::read(folder.path(), DocumentRule::BlankLine).unwrap();
    assert_eq!(texts(&corpus), ["1", "1b", "2", "3"]);

    write(folder.path().join("d.jsonl"), "{\"ids\": [1]}");
    assert_input_error(Corpus::read(folder.path(), DocumentRule::BlankLine), &["d.jsonl", "one kind"]);
}

#[test]
fn a_folder_with_three_split_files_is_a_domain_named_after_it() {
    let folder = folder();
    let path = folder.path().join("arxiv_cs.CL");
    write(path.join("train.txt"), "a");
    write(path.join("valid.jsonl"), "{\"text\": \"b\"}");
    let test = write(path.join("test.txt"), "c");
    write(path.join("notes.txt"), "no split");
    let domain = Domain::open(&path, DocumentRule::BlankLine).unwrap();
    assert_eq!(domain.name, "arxiv_cs.CL");
    let all = Split::ALL.map(|split| domain.split(split).unwrap());
    assert_eq!(all.each_ref().map(|corpus| texts(corpus)), [["a"], ["b"], ["c"]]);
    assert_eq!(all[2].path, test);

    let preferred = open_corpus(&path, Split::Valid, DocumentRule::BlankLine).unwrap();
    assert_eq!(preferred.documents, all[1].documents);
    let whole = open_corpus(&test, Split::Valid, DocumentRule::BlankLine).unwrap();
    assert_eq!(whole.documents, all[2].documents);
}

#[test]
fn a_missing_empty_or_doubled_split_is_named() {
    let folder = folder();
    let path = folder.path().join("domain");
    write(path.join("train.txt"), "a");
    write(path.join("test.txt"), "c");
    let open = || Domain::open(&path, DocumentRule::BlankLine);
    assert_input_error(open(), &["domain", "no valid.txt, valid.jsonl or valid.parquet"]);
    assert!(open_corpus(&path, Split::Test, DocumentRule::BlankLine).is_ok());
    assert_input_error(open_corpus(&path, Split::Valid, DocumentRule::BlankLine), &["no valid.txt"]);

    write(path.join("valid.txt"), "");
    assert_input_error(open(), &["valid.txt", "the valid split is empty"]);
    write(path.join("valid.txt"), " \n");
    assert_input_error(open().unwrap().split(Split::Valid), &["valid.txt", "no document"]);
    write(path.join("valid.txt"), "b");
    write(path.join("train.jsonl"), "{\"text\": \"a\"}");
    assert_input_error(open(), &["train.txt and train.jsonl", "remove or rename"]);
    fs::rename(path.join("train.jsonl"), path.join("train.txt.gz")).unwrap();
    assert_input_error(open(), &["train.txt and train.txt.gz", "remove or rename"]);
    assert_input_error(Domain::open(folder.path().join("gone"), DocumentRule::BlankLine), &["gone", "no such"]);
}

#[test]
fn split_files_of_the_hub_are_known_by_their_names_in_order_and_in_a_data_folder() {
    let folder = folder();
    for inside in ["", "data"] {
        let path = folder.path().join(format!("set{inside}"));
        let place = |name: &str| path.join(inside).join(name);
        // Written out of order: the number counts.
        write(place("train-00010-of-00011.jsonl"), "{\"text\": \"k\"}");
        for number in (0..10).rev() {
            write(place(&format!("train-{number:05}-of-00011.txt")), format!("{number}"));
        }
        write(place("validation-00000-of-00001.jsonl.gz"), gzip(b"{\"text\": \"v\"}"));
        write(place("test-00000-of-00002.txt"), "a\n\nb");
        write(place("test-00001-of-00002.txt"), "c");
        write(place("README.md"), "no split");
        let open = || Domain::open(&path, DocumentRule::BlankLine);
        // Shards of one ending make a set.
        assert_input_error(open(), &["1 of the 11 files train-…-of-00011.jsonl", "00000 is missing", "download"]);
        fs::remove_file(place("train-00010-of-00011.jsonl")).unwrap();
        write(place("train-00010-of-00011.txt"), "k");
        let domain = open().unwrap();
        let [train, valid, test] = Split::ALL.map(|split| domain.split(split).unwrap());
        assert_eq!(texts(&train), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "k"]);
        assert_eq!((texts(&valid), texts(&test)), (vec!["v"], vec!["a", "b", "c"]));
        assert_eq!((test.path.as_path(), test.split, valid.split), (path.as_path(), Some(Split::Test), None));
        assert_eq!(open_corpus(&path, Split::Test, DocumentRule::BlankLine).unwrap(), test);
        // A split stands there once.
        write(place("valid.txt"), "again");
        let parts = ["valid.txt and validation-00000-of-00001.jsonl.gz", "expected one valid split"];
        assert_input_error(open(), &parts);
    }
}

#[test]
fn one_corpus_is_divided_by_content_about_80_10_10() {
    let folder = folder();
    let divide = |documents: &[String]| {
        let path = write(folder.path().join("my.books.txt"), documents.join("\n\n"));
        let domain = Domain::open(&path, DocumentRule::BlankLine).unwrap();
        assert_eq!(domain.name, "my.books");
        Split::ALL.map(|split| {
            let corpus = domain.split(split).unwrap();
            assert_eq!((corpus.path.as_path(), corpus.split), (path.as_path(), Some(split)));
            texts(&corpus).into_iter().map(str::to_owned).collect::<Vec<_>>()
        })
    };
    let documents: Vec<String> = (0..1000).map(|i| format!("document {i}")).collect();
    let parts = divide(&documents);
    let [train, valid, test] = parts.each_ref().map(Vec::len);
    assert_eq!(train + valid + test, 1000);
    // Three standard deviations of a binomial with n = 1000: 38 at p = 0.8, 28 at p = 0.1.
    assert!(
        train.abs_diff(800) <= 38 && valid.abs_diff(100) <= 28 && test.abs_diff(100) <= 28,
        "{train} {valid} {test}"
    );
    let together: BTreeSet<&String> = parts.iter().flatten().collect();
    assert_eq!(together, documents.iter().collect());

    // Others around it, another order, a copy: every document stays where it was.
    let more: Vec<String> = (500..1500).rev().chain([700]).map(|i| format!("document {i}")).collect();
    for (before, after) in parts.iter().zip(divide(&more)) {
        for document in after.iter().filter(|document| documents.contains(document)) {
            assert!(before.contains(document), "{document} changed its split");
        }
    }
}

#[test]
fn too_few_documents_to_divide_are_counted_in_the_error() {
    let folder = folder();
    let path = write(folder.path().join("a.txt"), "one\n\ntwo");
    let parts = ["a.txt", "of 2,", "add documents", "train.txt, valid.txt and test.txt"];
    assert_input_error(Domain::open(&path, DocumentRule::BlankLine), &parts);
}

#[test]
fn the_first_documents_are_whole_and_as_many_as_it_takes() {
    let corpus = text_corpus(&["abcd", "ef", "ghij", "k"]);
    for (bytes, documents) in [(1, 1), (4, 1), (5, 2), (6, 2), (7, 3), (10, 3), (11, 4), (99, 4)] {
        let first = corpus.clone().first(bytes).unwrap();
        assert_eq!(texts(&first), ["abcd", "ef", "ghij", "k"][..documents], "{bytes}");
        assert_eq!(first.hash == corpus.hash, documents == 4);
    }
    // Token ids take four bytes each.
    let ids = ids_corpus(&[&[1, 2], &[3], &[4, 5]]);
    for (bytes, documents) in [(8, 1), (9, 2), (12, 2), (13, 3)] {
        assert_eq!(ids.clone().first(bytes).unwrap().documents.len(), documents, "{bytes}");
    }
}
