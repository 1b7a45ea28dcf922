//! The OAuth metadata that is published.

use http::Method;
use mcp_proto::auth::{Discovery, FetchFailure};

use super::*;

const PROTECTED: &str = "oauth-protected-resource";
const SERVER: &str = "oauth-authorization-server";
const OPENID: &str = "openid-configuration";

fn read(path: &str) -> Request {
    Request::new(Method::GET, path)
}

/// A gateway whose authorization server has to be asked for its metadata, and what it asks.
fn fetching() -> Policy {
    let mut policy = gateway(vec![tokens(&[("ann", "one")])]);
    policy.auth.authorization_server.as_mut().unwrap().metadata = None;
    policy
}

fn places(name: &str) -> [String; 3] {
    [
        format!("/.well-known/{name}"),
        format!("/.well-known/{name}/mcp"),
        format!("/mcp/.well-known/{name}"),
    ]
}

#[test]
fn each_document_is_in_every_place_where_clients_look() {
    let metadata = "{ \"issuer\" : \"https://as.example.org\",\n\"x\":-0.0E+05,\"y\":\"\\u0041\"}";
    let mut policy = gateway(vec![tokens(&[("ann", "one")])]);
    policy.auth.authorization_server.as_mut().unwrap().metadata = Some(metadata.to_owned());
    policy.auth.required_scopes = vec!["mcp".to_owned()];
    let mut scene = begin(policy);
    for place in places(PROTECTED) {
        let asked = scene.send(read(&place));
        let response = scene.response(asked);
        assert_eq!(response.status(), 200, "{place}");
        assert_eq!(
            response.field("content-type").as_deref(),
            Some("application/json")
        );
        let document = response.json();
        assert_eq!(document["resource"], RESOURCE);
        assert_eq!(document["authorization_servers"], json!([ISSUER]));
        assert_eq!(document["bearer_methods_supported"], json!(["header"]));
        assert_eq!(document["scopes_supported"], json!(["mcp"]));
    }
    // Of another's document no byte is changed.
    for place in places(SERVER).into_iter().chain(places(OPENID)) {
        let asked = scene.send(read(&place));
        assert_eq!(scene.response(asked).text(), metadata, "{place}");
    }
    assert_eq!(scene.audit(), [], "what anyone may read is not recorded");
}

#[test]
fn methods_of_documents() {
    let mut scene = begin(gateway(vec![tokens(&[("ann", "one")])]));
    for place in places(PROTECTED).into_iter().chain(places(SERVER)) {
        let asked = scene.send(Request::new(Method::HEAD, &place));
        assert_eq!(scene.response(asked).status(), 200);
        let asked = scene.send(Request::new(Method::OPTIONS, &place));
        assert_eq!(scene.response(asked).status(), 204);
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let asked = scene.send(Request::new(method, &place));
            scene.assert_refused(asked, Refusal::MethodNotAllowed);
            let allow = scene.response(asked).field("allow");
            assert_eq!(allow.as_deref(), Some("GET, HEAD, OPTIONS"));
            assert!(scene.response(asked).json()["error"].is_string());
        }
    }
    // A credential is not looked at.
    let asked = scene.send(read("/.well-known/oauth-protected-resource").bearer("wrong"));
    assert_eq!(scene.response(asked).status(), 200);
}

#[test]
fn what_is_published_follows_from_the_setting() {
    for (discovery, server, protected, metadata) in [
        (Discovery::Auto, true, true, true),
        (Discovery::Auto, false, false, false),
        (Discovery::Always, true, true, true),
        (Discovery::Always, false, false, true),
        (Discovery::Off, true, false, false),
        (Discovery::Off, false, false, false),
    ] {
        let mut policy = gateway(vec![tokens(&[("ann", "one")])]);
        policy.auth.discovery = discovery;
        if !server {
            policy.auth.authorization_server = None;
        }
        let mut scene = begin(policy);
        for (name, published) in [
            (PROTECTED, protected),
            (SERVER, metadata),
            (OPENID, metadata),
        ] {
            for place in places(name) {
                let asked = scene.send(read(&place));
                if published {
                    assert_eq!(scene.response(asked).status(), 200, "{discovery:?} {place}");
                } else {
                    scene.assert_refused(asked, Refusal::NotPublished);
                    assert_eq!(scene.response(asked).json()["error"], "not_published");
                }
            }
        }
        if metadata && !server {
            let asked = scene.send(read("/.well-known/oauth-authorization-server"));
            let document = scene.response(asked).json();
            assert_eq!(document["issuer"], RESOURCE);
            for name in ["response_types_supported", "grant_types_supported"] {
                assert_eq!(document[name], json!([]));
            }
            for name in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
                assert_eq!(document.get(name), None);
            }
        }
    }
}

#[test]
fn elsewhere_there_is_nothing_and_json_says_so() {
    let mut scene = begin(gateway(vec![tokens(&[("ann", "one")])]));
    for (path, refusal) in [
        (
            "/.well-known/oauth-protected-resource/other",
            Refusal::NotPublished,
        ),
        (
            "/.well-known/oauth-protected-resource/mcp/x",
            Refusal::NotPublished,
        ),
        (
            "/.well-known/oauth-protected-resourcex",
            Refusal::NotPublished,
        ),
        ("/.well-known/jwks.json", Refusal::NotPublished),
        ("/.well-known/", Refusal::NotPublished),
        ("/.well-known", Refusal::NotFound),
        (
            "/other/.well-known/oauth-protected-resource",
            Refusal::NotFound,
        ),
        ("/mcp/x", Refusal::NotFound),
        ("/authorize", Refusal::NotFound),
    ] {
        let asked = scene.send(read(path));
        scene.assert_refused(asked, refusal);
        assert_eq!(scene.response(asked).field("www-authenticate"), None);
    }
    for path in ["/register", "/token"] {
        let asked = scene.send(Request::new(Method::POST, path));
        scene.assert_refused(asked, Refusal::NotFound);
        assert!(scene.response(asked).json()["error"].is_string());
    }
}

#[test]
fn metadata_are_fetched_once_for_all_who_wait() {
    let mut scene = Scene::of(fetching());
    let mut asked: Vec<_> = (0..20)
        .map(|n| scene.send(read(&places([SERVER, OPENID][n % 2])[n % 3])))
        .collect();
    let mut events = std::mem::take(&mut scene.outside);
    events.retain(|event| !matches!(event, mcp_proto_sim::Event::Started(_)));
    assert_eq!(events.len(), 1);
    let Some(mcp_proto_sim::Event::Fetch(fetch)) = events.pop_front() else {
        panic!("the metadata are fetched");
    };
    assert_eq!(
        fetch.url,
        "https://as.example.org/.well-known/oauth-authorization-server"
    );
    for gone in asked.drain(..5) {
        scene.leave(gone);
    }
    let metadata = r#"{"issuer":"https://as.example.org", "a":1}"#;
    scene.serves(fetch.id, 200, metadata);
    for asked in asked {
        assert_eq!(scene.response(asked).text(), metadata);
    }
    scene.assert_nobody_is_asked();
    scene.assert_nothing_is_left();
}

#[test]
fn metadata_are_looked_for_in_every_place_and_are_of_the_issuer() {
    for (status, body) in [
        (404, r#"{"issuer":"https://as.example.org"}"#),
        (301, r#"{"issuer":"https://as.example.org"}"#),
        (200, "<html>"),
        (200, "{}"),
        (200, r#"{"issuer":7}"#),
        (200, r#"{"issuer":"https://as.example.org/"}"#),
        (200, r#"{"issuer":"https://evil.example"}"#),
    ] {
        let mut policy = fetching();
        let server = policy.auth.authorization_server.as_mut().unwrap();
        server.issuer = "https://as.example.org/a".to_owned();
        let mut scene = Scene::of(policy);
        scene
            .outside
            .retain(|event| !matches!(event, mcp_proto_sim::Event::Started(_)));
        let asked = scene.send(read("/.well-known/openid-configuration"));
        for expected in [
            "https://as.example.org/.well-known/oauth-authorization-server/a",
            "https://as.example.org/a/.well-known/openid-configuration",
        ] {
            let fetch = scene.fetch();
            assert_eq!(fetch.url, expected);
            scene.serves(fetch.id, status, body);
            assert!(scene.is_waiting(asked));
        }
        let fetch = scene.fetch();
        assert_eq!(
            fetch.url,
            "https://as.example.org/.well-known/openid-configuration/a"
        );
        let metadata = r#"{"issuer":"https://as.example.org/a"}"#;
        scene.serves(fetch.id, 200, metadata);
        assert_eq!(scene.response(asked).text(), metadata);
    }
}

#[test]
fn metadata_that_cannot_be_had_are_said_to_be_so_and_asked_for_again() {
    let mut scene = Scene::of(fetching());
    scene
        .outside
        .retain(|event| !matches!(event, mcp_proto_sim::Event::Started(_)));
    let asked = scene.send(read("/.well-known/oauth-authorization-server"));
    for _ in 0..2 {
        let fetch = scene.fetch();
        scene.fails(fetch.id, FetchFailure::TooLarge);
    }
    scene.assert_refused(asked, Refusal::MetadataUnavailable);
    assert_eq!(scene.world.warnings().len(), 1);
    // The gateway's own document is there all the same.
    let asked = scene.send(read("/.well-known/oauth-protected-resource"));
    assert_eq!(scene.response(asked).status(), 200);
    scene.wait_secs(29);
    let asked = scene.send(read("/.well-known/oauth-authorization-server"));
    scene.assert_refused(asked, Refusal::MetadataUnavailable);
    scene.assert_nobody_is_asked();
    scene.wait_secs(1);
    let asked = scene.send(read("/.well-known/oauth-authorization-server"));
    let fetch = scene.fetch();
    let metadata = r#"{"issuer":"https://as.example.org"}"#;
    scene.serves(fetch.id, 200, metadata);
    assert_eq!(scene.response(asked).text(), metadata);

    // What is old is served while it cannot be had anew, for an hour.
    for minutes in [10, 20, 29] {
        scene.wait_secs(minutes * 60);
        let asked = scene.send(read("/.well-known/oauth-authorization-server"));
        assert_eq!(scene.response(asked).text(), metadata);
        for _ in 0..2 {
            let fetch = scene.fetch();
            scene.fails(fetch.id, FetchFailure::TimedOut);
        }
    }
    scene.wait_secs(60);
    let asked = scene.send(read("/.well-known/oauth-authorization-server"));
    assert!(scene.is_waiting(asked));
    for _ in 0..2 {
        let fetch = scene.fetch();
        scene.serves(fetch.id, 500, "");
    }
    scene.assert_refused(asked, Refusal::MetadataUnavailable);
    scene.assert_nothing_is_left();
}
