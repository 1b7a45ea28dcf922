//! Legacy clients of a server that speaks 2026-07-28 only: what their sessions' calls have become when
//! the child reads them, and what it does about them.

use mcp_proto::UpstreamId;
use serde_json::Value;

use crate::play::child::Mind;
use crate::play::ledger::{ID, Said, SaidKind, SentKind, TOKEN, filler};
use crate::play::plan::{Start, StartEnd};
use crate::play::{Act, Play};
use crate::rng::hash;

impl Play {
    /// A child reads a call that a session's translation makes, perhaps again.
    pub(super) fn reads_session_call(
        &mut self,
        upstream: UpstreamId,
        marker: &str,
        line: &str,
        id: &str,
        message: &Value,
    ) {
        let sent = self.ledger.sent.get_mut(marker).expect("it was sent");
        assert_eq!(sent.kind, SentKind::Call, "{line}");
        let client = sent.client;
        let strip = |mut message: Value| {
            message["id"] = Value::Null;
            let params = message["params"].as_object_mut().expect("parameters");
            for added in ["_meta", "requestState", "inputResponses"] {
                params.remove(added);
            }
            message
        };
        let template = sent.template.replace(ID, "0").replace(TOKEN, "0");
        let expected: Value = serde_json::from_str(&template).expect("JSON");
        assert_eq!(strip(message.clone())["params"], strip(expected)["params"]);
        // Of what stands beside the parameters nothing is left.
        let is_inside = message["params"].get("x").is_some();
        let filler = filler(hash(marker.as_bytes()));
        assert!(!is_inside || line.contains(filler), "{line}");
        let state = message["params"]["requestState"].as_str();
        let mut step = 0;
        match state {
            None => assert_eq!(sent.read, 0, "a child reads twice: {line}"),
            Some(state) => {
                let (call, at) = state.rsplit_once('@').expect("a state");
                assert_eq!(call, marker, "another call's state");
                step = at.parse::<usize>().expect("a step") + 1;
            }
        }
        sent.read = 1;
        sent.minted = id.to_owned();
        let answer = message.pointer("/params/inputResponses/k/marker");
        if let Some(answer) = answer.and_then(Value::as_str) {
            let SentKind::Answer(question) = &self.ledger.sent[answer].kind else {
                panic!("{line} answers nothing");
            };
            let said = &self.ledger.said[question];
            assert_eq!(said.kind, SaidKind::Request(marker.to_owned()), "{line}");
            assert_eq!(self.ledger.sent[answer].client, client, "{line}");
            self.ledger.sent.get_mut(answer).expect("sent").read = 1;
            self.count("session's round answered");
        }
        self.count("session's call");
        let mind = self.modern.sessions.entry(client).or_insert_with(|| {
            let start = Start {
                version: "2025-11-25",
                end: StartEnd::Opens,
                spawn_after: 0,
                answer_after: 0,
                heeds_stdin: true,
                heeds_term: true,
                leaves_after: None,
            };
            Mind::new(client, 0, upstream, start)
        });
        mind.takes(marker);
        self.modern
            .session_calls
            .insert(marker.to_owned(), upstream);
        let steps = message["params"]["do"].as_array().expect("steps");
        for (number, next) in steps.iter().enumerate().skip(step) {
            let what = next[1].as_str().and_then(|what| what.chars().next());
            let what = what.expect("a step");
            let act = Act::SessionStep {
                upstream,
                call: marker.to_owned(),
                step: number,
                what,
            };
            let key = hash(marker.as_bytes()).wrapping_add(number as u64);
            self.plan(next[0].as_u64().expect("a delay"), client, key, act);
            if what == 'q' {
                // The rest comes when it is called again.
                return;
            }
        }
    }

    /// A child does what a session's call has it do, as far as a modern server may.
    pub(in crate::play) fn session_step(
        &mut self,
        upstream: UpstreamId,
        call: &str,
        step: usize,
        what: char,
    ) {
        if self.modern.session_calls.get(call) != Some(&upstream)
            || !self.world.child(upstream).runs()
        {
            return;
        }
        let client = self.ledger.sent[call].client;
        let mind = self.modern.sessions.get_mut(&client).expect("it has read");
        mind.upstream = upstream;
        match what {
            'q' if mind.is_at(call) => {
                let marker = mind.asks(call);
                self.ask_session(upstream, call, &marker, step);
            }
            // Whose a log message is, and how long a child lives, depends on what others have it do.
            'n' | 'x' if self.options.calm => {}
            'n' if !mind.is_at(call) => {}
            'a' | 'e' | '2' | 'p' | 'n' | 'g' | 'd' | 'o' => {
                mind.step(call, what, &mut self.world, &mut self.ledger);
            }
            'b' => mind.step(call, 'a', &mut self.world, &mut self.ledger),
            'x' => self.world.child_exits(upstream),
            // What has to do with the child's own pipes is played by others.
            _ => {}
        }
    }

    fn ask_session(&mut self, upstream: UpstreamId, call: &str, marker: &str, step: usize) {
        let filler = filler(hash(call.as_bytes()));
        let params = format!(
            "{{\"mode\":\"form\",\"message\":\"?\",\"requestedSchema\":{{\"type\":\"object\",\"properties\":{{}}}},\"marker\":\"{marker}\",\"x\":{filler}}}"
        );
        let sent = &self.ledger.sent[call];
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"resultType\":\"input_required\",\"requestState\":\"{call}@{step}\",\"inputRequests\":{{\"k\":{{\"method\":\"elicitation/create\",\"params\":{params}}}}}}}}}\n",
            sent.minted
        );
        let said = Said {
            client: sent.client,
            upstream,
            template: format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{ID},\"method\":\"elicitation/create\",\"params\":{params}}}"
            ),
            kind: SaidKind::Request(call.to_owned()),
            read: 0,
            minted: String::new(),
        };
        self.ledger.said.insert(marker.to_owned(), said);
        self.world.child_writes(upstream, line.as_bytes());
        self.count("session is asked");
    }
}
