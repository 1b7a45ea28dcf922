//! An authorization server's introspection endpoint: what its answers mean.

use mcp_proto::auth::FetchFailure;

use super::*;

fn policy(verifier: IntrospectionVerifier) -> Policy {
    gateway(vec![Verifier::Introspection(verifier)])
}

#[test]
fn what_an_endpoint_is_sent() {
    let mut scene = begin(policy(IntrospectionVerifier {
        url: None,
        client_id: "g w:é".to_owned(),
        client_secret: Secret::new("h%h"),
        ..introspector()
    }));
    scene.send(knock().bearer("secret+/="));
    let fetch = scene.fetch();
    assert_eq!(fetch.url, "https://as.example.org/introspect");
    assert_eq!(fetch.method, http::Method::POST);
    let form = fetch.form.clone().unwrap();
    assert_eq!(form, "token=secret%2B%2F%3D&token_type_hint=access_token");
    let authorization = fetch.authorization.clone().unwrap();
    // RFC 6749 section 2.3.1: each is form-encoded first.
    assert_eq!(authorization, "Basic Zyt3JTNBJUMzJUE5OmglMjVo");
    assert!(authorization.is_sensitive());
    let shown = format!("{fetch:?} {:?}", scene.world.gateway().policy().auth);
    assert!(
        !shown.contains("secret+") && !shown.contains("h%h"),
        "{shown}"
    );
}

#[test]
fn what_an_endpoint_says() {
    let now = begin(gateway(vec![])).world.unix_seconds();
    let (yes, no, down) = (LET_IN, Refusal::InvalidToken, Refusal::VerifierUnavailable);
    for (name, value, expected) in [
        ("x", json!(1), yes),
        ("active", json!(false), no),
        ("active", json!(null), down),
        ("active", json!("true"), down),
        ("active", json!(1), down),
        ("exp", json!(now + 1), yes),
        ("exp", json!(now), no),
        ("exp", json!(now - 1), no),
        ("exp", json!("soon"), down),
        ("exp", json!(-5), down),
        ("nbf", json!(now), yes),
        ("nbf", json!(now + 100), no),
        ("aud", json!(null), no),
        ("aud", json!("https://other.example.org"), no),
        ("aud", json!(format!("{RESOURCE}/")), no),
        ("aud", json!(["https://other.example.org", RESOURCE]), yes),
        ("aud", json!([RESOURCE, 7]), no),
        ("aud", json!([]), no),
        ("aud", json!({"x": RESOURCE}), no),
        ("iss", json!(ISSUER), yes),
        ("iss", json!("https://other.example.org"), no),
        ("iss", json!(format!("{ISSUER}/")), no),
        ("iss", json!([ISSUER]), no),
        ("sub", json!(null), yes),
        ("sub", json!(7), down),
        ("nbf", json!("0"), down),
        ("token_type", json!("bearer"), yes),
        ("token_type", json!("DPoP"), no),
        ("token_use", json!("access_token"), yes),
        ("token_use", json!("refresh_token"), no),
        ("cnf", json!({"jkt": "AQ"}), no),
        ("client_id", json!(null), yes),
        ("client_id", json!({}), down),
        ("scope", json!("a b"), yes),
        ("scope", json!(["a"]), down),
    ] {
        let mut scene = begin(policy(introspector()));
        let asked = scene.send(knock().bearer("secret"));
        let fetch = scene.fetch();
        let body = with(active(), name, value).to_string();
        scene.serves(fetch.id, 200, &body);
        assert_eq!(outcome(&scene, asked), expected, "{body}");
        assert_hidden(&scene, &[asked], &["secret"]);
    }
}

#[test]
fn nobody_is_no_principal() {
    let mut scene = begin(policy(introspector()));
    let asked = scene.send(knock().bearer("one"));
    let fetch = scene.fetch();
    let body = with(with(active(), "sub", Value::Null), "client_id", Value::Null);
    scene.serves(fetch.id, 200, &body.to_string());
    assert_eq!(outcome(&scene, asked), Refusal::VerifierUnavailable);
}

#[test]
fn what_is_no_introspection_response_says_nothing() {
    for (status, body) in [
        (200, ""),
        (200, "<html>"),
        (200, "true"),
        (200, r#"[{"active":true}]"#),
        (200, r#"{"active":true"#),
        (201, r#"{"active":true,"sub":"ann"}"#),
        (302, r#"{"active":true,"sub":"ann"}"#),
        // The endpoint refuses the gateway itself.
        (400, r#"{"active":false}"#),
        (401, r#"{"active":false}"#),
        (403, ""),
        (404, ""),
        (500, r#"{"active":true,"sub":"ann"}"#),
    ] {
        let mut scene = begin(policy(introspector()));
        let asked = scene.send(knock().bearer("one"));
        let fetch = scene.fetch();
        scene.serves(fetch.id, status, body);
        assert_turned_away(&mut scene, asked, Refusal::VerifierUnavailable);
        scene.send(knock().bearer("one"));
        scene.fetch();
    }
}

#[test]
fn an_endpoint_that_does_not_answer_is_unavailable() {
    let mut scene = begin(policy(introspector()));
    let asked = scene.send(knock().bearer("one"));
    let fetch = scene.fetch();
    scene.fails(fetch.id, FetchFailure::TooLarge);
    assert_turned_away(&mut scene, asked, Refusal::VerifierUnavailable);
    let asked = scene.send(knock().bearer("one"));
    scene.fetch();
    scene.wait_secs(5);
    assert_turned_away(&mut scene, asked, Refusal::VerifierUnavailable);
}

#[test]
fn audiences_may_be_others_or_any() {
    for (audience, aud, expected) in [
        (Audience::Any, json!(null), LET_IN),
        (Audience::Any, json!("x"), LET_IN),
        (Audience::OneOf(vec!["x".to_owned()]), json!("x"), LET_IN),
        (
            Audience::OneOf(vec!["x".to_owned()]),
            json!(RESOURCE),
            Refusal::InvalidToken,
        ),
        (
            Audience::OneOf(vec![]),
            json!(RESOURCE),
            Refusal::InvalidToken,
        ),
    ] {
        let mut scene = begin(policy(IntrospectionVerifier {
            audience,
            ..introspector()
        }));
        let asked = scene.send(knock().bearer("one"));
        let fetch = scene.fetch();
        let body = with(active(), "aud", aud).to_string();
        scene.serves(fetch.id, 200, &body);
        assert_eq!(outcome(&scene, asked), expected, "{body}");
    }
}

#[test]
fn an_endpoint_that_nobody_names_cannot_be_asked() {
    let mut with_no_endpoint = policy(IntrospectionVerifier {
        url: None,
        ..introspector()
    });
    with_no_endpoint
        .auth
        .authorization_server
        .as_mut()
        .unwrap()
        .metadata = Some(json!({"issuer": ISSUER}).to_string());
    let mut scene = Scene::of(with_no_endpoint);
    assert_eq!(scene.started().len(), 1);
    let asked = scene.send(knock().bearer("one"));
    assert_turned_away(&mut scene, asked, Refusal::VerifierUnavailable);
    scene.assert_nobody_is_asked();
}
