//! The one place that catches panics: of libraries that meet a malformed file, of a graphics driver, of a fault in this
//! program.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::threads;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// A panic that was caught.
pub struct Panic(Box<dyn Any + Send>);

impl Panic {
    /// Its message, if it has one.
    pub fn words(&self) -> Option<&str> {
        self.0.downcast_ref::<String>().map(String::as_str).or(self.0.downcast_ref::<&str>().copied())
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.words()).finish()
    }
}

/// Does `work`. The message of a panic goes to standard error, as that of any panic. What `work` leaves behind must not be
/// used after a panic.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(work)).map_err(Panic)
}

/// Does `work`. Nothing is said of a panic: the caller makes an error of it. What `work` leaves behind must not be used
/// after a panic.
pub fn caught_quietly<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    hush();
    let outer = GUARDED.replace(true);
    let done = caught(work);
    GUARDED.set(outer);
    done
}

/// What `work` returns; `None` where it panics, of which nothing is said.
pub fn without_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    caught_quietly(work).ok()
}

/// From now on a panic's message is not printed where the panic becomes an error: in work that is guarded, and where the
/// system gave no thread.
pub fn hush() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |panic| {
            let becomes_error =
                GUARDED.get() || panic.payload_as_str().is_some_and(|words| threads::refused(words).is_some());
            match becomes_error {
                true => tracing::debug!("{panic}"),
                false => loud(panic),
            }
        }));
    });
}
