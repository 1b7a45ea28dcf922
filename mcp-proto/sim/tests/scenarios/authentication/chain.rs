//! Several verifiers: who is shown which token, and what follows from what they say.

use mcp_proto::auth::FetchFailure;
use mcp_proto_sim::{Event, jwt};

use super::*;

const OTHER_ISSUER: &str = "https://other.example.org";
const OTHER_URL: &str = "https://api.other.example.org/me";

/// Answers no to whoever is asked, until nobody is asked any more, and says who that was.
fn shown_to(scene: &mut Scene, text: &str) -> Vec<String> {
    let mut shown = Vec::new();
    while let Some(event) = scene.outside.pop_front() {
        match event {
            Event::Fetch(fetch) => {
                let form = fetch.form.clone().unwrap_or_default();
                let authorization = fetch.authorization.clone().unwrap();
                let has = authorization.to_str().unwrap().contains(text)
                    || String::from_utf8_lossy(&form).contains(text);
                assert!(has, "another token: {fetch:?}");
                shown.push(fetch.url.split('/').nth(2).unwrap().to_owned());
                if fetch.form.is_some() {
                    scene.serves(fetch.id, 200, r#"{"active":false}"#);
                } else {
                    scene.serves(fetch.id, 401, "");
                }
            }
            Event::CheckSignature(check) => {
                shown.push("keys".to_owned());
                scene.checks(&check, false);
            }
            Event::VerifyToken(verification, token) => {
                assert_eq!(token.expose(), text);
                shown.push("embedder".to_owned());
                scene.verifies(verification, Verdict::Denied);
            }
            Event::Started(_) => {}
            event => panic!("{event:?}"),
        }
    }
    shown
}

#[test]
fn a_token_is_shown_to_those_only_who_may_see_it() {
    let verifiers = || {
        vec![
            tokens(&[("ann", "static-one")]),
            Verifier::Http(HttpVerifier {
                token_prefix: Some("pat_".to_owned()),
                ..service()
            }),
            Verifier::Http(HttpVerifier {
                url: OTHER_URL.to_owned(),
                issuer: Some(OTHER_ISSUER.to_owned()),
                token_prefix: Some("oth_".to_owned()),
                ..service()
            }),
            Verifier::Jwt(signed()),
            Verifier::Introspection(IntrospectionVerifier {
                token_prefix: Some("opq_".to_owned()),
                ..introspector()
            }),
        ]
    };
    let scene = begin(gateway(verifiers()));
    let own = jwt(&header(), &claims(&scene));
    let by = |issuer: Value| jwt(&header(), &with(claims(&scene), "iss", issuer));
    let encrypted = json!({"alg": "RSA-OAEP", "enc": "A256GCM"});
    let encrypted = jwt(&encrypted, &json!({}))
        .split('.')
        .next()
        .unwrap()
        .to_owned()
        + ".a.b.c.d";
    for (text, expected) in [
        ("static-onf", &[][..]),
        ("static-one=", &[]),
        ("pat_1", &["api.example.org"]),
        ("PAT_1", &[]),
        ("pat", &[]),
        ("oth_1", &["api.other.example.org"]),
        ("opq_1", &["as.example.org"]),
        ("garbage", &[]),
        (&own, &["keys", "as.example.org"]),
        (&by(json!(OTHER_ISSUER)), &["api.other.example.org"]),
        (&by(json!("https://third.example.org")), &[]),
        (&by(json!(format!("{ISSUER}/"))), &[]),
        (&by(json!([ISSUER])), &[]),
        (&by(json!(null)), &[]),
        (&encrypted, &[]),
        ("eyJgarbage", &[]),
    ] {
        let mut scene = begin(gateway(verifiers()));
        let asked = scene.send(knock().bearer(text));
        assert_eq!(shown_to(&mut scene, text), expected, "{text}");
        assert_turned_away(&mut scene, asked, Refusal::InvalidToken);
    }
}

#[test]
fn without_a_prefix_opaque_tokens_are_shown_and_others_tokens_are_not() {
    let verifiers = || {
        vec![
            Verifier::Http(service()),
            Verifier::Introspection(introspector()),
            Verifier::Custom,
        ]
    };
    let scene = begin(gateway(verifiers()));
    let by = |issuer: Value| jwt(&header(), &with(claims(&scene), "iss", issuer));
    let all = &["api.example.org", "as.example.org", "embedder"][..];
    for (text, expected) in [
        ("garbage", all),
        ("a.b.c", all),
        ("eyJgarbage", &[]),
        // An embedder sees what is nobody else's.
        (&by(json!(ISSUER)), &["as.example.org"]),
        (&by(json!(OTHER_ISSUER)), &["embedder"]),
        (&by(json!(null)), &["embedder"]),
    ] {
        let mut scene = begin(gateway(verifiers()));
        let asked = scene.send(knock().bearer(text));
        assert_eq!(shown_to(&mut scene, text), expected, "{text}");
        assert_turned_away(&mut scene, asked, Refusal::InvalidToken);
    }
}

#[test]
fn without_an_authorization_server_a_jwt_is_nobodys() {
    let mut policy = gateway(vec![
        Verifier::Jwt(signed()),
        Verifier::Introspection(introspector()),
        Verifier::Http(service()),
    ]);
    policy.auth.authorization_server = None;
    let mut scene = begin(policy);
    for issuer in [json!(ISSUER), json!(""), json!(null)] {
        let text = jwt(&header(), &with(claims(&scene), "iss", issuer));
        let asked = scene.send(knock().bearer(&text));
        scene.assert_nobody_is_asked();
        assert_turned_away(&mut scene, asked, Refusal::InvalidToken);
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Word {
    Yes,
    No,
    Down,
    Silent,
}

/// Every combination of what three say.
#[test]
fn one_yes_is_enough_and_no_is_said_only_by_all() {
    use Word::{Down, No, Silent, Yes};
    for first in [Yes, No, Down, Silent] {
        for second in [Yes, No, Down, Silent] {
            for third in [Yes, No, Down, Silent] {
                let words = [first, second, third];
                let mut scene = begin(gateway(vec![
                    Verifier::Http(service()),
                    Verifier::Custom,
                    Verifier::Introspection(introspector()),
                ]));
                let asked = scene.send(knock().bearer("one"));
                let mut heard = Vec::new();
                for (place, word) in words.into_iter().enumerate() {
                    if !scene.is_waiting(asked) {
                        break;
                    }
                    heard.push(word);
                    say(&mut scene, place, word);
                }
                let expected = if heard.contains(&Yes) {
                    LET_IN
                } else if heard == [No; 3] {
                    Refusal::InvalidToken
                } else {
                    Refusal::VerifierUnavailable
                };
                assert_eq!(outcome(&scene, asked), expected, "{words:?}");
                // Whoever was not heard had no need to be: nobody's silence is another's loss.
                assert!(heard.len() == 3 || heard.last() == Some(&Yes), "{words:?}");
                scene.assert_nobody_is_asked();
                scene.wait_secs(120);
                assert_eq!(scene.outside.len(), 0);
            }
        }
    }
}

fn say(scene: &mut Scene, place: usize, word: Word) {
    if word == Word::Silent {
        scene.outside.pop_front().expect("somebody is asked");
        return scene.wait_secs(5);
    }
    if place == 1 {
        let (verification, _) = scene.verification();
        let verdict = match word {
            Word::Yes => allowed("ann"),
            Word::No => Verdict::Denied,
            _ => Verdict::Unavailable,
        };
        return scene.verifies(verification, verdict);
    }
    let fetch = scene.fetch();
    match (word, place) {
        (Word::Yes, 0) => scene.serves(fetch.id, 200, r#"{"id":"c"}"#),
        (Word::Yes, _) => scene.serves(fetch.id, 200, &active().to_string()),
        (Word::No, 0) => scene.serves(fetch.id, 403, ""),
        (Word::No, _) => scene.serves(fetch.id, 200, r#"{"active":false}"#),
        _ => scene.fails(fetch.id, FetchFailure::Unreachable("down".to_owned())),
    }
}

#[test]
fn an_embedder_cannot_let_in_whose_token_has_ended() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    for (ends_in, expected) in [
        (-1_i64, Refusal::InvalidToken),
        (0, Refusal::InvalidToken),
        (1, LET_IN),
    ] {
        let ends = scene.world.unix_seconds().saturating_add_signed(ends_in);
        let asked = scene.send(knock().bearer(&format!("t{ends}")));
        let (verification, _) = scene.verification();
        let identity = Identity {
            expires_at: Some(ends),
            ..identity("ann")
        };
        scene.verifies(verification, Verdict::Allowed(identity));
        assert_eq!(outcome(&scene, asked), expected);
    }
}

/// Someone who never says a word is forgotten.
#[test]
fn an_embedder_that_never_answers_leaves_nothing() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    let asked = scene.send(knock().bearer("one"));
    scene.verification();
    scene.wait_secs(5);
    assert_turned_away(&mut scene, asked, Refusal::VerifierUnavailable);
    scene.assert_nothing_is_left();
}

/// Each verifier may wait for what it lacks, whether or not the one before it did.
#[test]
fn one_waits_for_metadata_and_the_next_for_keys() {
    let mut policy = gateway(vec![
        Verifier::Introspection(IntrospectionVerifier {
            url: None,
            ..introspector()
        }),
        Verifier::Jwt(JwtVerifier {
            keys: KeySource::Url("https://as.example.org/jwks".to_owned()),
            ..signed()
        }),
    ]);
    let metadata = policy.auth.authorization_server.as_mut().unwrap();
    let metadata = metadata.metadata.take().unwrap();
    let mut scene = Scene::of(policy);
    let asked = scene.send(knock().bearer(&jwt(&header(), &claims(&scene))));
    let mut keys = None;
    while let Some(event) = scene.outside.pop_front() {
        match event {
            Event::Fetch(fetch) if fetch.url.ends_with("/jwks") => keys = Some(fetch),
            Event::Fetch(fetch) if fetch.form.is_some() => {
                scene.serves(fetch.id, 200, r#"{"active":false}"#);
            }
            Event::Fetch(fetch) => scene.serves(fetch.id, 200, &metadata),
            event => panic!("{event:?}"),
        }
    }
    assert!(scene.is_waiting(asked));
    scene.serves(keys.expect("the keys are fetched").id, 200, KEYS);
    let mut checks = std::mem::take(&mut scene.outside);
    checks.retain(|event| !matches!(event, Event::Started(_)));
    let Some(Event::CheckSignature(check)) = checks.pop_front() else {
        panic!("the signature is checked");
    };
    scene.checks(&check, true);
    assert_eq!(outcome(&scene, asked), LET_IN);
}
