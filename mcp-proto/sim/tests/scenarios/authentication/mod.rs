//! Who a caller is: every answer that others can give, played line by line.

mod chain;
mod credentials;
mod documents;
mod introspection;
mod jwt;
mod keys;
mod limits;
mod owners;
mod scopes;
mod service;
mod startup;
mod streams;
mod verdicts;

use mcp_proto::auth::{
    Algorithm, Audience, AuthPolicy, AuthorizationServer, Clients, HttpVerifier, Identity,
    IntrospectionVerifier, JwtVerifier, KeySource, Principal, Secret, StaticToken, Token, Verdict,
    Verifier,
};
use mcp_proto::{AuditClass, AuditEvent, Policy, Refusal};
use mcp_proto_sim::{Asked, Request, Scene, StreamEvent, policy};
use serde_json::{Value, json};

const RESOURCE: &str = "https://gw.example.org/mcp";
const ISSUER: &str = "https://as.example.org";
const METADATA_URL: &str = "https://gw.example.org/.well-known/oauth-protected-resource/mcp";

/// One key that is for any RSA algorithm, and one for one of a curve.
const KEYS: &str = r#"{"keys":[{"kty":"RSA","kid":"r","n":"AQ","e":"AQAB"},{"kty":"EC","crv":"P-256","kid":"e","alg":"ES256","x":"AQ","y":"AQ"}]}"#;

/// A gateway that asks these, behind an authorization server whose metadata was given.
fn gateway(verifiers: Vec<Verifier>) -> Policy {
    let metadata = json!({
        "issuer": ISSUER,
        "jwks_uri": "https://as.example.org/jwks",
        "introspection_endpoint": "https://as.example.org/introspect",
    });
    Policy {
        auth: AuthPolicy {
            verifiers,
            resource: RESOURCE.to_owned(),
            authorization_server: Some(AuthorizationServer {
                issuer: ISSUER.to_owned(),
                metadata: Some(metadata.to_string()),
            }),
            ..AuthPolicy::default()
        },
        ..policy()
    }
}

/// A scene after the start, at which every verifier works.
#[track_caller]
fn begin(policy: Policy) -> Scene {
    let mut scene = Scene::of(policy);
    while let Some(event) = scene.outside.pop_front() {
        match event {
            mcp_proto_sim::Event::Fetch(fetch) if fetch.form.is_some() => {
                scene.serves(fetch.id, 200, r#"{"active":false}"#);
            }
            mcp_proto_sim::Event::Fetch(fetch) if fetch.url.ends_with("/jwks") => {
                scene.serves(fetch.id, 200, KEYS);
            }
            mcp_proto_sim::Event::Fetch(fetch) => scene.serves(fetch.id, 401, ""),
            mcp_proto_sim::Event::Started(failures) => assert_eq!(failures, []),
            event => panic!("{event:?}"),
        }
    }
    scene.world.take_audit();
    scene
}

fn token(text: &str) -> Token {
    Token::new(text.to_owned()).unwrap()
}

fn given_out(tokens: &[(&str, &str)]) -> Vec<StaticToken> {
    let tokens = tokens.iter().map(|(name, text)| StaticToken {
        name: (*name).to_owned(),
        token: token(text),
    });
    tokens.collect()
}

fn tokens(tokens: &[(&str, &str)]) -> Verifier {
    Verifier::Static(given_out(tokens))
}

fn service() -> HttpVerifier {
    HttpVerifier {
        url: "https://api.example.org/whoami".to_owned(),
        method: http::Method::GET,
        client_pointer: Some("/id".to_owned()),
        expiry_pointer: Some("/expires_at".to_owned()),
        clients: Clients::Any,
        issuer: None,
        token_prefix: None,
        own_token: None,
    }
}

fn introspector() -> IntrospectionVerifier {
    IntrospectionVerifier {
        url: Some("https://as.example.org/introspect".to_owned()),
        client_id: "gw".to_owned(),
        client_secret: Secret::new("hush"),
        audience: Audience::Resource,
        token_prefix: None,
    }
}

fn signed() -> JwtVerifier {
    JwtVerifier {
        keys: KeySource::Given(KEYS.to_owned()),
        algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
        types: vec!["at+jwt".to_owned()],
        audience: Audience::Resource,
    }
}

/// What a service or an embedder knows of someone.
fn identity(subject: &str) -> Identity {
    Identity {
        principal: Principal {
            issuer: "them".to_owned(),
            subject: subject.to_owned(),
            client_id: None,
        },
        scopes: Vec::new(),
        expires_at: None,
    }
}

fn allowed(subject: &str) -> Verdict {
    Verdict::Allowed(identity(subject))
}

/// What an introspection endpoint says of a good token.
fn active() -> Value {
    json!({"active": true, "sub": "ann", "client_id": "app", "aud": RESOURCE})
}

fn header() -> Value {
    json!({"alg": "RS256", "typ": "at+jwt", "kid": "r"})
}

fn claims(scene: &Scene) -> Value {
    json!({
        "iss": ISSUER,
        "sub": "ann",
        "client_id": "app",
        "aud": RESOURCE,
        "exp": scene.world.unix_seconds() + 3600,
    })
}

/// The same with this member as `value`, or without it where that is null.
fn with(mut object: Value, name: &str, value: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    members.remove(name);
    if !value.is_null() {
        members.insert(name.to_owned(), value);
    }
    object
}

/// A request that needs a token and, once that is good, a session.
fn knock() -> Request {
    Request::delete()
}

/// What a caller who is let in is told by [`knock`].
const LET_IN: Refusal = Refusal::SessionRequired;

/// What became of a request, which was refused or let in.
#[track_caller]
fn outcome(scene: &Scene, asked: Asked) -> Refusal {
    assert!(scene.response(asked).complete, "it is over");
    let records = scene.world.audit().iter();
    let mut records = records.filter(|record| record.exchange == Some(asked));
    let record = records.next().expect("a record");
    assert_eq!(records.next(), None);
    match record.event {
        AuditEvent::Refused(refusal) => refusal,
        event => panic!("{event:?}"),
    }
}

/// Checks the whole refusal of a credential: status, body, challenge, and one record of it.
#[track_caller]
fn assert_turned_away(scene: &mut Scene, asked: Asked, refusal: Refusal) {
    scene.assert_refused(asked, refusal);
    let challenge = scene.response(asked).field("www-authenticate");
    let error = match refusal {
        Refusal::CredentialsMissing => "",
        Refusal::CredentialsMalformed | Refusal::InvalidToken => ", error=\"invalid_token\"",
        Refusal::InsufficientScope => ", error=\"insufficient_scope\"",
        _ => {
            assert_eq!(challenge, None);
            return;
        }
    };
    let challenge = challenge.expect("a challenge");
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    assert!(challenge.ends_with(error), "{challenge}");
    assert_eq!(challenge.contains("error="), !error.is_empty());
    let records = scene.world.audit().iter();
    let mut records = records.filter(|record| record.exchange == Some(asked));
    let record = records.next().unwrap();
    assert_eq!(record.event.class(), AuditClass::Auth);
    assert_eq!(record.event.reason(), Some(refusal.reason()));
    assert!(record.caller.is_some(), "whence it came");
}

/// Checks that these secrets are nowhere to be read but where they have to go.
#[track_caller]
fn assert_hidden(scene: &Scene, asked: &[Asked], secrets: &[&str]) {
    let responses = asked.iter().map(|&asked| {
        let response = scene.response(asked);
        format!("{:?} {}", response.head, response.text())
    });
    let records = format!("{:?}", scene.world.audit());
    let warnings = format!("{:?}", scene.world.warnings());
    let outside = format!("{:?}", scene.outside);
    for text in responses.chain([records, warnings, outside]) {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} stands in {text}");
        }
    }
}

/// The data of the events of a stream, as numbers of the messages that the test made.
fn ticks(events: &[StreamEvent]) -> Vec<u64> {
    let data = events.iter().filter(|event| !event.data.is_empty());
    data.map(|event| event.json()["params"]["n"].as_u64().unwrap())
        .collect()
}

fn tick(n: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/tick","params":{{"n":{n}}}}}"#)
}
