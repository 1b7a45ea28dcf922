//! A resource that changes: `demo://counter` counts its reads, and the seconds while somebody is
//! subscribed to it.

use super::locked;
use super::wire::{Failure, Wire};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

const URI: &str = "demo://counter";
const TICK: Duration = Duration::from_secs(1);

/// The counter, and its clock while [`Counter::run`] runs.
#[derive(Default)]
pub(super) struct Counter {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    count: u64,
    subscribed: bool,
    ended: bool,
}

pub(super) fn description() -> Value {
    json!({
        "uri": URI,
        "name": "counter",
        "description": "Counts its reads, and the seconds while subscribed to",
        "mimeType": "text/plain",
    })
}

impl Counter {
    /// A read changes the counter but notifies nobody: a client that reads upon each notification
    /// would never come to rest.
    pub(super) fn read(&self, params: &Value) -> Result<Value, Failure> {
        is_counter(params)?;
        let mut state = locked(&self.state);
        state.count += 1;
        let text = state.count.to_string();
        Ok(json!({"contents": [{"uri": URI, "mimeType": "text/plain", "text": text}]}))
    }

    pub(super) fn subscribe(&self, params: &Value, on: bool) -> Result<Value, Failure> {
        is_counter(params)?;
        locked(&self.state).subscribed = on;
        self.changed.notify_all();
        Ok(json!({}))
    }

    /// Counts the seconds while subscribed to, until [`Counter::end`].
    pub(super) fn run<W: Write>(&self, wire: &Wire<W>) {
        let mut state = locked(&self.state);
        while !state.ended {
            if !state.subscribed {
                let woken = self.changed.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let woken = self.changed.wait_timeout(state, TICK);
            let (guard, waited) = woken.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if waited.timed_out() && state.subscribed && !state.ended {
                state.count += 1;
                // Not under the lock: the output may block.
                drop(state);
                wire.notify("notifications/resources/updated", json!({"uri": URI}));
                state = locked(&self.state);
            }
        }
    }

    pub(super) fn end(&self) {
        locked(&self.state).ended = true;
        self.changed.notify_all();
    }
}

fn is_counter(params: &Value) -> Result<(), Failure> {
    match &params["uri"] {
        uri if uri == URI => Ok(()),
        Value::Null => Err(Failure::invalid_params("uri is missing")),
        uri => Err(Failure::resource_not_found(uri)),
    }
}
