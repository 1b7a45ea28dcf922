//! Which stream carries what the child says by itself.

use std::time::Duration;

use mcp_proto::{AuditEvent, Refusal};
use mcp_proto_sim::Scene;
use serde_json::{Value, json};

fn note(marker: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"marker":"{marker}"}}}}"#
    )
}

fn ask(id: &str, marker: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{{"marker":"{marker}"}}}}"#
    )
}

fn progress(token: &str, marker: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1,"marker":"{marker}"}}}}"#
    )
}

fn markers(messages: &[Value]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| {
            message["params"]["marker"]
                .as_str()
                .or(message["result"]["marker"].as_str())
                .unwrap_or("?")
        })
        .collect()
}

#[test]
fn progress_goes_to_the_call_of_its_token() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let first = scene.call_with_token(&session, "1", r#""t""#);
    let to_first = scene.minted(&session);
    let second = scene.call_with_token(&session, "2", "0");
    let to_second = scene.minted(&session);
    let listening = scene.listen(&session);
    scene.says(&session, &progress(&to_second, "second"));
    scene.says(&session, &progress(&to_first, "first"));
    scene.answers(&session, &to_first, "done");
    let (first, second) = (scene.messages(first), scene.messages(second));
    assert_eq!(markers(&first), ["first", "done"]);
    assert_eq!(first[0]["params"]["progressToken"], "t");
    assert_eq!(markers(&second), ["second"]);
    assert_eq!(second[0]["params"]["progressToken"], 0);
    assert!(scene.messages(listening).is_empty());
}

#[test]
fn progress_of_no_call_goes_nowhere() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (asked, minted) = scene.begin_call(&session, "1");
    let listening = scene.listen(&session);
    // A call without a token, one that never was, and no token at all.
    for token in [minted.as_str(), "99", "\"t\"", "null"] {
        scene.says(&session, &progress(token, "x"));
    }
    assert!(scene.messages(listening).is_empty());
    assert!(scene.is_waiting(asked));
    assert_eq!(
        scene.audit(),
        [1, 2, 4].map(|count| AuditEvent::MessageDropped { count })
    );
}

#[test]
fn anything_else_goes_to_the_only_call_in_flight() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let listening = scene.listen(&session);
    let (asked, minted) = scene.begin_call(&session, "1");
    scene.says(&session, &note("n"));
    scene.says(&session, &ask("1", "q"));
    scene.answers(&session, &minted, "a");
    assert_eq!(markers(&scene.messages(asked)), ["n", "q", "a"]);
    assert!(scene.messages(listening).is_empty());
}

#[test]
fn with_none_or_several_calls_it_goes_to_the_newest_get_stream() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let older = scene.listen(&session);
    let newer = scene.listen(&session);
    scene.says(&session, &note("none"));
    scene.begin_call(&session, "1");
    scene.begin_call(&session, "2");
    scene.says(&session, &note("several"));
    scene.says(&session, &ask("1", "request"));
    assert_eq!(
        markers(&scene.messages(newer)),
        ["none", "several", "request"]
    );
    scene.leave(newer);
    scene.says(&session, &note("left"));
    assert_eq!(markers(&scene.messages(older)), ["left"]);
}

#[test]
fn a_call_stream_that_get_resumed_is_not_for_what_belongs_to_no_call() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let asked = scene.call_with_token(&session, "1", "1");
    let minted = scene.minted(&session);
    scene.begin_call(&session, "2");
    scene.says(&session, &progress(&minted, "p"));
    let last = scene.last_id(asked);
    scene.leave(asked);
    let resumed = scene.resume(&session, &last);
    scene.says(&session, &note("waits"));
    assert!(scene.messages(resumed).is_empty());
    let listening = scene.listen(&session);
    assert_eq!(markers(&scene.messages(listening)), ["waits"]);
}

#[test]
fn without_a_get_stream_a_request_goes_to_the_newest_call_and_the_rest_waits() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (first, _) = scene.begin_call(&session, "1");
    let (second, _) = scene.begin_call(&session, "2");
    scene.says(&session, &note("n"));
    scene.says(&session, &ask("1", "q"));
    assert!(scene.is_waiting(first));
    assert_eq!(markers(&scene.messages(second)), ["q"]);
    let listening = scene.listen(&session);
    assert_eq!(markers(&scene.messages(listening)), ["n"]);
}

#[test]
fn what_waits_comes_on_the_next_get_stream_in_its_order() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    scene.says(&session, &note("1"));
    scene.says(&session, &ask("1", "2"));
    scene.says(&session, &note("3"));
    let listening = scene.listen(&session);
    assert_eq!(markers(&scene.messages(listening)), ["1", "2", "3"]);
    let further = scene.listen(&session);
    assert!(
        scene.messages(further).is_empty(),
        "each goes to one stream"
    );
    // The request that waited can be answered now.
    let id = &scene.messages(listening)[1]["id"];
    scene.post(
        &session,
        &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
    );
    assert_eq!(
        scene.hears_one(&session),
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#
    );
}

#[test]
fn a_request_that_waits_comes_on_the_next_call_and_a_notification_does_not() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    scene.says(&session, &note("n"));
    scene.says(&session, &ask("\"q\"", "q"));
    // Nobody can have seen it: an answer is a guess.
    scene.post(&session, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(scene.audit(), [AuditEvent::ResponseDropped]);
    let (asked, minted) = scene.begin_call(&session, "1");
    assert_eq!(markers(&scene.messages(asked)), ["q"]);
    scene.answers(&session, &minted, "a");
    let listening = scene.listen(&session);
    assert_eq!(markers(&scene.messages(listening)), ["n"]);
}

#[test]
fn a_request_that_waits_times_out_or_is_taken_back() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    scene.says(&session, &ask("1", "taken back"));
    scene.says(&session, &ask("2", "times out"));
    scene.says(
        &session,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
    );
    scene.wait_secs(300);
    let answer: Value = serde_json::from_str(&scene.hears_one(&session)).unwrap();
    assert_eq!(answer["id"], 2);
    assert_eq!(scene.audit(), [AuditEvent::ClientSilent]);
    let listening = scene.listen(&session);
    assert!(scene.messages(listening).is_empty());
}

#[test]
fn what_waits_is_bounded_and_the_oldest_goes() {
    let mut scene = Scene::with(|limits| limits.waiting_bytes = 1000);
    let session = scene.open("2025-06-18");
    scene.says(&session, &ask("\"q\"", "q"));
    for number in 0..10 {
        scene.says(&session, &note(&number.to_string()));
    }
    let answer: Value = serde_json::from_str(&scene.hears_one(&session)).unwrap();
    assert_eq!(answer["id"], "q");
    assert_eq!(answer["error"]["code"], -32001);
    let listening = scene.listen(&session);
    let messages = scene.messages(listening);
    let kept = markers(&messages);
    assert!(!kept.is_empty() && kept.len() < 10, "{kept:?}");
    assert_eq!(kept.last(), Some(&"9"));
    assert!(
        scene
            .audit()
            .contains(&AuditEvent::MessageDropped { count: 1 })
    );
}

#[test]
fn the_clock_goes_on_when_a_request_that_waits_is_dropped() {
    let mut scene = Scene::with(|limits| limits.waiting_bytes = 1000);
    let session = scene.open("2025-06-18");
    // Two calls whose clients have gone, so that the request waits.
    let (first, _) = scene.begin_call(&session, "1");
    let (second, _) = scene.begin_call(&session, "2");
    scene.leave(first);
    scene.leave(second);
    scene.says(&session, &ask("\"q\"", "q"));
    for number in 0..10 {
        scene.says(&session, &note(&number.to_string()));
    }
    scene.hears(&session);
    scene.wait_secs(300);
    assert_eq!(scene.hears(&session).len(), 2, "both calls timed out");
}

#[test]
fn a_message_larger_than_what_may_wait_is_dropped() {
    let mut scene = Scene::with(|limits| limits.waiting_bytes = 1000);
    let session = scene.open("2025-06-18");
    scene.says(&session, &note(&"x".repeat(2000)));
    scene.says(&session, &note("small"));
    let listening = scene.listen(&session);
    assert_eq!(markers(&scene.messages(listening)), ["small"]);
}

#[test]
fn what_the_child_says_before_initialize_is_answered_waits() {
    let mut scene = Scene::new();
    let (asked, upstream) = scene.initialize("2025-11-25");
    let upstream = upstream.unwrap();
    let says = |scene: &mut Scene, line: &str| {
        scene
            .world
            .child_writes(upstream, format!("{line}\n").as_bytes());
        scene.settle();
    };
    says(&mut scene, &note("early"));
    says(&mut scene, &ask("7", "early question"));
    assert!(scene.is_waiting(asked));
    says(
        &mut scene,
        r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}"#,
    );
    assert_eq!(
        scene.response(asked).field("content-type").as_deref(),
        Some("application/json")
    );
    let session = mcp_proto_sim::Session {
        id: scene.response(asked).field("mcp-session-id").unwrap(),
        upstream,
    };
    let listening = scene.listen(&session);
    assert_eq!(
        markers(&scene.messages(listening)),
        ["early", "early question"]
    );
}

#[test]
fn a_child_that_pings_before_it_answers_initialize_is_answered() {
    let mut scene = Scene::new();
    let (asked, upstream) = scene.initialize("2025-11-25");
    let upstream = upstream.unwrap();
    let ping = b"{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}\n";
    scene.world.child_writes(upstream, ping);
    scene.settle();
    let session = mcp_proto_sim::Session {
        id: scene.response(asked).field("mcp-session-id").unwrap(),
        upstream,
    };
    assert_eq!(scene.messages(asked)[0]["method"], "ping");
    scene.hears(&session);
    let id = scene.messages(asked)[0]["id"].to_string();
    scene.post(
        &session,
        &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
    );
    assert_eq!(
        scene.hears_one(&session),
        r#"{"jsonrpc":"2.0","id":"p","result":{}}"#
    );
    scene.says(
        &session,
        r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}"#,
    );
    assert_eq!(scene.messages(asked)[1]["id"], 0);
    assert!(scene.response(asked).complete);
}

#[test]
fn the_childs_ids_and_the_clients_are_different_things() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    // The client's id, the id that the child knows the call by, and the child's own: all 2.
    let (_, first) = scene.begin_call(&session, "9");
    scene.answers(&session, &first, "x");
    let (asked, minted) = scene.begin_call(&session, "2");
    scene.says(&session, &ask(&minted, "q1"));
    scene.says(&session, &ask(&minted, "q2"));
    let questions = scene.messages(asked);
    assert_ne!(questions[0]["id"], questions[1]["id"]);
    for (question, marker) in questions.iter().zip(["r1", "r2"]) {
        let id = &question["id"];
        scene.post(
            &session,
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"marker":"{marker}"}}}}"#),
        );
        let heard: Value = serde_json::from_str(&scene.hears_one(&session)).unwrap();
        assert_eq!(heard["id"].to_string(), minted);
        assert_eq!(heard["result"]["marker"], marker);
    }
    scene.answers(&session, &minted, "done");
    let messages = scene.messages(asked);
    assert_eq!(messages[2]["id"], 2);
}

#[test]
fn messages_of_a_task_go_to_the_call_that_asks_about_it() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let about = |id: u32, task: &str| {
        json!({"jsonrpc":"2.0","id":id,"method":"tasks/result","params":{"taskId":task}})
            .to_string()
    };
    let alpha = scene.post(&session, &about(1, "alpha"));
    let beta = scene.post(&session, &about(2, "beta"));
    let listening = scene.listen(&session);
    scene.hears(&session);
    let related = |task: &str| {
        json!({"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"marker":task,
            "_meta":{"io.modelcontextprotocol/related-task":{"taskId":task}}}})
        .to_string()
    };
    for task in ["beta", "alpha", "gamma"] {
        scene.says(&session, &related(task));
    }
    assert_eq!(markers(&scene.messages(alpha)), ["alpha"]);
    assert_eq!(markers(&scene.messages(beta)), ["beta"]);
    assert_eq!(markers(&scene.messages(listening)), ["gamma"]);
}

#[test]
fn a_tasks_status_goes_to_the_call_that_asks_about_it() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let about = r#"{"jsonrpc":"2.0","id":1,"method":"tasks/result","params":{"taskId":"alpha"}}"#;
    let alpha = scene.post(&session, about);
    scene.begin_call_again(&session);
    let listening = scene.listen(&session);
    for task in ["alpha", "gamma"] {
        let status = json!({"jsonrpc":"2.0","method":"notifications/tasks/status",
            "params":{"taskId":task,"status":"working","marker":task}});
        scene.says(&session, &status.to_string());
    }
    assert_eq!(markers(&scene.messages(alpha)), ["alpha"]);
    assert_eq!(markers(&scene.messages(listening)), ["gamma"]);
}

#[test]
fn the_token_of_the_childs_request_lives_on_in_the_task_that_it_became() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let listening = scene.listen(&session);
    scene.says(
        &session,
        r#"{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{"task":{},"_meta":{"progressToken":"childs"}}}"#,
    );
    let minted = scene.messages(listening)[0]["id"].to_string();
    scene.post(
        &session,
        &format!(
            r#"{{"jsonrpc":"2.0","id":{minted},"result":{{"task":{{"taskId":"alpha","status":"working"}}}}}}"#
        ),
    );
    scene.hears_one(&session);
    scene.post(&session, &progress(&minted, "on its way"));
    let heard: Value = serde_json::from_str(&scene.hears_one(&session)).unwrap();
    assert_eq!(heard["params"]["progressToken"], "childs");
    assert_eq!(scene.audit(), []);
}

#[test]
fn a_calls_token_lives_on_in_the_task_that_it_became() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let asked = scene.call_with_token(&session, "1", r#""mine""#);
    let minted = scene.minted(&session);
    scene.says(
        &session,
        &format!(
            r#"{{"jsonrpc":"2.0","id":{minted},"result":{{"task":{{"taskId":"alpha","status":"working"}}}}}}"#
        ),
    );
    assert!(scene.response(asked).complete);
    let listening = scene.listen(&session);
    scene.says(&session, &progress(&minted, "while nobody asks"));
    let messages = scene.messages(listening);
    assert_eq!(messages[0]["params"]["progressToken"], "mine");
    let about = r#"{"jsonrpc":"2.0","id":2,"method":"tasks/result","params":{"taskId":"alpha"}}"#;
    let result = scene.post(&session, about);
    scene.begin_call_again(&session);
    scene.says(&session, &progress(&minted, "while one asks"));
    let messages = scene.messages(result);
    assert_eq!(markers(&messages), ["while one asks"]);
    assert_eq!(messages[0]["params"]["progressToken"], "mine");
    assert_eq!(scene.audit(), []);
}

#[test]
fn progress_of_a_task_restarts_the_clock_of_who_waits_for_its_result() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    scene.call_with_token(&session, "1", "1");
    let minted = scene.minted(&session);
    scene.says(
        &session,
        &format!(r#"{{"jsonrpc":"2.0","id":{minted},"result":{{"task":{{"taskId":"alpha"}}}}}}"#),
    );
    let about = r#"{"jsonrpc":"2.0","id":2,"method":"tasks/result","params":{"taskId":"alpha"}}"#;
    let result = scene.post(&session, about);
    for _ in 0..3 {
        scene.wait_secs(299);
        scene.says(&session, &progress(&minted, "on its way"));
    }
    assert_eq!(scene.messages(result).len(), 3);
    assert!(!scene.response(result).complete);
    scene.wait_secs(300);
    assert!(scene.response(result).complete);
}

/// A second call, so that there is more than one.
trait Again {
    fn begin_call_again(&mut self, session: &mcp_proto_sim::Session);
}

impl Again for Scene {
    fn begin_call_again(&mut self, session: &mcp_proto_sim::Session) {
        self.call(session, "\"again\"");
        self.hears(session);
    }
}

#[test]
fn progress_to_a_client_that_left_keeps_the_call_alive_and_is_dropped() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let asked = scene.call_with_token(&session, "1", "1");
    let minted = scene.minted(&session);
    scene.leave(asked);
    scene.wait_secs(200);
    scene.says(&session, &progress(&minted, "x"));
    scene.wait_secs(200);
    assert_eq!(scene.audit(), [AuditEvent::MessageDropped { count: 1 }]);
    scene.wait_secs(100);
    assert_eq!(
        scene.audit(),
        [AuditEvent::Refused(Refusal::RequestTimeout)]
    );
}

#[test]
fn silence_alone_does_not_tell_one_call_from_another() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (asked, minted) = scene.begin_call(&session, "1");
    scene.wait(Duration::from_millis(14_999));
    assert!(scene.is_waiting(asked));
    scene.wait(Duration::from_millis(1));
    assert!(scene.response(asked).is_stream());
    assert!(
        scene.response(asked).body.is_empty(),
        "an older revision gets no empty event"
    );
    scene.answers(&session, &minted, "a");
    assert_eq!(markers(&scene.messages(asked)), ["a"]);
}
