//! Who may speak: heads and bodies that are refused before any child hears of them.

use std::time::Duration;

use http::Method;
use mcp_proto::envelope::ScanReason;
use mcp_proto::{Policy, Refusal};
use mcp_proto_sim::{Request, Scene, policy};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

fn post() -> Request {
    Request::post(PING)
}

#[test]
fn heads_that_are_refused() {
    const UNKNOWN: &str = "0123456789abcdef0123456789abcdef";
    let long = format!("/mcp?{}", "x".repeat(8 * 1024));
    for (request, refusal) in [
        // Whom the request is addressed to.
        (post().without("host"), Refusal::BadHost),
        (post().field("host", "localhost"), Refusal::BadHost),
        (post().with("host", ""), Refusal::BadHost),
        (post().with("host", "a b"), Refusal::BadHost),
        (post().with("host", "evil.example"), Refusal::HostNotAllowed),
        (
            post().with("host", "127.0.0.1.evil"),
            Refusal::HostNotAllowed,
        ),
        (post().authority("evil.example"), Refusal::BadHost),
        // Which page sent it.
        (
            post().field("origin", "http://evil.example"),
            Refusal::OriginNotAllowed,
        ),
        (post().field("origin", "null"), Refusal::OriginNotAllowed),
        (
            post().field("origin", "http://127.0.0.1.evil:8080"),
            Refusal::OriginNotAllowed,
        ),
        (
            post().field("origin", "http://localhost:8081"),
            Refusal::OriginNotAllowed,
        ),
        // Before anything else: a stranger learns nothing of what is where.
        (
            Request::get().with("host", "evil.example"),
            Refusal::HostNotAllowed,
        ),
        (
            Request::new(Method::GET, "/health").field("origin", "http://evil.example"),
            Refusal::OriginNotAllowed,
        ),
        (
            Request::new(Method::GET, "/x").with("host", "evil.example"),
            Refusal::HostNotAllowed,
        ),
        // Fields that another reader might read otherwise.
        (
            post()
                .field("origin", "http://localhost:8080")
                .field("origin", "http://evil"),
            Refusal::RepeatedField,
        ),
        (
            post().session(UNKNOWN).session(UNKNOWN),
            Refusal::RepeatedField,
        ),
        (
            post().field("content-type", "application/json"),
            Refusal::RepeatedField,
        ),
        (
            Request::get()
                .field("last-event-id", "a")
                .field("last-event-id", "b"),
            Refusal::RepeatedField,
        ),
        (
            post()
                .field("authorization", "a")
                .field("authorization", "b"),
            Refusal::RepeatedField,
        ),
        // What is sent and what is wanted.
        (
            post().with("content-type", "text/plain"),
            Refusal::UnsupportedMediaType,
        ),
        (
            post().without("content-type"),
            Refusal::UnsupportedMediaType,
        ),
        (
            post().field("content-encoding", "gzip"),
            Refusal::UnsupportedContentEncoding,
        ),
        (
            post().with("accept", "application/json"),
            Refusal::NotAcceptable,
        ),
        (
            post().with("accept", "text/event-stream"),
            Refusal::NotAcceptable,
        ),
        (
            post().with("accept", "*/*, text/event-stream;q=0"),
            Refusal::NotAcceptable,
        ),
        (
            Request::get().with("accept", "application/json"),
            Refusal::NotAcceptable,
        ),
        (
            post().field("content-length", "4194305"),
            Refusal::BodyTooLarge,
        ),
        // Revisions.
        (
            post()
                .session(UNKNOWN)
                .field("mcp-protocol-version", "1999-01-01"),
            Refusal::UnsupportedVersion,
        ),
        (
            post().session(UNKNOWN).field("mcp-protocol-version", ""),
            Refusal::UnsupportedVersion,
        ),
        (
            Request::get()
                .session(UNKNOWN)
                .field("mcp-protocol-version", "1"),
            Refusal::UnsupportedVersion,
        ),
        // Sessions: unknown, and ids that never were any.
        (Request::get(), Refusal::SessionRequired),
        (Request::delete(), Refusal::SessionRequired),
        (post().session(UNKNOWN), Refusal::SessionNotFound),
        (Request::get().session(UNKNOWN), Refusal::SessionNotFound),
        (Request::delete().session(UNKNOWN), Refusal::SessionNotFound),
        (post().session(""), Refusal::SessionNotFound),
        (
            post().session(&UNKNOWN.to_uppercase()),
            Refusal::SessionNotFound,
        ),
        // Places and methods.
        (Request::new(Method::GET, "/nothing"), Refusal::NotFound),
        (
            Request::new(Method::GET, "/.well-known/oauth-authorization-server"),
            Refusal::NotPublished,
        ),
        (Request::new(Method::PUT, "/mcp"), Refusal::MethodNotAllowed),
        (
            Request::new(Method::TRACE, "/mcp"),
            Refusal::MethodNotAllowed,
        ),
        (
            Request::new(Method::POST, "/health"),
            Refusal::MethodNotAllowed,
        ),
        (Request::new(Method::DELETE, "/"), Refusal::MethodNotAllowed),
        (Request::new(Method::GET, &long), Refusal::TargetTooLong),
    ] {
        let mut scene = Scene::new();
        let asked = scene.send(request.clone());
        scene.assert_refused(asked, refusal);
        let response = scene.response(asked);
        assert_eq!(
            response.field("content-type").as_deref(),
            Some("application/json")
        );
        assert_eq!(response.field("cache-control").as_deref(), Some("no-store"));
        let closes = response.field("connection").as_deref() == Some("close");
        assert_eq!(closes, refusal.closes_connection());
        assert_eq!(
            response.field("allow").is_some(),
            refusal == Refusal::MethodNotAllowed
        );
        assert_eq!(scene.world.opened(), [], "{request:?}");
        assert!(scene.world.gateway().is_idle());
    }
}

#[test]
fn paths_other_than_the_endpoint_answer_as_oauth_does() {
    let mut scene = Scene::new();
    let asked = scene.send(Request::new(
        Method::GET,
        "/.well-known/openid-configuration",
    ));
    let body = scene.response(asked).json();
    assert_eq!(body["error"], "not_published");
    assert!(body.get("jsonrpc").is_none());
}

#[test]
fn heads_that_pass() {
    for request in [
        post(),
        post().with("host", "[::1]:8080"),
        post().with("host", "10.1.2.3"),
        post().field("origin", "http://127.0.0.1:8080"),
        post().with("content-type", "Application/JSON; charset=utf-8"),
        post().with("accept", "*/*"),
        post().without("accept"),
        post().field("content-encoding", "identity"),
        post().field("mcp-protocol-version", "2024-11-05"),
        post().authority("LOCALHOST:8080"),
        post().field("mcp_session_id", "stands for nothing"),
        post().field("last-event-id", "of no meaning here"),
    ] {
        let mut scene = Scene::new();
        let asked = scene.send(request.clone());
        // A ping without a session: the body was read.
        scene.assert_refused(asked, Refusal::SessionRequired);
        assert_eq!(scene.response(asked).json()["id"], 1, "{request:?}");
    }
}

#[test]
fn bodies_that_are_refused_with_their_id_and_never_reach_a_child() {
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"a":{}{}}}"#,
        "[".repeat(64),
        "]".repeat(64)
    );
    let bad = Refusal::BadMessage;
    for (body, refusal, id) in [
        ("", bad(ScanReason::NotJson), ""),
        ("nonsense", bad(ScanReason::NotJson), ""),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"} x"#,
            bad(ScanReason::NotJson),
            "",
        ),
        (&deep, bad(ScanReason::TooDeep), "1"),
        (
            r#"{"jsonrpc":"2.0","id":"a","id":"b","method":"ping"}"#,
            bad(ScanReason::DuplicateKey),
            "",
        ),
        (
            r#"{"jsonrpc":"2.0","id":5,"method":"ping","\u006dethod":"tools/call"}"#,
            bad(ScanReason::DuplicateKey),
            "5",
        ),
        (
            r#"{"jsonrpc":"1.0","id":-3,"method":"ping"}"#,
            bad(ScanReason::NotJsonRpc),
            "-3",
        ),
        (
            r#"{"jsonrpc":"2.0","id":18446744073709551616,"method":"ping","result":{}}"#,
            bad(ScanReason::Ambiguous),
            "18446744073709551616",
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            bad(ScanReason::InvalidId),
            "",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            bad(ScanReason::InvalidId),
            "",
        ),
        (
            r#"{"jsonrpc":"2.0","id":"","method":"ping","params":[1]}"#,
            bad(ScanReason::InvalidParams),
            r#""""#,
        ),
        ("[]", bad(ScanReason::EmptyBatch), ""),
        (
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            Refusal::BatchNotAllowed,
            "",
        ),
        // Well-formed, and nowhere to go.
        (
            r#"{"jsonrpc":"2.0","id":"\u0061","method":"ping"}"#,
            Refusal::SessionRequired,
            r#""\u0061""#,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            Refusal::SessionRequired,
            "",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            Refusal::SessionRequired,
            "",
        ),
    ] {
        let mut scene = Scene::new();
        let asked = scene.send(Request::post(body.to_owned()));
        scene.assert_refused(asked, refusal);
        let text = scene.response(asked).text();
        let id = if id.is_empty() { "null" } else { id };
        assert!(text.contains(&format!(r#""id":{id},"#)), "{body}: {text}");
        assert_eq!(scene.world.opened(), []);

        // The same in an open session, as far as the body decides: the child sees nothing of it.
        let session = scene.open("2025-11-25");
        if refusal != Refusal::SessionRequired {
            let asked = scene.post(&session, body);
            scene.assert_refused(asked, refusal);
            assert_eq!(scene.hears(&session), [""; 0]);
        }
        scene.assert_nothing_is_left();
    }
}

#[test]
fn a_head_that_does_not_say_what_a_modern_body_says_is_refused() {
    let body = r#"{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let mut scene = Scene::new();
    let version = ("mcp-protocol-version", "2026-07-28");
    for fields in [
        &[][..],
        &[version],
        &[version, ("mcp-method", "tools/list")],
        &[("mcp-method", "server/discover")],
    ] {
        let request = fields
            .iter()
            .fold(Request::post(body), |request, (name, value)| {
                request.field(name, value)
            });
        let asked = scene.send(request);
        scene.assert_refused(asked, Refusal::HeaderMismatch);
        assert_eq!(scene.response(asked).json()["id"], "d");
    }
    assert_eq!(scene.world.opened(), []);
}

#[test]
fn a_body_over_the_limit_is_refused_as_soon_as_it_is_over() {
    let mut scene = Scene::with(|limits| limits.body_bytes = 100);
    let fits = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#,
        "m".repeat(64)
    );
    assert_eq!(fits.len(), 100);
    let asked = scene.send(Request::post(fits.clone()));
    scene.assert_refused(asked, Refusal::SessionRequired);
    let asked = scene.send(Request::post(fits + " "));
    scene.assert_refused(asked, Refusal::BodyTooLarge);
    assert_eq!(
        scene.response(asked).field("connection").as_deref(),
        Some("close")
    );
}

#[test]
fn a_body_that_does_not_come_is_refused_and_its_session_lives_on() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let slow = scene.send(Request::post(PING).session(&session.id).stalling());
    scene.wait(Duration::from_millis(29_999));
    assert!(scene.is_waiting(slow));
    scene.wait(Duration::from_millis(1));
    scene.assert_refused(slow, Refusal::BodyTimeout);
    assert_eq!(
        scene.response(slow).field("connection").as_deref(),
        Some("close")
    );
    // Too late.
    scene.world.upload(slow);
    scene.settle();
    assert_eq!(scene.hears(&session), [""; 0]);
    let (asked, minted) = scene.begin_call(&session, "1");
    scene.answers(&session, &minted, "x");
    scene.assert_answered(asked, 1.into(), "x");
    scene.assert_nothing_is_left();
}

#[test]
fn a_driver_without_memory_refuses_a_body() {
    let mut scene = Scene::new();
    let session = scene.open("2025-06-18");
    let asked = scene.send(Request::post(PING).session(&session.id).stalling());
    scene.world.no_room(asked);
    scene.settle();
    scene.assert_refused(asked, Refusal::BodyBudget);
    scene.assert_nothing_is_left();
}

fn with_origins() -> Policy {
    let mut policy = policy();
    policy.allowed_origins = vec!["https://inspector.example".parse().unwrap()];
    policy
}

#[test]
fn a_listed_origin_is_answered_by_cors_and_no_other_is() {
    let mut scene = Scene::of(with_origins());
    let preflight = Request::new(Method::OPTIONS, "/mcp")
        .field("origin", "https://inspector.example")
        .field("access-control-request-method", "POST");
    let asked = scene.send(preflight);
    let response = scene.response(asked);
    assert_eq!(response.status(), 204);
    let field = |name| response.field(name).unwrap_or_default();
    assert_eq!(
        field("access-control-allow-origin"),
        "https://inspector.example"
    );
    assert_eq!(
        field("access-control-allow-methods"),
        "GET, POST, DELETE, OPTIONS"
    );
    for name in [
        "Mcp-Session-Id",
        "MCP-Protocol-Version",
        "Last-Event-ID",
        "Authorization",
    ] {
        assert!(field("access-control-allow-headers").contains(name));
    }
    assert_eq!(field("vary"), "Origin");

    // Refusals too, so that the page can read why.
    let asked = scene.send(post().field("origin", "https://inspector.example"));
    scene.assert_refused(asked, Refusal::SessionRequired);
    let response = scene.response(asked);
    let field = |name| response.field(name).unwrap_or_default();
    assert_eq!(
        field("access-control-allow-origin"),
        "https://inspector.example"
    );
    assert!(field("access-control-expose-headers").contains("Mcp-Session-Id"));

    // Streams and answers.
    let session = scene.open("2025-11-25");
    let from_page = |request: Request| request.field("origin", "https://inspector.example");
    let stream = scene.send(from_page(Request::get().session(&session.id)));
    assert!(
        scene
            .response(stream)
            .field("access-control-allow-origin")
            .is_some()
    );

    // The gateway's own origin needs none; a stranger gets none.
    let own = scene.send(post().field("origin", "http://localhost:8080"));
    assert_eq!(
        scene.response(own).field("access-control-allow-origin"),
        None
    );
    let evil = scene.send(post().field("origin", "https://evil.example"));
    scene.assert_refused(evil, Refusal::OriginNotAllowed);
    assert_eq!(
        scene.response(evil).field("access-control-allow-origin"),
        None
    );
}

#[test]
fn options_without_an_origin_tell_the_methods() {
    for (path, allow) in [
        ("/mcp", "GET, POST, DELETE, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
    ] {
        let mut scene = Scene::new();
        let asked = scene.send(Request::new(Method::OPTIONS, path));
        assert_eq!(scene.response(asked).status(), 204);
        assert_eq!(scene.response(asked).field("allow").as_deref(), Some(allow));
        assert_eq!(scene.audit(), []);
    }
}

#[test]
fn health_answers_under_any_host_name_and_starts_nothing() {
    let mut scene = Scene::new();
    scene.wait_secs(5);
    let asked = scene.send(Request::new(Method::GET, "/health").with("host", "pod-7.cluster"));
    let response = scene.response(asked);
    assert_eq!(response.status(), 200);
    let body = response.json();
    assert_eq!(body["status"], "ok");
    assert_eq!(body["uptime_seconds"], 5);
    assert_eq!(
        (&body["sessions"], &body["children"]),
        (&0.into(), &0.into())
    );
    assert_eq!(scene.world.opened(), []);

    scene.open("2025-06-18");
    let asked = scene.send(Request::new(Method::GET, "/health"));
    assert_eq!(scene.response(asked).json()["sessions"], 1);
    assert_eq!(scene.response(asked).json()["children"], 1);
}

#[test]
fn the_page_at_the_root_is_for_people() {
    let mut policy = policy();
    policy.page = "<h1>Hello</h1>".to_owned();
    let mut scene = Scene::of(policy);
    let asked = scene.send(Request::new(Method::GET, "/?x"));
    let response = scene.response(asked);
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.field("content-type").as_deref(),
        Some("text/html; charset=utf-8")
    );
    assert!(response.field("content-security-policy").is_some());
    assert_eq!(response.text(), "<h1>Hello</h1>");
}
