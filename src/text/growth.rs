//! How much longer a tokenizer may make a text before it cuts it. A few lines of a file can ask for more than any memory.

use serde_json::Value;

/// A text of one byte may become so many; the tokenizers in use stay below four.
const MOST: f64 = 64.0;

/// Refuses a `tokenizer.json` whose normalizer and splitting make a text more than 64 times as long.
pub(super) fn growth(bytes: &[u8]) -> tokenizers::Result<()> {
    // What is no JSON is the library's to refuse.
    let Ok(file) = serde_json::from_slice::<Value>(bytes) else { return Ok(()) };
    let times = of(&file["normalizer"]) * of(&file["pre_tokenizer"]);
    match times <= MOST {
        true => Ok(()),
        false => Err(format!("its normalizer and pre_tokenizer can make a text {times:.0} times as long").into()),
    }
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
