//! A record as one line of JSON.

use std::fmt::{Display, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcp_proto::AuditRecord;

use super::chain::{BEGINS, CLASS, Chain, LOST, TORN};
use crate::logging::misleads;

/// The last moment that RFC 3339 can write: the end of the year 9999.
pub(crate) const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);

/// A line that is being written: a JSON object without its end.
struct Line(String);

impl Line {
    fn new(time: SystemTime, class: &str, event: &str) -> Self {
        // A clock that is far off must not cost the record.
        let time = time.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST_SECOND);
        let mut line = Self(String::with_capacity(512));
        line.0.push('{');
        line.text("time", humantime::format_rfc3339_millis(time));
        line.text("audit", class);
        line.text("event", event);
        line
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{name}\":");
    }

    fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        let _ = write!(self.0, "{number}");
    }

    fn text(&mut self, name: &str, text: impl Display) {
        self.name(name);
        push_json(&mut self.0, &bounded(text.to_string()));
    }

    fn maybe(&mut self, name: &str, text: Option<impl Display>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// Ends the line as the next of `chain`, without a newline.
    fn seal(mut self, chain: &mut Chain) -> String {
        let seq = chain.seq();
        self.number("seq", seq);
        self.text("prev", chain.prev());
        self.0.push('}');
        chain.follow(seq, self.0.as_bytes());
        self.0
    }
}

/// `record` as the next line of `chain`.
pub(super) fn record(record: &AuditRecord, time: SystemTime, chain: &mut Chain) -> String {
    let event = record.event;
    let mut line = Line::new(time, event.class().as_str(), event.as_str());
    line.text("outcome", event.outcome().as_str());
    line.maybe("reason", event.reason());
    line.maybe("verifier", event.verifier().map(|kind| kind.as_str()));
    if let Some(count) = event.count() {
        line.number("count", count);
    }
    if let Some(caller) = &record.caller {
        line.text("ip", caller.address);
        if let Some(identity) = &caller.identity {
            let principal = &identity.principal;
            line.text("issuer", &principal.issuer);
            line.text("principal", &principal.subject);
            line.maybe("client_id", principal.client_id.as_ref());
        }
    }
    line.maybe("session", record.session);
    line.maybe("method", record.method.as_ref());
    line.maybe("name", record.name.as_ref());
    line.maybe("request", record.request.as_ref());
    if let Some(upstream) = record.upstream {
        line.number("upstream", upstream.get());
    }
    line.seal(chain)
}

/// Says that nothing precedes, and why, where something else stands before.
pub(super) fn begins(reason: Option<&str>, time: SystemTime, chain: &mut Chain) -> String {
    *chain = Chain::default();
    let mut line = Line::new(time, CLASS, BEGINS);
    line.maybe("reason", reason);
    line.seal(chain)
}

/// Says that the line before was not written to its end.
pub(super) fn torn(time: SystemTime, chain: &mut Chain) -> String {
    Line::new(time, CLASS, TORN).seal(chain)
}

/// Says that `count` records were not written.
pub(super) fn lost(count: u64, time: SystemTime, chain: &mut Chain) -> String {
    let mut line = Line::new(time, CLASS, LOST);
    line.number("count", count);
    line.seal(chain)
}

/// `text`, cut to [`AuditRecord::TEXT_BYTES`] and marked if it is longer.
pub(crate) fn bounded(mut text: String) -> String {
    let most = text.len().min(AuditRecord::TEXT_BYTES);
    let end = (0..=most)
        .rfind(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    let more = text.len() - end;
    if more > 0 {
        text.truncate(end);
        let _ = write!(text, "...({more} more bytes)");
    }
    text
}

/// Appends `text` as a JSON string (RFC 8259 section 7) that any reader shows on one line, and in
/// its order.
pub(crate) fn push_json(line: &mut String, text: &str) {
    let json = serde_json::Value::from(text).to_string();
    for c in json.chars() {
        if c.is_control() || misleads(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        } else {
            line.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_proto::auth::{Identity, Principal, VerifierKind};
    use mcp_proto::{AuditEvent, Caller, Refusal, RequestId};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn time(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn known() -> AuditRecord {
        let principal = Principal {
            issuer: "https://as.example.org".to_owned(),
            subject: "ada".to_owned(),
            client_id: Some("editor".to_owned()),
        };
        AuditRecord {
            request: RequestId::parse(b"3f9a12c4-17"),
            caller: Some(Caller {
                address: "192.0.2.7".parse().unwrap(),
                identity: Some(Arc::new(Identity {
                    principal,
                    scopes: Vec::new(),
                    expires_at: None,
                })),
            }),
            method: Some("tools/call".into()),
            name: Some("echo".into()),
            ..AuditRecord::new(AuditEvent::Authenticated(VerifierKind::Jwt))
        }
    }

    #[test]
    fn fields_stand_in_their_order_and_absent_ones_nowhere() {
        let mut chain = Chain::default();
        let line = record(&known(), time(1_234), &mut chain);
        let zeros = "0".repeat(64);
        assert_eq!(
            line,
            format!(
                "{{\"time\":\"1970-01-01T00:00:01.234Z\",\"audit\":\"AUTH\",\
                 \"event\":\"authenticated\",\"outcome\":\"success\",\"verifier\":\"jwt\",\
                 \"ip\":\"192.0.2.7\",\"issuer\":\"https://as.example.org\",\
                 \"principal\":\"ada\",\"client_id\":\"editor\",\"method\":\"tools/call\",\
                 \"name\":\"echo\",\"request\":\"3f9a12c4-17\",\"seq\":1,\"prev\":\"{zeros}\"}}"
            )
        );
        let line = record(
            &AuditRecord::new(AuditEvent::LineSkipped { count: 3 }),
            time(0),
            &mut chain,
        );
        let prev = line.find("\"prev\"").unwrap();
        assert_eq!(
            line[..prev],
            *"{\"time\":\"1970-01-01T00:00:00.000Z\",\"audit\":\"SERVER\",\
              \"event\":\"line-skipped\",\"outcome\":\"failure\",\"count\":3,\"seq\":2,"
        );
    }

    #[test]
    fn a_refusal_tells_its_reason() {
        let refused = AuditRecord::new(AuditEvent::Refused(Refusal::AuditUnavailable));
        let line = record(&refused, time(0), &mut Chain::default());
        assert!(line.contains("\"audit\":\"REFUSAL\""), "{line}");
        assert!(line.contains("\"reason\":\"audit-unavailable\""), "{line}");
    }

    #[test]
    fn a_clock_that_is_far_off_costs_nothing() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        let after = UNIX_EPOCH + LAST_SECOND + Duration::from_secs(1 << 36);
        for (time, year) in [(before, "\"1970-"), (after, "\"9999-")] {
            let line = record(&known(), time, &mut Chain::default());
            assert!(line.contains(year), "{line}");
        }
    }

    #[test]
    fn what_is_hidden_or_turned_around_is_escaped() {
        let mut line = String::new();
        push_json(
            &mut line,
            "é\n\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{2028}\u{200b}\u{e0041}\"\\",
        );
        assert_eq!(
            line,
            r#""é\n\u001b[2J\u009b\u007f\u202e\u2028\u200b\udb40\udc41\"\\""#
        );
    }

    proptest! {
        #[test]
        fn a_text_reads_as_it_was(text: String) {
            let mut line = String::new();
            push_json(&mut line, &text);
            prop_assert!(!line.chars().any(|c| c.is_control() || misleads(c)));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }

        #[test]
        fn texts_are_bounded(text in "\\PC{0,400}") {
            let cut = bounded(text.clone());
            prop_assert!(cut.len() <= AuditRecord::TEXT_BYTES + 32);
            prop_assert_eq!(cut == text, text.len() <= AuditRecord::TEXT_BYTES);
        }
    }
}
