//! Open streams end with their tokens, and what they would have carried is there for whoever resumes.

use std::time::Duration;

use mcp_proto_sim::{Session, jwt};

use super::*;

/// A session, with a token that is good at first.
fn open(scene: &mut Scene, token: &str, expires_at: Option<u64>) -> Session {
    scene.presents(token);
    scene.send(knock());
    admit(scene, expires_at);
    scene.open("2025-11-25")
}

/// The embedder lets someone in.
#[track_caller]
fn admit(scene: &mut Scene, expires_at: Option<u64>) {
    let (verification, _) = scene.verification();
    let identity = Identity {
        expires_at,
        ..identity("ann")
    };
    scene.verifies(verification, Verdict::Allowed(identity));
}

/// A call whose answer is a stream already.
fn streaming_call(scene: &mut Scene, session: &Session, id: &str) -> (Asked, String) {
    let asked = scene.call_with_token(session, id, "7");
    let line: Value = serde_json::from_str(&scene.hears_one(session)).unwrap();
    let (minted, token) = (&line["id"], &line["params"]["_meta"]["progressToken"]);
    scene.says(session, &format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
    ));
    assert!(scene.response(asked).is_stream());
    (asked, minted.to_string())
}

#[test]
fn a_stream_is_open_for_as_long_as_its_token_is_good() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    let session = open(&mut scene, "one", None);
    let streams = [scene.listen(&session), scene.listen(&session)];
    for round in 0..15 {
        scene.wait_secs(60);
        // One question for both, and no limit is met by it however often.
        admit(&mut scene, None);
        scene.says(&session, &tick(round));
    }
    // Now it has been revoked.
    assert!(
        !streams
            .iter()
            .any(|&stream| scene.response(stream).complete)
    );
    scene.wait_secs(60);
    let (verification, _) = scene.verification();
    scene.verifies(verification, Verdict::Denied);
    let (all, none): (Vec<u64>, Vec<u64>) = ((0..15).collect(), Vec::new());
    let carried = streams.map(|stream| ticks(&scene.response(stream).events()));
    assert!(carried == [all.clone(), none.clone()] || carried == [none, all]);
    for stream in streams {
        assert!(scene.response(stream).complete);
        let records = scene.world.audit().iter();
        let ended = records.filter(|record| {
            record.event == AuditEvent::TokenEnded && record.exchange == Some(stream)
        });
        assert_eq!(ended.count(), 1);
    }

    // What comes meanwhile waits, and the same principal gets it with another token.
    scene.says(&session, &tick(15));
    let lasts = streams.map(|stream| scene.last_id(stream));
    let refused = scene.resume(&session, &lasts[0]);
    assert_turned_away(&mut scene, refused, Refusal::InvalidToken);
    scene.presents("two");
    let first = scene.resume(&session, &lasts[0]);
    admit(&mut scene, None);
    let second = scene.resume(&session, &lasts[1]);
    let mut carried = ticks(&scene.response(first).events());
    carried.extend(ticks(&scene.response(second).events()));
    assert_eq!(carried, [15]);
    scene.assert_nothing_is_left();
}

#[test]
fn a_call_whose_stream_ends_with_its_token_goes_on_and_is_answered_to_another() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    let session = open(&mut scene, "one", None);
    let (call, minted) = streaming_call(&mut scene, &session, "1");
    scene.wait_secs(60);
    admit(&mut scene, None);
    assert!(!scene.response(call).complete);
    scene.wait_secs(60);
    let (verification, _) = scene.verification();
    scene.verifies(verification, Verdict::Denied);
    assert!(scene.response(call).complete);
    assert!(scene.audit().contains(&AuditEvent::TokenEnded));
    assert_eq!(scene.hears(&session), [""; 0], "it is not cancelled");
    scene.answers(&session, &minted, "late");
    let last = scene.last_id(call);
    scene.presents("two");
    let call = scene.resume(&session, &last);
    admit(&mut scene, None);
    assert_eq!(scene.messages(call)[0]["result"]["marker"], "late");
    scene.assert_nothing_is_left();
}

#[test]
fn a_stream_ends_when_its_token_does_and_nobody_is_asked() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    let end = scene.world.unix_seconds() + 10;
    let session = open(&mut scene, "one", Some(end));
    let stream = scene.listen(&session);
    scene.wait(Duration::from_millis(9_999));
    assert!(!scene.response(stream).complete);
    scene.wait(Duration::from_millis(1));
    assert!(scene.response(stream).complete);
    assert!(scene.audit().contains(&AuditEvent::TokenEnded));
    scene.assert_nobody_is_asked();
}

#[test]
fn a_stream_ends_when_nobody_can_say_whether_its_token_is_good() {
    for silent in [false, true] {
        let mut scene = begin(gateway(vec![Verifier::Custom]));
        let session = open(&mut scene, "one", None);
        let stream = scene.listen(&session);
        scene.wait_secs(60);
        let (verification, _) = scene.verification();
        if silent {
            scene.wait_secs(5);
        } else {
            scene.verifies(verification, Verdict::Unavailable);
        }
        assert!(scene.response(stream).complete);
        assert!(scene.audit().contains(&AuditEvent::TokenEnded));
        // The token itself may be good still.
        let last = scene.last_id(stream);
        let stream = scene.resume(&session, &last);
        admit(&mut scene, None);
        assert!(scene.response(stream).is_stream());
        scene.assert_nothing_is_left();
    }
}

#[test]
fn a_stream_ends_when_its_token_is_somebody_elses() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    let session = open(&mut scene, "one", None);
    let stream = scene.listen(&session);
    scene.wait_secs(60);
    let (verification, _) = scene.verification();
    scene.verifies(verification, allowed("bob"));
    assert!(scene.response(stream).complete);
    assert!(scene.audit().contains(&AuditEvent::TokenEnded));
}

#[test]
fn a_stream_ends_when_its_token_has_lost_a_scope() {
    let mut policy = gateway(vec![Verifier::Custom]);
    policy.auth.required_scopes = vec!["mcp".to_owned()];
    let mut scene = begin(policy);
    let say = |scene: &mut Scene, scopes: &[&str]| {
        let (verification, _) = scene.verification();
        let identity = Identity {
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            ..identity("ann")
        };
        scene.verifies(verification, Verdict::Allowed(identity));
    };
    scene.presents("one");
    scene.send(knock());
    say(&mut scene, &["mcp"]);
    let session = scene.open("2025-11-25");
    let stream = scene.listen(&session);
    scene.wait_secs(60);
    say(&mut scene, &["mcp", "more"]);
    assert!(!scene.response(stream).complete);
    scene.wait_secs(60);
    say(&mut scene, &["more"]);
    assert!(scene.response(stream).complete);
}

#[test]
fn a_reader_that_leaves_while_its_token_is_asked_about_is_forgotten() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    let session = open(&mut scene, "one", None);
    let (first, second) = (scene.listen(&session), scene.listen(&session));
    scene.wait_secs(60);
    let (verification, _) = scene.verification();
    scene.leave(first);
    scene.verifies(verification, allowed("ann"));
    assert!(!scene.response(second).complete);
    scene.wait_secs(60);
    let (verification, _) = scene.verification();
    scene.leave(second);
    scene.verifies(verification, Verdict::Denied);
    assert!(!scene.audit().contains(&AuditEvent::TokenEnded));
    scene.assert_nothing_is_left();
}

/// An answer that comes while the token is asked about goes out, whatever is said then.
#[test]
fn a_call_that_is_answered_meanwhile_is_answered() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    let session = open(&mut scene, "one", None);
    let (call, minted) = streaming_call(&mut scene, &session, "1");
    scene.wait_secs(60);
    let (verification, _) = scene.verification();
    scene.answers(&session, &minted, "x");
    scene.verifies(verification, Verdict::Denied);
    assert!(scene.response(call).complete);
    assert_eq!(
        scene.messages(call).last().unwrap()["result"]["marker"],
        "x"
    );
    assert!(!scene.audit().contains(&AuditEvent::TokenEnded));
    scene.assert_nothing_is_left();
}

/// Whose token is revoked can come back with another at once, however many streams were open.
#[test]
fn streams_that_end_cost_their_address_nothing() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    let session = open(&mut scene, "one", None);
    let streams: Vec<_> = (0..16).map(|_| scene.listen(&session)).collect();
    scene.wait_secs(60);
    let (verification, _) = scene.verification();
    scene.verifies(verification, Verdict::Denied);
    for stream in streams {
        assert!(scene.response(stream).complete);
    }
    scene.presents("two");
    let asked = scene.send(knock());
    let (verification, _) = scene.verification();
    scene.verifies(verification, allowed("ann"));
    assert_eq!(outcome(&scene, asked), LET_IN);
}

/// Nobody need be asked about what was signed, for as long as it is good.
#[test]
fn a_stream_with_a_signed_token_is_open_for_all_of_its_life() {
    let mut scene = begin(gateway(vec![Verifier::Jwt(signed())]));
    let token = jwt(&header(), &claims(&scene));
    scene.presents(&token);
    scene.send(knock());
    let check = scene.check();
    scene.checks(&check, true);
    let session = scene.open("2025-11-25");
    let stream = scene.listen(&session);
    scene.wait_secs(3599);
    assert!(!scene.response(stream).complete);
    scene.wait_secs(1);
    assert!(scene.response(stream).complete);
    assert!(scene.audit().contains(&AuditEvent::TokenEnded));
    scene.assert_nobody_is_asked();
    scene.assert_nothing_is_left();
}

/// A verdict that others renewed is no older for a stream than for them.
#[test]
fn a_stream_asks_again_when_the_verdict_does_not_live_any_more() {
    let mut policy = gateway(vec![Verifier::Custom]);
    policy.limits.verdicts = 1;
    let mut scene = begin(policy);
    let session = open(&mut scene, "one", None);
    let stream = scene.listen(&session);
    scene.wait_secs(30);
    // Another drives its verdict out, and it is asked about once more.
    scene.send(knock().bearer("other"));
    admit(&mut scene, None);
    scene.wait_secs(10);
    scene.send(knock());
    admit(&mut scene, None);
    scene.wait_secs(59);
    scene.assert_nobody_is_asked();
    assert!(!scene.response(stream).complete);
    scene.wait_secs(1);
    let (verification, _) = scene.verification();
    scene.verifies(verification, Verdict::Denied);
    assert!(scene.response(stream).complete);
}
