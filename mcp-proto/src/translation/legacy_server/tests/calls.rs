//! Calls that the child answers at once.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Output, Server, Source, Text, call_tool, discovered, error_code, parameters, read_line, single,
};
use crate::framing::COPY_LIMIT;
use crate::limits::Limits;

fn server() -> Server {
    Server::open(&discovered(), &json!({}))
}

#[test]
fn a_call_keeps_its_parameters_and_its_answer() {
    let mut server = server();
    server.says(json!({"id": 7, "method": "tools/call", "params": {
        "name": "t", "arguments": {"big": 1}, "_meta": {"traceparent": "00-1"},
    }}));
    let (reference, request) = server.child_hears();
    assert_eq!(request["method"], "tools/call");
    assert_eq!(
        parameters(&request),
        json!({"name": "t", "arguments": {"big": 1}})
    );
    assert_eq!(request["params"]["_meta"]["traceparent"], "00-1");
    assert!(request["params"]["_meta"].get("progressToken").is_none());

    server.child_answers(
        reference,
        json!({
            "resultType": "complete", "content": [], "ttlMs": 5, "cacheScope": "public",
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "modern"}, "mine": 1},
        }),
    );
    assert_eq!(
        server.hears(),
        json!({"id": 7, "result": {"content": [], "_meta": {"mine": 1}}})
    );
    server.is_silent();
    assert!(server.server.calls.is_empty());
}

#[test]
fn a_request_without_parameters_gets_them() {
    for params in [None, Some(json!({})), Some(json!({"_meta": {}}))] {
        let mut server = server();
        let mut list = json!({"id": 2, "method": "tools/list"});
        if let Some(params) = params {
            list["params"] = params;
        }
        server.says(list);
        let (_, request) = server.child_hears();
        assert_eq!(parameters(&request), json!({}));
    }
}

#[test]
fn what_the_client_says_of_itself_in_a_call_does_not_count() {
    let mut server = server();
    server.says(
        json!({"id": 2, "method": "tools/list", "params": {"_meta": {
            "io.modelcontextprotocol/protocolVersion": "2025-11-25",
            "io.modelcontextprotocol/clientCapabilities": {"sampling": {}},
            "io.modelcontextprotocol/clientInfo": {"name": "other"},
            "io.modelcontextprotocol/logLevel": "debug",
            "progressToken": {"no": "token"},
        }}}),
    );
    let (_, request) = server.child_hears();
    assert_eq!(
        request["params"]["_meta"],
        json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "old", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/logLevel": "info",
        })
    );
}

#[test]
fn progress_reaches_the_sessions_token() {
    let mut server = server();
    server.says(call_tool(7, Some(70)));
    server.says(call_tool(8, None));
    let (asked, request) = server.child_hears();
    assert_eq!(request["params"]["_meta"]["progressToken"], asked);
    let (silent, _) = server.child_hears();
    for reference in [asked, silent] {
        server.child_says(
            reference,
            json!({"method": "notifications/progress", "params": {
                "progressToken": reference, "progress": 1, "total": 2,
            }}),
        );
    }
    assert_eq!(
        server.hears(),
        json!({"method": "notifications/progress", "params": {
            "progressToken": 70, "progress": 1, "total": 2,
        }})
    );
    server.is_silent();
}

#[test]
fn log_messages_of_a_call_pass_and_nothing_else_does() {
    let mut server = server();
    server.says(call_tool(7, None));
    let (reference, _) = server.child_hears();
    let log = json!({"method": "notifications/message", "params": {"level": "info", "data": 1}});
    server.child_says(reference, log.clone());
    assert_eq!(server.hears(), log);
    server.child_says(
        reference,
        json!({"method": "notifications/tools/list_changed"}),
    );
    server.child_says(reference + 100, log.clone());
    server.is_silent();
    server.child_answers(reference, json!({}));
    server.hears();
    server.child_says(reference, log);
    server.is_silent();
}

/// What the session hears of a call that the child fails with this error.
fn failed(method: &str, error: Value) -> Value {
    let mut server = server();
    server.says(json!({"id": 7, "method": method, "params": {}}));
    let (reference, _) = server.child_hears();
    server.child_says(reference, json!({"id": null, "error": error}));
    let answer = server.hears();
    assert_eq!(answer["id"], 7);
    assert!(server.server.calls.is_empty());
    answer["error"].clone()
}

#[test]
fn errors_pass_but_for_codes_that_legacy_clients_do_not_know() {
    let unknown = json!({"code": -32602, "message": "Unknown tool", "data": {"uri": "a:b"}});
    assert_eq!(failed("tools/call", unknown.clone()), unknown);
    let other = json!({"code": -1, "message": "x", "data": [1]});
    assert_eq!(failed("resources/read", other.clone()), other);
    let invalid = json!({"code": -32602, "message": "x", "data": {"url": "a:b"}});
    assert_eq!(failed("resources/read", invalid.clone()), invalid);

    assert_eq!(
        failed("resources/read", unknown),
        json!({"code": -32002, "message": "Unknown tool", "data": {"uri": "a:b"}})
    );
    let data = json!({"requiredCapabilities": {"sampling": {}}});
    assert_eq!(
        failed(
            "tools/call",
            json!({"code": -32021, "message": "needs it", "data": data})
        ),
        json!({"code": -32602, "message": "needs it", "data": data})
    );
    for code in [-32020, -32022] {
        let error = failed(
            "tools/call",
            json!({"code": code, "message": "x", "data": {}}),
        );
        assert_eq!((&error["code"], error.get("data")), (&json!(-32603), None));
    }
}

#[test]
fn a_result_of_an_unknown_type_is_an_error() {
    for kind in [json!("task"), json!(1), json!(null)] {
        let mut server = server();
        server.says(call_tool(7, None));
        let (reference, _) = server.child_hears();
        server.child_answers(reference, json!({"resultType": kind, "taskId": "1"}));
        assert_eq!(error_code(&server.hears()), -32603);
    }
}

#[test]
fn structured_content_is_an_object_or_left_out() {
    for (content, stays) in [
        (json!({"a": 1}), true),
        (json!([1]), false),
        (json!(null), false),
    ] {
        let mut server = server();
        server.says(call_tool(7, None));
        let (reference, _) = server.child_hears();
        server.child_answers(
            reference,
            json!({"content": [], "structuredContent": content}),
        );
        let result = server.hears()["result"].clone();
        assert_eq!(result.get("structuredContent"), stays.then_some(&content));
        assert_eq!(result["content"], json!([]));
    }
}

#[test]
fn output_schemas_are_of_objects_or_left_out() {
    let mut server = server();
    server.says(json!({"id": 7, "method": "tools/list"}));
    let (reference, _) = server.child_hears();
    let object = json!({"name": "a", "outputSchema": {"type": "object"}});
    server.child_answers(
        reference,
        json!({"tools": [
            object,
            {"name": "b", "outputSchema": {"type": "array"}, "title": "B"},
            {"name": "c", "outputSchema": {"$ref": "#"}},
            {"outputSchema": {"type": ["object"]}},
        ], "nextCursor": "2", "ttlMs": 0}),
    );
    assert_eq!(
        server.hears()["result"],
        json!({"tools": [object, {"name": "b", "title": "B"}, {"name": "c"}, {}], "nextCursor": "2"})
    );
}

#[test]
fn line_breaks_between_tokens_become_spaces() {
    let mut server = server();
    server.says(call_tool(7, None));
    let (reference, _) = server.child_hears();
    server.child_writes(
        reference,
        "{\"result\":{\r\"a\":\r1,\r\"ttlMs\"\r:\r0\r},\r\"jsonrpc\":\"2.0\",\"id\":0}",
    );
    assert_eq!(server.hears(), json!({"id": 7, "result": {"a": 1}}));
}

#[test]
fn a_large_payload_is_not_copied() {
    let mut server = server();
    server.says(call_tool(7, None));
    let (reference, _) = server.child_hears();
    let payload = "x".repeat(2 * COPY_LIMIT);
    let document = Bytes::from(format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"resultType\":\"complete\",\"a\":\"{payload}\",\
         \"_meta\":{{\"io.modelcontextprotocol/serverInfo\":{{}}}}}}}}"
    ));
    let message = single(&document, Source::Child);
    let text = Text::Long(&document);
    server
        .server
        .handle_answer(reference, text, &document, &message);
    let Some(Output::Line(line)) = server.server.poll_output() else {
        panic!("no line");
    };
    let within = document.as_ptr_range();
    let is_shared = |slice: &Bytes| within.contains(&slice.as_ptr()) && slice.len() > COPY_LIMIT;
    assert!(line.slices().iter().any(is_shared));
    assert_eq!(
        read_line(&line),
        json!({"id": 7, "result": {"a": payload, "_meta": {}}})
    );
}

#[test]
fn a_call_that_is_cancelled_is_cancelled_at_the_child() {
    let mut server = server();
    server.says(call_tool(7, None));
    let (reference, _) = server.child_hears();
    server.says(json!({"method": "notifications/cancelled", "params": {"requestId": 7}}));
    assert_eq!(server.child_loses(), reference);
    assert!(server.server.calls.is_empty());
    server.child_answers(reference, json!({}));
    server.says(json!({"method": "notifications/cancelled", "params": {"requestId": 7}}));
    server.is_silent();
}

#[test]
fn calls_that_cannot_be_made_are_answered() {
    let mut server = server();
    server.says(call_tool(7, None));
    server.child_hears();
    server.says(call_tool(7, None));
    assert_eq!(error_code(&server.hears()), -32600);
    for stray in ["requestState", "inputResponses"] {
        let mut call = call_tool(8, None);
        call["params"][stray] = json!("x");
        server.says(call);
        assert_eq!(error_code(&server.hears()), -32602);
    }
    server.is_silent();
}

#[test]
fn calls_are_bounded() {
    let limits = Limits {
        calls_per_session: 2,
        stdin_bytes: 250,
        ..Limits::default()
    };
    let list = |id| json!({"id": id, "method": "tools/list"});
    let mut server = Server::with_limits(&discovered(), &limits);
    server.says(list(1));
    let (reference, _) = server.child_hears();
    server.says(list(2));
    server.child_hears();
    server.says(list(3));
    assert_eq!(error_code(&server.hears()), -32603);
    server.child_answers(reference, json!({}));
    server.hears();
    server.says(list(3));
    server.child_hears();

    // Two of these do not fit, though one does.
    let mut server = Server::with_limits(&discovered(), &limits);
    let mut call = call_tool(1, None);
    call["params"]["arguments"] = json!("x".repeat(100));
    server.says(call.clone());
    let (reference, _) = server.child_hears();
    call["id"] = json!(2);
    server.says(call.clone());
    assert_eq!(error_code(&server.hears()), -32603);
    server.child_answers(reference, json!({}));
    server.hears();
    server.says(call);
    server.child_hears();
}
