//! Calls: ids, payloads, cancels, time-outs, batches.

use std::time::Duration;

use mcp_proto::{AuditEvent, Refusal};
use mcp_proto_sim::{Request, Scene};
use serde_json::{Value, json};

#[test]
fn an_answer_with_nothing_before_it_is_plain_json() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let (asked, minted) = scene.begin_call(&session, "7");
    assert!(scene.is_waiting(asked));
    scene.answers(&session, &minted, "hello");
    scene.assert_answered(asked, 7.into(), "hello");
    assert_eq!(scene.response(asked).field("mcp-session-id"), None);
    let length = scene.response(asked).head.as_ref().unwrap().length;
    assert_eq!(length, Some(scene.response(asked).body.len() as u64));
    assert_eq!(scene.audit(), []);
    scene.assert_nothing_is_left();
}

#[test]
fn an_error_of_the_childs_is_an_answer() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (asked, minted) = scene.begin_call(&session, "7");
    let error = r#""error":{"code":-32602,"message":"no such tool","data":{"x":1}}"#;
    scene.says(
        &session,
        &format!(r#"{{"jsonrpc":"2.0",{error},"id":{minted}}}"#),
    );
    let expected = format!(r#"{{"jsonrpc":"2.0",{error},"id":7}}"#);
    assert_eq!(scene.response(asked).text(), expected);
    assert_eq!(scene.response(asked).status(), 200);
}

#[test]
fn ids_come_back_byte_for_byte() {
    for id in [
        "0",
        "-1",
        "1",
        "9007199254740993",
        "18446744073709551616",
        "-0",
        r#""""#,
        r#""1""#,
        r#""\u0031\u0000\ud83d\ude00""#,
        r#""é \/""#,
    ] {
        let mut scene = Scene::new();
        let session = scene.open("2025-06-18");
        let (asked, minted) = scene.begin_call(&session, id);
        scene.answers(&session, &minted, "x");
        let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"marker":"x"}}}}"#);
        assert_eq!(scene.response(asked).text(), expected);
    }
}

#[test]
fn payloads_pass_byte_for_byte_but_for_id_and_token() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let payload = "\"b\" : 12345678901234567890.10,\t\"a\":\"\u{2028}\\u00e9\\/\",\"_meta\": {\"x\":null , \"progressToken\":TOKEN},\"cursor\":\"==\"";
    let body = format!(
        "\u{20}{{ \"method\":\"tools/call\", \"params\": {{ {payload} }},\"unknown\":[1 ,2], \"id\" : ID ,\"jsonrpc\":\"2.0\"}} "
    );
    let sent = body.replace("ID", r#""a""#).replace("TOKEN", "\"t\"");
    let asked = scene.post(&session, &sent);
    let line = scene.hears_one(&session);
    let minted = serde_json::from_str::<Value>(&line).unwrap()["id"].to_string();
    let expected = body.replace("ID", &minted).replace("TOKEN", &minted);
    assert_eq!(line, expected.trim());

    let answer = format!(
        "{{\"id\" :ID, \"result\":{{ {} }} ,\"jsonrpc\":\"2.0\"}}",
        payload.replace("TOKEN", "5")
    );
    scene.writes(
        &session,
        &format!("  {} \r\n", answer.replace("ID", &minted)),
    );
    assert_eq!(scene.response(asked).text(), answer.replace("ID", r#""a""#));
}

#[test]
fn a_pretty_printed_request_is_one_line() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let body = "{\"a\":\n{\"jsonrpc\":\"2.0\",\"method\":\"evil\"}\r\n,\"jsonrpc\":\"2.0\",\n\"id\":1,\"method\":\"ping\"}\n";
    scene.post(&session, body);
    let line = scene.hears_one(&session);
    assert!(
        line.starts_with(r#"{"a": {"jsonrpc":"2.0","method":"evil"}  ,"#),
        "{line}"
    );
}

#[test]
fn clients_with_equal_ids_and_tokens_never_see_each_others_answers() {
    let mut scene = Scene::new();
    let (a, b) = (scene.open("2025-06-18"), scene.open("2025-11-25"));
    let for_a = scene.call_with_token(&a, "1", "1");
    let for_b = scene.call_with_token(&b, "1", "1");
    let (to_a, to_b) = (scene.minted(&a), scene.minted(&b));
    // Each answers everything that it could know of.
    assert_eq!(to_a, to_b);
    scene.says(&b, &progress(&to_b));
    scene.answers(&b, &to_b, "for b");
    assert!(scene.is_waiting(for_a));
    scene.answers(&a, &to_a, "for a");
    scene.assert_answered(for_a, 1.into(), "for a");
    let messages = scene.messages(for_b);
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[1]["result"]["marker"], "for b");
}

#[test]
fn answers_come_in_any_order() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let calls: Vec<_> = (0..5)
        .map(|id| scene.begin_call(&session, &id.to_string()))
        .collect();
    for (id, (asked, minted)) in calls.iter().enumerate().rev() {
        scene.answers(&session, minted, &format!("m{id}"));
        scene.assert_answered(*asked, id.into(), &format!("m{id}"));
    }
}

#[test]
fn an_id_in_flight_is_refused_however_it_is_written() {
    for (first, second) in [
        ("1", "1"),
        (r#""1""#, r#""1""#),
        (r#""1""#, r#""\u0031""#),
        ("-0", "0"),
        (r#""\/""#, r#""/""#),
    ] {
        let mut scene = Scene::new();
        let session = scene.open("2025-06-18");
        let (asked, minted) = scene.begin_call(&session, first);
        let again = scene.call(&session, second);
        scene.assert_refused(again, Refusal::DuplicateId);
        assert_eq!(scene.hears(&session), [""; 0]);
        scene.answers(&session, &minted, "x");
        assert!(scene.response(asked).complete);
        // Once it is answered, it is free.
        let (asked, minted) = scene.begin_call(&session, second);
        scene.answers(&session, &minted, "y");
        assert_eq!(scene.response(asked).json()["result"]["marker"], "y");
    }
}

#[test]
fn a_number_and_a_string_are_two_ids() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (number, first) = scene.begin_call(&session, "1");
    let (string, second) = scene.begin_call(&session, r#""1""#);
    scene.answers(&session, &second, "string");
    scene.answers(&session, &first, "number");
    scene.assert_answered(number, 1.into(), "number");
    scene.assert_answered(string, "1".into(), "string");
}

#[test]
fn what_a_child_answers_twice_or_unasked_is_dropped_and_counted() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (asked, minted) = scene.begin_call(&session, "1");
    scene.answers(&session, &minted, "x");
    for id in [&minted, "999", "0", "\"1\"", "-1", "1.0"] {
        scene.answers(&session, id, "forged");
    }
    scene.says(
        &session,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#,
    );
    scene.assert_answered(asked, 1.into(), "x");
    let counts: Vec<_> = scene.audit();
    // The sixth line is no message at all: its id is no id. Records at 1, 2 and 4.
    assert_eq!(
        counts,
        [
            AuditEvent::AnswerDropped { count: 1 },
            AuditEvent::AnswerDropped { count: 2 },
            AuditEvent::AnswerDropped { count: 4 },
            AuditEvent::LineSkipped { count: 1 },
        ]
    );
}

#[test]
fn a_cancel_reaches_the_child_under_the_id_that_it_knows() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (_, _) = scene.begin_call(&session, "1");
    let (asked, minted) = scene.begin_call(&session, "\"a\"");
    let cancel = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"reason":"bored","requestId":{id},"x":1}}}}"#
        )
    };
    let posted = scene.post(&session, &cancel(r#""\u0061""#));
    assert_eq!(scene.response(posted).status(), 202);
    assert!(scene.response(posted).body.is_empty());
    assert_eq!(scene.hears_one(&session), cancel(&minted));
    // Its HTTP request ends, whether or not the child answers.
    assert_eq!(
        scene.response(asked).json()["error"]["message"],
        Refusal::RequestCancelled.message()
    );
    assert_eq!(scene.response(asked).json()["id"], "a");
    assert_eq!(scene.hears(&session), [""; 0], "the child was told once");
    assert_eq!(
        scene.audit(),
        [AuditEvent::Refused(Refusal::RequestCancelled)]
    );
}

#[test]
fn an_answer_to_a_cancelled_call_is_dropped() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (asked, minted) = scene.begin_call(&session, "1");
    scene.post(
        &session,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
    );
    scene.hears(&session);
    scene.audit();
    scene.answers(&session, &minted, "too late to stop");
    assert_eq!(scene.audit(), [AuditEvent::AnswerDropped { count: 1 }]);
    assert_eq!(scene.response(asked).json()["error"]["code"], -32000);
    // The id is free again.
    scene.begin_call(&session, "1");
}

#[test]
fn cancels_of_what_is_not_the_senders_are_dropped_and_kept_in_the_record() {
    let mut scene = Scene::new();
    let (a, b) = (scene.open("2025-06-18"), scene.open("2025-06-18"));
    let (asked, minted) = scene.begin_call(&b, "1");
    for params in [
        r#"{"requestId":1}"#,
        r#"{"requestId":"1"}"#,
        r#"{"requestId":null}"#,
        "{}",
    ] {
        let posted = scene.post(
            &a,
            &format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#),
        );
        assert_eq!(scene.response(posted).status(), 202);
        assert_eq!(scene.audit(), [AuditEvent::CancelDropped]);
    }
    assert_eq!(scene.hears(&a), [""; 0]);
    assert_eq!(scene.hears(&b), [""; 0]);
    scene.answers(&b, &minted, "x");
    scene.assert_answered(asked, 1.into(), "x");
}

#[test]
fn initialize_is_not_cancelled() {
    let mut scene = Scene::with(|limits| limits.silence_time = Duration::from_secs(1));
    let (asked, upstream) = scene.initialize("2025-06-18");
    scene.wait_secs(1);
    let id = scene
        .response(asked)
        .field("mcp-session-id")
        .expect("the stream has begun");
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":0}}"#;
    scene.send(Request::post(cancel).session(&id));
    assert_eq!(scene.world.child(upstream.unwrap()).lines.len(), 1);
    assert_eq!(scene.audit(), [AuditEvent::CancelDropped]);
}

#[test]
fn a_call_that_is_never_answered_times_out_and_the_child_is_told() {
    let mut scene = Scene::with(|limits| limits.silence_time = Duration::from_secs(1000));
    let session = scene.open("2025-06-18");
    let (asked, minted) = scene.begin_call(&session, "1");
    scene.wait(Duration::from_millis(299_999));
    assert!(scene.is_waiting(asked));
    scene.wait(Duration::from_millis(1));
    let body = scene.response(asked).json();
    assert_eq!(body["error"]["code"], -32001);
    assert_eq!(body["id"], 1);
    assert_eq!(
        scene.audit(),
        [AuditEvent::Refused(Refusal::RequestTimeout)]
    );
    let cancel: Value = serde_json::from_str(&scene.hears_one(&session)).unwrap();
    assert_eq!(cancel["method"], "notifications/cancelled");
    assert_eq!(cancel["params"]["requestId"].to_string(), minted);
    scene.answers(&session, &minted, "late");
    assert_eq!(scene.audit(), [AuditEvent::AnswerDropped { count: 1 }]);
    scene.assert_nothing_is_left();
}

#[test]
fn a_time_out_on_a_stream_is_an_error_event() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (asked, _) = scene.begin_call(&session, "1");
    scene.wait_secs(300);
    let messages = scene.messages(asked);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["error"]["code"], -32001);
    assert!(scene.response(asked).complete);
    assert_eq!(
        scene.audit(),
        [AuditEvent::Refused(Refusal::RequestTimeout)]
    );
}

fn progress(token: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
    )
}

#[test]
fn progress_restarts_the_clock_up_to_the_hard_cap() {
    let mut scene = Scene::with(|limits| limits.request_time_max = Duration::from_secs(1000));
    let session = scene.open("2025-06-18");
    let asked = scene.call_with_token(&session, "1", "1");
    let minted = scene.minted(&session);
    for _ in 0..3 {
        scene.wait_secs(299);
        scene.says(&session, &progress(&minted));
    }
    assert_eq!(scene.messages(asked).len(), 3);
    scene.wait(Duration::from_millis(102_999));
    assert!(!scene.response(asked).complete);
    scene.wait(Duration::from_millis(1));
    assert!(scene.response(asked).complete, "1000 seconds are enough");
    assert_eq!(
        scene.audit(),
        [AuditEvent::Refused(Refusal::RequestTimeout)]
    );
}

const ELICIT: &str = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{}}"#;

#[test]
fn the_clock_stands_still_while_the_client_owes_an_answer() {
    let mut scene = Scene::with(|limits| limits.client_answer_time = Duration::from_secs(2000));
    let session = scene.open("2025-06-18");
    let (asked, _) = scene.begin_call(&session, "1");
    scene.wait_secs(100);
    scene.says(&session, ELICIT);
    scene.wait_secs(1500);
    let question = scene.messages(asked).remove(0);
    assert!(!scene.response(asked).complete);
    let answer = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#,
        question["id"]
    );
    scene.post(&session, &answer);
    // 200 of the 300 seconds are left.
    scene.wait(Duration::from_millis(199_999));
    assert!(!scene.response(asked).complete);
    scene.wait(Duration::from_millis(1));
    assert!(scene.response(asked).complete);
    assert_eq!(scene.messages(asked)[1]["error"]["code"], -32001);
}

#[test]
fn a_call_that_begins_while_the_client_owes_an_answer_gets_its_whole_time() {
    let mut scene = Scene::with(|limits| limits.client_answer_time = Duration::from_secs(2000));
    let session = scene.open("2025-06-18");
    let (first, _) = scene.begin_call(&session, "1");
    scene.says(&session, ELICIT);
    scene.wait_secs(250);
    let (asked, _) = scene.begin_call(&session, "2");
    scene.wait_secs(250);
    let question = scene.messages(first).remove(0);
    let answer = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#,
        question["id"]
    );
    scene.post(&session, &answer);
    scene.wait(Duration::from_millis(299_999));
    assert!(!scene.response(asked).complete);
    scene.wait(Duration::from_millis(1));
    assert!(scene.response(asked).complete);
}

#[test]
fn progress_while_the_client_owes_an_answer_gives_the_call_its_time_and_no_more() {
    let mut scene = Scene::with(|limits| limits.client_answer_time = Duration::from_secs(2000));
    let session = scene.open("2025-06-18");
    let asked = scene.call_with_token(&session, "1", "1");
    let minted = scene.minted(&session);
    scene.says(&session, ELICIT);
    scene.wait_secs(1000);
    scene.says(&session, &progress(&minted));
    scene.wait_secs(10);
    let question = scene.messages(asked).remove(0);
    let answer = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#,
        question["id"]
    );
    scene.post(&session, &answer);
    scene.wait(Duration::from_millis(299_999));
    assert!(!scene.response(asked).complete);
    scene.wait(Duration::from_millis(1));
    assert!(scene.response(asked).complete);
}

#[test]
fn a_request_that_the_client_never_answers_times_out() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (asked, minted) = scene.begin_call(&session, "1");
    scene.says(&session, ELICIT);
    scene.wait_secs(300);
    let answer: Value = serde_json::from_str(&scene.hears_one(&session)).unwrap();
    assert_eq!(answer["id"], "q");
    assert_eq!(answer["error"]["code"], -32001);
    assert_eq!(scene.audit(), [AuditEvent::ClientSilent]);
    let messages = scene.messages(asked);
    assert_eq!(messages[1]["method"], "notifications/cancelled");
    assert_eq!(messages[1]["params"]["requestId"], messages[0]["id"]);
    // Too late.
    let late = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#,
        messages[0]["id"]
    );
    scene.post(&session, &late);
    assert_eq!(scene.hears(&session), [""; 0]);
    assert_eq!(scene.audit(), [AuditEvent::ResponseDropped]);
    scene.answers(&session, &minted, "x");
    assert!(scene.response(asked).complete);
}

#[test]
fn answers_of_the_clients_reach_the_child_and_unasked_ones_do_not() {
    let mut scene = Scene::new();
    let (a, b) = (scene.open("2025-06-18"), scene.open("2025-06-18"));
    let (asked, _) = scene.begin_call(&a, "1");
    // The child's id equals the client's and the one that the gateway minted for the call.
    scene.says(&a, r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#);
    let question = scene.messages(asked).remove(0);
    let answer = |id: &Value| format!(r#"{{"result": {{"roots":[]}},"id":{id},"jsonrpc":"2.0"}}"#);
    for (session, id) in [(&b, &question["id"]), (&a, &json!(77)), (&a, &json!("1"))] {
        let posted = scene.post(session, &answer(id));
        assert_eq!(scene.response(posted).status(), 202);
        assert_eq!(scene.audit(), [AuditEvent::ResponseDropped]);
    }
    assert_eq!(scene.hears(&b), [""; 0]);
    scene.post(&a, &answer(&question["id"]));
    assert_eq!(scene.hears_one(&a), answer(&json!(1)));
    // Once only.
    scene.post(&a, &answer(&question["id"]));
    assert_eq!(scene.hears(&a), [""; 0]);
    assert_eq!(scene.audit(), [AuditEvent::ResponseDropped]);
}

#[test]
fn progress_on_the_childs_request_goes_by_the_childs_token() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (asked, _) = scene.begin_call(&session, "1");
    scene.says(
        &session,
        r#"{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{"_meta":{"progressToken":"mine"}}}"#,
    );
    let question = scene.messages(asked).remove(0);
    let token = &question["params"]["_meta"]["progressToken"];
    assert_eq!(token, &question["id"]);
    scene.post(&session, &progress(&token.to_string()));
    assert_eq!(scene.hears_one(&session), progress(r#""mine""#));
    scene.post(&session, &progress("55"));
    assert_eq!(scene.hears(&session), [""; 0]);
    assert_eq!(scene.audit(), [AuditEvent::ProgressDropped]);
}

#[test]
fn a_child_takes_back_its_request() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (asked, _) = scene.begin_call(&session, "1");
    scene.says(&session, ELICIT);
    let cancel =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q"}}"#;
    scene.says(&session, cancel);
    let messages = scene.messages(asked);
    assert_eq!(messages[1]["params"]["requestId"], messages[0]["id"]);
    // One that it never made goes nowhere.
    scene.says(&session, cancel);
    assert_eq!(scene.messages(asked).len(), 2);
    assert_eq!(scene.audit(), [AuditEvent::MessageDropped { count: 1 }]);
}

#[test]
fn batches_exist_in_2025_03_26_only() {
    let batch = r#"[{"jsonrpc":"2.0","id":"a","method":"ping"}]"#;
    for version in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let mut scene = Scene::new();
        let session = scene.open(version);
        let asked = scene.post(&session, batch);
        scene.assert_refused(asked, Refusal::BatchNotAllowed);
        assert_eq!(scene.hears(&session), [""; 0]);
        // Nor may the child write them.
        scene.says(&session, batch);
        assert_eq!(scene.audit()[1], AuditEvent::LineSkipped { count: 1 });
    }
}

#[test]
fn a_batch_is_a_line_for_each_message_and_one_stream_of_answers() {
    let mut scene = Scene::new();
    let session = scene.open("2025-03-26");
    let asked = scene.post(
        &session,
        "[{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"ping\"},\n {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"},{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}]",
    );
    let lines = scene.hears(&session);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1], r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    let minted = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].to_string();
    // The child answers in a batch too, in its own order.
    scene.says(
        &session,
        &format!(
            r#"[{{"jsonrpc":"2.0","id":{},"result":{{"n":2}}}},{{"jsonrpc":"2.0","id":{},"result":{{"n":1}}}}]"#,
            minted(&lines[2]),
            minted(&lines[0])
        ),
    );
    let messages = scene.messages(asked);
    assert_eq!(messages.len(), 2);
    assert_eq!(
        (&messages[0]["id"], &messages[1]["id"]),
        (&json!(1), &json!("a"))
    );
    assert!(scene.response(asked).complete);
    scene.assert_nothing_is_left();
}

#[test]
fn a_batch_is_judged_as_a_whole() {
    let ping = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    let initialize = r#"{"jsonrpc":"2.0","id":9,"method":"initialize","params":{}}"#;
    for (batch, refusal) in [
        (
            format!("[{},{}]", ping("1"), ping("1")),
            Refusal::DuplicateId,
        ),
        (
            format!("[{},{}]", ping("\"1\""), ping("\"\\u0031\"")),
            Refusal::DuplicateId,
        ),
        (
            format!("[{},{}]", ping("1"), ping("5")),
            Refusal::DuplicateId,
        ),
        (
            format!("[{},{initialize}]", ping("1")),
            Refusal::AlreadyInitialized,
        ),
    ] {
        let mut scene = Scene::new();
        let session = scene.open("2025-03-26");
        scene.begin_call(&session, "5");
        let asked = scene.post(&session, &batch);
        scene.assert_refused(asked, refusal);
        assert_eq!(scene.hears(&session), [""; 0], "nothing of it is written");
    }
}

#[test]
fn a_batch_without_calls_is_accepted() {
    let mut scene = Scene::new();
    let session = scene.open("2025-03-26");
    let asked = scene.post(
        &session,
        r#"[{"jsonrpc":"2.0","method":"notifications/x"}]"#,
    );
    assert_eq!(scene.response(asked).status(), 202);
    assert_eq!(scene.hears(&session).len(), 1);
}

#[test]
fn no_more_than_so_many_calls_are_in_flight() {
    let mut scene = Scene::with(|limits| limits.calls_per_session = 2);
    let session = scene.open("2025-03-26");
    let (first, minted) = scene.begin_call(&session, "1");
    let two =
        r#"[{"jsonrpc":"2.0","id":2,"method":"ping"},{"jsonrpc":"2.0","id":3,"method":"ping"}]"#;
    let asked = scene.post(&session, two);
    scene.assert_refused(asked, Refusal::TooManyCalls);
    scene.begin_call(&session, "2");
    let asked = scene.call(&session, "3");
    scene.assert_refused(asked, Refusal::TooManyCalls);
    scene.answers(&session, &minted, "x");
    assert!(scene.response(first).complete);
    scene.begin_call(&session, "3");
}

#[test]
fn an_answer_to_a_client_that_left_before_it_is_dropped_and_counted() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (asked, minted) = scene.begin_call(&session, "1");
    scene.leave(asked);
    assert_eq!(
        scene.hears(&session),
        [""; 0],
        "to disconnect is not to cancel"
    );
    scene.answers(&session, &minted, "x");
    assert_eq!(scene.audit(), [AuditEvent::AnswerDropped { count: 1 }]);
    scene.assert_nothing_is_left();
}
