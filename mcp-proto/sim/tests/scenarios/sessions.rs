//! Sessions: how they begin, what keeps them, and how they end.

use std::time::Duration;

use mcp_proto::{AuditEvent, ExchangeId, Refusal, SessionEnd};
use mcp_proto_sim::{Request, Scene};

const MINUTE: u64 = 60;

#[test]
fn the_revision_is_what_the_child_says() {
    for (asked_for, said, primes) in [
        ("2025-11-25", "2025-11-25", true),
        ("2025-11-25", "2025-06-18", false),
        ("2025-11-25", "2024-11-05", false),
        ("2025-03-26", "2025-11-25", true),
        ("2025-11-25", "2031-01-01", false),
    ] {
        let mut scene = Scene::new();
        let (asked, upstream) = scene.initialize(asked_for);
        let upstream = upstream.unwrap();
        let line = String::from_utf8(scene.world.child(upstream).lines[0].to_vec()).unwrap();
        assert!(line.contains(&format!(r#""protocolVersion":"{asked_for}""#)));
        let answer =
            format!(r#"{{"jsonrpc":"2.0","id":ID,"result":{{"protocolVersion":"{said}"}}}}"#);
        let from_child = answer.replace("ID", "1") + "\n";
        scene.world.child_writes(upstream, from_child.as_bytes());
        scene.settle();
        assert_eq!(scene.response(asked).text(), answer.replace("ID", "0"));
        let id = scene.response(asked).field("mcp-session-id").unwrap();
        assert_eq!(id.len(), 32);
        assert_eq!(scene.audit(), [AuditEvent::SessionOpened]);
        let stream = scene.send(Request::get().session(&id));
        assert_eq!(!scene.response(stream).body.is_empty(), primes, "{said}");
    }
}

#[test]
fn session_ids_do_not_repeat() {
    let mut scene = Scene::new();
    let ids: std::collections::BTreeSet<_> = (0..20).map(|_| scene.open("2025-06-18").id).collect();
    assert_eq!(ids.len(), 20);
}

#[test]
fn initialize_is_refused_in_an_open_session() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let asked = scene.post(
        &session,
        r#"{"jsonrpc":"2.0","id":5,"method":"initialize","params":{}}"#,
    );
    scene.assert_refused(asked, Refusal::AlreadyInitialized);
    assert_eq!(scene.hears(&session), [""; 0]);
    assert_eq!(scene.world.opened().len(), 1);
}

#[test]
fn initialize_twice_without_a_session_opens_two() {
    let mut scene = Scene::new();
    let (a, b) = (scene.open("2025-06-18"), scene.open("2025-06-18"));
    assert_ne!((a.id, a.upstream), (b.id, b.upstream));
}

#[test]
fn an_initialize_that_the_child_refuses_opens_nothing() {
    let mut scene = Scene::new();
    let (asked, upstream) = scene.initialize("2025-06-18");
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no","data":[]}}"#;
    scene
        .world
        .child_writes(upstream.unwrap(), format!("{error}\n").as_bytes());
    scene.settle();
    let response = scene.response(asked);
    assert_eq!(response.text(), error.replace(r#""id":1"#, r#""id":0"#));
    assert_eq!(
        response.field("mcp-session-id"),
        None,
        "there is no session to name"
    );
    assert_eq!(
        scene.audit(),
        [AuditEvent::SessionEnded(SessionEnd::InitializeFailed)]
    );
    assert!(scene.world.gateway().is_idle());
    assert!(
        !scene.world.gateway().standing().degraded,
        "the child works"
    );
}

#[test]
fn an_initialize_that_is_never_answered_leaves_nothing_behind() {
    for silence in [15, 1000] {
        let mut scene = Scene::with(|limits| limits.silence_time = Duration::from_secs(silence));
        let (asked, upstream) = scene.initialize("2025-06-18");
        scene.wait_secs(300);
        assert!(scene.response(asked).complete);
        let text = scene.response(asked).text();
        assert!(text.contains(Refusal::RequestTimeout.message()), "{text}");
        scene.wait_secs(10);
        assert!(scene.world.gateway().is_idle(), "the session is over");
        let child = scene.world.child(upstream.unwrap());
        assert_eq!(child.lines.len(), 1, "initialize is not cancelled");
    }
}

#[test]
fn a_client_that_leaves_before_initialize_is_answered_leaves_no_child() {
    let mut scene = Scene::new();
    let (asked, upstream) = scene.initialize("2025-06-18");
    scene.leave(asked);
    assert!(
        scene
            .audit()
            .contains(&AuditEvent::SessionEnded(SessionEnd::ClientGone))
    );
    assert!(!scene.world.child(upstream.unwrap()).lives());
    assert!(scene.world.gateway().is_idle());
}

#[test]
fn delete_ends_a_session_and_what_is_in_flight_in_it() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let other = scene.open("2025-06-18");
    let (plain, _) = scene.begin_call(&session, "1");
    let listening = scene.listen(&session);
    let uploading = Request::post(r#"{"jsonrpc":"2.0","id":8,"method":"ping"}"#);
    let uploading = scene.send(uploading.session(&session.id).stalling());
    let deleted = scene.delete(&session);
    assert_eq!(scene.response(deleted).status(), 204);
    // As an event: a client that has ended its session may break on a plain answer.
    assert_eq!(
        scene.messages(plain)[0]["error"]["message"],
        Refusal::SessionEnded.message()
    );
    assert!(scene.response(listening).complete);
    assert!(!scene.world.child(session.upstream).lives());
    assert!(
        scene
            .audit()
            .contains(&AuditEvent::SessionEnded(SessionEnd::Deleted))
    );
    // A body that was on its way comes too late, and its upstream has waited for it.
    assert_eq!(scene.world.upstreams(), 2);
    scene.world.upload(uploading);
    scene.settle();
    scene.assert_refused(uploading, Refusal::SessionNotFound);
    assert_eq!(scene.world.upstreams(), 1);
    for request in [
        Request::get(),
        Request::delete(),
        Request::post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
    ] {
        let asked = scene.send(request.session(&session.id));
        scene.assert_refused(asked, Refusal::SessionNotFound);
    }
    scene.begin_call(&other, "1");
    scene.assert_nothing_is_left();
}

#[test]
fn a_session_that_has_ended_leaves_no_timer() {
    let mut scene = Scene::new();
    for _ in 0..3 {
        let session = scene.open("2025-06-18");
        scene.delete(&session);
    }
    assert!(scene.world.gateway().is_idle());
    assert_eq!(scene.world.next_deadline(), None);
}

#[test]
fn an_idle_session_ends_after_its_ttl() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    scene.wait_secs(29 * MINUTE);
    let (asked, minted) = scene.begin_call(&session, "1");
    scene.answers(&session, &minted, "x");
    assert!(scene.response(asked).complete);
    scene.wait_secs(30 * MINUTE - 1);
    assert_eq!(scene.world.gateway().standing().sessions, 1);
    scene.wait_secs(1);
    assert!(scene.world.gateway().is_idle());
    assert_eq!(
        scene.audit(),
        [AuditEvent::SessionEnded(SessionEnd::Expired)]
    );
    let asked = scene.call(&session, "2");
    scene.assert_refused(asked, Refusal::SessionNotFound);
}

#[test]
fn an_open_stream_keeps_a_session_and_its_end_starts_the_clock() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let listening = scene.listen(&session);
    scene.wait_secs(5 * 60 * MINUTE);
    assert_eq!(scene.world.gateway().standing().sessions, 1);
    scene.leave(listening);
    scene.wait_secs(30 * MINUTE - 1);
    assert_eq!(scene.world.gateway().standing().sessions, 1);
    scene.wait_secs(1);
    assert!(scene.world.gateway().is_idle());
}

#[test]
fn a_call_in_flight_keeps_a_session() {
    let mut scene = Scene::with(|limits| {
        limits.request_time = Duration::from_secs(60 * MINUTE);
        limits.session_ttl = Duration::from_secs(10 * MINUTE);
    });
    let session = scene.open("2025-06-18");
    let (asked, minted) = scene.begin_call(&session, "1");
    scene.leave(asked);
    scene.wait_secs(59 * MINUTE);
    assert_eq!(scene.world.gateway().standing().sessions, 1);
    scene.answers(&session, &minted, "x");
    scene.wait_secs(10 * MINUTE);
    assert!(scene.world.gateway().is_idle());
}

#[test]
fn the_clock_begins_with_the_end_of_a_call_or_stream_that_nobody_asked_about() {
    for streams in [false, true] {
        let mut scene = Scene::with(|limits| {
            limits.request_time = Duration::from_secs(60 * MINUTE);
            limits.session_ttl = Duration::from_secs(10 * MINUTE);
        });
        let session = scene.open("2025-06-18");
        if streams {
            let listening = scene.listen(&session);
            scene.wait_secs(9 * MINUTE);
            scene.leave(listening);
        } else {
            let (_, minted) = scene.begin_call(&session, "1");
            scene.wait_secs(9 * MINUTE);
            scene.answers(&session, &minted, "x");
        }
        scene.wait_secs(10 * MINUTE - 1);
        assert_eq!(scene.world.gateway().standing().sessions, 1);
        scene.wait_secs(1);
        assert!(scene.world.gateway().is_idle());
    }
}

#[test]
fn a_body_on_its_way_keeps_a_session() {
    let mut scene = Scene::with(|limits| limits.session_ttl = Duration::from_secs(10));
    let session = scene.open("2025-06-18");
    let slow = Request::post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    let slow = scene.send(slow.session(&session.id).stalling());
    scene.wait_secs(25);
    scene.world.upload(slow);
    scene.settle();
    let minted = scene.minted(&session);
    scene.answers(&session, &minted, "x");
    scene.assert_answered(slow, 1.into(), "x");
}

#[test]
fn a_client_that_silently_goes_takes_its_session_along() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let (asked, _) = scene.begin_call(&session, "1");
    scene.leave(asked);
    scene.wait_secs(36 * MINUTE);
    assert!(scene.world.gateway().is_idle());
    assert_eq!(scene.world.next_deadline(), None);
}

#[test]
fn at_the_cap_the_session_that_was_idle_longest_makes_room() {
    let mut scene = Scene::with(|limits| limits.sessions = 3);
    let first = scene.open("2025-06-18");
    scene.wait_secs(1);
    let second = scene.open("2025-06-18");
    scene.wait_secs(1);
    let third = scene.open("2025-06-18");
    scene.wait_secs(1);
    let (_, minted) = scene.begin_call(&first, "1");
    scene.answers(&first, &minted, "x");
    let fourth = scene.open("2025-06-18");
    assert!(!scene.world.child(second.upstream).lives());
    let asked = scene.call(&second, "1");
    scene.assert_refused(asked, Refusal::SessionNotFound);
    for session in [&first, &third, &fourth] {
        scene.begin_call(session, "2");
    }
}

#[test]
fn idle_longest_is_counted_from_the_end_of_the_last_call() {
    let mut scene = Scene::with(|limits| limits.sessions = 2);
    let working = scene.open("2025-06-18");
    let (_, minted) = scene.begin_call(&working, "1");
    scene.wait_secs(1);
    let idle = scene.open("2025-06-18");
    scene.wait_secs(9);
    scene.answers(&working, &minted, "x");
    scene.wait_secs(1);
    scene.open("2025-06-18");
    assert!(scene.world.child(working.upstream).lives());
    assert!(!scene.world.child(idle.upstream).lives());
}

#[test]
fn a_client_that_leaves_while_it_waits_for_room_leaves_nothing_behind() {
    for steps in 0..20 {
        let mut scene = Scene::with(|limits| limits.sessions = 1);
        scene.open("2025-06-18");
        let asked = ExchangeId(100);
        let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
        scene.world.send(asked, Request::post(body));
        for _ in 0..steps {
            scene.world.step();
        }
        scene.leave(asked);
        let sessions = scene.world.gateway().standing().sessions;
        assert!(sessions <= 1, "after {steps} steps");
        scene.assert_nothing_is_left();
    }
}

#[test]
fn busy_sessions_do_not_make_room() {
    let mut scene = Scene::with(|limits| limits.sessions = 3);
    let streaming = scene.open("2025-06-18");
    let calling = scene.open("2025-06-18");
    let uploading = scene.open("2025-06-18");
    let listening = scene.listen(&streaming);
    scene.begin_call(&calling, "1");
    let ping = Request::post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    let upload = scene.send(ping.session(&uploading.id).stalling());
    let (asked, _) = scene.initialize("2025-06-18");
    scene.assert_refused(asked, Refusal::TooManySessions);
    // Whoever is done first makes room.
    scene.leave(listening);
    scene.wait_secs(1);
    scene.open("2025-06-18");
    assert!(!scene.world.child(streaming.upstream).lives());
    assert!(scene.world.child(calling.upstream).lives());
    scene.leave(upload);
    // It was idle for less time than the one that has just been opened.
    scene.wait_secs(1);
    scene.open("2025-06-18");
    scene.open("2025-06-18");
    assert!(!scene.world.child(uploading.upstream).lives());
}

#[test]
fn sessions_whose_bodies_are_on_their_way_are_not_asked_for_ever() {
    let mut scene = Scene::with(|limits| limits.sessions = 2);
    let sessions = [scene.open("2025-06-18"), scene.open("2025-06-18")];
    for session in &sessions {
        let ping = Request::post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        scene.send(ping.session(&session.id).stalling());
    }
    // `Scene` would notice machines that keep each other busy.
    let (asked, _) = scene.initialize("2025-06-18");
    scene.assert_refused(asked, Refusal::TooManySessions);
    scene.assert_nothing_is_left();
}

#[test]
fn sessions_that_are_being_opened_count_and_do_not_make_room() {
    let mut scene = Scene::with(|limits| limits.sessions = 1);
    let (opening, _) = scene.initialize("2025-06-18");
    let (asked, _) = scene.initialize("2025-06-18");
    scene.assert_refused(asked, Refusal::TooManySessions);
    scene.leave(opening);
    scene.open("2025-06-18");
}

#[test]
fn children_that_are_slow_to_end_count_too() {
    let mut scene = Scene::with(|limits| limits.sessions = 1);
    for _ in 0..2 {
        let session = scene.open("2025-06-18");
        let child = scene.world.child_mut(session.upstream);
        (child.heeds_stdin, child.heeds_term) = (false, false);
        scene.delete(&session);
    }
    let (asked, _) = scene.initialize("2025-06-18");
    scene.assert_refused(asked, Refusal::TooManySessions);
    scene.wait_secs(5);
    scene.open("2025-06-18");
}

#[test]
fn several_who_wait_for_room_each_get_their_own() {
    let mut scene = Scene::with(|limits| limits.sessions = 4);
    let old: Vec<_> = (0..4).map(|_| scene.open("2025-06-18")).collect();
    for number in 100..104 {
        let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
        scene.world.send(ExchangeId(number), Request::post(body));
    }
    scene.settle();
    for session in old {
        assert!(!scene.world.child(session.upstream).lives());
    }
    let opened = &scene.world.opened()[4..];
    assert_eq!(opened.len(), 4);
    assert!(
        opened
            .iter()
            .all(|&(upstream, _)| scene.world.child(upstream).lives())
    );
}
