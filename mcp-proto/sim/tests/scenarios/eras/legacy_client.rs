//! Legacy clients of a server that speaks 2026-07-28 only: their sessions share its child.

use mcp_proto::{AuditEvent, Refusal, SessionEnd};
use mcp_proto_sim::{Request, Session};

use super::*;

/// Opens a session, whose client can be asked for what `capabilities` say.
#[track_caller]
fn open(scene: &mut Scene, capabilities: &str) -> Session {
    let asked = scene.send(Request::post(format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"clientInfo":{{"name":"old","version":"1"}}}}}}"#
    )));
    let opened = scene.world.opened().iter().rev();
    let (upstream, _) = *opened
        .clone()
        .find(|(_, by)| *by == Some(asked))
        .expect("a session");
    let result = answer(scene, asked)["result"].clone();
    assert_eq!(result["protocolVersion"], "2025-11-25");
    assert_eq!(result["serverInfo"]["name"], "s");
    assert_eq!(result["capabilities"]["tools"]["listChanged"], true);
    let id = scene.response(asked).field("mcp-session-id").unwrap();
    let session = Session { id, upstream };
    let told = scene.post(
        &session,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    );
    assert_eq!(scene.response(told).status(), 202);
    session
}

/// A session's call, and the line that the host reads of it.
#[track_caller]
fn called(scene: &mut Scene, host: UpstreamId, session: &Session, id: &str) -> (Asked, Value) {
    let asked = scene.call(session, id);
    let lines = scene.hears(host);
    let line = lines.iter().map(|line| json(line));
    let call = line.filter(|line| line["method"] == "tools/call");
    let calls: Vec<_> = call.collect();
    assert_eq!(calls.len(), 1, "{lines:?}");
    (asked, calls[0].clone())
}

#[test]
fn sessions_share_one_child_and_equal_ids_do_not_cross() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let one = open(&mut scene, "{}");
    let other = open(&mut scene, ELICITS);
    assert_eq!(scene.new_children(), []);
    let (one_asked, one_line) = called(&mut scene, host, &one, "1");
    let (other_asked, other_line) = called(&mut scene, host, &other, "1");
    let (modern, modern_minted) = begin(&mut scene, host, &prompt("1"));
    let meta = &one_line["params"]["_meta"];
    assert_eq!(
        meta["io.modelcontextprotocol/protocolVersion"],
        "2026-07-28"
    );
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "old");
    assert_eq!(
        other_line["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"],
        json(ELICITS)
    );
    scene.answers(host, &modern_minted, "c");
    scene.says(
        host,
        &result(
            &other_line["id"].to_string(),
            r#"{"resultType":"complete","marker":"b"}"#,
        ),
    );
    scene.answers(host, &one_line["id"].to_string(), "a");
    scene.assert_answered(one_asked, 1.into(), "a");
    scene.assert_answered(other_asked, 1.into(), "b");
    assert_eq!(
        answer(&scene, other_asked)["result"]["resultType"],
        Value::Null
    );
    scene.assert_answered(modern, 1.into(), "c");
    scene.assert_nothing_is_left();
}

#[test]
fn progress_comes_on_the_calls_stream_with_its_own_token() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let session = open(&mut scene, "{}");
    scene.hears(host);
    let asked = scene.call_with_token(&session, "1", "\"t\"");
    let line = json(&scene.hears_one(host));
    let token = line["params"]["_meta"]["progressToken"].to_string();
    scene.says(
        host,
        &format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        ),
    );
    scene.answers(host, &line["id"].to_string(), "x");
    let messages = scene.messages(asked);
    assert_eq!(messages[0]["params"]["progressToken"], "t");
    assert_eq!(messages[1]["result"]["marker"], "x");
    scene.assert_nothing_is_left();
}

#[test]
fn what_a_call_asks_for_is_asked_of_its_own_client_on_the_calls_stream() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let session = open(&mut scene, ELICITS);
    let bystander = open(&mut scene, ELICITS);
    let listening = scene.listen(&bystander);
    let (asked, line) = called(&mut scene, host, &session, "1");
    scene.says(
        host,
        &result(
            &line["id"].to_string(),
            r#"{"resultType":"input_required","requestState":"own","inputRequests":{"k":{"method":"elicitation/create","params":{"mode":"form","message":"?","requestedSchema":{"type":"object","properties":{}}}}}}"#,
        ),
    );
    let question = scene.messages(asked).pop().unwrap();
    assert_eq!(question["method"], "elicitation/create");
    assert_eq!(question["params"]["message"], "?");
    let id = &question["id"];
    // Another session's answer to it is nobody's.
    let reply = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept","content":{{"a":1}}}}}}"#
    );
    scene.post(&bystander, &reply);
    assert_eq!(scene.hears(host), [""; 0]);
    let answered = scene.post(&session, &reply);
    assert_eq!(scene.response(answered).status(), 202);
    let again = json(&scene.hears_one(host));
    assert_eq!(again["method"], "tools/call");
    assert_eq!(again["params"]["requestState"], "own");
    assert_eq!(again["params"]["inputResponses"]["k"]["content"]["a"], 1);
    scene.answers(host, &again["id"].to_string(), "x");
    assert_eq!(answer(&scene, asked)["result"]["marker"], "x");
    assert_eq!(scene.messages(listening), [Value::Null; 0]);
    scene.assert_nothing_is_left();
}

#[test]
fn a_cancel_reaches_the_child() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let session = open(&mut scene, "{}");
    let (_, line) = called(&mut scene, host, &session, "\"c\"");
    scene.post(
        &session,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c"}}"#,
    );
    let cancelled = json(&scene.hears_one(host));
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], line["id"]);
    scene.assert_nothing_is_left();
}

#[test]
fn an_ended_session_cancels_its_calls_and_leaves_the_child_to_others() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let session = open(&mut scene, "{}");
    let other = open(&mut scene, "{}");
    scene.hears(host);
    let (_, line) = called(&mut scene, host, &session, "1");
    let (asked, other_line) = called(&mut scene, host, &other, "1");
    let deleted = scene.delete(&session);
    assert_eq!(scene.response(deleted).status(), 204);
    let lines = scene.hears(host);
    let cancelled: Vec<_> = lines
        .iter()
        .map(|line| json(line)["params"]["requestId"].clone())
        .collect();
    assert!(cancelled.contains(&line["id"]), "{lines:?}");
    assert!(!cancelled.contains(&other_line["id"]));
    assert!(scene.world.child(host).lives());
    scene.answers(host, &other_line["id"].to_string(), "x");
    scene.assert_answered(asked, 1.into(), "x");
    let gone = scene.call(&session, "2");
    scene.assert_refused(gone, Refusal::SessionNotFound);
    scene.assert_nothing_is_left();
}

#[test]
fn the_childs_end_ends_its_sessions_and_the_next_has_another() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let session = open(&mut scene, "{}");
    let listening = scene.listen(&session);
    let (asked, _) = called(&mut scene, host, &session, "1");
    scene.exits(host);
    assert_eq!(
        answer(&scene, asked)["error"]["message"],
        Refusal::ChildExited.message()
    );
    assert!(scene.response(listening).complete);
    assert!(
        scene
            .audit()
            .contains(&AuditEvent::SessionEnded(SessionEnd::ChildExited))
    );
    let gone = scene.call(&session, "2");
    scene.assert_refused(gone, Refusal::SessionNotFound);
    let session = open(&mut scene, "{}");
    let fresh = scene.new_child();
    let (asked, line) = called(&mut scene, fresh, &session, "1");
    scene.answers(fresh, &line["id"].to_string(), "x");
    scene.assert_answered(asked, 1.into(), "x");
    scene.assert_nothing_is_left();
}

#[test]
fn the_child_stays_for_as_long_as_there_are_sessions() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let session = open(&mut scene, "{}");
    let listening = scene.listen(&session);
    let ttl = scene.world.gateway().policy().limits.session_ttl;
    scene.wait(ttl * 3);
    assert!(scene.world.child(host).lives());
    assert!(!scene.response(listening).complete);
    scene.leave(listening);
    scene.wait(ttl * 3);
    assert!(!scene.world.child(host).lives());
    assert_eq!(scene.world.upstreams(), 0);
    let late = scene.call(&session, "1");
    scene.assert_refused(late, Refusal::SessionNotFound);
}

#[test]
fn what_a_session_says_to_the_server_alone_is_answered_without_the_child() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let session = open(&mut scene, "{}");
    scene.hears(host);
    let ping = scene.post(&session, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    assert_eq!(answer(&scene, ping)["result"], json("{}"));
    let level = scene.post(
        &session,
        r#"{"jsonrpc":"2.0","id":2,"method":"logging/setLevel","params":{"level":"error"}}"#,
    );
    assert_eq!(answer(&scene, level)["result"], json("{}"));
    assert_eq!(scene.hears(host), [""; 0]);
    let (_, line) = called(&mut scene, host, &session, "3");
    assert_eq!(
        line["params"]["_meta"]["io.modelcontextprotocol/logLevel"],
        "error"
    );
    scene.assert_nothing_is_left();
}

#[test]
fn what_the_server_tells_of_comes_on_the_sessions_stream() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let session = open(&mut scene, "{}");
    let line = json(&scene.hears_one(host));
    assert_eq!(line["method"], "subscriptions/listen");
    let listening = scene.listen(&session);
    let id = &line["id"];
    for what in [
        "notifications/subscriptions/acknowledged",
        "notifications/tools/list_changed",
    ] {
        scene.says(
            host,
            &format!(
                r#"{{"jsonrpc":"2.0","method":"{what}","params":{{"notifications":{{"toolsListChanged":true}},"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
            ),
        );
    }
    let messages = scene.messages(listening);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["method"], "notifications/tools/list_changed");
    scene.assert_nothing_is_left();
}

#[test]
fn a_session_that_is_being_resumed_has_missed_nothing() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let session = open(&mut scene, "{}");
    scene.hears(host);
    let asked = scene.call_with_token(&session, "1", "1");
    let line = json(&scene.hears_one(host));
    let token = line["params"]["_meta"]["progressToken"].to_string();
    let progress = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
    );
    scene.says(host, &progress);
    let last = scene.last_id(asked);
    scene.leave(asked);
    scene.answers(host, &line["id"].to_string(), "x");
    let resumed = scene.resume(&session, &last);
    assert_eq!(answer(&scene, resumed)["result"]["marker"], "x");
    scene.assert_nothing_is_left();
}
