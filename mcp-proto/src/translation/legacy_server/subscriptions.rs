//! What a legacy client is told of without asking becomes one `subscriptions/listen`.
//!
//! A listen cannot be changed, so another is opened when the client subscribes or unsubscribes. The
//! one before it delivers until the new one is acknowledged: from then on only the new one does,
//! and no notification comes twice or never. The client's request is answered then, too: what
//! changes once it is answered must not be missed, and the server may have refused.

use std::collections::BTreeSet;

use super::calls::TOO_MUCH;
use super::handshake::Offer;
use super::{LegacyServer, Output, code, members};
use crate::envelope::{Envelope, Field};
use crate::framing::Text;
use crate::translation::json;
use crate::upstream::message::is_method;

/// Most resources that a session can be subscribed to.
const MOST_URIS: usize = 1000;

/// What a listen delivers (MCP 2026-07-28, subscriptions, "Notification Filter").
const DELIVERED: [&str; 4] = [
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
];

pub(super) struct Subscriptions {
    offer: Offer,
    /// The resources that the client has subscribed to.
    uris: BTreeSet<Box<str>>,
    /// Whether the handshake is over: a legacy server says nothing before.
    begun: bool,
    /// The listen that delivers.
    active: Option<u64>,
    /// The one that takes its place once it is acknowledged.
    opening: Option<u64>,
    /// Whether the server has ended the listen that should be open.
    ended: bool,
    /// The requests to subscribe that are answered once the listen that opens is acknowledged:
    /// the session's id, and the resource.
    unanswered: Vec<(u64, Box<str>)>,
}

impl Subscriptions {
    pub(super) fn new(offer: Offer) -> Self {
        Self {
            offer,
            uris: BTreeSet::new(),
            begun: false,
            active: None,
            opening: None,
            ended: false,
            unanswered: Vec::new(),
        }
    }

    /// The handshake is over.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    pub(super) fn takes_uris(&self) -> bool {
        self.offer.updates
    }

    /// The session does not wait for this request any more.
    pub(super) fn cancelled(&mut self, id: u64) {
        self.unanswered.retain(|&(other, _)| other != id);
    }

    /// Whether this is one of the listens.
    pub(super) fn is_open(&self, reference: u64) -> bool {
        [self.active, self.opening].contains(&Some(reference))
    }

    pub(super) fn is_to_be_reopened(&self) -> bool {
        self.ended
    }

    /// The filter that holds all that the client is to be told; `None` if that is nothing.
    fn filter(&self) -> Option<String> {
        let lists = [
            (self.offer.tools, "toolsListChanged"),
            (self.offer.prompts, "promptsListChanged"),
            (self.offer.resources, "resourcesListChanged"),
        ];
        let lists = lists.into_iter().filter(|(offered, _)| *offered);
        let mut members: Vec<_> = lists.map(|(_, name)| format!("\"{name}\":true")).collect();
        if !self.uris.is_empty() {
            let uris: Vec<_> = self.uris.iter().map(|uri| &**uri).collect();
            let uris = serde_json::Value::from(uris);
            members.push(format!("\"resourceSubscriptions\":{uris}"));
        }
        (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
    }
}

impl LegacyServer {
    /// Opens the listen that is wanted now.
    pub(super) fn listen(&mut self) {
        if !self.subscriptions.begun {
            return;
        }
        self.subscriptions.ended = false;
        let replaced = self.subscriptions.opening.take();
        self.cancel(replaced);
        let Some(filter) = self.subscriptions.filter() else {
            let active = self.subscriptions.active.take();
            return self.cancel(active);
        };
        let reference = self.mint_reference();
        let request = self.listen_request(reference, &filter).into();
        self.outputs.push_back(Output::Call { reference, request });
        self.subscriptions.opening = Some(reference);
    }

    /// The server has ended a listen. Another is opened with the session's next request, and not
    /// before: a server that ends every one at once is not asked without end.
    pub(super) fn listen_ended(&mut self, reference: u64, document: &[u8], message: &Envelope) {
        let subscriptions = &mut self.subscriptions;
        if subscriptions.active == Some(reference) {
            subscriptions.active = None;
        } else {
            subscriptions.opening = None;
        }
        let code = message.raw(Field::ErrorCode, document);
        let is_unknown = code == Some(code::METHOD_NOT_FOUND.to_string().as_bytes());
        // The one that is being opened is as good as the one that has ended.
        subscriptions.ended = subscriptions.opening.is_none() && !is_unknown;
        if subscriptions.opening.is_none() {
            self.answer_subscribers(&BTreeSet::new());
        }
    }

    /// Answers the requests to subscribe, now that it is known which resources the server tells of.
    fn answer_subscribers(&mut self, told_of: &BTreeSet<String>) {
        for (id, uri) in std::mem::take(&mut self.subscriptions.unanswered) {
            if told_of.contains(&*uri) {
                self.result(id, b"{}");
            } else {
                self.subscriptions.uris.remove(&uri);
                self.error(id, code::INTERNAL_ERROR, "The server did not subscribe");
            }
        }
    }

    pub(super) fn listen_request(&self, reference: u64, filter: &str) -> String {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{reference},\"method\":\"subscriptions/listen\",\
             \"params\":{{\"_meta\":{},\"notifications\":{filter}}}}}",
            self.listen_meta(),
        )
    }

    fn cancel(&mut self, reference: Option<u64>) {
        let cancel = reference.map(|reference| Output::Cancel { reference });
        self.outputs.extend(cancel);
    }

    /// Takes what a listen delivers.
    pub(super) fn delivered(
        &mut self,
        reference: u64,
        text: Text<'_>,
        document: &[u8],
        message: &Envelope,
    ) {
        // A server may end it so too (MCP 2026-07-28 schema, `CancelledNotification`).
        if is_method(message, document, "notifications/cancelled") {
            return self.listen_ended(reference, document, message);
        }
        // The first is the acknowledgement.
        if self.subscriptions.opening == Some(reference) {
            self.subscriptions.opening = None;
            let replaced = self.subscriptions.active.replace(reference);
            self.cancel(replaced);
            self.answer_subscribers(&told_of(document, message));
        }
        let method = message.text(Field::Method, document);
        if method.is_some_and(|method| DELIVERED.contains(&&*method)) {
            let tag = message.get(Field::SubscriptionId).into_iter().collect();
            let cuts = members::cuts(document, tag).into_iter();
            let edits: Vec<_> = cuts.map(|cut| (cut, &b""[..])).collect();
            self.relay(text, message, &edits);
        }
    }

    /// Changes what the client is subscribed to.
    pub(super) fn subscribe(&mut self, id: u64, subscribes: bool, line: &[u8], message: &Envelope) {
        let Some(uri) = message.text(Field::Uri, line) else {
            return self.error(id, code::INVALID_PARAMS, "uri is not a string");
        };
        let subscriptions = &mut self.subscriptions;
        let uris = &mut subscriptions.uris;
        if !subscribes {
            if uris.remove(&*uri) {
                self.listen();
            }
            // It was subscribed to for as long as anybody wanted.
            let unanswered = self
                .subscriptions
                .unanswered
                .extract_if(.., |(_, of)| **of == *uri);
            for (subscribed, _) in unanswered.collect::<Vec<_>>() {
                self.result(subscribed, b"{}");
            }
            return self.result(id, b"{}");
        }
        let is_new = !uris.contains(&*uri);
        if is_new && (uris.len() >= MOST_URIS || uri.len() > self.limits.target_bytes) {
            return self.error(id, code::INVALID_PARAMS, "Too many subscriptions");
        }
        let waits = subscriptions.unanswered.iter().any(|(_, of)| **of == *uri);
        if !subscriptions.begun || !is_new && !waits {
            uris.insert(uri.into());
            return self.result(id, b"{}");
        }
        if subscriptions.unanswered.len() >= self.limits.calls_per_session {
            return self.error(id, code::INTERNAL_ERROR, TOO_MUCH);
        }
        subscriptions.unanswered.push((id, (*uri).into()));
        if is_new {
            uris.insert(uri.into());
            self.listen();
        }
    }
}

/// The resources that an acknowledgement names.
fn told_of(document: &[u8], message: &Envelope) -> BTreeSet<String> {
    let filter = message.raw(Field::Notifications, document);
    let filter = filter.and_then(json::members).unwrap_or_default();
    let uris = filter.get("resourceSubscriptions");
    let uris = uris.and_then(|uris| serde_json::from_str(uris.get()).ok());
    uris.unwrap_or_default()
}
