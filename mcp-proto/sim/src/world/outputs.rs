//! What the machines want done.

use std::collections::{BTreeSet, VecDeque};

use mcp_proto::{
    AccessRecord, AuditRecord, ExchangeId, ExchangeMail, ExchangeOutput, GatewayMail,
    GatewayOutput, Opening, Stop, Upstream, UpstreamId, UpstreamMail, UpstreamOutput,
};

use super::{Event, Line, World};
use crate::process::Child;

impl World {
    /// Performs what the gateway wants done; false if that is nothing.
    pub(super) fn drain_gateway(&mut self) -> bool {
        let mut done = false;
        while let Some(output) = self.held.by(|| self.gateway.poll_output()) {
            done = true;
            match output {
                GatewayOutput::ToExchange { exchange, mail } => {
                    if let Some(upstream) = self.just_opened.take() {
                        self.opened.push((upstream, Some(exchange)));
                    }
                    self.mail_exchange(exchange, mail);
                }
                GatewayOutput::ToUpstream { upstream, mail } => {
                    assert!(
                        self.lines.contains_key(&upstream),
                        "the gateway writes to {upstream:?}, which is drained: {mail:?}"
                    );
                    self.mail_upstream(upstream, mail);
                }
                GatewayOutput::Open(opening) => self.open(opening),
                GatewayOutput::Audit(record) => self.keep(record),
                GatewayOutput::Fetch(request) => self.events.push_back(Event::Fetch(request)),
                GatewayOutput::CheckSignature(check) => {
                    self.events.push_back(Event::CheckSignature(check));
                }
                GatewayOutput::VerifyToken {
                    verification,
                    token,
                } => self
                    .events
                    .push_back(Event::VerifyToken(verification, token)),
                GatewayOutput::Started(failures) => {
                    self.events.push_back(Event::Started(failures));
                }
                GatewayOutput::Warn(line) => {
                    self.note(format_args!("warn {line}"));
                    self.warnings.push(line.clone());
                    self.held.free(line);
                }
            }
        }
        if let Some(upstream) = self.just_opened.take() {
            self.opened.push((upstream, None));
        }
        done
    }

    fn open(&mut self, opening: Opening) {
        let id = opening.upstream();
        // Only sessions are somebody's.
        if format!("{opening:?}").contains("Session {") {
            self.just_opened = Some(id);
        } else {
            self.opened.push((id, None));
        }
        let now = self.clocks();
        let limits = &self.gateway.policy().limits;
        let line = Line {
            number: self.children.len() as u64,
            upstream: self.held.by(|| Upstream::new(opening, limits, now)),
            mail: VecDeque::new(),
            finished: BTreeSet::new(),
            told_stdout_closed: false,
        };
        self.lines.insert(id, line);
        self.children.insert(id, Child::default());
        self.drain_upstream(id);
    }

    /// Performs what an exchange wants done; false if that is nothing.
    pub(super) fn drain_exchange(&mut self, id: ExchangeId) -> bool {
        let mut done = false;
        let now = self.clocks();
        loop {
            let Some(wire) = self.wires.get_mut(&id) else {
                return done;
            };
            let Some(output) = self.held.by(|| wire.exchange.poll_output()) else {
                return done;
            };
            done = true;
            match output {
                ExchangeOutput::ToGateway(mail) => self.mail_gateway(mail),
                ExchangeOutput::ToUpstream { upstream, mail } => {
                    wire.upstream = Some(upstream);
                    if self.children[&upstream].is_lost() {
                        self.held.free(mail);
                        self.held.by(|| wire.exchange.handle_upstream_lost(now));
                    } else {
                        self.mail_upstream(upstream, mail);
                    }
                }
                ExchangeOutput::Head(head) => {
                    assert!(wire.response.head.is_none(), "one head");
                    assert!(!wire.gone, "nothing is sent to nobody");
                    wire.response.head = Some(head);
                    self.events.push_back(Event::Received(id));
                }
                ExchangeOutput::Chunk(frame) => {
                    assert!(wire.response.head.is_some(), "a head before its body");
                    assert!(!wire.ended, "nothing after the end");
                    assert!(!frame.is_empty(), "a chunk holds something");
                    for slice in frame.slices() {
                        wire.pipe.extend_from_slice(slice);
                    }
                    self.held.free(frame);
                }
                ExchangeOutput::End => {
                    assert!(wire.response.head.is_some(), "a head before the end");
                    assert!(!std::mem::replace(&mut wire.ended, true), "one end");
                    assert!(wire.exchange.is_done(), "it ends once");
                    self.look_over(id);
                }
                ExchangeOutput::Audit(record) => self.keep(record),
                ExchangeOutput::Access(record) => self.account(id, record),
            }
        }
    }

    /// Performs what an upstream wants done; false if that is nothing.
    pub(super) fn drain_upstream(&mut self, id: UpstreamId) -> bool {
        let mut done = false;
        loop {
            let Some(line) = self.lines.get_mut(&id) else {
                return done;
            };
            let Some(output) = self.held.by(|| line.upstream.poll_output()) else {
                break;
            };
            done = true;
            match output {
                UpstreamOutput::Spawn => {
                    self.child_mut(id).order();
                    self.events.push_back(Event::Spawn(id));
                }
                UpstreamOutput::Stdin(frame) => {
                    self.child_mut(id).queue(&frame);
                    self.held.free(frame);
                }
                UpstreamOutput::Stop(stop) => self.stop(id, stop),
                UpstreamOutput::ToExchange {
                    exchange,
                    mail,
                    last,
                } => {
                    assert!(
                        !line.finished.contains(&exchange),
                        "mail for {exchange:?} after its last: {mail:?}"
                    );
                    if last {
                        line.finished.insert(exchange);
                    }
                    self.mail_exchange(exchange, mail);
                }
                UpstreamOutput::Disconnect { exchange } => {
                    line.finished.insert(exchange);
                    self.note(format_args!("overrun {exchange:?}"));
                    if let Some(wire) = self.wires.get_mut(&exchange) {
                        wire.response.dropped = true;
                        self.hang_up(exchange);
                    }
                }
                UpstreamOutput::ToGateway(mail) => self.mail_gateway(mail),
                UpstreamOutput::ToUpstream { upstream, mail } => {
                    self.mail_upstream(upstream, mail);
                }
                UpstreamOutput::Audit(record) => self.keep(record),
            }
        }
        let drained = self.lines[&id].upstream.is_drained();
        if drained && let Some(line) = self.lines.remove(&id) {
            self.note(format_args!("drained {id:?}"));
            assert!(line.upstream.is_empty(), "a drained upstream holds nothing");
            assert!(
                !self.children[&id].lives(),
                "no child outlives its upstream"
            );
            for mail in line.mail {
                self.lost(id, mail);
            }
            self.held.free(line.upstream);
        }
        done
    }

    fn stop(&mut self, id: UpstreamId, stop: Stop) {
        self.note(format_args!("stop {id:?} {stop:?}"));
        let now = self.now;
        let child = self.child_mut(id);
        child.stop(stop, now);
        if child.sees_end_of_stdin() {
            self.events.push_back(Event::StdinClosed(id));
        }
        if stop == Stop::Terminate {
            self.events.push_back(Event::Terminated(id));
        }
    }

    fn mail_gateway(&mut self, mail: GatewayMail) {
        let now = self.clocks();
        self.held.by(|| self.gateway.handle_mail(mail, now));
        self.drain_gateway();
    }

    fn mail_exchange(&mut self, id: ExchangeId, mail: ExchangeMail) {
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.mail.push_back(mail);
        } else {
            self.held.free(mail);
        }
    }

    fn mail_upstream(&mut self, id: UpstreamId, mail: UpstreamMail) {
        match self.lines.get_mut(&id) {
            Some(line) => line.mail.push_back(mail),
            None => self.lost(id, mail),
        }
    }

    /// An upstream is dropped only when every grant has come in.
    fn lost(&mut self, id: UpstreamId, mail: UpstreamMail) {
        let text = format!("{mail:?}");
        self.held.free(mail);
        // Of these, only a second `Retire` can be late: it takes the first to drain it.
        let late = [
            "UpstreamMail(Release",
            "UpstreamMail(Disconnect",
            "UpstreamMail(Retire",
            "UpstreamMail(ToHost",
            "UpstreamMail(FromHost",
            "UpstreamMail(HostEnded",
            "UpstreamMail(Changed",
        ];
        assert!(
            late.iter().any(|late| text.starts_with(late)),
            "{id:?} is drained and misses {text}"
        );
    }

    fn account(&mut self, id: ExchangeId, record: Box<AccessRecord>) {
        assert_eq!(record.exchange, id);
        self.note(format_args!("access {record:?}"));
        let before = self.access.insert(id, (*record).clone());
        assert!(before.is_none(), "one access record for {id:?}");
        self.held.free(record);
    }

    fn keep(&mut self, record: AuditRecord) {
        self.note(format_args!("{:?} {:?}", record.exchange, record.event));
        self.audit.push(record.clone());
        self.held.free(record);
    }
}
