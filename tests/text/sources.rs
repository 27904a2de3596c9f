//! What stands in a file's place: Git LFS pointers, other encodings, other compressions, pipes.

use super::formats::gzip;
use super::*;

fn read(path: &Path) -> Result<Corpus, Error> {
    Corpus::read(path, DocumentRule::BlankLine)
}

/// A pointer as `git lfs pointer` prints it.
fn pointer() -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 1234567\n", "4d".repeat(32))
}

#[test]
fn a_pointer_of_git_lfs_is_refused_wherever_it_stands() {
    let folder = folder();
    let says = ["Git LFS pointer", "git lfs pull"];
    for name in ["a.txt", "a.jsonl", "a.parquet", "a.txt.gz", "a.jsonl.zst", "a.tar.gz"] {
        let path = write(folder.path().join(name), pointer());
        assert_input_error(open_corpus(&path, Split::Test, DocumentRule::BlankLine), &[name, says[0], says[1]]);
    }
    let path = write(folder.path().join("packed.txt.gz"), gzip(pointer().as_bytes()));
    assert_input_error(read(&path), &["packed.txt.gz", says[0], says[1]]);
    let path = write(folder.path().join("windows.txt"), format!("\u{feff}{}", pointer().replace('\n', "\r\n")));
    assert_input_error(read(&path), &["windows.txt", says[0]]);
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let model = folder.path().join(name.replace('.', "_"));
        write(model.join("tokenizer.json"), byte_level_json().to_string());
        write(model.join(name), pointer());
        assert_input_error(Tokenizer::load(&model), &[name, says[0], says[1]]);
    }
    // A text about pointers is none.
    let about = "version https://git-lfs.github.com/spec/v1\nis the first line of a pointer.\n";
    assert!(read(&write(folder.path().join("about.txt"), about)).is_ok());
}

fn utf16(text: &str, big: bool, mark: bool) -> Vec<u8> {
    let mark = if mark { "\u{feff}" } else { "" };
    let units = mark.encode_utf16().chain(text.encode_utf16());
    units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

#[test]
fn utf16_is_read_behind_its_mark_and_refused_without_it() {
    let folder = folder();
    // Longer than what is decoded at a time, with characters of two units at every place.
    let text = "é🙂日本, the text goes on. ".repeat(600);
    let documents = format!("{text}\r\n\r\nx{text}");
    for big in [false, true] {
        let path = write(folder.path().join("a.txt"), utf16(&documents, big, true));
        assert_eq!(texts(&read(&path).unwrap()), [text.clone(), format!("x{text}")]);
        let lines = format!("{}\n", json!({"text": text}));
        let path = write(folder.path().join("a.jsonl.gz"), gzip(&utf16(&lines, big, true)));
        assert_eq!(texts(&read(&path).unwrap()), [text.as_str()]);
        let path = write(folder.path().join("b.txt"), utf16("plain words without a mark\n", big, false));
        assert_input_error(read(&path), &["b.txt", "UTF-16", "without its mark", "iconv"]);
    }
    let cut = utf16("🙂", false, true);
    for bytes in [&cut[..cut.len() - 1], &cut[..cut.len() - 2], &[0xff, 0xfe, 0x00, 0xdc, 0x61, 0x00]] {
        assert_input_error(read(&write(folder.path().join("c.txt"), bytes)), &["c.txt", "UTF-16"]);
    }
    let utf32: Vec<u8> = "\u{feff}words".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    assert_input_error(read(&write(folder.path().join("d.txt"), utf32)), &["d.txt", "UTF-32"]);
}

#[test]
fn the_first_bytes_of_a_file_count_for_more_than_its_name() {
    let folder = folder();
    let text = "one\n\ntwo";
    let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
    for (name, bytes) in [("a.txt", gzip(text.as_bytes())), ("b.txt", packed.clone()), ("c.txt.gz", packed)] {
        assert_eq!(texts(&read(&write(folder.path().join(name), bytes)).unwrap()), ["one", "two"], "{name}");
    }
    let columns = fs::read(common::fixture("corpora").join("polars.parquet")).unwrap();
    let corpus = read(&write(folder.path().join("d.jsonl"), columns)).unwrap();
    assert!(corpus.documents.len() > 1);
    for (name, bytes, says) in [
        ("e.txt", b"\xfd7zXZ\0rest".as_slice(), "xz data"),
        ("f.jsonl", b"BZh91AY&SYrest", "bzip2 data"),
        ("g.txt.gz", b"\x04\x22\x4d\x18rest", "lz4 data"),
        ("h.txt", b"PK\x03\x04rest", "a zip archive"),
        ("i.parquet", b"Rar!\x1a\x07rest", "a rar archive"),
        ("j.txt", b"7z\xbc\xaf\x27\x1crest", "a 7z archive"),
        ("k.txt", b"ARROW1\0\0rest", "an Arrow file"),
    ] {
        assert_input_error(read(&write(folder.path().join(name), bytes)), &[name, says, "which is not read"]);
        // Nor is it under a compression, also where all of it could be text.
        let (zipped, packed) = (gzip(bytes), zstd::encode_all(bytes, 1).unwrap());
        for (name, bytes) in [("l.txt.gz", zipped), ("m.jsonl.zst", packed)] {
            assert_input_error(read(&write(folder.path().join(name), bytes)), &[name, says, "which is not read"]);
        }
    }
    for twice in [gzip(&gzip(text.as_bytes())), gzip(&zstd::encode_all(text.as_bytes(), 1).unwrap())] {
        let path = write(folder.path().join("n.txt.gz"), twice);
        assert_input_error(read(&path), &["n.txt.gz", "compressed data again", "unpack it once"]);
    }
    for (name, cure) in [("a.txt.lz4", "lz4 -d"), ("a.jsonl.br", "brotli -d"), ("a.txt.bz2", "bzip2 -d")] {
        assert_input_error(read(&write(folder.path().join(name), "x")), &[name, cure]);
    }
}

#[test]
#[cfg(unix)]
fn a_named_pipe_is_read_once_and_kept() {
    let folder = folder();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || fs::write(path, gzip(b"{\"text\": \"one\"}\n{\"text\": \"two\"}\n")))
    };
    for _ in 0..2 {
        assert_eq!(texts(&open_corpus(&path, Split::Test, DocumentRule::BlankLine).unwrap()), ["one", "two"]);
    }
    writer.join().unwrap().unwrap();
    let device = Corpus::read(Path::new("/dev/zero"), DocumentRule::BlankLine);
    assert_input_error(device, &["/dev/zero", "is a device"]);
}
