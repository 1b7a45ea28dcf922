//! Tokens that an authorization server has signed: header and claims. Only what is in order is given
//! to be checked.

use mcp_proto::auth::SignatureFailure;
use mcp_proto_sim::jwt;

use super::*;

fn scene() -> Scene {
    begin(gateway(vec![Verifier::Jwt(signed())]))
}

/// Whether a token of this header and these claims is worth a check of its signature.
#[track_caller]
fn is_checked(scene: &mut Scene, header: &Value, claims: &Value) -> bool {
    let token = jwt(header, claims);
    let asked = scene.send(knock().bearer(&token).from(&next_address(scene)));
    if scene.outside.is_empty() {
        assert_turned_away(scene, asked, Refusal::InvalidToken);
        assert_hidden(scene, &[asked], &[&token, "c2lnbmF0dXJl"]);
        return false;
    }
    let check = scene.check();
    let (message, _) = token.rsplit_once('.').unwrap();
    assert_eq!(check.message, message);
    assert_eq!(check.signature.as_ref(), b"signature");
    assert!(!format!("{check:?}").contains(message));
    scene.checks(&check, true);
    assert_eq!(outcome(scene, asked), LET_IN);
    true
}

/// Another each time, so that no limit is met.
fn next_address(scene: &Scene) -> String {
    let n = scene.world.audit().len();
    format!("10.0.{}.{}", n / 250, n % 250)
}

#[test]
fn a_header_is_judged_before_anything_is_checked() {
    let mut scene = scene();
    for (name, value, expected) in [
        ("x", json!(1), true),
        ("alg", json!("ES256"), false), // There is no such key of that id.
        ("alg", json!("none"), false),
        ("alg", json!("None"), false),
        ("alg", json!(""), false),
        ("alg", json!("HS256"), false),
        ("alg", json!("rs256"), false),
        ("alg", json!("RS256 "), false),
        ("alg", json!("RS384"), false), // The verifier does not allow it.
        ("alg", json!("EdDSA"), false),
        ("alg", json!(null), false),
        ("alg", json!(["RS256"]), false),
        ("typ", json!(null), false),
        ("typ", json!(7), false),
        ("typ", json!("JWT"), false),
        ("typ", json!("at+jwt2"), false),
        ("typ", json!("application/application/at+jwt"), false),
        ("typ", json!("AT+JWT"), true),
        ("typ", json!("application/at+jwt"), true),
        ("typ", json!("application/AT+JWT"), true),
        ("typ", json!("Application/at+jwt"), true),
        ("jku", json!("https://evil.example/jwks"), false),
        ("jku", json!(""), false),
        ("x5u", json!("https://evil.example/x"), false),
        ("x5c", json!([]), false),
        ("jwk", json!({"kty": "RSA", "n": "AQ", "e": "AQAB"}), false),
        ("crit", json!(["exp"]), false),
        ("crit", json!([]), false),
        ("kid", json!("unknown"), false),
        ("kid", json!(""), false),
        ("kid", json!("R"), false),
        ("kid", json!(7), false),
        ("kid", json!(["r"]), false),
        // Of those for RS256, there is only one.
        ("kid", json!(null), true),
    ] {
        let header = with(header(), name, value);
        let claims = with(claims(&scene), "jti", json!(header.to_string()));
        assert_eq!(
            is_checked(&mut scene, &header, &claims),
            expected,
            "{header}"
        );
    }
}

#[test]
fn claims_are_judged_before_anything_is_checked() {
    let mut scene = scene();
    let now = scene.world.unix_seconds();
    for (name, value, expected) in [
        ("x", json!({"y": [1]}), true),
        ("aud", json!(null), false),
        ("aud", json!(""), false),
        ("aud", json!("https://other.example.org"), false),
        ("aud", json!(format!("{RESOURCE}/")), false),
        ("aud", json!([RESOURCE]), true),
        ("aud", json!(["https://other.example.org", RESOURCE]), true),
        ("aud", json!(["https://other.example.org"]), false),
        ("aud", json!([RESOURCE, 7]), false),
        ("aud", json!([[RESOURCE]]), false),
        ("aud", json!([]), false),
        ("aud", json!({"aud": RESOURCE}), false),
        ("exp", json!(null), false),
        ("exp", json!(0), false),
        ("exp", json!(-1), false),
        ("exp", json!((now + 10).to_string()), false),
        ("exp", json!([now + 10]), false),
        ("exp", json!(true), false),
        ("exp", json!(now - 1), false),
        ("exp", json!(now), false),
        ("exp", json!(now as f64 + 0.9), false),
        ("exp", json!(now + 1), true),
        ("exp", json!(now as f64 + 1.5), true),
        ("exp", json!(u64::MAX), true),
        ("exp", json!(1e300), false),
        ("nbf", json!(now), true),
        ("nbf", json!(now + 30), true),
        ("nbf", json!(now + 31), false),
        ("nbf", json!(0), true),
        ("nbf", json!("0"), false),
        ("nbf", json!({}), false),
        ("sub", json!(null), false),
        ("sub", json!(7), false),
        ("sub", json!(""), false),
        ("cnf", json!({"jkt": "AQ"}), false),
        ("sub", json!(["ann"]), false),
        ("client_id", json!(null), true),
        ("client_id", json!(7), false),
        ("scope", json!("a b"), true),
        ("scope", json!(["a"]), false),
    ] {
        let claims = with(claims(&scene), name, value);
        assert_eq!(
            is_checked(&mut scene, &header(), &claims),
            expected,
            "{claims}"
        );
    }
}

#[test]
fn a_false_signature_is_refused_and_not_checked_again() {
    let mut scene = scene();
    let token = jwt(&header(), &claims(&scene));
    let asked = scene.send(knock().bearer(&token));
    let check = scene.check();
    scene.checks(&check, false);
    assert_turned_away(&mut scene, asked, Refusal::InvalidToken);
    let asked = scene.send(knock().bearer(&token));
    assert_turned_away(&mut scene, asked, Refusal::InvalidToken);
    scene.assert_nobody_is_asked();
    // The same claims under another signature are another token.
    let other = format!("{token}AA");
    scene.send(knock().bearer(&other));
    assert_ne!(scene.check().signature, check.signature);
}

#[test]
fn a_check_that_fails_is_unavailable_and_so_is_one_that_takes_too_long() {
    let mut scene = scene();
    let token = jwt(&header(), &claims(&scene));
    let asked = scene.send(knock().bearer(&token));
    let check = scene.check();
    let failure = SignatureFailure("no such curve".to_owned());
    scene.world.checked(check.id, Err(failure));
    scene.settle();
    assert_turned_away(&mut scene, asked, Refusal::VerifierUnavailable);

    let asked = scene.send(knock().bearer(&token));
    let check = scene.check();
    scene.wait_secs(5);
    assert_turned_away(&mut scene, asked, Refusal::VerifierUnavailable);
    let asked = scene.send(knock().bearer(&token));
    let again = scene.check();
    scene.checks(&check, true);
    assert!(scene.is_waiting(asked), "that was the first check");
    scene.checks(&again, true);
    assert_eq!(outcome(&scene, asked), LET_IN);
    scene.assert_nothing_is_left();
}

#[test]
fn a_token_that_ends_while_it_is_checked_is_refused() {
    let mut scene = scene();
    let claims = with(claims(&scene), "exp", json!(scene.world.unix_seconds() + 2));
    let asked = scene.send(knock().bearer(&jwt(&header(), &claims)));
    let check = scene.check();
    scene.wait_secs(3);
    scene.checks(&check, true);
    assert_turned_away(&mut scene, asked, Refusal::InvalidToken);
}

#[test]
fn a_token_that_begins_later_is_good_then() {
    let mut scene = scene();
    let begins = scene.world.unix_seconds() + 40;
    let token = jwt(&header(), &with(claims(&scene), "nbf", json!(begins)));
    let asked = scene.send(knock().bearer(&token));
    assert_turned_away(&mut scene, asked, Refusal::InvalidToken);
    scene.wait_secs(10);
    let asked = scene.send(knock().bearer(&token));
    let check = scene.check();
    scene.checks(&check, true);
    assert_eq!(outcome(&scene, asked), LET_IN);
}

#[test]
fn a_token_is_for_its_client_too() {
    let mut scene = scene();
    let first = jwt(&header(), &claims(&scene));
    let second = jwt(
        &header(),
        &with(claims(&scene), "client_id", json!("other")),
    );
    let azp = with(
        with(claims(&scene), "client_id", Value::Null),
        "azp",
        json!("app"),
    );
    let third = jwt(&header(), &azp);
    for token in [&first, &second, &third] {
        scene.send(knock().bearer(token));
        let check = scene.check();
        scene.checks(&check, true);
    }
    scene.presents(&first);
    let session = scene.open("2025-11-25");
    for (token, own) in [(&second, false), (&third, true)] {
        let asked = scene.send(Request::get().session(&session.id).bearer(token));
        assert_eq!(scene.response(asked).status(), if own { 200 } else { 404 });
    }
}

#[test]
fn what_looks_like_a_token_and_is_none_is_shown_to_nobody() {
    let mut scene = begin(gateway(vec![
        Verifier::Http(service()),
        Verifier::Introspection(introspector()),
        Verifier::Jwt(signed()),
        Verifier::Custom,
    ]));
    let good = jwt(&header(), &claims(&scene));
    let parts: Vec<_> = good.split('.').collect();
    // `{ "alg"` and `{\n"alg"` begin otherwise than `{"alg"`.
    let spaced = "eyAiYWxnIjoiUlMyNTYiLCJ0eXAiOiJhdCtqd3QiLCJraWQiOiJyIn0";
    for (number, text) in [
        parts[0].to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], &parts[1][1..]),
        format!("{}.{}.{}.{}", parts[0], parts[1], parts[2], parts[2]),
        format!("{}.{}.{}=", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], "bm8", parts[2]),
        format!("{}.{}.a", parts[0], parts[1]),
        format!("{}x.{}.{}", parts[0], parts[1], parts[2]),
        format!("{spaced}.{}", parts[1]),
        format!("{spaced}.{}.{}", &parts[1][1..], parts[2]),
        "eyJ".to_owned(),
        "eyJhbGciOiJub25lIn0".to_owned(),
        "eyJub3RoaW5n".to_owned(),
        "eyJ/+eyJ.a.b".to_owned(),
        format!("{}.{}.{}.{}.{}", parts[0], "", "", "", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let asked = scene.send(knock().bearer(&text).from(&format!("10.0.0.{number}")));
        assert_eq!(scene.outside.len(), 0, "{text} is shown");
        assert_turned_away(&mut scene, asked, Refusal::InvalidToken);
    }
}
