//! The children that modern clients share, and those that are asked what they speak: each is a server
//! as the play's eras say, which does what the calls that it reads tell it to.

use std::collections::{BTreeMap, BTreeSet};

use mcp_proto::UpstreamId;
use serde_json::Value;

use super::plan::What;
use super::{DONE, STATE, Speaks, Word, WordKind};
use crate::play::ledger::{ID, TOKEN, fields, filler};
use crate::play::{Act, Play};
use crate::rng::hash;

pub(super) const INFO: &str = r#"{"name":"s","version":"0"}"#;

const DISCOVERED: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"prompts":{},"logging":{}},"ttlMs":0,"cacheScope":"public"}"#;

const TOOLS: &str = r#"{"resultType":"complete","tools":[{"name":"t","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}],"ttlMs":0,"cacheScope":"public"}"#;

/// A child, as a server.
pub(super) struct Server {
    /// How many there were before.
    ordinal: usize,
    /// Whether it was asked to `initialize`, after which it has no requests without handshake.
    shook_hands: bool,
    /// The legs that it has read and not answered, with the ids that it knows them by.
    unanswered: BTreeMap<String, String>,
    cancelled: BTreeSet<String>,
    /// What it waits to be told, by its id: the leg, and which step comes then.
    asked: BTreeMap<String, (String, usize)>,
    said: u32,
}

impl Play {
    /// A child is started that is no legacy session's own.
    pub(in crate::play) fn spawn_server(&mut self, upstream: UpstreamId) {
        let server = Server {
            ordinal: self.modern.servers.len(),
            shook_hands: false,
            unanswered: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            asked: BTreeMap::new(),
            said: 0,
        };
        let dice = &mut self.server_dice(server.ordinal, "spawn");
        let after = dice.draw() % 50;
        let child = self.world.child_mut(upstream);
        (child.heeds_stdin, child.heeds_term) = (dice.percent(80), dice.percent(80));
        self.modern.servers.insert(upstream, server);
        // In a calm play it makes no difference whether a child was there before.
        if self.options.calm {
            return self.world.spawned(upstream, true);
        }
        self.plan(after, usize::MAX, 1, Act::Spawned(upstream));
    }

    fn server_dice(&self, ordinal: usize, what: &str) -> crate::Rng {
        self.options.seed.dice(&format!("server {ordinal} {what}"))
    }

    /// Whether servers fail at their start. What speaks both eras would be taken for one that speaks
    /// one of them, if that befell it when it is asked.
    fn servers_fail(&self) -> bool {
        !self.options.calm && self.modern.eras.server != Speaks::Both
    }

    /// Whether the child can be started.
    pub(in crate::play) fn server_starts(&self, upstream: UpstreamId) -> bool {
        let Some(server) = self.modern.servers.get(&upstream) else {
            return true;
        };
        !self.servers_fail() || !self.server_dice(server.ordinal, "fails").percent(5)
    }

    /// Whether a child is one of these.
    pub(in crate::play) fn is_server(&self, upstream: UpstreamId) -> bool {
        self.modern.servers.contains_key(&upstream)
    }

    /// A child reads a line.
    pub(in crate::play) fn server_reads(&mut self, upstream: UpstreamId, line: &str) {
        let message: Value = serde_json::from_str(line).expect("JSON");
        let id = fields(line).get("id").map(|id| id.get().to_owned());
        let id = id.unwrap_or_default();
        let speaks = self.modern.eras.server;
        let server = self.modern.servers.get_mut(&upstream).expect("a server");
        let Some(method) = message["method"].as_str() else {
            if let Some((leg, step)) = server.asked.remove(&id) {
                self.server_is_told(upstream, &leg, step, &message);
            }
            return;
        };
        if let Some(marker) = message.pointer("/params/marker").and_then(Value::as_str) {
            return self.reads_session_call(upstream, marker, line, &id, &message);
        }
        let leg = message.pointer("/params/_meta/marker");
        let leg = leg.and_then(Value::as_str).map(str::to_owned);
        let result = |result: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        let unknown =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"no"}}}}"#);
        let answer = match method {
            "server/discover" if speaks.is_modern() => {
                if let Some(leg) = &leg {
                    self.server_has_read(upstream, leg, line, &id);
                }
                result(DISCOVERED)
            }
            "server/discover" => match hash(&self.options.seed.number().to_le_bytes()) % 4 {
                // Whoever is first would wait for others.
                0 if !self.options.calm => return self.count("silent about discover"),
                1 => return self.server_exits_at_discover(upstream),
                _ => unknown,
            },
            "initialize" if speaks.has_handshake() => {
                server.shook_hands = true;
                result(&format!(
                    r#"{{"protocolVersion":"2025-11-25","capabilities":{{"tools":{{"listChanged":true}},"prompts":{{}},"logging":{{}}}},"serverInfo":{INFO}}}"#
                ))
            }
            "initialize" => unknown,
            "tools/list" => result(TOOLS),
            "logging/setLevel" => result("{}"),
            "notifications/initialized" => return,
            "notifications/cancelled" => {
                let known = message["params"]["requestId"].to_string();
                let leg = server.unanswered.iter().find(|(_, id)| **id == known);
                let leg = leg.map(|(leg, _)| leg.clone());
                server.cancelled.extend(leg);
                let calls = self.modern.session_calls.iter();
                let calls = calls.filter(|&(call, at)| {
                    *at == upstream && self.ledger.sent[call].minted == known
                });
                for (call, _) in calls {
                    let client = self.ledger.sent[call].client;
                    if let Some(mind) = self.modern.sessions.get_mut(&client) {
                        mind.cancels(call);
                    }
                }
                return;
            }
            // The gateway's own, to hear when the tools change.
            "subscriptions/listen" if leg.is_none() => return,
            _ => {
                let leg = leg.unwrap_or_else(|| panic!("the gateway says {line}"));
                return self.server_has_read(upstream, &leg, line, &id);
            }
        };
        let server = &self.modern.servers[&upstream];
        let dice = &mut self.server_dice(server.ordinal, method);
        if self.servers_fail() && leg.is_none() && dice.percent(4) {
            return self.count("server hangs");
        }
        let after = dice.draw() % 50;
        let key = hash(id.as_bytes());
        if self.options.calm {
            return self.server_says(upstream, &answer);
        }
        let act = Act::Says {
            upstream,
            line: answer,
        };
        self.plan(after, usize::MAX, key, act);
    }

    /// A child writes a line.
    pub(in crate::play) fn server_says(&mut self, upstream: UpstreamId, line: &str) {
        self.world.child_writes(upstream, line.as_bytes());
        self.world.child_writes(upstream, b"\n");
    }

    fn server_exits_at_discover(&mut self, upstream: UpstreamId) {
        self.count("exits at discover");
        self.world.child_exits(upstream);
    }

    /// A child reads a request of a client's: it is what the client sent.
    fn server_has_read(&mut self, upstream: UpstreamId, marker: &str, line: &str, id: &str) {
        let exchange = self.modern.sent[marker];
        let leg = self.modern.legs.get_mut(&exchange).expect("it was sent");
        leg.read += 1;
        assert_eq!(leg.read, 1, "a child reads twice: {line}");
        // Where a list of tools would have to wait and there is no room, it counts as empty.
        let limits = &self.world.gateway().policy().limits;
        let is_unlisted = leg.must_fail == Some(-32020) && limits.stdin_bytes < 10_000;
        assert!(
            leg.must_fail.is_none() || is_unlisted,
            "a child reads what had to be refused: {line}"
        );
        leg.by = Some(upstream);
        let call = &self.modern.calls[&leg.call];
        let server = self.modern.servers.get_mut(&upstream).expect("a server");
        let state = leg.state.clone();
        let mut step = 0;
        if server.shook_hands {
            // Nothing is lost but what a server with a handshake must not see.
            let (read, sent): (Value, Value) = {
                let text = leg.template.replace(ID, id).replace(TOKEN, id);
                let text = text.replace(STATE, "null");
                (
                    serde_json::from_str(line).expect("JSON"),
                    serde_json::from_str(&text).expect("JSON"),
                )
            };
            let mut expected = sent;
            let params = expected["params"].as_object_mut().expect("parameters");
            params.remove("requestState");
            params.remove("inputResponses");
            let meta = params["_meta"].as_object_mut().expect("_meta");
            meta.retain(|name, _| !name.starts_with("io.modelcontextprotocol/"));
            assert_eq!(read, expected, "a payload was changed");
            let filler = filler(hash(leg.call.as_bytes()));
            assert!(line.contains(&format!("\"x\":{filler}")), "{line}");
        } else {
            let text = leg.template.replace(ID, id).replace(TOKEN, id);
            let quoted = state.as_ref().map(|state| format!("\"{state}\""));
            let text = text.replace(STATE, &quoted.unwrap_or_default());
            let expected = text.trim().replace(['\n', '\r'], " ");
            assert_eq!(line, expected, "a payload was changed");
            if let Some(state) = state {
                let (call, at) = state.rsplit_once('@').expect("a state");
                assert_eq!(call, leg.call, "another call's state");
                step = at.parse().expect("a step");
                // What was not answered is asked again.
                let answered = line.contains("\"inputResponses\":{\"");
                step += usize::from(answered);
            }
        }
        if call.ask.what == What::Discover {
            return;
        }
        server.unanswered.insert(marker.to_owned(), id.to_owned());
        if call.ask.what == What::Listen && !server.shook_hands {
            let text = format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{{\"_meta\":{{\"io.modelcontextprotocol/subscriptionId\":{id}}}}}}}\n"
            );
            self.world.child_writes(upstream, text.as_bytes());
        }
        self.plan_step(upstream, marker, step);
    }

    /// Plans what a child does next for a call.
    fn plan_step(&mut self, upstream: UpstreamId, marker: &str, step: usize) {
        let exchange = self.modern.sent[marker];
        let call = &self.modern.calls[&self.modern.legs[&exchange].call];
        let client = call.client;
        let Some(next) = call.ask.steps.get(step) else {
            return;
        };
        let key = hash(marker.as_bytes()).wrapping_add(step as u64);
        let act = Act::Move {
            upstream,
            leg: marker.to_owned(),
            step,
        };
        self.plan(next.after, client, key, act);
    }

    /// A child is told what it asked for, or that it is not.
    fn server_is_told(&mut self, upstream: UpstreamId, leg: &str, step: usize, message: &Value) {
        if let Some(content) = message.pointer("/result/content") {
            let call = &self.modern.legs[&self.modern.sent[leg]].call;
            assert_eq!(
                content["for"],
                call.as_str(),
                "a child is told what another call's client answered"
            );
            self.count("round answered");
        } else {
            assert!(message["error"]["code"].is_number(), "{message}");
            self.count("round refused");
        }
        self.plan_step(upstream, leg, step);
    }

    /// A child does what a call has it do.
    pub(in crate::play) fn server_moves(
        &mut self,
        upstream: UpstreamId,
        marker: &str,
        step: usize,
    ) {
        if !self.world.child(upstream).runs() {
            return;
        }
        let exchange = self.modern.sent[marker];
        let leg = &self.modern.legs[&exchange];
        let call = &self.modern.calls[&leg.call];
        let listens = call.ask.what == What::Listen;
        let server = self.modern.servers.get_mut(&upstream).expect("a server");
        let shook_hands = server.shook_hands;
        let name = leg.call.clone();
        let what = match call.ask.steps[step].what {
            // A modern server does not ask who cannot be asked.
            'q' if !call.ask.can && !shook_hands => 'p',
            what => what,
        };
        let Some(id) = server.unanswered.get(marker).cloned() else {
            return;
        };
        // Some heed a cancel, and some do not.
        if server.cancelled.contains(marker) && !hash(marker.as_bytes()).is_multiple_of(3) {
            return;
        }
        // Nor is it at one for longer than any may take.
        let longest = self.world.gateway().policy().limits.request_time_max / 2;
        let over = leg.over;
        if over.is_some_and(|over| over + longest < self.world.now()) {
            return;
        }
        self.count(&format!("move {what}"));
        match what {
            'x' | 'X' => {
                if what == 'x' {
                    self.world.child_exits(upstream);
                } else {
                    self.world.lose(upstream);
                }
                if self.options.lockstep {
                    self.settle();
                    self.check_server_end(upstream);
                }
                return;
            }
            's' => self.world.child_mut(upstream).reads = false,
            'R' => self.world.child_mut(upstream).reads = true,
            'g' => self.world.child_writes(upstream, b"garbage {\n"),
            'd' => {
                let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":999{id}99,\"result\":{{}}}}\n");
                self.world.child_writes(upstream, line.as_bytes());
            }
            // Of a server with a handshake, it may ask.
            'r' if shook_hands => {}
            'r' => {
                let line = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"roots/list\"}\n";
                self.world.child_writes(upstream, line.as_bytes());
            }
            'n' if !listens || shook_hands => {
                let line =
                    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n";
                self.world.child_writes(upstream, line.as_bytes());
            }
            'k' => {
                let line = format!(
                    "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id}}}}}\n"
                );
                self.world.child_writes(upstream, line.as_bytes());
            }
            _ => {
                let line = self.compose(upstream, &name, what, step, shook_hands);
                let line = line.replace(ID, &id).replace(TOKEN, &id).replace(DONE, "");
                let state = format!("\"{name}@{step}\"");
                let line = line.replace(STATE, &state) + "\n";
                self.world.child_writes(upstream, line.as_bytes());
                if what == '2' {
                    let again = format!(
                        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"marker\":\"again\"}}}}\n"
                    );
                    self.world.child_writes(upstream, again.as_bytes());
                }
            }
        }
        let server = self.modern.servers.get_mut(&upstream).expect("a server");
        let ends = matches!(what, 'a' | '2' | 'e' | 'E' | 'k') || what == 'q' && !shook_hands;
        if ends {
            server.unanswered.remove(marker);
        } else if what == 'q' {
            let question = format!("\"q{}\"", server.said);
            let told = (marker.to_owned(), step + 1);
            server.asked.insert(question, told);
        } else {
            self.plan_step(upstream, marker, step + 1);
        }
    }

    /// Makes a message, and keeps it in mind.
    fn compose(
        &mut self,
        upstream: UpstreamId,
        call: &str,
        what: char,
        step: usize,
        shook_hands: bool,
    ) -> String {
        let server = self.modern.servers.get_mut(&upstream).expect("a server");
        server.said += 1;
        let said = server.said;
        let of = self.modern.calls.get_mut(call).expect("a call");
        of.words += 1;
        // Not a number of the child's: that depends on what others have it do.
        let marker = format!("w{call}.{}", of.words);
        let listens = of.ask.what == What::Listen;
        let filler = filler(hash(call.as_bytes()) ^ step as u64);
        let complete = if shook_hands {
            ""
        } else {
            ",\"resultType\":\"complete\""
        };
        let pad = "x".repeat(if what == 'w' { 1500 } else { 0 });
        let question = |marker: &str| {
            format!(
                "{{\"mode\":\"form\",\"message\":\"{marker}\",\"requestedSchema\":{{\"type\":\"object\",\"properties\":{{}}}},\"x\":{filler}}}"
            )
        };
        let (kind, template) = match what {
            'a' if listens => (
                WordKind::Answer,
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{ID},\"result\":{{\"marker\":\"{marker}\",\"resultType\":\"complete\",\"_meta\":{{\"io.modelcontextprotocol/subscriptionId\":{ID}}}}}}}"
                ),
            ),
            'a' | '2' => (
                WordKind::Answer,
                format!(
                    "{{\"id\":{ID},\"result\":{{\"marker\":\"{marker}\",\"x\":{filler}{complete}{DONE}}},\"jsonrpc\":\"2.0\"}}"
                ),
            ),
            'e' | 'E' => {
                let code = if what == 'e' { -32602 } else { -32601 };
                (
                    WordKind::Answer,
                    format!(
                        "{{\"jsonrpc\":\"2.0\",\"error\":{{\"code\":{code},\"message\":\"\",\"data\":{{\"marker\":\"{marker}\",\"x\":{filler}}}}},\"id\":{ID}}}"
                    ),
                )
            }
            'p' | 'w' => (
                WordKind::Progress,
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progress\":1,\"message\":\"{pad}\",\"progressToken\":{TOKEN},\"marker\":\"{marker}\",\"x\":{filler}}}}}"
                ),
            ),
            'l' => (
                WordKind::Log,
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{\"level\":\"error\",\"marker\":\"{marker}\",\"data\":{filler}}}}}"
                ),
            ),
            'n' => (
                WordKind::Delivered,
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\",\"params\":{{\"marker\":\"{marker}\",\"_meta\":{{\"io.modelcontextprotocol/subscriptionId\":{ID}}}}}}}"
                ),
            ),
            'q' if shook_hands => (
                WordKind::Question,
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":\"q{said}\",\"method\":\"elicitation/create\",\"params\":{}}}",
                    question(&marker)
                ),
            ),
            'q' => (
                WordKind::InputRequired,
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{ID},\"result\":{{\"resultType\":\"input_required\",\"marker\":\"{marker}\",\"requestState\" :{STATE} ,\"inputRequests\":{{\"k\":{{\"method\":\"elicitation/create\",\"params\":{}}}}}}}}}",
                    question(&marker)
                ),
            ),
            _ => unreachable!("an unknown step"),
        };
        let word = Word {
            call: call.to_owned(),
            template: template.clone(),
            kind,
            shook_hands,
            state: (kind == WordKind::InputRequired).then(|| format!("{call}@{step}")),
            read: 0,
        };
        self.modern.words.insert(marker, word);
        template
    }

    /// Whoever waits on a child that has ended has heard of it.
    fn check_server_end(&self, upstream: UpstreamId) {
        for (&exchange, leg) in &self.modern.legs {
            let asked = &self.clients[self.modern.calls[&leg.call].client].asked[&exchange];
            if leg.by == Some(upstream) && !asked.is_excused() {
                assert!(
                    self.world.is_over(exchange),
                    "{exchange:?} waits on a child that has ended"
                );
            }
        }
    }
}
