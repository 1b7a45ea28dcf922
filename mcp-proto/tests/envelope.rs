//! The scan against serde_json, which reads the same documents in a wholly different way.

#[path = "models/envelope.rs"]
mod model;

use std::collections::BTreeMap;

use mcp_proto::envelope::{
    Document, Envelope, Field, Kind, MAX_BATCH, MAX_DEPTH, MAX_ID, RequestId, ScanReason, Source,
    scan,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use self::model::{FIELDS, SOURCES, check, string};

// ---- Documents ----

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just(""), 2 => select(vec![" ", "\n", "\t", "\r\n", "  \r "])]
}

/// A string's JSON text.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[a-z0-9 .:/]{0,12}",
        1 => "\\PC{0,4}",
        1 => select(vec![
            r"\n", r#"\""#, r"\\", r"\/", r"\u0041", r"\u000a", r"\ud83d\ude00", r"\uD83D\uDE00", "é",
            "\u{2028}", "\u{10ffff}", "\u{7f}",
        ]).prop_map(str::to_owned),
        1 => "[a-z]{30,90}",
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| {
        // `\PC` may give a quote or a backslash of its own.
        let pieces = pieces.iter().map(|piece| match piece.as_bytes().first() {
            Some(b'\\')
                if piece.len() > 1
                    && serde_json::from_str::<String>(&format!("\"{piece}\"")).is_ok() =>
            {
                piece.clone()
            }
            _ => piece.replace(['"', '\\'], "_"),
        });
        format!("\"{}\"", pieces.collect::<String>())
    })
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,5})?([eE][-+]?[0-9]{1,4})?",
    ]
}

/// Keys that mean something somewhere, and some that do not; a few spelled with escapes.
fn key() -> impl Strategy<Value = String> {
    let known: Vec<&str> = FIELDS
        .iter()
        .flat_map(|(_, path)| path.iter().copied())
        .collect();
    let plain = prop_oneof![4 => select(known).prop_map(str::to_owned), 2 => "[a-zI]{0,6}"];
    (plain, prop::bool::weighted(0.1), any::<Index>()).prop_map(|(key, escape, at)| {
        if !escape || key.is_empty() {
            return format!("\"{key}\"");
        }
        let at = at.index(key.len());
        format!(
            "\"{}\\u{:04x}{}\"",
            &key[..at],
            key.as_bytes()[at],
            &key[at + 1..]
        )
    })
}

/// An object's text, from the texts of its members. With `unique`, equal keys are dropped.
fn object(members: Vec<(String, String)>, spaces: &[&str], unique: bool) -> String {
    let mut seen = std::collections::BTreeSet::new();
    let mut spaces = spaces.iter().copied().cycle();
    let mut space = || spaces.next().unwrap_or("");
    let mut members = members;
    members.retain(|(key, _)| !unique || seen.insert(string(key)));
    let members: Vec<_> = members
        .into_iter()
        .map(|(key, value)| format!("{}{key}{}:{}{value}", space(), space(), space()))
        .collect();
    format!("{{{}{}}}", members.join(","), space())
}

fn spaces() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(space(), 0..7)
}

/// Any value. With `unique`, no object in it has equal keys.
fn value(unique: bool) -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        text(),
        number(),
        select(vec!["true", "false", "null", "{}", "[]"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|elements| format!("[{}]", elements.join(","))),
            (prop::collection::vec((key(), inner), 0..6), spaces())
                .prop_map(move |(members, spaces)| object(members, &spaces, unique)),
        ]
    })
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof![text(), "-?(0|[1-9][0-9]{0,25})"]
}

/// A member that is there or not.
fn maybe(
    key: &'static str,
    value: impl Strategy<Value = String> + 'static,
) -> impl Strategy<Value = Option<(String, String)>> {
    prop::option::weighted(
        0.7,
        value.prop_map(move |value| (format!("\"{key}\""), value)),
    )
}

/// An object with these members, shuffled, and some more.
fn object_with(
    members: Vec<BoxedStrategy<Option<(String, String)>>>,
) -> impl Strategy<Value = String> {
    let more = prop::collection::vec(("\"x[a-z]{0,3}\"", value(true)), 0..3);
    (members, more, spaces()).prop_flat_map(|(members, more, spaces)| {
        let members: Vec<_> = members.into_iter().flatten().chain(more).collect();
        Just(members)
            .prop_shuffle()
            .prop_map(move |members| object(members, &spaces, true))
    })
}

fn params() -> impl Strategy<Value = String> {
    let related = object_with(vec![maybe("taskId", text()).boxed()]);
    let meta = object_with(vec![
        maybe("progressToken", id()).boxed(),
        maybe("io.modelcontextprotocol/protocolVersion", text()).boxed(),
        maybe("io.modelcontextprotocol/related-task", related).boxed(),
    ]);
    object_with(vec![
        maybe("_meta", meta).boxed(),
        maybe("progressToken", id()).boxed(),
        maybe("requestId", id()).boxed(),
        maybe("taskId", text()).boxed(),
        maybe("name", text()).boxed(),
        maybe("uri", text()).boxed(),
        maybe("arguments", value(true)).boxed(),
    ])
}

/// A message that has to be accepted.
fn message() -> impl Strategy<Value = String> {
    fn always(
        key: &str,
        value: impl Strategy<Value = String> + 'static,
    ) -> BoxedStrategy<Option<(String, String)>> {
        let key = format!("\"{key}\"");
        value
            .prop_map(move |value| Some((key.clone(), value)))
            .boxed()
    }
    let version = || always("jsonrpc", Just("\"2.0\"".to_owned()));
    let task = object_with(vec![always("taskId", text())]);
    let result = prop_oneof![
        value(true),
        object_with(vec![
            maybe("task", task).boxed(),
            maybe("protocolVersion", text()).boxed()
        ]),
    ];
    let error = object_with(vec![
        always("code", "-?[1-9][0-9]{0,5}"),
        always("message", text()),
    ]);
    prop_oneof![
        object_with(vec![
            version(),
            maybe("id", id()).boxed(),
            always("method", text()),
            maybe("params", params()).boxed(),
        ]),
        object_with(vec![
            version(),
            always("id", id()),
            always("result", result)
        ]),
        object_with(vec![version(), always("id", id()), always("error", error)]),
    ]
}

/// Mostly a message; each part may be wrong, twice there, or not there.
fn near_message() -> impl Strategy<Value = String> {
    let version = prop_oneof![
        12 => Just(r#""2.0""#), 1 => Just(r#""\u0032.0""#), 1 => Just("2.0"), 1 => Just(r#""1.0""#),
    ];
    let id = prop_oneof![6 => id(), 1 => Just("null".to_owned()), 1 => value(false)];
    let method = prop_oneof![8 => text(), 1 => value(false)];
    let params = prop_oneof![8 => params(), 2 => value(false)];
    let error = prop_oneof![
        4 => Just(r#"{"code":-32603,"message":"no"}"#.to_owned()),
        1 => Just(r#"{"c\u006fde":1e3}"#.to_owned()),
        1 => value(false),
    ];
    let lone = Just((r#""\ud800""#.to_owned(), "1".to_owned()));
    let lone_value = (key(), Just(r#""\udc00""#.to_owned()));
    let members = (
        maybe("jsonrpc", version.prop_map(str::to_owned)),
        maybe("id", id),
        prop_oneof![
            6 => maybe("method", method).prop_map(|member| vec![member]),
            2 => maybe("result", value(false)).prop_map(|member| vec![member]),
            2 => maybe("error", error).prop_map(|member| vec![member]),
            1 => (maybe("result", text()), maybe("error", text())).prop_map(|(a, b)| vec![a, b]),
        ],
        maybe("params", params),
        prop::collection::vec(
            prop_oneof![10 => (key(), value(false)).boxed(), 1 => lone.boxed(), 1 => lone_value.boxed()],
            0..2,
        ),
        spaces(),
    );
    members.prop_flat_map(|(version, id, body, params, more, spaces)| {
        let members = [version, id, params]
            .into_iter()
            .chain(body)
            .flatten()
            .chain(more);
        Just(members.collect::<Vec<_>>())
            .prop_shuffle()
            .prop_map(move |members| object(members, &spaces, false))
    })
}

fn batch(message: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    (prop::collection::vec(message, 0..5), space(), space())
        .prop_map(|(messages, a, b)| format!("{a}[{b}{}{a}]{b}", messages.join(",")))
}

/// A change of one byte, or of a few.
#[derive(Clone, Debug)]
enum Mutation {
    Put(u8),
    Insert(u8),
    Remove(usize),
    Repeat(usize),
}

fn mutation() -> impl Strategy<Value = (Index, Mutation)> {
    let byte = prop_oneof![
        3 => select(b"{}[],:\"\\ \n\r\t0123456789.-+eEautfn_\0\x1f\x7f".to_vec()),
        1 => any::<u8>(),
    ];
    let mutation = prop_oneof![
        byte.clone().prop_map(Mutation::Put),
        byte.prop_map(Mutation::Insert),
        (1..8_usize).prop_map(Mutation::Remove),
        (1..30_usize).prop_map(Mutation::Repeat),
    ];
    (any::<Index>(), mutation)
}

fn mutate(document: &mut Vec<u8>, (at, mutation): &(Index, Mutation)) {
    if document.is_empty() {
        return;
    }
    let at = at.index(document.len());
    let until = |count: usize| (at + count).min(document.len());
    match *mutation {
        Mutation::Put(byte) => document[at] = byte,
        Mutation::Insert(byte) => document.insert(at, byte),
        Mutation::Remove(count) => drop(document.drain(at..until(count))),
        Mutation::Repeat(count) => {
            let part = document[at..until(count)].to_vec();
            document.splice(at..at, part);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_is_valid_is_accepted_with_the_spans_that_serde_finds(
        message in message(), before in space(), after in space(),
    ) {
        let document = format!("{before}{message}{after}");
        for source in SOURCES {
            prop_assert!(check(document.as_bytes(), source), "{document}");
        }
    }

    #[test]
    fn batches_of_what_is_valid_are_accepted(batch in batch(message())) {
        for source in SOURCES {
            check(batch.as_bytes(), source);
        }
    }

    #[test]
    fn what_is_nearly_valid_is_judged_as_by_serde(message in near_message()) {
        for source in SOURCES {
            check(message.as_bytes(), source);
        }
    }

    #[test]
    fn batches_of_what_is_nearly_valid_are_judged_as_by_serde(batch in batch(near_message())) {
        for source in SOURCES {
            check(batch.as_bytes(), source);
        }
    }

    #[test]
    fn mutated_documents_are_judged_as_by_serde(
        message in message(), mutations in prop::collection::vec(prop::collection::vec(mutation(), 1..3), 12),
    ) {
        for mutations in mutations {
            let mut document = message.clone().into_bytes();
            mutations.iter().for_each(|mutation| mutate(&mut document, mutation));
            for source in SOURCES {
                check(&document, source);
            }
        }
    }

    #[test]
    fn any_bytes_are_judged_as_by_serde(
        bytes in prop::collection::vec(select(b"{}[],:\"\\ \n0-1.eEtrufalsnd\xc3\xa9\xef\xbb\xbf".to_vec()), 0..12),
    ) {
        for source in SOURCES {
            check(&bytes, source);
        }
    }

    #[test]
    fn decoded_texts_are_those_of_serde(message in message()) {
        let Ok(Document::Single(envelope)) = scan(message.as_bytes(), Source::Client) else {
            return Err(TestCaseError::fail("refused"));
        };
        for (field, _) in FIELDS {
            let raw = envelope.raw(field, message.as_bytes());
            let text = raw.and_then(|raw| serde_json::from_slice::<String>(raw).ok());
            let found = envelope.text(field, message.as_bytes());
            prop_assert_eq!(found.as_deref(), text.as_deref());
        }
    }

    #[test]
    fn ids_are_equal_as_serde_has_them_equal(left in id(), right in id()) {
        let value = |raw: &str| {
            let normal = if raw == "-0" { "0" } else { raw };
            string(raw).map(|text| (true, text)).unwrap_or((false, normal.to_owned()))
        };
        let ids = [&left, &right].map(|raw| RequestId::decode(raw.as_bytes()).unwrap());
        prop_assert_eq!(ids[0] == ids[1], value(&left) == value(&right));
        prop_assert_eq!(&ids[0], &RequestId::decode(left.as_bytes()).unwrap());
    }
}

#[test]
fn the_generators_hit_both_sides() {
    // Comparing is worth nothing if all is refused, or nothing is.
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reasons = BTreeMap::<String, usize>::new();
    let strategy = near_message();
    for _ in 0..1500 {
        let message = strategy.new_tree(&mut runner).unwrap().current();
        for source in SOURCES {
            let outcome = match scan(message.as_bytes(), source) {
                Ok(_) => "accepted".to_owned(),
                Err(error) => format!("{:?}", error.reason),
            };
            *reasons.entry(outcome).or_default() += 1;
        }
    }
    for outcome in [
        "accepted",
        "NotJson",
        "DuplicateKey",
        "NotJsonRpc",
        "Ambiguous",
        "InvalidId",
        "InvalidMethod",
        "InvalidParams",
        "InvalidError",
    ] {
        assert!(
            reasons.get(outcome).is_some_and(|count| *count >= 10),
            "{outcome}: {reasons:?}"
        );
    }
}

// ---- Examples ----

fn reason(document: &str, source: Source) -> Option<ScanReason> {
    scan(document.as_bytes(), source)
        .err()
        .map(|error| error.reason)
}

fn single(document: &str, source: Source) -> Envelope {
    match scan(document.as_bytes(), source) {
        Ok(Document::Single(envelope)) => envelope,
        other => panic!("{document}: {other:?}"),
    }
}

/// Both sources give `expected`.
#[track_caller]
fn both(document: &str, expected: impl Into<Option<ScanReason>>) {
    let expected = expected.into();
    for source in SOURCES {
        assert_eq!(reason(document, source), expected, "{source:?} {document}");
    }
}

#[track_caller]
fn each(
    document: &str,
    client: impl Into<Option<ScanReason>>,
    child: impl Into<Option<ScanReason>>,
) {
    assert_eq!(
        reason(document, Source::Client),
        client.into(),
        "client {document}"
    );
    assert_eq!(
        reason(document, Source::Child),
        child.into(),
        "child {document}"
    );
}

#[test]
fn what_is_not_json_is_a_parse_error() {
    for document in [
        "",
        " ",
        "{",
        "}",
        "[",
        "[[",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "[1,]",
        "[,1]",
        "{} {}",
        "{}x",
        "\u{feff}{}",
        "\u{a0}{}",
        "nul",
        "nulll",
        "True",
        "NaN",
        "-",
        "+1",
        "01",
        "-01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "--1",
        "Infinity",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "\"\t\"",
        "\"\0\"",
        "'a'",
        "{a:1}",
        "{1:1}",
        "{\"a\":1 \"b\":2}",
        "[1 2]",
        "[1}",
        "{\"a\":1]",
        "/**/{}",
        "{\"a\":\"\\u{1}\"}",
        "\u{b}{}",
        "{}\u{c}",
    ] {
        both(document, ScanReason::NotJson);
        let error = scan(document.as_bytes(), Source::Client).unwrap_err();
        assert!(error.reason.is_parse_error() && error.id.is_none());
    }
    for document in [
        &b"\"\xff\""[..],
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"\xc0\xaf",
        b"{}\x80",
    ] {
        for source in SOURCES {
            let error = scan(document, source).unwrap_err();
            assert_eq!(error.reason, ScanReason::InvalidUtf8);
            assert!(error.reason.is_parse_error());
        }
    }
}

#[test]
fn what_is_json_but_no_message_is_an_invalid_request() {
    for document in [
        "1",
        "-0.5e+10",
        "\"a\"",
        "null",
        "true",
        " false ",
        "[1]",
        "[[]]",
        "[{},null]",
    ] {
        let expected = if document.starts_with("[{") {
            ScanReason::NotJsonRpc
        } else {
            ScanReason::NotAnObject
        };
        both(document, expected);
        assert!(!expected.is_parse_error());
    }
    both("[]", ScanReason::EmptyBatch);
    both(" [ \n ] ", ScanReason::EmptyBatch);
    both("[] []", ScanReason::NotJson);
    both("{}", ScanReason::NotJsonRpc);
    both(r#"{"jsonrpc":2.0,"method":"a"}"#, ScanReason::NotJsonRpc);
    both(r#"{"jsonrpc":"2.0 ","method":"a"}"#, ScanReason::NotJsonRpc);
    both(r#"{"JSONRPC":"2.0","method":"a"}"#, ScanReason::NotJsonRpc);
    both(r#"{"jsonrpc":"2.0"}"#, ScanReason::Ambiguous);
    both(r#"{"jsonrpc":"2.0","id":1}"#, ScanReason::Ambiguous);
    both(
        r#"{"jsonrpc":"2.0","id":1,"Method":"a"}"#,
        ScanReason::Ambiguous,
    );
    both(
        r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#,
        ScanReason::Ambiguous,
    );
    both(
        r#"{"jsonrpc":"2.0","id":1,"method":"a","error":{"code":1}}"#,
        ScanReason::Ambiguous,
    );
    both(
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1}}"#,
        ScanReason::Ambiguous,
    );
    both(
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":null}"#,
        ScanReason::Ambiguous,
    );
    both(
        r#"{"jsonrpc":"2.0","id":1,"method":null}"#,
        ScanReason::InvalidMethod,
    );
    both(
        r#"{"jsonrpc":"2.0","method":"a","params":[]}"#,
        ScanReason::InvalidParams,
    );
    each(
        r#"{"jsonrpc":"2.0","method":"a","params":null}"#,
        ScanReason::InvalidParams,
        None,
    );
    for error in [
        "null",
        "1",
        "\"a\"",
        "[1]",
        "{}",
        r#"{"code":"1"}"#,
        r#"{"code":1.0}"#,
    ] {
        both(
            &format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#),
            ScanReason::InvalidError,
        );
    }
    both(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603}}"#, None);
}

#[test]
fn ids_are_strings_and_integers() {
    let request = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"a"}}"#);
    let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    for id in [
        "0",
        "-0",
        "-1",
        "9007199254740993",
        "18446744073709551616",
        "\"\"",
        "\"1\"",
        r#""\ud83d\ude00""#,
        &text(MAX_ID),
        &"9".repeat(MAX_ID),
    ] {
        let request = request(id);
        both(&request, None);
        let envelope = single(&request, Source::Client);
        assert_eq!(envelope.kind(), Kind::Request);
        assert_eq!(
            envelope.raw(Field::Id, request.as_bytes()),
            Some(id.as_bytes())
        );
        assert!(RequestId::decode(id.as_bytes()).is_some());
    }
    for id in [
        "null",
        "true",
        "{}",
        "[]",
        "1.0",
        "1e0",
        "1E5",
        "-0.0",
        &text(MAX_ID + 1),
        &"9".repeat(MAX_ID + 1),
    ] {
        both(&request(id), ScanReason::InvalidId);
        assert_eq!(
            scan(request(id).as_bytes(), Source::Client).unwrap_err().id,
            None
        );
        assert_eq!(RequestId::decode(id.as_bytes()), None);
    }
    for id in [
        "", "-", "01", "+1", " 1", "1 ", "\"", "\"a", "a", "\"a\"b\"", "\"\n\"",
    ] {
        assert_eq!(RequestId::decode(id.as_bytes()), None, "{id}");
    }
    both(&request(r#""\ud83d""#), ScanReason::NotJson);

    let decode = |id: &str| RequestId::decode(id.as_bytes()).unwrap();
    assert_eq!(decode(r#""\u0031""#), decode(r#""1""#));
    assert_ne!(decode("1"), decode(r#""1""#));
    assert_eq!(decode("-0"), decode("0"));
    assert_ne!(decode("-1"), decode("1"));
    assert_ne!(decode("9007199254740993"), decode("9007199254740992"));
}

#[test]
fn a_response_has_an_id_unless_a_child_answers_something_unreadable() {
    let error = r#""error":{"code":-32700,"message":"?"}"#;
    let unreadable = format!(r#"{{"jsonrpc":"2.0","id":null,{error}}}"#);
    each(&unreadable, ScanReason::InvalidId, None);
    let envelope = single(&unreadable, Source::Child);
    assert_eq!(
        (envelope.kind(), envelope.get(Field::Id)),
        (Kind::Response, None)
    );
    both(
        &format!(r#"{{"jsonrpc":"2.0",{error}}}"#),
        ScanReason::InvalidId,
    );
    both(r#"{"jsonrpc":"2.0","result":{}}"#, ScanReason::InvalidId);
    both(
        r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        ScanReason::InvalidId,
    );
}

#[test]
fn a_refusal_knows_the_id_wherever_it_stands() {
    let deep = "[".repeat(80);
    for (document, id) in [
        (r#"{"id":7,"jsonrpc":"1.0","method":"a"}"#, Some("7")),
        (
            r#"{"jsonrpc":"1.0","method":"a","x":{"id":8},"id":"seven"}"#,
            Some("\"seven\""),
        ),
        (r#"{"a":1,"a":2,"method":"a","\u0069d":7}"#, Some("7")),
        (
            r#"{"id":7,"jsonrpc":"2.0","method":"a","params":[]}"#,
            Some("7"),
        ),
        (r#"{"jsonrpc":"2.0","method":"a\ud800","id":7}"#, Some("7")),
        (&format!(r#"{{"id":7,"a":{deep}"#), Some("7")),
        (r#"{"id":7,"id":7,"jsonrpc":"2.0","method":"a"}"#, None),
        (r#"{"id":7,"\u0069d":8,"jsonrpc":"2.0","method":"a"}"#, None),
        (r#"{"id":{"id":7},"jsonrpc":"2.0","method":"a"}"#, None),
        (r#"{"id":"\ud800","jsonrpc":"2.0","method":"a"}"#, None),
        (r#"{"id":7,"jsonrpc":"2.0","method":"a"}x"#, None),
        (r#"{"id":7,"jsonrpc":"2.0","method":"a\ud800"}x"#, None),
        (r#"{"id":7,"jsonrpc":"2.0","method":"a""#, None),
        (r#"[{"id":7,"jsonrpc":"1.0","method":"a"}]"#, None),
    ] {
        let error = scan(document.as_bytes(), Source::Client).unwrap_err();
        let found = error.id.map(|span| span.of(document.as_bytes()));
        assert_eq!(found, id.map(str::as_bytes), "{document} {error:?}");
    }
}

#[test]
fn equal_keys_are_refused_by_their_decoded_value() {
    let with =
        |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{params}}}"#);
    for params in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":1}"#,
        r#"{"x":[{"y":{"b":1,"c":2,"\u0062":3}}]}"#,
        r#"{"":1,"":2}"#,
        r#"{"é":1,"\u00E9":2}"#,
        r#"{"😀":1,"\ud83d\ude00":2}"#,
    ] {
        each(&with(params), ScanReason::DuplicateKey, None);
    }
    for params in [
        r#"{"a":1,"A":1}"#,
        r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#,
    ] {
        both(&with(params), None);
    }
    // What is acted on must not be read in two ways, whoever wrote it.
    for document in [
        r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"a"}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"a"}"#,
        r#"{"jsonrpc":"2.0","id":1,"\u0069d":1,"method":"a"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"a"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{},"params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1},"error":{"code":1}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"code":1}}"#,
        r#"{"jsonrpc":"2.0","method":"a","params":{"progressToken":1,"progressToken":2}}"#,
        r#"{"jsonrpc":"2.0","method":"a","params":{"_meta":{"progressToken":1},"_meta":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"1"},"task":0}}"#,
    ] {
        both(document, ScanReason::DuplicateKey);
    }
    each(
        r#"{"jsonrpc":"2.0","id":1,"method":"a","x":1,"x":2}"#,
        ScanReason::DuplicateKey,
        None,
    );

    // Many keys, in one object and around others: the last equals one of the first, or the one before.
    for count in [10, 15, 16, 17, 31, 32, 33, 200, 20_000] {
        let before = format!("k{}", count - 1);
        for last in ["k7", "k\\u0037", &before, "new"] {
            let keys: Vec<_> = (0..count)
                .map(|n| format!("\"k{n}\":{{\"k1\":0}}"))
                .collect();
            let params = format!("{{{},\"{last}\":0}}", keys.join(","));
            // The keys around it are still known when it has ended.
            let around = with(&format!(r#"{{"a":{{}},"b":{params},"a":[]}}"#));
            assert_eq!(
                reason(&around, Source::Client),
                Some(ScanReason::DuplicateKey)
            );
            let expected = (last != "new").then_some(ScanReason::DuplicateKey);
            each(&with(&params), expected, None);
            each(
                &with(&format!(r#"{{"k1":{{}},"b":{params},"k2":[]}}"#)),
                expected,
                None,
            );
        }
    }
}

#[test]
fn escaped_keys_are_the_keys_that_they_decode_to() {
    let document = r#"{"\u006asonrpc":"2\u002e0","i\u0064":5,"m\u0065thod":"tools\/c\u0061ll",
        "par\u0061ms":{"n\u0061me":"x\ty","Name":"no","_m\u0065ta":{"progressTo\u006ben":"t"}}}"#;
    let document = &document.replace('\t', "\\t");
    for source in SOURCES {
        let envelope = single(document, source);
        let text = |field| envelope.text(field, document.as_bytes());
        assert_eq!(
            envelope.raw(Field::Id, document.as_bytes()),
            Some(&b"5"[..])
        );
        assert_eq!(text(Field::Id), None);
        assert_eq!(text(Field::Method).as_deref(), Some("tools/call"));
        assert_eq!(text(Field::Name).as_deref(), Some("x\ty"));
        assert_eq!(text(Field::ProgressToken).as_deref(), Some("t"));
        assert_eq!(text(Field::Uri), None);
        assert!(envelope.has_line_breaks());
    }
}

#[test]
fn fields_are_found_only_where_they_belong() {
    let document = r#"{"jsonrpc":"2.0","method":"a","x":{"id":1,"params":{"name":"a"}},"params":{"params":{
        "name":"b"},"arguments":{"name":"c","_meta":{"progressToken":1}},"x":[{"uri":"d"}],"_meta":[{
        "progressToken":2}],"result":{"task":{"taskId":"e"}}}}"#;
    let envelope = single(document, Source::Client);
    assert_eq!(envelope.kind(), Kind::Notification);
    for (field, _) in FIELDS {
        let is_there = matches!(
            field,
            Field::Method | Field::Params | Field::Arguments | Field::Meta
        );
        assert_eq!(envelope.get(field).is_some(), is_there, "{field:?}");
    }
}

#[test]
fn lone_surrogates_pass_only_where_nothing_is_read() {
    let lone = r#""\ud800""#;
    let message = |params: &str| format!(r#"{{"jsonrpc":"2.0","method":"a","params":{params}}}"#);
    both(
        &message(&format!(r#"{{"arguments":{{"x":{lone}}}}}"#)),
        None,
    );
    both(
        &message(&format!(r#"{{"name":{lone}}}"#)),
        ScanReason::NotJson,
    );
    both(
        &message(&format!(r#"{{"_meta":{{"progressToken":{lone}}}}}"#)),
        ScanReason::NotJson,
    );
    both(&message(&format!(r#"{{{lone}:1}}"#)), ScanReason::NotJson);
    for object in ["arguments", "name", "_meta\":{\"progressToken"] {
        let close = if object.contains('{') { "}" } else { "" };
        each(
            &message(&format!(r#"{{"{object}":{{{lone}:1}}{close}}}"#)),
            ScanReason::NotJson,
            None,
        );
    }
    both(
        &format!(r#"{{"jsonrpc":"2.0","method":{lone}}}"#),
        ScanReason::NotJson,
    );
    let response = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{lone}}}"#);
    both(&response, None);
    let envelope = single(&response, Source::Child);
    assert_eq!(envelope.text(Field::Result, response.as_bytes()), None);
}

#[test]
fn messages_nest_to_the_limit_and_no_further() {
    let nested = |levels: usize| {
        // The message is one level.
        let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","x":{open}{close}}}"#)
    };
    both(&nested(MAX_DEPTH), None);
    both(&nested(MAX_DEPTH + 1), ScanReason::TooDeep);
    both(&format!("[{}]", nested(MAX_DEPTH)), None);
    both(&format!("[{}]", nested(MAX_DEPTH + 1)), ScanReason::TooDeep);
    both(&"[".repeat(1_000_000), ScanReason::TooDeep);
    both(&"{\"a\":".repeat(1_000_000), ScanReason::TooDeep);
    assert!(ScanReason::TooDeep.is_parse_error());
    // Depth is of what is open, not of all that was opened.
    both(
        &format!(
            r#"{{"jsonrpc":"2.0","method":"a","x":[{}0]}}"#,
            "[{}],".repeat(1000)
        ),
        None,
    );
}

#[test]
fn batches_are_bounded_and_judged_as_a_whole() {
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#;
    let batch = |count: usize| format!("[{}]", vec![message; count].join(", "));
    let document = batch(MAX_BATCH);
    let Ok(Document::Batch(envelopes)) = scan(document.as_bytes(), Source::Client) else {
        panic!("refused");
    };
    assert_eq!(envelopes.len(), MAX_BATCH);
    for envelope in &envelopes {
        assert_eq!(envelope.span().of(document.as_bytes()), message.as_bytes());
    }
    both(&batch(MAX_BATCH + 1), ScanReason::BatchTooLong);
    both(&format!("[{message},{{}}]"), ScanReason::NotJsonRpc);
    both(&format!("[{message},[{message}]]"), ScanReason::NotAnObject);
    // The grammar has the last word.
    both(&format!("[{{}},{message}"), ScanReason::NotJson);
    both(&batch(MAX_BATCH + 1).replace(']', "}"), ScanReason::NotJson);
    // Keys are equal within an object, not across messages.
    both(&batch(2), None);
}

#[test]
fn line_breaks_are_seen_between_tokens_of_the_message_alone() {
    let has = |document: &str| {
        let scanned = scan(document.as_bytes(), Source::Client).unwrap();
        scanned
            .messages()
            .iter()
            .map(Envelope::has_line_breaks)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        has("\n{\"jsonrpc\":\"2.0\",\"method\":\"\\n\\u000d\u{2028}\"}\r\n"),
        [false]
    );
    assert_eq!(has("{\"jsonrpc\":\"2.0\",\"method\":\"a\"\n}"), [true]);
    assert_eq!(has("{\r\"jsonrpc\":\"2.0\",\"method\":\"a\"}"), [true]);
    let plain = "{\"jsonrpc\":\"2.0\",\"method\":\"a\"}";
    assert_eq!(
        has(&format!("[\n{plain},\n{{\n{}\n,{plain}]", &plain[1..])),
        [false, true, false]
    );
}

#[test]
fn every_reason_is_told_in_other_words() {
    let mut told = std::collections::BTreeSet::new();
    for (document, words) in [
        (&b"\xff"[..], "not UTF-8"),
        (b"{", "not JSON"),
        (&[b'['; 66], "nested too deeply"),
        (br#"{"a":1,"a":1}"#, "duplicate key"),
        (b"1", "not an object"),
        (b"[]", "empty batch"),
        (b"{}", "not JSON-RPC 2.0"),
        (br#"{"jsonrpc":"2.0","id":null,"method":""}"#, "invalid id"),
        (br#"{"jsonrpc":"2.0","method":1}"#, "invalid method"),
        (
            br#"{"jsonrpc":"2.0","method":"","params":[]}"#,
            "invalid params",
        ),
        (br#"{"jsonrpc":"2.0"}"#, "neither a request nor a response"),
        (
            br#"{"jsonrpc":"2.0","id":1,"error":1}"#,
            "invalid error object",
        ),
    ] {
        let error = scan(document, Source::Client).unwrap_err();
        assert_eq!(error.to_string(), words);
        assert!(told.insert(words));
    }
    assert_eq!(ScanReason::BatchTooLong.to_string(), "batch too long");
}
