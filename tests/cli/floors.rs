//! Imports go down: the modules of `src/` stand on the floors that ARCHITECTURE.md lists, and use only what is below.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floor of every module; 0 is the bottom.
fn floors() -> BTreeMap<String, usize> {
    let page = fs::read_to_string("ARCHITECTURE.md").unwrap();
    let block = page.split("```floors\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of floors");
    let lines = block.lines().enumerate();
    lines.flat_map(|(floor, line)| line.split_whitespace().map(move |name| (name.to_owned(), floor))).collect()
}

/// All Rust files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(of).filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}

/// The modules that a file names by `crate::` (or `odyssey::`, in the command line), documentation left out.
fn used(code: &str) -> BTreeSet<String> {
    let code: String =
        code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for root in ["crate::", "odyssey::"] {
        for rest in code.split(root).skip(1) {
            // `use crate::{files, rank};` names several.
            let names = match rest.strip_prefix('{') {
                Some(list) => list.split(['}', ';']).next().unwrap_or_default(),
                None => rest.split(|c: char| c != '_' && !c.is_alphanumeric()).next().unwrap_or_default(),
            };
            let first = |name: &str| name.trim().split("::").next().unwrap_or_default().to_owned();
            found.extend(names.split(',').map(first).filter(|name| !name.is_empty()));
        }
    }
    found
}

#[test]
fn imports_go_down_the_floors_of_the_architecture() {
    let floors = floors();
    let mut wrong = BTreeSet::new();
    for file in files(Path::new("src")) {
        let below = file.strip_prefix("src").unwrap();
        let module = below.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        if module == "lib" {
            continue; // it declares all
        }
        let Some(own) = floors.get(&module) else {
            wrong.insert(format!("{}: ARCHITECTURE.md has no floor for `{module}`", file.display()));
            continue;
        };
        for other in used(&fs::read_to_string(&file).unwrap()).into_iter().filter(|other| *other != module) {
            match floors.get(&other) {
                Some(floor) if floor < own => {}
                Some(_) if *own == 0 && floors[&other] == 0 => {} // the ground floor is one module in many files
                Some(_) => drop(wrong.insert(format!("{} uses `{other}`, which is not below it", file.display()))),
                None => drop(wrong.insert(format!("{} uses `{other}`, which has no floor", file.display()))),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
