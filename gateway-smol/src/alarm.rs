//! One timer for deadlines that change often.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_io::Timer;

/// A timer that is set again only if it would come too late: one that comes early does no harm.
pub(crate) struct Alarm {
    timer: Timer,
    set: Option<Instant>,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self {
            timer: Timer::never(),
            set: None,
        }
    }

    /// Ready once `due` has come; else `context` is woken then, or before.
    pub(crate) fn poll(&mut self, due: Instant, context: &mut Context<'_>) -> Poll<()> {
        while due > Instant::now() {
            if self.set.is_none_or(|set| due < set) {
                self.timer.set_at(due);
                self.set = Some(due);
            }
            ready!(Pin::new(&mut self.timer).poll(context));
            self.set = None;
        }
        Poll::Ready(())
    }
}
