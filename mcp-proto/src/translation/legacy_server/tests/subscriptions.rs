//! What the client is told of without asking.

use serde_json::{Value, json};

use super::{Server, discovered, error_code, initialize};
use crate::limits::Limits;

/// A server that has just heard the end of the handshake.
fn begun(capabilities: Value) -> Server {
    let mut result = discovered();
    result["capabilities"] = capabilities;
    let mut server = Server::new(&result);
    server.says(initialize("2025-11-25", &json!({})));
    server.hears();
    server.says(json!({"method": "notifications/initialized"}));
    server
}

/// The child hears a listen for this.
#[track_caller]
fn listens(server: &mut Server, filter: Value) -> u64 {
    let (reference, request) = server.child_hears();
    assert_eq!(request["method"], "subscriptions/listen");
    assert_eq!(request["params"]["notifications"], filter);
    reference
}

fn acknowledge(server: &mut Server, reference: u64) {
    server.child_says(
        reference,
        json!({"method": "notifications/subscriptions/acknowledged", "params": {
            "_meta": {"io.modelcontextprotocol/subscriptionId": reference},
            "notifications": {},
        }}),
    );
}

fn updated(uri: &str, reference: u64) -> Value {
    json!({"method": "notifications/resources/updated", "params": {
        "_meta": {"io.modelcontextprotocol/subscriptionId": reference},
        "uri": uri,
    }})
}

#[track_caller]
fn hears_update(server: &mut Server, uri: &str) {
    assert_eq!(
        server.hears(),
        json!({"method": "notifications/resources/updated", "params": {"_meta": {}, "uri": uri}})
    );
}

#[track_caller]
fn subscribe(server: &mut Server, method: &str, uri: &str) {
    server.says(json!({"id": 2, "method": method, "params": {"uri": uri}}));
    assert_eq!(server.hears(), json!({"id": 2, "result": {}}));
}

const SUBSCRIBE: &str = "resources/subscribe";
const UNSUBSCRIBE: &str = "resources/unsubscribe";

#[test]
fn lists_that_the_server_offers_are_listened_to() {
    let mut server = begun(discovered()["capabilities"].clone());
    let all = json!({
        "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
    });
    let reference = listens(&mut server, all);
    acknowledge(&mut server, reference);
    server.is_silent();
    server.child_says(
        reference,
        json!({"method": "notifications/tools/list_changed", "params": {
            "_meta": {"io.modelcontextprotocol/subscriptionId": reference, "mine": 1},
        }}),
    );
    assert_eq!(
        server.hears(),
        json!({"method": "notifications/tools/list_changed", "params": {"_meta": {"mine": 1}}})
    );
    server.child_says(reference, json!({"method": "notifications/unheard"}));
    server.is_silent();
}

#[test]
fn a_listen_asks_for_no_log_messages() {
    let mut server = begun(discovered()["capabilities"].clone());
    let (_, request) = server.child_hears();
    let meta = &request["params"]["_meta"];
    assert_eq!(meta.get("io.modelcontextprotocol/logLevel"), None);
    assert_eq!(meta.get("progressToken"), None);
}

#[test]
fn nothing_to_listen_to_opens_nothing() {
    let mut server =
        begun(json!({"tools": {"listChanged": false}, "resources": {"subscribe": true}}));
    server.is_silent();
    subscribe(&mut server, SUBSCRIBE, "a:b");
    let reference = listens(&mut server, json!({"resourceSubscriptions": ["a:b"]}));
    acknowledge(&mut server, reference);
    subscribe(&mut server, UNSUBSCRIBE, "a:b");
    assert_eq!(server.child_loses(), reference);
    server.is_silent();
}

#[test]
fn a_change_opens_a_new_listen_before_the_old_one_closes() {
    let mut server = begun(json!({"resources": {"subscribe": true}}));
    subscribe(&mut server, SUBSCRIBE, "a:b");
    let first = listens(&mut server, json!({"resourceSubscriptions": ["a:b"]}));
    acknowledge(&mut server, first);
    subscribe(&mut server, SUBSCRIBE, "c:\"d");
    let second = listens(
        &mut server,
        json!({"resourceSubscriptions": ["a:b", "c:\"d"]}),
    );
    server.child_says(first, updated("a:b", first));
    hears_update(&mut server, "a:b");

    acknowledge(&mut server, second);
    assert_eq!(server.child_loses(), first);
    for reference in [first, second] {
        server.child_says(reference, updated("a:b", reference));
    }
    hears_update(&mut server, "a:b");
    server.is_silent();
}

#[test]
fn a_listen_that_was_not_acknowledged_gives_way_to_the_next() {
    let mut server = begun(json!({"resources": {"subscribe": true}}));
    subscribe(&mut server, SUBSCRIBE, "a:b");
    let first = listens(&mut server, json!({"resourceSubscriptions": ["a:b"]}));
    subscribe(&mut server, SUBSCRIBE, "c:d");
    assert_eq!(server.child_loses(), first);
    let second = listens(
        &mut server,
        json!({"resourceSubscriptions": ["a:b", "c:d"]}),
    );
    acknowledge(&mut server, first);
    server.is_silent();
    acknowledge(&mut server, second);
    server.is_silent();
}

#[test]
fn what_changes_nothing_opens_nothing() {
    let mut server = begun(json!({"resources": {"subscribe": true}}));
    subscribe(&mut server, UNSUBSCRIBE, "a:b");
    server.is_silent();
    subscribe(&mut server, SUBSCRIBE, "a:b");
    server.child_hears();
    subscribe(&mut server, SUBSCRIBE, "a:b");
    server.is_silent();
}

#[test]
fn a_listen_that_the_server_ends_is_opened_with_the_next_request() {
    let end = json!({"id": 0, "result": {"resultType": "complete"}});
    let error = json!({"id": 0, "error": {"code": -32000, "message": "Connection closed"}});
    let cancel = json!({"method": "notifications/cancelled", "params": {"requestId": 0}});
    for end in [end, error, cancel] {
        let mut server = begun(json!({"tools": {"listChanged": true}}));
        let filter = json!({"toolsListChanged": true});
        let first = listens(&mut server, filter.clone());
        acknowledge(&mut server, first);
        server.child_says(first, end);
        server.is_silent();
        server.says(json!({"id": 2, "method": "ping"}));
        listens(&mut server, filter);
        server.hears();
        server.says(json!({"id": 3, "method": "ping"}));
        server.hears();
        server.is_silent();
    }
}

#[test]
fn a_server_that_cannot_listen_is_asked_once() {
    let mut server = begun(json!({"tools": {"listChanged": true}}));
    let (reference, _) = server.child_hears();
    let error = json!({"code": -32601, "message": "Method not found"});
    server.child_says(reference, json!({"id": reference, "error": error}));
    server.says(json!({"id": 2, "method": "ping"}));
    server.hears();
    server.is_silent();
}

#[test]
fn an_old_listen_that_ends_while_the_new_one_opens_is_not_missed() {
    let mut server = begun(json!({"resources": {"subscribe": true}}));
    subscribe(&mut server, SUBSCRIBE, "a:b");
    let (first, _) = server.child_hears();
    acknowledge(&mut server, first);
    subscribe(&mut server, SUBSCRIBE, "c:d");
    let (second, _) = server.child_hears();
    server.child_answers(first, json!({}));
    server.says(json!({"id": 3, "method": "ping"}));
    server.hears();
    server.is_silent();
    acknowledge(&mut server, second);
    server.is_silent();
    server.child_says(second, updated("c:d", second));
    hears_update(&mut server, "c:d");
}

#[test]
fn subscriptions_are_refused_where_the_server_has_none() {
    let mut server = begun(json!({"resources": {}}));
    for method in [SUBSCRIBE, UNSUBSCRIBE] {
        server.says(json!({"id": 2, "method": method, "params": {"uri": "a:b"}}));
        assert_eq!(error_code(&server.hears()), -32601);
    }
}

#[test]
fn subscriptions_are_bounded() {
    let mut server = begun(json!({"resources": {"subscribe": true}}));
    let longest = Limits::default().target_bytes;
    for uri in [
        json!({}),
        json!({"uri": 1}),
        json!({"uri": "x".repeat(longest + 1)}),
    ] {
        server.says(json!({"id": 2, "method": SUBSCRIBE, "params": uri}));
        assert_eq!(error_code(&server.hears()), -32602);
        server.is_silent();
    }
    subscribe(&mut server, SUBSCRIBE, &"x".repeat(longest));
    server.child_hears();
    for index in 1..1000 {
        subscribe(&mut server, SUBSCRIBE, &format!("a:{index}"));
        while server.server.poll_output().is_some() {}
    }
    server.says(json!({"id": 2, "method": SUBSCRIBE, "params": {"uri": "a:b"}}));
    assert_eq!(error_code(&server.hears()), -32602);
    subscribe(&mut server, SUBSCRIBE, "a:1");
    subscribe(&mut server, UNSUBSCRIBE, "a:1");
}

#[test]
fn nothing_is_listened_to_before_the_handshake_is_over() {
    let mut result = discovered();
    result["capabilities"] = json!({"resources": {"subscribe": true}});
    let mut server = Server::new(&result);
    subscribe(&mut server, SUBSCRIBE, "a:b");
    server.is_silent();
    server.says(json!({"method": "notifications/initialized"}));
    listens(&mut server, json!({"resourceSubscriptions": ["a:b"]}));
}
