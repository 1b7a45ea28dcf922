//! What happens by itself.

use bytes::Bytes;
use mcp_proto::{ExchangeId, UpstreamId};

use super::{Batches, Cuts, Event, Line, Source, Unit, Wire, World};
use crate::process::Child;
use crate::rng::Rng;

impl World {
    /// Lets everything happen that can happen now.
    pub fn settle(&mut self) {
        let mut steps = 0_u32;
        while self.step() {
            steps += 1;
            assert!(steps < 5_000_000, "the machines keep each other busy");
        }
    }

    /// Whether anything can happen now.
    pub fn is_settled(&self) -> bool {
        self.units().next().is_none()
    }

    /// Lets one machine take what is in one of its inboxes, or a few of them. False if there is
    /// nothing anywhere.
    pub fn step(&mut self) -> bool {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        ready.extend(self.units());
        let unit = (!ready.is_empty()).then(|| *self.order.pick(&ready));
        self.ready = ready;
        let Some(unit) = unit else {
            return false;
        };
        let most = match self.manner.batches {
            Batches::Single => 1,
            Batches::All => usize::MAX,
            Batches::Random => 1 + self.order.below(4),
        };
        let mut taken = 0;
        while taken < most && self.feed(unit) {
            taken += 1;
        }
        match unit {
            Unit::Wire(id) => {
                self.drain_exchange(id);
                self.look_over(id);
            }
            Unit::Line(id) => {
                self.drain_upstream(id);
            }
        }
        true
    }

    fn units(&self) -> impl Iterator<Item = Unit> {
        let wires = self.wires.iter();
        let wires = wires.filter(|(_, wire)| wire.sources().next().is_some());
        let lines = self.lines.iter();
        let lines = lines.filter(|(id, line)| line.sources(&self.children[id]).next().is_some());
        wires
            .map(|(&id, _)| Unit::Wire(id))
            .chain(lines.map(|(&id, _)| Unit::Line(id)))
    }

    /// Gives a machine one input.
    fn feed(&mut self, unit: Unit) -> bool {
        let source = match unit {
            Unit::Wire(id) => self
                .wires
                .get(&id)
                .and_then(|wire| one(wire.sources(), &mut self.order)),
            Unit::Line(id) => self.lines.get(&id).and_then(|line| {
                let sources = line.sources(&self.children[&id]);
                one(sources, &mut self.order)
            }),
        };
        let Some(source) = source else {
            return false;
        };
        match unit {
            Unit::Wire(id) => {
                let numbers = [id.0, source as u64];
                self.trace
                    .step(self.now, numbers, format_args!("{id:?} {source:?}"));
                self.feed_wire(id, source);
            }
            Unit::Line(id) => {
                let numbers = [u64::MAX - self.lines[&id].number, source as u64];
                self.trace
                    .step(self.now, numbers, format_args!("{id:?} {source:?}"));
                self.feed_line(id, source);
            }
        }
        true
    }

    fn feed_wire(&mut self, id: ExchangeId, source: Source) {
        let now = self.clocks();
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let exchange = &mut wire.exchange;
        match source {
            Source::Mail => {
                if let Some(mail) = wire.mail.pop_front() {
                    self.held.by(|| exchange.handle_mail(mail, now));
                }
            }
            Source::Upload if wire.upload.is_empty() => {
                wire.uploading = false;
                self.held.by(|| exchange.handle_body_end(now));
            }
            Source::Upload => {
                let size = cut(&mut self.cuts, self.manner.cuts, wire.upload.len());
                let chunk = wire.upload.split_to(size);
                self.held.by(|| {
                    exchange.handle_body(Bytes::copy_from_slice(&chunk), now);
                });
            }
            Source::Download => {
                let mut size = cut(&mut self.cuts, self.manner.cuts, wire.pipe.len());
                if let Some(leaves_at) = wire.leaves_at {
                    size = size.min(leaves_at - wire.response.body.len());
                }
                wire.response
                    .body
                    .extend_from_slice(&wire.pipe.split_to(size));
                self.held.by(|| exchange.handle_written(size, now));
                self.events.push_back(Event::Received(id));
            }
            Source::Stdout | Source::Stdin | Source::StdoutClosed | Source::Exit => {}
        }
    }

    fn feed_line(&mut self, id: UpstreamId, source: Source) {
        let now = self.clocks();
        let (Some(line), Some(child)) = (self.lines.get_mut(&id), self.children.get_mut(&id))
        else {
            return;
        };
        match source {
            Source::Mail => {
                if let Some(mail) = line.mail.pop_front() {
                    self.held.by(|| line.upstream.handle_mail(mail, now));
                }
            }
            Source::Stdout => {
                let room = self.held.by(|| line.upstream.stdout_buffer());
                assert!(!room.is_empty(), "room to read into is never empty");
                let most = room.len().min(child.stdout.len());
                let size = cut(&mut self.cuts, self.manner.cuts, most);
                room[..size].copy_from_slice(&child.stdout.split_to(size));
                self.held.by(|| line.upstream.handle_stdout(size, now));
            }
            Source::Stdin => {
                let most = child.queued();
                let size = cut(&mut self.cuts, self.manner.cuts, most);
                if size > 0 {
                    for text in child.take_stdin(size) {
                        self.events.push_back(Event::Line(id, text));
                    }
                    self.held
                        .by(|| line.upstream.handle_stdin_written(size, now));
                }
                if child.sees_end_of_stdin() {
                    self.events.push_back(Event::StdinClosed(id));
                }
            }
            Source::StdoutClosed => {
                line.told_stdout_closed = true;
                self.held.by(|| line.upstream.handle_stdout_closed(now));
            }
            Source::Exit => {
                child.reaped = true;
                self.held.by(|| line.upstream.handle_exit(now));
            }
            Source::Upload | Source::Download => {}
        }
    }

    /// Whether a response is complete, or its client has seen enough.
    pub(super) fn look_over(&mut self, id: ExchangeId) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let read = wire.response.body.len();
        if !wire.gone && wire.leaves_at.is_some_and(|leaves_at| read >= leaves_at) {
            wire.response.left = true;
            return self.hang_up(id);
        }
        if wire.ended && wire.pipe.is_empty() && !wire.gone {
            wire.response.complete = true;
            self.close(id);
        }
    }

    /// Closes a connection, from whichever end: the rule of `Exchange::handle_disconnect`.
    pub(super) fn hang_up(&mut self, id: ExchangeId) {
        let now = self.clocks();
        let Some(wire) = self.wires.get_mut(&id).filter(|wire| !wire.gone) else {
            return;
        };
        wire.gone = true;
        wire.pipe.clear();
        self.held.by(|| {
            let awaits = wire.exchange.awaits_gateway();
            for mail in wire.mail.drain(..) {
                if awaits {
                    wire.exchange.handle_mail(mail, now);
                }
            }
            wire.exchange.handle_disconnect(now);
        });
        self.drain_exchange(id);
        self.close(id);
    }

    /// Keeps only what was received.
    fn close(&mut self, id: ExchangeId) {
        let mut wire = self.wires.remove(&id).expect("a request of this world");
        assert!(wire.exchange.is_done(), "what is over is done");
        self.held.by(|| wire.mail.clear());
        self.held.free(wire.exchange);
        self.responses.insert(id, wire.response);
        self.events.push_back(Event::Over(id));
    }
}

impl Wire {
    fn sources(&self) -> impl Iterator<Item = Source> + Clone + use<> {
        let mail = !self.mail.is_empty();
        let upload = self.uploading && self.exchange.wants_body();
        let read = self.response.body.len();
        let stays = self.leaves_at.is_none_or(|leaves_at| read < leaves_at);
        let download = self.reading && stays && !self.pipe.is_empty();
        [
            (mail, Source::Mail),
            (upload, Source::Upload),
            (download, Source::Download),
        ]
        .into_iter()
        .filter_map(|(there, source)| there.then_some(source))
    }
}

impl Line {
    fn sources(&self, child: &Child) -> impl Iterator<Item = Source> + Clone + use<> {
        let unread = !child.stdout.is_empty() && self.upstream.wants_stdout();
        let closed = child.stdout_closed && child.stdout.is_empty() && !self.told_stdout_closed;
        let exited = child.exited && child.stdout.is_empty() && !child.reaped;
        [
            (!self.mail.is_empty(), Source::Mail),
            (unread, Source::Stdout),
            (child.can_read(), Source::Stdin),
            (closed && self.upstream.wants_stdout(), Source::StdoutClosed),
            (exited, Source::Exit),
        ]
        .into_iter()
        .filter_map(|(there, source)| there.then_some(source))
    }
}

/// One of these.
fn one(sources: impl Iterator<Item = Source> + Clone, dice: &mut Rng) -> Option<Source> {
    let count = sources.clone().count();
    (count > 0).then(|| sources.clone().nth(dice.below(count)))?
}

/// How much of so many bytes comes now: at least one.
fn cut(dice: &mut Rng, cuts: Cuts, most: usize) -> usize {
    match cuts {
        Cuts::Whole => most,
        Cuts::Bytes if most > 20_000 => 4099,
        Cuts::Bytes => most.min(1),
        // Small ones are as frequent as large ones; megabytes are not cut into thousands.
        Cuts::Random(_) => match (most, dice.below(4)) {
            (0, _) => 0,
            (_, 0) if most < 4096 => 1,
            (_, 1) => most,
            _ => 1 + dice.below(most),
        },
    }
}
