//! The keys that tokens are signed with: which fits, and when they are fetched.

use mcp_proto::auth::FetchFailure;
use mcp_proto_sim::jwt;

use super::*;

const JWKS: &str = "https://as.example.org/jwks";

fn fetching() -> Policy {
    gateway(vec![Verifier::Jwt(JwtVerifier {
        keys: KeySource::Url(JWKS.to_owned()),
        ..signed()
    })])
}

/// A token that no other is equal to.
fn fresh(scene: &Scene, kid: &str) -> String {
    let n = scene.world.audit().len();
    let claims = with(claims(scene), "jti", json!(n));
    jwt(&with(header(), "kid", json!(kid)), &claims)
}

/// Sends a good token, which is checked at once.
#[track_caller]
fn assert_works(scene: &mut Scene) {
    let token = fresh(scene, "r");
    let asked = scene.send(knock().bearer(&token));
    let check = scene.check();
    scene.checks(&check, true);
    assert_eq!(outcome(scene, asked), LET_IN);
}

#[test]
fn a_key_is_for_what_it_says() {
    let key = json!({"kty": "RSA", "kid": "r", "n": "AQ", "e": "AQAB"});
    let spare = json!({"kty": "EC", "crv": "P-384", "kid": "spare", "x": "AQ", "y": "AQ"});
    for (name, value, expected) in [
        ("x", json!(1), true),
        ("alg", json!("RS256"), true),
        ("alg", json!("RS512"), false),
        ("alg", json!("PS256"), false),
        ("alg", json!("RSA-OAEP"), false),
        ("use", json!("sig"), true),
        ("use", json!("enc"), false),
        ("use", json!(7), false),
        ("key_ops", json!(["verify"]), true),
        ("key_ops", json!(["sign", "verify"]), true),
        ("key_ops", json!(["encrypt"]), false),
        ("key_ops", json!([]), false),
        ("key_ops", json!("verify"), false),
        ("kid", json!("R"), false),
        ("kid", json!(null), false),
        ("kty", json!("EC"), false),
        ("kty", json!("oct"), false),
        ("kty", json!(null), false),
    ] {
        let keys = json!({"keys": [with(key.clone(), name, value), 7, {}, spare]});
        let mut scene = begin(gateway(vec![Verifier::Jwt(JwtVerifier {
            keys: KeySource::Given(keys.to_string()),
            ..signed()
        })]));
        let asked = scene.send(knock().bearer(&jwt(&header(), &claims(&scene))));
        if expected {
            let check = scene.check();
            assert_eq!(
                serde_json::from_str::<Value>(&check.key).unwrap(),
                keys["keys"][0]
            );
        } else {
            assert_eq!(scene.outside.len(), 0, "{keys}");
            assert_turned_away(&mut scene, asked, Refusal::InvalidToken);
        }
    }
}

#[test]
fn a_token_that_names_no_key_is_checked_where_only_one_fits() {
    let key = |kid: &str| json!({"kty": "RSA", "kid": kid, "n": "AQ", "e": "AQAB"});
    for (keys, expected) in [(vec![key("a")], true), (vec![key("a"), key("b")], false)] {
        let keys = json!({ "keys": keys }).to_string();
        let mut scene = begin(gateway(vec![Verifier::Jwt(JwtVerifier {
            keys: KeySource::Given(keys),
            ..signed()
        })]));
        let header = with(header(), "kid", Value::Null);
        scene.send(knock().bearer(&jwt(&header, &claims(&scene))));
        assert_eq!(scene.outside.len(), usize::from(expected));
    }
}

#[test]
fn a_key_that_is_not_known_is_looked_for_once_in_half_a_minute() {
    let mut scene = begin(fetching());
    scene.wait_secs(30);
    // However many ask for however many keys.
    let tokens: Vec<_> = ["a", "b", "c"].map(|kid| fresh(&scene, kid)).into();
    let asked: Vec<_> = tokens
        .iter()
        .map(|token| scene.send(knock().bearer(token)))
        .collect();
    let fetch = scene.fetch();
    assert_eq!(fetch.url, JWKS);
    assert_eq!(fetch.authorization, None);
    scene.serves(fetch.id, 200, &KEYS.replace("\"r\"", "\"b\""));
    let check = scene.check();
    scene.checks(&check, true);
    assert_eq!(outcome(&scene, asked[0]), Refusal::InvalidToken);
    assert_eq!(outcome(&scene, asked[1]), LET_IN);
    assert_eq!(outcome(&scene, asked[2]), Refusal::InvalidToken);

    // Not before its time, and then again: that it is not known is not for ever.
    scene.wait_secs(29);
    let again = scene.send(knock().bearer(&tokens[2]));
    assert_turned_away(&mut scene, again, Refusal::InvalidToken);
    scene.assert_nobody_is_asked();
    scene.wait_secs(1);
    let again = scene.send(knock().bearer(&tokens[2]));
    let fetch = scene.fetch();
    scene.serves(fetch.id, 200, &KEYS.replace("\"r\"", "\"c\""));
    let check = scene.check();
    scene.checks(&check, true);
    assert_eq!(outcome(&scene, again), LET_IN);
}

#[test]
fn keys_are_fetched_once_for_all_who_wait() {
    let mut scene = Scene::of(fetching());
    let fetch = scene.fetch();
    let asked: Vec<_> = (0..20)
        .map(|n| {
            let claims = with(claims(&scene), "jti", json!(n));
            let knock = knock().from(&format!("10.0.0.{n}"));
            scene.send(knock.bearer(&jwt(&header(), &claims)))
        })
        .collect();
    scene.assert_nobody_is_asked();
    // Some leave meanwhile.
    for &asked in &asked[..5] {
        scene.leave(asked);
    }
    scene.serves(fetch.id, 200, KEYS);
    let checks: Vec<_> = std::mem::take(&mut scene.outside).into();
    assert_eq!(checks.len(), 21, "and that all were tried");
    for event in checks {
        if let mcp_proto_sim::Event::CheckSignature(check) = event {
            scene.checks(&check, true);
        }
    }
    for &asked in &asked[5..] {
        assert_eq!(outcome(&scene, asked), LET_IN);
    }
    scene.assert_nothing_is_left();
}

#[test]
fn keys_last_an_hour_while_they_cannot_be_fetched() {
    let mut scene = begin(fetching());
    assert_works(&mut scene);
    scene.wait_secs(599);
    assert_works(&mut scene);
    scene.assert_nobody_is_asked();
    // From now on the server is down, which nobody notices for an hour.
    for _ in 0..50 {
        let token = fresh(&scene, "r");
        scene.wait_secs(60);
        let asked = scene.send(knock().bearer(&token));
        // It is looked whether the server is back; if not, the keys that there are do.
        let fetch = scene.fetch();
        scene.assert_nobody_is_asked();
        scene.fails(fetch.id, FetchFailure::Unreachable("down".to_owned()));
        let check = scene.check();
        scene.checks(&check, true);
        assert_eq!(outcome(&scene, asked), LET_IN);
    }
    scene.wait_secs(60);
    let asked = scene.send(knock().bearer(&fresh(&scene, "r")));
    let fetch = scene.fetch();
    assert!(scene.is_waiting(asked), "there are no keys any more");
    scene.fails(fetch.id, FetchFailure::TooLarge);
    assert_turned_away(&mut scene, asked, Refusal::VerifierUnavailable);
    // At once for who comes next.
    let asked = scene.send(knock().bearer(&fresh(&scene, "r")));
    scene.assert_nobody_is_asked();
    assert_turned_away(&mut scene, asked, Refusal::VerifierUnavailable);
    // And it recovers.
    scene.wait_secs(30);
    let asked = scene.send(knock().bearer(&fresh(&scene, "r")));
    let fetch = scene.fetch();
    scene.serves(fetch.id, 200, KEYS);
    let check = scene.check();
    scene.checks(&check, true);
    assert_eq!(outcome(&scene, asked), LET_IN);
}

/// A key that was withdrawn lets nobody in while the server can be asked.
#[test]
fn old_keys_are_looked_at_anew_before_they_are_used() {
    let mut scene = begin(fetching());
    assert_works(&mut scene);
    scene.wait_secs(3000);
    let asked = scene.send(knock().bearer(&fresh(&scene, "r")));
    let fetch = scene.fetch();
    scene.assert_nobody_is_asked();
    scene.serves(
        fetch.id,
        200,
        r#"{"keys":[{"kty":"RSA","kid":"other","n":"AQ","e":"AQAB"}]}"#,
    );
    assert_turned_away(&mut scene, asked, Refusal::InvalidToken);
}

/// A server that hangs is away.
#[test]
fn old_keys_do_where_no_answer_comes() {
    let mut scene = begin(fetching());
    assert_works(&mut scene);
    scene.wait_secs(900);
    let asked = scene.send(knock().bearer(&fresh(&scene, "r")));
    scene.fetch();
    scene.wait_secs(5);
    let check = scene.check();
    scene.checks(&check, true);
    assert_eq!(outcome(&scene, asked), LET_IN);
}

#[test]
fn what_is_no_key_set_leaves_the_keys_as_they_are() {
    for (status, body) in [
        (200, ""),
        (200, "<html>"),
        (200, "[]"),
        (200, r#"{"keys":{}}"#),
        (200, r#"{"keys":[]}"#),
        (200, r#"{"keys":[{"kty":"oct","k":"AQ"}]}"#),
        (204, KEYS),
        (301, KEYS),
        (404, KEYS),
        (500, ""),
    ] {
        let mut scene = begin(fetching());
        scene.wait_secs(30);
        let asked = scene.send(knock().bearer(&fresh(&scene, "unknown")));
        let fetch = scene.fetch();
        scene.serves(fetch.id, status, body);
        // The key may be among those that could not be had.
        assert_eq!(outcome(&scene, asked), Refusal::VerifierUnavailable);
        let asked = scene.send(knock().bearer(&fresh(&scene, "unknown")));
        assert_eq!(outcome(&scene, asked), Refusal::VerifierUnavailable);
        assert_works(&mut scene);
        assert_eq!(scene.world.warnings().len(), 1);
    }
}

#[test]
fn keys_are_where_the_metadata_say() {
    let mut policy = gateway(vec![Verifier::Jwt(JwtVerifier {
        keys: KeySource::Metadata,
        ..signed()
    })]);
    policy.auth.authorization_server.as_mut().unwrap().metadata = None;
    let mut scene = Scene::of(policy);
    let asked = scene.send(knock().bearer(&fresh(&scene, "r")));
    let fetch = scene.fetch();
    assert!(fetch.url.contains("/.well-known/"), "{}", fetch.url);
    let metadata = json!({"issuer": ISSUER, "jwks_uri": "https://cdn.example.org/keys"});
    scene.serves(fetch.id, 200, &metadata.to_string());
    let fetch = scene.fetch();
    assert_eq!(fetch.url, "https://cdn.example.org/keys");
    assert!(scene.is_waiting(asked));
    scene.serves(fetch.id, 200, KEYS);
    let events: Vec<_> = std::mem::take(&mut scene.outside).into();
    for event in events {
        match event {
            mcp_proto_sim::Event::CheckSignature(check) => scene.checks(&check, true),
            mcp_proto_sim::Event::Started(failures) => assert_eq!(failures, []),
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(outcome(&scene, asked), LET_IN);
}

#[test]
fn without_metadata_there_are_no_keys() {
    for metadata in [
        json!({"issuer": "https://other.example.org", "jwks_uri": JWKS}),
        json!({"issuer": ISSUER}),
        json!({"issuer": ISSUER, "jwks_uri": "http://as.example.org/jwks"}),
        json!({"issuer": ISSUER, "jwks_uri": "https://127.0.0.1/jwks"}),
        json!({"issuer": ISSUER, "jwks_uri": "file:///etc/keys"}),
        json!({"issuer": ISSUER, "jwks_uri": 7}),
    ] {
        let mut policy = gateway(vec![Verifier::Jwt(JwtVerifier {
            keys: KeySource::Metadata,
            ..signed()
        })]);
        policy.auth.authorization_server.as_mut().unwrap().metadata = None;
        let mut scene = Scene::of(policy);
        let asked = scene.send(knock().bearer(&fresh(&scene, "r")));
        while let Some(event) = scene.outside.pop_front() {
            match event {
                mcp_proto_sim::Event::Fetch(fetch) => {
                    assert!(fetch.url.contains("/.well-known/"), "{}", fetch.url);
                    scene.serves(fetch.id, 200, &metadata.to_string());
                }
                mcp_proto_sim::Event::Started(failures) => assert_eq!(failures.len(), 1),
                event => panic!("{event:?}"),
            }
        }
        assert_turned_away(&mut scene, asked, Refusal::VerifierUnavailable);
    }
}
