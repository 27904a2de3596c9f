//! A row of numbers as a line of small bars.

/// The last `width` of these numbers as a row of bars, the lowest number with the lowest bar; `×` for a value that is
/// not finite.
pub fn sparkline(numbers: &[f64], width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &numbers[numbers.len().saturating_sub(width)..];
    let finite = || shown.iter().copied().filter(|number| number.is_finite());
    let (least, most) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let block = |&number: &f64| match number.is_finite() {
        true if most > least => BLOCKS[((number - least) / (most - least) * 7.0).round() as usize],
        true => BLOCKS[0],
        false => '×',
    };
    shown.iter().map(block).collect()
}
