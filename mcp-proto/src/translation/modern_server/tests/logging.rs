use super::*;

fn level(level: &str) -> Value {
    json!({"io.modelcontextprotocol/logLevel": level})
}

fn log(script: &mut Script, level: &str) {
    let params = json!({"level": level, "data": level});
    script.child(json!({"method": "notifications/message", "params": params}));
}

fn child_hears_level(script: &mut Script, level: &str) {
    let heard = script.child_hears();
    assert_eq!(
        (&heard["method"], &heard["params"]["level"]),
        (&json!("logging/setLevel"), &json!(level))
    );
    let id = heard["id"].clone();
    script.child(json!({"id": id, "result": {}}));
}

#[test]
fn a_call_gets_the_messages_that_it_asked_for() {
    let mut script = Script::ready("{}");
    script.request_with(1, "tools/call", json!({}), level("warning"));
    child_hears_level(&mut script, "warning");
    assert_eq!(script.child_hears()["id"], 1);
    assert!(!script.server.is_free());
    for severity in [
        "debug",
        "info",
        "notice",
        "warning",
        "error",
        "critical",
        "alert",
        "emergency",
        "a",
    ] {
        log(&mut script, severity);
    }
    for severity in ["warning", "error", "critical", "alert", "emergency"] {
        assert_eq!(script.client_hears()["params"]["data"], severity);
    }
    script.child(json!({"id": 1, "result": {}}));
    assert_eq!(script.client_hears()["id"], 1);
    script.all_is_quiet();
    assert!(script.server.is_free() && script.is_empty());
}

#[test]
fn the_child_is_told_of_a_level_once() {
    let mut script = Script::ready("{}");
    for (id, severity, is_told) in [(1, "info", true), (2, "info", false), (3, "debug", true)] {
        script.request_with(id, "tools/list", json!({}), level(severity));
        if is_told {
            child_hears_level(&mut script, severity);
        }
        assert_eq!(script.child_hears()["id"], id);
        script.child(json!({"id": id, "result": {}}));
    }
}

#[test]
fn who_did_not_ask_gets_none() {
    let mut script = Script::ready("{}");
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    log(&mut script, "emergency");
    script.all_is_quiet();
}

#[test]
fn what_another_call_may_have_logged_goes_to_nobody() {
    let mut script = Script::ready("{}");
    script.request_with(1, "tools/call", json!({}), level("info"));
    script.request(2, "tools/call", json!({}));
    log(&mut script, "error");
    script.child(json!({"id": 2, "result": {}}));
    assert_eq!(script.client_hears()["id"], 2);
    log(&mut script, "error");
    assert_eq!(script.client_hears()["params"]["level"], "error");

    // A call that was cancelled may log as well.
    script.request(3, "tools/call", json!({}));
    script.client(json!({"method": "notifications/cancelled", "params": {"requestId": 3}}));
    log(&mut script, "error");
    assert_eq!(script.to_client.len(), 0);
    script.child(json!({"id": 3, "result": {}}));
    log(&mut script, "error");
    assert_eq!(script.to_client.len(), 1);
}

#[test]
fn calls_that_want_messages_come_one_after_the_other() {
    let mut script = Script::ready("{}");
    script.request_with(1, "tools/call", json!({}), level("info"));
    child_hears_level(&mut script, "info");
    script.child_hears();
    script.request_with(2, "tools/call", json!({}), level("error"));
    script.all_is_quiet();
    script.child(json!({"id": 1, "result": {}}));
    child_hears_level(&mut script, "error");
    assert_eq!(script.child_hears()["id"], 2);
}

#[test]
fn a_child_without_the_capability_is_told_of_no_level() {
    let mut script = Script::opening("{}");
    script.child_hears();
    script.child(json!({"id": 0, "result": {"capabilities": {}}}));
    script.child_hears();
    script.request_with(9, "tools/call", json!({}), level("info"));
    assert_eq!(script.child_hears()["id"], 9);
    log(&mut script, "error");
    script.all_is_quiet();
    for id in [1, 2] {
        script.request_with(id, "tools/call", json!({}), level("info"));
        assert_eq!(script.child_hears()["id"], id);
    }
    assert!(script.server.is_free());
}
