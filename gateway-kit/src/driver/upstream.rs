//! One child's work: an [`Upstream`] and its mail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Context;
use std::time::Instant as StdInstant;

use mcp_proto::framing::Frame;
use mcp_proto::{ExchangeId, Now, Stop, Upstream, UpstreamOutput};

use super::inbox::{ExchangeInbox, Post, UpstreamInbox};
use super::{Alive, Driver};

/// What an upstream wants done with its child.
#[derive(Debug)]
pub enum ChildOutput {
    /// Start it, and call [`Upstream::handle_spawned`].
    Spawn,
    /// Write this to its stdin, after all that came before.
    Stdin(Frame),
    /// End it.
    Stop(Stop),
}

/// An [`Upstream`] that is being driven: its mail is carried and its records are kept. Dropped
/// before it is drained, it tells those who wait for it that it is lost.
pub struct DrivenUpstream {
    /// The machine; its outputs come from [`DrivenUpstream::poll_output`].
    pub upstream: Upstream,
    driver: Arc<Driver>,
    inbox: Arc<UpstreamInbox>,
    exchanges: BTreeMap<ExchangeId, Arc<ExchangeInbox>>,
    /// Exchanges that have got mail and were not woken.
    written_to: Vec<Arc<ExchangeInbox>>,
    alive: Alive,
    drained: bool,
}

impl DrivenUpstream {
    pub(super) fn new(
        upstream: Upstream,
        inbox: Arc<UpstreamInbox>,
        driver: Arc<Driver>,
        alive: Alive,
    ) -> Self {
        Self {
            upstream,
            driver,
            inbox,
            exchanges: BTreeMap::new(),
            written_to: Vec::new(),
            alive,
            drained: false,
        }
    }

    /// What this shares with all others.
    pub fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    /// The time, for the machine.
    pub fn now(&self) -> Now {
        self.driver.now()
    }

    /// Whether mail has come. With none there, `context` is woken later.
    pub fn poll_mail(&self, context: &mut Context<'_>) -> bool {
        self.inbox.poll_any(context)
    }

    /// Takes all mail that has come.
    pub fn take_mail(&mut self) {
        let now = self.driver.now();
        for post in self.inbox.take() {
            match post {
                Post::Mail { mail, from } => {
                    self.exchanges.extend(from);
                    self.upstream.handle_mail(mail, now);
                }
                Post::Gone(exchange) => drop(self.exchanges.remove(&exchange)),
            }
        }
    }

    /// The next thing to do with the child, until `None`. Mail is sent and records are kept on the
    /// way; whoever got mail is woken at the end.
    pub fn poll_output(&mut self) -> Option<ChildOutput> {
        while let Some(output) = self.upstream.poll_output() {
            match output {
                UpstreamOutput::Spawn => return Some(ChildOutput::Spawn),
                UpstreamOutput::Stdin(frame) => return Some(ChildOutput::Stdin(frame)),
                UpstreamOutput::Stop(stop) => return Some(ChildOutput::Stop(stop)),
                UpstreamOutput::ToExchange {
                    exchange,
                    mail,
                    last,
                } => {
                    let inbox = match last {
                        true => self.exchanges.remove(&exchange),
                        false => self.exchanges.get(&exchange).cloned(),
                    };
                    if let Some(inbox) = inbox {
                        inbox.push(mail);
                        let is_same = |before: &Arc<_>| Arc::ptr_eq(before, &inbox);
                        if !self.written_to.last().is_some_and(is_same) {
                            self.written_to.push(inbox);
                        }
                    }
                }
                UpstreamOutput::Disconnect { exchange } => {
                    if let Some(inbox) = self.exchanges.remove(&exchange) {
                        inbox.disconnect();
                    }
                }
                UpstreamOutput::ToGateway(mail) => self.driver.tell_gateway(mail),
                UpstreamOutput::ToUpstream { upstream, mail } => {
                    if let Some(inbox) = self.driver.upstream(upstream) {
                        inbox.push(mail, None);
                    }
                }
                UpstreamOutput::Audit(record) => self.driver.audit(record),
            }
        }
        for inbox in self.written_to.drain(..) {
            inbox.wake();
        }
        self.inbox.shown.set(self.upstream.standing());
        None
    }

    /// When to call [`Upstream::handle_timeout`] if nothing happens before.
    pub fn due(&self) -> Option<StdInstant> {
        let due = self.upstream.poll_timeout();
        due.map(|due| self.driver.to_std(due))
    }

    /// Whether all is done; then no mail comes any more.
    pub fn is_drained(&mut self) -> bool {
        if !self.drained && self.upstream.is_drained() {
            self.drained = true;
            self.driver.forget(self.upstream.id());
        }
        self.drained
    }

    /// Ends what the child left behind that had left its group. The child counts as alive until
    /// then.
    pub fn sweep(&self) {
        let marker = self.driver.marker(self.upstream.id());
        self.driver.sweep.end(marker, self.alive.clone());
    }
}

/// One that is dropped before it is drained has panicked, or the runtime stops.
impl Drop for DrivenUpstream {
    fn drop(&mut self) {
        if self.drained {
            return;
        }
        self.inbox.lose();
        for inbox in self.exchanges.values() {
            inbox.upstream_lost();
        }
        if std::thread::panicking() {
            self.driver.lose(self.upstream.id());
        }
    }
}
