//! `subscriptions/listen`, of children of both eras.

use super::*;

const ALL: &str =
    r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["file:///a"]}"#;

fn listen(id: &str) -> Ask {
    Ask::new(id, "subscriptions/listen", ALL)
}

fn about(id: &str, method: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
    )
}

fn graceful(id: &str) -> String {
    result(
        id,
        &format!(
            r#"{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}"#
        ),
    )
}

const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
const CHANGED: &str = "notifications/tools/list_changed";

/// Opens a subscription at a modern child.
#[track_caller]
fn subscribe(scene: &mut Scene, host: UpstreamId, id: &str) -> (Asked, String) {
    let (asked, minted) = begin(scene, host, &listen(id));
    scene.says(host, &about(&minted, ACKNOWLEDGED));
    assert_eq!(scene.messages(asked), [json(&about(id, ACKNOWLEDGED))]);
    (asked, minted)
}

#[test]
fn what_is_delivered_goes_to_the_subscription_that_it_names_under_its_own_id() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let (one, one_minted) = subscribe(&mut scene, host, "\"s\"");
    let (other, other_minted) = subscribe(&mut scene, host, "12345678901234567890123");
    scene.says(host, &about(&other_minted, CHANGED));
    scene.says(host, &about(&one_minted, CHANGED));
    scene.says(host, &about("999", CHANGED));
    let events = scene.response(other).events();
    assert_eq!(
        events[1].data,
        about("12345678901234567890123", CHANGED).as_bytes()
    );
    assert_eq!(scene.messages(one)[1..], [json(&about("\"s\"", CHANGED))]);
    scene.assert_nothing_is_left();
}

#[test]
fn a_child_that_answers_ends_it_gracefully() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let (asked, minted) = subscribe(&mut scene, host, "7");
    let (other, _) = subscribe(&mut scene, host, "7");
    scene.says(host, &graceful(&minted));
    assert_eq!(answer(&scene, asked), json(&graceful("7")));
    assert!(!scene.response(other).complete);
    scene.assert_nothing_is_left();
}

#[test]
fn a_child_that_cancels_it_ends_it_gracefully_too() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let (asked, minted) = subscribe(&mut scene, host, "7");
    let (call, call_minted) = begin(&mut scene, host, &prompt("8"));
    for id in [&minted, &call_minted] {
        scene.says(
            host,
            &format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
            ),
        );
    }
    assert_eq!(answer(&scene, asked), json(&graceful("7")));
    assert!(
        scene.is_waiting(call),
        "a call is not the child's to cancel"
    );
    scene.assert_nothing_is_left();
}

#[test]
fn a_drain_ends_it_gracefully() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let (asked, _) = subscribe(&mut scene, host, "7");
    scene.world.drain();
    scene.settle();
    assert_eq!(answer(&scene, asked), json(&graceful("7")));
    scene.assert_nothing_is_left();
}

#[test]
fn a_client_that_leaves_has_it_cancelled() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let (asked, minted) = subscribe(&mut scene, host, "7");
    scene.leave(asked);
    let line = json(&scene.hears_one(host));
    assert_eq!(line["method"], "notifications/cancelled");
    assert_eq!(line["params"]["requestId"], json(&minted));
    scene.assert_nothing_is_left();
}

#[test]
fn it_outlives_every_time_that_a_call_has() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let (asked, minted) = subscribe(&mut scene, host, "7");
    scene.wait_secs(3 * 60 * 60);
    assert!(scene.world.child(host).lives());
    scene.says(host, &about(&minted, CHANGED));
    assert_eq!(scene.messages(asked).len(), 2);
}

/// A legacy child answers the handshake, and does what the first subscription asks for.
#[track_caller]
fn subscribes(scene: &mut Scene, child: UpstreamId) {
    let line = scene.hears_one(child);
    assert_eq!(method(&line), "initialize");
    scene.says(child, &result("0", INITIALIZED));
    let lines = scene.hears(child);
    assert_eq!(method(&lines[1]), "resources/subscribe");
    scene.says(child, &result(&json(&lines[1])["id"].to_string(), "{}"));
}

#[test]
fn of_a_legacy_child_it_is_acknowledged_fed_and_ended_by_the_gateway() {
    let mut scene = legacy(finding_out(|_| {}));
    let asked = scene.ask(&listen("\"s\""));
    let child = scene.new_child();
    subscribes(&mut scene, child);
    let acknowledged = &scene.messages(asked)[0];
    assert_eq!(acknowledged["method"], ACKNOWLEDGED);
    assert_eq!(
        acknowledged["params"]["notifications"],
        json(r#"{"toolsListChanged":true,"resourceSubscriptions":["file:///a"]}"#)
    );
    let name = "/params/_meta/io.modelcontextprotocol~1subscriptionId";
    assert_eq!(acknowledged.pointer(name).unwrap(), "s");
    scene.says(
        child,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
    );
    scene.says(
        child,
        r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#,
    );
    scene.says(
        child,
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}"#,
    );
    let messages = scene.messages(asked);
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[1]["method"], CHANGED);
    assert_eq!(messages[2]["params"]["uri"], "file:///a");
    assert_eq!(messages[2].pointer(name).unwrap(), "s");
    scene.world.drain();
    scene.settle();
    assert_eq!(answer(&scene, asked)["result"]["resultType"], "complete");
    scene.assert_nothing_is_left();
}

#[test]
fn what_one_child_tells_of_reaches_those_who_listen_at_another_of_the_same_principals() {
    let mut scene = legacy(finding_out(|_| {}));
    let asked = scene.ask(&listen("1"));
    let listening = scene.new_child();
    subscribes(&mut scene, listening);
    scene.ask(&prompt("2").capabilities(ELICITS));
    let other = scene.new_child();
    shakes_hands(&mut scene, other);
    scene.says(
        other,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
    );
    assert_eq!(scene.messages(asked)[1]["method"], CHANGED);
    scene.assert_nothing_is_left();
}

#[test]
fn a_resource_that_is_subscribed_to_at_one_child_is_followed_at_all_of_the_same_principals() {
    let mut scene = legacy(finding_out(|_| {}));
    scene.ask(&prompt("1").capabilities(ELICITS));
    let before = scene.new_child();
    shakes_hands(&mut scene, before);
    let asked = scene.ask(&listen("1"));
    let listening = scene.new_child();
    subscribes(&mut scene, listening);
    assert_eq!(method(&scene.hears_one(before)), "resources/subscribe");
    scene.ask(&prompt("2").capabilities(r#"{"roots":{}}"#));
    let after = scene.new_child();
    assert_eq!(method(&scene.hears_one(after)), "initialize");
    scene.says(after, &result("0", INITIALIZED));
    assert_eq!(method(&scene.hears(after)[1]), "resources/subscribe");
    for child in [before, after] {
        scene.says(
            child,
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}"#,
        );
    }
    assert_eq!(scene.messages(asked).len(), 3);
    scene.exits(listening);
    for child in [before, after] {
        assert_eq!(method(&scene.hears_one(child)), "resources/unsubscribe");
    }
    scene.assert_nothing_is_left();
}
