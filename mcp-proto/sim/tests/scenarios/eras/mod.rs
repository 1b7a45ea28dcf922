//! Clients and servers of both eras, each with each.

mod ahead;
mod discovery;
mod giving_way;
mod legacy_client;
mod modern;
mod parameters;
mod rounds;
mod sharing;
mod state;
mod subscriptions;
mod translated;

use mcp_proto::auth::{AuthPolicy, StaticToken, Token, Verifier};
use mcp_proto::{Limits, Policy, UpstreamId};
use mcp_proto_sim::{Ask, Asked, Scene, policy};
use serde_json::Value;

/// What the modern servers of these scenes say of themselves.
const DISCOVERED: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true},"logging":{}},"ttlMs":0,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"0"}}}"#;

/// What the legacy servers do.
const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true},"logging":{}},"serverInfo":{"name":"s","version":"0"}}"#;

const ELICITS: &str = r#"{"elicitation":{}}"#;

const ANN: &str = "ann-secret-secret-secret";
const BOB: &str = "bob-secret-secret-secret";

/// A gateway that lets in whoever bears one of two tokens.
fn for_two(policy: &mut Policy) {
    let tokens = [("ann", ANN), ("bob", BOB)].map(|(name, token)| StaticToken {
        name: name.to_owned(),
        token: Token::new(token.to_owned()).unwrap(),
    });
    policy.auth = AuthPolicy {
        verifiers: vec![Verifier::Static(tokens.to_vec())],
        ..AuthPolicy::default()
    };
}

/// A gateway that finds out what its server speaks, when the first client comes.
fn finding_out(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy {
        discover: true,
        start_ahead: false,
        ..policy()
    };
    change(&mut policy);
    policy
}

fn limited(change: impl FnOnce(&mut Limits)) -> Policy {
    finding_out(|policy| change(&mut policy.limits))
}

fn discover() -> Ask {
    Ask::new("0", "server/discover", "")
}

fn prompt(id: &str) -> Ask {
    Ask::new(id, "prompts/get", r#""name":"p""#)
}

fn tool(id: &str) -> Ask {
    Ask::new(id, "tools/call", r#""name":"t""#)
}

fn result(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

fn error(id: &str, code: i32) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"no"}}}}"#)
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

fn method(line: &str) -> String {
    json(line)["method"].as_str().unwrap().to_owned()
}

/// A scene in which it is known that the server speaks 2026-07-28 only, and its host.
#[track_caller]
fn modern_only(policy: Policy) -> (Scene, UpstreamId) {
    let (mut scene, host, second) = modern(policy);
    scene.says(second, &error("0", -32601));
    (scene, host)
}

/// The same before its second child has said whether it has a handshake too; that child is given too.
#[track_caller]
fn modern(policy: Policy) -> (Scene, UpstreamId, UpstreamId) {
    let mut scene = Scene::of(policy);
    let asked = scene.ask(&discover());
    let probe = scene.new_child();
    scene.says(probe, &result("1", DISCOVERED));
    let children = scene.new_children();
    let [second, host] = children[..] else {
        panic!("{children:?}");
    };
    let minted = scene.minted(host);
    scene.says(host, &result(&minted, DISCOVERED));
    assert_eq!(scene.response(asked).json(), json(&result("0", DISCOVERED)));
    scene.world.take_audit();
    (scene, host, second)
}

/// A scene in which it is known that the server has a handshake only.
#[track_caller]
fn legacy(policy: Policy) -> Scene {
    legacy_in(Scene::of(policy))
}

#[track_caller]
fn legacy_in(mut scene: Scene) -> Scene {
    let asked = scene.ask(&discover());
    let probe = scene.new_child();
    scene.says(probe, &error("1", -32601));
    scene.says(probe, &result("0", INITIALIZED));
    assert_eq!(scene.response(asked).status(), 200);
    assert_eq!(scene.new_children(), []);
    scene.world.take_audit();
    scene
}

/// The child of a host answers the handshake, and takes note of its end.
#[track_caller]
fn shakes_hands(scene: &mut Scene, child: UpstreamId) {
    let line = scene.hears_one(child);
    assert_eq!(method(&line), "initialize");
    scene.says(child, &result("0", INITIALIZED));
    let lines = scene.hears(child);
    assert_eq!(method(&lines[0]), "notifications/initialized");
}

/// The child of a host answers the handshake; gives the id of the call that has waited for that.
#[track_caller]
fn first_call(scene: &mut Scene, child: UpstreamId) -> String {
    scene.hears_one(child);
    scene.says(child, &result("0", INITIALIZED));
    let lines = scene.hears(child);
    assert_eq!(method(&lines[0]), "notifications/initialized");
    json(&lines[1])["id"].to_string()
}

/// Makes a call and gives it with the id that the child knows it by.
#[track_caller]
fn begin(scene: &mut Scene, child: UpstreamId, ask: &Ask) -> (Asked, String) {
    let asked = scene.ask(ask);
    let minted = scene.minted(child);
    (asked, minted)
}

/// Checks that a call was answered by an error.
#[track_caller]
fn assert_error(scene: &Scene, asked: Asked, status: u16, code: i32, id: &Value) {
    let response = scene.response(asked);
    assert!(response.complete);
    assert_eq!(response.status(), status, "{}", response.text());
    let body = response.json();
    assert_eq!((&body["id"], &body["error"]["code"]), (id, &code.into()));
}

/// The one message of a JSON response, or the last of a stream.
#[track_caller]
fn answer(scene: &Scene, asked: Asked) -> Value {
    let response = scene.response(asked);
    assert!(response.complete, "it is over: {response:?}");
    if response.is_stream() {
        return scene.messages(asked).pop().unwrap();
    }
    response.json()
}
