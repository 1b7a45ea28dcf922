//! What a legacy client is told of without asking becomes one `subscriptions/listen`.
//!
//! A listen cannot be changed, so another is opened when the client subscribes or unsubscribes. The
//! one before it delivers until the new one is acknowledged: from then on only the new one does,
//! and no notification comes twice or never.

use std::collections::BTreeSet;

use super::handshake::Offer;
use super::{LegacyServer, Output, code, members};
use crate::envelope::{Envelope, Field};
use crate::framing::Text;
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
        }
    }

    /// The handshake is over.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    pub(super) fn takes_uris(&self) -> bool {
        self.offer.updates
    }

    /// Whether this is one of the listens.
    pub(super) fn is_open(&self, reference: u64) -> bool {
        [self.active, self.opening].contains(&Some(reference))
    }

    /// The server has ended a listen. Another is opened with the session's next request, and not
    /// before: a server that ends every one at once is not asked without end.
    pub(super) fn ended(&mut self, reference: u64, document: &[u8], message: &Envelope) {
        if self.active == Some(reference) {
            self.active = None;
        } else {
            self.opening = None;
        }
        let code = message.raw(Field::ErrorCode, document);
        let is_unknown = code == Some(code::METHOD_NOT_FOUND.to_string().as_bytes());
        // The one that is being opened is as good as the one that has ended.
        self.ended = self.opening.is_none() && !is_unknown;
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
            return self.subscriptions.ended(reference, document, message);
        }
        // The first is the acknowledgement.
        if self.subscriptions.opening == Some(reference) {
            self.subscriptions.opening = None;
            let replaced = self.subscriptions.active.replace(reference);
            self.cancel(replaced);
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
        let uris = &mut self.subscriptions.uris;
        let changed = if !subscribes {
            uris.remove(&*uri)
        } else if uris.contains(&*uri) {
            false
        } else if uris.len() >= MOST_URIS || uri.len() > self.limits.target_bytes {
            return self.error(id, code::INVALID_PARAMS, "Too many subscriptions");
        } else {
            uris.insert(uri.into())
        };
        self.result(id, b"{}");
        if changed {
            self.listen();
        }
    }
}
