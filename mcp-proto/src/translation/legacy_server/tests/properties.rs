//! What holds whatever is said, and in whatever order.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::{
    Output, Server, Source, Text, call_tool, discovered, initialize, parameters, read_call,
    read_line,
};
use crate::envelope::{Document, scan};

// ---- Payloads ----

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just(""), 1 => select(vec![" ", "\t", "\r", "\n", " \r\n "])]
}

/// A key's JSON text, some of its characters written as escapes.
fn spelled(key: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(format!("\"{key}\"")),
        1 => prop::collection::vec(0..4_u8, key.len()).prop_map(move |escapes| {
            let characters = key.chars().zip(escapes);
            let spelled = characters.map(|(character, escape)| match (character, escape) {
                ('/', 1) => "\\/".to_owned(),
                (_, 0) => format!("\\u{:04x}", u32::from(character)),
                _ => character.to_string(),
            });
            format!("\"{}\"", spelled.collect::<String>())
        }),
    ]
}

fn value() -> impl Strategy<Value = String> {
    let values = [
        "1",
        "null",
        "\"\"",
        r#""a,\"}\\""#,
        r#"{"ttlMs":1,"_meta":{}}"#,
        r#"[1,{"resultType":"x"}]"#,
        "[]",
        "{}",
        "12345678901234567890.5",
    ];
    select(values.to_vec()).prop_map(str::to_owned)
}

/// An object's text, of some of these members in any order.
fn object(members: Vec<(&'static str, BoxedStrategy<String>)>) -> impl Strategy<Value = String> {
    let members: Vec<_> = members
        .into_iter()
        .map(|(key, value)| (spelled(key), value, space(), space(), space(), space()))
        .collect();
    let most = members.len();
    let some = prop::collection::vec(any::<bool>(), most);
    (members, some, any::<u64>()).prop_map(|(members, some, order)| {
        let texts = members
            .into_iter()
            .map(|(key, value, a, b, c, d)| format!("{a}{key}{b}:{c}{value}{d}"));
        let chosen = texts.zip(some).filter(|(_, chosen)| *chosen);
        let mut texts: Vec<_> = chosen.map(|(text, _)| text).collect();
        if !texts.is_empty() {
            let length = texts.len();
            texts.rotate_left(order as usize % length);
            if order % 3 == 0 {
                texts.reverse();
            }
        }
        if texts.is_empty() {
            "{ }".to_owned()
        } else {
            format!("{{{}}}", texts.join(","))
        }
    })
}

fn result() -> impl Strategy<Value = String> {
    let meta = object(vec![
        ("io.modelcontextprotocol/serverInfo", value().boxed()),
        ("io.modelcontextprotocol/other", value().boxed()),
        ("serverInfo", value().boxed()),
    ]);
    object(vec![
        ("resultType", Just("\"complete\"".to_owned()).boxed()),
        ("ttlMs", value().boxed()),
        ("content", value().boxed()),
        ("cacheScope", value().boxed()),
        ("_meta", prop_oneof![3 => meta, 1 => value()].boxed()),
        ("nextCursor", value().boxed()),
    ])
}

fn params() -> impl Strategy<Value = String> {
    let meta = object(vec![
        ("io.modelcontextprotocol/clientInfo", value().boxed()),
        ("io.modelcontextprotocol/other", value().boxed()),
        ("progressToken", Just("5".to_owned()).boxed()),
    ]);
    object(vec![
        ("name", value().boxed()),
        ("_meta", prop_oneof![3 => meta, 1 => value()].boxed()),
        ("arguments", value().boxed()),
    ])
}

proptest! {
    #[test]
    fn a_result_loses_what_is_modern_and_nothing_else(result in result(), is_long: bool) {
        let mut server = Server::open(&discovered(), &json!({}));
        server.says(json!({"id": 7, "method": "some/list"}));
        let (reference, _) = server.child_hears();
        let document = format!("{{\"result\":{result},\"id\":{reference},\"jsonrpc\":\"2.0\"}}");
        let document = Bytes::from(document);
        let message = super::single(&document, Source::Child);
        let text = if is_long { Text::Long(&document) } else { Text::Short(&document) };
        server.server.handle_answer(reference, text, &document, &message);

        let mut expected: Value = serde_json::from_str(&result).unwrap();
        let members = expected.as_object_mut().unwrap();
        for member in ["resultType", "ttlMs", "cacheScope"] {
            members.remove(member);
        }
        if let Some(Value::Object(meta)) = members.get_mut("_meta") {
            meta.remove("io.modelcontextprotocol/serverInfo");
        }
        prop_assert_eq!(server.hears(), json!({"id": 7, "result": expected}));
    }

    #[test]
    fn parameters_stay_in_every_round(params in params(), state in "\\PC{0,8}") {
        let params = params.replace(['\r', '\n'], " ");
        let mut server = Server::open(&discovered(), &json!({}));
        let line = Bytes::from(format!(
            "{{\"jsonrpc\":\"2.0\",\"params\":{params},\"method\":\"tools\\/call\",\"id\":7}}\n"
        ));
        let message = super::single(&line, Source::Client);
        server.server.handle_line(&line, &message);
        let mut expected: Value = serde_json::from_str(&params).unwrap();
        let given = expected.as_object_mut().unwrap().remove("_meta").unwrap_or_default();

        let (reference, request) = server.child_hears();
        prop_assert_eq!(&request["method"], "tools/call");
        prop_assert_eq!(&parameters(&request), &expected);
        let other = "io.modelcontextprotocol/other";
        prop_assert_eq!(request["params"]["_meta"].get(other), given.get(other));
        let token = request["params"]["_meta"].get("progressToken");
        prop_assert_eq!(token.is_some(), given.get("progressToken").is_some());

        server.child_answers(
            reference,
            json!({"resultType": "input_required", "requestState": state}),
        );
        let (_, mut again) = server.child_hears();
        prop_assert_eq!(again["params"]["requestState"].take(), state);
        again["params"].as_object_mut().unwrap().remove("requestState");
        prop_assert_eq!(parameters(&again), expected);
        let metas = [&request, &again].map(|request| {
            let mut meta = request["params"]["_meta"].clone();
            meta.as_object_mut().unwrap().remove("progressToken");
            meta
        });
        prop_assert_eq!(&metas[0], &metas[1]);
    }
}

// ---- Orders ----

#[derive(Clone, Debug)]
enum Step {
    Call {
        progress: bool,
    },
    Ping,
    Subscribe(u8, bool),
    CancelCall(Index),
    Complete(Index),
    Fail(Index),
    Ask(Index, u8),
    Retry(Index),
    ClientAnswers(Index),
    ClientFails(Index),
    Acknowledge(Index),
    EndListen(Index),
    /// An answer or question that is nobody's.
    Stray(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<Index>;
    prop_oneof![
        4 => any::<bool>().prop_map(|progress| Step::Call { progress }),
        1 => Just(Step::Ping),
        1 => (0..3_u8, any::<bool>()).prop_map(|(uri, on)| Step::Subscribe(uri, on)),
        1 => at().prop_map(Step::CancelCall),
        2 => at().prop_map(Step::Complete),
        1 => at().prop_map(Step::Fail),
        4 => (at(), 1..4_u8).prop_map(|(at, count)| Step::Ask(at, count)),
        1 => at().prop_map(Step::Retry),
        4 => at().prop_map(Step::ClientAnswers),
        1 => at().prop_map(Step::ClientFails),
        1 => at().prop_map(Step::Acknowledge),
        1 => at().prop_map(Step::EndListen),
        1 => (0..50_u64).prop_map(Step::Stray),
    ]
}

/// What is open, as both sides see it.
struct World {
    server: Server,
    last_id: u64,
    /// Requests of the session's that wait for an answer.
    waiting: BTreeSet<u64>,
    /// Calls that the child has, with the session's id.
    in_flight: Vec<(u64, u64)>,
    listens: Vec<u64>,
    /// Requests that the client has.
    questions: Vec<(u64, &'static str)>,
    last_question: u64,
}

impl World {
    fn new() -> Self {
        let everything = json!({"roots": {}, "sampling": {}, "elicitation": {}});
        let mut world = Self {
            server: Server::new(&discovered()),
            last_id: 1,
            waiting: BTreeSet::from([1]),
            in_flight: Vec::new(),
            listens: Vec::new(),
            questions: Vec::new(),
            last_question: 0,
        };
        world.server.says(initialize("2025-11-25", &everything));
        world
            .server
            .says(json!({"method": "notifications/initialized"}));
        world.settle();
        world
    }

    fn request(&mut self, method: &str, params: Value) {
        self.last_id += 1;
        self.waiting.insert(self.last_id);
        let id = self.last_id;
        self.server
            .says(json!({"id": id, "method": method, "params": params}));
    }

    fn settle(&mut self) {
        while let Some(output) = self.server.server.poll_output() {
            match output {
                Output::Line(line) => self.line(&read_line(&line)),
                Output::Call { reference, request } => {
                    assert!(self.server.references.insert(reference), "used twice");
                    let request = read_call(reference, &request);
                    if request["method"] == "subscriptions/listen" {
                        self.listens.push(reference);
                    } else {
                        let id = request["params"]["arguments"]["id"].as_u64().unwrap();
                        assert!(self.waiting.contains(&id));
                        self.in_flight.push((reference, id));
                    }
                }
                Output::Cancel { reference } => {
                    let before = self.in_flight.len() + self.listens.len();
                    self.in_flight.retain(|(other, _)| *other != reference);
                    self.listens.retain(|other| *other != reference);
                    assert_eq!(self.in_flight.len() + self.listens.len() + 1, before);
                }
            }
        }
        assert!(self.listens.len() <= 2);
    }

    fn line(&mut self, line: &Value) {
        match line.get("method").map(|method| method.as_str().unwrap()) {
            None => {
                let id = line["id"].as_u64().unwrap();
                assert!(self.waiting.remove(&id), "answered twice");
                if let Some(of) = line["result"].get("of") {
                    assert_eq!(*of, id, "crossed");
                }
            }
            Some("notifications/cancelled") => {
                let id = line["params"]["requestId"].as_u64().unwrap();
                let before = self.questions.len();
                self.questions.retain(|(other, _)| *other != id);
                assert_eq!(self.questions.len() + 1, before);
            }
            Some(method) => {
                let id = line["id"].as_u64().unwrap();
                assert!(id > self.last_question);
                self.last_question = id;
                let known = METHODS.into_iter().find(|known| *known == method);
                self.questions.push((id, known.unwrap()));
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Call { progress } => {
                let mut params =
                    call_tool(0, progress.then_some(self.last_id + 1))["params"].take();
                params["arguments"] = json!({"id": self.last_id + 1});
                self.request("tools/call", params);
            }
            Step::Ping => self.request("ping", json!({})),
            Step::Subscribe(uri, on) => {
                let method = if on {
                    "resources/subscribe"
                } else {
                    "resources/unsubscribe"
                };
                self.request(method, json!({"uri": format!("a:{uri}")}));
            }
            Step::CancelCall(at) => {
                let waiting: Vec<_> = self.waiting.iter().copied().collect();
                if let Some(id) = pick(&waiting, at) {
                    self.waiting.remove(&id);
                    let params = json!({"requestId": id});
                    self.server
                        .says(json!({"method": "notifications/cancelled", "params": params}));
                }
            }
            Step::Complete(at) => self.child(at, |id| json!({"result": {"of": id}})),
            Step::Fail(at) => self.child(at, |_| json!({"error": {"code": -1, "message": "x"}})),
            Step::Ask(at, count) => self.child(at, |id| {
                let requests = (0..count).map(|index| {
                    let method = METHODS[(id as usize + usize::from(index)) % METHODS.len()];
                    (index.to_string(), json!({"method": method, "params": {}}))
                });
                let requests: serde_json::Map<_, _> = requests.collect();
                json!({"result": {"resultType": "input_required", "inputRequests": requests}})
            }),
            Step::Retry(at) => self.child(
                at,
                |_| json!({"result": {"resultType": "input_required", "requestState": "s"}}),
            ),
            Step::ClientAnswers(at) => self.client(at, &json!({"result": {}})),
            Step::ClientFails(at) => {
                self.client(at, &json!({"error": {"code": -1, "message": "x"}}));
            }
            Step::Acknowledge(at) => {
                if let Some(reference) = pick(&self.listens, at) {
                    let method = "notifications/subscriptions/acknowledged";
                    let uris = json!({"resourceSubscriptions": ["a:0", "a:1"]});
                    let params = json!({"notifications": uris});
                    self.server
                        .child_says(reference, json!({"method": method, "params": params}));
                }
            }
            Step::EndListen(at) => {
                if let Some(reference) = pick(&self.listens, at) {
                    self.listens.retain(|other| *other != reference);
                    self.server.child_answers(reference, json!({}));
                }
            }
            Step::Stray(number) => {
                if !self.questions.iter().any(|(id, _)| *id == number) {
                    self.server.says(json!({"id": number, "result": {}}));
                }
                let is_call = self.in_flight.iter().any(|(other, _)| *other == number);
                if !is_call && !self.listens.contains(&number) {
                    self.server.child_answers(number, json!({"of": 0}));
                }
            }
        }
        self.settle();
    }

    /// The child answers one of the calls that it has.
    fn child(&mut self, at: Index, answer: impl Fn(u64) -> Value) {
        if let Some((reference, id)) = pick(&self.in_flight, at) {
            self.in_flight.retain(|(other, _)| *other != reference);
            let mut answer = answer(id);
            answer["id"] = json!(reference);
            self.server.child_says(reference, answer);
        }
    }

    /// The client answers one of the questions that it has.
    fn client(&mut self, at: Index, answer: &Value) {
        if let Some((id, _)) = pick(&self.questions, at) {
            self.questions.retain(|(other, _)| *other != id);
            let mut answer = answer.clone();
            answer["id"] = json!(id);
            self.server.says(answer);
        }
    }
}

const METHODS: [&str; 3] = ["elicitation/create", "sampling/createMessage", "roots/list"];

fn pick<T: Copy>(items: &[T], at: Index) -> Option<T> {
    (!items.is_empty()).then(|| items[at.index(items.len())])
}

proptest! {
    #[test]
    fn every_request_is_answered_once(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        while !(world.in_flight.is_empty() && world.questions.is_empty()) {
            while let Some((id, _)) = world.questions.pop() {
                world.server.says(json!({"id": id, "result": {}}));
                world.settle();
            }
            while let Some((reference, id)) = world.in_flight.pop() {
                world.server.child_answers(reference, json!({"of": id}));
                world.settle();
            }
        }
        for reference in std::mem::take(&mut world.listens) {
            world.server.child_answers(reference, json!({}));
            world.settle();
        }
        prop_assert!(world.waiting.is_empty(), "{:?}", world.waiting);
        prop_assert!(world.server.server.calls.is_empty());
    }
}

// ---- Anything ----

/// A value out of what means something somewhere.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..5_u64).prop_map(Value::from),
        select(vec![
            "initialize",
            "notifications/initialized",
            "notifications/cancelled",
            "tools/call",
            "tools/list",
            "resources/read",
            "resources/subscribe",
            "logging/setLevel",
            "debug",
            "input_required",
            "complete",
            "elicitation/create",
            "roots/list",
            "url",
            "2025-06-18",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let key = select(vec![
            "id",
            "method",
            "params",
            "result",
            "error",
            "code",
            "_meta",
            "resultType",
            "uri",
            "requestId",
            "level",
            "inputRequests",
            "requestState",
            "capabilities",
            "elicitation",
            "clientInfo",
            "progressToken",
            "tools",
            "outputSchema",
            "structuredContent",
            "data",
            "io.modelcontextprotocol/serverInfo",
            "io.modelcontextprotocol/subscriptionId",
            "mode",
        ]);
        prop_oneof![
            4 => prop::collection::btree_map(key, inner.clone(), 0..6).prop_map(|members| {
                let members = members.into_iter().map(|(key, value)| (key.to_owned(), value));
                Value::Object(members.collect())
            }),
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::from),
        ]
    })
}

/// A message whose members may be anything.
fn message() -> impl Strategy<Value = String> {
    let method = select(vec![
        "initialize",
        "tools/call",
        "tools/list",
        "resources/read",
        "resources/subscribe",
        "logging/setLevel",
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/progress",
        "notifications/resources/updated",
        "notifications/message",
    ]);
    let code = select(vec![-32602, -32021, -32022, -32601, 1]);
    (anything(), 1..5_u64, method, code, 0..4_u8).prop_map(|(body, id, method, code, kind)| {
        let message = match kind {
            0 => json!({"jsonrpc": "2.0", "id": id, "method": method, "params": body}),
            1 => json!({"jsonrpc": "2.0", "method": method, "params": body}),
            2 => json!({"jsonrpc": "2.0", "id": id, "result": body}),
            _ => json!({"jsonrpc": "2.0", "id": id, "error": {
                "code": code, "message": "", "data": body,
            }}),
        };
        message.to_string()
    })
}

proptest! {
    #[test]
    fn nothing_that_is_said_is_too_much(
        discovered in anything(),
        said in prop::collection::vec((message(), any::<bool>(), 1..9_u64), 0..40),
    ) {
        let mut server = Server::new(&discovered);
        for (message, from_child, reference) in said {
            let source = if from_child { Source::Child } else { Source::Client };
            let Ok(Document::Single(envelope)) = scan(message.as_bytes(), source) else {
                continue;
            };
            if from_child {
                server.child_writes(reference, &message);
            } else {
                server.server.handle_line(&Bytes::from(message), &envelope);
            }
            while let Some(output) = server.server.poll_output() {
                match output {
                    Output::Line(line) => drop(read_line(&line)),
                    Output::Call { reference, request } => {
                        assert!(server.references.insert(reference));
                        read_call(reference, &request);
                    }
                    Output::Cancel { reference } => assert!(server.references.contains(&reference)),
                }
            }
        }
    }
}
