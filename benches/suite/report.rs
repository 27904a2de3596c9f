//! What was measured, as a table and as JSON.

use serde::Serialize;
use statrs::statistics::{Data, OrderStatistics};

use odyssey::process::bytes;

use super::cases::Task;
use super::side::Side;
use super::work::Work;
use crate::Fallible;

/// `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// "odyssey.bench/1".
    pub schema: String,
    /// The program's version.
    pub version: String,
    /// When it began.
    pub unix_time: u64,
    /// Where odyssey computed.
    pub device: String,
    /// Threads of each side.
    pub threads: usize,
    /// Runs of each side and case.
    pub repeats: usize,
    /// The machine's load average at the start: beyond 0 others compute, too.
    pub load: f64,
    /// The cases in order.
    pub cases: Vec<Measured>,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// The work.
    #[serde(flatten)]
    pub task: Option<Task>,
    /// Our side.
    pub ours: Option<Times>,
    /// The reference.
    pub theirs: Option<Times>,
    /// Our time over theirs: the median over rounds; below 1 we are faster.
    pub ratio: Option<f64>,
    /// Its quartiles.
    pub ratio_quartiles: Option<[f64; 2]>,
    /// The same of each side's fastest run, which a busy machine disturbs least.
    pub ratio_of_fastest: Option<f64>,
    /// Floating-point operations it takes at least.
    pub flops: Option<f64>,
    /// Bytes it moves at least.
    pub bytes: Option<f64>,
    /// Seconds that these take at the rates measured in this run.
    pub bound_s: Option<f64>,
    /// That over our fastest run: others on the machine only slow it down.
    pub achieved: Option<f64>,
    /// The same of theirs.
    pub achieved_by_theirs: Option<f64>,
    /// Why a number is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One side of a case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Times {
    /// What computed, with versions and device.
    pub name: String,
    /// Median of its runs, seconds.
    pub median_s: f64,
    /// Their quartiles.
    pub quartiles_s: [f64; 2],
    /// The fastest.
    pub lowest_s: f64,
    /// Seconds to read and make everything before.
    pub prepare_s: f64,
    /// Seconds of the first time, when kernels are made.
    pub first_s: f64,
    /// The most memory of its process.
    pub peak_bytes: u64,
    /// What came out.
    pub check: f64,
}

/// First quartile, median and third.
fn quartiles(numbers: &[f64]) -> [f64; 3] {
    let mut data = Data::new(numbers.to_vec());
    [data.lower_quartile(), data.median(), data.upper_quartile()]
}

impl Times {
    /// Ends `side`, whose runs took these `seconds`.
    pub fn end(side: Side, seconds: &[f64]) -> Fallible<Self> {
        let ready = side.ready.clone();
        let [lower, median_s, upper] = quartiles(seconds);
        Ok(Self {
            name: ready.name,
            median_s,
            quartiles_s: [lower, upper],
            lowest_s: seconds.iter().copied().fold(f64::INFINITY, f64::min),
            prepare_s: ready.prepare_s,
            first_s: ready.first_s,
            peak_bytes: side.end()?,
            check: ready.check,
        })
    }
}

impl Measured {
    /// Compares both sides with each other and with the device.
    pub fn conclude(
        &mut self,
        ours: Times,
        theirs: Option<Times>,
        seconds: [&[f64]; 2],
        work: Option<Work>,
        report: &Report,
    ) {
        if let Some(theirs) = &theirs {
            let off = (ours.check - theirs.check).abs();
            if off > 1e-3 * theirs.check.abs().max(1e-2) {
                self.reason = Some(format!("not the same: {} here, {} there", ours.check, theirs.check));
            } else {
                let ratios: Vec<f64> = seconds[0].iter().zip(seconds[1]).map(|(own, their)| own / their).collect();
                let [lower, median, upper] = quartiles(&ratios);
                (self.ratio, self.ratio_quartiles) = (Some(median), Some([lower, upper]));
                self.ratio_of_fastest = Some(ours.lowest_s / theirs.lowest_s);
            }
        }
        if let Some(work) = work {
            (self.flops, self.bytes) = (Some(work.flops), Some(work.bytes));
        }
        (self.ours, self.theirs) = (Some(ours), theirs);
        // The rates' own cases are their own bounds.
        let rate = |of: fn(&Task) -> bool, amount: fn(&Self) -> Option<f64>| {
            let case = report.cases.iter().chain([&*self]).find(|case| case.task.as_ref().is_some_and(of))?;
            let lowest = case.ours.iter().chain(&case.theirs).map(|times| times.lowest_s).fold(f64::INFINITY, f64::min);
            Some(amount(case)? / lowest)
        };
        let product = rate(|task| matches!(task, Task::Product { .. }), |case| case.flops);
        let copy = rate(|task| matches!(task, Task::Copy { .. }), |case| case.bytes);
        let bound = |amount: Option<f64>, rate: Option<f64>| Some(amount? / rate?);
        let bounds = [bound(self.flops, product), bound(self.bytes, copy)];
        self.bound_s = bounds.into_iter().flatten().reduce(f64::max);
        let share = |times: &Option<Times>| Some(self.bound_s? / times.as_ref()?.lowest_s);
        (self.achieved, self.achieved_by_theirs) = (share(&self.ours), share(&self.theirs));
    }

    /// Its line of the table.
    pub fn print(&self) {
        let time = |times: &Option<Times>| {
            times.as_ref().map_or("–".into(), |times| {
                let [lower, upper] = times.quartiles_s.map(|s| 1e3 * s);
                format!("{:.2} [{lower:.2}, {upper:.2}]", 1e3 * times.median_s)
            })
        };
        let first =
            |times: &Option<Times>| times.as_ref().map_or("–".into(), |times| format!("{:.2}", times.first_s));
        let peak = |times: &Option<Times>| times.as_ref().map_or("–".into(), |times| bytes(times.peak_bytes));
        let ratio = match (self.ratio, self.ratio_quartiles) {
            (Some(ratio), Some([lower, upper])) => format!("{ratio:.2} [{lower:.2}, {upper:.2}]"),
            _ => "–".into(),
        };
        let share = |share: Option<f64>| share.map_or("–".into(), |share| format!("{:.0} %", 100.0 * share));
        println!(
            "| {} | {} | {} | {ratio} | {} | {} | {} | {} | {} | {} | {} |{}",
            self.name,
            time(&self.ours),
            time(&self.theirs),
            self.ratio_of_fastest.map_or("–".into(), |ratio| format!("{ratio:.2}")),
            share(self.achieved),
            share(self.achieved_by_theirs),
            first(&self.ours),
            first(&self.theirs),
            peak(&self.ours),
            peak(&self.theirs),
            self.reason.as_ref().map_or(String::new(), |reason| format!(" {reason}")),
        );
        for times in self.ours.iter().chain(&self.theirs).filter(|_| matches!(self.task, Some(Task::Product { .. }))) {
            println!("| *{}* |||||||||||", times.name);
        }
    }
}

impl Report {
    /// The table's head, in Markdown.
    pub fn print_head(&self) {
        let Self { version, device, threads, repeats, load, .. } = self;
        println!(
            "odyssey {version} on {device}; {threads} threads a side; {repeats} rounds; load average {load:.1} at the \
             start.\nTimes are medians with quartiles. The ratio is our time over theirs; below 1 we are faster. \
             “Share” is what the device's own rates make possible over what was needed, at least.\n"
        );
        println!(
            "| case | ours, ms | theirs, ms | ratio | of fastest | our share | their share | our first, s | their first, s \
             | our peak | their peak |\n|---|---|---|---|---|---|---|---|---|---|---|"
        );
    }
}
