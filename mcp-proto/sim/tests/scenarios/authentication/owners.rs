//! Sessions belong to whoever opened them.

use mcp_proto::auth::VerifierKind;
use mcp_proto_sim::Session;

use super::*;

/// Lets this token in as this identity.
fn log_in(scene: &mut Scene, token: &str, identity: Identity) {
    scene.send(
        knock()
            .bearer(token)
            .from(&format!("10.1.0.{}", scene.world.audit().len() % 250)),
    );
    let (verification, _) = scene.verification();
    scene.verifies(verification, Verdict::Allowed(identity));
}

fn open_as(scene: &mut Scene, token: &str) -> Session {
    scene.presents(token);
    let session = scene.open("2025-11-25");
    scene.presents_nothing();
    session
}

#[test]
fn a_session_is_for_its_issuer_subject_and_client() {
    let mut scene = begin(gateway(vec![
        tokens(&[("ann", "static")]),
        Verifier::Custom,
    ]));
    let of = |issuer: &str, subject: &str, client: Option<&str>| {
        let mut identity = identity(subject);
        identity.principal.issuer = issuer.to_owned();
        identity.principal.client_id = client.map(str::to_owned);
        identity
    };
    let ann = || of("them", "ann", Some("app"));
    log_in(&mut scene, "own", ann());
    log_in(
        &mut scene,
        "own2",
        Identity {
            scopes: vec!["x".to_owned()],
            ..ann()
        },
    );
    log_in(&mut scene, "other-client", of("them", "ann", Some("app2")));
    log_in(&mut scene, "no-client", of("them", "ann", None));
    log_in(&mut scene, "other-subject", of("them", "bob", Some("app")));
    log_in(&mut scene, "other-issuer", of("static", "ann", Some("app")));
    let session = open_as(&mut scene, "own");
    let message = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
    let requests = |id: &str| {
        [
            Request::post(message).session(id),
            Request::get().session(id),
            Request::get().session(id).field("last-event-id", "0-0"),
            Request::delete().session(id),
        ]
    };
    let mut bodies = Vec::new();
    for token in [
        "other-client",
        "no-client",
        "other-subject",
        "other-issuer",
        "static",
    ] {
        for id in [session.id.as_str(), "0123456789abcdef0123456789abcdef", "x"] {
            for request in requests(id) {
                // The one thing that tells them apart, if it is made.
                let request = request.field("x-request-id", "r").bearer(token);
                let asked = scene.send(request);
                scene.assert_refused(asked, Refusal::SessionNotFound);
                let response = scene.response(asked);
                bodies.push(format!("{:?} {}", response.head, response.text()));
            }
        }
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    for request in requests(&session.id) {
        let asked = scene.send(request);
        assert_turned_away(&mut scene, asked, Refusal::CredentialsMissing);
    }
    assert_eq!(scene.hears(&session), [""; 0]);
    let asked = scene.send(Request::post(message).session(&session.id).bearer("own2"));
    assert_eq!(scene.response(asked).status(), 202);
    assert_eq!(scene.hears_one(&session), message);
}

#[test]
fn who_opened_and_who_called_is_recorded() {
    let mut scene = begin(gateway(vec![tokens(&[("ann", "one")])]));
    let (asked, _) = {
        scene.presents("one");
        scene.initialize("2025-11-25")
    };
    let records = scene.world.take_audit();
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(
        records[0].event,
        AuditEvent::Authenticated(VerifierKind::Static)
    );
    assert_eq!(records[0].exchange, Some(asked));
    assert_eq!(records[0].method.as_deref(), Some("initialize"));
    let session = scene.open("2025-11-25");
    let (asked, minted) = scene.begin_call(&session, "1");
    scene.answers(&session, &minted, "x");
    let records = scene.world.take_audit();
    let record = &records[0];
    assert_eq!(
        record.event,
        AuditEvent::Authenticated(VerifierKind::Static)
    );
    assert_eq!(record.exchange, Some(asked));
    assert_eq!(record.method.as_deref(), Some("tools/call"));
    assert_eq!(record.name.as_deref(), Some("t"));
    let caller = record.caller.as_ref().unwrap();
    assert_eq!(caller.identity.as_ref().unwrap().principal.subject, "ann");
    assert!(record.session.is_some());
    assert!(!format!("{record:?}").contains(&session.id));
    scene.delete(&session);
    let events = scene.audit();
    assert!(
        events.contains(&AuditEvent::Authenticated(VerifierKind::Static)),
        "{events:?}"
    );
}

#[test]
fn a_person_has_a_share_of_the_sessions() {
    let mut policy = gateway(vec![Verifier::Custom]);
    policy.limits.sessions_per_principal = 3;
    let mut scene = begin(policy);
    log_in(&mut scene, "ann", identity("ann"));
    log_in(&mut scene, "bob", identity("bob"));
    let other = open_as(&mut scene, "bob");
    let first = open_as(&mut scene, "ann");
    scene.wait_secs(1);
    let second = open_as(&mut scene, "ann");
    scene.wait_secs(1);
    let third = open_as(&mut scene, "ann");
    // The one that was idle longest makes room.
    let fourth = open_as(&mut scene, "ann");
    let lives = |scene: &mut Scene, session: &Session, token: &str| {
        let asked = scene.send(Request::get().session(&session.id).bearer(token));
        scene.response(asked).status() == 200
    };
    assert!(!lives(&mut scene, &first, "ann"));
    for own in [&second, &third, &fourth] {
        assert!(lives(&mut scene, own, "ann"));
    }
    assert!(lives(&mut scene, &other, "bob"), "it is not their affair");
    // Now that all are in use, none does; others still come in.
    scene.presents("ann");
    let (asked, _) = scene.initialize("2025-11-25");
    scene.assert_refused(asked, Refusal::TooManyOwnSessions);
    scene.presents_nothing();
    open_as(&mut scene, "bob");
    scene.assert_nothing_is_left();
}

#[test]
fn given_out_tokens_are_no_persons() {
    let mut policy = gateway(vec![tokens(&[("ann", "one")])]);
    policy.limits.sessions_per_principal = 2;
    policy.limits.sessions = 5;
    let mut scene = begin(policy);
    for _ in 0..5 {
        open_as(&mut scene, "one");
    }
    assert_eq!(scene.world.gateway().standing().sessions, 5);
    scene.assert_nothing_is_left();
}

/// A client that asks for a session and leaves while another's makes room costs nobody anything.
#[test]
fn whoever_leaves_while_they_wait_is_forgotten() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    scene.presents("ann");
    let (asked, _) = scene.initialize("2025-11-25");
    scene.leave(asked);
    let (verification, _) = scene.verification();
    scene.verifies(verification, allowed("ann"));
    assert_eq!(scene.world.opened(), []);
    let session = scene.open("2025-11-25");
    assert_eq!(scene.world.gateway().standing().sessions, 1);
    scene.delete(&session);
    scene.assert_nothing_is_left();
}
