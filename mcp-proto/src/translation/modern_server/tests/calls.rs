use super::*;

#[test]
fn a_request_goes_to_the_child_without_what_only_modern_ones_have() {
    let mut script = Script::ready("{}");
    script.client_line(
        "{\"jsonrpc\":\"2.0\",\"method\":\"tools/call\",\"id\":5,\"params\":{\"name\":\"x\",\
         \"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\
         \"io.modelcontextprotocol/clientCapabilities\":{},\
         \"io.modelcontextprotocol/clientInfo\":{\"name\":\"c\",\"version\":\"1\"},\
         \"progressToken\":5,\"traceparent\":\"00-1\",\"com.example/a\":[1]},\r\n\
         \"arguments\":{\"b\":1,\"a\":123456789012345678901234567890.10}}}",
    );
    let line = String::from_utf8(script.last_line.clone()).unwrap();
    assert!(line.contains("\"arguments\":{\"b\":1,\"a\":123456789012345678901234567890.10}"));
    let heard = script.child_hears();
    assert_eq!(
        (&heard["id"], &heard["method"]),
        (&json!(5), &json!("tools/call"))
    );
    assert_eq!(heard["params"]["name"], "x");
    assert_eq!(
        heard["params"]["_meta"],
        json!({"progressToken": 5, "traceparent": "00-1", "com.example/a": [1]})
    );
    script.all_is_quiet();
}

#[test]
fn a_method_without_a_counterpart_is_not_found() {
    let mut script = Script::ready(ALL);
    for method in [
        "ping",
        "initialize",
        "tasks/get",
        "resources/subscribe",
        "a",
    ] {
        script.request(1, method, json!({}));
        assert_eq!(script.client_hears()["error"]["code"], -32601, "{method}");
    }
    script.all_is_quiet();
}

#[test]
fn progress_goes_to_the_call_whose_token_it_has() {
    let mut script = Script::ready("{}");
    script.request_with(1, "tools/call", json!({}), json!({"progressToken": 1}));
    script.request(2, "tools/call", json!({}));
    for token in [json!(1), json!(2), json!(3), json!("1")] {
        script.child(json!({
            "method": "notifications/progress",
            "params": {"progressToken": token, "progress": 0.5},
        }));
    }
    assert_eq!(
        script.client_hears()["params"],
        json!({"progressToken": 1, "progress": 0.5})
    );
    assert_eq!(script.to_client.len(), 0);
}

#[test]
fn calls_of_clients_that_cannot_be_asked_are_many_at_once() {
    let mut script = Script::ready("{}");
    for id in 1..=9 {
        script.request(id, "tools/call", json!({}));
        assert_eq!(script.child_hears()["id"], id);
    }
    assert!(script.server.is_free());
    for id in (1..=9).rev() {
        script.child(json!({"id": id, "result": {"n": id}}));
        assert_eq!(
            script.client_hears(),
            answer(id, completed(json!({"n": id})))
        );
    }
    assert!(script.is_empty());
}

#[test]
fn those_of_clients_that_can_be_asked_come_one_after_the_other() {
    let mut script = Script::ready(ALL);
    script.request(1, "tools/call", json!({}));
    script.request(2, "prompts/get", json!({}));
    script.request(3, "resources/read", json!({"uri": "a:b"}));
    script.request(4, "tools/list", json!({}));
    assert!(!script.server.is_free());
    assert_eq!(script.child_hears()["id"], 1);
    assert_eq!(script.child_hears()["id"], 4, "it asks for nothing");
    for id in 1..=3 {
        script.child(json!({"id": id, "result": {}}));
        assert_eq!(script.client_hears()["id"], id);
        assert_eq!(script.server.is_free(), id == 3);
        if id < 3 {
            assert_eq!(script.child_hears()["id"], id + 1);
        }
    }
    script.child(json!({"id": 4, "result": {}}));
    assert_eq!(script.client_hears()["id"], 4);
    assert!(script.is_empty());
}

#[test]
fn an_answer_that_nobody_waits_for_is_dropped() {
    let mut script = Script::ready("{}");
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    script.child(json!({"id": 1, "result": {}}));
    script.client_hears();
    for id in [
        json!(1),
        json!(2),
        json!("1"),
        json!(-1),
        json!("gateway-1"),
    ] {
        script.child(json!({"id": id, "result": {}}));
    }
    script.child(json!({"id": null, "error": {"code": 1, "message": ""}}));
    script.all_is_quiet();
}
