//! How numbers are written, in every place.

use crate::shown::{self, fixed};

/// The sign for a missing number.
pub const MISSING: &str = "–";

/// A number with four significant digits: perplexities, distances. Very large and very small ones as `1.234e-5`.
pub fn significant(value: f64) -> String {
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.3e}");
    // The exponent after rounding, so that 9.9999 has as many digits as 10.
    let exponent = scientific.split_once('e').and_then(|(_, e)| e.parse::<i32>().ok()).unwrap_or(0);
    let plain = match exponent {
        -4..=5 => format!("{value:.*}", usize::try_from(3 - exponent).unwrap_or(0)),
        _ => scientific,
    };
    plain.replace('-', "−")
}

/// A change in log-perplexity or a part of one, nats per token: sign and four decimals.
pub fn delta(value: f64) -> String {
    signed(value, 4)
}

/// A size without a sign: four decimals.
pub fn size(value: f64) -> String {
    fixed(value, 4)
}

/// A correlation coefficient: sign and two decimals.
pub fn coefficient(value: f64) -> String {
    signed(value, 2)
}

fn signed(value: f64, decimals: usize) -> String {
    let text = shown::signed(value, decimals);
    if text.bytes().all(|b| matches!(b, b'+' | b'-' | b'.' | b'0')) {
        return text.trim_start_matches(['+', '-']).to_owned(); // zero has no sign
    }
    text.replace('-', "−")
}

/// An interval in brackets.
pub fn interval([low, high]: [f64; 2], write: fn(f64) -> String) -> String {
    if low.is_finite() && high.is_finite() { format!("[{}, {}]", write(low), write(high)) } else { MISSING.to_owned() }
}

/// A p-value: `<0.001`, three decimals below 0.1, two above.
pub fn p_value(p: f64) -> String {
    match p {
        p if !p.is_finite() => MISSING.to_owned(),
        p if p < 0.001 => "<0.001".to_owned(),
        p if p < 0.0995 => format!("{p:.3}"),
        p => format!("{p:.2}"),
    }
}

/// A p-value in running text: `p < 0.001`, `p = 0.003`.
pub fn p_phrase(p: f64) -> String {
    match p_value(p) {
        small if small.starts_with('<') => small.replace('<', "p < "),
        other => format!("p = {other}"),
    }
}

/// A share as a percentage, one decimal.
pub fn percent(share: f64) -> String {
    if share.is_finite() { format!("{} %", fixed(100.0 * share, 1)).replace('-', "−") } else { MISSING.to_owned() }
}

/// A count with thousands apart: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}
