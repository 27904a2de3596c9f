//! Weights are read as they are used: a file that is cut short or written to meanwhile is an error, and a header with many
//! tensors is read once.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use odyssey::files::{Array, Sealed, Unsealed, write_safetensors, write_sealed};
use odyssey::model::weights::{Precision, Stamps, WeightFiles, WeightSource, hash_folder};
use odyssey::safetensors_file::SafetensorsFile;
use safetensors::Dtype;

/// A file with vectors of these lengths, "0", "1", …, whose numbers are their place in the file.
fn write_vectors(path: &Path, lengths: &[usize]) {
    let mut first = 0;
    let arrays: Vec<(String, Vec<f32>)> = lengths
        .iter()
        .enumerate()
        .map(|(i, &length)| {
            first += length;
            (i.to_string(), (first - length..first).map(|n| n as f32).collect())
        })
        .collect();
    let array = |(name, values): &'_ (String, Vec<f32>)| {
        let values = values.clone();
        Array::computed(name.clone(), vec![values.len()], move || Ok(values.clone()))
    };
    write_safetensors(path, arrays.iter().map(array), ("format", "pt".into())).unwrap();
}

/// All numbers of a vector, in f32.
fn read(files: &mut WeightFiles, name: &str, length: usize) -> odyssey::error::Result<Vec<f32>> {
    let data = files.read(name, &[length], 0..length, Precision::F32)?;
    Ok(data.try_to_vec().unwrap())
}

#[test]
fn numbers_are_those_of_the_file_however_long_the_tensor() {
    let folder = tempfile::tempdir().unwrap();
    // Longer than what is read at a time, and no multiple of it.
    let lengths = [3, 1_000_003, 1];
    write_vectors(&folder.path().join("model.safetensors"), &lengths);
    let mut files = WeightFiles::open(folder.path()).unwrap();
    let long = read(&mut files, "1", lengths[1]).unwrap();
    assert!(long.iter().enumerate().all(|(i, &value)| value == (i + 3) as f32));
    let some = files.read("1", &[lengths[1]], 999_000..999_002, Precision::Bf16).unwrap();
    assert_eq!(some.num_elements(), 2);
    assert_eq!(read(&mut files, "2", 1).unwrap(), [1_000_006.0]);
    read(&mut files, "0", 3).unwrap();
    files.finish(false).unwrap();
}

#[test]
fn a_file_that_is_cut_short_while_it_is_read_is_an_error_that_names_the_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write_vectors(&path, &[100, 500_000, 500_000]);
    let mut files = WeightFiles::open(folder.path()).unwrap();
    read(&mut files, "0", 100).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(1_000_000).unwrap();
    let message = read(&mut files, "1", 500_000).unwrap_err().to_string();
    assert!(message.contains("model.safetensors: was cut short while it was read"), "{message}");
    assert!(message.contains("array \"1\" is not whole") && message.contains("; restore the file"), "{message}");
}

#[test]
fn a_file_that_is_written_to_while_it_is_read_is_noticed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write_vectors(&path, &[100, 100]);
    let mut files = WeightFiles::open(folder.path()).unwrap();
    read(&mut files, "0", 100).unwrap();
    let mut file = File::options().write(true).open(&path).unwrap();
    file.seek(SeekFrom::End(-4)).unwrap();
    file.write_all(&[1; 4]).unwrap();
    // Clocks of file systems may be slow.
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(5)).unwrap();
    read(&mut files, "1", 100).unwrap();
    let message = files.finish(false).unwrap_err().to_string();
    assert!(message.contains("was written to while it was read"), "{message}");
}

#[test]
fn the_hash_of_weights_is_computed_once_and_refused_after_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write_vectors(&path, &[100, 100]);
    let stamps = Stamps::of(folder.path()).unwrap();
    let first = stamps.hash(folder.path()).unwrap();
    assert_eq!(first, hash_folder(folder.path()).unwrap());

    // A change that neither size nor time shows: a second reading would give another hash.
    let mut file = File::options().write(true).open(&path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.seek(SeekFrom::End(-4)).unwrap();
    file.write_all(&[1; 4]).unwrap();
    file.set_modified(modified).unwrap();
    assert_ne!(hash_folder(folder.path()).unwrap(), first);
    assert_eq!(stamps.hash(folder.path()).unwrap(), first);
    assert_eq!(stamps, Stamps::of(folder.path()).unwrap(), "what was hashed and what was not are the same files");

    file.set_modified(modified + Duration::from_secs(5)).unwrap();
    let message = stamps.hash(folder.path()).unwrap_err().to_string();
    assert!(message.contains("was changed while it was in use"), "{message}");
}

#[test]
fn a_file_that_takes_the_place_of_another_disturbs_nobody_who_reads_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write_vectors(&path, &[100, 100]);
    let mut files = WeightFiles::open(folder.path()).unwrap();
    write_vectors(&path, &[7]);
    assert_eq!(read(&mut files, "1", 100).unwrap()[0], 100.0);
}

#[test]
fn a_header_with_very_many_tensors_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let count = 100_000;
    write_vectors(&folder.path().join("model.safetensors"), &vec![1; count]);
    let started = Instant::now();
    let mut files = WeightFiles::open(folder.path()).unwrap();
    for i in (0..count).step_by(7) {
        read(&mut files, &i.to_string(), 1).unwrap();
    }
    // Once takes about a second; once for each tensor would take an hour.
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn headers_that_lie_about_the_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let write = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        fs::write(&path, bytes).unwrap();
    };
    let tensor = |from: u64, to: u64| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":[{from},{to}]}}"#);
    let (a, b) = (tensor(0, 8), tensor(8, 16));
    write(&format!(r#"{{"a":{a},"b":{b}}}"#), 16);
    SafetensorsFile::open(&path).unwrap().unwrap();
    let cases = [
        ("tensors that overlap", format!(r#"{{"a":{a},"b":{}}}"#, tensor(4, 12)), 12),
        ("tensors with a hole between", format!(r#"{{"a":{a},"b":{}}}"#, tensor(12, 20)), 20),
        ("bytes that no shape explains", format!(r#"{{"a":{}}}"#, tensor(0, 12)), 12),
        ("more data than tensors", format!(r#"{{"a":{a}}}"#), 9),
        ("less data than tensors", format!(r#"{{"a":{a}}}"#), 7),
        ("an end beyond all files", format!(r#"{{"a":{}}}"#, tensor(0, u64::MAX)), 8),
        (
            "a shape beyond all numbers",
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}"#.into(),
            8,
        ),
    ];
    for (what, header, data) in cases {
        write(&header, data);
        assert!(SafetensorsFile::open(&path).unwrap().is_err(), "{what}");
    }
    fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
    assert!(SafetensorsFile::open(&path).unwrap().is_err(), "a header of 2^64 − 1 bytes");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_weight_file_and_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let message = WeightFiles::open(folder.path()).err().unwrap().to_string();
    assert!(message.contains("model.safetensors: is a pipe, a socket or a device"), "{message}");
}

#[test]
fn a_sealed_file_gives_what_was_sealed_and_notices_every_changed_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept");
    let values: Vec<f32> = (0..300_000).map(|n| n as f32).collect();
    let write = || {
        let whole = Array::of("values", Dtype::F32, vec![3, 100_000], bytemuck::cast_slice(&values));
        let text = Array::of("note", Dtype::U8, vec![4], b"note");
        write_sealed(&path, [whole, text], ("key", "what it is".into())).unwrap();
    };
    write();
    let mut sealed = Sealed::open(&path, "key").unwrap().unwrap();
    assert_eq!((sealed.metadata.as_str(), sealed.names()), ("what it is", vec!["values".into(), "note".into()]));
    assert_eq!(sealed.kind_of("values"), Some((Dtype::F32, &[3, 100_000][..])));
    assert_eq!(sealed.read("values").unwrap(), bytemuck::cast_slice::<f32, u8>(&values));
    assert_eq!(sealed.read("note").unwrap(), b"note");
    sealed.check_unchanged().unwrap();
    assert!(matches!(Sealed::open(&path, "other").unwrap(), Err(Unsealed::OtherKind)));

    let whole = fs::read(&path).unwrap();
    for at in (whole.len() / 7..whole.len()).step_by(whole.len() / 7) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(matches!(Sealed::open(&path, "key").unwrap(), Err(Unsealed::Damaged(_))), "byte {at}");
    }
    write();
    let mut sealed = Sealed::open(&path, "key").unwrap().unwrap();
    File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
    assert!(sealed.read("values").unwrap_err().to_string().contains("was cut short"));
}
