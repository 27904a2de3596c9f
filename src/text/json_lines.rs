//! Documents from JSON, one object a line: its field `text` (or of another name) or `ids`, whatever else it holds.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::collector::{Collector, NULL};
use super::document::Document;
use super::source::Lines;
use crate::error::{Error, Result};
use crate::message::Message;

/// Keys that a message names.
const KEYS_SHOWN: usize = 12;

/// What a line holds of what is read.
#[derive(Debug, PartialEq)]
pub(super) enum Record {
    /// A text.
    Text(String),
    /// Token ids.
    Ids(Vec<u32>),
    /// The field is there and null: a row without text.
    Null,
}

/// Why a line is not read: what is wrong, and a cure.
pub(super) struct Fault {
    fault: String,
    cure: Message,
}

/// Hands the documents of a file to `documents`. Rows whose text is null are passed over and counted, as users of
/// `datasets` expect of them.
pub(super) fn read(lines: &mut Lines<'_>, field: &str, documents: &mut Collector) -> Result<()> {
    loop {
        let Some(line) = lines.next()? else { return Ok(()) };
        // A JSON text holds no carriage return but between its parts: where there are only such line ends, they count.
        let line: String = line.to_owned();
        for part in line.trim_end_matches(['\n', '\r']).split('\r') {
            let part = part.trim_start_matches('\u{feff}');
            if part.trim().is_empty() {
                continue;
            }
            match parse(part, field).map_err(|Fault { fault, cure }| Error::input(lines.place(), fault, cure))? {
                Record::Text(text) => documents.push(Document::Text(&text), || lines.place())?,
                Record::Ids(ids) => documents.push(Document::Ids(&ids), || lines.place())?,
                Record::Null => documents.leave_out(NULL, || lines.place()),
            }
        }
    }
}

/// What a line holds, or what is wrong with it.
pub(super) fn parse(line: &str, field: &str) -> Result<Record, Fault> {
    let line = line.trim();
    if !line.starts_with('{') {
        let cure = match line.starts_with('[') {
            true => "write one object a line: `jq -c '.[]' FILE > NEW.jsonl` turns one array into that".to_owned(),
            false => shape(field),
        };
        let cure = cure.into();
        return Err(Fault { fault: "not a JSON object".to_owned(), cure });
    }
    match fields(line, field) {
        Ok(found) => found.record(line, field),
        Err(error) => match without_bare_numbers(line).map(|line| fields(&line, field)) {
            Some(Ok(found)) => found.record(line, field),
            _ => Err(fault_of(&error, field)),
        },
    }
}

fn shape(field: &str) -> String {
    format!("write one object a line, {{\"{field}\": \"…\"}} or {{\"ids\": [1, 2, …]}}")
}

fn fields(line: &str, field: &str) -> serde_json::Result<Fields> {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let found = Reader { field }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(found)
}

/// What serde says of a line, with a cure that fits.
fn fault_of(error: &serde_json::Error, field: &str) -> Fault {
    let message = error.to_string();
    // The line that serde counts is always 1 here.
    let said = message.split(" at line ").next().unwrap_or(&message);
    let cure = match said {
        _ if said.contains("surrogate") || said.contains("hex escape") => {
            "write the character whole, not half of its pair: in Python, \
             `text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')` before it is saved"
                .to_owned()
        }
        _ if said.starts_with("EOF") => {
            "write each object on one line: `jq -c . FILE > NEW.jsonl` does that (or the file is cut short: download it \
             again)"
                .to_owned()
        }
        _ if said.starts_with("trailing characters") => {
            "write each object on a line of its own: `jq -c . FILE > NEW.jsonl` does that".to_owned()
        }
        _ if said.starts_with("duplicate field") => "keep the one that is meant".to_owned(),
        _ => shape(field),
    };
    let column = error.column();
    Fault { fault: format!("not an object with `{field}` or `ids`: {said} (column {column})"), cure: cure.into() }
}

/// The line with `null` for `NaN`, `Infinity` and `-Infinity`, which Python writes and JSON does not know; `None` where it
/// has none of them.
fn without_bare_numbers(line: &str) -> Option<String> {
    let mut out = String::with_capacity(line.len());
    let (mut in_string, mut escaped, mut changed) = (false, false, false);
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if !in_string && let Some(name) = ["NaN", "Infinity", "-Infinity"].into_iter().find(|n| rest.starts_with(n)) {
            out.push_str("null");
            rest = &rest[name.len()..];
            changed = true;
            continue;
        }
        match c {
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && c == '\\' && !escaped;
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    changed.then_some(out)
}

/// The fields of an object that are read.
#[derive(Default)]
struct Fields {
    text: Option<Text>,
    ids: Option<Option<Vec<u32>>>,
}

/// What stands in the field of the text.
enum Text {
    String(String),
    Null,
    /// Something else, by its kind.
    Other(&'static str),
}

impl Fields {
    fn record(self, line: &str, field: &str) -> Result<Record, Fault> {
        match (self.text, self.ids) {
            (Some(Text::String(_)), Some(Some(_))) => {
                Err(Fault { fault: format!("has both `{field}` and `ids`, expected one"), cure: shape(field).into() })
            }
            (_, Some(Some(ids))) => Ok(Record::Ids(ids)),
            (Some(Text::String(text)), _) => Ok(Record::Text(text)),
            (Some(Text::Null), _) | (None, Some(None)) => Ok(Record::Null),
            (Some(Text::Other(kind)), _) => Err(Fault {
                fault: format!("not an object with `{field}` or `ids`: `{field}` is {kind}, expected a string"),
                cure: format!(
                    "write the text itself there, as in {{\"{field}\": \"…\"}}, or name another field of the objects as the \
                     one with the text{}",
                    keys_of(line)
                )
                .into(),
            }),
            (None, None) => Err(Fault {
                fault: format!("has neither `{field}` nor `ids`{}", keys_of(line)),
                cure: Message::new("say which field holds the text (")
                    .set("text_field", "NAME")
                    .then(format!("), or {}", shape(field))),
            }),
        }
    }
}

/// The keys of an object, for messages.
fn keys_of(line: &str) -> String {
    let line = without_bare_numbers(line).map_or(Cow::Borrowed(line), Cow::Owned);
    let object: Map<String, Value> = serde_json::from_str(&line).unwrap_or_default();
    let keys: Vec<String> = object.keys().take(KEYS_SHOWN).map(|key| format!("`{key}`")).collect();
    let more = if object.len() > KEYS_SHOWN { ", …" } else { "" };
    if keys.is_empty() { String::new() } else { format!("; its keys are {}{more}", keys.join(", ")) }
}

/// Reads an object's field of this name, and `ids`.
struct Reader<'a> {
    field: &'a str,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Fields;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        use serde::de::Error;
        let mut found = Fields::default();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == self.field {
                if found.text.replace(map.next_value_seed(TextReader)?).is_some() {
                    return Err(A::Error::custom(format!("duplicate field `{}`", self.field)));
                }
            } else if key == "ids" && self.field != "ids" {
                if found.ids.replace(map.next_value()?).is_some() {
                    return Err(A::Error::custom("duplicate field `ids`"));
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Reads a string, or says what else stands there.
struct TextReader;

impl<'de> DeserializeSeed<'de> for TextReader {
    type Value = Text;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextReader {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Text, E> {
        Ok(Text::String(text))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
        Ok(Text::Other("true or false"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Text, E> {
        Ok(Text::Other("a number"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
        Ok(Text::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
        Ok(Text::Other("a number"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Text, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text::Other("an object"))
    }
}
