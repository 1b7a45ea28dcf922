//! What is in flight at a host's child, and for whom.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::id::{ExchangeId, UpstreamId};
use crate::time::Instant;
use crate::upstream::Sender;

/// Whom a call's answer is for.
#[derive(Debug)]
pub(super) enum Caller {
    /// An HTTP request.
    Exchange(Sender),
    /// A legacy session, which knows the call by this number.
    Session {
        upstream: UpstreamId,
        reference: u64,
    },
    /// The host itself: a page of the tools.
    Tools,
    /// The host itself: a subscription to changes of the tools.
    Watch,
}

/// A request that the child has not answered.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) caller: Caller,
    /// The caller's id, as raw JSON.
    pub(super) id: Bytes,
    /// The caller's progress token, as raw JSON.
    pub(super) token: Option<Bytes>,
    /// Whether it is `subscriptions/listen`, which goes on until someone ends it.
    pub(super) is_listen: bool,
    /// Whether the caller wants log messages.
    pub(super) wants_log: bool,
    /// Whether no other call of its kind may be in flight at the child.
    pub(super) is_exclusive: bool,
    /// Whether the response has begun as an event stream.
    pub(super) begun: bool,
    /// Bytes that were handed to the exchange and not released.
    pub(super) in_transit: usize,
    /// When the call times out.
    pub(super) deadline: Option<Instant>,
    /// When it times out whatever happens.
    pub(super) last_deadline: Option<Instant>,
    /// When to begin an event stream if nothing has been sent.
    pub(super) silence_at: Option<Instant>,
    /// When the timer is set to.
    pub(super) timer: Option<Instant>,
}

impl Call {
    /// The earliest of what is due for it.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = [self.deadline, self.last_deadline, self.silence_at];
        due.into_iter().flatten().min()
    }

    pub(super) fn sender(&self) -> Option<&Sender> {
        match &self.caller {
            Caller::Exchange(sender) => Some(sender),
            _ => None,
        }
    }
}

/// The calls in flight, by the id that the child knows them by.
#[derive(Default)]
pub(super) struct Calls {
    next: u64,
    calls: BTreeMap<u64, Call>,
    by_exchange: BTreeMap<ExchangeId, u64>,
    by_session: BTreeMap<(UpstreamId, u64), u64>,
    /// How many have begun as an event stream.
    begun: usize,
}

impl Calls {
    /// The id that the next call goes by.
    pub(super) fn mint(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn insert(&mut self, minted: u64, call: Call) {
        match &call.caller {
            Caller::Exchange(sender) => drop(self.by_exchange.insert(sender.exchange, minted)),
            &Caller::Session {
                upstream,
                reference,
            } => drop(self.by_session.insert((upstream, reference), minted)),
            Caller::Tools | Caller::Watch => {}
        }
        self.calls.insert(minted, call);
    }

    pub(super) fn get_mut(&mut self, minted: u64) -> Option<&mut Call> {
        self.calls.get_mut(&minted)
    }

    pub(super) fn remove(&mut self, minted: u64) -> Option<Call> {
        let call = self.calls.remove(&minted)?;
        self.begun -= usize::from(call.begun);
        match &call.caller {
            Caller::Exchange(sender) => drop(self.by_exchange.remove(&sender.exchange)),
            &Caller::Session {
                upstream,
                reference,
            } => drop(self.by_session.remove(&(upstream, reference))),
            Caller::Tools | Caller::Watch => {}
        }
        Some(call)
    }

    /// Marks that a call's response begins as an event stream; the exchange that carries it, unless it
    /// has begun before.
    pub(super) fn begin(&mut self, minted: u64) -> Option<ExchangeId> {
        let call = self.calls.get_mut(&minted).filter(|call| !call.begun)?;
        let exchange = call.sender()?.exchange;
        call.begun = true;
        self.begun += 1;
        Some(exchange)
    }

    /// How many have begun as an event stream.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    /// The call of an HTTP request.
    pub(super) fn of_exchange(&self, exchange: ExchangeId) -> Option<u64> {
        self.by_exchange.get(&exchange).copied()
    }

    /// The call that a session knows by this number.
    pub(super) fn of_session(&self, upstream: UpstreamId, reference: u64) -> Option<u64> {
        self.by_session.get(&(upstream, reference)).copied()
    }

    /// All calls of a session.
    pub(super) fn all_of_session(&self, upstream: UpstreamId) -> Vec<u64> {
        let range = (upstream, 0)..=(upstream, u64::MAX);
        self.by_session
            .range(range)
            .map(|(_, &minted)| minted)
            .collect()
    }

    /// Every call, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Call)> {
        self.calls.iter().map(|(&minted, call)| (minted, call))
    }

    /// Whether the host is told when the tools change.
    pub(super) fn watches_tools(&self) -> bool {
        let mut calls = self.calls.values();
        calls.any(|call| matches!(call.caller, Caller::Watch))
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.calls.keys().next().copied()
    }

    /// Calls that somebody waits for.
    pub(super) fn count(&self) -> usize {
        self.by_exchange.len() + self.by_session.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}
