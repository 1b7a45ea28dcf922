//! What is in flight between a session's client and its child, in both directions.
//!
//! The gateway mints the ids under which the child sees the client's requests, and the other way
//! round, so that an answer can only reach whoever asked. A minted id also stands for the
//! request's progress token.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::envelope::RequestId;
use crate::time::Instant;
use crate::upstream::Sender;

/// A client's request that the child has not answered.
#[derive(Debug)]
pub(super) struct Call {
    /// The HTTP request that it came with.
    pub(super) sender: Sender,
    pub(super) stream: u64,
    /// The client's id, as raw JSON.
    pub(super) id: Bytes,
    pub(super) decoded_id: RequestId,
    /// The client's progress token, as raw JSON.
    pub(super) token: Option<Bytes>,
    /// The task that the request asks about.
    pub(super) task: Option<Box<str>>,
    pub(super) is_initialize: bool,
    pub(super) started: Instant,
    /// When the call times out; stands still while the client owes an answer.
    pub(super) deadline: Instant,
    /// When it times out whatever happens.
    pub(super) last_deadline: Instant,
    /// When to begin an event stream if nothing has been sent.
    pub(super) silence_at: Option<Instant>,
    /// When to close the stream for the client to resume it: once, since a stream that was
    /// resumed has shown that its client can.
    pub(super) poll_at: Option<Instant>,
    /// When the timer is set to.
    pub(super) timer: Instant,
}

/// A request of the child's that the client has not answered.
#[derive(Debug)]
pub(super) struct ChildRequest {
    /// The child's id, as raw JSON.
    pub(super) id: Bytes,
    pub(super) decoded_id: RequestId,
    /// The child's progress token, as raw JSON.
    pub(super) token: Option<Bytes>,
    /// The stream that carried it; none while it waits for one.
    pub(super) stream: Option<u64>,
    pub(super) deadline: Instant,
}

/// The progress token of a request that was answered with a task, and goes on (MCP 2025-11-25,
/// tasks, "Task Progress Notifications").
#[derive(Debug)]
pub(super) struct TaskToken {
    pub(super) minted: u64,
    pub(super) token: Bytes,
    pub(super) task: Box<str>,
}

/// Most task tokens that are kept per session, in each direction.
const MOST_TASK_TOKENS: usize = 256;

#[derive(Default)]
pub(super) struct Calls {
    next: u64,
    calls: BTreeMap<u64, Call>,
    by_id: BTreeMap<RequestId, u64>,
    next_request: u64,
    requests: BTreeMap<u64, ChildRequest>,
    requests_by_id: BTreeMap<RequestId, u64>,
    task_tokens: VecDeque<TaskToken>,
    request_task_tokens: VecDeque<TaskToken>,
}

impl Calls {
    /// The id that the next call goes by.
    pub(super) fn mint(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn insert(&mut self, minted: u64, call: Call) {
        self.by_id.insert(call.decoded_id.clone(), minted);
        self.calls.insert(minted, call);
    }

    pub(super) fn get_mut(&mut self, minted: u64) -> Option<&mut Call> {
        self.calls.get_mut(&minted)
    }

    pub(super) fn remove(&mut self, minted: u64) -> Option<Call> {
        let call = self.calls.remove(&minted)?;
        self.by_id.remove(&call.decoded_id);
        Some(call)
    }

    /// The call that the client knows by this id.
    pub(super) fn find(&self, id: &RequestId) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    /// Every call, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Call)> {
        self.calls.iter().map(|(&minted, call)| (minted, call))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Call> {
        self.calls.values_mut()
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.calls.keys().next().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Keeps a request of the child's; returns the id that the client sees it by. The child may
    /// use an id twice: the later request is the one that it can cancel.
    pub(super) fn insert_request(&mut self, request: ChildRequest) -> u64 {
        self.next_request += 1;
        self.requests_by_id
            .insert(request.decoded_id.clone(), self.next_request);
        self.requests.insert(self.next_request, request);
        self.next_request
    }

    /// The id that the next request of the child's goes by.
    pub(super) fn next_request(&self) -> u64 {
        self.next_request + 1
    }

    pub(super) fn request(&self, minted: u64) -> Option<&ChildRequest> {
        self.requests.get(&minted)
    }

    pub(super) fn request_mut(&mut self, minted: u64) -> Option<&mut ChildRequest> {
        self.requests.get_mut(&minted)
    }

    pub(super) fn remove_request(&mut self, minted: u64) -> Option<ChildRequest> {
        let request = self.requests.remove(&minted)?;
        if self.requests_by_id.get(&request.decoded_id) == Some(&minted) {
            self.requests_by_id.remove(&request.decoded_id);
        }
        Some(request)
    }

    /// The request that the child knows by this id.
    pub(super) fn find_request(&self, id: &RequestId) -> Option<u64> {
        self.requests_by_id.get(id).copied()
    }

    pub(super) fn request_count(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn clear_requests(&mut self) {
        self.requests.clear();
        self.requests_by_id.clear();
        self.task_tokens.clear();
        self.request_task_tokens.clear();
    }

    /// Keeps the token of a call that has become a task of the child's.
    pub(super) fn keep_task_token(&mut self, token: TaskToken) {
        keep(&mut self.task_tokens, token);
    }

    pub(super) fn task_token(&self, minted: u64) -> Option<&TaskToken> {
        find(&self.task_tokens, minted)
    }

    /// Keeps the token of a request of the child's that has become a task of the client's.
    pub(super) fn keep_request_task_token(&mut self, token: TaskToken) {
        keep(&mut self.request_task_tokens, token);
    }

    pub(super) fn request_task_token(&self, minted: u64) -> Option<&TaskToken> {
        find(&self.request_task_tokens, minted)
    }
}

fn keep(tokens: &mut VecDeque<TaskToken>, token: TaskToken) {
    if tokens.len() == MOST_TASK_TOKENS {
        tokens.pop_front();
    }
    tokens.push_back(token);
}

fn find(tokens: &VecDeque<TaskToken>, minted: u64) -> Option<&TaskToken> {
    tokens.iter().find(|token| token.minted == minted)
}
