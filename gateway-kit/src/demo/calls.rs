//! The calls in flight: how word of a cancel or of a client's answer reaches the thread of one.

use super::locked;
use super::wire::Failure;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Most calls, and so threads, at once.
const MOST: usize = 256;

/// What can happen to a call.
enum Event {
    Cancelled,
    /// The client's answer to the question that the call asked.
    Answer(Result<Value, Value>),
}

/// All calls in flight.
#[derive(Default)]
pub(super) struct Calls {
    inner: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// By the client's id, as JSON, so that 1 and "1" are two.
    calls: BTreeMap<String, Sender<Event>>,
    /// Who waits for which answer, by our id.
    questions: BTreeMap<u64, Sender<Event>>,
    asked: u64,
}

/// One call, as its thread sees it.
pub(super) struct Call {
    events: Receiver<Event>,
    sender: Sender<Event>,
}

/// The call was cancelled, or the server ends: there is nothing more to do for it.
pub(super) struct Stopped;

impl Calls {
    /// A new call.
    pub(super) fn begin(&self, id: &Value) -> Result<Call, Failure> {
        let mut table = locked(&self.inner);
        if table.calls.len() >= MOST {
            return Err(Failure::new(-32000, "Too many calls at once"));
        }
        let key = id.to_string();
        if table.calls.contains_key(&key) {
            return Err(Failure::invalid_request("the id is in use"));
        }
        let (sender, events) = channel();
        table.calls.insert(key, sender.clone());
        Ok(Call { events, sender })
    }

    /// The call has been answered or given up.
    pub(super) fn done(&self, id: &Value) {
        locked(&self.inner).calls.remove(&id.to_string());
    }

    pub(super) fn cancelled(&self, id: &Value) {
        if let Some(call) = locked(&self.inner).calls.get(&id.to_string()) {
            let _ = call.send(Event::Cancelled);
        }
    }

    /// A new id for a question that `call` asks the client.
    pub(super) fn question(&self, call: &Call) -> u64 {
        let mut table = locked(&self.inner);
        table.asked += 1;
        let id = table.asked;
        table.questions.insert(id, call.sender.clone());
        id
    }

    /// The question will not be answered any more.
    pub(super) fn withdraw(&self, question: u64) {
        locked(&self.inner).questions.remove(&question);
    }

    pub(super) fn answered(&self, id: &Value, outcome: Result<Value, Value>) {
        let question = id.as_u64();
        let waiting = question.and_then(|id| locked(&self.inner).questions.remove(&id));
        if let Some(call) = waiting {
            let _ = call.send(Event::Answer(outcome));
        }
    }

    /// Stops every call.
    pub(super) fn end(&self) {
        for call in locked(&self.inner).calls.values() {
            let _ = call.send(Event::Cancelled);
        }
    }
}

impl Call {
    /// Waits for `time` to pass.
    pub(super) fn pause(&self, time: Duration) -> Result<(), Stopped> {
        match self.events.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            _ => Err(Stopped),
        }
    }

    /// Waits for the client's answer.
    pub(super) fn answer(&self) -> Result<Result<Value, Value>, Stopped> {
        match self.events.recv() {
            Ok(Event::Answer(outcome)) => Ok(outcome),
            _ => Err(Stopped),
        }
    }
}
