//! Modern clients of a modern server: one child serves them all.

use std::time::Duration;

use mcp_proto::{AuditEvent, Refusal};

use super::*;

#[test]
fn one_child_serves_everyone_and_equal_ids_do_not_cross() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let mut calls = Vec::new();
    for number in 0..64 {
        let (asked, minted) = begin(&mut scene, host, &prompt("1"));
        calls.push((asked, minted, format!("for {number}")));
    }
    assert_eq!(scene.new_children(), []);
    for (asked, minted, marker) in calls.iter().rev() {
        assert!(scene.is_waiting(*asked));
        scene.answers(host, minted, marker);
        scene.assert_answered(*asked, 1.into(), marker);
    }
    scene.assert_nothing_is_left();
}

#[test]
fn ids_and_progress_tokens_come_back_as_they_were_written() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    for id in [
        "0",
        "-3",
        "123456789012345678901234567890",
        r#""1""#,
        r#""\u0061\/""#,
        "\"\u{e9}\u{2028}\"",
    ] {
        let ask = prompt(id).meta(&format!(r#""progressToken":{id}"#));
        let asked = scene.ask(&ask);
        let line = scene.hears_one(host);
        let minted = json(&line)["id"].to_string();
        assert_eq!(
            json(&line)["params"]["_meta"]["progressToken"],
            json(&minted)
        );
        scene.says(
            host,
            &format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{minted},"progress":1e2}}}}"#
            ),
        );
        scene.says(host, &result(&minted, r#"{"x": 1.50}"#));
        let events = scene.response(asked).events();
        assert_eq!(
            [&events[0].data[..], &events[1].data[..]],
            [
                format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id},"progress":1e2}}}}"#
                )
                .as_bytes(),
                result(id, r#"{"x": 1.50}"#).as_bytes(),
            ]
        );
        assert!(scene.response(asked).complete);
    }
    scene.assert_nothing_is_left();
}

#[test]
fn what_the_child_reads_is_what_the_client_wrote_but_for_the_id() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let ask = prompt("\"mine\"").param(r#""x":{"id":"mine", "big":12345678901234567890.0}"#);
    scene.ask(&ask);
    let line = scene.hears_one(host);
    let minted = json(&line)["id"].to_string();
    assert_eq!(line, ask.id(&minted).text());
}

#[test]
fn the_status_is_that_of_the_childs_error() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    for (code, status) in [
        (-32601, 404),
        (-32020, 400),
        (-32021, 400),
        (-32022, 400),
        (-32602, 200),
        (-32603, 200),
        (-32002, 200),
        (1, 200),
    ] {
        let (asked, minted) = begin(&mut scene, host, &prompt("5"));
        scene.says(host, &error(&minted, code));
        assert_error(&scene, asked, status, code, &5.into());
    }
    // A method that the gateway knows nothing of is the child's to judge.
    let (asked, minted) = begin(&mut scene, host, &Ask::new("6", "x/unknown", ""));
    scene.says(host, &error(&minted, -32601));
    assert_error(&scene, asked, 404, -32601, &6.into());
}

#[test]
fn a_stream_that_has_begun_ends_with_the_answer_whatever_it_is() {
    let (mut scene, host) = modern_only(limited(|limits| {
        limits.silence_time = Duration::from_secs(15);
        limits.comment_time = Duration::from_secs(20);
    }));
    let (asked, minted) = begin(&mut scene, host, &prompt("5"));
    scene.wait_secs(15);
    assert!(scene.response(asked).is_stream(), "silence begins it");
    scene.says(host, &error(&minted, -32601));
    let response = scene.response(asked);
    assert_eq!((response.status(), response.complete), (200, true));
    assert_eq!(answer(&scene, asked)["error"]["code"], -32601);
    assert!(
        scene
            .response(asked)
            .events()
            .iter()
            .all(|it| it.id.is_none())
    );
    scene.assert_nothing_is_left();
}

#[test]
fn a_client_that_leaves_has_its_call_cancelled() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let (asked, minted) = begin(&mut scene, host, &prompt("1"));
    let (other, other_minted) = begin(&mut scene, host, &prompt("1"));
    scene.leave(asked);
    let line = json(&scene.hears_one(host));
    assert_eq!(line["method"], "notifications/cancelled");
    assert_eq!(line["params"]["requestId"], json(&minted));
    // An answer that crosses is nobody's.
    scene.answers(host, &minted, "late");
    assert!(scene.is_waiting(other));
    assert!(
        scene
            .audit()
            .contains(&AuditEvent::AnswerDropped { count: 1 })
    );
    scene.answers(host, &other_minted, "x");
    scene.assert_answered(other, 1.into(), "x");
    scene.assert_nothing_is_left();
}

#[test]
fn a_call_that_takes_too_long_is_cancelled_and_answered_by_an_error() {
    let (mut scene, host) = modern_only(limited(|limits| {
        limits.request_time = Duration::from_secs(10);
        limits.request_time_max = Duration::from_secs(25);
        limits.silence_time = Duration::from_secs(60);
    }));
    let (asked, minted) = begin(&mut scene, host, &prompt("1"));
    let lasting = prompt("2").meta(r#""progressToken":1"#);
    let (lasting, lasting_minted) = begin(&mut scene, host, &lasting);
    scene.wait_secs(9);
    let progress = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{lasting_minted},"progress":1}}}}"#
    );
    scene.says(host, &progress);
    scene.wait_secs(1);
    scene.assert_refused_modern(asked, Refusal::RequestTimeout);
    assert_eq!(scene.response(asked).json()["id"], 1);
    let line = json(&scene.hears_one(host));
    assert_eq!(line["params"]["requestId"], json(&minted));
    // Progress begins the time anew, but not for ever.
    scene.wait_secs(8);
    scene.says(host, &progress);
    scene.wait_secs(6);
    assert!(!scene.response(lasting).complete);
    scene.wait_secs(1);
    assert!(scene.response(lasting).complete);
    assert_eq!(answer(&scene, lasting)["id"], 2);
    assert_eq!(
        answer(&scene, lasting)["error"]["message"],
        Refusal::RequestTimeout.message()
    );
    scene.assert_nothing_is_left();
}

#[test]
fn the_childs_end_reaches_everyone_who_waits_and_the_next_request_starts_another() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let (plain, _) = begin(&mut scene, host, &prompt("1"));
    let (streaming, minted) = begin(
        &mut scene,
        host,
        &prompt("2").meta(r#""progressToken":"t""#),
    );
    scene.says(
        host,
        &format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{minted},"progress":1}}}}"#
        ),
    );
    scene.exits(host);
    let code = Refusal::ChildExited.code_for(mcp_proto::Era::Modern);
    assert_error(&scene, plain, 200, code, &1.into());
    assert_eq!(answer(&scene, streaming)["id"], 2);
    assert_eq!(answer(&scene, streaming)["error"]["code"], code);

    let again = scene.ask(&prompt("3"));
    let second = scene.new_child();
    let minted = scene.minted(second);
    scene.answers(second, &minted, "x");
    scene.assert_answered(again, 3.into(), "x");
    scene.assert_nothing_is_left();
}

#[test]
fn a_child_that_cannot_be_started_again_is_held_back() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    scene.exits(host);
    scene.spawning_fails();
    let asked = scene.ask(&prompt("1"));
    scene.assert_refused_modern(asked, Refusal::ChildUnavailable);
    let children = scene.new_children().len();
    let early = scene.ask(&prompt("2"));
    scene.assert_refused_modern(early, Refusal::ChildUnavailable);
    assert_eq!((children, scene.new_children()), (1, vec![]));
    scene.spawning_works();
    scene.wait_secs(1);
    let late = scene.ask(&prompt("3"));
    let child = scene.new_child();
    let minted = scene.minted(child);
    scene.answers(child, &minted, "x");
    scene.assert_answered(late, 3.into(), "x");
    scene.assert_nothing_is_left();
}

#[test]
fn log_messages_go_to_the_only_call_that_asked_for_them() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let message =
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
    let wants = |id| prompt(id).meta(r#""io.modelcontextprotocol/logLevel":"info""#);
    let (silent, _) = begin(&mut scene, host, &prompt("1"));
    scene.says(host, message);
    let (logs, minted) = begin(&mut scene, host, &wants("2"));
    scene.says(host, message);
    assert!(scene.is_waiting(silent));
    assert_eq!(scene.messages(logs), [json(message)]);
    // With two that ask, nothing tells whose it is.
    let (other, other_minted) = begin(&mut scene, host, &wants("3"));
    scene.says(host, message);
    assert_eq!(scene.messages(logs).len(), 1);
    assert!(scene.is_waiting(other));
    scene.answers(host, &minted, "x");
    scene.says(host, message);
    assert_eq!(scene.messages(other), [json(message)]);
    scene.answers(host, &other_minted, "x");
    assert_eq!(answer(&scene, logs)["id"], 2);
    assert_eq!(answer(&scene, other)["id"], 3);
    scene.assert_nothing_is_left();
}

#[test]
fn a_log_message_of_a_call_that_was_cancelled_goes_to_nobody_else() {
    let (mut scene, host) = modern_only(limited(|limits| {
        limits.session_ttl = 2 * limits.request_time_max;
    }));
    let message =
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
    let wants = prompt("1").meta(r#""io.modelcontextprotocol/logLevel":"info""#);
    let (leaves, _) = begin(&mut scene, host, &wants);
    scene.leave(leaves);
    scene.hears_one(host);
    let (asked, minted) = begin(&mut scene, host, &wants);
    // It crosses the cancel, or the child does not heed that.
    scene.says(host, message);
    assert!(scene.is_waiting(asked));
    scene.answers(host, &minted, "x");
    scene.assert_answered(asked, 1.into(), "x");
    let longest = scene.world.gateway().policy().limits.request_time_max;
    scene.wait(longest);
    let (again, minted) = begin(&mut scene, host, &wants);
    scene.says(host, message);
    scene.answers(host, &minted, "x");
    assert_eq!(scene.messages(again)[0], json(message));
    scene.assert_nothing_is_left();
}

#[test]
fn a_modern_child_asks_nobody_anything() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let (asked, _) = begin(&mut scene, host, &prompt("1").capabilities(ELICITS));
    for (number, method) in ["elicitation/create", "ping", "roots/list"]
        .iter()
        .enumerate()
    {
        scene.says(
            host,
            &format!(r#"{{"jsonrpc":"2.0","id":"q{number}","method":"{method}"}}"#),
        );
        let line = json(&scene.hears_one(host));
        assert_eq!(line["id"], format!("q{number}"));
        assert_eq!(line["error"]["code"], -32601);
    }
    assert!(scene.is_waiting(asked));
}

#[test]
fn a_client_that_does_not_read_is_sent_away_and_nobody_else_notices() {
    let (mut scene, host) = modern_only(limited(|limits| limits.stream_queue_bytes = 2000));
    let ask = prompt("1").meta(r#""progressToken":1"#);
    let slow = scene.send(ask.request().unread());
    let slow_minted = scene.minted(host);
    let (other, other_minted) = begin(&mut scene, host, &ask);
    let pad = "x".repeat(500);
    for number in 0..8 {
        for minted in [&slow_minted, &other_minted] {
            scene.says(
                host,
                &format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{minted},"progress":{number},"message":"{pad}"}}}}"#
                ),
            );
        }
    }
    assert!(scene.response(slow).dropped);
    assert!(scene.audit().contains(&AuditEvent::ReaderDropped));
    let line = json(&scene.hears_one(host));
    assert_eq!(line["method"], "notifications/cancelled");
    assert_eq!(line["params"]["requestId"], json(&slow_minted));
    scene.answers(host, &other_minted, "x");
    assert_eq!(scene.messages(other).len(), 9);
    scene.assert_nothing_is_left();
}

#[test]
fn a_bound_on_calls_holds_for_all_clients_together() {
    let (mut scene, host) = modern_only(limited(|limits| limits.calls_per_child = 2));
    let (_, first) = begin(&mut scene, host, &prompt("1"));
    begin(&mut scene, host, &prompt("1"));
    let refused = scene.ask(&prompt("1"));
    scene.assert_refused_modern(refused, Refusal::TooManyCalls);
    scene.answers(host, &first, "x");
    let (_, minted) = begin(&mut scene, host, &prompt("1"));
    scene.answers(host, &minted, "x");
}

#[test]
fn a_drain_lets_calls_finish_and_takes_no_more() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let (asked, minted) = begin(&mut scene, host, &prompt("1"));
    let (never, _) = begin(&mut scene, host, &prompt("2"));
    scene.world.drain();
    scene.settle();
    let late = scene.ask(&prompt("3"));
    scene.assert_refused_modern(late, Refusal::Draining);
    scene.answers(host, &minted, "x");
    scene.assert_answered(asked, 1.into(), "x");
    assert!(scene.world.child(host).lives());
    let finish = scene.world.gateway().policy().limits.finish_time();
    scene.wait(finish);
    // The child has read it, so that it is not worth trying again.
    let code = Refusal::ChildExited.code_for(mcp_proto::Era::Modern);
    assert_error(&scene, never, 200, code, &2.into());
    scene.assert_nothing_is_left();
}

#[test]
fn a_child_that_nobody_uses_ends_after_its_time() {
    let (mut scene, host) = modern_only(limited(|limits| {
        limits.session_ttl = Duration::from_secs(100);
    }));
    let (_, minted) = begin(&mut scene, host, &prompt("1"));
    scene.wait_secs(90);
    scene.answers(host, &minted, "x");
    scene.wait_secs(99);
    assert!(scene.world.child(host).lives());
    scene.wait_secs(2);
    assert!(!scene.world.child(host).lives());
    assert_eq!(scene.world.upstreams(), 0);
}

#[test]
fn what_the_head_says_has_to_be_what_the_body_says() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let ask = prompt("9");
    let wrong = [
        ask.request().without("mcp-method"),
        ask.request().with("mcp-method", "prompts/list"),
        ask.request().without("mcp-name"),
        ask.request().with("mcp-name", "q"),
        ask.request().field("mcp-name", "p"),
        ask.request().without("mcp-protocol-version"),
        ask.request().with("mcp-protocol-version", "2025-11-25"),
    ];
    for request in wrong {
        let asked = scene.send(request);
        assert_error(&scene, asked, 400, -32020, &9.into());
    }
    let encoded = ask.request().with("mcp-name", "=?base64?cA==?=");
    scene.send(encoded);
    assert_eq!(method(&scene.hears_one(host)), "prompts/get");

    // Of a version that nobody knows, and both say so.
    let body = ask.text().replace("2026-07-28", "2031-01-01");
    let asked = scene.send(mcp_proto_sim::Request::modern(body));
    assert_error(&scene, asked, 400, -32022, &9.into());
    let data = &scene.response(asked).json()["error"]["data"];
    assert_eq!(data["requested"], "2031-01-01");
    assert!(data["supported"].to_string().contains("2026-07-28"));
    assert_eq!(scene.hears(host), [""; 0]);
}

#[test]
fn what_earlier_revisions_have_and_this_one_has_not_is_no_method() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    for method in [
        "ping",
        "initialize",
        "logging/setLevel",
        "resources/subscribe",
    ] {
        let asked = scene.ask(&Ask::new("1", method, ""));
        assert_error(&scene, asked, 404, -32601, &1.into());
    }
    assert_eq!(scene.hears(host), [""; 0]);
}
