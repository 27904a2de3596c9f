//! What not every machine has, and tests that need it.
//!
//! ```ignore
//! #[machine::needs(strace)]
//! #[test]
//! fn a_full_disk_is_said() {}
//! ```
//!
//! Where it is not there, the test is compiled as ignored, with the reason, so that the summary counts it honestly. A test that only
//! does more where a thing is there asks `machine::has!(strace)`. Tests look again
//! when the compiler runs again: when they change, or when `ODYSSEY_TEST_DATA` or `ODYSSEY_MACHINE` changes. Nothing reads the latter;
//! `.ci/run` puts into it what it finds. By hand: `touch tests/support/machine/src/lib.rs`.
//!
//! Only tests depend on this: who uses the library compiles and runs nothing of it.

use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

use proc_macro::{TokenStream, TokenTree};

/// What a test can need, the reason given where it is not there, and whether it is there.
const KNOWN: [(&str, &str, fn() -> bool); 4] = [
    // The shared models, texts and reference values.
    ("test_data", "needs the shared test data", || test_data().join("reference/README.md").is_file()),
    // A program that makes single calls of the system fail.
    ("strace", "needs strace (Debian: apt install strace)", || says("strace", "-V").is_some()),
    // A display in memory, for windows that nobody sees.
    ("xvfb", "needs Xvfb", || cfg!(target_os = "linux") && is_there("Xvfb")),
    // The right to mount a file system.
    ("may_mount", "needs the right to mount a small file system (run as root)", || {
        cfg!(target_os = "linux") && says("id", "-u").is_some_and(|id| id.trim() == "0")
    }),
];

/// The compiler notes these variables, and cargo compiles anew when they change.
const WATCHED: &str = "const _: [::core::option::Option<&str>; 2] = \
                       [::core::option_env!(\"ODYSSEY_TEST_DATA\"), ::core::option_env!(\"ODYSSEY_MACHINE\")];";

/// `true` or `false`: whether a thing is there.
#[proc_macro]
pub fn has(what: TokenStream) -> TokenStream {
    match find(&what) {
        Ok((_, is_there)) => tokens(&format!("{{ {WATCHED} {} }}", is_there())),
        Err(unknown) => unknown,
    }
}

/// Ignores a test, with the reason, on a machine that lacks what it needs. Stands above `#[test]`.
#[proc_macro_attribute]
pub fn needs(what: TokenStream, test: TokenStream) -> TokenStream {
    let (reason, is_there) = match find(&what) {
        Ok(found) => found,
        Err(unknown) => return unknown,
    };
    // `#[test]` above would be done by now, and not see the `#[ignore]`.
    if !has_test(test.clone()) {
        return refuse("`#[machine::needs(…)]` stands above `#[test]`");
    }
    let mut result = TokenStream::new();
    if !is_there() {
        result.extend(tokens(&format!("#[ignore = {reason:?}]")));
    }
    result.extend(test);
    result.extend(tokens(WATCHED));
    result
}

fn find(what: &TokenStream) -> Result<(&'static str, fn() -> bool), TokenStream> {
    let what = what.to_string();
    let found = KNOWN.iter().find(|(name, ..)| *name == what).map(|(_, reason, is_there)| (*reason, *is_there));
    let names = || KNOWN.map(|(name, ..)| name).join(", ");
    found.ok_or_else(|| refuse(&format!("a test cannot ask for `{what}`; it can for {}", names())))
}

/// Whether `#[test]` is among the attributes of an item.
fn has_test(item: TokenStream) -> bool {
    item.into_iter().any(|token| matches!(token, TokenTree::Group(group) if group.stream().to_string() == "test"))
}

fn refuse(why: &str) -> TokenStream {
    tokens(&format!("::core::compile_error!({why:?});"))
}

fn tokens(text: &str) -> TokenStream {
    TokenStream::from_str(text).expect("the text is Rust")
}

/// The folder of the shared test data: that which `ODYSSEY_TEST_DATA` names, or `shared` beside the checkout.
fn test_data() -> PathBuf {
    match std::env::var_os("ODYSSEY_TEST_DATA") {
        Some(folder) => folder.into(),
        // Of the package that is being compiled.
        None => PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../shared"),
    }
}

/// Whether a program is there.
fn is_there(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// What a program says, if it is there.
fn says(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}
