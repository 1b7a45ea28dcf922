//! Event streams: how they begin, are resumed, and what slow readers cost.

use std::time::Duration;

use mcp_proto::{AuditEvent, Refusal};
use mcp_proto_sim::{Asked, Request, Scene, Session};

fn note(marker: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"marker":"{marker}"}}}}"#
    )
}

/// A call with a token, and the id that the child knows it by.
fn begin(scene: &mut Scene, session: &Session, id: &str) -> (Asked, String) {
    let asked = scene.call_with_token(session, id, id);
    (asked, scene.minted(session))
}

fn progress(scene: &mut Scene, session: &Session, token: &str, marker: &str) {
    scene.says(
        session,
        &format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1,"marker":"{marker}"}}}}"#
        ),
    );
}

fn markers(scene: &Scene, asked: Asked) -> Vec<String> {
    let marker = |message: serde_json::Value| {
        let params = message["params"]["marker"].as_str();
        let found = params.or(message["result"]["marker"].as_str());
        found.unwrap_or("?").to_owned()
    };
    scene.messages(asked).into_iter().map(marker).collect()
}

#[test]
fn the_first_message_before_an_answer_makes_it_a_stream() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let (asked, minted) = begin(&mut scene, &session, "1");
    assert!(scene.is_waiting(asked));
    progress(&mut scene, &session, &minted, "p");
    let response = scene.response(asked);
    assert_eq!(
        response.field("content-type").as_deref(),
        Some("text/event-stream")
    );
    assert_eq!(response.field("x-accel-buffering").as_deref(), Some("no"));
    assert_eq!(response.field("cache-control").as_deref(), Some("no-store"));
    assert_eq!(response.head.as_ref().unwrap().length, None);
    scene.answers(&session, &minted, "a");
    assert_eq!(markers(&scene, asked), ["p", "a"]);
    assert!(scene.response(asked).complete);
}

#[test]
fn streams_begin_as_their_revision_says() {
    for (version, primes) in [
        ("2024-11-05", false),
        ("2025-03-26", false),
        ("2025-06-18", false),
        ("2025-11-25", true),
    ] {
        let mut scene = Scene::new();
        let session = scene.open(version);
        let listening = scene.listen(&session);
        let events = scene.response(listening).events();
        assert_eq!(events.len(), usize::from(primes));
        if primes {
            assert!(events[0].id.is_some() && events[0].data.is_empty());
            assert_eq!(events[0].retry, Some(1000));
        }
        scene.says(&session, &note("n"));
        let event = scene.response(listening).events().pop().unwrap();
        assert!(event.id.is_some(), "ids in every revision");
        assert_eq!(event.data, note("n").as_bytes());
    }
}

#[test]
fn silent_streams_carry_comments_and_talkative_ones_do_not() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let listening = scene.listen(&session);
    scene.wait(Duration::from_millis(19_999));
    assert_eq!(scene.response(listening).text(), "");
    scene.wait(Duration::from_millis(1));
    assert_eq!(scene.response(listening).text(), ": keep-alive\n\n");
    scene.wait_secs(10);
    scene.says(&session, &note("n"));
    scene.wait_secs(19);
    assert_eq!(
        scene
            .response(listening)
            .text()
            .matches("keep-alive")
            .count(),
        1
    );
    scene.wait_secs(1);
    assert_eq!(
        scene
            .response(listening)
            .text()
            .matches("keep-alive")
            .count(),
        2
    );
}

#[test]
fn a_reader_that_has_stopped_gets_no_comments() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    scene.send(Request::get().session(&session.id).unread());
    let before = scene.world.queued_bytes();
    scene.wait_secs(3600);
    assert_eq!(scene.world.queued_bytes(), before);
}

#[test]
fn no_payload_can_forge_an_event() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let listening = scene.listen(&session);
    scene.writes(
        &session,
        "{\"jsonrpc\":\"2.0\",\r\"method\":\"x\",\"a\":\"\\r\\ndata: evil\u{2028}\"\r}\r\n",
    );
    let events = scene.response(listening).events();
    assert_eq!(events.len(), 1);
    let expected = "{\"jsonrpc\":\"2.0\", \"method\":\"x\",\"a\":\"\\r\\ndata: evil\u{2028}\" }";
    assert_eq!(events[0].data, expected.as_bytes());
}

#[test]
fn a_stream_that_breaks_at_any_byte_is_resumed_without_loss_or_repetition() {
    let whole = {
        let mut scene = Scene::new();
        let session = scene.open("2025-11-25");
        let (asked, minted) = begin(&mut scene, &session, "1");
        tell(&mut scene, &session, &minted);
        scene.response(asked).body.clone()
    };
    for leaves_at in 1..whole.len() {
        let mut scene = Scene::new();
        let session = scene.open("2025-11-25");
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{"progressToken":1}}}"#;
        let request = Request::post(body)
            .session(&session.id)
            .leaving_at(leaves_at);
        let asked = scene.send(request);
        let minted = scene.minted(&session);
        tell(&mut scene, &session, &minted);
        let seen = scene.response(asked).events();
        let Some(last) = seen.iter().rev().find_map(|event| event.id.clone()) else {
            continue;
        };
        let resumed = scene.resume(&session, &last);
        assert_eq!(scene.response(resumed).status(), 200);
        let mut all = markers(&scene, asked);
        all.extend(markers(&scene, resumed));
        assert_eq!(all, ["p1", "p2", "a"], "broken at {leaves_at}");
        assert!(scene.response(resumed).complete);
    }

    fn tell(scene: &mut Scene, session: &Session, minted: &str) {
        progress(scene, session, minted, "p1");
        progress(scene, session, minted, "p2");
        scene.answers(session, minted, "a");
    }
}

#[test]
fn a_stream_goes_on_while_nobody_is_there() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let (asked, minted) = begin(&mut scene, &session, "1");
    progress(&mut scene, &session, &minted, "p1");
    let last = scene.last_id(asked);
    scene.leave(asked);
    progress(&mut scene, &session, &minted, "p2");
    let resumed = scene.resume(&session, &last);
    assert_eq!(markers(&scene, resumed), ["p2"]);
    scene.answers(&session, &minted, "a");
    assert_eq!(markers(&scene, resumed), ["p2", "a"]);
    assert!(scene.response(resumed).complete);
    // Who has seen all of it is told not to come again.
    let done = scene.resume(&session, &scene.last_id(resumed));
    assert_eq!(scene.response(done).status(), 204);
    assert!(scene.response(done).complete);
    // The same cursor is good for the same again.
    let again = scene.resume(&session, &last);
    assert_eq!(markers(&scene, again), ["p2", "a"]);
    assert!(scene.response(again).complete);
    assert_eq!(scene.audit(), []);
    scene.assert_nothing_is_left();
}

#[test]
fn a_get_stream_that_is_resumed_carries_on_and_takes_what_waits() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let listening = scene.listen(&session);
    let last = scene.last_id(listening);
    scene.leave(listening);
    scene.says(&session, &note("1"));
    let resumed = scene.resume(&session, &last);
    // The cursor is told again, so that a stream that breaks now can be resumed.
    assert_eq!(scene.response(resumed).events()[0].id, Some(last));
    assert_eq!(markers(&scene, resumed), ["1"]);
    scene.says(&session, &note("2"));
    assert_eq!(markers(&scene, resumed), ["1", "2"]);
}

#[test]
fn who_resumes_a_stream_that_is_still_carried_takes_it_over() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let first = scene.listen(&session);
    let second = scene.resume(&session, &scene.last_id(first));
    assert!(scene.response(first).complete);
    scene.says(&session, &note("n"));
    assert!(markers(&scene, first).is_empty());
    assert_eq!(markers(&scene, second), ["n"]);
}

#[test]
fn event_ids_that_are_forged_foreign_or_too_old_are_refused_and_harm_nothing() {
    let mut scene = Scene::with(|limits| limits.replay_bytes = 1500);
    let session = scene.open("2025-11-25");
    let other = scene.open("2025-11-25");
    let foreign = scene.listen(&other);
    let foreign = scene.last_id(foreign);
    let listening = scene.listen(&session);
    let primed = scene.last_id(listening);
    scene.says(&session, &note("0"));
    let first = scene.last_id(listening);
    for number in 1..20 {
        scene.says(&session, &note(&number.to_string()));
    }
    let newest = scene.last_id(listening);
    let (nonce, rest) = newest.split_once('-').unwrap();
    let (stream, _) = rest.split_once('-').unwrap();
    for id in [
        "",
        "x",
        "1",
        &foreign,
        &primed,
        &first,
        &format!("{nonce}-{stream}-21"),
        &format!("{nonce}-{stream}-020"),
        &format!("{nonce}-99-1"),
        &format!("00000000-{stream}-20"),
        &format!("{nonce}-{stream}-18446744073709551616"),
        &format!(" {newest}x"),
    ] {
        let asked = scene.resume(&session, id);
        scene.assert_refused(asked, Refusal::UnknownEventId);
        assert_eq!(scene.response(asked).status(), 400);
    }
    // The stream was not taken from its reader.
    scene.says(&session, &note("last"));
    assert_eq!(markers(&scene, listening).last().unwrap(), "last");
    let good = scene.resume(&session, &newest);
    assert_eq!(markers(&scene, good), ["last"]);
}

#[test]
fn an_unprimed_stream_has_no_event_zero() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let listening = scene.listen(&session);
    scene.says(&session, &note("1"));
    let one = scene.last_id(listening);
    let (stream, sequence) = one.rsplit_once('-').unwrap();
    assert_eq!(sequence, "1");
    let zero = format!("{stream}-0");
    let asked = scene.resume(&session, &zero);
    scene.assert_refused(asked, Refusal::UnknownEventId);
}

#[test]
fn a_reader_that_stops_is_dropped_and_loses_nothing() {
    let mut scene = Scene::with(|limits| {
        limits.stream_queue_bytes = 10_000;
        limits.replay_bytes = 100_000;
    });
    let session = scene.open("2025-11-25");
    let quick = scene.listen(&session);
    let (asked, minted) = begin(&mut scene, &session, "1");
    scene.says(&session, &note("0"));
    scene.world.set_reading(asked, false);
    let last = scene.last_id(asked);
    let big = "x".repeat(1000);
    for _ in 0..30 {
        progress(&mut scene, &session, &minted, &big);
    }
    assert!(scene.response(asked).dropped);
    assert!(scene.world.queued_bytes() <= 10_000);
    assert_eq!(scene.audit(), [AuditEvent::ReaderDropped]);
    scene.answers(&session, &minted, "a");
    let resumed = scene.resume(&session, &last);
    let all = markers(&scene, resumed);
    assert_eq!(all.len(), 31);
    assert_eq!(all.last().unwrap(), "a");
    // The neighbour did not notice.
    scene.says(&session, &note("still here"));
    assert_eq!(markers(&scene, quick), ["still here"]);
}

#[test]
fn by_default_a_reader_that_is_dropped_can_resume() {
    for size in [100, 1000, 20_000] {
        let mut scene = Scene::new();
        let session = scene.open("2025-11-25");
        let (asked, minted) = begin(&mut scene, &session, "1");
        scene.says(&session, &note("0"));
        scene.world.set_reading(asked, false);
        let last = scene.last_id(asked);
        let mut sent = 0;
        while !scene.response(asked).dropped {
            progress(&mut scene, &session, &minted, &"x".repeat(size));
            sent += 1;
        }
        let resumed = scene.resume(&session, &last);
        assert_eq!(markers(&scene, resumed).len(), sent, "of {size} bytes");
    }
}

#[test]
fn a_reader_that_keeps_up_is_not_dropped_for_a_large_message() {
    let mut scene = Scene::with(|limits| {
        limits.stream_queue_bytes = 10_000;
        limits.replay_bytes = 10_000;
    });
    let session = scene.open("2025-11-25");
    let (asked, minted) = begin(&mut scene, &session, "1");
    // It takes this, but the upstream hears of what was taken at half a window only.
    progress(&mut scene, &session, &minted, &"x".repeat(4000));
    assert_eq!(scene.world.queued_bytes(), 0);
    scene.answers(&session, &minted, &"y".repeat(50_000));
    assert!(!scene.response(asked).dropped);
    assert!(scene.response(asked).complete);
    assert_eq!(markers(&scene, asked)[1].len(), 50_000);
    assert_eq!(scene.audit(), []);
}

#[test]
fn who_catches_up_has_the_whole_queue_on_top_of_what_is_sent_again() {
    let mut scene = Scene::with(|limits| limits.stream_queue_bytes = 10_000);
    let session = scene.open("2025-11-25");
    let listening = scene.listen(&session);
    let first = scene.last_id(listening);
    for _ in 0..8 {
        scene.says(&session, &note(&"x".repeat(1000)));
    }
    scene.leave(listening);
    let again = Request::get().session(&session.id).unread();
    let again = scene.send(again.field("last-event-id", &first));
    let replayed = scene.world.queued_bytes();
    assert!(replayed > 8000);
    scene.says(&session, &note(&"x".repeat(5000)));
    assert!(!scene.response(again).dropped);
    assert!(scene.world.queued_bytes() > replayed);
    scene.says(&session, &note(&"x".repeat(5000)));
    assert!(scene.response(again).dropped);
    assert_eq!(scene.world.queued_bytes(), 0);
}

#[test]
fn one_message_may_be_larger_than_the_queue() {
    let mut scene = Scene::with(|limits| {
        limits.stream_queue_bytes = 1000;
        limits.replay_bytes = 1000;
    });
    let session = scene.open("2025-06-18");
    let listening = scene.send(Request::get().session(&session.id).unread());
    scene.says(&session, &note(&"x".repeat(5000)));
    assert!(!scene.response(listening).dropped);
    scene.says(&session, &note("y"));
    assert!(scene.response(listening).dropped);
}

#[test]
fn a_long_stream_of_small_messages_never_overruns_a_reader_that_keeps_up() {
    let mut scene = Scene::with(|limits| limits.stream_queue_bytes = 2000);
    let session = scene.open("2025-06-18");
    let listening = scene.listen(&session);
    for number in 0..500 {
        scene.says(&session, &note(&format!("{number:0200}")));
    }
    assert_eq!(scene.messages(listening).len(), 500);
}

#[test]
fn polling_closes_a_long_calls_stream_for_the_client_to_resume_it() {
    let mut scene = Scene::with(|limits| limits.poll_after = Some(Duration::from_secs(5)));
    let session = scene.open("2025-11-25");
    let (asked, minted) = begin(&mut scene, &session, "1");
    scene.wait_secs(5);
    assert!(scene.response(asked).complete, "closed");
    assert_eq!(
        scene.response(asked).events().len(),
        1,
        "with the cursor and nothing else"
    );
    let first = scene.resume(&session, &scene.last_id(asked));
    assert!(!scene.response(first).complete);
    progress(&mut scene, &session, &minted, "p");
    scene.wait_secs(100);
    assert!(!scene.response(first).complete, "once is enough");
    scene.answers(&session, &minted, "a");
    assert_eq!(markers(&scene, first), ["p", "a"]);
    assert!(scene.response(first).complete);
    scene.assert_nothing_is_left();
}

#[test]
fn polling_goes_on_after_a_client_that_came_back_by_itself() {
    let mut scene = Scene::with(|limits| limits.poll_after = Some(Duration::from_secs(5)));
    let session = scene.open("2025-11-25");
    let (asked, minted) = begin(&mut scene, &session, "1");
    progress(&mut scene, &session, &minted, "p");
    scene.wait_secs(1);
    let last = scene.last_id(asked);
    scene.leave(asked);
    let resumed = scene.resume(&session, &last);
    scene.wait_secs(5);
    assert!(scene.response(resumed).complete);
}

#[test]
fn older_revisions_are_not_polled_even_after_they_resumed() {
    let mut scene = Scene::with(|limits| limits.poll_after = Some(Duration::from_secs(5)));
    let session = scene.open("2025-06-18");
    let (asked, minted) = begin(&mut scene, &session, "1");
    scene.wait_secs(5);
    assert!(scene.is_waiting(asked));
    progress(&mut scene, &session, &minted, "p");
    let last = scene.last_id(asked);
    scene.leave(asked);
    let resumed = scene.resume(&session, &last);
    scene.wait_secs(100);
    assert!(!scene.response(resumed).complete);
}

#[test]
fn get_streams_are_bounded_per_session() {
    let mut scene = Scene::with(|limits| limits.streams_per_session = 2);
    let (session, other) = (scene.open("2025-06-18"), scene.open("2025-06-18"));
    let first = scene.listen(&session);
    scene.listen(&session);
    let third = scene.listen(&session);
    scene.assert_refused(third, Refusal::TooManyStreams);
    scene.listen(&other);
    scene.leave(first);
    scene.listen(&session);
}

#[test]
fn a_further_get_never_harms_the_streams_that_exist() {
    let mut scene = Scene::new();
    let session = scene.open("2025-11-25");
    let first = scene.listen(&session);
    let second = scene.listen(&session);
    assert!(!scene.response(first).complete);
    scene.leave(second);
    scene.says(&session, &note("n"));
    assert_eq!(markers(&scene, first), ["n"]);
}

#[test]
fn get_streams_that_were_left_are_kept_for_resumption_up_to_a_bound() {
    let mut scene = Scene::with(|limits| limits.streams_per_session = 2);
    let session = scene.open("2025-11-25");
    // The first has events that can be replayed; all are left.
    let mut cursors = Vec::new();
    for number in 0..50 {
        let listening = scene.listen(&session);
        if number == 0 {
            scene.says(&session, &note("kept"));
        }
        cursors.push(scene.last_id(listening));
        scene.leave(listening);
    }
    let resumable = |scene: &mut Scene, cursor: &String| {
        let asked = scene.resume(&session, cursor);
        let resumable = scene.response(asked).status() == 200;
        scene.leave(asked);
        resumable
    };
    let newest = cursors.pop().unwrap();
    assert!(resumable(&mut scene, &newest));
    let others = cursors[1..]
        .iter()
        .filter(|cursor| resumable(&mut scene, cursor));
    let others = others.count();
    assert!(others <= 2, "{others} streams are kept for nobody");
}

#[test]
fn a_client_that_is_dropped_again_and_again_leaves_a_bounded_number_of_streams() {
    let mut scene = Scene::with(|limits| {
        limits.streams_per_session = 2;
        limits.stream_queue_bytes = 300;
        limits.replay_bytes = 1000;
    });
    let session = scene.open("2025-11-25");
    let mut cursors = Vec::new();
    for _ in 0..50 {
        let listening = scene.listen(&session);
        cursors.push(scene.last_id(listening));
        scene.world.set_reading(listening, false);
        while !scene.response(listening).dropped {
            scene.says(&session, &note(&"x".repeat(100)));
        }
    }
    // The stream's number is in the cursor: whether it is known shows in how it is refused.
    let stream_of = |cursor: &str| cursor.split('-').nth(1).unwrap().to_owned();
    let nonce = cursors[0].split('-').next().unwrap().to_owned();
    let mut known = 0;
    for cursor in &cursors[..40] {
        // Its newest event: all before it are gone.
        for sequence in 3..=6 {
            let id = format!("{nonce}-{}-{sequence}", stream_of(cursor));
            let asked = scene.resume(&session, &id);
            if scene.response(asked).status() == 200 {
                known += 1;
                scene.leave(asked);
                break;
            }
        }
    }
    assert!(known <= 3, "{known} streams are kept for nobody");
}
