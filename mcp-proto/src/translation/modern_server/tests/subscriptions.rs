use super::*;
use crate::translation::modern_server::subscriptions::SUBSCRIBE_TIME;
use crate::translation::modern_server::{Change, Interest};

fn ask_to_listen(script: &mut Script, id: u64, filter: Value) {
    script.request(id, "subscriptions/listen", json!({"notifications": filter}));
}

/// What the client is told that the subscription delivers.
fn acknowledged(script: &mut Script, id: u64) -> Value {
    let heard = script.client_hears();
    assert_eq!(heard["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(heard["params"]["_meta"], subscription(id));
    heard["params"]["notifications"].clone()
}

/// Listens, at a child that subscribes to everything at once.
fn listen(script: &mut Script, id: u64, filter: Value) -> Value {
    ask_to_listen(script, id, filter);
    for heard in script.to_child.clone() {
        if heard["method"] == "resources/subscribe" {
            script.child(json!({"id": heard["id"], "result": {}}));
        }
    }
    acknowledged(script, id)
}

/// The child hears that it is to subscribe to this; gives the request's id.
#[track_caller]
fn child_hears_subscribe(script: &mut Script, uri: &str) -> Value {
    let heard = script.child_hears();
    assert_eq!(heard["method"], "resources/subscribe");
    assert_eq!(heard["params"], json!({"uri": uri}));
    heard["id"].clone()
}

fn subscription(id: u64) -> Value {
    json!({"io.modelcontextprotocol/subscriptionId": id})
}

fn cancel(script: &mut Script, id: u64) {
    script.client(json!({"method": "notifications/cancelled", "params": {"requestId": id}}));
}

fn updated(script: &mut Script, uri: &str) {
    let params = json!({"uri": uri});
    script.child(json!({"method": "notifications/resources/updated", "params": params}));
}

#[test]
fn what_the_server_can_tell_of_is_acknowledged_first() {
    let mut script = Script::ready("{}");
    let everything = json!({
        "toolsListChanged": true,
        "promptsListChanged": true,
        "resourcesListChanged": true,
        "resourceSubscriptions": ["a:b", "a:b", "a:c"],
    });
    assert_eq!(
        listen(&mut script, 1, everything),
        json!({"toolsListChanged": true, "resourceSubscriptions": ["a:b", "a:c"]})
    );
    let nothing = json!({"toolsListChanged": false, "promptsListChanged": true});
    assert_eq!(listen(&mut script, 2, nothing), json!({}));
    for uri in ["a:b", "a:c"] {
        child_hears_subscribe(&mut script, uri);
    }
    script.all_is_quiet();
    cancel(&mut script, 1);
    cancel(&mut script, 2);
    assert!(script.is_empty());
}

#[test]
fn a_server_that_tells_of_nothing_is_not_asked_to() {
    let mut script = Script::opening("{}");
    script.child_hears();
    let capabilities = json!({"tools": {}, "resources": {"subscribe": false}});
    script.child(json!({"id": 0, "result": {"capabilities": capabilities}}));
    script.child_hears();
    let everything = json!({"toolsListChanged": true, "resourceSubscriptions": ["a:b"]});
    assert_eq!(listen(&mut script, 1, everything), json!({}));
    script.all_is_quiet();
}

#[test]
fn a_filter_that_makes_no_sense_is_refused() {
    let mut script = Script::ready("{}");
    for filter in [
        json!(null),
        json!([]),
        json!({"toolsListChanged": 1}),
        json!({"resourceSubscriptions": "a:b"}),
        json!({"resourceSubscriptions": [1]}),
    ] {
        script.request(1, "subscriptions/listen", json!({"notifications": filter}));
        assert_eq!(script.client_hears()["error"]["code"], -32602, "{filter}");
    }
    script.request(1, "subscriptions/listen", json!({}));
    assert_eq!(script.client_hears()["error"]["code"], -32602);
    assert!(script.is_empty());
}

#[test]
fn each_subscriber_hears_of_what_it_subscribed_to() {
    let mut script = Script::ready("{}");
    listen(&mut script, 1, json!({"toolsListChanged": true}));
    listen(
        &mut script,
        2,
        json!({"toolsListChanged": true, "resourceSubscriptions": ["a:b"]}),
    );
    listen(&mut script, 3, json!({"resourceSubscriptions": ["a:c"]}));
    script.child(json!({"method": "notifications/tools/list_changed"}));
    script.child(json!({"method": "notifications/prompts/list_changed"}));
    updated(&mut script, "a:b");
    for (id, method) in [
        (1, "notifications/tools/list_changed"),
        (2, "notifications/tools/list_changed"),
        (2, "notifications/resources/updated"),
    ] {
        let heard = script.client_hears();
        assert_eq!(heard["method"], method);
        assert_eq!(heard["params"]["_meta"], subscription(id));
    }
    assert_eq!(script.to_client.len(), 0);
}

#[test]
fn a_part_of_a_resource_is_told_of_to_who_subscribed_to_the_whole() {
    for (uri, is_part) in [
        ("file:///a", true),
        ("file:///a/b", true),
        ("file:///a?b", true),
        ("file:///a#b", true),
        ("file:///ab", false),
        ("file:///", false),
    ] {
        let mut script = Script::ready("{}");
        listen(
            &mut script,
            1,
            json!({"resourceSubscriptions": ["file:///a"]}),
        );
        updated(&mut script, uri);
        assert_eq!(script.to_client.len(), usize::from(is_part), "{uri}");
    }
    let mut script = Script::ready("{}");
    listen(
        &mut script,
        1,
        json!({"resourceSubscriptions": ["file:///a/"]}),
    );
    updated(&mut script, "file:///a/b");
    assert_eq!(script.client_hears()["params"]["uri"], "file:///a/b");
}

#[test]
fn the_child_is_asked_once_for_all_subscribers_of_a_resource() {
    let mut script = Script::ready("{}");
    listen(&mut script, 1, json!({"resourceSubscriptions": ["a:b"]}));
    assert_eq!(script.child_hears()["method"], "resources/subscribe");
    listen(&mut script, 2, json!({"resourceSubscriptions": ["a:b"]}));
    cancel(&mut script, 1);
    script.all_is_quiet();
    updated(&mut script, "a:b");
    assert_eq!(script.client_hears()["params"]["_meta"], subscription(2));
    cancel(&mut script, 2);
    let heard = script.child_hears();
    assert_eq!(heard["method"], "resources/unsubscribe");
    assert_eq!(heard["params"], json!({"uri": "a:b"}));
    updated(&mut script, "a:b");
    script.all_is_quiet();
    assert!(script.is_empty());
}

#[test]
fn subscribers_of_siblings_can_be_told_too() {
    let mut one = Script::ready("{}");
    let mut other = Script::ready("{}");
    listen(
        &mut other,
        1,
        json!({"toolsListChanged": true, "resourceSubscriptions": ["a:b"]}),
    );
    other.child_hears();
    one.child(json!({"method": "notifications/tools/list_changed"}));
    updated(&mut one, "a:b");
    while let Some(change) = one.server.poll_change() {
        other.server.handle_change(&change);
    }
    other.drain();
    assert_eq!(
        other.client_hears()["method"],
        "notifications/tools/list_changed"
    );
    assert_eq!(other.client_hears()["params"]["uri"], "a:b");
    other.all_is_quiet();
    assert_eq!(
        other.server.poll_change(),
        None,
        "what it was told it does not tell on"
    );

    other.server.handle_change(&Change::PromptsList);
    other.drain();
    other.all_is_quiet();
}

#[test]
fn subscriptions_are_bounded() {
    let limits = Limits {
        calls_per_session: 2,
        waiting_bytes: 1000,
        ..Limits::default()
    };
    let mut script = Script::limited("{}", &limits);
    script.initialize();
    let long = json!({"notifications": {"resourceSubscriptions": ["a".repeat(1000)]}});
    script.request(1, "subscriptions/listen", long);
    assert_eq!(script.client_hears()["error"]["code"], -32603);
    listen(&mut script, 2, json!({}));
    listen(&mut script, 3, json!({}));
    script.request(4, "subscriptions/listen", json!({"notifications": {}}));
    assert_eq!(script.client_hears()["error"]["code"], -32603);
    cancel(&mut script, 2);
    listen(&mut script, 5, json!({}));
}

#[test]
fn what_is_acknowledged_is_delivered_from_then_on() {
    let mut script = Script::ready("{}");
    let filter = json!({"toolsListChanged": true, "resourceSubscriptions": ["a:b", "a:c"]});
    ask_to_listen(&mut script, 1, filter.clone());
    let first = child_hears_subscribe(&mut script, "a:b");
    let second = child_hears_subscribe(&mut script, "a:c");
    script.child(json!({"id": second, "result": {}}));
    updated(&mut script, "a:c");
    script.child(json!({"method": "notifications/tools/list_changed"}));
    script.all_is_quiet();
    script.child(json!({"id": first, "result": {}}));
    assert_eq!(acknowledged(&mut script, 1), filter);
    script.child(json!({"id": first, "result": {}}));
    script.all_is_quiet();
    updated(&mut script, "a:b");
    assert_eq!(script.client_hears()["params"]["uri"], "a:b");
    cancel(&mut script, 1);
    assert!(script.is_empty());
}

#[test]
fn who_comes_later_waits_for_the_same_answer() {
    for is_refused in [false, true] {
        let mut script = Script::ready("{}");
        let filter = json!({"resourceSubscriptions": ["a:b"]});
        ask_to_listen(&mut script, 1, filter.clone());
        ask_to_listen(&mut script, 2, filter.clone());
        let asked = child_hears_subscribe(&mut script, "a:b");
        script.all_is_quiet();
        let answer = if is_refused { "error" } else { "result" };
        script.child(json!({"id": asked, answer: {"code": -32002, "message": "Not found"}}));
        let delivered = if is_refused { json!({}) } else { filter };
        assert_eq!(acknowledged(&mut script, 1), delivered);
        assert_eq!(acknowledged(&mut script, 2), delivered);
        script.all_is_quiet();
        cancel(&mut script, 1);
        cancel(&mut script, 2);
        assert!(script.is_empty());
    }
}

#[test]
fn what_the_child_refuses_is_left_out_and_asked_for_anew() {
    let mut script = Script::ready("{}");
    let filter = json!({"resourceSubscriptions": ["a:b", "a:c"]});
    ask_to_listen(&mut script, 1, filter);
    let refused = child_hears_subscribe(&mut script, "a:b");
    let taken = child_hears_subscribe(&mut script, "a:c");
    script.child(json!({"id": refused, "error": {"code": -32002, "message": "Not found"}}));
    script.child(json!({"id": taken, "result": {}}));
    assert_eq!(
        acknowledged(&mut script, 1),
        json!({"resourceSubscriptions": ["a:c"]})
    );
    updated(&mut script, "a:b");
    script.all_is_quiet();
    listen(&mut script, 2, json!({"resourceSubscriptions": ["a:b"]}));
    child_hears_subscribe(&mut script, "a:b");
    script.all_is_quiet();
}

#[test]
fn a_child_that_does_not_answer_is_not_waited_for_long() {
    let mut script = Script::ready("{}");
    let filter = json!({"toolsListChanged": true, "resourceSubscriptions": ["a:b", "a:c"]});
    ask_to_listen(&mut script, 1, filter);
    let late = child_hears_subscribe(&mut script, "a:b");
    let taken = child_hears_subscribe(&mut script, "a:c");
    script.child(json!({"id": taken, "result": {}}));
    script.pass(SUBSCRIBE_TIME);
    assert_eq!(
        acknowledged(&mut script, 1),
        json!({"toolsListChanged": true, "resourceSubscriptions": ["a:c"]})
    );
    let heard = script.child_hears();
    assert_eq!(heard["method"], "resources/unsubscribe");
    assert_eq!(heard["params"], json!({"uri": "a:b"}));
    script.child(json!({"id": late, "result": {}}));
    updated(&mut script, "a:b");
    script.all_is_quiet();
    cancel(&mut script, 1);
    assert!(script.is_empty());
}

#[test]
fn a_subscription_that_waits_can_be_cancelled() {
    let mut script = Script::ready("{}");
    let filter = json!({"resourceSubscriptions": ["a:b"]});
    ask_to_listen(&mut script, 1, filter.clone());
    let first = child_hears_subscribe(&mut script, "a:b");
    cancel(&mut script, 1);
    assert_eq!(script.child_hears()["method"], "resources/unsubscribe");
    ask_to_listen(&mut script, 2, filter.clone());
    let second = child_hears_subscribe(&mut script, "a:b");
    script.child(json!({"id": first, "result": {}}));
    script.all_is_quiet();
    script.child(json!({"id": second, "result": {}}));
    assert_eq!(acknowledged(&mut script, 2), filter);
    cancel(&mut script, 2);
    assert!(script.is_empty());
}

#[test]
fn siblings_are_to_follow_what_has_subscribers_here() {
    let mut script = Script::ready("{}");
    let uri = || "a:b".to_owned();
    listen(&mut script, 1, json!({"resourceSubscriptions": ["a:b"]}));
    listen(&mut script, 2, json!({"resourceSubscriptions": ["a:b"]}));
    assert_eq!(script.server.poll_interest(), Some(Interest::Begun(uri())));
    cancel(&mut script, 1);
    assert_eq!(script.server.poll_interest(), None);
    cancel(&mut script, 2);
    assert_eq!(script.server.poll_interest(), Some(Interest::Ended(uri())));
    script.server.follow("a:b");
    assert_eq!(
        script.server.poll_interest(),
        None,
        "each speaks for itself"
    );
}

#[test]
fn what_siblings_follow_the_child_is_asked_for_and_tells_of() {
    let mut script = Script::opening("{}");
    script.server.follow("a:b");
    script.initialize();
    let asked = child_hears_subscribe(&mut script, "a:b");
    script.server.follow("a:b");
    script.drain();
    script.all_is_quiet();
    updated(&mut script, "a:b");
    let change = Change::Resource("a:b".to_owned());
    assert_eq!(script.server.poll_change(), Some(change));

    // Who subscribes here waits for the same answer, and stays when the siblings go.
    let filter = json!({"resourceSubscriptions": ["a:b"]});
    ask_to_listen(&mut script, 1, filter.clone());
    script.all_is_quiet();
    script.child(json!({"id": asked, "result": {}}));
    assert_eq!(acknowledged(&mut script, 1), filter);
    script.server.unfollow("a:b");
    script.server.unfollow("a:b");
    script.drain();
    script.all_is_quiet();
    cancel(&mut script, 1);
    assert_eq!(script.child_hears()["method"], "resources/unsubscribe");

    // And the other way round.
    listen(&mut script, 2, filter);
    script.child_hears();
    script.server.follow("a:b");
    cancel(&mut script, 2);
    script.all_is_quiet();
    script.server.unfollow("a:b");
    script.drain();
    assert_eq!(script.child_hears()["method"], "resources/unsubscribe");
    script.all_is_quiet();
    while script.server.poll_interest().is_some() {}
    assert!(script.is_empty());
}

#[test]
fn what_was_refused_for_a_siblings_sake_is_asked_for_anew() {
    let mut script = Script::ready("{}");
    script.server.follow("a:b");
    script.drain();
    let asked = child_hears_subscribe(&mut script, "a:b");
    script.child(json!({"id": asked, "error": {"code": -32002, "message": "Not found"}}));
    let filter = json!({"resourceSubscriptions": ["a:b"]});
    ask_to_listen(&mut script, 1, filter);
    let asked = child_hears_subscribe(&mut script, "a:b");
    script.child(json!({"id": asked, "error": {"code": -32002, "message": "Not found"}}));
    assert_eq!(acknowledged(&mut script, 1), json!({}));
    script.server.unfollow("a:b");
    script.server.unfollow("a:b");
    cancel(&mut script, 1);
    script.all_is_quiet();
    assert!(script.is_empty());
}

#[test]
fn a_child_that_cannot_tell_is_asked_for_nothing_by_siblings() {
    let mut script = Script::opening("{}");
    script.server.follow("a:b");
    script.child_hears();
    script.child(json!({"id": 0, "result": {"capabilities": {"resources": {}}}}));
    script.child_hears();
    script.server.follow("a:c");
    script.server.unfollow("a:b");
    script.server.unfollow("a:c");
    script.drain();
    script.all_is_quiet();
    assert!(script.is_empty());
}

#[test]
fn what_siblings_have_followed_is_bounded() {
    let limits = Limits {
        waiting_bytes: 1000,
        ..Limits::default()
    };
    let mut script = Script::limited("{}", &limits);
    script.initialize();
    let (one, other) = ("a".repeat(600), "b".repeat(600));
    script.server.follow(&one);
    script.server.follow(&one);
    script.server.follow(&other);
    script.drain();
    child_hears_subscribe(&mut script, &one);
    script.all_is_quiet();
    // It does not count as the subscribers' own.
    listen(&mut script, 1, json!({"resourceSubscriptions": [other]}));
    child_hears_subscribe(&mut script, &other);
    cancel(&mut script, 1);
    script.child_hears();
    for uri in [&other, &one, &one] {
        script.server.unfollow(uri);
    }
    script.drain();
    assert_eq!(script.child_hears()["method"], "resources/unsubscribe");
    script.all_is_quiet();
    script.server.follow(&other);
    script.drain();
    child_hears_subscribe(&mut script, &other);
    script.server.unfollow(&other);
    assert!(script.is_empty());
}
