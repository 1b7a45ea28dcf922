//! Reads along in front of another HTTP server.

use super::body::BodyReader;
use super::head::HeadScan;
use super::{Limits, RequestHead, Violation};

/// Judges what a client sends, in front of a server that parses it by itself.
///
/// Whoever reads from the socket shows each piece to [`Validator::read`] before the server sees it.
/// What is no request never reaches the server: it gets heads that are complete and were judged, and
/// of a body nothing behind the point at which its end became uncertain. Whether another request may
/// follow is not judged here: if the server reads on, what it reads was judged all the same.
#[derive(Debug)]
pub struct Validator {
    limits: Limits,
    state: State,
}

#[derive(Debug)]
enum State {
    Head(HeadScan),
    Body(BodyReader),
    Violated(Place, Violation),
}

/// Where a violation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a head, or in place of one: no request has begun.
    Head,
    /// In the body of the request that began last.
    Body,
}

/// What [`Validator::read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How many of the bytes may be passed on. The others are a head that is not complete, or stand
    /// behind a violation.
    pub passed: usize,
    /// How many heads end among these: so many requests the server has yet to begin.
    pub heads: usize,
    /// What came behind those that may be passed on. Nothing that follows may be.
    pub violation: Option<(Place, Violation)>,
}

impl Validator {
    /// A validator for a connection that was accepted. Of the limits, those of time are not its own.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Head(HeadScan::default()),
        }
    }

    /// Judges bytes that the client sent: those that were not passed on before, and what followed
    /// them.
    pub fn read(&mut self, bytes: &[u8]) -> Verdict {
        let (mut passed, mut heads) = (0, 0);
        let violation = loop {
            let rest = &bytes[passed..];
            if let State::Violated(place, violation) = self.state {
                break Some((place, violation));
            }
            if rest.is_empty() {
                break None;
            }
            let in_head = matches!(self.state, State::Head(_));
            match self.step(rest) {
                Ok(0) => break None,
                Ok(step) => {
                    passed += step;
                    heads += usize::from(in_head);
                }
                Err((place, violation)) => self.state = State::Violated(place, violation),
            }
        };
        Verdict {
            passed,
            heads,
            violation,
        }
    }

    /// How many of these bytes, which are some, may be passed on next.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, (Place, Violation)> {
        let passed = match &mut self.state {
            State::Head(scan) => {
                let in_head = |violation| (Place::Head, violation);
                let Some(found) = scan.search(bytes, &self.limits).map_err(in_head)? else {
                    return Ok(0);
                };
                let head = &bytes[..found.length];
                let head = RequestHead::parse(head, found.lines).map_err(in_head)?;
                self.state = State::Body(head.body().clone());
                found.length
            }
            State::Body(body) => {
                let step = body.step(bytes, &self.limits);
                step.map_err(|violation| (Place::Body, violation))?.read
            }
            State::Violated(place, violation) => return Err((*place, *violation)),
        };
        if let State::Body(body) = &self.state
            && body.has_ended()
        {
            self.state = State::Head(HeadScan::default());
        }
        Ok(passed)
    }
}
