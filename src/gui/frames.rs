//! How long frames take, while something runs and while nothing does.

use std::fmt;
use std::time::{Duration, Instant};

/// Time from frame to frame.
#[derive(Debug, Default)]
pub struct FrameTimes {
    last: Option<Instant>,
    busy: Vec<Duration>,
    idle: Vec<Duration>,
}

impl FrameTimes {
    /// A frame begins; `busy`: while something runs.
    pub fn next(&mut self, busy: bool) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            let times = if busy { &mut self.busy } else { &mut self.idle };
            times.push(now - last);
        }
    }
}

impl fmt::Display for FrameTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (when, times)) in [("while working", &self.busy), ("idle", &self.idle)].into_iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            let mut sorted = times.clone();
            sorted.sort();
            let (Some(median), Some(late)) = (sorted.get(sorted.len() / 2), sorted.get(sorted.len() * 99 / 100)) else {
                write!(f, "{when}: no frames")?;
                continue;
            };
            let ms = |time: &Duration| time.as_secs_f64() * 1e3;
            let longest = sorted.last().map_or(0.0, ms);
            let (frames, median, late) = (sorted.len(), ms(median), ms(late));
            write!(
                f,
                "{when}: {frames} frames, median {median:.1} ms, 99 % within {late:.1} ms, longest {longest:.1} ms"
            )?;
        }
        Ok(())
    }
}
