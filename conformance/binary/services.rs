//! The service whose token it is, asked by the gateway.

use std::net::TcpStream;
use std::sync::mpsc;

use serde_json::json;

use super::http::{Caller, INITIALIZE, receive};
use super::mock::{Asked, Mock, Reply};
use super::run::{Gateway, Launch};

const GOOD: &str = "svc_good-token-0123456789";

/// Knows one token, whose client is 7.
fn whoami(asked: &Asked) -> Reply {
    match asked.token() {
        GOOD => Reply::Json(200, json!({"user": {"id": 7}})),
        _ => Reply::Json(401, json!({"error": "who?"})),
    }
}

/// A gateway that lets in the client 7 of this service.
fn asking(mock: &Mock) -> Launch {
    Launch::demo()
        .options(&["--auth", "http", "--http-url", &mock.url("/whoami")])
        .options(&["--http-client-pointer", "/user/id", "--allow-clients", "7"])
}

/// How often the service was shown a token.
fn shown(mock: &Mock, token: &str) -> usize {
    mock.count(|asked| asked.token() == token)
}

fn bearer(gateway: &Gateway, token: &str) -> Caller {
    Caller::bearer(gateway.address, token)
}

#[test]
fn whoever_the_service_knows_and_the_operator_names_comes_in() {
    let mock = Mock::start(|asked| match asked.token() {
        "svc_other-client-0123456789" => Reply::Json(200, json!({"user": {"id": 8}})),
        "svc_named-as-text-0123456789" => Reply::Json(200, json!({"user": {"id": "7"}})),
        _ => whoami(asked),
    });
    let gateway = asking(&mock).start();
    let asked = mock.asked();
    assert_eq!(asked.len(), 1, "the trial at the start");
    assert_eq!(
        (asked[0].method.as_str(), asked[0].target.as_str()),
        ("GET", "/whoami")
    );
    for (token, status) in [
        (GOOD, 200),
        ("svc_named-as-text-0123456789", 200),
        ("svc_other-client-0123456789", 401),
        ("svc_unknown-0123456789", 401),
    ] {
        // The second answer comes from memory.
        for _ in 0..2 {
            assert_eq!(bearer(&gateway, token).knock().status, status, "{token}");
        }
        assert_eq!(shown(&mock, token), 1, "{token}");
    }
    gateway.stdout.wait_for(r#""principal":"7""#, 4);
    // What is no token reaches nobody.
    let before = mock.asked().len();
    for malformed in ["", "a b", "\"a\"", &"x".repeat(10_000)] {
        assert_eq!(bearer(&gateway, malformed).knock().status, 401);
    }
    assert_eq!(mock.asked().len(), before);
}

#[test]
fn a_herd_of_equal_tokens_is_one_question() {
    let mock = Mock::start(whoami);
    let gateway = asking(&mock).start();
    let (open, gate) = mpsc::channel::<()>();
    mock.answer_with(move |asked| {
        let _ = gate.recv();
        whoami(asked)
    });
    let caller = bearer(&gateway, GOOD);
    let waiting: Vec<TcpStream> = (0..20)
        .map(|_| caller.send("POST", None, INITIALIZE))
        .collect();
    drop(open);
    for stream in waiting {
        assert_eq!(receive(stream).status, 200);
    }
    assert_eq!(shown(&mock, GOOD), 1);
}

#[test]
fn a_service_that_cannot_say_is_asked_again() {
    let mock = Mock::start(whoami);
    let gateway = asking(&mock)
        .options(&["--verifier-time", "500ms", "--credential-rate", "1000/m"])
        .start();
    let caller = bearer(&gateway, GOOD);
    let replies: [fn(&Asked) -> Reply; 8] = [
        |_| Reply::Json(500, json!({})),
        |_| Reply::Json(429, json!({})),
        |_| Reply::Json(404, json!({})),
        |_| Reply::Json(200, json!({"user": {"id": 7.5}})),
        |_| Reply::Json(200, json!({"user": {"id": null}})),
        |_| Reply::Json(200, json!("no object")),
        |_| Reply::Garbage,
        |_| Reply::Silence,
    ];
    for (number, reply) in (1..).zip(replies) {
        mock.answer_with(reply);
        let answer = caller.knock();
        assert_eq!(answer.status, 503, "reply {number}");
        let wait = answer.field("retry-after").expect("it says when");
        assert!(wait.parse::<u32>().is_ok_and(|seconds| seconds > 0));
        assert_eq!(shown(&mock, GOOD), number, "it was not cached");
    }
    gateway.stdout.wait_for(r#""event":"verifier-failed""#, 8);
    mock.answer_with(whoami);
    assert_eq!(caller.knock().status, 200);
    // A verdict that was found lasts while the service is down.
    mock.answer_with(|_| Reply::Garbage);
    assert_eq!(caller.knock().status, 200);
}

#[test]
fn a_redirect_is_not_followed_with_a_token() {
    let elsewhere = Mock::start(|_| Reply::Json(200, json!({"user": {"id": 7}})));
    let mock = Mock::start(whoami);
    let gateway = asking(&mock).start();
    let target = elsewhere.url("/whoami");
    mock.answer_with(move |_| Reply::Redirect(target.clone()));
    assert_eq!(bearer(&gateway, GOOD).knock().status, 503);
    assert_eq!(elsewhere.asked().len(), 0);
}

#[test]
fn the_services_own_token_is_tried_at_the_start() {
    let mock = Mock::start(whoami);
    let gateway = asking(&mock).variable("DEMO_API_TOKEN", GOOD).start();
    assert_eq!(shown(&mock, GOOD), 1);
    drop(gateway);
    let output = asking(&mock)
        .variable("DEMO_API_TOKEN", "svc_stale-token-0123456789")
        .options(&["--log-level", "error"])
        .run();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(
        told.contains("does not accept the token") && told.contains("--startup-check"),
        "{told}"
    );
    assert!(!told.contains("svc_stale"));
    let stdout = String::from_utf8_lossy(&output.stdout);
    // Records, and no URL.
    assert!(stdout.lines().all(|line| line.starts_with('{')), "{stdout}");
}

#[test]
fn a_start_that_fails_may_be_let_pass() {
    let mock = Mock::start(|_| Reply::Json(500, json!({})));
    assert_eq!(asking(&mock).run().status.code(), Some(1));
    let gateway = asking(&mock).options(&["--startup-check", "warn"]).start();
    assert!(gateway.stderr.text().contains("answered with 500"));
    mock.answer_with(whoami);
    assert_eq!(bearer(&gateway, GOOD).knock().status, 200);
}

#[test]
fn a_service_that_accepts_anything_is_no_verifier() {
    let mock = Mock::start(|_| Reply::Json(200, json!({"user": {"id": 7}})));
    let output = asking(&mock).run();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("accepts a token that was made up"), "{told}");
}

#[test]
fn letting_in_all_of_the_services_clients_is_said_aloud() {
    let mock = Mock::start(whoami);
    let gateway = Launch::demo()
        .options(&["--auth", "http", "--http-url", &mock.url("/whoami")])
        .options(&["--allow-any-client"])
        .start();
    let told = gateway.stderr.text();
    assert!(
        told.contains("WARN") && told.contains("any user of"),
        "{told}"
    );
    assert_eq!(bearer(&gateway, GOOD).knock().status, 200);
    assert_eq!(bearer(&gateway, "svc_unknown").knock().status, 401);
    // Neither this nor naming clients is a mistake, and is refused.
    let neither = Launch::demo()
        .options(&["--auth", "http", "--http-url", &mock.url("/whoami")])
        .run();
    assert_eq!(neither.status.code(), Some(2));
}

#[test]
fn a_mistyped_static_token_is_shown_to_nobody() {
    let mock = Mock::start(whoami);
    let gateway = asking(&mock)
        .variable("DEMO_API_TOKEN", "own_token-0123456789")
        .options(&["--auth", "static", "--http-token-prefix", "svc_"])
        .start();
    let before = mock.asked().len();
    for (token, status) in [
        ("own_token-0123456789", 200),
        ("own_token-012345678", 401),
        ("Svc_good-token-0123456789", 401),
    ] {
        assert_eq!(bearer(&gateway, token).knock().status, status, "{token}");
    }
    assert_eq!(mock.asked().len(), before);
    assert_eq!(bearer(&gateway, GOOD).knock().status, 200);
    assert_eq!(shown(&mock, GOOD), 1);
    // JWTs are not the service's either, unless their issuer is named.
    let jwt = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2FzLmV4YW1wbGUifQ.";
    assert_eq!(bearer(&gateway, jwt).knock().status, 401);
    assert_eq!(mock.asked().len(), before + 1);
    // Without a prefix the gateway does not start.
    let output = asking(&mock)
        .variable("DEMO_API_TOKEN", "own_token-0123456789")
        .options(&["--auth", "static"])
        .run();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_stream_ends_when_the_service_takes_its_token_back() {
    let mock = Mock::start(whoami);
    let gateway = asking(&mock).options(&["--verdict-time", "1s"]).start();
    let caller = bearer(&gateway, GOOD);
    let session = caller.initialize();
    let mut stream = caller.listen(&session);
    mock.answer_with(|_| Reply::Json(401, json!({})));
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stream, &mut rest).expect("the stream ends");
    gateway.stdout.wait_for(r#""event":"token-ended""#, 1);
    assert_eq!(caller.knock().status, 401);
}
