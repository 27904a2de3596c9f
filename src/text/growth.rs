//! How much longer a tokenizer may make a text before it cuts it. A few lines of a file can ask for more than any memory.

use serde_json::Value;

/// A text of one byte may become so many; the tokenizers in use stay below four.
const MOST: f64 = 64.0;

/// Refuses a `tokenizer.json` whose normalizer and splitting make a text more than 64 times as long.
pub(super) fn growth(bytes: &[u8]) -> tokenizers::Result<()> {
    // What is no JSON is the library's to refuse.
    let Ok(file) = serde_json::from_slice::<Value>(bytes) else { return Ok(()) };
    if !tables_fit(&file["normalizer"]) {
        return Err("its `precompiled_charsmap` promises more than it holds".into());
    }
    let times = of(&file["normalizer"]) * of(&file["pre_tokenizer"]);
    match times <= MOST {
        true => Ok(()),
        false => Err(format!("its normalizer and pre_tokenizer can make a text {times:.0} times as long").into()),
    }
}

/// Whether each table of characters (`precompiled_charsmap`, in base64) is as long as its first four bytes say: the library
/// asks for that much memory before it looks.
fn tables_fit(part: &Value) -> bool {
    match part {
        Value::Object(entries) => entries.iter().all(|(key, value)| match value.as_str() {
            Some(table) if key == "precompiled_charsmap" => table_fits(table),
            _ => tables_fit(value),
        }),
        Value::Array(parts) => parts.iter().all(tables_fit),
        _ => true,
    }
}

fn table_fits(table: &str) -> bool {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = table.bytes().take(6).map(|byte| ALPHABET.iter().position(|&digit| digit == byte));
    // What is no base64 is the library's to refuse.
    let Some(digits) = digits.collect::<Option<Vec<usize>>>().filter(|digits| digits.len() == 6) else { return true };
    let bits = digits.iter().fold(0_u64, |bits, &digit| bits << 6 | digit as u64) >> 4;
    let length = (bits as u32).swap_bytes();
    u64::from(length) <= table.len() as u64
}

/// How many bytes one byte becomes at most, of a part and the parts in it.
fn of(part: &Value) -> f64 {
    let inner = |key: &str| part[key].as_array().into_iter().flatten().map(of).product::<f64>();
    let length = |value: &Value| value.as_str().map_or(0, str::len) as f64;
    match part["type"].as_str() {
        Some("Sequence") => inner("normalizers") * inner("pretokenizers"),
        Some("Replace") => {
            let found = length(&part["pattern"]["String"]).max(1.0);
            (length(&part["content"]) / found).max(1.0)
        }
        // Once a text, or once a word of it.
        Some("Prepend") => 1.0 + length(&part["prepend"]) / 16.0,
        Some("ByteLevel") => 2.0,
        Some("Metaspace") => length(&part["replacement"]).max(1.0),
        _ => 1.0,
    }
}
