//! `subscriptions/listen` (MCP 2026-07-28, subscriptions) out of a legacy child's notifications.
//!
//! ```text
//! Opening ──the child has subscribed to each resource, refused, or not answered in time──> Open
//! ```
//!
//! What changes once a subscription is acknowledged must not be missed, so that it is acknowledged
//! only when the child has answered for all that it is to tell of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::error::{INTERNAL_ERROR, INVALID_PARAMS};
use super::{ModernServer, Phase};
use crate::envelope::{Envelope, Field};
use crate::time::{Instant, Now};
use crate::translation::json::members;

/// How long the child may take to subscribe to a resource.
pub(super) const SUBSCRIBE_TIME: Duration = Duration::from_secs(5);

/// What a subscription to a resource costs beside its URI.
const ENTRY_BYTES: usize = 128;

/// What has changed at a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// `notifications/tools/list_changed`
    ToolsList,
    /// `notifications/prompts/list_changed`
    PromptsList,
    /// `notifications/resources/list_changed`
    ResourcesList,
    /// `notifications/resources/updated`, with the URI.
    Resource(String),
}

impl Change {
    /// The change that a child's notification tells of.
    pub(super) fn read(method: &str, document: &[u8], message: &Envelope) -> Option<Self> {
        Some(match method {
            "notifications/tools/list_changed" => Self::ToolsList,
            "notifications/prompts/list_changed" => Self::PromptsList,
            "notifications/resources/list_changed" => Self::ResourcesList,
            "notifications/resources/updated" => {
                Self::Resource(message.text(Field::Uri, document)?.into_owned())
            }
            _ => return None,
        })
    }

    fn method(&self) -> &'static str {
        match self {
            Self::ToolsList => "notifications/tools/list_changed",
            Self::PromptsList => "notifications/prompts/list_changed",
            Self::ResourcesList => "notifications/resources/list_changed",
            Self::Resource(_) => "notifications/resources/updated",
        }
    }
}

/// What a subscription is to deliver (MCP 2026-07-28, subscriptions, "Notification Filter").
#[derive(Default, PartialEq, Eq, Debug)]
struct Filter {
    tools_list: bool,
    prompts_list: bool,
    resources_list: bool,
    resources: BTreeSet<String>,
}

impl Filter {
    /// Reads `params.notifications`; `None` if a member has another type than it should.
    fn read(raw: &[u8]) -> Option<Self> {
        let read = members(raw)?;
        let flag = |name: &str| match read.get(name).map(|raw| raw.get()) {
            None | Some("false") => Some(false),
            Some("true") => Some(true),
            Some(_) => None,
        };
        let resources = read.get("resourceSubscriptions");
        Some(Self {
            tools_list: flag("toolsListChanged")?,
            prompts_list: flag("promptsListChanged")?,
            resources_list: flag("resourcesListChanged")?,
            resources: match resources {
                Some(uris) => serde_json::from_str(uris.get()).ok()?,
                None => BTreeSet::new(),
            },
        })
    }

    /// The filter as the acknowledgement tells it: what is not delivered is left out.
    fn to_json(&self) -> Value {
        let mut members = Map::new();
        for (name, flag) in [
            ("toolsListChanged", self.tools_list),
            ("promptsListChanged", self.prompts_list),
            ("resourcesListChanged", self.resources_list),
        ] {
            if flag {
                members.insert(name.to_owned(), true.into());
            }
        }
        if !self.resources.is_empty() {
            let uris: Vec<_> = self.resources.iter().map(String::as_str).collect();
            members.insert("resourceSubscriptions".to_owned(), uris.into());
        }
        members.into()
    }

    fn takes(&self, change: &Change) -> bool {
        match change {
            Change::ToolsList => self.tools_list,
            Change::PromptsList => self.prompts_list,
            Change::ResourcesList => self.resources_list,
            Change::Resource(uri) => self.resources.iter().any(|of| is_part(uri, of)),
        }
    }
}

/// Whether a resource is the one that was subscribed to, or a part of it, of which a legacy server
/// may tell as well (schema 2025-11-25, `ResourceUpdatedNotificationParams`).
fn is_part(uri: &str, of: &str) -> bool {
    uri.strip_prefix(of).is_some_and(|rest| {
        rest.is_empty() || of.ends_with('/') || rest.starts_with(['/', '?', '#'])
    })
}

struct Subscription {
    filter: Filter,
    /// What it waits for before it is acknowledged.
    opening: Option<Opening>,
}

struct Opening {
    /// How many of its resources the child has not answered for.
    unanswered: usize,
    until: Instant,
}

/// A resource that somebody subscribes to.
#[derive(Default)]
struct Resource {
    subscribers: usize,
    /// How many children that run the same server have subscribers of it.
    followers: usize,
    /// The request to subscribe to it, as long as it is not answered.
    asked: Option<u64>,
    /// Whether the child has subscribed to it.
    is_subscribed: bool,
}

impl Resource {
    /// Whether the child is to be asked to subscribe to it.
    fn is_to_be_asked(&self) -> bool {
        self.asked.is_none() && !self.is_subscribed
    }
}

/// Whether there are subscribers of a resource here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Interest {
    /// There are now.
    Begun(String),
    /// There are none any more.
    Ended(String),
}

/// The subscriptions, by the id of the request that opened each.
#[derive(Default)]
pub(super) struct Subscriptions {
    open: BTreeMap<u64, Subscription>,
    /// By URI.
    resources: BTreeMap<String, Resource>,
    /// The URIs that the child was asked to subscribe to and has not answered for, by the request.
    asked: BTreeMap<u64, String>,
    bytes: usize,
    /// What is followed costs this beside.
    followed_bytes: usize,
    /// What those at other children that run the same server have not heard of.
    interests: VecDeque<Interest>,
}

impl Subscriptions {
    /// Adds a subscription to a resource; whether the child is to be asked for it.
    fn retain(&mut self, uri: &str) -> bool {
        self.bytes += uri.len() + ENTRY_BYTES;
        let resource = self.resources.entry(uri.to_owned()).or_default();
        resource.subscribers += 1;
        if resource.subscribers == 1 {
            self.interests.push_back(Interest::Begun(uri.to_owned()));
        }
        resource.is_to_be_asked()
    }

    /// Removes a subscription to a resource; whether nobody subscribes to it any more.
    fn release(&mut self, uri: &str) -> bool {
        self.bytes -= uri.len() + ENTRY_BYTES;
        if let Some(resource) = self.resources.get_mut(uri) {
            resource.subscribers -= 1;
            if resource.subscribers == 0 {
                self.interests.push_back(Interest::Ended(uri.to_owned()));
            }
        }
        self.forget(uri)
    }

    /// Follows a resource, unless too much is followed; whether the child is to be asked for it.
    fn follow(&mut self, uri: &str, most_bytes: usize) -> bool {
        let resource = self.resources.get(uri);
        if resource.is_none_or(|resource| resource.followers == 0) {
            let bytes = self.followed_bytes + uri.len() + ENTRY_BYTES;
            if bytes > most_bytes {
                return false;
            }
            self.followed_bytes = bytes;
        }
        let resource = self.resources.entry(uri.to_owned()).or_default();
        resource.followers += 1;
        resource.is_to_be_asked()
    }

    /// Takes back one that was followed; whether the child is to be told.
    fn unfollow(&mut self, uri: &str) -> bool {
        let resource = self.resources.get_mut(uri);
        if let Some(resource) = resource.filter(|resource| resource.followers > 0) {
            resource.followers -= 1;
            if resource.followers == 0 {
                self.followed_bytes -= uri.len() + ENTRY_BYTES;
            }
        }
        self.forget(uri)
    }

    /// Forgets a resource that nobody subscribes to; whether the child had been asked for it.
    fn forget(&mut self, uri: &str) -> bool {
        let of_use = |resource: &Resource| resource.subscribers + resource.followers > 0;
        if self.resources.get(uri).is_none_or(of_use) {
            return false;
        }
        let Some(resource) = self.resources.remove(uri) else {
            return false;
        };
        if let Some(request) = resource.asked {
            self.asked.remove(&request);
        }
        !resource.is_to_be_asked()
    }

    fn is_unanswered(&self, uri: &str) -> bool {
        let resource = self.resources.get(uri);
        resource.is_some_and(|resource| resource.asked.is_some())
    }

    fn cost(filter: &Filter) -> usize {
        let uris = filter.resources.iter();
        uris.map(|uri| uri.len() + ENTRY_BYTES).sum()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
            && self.resources.is_empty()
            && self.asked.is_empty()
            && self.bytes == 0
            && self.followed_bytes == 0
    }

    /// When the next is to be acknowledged, whatever the child has answered.
    pub(super) fn due(&self) -> Option<Instant> {
        let opening = self.open.values().filter_map(|it| it.opening.as_ref());
        opening.map(|opening| opening.until).min()
    }
}

impl ModernServer {
    pub(super) fn listen(&mut self, request: u64, document: &[u8], message: &Envelope, now: Now) {
        let Phase::Ready(server) = &self.phase else {
            return;
        };
        let filter = message.raw(Field::Notifications, document);
        let Some(mut filter) = filter.and_then(Filter::read) else {
            return self.refuse(
                request,
                INVALID_PARAMS,
                "The notification filter is invalid.",
            );
        };
        filter.tools_list &= server.tools_list_changed;
        filter.prompts_list &= server.prompts_list_changed;
        filter.resources_list &= server.resources_list_changed;
        if !server.resources_subscribe {
            filter.resources.clear();
        }
        let bytes = self.subscriptions.bytes + Subscriptions::cost(&filter);
        if self.subscriptions.open.len() >= self.limits.calls_per_session
            || bytes > self.limits.waiting_bytes
        {
            return self.refuse(request, INTERNAL_ERROR, "There are too many subscriptions.");
        }
        let mut unanswered = 0;
        for uri in &filter.resources {
            if self.subscriptions.retain(uri) {
                self.subscribe(uri);
            }
            unanswered += usize::from(self.subscriptions.is_unanswered(uri));
        }
        let opening = Opening {
            unanswered,
            until: now.monotonic + SUBSCRIBE_TIME,
        };
        let subscription = Subscription {
            filter,
            opening: Some(opening),
        };
        self.subscriptions.open.insert(request, subscription);
        if unanswered == 0 {
            self.acknowledge(request);
        }
    }

    fn subscribe(&mut self, uri: &str) {
        let asked = self.tell_child("resources/subscribe", &json!({"uri": uri}).to_string());
        if let Some(resource) = self.subscriptions.resources.get_mut(uri) {
            resource.asked = Some(asked);
            self.subscriptions.asked.insert(asked, uri.to_owned());
        }
    }

    fn unsubscribe(&mut self, uri: &str) {
        self.tell_child("resources/unsubscribe", &json!({"uri": uri}).to_string());
    }

    /// Takes the child's answer to a request of the machine's own.
    pub(super) fn subscribed(&mut self, asked: u64, is_refused: bool) {
        let Some(uri) = self.subscriptions.asked.remove(&asked) else {
            return;
        };
        if let Some(resource) = self.subscriptions.resources.get_mut(&uri) {
            resource.asked = None;
            resource.is_subscribed = !is_refused;
        }
        let mut waited = Vec::new();
        for (&id, subscription) in &mut self.subscriptions.open {
            if let Some(opening) = &mut subscription.opening
                && subscription.filter.resources.contains(&uri)
            {
                opening.unanswered -= 1;
                waited.push((id, opening.unanswered == 0));
            }
        }
        for (id, is_done) in waited {
            if is_refused {
                self.leave_out(id, &uri);
            }
            if is_done {
                self.acknowledge(id);
            }
        }
    }

    /// Takes a resource out of what a subscription is to deliver. Whether the child is to be told.
    fn leave_out(&mut self, subscription: u64, uri: &str) -> bool {
        let Some(subscription) = self.subscriptions.open.get_mut(&subscription) else {
            return false;
        };
        subscription.filter.resources.remove(uri) && self.subscriptions.release(uri)
    }

    /// Begins to deliver what the child has subscribed to.
    fn acknowledge(&mut self, request: u64) {
        let Some(subscription) = self.subscriptions.open.get_mut(&request) else {
            return;
        };
        subscription.opening = None;
        let params = json!({"notifications": subscription.filter.to_json()});
        self.notify(request, "notifications/subscriptions/acknowledged", params);
    }

    /// Acknowledges the subscriptions that have waited long enough, without what the child has not
    /// answered for.
    pub(super) fn subscriptions_timeout(&mut self, now: Now) {
        let is_due = |subscription: &Subscription| {
            let opening = subscription.opening.as_ref();
            opening.is_some_and(|opening| opening.until <= now.monotonic)
        };
        let open = self.subscriptions.open.iter();
        let due = open.filter(|(_, subscription)| is_due(subscription));
        let due: Vec<u64> = due.map(|(&id, _)| id).collect();
        for id in due {
            let resources = self.subscriptions.open.get(&id).into_iter();
            let resources = resources.flat_map(|it| &it.filter.resources);
            let late = resources.filter(|uri| self.subscriptions.is_unanswered(uri));
            let late: Vec<String> = late.cloned().collect();
            for uri in late {
                if self.leave_out(id, &uri) {
                    self.unsubscribe(&uri);
                }
            }
            self.acknowledge(id);
        }
    }

    /// Ends a subscription, which is not answered. Whether there was one.
    pub(super) fn unlisten(&mut self, request: u64) -> bool {
        let Some(subscription) = self.subscriptions.open.remove(&request) else {
            return false;
        };
        for uri in subscription.filter.resources {
            if self.subscriptions.release(&uri) {
                self.unsubscribe(&uri);
            }
        }
        true
    }

    /// Has the child tell of what is subscribed to at another one that runs the same server, too: what
    /// changes at one of them need not be told by the other.
    pub(crate) fn follow(&mut self, uri: &str) {
        let is_to_be_asked = self.subscriptions.follow(uri, self.limits.waiting_bytes);
        let server = self.server();
        if is_to_be_asked && server.is_some_and(|server| server.resources_subscribe) {
            self.subscribe(uri);
        }
    }

    /// Takes back one [`ModernServer::follow`].
    pub(crate) fn unfollow(&mut self, uri: &str) {
        if self.subscriptions.unfollow(uri) {
            self.unsubscribe(uri);
        }
    }

    /// Has the child tell of what was to be followed before it was known whether it can.
    pub(super) fn follow_all(&mut self) {
        if self
            .server()
            .is_some_and(|server| server.resources_subscribe)
        {
            let uris: Vec<_> = self.subscriptions.resources.keys().cloned().collect();
            for uri in uris {
                self.subscribe(&uri);
            }
        }
    }

    /// The next resource that has got its first subscriber here, or has lost its last, until `None`.
    pub(crate) fn poll_interest(&mut self) -> Option<Interest> {
        self.subscriptions.interests.pop_front()
    }

    /// Tells the subscribers of what has changed, here or at another child that runs the same server.
    pub(crate) fn handle_change(&mut self, change: &Change) {
        let open = self.subscriptions.open.iter();
        let takers = open.filter(|(_, it)| it.opening.is_none() && it.filter.takes(change));
        let takers: Vec<u64> = takers.map(|(&id, _)| id).collect();
        for subscription in takers {
            let params = match change {
                Change::Resource(uri) => json!({"uri": uri}),
                _ => json!({}),
            };
            self.notify(subscription, change.method(), params);
        }
    }

    /// Sends a notification on a subscription.
    fn notify(&mut self, subscription: u64, method: &str, mut params: Value) {
        params["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": subscription});
        let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.line_for_client(message.to_string());
    }
}
