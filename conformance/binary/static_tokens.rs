//! Tokens that the operator gave out: in variables and in a file that changes while it is read.

use std::fs;

use super::http::{Caller, INITIALIZED, LIST, receive};
use super::run::{Gateway, Launch, shell_server};

const TOKEN: &str = "current-token-0123456789";
const PREVIOUS: &str = "previous-token-0123456789";

fn with_token() -> Gateway {
    Launch::demo().variable("DEMO_API_TOKEN", TOKEN).start()
}

#[test]
fn a_token_in_the_environment_turns_authentication_on() {
    let gateway = with_token();
    let nobody = Caller::new(gateway.address).knock();
    assert_eq!(nobody.status, 401);
    assert_eq!(
        nobody.field("www-authenticate"),
        Some(r#"Bearer realm="demo""#)
    );
    let wrong = Caller::bearer(gateway.address, "wrong-token-0123456789").knock();
    assert_eq!(wrong.status, 401);
    assert_eq!(
        wrong.field("www-authenticate"),
        Some(r#"Bearer realm="demo", error="invalid_token""#)
    );
    for refused in [&nobody, &wrong] {
        assert!(
            refused.body.contains(r#""error":{"code":"#),
            "{}",
            refused.body
        );
    }
    // Some clients leave out their configured headers once discovery answers.
    let document = Caller::new(gateway.address).get("/.well-known/oauth-protected-resource/mcp");
    assert_eq!(document.status, 404);
    assert_eq!(document.field("content-type"), Some("application/json"));
}

#[test]
fn a_good_token_is_good_for_a_whole_session_and_no_request_goes_without() {
    let gateway = with_token();
    let caller = Caller::bearer(gateway.address, TOKEN);
    let id = caller.initialize();
    let session = Some(id.as_str());
    assert_eq!(caller.request("POST", session, INITIALIZED).status, 202);
    let listed = caller.request("POST", session, LIST);
    assert!(listed.body.contains(r#""tools":["#), "{}", listed.body);
    let stream = caller.listen(&id);

    let nobody = Caller::new(gateway.address);
    let wrong = Caller::bearer(gateway.address, "wrong-token-0123456789");
    for stranger in [nobody, wrong] {
        for (method, body) in [("POST", LIST), ("GET", ""), ("DELETE", "")] {
            assert_eq!(stranger.request(method, session, body).status, 401);
        }
    }
    assert_eq!(caller.request("DELETE", session, "").status, 204);
    assert_eq!(receive_rest(stream), "");
    assert_eq!(caller.request("POST", session, LIST).status, 404);
}

/// What comes of a stream whose head was read, but for how it is framed and what says nothing.
fn receive_rest(mut stream: std::net::TcpStream) -> String {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).expect("the stream ends");
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect()
}

#[test]
fn a_token_that_is_not_in_the_field_is_not_read() {
    let gateway = with_token();
    let body = super::http::INITIALIZE;
    let targets = ["access_token", "token", "api_key", "authorization"];
    for name in targets {
        let target = format!("/mcp?{name}={TOKEN}");
        let answer = receive(Caller::new(gateway.address).send_to("POST", &target, body));
        assert_eq!(answer.status, 401, "{name}");
    }
    for (name, value) in [
        ("X-API-Key", TOKEN.to_owned()),
        ("Cookie", format!("token={TOKEN}")),
        ("Proxy-Authorization", format!("Bearer {TOKEN}")),
        ("Authorization", TOKEN.to_owned()),
        ("Authorization", format!("Basic {TOKEN}")),
    ] {
        let answer = Caller::new(gateway.address).with(name, &value).knock();
        assert_eq!(answer.status, 401, "{name}");
    }
    let twice = Caller::bearer(gateway.address, TOKEN)
        .with("Authorization", &format!("Bearer {TOKEN}"))
        .knock();
    assert_eq!(twice.status, 400);
}

#[test]
fn while_a_token_is_rotated_both_are_the_same_caller() {
    let gateway = Launch::demo()
        .variable("DEMO_API_TOKEN", TOKEN)
        .variable("DEMO_API_TOKEN_PREVIOUS", PREVIOUS)
        .start();
    let [current, previous] = [TOKEN, PREVIOUS].map(|it| Caller::bearer(gateway.address, it));
    for (opener, other) in [(&current, &previous), (&previous, &current)] {
        let session = opener.initialize();
        let session = Some(session.as_str());
        assert_eq!(other.request("POST", session, INITIALIZED).status, 202);
        assert_eq!(other.request("POST", session, LIST).status, 200);
        assert_eq!(other.request("DELETE", session, "").status, 204);
    }
}

#[test]
fn a_session_is_its_openers_alone() {
    let gateway = Launch::demo()
        .variable("ALICE_TOKEN", TOKEN)
        .variable("BOB_TOKEN", PREVIOUS)
        .options(&["--auth", "static"])
        .options(&["--static-token-env", "alice=ALICE_TOKEN"])
        .options(&["--static-token-env", "bob=BOB_TOKEN"])
        .start();
    let [alice, bob] = [TOKEN, PREVIOUS].map(|it| Caller::bearer(gateway.address, it));
    let session = alice.initialize();
    let unknown = "0123456789abcdef0123456789abcdef";
    // What would tell them apart, if it were made.
    let bob = bob.with("X-Request-Id", "r");
    for (method, body) in [("POST", LIST), ("GET", ""), ("DELETE", "")] {
        let foreign = bob.request(method, Some(&session), body);
        let none = bob.request(method, Some(unknown), body);
        assert_eq!((foreign.status, none.status), (404, 404));
        assert_eq!(foreign.body, none.body, "{method}");
    }
    assert_eq!(alice.request("DELETE", Some(&session), "").status, 204);
}

#[test]
fn a_file_that_is_written_anew_says_who_comes_in() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("tokens");
    fs::write(&path, format!("ada: {PREVIOUS}\n")).expect("it can be written");
    let gateway = Launch::demo()
        .options(&["--auth", "static", "--verdict-time", "1s"])
        .options(&["--static-token-file", path.to_str().expect("it is text")])
        // Each look at whether a token is good yet is a guess.
        .options(&["--credential-rate", "6000/m"])
        .start();
    let [new, old] = [TOKEN, PREVIOUS].map(|it| Caller::bearer(gateway.address, it));
    let session = old.initialize();
    let stream = old.listen(&session);
    assert_eq!(new.knock().status, 401);

    let next = directory.path().join("next");
    fs::write(&next, format!("ada: {TOKEN}\n")).expect("it can be written");
    fs::rename(&next, &path).expect("it can be renamed");
    new.eventually(200);
    assert_eq!(old.knock().status, 401);
    receive_rest(stream);
    gateway.stdout.wait_for(r#""event":"token-ended""#, 1);
    // The same principal: the session goes on.
    assert_eq!(new.request("POST", Some(&session), LIST).status, 200);

    // In place, and of no use: what was there stays.
    fs::write(&path, "ada: not a token\n").expect("it can be written");
    gateway
        .stderr
        .wait_for("static tokens stay as they were", 1);
    assert_eq!(new.knock().status, 200);
    fs::write(&path, format!("ada: {PREVIOUS}\n")).expect("it can be written");
    old.eventually(200);
    assert_eq!(new.knock().status, 401);
}

#[test]
fn two_variables_that_disagree_are_a_mistake() {
    let output = Launch::new(&["true"])
        .variable("DEMO_API_TOKEN", TOKEN)
        .variable("DEMO_MCP_API_TOKEN", PREVIOUS)
        .options(&["--service-name", "demo-mcp"])
        .run();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("DEMO_API_TOKEN") && told.contains("DEMO_MCP_API_TOKEN"));
    assert!(!told.contains(TOKEN) && !told.contains(PREVIOUS));
}

/// A server that tells its own environment and arguments.
fn telltale() -> String {
    let answer = r#"read -r line
told=$({ cat /proc/$$/environ /proc/$$/cmdline; } | tr '\0\n"\\' '    ')
echo "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"told\":\"$told\"}}"
read -r line"#;
    shell_server("", answer)
}

#[test]
fn a_child_is_given_no_token_but_the_one_that_is_named() {
    let server = telltale();
    for named in [false, true] {
        let mut launch = Launch::new(&["sh", "-c", &server])
            .variable("SH_API_TOKEN", TOKEN)
            .variable("SH_API_TOKEN_PREVIOUS", PREVIOUS)
            .options(&["--startup-probe", "off", "--discover", "off"]);
        if named {
            launch = launch.options(&["--env", "SH_API_TOKEN"]);
        }
        let gateway = launch.start();
        let caller = Caller::bearer(gateway.address, PREVIOUS);
        let session = caller.initialize();
        let told = caller.request("POST", Some(&session), LIST);
        assert!(told.body.contains("PATH="), "{}", told.body);
        assert_eq!(told.body.contains(TOKEN), named, "{}", told.body);
        assert!(!told.body.contains(PREVIOUS), "{}", told.body);
    }
}
