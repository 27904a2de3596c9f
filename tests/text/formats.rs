//! Corpora as other programs write them: compressed, in columns, in archives.

use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use super::*;

/// A file that `tests/scripts/make_corpora.py` made.
fn made(name: &str) -> PathBuf {
    common::fixture("corpora").join(name)
}

/// What that script wrote into each of them.
fn documents() -> Vec<String> {
    serde_json::from_slice(&fs::read(made("documents.json")).unwrap()).unwrap()
}

fn read(path: &Path) -> Result<Corpus, Error> {
    Corpus::read(path, DocumentRule::BlankLine)
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A member of a tar archive: a header whose name is written as it is, and the content in blocks of 512.
fn member(name: &str, kind: tar::EntryType, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let padding = vec![0; content.len().next_multiple_of(512) - content.len()];
    [header.as_bytes().as_slice(), content, &padding].concat()
}

fn file(name: &str, content: &str) -> Vec<u8> {
    member(name, tar::EntryType::Regular, content.len() as u64, content.as_bytes())
}

fn three_splits() -> Vec<u8> {
    ["train", "valid", "test"].map(|split| file(&format!("d/{split}.txt"), split)).concat()
}

const END: [u8; 1024] = [0; 1024];

#[test]
fn files_of_other_programs_hold_the_documents_that_were_put_in() {
    let expected = documents();
    let hash = text_corpus(&expected.iter().map(String::as_str).collect::<Vec<_>>()).hash;
    for name in [
        "two_members.txt.gz", // gzip: two members, one after the other
        "lines.jsonl.zst",    // zstd
        "snappy.parquet",     // pyarrow: three row groups, dictionaries
        "gzip.parquet",       // second version of pages, small ones
        "delta.parquet",      // prefixes left out, nothing compressed
        "required.parquet",   // no nulls possible, Zstandard
        "polars.parquet",     // polars' own writer
    ] {
        let corpus = read(&made(name)).unwrap();
        assert_eq!(texts(&corpus), expected, "{name}");
        assert_eq!(corpus.hash, hash, "{name}");
    }
}

#[test]
fn compression_changes_nothing_about_a_file() {
    let folder = folder();
    let pack = |name: &str, bytes: &[u8]| {
        let plain = write(folder.path().join(name), bytes);
        let gzipped = write(folder.path().join(format!("{name}.gz")), gzip(bytes));
        let zstandard = write(folder.path().join(format!("{name}.ZST")), zstd(bytes));
        [plain, gzipped, zstandard]
    };
    let lines = b"{\"text\": \"a\"}\r\n\n{\"text\": \"b\"}";
    for (name, bytes) in [
        ("a.txt", b"\xef\xbb\xbfa\r\nb\n\n\n\nc\n".as_slice()),
        ("a.jsonl", lines),
        ("a.parquet", &fs::read(made("polars.parquet")).unwrap()),
    ] {
        for rule in [DocumentRule::BlankLine, DocumentRule::File] {
            let [plain, gzipped, zstandard] = pack(name, bytes).map(|path| Corpus::read(&path, rule).unwrap());
            assert!(plain.documents == gzipped.documents && plain.hash == gzipped.hash, "{name}.gz");
            assert!(plain.documents == zstandard.documents && plain.hash == zstandard.hash, "{name}.ZST");
        }
    }
    // What is wrong with a text is said with the same line and byte.
    for (name, bytes, says) in [
        ("b.txt", b"caf\xc3\xa9\nna\xefve\n".as_slice(), "line 2: not UTF-8 at byte 8"),
        ("b.jsonl", b"{\"text\": \"a\"}\n{\"text\": 3}\n", "line 2: not an object with `text` or `ids`"),
        ("c.txt", b"\n \n", "holds no document"),
        ("d.txt", b"", "holds no document"),
    ] {
        for path in pack(name, bytes) {
            assert_input_error(read(&path), &[path.file_name().unwrap().to_str().unwrap(), says]);
        }
    }
}

#[test]
fn compressed_data_that_is_cut_short_or_followed_by_something_else_is_refused() {
    let folder = folder();
    let text = "some text, and more of it\n".repeat(50);
    let line = "{\"text\": \"some text\"}\n".repeat(50);
    for (name, whole) in [
        ("a.txt.gz", gzip(text.as_bytes())),
        ("a.txt.zst", zstd(text.as_bytes())),
        ("a.jsonl.gz", gzip(line.as_bytes())),
        ("a.jsonl.zst", zstd(line.as_bytes())),
    ] {
        let path = folder.path().join(name);
        let read_bytes = |bytes: &[u8]| read(&write(path.clone(), bytes));
        assert!(read_bytes(&whole).is_ok());
        let twice = [whole.as_slice(), &whole].concat();
        assert_eq!(texts(&read_bytes(&twice).unwrap()).concat().matches("some").count(), 100, "{name}");
        for broken in [
            &whole[..whole.len() - 1],
            &whole[..whole.len() / 2],
            &twice[..whole.len() + 5],
            &[whole.as_slice(), b"garbage"].concat(),
            &[whole.as_slice(), b"\0"].concat(),
            b"not compressed at all",
        ] {
            assert_input_error(read_bytes(broken), &[name, "damaged, cut short or followed by", "compress it again"]);
        }
    }
    // A frame that asks for 2 GiB of memory to be read with (`zstd --long=31`).
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(31)).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(text.as_bytes()).unwrap();
    let path = write(folder.path().join("long.txt.zst"), encoder.finish().unwrap());
    assert_input_error(read(&path), &["long.txt.zst", "memory", "without --long"]);
}

#[test]
fn a_parquet_file_without_texts_is_refused_by_column_or_row() {
    for (name, says) in [
        ("no_text.parquet", "has no column `text`; its columns are text.url, body"),
        ("numbers.parquet", "its column `text` does not hold strings"),
        ("lists.parquet", "has no column `text`"),
        ("not_utf8.parquet", "row 2: not UTF-8 at byte 3 of `text`"),
        ("brotli.parquet", "snappy, zstd or gzip"),
    ] {
        assert_input_error(read(&made(name)), &[name, says]);
    }
    let folder = folder();
    assert_input_error(read(&write(folder.path().join("a.parquet"), "PAR1")), &["a.parquet", "not a whole parquet"]);
}

#[test]
fn bytes_of_a_parquet_file_are_text_where_it_says_so_or_nothing_and_not_where_they_are_numbers() {
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::writer::SerializedFileWriter;
    let folder = folder();
    let path = folder.path().join("a.parquet");
    for (annotation, is_text) in [
        ("", true),
        ("(UTF8)", true),
        ("(STRING)", true),
        ("(ENUM)", true),
        ("(JSON)", true),
        ("(DECIMAL(20,2))", false),
        ("(BSON)", false),
    ] {
        let schema = format!("message m {{ required binary text {annotation}; }}");
        let schema = Arc::new(parquet::schema::parser::parse_message_type(&schema).unwrap());
        let mut file = SerializedFileWriter::new(File::create(&path).unwrap(), schema, Default::default()).unwrap();
        let mut group = file.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        // As a number it is 448 378 203 247.
        column.typed::<ByteArrayType>().write_batch(&[ByteArray::from("hello")], None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        file.close().unwrap();
        match is_text {
            true => assert_eq!(read(&path).unwrap().texts().unwrap().collect::<String>(), "hello", "{annotation}"),
            false => assert_input_error(read(&path), &["its column `text` does not hold strings"]),
        }
    }
}

#[test]
fn compressed_files_and_columns_stand_in_folders_and_for_splits() {
    let folder = folder();
    let path = folder.path().join("domain");
    write(path.join("train.txt.gz"), gzip(b"a\n\nb"));
    write(path.join("valid.jsonl.zst"), zstd(b"{\"text\": \"c\"}"));
    fs::copy(made("polars.parquet"), path.join("test.parquet")).unwrap();
    let domain = Domain::open(&path, DocumentRule::BlankLine).unwrap();
    let [train, valid, test] = Split::ALL.map(|split| domain.split(split).unwrap());
    assert_eq!((texts(&train), texts(&valid)), (vec!["a", "b"], vec!["c"]));
    assert_eq!(texts(&test), documents());
    // As one corpus, by path: test, train, valid.
    let all: Vec<&str> = [&test, &train, &valid].into_iter().flat_map(texts).collect();
    assert_eq!(texts(&read(&path).unwrap()), all);
}

#[test]
fn a_corpus_is_named_without_the_endings_that_say_what_it_is() {
    let folder = folder();
    let hundred = (0..100).map(|i| format!("document {i}")).collect::<Vec<_>>().join("\n\n");
    for name in ["my.books.txt", "my.books.txt.gz", "my.books.TXT.zst"] {
        let bytes = match name.rsplit('.').next() {
            Some("gz") => gzip(hundred.as_bytes()),
            Some("zst") => zstd(hundred.as_bytes()),
            _ => hundred.clone().into_bytes(),
        };
        let domain = Domain::open(write(folder.path().join(name), bytes), DocumentRule::BlankLine).unwrap();
        assert_eq!(domain.name, "my.books", "{name}");
    }
}

#[test]
fn an_archive_as_published_is_a_domain_with_its_splits() {
    for (name, called) in [("cs.CL.tar.gz", "cs.CL"), ("python.tgz", "python")] {
        let domain = Domain::open(made(name), DocumentRule::BlankLine).unwrap();
        assert_eq!(domain.name, called);
        let [train, valid, test] = Split::ALL.map(|split| domain.split(split).unwrap());
        assert_eq!(texts(&train), documents(), "{name}");
        assert_eq!((texts(&valid), texts(&test)), (vec!["valid one"], vec!["test one"]), "{name}");
        assert_eq!(test.to_string(), format!("{} (test split)", made(name).display()));
        let preferred = open_corpus(&made(name), Split::Valid, DocumentRule::File).unwrap();
        assert_eq!(texts(&preferred), ["valid one\n"]);
    }
    // By tar itself, from the folder: the same as reading the folder.
    let folder = folder();
    for split in Split::ALL {
        write(folder.path().join(format!("d/{split}.txt")), format!("{split}\n\nof d"));
    }
    let tar = Command::new("tar").args(["-czf", "d.tar.gz", "d"]).current_dir(folder.path()).status();
    if tar.is_ok_and(|status| status.success()) {
        let [of_folder, of_archive] =
            ["d", "d.tar.gz"].map(|name| Domain::open(folder.path().join(name), DocumentRule::BlankLine).unwrap());
        for split in Split::ALL {
            let [folder, archive] = [&of_folder, &of_archive].map(|domain| domain.split(split).unwrap());
            assert_eq!(folder.documents, archive.documents);
        }
    }
}

#[test]
fn members_that_are_no_splits_are_passed_over_and_nothing_is_unpacked() {
    use tar::EntryType::{Directory, Symlink};
    let folder = folder();
    let others = [
        member("d/", Directory, 0, b""),
        file("d/README", "not read"),
        file("d/._train.txt", "not read"),
        file("d/deeper/train.txt", "not read"),
        member("d/latest", Symlink, 0, b""),
    ];
    let archive = gzip(&[others.concat(), three_splits(), END.to_vec(), vec![0; 8192]].concat());
    let path = write(folder.path().join("d.tar.gz"), archive);
    let domain = Domain::open(&path, DocumentRule::BlankLine).unwrap();
    for split in Split::ALL {
        assert_eq!(texts(&domain.split(split).unwrap()), [split.name()]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_member_that_could_lead_elsewhere_refuses_the_archive_by_name() {
    use tar::EntryType::{GNULongName, Link, Symlink, XHeader};
    let folder = folder();
    let long = |kind, name: &str| [member("x", kind, name.len() as u64, name.as_bytes()), file("short", "x")].concat();
    let pax = format!("{} path=../{}\n", "../".len() + 200 + 10, "p".repeat(200));
    for (bad, says) in [
        (file("/etc/passwd", "x"), ["\"/etc/passwd\"", "absolute path"]),
        (file("C:/train.txt", "x"), ["\"C:/train.txt\"", "absolute path"]),
        (file("\\\\host\\train.txt", "x"), ["host", "absolute path"]),
        (file("d/../../up", "x"), ["\"d/../../up\"", "leads out of its folder"]),
        (long(GNULongName, "../long\0"), ["\"../long\"", "leads out"]),
        (long(XHeader, &pax), ["../ppp", "leads out"]),
        (member("train.txt", Symlink, 0, b""), ["\"train.txt\"", "no regular file"]),
        (member("e/train.txt", Link, 0, b""), ["\"e/train.txt\"", "no regular file"]),
        (file("train.jsonl", "x"), ["d/train.txt and train.jsonl", "one train split"]),
        (file("d/train.txt", "x"), ["d/train.txt and d/train.txt", "one train split"]),
    ] {
        // After the splits, so that finding those is not enough.
        let path = write(folder.path().join("d.tar.gz"), gzip(&[three_splits(), bad, END.to_vec()].concat()));
        assert_input_error(Domain::open(&path, DocumentRule::BlankLine), &["d.tar.gz", says[0], says[1]]);
        assert_input_error(open_corpus(&path, Split::Train, DocumentRule::BlankLine), &["d.tar.gz", says[0], says[1]]);
    }
}

#[test]
fn an_archive_that_is_damaged_or_lacks_a_split_is_refused() {
    let folder = folder();
    let open = |bytes: &[u8]| {
        let path = write(folder.path().join("d.tar.gz"), bytes);
        Domain::open(&path, DocumentRule::BlankLine)
    };
    let whole = [three_splits(), END.to_vec()].concat();
    assert!(open(&gzip(&whole)).is_ok());
    let cut = &gzip(&whole)[..60];
    assert_input_error(open(cut), &["d.tar.gz", "gzip data is damaged"]);
    assert_input_error(open(&[gzip(&whole).as_slice(), b"more"].concat()), &["gzip data is damaged"]);
    assert_input_error(open(&gzip(&[whole.as_slice(), b"more"].concat())), &["tar archive", "follows its end"]);
    assert_input_error(open(&gzip(&whole[..whole.len() - 1024 - 200])), &["not a whole tar archive"]);
    // A split that ends in the last block of a file that promises more of it.
    let promising = member("d/valid.txt", tar::EntryType::Regular, 1 << 40, b"short");
    assert_input_error(open(&gzip(&promising)), &["not a whole tar archive"]);
    assert_input_error(open(&gzip(&file("d/train.txt", "x"))), &["holds d/train.txt, but no valid.txt or valid.jsonl"]);
    assert_input_error(open(&gzip(&END)), &["holds no split, but no train.txt"]);
    assert_input_error(open(&gzip(&file("d/train.txt", ""))), &["its d/train.txt is empty"]);
    let latin = [file("train.txt", "a\nb"), member("valid.txt", tar::EntryType::Regular, 3, b"a\n\xff")].concat();
    let path = write(folder.path().join("d.tar.gz"), gzip(&latin));
    let valid = open_corpus(&path, Split::Valid, DocumentRule::BlankLine);
    assert_input_error(valid, &["d.tar.gz: valid.txt: line 2: not UTF-8 at byte 2"]);
    // A name as long as a bomb is read no further than a name can be.
    let bomb = [member("x", tar::EntryType::GNULongName, 1 << 17, &[b'a'; 1 << 17]), three_splits()].concat();
    assert_input_error(open(&gzip(&bomb)), &["header of more than 64 KiB"]);
}
