//! What a gateway makes of a connection's bounds and violations.

use std::collections::BTreeSet;
use std::time::Duration;

use mcp_proto::h1::{self, Violation};
use mcp_proto::{Limits, Refusal, RequestId};

const VIOLATIONS: [Violation; 10] = [
    Violation::MalformedHead,
    Violation::BadHost,
    Violation::TargetTooLong,
    Violation::HeadTooLarge,
    Violation::AmbiguousLength,
    Violation::UnsupportedTransferCoding,
    Violation::HeadTimeout,
    Violation::MalformedBody,
    Violation::BodyTooLarge,
    Violation::BodyTimeout,
];

#[test]
fn every_violation_is_a_refusal_of_its_own_that_closes_the_connection() {
    let (mut reasons, mut words) = (BTreeSet::new(), BTreeSet::new());
    for violation in VIOLATIONS {
        let refusal = Refusal::from(violation);
        assert_eq!(refusal.status(), violation.status(), "{violation:?}");
        assert!(reasons.insert(refusal.reason()));
        assert!(words.insert(violation.to_string()));

        let request = RequestId::parse(b"a-1").unwrap();
        let (head, body) = refusal.to_response(request);
        assert_eq!(head.status, violation.status());
        assert_eq!(head.length, Some(body.len() as u64));
        let mut fields = Vec::new();
        head.for_each_field(|name, value| fields.push((name, value)));
        let has = |name: &str, value: &str| fields.iter().any(|(n, v)| n == name && v == value);
        assert!(has("connection", "close"), "{violation:?}");
        assert!(has("content-type", "application/json"));
        assert!(has("x-request-id", "a-1"));
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["id"], serde_json::Value::Null);
        assert_eq!(body["error"]["code"], refusal.code());
        assert_eq!(body["error"]["data"]["requestId"], "a-1");
    }
}

#[test]
fn the_gateways_bounds_are_the_connections() {
    let limits = Limits {
        target_bytes: 1,
        head_bytes: 2,
        head_fields: 3,
        head_time: Duration::from_secs(4),
        body_bytes: 5,
        chunk_line_bytes: 6,
        chunk_framing_bytes: 7,
        keep_alive_time: Duration::from_secs(8),
        ..Limits::default()
    };
    let expected = h1::Limits {
        target_bytes: 1,
        head_bytes: 2,
        head_fields: 3,
        head_time: Duration::from_secs(4),
        body_bytes: 5,
        // The exchange's to watch.
        body_time: None,
        chunk_line_bytes: 6,
        chunk_framing_bytes: 7,
        keep_alive_time: Duration::from_secs(8),
    };
    assert_eq!(h1::Limits::from(&limits), expected);
    // By themselves the two have the same bounds.
    let defaults = h1::Limits {
        body_time: None,
        ..h1::Limits::default()
    };
    assert_eq!(h1::Limits::from(&Limits::default()), defaults);
}
