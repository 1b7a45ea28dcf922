//! Children: their starts, ends, and what they do wrong.

use std::time::Duration;

use http::Method;
use mcp_proto::{AuditEvent, ExchangeId, Refusal, SessionEnd, Stop};
use mcp_proto_sim::{Event, Manner, Request, Scene, World, policy};
use serde_json::Value;

#[test]
fn a_child_that_cannot_be_started_is_a_refusal() {
    let mut scene = Scene::new();
    scene.spawning_fails();
    let (asked, _) = scene.initialize("2025-06-18");
    scene.assert_refused(asked, Refusal::ChildUnavailable);
    assert_eq!(scene.response(asked).json()["id"], 0);
    assert_eq!(scene.response(asked).field("mcp-session-id"), None);
    assert!(
        scene
            .audit()
            .contains(&AuditEvent::SessionEnded(SessionEnd::SpawnFailed))
    );
    assert!(scene.world.gateway().is_idle());
    let health = scene.send(Request::new(Method::GET, "/health"));
    assert_eq!(scene.response(health).status(), 503);
    assert_eq!(scene.response(health).json()["status"], "degraded");
}

#[test]
fn it_is_the_same_refusal_if_the_start_fails_before_the_call_arrives() {
    let mut world = World::new(policy(), Manner::default());
    let asked = ExchangeId(1);
    let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
    world.send(asked, Request::post(body));
    let upstream = loop {
        match world.next_event() {
            Some(Event::Spawn(upstream)) => break upstream,
            _ => assert!(world.step()),
        }
    };
    world.spawned(upstream, false);
    world.settle();
    assert_eq!(world.response(asked).status(), 503);
    assert_eq!(
        world.response(asked).json()["error"]["message"],
        Refusal::ChildUnavailable.message()
    );
    assert!(world.gateway().is_idle());
}

#[test]
fn failed_starts_are_held_back_ever_longer_and_a_good_one_ends_that() {
    let mut scene = Scene::new();
    scene.spawning_fails();
    let mut delays = Vec::new();
    for _ in 0..12 {
        let started = scene.world.opened().len();
        let before = scene.now();
        loop {
            let (asked, _) = scene.initialize("2025-06-18");
            assert_eq!(scene.response(asked).status(), 503);
            if scene.world.opened().len() > started {
                break;
            }
            scene.wait(Duration::from_millis(10));
        }
        delays.push(scene.now() - before);
    }
    assert_eq!(delays[0], Duration::ZERO);
    for (delay, longest) in delays[1..].iter().zip([100, 200, 400, 800, 1600, 3200]) {
        let range =
            Duration::from_millis(longest / 2)..=Duration::from_millis(longest * 3 / 2 + 10);
        assert!(range.contains(delay), "{delays:?}");
    }
    assert!(
        delays
            .iter()
            .all(|delay| *delay <= Duration::from_millis(45_010))
    );
    scene.spawning_works();
    scene.wait_secs(46);
    scene.open("2025-06-18");
    let health = scene.send(Request::new(Method::GET, "/health"));
    assert_eq!(scene.response(health).status(), 200);
    scene.open("2025-06-18");
}

#[test]
fn a_child_that_ends_before_it_answers_initialize_fails_it() {
    let mut scene = Scene::new();
    let (asked, upstream) = scene.initialize("2025-06-18");
    scene.world.child_exits(upstream.unwrap());
    scene.settle();
    assert_eq!(
        scene.response(asked).json()["error"]["message"],
        Refusal::ChildExited.message()
    );
    assert!(
        scene
            .audit()
            .contains(&AuditEvent::SessionEnded(SessionEnd::ChildExited))
    );
    assert!(scene.world.gateway().is_idle());
    assert!(scene.world.gateway().standing().degraded);
}

#[test]
fn a_crash_reaches_everyone_who_waits_at_once() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let other = scene.open("2025-11-25");
    let (unmoved, minted) = scene.begin_call(&other, "1");
    let (plain, _) = scene.begin_call(&session, "1");
    let streaming = scene.call_with_token(&session, "2", "2");
    let token = scene.hears(&session);
    let token = serde_json::from_str::<Value>(&token[0]).unwrap()["id"].to_string();
    scene.says(
        &session,
        &format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        ),
    );
    let listening = scene.listen(&session);
    scene.exits(&session);
    let body = scene.response(plain).json();
    assert_eq!(
        (&body["id"], &body["error"]["code"]),
        (&1.into(), &(-32603).into())
    );
    let messages = scene.messages(streaming);
    assert_eq!(
        messages[1]["error"]["message"],
        Refusal::ChildExited.message()
    );
    assert!(scene.response(streaming).complete);
    assert!(scene.response(listening).complete);
    let again = scene.call(&session, "3");
    scene.assert_refused(again, Refusal::SessionNotFound);

    // Nobody else notices.
    assert!(scene.is_waiting(unmoved));
    scene.answers(&other, &minted, "x");
    scene.assert_answered(unmoved, 1.into(), "x");
    scene.assert_nothing_is_left();
}

#[test]
fn what_a_child_wrote_before_it_ended_counts() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (asked, minted) = scene.begin_call(&session, "1");
    let answer =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{minted},\"result\":{{\"marker\":\"x\"}}}}\n");
    scene
        .world
        .child_writes(session.upstream, answer.as_bytes());
    scene.exits(&session);
    scene.assert_answered(asked, 1.into(), "x");
}

#[test]
fn a_child_that_closes_its_stdout_is_of_no_more_use() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (asked, _) = scene.begin_call(&session, "1");
    scene.world.child_mut(session.upstream).heeds_stdin = false;
    scene.world.child_mut(session.upstream).close_stdout();
    scene.settle();
    assert_eq!(
        scene.response(asked).json()["error"]["message"],
        Refusal::ChildExited.message()
    );
    scene.wait_secs(2);
    assert!(!scene.world.child(session.upstream).lives());
    scene.assert_nothing_is_left();
}

#[test]
fn a_child_is_asked_to_end_one_step_harder_than_the_other() {
    for (heeds_stdin, heeds_term, steps) in [
        (true, true, &[(0, Stop::CloseStdin)][..]),
        (
            false,
            true,
            &[(0, Stop::CloseStdin), (2000, Stop::Terminate)],
        ),
        (
            false,
            false,
            &[
                (0, Stop::CloseStdin),
                (2000, Stop::Terminate),
                (5000, Stop::Kill),
            ],
        ),
    ] {
        let mut scene = Scene::new();
        let session = scene.open("2025-06-18");
        let child = scene.world.child_mut(session.upstream);
        (child.heeds_stdin, child.heeds_term) = (heeds_stdin, heeds_term);
        let before = scene.now();
        let asked = scene.delete(&session);
        assert_eq!(scene.response(asked).status(), 204);
        scene.wait_secs(60);
        let stops = &scene.world.child(session.upstream).stops;
        let stops: Vec<_> = stops
            .iter()
            .map(|&(at, stop)| ((at - before).as_millis(), stop))
            .collect();
        assert_eq!(stops, steps);
        assert!(scene.world.gateway().is_idle());
        assert_eq!(scene.world.next_deadline(), None);
    }
}

#[test]
fn a_child_that_does_not_read_its_stdin_ends_all_the_same() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    scene.world.child_mut(session.upstream).reads = false;
    scene.call(&session, "1");
    scene.delete(&session);
    scene.wait_secs(2);
    assert!(!scene.world.child(session.upstream).lives());
    scene.assert_nothing_is_left();
}

#[test]
fn a_session_that_ends_while_its_child_is_started_stops_it_once_it_runs() {
    let mut scene = Scene::new();
    scene.spawning_waits();
    let (asked, upstream) = scene.initialize("2025-06-18");
    scene.leave(asked);
    assert_eq!(scene.world.gateway().standing().sessions, 0);
    assert_eq!(scene.world.gateway().standing().children, 1);
    scene.spawning_works();
    let stops = &scene.world.child(upstream.unwrap()).stops;
    assert_eq!(stops.len(), 1);
    assert!(scene.world.gateway().is_idle());
}

#[test]
fn lines_that_are_no_messages_are_skipped_and_counted() {
    let mut scene = Scene::with(|limits| limits.line_bytes = 1000);
    let session = scene.open("2025-06-18");
    let (asked, minted) = scene.begin_call(&session, "1");
    scene.writes(
        &session,
        "Server started on stdio\n\n  \n{\"jsonrpc\":\"2.0\"}\n",
    );
    scene.world.child_writes(session.upstream, b"\xff\xfe\n");
    scene.writes(&session, &format!("{}\n", "x".repeat(1001)));
    scene.writes(&session, "{\"jsonrpc\":");
    assert!(scene.is_waiting(asked));
    scene.writes(
        &session,
        &format!("\"2.0\",\"id\":{minted},\"result\":{{\"marker\":\"x\"}}}}\r\n"),
    );
    scene.assert_answered(asked, 1.into(), "x");
    assert_eq!(
        scene.audit(),
        [1, 2, 4].map(|count| AuditEvent::LineSkipped { count })
    );
}

#[test]
fn a_child_that_does_not_read_costs_bounded_memory() {
    let mut scene = Scene::with(|limits| limits.stdin_bytes = 10_000);
    let session = scene.open("2025-06-18");
    scene.world.child_mut(session.upstream).reads = false;
    let mut refused = 0;
    for id in 0..200 {
        let asked = scene.call(&session, &id.to_string());
        if scene.response(asked).complete {
            scene.assert_refused(asked, Refusal::ChildNotReading);
            refused += 1;
        }
    }
    assert!(refused > 0);
    assert!(scene.world.queued_bytes() <= 10_000);
    // Reading on, it serves again.
    scene.world.child_mut(session.upstream).reads = true;
    scene.settle();
    scene.hears(&session);
    scene.begin_call(&session, "1000");
}

#[test]
fn a_child_that_asks_without_end_and_does_not_read_costs_bounded_memory() {
    let mut scene = Scene::with(|limits| limits.stdin_bytes = 10_000);
    let session = scene.open("2025-06-18");
    scene.begin_call(&session, "1");
    scene.world.child_mut(session.upstream).reads = false;
    for id in 0..5000 {
        scene.says(
            &session,
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#),
        );
    }
    let queued = scene.world.child(session.upstream).queued();
    assert!(
        queued <= 10_000,
        "{queued} bytes wait for a child that does not read"
    );
    scene.assert_nothing_is_left();
}

#[test]
fn the_probe_starts_a_child_and_ends_it() {
    let mut probing = policy();
    probing.startup_probe = true;
    let mut scene = Scene::of(probing);
    let (upstream, by) = scene.world.opened()[0];
    assert_eq!(by, None);
    let line: Value = serde_json::from_slice(&scene.world.child(upstream).lines[0]).unwrap();
    assert_eq!(line["method"], "initialize");
    assert_eq!(scene.world.gateway().standing().children, 1);
    let noise = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n";
    scene.world.child_writes(upstream, noise.as_bytes());
    let answer = b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}\n";
    scene.world.child_writes(upstream, answer);
    scene.settle();
    let child = scene.world.child(upstream);
    let last = std::str::from_utf8(&child.lines[1]).unwrap();
    assert!(last.contains("notifications/initialized"));
    assert!(!child.lives());
    assert_eq!(scene.audit(), [AuditEvent::Probed { passed: true }]);
    assert!(scene.world.gateway().is_idle());
    let health = scene.send(Request::new(Method::GET, "/health"));
    assert_eq!(scene.response(health).status(), 200);
}

#[test]
fn a_gateway_is_ready_once_the_probe_was_answered_and_while_the_last_start_worked() {
    let mut probing = policy();
    probing.startup_probe = true;
    let mut scene = Scene::of(probing);
    assert_eq!(ready(&mut scene), "probe-pending");
    let (upstream, _) = scene.world.opened()[0];
    let answer = b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}\n";
    scene.world.child_writes(upstream, answer);
    scene.settle();
    assert_eq!(ready(&mut scene), "");
    scene.spawning_fails();
    scene.initialize("2025-06-18");
    assert_eq!(ready(&mut scene), "start-failed");
    scene.spawning_works();
    scene.wait_secs(1);
    scene.open("2025-06-18");
    assert_eq!(ready(&mut scene), "");
    scene.world.drain();
    scene.settle();
    assert_eq!(ready(&mut scene), "draining");
}

#[test]
fn a_gateway_whose_probe_failed_is_ready_once_a_session_opens() {
    let mut probing = policy();
    probing.startup_probe = true;
    let mut scene = Scene::of(probing);
    let (upstream, _) = scene.world.opened()[0];
    scene.world.child_exits(upstream);
    scene.settle();
    assert_eq!(ready(&mut scene), "probe-failed");
    scene.open("2025-06-18");
    assert_eq!(ready(&mut scene), "");
}

#[test]
fn a_gateway_whose_starts_fail_probes_until_one_works() {
    let mut probing = policy();
    probing.startup_probe = true;
    let mut scene = Scene::of(probing);
    let (first, _) = scene.world.opened()[0];
    let answer = b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}\n";
    scene.world.child_writes(first, answer);
    scene.settle();
    scene.spawning_fails();
    scene.initialize("2025-06-18");
    assert_eq!(ready(&mut scene), "start-failed");
    // Nobody comes any more; the probe finds that it still fails, and then that it does not.
    scene.wait_secs(20);
    assert_eq!(ready(&mut scene), "probe-failed");
    scene.spawning_works();
    scene.wait_secs(20);
    let (last, by) = *scene.world.opened().last().unwrap();
    assert_eq!(by, None);
    scene.world.child_writes(last, answer);
    scene.settle();
    assert_eq!(ready(&mut scene), "");
    let probes = scene.world.opened().iter().filter(|(_, by)| by.is_none());
    assert_eq!(probes.count(), 3);
    scene.wait_secs(600);
    assert!(scene.world.gateway().is_idle());
    assert_eq!(scene.world.gateway().poll_timeout(), None);
}

#[test]
fn a_gateway_that_stops_probes_no_more() {
    let mut probing = policy();
    probing.startup_probe = true;
    let mut scene = Scene::of(probing);
    let (first, _) = scene.world.opened()[0];
    scene.world.child_exits(first);
    scene.settle();
    scene.world.drain();
    scene.wait_secs(60);
    assert_eq!(scene.world.opened().len(), 1);
    assert_eq!(scene.world.gateway().poll_timeout(), None);
}

#[test]
fn a_gateway_without_a_probe_is_ready_at_once_and_never_probes() {
    let mut scene = Scene::new();
    assert_eq!(ready(&mut scene), "");
    scene.spawning_fails();
    scene.initialize("2025-06-18");
    assert_eq!(ready(&mut scene), "start-failed");
    scene.wait_secs(60);
    assert!(scene.world.opened().iter().all(|(_, by)| by.is_some()));
}

/// Why `/health/ready` says no, empty if it says yes; `/health/live` says yes whatever that is.
fn ready(scene: &mut Scene) -> String {
    let live = scene.send(Request::new(Method::GET, "/health/live"));
    assert_eq!(scene.response(live).status(), 200);
    assert_eq!(scene.response(live).text(), r#"{"status":"ok"}"#);
    let asked = scene.send(Request::new(Method::GET, "/health/ready"));
    let response = scene.response(asked);
    let body = response.json();
    let reason = body["reason"].as_str().unwrap_or_default().to_owned();
    let (status, word) = match reason.as_str() {
        "" => (200, "ok"),
        _ => (503, "unavailable"),
    };
    assert_eq!((response.status(), &body["status"]), (status, &word.into()));
    reason
}

#[test]
fn the_probe_answers_a_child_that_pings_first() {
    let mut probing = policy();
    probing.startup_probe = true;
    let mut scene = Scene::of(probing);
    let (upstream, _) = scene.world.opened()[0];
    let ping = b"{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}\n";
    scene.world.child_writes(upstream, ping);
    scene.settle();
    let pong = b"{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"result\":{}}\n";
    assert_eq!(scene.world.child(upstream).lines[1], pong[..]);
}

#[test]
fn a_probe_that_fails_makes_health_say_so_until_a_session_opens() {
    for failure in 0..4 {
        let mut probing = policy();
        probing.startup_probe = true;
        let mut scene = Scene::of(probing);
        let (upstream, _) = scene.world.opened()[0];
        match failure {
            0 => scene.world.child_exits(upstream),
            1 => {
                let error =
                    b"{\"jsonrpc\":\"2.0\",\"id\":0,\"error\":{\"code\":1,\"message\":\"\"}}\n";
                scene.world.child_writes(upstream, error);
            }
            2 => scene.wait_secs(300),
            _ => scene.world.child_mut(upstream).close_stdout(),
        }
        scene.settle();
        assert_eq!(
            scene.audit(),
            [AuditEvent::Probed { passed: false }],
            "{failure}"
        );
        scene.wait_secs(10);
        assert!(scene.world.gateway().is_idle());
        let health = scene.send(Request::new(Method::GET, "/health"));
        assert_eq!(scene.response(health).status(), 503);
        scene.open("2025-06-18");
        let health = scene.send(Request::new(Method::GET, "/health"));
        assert_eq!(scene.response(health).status(), 200);
    }
}

#[test]
fn draining_finishes_what_is_in_flight_and_opens_nothing() {
    let mut scene = Scene::new();
    let busy = scene.open("2025-06-18");
    let idle = scene.open("2025-06-18");
    let (asked, minted) = scene.begin_call(&busy, "1");
    let listening = scene.listen(&busy);
    scene.world.drain();
    scene.settle();
    // The idle one is over at once; what is new is refused.
    assert!(!scene.world.child(idle.upstream).lives());
    let health = scene.send(Request::new(Method::GET, "/health"));
    assert_eq!(scene.response(health).status(), 503);
    assert_eq!(scene.response(health).json()["status"], "draining");
    let (new, _) = scene.initialize("2025-06-18");
    scene.assert_refused(new, Refusal::Draining);
    let further = scene.call(&busy, "2");
    scene.assert_refused(further, Refusal::Draining);
    let stream = scene.send(Request::get().session(&busy.id));
    scene.assert_refused(stream, Refusal::Draining);
    // An answer of the client's still passes: the call may need it.
    let note = scene.post(&busy, r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    assert_eq!(scene.response(note).status(), 202);
    scene.hears(&busy);

    scene.wait_secs(3);
    assert!(scene.is_waiting(asked));
    scene.answers(&busy, &minted, "just in time");
    scene.assert_answered(asked, 1.into(), "just in time");
    assert!(scene.response(listening).complete);
    assert!(scene.world.gateway().is_idle());
    assert_eq!(scene.world.next_deadline(), None);
}

#[test]
fn draining_ends_by_its_limit_whatever_children_do() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let child = scene.world.child_mut(session.upstream);
    (child.heeds_stdin, child.heeds_term) = (false, false);
    let (asked, _) = scene.begin_call(&session, "1");
    scene.spawning_waits();
    let (opening, _) = scene.initialize("2025-06-18");
    scene.world.drain();
    scene.settle();
    scene.wait_secs(4);
    assert_eq!(
        scene.messages(asked)[0]["error"]["message"],
        Refusal::SessionEnded.message()
    );
    assert!(scene.response(opening).complete);
    assert_eq!(scene.response(opening).field("mcp-session-id"), None);
    scene.spawning_works();
    scene.wait_secs(5);
    assert!(scene.world.gateway().is_idle(), "nine seconds are over");
}

#[test]
fn when_a_childs_driver_fails_requests_hear_of_it_and_all_else_that_the_session_is_gone() {
    let note = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
    // On their way to the child: a head that was let in, and a body that was read.
    for (request, steps) in [(Request::get(), 1), (Request::post(note), 3)] {
        let mut scene = Scene::new();
        let session = scene.open("2025-06-18");
        let (called, _) = scene.begin_call(&session, "1");
        let asked = ExchangeId(1000);
        scene.world.send(asked, request.session(&session.id));
        for _ in 0..steps {
            assert!(scene.world.step());
        }
        scene.world.lose(session.upstream);
        scene.settle();
        scene.assert_refused(asked, Refusal::SessionNotFound);
        scene.assert_refused(called, Refusal::ChildExited);
        assert_eq!(scene.response(called).json()["id"], 1);
        let after = scene.call(&session, "2");
        scene.assert_refused(after, Refusal::SessionNotFound);
        scene.assert_nothing_is_left();
    }
}
