//! A side of a comparison: a process that prepares a piece of work and does it when told.
//!
//! Each side and case has a process of its own, so that its peak of memory is its own. It reads lines: first an
//! [`Order`], then `run` any number of times, then `end`; it answers each with a line of JSON.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cases::Order;
use crate::Fallible;

/// The answer to an order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ready {
    /// What computes, with versions and device.
    pub name: String,
    /// Seconds to read or make everything.
    #[serde(default)]
    pub prepare_s: f64,
    /// Seconds of the first time.
    #[serde(default)]
    pub first_s: f64,
    /// What came out the first time: a loss, a distance, a number of tokens. Both sides must agree.
    #[serde(default)]
    pub check: f64,
    /// Why it cannot be done here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

/// The answer to `run`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// Seconds for one time.
    pub seconds: f64,
}

/// The answer to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// The most memory that the process ever had.
    pub peak_bytes: u64,
}

/// A running side.
pub struct Side {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it said of its order.
    pub ready: Ready,
}

impl Side {
    /// Starts `command` and gives it `order`; the reason where it cannot do that.
    pub fn start(mut command: Command, order: &Order) -> Fallible<Result<Self, String>> {
        let mut child = match command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Err(format!("{} does not start: {error}", command.get_program().display()))),
        };
        let orders = child.stdin.take().ok_or("a process without input")?;
        let answers = BufReader::new(child.stdout.take().ok_or("a process without output")?);
        let mut side = Self { child, orders, answers, ready: Ready::default() };
        match side.ask::<Ready>(&serde_json::to_string(order)?) {
            Ok(Ready { absent: Some(reason), .. }) => Ok(Err(reason)),
            Ok(ready) => {
                side.ready = ready;
                Ok(Ok(side))
            }
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Does the work; seconds for one time.
    pub fn run(&mut self) -> Fallible<f64> {
        Ok(self.ask::<Ran>("run")?.seconds)
    }

    /// Ends it; the most memory it ever had, bytes.
    pub fn end(mut self) -> Fallible<u64> {
        Ok(self.ask::<Ended>("end")?.peak_bytes)
    }

    fn ask<T: DeserializeOwned>(&mut self, line: &str) -> Fallible<T> {
        writeln!(self.orders, "{line}")?;
        self.orders.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        if answer.is_empty() {
            return Err("ended without an answer".into());
        }
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Gone already where it was told to end; what is left of it is no loss.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
