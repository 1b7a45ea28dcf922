//! The life of a child process.
//!
//! ```text
//! Starting ──> Running ──> Closing ──terminate_after──> Terminating ──kill_after──> Killed
//!    └────────────┴───────────┴──────────────────────────────┴──────────────────────┴──> Gone
//! ```

use crate::limits::Limits;
use crate::time::Instant;

/// How a child is made to end, one step harder than the other. Each goes to the whole process
/// group, since the child may have children of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Close its stdin, once what was queued for it is written: MCP 2025-11-25, lifecycle,
    /// "Shutdown", stdio.
    CloseStdin,
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// Where a child is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    Starting {
        /// Whether it is to end as soon as it runs.
        stop: bool,
    },
    Running,
    Closing {
        terminate_at: Instant,
    },
    Terminating {
        kill_at: Instant,
    },
    Killed,
    Gone,
}

impl Process {
    pub(super) fn accepts_input(self) -> bool {
        matches!(self, Self::Starting { stop: false } | Self::Running)
    }

    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Self::Closing { terminate_at } => Some(terminate_at),
            Self::Terminating { kill_at } => Some(kill_at),
            _ => None,
        }
    }

    pub(super) fn started(&mut self, limits: &Limits, now: Instant) -> Option<Stop> {
        let Self::Starting { stop } = *self else {
            return None;
        };
        *self = Self::Running;
        if stop { self.stop(limits, now) } else { None }
    }

    pub(super) fn stop(&mut self, limits: &Limits, now: Instant) -> Option<Stop> {
        match self {
            Self::Starting { stop } => {
                *stop = true;
                None
            }
            Self::Running => {
                *self = Self::Closing {
                    terminate_at: now + limits.terminate_after,
                };
                Some(Stop::CloseStdin)
            }
            _ => None,
        }
    }

    pub(super) fn timeout(&mut self, limits: &Limits, now: Instant) -> Option<Stop> {
        match *self {
            Self::Closing { terminate_at } if terminate_at <= now => {
                *self = Self::Terminating {
                    kill_at: now + limits.kill_after,
                };
                Some(Stop::Terminate)
            }
            Self::Terminating { kill_at } if kill_at <= now => {
                *self = Self::Killed;
                Some(Stop::Kill)
            }
            _ => None,
        }
    }
}
