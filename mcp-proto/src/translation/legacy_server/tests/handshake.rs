//! The handshake, and what else belongs to the session alone.

use serde_json::{Value, json};

use super::{Server, discovered, error_code, initialize, nested};
use crate::envelope::MAX_DEPTH;

#[test]
fn the_server_introduces_itself_as_discovered() {
    let mut server = Server::new(&discovered());
    server.says(initialize("2025-06-18", &json!({})));
    assert_eq!(
        server.hears(),
        json!({"id": 1, "result": {
            "protocolVersion": "2025-06-18",
            "capabilities": discovered()["capabilities"],
            "serverInfo": {"name": "modern", "version": "3"},
            "instructions": "Be kind.",
        }})
    );
    server.is_silent();
}

#[test]
fn the_version_is_the_clients_or_the_latest() {
    for (asked, given) in [
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2024-11-05", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("", "2025-11-25"),
    ] {
        let mut server = Server::new(&discovered());
        server.says(initialize(asked, &json!({})));
        assert_eq!(server.hears()["result"]["protocolVersion"], given);
    }
}

#[test]
fn capabilities_that_legacy_lacks_are_left_out() {
    let mut result = discovered();
    result["capabilities"] = json!({
        "tools": {},
        "extensions": {"io.modelcontextprotocol/tasks": {}, "io.modelcontextprotocol/ui": {"a": 1}},
    });
    let mut server = Server::new(&result);
    server.says(initialize("2025-11-25", &json!({})));
    assert_eq!(
        server.hears()["result"]["capabilities"],
        json!({"tools": {}, "extensions": {"io.modelcontextprotocol/ui": {"a": 1}}})
    );

    result["capabilities"] = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let mut server = Server::new(&result);
    server.says(initialize("2025-11-25", &json!({})));
    assert_eq!(server.hears()["result"]["capabilities"], json!({}));
}

#[test]
fn a_result_of_discovery_that_says_nothing_is_enough() {
    for nothing in [
        json!({}),
        json!([]),
        json!({"capabilities": 1, "_meta": "", "instructions": {}}),
    ] {
        let mut server = Server::new(&nothing);
        server.says(initialize("2025-11-25", &json!({})));
        assert_eq!(
            server.hears()["result"],
            json!({
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "serverInfo": {"name": "unknown", "version": "unknown"},
            })
        );
        server.says(json!({"method": "notifications/initialized"}));
        server.is_silent();
    }
}

/// The `_meta` of a call by a client with these capabilities.
fn meta(capabilities: &Value) -> Value {
    let mut server = Server::open(&json!({}), capabilities);
    server.says(json!({"id": 2, "method": "tools/list"}));
    server.child_hears().1["params"]["_meta"].clone()
}

#[test]
fn every_call_says_who_the_client_is() {
    let capabilities = json!({
        "roots": {"listChanged": true},
        "sampling": {"tools": {}},
        "elicitation": {"form": {}, "url": {}},
        "experimental": {"x": {"y": 1}},
        "extensions": {"io.modelcontextprotocol/ui": {}, "io.modelcontextprotocol/tasks": {}},
        "tasks": {"list": {}},
        "unheard": {},
    });
    assert_eq!(
        meta(&capabilities),
        json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "old", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {
                "roots": {},
                "sampling": {"tools": {}},
                "elicitation": {"form": {}, "url": {}},
                "experimental": {"x": {"y": 1}},
                "extensions": {"io.modelcontextprotocol/ui": {}},
            },
        })
    );
}

#[test]
fn what_is_no_capability_is_not_declared() {
    let declared = meta(&json!({"roots": true, "sampling": null, "extensions": []}));
    let declared = &declared["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(*declared, json!({}));
}

#[test]
fn a_client_that_tells_too_much_of_itself_is_refused() {
    let with = |length| {
        initialize(
            "2025-11-25",
            &json!({"experimental": {"x": {"y": "z".repeat(length)}}}),
        )
    };
    let most = 64 * 1024 - with(0)["params"].to_string().len();
    for (length, is_served) in [(most, true), (most + 1, false)] {
        let mut server = Server::new(&discovered());
        server.says(with(length));
        let answer = server.hears();
        assert_eq!(answer.get("result").is_some(), is_served);
    }
}

#[test]
fn a_client_that_nests_too_deeply_is_refused() {
    // In the message, `params`, `_meta`, `clientCapabilities`; in `initialize` one level less.
    for (depth, is_served) in [(MAX_DEPTH - 4, true), (MAX_DEPTH - 3, false)] {
        let mut server = Server::new(&discovered());
        server.says(initialize(
            "2025-11-25",
            &json!({"experimental": nested(depth)}),
        ));
        let answer = server.hears();
        assert_eq!(answer.get("result").is_some(), is_served);
        server.says(json!({"id": 2, "method": "tools/list"}));
        server.child_hears();
    }
}

#[test]
fn pings_are_answered_here() {
    let mut server = Server::open(&discovered(), &json!({}));
    server.says(json!({"id": 2, "method": "ping"}));
    assert_eq!(server.hears(), json!({"id": 2, "result": {}}));
    server.is_silent();
}

/// The log level that a call asks for.
fn level(server: &mut Server) -> Value {
    server.says(json!({"id": 9, "method": "tools/list"}));
    let (reference, request) = server.child_hears();
    server.child_answers(reference, json!({"tools": []}));
    server.hears();
    request["params"]["_meta"]["io.modelcontextprotocol/logLevel"].clone()
}

#[test]
fn the_log_level_is_what_was_set_last() {
    let mut server = Server::open(&discovered(), &json!({}));
    assert_eq!(level(&mut server), "info");
    server.says(json!({"id": 2, "method": "logging/setLevel", "params": {"level": "error"}}));
    assert_eq!(server.hears(), json!({"id": 2, "result": {}}));
    assert_eq!(level(&mut server), "error");
    for wrong in [json!({"level": "loud"}), json!({"level": 3}), json!({})] {
        server.says(json!({"id": 3, "method": "logging/setLevel", "params": wrong}));
        assert_eq!(error_code(&server.hears()), -32602);
    }
    assert_eq!(level(&mut server), "error");
}

#[test]
fn a_server_that_does_not_log_is_not_asked_to() {
    let mut server = Server::open(&json!({}), &json!({}));
    server.says(json!({"id": 2, "method": "logging/setLevel", "params": {"level": "error"}}));
    assert_eq!(error_code(&server.hears()), -32601);
    assert_eq!(level(&mut server), Value::Null);
}

#[test]
fn methods_that_legacy_servers_lack_are_not_found() {
    let mut server = Server::open(&discovered(), &json!({}));
    for method in [
        "server/discover",
        "subscriptions/listen",
        "tasks/get",
        "tasks/result",
    ] {
        server.says(json!({"id": 2, "method": method, "params": {}}));
        let answer = server.hears();
        assert_eq!((&answer["id"], error_code(&answer)), (&json!(2), -32601));
    }
    server.is_silent();
}

#[test]
fn notifications_that_modern_servers_lack_are_dropped() {
    let mut server = Server::open(&discovered(), &json!({}));
    for method in [
        "notifications/roots/list_changed",
        "notifications/progress",
        "notifications/unheard",
    ] {
        server.says(json!({"method": method, "params": {"progressToken": 1}}));
    }
    server.is_silent();
}
