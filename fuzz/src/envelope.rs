//! `mcp_proto::envelope` against serde_json. An input is a document.

#[path = "../../mcp-proto/tests/models/envelope.rs"]
mod model;

use bytes::Bytes;
use mcp_proto::envelope::{Envelope, Field, RequestId, scan};
use mcp_proto::framing::{Text, splice};
use serde_json::Value;

use self::model::{FIELDS, SOURCES, string};

/// What the gateway puts in the place of ids and tokens.
const MINTED: &str = "7";

/// The members that it puts it in the place of.
const REPLACED: [Field; 4] = [
    Field::Id,
    Field::ProgressToken,
    Field::Progress,
    Field::RequestId,
];

/// Scans `document` as a client's and as a child's. Refusals, kinds and spans are to be those that
/// serde_json leads to; what is accepted is spliced, and is to be the same message then but for the
/// splices.
pub fn check(document: &[u8]) {
    for source in SOURCES {
        if model::check(document, source) {
            let scanned = scan(document, source).expect("it was accepted a moment ago");
            for envelope in scanned.messages() {
                check_texts(document, envelope);
                check_splices(document, envelope);
            }
        }
    }
}

fn check_texts(document: &[u8], envelope: &Envelope) {
    for (field, _) in FIELDS {
        let raw = envelope.raw(field, document);
        let raw = raw.map(|raw| std::str::from_utf8(raw).expect("a part of JSON is UTF-8"));
        let text = raw.and_then(string);
        assert_eq!(envelope.text(field, document).as_deref(), text.as_deref());
        if field == Field::Id
            && let Some(raw) = raw
        {
            let id = match &text {
                Some(text) => RequestId::String(text.as_str().into()),
                None if raw == "-0" => RequestId::Integer("0".into()),
                None => RequestId::Integer(raw.into()),
            };
            assert_eq!(RequestId::decode(raw.as_bytes()), Some(id));
        }
    }
}

fn check_splices(document: &[u8], envelope: &Envelope) {
    let mut spans: Vec<_> = REPLACED
        .into_iter()
        .filter_map(|field| envelope.get(field))
        .collect();
    spans.sort_by_key(|span| span.start);
    let edits: Vec<_> = spans
        .into_iter()
        .map(|span| (span, MINTED.as_bytes()))
        .collect();
    let shared = Bytes::copy_from_slice(document);
    let (message, line_breaks) = (envelope.span(), envelope.has_line_breaks());
    let line = splice(b"", Text::Long(&shared), message, line_breaks, &edits, b"").to_bytes();
    assert!(!line.iter().any(|byte| b"\r\n".contains(byte)), "one line");

    // serde_json's tree holds no lone surrogates and no numbers beyond an f64.
    let Ok(mut expected) = serde_json::from_slice::<Value>(message.of(document)) else {
        return;
    };
    for field in REPLACED {
        if envelope.get(field).is_some() {
            let (_, path) = FIELDS
                .into_iter()
                .find(|&(other, _)| other == field)
                .expect("every field is there");
            let member = path
                .iter()
                .try_fold(&mut expected, |at, key| at.get_mut(key));
            *member.expect("serde_json finds it too") = MINTED.parse().expect("JSON");
        }
    }
    let sent: Value = serde_json::from_slice(&line).expect("what is sent is JSON");
    assert_eq!(sent, expected);
}
