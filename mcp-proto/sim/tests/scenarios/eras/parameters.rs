//! Parameters of tools that headers have to mirror.

use std::time::Duration;

use mcp_proto::Refusal;

use super::*;

fn page(id: &str, tool: &str, header: &str, next: &str) -> String {
    result(
        id,
        &format!(
            r#"{{"resultType":"complete","tools":[{{"name":"{tool}","inputSchema":{{"type":"object","properties":{{"region":{{"type":"string","x-mcp-header":"{header}"}}}}}}}}]{next},"ttlMs":0,"cacheScope":"public"}}"#
        ),
    )
}

fn regional(tool: &str) -> Ask {
    Ask::new(
        "1",
        "tools/call",
        &format!(r#""name":"{tool}","arguments":{{"region":"eu"}}"#),
    )
}

/// The ids of the lines, whose methods are these.
#[track_caller]
fn ids(scene: &mut Scene, host: UpstreamId, methods: &[&str]) -> Vec<String> {
    let lines = scene.hears(host);
    let heard: Vec<_> = lines.iter().map(|line| method(line)).collect();
    assert_eq!(heard, methods);
    let ids = lines.iter().map(|line| json(line)["id"].to_string());
    ids.collect()
}

#[test]
fn the_first_call_waits_until_every_page_is_read() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let right = scene.send(regional("b").request().field("mcp-param-area", "eu"));
    let wrong = scene.send(regional("b").request().field("mcp-param-area", "us"));
    let without = scene.ask(&regional("a"));
    let listed = ids(&mut scene, host, &["subscriptions/listen", "tools/list"]);
    scene.says(
        host,
        &page(&listed[1], "a", "Region", r#","nextCursor":"p\"2""#),
    );
    let line = scene.hears_one(host);
    assert_eq!(json(&line)["params"]["cursor"], "p\"2");
    assert!(scene.is_waiting(right) && scene.is_waiting(wrong) && scene.is_waiting(without));
    let second = json(&line)["id"].to_string();
    scene.says(host, &page(&second, "b", "Area", ""));
    assert_error(&scene, wrong, 400, -32020, &1.into());
    assert_error(&scene, without, 400, -32020, &1.into());
    let called = ids(&mut scene, host, &["tools/call"]);
    scene.answers(host, &called[0], "x");
    scene.assert_answered(right, 1.into(), "x");
    // Now it is known.
    let wrong = scene.ask(&regional("b"));
    assert_error(&scene, wrong, 400, -32020, &1.into());
    assert_eq!(scene.hears(host), [""; 0]);
    scene.assert_nothing_is_left();
}

#[test]
fn when_the_tools_change_they_are_read_again() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    scene.ask(&regional("a"));
    let listed = ids(&mut scene, host, &["subscriptions/listen", "tools/list"]);
    let changed = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{}}}}}}}"#,
        listed[0]
    );
    // While it is being read, and after.
    scene.says(host, &changed);
    scene.says(host, &page(&listed[1], "other", "Region", ""));
    let again = ids(&mut scene, host, &["tools/list"]);
    scene.says(host, &page(&again[0], "other", "Region", ""));
    ids(&mut scene, host, &["tools/call"]);
    scene.says(host, &changed);
    let again = ids(&mut scene, host, &["tools/list"]);
    let waits = scene.ask(&regional("a"));
    assert_eq!(scene.hears(host), [""; 0]);
    scene.says(host, &page(&again[0], "a", "Region", ""));
    assert_error(&scene, waits, 400, -32020, &1.into());
    scene.assert_nothing_is_left();
}

#[test]
fn a_child_that_does_not_say_its_tools_has_none_that_matter() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let asked = scene.ask(&regional("a"));
    let listed = ids(&mut scene, host, &["subscriptions/listen", "tools/list"]);
    scene.says(host, &error(&listed[1], -32601));
    let called = ids(&mut scene, host, &["tools/call"]);
    scene.answers(host, &called[0], "x");
    scene.assert_answered(asked, 1.into(), "x");
}

#[test]
fn a_child_that_is_silent_about_its_tools_keeps_nobody_waiting_for_ever() {
    let (mut scene, host) = modern_only(limited(|limits| {
        limits.request_time = Duration::from_secs(10);
    }));
    let asked = scene.ask(&regional("a"));
    let listed = ids(&mut scene, host, &["subscriptions/listen", "tools/list"]);
    scene.wait_secs(10);
    scene.assert_refused_modern(asked, Refusal::RequestTimeout);
    let cancelled = json(&scene.hears_one(host));
    assert_eq!(cancelled["params"]["requestId"], json(&listed[1]));
    // The next call has it asked again.
    let again = scene.ask(&regional("a"));
    let listed = ids(&mut scene, host, &["tools/list"]);
    scene.says(host, &page(&listed[0], "b", "Region", ""));
    let called = ids(&mut scene, host, &["tools/call"]);
    scene.answers(host, &called[0], "x");
    scene.assert_answered(again, 1.into(), "x");
    scene.assert_nothing_is_left();
}

#[test]
fn a_client_that_leaves_while_its_call_waits_has_it_forgotten() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let asked = scene.ask(&regional("a"));
    let listed = ids(&mut scene, host, &["subscriptions/listen", "tools/list"]);
    scene.leave(asked);
    scene.says(host, &page(&listed[1], "b", "Region", ""));
    assert_eq!(scene.hears(host), [""; 0]);
    scene.assert_nothing_is_left();
}

#[test]
fn a_child_that_ends_before_it_has_said_its_tools_fails_the_calls_that_wait() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let asked = scene.ask(&regional("a"));
    scene.exits(host);
    let code = Refusal::ChildExited.code_for(mcp_proto::Era::Modern);
    assert_error(&scene, asked, 200, code, &1.into());
    scene.assert_nothing_is_left();
}

#[test]
fn calls_do_not_wait_for_a_server_whose_tools_change_without_end() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let asked = scene.send(regional("a").request().field("mcp-param-region", "eu"));
    let listed = ids(&mut scene, host, &["subscriptions/listen", "tools/list"]);
    let changed = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{}}}}}}}"#,
        listed[0]
    );
    scene.says(host, &changed);
    scene.says(host, &page(&listed[1], "a", "Region", ""));
    let again = ids(&mut scene, host, &["tools/list"]);
    scene.says(host, &changed);
    scene.says(host, &page(&again[0], "a", "Region", ""));
    let called = ids(&mut scene, host, &["tools/call"]);
    scene.answers(host, &called[0], "x");
    scene.assert_answered(asked, 1.into(), "x");
    // What was read is not what there is now.
    scene.ask(&regional("a"));
    ids(&mut scene, host, &["tools/list"]);
    scene.assert_nothing_is_left();
}

#[test]
fn a_server_that_does_not_list_its_tools_is_asked_again_by_the_next_call() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let asked = scene.ask(&regional("a"));
    let listed = ids(&mut scene, host, &["subscriptions/listen", "tools/list"]);
    scene.says(host, &error(&listed[1], -32603));
    let called = ids(&mut scene, host, &["tools/call"]);
    scene.answers(host, &called[0], "x");
    scene.assert_answered(asked, 1.into(), "x");
    let asked = scene.ask(&regional("a"));
    let listed = ids(&mut scene, host, &["tools/list"]);
    scene.says(host, &page(&listed[0], "a", "Region", ""));
    assert_error(&scene, asked, 400, -32020, &1.into());
    scene.assert_nothing_is_left();
}
