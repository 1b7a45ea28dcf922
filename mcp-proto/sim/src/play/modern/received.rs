//! What modern clients receive, and what the model expects them to.

use mcp_proto::ExchangeId;
use serde_json::Value;

use super::asks::Return;
use super::plan::What;
use super::server::INFO;
use super::{DONE, STATE, Speaks, WordKind};
use crate::play::ledger::{ID, TOKEN, fields, marker};
use crate::play::{Act, PER_CLIENT, Play};
use crate::rng::hash;

/// Most requests that one call takes.
const MOST_LEGS: u32 = 8;

/// What a client makes of a round.
#[derive(Clone, Debug)]
pub(in crate::play) struct Round {
    exchange: ExchangeId,
    sealed: String,
    /// The child's own state.
    own: Option<String>,
    /// What was asked, by the keys of the answers.
    keys: Vec<String>,
    how: u64,
}

impl Play {
    /// A message comes to a modern client.
    pub(in crate::play) fn modern_message(&mut self, exchange: ExchangeId, text: &str) {
        let message: Value = serde_json::from_str(text).expect("JSON");
        let leg = &self.modern.legs[&exchange];
        // A child may end before it is judged what the call has to mirror.
        assert!(
            leg.must_fail.is_none() || leg.read > 0 || message["error"]["code"] == -32603,
            "what had to be refused has led to {text}"
        );
        let subscription = subscription(text);
        if let Some(id) = &subscription {
            assert_eq!(*id, leg.id, "another subscription's: {text}");
        }
        let marker = marker(&message);
        if let Some(method) = message["method"].as_str() {
            assert_eq!(message.get("id"), None, "a modern client is asked nothing");
            let kind = match (method, marker) {
                ("notifications/progress", Some(marker)) => (WordKind::Progress, marker),
                ("notifications/message", Some(marker)) => (WordKind::Log, marker),
                ("notifications/tools/list_changed", Some(marker)) => (WordKind::Delivered, marker),
                (
                    "notifications/subscriptions/acknowledged" | "notifications/tools/list_changed",
                    None,
                ) => {
                    let call = &self.modern.calls[&leg.call];
                    assert_eq!(call.ask.what, What::Listen, "{text}");
                    return self.count("delivered");
                }
                _ => panic!("an unknown notification: {text}"),
            };
            return self.word(exchange, kind.0, &kind.1, text, "");
        }
        assert_eq!(fields(text)["id"].get(), leg.id, "nobody asked for {text}");
        let leg = self.modern.legs.get_mut(&exchange).expect("sent");
        leg.answers += 1;
        assert_eq!(leg.answers, 1, "answered twice: {text}");
        let what = self.modern.calls[&leg.call].ask.what;
        if message["result"]["resultType"] == "input_required" {
            return self.round(exchange, text, &message, marker);
        }
        match marker {
            Some(marker) => {
                self.word(exchange, WordKind::Answer, &marker, text, "");
                self.count("modern answers");
            }
            None if message["result"].is_object() => match what {
                What::Discover => {
                    assert_eq!(message["result"]["supportedVersions"][0], "2026-07-28");
                }
                What::Listen => {
                    assert!(subscription.is_some(), "{text}");
                    self.count("ended gracefully");
                }
                _ => panic!("nobody said {text}"),
            },
            None => {
                let code = message["error"]["code"].as_i64().unwrap_or_default();
                let own = [-32603, -32600, -32601, -32021];
                assert!(own.contains(&code), "{text}");
                self.count(&format!("modern error {code}"));
            }
        }
    }

    /// A client reads what a child said for the sake of its call.
    fn word(
        &mut self,
        exchange: ExchangeId,
        kind: WordKind,
        marker: &str,
        text: &str,
        state: &str,
    ) {
        let leg = &self.modern.legs[&exchange];
        let what = self.modern.calls[&leg.call].ask.what;
        let word = self.modern.words.get_mut(marker);
        let word = word.unwrap_or_else(|| panic!("nobody said {text}"));
        assert_eq!(word.call, leg.call, "{text} is another call's");
        assert_eq!(word.kind, kind, "{text}");
        word.read += 1;
        assert_eq!(word.read, 1, "a client reads twice: {text}");
        if kind == WordKind::Progress {
            assert!(!leg.token.is_empty(), "nobody wants to hear of {text}");
        }
        let fresh = match what {
            What::List => ",\"ttlMs\":0,\"cacheScope\":\"private\"",
            _ => "",
        };
        let done = format!(
            ",\"resultType\":\"complete\"{fresh},\"_meta\":{{\"io.modelcontextprotocol/serverInfo\":{INFO}}}"
        );
        let done = if word.shook_hands {
            done
        } else {
            String::new()
        };
        let expected = word
            .template
            .replace(ID, &leg.id)
            .replace(TOKEN, &leg.token);
        let expected = expected.replace(DONE, &done).replace(STATE, state);
        assert_eq!(text, expected, "a payload was changed");
        let what = format!("word {kind:?}");
        self.count(&what);
    }

    /// A call asks for input.
    fn round(&mut self, exchange: ExchangeId, text: &str, message: &Value, marker: Option<String>) {
        let client = (exchange.0 / PER_CLIENT) as usize;
        let result = &message["result"];
        let sealed = result["requestState"].as_str().expect("a state").to_owned();
        let asked = result["inputRequests"].as_object().expect("requests");
        let keys: Vec<_> = asked.keys().cloned().collect();
        let mut own = None;
        if let Some(marker) = marker {
            let state = format!("\"{sealed}\"");
            self.word(exchange, WordKind::InputRequired, &marker, text, &state);
            own = self.modern.words[&marker].state.clone();
        } else {
            let leg = &self.modern.legs[&exchange];
            for request in asked.values() {
                let marker = request["params"]["message"].as_str().expect("a marker");
                let word = self.modern.words.get_mut(marker).expect("it was asked");
                assert_eq!(word.call, leg.call, "{text} is another call's");
                assert_eq!(word.kind, WordKind::Question);
                // What was not answered is asked again.
                word.read += 1;
            }
        }
        self.count("round");
        let leg = &self.modern.legs[&exchange];
        if self.modern.calls[&leg.call].legs >= MOST_LEGS {
            return;
        }
        let how = hash(leg.marker.as_bytes());
        let mut after = (how >> 8) % 700;
        if how % 20 == 1 {
            after += 12_000;
        }
        let round = Round {
            exchange,
            sealed,
            own,
            keys,
            how,
        };
        self.plan(after, client, how, Act::Round(Box::new(round)));
    }

    /// A client comes back with what it was asked for, or with something else, or not.
    pub(in crate::play) fn return_round(&mut self, round: &Round) {
        let call = self.modern.legs[&round.exchange].call.clone();
        let answer = format!("{{\"action\":\"accept\",\"content\":{{\"for\":\"{call}\"}}}}");
        let answers = round.keys.iter().map(|key| format!("\"{key}\":{answer}"));
        let mut back = Return {
            sealed: round.sealed.clone(),
            state: round.own.clone(),
            responses: answers.collect::<Vec<_>>().join(","),
            is_forged: false,
        };
        // Where a round comes back to a child that goes on with other calls, it waits behind them.
        let is_late = matches!(round.how % 20, 1 | 5 | 6);
        if is_late && self.options.calm && self.modern.eras.server == Speaks::Handshake {
            return;
        }
        let what = match round.how % 20 {
            0 => return self.count("round abandoned"),
            1 => "round late",
            2 | 3 => {
                back.responses.clear();
                "round unanswered"
            }
            4 => {
                let other = if back.sealed.starts_with('A') {
                    "B"
                } else {
                    "A"
                };
                back.sealed.replace_range(..1, other);
                back.is_forged = true;
                "round forged"
            }
            5 | 6 => {
                self.leg(&call, Some(&back), Some(round.exchange));
                "round twice"
            }
            _ => "round returned",
        };
        self.count(what);
        self.leg(&call, Some(&back), Some(round.exchange));
    }

    /// A modern client's connection is done.
    pub(in crate::play) fn modern_over(&mut self, exchange: ExchangeId) {
        let response = self.world.response(exchange).clone();
        let status = response.status();
        let now = self.world.now();
        let leg = self.modern.legs.get_mut(&exchange).expect("sent");
        leg.over = Some(now);
        if response.dropped {
            self.count("modern dropped");
        }
        if !response.complete {
            let leg = self.modern.legs.get_mut(&exchange).expect("sent");
            leg.lost = true;
            return;
        }
        let text = response.text().to_owned();
        if response.is_stream() {
            let ended = self.token_ended(exchange);
            let by = self.world.access(exchange).and_then(|it| it.upstream);
            let leg = self.modern.legs.get_mut(&exchange).expect("sent");
            leg.lost |= ended || by.is_some_and(|by| self.world.child(by).is_lost());
            assert!(
                leg.answers == 1 || leg.lost,
                "{exchange:?} ends without its answer: {text}"
            );
            return;
        }
        let body = response.json();
        let code = body["error"]["code"].as_i64();
        let is_childs =
            marker(&body).is_some() || !body["error"]["data"]["requiredCapabilities"].is_null();
        if status == 200 || is_childs {
            let is_status = code.map(|code| match code {
                -32601 => 404,
                -32022..=-32020 => 400,
                _ => 200,
            });
            assert_eq!(is_status.unwrap_or(200), status, "{text}");
            return self.modern_message(exchange, &text);
        }
        let leg = &self.modern.legs[&exchange];
        assert_eq!(leg.read, 0, "it was refused, and read: {text}");
        if matches!(status, 400 | 404) && !leg.lost {
            let code = code.expect("an error");
            match leg.must_fail {
                Some(must_fail) => assert_eq!(code, must_fail, "{text}"),
                // A state may come too late.
                None if code == -32602 => assert!(leg.marker.contains('/'), "{text}"),
                None => assert_eq!(code, -32601, "{text}"),
            }
            self.count(&format!("modern refused {code}"));
        }
    }

    /// Every request that was admitted has been answered, unless its client gave up on it.
    pub(in crate::play) fn check_legs(&self) {
        for (&exchange, leg) in &self.modern.legs {
            let call = &self.modern.calls[&leg.call];
            let response = self.world.response(exchange);
            let refused = response.complete && response.status() >= 400;
            let listens = call.ask.what == What::Listen;
            assert!(
                leg.answers == 1 || leg.lost || refused || listens,
                "client {} never got an answer to {}",
                call.client,
                leg.marker
            );
        }
    }

    /// A response without the states in it, whose bytes tell which child gave them.
    pub(in crate::play) fn without_states(text: &str) -> String {
        let mut parts = text.split("\"requestState\"");
        let mut clean = parts.next().unwrap_or_default().to_owned();
        let is_cut = clean.len() < text.len();
        for part in parts {
            clean += "\"requestState\"";
            let value = part.find('"').unwrap_or(part.len());
            let rest = &part[value..];
            let end = rest.get(1..).and_then(|rest| rest.find('"'));
            clean += &part[..value];
            clean += end.map_or("", |end| &rest[end + 1..]);
        }
        if !is_cut {
            return clean;
        }
        // Nor is its length the same.
        let lines = clean.split('\n');
        let lines = lines.filter(|line| !line.starts_with("content-length:"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The id of the subscription that a message belongs to, as it is written.
fn subscription(text: &str) -> Option<String> {
    let message = fields(text);
    let body = message.get("params").or_else(|| message.get("result"))?;
    let meta = fields(body.get()).get("_meta").cloned()?;
    let id = fields(meta.get())
        .get("io.modelcontextprotocol/subscriptionId")
        .cloned()?;
    Some(id.get().to_owned())
}
