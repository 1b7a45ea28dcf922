//! An authorization server that is asked about each token (RFC 7662).

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::http::Caller;
use super::mock::{Asked, Mock, Reply};
use super::run::Launch;

const TOKEN: &str = "opaque-token-0123456789/+~==";
const AUDIENCE: &str = "https://gw.example.org/mcp";

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_secs()
}

/// What is said of a good token.
fn active() -> Value {
    json!({
        "active": true,
        "aud": AUDIENCE,
        "sub": "ada",
        "client_id": "editor",
        "scope": "mcp files:read",
        "exp": now() + 600,
    })
}

/// Knows one token, of which it says this.
fn knowing(said: Value) -> impl FnMut(&Asked) -> Reply {
    move |asked| match asked.body.starts_with("token=opaque-token-") {
        true => Reply::Json(200, said.clone()),
        false => Reply::Json(200, json!({"active": false})),
    }
}

fn asking(mock: &Mock) -> Launch {
    Launch::demo()
        .variable("CLIENT_SECRET", "s:cret /+%")
        .options(&["--auth", "introspection", "--public-url", AUDIENCE])
        .options(&["--introspection-url", &mock.url("/introspect")])
        .options(&["--introspection-client-id", "gate:way"])
        .options(&["--introspection-client-secret-env", "CLIENT_SECRET"])
        .options(&["--credential-rate", "1000/m"])
}

#[test]
fn the_endpoint_is_asked_as_it_wants_to_be() {
    let mock = Mock::start(knowing(active()));
    let gateway = asking(&mock).start();
    let caller = Caller::bearer(gateway.address, TOKEN);
    assert_eq!(caller.knock().status, 200);
    assert_eq!(caller.knock().status, 200);
    let asked = mock.asked();
    // The trial at the start, and one question.
    assert_eq!(asked.len(), 2);
    for one in &asked {
        assert_eq!(
            (one.method.as_str(), one.target.as_str()),
            ("POST", "/introspect")
        );
        let content_type = one.content_type.as_deref();
        assert_eq!(content_type, Some("application/x-www-form-urlencoded"));
        // RFC 6749 section 2.3.1: `gate%3Away:s%3Acret+%2F%2B%25`.
        let basic = one.authorization.as_deref();
        assert_eq!(
            basic,
            Some("Basic Z2F0ZSUzQXdheTpzJTNBY3JldCslMkYlMkIlMjU=")
        );
    }
    assert_eq!(
        asked[1].body,
        "token=opaque-token-0123456789%2F%2B%7E%3D%3D&token_type_hint=access_token"
    );
    gateway.stdout.wait_for(r#""principal":"ada""#, 2);
}

#[test]
fn what_the_endpoint_says_decides() {
    let mock = Mock::start(knowing(active()));
    let gateway = asking(&mock).start();
    let with = |name: &str, value: Value| {
        let mut said = active();
        said[name] = value;
        said
    };
    for (number, (said, status)) in [
        (active(), 200),
        (with("aud", json!(["https://other.example", AUDIENCE])), 200),
        (with("exp", Value::Null), 200),
        (with("active", json!(false)), 401),
        (with("aud", json!("https://other.example")), 401),
        (with("aud", Value::Null), 401),
        (with("exp", json!(now() - 1)), 401),
        (with("nbf", json!(now() + 600)), 401),
        (with("active", json!("true")), 503),
        (with("exp", json!("soon")), 503),
        (json!(["active"]), 503),
        (json!({}), 503),
    ]
    .into_iter()
    .enumerate()
    {
        mock.answer_with(knowing(said.clone()));
        let caller = Caller::bearer(gateway.address, &format!("opaque-token-{number}"));
        assert_eq!(caller.knock().status, status, "{said}");
    }
    // The endpoint refuses the gateway: that says nothing of the token.
    mock.answer_with(|_| Reply::Json(401, json!({"error": "invalid_client"})));
    let caller = Caller::bearer(gateway.address, "opaque-token-last");
    assert_eq!(caller.knock().status, 503);
}

#[test]
fn a_scope_that_is_missing_is_asked_for() {
    let mock = Mock::start(knowing(active()));
    let gateway = asking(&mock)
        .options(&["--scope", "tools/call:echo=files:write"])
        .start();
    let caller = Caller::bearer(gateway.address, TOKEN);
    let session = caller.initialize();
    let call = |name: &str| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{{"name":"{name}","arguments":{{"a":1,"b":2}}}}}}"#
        );
        caller.request("POST", Some(&session), &body)
    };
    let missing = call("echo");
    assert_eq!(missing.status, 403);
    assert_eq!(
        missing.field("www-authenticate"),
        Some(r#"Bearer realm="demo", scope="files:write", error="insufficient_scope""#)
    );
    assert!(missing.body.contains(r#""id":"c""#), "{}", missing.body);
    assert_eq!(call("add").status, 200);
}

#[test]
fn a_wrong_client_secret_shows_at_the_start() {
    let mock = Mock::start(|_| Reply::Json(401, json!({"error": "invalid_client"})));
    let output = asking(&mock).run();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--introspection-client-id"), "{told}");
    assert!(!told.contains("s:cret"), "{told}");
}
