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

/// The string literals of Rust code, each with where it begins; comments are left out.
fn literals(code: &str) -> Vec<(usize, &str)> {
    let (mut found, mut rest, mut before) = (Vec::new(), code, ' ');
    let ends = |text: &str, end: &str| text.find(end).map_or(text.len(), |at| at + end.len());
    while let Some(c) = rest.chars().next() {
        let at = code.len() - rest.len();
        let after = rest.strip_prefix('r').unwrap_or_default();
        let hashes = after.len() - after.trim_start_matches('#').len();
        let is_raw = after[hashes..].starts_with('"');
        let length = match c {
            '/' if rest.starts_with("//") => ends(rest, "\n"),
            '/' if rest.starts_with("/*") => ends(rest, "*/"),
            'r' if is_raw && !(before.is_alphanumeric() || before == '_') => {
                let begin = 2 + hashes;
                let length = begin + ends(&rest[begin..], &format!("\"{}", "#".repeat(hashes)));
                found.push((at, &rest[..length]));
                length
            }
            '"' => {
                let mut escaped = false;
                let end = rest[1..].find(|c| {
                    let is_end = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    is_end
                });
                let length = end.map_or(rest.len(), |end| end + 2);
                found.push((at, &rest[..length]));
                length
            }
            // A character, not a lifetime.
            '\'' if rest.starts_with("'\\") => 3 + ends(&rest[3..], "'"),
            '\'' if rest[1..].chars().nth(1) == Some('\'') => 2 + rest[1..].chars().next().map_or(0, char::len_utf8),
            c => c.len_utf8(),
        };
        before = rest[..length].chars().next_back().unwrap_or(' ');
        rest = &rest[length..];
    }
    found
}

/// What literals name as options of a command: `--` and a letter.
fn flags(literal: &str) -> Vec<String> {
    let words = literal.match_indices("--").filter(|(at, _)| !literal[..*at].ends_with('-')).map(|(at, _)| {
        let name = |c: char| c == '-' || c == '_' || c.is_ascii_alphanumeric();
        literal[at..].chars().take_while(|c| name(*c)).collect::<String>()
    });
    words.filter(|word| word[2..].starts_with(|c: char| c.is_ascii_lowercase())).collect()
}

/// Options that are not this program's, or stand in a file that it writes and that says how to use it.
const NAMED_BELOW: [(&str, &str); 3] = [
    ("src/text/format.rs", "--long"),                        // of zstd
    ("src/model/weight_formats.rs", "--safe_serialization"), // of DeepSpeed's zero_to_fp32.py
    ("src/synth/configs.rs", "--out"),                       // in the comments of pretrain.toml and study.toml
];

#[test]
fn nothing_below_the_faces_names_an_option_of_the_command_line() {
    let faces = ["src/cli", "src/gui", "src/main.rs"];
    let (mut below, mut of_faces) = (BTreeSet::new(), 0);
    for file in files(Path::new("src")) {
        let is_face = faces.iter().any(|face| file.starts_with(face));
        let file_name = file.to_string_lossy().replace('\\', "/");
        let code = fs::read_to_string(&file).unwrap();
        for (at, literal) in literals(&code) {
            for flag in flags(literal) {
                if is_face {
                    of_faces += 1;
                } else if !NAMED_BELOW.contains(&(&file_name, &flag)) {
                    let line = code[..at].matches('\n').count() + 1;
                    below.insert(format!("{file_name}:{line}: {flag}"));
                }
            }
        }
    }
    assert!(of_faces > 50, "the command line names {of_faces} options alone: are they still found?");
    assert!(below.is_empty(), "say it by `Message::set` or `Message::key`, which each face words: {below:#?}");
    assert_eq!(literals("'\"' b\"x --y\" // \"c\"\n r#\"d \"e\" --f\"# \"\\\"--g\"").len(), 3);
    assert_eq!(flags("x --a-b, --- --C --d"), ["--a-b", "--d"]);
}
