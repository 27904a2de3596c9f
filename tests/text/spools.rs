//! Arrays that leave memory where they are long, and work on texts that is watched.

use odyssey::progress::{Monitor, Watched};
use odyssey::spool::{Spool, SpoolWriter};

use super::*;

/// The numbers of an array of `bytes`, written one by one and in slices of up to 999.
fn written(count: u32, budget: usize, folder: &Path) -> Spool<u32> {
    let mut writer = SpoolWriter::new(budget, folder.to_owned());
    let mut next = 0;
    while next < count {
        let end = (next + next % 1000).min(count).max(next);
        writer.extend_from_slice(&(next..end).collect::<Vec<_>>()).unwrap();
        if end < count {
            writer.push(end).unwrap();
        }
        next = (end + 1).min(count);
        assert_eq!(writer.len(), next as usize);
    }
    writer.finish().unwrap()
}

#[test]
fn an_array_over_its_budget_lies_in_a_file_without_a_name_and_reads_the_same() {
    let folder = folder();
    for (count, is_file) in [(0, false), (1, false), (256, false), (257, true), (100_000, true), (1_000_000, true)] {
        let spool = written(count, 1024, folder.path());
        assert_eq!(spool.is_file(), is_file, "{count}");
        assert_eq!(spool, (0..count).collect::<Vec<u32>>());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the file has a name");
    }
}

#[test]
fn a_copy_outlives_its_original_and_keeps_what_that_gives_up() {
    let folder = folder();
    for budget in [1024, usize::MAX] {
        let mut spool = written(5000, budget, folder.path());
        let copy = spool.clone();
        spool.truncate(10);
        spool.truncate(20);
        assert_eq!(spool, (0..10).collect::<Vec<u32>>());
        assert_ne!(spool, copy);
        drop(spool);
        assert_eq!(copy, (0..5000).collect::<Vec<u32>>());
        assert_eq!(copy, Spool::from((0..5000).collect::<Vec<u32>>()), "wherever they are held");
    }
}

#[test]
fn a_place_that_takes_no_file_is_named() {
    let folder = folder();
    let file = write(folder.path().join("file"), "");
    let mut writer = SpoolWriter::new(8, file.join("cache"));
    writer.extend_from_slice(&[1_u8; 8]).unwrap();
    assert_input_error(writer.push(1), &["cache", "a file stands where a folder is needed"]);
}

/// Wants to stop after being asked so many times.
struct StopAfter(std::cell::Cell<usize>);

impl StopAfter {
    fn questions(count: usize) -> Self {
        Self(count.into())
    }
}

impl Monitor for StopAfter {
    fn stopped(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left == 0
    }
}

#[track_caller]
fn assert_interrupted<T>(result: Result<T, Error>, parts: &[&str]) {
    match result {
        Err(Error::Interrupted(text)) => parts.iter().for_each(|part| assert!(text.contains(part), "{part:?}: {text}")),
        Err(other) => panic!("{other:?} is no interruption"),
        Ok(_) => panic!("went on to the end"),
    }
}

#[test]
fn reading_stops_where_the_user_wants_to_in_every_format() {
    let folder = folder();
    let text = "one document\n\n".repeat(100_000);
    let plain = write(folder.path().join("a.txt"), &text);
    let noise: Vec<u8> = (0..300_000_u64).map(|i| b'a' + (i * i * i % 1009 % 26) as u8).collect();
    let packed = write(folder.path().join("b.txt.zst"), zstd::encode_all(noise.as_slice(), 1).unwrap());
    for path in [plain, packed, common::fixture("corpora/snappy.parquet"), common::fixture("corpora/cs.CL.tar.gz")] {
        let name = path.file_name().unwrap().to_str().unwrap();
        let open = |questions| {
            let mut monitor = StopAfter::questions(questions);
            open_corpus(&path, Split::Train, Watched::by(DocumentRule::BlankLine, &mut monitor))
        };
        assert_interrupted(open(0), &["reading", name, "starts anew"]);
        assert!(open(usize::MAX).is_ok(), "{name}");
    }
    // In the middle as well as at the start.
    let mut monitor = StopAfter::questions(3);
    let read = Corpus::read(&folder.path().join("a.txt"), Watched::by(DocumentRule::BlankLine, &mut monitor));
    assert_interrupted(read, &["a.txt"]);
}

#[test]
fn tokenising_stops_where_the_user_wants_to() {
    let long = "the cat ".repeat(50_000);
    let [many, one] = [text_corpus(&vec!["the cat"; 1000]), text_corpus(&[&long])];
    for (corpus, join) in [(&many, Join::Eot), (&many, Join::Newline), (&one, Join::Eot), (&one, Join::None)] {
        let mut monitor = StopAfter::questions(0);
        let tokenizer = byte_level();
        let options = options(join);
        let watched = Watched::by(&options, &mut monitor);
        let stream = TokenStream::build(corpus, Some(&tokenizer), Some(EOT), None, VOCABULARY, watched);
        assert_interrupted(stream, &["tokenising books.txt", "starts anew"]);
    }
}
