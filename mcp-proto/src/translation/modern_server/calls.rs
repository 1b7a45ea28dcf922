//! What the child has been asked and has not answered.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::modern::{CallKind, Level};
use crate::time::Instant;

/// A call that the child has not answered. It goes by the id of the request that began it; a retry
/// carries it on under an id of its own.
pub(super) struct Call {
    pub(super) kind: CallKind,
    /// The request that what comes is for; none while the client is asked.
    pub(super) request: Option<u64>,
    /// Whether that request asks for progress. To the child the token is the call's id.
    pub(super) wants_progress: bool,
    /// The least severe message that it asked for.
    pub(super) level: Option<Level>,
    /// `params.uri` of `resources/read`, as raw JSON.
    pub(super) uri: Option<Bytes>,
}

/// Most calls that are known one by one of those that nobody waits for any more.
const MOST_GHOSTS: usize = 256;

/// A call that nobody waits for any more, and that the child may still be at.
struct Ghost {
    call: u64,
    may_ask: bool,
    until: Instant,
}

#[derive(Default)]
pub(super) struct Calls {
    calls: BTreeMap<u64, Call>,
    /// How many of them may ask.
    may_ask: usize,
    /// The call that alone may have asked ever since it began.
    sole: Option<Sole>,
    /// Oldest first.
    ghosts: VecDeque<Ghost>,
    /// The last of those that were too many, in the place of all of them: that it is answered tells
    /// nothing of the others, so nothing but time lays it.
    forgotten: Option<Ghost>,
}

struct Sole {
    call: u64,
    /// What it asked for and the client has not declared: members of `ClientCapabilities`.
    missing: serde_json::Map<String, serde_json::Value>,
}

impl Calls {
    pub(super) fn insert(&mut self, id: u64, call: Call) {
        if call.kind.may_ask_for_input() {
            let is_sole = self.may_ask == 0 && !self.has_asking_ghost();
            self.sole = is_sole.then(|| Sole {
                call: id,
                missing: serde_json::Map::new(),
            });
            self.may_ask += 1;
        }
        self.calls.insert(id, call);
    }

    pub(super) fn get(&self, id: u64) -> Option<&Call> {
        self.calls.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Call> {
        self.calls.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        self.may_ask -= usize::from(call.kind.may_ask_for_input());
        self.sole.take_if(|sole| sole.call == id);
        Some(call)
    }

    /// The call that a request waits for.
    pub(super) fn find(&self, request: u64) -> Option<u64> {
        let is_its = |call: &Call| call.request == Some(request);
        if self.get(request).is_some_and(is_its) {
            return Some(request);
        }
        let mut calls = self.calls.iter();
        calls.find(|(_, call)| is_its(call)).map(|(&id, _)| id)
    }

    /// The call, if there is just one and nothing else that the child may be at.
    pub(super) fn only(&self) -> Option<&Call> {
        let only = self.calls.len() == 1 && self.ghosts().next().is_none();
        self.calls.values().next().filter(|_| only)
    }

    /// Takes note that the child has asked for what the client has not declared. No matter if it is
    /// not certain which call it asked for.
    pub(super) fn miss(&mut self, missing: &serde_json::Value) {
        if let Some(sole) = &mut self.sole
            && let Some(missing) = missing.as_object()
        {
            for (name, value) in missing {
                let known = sole.missing.entry(name).or_insert_with(|| value.clone());
                if let (Some(known), Some(more)) = (known.as_object_mut(), value.as_object()) {
                    known.extend(more.clone());
                }
            }
        }
    }

    /// What a call has asked for in vain, as `ClientCapabilities`; `None` if nothing is known of.
    pub(super) fn missing(&self, id: u64) -> Option<serde_json::Value> {
        let sole = self.sole.as_ref().filter(|sole| sole.call == id)?;
        (!sole.missing.is_empty()).then(|| sole.missing.clone().into())
    }

    /// Lets a call go that the child was told to cancel, which it need not heed, and need not answer
    /// if it does.
    pub(super) fn abandon(&mut self, id: u64, until: Instant) {
        if let Some(call) = self.remove(id) {
            while self.ghosts.len() >= MOST_GHOSTS
                && let Some(oldest) = self.ghosts.pop_front()
            {
                let may_ask = self.forgotten.take().is_some_and(|ghost| ghost.may_ask);
                self.forgotten = Some(Ghost {
                    may_ask: may_ask || oldest.may_ask,
                    ..oldest
                });
            }
            self.ghosts.push_back(Ghost {
                call: id,
                may_ask: call.kind.may_ask_for_input(),
                until,
            });
        }
    }

    /// Takes note that the child is done with a call, if nobody waited for it any more.
    pub(super) fn lay(&mut self, id: u64) {
        self.ghosts.retain(|ghost| ghost.call != id);
    }

    /// Forgets calls that have taken longer than any may.
    pub(super) fn forget(&mut self, now: Instant) {
        self.ghosts.retain(|ghost| ghost.until > now);
        self.forgotten.take_if(|ghost| ghost.until <= now);
    }

    /// When the next is to be forgotten.
    pub(super) fn due(&self) -> Option<Instant> {
        self.ghosts().next().map(|ghost| ghost.until)
    }

    /// Whether the child may ask for the sake of a call that nobody waits for.
    pub(super) fn has_asking_ghost(&self) -> bool {
        self.ghosts().any(|ghost| ghost.may_ask)
    }

    /// Oldest first.
    fn ghosts(&self) -> impl Iterator<Item = &Ghost> {
        self.forgotten.iter().chain(&self.ghosts)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
            && self.ghosts().next().is_none()
            && self.may_ask == 0
            && self.sole.is_none()
    }
}
