//! No child survives its session, nor its gateway, whatever it does.

use super::http::{self, INITIALIZE};
use super::processes::{eventually, marked, zombies};
use super::run::{Gateway, shell_server};

/// Ignores SIGTERM and the end of its stdin, and has two children of its own, one of which leaves
/// the process group.
fn stubborn_server() -> String {
    shell_server(
        "trap '' TERM; setsid sleep 1000 & sleep 1000 &",
        "while read -r line; do :; done; sleep 1000; sleep 1000",
    )
}

const QUICK: &[&str] = &[
    "--startup-probe",
    "off",
    "--discover",
    "off",
    "--sessions",
    "300",
    "--terminate-after",
    "100ms",
    "--kill-after",
    "100ms",
];

#[test]
fn two_hundred_sessions_leave_no_process_behind() {
    let mark = format!("sessions-{}", std::process::id());
    let server = stubborn_server();
    let gateway = Gateway::start(&mark, QUICK, &["sh", "-c", &server]);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let gateway = &gateway;
            scope.spawn(move || {
                for round in 0..50 {
                    match (worker + round) % 4 {
                        // Ended by the client.
                        0 | 1 => {
                            let session = http::initialize(gateway.address);
                            let ended =
                                http::request(gateway.address, "DELETE", Some(&session), "");
                            assert_eq!(ended.status, 204);
                        }
                        // The client leaves before it knows the session's id.
                        2 => drop(http::send(gateway.address, "POST", None, INITIALIZE)),
                        // Left open.
                        _ => drop(http::initialize(gateway.address)),
                    }
                }
            });
        }
    });
    // Those that were ended go while the gateway lives; three processes for each that is open.
    eventually("ended sessions' processes are gone", || {
        marked(&mark).len() <= 3 * 100
    });
    eventually("nothing is a zombie", || zombies(gateway.id()).is_empty());
    assert!(marked(&mark).len() >= 50, "some sessions are still open");

    gateway.signal("-KILL");
    eventually("nothing is left after SIGKILL", || marked(&mark).is_empty());
}

#[test]
fn a_child_that_leaves_its_group_ends_with_its_session() {
    let mark = format!("group-{}", std::process::id());
    let server = stubborn_server();
    let gateway = Gateway::start(&mark, QUICK, &["sh", "-c", &server]);
    let session = http::initialize(gateway.address);
    eventually("the server's own children run", || marked(&mark).len() == 3);
    http::request(gateway.address, "DELETE", Some(&session), "");
    eventually("all three are gone", || marked(&mark).is_empty());
}

#[test]
fn what_a_crashed_server_leaves_behind_is_ended() {
    let mark = format!("crash-{}", std::process::id());
    let server = shell_server(
        "setsid sleep 1000 & sleep 1000 &",
        "read -r line; read -r line; kill -KILL $$",
    );
    let gateway = Gateway::start(&mark, QUICK, &["sh", "-c", &server]);
    let session = http::initialize(gateway.address);
    eventually("the server's own children run", || marked(&mark).len() == 3);
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let accepted = http::request(gateway.address, "POST", Some(&session), initialized);
    assert_eq!(accepted.status, 202);
    let call = r#"{"jsonrpc":"2.0","id":"c","method":"tools/list"}"#;
    let failed = http::request(gateway.address, "POST", Some(&session), call);
    assert_eq!(failed.status, 200);
    assert!(
        failed.body.contains(r#""id":"c","error":{"code":-32603"#),
        "{}",
        failed.body
    );
    eventually("all three are gone", || marked(&mark).is_empty());
    let gone = http::request(gateway.address, "POST", Some(&session), call);
    assert_eq!(gone.status, 404);
}
