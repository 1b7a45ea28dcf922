//! What the client is told of without asking.

use serde_json::{Value, json};

use super::{Output, Server, discovered, error_code, initialize};
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

fn acknowledge(server: &mut Server, reference: u64, uris: &[&str]) {
    server.child_says(
        reference,
        json!({"method": "notifications/subscriptions/acknowledged", "params": {
            "_meta": {"io.modelcontextprotocol/subscriptionId": reference},
            "notifications": {"resourceSubscriptions": uris},
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

fn ask(server: &mut Server, id: u64, method: &str, uri: &str) {
    server.says(json!({"id": id, "method": method, "params": {"uri": uri}}));
}

#[track_caller]
fn is_answered(server: &mut Server, id: u64) {
    assert_eq!(server.hears(), json!({"id": id, "result": {}}));
}

/// The session subscribes to one resource more than these, and the child tells of all of them.
#[track_caller]
fn subscribe(server: &mut Server, uris: &[&str], replaced: Option<u64>) -> u64 {
    ask(server, 2, SUBSCRIBE, uris[uris.len() - 1]);
    let reference = listens(server, json!({"resourceSubscriptions": uris}));
    server.is_silent();
    acknowledge(server, reference, uris);
    if let Some(replaced) = replaced {
        assert_eq!(server.child_loses(), replaced);
    }
    is_answered(server, 2);
    reference
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
    acknowledge(&mut server, reference, &[]);
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
    let reference = subscribe(&mut server, &["a:b"], None);
    ask(&mut server, 3, UNSUBSCRIBE, "a:b");
    assert_eq!(server.child_loses(), reference);
    is_answered(&mut server, 3);
    server.is_silent();
}

#[test]
fn a_change_opens_a_new_listen_before_the_old_one_closes() {
    let mut server = begun(json!({"resources": {"subscribe": true}}));
    let first = subscribe(&mut server, &["a:b"], None);
    ask(&mut server, 3, SUBSCRIBE, "c:\"d");
    let second = listens(
        &mut server,
        json!({"resourceSubscriptions": ["a:b", "c:\"d"]}),
    );
    server.child_says(first, updated("a:b", first));
    hears_update(&mut server, "a:b");

    acknowledge(&mut server, second, &["a:b", "c:\"d"]);
    assert_eq!(server.child_loses(), first);
    is_answered(&mut server, 3);
    for reference in [first, second] {
        server.child_says(reference, updated("a:b", reference));
    }
    hears_update(&mut server, "a:b");
    server.is_silent();
}

#[test]
fn a_listen_that_was_not_acknowledged_gives_way_to_the_next() {
    let mut server = begun(json!({"resources": {"subscribe": true}}));
    ask(&mut server, 2, SUBSCRIBE, "a:b");
    let first = listens(&mut server, json!({"resourceSubscriptions": ["a:b"]}));
    ask(&mut server, 3, SUBSCRIBE, "c:d");
    assert_eq!(server.child_loses(), first);
    let second = listens(
        &mut server,
        json!({"resourceSubscriptions": ["a:b", "c:d"]}),
    );
    acknowledge(&mut server, first, &["a:b"]);
    server.is_silent();
    acknowledge(&mut server, second, &["a:b", "c:d"]);
    is_answered(&mut server, 2);
    is_answered(&mut server, 3);
    server.is_silent();
}

#[test]
fn what_the_server_does_not_tell_of_was_not_subscribed_to() {
    let mut server = begun(json!({"resources": {"subscribe": true}}));
    ask(&mut server, 2, SUBSCRIBE, "a:b");
    ask(&mut server, 3, SUBSCRIBE, "c:d");
    server.child_hears();
    server.child_loses();
    let (listen, _) = server.child_hears();
    acknowledge(&mut server, listen, &["c:d"]);
    let refused = server.hears();
    assert_eq!((&refused["id"], error_code(&refused)), (&json!(2), -32603));
    is_answered(&mut server, 3);
    subscribe(&mut server, &["c:d", "e:f"], Some(listen));
}

#[test]
fn a_listen_that_fails_subscribes_to_nothing() {
    for code in [-32601, -32603] {
        let mut server = begun(json!({"resources": {"subscribe": true}}));
        ask(&mut server, 2, SUBSCRIBE, "a:b");
        let (listen, _) = server.child_hears();
        let error = json!({"code": code, "message": "No"});
        server.child_says(listen, json!({"id": listen, "error": error}));
        assert_eq!(error_code(&server.hears()), -32603);
        subscribe(&mut server, &["c:d"], None);
    }
}

#[test]
fn what_is_unsubscribed_from_at_once_is_answered() {
    let mut server = begun(json!({"resources": {"subscribe": true}}));
    ask(&mut server, 2, SUBSCRIBE, "a:b");
    let (listen, _) = server.child_hears();
    ask(&mut server, 3, UNSUBSCRIBE, "a:b");
    assert_eq!(server.child_loses(), listen);
    is_answered(&mut server, 2);
    is_answered(&mut server, 3);
    server.is_silent();
}

#[test]
fn a_request_to_subscribe_that_is_cancelled_is_not_answered() {
    let mut server = begun(json!({"resources": {"subscribe": true}}));
    ask(&mut server, 2, SUBSCRIBE, "a:b");
    let (listen, _) = server.child_hears();
    server.says(json!({"method": "notifications/cancelled", "params": {"requestId": 2}}));
    acknowledge(&mut server, listen, &["a:b"]);
    server.is_silent();
}

#[test]
fn what_changes_nothing_opens_nothing() {
    let mut server = begun(json!({"resources": {"subscribe": true}}));
    ask(&mut server, 2, UNSUBSCRIBE, "a:b");
    is_answered(&mut server, 2);
    server.is_silent();
    ask(&mut server, 3, SUBSCRIBE, "a:b");
    let (listen, _) = server.child_hears();
    ask(&mut server, 4, SUBSCRIBE, "a:b");
    server.is_silent();
    acknowledge(&mut server, listen, &["a:b"]);
    is_answered(&mut server, 3);
    is_answered(&mut server, 4);
    ask(&mut server, 5, SUBSCRIBE, "a:b");
    is_answered(&mut server, 5);
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
        acknowledge(&mut server, first, &[]);
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
    let first = subscribe(&mut server, &["a:b"], None);
    ask(&mut server, 3, SUBSCRIBE, "c:d");
    let (second, _) = server.child_hears();
    server.child_answers(first, json!({}));
    server.says(json!({"id": 4, "method": "ping"}));
    is_answered(&mut server, 4);
    server.is_silent();
    acknowledge(&mut server, second, &["a:b", "c:d"]);
    is_answered(&mut server, 3);
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
    let mut uris = vec!["x".repeat(longest)];
    uris.extend((1..1000).map(|index| format!("a:{index}")));
    for uri in &uris {
        ask(&mut server, 2, SUBSCRIBE, uri);
        while let Some(output) = server.server.poll_output() {
            if let Output::Call { reference, .. } = output {
                let told: Vec<_> = uris.iter().map(String::as_str).collect();
                acknowledge(&mut server, reference, &told);
            }
        }
    }
    ask(&mut server, 2, SUBSCRIBE, "a:b");
    assert_eq!(error_code(&server.hears()), -32602);
    ask(&mut server, 3, SUBSCRIBE, "a:1");
    is_answered(&mut server, 3);
    server.is_silent();
}

#[test]
fn how_many_requests_wait_for_an_acknowledgement_is_bounded() {
    let limits = Limits {
        calls_per_session: 2,
        ..Limits::default()
    };
    let mut result = discovered();
    result["capabilities"] = json!({"resources": {"subscribe": true}});
    let mut server = Server::with_limits(&result, &limits);
    server.says(initialize("2025-11-25", &json!({})));
    server.hears();
    server.says(json!({"method": "notifications/initialized"}));
    for id in 2..4 {
        ask(&mut server, id, SUBSCRIBE, "a:b");
    }
    server.child_hears();
    ask(&mut server, 4, SUBSCRIBE, "a:b");
    assert_eq!(error_code(&server.hears()), -32603);
}

#[test]
fn nothing_is_listened_to_before_the_handshake_is_over() {
    let mut result = discovered();
    result["capabilities"] = json!({"resources": {"subscribe": true}});
    let mut server = Server::new(&result);
    ask(&mut server, 2, SUBSCRIBE, "a:b");
    is_answered(&mut server, 2);
    server.is_silent();
    server.says(json!({"method": "notifications/initialized"}));
    listens(&mut server, json!({"resourceSubscriptions": ["a:b"]}));
}
