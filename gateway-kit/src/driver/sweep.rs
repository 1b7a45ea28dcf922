//! Ends what children leave behind that left their process group.
//!
//! To find them, the environment of every process is read. That is done once for all the children
//! that end meanwhile: a thousand sessions that end together cost a few scans, not a thousand.

use std::sync::{Arc, Mutex};
use std::thread;

use tracing::{info, warn};

use super::Alive;
use super::inbox::lock;
use crate::guard;

/// The children that wait for a scan.
#[derive(Default)]
pub(crate) struct Sweep {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<(String, Alive)>,
    is_scanning: bool,
}

impl Sweep {
    /// Ends what is left of the child with this marker, which counts as alive until then.
    pub(crate) fn end(self: &Arc<Self>, marker: String, alive: Alive) {
        let starts = {
            let mut state = lock(&self.state);
            state.waiting.push((marker, alive));
            !std::mem::replace(&mut state.is_scanning, true)
        };
        if !starts {
            return;
        }
        let scan = Scan {
            sweep: Arc::clone(self),
            is_finished: false,
        };
        // Without a thread the scan is dropped, which tells of it.
        let _ = thread::Builder::new()
            .name("sweep".to_owned())
            .spawn(move || scan.run());
    }
}

/// The one scan that is going on.
struct Scan {
    sweep: Arc<Sweep>,
    is_finished: bool,
}

impl Scan {
    /// Scans until nobody waits.
    fn run(mut self) {
        while !self.is_finished {
            let waiting = std::mem::take(&mut lock(&self.sweep.state).waiting);
            let (markers, alive): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
            let found = guard::kill_marked(markers);
            if found > 0 {
                info!(found, "killed processes that had left their group");
            }
            drop(alive);
            let mut state = lock(&self.sweep.state);
            self.is_finished = state.waiting.is_empty();
            state.is_scanning = !self.is_finished;
        }
    }
}

/// One that panicked, or never began: those who wait for it wait no longer, and whoever comes next
/// begins another.
impl Drop for Scan {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        warn!("a scan for processes that left their group was cut short");
        let abandoned = std::mem::take(&mut *lock(&self.sweep.state));
        drop(abandoned);
    }
}
