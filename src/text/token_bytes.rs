//! Tokens that are parts of a character: their bytes, told apart.

use std::fmt::Write;

/// A token of which `text` cannot show everything (it holds U+FFFD), with each byte that is no character by itself as
/// `<0xE2>`. `token` is its name in the vocabulary: byte-level, or already `<0xE2>`.
pub(super) fn shown(token: &str, text: String) -> String {
    if !text.contains(char::REPLACEMENT_CHARACTER) {
        return text;
    }
    if is_byte(token) {
        return token.to_owned();
    }
    let Some(bytes) = token.chars().map(byte_of).collect::<Option<Vec<u8>>>() else { return text };
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        shown.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(shown, "<0x{byte:02X}>"); // a string takes everything
        }
    }
    shown
}

/// `<0xE2>`, as SentencePiece names a byte.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// The byte that GPT-2's byte-level alphabet writes as `c`: printable ones as themselves, the others in order from U+0100 on.
fn byte_of(c: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(c) {
        code @ 0..=0xff => u8::try_from(code).ok().filter(|byte| printable(*byte)),
        code => (0..=0xff).filter(|byte| !printable(*byte)).nth(usize::try_from(code - 0x100).ok()?),
    }
}
