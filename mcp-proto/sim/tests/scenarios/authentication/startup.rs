//! Every verifier is tried once at the start.

use mcp_proto::auth::{FetchFailure, FetchRequest, VerifierKind};
use mcp_proto_sim::Event;

use super::*;

/// Starts, with whoever is asked answering so, and tells what does not work.
#[track_caller]
fn start(
    policy: Policy,
    mut answers: impl FnMut(&FetchRequest) -> (u16, String),
) -> Vec<(VerifierKind, String)> {
    let mut scene = Scene::of(policy);
    let mut told = Vec::new();
    while let Some(event) = scene.outside.pop_front() {
        match event {
            Event::Fetch(fetch) => match answers(&fetch) {
                (0, _) => scene.fails(fetch.id, FetchFailure::TimedOut),
                (status, body) => scene.serves(fetch.id, status, &body),
            },
            Event::Started(failures) => told.push(failures),
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(told.len(), 1, "it is told once that all were tried");
    let tried = scene.audit().into_iter().filter_map(|event| match event {
        AuditEvent::VerifierTried { verifier, passed } => Some((verifier, passed)),
        _ => None,
    });
    let mut failed: Vec<_> = tried
        .filter(|(_, passed)| !passed)
        .map(|(kind, _)| kind)
        .collect();
    let mut told: Vec<_> = told[0]
        .iter()
        .map(|failure| (failure.verifier, failure.problem.clone()))
        .collect();
    failed.sort();
    told.sort();
    assert_eq!(
        failed,
        told.iter().map(|(kind, _)| *kind).collect::<Vec<_>>()
    );
    for (_, problem) in &told {
        assert!(
            !problem.contains('\n') && !problem.contains("own-secret"),
            "{problem}"
        );
    }
    // And not once more, whatever happens later.
    scene.wait_secs(3600);
    scene.assert_nobody_is_asked();
    told
}

fn no_metadata(verifiers: Vec<Verifier>) -> Policy {
    let mut policy = gateway(verifiers);
    policy.auth.authorization_server.as_mut().unwrap().metadata = None;
    policy
}

#[test]
fn a_gateway_that_asks_nobody_is_started() {
    assert_eq!(start(gateway(vec![]), |_| unreachable!()), []);
    let good = gateway(vec![tokens(&[("a", "b")]), Verifier::Custom]);
    assert_eq!(start(good, |_| unreachable!()), []);
    let none = start(gateway(vec![tokens(&[])]), |_| unreachable!());
    assert_eq!(none.len(), 1);
}

#[test]
fn a_service_is_tried_with_its_own_token_or_with_none_of_its() {
    let own = Some(token("own-secret"));
    for (own_token, status, body, works) in [
        (None, 401, "", true),
        (None, 403, "", true),
        (None, 400, "", true),
        (None, 200, r#"{"id":"c"}"#, false),
        (None, 200, "", false),
        (None, 404, "", false),
        (None, 301, "", false),
        (None, 500, "", false),
        (None, 0, "", false),
        (own.clone(), 200, r#"{"id":"c"}"#, true),
        (own.clone(), 200, r#"{"ID":"c"}"#, false),
        (own.clone(), 401, "", false),
        (own.clone(), 500, "", false),
        (own, 0, "", false),
    ] {
        let verifier = HttpVerifier {
            own_token: own_token.clone(),
            clients: Clients::Only(["someone else".to_owned()].into()),
            ..service()
        };
        let failures = start(gateway(vec![Verifier::Http(verifier)]), |fetch| {
            let shown = fetch.authorization.as_ref().unwrap();
            match (&own_token, shown == "Bearer own-secret") {
                (Some(_), false) => (401, String::new()),
                _ => (status, body.to_owned()),
            }
        });
        assert_eq!(
            failures.is_empty(),
            works,
            "{own_token:?} {status} {failures:?}"
        );
    }
}

/// A service that knows its own token may know any.
#[test]
fn a_service_that_knows_any_token_is_no_verifier() {
    for own_token in [None, Some(token("own-secret"))] {
        let verifier = HttpVerifier {
            own_token,
            ..service()
        };
        let failures = start(gateway(vec![Verifier::Http(verifier)]), |_| {
            (200, r#"{"id":"c"}"#.to_owned())
        });
        assert!(failures[0].1.contains("made up"), "{failures:?}");
    }
}

/// What callers' tokens are not shown to, the operator's own is not shown to either.
#[test]
fn a_service_is_not_tried_with_a_token_that_it_would_not_be_shown() {
    let foreign = mcp_proto_sim::jwt(
        &header(),
        &serde_json::json!({"iss": "https://svc.example.org"}),
    );
    for (own, issuer, prefix, works) in [
        (foreign.as_str(), None, None, false),
        (&foreign, Some("https://svc.example.org"), None, true),
        ("own-secret", None, Some("own-"), true),
        ("own-secret", None, Some("svc_"), false),
    ] {
        let verifier = HttpVerifier {
            own_token: Some(token(own)),
            issuer: issuer.map(str::to_owned),
            token_prefix: prefix.map(str::to_owned),
            ..service()
        };
        let bearer = format!("Bearer {own}");
        let failures = start(gateway(vec![Verifier::Http(verifier)]), |fetch| {
            match fetch.authorization.as_ref().unwrap() == bearer.as_str() {
                true => (200, r#"{"id":"c"}"#.to_owned()),
                false => (401, String::new()),
            }
        });
        assert_eq!(failures.is_empty(), works, "{failures:?}");
    }
}

#[test]
fn an_endpoint_is_tried_with_a_token_that_nobody_has() {
    for (status, body, works) in [
        (200, r#"{"active":false}"#, true),
        (200, r#"{"active":true}"#, false),
        (200, r#"{"active":"false"}"#, false),
        (200, "", false),
        (200, "[]", false),
        (400, "", false),
        (401, r#"{"active":false}"#, false),
        (500, "", false),
        (0, "", false),
    ] {
        let verifier = Verifier::Introspection(introspector());
        let failures = start(gateway(vec![verifier]), |_| (status, body.to_owned()));
        assert_eq!(failures.is_empty(), works, "{status} {body} {failures:?}");
    }
}

/// Every combination of what works of metadata, keys and endpoint, with and without tokens at once.
#[test]
fn verifiers_that_need_metadata_are_tried_once_those_are_there() {
    let verifiers = vec![
        Verifier::Http(service()),
        Verifier::Introspection(IntrospectionVerifier {
            url: None,
            ..introspector()
        }),
        Verifier::Jwt(JwtVerifier {
            keys: KeySource::Metadata,
            ..signed()
        }),
        tokens(&[("a", "b")]),
    ];
    for metadata in [0, 200, 500] {
        for keys in [0, 200, 500] {
            for endpoint in [0, 200, 401] {
                let answers = |fetch: &FetchRequest| match fetch.url.as_str() {
                    url if url.contains(".well-known") => {
                        let document = json!({
                            "issuer": ISSUER,
                            "jwks_uri": "https://as.example.org/jwks",
                            "introspection_endpoint": "https://as.example.org/introspect",
                        });
                        (metadata, document.to_string())
                    }
                    url if url.ends_with("jwks") => (keys, KEYS.to_owned()),
                    url if url.ends_with("introspect") => {
                        (endpoint, r#"{"active":false}"#.to_owned())
                    }
                    _ => (401, String::new()),
                };
                let failures = start(no_metadata(verifiers.clone()), answers);
                let has = |kind| failures.iter().any(|(failed, _)| *failed == kind);
                let named = metadata == 200;
                assert_eq!(has(VerifierKind::Jwt), !(named && keys == 200));
                assert_eq!(
                    has(VerifierKind::Introspection),
                    !(named && endpoint == 200)
                );
                assert!(!has(VerifierKind::Http) && !has(VerifierKind::Static));
            }
        }
    }
}

#[test]
fn keys_are_tried_where_they_are() {
    for (keys, answer, works) in [
        (KeySource::Given(KEYS.to_owned()), None, true),
        (KeySource::Given("{}".to_owned()), None, false),
        (
            KeySource::Url("https://k.example.org".to_owned()),
            Some((200, KEYS)),
            true,
        ),
        (
            KeySource::Url("https://k.example.org".to_owned()),
            Some((200, "{}")),
            false,
        ),
        (
            KeySource::Url("https://k.example.org".to_owned()),
            Some((0, "")),
            false,
        ),
        (KeySource::Metadata, Some((200, KEYS)), true),
        (KeySource::Metadata, Some((404, KEYS)), false),
    ] {
        let verifier = Verifier::Jwt(JwtVerifier { keys, ..signed() });
        let failures = start(gateway(vec![verifier]), |_| {
            let (status, body) = answer.expect("nobody need be asked");
            (status, body.to_owned())
        });
        assert_eq!(failures.is_empty(), works, "{failures:?}");
    }
}

/// Whoever comes before all were tried is served as well as can be.
#[test]
fn tokens_are_verified_while_verifiers_are_tried() {
    let mut scene = Scene::of(gateway(vec![Verifier::Http(service())]));
    let Some(Event::Fetch(trial)) = scene.outside.pop_front() else {
        panic!("the service is tried");
    };
    let asked = scene.send(knock().bearer("one"));
    let fetch = scene.fetch();
    scene.serves(fetch.id, 200, r#"{"id":"c"}"#);
    assert_eq!(outcome(&scene, asked), LET_IN);
    // The token of the trial is not kept as a good one.
    let shown = trial.authorization.clone().unwrap();
    let shown = shown.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    scene.serves(trial.id, 200, r#"{"id":"c"}"#);
    assert_eq!(scene.started().len(), 1);
    let asked = scene.send(knock().bearer(shown));
    scene.fetch();
    assert!(scene.is_waiting(asked));
}
