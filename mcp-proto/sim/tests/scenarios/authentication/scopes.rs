//! What a good token is good for.

use mcp_proto::auth::ScopeRule;
use mcp_proto_sim::Session;

use super::*;

fn rule(method: &str, name: Option<&str>, scope: &str) -> ScopeRule {
    ScopeRule {
        method: method.to_owned(),
        name: name.map(str::to_owned),
        scopes: vec![scope.to_owned()],
    }
}

/// A session of someone with these scopes.
fn open(version: &str, scopes: &[&str]) -> (Scene, Session) {
    let mut policy = gateway(vec![Verifier::Custom]);
    policy.auth.required_scopes = vec!["mcp".to_owned()];
    policy.auth.scope_rules = vec![
        rule("tools/call", Some("delete_*"), "write"),
        rule("resources/read", Some("file:///secret/*"), "secrets"),
        rule("prompts/*", None, "prompts"),
    ];
    let mut scene = begin(policy);
    scene.presents("one");
    scene.send(knock());
    let (verification, _) = scene.verification();
    let identity = Identity {
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ..identity("ann")
    };
    scene.verifies(verification, Verdict::Allowed(identity));
    let session = scene.open(version);
    (scene, session)
}

#[test]
fn a_token_without_the_scopes_of_the_whole_opens_nothing() {
    let mut policy = gateway(vec![Verifier::Custom]);
    policy.auth.required_scopes = vec!["mcp".to_owned(), "more".to_owned()];
    for (scopes, expected) in [
        (&[][..], Refusal::InsufficientScope),
        (&["mcp"], Refusal::InsufficientScope),
        (&["MCP", "more"], Refusal::InsufficientScope),
        (&["mcp more"], Refusal::InsufficientScope),
        (&["more", "x", "mcp"], LET_IN),
    ] {
        let mut scene = begin(policy.clone());
        scene.presents("one");
        let asked = scene.send(knock());
        let (verification, _) = scene.verification();
        let identity = Identity {
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            ..identity("ann")
        };
        scene.verifies(verification, Verdict::Allowed(identity));
        assert_eq!(outcome(&scene, asked), expected, "{scopes:?}");
        if expected != LET_IN {
            assert_turned_away(&mut scene, asked, expected);
            let challenge = scene.response(asked).field("www-authenticate").unwrap();
            assert!(challenge.contains("scope=\"mcp more\""), "{challenge}");
            let (asked, upstream) = scene.initialize("2025-11-25");
            assert_turned_away(&mut scene, asked, expected);
            assert_eq!(upstream, None);
        }
    }
}

#[test]
fn single_calls_need_what_their_rules_say() {
    const WRITE: Option<&str> = Some("mcp write");
    const SECRETS: Option<&str> = Some("mcp secrets");
    const PROMPTS: Option<&str> = Some("mcp prompts");
    for (method, params, lacks) in [
        (r#""tools/call""#, r#"{"name":"read_x"}"#, None),
        (r#""tools/call""#, r#"{"name":"delete"}"#, None),
        (r#""tools/call""#, r#"{"name":"DELETE_x"}"#, None),
        (r#""tools/list""#, r#"{}"#, None),
        (r#""tools/call""#, r#"{"name":"delete_"}"#, WRITE),
        (r#""tools/call""#, r#"{"name":"delete_x"}"#, WRITE),
        // However it is written.
        (r#""tools/call""#, r#"{"name":"\u0064elete_x"}"#, WRITE),
        (r#""tools/call""#, r#"{"n\u0061me":"delete_x"}"#, WRITE),
        (r#""tools\/call""#, r#"{"name":"delete_x"}"#, WRITE),
        (r#""tools\u002fcall""#, r#"{"name":"delete_x"}"#, WRITE),
        (r#""\u0074ools/call""#, r#"{"name":"delete\u005fx"}"#, WRITE),
        // A name that cannot be told may be any.
        (r#""tools/call""#, r#"{}"#, WRITE),
        (r#""tools/call""#, r#"{"name":["delete_x"]}"#, WRITE),
        (r#""tools/call""#, r#"{"name":null}"#, WRITE),
        // The name is where the method has it.
        (
            r#""tools/call""#,
            r#"{"name":"delete_x","uri":"file:///x"}"#,
            WRITE,
        ),
        (
            r#""tools/call""#,
            r#"{"uri":"file:///x","name":"delete_x"}"#,
            WRITE,
        ),
        (r#""tools/call""#, r#"{"uri":"file:///x"}"#, WRITE),
        (
            r#""resources/read""#,
            r#"{"uri":"file:///secret/x"}"#,
            SECRETS,
        ),
        (r#""resources/read""#, r#"{"uri":"file:///x"}"#, None),
        (
            r#""resources/read""#,
            r#"{"uri":"file:///secret/x","name":"harmless"}"#,
            SECRETS,
        ),
        (r#""resources/read""#, r#"{"name":"harmless"}"#, SECRETS),
        (
            r#""resources/read""#,
            r#"{"uri":7,"name":"harmless"}"#,
            SECRETS,
        ),
        (r#""prompts/get""#, r#"{"name":"x"}"#, PROMPTS),
        (r#""prompts/list""#, r#"{}"#, PROMPTS),
        (r#""prompts""#, r#"{}"#, None),
    ] {
        for id in ["", r#""id":7,"#] {
            let message = format!(r#"{{"jsonrpc":"2.0",{id}"method":{method},"params":{params}}}"#);
            let (mut scene, session) = open("2025-11-25", &["mcp"]);
            let asked = scene.post(&session, &message);
            let Some(needed) = lacks else {
                assert_eq!(scene.hears(&session).len(), 1, "{message}");
                continue;
            };
            assert_turned_away(&mut scene, asked, Refusal::InsufficientScope);
            let challenge = scene.response(asked).field("www-authenticate").unwrap();
            let scope = format!("scope=\"{needed}\"");
            assert!(challenge.contains(&scope), "{challenge}");
            assert!(challenge.contains(METADATA_URL), "{challenge}");
            assert_eq!(scene.hears(&session), [""; 0], "{message}");
            let body = scene.response(asked).json();
            assert_eq!(
                body["id"],
                if id.is_empty() { Value::Null } else { json!(7) }
            );
            // And with the scopes it goes through.
            let scopes: Vec<_> = needed.split(' ').collect();
            let (mut scene, session) = open("2025-11-25", &scopes);
            scene.post(&session, &message);
            assert_eq!(scene.hears(&session).len(), 1, "{message}");
        }
    }
}

#[test]
fn of_a_batch_all_goes_through_or_nothing() {
    let call = |id: u32, name: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}"}}}}"#
        )
    };
    let notification = r#"{"jsonrpc":"2.0","method":"prompts/x"}"#;
    for (batch, expected) in [
        (format!("[{},{}]", call(1, "a"), call(2, "b")), true),
        (format!("[{},{}]", call(1, "a"), call(2, "delete_b")), false),
        (format!("[{},{}]", call(1, "delete_a"), call(2, "b")), false),
        (format!("[{},{notification}]", call(1, "a")), false),
        (format!("[{notification}]"), false),
    ] {
        let (mut scene, session) = open("2025-03-26", &["mcp"]);
        let asked = scene.post(&session, &batch);
        if expected {
            assert_eq!(scene.hears(&session).len(), 2);
        } else {
            assert_turned_away(&mut scene, asked, Refusal::InsufficientScope);
            assert_eq!(scene.hears(&session), [""; 0], "{batch}");
        }
        scene.assert_nothing_is_left();
    }
}

#[test]
fn initialize_may_need_a_scope_too() {
    let mut policy = gateway(vec![Verifier::Custom]);
    policy.auth.scope_rules = vec![rule("initialize", None, "sessions")];
    let mut scene = begin(policy);
    scene.presents("one");
    let (asked, upstream) = scene.initialize("2025-11-25");
    assert_eq!(upstream, None);
    let (verification, _) = scene.verification();
    scene.verifies(verification, allowed("ann"));
    assert_turned_away(&mut scene, asked, Refusal::InsufficientScope);
    assert_eq!(scene.response(asked).json()["id"], 0);
    assert_eq!(scene.world.opened(), [], "no child is started for it");
    scene.assert_nothing_is_left();
}

#[test]
fn what_is_refused_gives_its_grant_back() {
    let (mut scene, session) = open("2025-11-25", &["mcp"]);
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"prompts/list"}"#;
    for _ in 0..20 {
        let asked = scene.post(&session, message);
        assert_turned_away(&mut scene, asked, Refusal::InsufficientScope);
    }
    let asked = scene.delete(&session);
    assert_eq!(scene.response(asked).status(), 204);
    scene.wait_secs(10);
    assert_eq!(scene.world.upstreams(), 0);
}
