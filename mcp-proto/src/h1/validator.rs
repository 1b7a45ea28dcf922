//! Reads along in front of another HTTP server.

use super::body::BodyReader;
use super::head::HeadScan;
use super::{Limits, RequestHead, Violation};

/// Judges what a client sends, in front of a server that parses it by itself.
///
/// Whoever reads from the socket hands each piece to [`Validator::read`] before the server sees it.
/// What is no request never reaches the server: neither the last bytes of a head that is refused,
/// so that the server cannot take it for complete, nor anything behind the point in a body at which
/// its end became uncertain.
#[derive(Debug)]
pub struct Validator {
    limits: Limits,
    state: State,
}

#[derive(Debug)]
enum State {
    Head {
        scan: HeadScan,
        /// What came of the head in earlier pieces.
        held: Vec<u8>,
    },
    Body {
        body: BodyReader,
        persists: bool,
    },
    /// The last request of the connection is complete: what follows is none.
    Last,
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
    /// How many of the bytes may be passed on.
    pub passed: usize,
    /// What came behind them. Nothing that follows may be passed on.
    pub violation: Option<(Place, Violation)>,
}

impl Validator {
    /// A validator for a connection that was accepted. Of the limits, those of time are not its own.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Head {
                scan: HeadScan::default(),
                held: Vec::new(),
            },
        }
    }

    /// Whether a head has begun and is not complete.
    pub fn is_in_head(&self) -> bool {
        matches!(&self.state, State::Head { held, .. } if !held.is_empty())
    }

    /// Judges the bytes that the client sent next.
    pub fn read(&mut self, bytes: &[u8]) -> Verdict {
        let mut passed = 0;
        while passed < bytes.len() {
            let rest = &bytes[passed..];
            let read = match &mut self.state {
                State::Head { scan, held } => {
                    let before = held.len();
                    let head = if before == 0 {
                        rest
                    } else {
                        held.extend_from_slice(rest);
                        held.as_slice()
                    };
                    match judge_head(scan, head, &self.limits) {
                        Ok(None) => {
                            if before == 0 {
                                held.extend_from_slice(rest);
                            }
                            Ok(rest.len())
                        }
                        Ok(Some((length, next))) => {
                            self.state = next;
                            Ok(length - before)
                        }
                        Err(violation) => Err((Place::Head, violation)),
                    }
                }
                State::Body { body, .. } => match body.step(rest, &self.limits) {
                    Ok(step) => Ok(step.read),
                    Err(violation) => Err((Place::Body, violation)),
                },
                State::Last => Ok(rest.len()),
                State::Violated(place, violation) => Err((*place, *violation)),
            };
            match read {
                Ok(read) => passed += read,
                Err((place, violation)) => {
                    self.state = State::Violated(place, violation);
                    return Verdict {
                        passed,
                        violation: Some((place, violation)),
                    };
                }
            }
            self.end_body();
        }
        Verdict {
            passed,
            violation: None,
        }
    }

    /// Begins anew behind a body that is complete.
    fn end_body(&mut self) {
        if let State::Body { body, persists } = &self.state
            && body.has_ended()
        {
            self.state = match persists {
                true => State::Head {
                    scan: HeadScan::default(),
                    held: Vec::new(),
                },
                false => State::Last,
            };
        }
    }
}

/// Judges what there is of a head: where it ends and what follows, once it is complete.
fn judge_head(
    scan: &mut HeadScan,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Option<(usize, State)>, Violation> {
    let Some(found) = scan.search(bytes, limits)? else {
        return Ok(None);
    };
    let head = RequestHead::parse(&bytes[..found.length], found.lines)?;
    let body = State::Body {
        body: head.body().clone(),
        persists: head.persists(),
    };
    Ok(Some((found.length, body)))
}
