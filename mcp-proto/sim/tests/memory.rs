//! Property 9 at its worst: whatever a peer does, and however often, what the machines allocate
//! stays within the bounds that `Limits` names.

use mcp_proto::Limits;
use mcp_proto_sim::{Request, Scene, Session, policy};

const KIB: usize = 1024;

/// By how many bytes what this thread has allocated rises.
fn measure(work: &mut dyn FnMut()) -> i64 {
    allocation_counter::measure(work).bytes_current
}

fn limits(limits: &mut Limits) {
    limits.stream_queue_bytes = 64 * KIB;
    limits.replay_bytes = 64 * KIB;
    limits.waiting_bytes = 64 * KIB;
    limits.line_bytes = 256 * KIB;
    limits.stdin_bytes = 64 * KIB;
    limits.calls_per_session = 64;
}

/// Lets a peer do its worst, again and again, and says how far what the machines have allocated
/// rose.
fn rise(
    name: &str,
    setup: impl FnOnce(&mut Scene) -> Session,
    worst: impl Fn(&mut Scene, &Session, u32),
) -> usize {
    let mut policy = policy();
    limits(&mut policy.limits);
    let mut scene = Scene::measured(policy, Some(measure));
    let session = setup(&mut scene);
    let held = |scene: &Scene| scene.world.held_bytes().expect("it is measured");
    let before = held(&scene);
    let mut most = before;
    for round in 0..2000 {
        worst(&mut scene, &session, round);
        scene.forget_history();
        most = most.max(held(&scene));
    }
    scene.assert_nothing_is_left();
    println!("{name}: {} KiB", (most - before) / KIB);
    most - before
}

fn note(length: usize) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"x":"{}"}}}}"#,
        "x".repeat(length)
    )
}

#[test]
fn no_peer_makes_the_machines_hold_more_than_their_bounds() {
    let open = |scene: &mut Scene| scene.open("2025-11-25");

    // The queue of messages that wait, which is all that may grow here.
    let flood = rise(
        "a flood that nobody listens to",
        open,
        |scene, session, _| {
            scene.says(session, &note(10_000));
        },
    );
    assert!(flood < 80 * KIB, "{flood}");

    // What one stream may queue, and what is kept to be sent again.
    let unread = |scene: &mut Scene| {
        let session = scene.open("2025-11-25");
        scene.send(Request::get().session(&session.id).unread());
        session
    };
    let stopped = rise("a reader that has stopped", unread, |scene, session, _| {
        scene.says(session, &note(10_000));
    });
    assert!(stopped < 180 * KIB, "{stopped}");

    let coming_back = rise(
        "a reader that stops again and again",
        open,
        |scene, session, _| {
            scene.send(Request::get().session(&session.id).unread());
            for _ in 0..10 {
                scene.says(session, &note(10_000));
            }
        },
    );
    assert!(coming_back < 160 * KIB, "{coming_back}");

    // One line, and room to read on.
    let endless = rise("a line without an end", open, |scene, session, _| {
        scene.writes(session, &"x".repeat(50_000));
    });
    assert!(endless < 450 * KIB, "{endless}");

    let long = rise("lines that are too long", open, |scene, session, _| {
        scene.writes(session, &"x".repeat(300_000));
        scene.writes(session, "\n");
    });
    assert!(long < 16 * KIB, "{long}");

    // What waits for a child that does not read.
    let deaf = |scene: &mut Scene| {
        let session = scene.open("2025-11-25");
        scene.world.child_mut(session.upstream).reads = false;
        session
    };
    let unanswered = rise(
        "calls to a child that does not read",
        deaf,
        |scene, session, round| {
            let x = "x".repeat(5000);
            let body =
                format!(r#"{{"jsonrpc":"2.0","id":{round},"method":"m","params":{{"x":"{x}"}}}}"#);
            let asked = scene.post(session, &body);
            scene.leave(asked);
        },
    );
    assert!(unanswered < 120 * KIB, "{unanswered}");

    let asking = rise(
        "requests of a child that does not read",
        deaf,
        |scene, session, round| {
            let x = "x".repeat(5000);
            let line =
                format!(r#"{{"jsonrpc":"2.0","id":{round},"method":"m","params":{{"x":"{x}"}}}}"#);
            scene.says(session, &line);
        },
    );
    assert!(asking < 180 * KIB, "{asking}");

    // What is left behind: GET streams, calls, sessions.
    let leaving = rise("streams that are left", open, |scene, session, _| {
        let listening = scene.listen(session);
        scene.says(session, &note(10));
        scene.leave(listening);
    });
    assert!(leaving < 110 * KIB, "{leaving}");

    let tasks = rise("tasks without end", open, |scene, session, round| {
        scene.call_with_token(session, "1", "1");
        let id = round + 2;
        let task =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"task":{{"taskId":"{round}"}}}}}}"#);
        scene.says(session, &task);
    });
    assert!(tasks < 32 * KIB, "{tasks}");

    let sessions = rise("sessions that come and go", open, |scene, _, _| {
        let session = scene.open("2025-06-18");
        scene.delete(&session);
    });
    assert!(sessions < 32 * KIB, "{sessions}");
}
