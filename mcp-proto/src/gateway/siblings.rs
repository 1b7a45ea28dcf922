//! Siblings: the children of a server with a handshake that serve the same principal.
//!
//! A call and a subscription of the same client may be at different ones of them. So what one tells of
//! is told on to the subscribers at all, and what is subscribed to at one is subscribed to at all.

use super::hosts::Key;
use super::{Gateway, GatewayOutput};
use crate::id::UpstreamId;
use crate::translation::modern_server::{Change, Interest};
use crate::upstream::{Letter, UpstreamMail};

impl Gateway {
    /// Tells the siblings of a host what has changed.
    pub(super) fn host_changed(&mut self, upstream: UpstreamId, change: &Change) {
        let key = self.hosts.get(&upstream).map(|host| host.key.clone());
        if let Some(key) = key {
            self.tell_siblings(&key, upstream, || Letter::Changed(change.clone()));
        }
    }

    /// Hears whether a resource has subscribers at a host, and has its siblings tell of it, too.
    pub(super) fn host_interest(&mut self, upstream: UpstreamId, interest: Interest) {
        let Some(host) = self.hosts.get_mut(&upstream) else {
            return;
        };
        let key = host.key.clone();
        match interest {
            Interest::Begun(uri) => {
                let uri: Box<str> = uri.into();
                host.subscribed.insert(uri.clone());
                self.tell_siblings(&key, upstream, || Letter::Follow(vec![uri.clone()]));
            }
            Interest::Ended(uri) => {
                let uri: Box<str> = uri.into();
                host.subscribed.remove(&uri);
                self.tell_siblings(&key, upstream, || Letter::Unfollow(vec![uri.clone()]));
            }
        }
    }

    /// Has a new host tell of what is subscribed to at its siblings.
    pub(super) fn follow_siblings(&mut self, upstream: UpstreamId) {
        let Some(key) = self.hosts.get(&upstream).map(|host| host.key.clone()) else {
            return;
        };
        if key.capabilities.is_none() {
            return;
        }
        let siblings = self.siblings(&key, upstream).into_iter();
        let subscribed = siblings.flat_map(|sibling| &self.hosts[&sibling].subscribed);
        let uris: Vec<_> = subscribed.cloned().collect();
        if !uris.is_empty() {
            self.outputs.push_back(GatewayOutput::ToUpstream {
                upstream,
                mail: UpstreamMail(Letter::Follow(uris)),
            });
        }
    }

    /// Tells all siblings of a host of this key something.
    pub(super) fn tell_siblings(
        &mut self,
        key: &Key,
        upstream: UpstreamId,
        letter: impl Fn() -> Letter,
    ) {
        for sibling in self.siblings(key, upstream) {
            self.outputs.push_back(GatewayOutput::ToUpstream {
                upstream: sibling,
                mail: UpstreamMail(letter()),
            });
        }
    }

    fn siblings(&self, key: &Key, of: UpstreamId) -> Vec<UpstreamId> {
        let others = self.hosts.iter().filter(|&(&other, host)| {
            other != of && host.key.principal == key.principal && host.key.capabilities.is_some()
        });
        others.map(|(&other, _)| other).collect()
    }
}
