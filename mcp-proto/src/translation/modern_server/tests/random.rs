//! Any interleaving of what clients and a child do: nothing is lost, and nothing goes astray. The
//! child marks all that it says with the call that it says it for, which the machine cannot see.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Call {
        lists: bool,
        logs: bool,
        progress: bool,
    },
    Retry {
        which: usize,
        answered: u8,
        logs: bool,
    },
    Cancel {
        which: usize,
    },
    ChildAnswers {
        which: usize,
        fails: bool,
    },
    ChildAsks {
        which: usize,
    },
    ChildCancels {
        which: usize,
    },
    ChildLogs {
        which: usize,
    },
    ChildProgresses {
        which: usize,
    },
    Pass {
        milliseconds: u64,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let which = || any::<usize>();
    prop_oneof![
        4 => any::<(bool, bool, bool)>().prop_map(|(lists, logs, progress)| Act::Call {
            lists,
            logs,
            progress,
        }),
        4 => (which(), any::<u8>(), any::<bool>()).prop_map(|(which, answered, logs)| Act::Retry {
            which,
            answered,
            logs,
        }),
        1 => which().prop_map(|which| Act::Cancel { which }),
        3 => (which(), any::<bool>())
            .prop_map(|(which, fails)| Act::ChildAnswers { which, fails }),
        5 => which().prop_map(|which| Act::ChildAsks { which }),
        1 => which().prop_map(|which| Act::ChildCancels { which }),
        2 => which().prop_map(|which| Act::ChildLogs { which }),
        2 => which().prop_map(|which| Act::ChildProgresses { which }),
        5 => prop_oneof![Just(5), Just(20), Just(20), Just(400_000)]
            .prop_map(|milliseconds| Act::Pass { milliseconds }),
    ]
}

/// A client's request.
struct Request {
    /// The call that its state names.
    carries_on: Option<u64>,
    logs: bool,
    is_answered: bool,
    is_cancelled: bool,
}

/// A round that a client was asked in: the state, its call, and the child's requests by their keys.
struct Round {
    state: String,
    call: u64,
    asked: Vec<(String, u64)>,
}

/// A request of the child's.
struct ChildRequest {
    call: u64,
    is_answered: bool,
    is_cancelled: bool,
}

struct Model {
    script: Script,
    requests: BTreeMap<u64, Request>,
    rounds: Vec<Round>,
    /// What the child is at, and whether it lists.
    at: BTreeMap<u64, bool>,
    heard: Vec<u64>,
    child_requests: BTreeMap<u64, ChildRequest>,
}

impl Model {
    fn act(&mut self, act: Act) {
        let next = self.requests.len() as u64 + 1;
        match act {
            Act::Call {
                lists,
                logs,
                progress,
            } => {
                let method = if lists { "tools/list" } else { "tools/call" };
                self.send(next, method, json!({}), None, logs, progress);
            }
            Act::Retry {
                which,
                answered,
                logs,
            } => {
                let Some(round) = pick(self.rounds.len(), which).map(|at| &self.rounds[at]) else {
                    return;
                };
                let mut responses = json!({});
                for (index, (key, of)) in round.asked.iter().enumerate() {
                    if answered >> (index % 8) & 1 == 1 {
                        responses[key] = json!({"of": of});
                    }
                }
                let params = json!({"requestState": round.state, "inputResponses": responses});
                let call = round.call;
                self.send(next, "tools/call", params, Some(call), logs, true);
            }
            Act::Cancel { which } => {
                let Some(at) = pick(self.requests.len(), which) else {
                    return;
                };
                let id = at as u64 + 1;
                let request = self.requests.get_mut(&id).unwrap();
                request.is_cancelled |= !request.is_answered;
                let params = json!({"requestId": id});
                self.script
                    .client(json!({"method": "notifications/cancelled", "params": params}));
            }
            Act::ChildAnswers { which, fails } => {
                if let Some(call) = self.at(which, true) {
                    self.answer(call, fails);
                }
            }
            Act::ChildAsks { which } => {
                if let Some(call) = self.at(which, false) {
                    let id = self.child_requests.len() as u64;
                    let request = ChildRequest {
                        call,
                        is_answered: false,
                        is_cancelled: false,
                    };
                    self.child_requests.insert(id, request);
                    let params = json!({"id": id});
                    self.script
                        .child(json!({"id": id, "method": "roots/list", "params": params}));
                }
            }
            Act::ChildCancels { which } => {
                if let Some(at) = pick(self.child_requests.len(), which) {
                    let id = at as u64;
                    self.child_requests.get_mut(&id).unwrap().is_cancelled = true;
                    let params = json!({"requestId": id});
                    self.script
                        .child(json!({"method": "notifications/cancelled", "params": params}));
                }
            }
            Act::ChildLogs { which } => {
                if let Some(call) = self.at(which, true) {
                    let params = json!({"level": "error", "data": call});
                    self.script
                        .child(json!({"method": "notifications/message", "params": params}));
                }
            }
            Act::ChildProgresses { which } => {
                if let Some(call) = self.at(which, true) {
                    let params = json!({"progressToken": call, "progress": 1, "call": call});
                    self.script
                        .child(json!({"method": "notifications/progress", "params": params}));
                }
            }
            Act::Pass { milliseconds } => {
                let end = self.script.now.monotonic + Duration::from_millis(milliseconds);
                while let Some(due) = self.script.server.poll_timeout().filter(|&due| due <= end) {
                    self.script.pass(due - self.script.now.monotonic);
                    self.check();
                }
                self.script.pass(end - self.script.now.monotonic);
            }
        }
        self.check();
    }

    /// One of the calls that the child is at, of all of them or of those that may ask.
    fn at(&self, which: usize, lists: bool) -> Option<u64> {
        let at: Vec<u64> = self
            .at
            .iter()
            .filter(|&(_, &is_list)| lists || !is_list)
            .map(|(&call, _)| call)
            .collect();
        pick(at.len(), which).map(|index| at[index])
    }

    fn send(
        &mut self,
        id: u64,
        method: &str,
        params: Value,
        carries_on: Option<u64>,
        logs: bool,
        progress: bool,
    ) {
        let request = Request {
            carries_on,
            logs,
            is_answered: false,
            is_cancelled: false,
        };
        self.requests.insert(id, request);
        let mut more = json!({});
        if logs {
            more["io.modelcontextprotocol/logLevel"] = "error".into();
        }
        if progress {
            more["progressToken"] = id.into();
        }
        self.script.request_with(id, method, params, more);
    }

    fn answer(&mut self, call: u64, fails: bool) {
        self.at.remove(&call);
        let result = json!({"call": call, "isError": fails});
        self.script.child(json!({"id": call, "result": result}));
    }

    fn check(&mut self) {
        while let Some(message) = self.script.to_child.pop_front() {
            match message["method"].as_str() {
                Some("tools/call" | "tools/list") => {
                    let id = message["id"].as_u64().unwrap();
                    assert!(!self.heard.contains(&id), "a call is sent once");
                    self.heard.push(id);
                    self.at.insert(id, message["method"] == "tools/list");
                }
                Some(_) => {}
                None => {
                    let id = message["id"].as_u64().unwrap();
                    let request = self.child_requests.get_mut(&id).unwrap();
                    assert!(!request.is_answered, "a request is answered once");
                    request.is_answered = true;
                    if let Some(result) = message.get("result") {
                        assert_eq!(result["of"], id, "by what it was answered with");
                    }
                }
            }
        }
        while let Some(message) = self.script.to_client.pop_front() {
            match message["method"].as_str() {
                Some("notifications/progress") => {
                    let request = message["params"]["progressToken"].as_u64().unwrap();
                    self.check_waits(request);
                    assert_eq!(message["params"]["call"], self.call_of(request));
                }
                Some("notifications/message") => {
                    let call = message["params"]["data"].as_u64().unwrap();
                    let mut waiting = self.requests.iter();
                    assert!(waiting.any(|(&id, request)| {
                        self.call_of(id) == call
                            && request.logs
                            && !request.is_answered
                            && !request.is_cancelled
                    }));
                }
                Some(other) => panic!("{other}"),
                None => self.check_response(&message),
            }
        }
    }

    fn check_response(&mut self, message: &Value) {
        let id = message["id"].as_u64().unwrap();
        self.check_waits(id);
        self.requests.get_mut(&id).unwrap().is_answered = true;
        let call = self.call_of(id);
        let result = &message["result"];
        if result["resultType"] == "input_required" {
            let asked = result["inputRequests"].as_object().unwrap().iter();
            let asked: Vec<_> = asked
                .map(|(key, request)| (key.clone(), request["params"]["id"].as_u64().unwrap()))
                .collect();
            assert!(!asked.is_empty());
            for (_, of) in &asked {
                let request = &self.child_requests[of];
                assert_eq!(request.call, call, "who caused it is asked");
                assert!(!request.is_answered);
            }
            self.rounds.push(Round {
                state: result["requestState"].as_str().unwrap().to_owned(),
                call,
                asked,
            });
        } else if result.is_object() {
            assert_eq!(result["call"], call, "an answer is for who asked");
        } else {
            assert_eq!(message["error"]["code"], -32021);
        }
    }

    fn check_waits(&self, id: u64) {
        let request = &self.requests[&id];
        assert!(
            !request.is_answered && !request.is_cancelled,
            "it waits for an answer"
        );
    }

    fn call_of(&self, request: u64) -> u64 {
        let began = self.heard.contains(&request);
        let carries_on = self.requests[&request].carries_on.filter(|_| !began);
        carries_on.unwrap_or(request)
    }

    /// The child answers all that it is at, and those who are asked do not come back.
    fn end(mut self) {
        // A call that is given up may let the next begin.
        loop {
            while let Some(call) = self.at(0, true) {
                self.answer(call, false);
                self.check();
            }
            self.act(Act::Pass {
                milliseconds: 400_000,
            });
            if self.at.is_empty() {
                break;
            }
        }
        assert!(self.script.server.is_free());
        for request in self.requests.values() {
            assert_ne!(
                request.is_answered, request.is_cancelled,
                "all are answered"
            );
        }
        for request in self.child_requests.values() {
            assert!(
                request.is_answered || request.is_cancelled,
                "the child's as well"
            );
        }
        assert!(self.script.is_empty());
    }
}

fn pick(of: usize, which: usize) -> Option<usize> {
    (of > 0).then(|| which % of)
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_goes_astray(
        can_be_asked: bool,
        acts in prop::collection::vec(act(), 0..60),
    ) {
        let mut model = Model {
            script: Script::ready(if can_be_asked { ALL } else { "{}" }),
            requests: BTreeMap::new(),
            rounds: Vec::new(),
            at: BTreeMap::new(),
            heard: Vec::new(),
            child_requests: BTreeMap::new(),
        };
        for act in acts {
            model.act(act);
        }
        model.end();
    }
}
