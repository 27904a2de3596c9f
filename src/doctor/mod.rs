//! Checks that a device computes right: every operation the models use, one training step of a tiny model of each
//! family, numbers at the edge of their range, 16-bit weights, and how fast it all is.
//!
//! The truth is computed on the host in f64 ([`exact`]), independent of the device. Errors may be as large as rounding
//! explains; each check names the unit of its errors. The diagnosis is kept ([`crate::device::diagnosis`]) for
//! `--device auto`, which passes over a card found wrong.

pub mod exact;
mod half;
mod ops;
mod steps;
mod timing;

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;

use crate::device::ChosenDevice;
pub use crate::device::diagnosis::{About, Aspect, Case, Check, Diagnosis, SCHEMA, Timing, Verdict};
use crate::error::{Error, Result};
use crate::guard;
use crate::model::weights::LARGEST_PIECE;
use crate::process;
use crate::progress::Monitor;

/// How long a check may take before the device counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// The gap between 1 and the next f32, 2⁻²³: rounding changes a value by at most half of it.
const EPSILON: f64 = f32::EPSILON as f64;

/// The expected result of a device: numbers, the unit of their errors, and the allowed error.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The true values.
    pub exact: Vec<f64>,
    /// The unit of each value's error.
    pub scale: Vec<f64>,
    /// The largest error in these units.
    pub allowed: f64,
}

impl Expected {
    /// Values that a device moves but does not compute, to the bit.
    pub fn same(exact: Vec<f64>) -> Self {
        Self { scale: vec![1.0; exact.len()], exact, allowed: 0.0 }
    }

    /// Values with an error of at most `allowed` in units of `scale`.
    pub fn within(allowed: f64, exact: Vec<f64>, scale: Vec<f64>) -> Self {
        Self { exact, scale, allowed }
    }

    /// Values with an error of at most `allowed` of themselves.
    pub fn relative(allowed: f64, exact: Vec<f64>) -> Self {
        Self { scale: exact.iter().map(|x| x.abs()).collect(), exact, allowed }
    }
}

/// The largest error of `found`, in the units that `expected` says.
///
/// For a true value beyond the range of f32 an infinity or the largest number with the same sign is right. Below 2⁻¹⁰⁰
/// units do not shrink further: kernels may take numbers that small for 0.
///
/// # Errors
/// In words, why the error is not a number: a value is missing, not a number, or infinite.
pub fn worst_error(found: &[f32], expected: &Expected) -> Result<f64, String> {
    let Expected { exact, scale, .. } = expected;
    if found.len() != exact.len() {
        return Err(format!("{} values, expected {}", found.len(), exact.len()));
    }
    let mut worst = 0f64;
    for (i, ((&found, &exact), &scale)) in found.iter().zip(exact).zip(scale).enumerate() {
        let overflows = exact.abs() > f64::from(f32::MAX);
        if overflows && found.abs() >= f32::MAX && f64::from(found).signum() == exact.signum() {
            continue;
        }
        if overflows || !found.is_finite() {
            return Err(format!("value {i} is {found:e}, expected {exact:e}"));
        }
        worst = worst.max((f64::from(found) - exact).abs() / scale.max(2f64.powi(-100)));
    }
    Ok(worst)
}

/// The result of a check.
#[derive(Debug, Default)]
pub struct Cases {
    measured: Vec<Case>,
    skipped: Option<String>,
}

impl Cases {
    /// Judges the result `found` of a device in the case `at`.
    pub fn judge(&mut self, at: impl Into<String>, found: &[f32], expected: &Expected) {
        let (worst, reason) = match worst_error(found, expected) {
            Ok(worst) => (Some(worst), None),
            Err(reason) => (None, Some(reason)),
        };
        self.measured.push(Case { at: at.into(), worst, allowed: Some(expected.allowed), cpu: None, reason });
    }

    /// Nothing can be checked; the reason.
    pub fn skip(&mut self, why: &str) {
        self.skipped = Some(why.to_owned());
    }
}

type Run = dyn Fn(&Device, &mut Cases) -> Result<()> + Send;

/// A check to be made.
pub struct Plan {
    about: About,
    run: Box<Run>,
}

impl Plan {
    /// The check `name`, whose errors are measured as `bound` says; `run` judges the cases on the device it is given.
    pub fn new(
        name: impl Into<String>,
        aspect: Aspect,
        bound: &str,
        run: impl Fn(&Device, &mut Cases) -> Result<()> + Send + 'static,
    ) -> Self {
        Self { about: About { name: name.into(), aspect, bound: bound.into() }, run: Box::new(run) }
    }

    /// The cases on `device`; in words, why there are none.
    fn cases(&self, device: &Device) -> Result<Cases, String> {
        let mut cases = Cases::default();
        caught(|| (self.run)(device, &mut cases))?;
        Ok(cases)
    }

    fn check(&self, device: &Device) -> Check {
        let Cases { mut measured, skipped } = match self.cases(device) {
            Ok(cases) => cases,
            Err(fault) => return self.about.failed(&fault),
        };
        if let Some(why) = skipped {
            return Check { ok: true, ..self.about.without_number(why) };
        }
        if *device != Device::flex() {
            let of_cpu = self.cases(&Device::flex()).unwrap_or_default();
            measured.iter_mut().zip(of_cpu.measured).for_each(|(case, cpu)| case.cpu = cpu.worst);
        }
        match measured.iter().max_by(|a, b| a.share().total_cmp(&b.share())).cloned() {
            Some(tightest) => {
                Check { about: self.about.clone(), ok: tightest.share() <= 1.0, tightest, cases: measured }
            }
            None => self.about.failed("it measured nothing"),
        }
    }
}

impl About {
    fn without_number(&self, why: String) -> Check {
        let tightest = Case { reason: Some(why), ..Case::default() };
        Check { about: self.clone(), tightest, ok: false, cases: Vec::new() }
    }

    fn failed(&self, fault: &str) -> Check {
        self.without_number(format!("failed: {fault}"))
    }
}

/// Runs `work`; a failure or panic becomes words.
fn caught(work: impl FnOnce() -> Result<()>) -> Result<(), String> {
    match guard::caught(work) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(panic) => Err(panic.words().and_then(|words| words.lines().next()).unwrap_or("a panic").to_owned()),
    }
}

/// Makes the checks of `plans` on `device`, one after another. A panic fails its check; a check that takes longer than
/// `patience` fails, and those after it are not made.
///
/// # Errors
/// An interruption.
pub fn run(plans: Vec<Plan>, device: &Device, patience: Duration, monitor: &mut dyn Monitor) -> Result<Vec<Check>> {
    let about: Vec<About> = plans.iter().map(|plan| plan.about.clone()).collect();
    monitor.begin("checking", about.len() as u64);
    let device = device.clone();
    let jobs = plans.into_iter().map(move |plan| plan.check(&device));
    let checks = patiently(jobs, about.len(), patience, monitor)?;
    monitor.end();
    let mut unanswered = about.iter().skip(checks.len());
    let hung = unanswered.next().map(|about| about.failed(&format!("no answer within {} s", patience.as_secs_f64())));
    let not_made = unanswered.map(|about| about.failed("not tried, because an earlier check gave no answer"));
    Ok(checks.into_iter().chain(hung).chain(not_made).collect())
}

/// Takes `count` values from `values`, which are made on a thread of their own, until one takes longer than `patience`.
fn patiently<T: Send + 'static>(
    values: impl Iterator<Item = T> + Send + 'static,
    count: usize,
    patience: Duration,
    monitor: &mut dyn Monitor,
) -> Result<Vec<T>> {
    const GLANCE: Duration = Duration::from_millis(100);
    let (sender, receiver) = channel();
    // The thread is not joined: if it hangs in a driver, it ends with the process.
    thread::spawn(move || {
        let mut values = values;
        values.try_for_each(|value| sender.send(value))
    });
    let mut taken = Vec::new();
    let mut waited = Instant::now();
    while taken.len() < count {
        match receiver.recv_timeout(GLANCE.min(patience)) {
            Ok(value) => {
                taken.push(value);
                monitor.advance(1, "");
                waited = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) if waited.elapsed() < patience => {}
            Err(_) => break,
        }
        if monitor.stopped() {
            return Err(Error::Interrupted("stopped while checking, which starts anew".into()));
        }
    }
    Ok(taken)
}

/// Examines a device.
///
/// # Errors
/// An interruption. Faults of the device are part of the diagnosis, not errors.
pub fn examine(chosen: &ChosenDevice, patience: Duration, monitor: &mut dyn Monitor) -> Result<Diagnosis> {
    let started = Instant::now();
    let plans = ops::plans().into_iter().chain(half::plans()).chain(steps::plans()).collect();
    let checks = run(plans, &chosen.device, patience, monitor)?;
    let device = chosen.device.clone();
    let timings = std::iter::once_with(move || timing::measure(&device));
    let timings = patiently(timings, 1, patience, monitor)?.pop().unwrap_or_default();
    let (verdict, words) = judge(chosen, &checks);
    Ok(Diagnosis {
        schema: SCHEMA.into(),
        device: chosen.name.clone(),
        driver: chosen.driver.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        verdict,
        words,
        checks,
        timings,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// The verdict on a device with these checks, and its words.
pub fn judge(chosen: &ChosenDevice, checks: &[Check]) -> (Verdict, String) {
    let failed = |aspect| checks.iter().filter(move |check| !check.ok && check.about.aspect == aspect);
    let faults = |aspect| {
        let faults: Vec<String> = failed(aspect).map(Check::fault).collect();
        let more = if faults.len() > 3 { format!("; and {} more", faults.len() - 3) } else { String::new() };
        (!faults.is_empty()).then(|| faults.into_iter().take(3).collect::<Vec<_>>().join("; ") + &more)
    };
    if let Some(faults) = faults(Aspect::F32) {
        let instead = if chosen.device == Device::flex() {
            "the processor, its memory or this program is at fault"
        } else {
            "the automatic choice now takes the CPU instead; a newer driver may help"
        };
        return (Verdict::Wrong, format!("do not use: {faults}; {instead}"));
    }
    let mut limits = Vec::new();
    if let Some(faults) = faults(Aspect::F16Held) {
        limits.push(format!("this driver's f16 is wrong ({faults}): using f32, and weights held in f16 are refused"));
    } else if let Some(faults) = faults(Aspect::F16Computed) {
        limits.push(format!(
            "its f16 arithmetic is wrong ({faults}): weights may be held in f16, and computing in f16 is refused"
        ));
    }
    if let Some(faults) = faults(Aspect::Large) {
        limits.push(format!("large tables are wrong ({faults}): use models whose token table is small"));
    }
    if let Some(faults) = faults(Aspect::LongRows) {
        limits.push(format!(
            "long rows are summed wrongly ({faults}): token tables are cut into shorter ones; train on fewer than 65,000 \
             tokens in a micro-batch"
        ));
    }
    if let Some(largest) = chosen.largest_binding.filter(|&largest| largest < LARGEST_PIECE as u64) {
        limits.push(format!("a kernel sees {} at once: larger weights cannot be used", process::bytes(largest)));
    }
    if limits.is_empty() {
        (Verdict::Fine, "fine: every check is within its bound".into())
    } else {
        (Verdict::Limited, format!("usable with limits: {}", limits.join("; ")))
    }
}
