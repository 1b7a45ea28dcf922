//! What an upstream does whatever its role, and what it leaves to each.

use super::child::Child;
use super::{Letter, UpstreamStanding};
use crate::audit::SessionEnd;
use crate::framing::{Line, LineBuffer, Text};
use crate::time::{Instant, Now};

/// A role of an upstream. Whatever comes in is taken by one of the `handle_*`, and [`Role::settle`] does
/// what follows from it.
pub(super) trait Role: Send {
    fn child(&self) -> &Child;

    fn child_mut(&mut self) -> &mut Child;

    /// Whether it has ended, and only waits for its child and for grants.
    fn has_ended(&self) -> bool;

    /// Takes a letter.
    fn take(&mut self, letter: Letter, now: Now);

    /// Takes a line of the child's: `document` is the bytes of `text`.
    fn take_line(&mut self, text: Text<'_>, document: &[u8], now: Now);

    /// Takes note that the child has ended by itself, or never was.
    fn child_ended(&mut self, end: SessionEnd, now: Now);

    /// Does what is due, but for the child's end.
    fn do_due(&mut self, now: Now);

    /// When [`Role::do_due`] has something to do.
    fn due(&self) -> Option<Instant>;

    /// After every input: what follows from the state that it left.
    fn settle(&mut self, now: Now);

    fn standing(&self) -> UpstreamStanding;

    /// Whether every table is empty.
    fn is_empty(&self) -> bool;

    fn handle_spawned(&mut self, spawned: bool, now: Now) {
        if spawned {
            self.child_mut().started(now);
        } else {
            self.child_mut().gone();
            self.child_ended(SessionEnd::SpawnFailed, now);
        }
        self.settle(now);
    }

    fn handle_mail(&mut self, letter: Letter, now: Now) {
        self.take(letter, now);
        self.settle(now);
    }

    fn handle_stdout(&mut self, bytes: usize, now: Now) {
        self.child_mut().stdout.filled(bytes);
        // Lines borrow from the buffer, so that it cannot stay in `self` meanwhile.
        let mut stdout = std::mem::replace(&mut self.child_mut().stdout, LineBuffer::new(0));
        while let Some(line) = stdout.next_line() {
            if self.has_ended() {
                continue;
            }
            match line {
                Line::Short(text) => self.take_line(Text::Short(text), text, now),
                Line::Long(text) => self.take_line(Text::Long(&text), &text, now),
                Line::Oversized { .. } => self.child_mut().skip_line(),
            }
        }
        self.child_mut().stdout = stdout;
        self.settle(now);
    }

    fn handle_stdout_closed(&mut self, now: Now) {
        self.child_mut().stdout_closed();
        self.child_ended(SessionEnd::ChildExited, now);
        self.settle(now);
    }

    fn handle_exit(&mut self, now: Now) {
        self.child_mut().gone();
        self.child_ended(SessionEnd::ChildExited, now);
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.do_due(now);
        self.child_mut().timeout(now);
        self.settle(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due().into_iter().chain(self.child().due()).min()
    }
}
