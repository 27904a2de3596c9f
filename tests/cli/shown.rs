//! What people read: nothing in a name, a token or a text commands a terminal or a spreadsheet, and numbers and bytes are said
//! in as many digits as can be read.

use std::fs;

use crate::cli::Place;
use odyssey::process::bytes;
use odyssey::shown::{cell, fixed, is_invisible, of_cell, quoted, visible, visible_lines};
use odyssey::text::Letters;

/// What no face may pass on: the escapes of terminals in 7 and 8 bits, a bell, and marks that turn the order round.
const COMMANDS: &str = "a\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}2J\u{9d}b\u{202e}c\u{2066}d\u{7f}";

#[track_caller]
fn assert_harmless(text: &str) {
    let found = text.chars().find(|c| is_invisible(*c) && *c != '\n');
    assert!(found.is_none(), "{found:?} in {text:?}");
}

#[test]
fn every_invisible_character_is_escaped_and_everything_else_stays() {
    for c in (0..=0x10_ffff).filter_map(char::from_u32) {
        let text = format!("x{c}y");
        for shown in [visible(&text), quoted(&text)] {
            assert!(!shown.contains(is_invisible), "{c:?}: {shown:?}");
            assert_eq!(is_invisible(c), shown != text, "{c:?}");
        }
        assert_eq!(visible_lines(&text).contains('\n'), c == '\n');
    }
    let dangerous = ['\0', '\u{7}', '\u{1b}', '\u{7f}', '\u{80}', '\u{9b}', '\u{9f}', '\u{61c}'];
    let turning = ('\u{200e}'..='\u{200f}').chain('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
    assert!(dangerous.into_iter().chain(turning).all(is_invisible));
    assert_eq!(visible("a\tb\n\u{1b}"), "a⇥b⏎\\u{1b}");
    assert_eq!(visible("größer 日本 é"), "größer 日本 é");
}

#[test]
fn a_cell_is_no_formula_and_a_number_stays_one() {
    for formula in ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", "＝1", "-", "+inf", "-nan"] {
        assert_eq!(cell(formula), format!("'{formula}"));
        assert_eq!(of_cell(&cell(formula)), formula);
    }
    for (text, shown) in [("\t=1", "⇥=1"), ("\r=1", "\\r=1"), ("\n=1", "⏎=1"), ("a\u{1b}b", "a\\u{1b}b")] {
        assert_eq!(cell(text), shown);
    }
    for plain in ["", "-1.5", "+2", "1e-7", "-0", "a=b", "'quoted'", "wiki_sports", "1 2"] {
        assert_eq!((cell(plain).as_str(), of_cell(plain)), (plain, plain));
    }
}

#[test]
fn numbers_and_bytes_are_said_in_few_digits() {
    for (value, shown) in [
        (0.0, "0.000"),
        (12.3456, "12.346"),
        (-999_999.0, "-999999.000"),
        (1e6, "1.000e6"),
        (1.07e81, "1.070e81"),
        (-3.2e300, "-3.200e300"),
        (f64::MAX, "1.798e308"),
        (f64::INFINITY, "–"),
        (f64::NAN, "–"),
    ] {
        assert_eq!(fixed(value, 3), shown);
    }
    for (count, shown) in [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (700_000, "684 KiB"),
        ((1 << 20) - 1, "1 MiB"),
        (1 << 20, "1 MiB"),
        (160 << 20, "160 MiB"),
        (4700 << 20, "4.6 GiB"),
    ] {
        assert_eq!(bytes(count), shown);
    }
}

#[test]
fn white_space_divides_prose_and_code_into_words_but_neither_chinese_nor_minified_code() {
    let why = |text: &str| {
        let mut letters = Letters::default();
        letters.add(text);
        letters.no_words(text.split_whitespace().count() as u64)
    };
    for text in [
        "The cat sat on the mat, and then it went away.",
        "Rechtsschutzversicherungsgesellschaften haben viele Kunden im Land.",
        "അവൻ സ്കൂളിൽ പോയി പുസ്തകം വായിച്ചു.",
        "우리는 학교에 갔다. 그리고 책을 읽었다.",
        "我 们 去 学校 读书", // divided by hand
        "for (int i = 0; i < n; i++) { sum += values[i]; }",
        "a sentence that names 東京 once, and then goes on in English for a while longer than that",
        "",
    ] {
        assert_eq!(why(text), None, "{text}");
    }
    for (text, says) in [
        ("我们去学校读书。\n他们在家里看电视，然后睡觉。", "no space between words"),
        ("ฉันไปโรงเรียนเพื่ออ่านหนังสือ", "no space between words"),
        ("今日は学校へ行きました。本を読みました。", "no space between words"),
        ("ខ្ញុំទៅសាលារៀនដើម្បីអានសៀវភៅ", "no space between words"),
        ("function(a,b){return(a+b)*(a-b)};var(c)=d(e,f,g);if(h){i(j,k)}", "characters only"),
        ("ACGTACGTTGCAACGTAACCGGTTACGTACGTTGCA\nACGTACGTTGCAACGTAACCGGTTACGTACGTTGCA", "characters only"),
    ] {
        let reason = why(text).unwrap_or_else(|| panic!("{text} has words"));
        assert!(reason.contains(says), "{text}: {reason}");
    }
}

#[test]
fn a_text_without_spaces_has_no_word_perplexity_and_no_table_a_number_of_many_digits() {
    let place = Place::with_languages();
    let [text, prose] = [("abcdefgh".repeat(4) + "\n").repeat(40), "ab cd ef gh ".repeat(40)];
    place.write("dense.txt", text);
    place.write("prose.txt", prose);
    let result = place.result("eval --model model --text dense.txt prose.txt");
    let (dense, prose) = (&result["texts"][0], &result["texts"][1]);
    assert!(dense["word_ppl"].is_null() && prose["word_ppl"].is_number(), "{result}");
    assert!(dense["reason"].as_str().unwrap().contains("no word perplexity"), "{dense}");
    let said = place.odyssey("eval --model model --text dense.txt prose.txt");
    assert!(said.out.contains("no word perplexity"), "{}", said.out);
    let digits = said.out.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    assert!(digits < Some(20), "{}", said.out);
}

const STUDY: &str = r#"
name = "NAME"
seeds = [1]
restart_control = false
[similarity]
features = "lexical"
chunk = 32
samples = 10
reference_samples = 20
permutations = 9
resamples = 9
[[models]]
name = "MODEL"
path = "model"
reference = "languages/base"
[[domains]]
name = "DOMAIN"
path = "languages/lambda-0"
group = "GROUP"
[[domains]]
name = "=HYPERLINK(1)"
path = "languages/lambda-1"
group = "-2+3"
[[strategies]]
name = "@STRATEGY"
recipe = { steps = 1, batch = 2, validations = 1, valid_tokens = 100 }
"#;

#[test]
fn names_command_neither_the_terminal_nor_the_log_nor_the_page_nor_a_spreadsheet() {
    let place = Place::with_languages();
    let in_toml: String = COMMANDS.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
    let mut study = STUDY.to_owned();
    for what in ["NAME", "MODEL", "DOMAIN", "GROUP"] {
        study = study.replace(&format!("\"{what}\""), &format!("\"{in_toml}{what}\""));
    }
    place.write("study.toml", study);
    let said = place.odyssey("study run study.toml --out study -vv");
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(said.out.contains("owned"), "the names are shown: {}", said.out);
    // A warning names the task.
    let task = place.listing().into_iter().find(|name| name.ends_with("similarity.json")).unwrap();
    fs::remove_file(place.path(task.to_str().unwrap())).unwrap();
    let again = place.odyssey("study run study.toml --out study");
    assert!(again.err.contains("owned") && again.err.contains("computed anew"), "{}", again.err);
    for text in [
        said.out,
        said.err,
        again.err,
        place.odyssey("study status study").out,
        place.odyssey("study report study").out,
    ] {
        assert_harmless(&text);
    }
    let mut seen = 0;
    for name in place.listing() {
        let name = name.to_str().unwrap();
        let shown = [".html", ".svg", ".csv"].iter().any(|ending| name.ends_with(ending));
        if name.starts_with("study/") && shown {
            assert_harmless(&String::from_utf8(place.read(name)).unwrap());
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen}");
    for name in ["study/results.csv", "study/domains.csv"] {
        let text = String::from_utf8(place.read(name)).unwrap();
        assert!(text.contains("'=HYPERLINK(1)") && text.contains("'-2+3") && text.contains("'@STRATEGY"), "{text}");
    }
    // JSON is exact: whoever reads it gets the very name.
    let json = place.odyssey("study report study --json --quiet");
    assert_harmless(&json.out);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(value["name"], format!("{COMMANDS}NAME"));
    assert_eq!(value, place.kept("study/results.json"));
}

#[test]
#[cfg(unix)]
fn file_names_in_tables_errors_and_warnings_are_shown_and_not_obeyed() {
    let place = Place::with_model();
    let name = COMMANDS.replace('/', "") + ".jsonl";
    fs::copy(place.path("test.jsonl"), place.path(&name)).unwrap();
    fs::create_dir(place.path("texts")).unwrap();
    fs::rename(place.path(&name), place.path(&format!("texts/{name}"))).unwrap();
    let line = |name: &str| format!("eval --model model --text texts/{name}");
    let said = place.odyssey(&line(&name));
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(said.out.contains("owned"), "{}", said.out);
    assert_harmless(&(said.out + &said.err));
    // An unreadable, a missing, and a broken one.
    let said = place.odyssey(&line(&format!("no{name}")));
    assert_eq!(said.status, Some(2));
    assert!(said.err.contains("owned"), "{}", said.err);
    assert_harmless(&said.err);
    fs::write(place.path(&format!("texts/{name}")), format!("{{\"ids\": [\"{COMMANDS}\"]}}\n")).unwrap();
    let said = place.odyssey(&line(&name));
    assert_eq!(said.status, Some(2));
    assert_harmless(&said.err);
}

#[test]
fn a_command_line_that_is_not_understood_is_shown_and_not_obeyed() {
    let place = Place::empty();
    let lines = [
        COMMANDS.to_owned(),
        format!("eval --{COMMANDS}"),
        format!("eval --json={COMMANDS}"),
        format!("devices {COMMANDS}"),
        format!("eval --model m --text t --context {COMMANDS}"),
        format!("study {COMMANDS}"),
    ];
    for line in lines {
        for color in ["auto", "always"] {
            let said = place.odyssey(&format!("{line} --color {color}"));
            assert_eq!((said.status, said.out.as_str()), (Some(2), ""), "{line:?}: {}", said.err);
            assert!(said.err.contains("owned\\u{7}\\u{1b}[31m\\u{9b}2J"), "{line:?}: {:?}", said.err);
            assert_harmless(&said.err);
        }
    }
}
