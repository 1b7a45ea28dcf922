//! A session with the demo server over pipes.

use gateway_kit::demo;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, PipeWriter, Write, pipe};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// So that a server that says nothing fails a test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(30);

struct Client {
    input: PipeWriter,
    messages: Receiver<Value>,
    server: JoinHandle<std::io::Result<()>>,
    last: u64,
}

impl Client {
    fn start() -> Self {
        let (server_in, input) = pipe().unwrap();
        let (output, server_out) = pipe().unwrap();
        let server = thread::spawn(|| demo::serve(BufReader::new(server_in), server_out));
        let (sender, messages) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let message = serde_json::from_str(&line.unwrap()).unwrap();
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let last = 0;
        Self {
            input,
            messages,
            server,
            last,
        }
    }

    /// One that has said `initialize`.
    fn connected(version: &str, capabilities: Value) -> Self {
        let mut client = Self::start();
        let result = client.ask(
            "initialize",
            json!({
                "protocolVersion": version,
                "capabilities": capabilities,
                "clientInfo": {"name": "test", "version": "0"},
            }),
        );
        assert_eq!(result["result"]["protocolVersion"], version);
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        client
    }

    fn line(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    fn send(&mut self, message: &Value) {
        self.line(&message.to_string());
    }

    fn request(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = Value::from(self.last);
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    fn next(&mut self) -> Value {
        self.messages.recv_timeout(PATIENCE).expect("a message")
    }

    /// The answer to a request, when nothing comes before it.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params);
        let answer = self.next();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    fn call(&mut self, name: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": name, "arguments": arguments}))
    }

    /// Ends the input; the server must end too, and have said nothing more.
    fn end(self) {
        drop(self.input);
        let last = self.messages.recv_timeout(PATIENCE);
        assert_eq!(last, Err(RecvTimeoutError::Disconnected));
        self.server.join().unwrap().unwrap();
    }
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap()
}

#[test]
fn each_version_is_agreed_to_and_an_unknown_one_is_answered_with_the_newest() {
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        Client::connected(version, json!({})).end();
    }
    let mut client = Client::start();
    let answer = client.ask("initialize", json!({"protocolVersion": "1999-01-01"}));
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
    client.end();
}

#[test]
fn quick_tools_answer() {
    let mut client = Client::connected("2025-11-25", json!({}));
    let tools = client.ask("tools/list", json!({}));
    let tools = tools["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["echo", "add", "slow-with-progress", "ask-the-user"]);
    assert!(
        tools
            .iter()
            .all(|tool| tool["inputSchema"]["type"] == "object")
    );
    assert_eq!(
        text(&client.call("echo", json!({"text": "é\u{2028}"}))),
        "é\u{2028}"
    );
    assert_eq!(text(&client.call("add", json!({"a": 2, "b": 40}))), "42");
    assert_eq!(text(&client.call("add", json!({"a": 0.5, "b": 1}))), "1.5");
    assert_eq!(client.ask("ping", json!({}))["result"], json!({}));
    client.end();
}

#[test]
fn a_slow_call_reports_progress_and_holds_up_nothing() {
    let mut client = Client::connected("2025-11-25", json!({}));
    let never = json!({"steps": 1, "milliseconds": 60000});
    let slow = client.request(
        "tools/call",
        json!({"name": "slow-with-progress", "arguments": never}),
    );
    assert_eq!(
        text(&client.call("echo", json!({"text": "meanwhile"}))),
        "meanwhile"
    );
    client.send(&json!({
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": slow},
    }));
    let quick = client.request(
        "tools/call",
        json!({
            "name": "slow-with-progress",
            "arguments": {"steps": 3, "milliseconds": 1},
            "_meta": {"progressToken": "t"},
        }),
    );
    for step in 1..=3 {
        let progress = client.next();
        assert_eq!(progress["method"], "notifications/progress");
        let expected = json!({"progressToken": "t", "progress": step, "total": 3});
        assert_eq!(progress["params"], expected);
    }
    let answer = client.next();
    assert_eq!(answer["id"], quick);
    assert_eq!(text(&answer), "3 steps done");
    client.end();
}

#[test]
fn the_end_of_the_input_stops_what_is_in_flight() {
    let mut client = Client::connected("2025-11-25", json!({"elicitation": {}}));
    let never = json!({"steps": 1000, "milliseconds": 60000});
    client.request(
        "tools/call",
        json!({"name": "slow-with-progress", "arguments": never}),
    );
    client.request("resources/subscribe", json!({"uri": "demo://counter"}));
    assert_eq!(client.next()["result"], json!({}));
    client.end();
}

#[test]
fn the_user_is_asked_through_the_client() {
    let mut client = Client::connected("2025-06-18", json!({"elicitation": {}}));
    for (answer, told) in [
        (
            json!({"result": {"action": "accept", "content": {"name": "Ada"}}}),
            r#"The user answered {"name":"Ada"}"#,
        ),
        (
            json!({"result": {"action": "decline"}}),
            "The user declined to answer.",
        ),
        (
            json!({"result": {"action": "cancel"}}),
            "The user did not answer.",
        ),
        (
            json!({"error": {"code": -1, "message": "no"}}),
            "The client could not ask its user.",
        ),
    ] {
        let call = client.request("tools/call", json!({"name": "ask-the-user"}));
        let question = client.next();
        assert_eq!(question["method"], "elicitation/create");
        assert_eq!(question["params"]["requestedSchema"]["type"], "object");
        let mut answer = answer;
        answer["jsonrpc"] = "2.0".into();
        answer["id"] = question["id"].clone();
        client.send(&answer);
        let outcome = client.next();
        assert_eq!(outcome["id"], call);
        assert_eq!(text(&outcome), told);
    }
    client.end();
}

#[test]
fn a_question_is_withdrawn_when_its_call_is_cancelled() {
    let mut client = Client::connected("2025-11-25", json!({"elicitation": {"form": {}}}));
    let call = client.request("tools/call", json!({"name": "ask-the-user"}));
    let question = client.next();
    let params = json!({"requestId": call});
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}));
    let withdrawn = client.next();
    assert_eq!(withdrawn["method"], "notifications/cancelled");
    assert_eq!(withdrawn["params"]["requestId"], question["id"]);
    client.end();
}

#[test]
fn a_client_that_cannot_ask_is_told_so() {
    for capabilities in [json!({}), json!({"elicitation": {"url": {}}})] {
        let mut client = Client::connected("2025-11-25", capabilities);
        let answer = client.call("ask-the-user", json!({}));
        assert_eq!(answer["result"]["isError"], true);
        assert!(text(&answer).contains("did not declare elicitation"));
        client.end();
    }
}

#[test]
fn the_counter_changes_and_tells_its_subscribers() {
    let mut client = Client::connected("2025-11-25", json!({}));
    let counter = json!({"uri": "demo://counter"});
    let listed = client.ask("resources/list", json!({}));
    assert_eq!(listed["result"]["resources"][0]["uri"], "demo://counter");
    let read = |client: &mut Client| -> u64 {
        let answer = client.ask("resources/read", json!({"uri": "demo://counter"}));
        answer["result"]["contents"][0]["text"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert_eq!((read(&mut client), read(&mut client)), (1, 2));
    client.ask("resources/subscribe", counter.clone());
    let update = client.next();
    assert_eq!(update["method"], "notifications/resources/updated");
    assert_eq!(update["params"], counter);
    let id = client.request("resources/unsubscribe", counter);
    while client.next()["id"] != id {}
    assert!(read(&mut client) > 3);
    client.end();
}

#[test]
fn a_prompt_and_log_messages() {
    let mut client = Client::connected("2025-11-25", json!({}));
    let arguments = json!({"name": "Ada"});
    let prompt = client.ask(
        "prompts/get",
        json!({"name": "greet", "arguments": arguments}),
    );
    let message = &prompt["result"]["messages"][0]["content"]["text"];
    assert!(message.as_str().unwrap().contains("Ada"));
    client.ask("logging/setLevel", json!({"level": "info"}));
    client.request(
        "tools/call",
        json!({"name": "echo", "arguments": {"text": "x"}}),
    );
    let log = client.next();
    assert_eq!(log["method"], "notifications/message");
    assert_eq!(log["params"]["level"], "info");
    assert_eq!(text(&client.next()), "x");
    client.ask("logging/setLevel", json!({"level": "error"}));
    assert_eq!(text(&client.call("echo", json!({"text": "y"}))), "y");
    client.end();
}

#[test]
fn errors_are_those_of_json_rpc() {
    let mut client = Client::connected("2025-06-18", json!({}));
    for (line, id, code) in [
        ("{", Value::Null, -32700),
        ("[]", Value::Null, -32600),
        (
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            Value::Null,
            -32600,
        ),
        ("7", Value::Null, -32600),
        (r#"{"id":1,"method":"ping"}"#, Value::Null, -32600),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            Value::Null,
            -32600,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"a","method":"x"}"#,
            "a".into(),
            -32601,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"b","method":"tools/call","params":{"name":"x"}}"#,
            "b".into(),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"c","method":"resources/read","params":{"uri":"demo://x"}}"#,
            "c".into(),
            -32002,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"d","method":"resources/read"}"#,
            "d".into(),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"e","method":"tools/call","params":{"name":"add","arguments":{"a":"1","b":2}}}"#,
            "e".into(),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"f","method":"initialize"}"#,
            "f".into(),
            -32602,
        ),
    ] {
        client.line(line);
        let answer = client.next();
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&id, &code.into()),
            "{line}"
        );
    }
    client.end();
}

#[test]
fn the_one_revision_with_batches_has_them() {
    let mut client = Client::connected("2025-03-26", json!({}));
    let ping = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
    client.send(&json!([ping(10), ping(11)]));
    assert_eq!(
        (client.next()["id"].clone(), client.next()["id"].clone()),
        (10.into(), 11.into())
    );
    client.end();
}
