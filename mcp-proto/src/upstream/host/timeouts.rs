//! How calls end without an answer.

use super::calls::{Call, Caller};
use super::{Host, Timer};
use crate::refusal::Refusal;
use crate::time::Now;

impl Host {
    pub(super) fn remove(&mut self, minted: u64) -> Option<Call> {
        let call = self.calls.remove(minted)?;
        if let Some(timer) = call.timer {
            self.timers.remove(&(timer, Timer::Call(minted)));
        }
        Some(call)
    }

    /// Sets a call's timer to the earliest of what is due for it.
    pub(super) fn arm(&mut self, minted: u64) {
        let Some(call) = self.calls.get_mut(minted) else {
            return;
        };
        let due = call.due();
        if let Some(before) = std::mem::replace(&mut call.timer, due) {
            self.timers.remove(&(before, Timer::Call(minted)));
        }
        if let Some(due) = due {
            self.timers.insert((due, Timer::Call(minted)));
        }
    }

    pub(super) fn call_timer(&mut self, minted: u64, now: Now) {
        let Some(call) = self.calls.get_mut(minted) else {
            return;
        };
        call.timer = None;
        let deadlines = [call.deadline, call.last_deadline];
        if deadlines
            .into_iter()
            .flatten()
            .any(|deadline| deadline <= now.monotonic)
        {
            return self.time_out(minted, now);
        }
        if call.silence_at.is_some_and(|at| at <= now.monotonic) {
            call.silence_at = None;
            self.begin(minted);
        }
        self.arm(minted);
    }

    fn time_out(&mut self, minted: u64, now: Now) {
        let Some(call) = self.cancel(minted, now) else {
            return;
        };
        match call.caller {
            Caller::Exchange(sender) => self.child.refuse(sender.exchange, Refusal::RequestTimeout),
            Caller::Tools => self.tools_timed_out(),
            // A session times its client's calls itself, and a subscription takes as long as it does.
            Caller::Session { .. } | Caller::Watch => {}
        }
    }
}
