//! A fake child: it does what the calls that it reads tell it to.

use std::collections::BTreeSet;

use mcp_proto::UpstreamId;
use serde_json::Value;

use super::ledger::{ID, Ledger, Said, SaidKind, SentKind, TOKEN, filler, marker};
use super::plan::Start;
use crate::rng::hash;
use crate::world::World;

/// What a child has in mind.
#[derive(Debug)]
pub(super) struct Mind {
    pub(super) client: usize,
    pub(super) upstream: UpstreamId,
    pub(super) start: Start,
    /// Which of its client's children it is.
    pub(super) ordinal: usize,
    /// Calls that it has read, by marker, and that it has not answered.
    unanswered: BTreeSet<String>,
    /// Those that were cancelled.
    cancelled: BTreeSet<String>,
    /// Markers of its requests that it could take back, oldest first.
    asked: Vec<String>,
    /// Markers of its requests that were answered.
    answered: BTreeSet<String>,
    said: u32,
    /// The rest of a line that it has begun.
    half: Option<String>,
}

/// What a child does when it has read a line.
#[derive(Debug)]
pub(super) enum Reaction {
    Initialize {
        minted: String,
    },
    Call {
        marker: String,
        steps: Vec<(u64, char)>,
    },
    None,
}

impl Mind {
    pub(super) fn new(client: usize, ordinal: usize, upstream: UpstreamId, start: Start) -> Self {
        Self {
            client,
            upstream,
            start,
            ordinal,
            unanswered: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            asked: Vec::new(),
            answered: BTreeSet::new(),
            said: 0,
            half: None,
        }
    }

    /// Reads a line, and checks that it is what a client sent.
    pub(super) fn reads(&mut self, line: &str, ledger: &mut Ledger) -> Reaction {
        let message: Value = serde_json::from_str(line).expect("JSON");
        let Some(marker) = marker(&message) else {
            // What the gateway says by itself: that a call timed out, or that a request did.
            let timed_out = message["params"]["reason"] == "timed out";
            let failed = message["error"]["code"] == -32001;
            assert!(timed_out || failed, "the gateway says {line}");
            return Reaction::None;
        };
        ledger.child_reads(self.client, &marker, line);
        match ledger.sent[&marker].kind.clone() {
            SentKind::Initialize => Reaction::Initialize {
                minted: ledger.sent[&marker].minted.clone(),
            },
            SentKind::Call => {
                let steps = message["params"]["do"].as_array().expect("steps");
                let steps = steps.iter().map(|step| {
                    let what = step[1].as_str().and_then(|what| what.chars().next());
                    (step[0].as_u64().expect("a delay"), what.expect("a step"))
                });
                self.unanswered.insert(marker.clone());
                Reaction::Call {
                    marker,
                    steps: steps.collect(),
                }
            }
            SentKind::Cancel(id) => {
                let minted = &ledger.sent[&marker].minted;
                let call = ledger.call_of(self.client, &id, minted);
                self.cancelled.extend(call);
                Reaction::None
            }
            SentKind::Answer(request) => {
                self.asked.retain(|asked| *asked != request);
                assert!(self.answered.insert(request), "a request is answered once");
                Reaction::None
            }
            SentKind::Notification | SentKind::Bogus => Reaction::None,
        }
    }

    /// Has read a call that came by a translation.
    pub(super) fn takes(&mut self, call: &str) {
        self.unanswered.insert(call.to_owned());
    }

    /// Whether it has not answered a call, nor heard that it is cancelled.
    pub(super) fn is_at(&self, call: &str) -> bool {
        self.unanswered.contains(call) && !self.cancelled.contains(call)
    }

    /// Ends a call for now by asking for something; the marker of what it asks is returned.
    pub(super) fn asks(&mut self, call: &str) -> String {
        self.unanswered.remove(call);
        self.said += 1;
        format!("s{}.{}.{}", self.client, self.ordinal, self.said)
    }

    /// Hears that a call is cancelled that came by a translation.
    pub(super) fn cancels(&mut self, call: &str) {
        self.cancelled.insert(call.to_owned());
    }

    /// Answers `initialize`.
    pub(super) fn opens(&mut self, minted: &str, world: &mut World, refuses: bool) {
        let version = self.start.version;
        let answer = if refuses {
            format!(r#"{{"jsonrpc":"2.0","id":{minted},"error":{{"code":-32602,"message":"no"}}}}"#)
        } else {
            format!(
                r#"{{"jsonrpc":"2.0","id":{minted},"result":{{"protocolVersion":"{version}"}}}}"#
            )
        };
        self.write(&answer, world);
    }

    /// Takes a step of a call's.
    pub(super) fn step(&mut self, call: &str, what: char, world: &mut World, ledger: &mut Ledger) {
        if !world.child(self.upstream).runs() {
            return;
        }
        let minted = ledger.sent[call].minted.clone();
        match what {
            'a' | 'e' | 'b' | '2' => {
                // Some children answer cancelled calls, most do not.
                let ignores =
                    self.cancelled.contains(call) && !hash(call.as_bytes()).is_multiple_of(3);
                if ignores || !self.unanswered.remove(call) {
                    return;
                }
                let kind = if what == '2' { 'a' } else { what };
                let answer = self.compose(kind, call, ledger);
                let answer = answer.replace(ID, &minted);
                if what == 'b' && self.start.version == "2025-03-26" {
                    let note = self.compose('n', call, ledger);
                    self.write(&format!("[{note} ,\t{answer}]"), world);
                } else {
                    self.write(&answer, world);
                }
                if what == '2' {
                    let again = r#""result":{"marker":"again"}}"#;
                    self.write(
                        &format!(r#"{{"jsonrpc":"2.0","id":{minted},{again}"#),
                        world,
                    );
                }
            }
            'p' => {
                if self.unanswered.contains(call) {
                    let text = self.compose('p', call, ledger).replace(TOKEN, &minted);
                    self.write(&text, world);
                }
            }
            'n' | 'w' | 'q' | 'k' => {
                let text = self.compose(what, call, ledger);
                if !text.is_empty() {
                    self.write(&text, world);
                }
            }
            'f' => {
                for _ in 0..40 {
                    let text = self.compose('n', call, ledger);
                    self.write(&text, world);
                }
            }
            'm' => {
                for _ in 0..200 {
                    let text = self.compose('w', call, ledger);
                    self.write(&text, world);
                }
            }
            'g' => self.write("garbage {\"jsonrpc\": 2.0", world),
            'o' => self.write("\r\n\n \t\n", world),
            'u' => {
                self.finish_half(world);
                let line = b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\xc0\x80\"}\n";
                world.child_writes(self.upstream, line);
            }
            'F' => {
                self.finish_half(world);
                world.child_writes(self.upstream, &[b'x'; 200_000]);
                self.half = Some("\n".to_owned());
            }
            'd' => {
                let forged = format!(
                    r#"{{"jsonrpc":"2.0","id":{minted}99,"result":{{"marker":"forged"}}}}"#
                );
                self.write(&forged, world);
            }
            'h' => {
                let text = self.compose('n', call, ledger) + "\r\n";
                let (first, rest) = text.split_at(text.len() / 2);
                self.finish_half(world);
                world.child_writes(self.upstream, first.as_bytes());
                self.half = Some(rest.to_owned());
            }
            'l' => {
                let line = format!("{}\n", "x".repeat(5000));
                self.finish_half(world);
                world.child_writes(self.upstream, line.as_bytes());
            }
            's' => world.child_mut(self.upstream).reads = false,
            'r' => world.child_mut(self.upstream).reads = true,
            'x' => world.child_exits(self.upstream),
            'z' => {
                let text = self.compose('n', call, ledger);
                self.finish_half(world);
                world.child_writes(self.upstream, &text.as_bytes()[..text.len() / 2]);
                world.child_exits(self.upstream);
            }
            'X' => world.lose(self.upstream),
            'c' => world.child_mut(self.upstream).close_stdout(),
            _ => unreachable!("an unknown step"),
        }
    }

    /// Writes the rest of a line that it has begun.
    pub(super) fn finish_half(&mut self, world: &mut World) {
        if let Some(rest) = self.half.take() {
            world.child_writes(self.upstream, rest.as_bytes());
        }
    }

    fn write(&mut self, text: &str, world: &mut World) {
        self.finish_half(world);
        world.child_writes(self.upstream, text.as_bytes());
        world.child_writes(self.upstream, b"\n");
    }

    /// Makes a message and puts it into the ledger; empty if there is nothing to say.
    fn compose(&mut self, what: char, call: &str, ledger: &mut Ledger) -> String {
        self.said += 1;
        // Not the upstream's number: that depends on what other clients do.
        let marker = format!("s{}.{}.{}", self.client, self.ordinal, self.said);
        let filler = filler(hash(call.as_bytes()) ^ u64::from(self.said));
        let pad = if what == 'w' {
            "x".repeat(1500)
        } else {
            String::new()
        };
        let odd = self.said % 3;
        let (kind, template) = match what {
            'p' => (
                SaidKind::Progress(call.to_owned()),
                format!(
                    "{{\"jsonrpc\":\"2.0\", \"method\":\"notifications/progress\",\"params\":{{\"progress\":1,\"progressToken\" : {TOKEN},\"marker\":\"{marker}\",\"x\":{filler}}}}}"
                ),
            ),
            'q' => {
                // Ids of its own that collide with everyone's.
                let id = if odd == 0 {
                    "1".to_owned()
                } else {
                    format!("\"q{odd}\"")
                };
                (
                    SaidKind::Request(id),
                    format!(
                        "{{\"params\":{{\"marker\":\"{marker}\",\"x\":{filler},\"_meta\":{{\"progressToken\":{TOKEN}}}}},\"id\":{ID},\"method\":\"elicitation/create\",\"jsonrpc\":\"2.0\"}}"
                    ),
                )
            }
            'k' => {
                let Some(request) = self.asked.pop() else {
                    return String::new();
                };
                (
                    SaidKind::Cancel(request),
                    format!(
                        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{ID},\"marker\":\"{marker}\"}}}}"
                    ),
                )
            }
            'a' | 'b' => (
                SaidKind::Answer(call.to_owned()),
                format!(
                    "{{\"id\":{ID},\"result\":{{\"marker\":\"{marker}\",\"x\":{filler}}},\"jsonrpc\":\"2.0\"}}"
                ),
            ),
            'e' => (
                SaidKind::Answer(call.to_owned()),
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"error\":{{\"code\":-32602,\"message\":\"\",\"data\":{{\"marker\":\"{marker}\",\"x\":{filler}}}}},\"id\":{ID}}}"
                ),
            ),
            _ => (
                SaidKind::Notification,
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{\"marker\":\"{marker}\",\"x\":{filler},\"pad\":\"{pad}\"}}}}"
                ),
            ),
        };
        let mut text = template.clone();
        match &kind {
            SaidKind::Request(id) => {
                // Two requests with one id: the gateway tells them apart, a child's cancel cannot.
                self.asked.retain(|asked| match &ledger.said[asked].kind {
                    SaidKind::Request(other) => other != id,
                    _ => true,
                });
                self.asked.push(marker.clone());
                text = text.replace(ID, id).replace(TOKEN, id);
            }
            SaidKind::Cancel(request) => {
                if let SaidKind::Request(id) = &ledger.said[request].kind {
                    text = text.replace(ID, id);
                }
            }
            _ => {}
        }
        let said = Said {
            client: self.client,
            upstream: self.upstream,
            template,
            kind,
            read: 0,
            minted: String::new(),
        };
        ledger.said.insert(marker, said);
        text
    }
}
