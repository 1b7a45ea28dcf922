use super::*;
use crate::translation::modern_server::discover_result;

#[test]
fn the_child_is_told_what_the_client_can_be_asked() {
    let mut script = Script::opening(r#"{"roots":{}}"#);
    let heard = script.child_hears();
    assert_eq!(heard["method"], "initialize");
    assert_eq!(heard["params"]["protocolVersion"], "2025-11-25");
    assert_eq!(heard["params"]["capabilities"], json!({"roots": {}}));
    assert_eq!(heard["params"]["clientInfo"]["name"], "mcp-gateway");
    script.all_is_quiet();
}

#[test]
fn requests_wait_for_the_handshake_in_their_order() {
    let mut script = Script::opening("{}");
    for id in 1..4 {
        script.request(id, "tools/list", json!({}));
    }
    script.client(json!({"method": "notifications/cancelled", "params": {"requestId": 2}}));
    assert_eq!(script.server.readiness(), Readiness::Opening);
    script.initialize();
    assert_eq!(script.child_hears()["id"], 1);
    assert_eq!(script.child_hears()["id"], 3);
    script.all_is_quiet();
}

#[test]
fn what_waits_for_the_handshake_is_bounded() {
    let limits = Limits {
        stdin_bytes: 4096,
        ..Limits::default()
    };
    let mut script = Script::limited("{}", &limits);
    for id in 1..=20 {
        script.request(id, "tools/list", json!({}));
    }
    let refused = script.to_client.len();
    assert!(0 < refused && refused < 20);
    assert_eq!(script.client_hears()["error"]["code"], -32603);
    script.initialize();
    assert_eq!(script.to_child.len(), 20 - refused);
}

#[test]
fn a_child_that_refuses_serves_nobody() {
    for answer in [
        json!({"id": 0, "error": {"code": -32603, "message": "no"}}),
        json!({"id": 0, "result": 1}),
    ] {
        let mut script = Script::opening("{}");
        script.child_hears();
        script.request(1, "tools/list", json!({}));
        script.child(answer);
        script.request(2, "server/discover", json!({}));
        assert_eq!(script.server.readiness(), Readiness::Failed);
        for id in [1, 2] {
            let heard = script.client_hears();
            assert_eq!(
                (&heard["id"], &heard["error"]["code"]),
                (&json!(id), &json!(-32603))
            );
        }
        script.all_is_quiet();
        assert!(script.is_empty());
    }
}

#[test]
fn so_does_a_child_that_is_silent() {
    let mut script = Script::opening("{}");
    script.child_hears();
    script.request(1, "tools/list", json!({}));
    script.pass(Limits::default().request_time);
    assert_eq!(script.server.readiness(), Readiness::Failed);
    assert_eq!(script.client_hears()["error"]["code"], -32603);
    script.child(json!({"id": 0, "result": initialize_result()}));
    assert_eq!(script.server.readiness(), Readiness::Failed);
    script.all_is_quiet();
}

#[test]
fn a_ping_of_the_childs_is_answered() {
    let mut script = Script::opening("{}");
    script.child_hears();
    script.child(json!({"id": "a", "method": "ping"}));
    assert_eq!(
        script.child_hears(),
        json!({"jsonrpc": "2.0", "id": "a", "result": {}})
    );
}

#[test]
fn discovery_tells_what_the_handshake_told() {
    let mut script = Script::ready("{}");
    script.request(7, "server/discover", json!({}));
    let expected = json!({
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": initialize_result()["capabilities"],
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "old", "version": "1"}},
    });
    assert_eq!(script.client_hears(), answer(7, expected));
    script.all_is_quiet();
}

#[test]
fn what_discovery_cannot_tell_it_leaves_out() {
    let discovered = |initialized: &str| {
        let told = discover_result(initialized.as_bytes());
        assert_eq!(memchr::memchr2(b'\r', b'\n', &told), None);
        String::from_utf8(told.to_vec()).unwrap()
    };
    let told = discovered(
        "{\"capabilities\":{\"tasks\":{},\"tools\":{\"big\":12345678901234567890123}},\r\n\
         \"instructions\":\"Ask.\",\"serverInfo\":\n{\"name\":\"a\"}}",
    );
    assert!(told.contains("\"tools\":{\"big\":12345678901234567890123}"));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["instructions"], "Ask.");
    assert_eq!(told["capabilities"]["tasks"], Value::Null);
    for nothing in ["{}", "1", "null", "[]", ""] {
        let told: Value = serde_json::from_str(&discovered(nothing)).unwrap();
        assert_eq!(told["capabilities"], json!({}));
        assert_eq!(told.get("_meta"), None);
    }
}

#[test]
fn a_child_that_has_yet_to_answer_is_free_until_it_has_a_call_to_make() {
    for (declared, method, logs, is_free) in [
        (ALL, "tools/call", false, false),
        (ALL, "tools/list", false, true),
        ("{}", "tools/call", false, true),
        ("{}", "tools/list", true, false),
    ] {
        let mut script = Script::opening(declared);
        assert!(script.server.is_free());
        let mut more = json!({});
        if logs {
            more["io.modelcontextprotocol/logLevel"] = "info".into();
        }
        script.request_with(1, method, json!({}), more);
        assert_eq!(
            script.server.is_free(),
            is_free,
            "{declared} {method} {logs}"
        );
        script.initialize();
        assert_eq!(
            script.server.is_free(),
            is_free,
            "{declared} {method} {logs}"
        );
    }
}
