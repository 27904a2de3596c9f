//! A document that no memory should be given to. Takes 3 GB of it, and ten seconds.

use std::fs;
use std::io::Write;
use std::path::Path;

use odyssey::error::Error;
use odyssey::text::{Corpus, DocumentRule};

/// Reads a corpus, and demands an input error whose message holds each of `parts`.
#[track_caller]
fn assert_refused(path: &Path, rule: DocumentRule, parts: &[&str]) {
    let Err(error) = Corpus::read(path, rule) else { panic!("expected an error about {parts:?}") };
    assert!(matches!(error, Error::Input { .. }), "{error:?}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
}

#[test]
fn a_document_longer_than_a_gibibyte_is_refused_however_small_its_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let bomb = |name: &str, line: &[u8], lines: usize| {
        let path = folder.path().join(name);
        let mut encoder = flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), flate2::Compression::fast());
        (0..lines).for_each(|_| encoder.write_all(line).unwrap());
        encoder.finish().unwrap();
        assert!(path.metadata().unwrap().len() < 1 << 24);
        path
    };
    let million = [b'a'; 1 << 20];
    let short = [[b'a'; 1 << 20].as_slice(), b"\n"].concat();
    for (name, line, what) in [
        ("a.txt.gz", million.as_slice(), "line 1: this line is longer than 1 GiB"),
        ("a.jsonl.gz", &million, "line 1: this line is longer than 1 GiB"),
        ("b.txt.gz", &short, "line 1024: this document is longer than 1 GiB"),
        ("a.parquet.gz", &million, "holds more than 1 GiB"),
    ] {
        assert_refused(&bomb(name, line, 1025), DocumentRule::BlankLine, &[name, what]);
    }
    let path = folder.path().join("b.txt.gz");
    assert_refused(&path, DocumentRule::File, &["b.txt.gz: line 1024", "one document, is longer than 1 GiB"]);
}
