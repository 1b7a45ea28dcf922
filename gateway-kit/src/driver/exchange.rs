//! One request on its way: an [`Exchange`] and its mail.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::Context;
use std::time::Instant as StdInstant;

use bytes::Bytes;
use mcp_proto::framing::Frame;
use mcp_proto::{
    Exchange, ExchangeOutput, GatewayMail, Refusal, RequestHead, ResponseHead, UpstreamId,
    UpstreamMail,
};

use super::Driver;
use super::inbox::{Connection, ExchangeInbox, UpstreamInbox};
use crate::metrics::Raised;

/// What is to be sent to the client, in this order.
#[derive(Debug)]
pub enum Response {
    /// The head. Comes once, before any chunk.
    Head(ResponseHead),
    /// Bytes of the body; [`DrivenExchange::handle_written`] is told once they are taken.
    Chunk(Frame),
    /// The body is complete. Nothing follows.
    End,
}

/// An [`Exchange`] that is being driven: its mail is carried, its records are kept, and its body
/// stands in the budget. Dropping it ends the exchange, as when its client has gone.
pub struct DrivenExchange {
    exchange: Exchange,
    driver: Arc<Driver>,
    connection: Arc<dyn Connection>,
    /// Made when there is somebody to write to it.
    inbox: Option<Arc<ExchangeInbox>>,
    /// Where the exchange's mail goes, once it has written any.
    upstream: Option<Arc<UpstreamInbox>>,
    /// Bytes of the request's body that stand in the budget.
    reserved: usize,
    /// While its response is an event stream.
    streaming: Option<Raised>,
}

impl DrivenExchange {
    /// Has the gateway judge a head that came over `connection` from `peer`.
    pub fn admit(
        driver: &Arc<Driver>,
        peer: IpAddr,
        head: &RequestHead<'_>,
        connection: Arc<dyn Connection>,
    ) -> Self {
        let (id, instance) = (driver.next_exchange(), driver.equipment.request_ids);
        let exchange = Exchange::new(id, head, instance, driver.limits(), driver.now());
        let mut this = Self {
            exchange,
            driver: Arc::clone(driver),
            connection,
            inbox: None,
            upstream: None,
            reserved: 0,
            streaming: None,
        };
        let connection = &this.connection;
        let inbox = &mut this.inbox;
        driver.admit(&mut this.exchange, peer, head, || {
            let made = ExchangeInbox::new(Arc::clone(connection));
            Arc::clone(inbox.insert(made))
        });
        this
    }

    /// The next part of the response, until `None`. Mail is sent and records are kept on the way.
    pub fn poll_response(&mut self) -> Option<Response> {
        while let Some(output) = self.exchange.poll_output() {
            match output {
                ExchangeOutput::ToGateway(mail) => {
                    let inbox = self.inbox();
                    self.driver.ask(self.exchange.id(), &inbox, mail);
                }
                ExchangeOutput::ToUpstream { upstream, mail } => self.post(upstream, mail),
                ExchangeOutput::Audit(record) => self.driver.audit(record),
                ExchangeOutput::Access(record) => self.driver.access(&record),
                ExchangeOutput::Head(head) => {
                    if head.length.is_none() {
                        self.streaming = Some(Raised::new(&self.driver.metrics().streams));
                    }
                    return Some(Response::Head(head));
                }
                ExchangeOutput::Chunk(frame) => return Some(Response::Chunk(frame)),
                ExchangeOutput::End => return Some(Response::End),
            }
        }
        None
    }

    /// Takes mail and time. Whether anything happened; if not, `context` is woken when mail comes.
    pub fn poll_events(&mut self, context: &mut Context<'_>) -> bool {
        let now = self.driver.now();
        if let Some(inbox) = &self.inbox
            && inbox.deliver(&mut self.exchange, now, Some(context))
        {
            return true;
        }
        let is_due = |due| due <= now.monotonic;
        if self.exchange.poll_timeout().is_some_and(is_due) {
            self.exchange.handle_timeout(now);
            return true;
        }
        false
    }

    /// When to call [`DrivenExchange::poll_events`] if nothing happens before.
    pub fn due(&self) -> Option<StdInstant> {
        let due = self.exchange.poll_timeout();
        due.map(|due| self.driver.to_std(due))
    }

    /// Whether the request's body should be read on.
    pub fn wants_body(&self) -> bool {
        self.exchange.wants_body()
    }

    /// Takes a piece of the request's body, if the budget has room for it.
    pub fn handle_body(&mut self, chunk: Bytes) {
        let now = self.driver.now();
        if self.driver.reserve_body(chunk.len()) {
            self.reserved += chunk.len();
            self.exchange.handle_body(chunk, now);
        } else {
            self.exchange.handle_no_room(now);
        }
    }

    /// Takes note that the request's body is complete.
    pub fn handle_body_end(&mut self) {
        self.exchange.handle_body_end(self.driver.now());
    }

    /// Takes note that the HTTP front end refuses the request's body.
    pub fn handle_body_refused(&mut self, refusal: Refusal) {
        self.exchange
            .handle_body_refused(refusal, self.driver.now());
    }

    /// Takes note that the transport has taken `bytes` of the chunks: they stand in a bounded buffer
    /// of its own, or have left.
    pub fn handle_written(&mut self, bytes: usize) {
        self.exchange.handle_written(bytes, self.driver.now());
    }

    /// Gives the body's bytes back to the budget: the response has begun, and they are not held any
    /// more.
    pub fn release_body(&mut self) {
        self.driver.release_body(std::mem::take(&mut self.reserved));
    }

    fn inbox(&mut self) -> Arc<ExchangeInbox> {
        let connection = &self.connection;
        let inbox = self
            .inbox
            .get_or_insert_with(|| ExchangeInbox::new(Arc::clone(connection)));
        Arc::clone(inbox)
    }

    fn post(&mut self, upstream: UpstreamId, mail: UpstreamMail) {
        if let Some(to) = &self.upstream {
            return to.push(mail, None);
        }
        self.upstream = self.driver.upstream(upstream);
        let from = (self.exchange.id(), self.inbox());
        match &self.upstream {
            Some(to) => to.push(mail, Some(from)),
            None => from.1.upstream_lost(),
        }
    }

    /// Ends the exchange: its client has gone.
    fn disconnect(&mut self) {
        let inbox = self.inbox();
        if self.exchange.awaits_gateway() {
            let mut posts = Vec::new();
            let driver = Arc::clone(&self.driver);
            let records = &driver;
            driver.withdraw(&mut self.exchange, &inbox, |output| {
                let mut to_gateway: Option<GatewayMail> = None;
                match output {
                    ExchangeOutput::ToGateway(mail) => to_gateway = Some(mail),
                    ExchangeOutput::ToUpstream { upstream, mail } => posts.push((upstream, mail)),
                    ExchangeOutput::Audit(record) => records.audit(record),
                    ExchangeOutput::Access(record) => records.access(&record),
                    ExchangeOutput::Head(_) | ExchangeOutput::Chunk(_) | ExchangeOutput::End => {}
                }
                to_gateway
            });
            for (upstream, mail) in posts {
                self.post(upstream, mail);
            }
        } else {
            let now = self.driver.now();
            inbox.deliver(&mut self.exchange, now, None);
            self.exchange.handle_disconnect(now);
        }
    }
}

impl Drop for DrivenExchange {
    fn drop(&mut self) {
        self.release_body();
        if !self.exchange.is_done() {
            self.disconnect();
        }
        // Of one that is done something may be left that nobody came to ask for.
        while self.poll_response().is_some() {}
        if let Some(upstream) = &self.upstream {
            upstream.gone(self.exchange.id());
        }
    }
}
