use proptest::prelude::*;

use super::*;
use crate::modern::CallKind;
use crate::translation::modern_server::result::complete;

/// What the client hears of the child's answer to a call.
fn heard_of(method: &str, answer: Value) -> Value {
    let mut script = Script::ready(r#"{"elicitation":{"url":{}}}"#);
    script.request(1, method, json!({"uri": "file:///a"}));
    let mut answer = answer;
    answer["id"] = 1.into();
    script.child(answer);
    let heard = script.client_hears();
    assert_eq!(heard["id"], 1);
    assert!(script.is_empty());
    heard
}

#[test]
fn results_that_may_be_cached_say_for_how_long() {
    for (method, is_cacheable) in [
        ("tools/list", true),
        ("prompts/list", true),
        ("resources/list", true),
        ("resources/templates/list", true),
        ("resources/read", true),
        ("tools/call", false),
        ("prompts/get", false),
        ("completion/complete", false),
    ] {
        let result = &heard_of(method, json!({"result": {}}))["result"];
        assert_eq!(result["ttlMs"] == json!(0), is_cacheable, "{method}");
        assert_eq!(
            result["cacheScope"] == json!("private"),
            is_cacheable,
            "{method}"
        );
        assert_eq!(result["resultType"], "complete", "{method}");
    }
}

#[test]
fn a_result_that_is_no_object_is_an_error() {
    for result in [json!(null), json!([]), json!("a"), json!(1)] {
        let heard = heard_of("tools/call", json!({"result": result}));
        assert_eq!(heard["error"]["code"], -32603);
    }
}

#[test]
fn errors_pass_unless_a_modern_client_would_misread_them() {
    for code in [
        -32700, -32600, -32601, -32602, -32603, -32020, -32021, -32022, 0, 1, -31999, -32100,
    ] {
        let error = json!({"code": code, "message": "m", "data": [1]});
        let heard = heard_of("tools/call", json!({"error": error}));
        assert_eq!(heard["error"], error);
    }
    for code in [-32000, -32001, -32002, -32019, -32023, -32042, -32099] {
        let error = json!({"code": code, "message": "m", "data": [1]});
        let heard = heard_of("tools/call", json!({"error": error}));
        let expected = json!({"code": -32603, "message": "m", "data": {"code": code, "data": [1]}});
        assert_eq!(heard["error"], expected);
    }
}

#[test]
fn a_resource_that_is_not_there_is_named() {
    for (data, expected) in [
        (json!(null), json!({"uri": "file:///a"})),
        (json!({"more": 1}), json!({"more": 1, "uri": "file:///a"})),
        (json!({"uri": "b:c"}), json!({"uri": "b:c"})),
    ] {
        let error = json!({"code": -32002, "message": "gone", "data": data});
        let heard = heard_of("resources/read", json!({"error": error}));
        let expected = json!({"code": -32602, "message": "gone", "data": expected});
        assert_eq!(heard["error"], expected);
    }
}

#[test]
fn urls_to_visit_are_asked_for_as_input() {
    let data = json!({"elicitations": [
        {"mode": "url", "message": "Go", "url": "https://a/", "elicitationId": "1"},
        {"mode": "url", "message": "Go on", "url": "https://b/", "elicitationId": "2"},
    ]});
    let error = json!({"code": -32042, "message": "m", "data": data});
    let heard = heard_of("tools/call", json!({"error": error}));
    let asked = |message: &str, url: &str| {
        json!({
            "method": "elicitation/create",
            "params": {"mode": "url", "message": message, "url": url},
        })
    };
    let requests = json!({
        "request-1": asked("Go", "https://a/"),
        "request-2": asked("Go on", "https://b/"),
    });
    let mut expected = completed(json!({"inputRequests": requests}));
    expected["resultType"] = "input_required".into();
    assert_eq!(heard["result"], expected);

    // Only where input can be asked for, and only of who can visit them.
    let heard = heard_of("tools/list", json!({"error": error}));
    assert_eq!(heard["error"]["data"]["code"], -32042);
    let mut script = Script::ready("{}");
    script.request(1, "tools/call", json!({}));
    script.child(json!({"id": 1, "error": error}));
    let heard = script.client_hears();
    assert_eq!(heard["error"]["code"], -32021);
    assert_eq!(
        heard["error"]["data"]["requiredCapabilities"],
        json!({"elicitation": {"url": {}}})
    );
}

#[test]
fn a_large_result_is_not_copied() {
    let line = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"a":"{}"}}}}"#,
        "x".repeat(100_000)
    );
    let line = Bytes::from(line);
    let message = single(&line, Source::Child);
    let kind = CallKind::ToolsCall;
    let frame = complete(1, kind, Some("{}"), Text::Long(&line), &message).unwrap();
    let within = line.as_ptr_range();
    let shared = frame.slices().iter();
    let shared = shared.filter(|slice| within.contains(&slice.as_ptr()));
    assert!(shared.map(Bytes::len).sum::<usize>() > 99_000);
}

/// A member's value, of members that the machine looks at and of others.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z\"\\\\é\n]{0,6}".prop_map(Value::from),
        Just(json!("complete")),
        Just(json!("input_required")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let key = prop_oneof![
            Just("io.modelcontextprotocol/serverInfo".to_owned()),
            "[a-z\"é]{0,4}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn result() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("resultType".to_owned()),
        Just("ttlMs".to_owned()),
        Just("cacheScope".to_owned()),
        Just("_meta".to_owned()),
        "[a-z]{0,4}",
    ];
    prop::collection::btree_map(key, json_value(), 0..6)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

proptest! {
    #[test]
    fn nothing_is_added_twice_and_nothing_is_lost(
        result in result(),
        pretty: bool,
        shared: bool,
        has_info: bool,
        cacheable: bool,
    ) {
        let line = json!({"result": result, "jsonrpc": "2.0", "id": 3});
        let line = Bytes::from(if pretty {
            serde_json::to_string_pretty(&line).unwrap()
        } else {
            line.to_string()
        });
        let scanned = single(&line, Source::Child);
        let kind = if cacheable { CallKind::ToolsList } else { CallKind::ToolsCall };
        let info = has_info.then_some(r#"{"name":"s"}"#);
        let text = if shared { Text::Long(&line) } else { Text::Short(&line) };
        let frame = complete(8, kind, info, text, &scanned).expect("it is an object");
        // Reading refuses a key that stands twice.
        let heard = message(&bytes(&frame));

        let mut expected = result;
        let members = expected.as_object_mut().unwrap();
        let kind = members.entry("resultType").or_insert("complete".into()).clone();
        if cacheable && kind.as_str().is_none_or(|kind| kind == "complete") {
            members.entry("ttlMs").or_insert(0.into());
            members.entry("cacheScope").or_insert("private".into());
        }
        if has_info && let Some(meta) = members.entry("_meta").or_insert(json!({})).as_object_mut() {
            meta.entry("io.modelcontextprotocol/serverInfo").or_insert(json!({"name": "s"}));
        }
        prop_assert_eq!(heard, json!({"jsonrpc": "2.0", "id": 8, "result": expected}));
    }
}
