//! Whole requests, head and body.

use bytes::Bytes;
use http::Method;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::metadata::encode;
use super::*;
use crate::envelope::{Document, Source, scan};
use crate::error_data::ErrorData;
use crate::head::RequestHead;
use crate::refusal::Refusal;
use crate::version::{MODERN, Version};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
const LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// What a head with these fields mirrors.
pub(super) fn metadata(fields: &[(&str, &str)]) -> Option<Box<RequestMetadata>> {
    let fields = fields
        .iter()
        .map(|&(name, value)| (name, value.trim_matches([' ', '\t']).as_bytes()));
    let head = RequestHead::new(&Method::POST, "/mcp", None, fields);
    head.is_modern().then(|| RequestMetadata::of(&head))
}

fn scanned(body: &Value) -> (Bytes, Document) {
    let body = Bytes::from(body.to_string());
    let document = scan(&body, Source::Client).expect("a message");
    (body, document)
}

fn judged(fields: &[(&str, &str)], body: &Value) -> Result<ModernCall, ModernRefusal> {
    let (body, document) = scanned(body);
    let Document::Single(envelope) = &document else {
        panic!("{body:?} is a batch");
    };
    let metadata = metadata(fields);
    assert!(is_modern(&document, &body, metadata.as_deref()));
    judge(envelope, &body, metadata.as_deref())
}

fn refused(fields: &[(&str, &str)], body: &Value) -> (Refusal, Option<ErrorData>) {
    let refused = judged(fields, body).expect_err("it is refused");
    (refused.refusal, refused.data)
}

fn meta() -> Value {
    json!({
        VERSION: MODERN,
        CLIENT: {"name": "ExampleClient", "version": "1.0.0"},
        CAPABILITIES: {},
    })
}

fn call(method: &str, mut params: Value) -> Value {
    params["_meta"] = meta();
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// The headers of a request for which no name is mirrored.
fn mirrored(method: &str) -> [(&str, &str); 2] {
    [("MCP-Protocol-Version", MODERN), ("Mcp-Method", method)]
}

fn with_name<'a>(method: &'a str, name: &'a str) -> [(&'a str, &'a str); 3] {
    let [version, method] = mirrored(method);
    [version, method, ("Mcp-Name", name)]
}

#[test]
fn the_specifications_requests_are_taken() {
    let body = call(
        "tools/call",
        json!({"name": "get_weather", "arguments": {"location": "Seattle, WA"}}),
    );
    let taken = judged(&with_name("tools/call", "get_weather"), &body).expect("a call");
    assert_eq!(taken.kind, CallKind::ToolsCall);
    assert_eq!(taken.name.as_deref(), Some(&b"get_weather"[..]));
    let uri = "file:///projects/myapp/config.json";
    let body = call("resources/read", json!({"uri": uri}));
    let taken = judged(&with_name("resources/read", uri), &body).expect("a call");
    assert_eq!(taken.kind, CallKind::ResourcesRead);
    assert_eq!(taken.name.as_deref(), Some(uri.as_bytes()));
}

#[test]
fn the_specifications_mismatch_is_refused() {
    let body = call("tools/call", json!({"name": "bar"}));
    let expected = (
        Refusal::HeaderMismatch,
        Some(ErrorData::Header("Mcp-Name".into())),
    );
    assert_eq!(refused(&with_name("tools/call", "foo"), &body), expected);
}

#[test]
fn an_unknown_version_is_refused_with_those_that_are_served() {
    let mut body = call("server/discover", json!({}));
    body["params"]["_meta"][VERSION] = "1900-01-01".into();
    let fields = [
        ("MCP-Protocol-Version", "1900-01-01"),
        ("Mcp-Method", "server/discover"),
    ];
    let expected = (
        Refusal::UnsupportedProtocolVersion,
        Some(ErrorData::of_version("1900-01-01")),
    );
    assert_eq!(refused(&fields, &body), expected);
    // The head alone says it, and `_meta` cannot be read by the rules of a revision that is unknown.
    body["params"] = json!({});
    assert_eq!(refused(&fields, &body), expected);
}

#[test]
fn names_of_fields_are_in_any_case_and_values_are_not() {
    let body = call("tools/list", json!({}));
    for name in ["mcp-method", "MCP-METHOD", "Mcp-Method"] {
        let fields = [("MCP-Protocol-Version", MODERN), (name, "tools/list")];
        assert!(judged(&fields, &body).is_ok());
        let fields = [("MCP-Protocol-Version", MODERN), (name, "TOOLS/LIST")];
        assert_eq!(refused(&fields, &body).0, Refusal::HeaderMismatch);
    }
    let body = call("tools/call", json!({"name": "a"}));
    assert!(judged(&with_name("tools/call", "  a\t"), &body).is_ok());
}

#[test]
fn a_method_is_not_encoded_and_a_header_has_only_its_characters() {
    let body = call("tools/list", json!({}));
    let encoded = encode("tools/list");
    let fields = mirrored(&encoded);
    assert_eq!(refused(&fields, &body).0, Refusal::HeaderMismatch);
    for name in [
        "größe",
        "a\u{7f}b",
        "=?base64?Z3LDtsOf!?=",
        "=?base64?/w==?=",
    ] {
        let body = call("tools/call", json!({"name": name}));
        let fields = with_name("tools/call", name);
        assert_eq!(refused(&fields, &body).0, Refusal::HeaderMismatch, "{name}");
        let encoded = encode(name);
        let taken = judged(&with_name("tools/call", &encoded), &body).expect("a call");
        assert_eq!(taken.name.as_deref(), Some(name.as_bytes()));
    }
    let body = call("größe", json!({}));
    assert_eq!(
        refused(&mirrored("größe"), &body).0,
        Refusal::HeaderMismatch
    );
}

#[test]
fn what_the_revision_has_removed_is_not_found() {
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/list",
        "tasks/result",
    ] {
        let body = call(method, json!({"uri": "a", "level": "info", "taskId": "t"}));
        let expected = (Refusal::MethodNotFound, None);
        assert_eq!(refused(&mirrored(method), &body), expected, "{method}");
    }
    for method in ["unknown/method", "extension/list", "sampling/createMessage"] {
        let taken = judged(&mirrored(method), &call(method, json!({}))).expect("a call");
        assert_eq!(taken.kind, CallKind::Other);
    }
}

#[test]
fn kinds_are_those_of_the_specifications_tables() {
    use CallKind::*;
    for (method, kind, may_ask_for_input, is_cacheable) in [
        ("server/discover", Discover, false, true),
        ("subscriptions/listen", Listen, false, false),
        ("tools/call", ToolsCall, true, false),
        ("prompts/get", PromptsGet, true, false),
        ("resources/read", ResourcesRead, true, true),
        ("tools/list", ToolsList, false, true),
        ("prompts/list", PromptsList, false, true),
        ("resources/list", ResourcesList, false, true),
        (
            "resources/templates/list",
            ResourceTemplatesList,
            false,
            true,
        ),
        ("completion/complete", Complete, false, false),
        ("tasks/get", Task, false, false),
        ("tasks/update", Task, false, false),
        ("tasks/cancel", Task, false, false),
        ("tools/other", Other, false, false),
    ] {
        let taken = judged(&mirrored(method), &call(method, json!({}))).expect("a call");
        assert_eq!(taken.kind, kind, "{method}");
        assert_eq!(kind.may_ask_for_input(), may_ask_for_input, "{method}");
        assert_eq!(kind.is_cacheable(), is_cacheable, "{method}");
    }
}

#[test]
fn what_a_call_says_is_read_from_it() {
    let mut params = json!({
        "name": "a",
        "requestState": "st\u{e4}te\n",
        "inputResponses": {},
        "_meta": null,
    });
    let mut body = call("prompts/get", params.clone());
    body["params"]["_meta"][LEVEL] = "warning".into();
    let taken = judged(&with_name("prompts/get", "a"), &body).expect("a call");
    assert_eq!(taken.kind, CallKind::PromptsGet);
    assert_eq!(taken.log_level, Some(Level::Warning));
    assert_eq!(taken.request_state.as_deref(), Some("stäte\n".as_bytes()));
    assert_eq!(taken.capabilities.of(body.to_string().as_bytes()), b"{}");

    params["requestState"] = 1.into();
    let body = call("prompts/get", params.clone());
    let refused = refused(&with_name("prompts/get", "a"), &body);
    assert_eq!(refused, (Refusal::InvalidRequestState, None));
    // No other call has a state, so that whatever has its name is the server's.
    let taken = judged(&mirrored("other"), &call("other", params)).expect("a call");
    assert_eq!(taken.request_state, None);

    let task = call("tasks/cancel", json!({"taskId": "t1"}));
    let taken = judged(&with_name("tasks/cancel", "t1"), &task).expect("a call");
    assert_eq!(taken.kind, CallKind::Task);
    assert_eq!(taken.name.as_deref(), Some(&b"t1"[..]));
}

#[test]
fn capabilities_beyond_the_bound_are_refused() {
    for (length, is_taken) in [(4096, true), (4097, false)] {
        let mut body = call("tools/list", json!({}));
        let rest = r#"{"a":""}"#.len();
        body["params"]["_meta"][CAPABILITIES] = json!({"a": "x".repeat(length - rest)});
        let judged = judged(&mirrored("tools/list"), &body);
        assert_eq!(judged.is_ok(), is_taken, "{length}");
    }
}

#[test]
fn notifications_need_no_meta_and_responses_are_refused() {
    let version = ("MCP-Protocol-Version", MODERN);
    let notification = |method: &str| json!({"jsonrpc": "2.0", "method": method});
    for fields in [
        &[version][..],
        &[version, ("Mcp-Method", "notifications/n")],
    ] {
        let taken = judged(fields, &notification("notifications/n")).expect("a notification");
        assert_eq!(taken.kind, CallKind::Notification);
    }
    let fields = [version, ("Mcp-Method", "notifications/m")];
    let (refusal, _) = refused(&fields, &notification("notifications/n"));
    assert_eq!(refusal, Refusal::HeaderMismatch);
    for method in [
        "notifications/initialized",
        "notifications/roots/list_changed",
    ] {
        let (refusal, _) = refused(&[version], &notification(method));
        assert_eq!(refusal, Refusal::MethodNotFound);
    }
    let mut headless = notification("notifications/n");
    headless["params"] = json!({"_meta": meta()});
    assert!(judged(&[], &headless).is_ok());
    let response = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
    let (refusal, _) = refused(&[version], &response);
    assert_eq!(refusal, Refusal::ResponseNotAllowed);
}

#[test]
fn an_era_is_told_by_meta_and_by_the_head() {
    let is_modern = |version: Option<&str>, body: &Value| {
        let fields: Vec<_> = version
            .map(|it| ("MCP-Protocol-Version", it))
            .into_iter()
            .collect();
        let (body, document) = scanned(body);
        is_modern(&document, &body, metadata(&fields).as_deref())
    };
    let modern = call("tools/list", json!({}));
    let mut named = modern.clone();
    named["params"]["_meta"][VERSION] = "2025-11-25".into();
    let mut untyped = modern.clone();
    untyped["params"]["_meta"][VERSION] = 5.into();
    let legacy = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let opening = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2026-07-28", "capabilities": {}},
    });
    let batch = json!([legacy, modern]);
    for version in [None, Some("2025-11-25"), Some("2024-11-05")] {
        for modern in [&modern, &untyped, &batch, &call("initialize", json!({}))] {
            assert!(is_modern(version, modern), "{version:?} {modern}");
        }
        for legacy in [&named, &legacy, &opening, &json!([legacy])] {
            assert!(!is_modern(version, legacy), "{version:?} {legacy}");
        }
    }
    for version in [Some("2026-07-28"), Some("2099-01-01"), Some("")] {
        for modern in [&modern, &untyped, &named, &legacy, &batch] {
            assert!(is_modern(version, modern), "{version:?} {modern}");
        }
        assert!(!is_modern(version, &opening));
    }
}

/// How a header is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sent {
    Absent,
    AsItIs,
    Encoded,
    Other,
    Malformed,
    Twice,
}

impl Sent {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            12 => Just(Self::AsItIs),
            4 => Just(Self::Encoded),
            1 => select(&[Self::Absent, Self::Other, Self::Malformed, Self::Twice][..]),
        ]
    }

    /// The values for what mirrors `value`.
    fn values(self, value: Option<&str>) -> Vec<String> {
        let value = value.unwrap_or("nothing");
        match self {
            Self::Absent => vec![],
            Self::AsItIs => vec![value.to_owned()],
            Self::Encoded => vec![encode(value)],
            Self::Other => vec![format!("{value}x")],
            Self::Malformed => vec!["=?base64?SGVsbG8?=".to_owned()],
            Self::Twice => vec![value.to_owned(), value.to_owned()],
        }
    }
}

/// The plainest reading of the rules, in their order.
fn expected(fields: &[(String, String)], body: &Value) -> Option<Refusal> {
    let sent = |name: &str| {
        let named = fields.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    let is_visible = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let method = body["method"].as_str().expect("a method");
    let params = &body["params"];
    let meta = &params["_meta"];
    let header = sent("MCP-Protocol-Version");
    let is_mirrored = match meta[VERSION].as_str() {
        Some(version) => header == [version],
        None => header.len() == 1,
    };
    // What names no modern version at all is not judged here.
    if !is_mirrored || Version::parse(header[0].as_bytes()).is_some() {
        return Some(Refusal::HeaderMismatch);
    }
    if sent("Mcp-Method") != [method] {
        return Some(Refusal::HeaderMismatch);
    }
    let source = match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" => Some("taskId"),
        _ => None,
    };
    let name = sent("Mcp-Name");
    let is_mirrored = match source.map(|source| &params[source]) {
        None => name.len() < 2,
        Some(Value::Null) => name.is_empty(),
        Some(Value::String(text)) if name.len() == 1 => {
            let looks_encoded = text.starts_with("=?base64?") && text.ends_with("?=");
            name[0] == encode(text) || name[0] == text && is_visible(text) && !looks_encoded
        }
        Some(_) => false,
    };
    if !is_mirrored {
        return Some(Refusal::HeaderMismatch);
    }
    if header[0] != "2026-07-28" {
        return Some(Refusal::UnsupportedProtocolVersion);
    }
    let levels = [
        "debug",
        "info",
        "notice",
        "warning",
        "error",
        "critical",
        "alert",
        "emergency",
    ];
    if !meta[VERSION].is_string()
        || !meta[CAPABILITIES].is_object()
        || !(meta[CLIENT].is_null() || meta[CLIENT].is_object())
        || !(meta[LEVEL].is_null() || meta[LEVEL].as_str().is_some_and(|it| levels.contains(&it)))
    {
        return Some(Refusal::InvalidMeta);
    }
    ["ping", "initialize"]
        .contains(&method)
        .then_some(Refusal::MethodNotFound)
}

/// A member's value, which is mostly what it should be; null stands for none.
fn mostly(good: Value, others: Vec<Value>) -> impl Strategy<Value = Value> {
    prop_oneof![8 => Just(good), 1 => select(others)]
}

/// An object of the members that are there.
fn object(members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let members = members.into_iter().filter(|(_, value)| !value.is_null());
    Value::from_iter(members.map(|(key, value)| (key.to_owned(), value)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn requests_are_judged_as_by_the_plainest_reading(
        method in select(&[
            "tools/call", "prompts/get", "resources/read", "tasks/get", "tools/list",
            "server/discover", "ping", "initialize", "x/y",
        ][..]),
        name in mostly(json!("a name"), vec![
            json!("größe"), json!("=?base64?YQ==?="), json!("=?base64?"), json!(""), json!(5),
            Value::Null,
        ]),
        version in mostly(json!(MODERN), vec![json!("2099-01-01"), json!(5), Value::Null]),
        head_version in mostly(json!([MODERN]), vec![
            json!(["2099-01-01"]), json!(["2025-11-25"]), json!([MODERN, MODERN]), json!([]),
        ]),
        capabilities in mostly(json!({}), vec![json!([]), json!("a"), Value::Null]),
        client in mostly(json!({"name": "a", "version": "1"}), vec![json!(1), Value::Null]),
        level in mostly(Value::Null, vec![json!("debug"), json!("loud"), json!(1)]),
        method_sent in Sent::any(),
        name_sent in Sent::any(),
    ) {
        let meta = object([
            (VERSION, version), (CAPABILITIES, capabilities), (CLIENT, client), (LEVEL, level),
        ]);
        let source = match method {
            "resources/read" => "uri",
            "tasks/get" => "taskId",
            _ => "name",
        };
        let params = object([(source, name.clone()), ("_meta", meta)]);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut fields = Vec::new();
        let versions = head_version.as_array().expect("values").iter();
        let versions = versions.map(|it| it.as_str().expect("a value").to_owned());
        fields.extend(versions.map(|value| ("MCP-Protocol-Version".to_owned(), value)));
        let methods = method_sent.values(Some(method)).into_iter();
        fields.extend(methods.map(|value| ("Mcp-Method".to_owned(), value)));
        let names = name_sent.values(name.as_str()).into_iter();
        fields.extend(names.map(|value| ("Mcp-Name".to_owned(), value)));

        let borrowed: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let metadata = metadata(&borrowed);
        let (bytes, document) = scanned(&body);
        prop_assume!(is_modern(&document, &bytes, metadata.as_deref()));
        let judged = judge(&document.messages()[0], &bytes, metadata.as_deref());
        let refusal = judged.err().map(|refused| refused.refusal);
        prop_assert_eq!(refusal, expected(&fields, &body), "{:?} {}", fields, body);
    }
}
