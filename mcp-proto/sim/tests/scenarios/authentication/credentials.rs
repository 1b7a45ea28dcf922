//! Credentials as they stand in a head, and tokens that the operator gave out.

use super::*;

#[test]
fn what_is_no_bearer_token_reaches_nobody() {
    let long = format!("Bearer {}", "a".repeat(8 * 1024 + 1));
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer =",
        "Bearer ===",
        "Bearer secret=secret",
        "Bearer secret secret",
        "Bearer secret,secret",
        "Bearer secret, Bearer secret",
        "Bearer \"secret\"",
        "Bearer secret\u{e9}",
        "Bearer\tsecret",
        "Bearer \tsecret",
        "Bearer:secret",
        "Bearersecret",
        "Basic c2VjcmV0",
        "secret",
        "Token secret",
        &long,
    ] {
        let mut scene = begin(gateway(vec![
            tokens(&[("ann", "secret")]),
            Verifier::Http(service()),
            Verifier::Custom,
        ]));
        let asked = scene.send(knock().field("authorization", value));
        // Another scheme is no attempt at this one (RFC 6750 section 3.1).
        let bearer = value.to_ascii_lowercase().starts_with("bearer") && value != "Bearersecret";
        let refusal = match bearer {
            true => Refusal::CredentialsMalformed,
            false => Refusal::CredentialsMissing,
        };
        assert_turned_away(&mut scene, asked, refusal);
        scene.assert_nobody_is_asked();
        assert_hidden(&scene, &[asked], &["secret", "c2VjcmV0"]);
    }
}

#[test]
fn the_longest_token_is_shown_and_a_longer_one_is_not() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    let asked = scene.send(knock().bearer(&"a".repeat(8 * 1024)));
    let (verification, token) = scene.verification();
    assert_eq!(token.expose().len(), 8 * 1024);
    scene.verifies(verification, allowed("ann"));
    assert_eq!(outcome(&scene, asked), LET_IN);
}

#[test]
fn two_credentials_are_none() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    for (first, second) in [("one", "two"), ("one", "one")] {
        let asked = scene.send(knock().bearer(first).bearer(second));
        scene.assert_refused(asked, Refusal::RepeatedField);
    }
    scene.assert_nobody_is_asked();
}

#[test]
fn tokens_elsewhere_than_in_the_field_are_not_read() {
    let mut scene = begin(gateway(vec![
        tokens(&[("ann", "secret")]),
        Verifier::Custom,
    ]));
    let mut posted = Request::post("access_token=secret");
    for name in ["cookie", "x-api-key", "proxy-authorization", "mcp-token"] {
        posted = posted.field(name, "Bearer secret");
    }
    for request in [
        Request::new(http::Method::DELETE, "/mcp?access_token=secret"),
        Request::new(http::Method::DELETE, "/mcp?authorization=Bearer%20secret"),
        posted,
    ] {
        let asked = scene.send(request);
        assert_turned_away(&mut scene, asked, Refusal::CredentialsMissing);
        assert_hidden(&scene, &[asked], &["secret"]);
    }
    scene.assert_nobody_is_asked();
}

#[test]
fn a_challenge_tells_where_the_metadata_is_only_if_it_is_there() {
    use mcp_proto::auth::Discovery;
    for (discovery, server, told) in [
        (Discovery::Auto, true, true),
        (Discovery::Always, true, true),
        (Discovery::Off, true, false),
        (Discovery::Auto, false, false),
        (Discovery::Always, false, false),
        (Discovery::Off, false, false),
    ] {
        let mut policy = gateway(vec![tokens(&[("ann", "secret")])]);
        policy.auth.discovery = discovery;
        if !server {
            policy.auth.authorization_server = None;
        }
        let mut scene = begin(policy);
        for request in [knock(), knock().bearer("wrong"), knock().bearer("a=b")] {
            let asked = scene.send(request);
            let challenge = scene.response(asked).field("www-authenticate").unwrap();
            let metadata = format!("resource_metadata=\"{METADATA_URL}\"");
            assert_eq!(challenge.contains(&metadata), told, "{challenge}");
            assert_eq!(challenge.contains("resource_metadata"), told);
            assert_eq!(challenge.contains("realm"), !told);
        }
    }
}

#[test]
fn whatever_a_service_is_called_its_challenge_can_be_read() {
    let mut policy = gateway(vec![tokens(&[("ann", "secret")])]);
    policy.auth.authorization_server = None;
    policy.service_name = r#"my "best" \o/ server"#.to_owned();
    let mut scene = begin(policy);
    let asked = scene.send(knock().bearer("wrong"));
    let challenge = scene.response(asked).field("www-authenticate");
    let expected = r#"Bearer realm="my \"best\" \\o/ server", error="invalid_token""#;
    assert_eq!(challenge.as_deref(), Some(expected));
}

#[test]
fn whoever_is_not_let_in_learns_nothing_of_the_endpoint() {
    let mut scene = begin(gateway(vec![tokens(&[("ann", "secret")])]));
    for request in [
        Request::post("{").with("content-type", "text/plain"),
        Request::post("{").with("accept", "text/html"),
        Request::get().field("mcp-protocol-version", "1999-01-01"),
        Request::get().session("nonsense"),
    ] {
        let asked = scene.send(request);
        assert_turned_away(&mut scene, asked, Refusal::CredentialsMissing);
    }
    // What needs no token is answered without.
    let asked = scene.send(Request::new(http::Method::OPTIONS, "/mcp"));
    assert_eq!(scene.response(asked).status(), 204);
    let asked = scene.send(Request::new(http::Method::GET, "/health").bearer("wrong"));
    assert_eq!(scene.response(asked).status(), 200);
}

#[test]
fn given_out_tokens_are_good_and_others_are_not() {
    let mut scene = begin(gateway(vec![tokens(&[
        ("ann", "one"),
        ("ann", "two"),
        ("bob", "3="),
    ])]));
    for (text, expected) in [
        ("one", LET_IN),
        ("two", LET_IN),
        ("3=", LET_IN),
        ("onE", Refusal::InvalidToken),
        ("on", Refusal::InvalidToken),
        ("onee", Refusal::InvalidToken),
        ("3", Refusal::InvalidToken),
        ("3==", Refusal::InvalidToken),
    ] {
        let asked = scene.send(knock().bearer(text));
        assert_eq!(outcome(&scene, asked), expected, "{text}");
        if expected != LET_IN {
            assert_turned_away(&mut scene, asked, expected);
        }
    }
    scene.assert_nobody_is_asked();
}

#[test]
fn tokens_of_one_name_are_one_principal() {
    let mut scene = begin(gateway(vec![tokens(&[
        ("ann", "one"),
        ("ann", "two"),
        ("bob", "three"),
    ])]));
    scene.presents("one");
    let session = scene.open("2025-11-25");
    scene.presents("two");
    let (asked, minted) = scene.begin_call(&session, "1");
    scene.answers(&session, &minted, "x");
    scene.assert_answered(asked, 1.into(), "x");
    scene.presents("three");
    let asked = scene.call(&session, "2");
    scene.assert_refused(asked, Refusal::SessionNotFound);
    assert_eq!(scene.hears(&session), [""; 0]);
}

#[test]
fn a_token_that_is_replaced_is_refused_at_once_and_its_session_goes_on_with_the_new_one() {
    let mut scene = begin(gateway(vec![tokens(&[("ann", "old")])]));
    scene.presents("old");
    let session = scene.open("2025-11-25");
    let stream = scene.listen(&session);
    scene.world.replace_tokens(&given_out(&[("ann", "new")]));
    scene.settle();
    assert_eq!(scene.audit().last(), Some(&AuditEvent::TokensReplaced));
    let asked = scene.call(&session, "1");
    assert_turned_away(&mut scene, asked, Refusal::InvalidToken);
    assert!(!scene.response(stream).complete, "its verdict still lives");
    scene.wait_secs(60);
    assert!(scene.response(stream).complete);
    assert!(scene.audit().contains(&AuditEvent::TokenEnded));

    scene.presents("new");
    let (asked, minted) = scene.begin_call(&session, "2");
    scene.answers(&session, &minted, "x");
    scene.assert_answered(asked, 2.into(), "x");
    scene.presents_nothing();
    scene.assert_nothing_is_left();
}

#[test]
fn a_stream_is_open_for_as_long_as_its_token_is_given_out() {
    let mut scene = begin(gateway(vec![tokens(&[("ann", "one")])]));
    scene.presents("one");
    let session = scene.open("2025-11-25");
    let stream = scene.listen(&session);
    scene.wait_secs(24 * 3600);
    assert!(!scene.response(stream).complete);
    scene.assert_nothing_is_left();
}

#[test]
fn given_out_tokens_have_no_scopes() {
    let mut policy = gateway(vec![tokens(&[("ann", "one")])]);
    policy.auth.required_scopes = vec!["mcp".to_owned()];
    let mut scene = begin(policy);
    let asked = scene.send(knock().bearer("one"));
    assert_turned_away(&mut scene, asked, Refusal::InsufficientScope);
}

#[test]
fn without_verifiers_nobody_is_asked_who_they_are() {
    let mut scene = begin(gateway(vec![]));
    for request in [
        knock(),
        knock().bearer("any"),
        knock().field("authorization", "="),
    ] {
        let asked = scene.send(request);
        assert_eq!(outcome(&scene, asked), LET_IN);
    }
}

#[test]
fn while_records_cannot_be_kept_requests_are_refused_where_that_is_wanted() {
    for wanted in [true, false] {
        let mut policy = gateway(vec![tokens(&[("ann", "one")])]);
        policy.auth.refuse_unaudited = wanted;
        let mut scene = begin(policy);
        scene.presents("one");
        let session = scene.open("2025-11-25");
        scene.world.audit_sink(false);
        for request in [
            knock(),
            Request::get().session(&session.id),
            Request::post(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#).session(&session.id),
        ] {
            let asked = scene.send(request);
            if wanted {
                scene.assert_refused(asked, Refusal::AuditUnavailable);
            } else {
                assert_ne!(scene.response(asked).status(), 503);
            }
        }
        assert_eq!(scene.hears(&session).is_empty(), wanted);
        let asked = scene.send(Request::new(http::Method::GET, "/health"));
        assert_eq!(scene.response(asked).status(), 200);
        scene.world.audit_sink(true);
        let asked = scene.send(knock());
        assert_eq!(outcome(&scene, asked), LET_IN);
    }
}

#[test]
fn whoever_waits_for_a_verdict_when_records_cannot_be_kept_any_more_is_refused() {
    let mut policy = gateway(vec![Verifier::Custom]);
    policy.auth.refuse_unaudited = true;
    let mut scene = begin(policy);
    scene.presents("one");
    let (asked, _) = scene.initialize("2025-11-25");
    let (verification, _) = scene.verification();
    scene.world.audit_sink(false);
    scene.verifies(verification, allowed("ann"));
    scene.assert_refused(asked, Refusal::AuditUnavailable);
    assert_eq!(scene.world.opened(), []);
    scene.assert_nothing_is_left();
}
