//! A session's event streams, and the events that can be sent again.
//!
//! A stream outlives its connection: it is *attached* while an exchange carries it, and what is
//! sent while it is not, or was sent before, is kept in the replay buffer (MCP 2025-11-25,
//! transports, "Resumability and Redelivery"). An event id names the stream and the event's number
//! in it, counted from 1; number 0 is the priming event, which carries nothing.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::framing::Frame;
use crate::id::ExchangeId;
use crate::refusal::Refusal;
use crate::sse::EventId;
use crate::upstream::Sender;

/// What an entry of the replay buffer costs beside its bytes.
const ENTRY_BYTES: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Opened by GET: carries what belongs to no call.
    Listen,
    /// Opened by POST: carries what belongs to its calls, and their answers.
    Call,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) kind: Kind,
    /// The request whose response carries it.
    pub(super) carrier: Option<Sender>,
    /// Whether the response has begun as an event stream.
    pub(super) begun: bool,
    /// Whether event number 0 was sent.
    primed: bool,
    /// Calls without an answer.
    pub(super) open_calls: usize,
    /// Whether the last event has been sent.
    finished: bool,
    next_sequence: u64,
    /// Events up to this number are not in the replay buffer any more.
    evicted: u64,
    /// Events of this stream in the replay buffer.
    kept: usize,
    /// Bytes that were handed to the exchange and not released.
    in_transit: usize,
}

impl Stream {
    /// Whether an event that is sent now can reach the client, now or on resumption.
    pub(super) fn is_deliverable(&self) -> bool {
        self.begun || self.carrier.is_some()
    }

    /// The exchange that carries it.
    pub(super) fn exchange(&self) -> Option<ExchangeId> {
        self.carrier.as_ref().map(|carrier| carrier.exchange)
    }
}

struct Sent {
    stream: u64,
    sequence: u64,
    event: Frame,
}

impl Sent {
    fn cost(&self) -> usize {
        self.event.len() + ENTRY_BYTES
    }
}

pub(super) struct Streams {
    nonce: u32,
    next: u64,
    table: BTreeMap<u64, Stream>,
    attached: BTreeMap<ExchangeId, u64>,
    replay: VecDeque<Sent>,
    replay_bytes: usize,
    most_replay_bytes: usize,
    most_queue_bytes: usize,
    most_listening: usize,
}

/// What became of an event that was sent.
#[derive(Debug)]
pub(super) enum Sending {
    /// Hand it to this exchange.
    To(ExchangeId),
    /// The reader is too far behind: disconnect it. The event is kept.
    Overrun(Sender),
    /// Nobody is attached. The event is kept.
    Kept,
}

impl Streams {
    pub(super) fn new(nonce: u32, limits: &crate::Limits) -> Self {
        Self {
            nonce,
            next: 1,
            table: BTreeMap::new(),
            attached: BTreeMap::new(),
            replay: VecDeque::new(),
            replay_bytes: 0,
            most_replay_bytes: limits.replay_bytes,
            most_queue_bytes: limits.stream_queue_bytes,
            most_listening: limits.streams_per_session,
        }
    }

    pub(super) fn get(&self, key: u64) -> Option<&Stream> {
        self.table.get(&key)
    }

    pub(super) fn is_deliverable(&self, key: u64) -> bool {
        self.get(key).is_some_and(Stream::is_deliverable)
    }

    /// Whether any exchange carries a stream.
    pub(super) fn is_attached(&self) -> bool {
        !self.attached.is_empty()
    }

    /// How many streams an exchange carries.
    pub(super) fn attached_count(&self) -> usize {
        self.attached.len()
    }

    /// Events and streams that are held.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty() && self.attached.is_empty() && self.replay.is_empty()
    }

    /// The newest stream opened by GET that an exchange carries.
    pub(super) fn newest_listening(&self) -> Option<u64> {
        self.table
            .iter()
            .rev()
            .find(|(_, stream)| stream.kind == Kind::Listen && stream.carrier.is_some())
            .map(|(&key, _)| key)
    }

    pub(super) fn open(&mut self, kind: Kind, carrier: Sender, open_calls: usize) -> u64 {
        let key = self.next;
        self.next += 1;
        self.attached.insert(carrier.exchange, key);
        self.table.insert(
            key,
            Stream {
                kind,
                carrier: Some(carrier),
                begun: false,
                primed: false,
                open_calls,
                finished: false,
                next_sequence: 1,
                evicted: 0,
                kept: 0,
                in_transit: 0,
            },
        );
        key
    }

    /// Whether a further GET may open a stream.
    pub(super) fn may_listen(&self) -> bool {
        let listening = self
            .table
            .values()
            .filter(|stream| stream.kind == Kind::Listen && stream.carrier.is_some())
            .count();
        listening < self.most_listening
    }

    /// Marks that the response begins as an event stream; with `prime`, the priming event's id.
    pub(super) fn begin(&mut self, key: u64, prime: bool) -> Option<EventId> {
        let nonce = self.nonce;
        let stream = self.table.get_mut(&key)?;
        stream.begun = true;
        stream.primed = prime;
        prime.then_some(EventId {
            nonce,
            stream: key,
            sequence: 0,
        })
    }

    /// The id of the event that is sent next.
    pub(super) fn next_event_id(&self, key: u64) -> Option<EventId> {
        self.table.get(&key).map(|stream| EventId {
            nonce: self.nonce,
            stream: key,
            sequence: stream.next_sequence,
        })
    }

    /// Keeps an event under the id that [`Streams::next_event_id`] told, and says whom to send it.
    pub(super) fn send(&mut self, key: u64, event: &Frame) -> Sending {
        let Some(stream) = self.table.get_mut(&key) else {
            return Sending::Kept;
        };
        let sequence = stream.next_sequence;
        stream.next_sequence += 1;
        stream.kept += 1;
        // Up to half a window may have been taken without our hearing of it yet: a reader that keeps up
        // is not dropped for one large event.
        let overruns = stream.in_transit > self.most_queue_bytes / 2
            && stream.in_transit + event.len() > self.most_queue_bytes;
        let sending = match stream.carrier.take_if(|_| overruns) {
            Some(carrier) => {
                stream.in_transit = 0;
                self.attached.remove(&carrier.exchange);
                Sending::Overrun(carrier)
            }
            None => match stream.exchange() {
                None => Sending::Kept,
                Some(exchange) => {
                    stream.in_transit += event.len();
                    Sending::To(exchange)
                }
            },
        };
        let sent = Sent {
            stream: key,
            sequence,
            // An allocation of its own: a slice would keep the whole of what it was cut from.
            event: Frame::from(event.slices().concat()),
        };
        self.replay_bytes += sent.cost();
        self.replay.push_back(sent);
        self.evict();
        if let Sending::Overrun(_) = sending {
            self.forget_listening();
        }
        sending
    }

    /// Notes that the transport has taken this much.
    pub(super) fn release(&mut self, exchange: ExchangeId, bytes: usize) {
        if let Some(key) = self.attached.get(&exchange)
            && let Some(stream) = self.table.get_mut(key)
        {
            stream.in_transit = stream.in_transit.saturating_sub(bytes);
        }
    }

    /// Parts an exchange from its stream, which goes on without it.
    pub(super) fn detach(&mut self, exchange: ExchangeId) -> Option<u64> {
        let key = self.attached.remove(&exchange)?;
        let stream = self.table.get_mut(&key)?;
        stream.carrier = None;
        stream.in_transit = 0;
        if stream.kind == Kind::Listen {
            self.forget_listening();
        }
        Some(key)
    }

    /// No more than a bound of streams wait to be resumed with nothing else to end them.
    fn forget_listening(&mut self) {
        let left = |stream: &Stream| {
            stream.kind == Kind::Listen && stream.carrier.is_none() && !stream.finished
        };
        let mut waiting: Vec<u64> = self
            .table
            .iter()
            .filter(|(_, stream)| left(stream))
            .map(|(&key, _)| key)
            .collect();
        waiting.truncate(waiting.len().saturating_sub(self.most_listening));
        for oldest in waiting {
            self.finish(oldest);
        }
    }

    /// Marks that a stream's last event was sent, and parts it from its exchange, which is
    /// returned.
    pub(super) fn finish(&mut self, key: u64) -> Option<ExchangeId> {
        let stream = self.table.get_mut(&key)?;
        stream.finished = true;
        let exchange = stream.carrier.take().map(|carrier| carrier.exchange);
        if stream.kept == 0 {
            self.table.remove(&key);
        }
        if let Some(exchange) = exchange {
            self.attached.remove(&exchange);
        }
        exchange
    }

    /// Counts an answer. True if it was the stream's last.
    pub(super) fn answered(&mut self, key: u64) -> bool {
        let Some(stream) = self.table.get_mut(&key) else {
            return false;
        };
        stream.open_calls = stream.open_calls.saturating_sub(1);
        stream.open_calls == 0
    }

    /// Attaches a request to the stream of `text`, a `Last-Event-ID`, in place of whichever
    /// carried it before.
    pub(super) fn resume(&mut self, carrier: Sender, text: &Bytes) -> Result<Resumed, Refusal> {
        let id: EventId = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Refusal::UnknownEventId)?;
        let listening = self.may_listen();
        let stream = self
            .table
            .get_mut(&id.stream)
            .filter(|_| id.nonce == self.nonce)
            .ok_or(Refusal::UnknownEventId)?;
        let issued = if id.sequence == 0 {
            stream.primed
        } else {
            id.sequence < stream.next_sequence
        };
        if !issued || id.sequence < stream.evicted {
            return Err(Refusal::UnknownEventId);
        }
        if stream.kind == Kind::Listen && stream.carrier.is_none() && !listening {
            return Err(Refusal::TooManyStreams);
        }
        let exchange = carrier.exchange;
        let replaced = stream.carrier.replace(carrier).map(|it| it.exchange);
        let events: Vec<Frame> = self
            .replay
            .iter()
            .filter(|sent| sent.stream == id.stream && sent.sequence > id.sequence)
            .map(|sent| sent.event.clone())
            .collect();
        // What is replayed is bounded by the buffer that it comes from. Counted as in transit it
        // would have a client that catches up dropped by the next event, before it read a byte.
        stream.in_transit = 0;
        let (kind, finished) = (stream.kind, stream.finished);
        if let Some(replaced) = replaced {
            self.attached.remove(&replaced);
        }
        self.attached.insert(exchange, id.stream);
        Ok(Resumed {
            key: id.stream,
            kind,
            id,
            events,
            replaced,
            finished,
        })
    }

    /// Ends every stream. The exchanges that carried one are returned.
    pub(super) fn clear(&mut self) -> Vec<ExchangeId> {
        self.table.clear();
        self.replay.clear();
        self.replay_bytes = 0;
        std::mem::take(&mut self.attached).into_keys().collect()
    }

    fn evict(&mut self) {
        // The newest event stays, however large: a stream may have to be resumed for it.
        while self.replay_bytes > self.most_replay_bytes && self.replay.len() > 1 {
            let Some(sent) = self.replay.pop_front() else {
                return;
            };
            self.replay_bytes -= sent.cost();
            if let Some(stream) = self.table.get_mut(&sent.stream) {
                stream.evicted = sent.sequence;
                stream.kept -= 1;
                if stream.finished && stream.kept == 0 && stream.carrier.is_none() {
                    self.table.remove(&sent.stream);
                }
            }
        }
    }
}

/// A stream that was resumed.
pub(super) struct Resumed {
    pub(super) key: u64,
    pub(super) kind: Kind,
    /// The cursor that the client gave.
    pub(super) id: EventId,
    /// What the client has not seen.
    pub(super) events: Vec<Frame>,
    /// The exchange that carried the stream until now.
    pub(super) replaced: Option<ExchangeId>,
    /// Whether nothing will follow the events.
    pub(super) finished: bool,
}
