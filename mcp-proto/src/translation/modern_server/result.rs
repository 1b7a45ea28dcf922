//! What a modern result must carry and a legacy one does not, put in as splices: no byte of the
//! child's is changed, and what it has of these members already is left as it is.

use crate::decimal::Decimal;
use crate::envelope::{Envelope, Field, Span};
use crate::framing::{Frame, Text, splice};
use crate::modern::CallKind;

/// The key of `_meta` that says who has answered.
pub(super) const SERVER_INFO: &str = "\"io.modelcontextprotocol/serverInfo\":";

/// The child's answer as the answer to `request`: with `resultType`, with caching hints where its
/// kind has them (MCP 2026-07-28, caching), and with the server's identity, which is raw JSON on
/// one line. `None` if the result is no object.
pub(super) fn complete(
    request: u64,
    kind: CallKind,
    server_info: Option<&str>,
    text: Text<'_>,
    message: &Envelope,
) -> Option<Frame> {
    let document = text.as_bytes();
    let result = message.get(Field::Result).filter(is_object(document))?;
    let lacks = |field| message.get(field).is_none();
    let is_complete = message
        .text(Field::ResultType, document)
        .is_none_or(|found| found == "complete");

    let mut added = String::new();
    if lacks(Field::ResultType) {
        added.push_str(",\"resultType\":\"complete\"");
    }
    if is_complete && kind.is_cacheable() {
        if lacks(Field::ResultTtl) {
            added.push_str(",\"ttlMs\":0");
        }
        if lacks(Field::ResultCacheScope) {
            added.push_str(",\"cacheScope\":\"private\"");
        }
    }
    let mut to_meta = None;
    if let Some(server_info) = server_info.filter(|_| lacks(Field::ResultServerInfo)) {
        match message.get(Field::ResultMeta) {
            None => added.push_str(&format!(",\"_meta\":{{{SERVER_INFO}{server_info}}}")),
            Some(meta) => {
                to_meta = Some((meta, format!(",{SERVER_INFO}{server_info}")))
                    .filter(|(meta, _)| is_object(document)(meta));
            }
        }
    }

    let id = Decimal::new(request);
    let mut edits = vec![(message.get(Field::Id)?, id.as_bytes())];
    edits.extend(member_edit(document, result, &added));
    if let Some((meta, added)) = &to_meta {
        edits.extend(member_edit(document, *meta, added));
    }
    edits.sort_by_key(|(span, _)| span.start);
    let breaks = message.has_line_breaks();
    Some(splice(b"", text, message.span(), breaks, &edits, b""))
}

/// The edit that adds members to an object, at its end; `added` begins with a comma.
fn member_edit<'a>(document: &[u8], object: Span, added: &'a str) -> Option<(Span, &'a [u8])> {
    let end = object.end - 1;
    let inside = Span {
        start: object.start + 1,
        end,
    };
    let is_empty = inside.of(document).trim_ascii().is_empty();
    let added = &added.as_bytes()[usize::from(is_empty).min(added.len())..];
    let here = Span { start: end, end };
    (!added.is_empty()).then_some((here, added))
}

fn is_object(document: &[u8]) -> impl Fn(&Span) -> bool {
    move |span| document[span.start as usize] == b'{'
}
