//! Servers that do everything wrong, at the same time and beside one that does not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::http::{Caller, INITIALIZE, INITIALIZED, LIST};
use super::processes::{eventually, marked, zombies};
use super::run::{Gateway, shell_server};

/// What the gateway may hold of all of them, in KiB: their bounds, 8 MiB for a line and 5 MiB for
/// what waits or is kept of each, and itself.
const MOST_MEMORY: u64 = 128 * 1024;

/// What becomes of the call.
#[derive(Clone, Copy)]
enum Fate {
    /// The server ended before it answered.
    Ended,
    /// It takes too long.
    TimedOut,
    /// It is answered.
    Answered,
    /// Its client reads nothing of what comes.
    Unread,
}

/// What the server does once it has a call to answer, and what becomes of the call. The client says
/// by its name which of them it wants.
const HOSTILE: &[(&str, &str, Fate)] = &[
    ("exits", "exit 3", Fate::Ended),
    ("crashes", "kill -SEGV $$", Fate::Ended),
    ("is killed", "kill -KILL $$", Fate::Ended),
    ("closes stdout", "exec >&-; sleep 1000", Fate::Ended),
    ("hangs", "sleep 1000", Fate::TimedOut),
    (
        "says half a line",
        "printf '{\"jsonrpc\":'; sleep 1000",
        Fate::TimedOut,
    ),
    (
        "answers others",
        "for id in 1 3 999999999999999999999 null '\"2\"' '[]'; do say $id; done; sleep 1000",
        Fate::TimedOut,
    ),
    ("answers twice", "say 2; say 2; sleep 1000", Fate::Answered),
    (
        "writes 256 MiB without a line end",
        "head -c 268435456 /dev/zero | tr '\\0' x; echo; say 2; sleep 1000",
        Fate::Answered,
    ),
    (
        "writes noise",
        "head -c 16777216 /dev/urandom; echo; say 2; sleep 1000",
        Fate::Answered,
    ),
    (
        "writes what is no text",
        "printf '{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"\\377\"}\\n'; say 2; sleep 1000",
        Fate::Answered,
    ),
    (
        "floods its log",
        "yes 'all is well' >&2 & say 2; sleep 1000",
        Fate::Answered,
    ),
    (
        "floods its client",
        "yes '{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":\"x\"}}'",
        Fate::Unread,
    ),
    (
        "stays",
        "trap '' TERM; setsid sleep 1000 & sleep 1000 & say 2; while :; do sleep 1; done",
        Fate::Answered,
    ),
];

/// Answers its calls by turns, and does with one what its client's name says.
fn server() -> String {
    let mut cases = String::new();
    for (name, what, _) in HOSTILE {
        cases.push_str(&format!(
            "*'\"{name}\"'*)\nread -r line; read -r line\n{what} ;;\n"
        ));
    }
    let behaviour = format!(
        r#"say() {{ printf '{{"jsonrpc":"2.0","id":%s,"result":{{"well":true}}}}\n' "$1"; }}
case "$line" in
*'"never reads"'*) sleep 1000 ;;
{cases}*) id=2; read -r line; while read -r line; do say $id; id=$((id + 1)); done ;;
esac"#
    );
    // What the server is asked first stays in `line`.
    shell_server("", &behaviour)
}

fn open(caller: &Caller, name: &str) -> String {
    let initialize = INITIALIZE.replace("\"test\"", &format!("\"{name}\""));
    let opened = caller.request("POST", None, &initialize);
    let session = opened.session.unwrap_or_else(|| panic!("{}", opened.body));
    let accepted = caller.request("POST", Some(&session), INITIALIZED);
    assert_eq!(accepted.status, 202, "{name}");
    session
}

/// Asks a server that misbehaves, and sees that its client learns of it.
fn call(caller: &Caller, name: &str, fate: Fate) -> String {
    let session = open(caller, name);
    let expected = match fate {
        Fate::Ended => r#""error":{"code":-32603,"message":"The server ended"#,
        Fate::TimedOut => r#""error":{"code":-32001,"message":"The request timed out."#,
        Fate::Answered => r#""result":{"well":true}"#,
        Fate::Unread => {
            let unread = caller.send("POST", Some(&session), LIST);
            eventually("whoever reads nothing is dropped", || {
                let peeked = unread.peek(&mut [0]);
                peeked.is_ok()
            });
            return session;
        }
    };
    let answer = caller.request("POST", Some(&session), LIST);
    assert_eq!(answer.status, 200, "{name}: {}", answer.body);
    assert_eq!(
        answer.body.matches(expected).count(),
        1,
        "{name}: {}",
        answer.body
    );
    session
}

/// Fills the pipe of a server that never reads, and the bound behind it.
fn fill(caller: &Caller) -> String {
    let session = open(caller, "never reads");
    let text = "x".repeat(1024 * 1024);
    let notification =
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{"text":"{text}"}}}}"#);
    eventually("no more is taken", || {
        match caller.request("POST", Some(&session), &notification).status {
            202 => false,
            status => {
                assert_eq!(status, 503);
                true
            }
        }
    });
    session
}

#[test]
fn hostile_servers_cost_a_bounded_amount_and_harm_nobody_else() {
    let mark = format!("hostile-{}", std::process::id());
    let options = [
        "--startup-probe",
        "off",
        "--discover",
        "off",
        "--request-time",
        "20s",
        "--terminate-after",
        "100ms",
        "--kill-after",
        "100ms",
    ];
    let gateway = Gateway::start(&mark, &options, &["sh", "-c", &server()]);
    let caller = Caller::new(gateway.address);
    // One round trip, so that whatever is opened once is open.
    let session = open(&caller, "first");
    assert_eq!(caller.request("DELETE", Some(&session), "").status, 204);
    eventually("the first server has ended", || marked(&mark).is_empty());
    let descriptors = gateway.descriptors();

    let well_behaved = open(&caller, "well-behaved");
    let over = AtomicBool::new(false);
    let sessions: Vec<String> = thread::scope(|scope| {
        let caller = &caller;
        let neighbour = scope.spawn(|| {
            let mut answered = 0;
            while !over.load(Ordering::Relaxed) {
                let answer = caller.request("POST", Some(&well_behaved), LIST);
                assert_eq!(
                    answer.body,
                    r#"{"jsonrpc":"2.0","id":"l","result":{"well":true}}"#
                );
                answered += 1;
            }
            answered
        });
        let mut calls: Vec<_> = HOSTILE
            .iter()
            .map(|&(name, _, fate)| scope.spawn(move || call(caller, name, fate)))
            .collect();
        calls.push(scope.spawn(|| fill(caller)));
        // All of them, before the first that failed is told.
        let ended: Vec<_> = calls
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        over.store(true, Ordering::Relaxed);
        assert!(neighbour.join().expect("the neighbour is served") > 0);
        ended
            .into_iter()
            .map(|session| session.expect("as it should be"))
            .collect()
    });
    let memory = gateway.memory("VmHWM");
    assert!(memory < MOST_MEMORY, "the gateway has taken {memory} KiB");

    for session in sessions.iter().chain([&well_behaved]) {
        let ended = caller.request("DELETE", Some(session), "");
        assert!(matches!(ended.status, 204 | 404), "{}", ended.body);
    }
    eventually("no process is left", || marked(&mark).is_empty());
    eventually("nothing is a zombie", || zombies(gateway.id()).is_empty());
    eventually("all descriptors are closed", || {
        gateway.descriptors() <= descriptors
    });
    let log = gateway.stderr.text();
    assert!(!log.contains("panicked"), "{log}");
}
