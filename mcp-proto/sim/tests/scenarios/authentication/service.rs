//! The service whose token it is: what its answers mean.

use std::collections::BTreeSet;

use mcp_proto::auth::FetchFailure;

use super::*;

#[test]
fn what_a_service_is_sent() {
    let mut scene = begin(gateway(vec![Verifier::Http(HttpVerifier {
        method: http::Method::POST,
        ..service()
    })]));
    let asked = scene.send(knock().bearer("secret"));
    let fetch = scene.fetch();
    assert_eq!(fetch.url, "https://api.example.org/whoami");
    assert_eq!(fetch.method, http::Method::POST);
    assert_eq!(fetch.form, None);
    assert!(!fetch.allow_private_addresses);
    let authorization = fetch.authorization.clone().unwrap();
    assert_eq!(authorization, "Bearer secret");
    assert!(authorization.is_sensitive());
    assert!(scene.is_waiting(asked));
    assert_eq!(
        scene.world.opened(),
        [],
        "nothing is started for a stranger"
    );
    scene.serves(fetch.id, 200, r#"{"id":"c"}"#);
    assert_eq!(outcome(&scene, asked), LET_IN);
    assert_hidden(&scene, &[asked], &["secret"]);
}

#[test]
fn what_a_service_says() {
    let only = |ids: &[&str]| {
        let ids: BTreeSet<_> = ids.iter().map(|id| (*id).to_owned()).collect();
        Clients::Only(ids)
    };
    let now = begin(gateway(vec![])).world.unix_seconds();
    let (past, future) = (
        format!(r#"{{"id":"c","expires_at":{}}}"#, now - 1),
        format!(r#"{{"id":"c","expires_at":{}}}"#, now + 10),
    );
    let exact = format!(r#"{{"id":"c","expires_at":{now}}}"#);
    let text = format!(r#"{{"id":"c","expires_at":"{}"}}"#, now + 10);
    let (yes, no, down) = (LET_IN, Refusal::InvalidToken, Refusal::VerifierUnavailable);
    for (status, body, clients, expected) in [
        (200, r#"{"id":"c"}"#, Clients::Any, yes),
        (204, r#"{"id":"c"}"#, Clients::Any, yes),
        (200, r#"{"id":7}"#, Clients::Any, yes),
        (400, "", Clients::Any, no),
        (401, r#"{"id":"c"}"#, Clients::Any, no),
        (403, "<html>", Clients::Any, no),
        (404, r#"{"id":"c"}"#, Clients::Any, down),
        (429, "", Clients::Any, down),
        (500, r#"{"id":"c"}"#, Clients::Any, down),
        (503, "", Clients::Any, down),
        (301, r#"{"id":"c"}"#, Clients::Any, down),
        (302, "", Clients::Any, down),
        (100, "", Clients::Any, down),
        // Answers that do not say what they have to say.
        (200, "", Clients::Any, down),
        (200, "<html>", Clients::Any, down),
        (200, "[]", Clients::Any, down),
        (200, r#"{"id":""}"#, Clients::Any, down),
        (200, r#"{"id":null}"#, Clients::Any, down),
        (200, r#"{"id":1.5}"#, Clients::Any, down),
        (200, r#"{"id":["c"]}"#, Clients::Any, down),
        (200, r#"{"id":true}"#, Clients::Any, down),
        (200, r#"{"ID":"c"}"#, Clients::Any, down),
        // Who may come in.
        (200, r#"{"id":"c"}"#, only(&["c", "d"]), yes),
        (200, r#"{"id":7}"#, only(&["7"]), yes),
        (200, r#"{"id":"C"}"#, only(&["c", "d"]), no),
        (200, r#"{"id":"c"}"#, only(&[]), no),
        // When it ends.
        (200, &future, Clients::Any, yes),
        (200, r#"{"id":"c","expires_at":null}"#, Clients::Any, yes),
        (200, &past, Clients::Any, no),
        (200, &exact, Clients::Any, no),
        (200, &text, Clients::Any, down),
        (200, r#"{"id":"c","expires_at":-1}"#, Clients::Any, down),
    ] {
        let mut scene = begin(gateway(vec![Verifier::Http(HttpVerifier {
            clients,
            ..service()
        })]));
        let asked = scene.send(knock().bearer("secret"));
        let fetch = scene.fetch();
        scene.serves(fetch.id, status, body);
        assert_eq!(outcome(&scene, asked), expected, "{status} {body}");
        assert_hidden(&scene, &[asked], &["secret"]);
        // What is known is not asked for again; what nobody could say is.
        let asked = scene.send(knock().bearer("secret"));
        if expected == down {
            assert_eq!(scene.fetch().url, service().url);
        } else {
            assert_eq!(outcome(&scene, asked), expected);
            scene.assert_nobody_is_asked();
        }
    }
}

#[test]
fn a_service_that_does_not_answer_is_unavailable() {
    for failure in [
        FetchFailure::Unreachable("no route".to_owned()),
        FetchFailure::TimedOut,
        FetchFailure::TooLarge,
        FetchFailure::AddressNotAllowed,
        FetchFailure::Busy,
    ] {
        let mut scene = begin(gateway(vec![Verifier::Http(service())]));
        let asked = scene.send(knock().bearer("secret"));
        let fetch = scene.fetch();
        scene.fails(fetch.id, failure);
        assert_turned_away(&mut scene, asked, Refusal::VerifierUnavailable);
        assert_eq!(scene.world.warnings().len(), 1);
        let failed = AuditEvent::VerifierFailed(mcp_proto::auth::VerifierKind::Http);
        assert!(scene.audit().contains(&failed));
        scene.presents_nothing();
        scene.assert_nothing_is_left();
    }
}

#[test]
fn a_service_that_says_nothing_of_clients_has_as_many_as_tokens() {
    let mut scene = begin(gateway(vec![Verifier::Http(HttpVerifier {
        client_pointer: None,
        expiry_pointer: None,
        ..service()
    })]));
    for text in ["secret-one", "secret-two"] {
        scene.send(knock().bearer(text));
        let fetch = scene.fetch();
        scene.serves(fetch.id, 200, "not JSON, which nobody reads");
    }
    scene.presents("secret-one");
    let session = scene.open("2025-11-25");
    scene.presents("secret-two");
    let asked = scene.call(&session, "1");
    scene.assert_refused(asked, Refusal::SessionNotFound);
    assert_hidden(&scene, &[asked], &["secret-one", "secret-two"]);
}

#[test]
fn slow_is_unavailable_and_a_late_answer_is_nothing() {
    let mut scene = begin(gateway(vec![Verifier::Http(service())]));
    let asked = scene.send(knock().bearer("one"));
    let fetch = scene.fetch();
    assert_eq!(fetch.time, mcp_proto::Limits::default().verifier_time);
    scene.wait(fetch.time - std::time::Duration::from_nanos(1));
    assert!(scene.is_waiting(asked));
    scene.wait(std::time::Duration::from_nanos(1));
    assert_turned_away(&mut scene, asked, Refusal::VerifierUnavailable);

    // Nothing of it was kept, and an answer to the first question is none to the second.
    let asked = scene.send(knock().bearer("one"));
    let second = scene.fetch();
    scene.serves(fetch.id, 200, r#"{"id":"c"}"#);
    assert!(scene.is_waiting(asked));
    scene.serves(second.id, 401, "");
    assert_eq!(outcome(&scene, asked), Refusal::InvalidToken);
    scene.assert_nothing_is_left();
}
