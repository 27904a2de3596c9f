//! Every entry of `tests/fixtures` is made by a script that `tests/scripts/make_all.py` names, so that all can be made anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::fixture;

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// The text of `make_all.py`.
fn make_all() -> String {
    fs::read_to_string(scripts().join("make_all.py")).unwrap()
}

/// The entries of its table `FIXTURES`, which has one a line.
fn table() -> BTreeSet<String> {
    let text = make_all();
    let (_, rest) = text.split_once("\nFIXTURES = {\n").expect("make_all.py has the table FIXTURES");
    let (table, _) = rest.split_once("\n}\n").expect("the table ends");
    table.lines().map(|line| line.trim_start().split('"').nth(1).expect("a line has an entry").to_owned()).collect()
}

/// Files and folders below `folder` that the table does not have, neither themselves nor by a folder around them.
fn without_script(folder: &Path, name: &str, table: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{name}{}", entry.file_name().to_str().unwrap());
        let inside = format!("{name}/");
        if table.contains(&name) {
            continue;
        }
        if entry.path().is_dir() && table.iter().any(|known| known.starts_with(&inside)) {
            found.extend(without_script(&entry.path(), &inside, table));
        } else {
            found.push(name);
        }
    }
    found
}

#[test]
fn a_script_makes_every_fixture() {
    let found = without_script(&fixture(""), "", &table());
    assert!(found.is_empty(), "no script in make_all.py makes {found:?}: add them to FIXTURES there");
}

#[test]
fn every_entry_of_the_table_is_there_and_so_is_every_script() {
    let gone: Vec<String> = table().into_iter().filter(|entry| !fixture(entry).exists()).collect();
    assert!(gone.is_empty(), "make_all.py makes what tests/fixtures does not have: {gone:?}");

    let text = make_all();
    let named: BTreeSet<&str> = text
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || "_.".contains(letter)))
        .filter(|word| word.ends_with(".py") && *word != "make_all.py")
        .collect();
    for script in &named {
        assert!(scripts().join(script).is_file(), "make_all.py names {script}, which is not there");
    }
    for entry in fs::read_dir(scripts()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let makes = name.starts_with("make_") && name != "make_all.py";
        assert!(!makes || named.contains(name.as_str()), "make_all.py does not run {name}");
    }
}
