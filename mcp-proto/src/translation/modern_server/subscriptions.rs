//! `subscriptions/listen` (MCP 2026-07-28, subscriptions) out of a legacy child's notifications.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::error::{INTERNAL_ERROR, INVALID_PARAMS};
use super::{ModernServer, Phase};
use crate::envelope::{Envelope, Field};
use crate::translation::json::members;

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

/// The open subscriptions, by the id of the request that opened each.
#[derive(Default)]
pub(super) struct Subscriptions {
    open: BTreeMap<u64, Filter>,
    /// How many of them have a resource, by its URI.
    resources: BTreeMap<String, usize>,
    bytes: usize,
}

impl Subscriptions {
    /// Adds a subscription; gives the resources that nobody had subscribed to before.
    fn insert(&mut self, id: u64, filter: Filter) -> Vec<String> {
        let mut first = Vec::new();
        for uri in &filter.resources {
            self.bytes += uri.len() + ENTRY_BYTES;
            let count = self.resources.entry(uri.clone()).or_default();
            *count += 1;
            if *count == 1 {
                first.push(uri.clone());
            }
        }
        self.open.insert(id, filter);
        first
    }

    /// Removes a subscription; gives the resources that nobody subscribes to any more. `None` if
    /// there was none.
    fn remove(&mut self, id: u64) -> Option<Vec<String>> {
        let filter = self.open.remove(&id)?;
        let mut last = Vec::new();
        for uri in filter.resources {
            self.bytes -= uri.len() + ENTRY_BYTES;
            if let Some(count) = self.resources.get_mut(&uri) {
                *count -= 1;
                if *count == 0 {
                    self.resources.remove(&uri);
                    last.push(uri);
                }
            }
        }
        Some(last)
    }

    fn cost(filter: &Filter) -> usize {
        let uris = filter.resources.iter();
        uris.map(|uri| uri.len() + ENTRY_BYTES).sum()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.resources.is_empty() && self.bytes == 0
    }
}

impl ModernServer {
    pub(super) fn listen(&mut self, request: u64, document: &[u8], message: &Envelope) {
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
        let params = json!({"notifications": filter.to_json()});
        self.notify(request, "notifications/subscriptions/acknowledged", params);
        for uri in self.subscriptions.insert(request, filter) {
            self.tell_child("resources/subscribe", &json!({"uri": uri}).to_string());
        }
    }

    /// Ends a subscription, which is not answered. Whether there was one.
    pub(super) fn unlisten(&mut self, request: u64) -> bool {
        let Some(last) = self.subscriptions.remove(request) else {
            return false;
        };
        for uri in last {
            self.tell_child("resources/unsubscribe", &json!({"uri": uri}).to_string());
        }
        true
    }

    /// Tells the subscribers of what has changed, here or at another child that runs the same server.
    pub(crate) fn handle_change(&mut self, change: &Change) {
        let open = self.subscriptions.open.iter();
        let takers = open.filter(|(_, filter)| filter.takes(change));
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
