use super::*;

fn cancel(script: &mut Script, request: u64) {
    script.client(json!({"method": "notifications/cancelled", "params": {"requestId": request}}));
}

fn child_hears_cancelled(script: &mut Script, request: u64) {
    let heard = script.child_hears();
    assert_eq!(heard["method"], "notifications/cancelled");
    assert_eq!(heard["params"]["requestId"], request);
}

#[test]
fn a_call_is_cancelled_at_the_child_and_not_answered() {
    let mut script = Script::ready("{}");
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    cancel(&mut script, 1);
    child_hears_cancelled(&mut script, 1);
    cancel(&mut script, 1);
    cancel(&mut script, 2);
    script.child(json!({"id": 1, "result": {}}));
    script.all_is_quiet();
    assert!(script.is_empty());
}

#[test]
fn a_retry_is_cancelled_under_the_id_that_the_child_knows() {
    let mut script = Script::ready(ALL);
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    script.child(json!({"id": 5, "method": "roots/list"}));
    script.gathered();
    script.client_hears();
    script.request(
        2,
        "tools/call",
        json!({"requestState": "1.1", "inputResponses": {"request-1": {}}}),
    );
    script.child_hears();
    script.request(3, "tools/call", json!({}));
    cancel(&mut script, 1);
    script.all_is_quiet();
    cancel(&mut script, 2);
    child_hears_cancelled(&mut script, 1);
    assert_eq!(script.child_hears()["id"], 3, "it is the next one's turn");
}

#[test]
fn what_waits_for_its_turn_is_never_sent() {
    let mut script = Script::ready(ALL);
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    script.request(2, "tools/call", json!({}));
    cancel(&mut script, 2);
    script.child(json!({"id": 1, "result": {}}));
    script.client_hears();
    script.all_is_quiet();
    assert!(script.server.is_free() && !script.server.is_spent() && script.is_empty());
}

#[test]
fn what_was_asked_meanwhile_is_refused() {
    let mut script = Script::ready(ALL);
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    script.child(json!({"id": 9, "method": "roots/list"}));
    cancel(&mut script, 1);
    child_hears_cancelled(&mut script, 1);
    assert_eq!(script.child_hears()["id"], 9);
    script.gathered();
    script.all_is_quiet();
}

#[test]
fn a_child_that_may_still_ask_is_spent() {
    for (declared, method, is_spent) in [
        (ALL, "tools/call", true),
        (ALL, "tools/list", false),
        ("{}", "tools/call", false),
    ] {
        let mut script = Script::ready(declared);
        script.request(1, method, json!({}));
        cancel(&mut script, 1);
        assert!(script.server.is_free());
        assert_eq!(script.server.is_spent(), is_spent, "{declared} {method}");
        script.child(json!({"id": 1, "error": {"code": 0, "message": "cancelled"}}));
        assert!(!script.server.is_spent() && script.is_empty());
        assert_eq!(script.to_client.len(), 0);
    }
}

#[test]
fn no_child_is_haunted_for_ever() {
    let limits = Limits::default();
    let mut script = Script::ready("{}");
    script.request(1, "tools/call", json!({}));
    cancel(&mut script, 1);
    assert!(!script.is_empty());
    script.pass(limits.request_time_max);
    assert!(script.is_empty());

    // Of many it is not known which are done with, and no more is kept.
    for id in 2..=1000 {
        script.request(id, "tools/call", json!({}));
        cancel(&mut script, id);
    }
    for id in 2..=1000 {
        script.child(json!({"id": id, "result": {}}));
    }
    assert_eq!(script.to_client.len(), 0);
    assert!(!script.is_empty());
    script.pass(limits.request_time_max);
    assert!(script.is_empty());
}
