//! The end of a play, and what can be said only then.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use mcp_proto::{AuditEvent, ExchangeId};

use super::memory::FIXED_BYTES;
use super::{PER_CLIENT, Play};
use crate::world::Event;

impl Play {
    /// Everyone goes, and all times pass.
    pub(super) fn finish(&mut self) {
        let open: Vec<_> = self.world.open_requests().collect();
        for exchange in open {
            self.forgive(exchange);
            self.world.leave(exchange);
        }
        self.answer_everything();
        self.agenda.clear();
        assert_eq!(self.outside.started, 1, "that all were tried is told once");
        for (_, mind) in std::mem::take(&mut self.minds) {
            self.world.child_mut(mind.upstream).reads = true;
        }
        for upstream in self.modern.servers() {
            self.world.child_mut(upstream).reads = true;
        }
        let limits = &self.world.gateway().policy().limits;
        let longest = limits.session_ttl + limits.request_time_max + limits.body_time;
        // What was found good is known for longer than it is good.
        let longest = longest + limits.verifier_time + limits.verdict_time * 10;
        self.pass_time(longest + Duration::from_secs(60));
        let standing = self.world.gateway().standing();
        if standing.degraded {
            // It would be probed for ever whether the server works again.
            assert_eq!(standing.sessions, 0, "every session is over");
            self.world.drain();
            self.pass_time(Duration::from_secs(60));
        }
        assert!(
            self.world.gateway().is_idle(),
            "the gateway holds {standing:?}"
        );
        assert_eq!(self.world.upstreams(), 0, "every upstream is drained");
        assert_eq!(self.world.next_deadline(), None, "no timer is left");
        for (upstream, child) in self.world.children() {
            assert!(!child.lives(), "{upstream:?} lives");
        }
        let held = self.world.held_bytes().unwrap_or(0);
        assert!(held <= FIXED_BYTES, "{held} bytes are left behind");
        let opened = self.world.opened().len();
        *self.counts.entry("children".to_owned()).or_default() += opened as u64;
    }

    /// Nobody does anything any more, but for the children of probes, which start and say nothing.
    fn pass_time(&mut self, time: Duration) {
        let until = self.world.now() + time;
        self.world.settle();
        while let Some(next) = self.world.next_moment().filter(|&next| next <= until) {
            self.world.set_time(next.max(self.world.now()));
            self.world.settle();
            while let Some(event) = self.world.next_event() {
                if let Event::Spawn(upstream) = event {
                    self.world.spawned(upstream, true);
                }
            }
            self.world.settle();
        }
    }

    /// No token stands anywhere but where it has to go.
    pub(super) fn check_secrets(&self) {
        for record in self.world.audit() {
            assert!(!shows_token(&format!("{record:?}")), "{record:?}");
        }
        for line in self.world.warnings() {
            assert!(!shows_token(line), "{line}");
        }
        for (exchange, response) in self.clients.iter().flat_map(|client| {
            let asked = client.asked.keys();
            asked.map(|&exchange| (exchange, self.world.response(exchange)))
        }) {
            assert!(
                !shows_token(&format!("{:?}", response.head)),
                "{exchange:?}"
            );
        }
    }

    /// Each refused request has one record, and no child has read anything of it.
    pub(super) fn check_refusals(&mut self) {
        let mut refused: BTreeMap<ExchangeId, u32> = BTreeMap::new();
        for record in self.world.audit() {
            let what = format!("audit {}", name(&record.event));
            *self.counts.entry(what).or_default() += 1;
            if let (Some(caller), Some(exchange)) = (&record.caller, record.exchange) {
                let client = (exchange.0 / PER_CLIENT) as usize;
                let from = self.clients[client].asked[&exchange].address;
                assert_eq!(caller.address, from, "{exchange:?} comes from elsewhere");
            }
            if let (AuditEvent::Refused(_), Some(exchange)) = (record.event, record.exchange) {
                *refused.entry(exchange).or_default() += 1;
            }
        }
        for client in &self.clients {
            for (&exchange, asked) in &client.asked {
                let response = self.world.response(exchange);
                let records = refused.get(&exchange).copied().unwrap_or(0);
                let status = response.status();
                *self.counts.entry(format!("status {status}")).or_default() += 1;
                let owner = asked.session.as_ref().and_then(|it| self.owners.get(it));
                let owner = owner.and_then(|&owner| self.outside.principal(owner));
                let foreign =
                    owner.is_some_and(|it| Some(it) != self.outside.principal(asked.borne));
                if foreign || asked.must_refuse {
                    assert!(status == 0 || status >= 400, "{exchange:?} was let in");
                    for marker in &asked.markers {
                        let read = self.ledger.sent[marker].read;
                        assert_eq!(read, 0, "{marker} was not to be let in and is read");
                    }
                    let what = if foreign { "foreign" } else { "unwelcome" };
                    *self.counts.entry(what.to_owned()).or_default() += 1;
                }
                if status == 401 {
                    assert!(
                        !self.must_allow(asked.borne),
                        "{exchange:?} bears a good token"
                    );
                }
                let body = String::from_utf8_lossy(&response.body);
                assert!(!shows_token(&Self::without_states(&body)), "{body}");
                if self.modern.may_be_childs(exchange) {
                    assert!(records <= 1, "{exchange:?}");
                } else if status >= 400 {
                    assert_eq!(records, 1, "{exchange:?}: {}", response.text());
                    // Where a driver failed, nobody knows what its child has read.
                    let session = asked.session.as_ref();
                    let child = session.and_then(|session| self.sessions.get(session));
                    let lost = child.is_some_and(|&child| self.world.child(child).is_lost());
                    for marker in asked.markers.iter().filter(|_| status != 404 || !lost) {
                        let read = self.ledger.sent[marker].read;
                        assert_eq!(read, 0, "{marker} was refused and read");
                    }
                } else if asked.markers.len() == 1 {
                    assert!(records <= 1, "{exchange:?}");
                }
                if asked.method == Method::DELETE && status == 204 {
                    assert_eq!(records, 0);
                }
            }
        }
    }
}

/// Whether a token can be read in a text, or enough of one.
fn shows_token(text: &str) -> bool {
    text.contains("-secret") || text.contains("eyJ")
}

fn name(event: &AuditEvent) -> String {
    let text = format!("{event:?}");
    let end = text.find(" {").unwrap_or(text.len());
    text[..end].to_owned()
}
