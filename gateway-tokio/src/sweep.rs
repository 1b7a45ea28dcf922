//! Ends what children leave behind that left their process group.
//!
//! To find them, the environment of every process is read. That is done once for all the children
//! that end meanwhile: a thousand sessions that end together cost a few scans, not a thousand.

use std::sync::{Arc, Mutex};

use gateway_kit::guard;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::inbox::lock;

/// The children that wait for a scan.
#[derive(Default)]
pub(crate) struct Sweep {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<(String, oneshot::Sender<()>)>,
    is_scanning: bool,
}

impl Sweep {
    /// Ends what is left of the child with this marker.
    pub(crate) async fn end(self: &Arc<Self>, marker: String) {
        let (done, is_done) = oneshot::channel();
        let starts = {
            let mut state = lock(&self.state);
            state.waiting.push((marker, done));
            !std::mem::replace(&mut state.is_scanning, true)
        };
        if starts {
            let sweep = Arc::clone(self);
            tokio::task::spawn_blocking(move || sweep.scan());
        }
        if is_done.await.is_err() {
            warn!("a scan for processes that left their group was cut short");
            // Whoever comes next begins another.
            lock(&self.state).is_scanning = false;
        }
    }

    /// Scans until nobody waits.
    fn scan(&self) {
        loop {
            let waiting = {
                let mut state = lock(&self.state);
                state.is_scanning = !state.waiting.is_empty();
                std::mem::take(&mut state.waiting)
            };
            if waiting.is_empty() {
                return;
            }
            let (markers, done): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
            let found = guard::kill_marked(markers);
            if found > 0 {
                info!(found, "killed processes that had left their group");
            }
            for done in done {
                // Whoever waited may have gone with the runtime.
                let _ = done.send(());
            }
        }
    }
}
