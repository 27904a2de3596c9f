//! Names of measures, scopes and sets of tokens, in words. Invisible characters are made visible.

use crate::shown::visible;
use crate::similarity::Measure;

/// The name of a measure on axes and in tables; of an unknown one its key.
pub fn measure_label(key: &str) -> String {
    Measure::of_key(key).map_or_else(|| visible(key), |measure| measure.label().to_owned())
}

/// Over which domains a correlation is taken.
pub fn scope_label(scope: &str) -> String {
    match scope.strip_prefix("within:") {
        Some(group) => format!("within {}", visible(group)),
        None => visible(scope),
    }
}

/// A token class in words.
pub fn class_label(name: &str) -> String {
    name.replace('_', " ")
}

/// The targets that are left out, in words.
pub fn without_label(name: &str) -> String {
    match name {
        "after_newline" => "the token after a line break".to_owned(),
        "newline_and_after" => "line breaks and the token after".to_owned(),
        "newline" => "line breaks".to_owned(),
        "handful" => "the handful".to_owned(),
        class => format!("class {}", visible(&class_label(class))),
    }
}
