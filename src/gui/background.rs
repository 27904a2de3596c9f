//! Work on threads, so that drawing does not wait.

use std::sync::mpsc::{Receiver, TryRecvError, channel};

use egui::Context;

/// Something computed on a thread of its own.
pub struct Background<T> {
    receiver: Receiver<T>,
}

/// The state of work on a thread.
pub enum Arrival<T> {
    /// Still computing.
    Pending,
    /// The result; it is given once.
    Here(T),
    /// The thread ended without an answer, which is a bug.
    Lost,
}

impl<T: Send + 'static> Background<T> {
    /// Starts `work`; the frame that can show its result is drawn when it is done.
    pub fn start(context: &Context, work: impl FnOnce() -> T + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        let context = context.clone();
        std::thread::spawn(move || {
            let result = crate::guard::caught(work);
            if let Ok(result) = result {
                // The receiver may no longer exist.
                let _ = sender.send(result);
            }
            drop(sender);
            context.request_repaint();
        });
        Self { receiver }
    }

    /// The state of the work now.
    pub fn poll(&self) -> Arrival<T> {
        match self.receiver.try_recv() {
            Ok(result) => Arrival::Here(result),
            Err(TryRecvError::Empty) => Arrival::Pending,
            Err(TryRecvError::Disconnected) => Arrival::Lost,
        }
    }
}
