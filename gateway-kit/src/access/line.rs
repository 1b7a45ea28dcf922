//! An access record as one line, of text or of JSON.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcp_proto::{AccessRecord, Route};

use crate::audit::{LAST_SECOND, bounded, push_json};
use crate::settings::LogFormat;

/// Writes lines, of which each second has many.
pub(super) struct Formatter {
    format: LogFormat,
    /// The path of the MCP endpoint.
    path: Box<str>,
    /// The last second that was written, and how.
    second: u64,
    date: String,
}

impl Formatter {
    pub(super) fn new(format: LogFormat, path: &str) -> Self {
        Self {
            format,
            path: path.into(),
            second: u64::MAX,
            date: String::new(),
        }
    }

    /// Appends the line of `record`, whose request ended at `time`.
    pub(super) fn push(&mut self, text: &mut String, record: &AccessRecord, time: SystemTime) {
        let mut line = Line {
            text,
            json: self.format == LogFormat::Json,
        };
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = since.min(LAST_SECOND);
        if since.as_secs() != self.second {
            self.second = since.as_secs();
            let second = UNIX_EPOCH + Duration::from_secs(self.second);
            self.date = humantime::format_rfc3339_seconds(second).to_string();
            self.date.pop();
        }
        line.begin(&self.date, since.subsec_micros());
        line.word("request", record.request.as_str());
        if let Some(caller) = &record.caller {
            line.known("ip", caller.address);
        }
        line.word(
            "method",
            record.method.as_ref().map_or("-", |it| it.as_str()),
        );
        line.word(
            "path",
            match record.route {
                Route::Mcp => &self.path,
                Route::Health => "/health",
                Route::HealthLive => "/health/live",
                Route::HealthReady => "/health/ready",
                Route::Metadata => "/.well-known",
                Route::Root => "/",
                Route::Unknown => "-",
            },
        );
        if let Some(method) = &record.rpc_method {
            line.word("rpc", method);
        }
        if let Some(name) = &record.name {
            line.word("name", name);
        }
        if let Some(status) = record.status {
            line.number("status", status.as_u16().into());
        }
        if let Some(refusal) = record.refusal {
            line.word("reason", refusal.reason());
        }
        line.number("bytes_in", record.bytes_in);
        line.number("bytes_out", record.bytes_out);
        line.milliseconds("ms", record.duration);
        if let Some(duration) = record.child_duration {
            line.milliseconds("child_ms", duration);
        }
        if let Some(session) = record.session {
            line.known("session", session);
        }
        let caller = record.caller.as_ref();
        if let Some(identity) = caller.and_then(|caller| caller.identity.as_ref()) {
            line.word("principal", &bounded(identity.principal.subject.clone()));
        }
        for (name, holds) in [
            ("streamed", record.streamed),
            ("client_left", record.client_left),
        ] {
            if holds {
                line.name(name);
                line.text.push_str("true");
            }
        }
        line.text.push_str(if line.json { "}\n" } else { "\n" });
    }
}

/// A line that is being written.
struct Line<'a> {
    text: &'a mut String,
    json: bool,
}

impl Line<'_> {
    /// Begins as the lines of the log do.
    fn begin(&mut self, date: &str, micros: u32) {
        let (before, after) = match self.json {
            true => ("{\"timestamp\":\"", r#"","level":"INFO","target":"access""#),
            false => ("", "  INFO access:"),
        };
        self.text.push_str(before);
        self.text.push_str(date);
        self.fraction(1_000_000 + u64::from(micros));
        self.text.push('Z');
        self.text.push_str(after);
    }

    /// A point, and the digits of `one_and_digits` but the first, which holds their zeros in place.
    fn fraction(&mut self, one_and_digits: u64) {
        self.text.push('.');
        let mut buffer = itoa::Buffer::new();
        self.text.push_str(&buffer.format(one_and_digits)[1..]);
    }

    fn name(&mut self, name: &str) {
        let (before, after) = match self.json {
            true => (",\"", "\":"),
            false => (" ", "="),
        };
        for part in [before, name, after] {
            self.text.push_str(part);
        }
    }

    fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        self.text.push_str(itoa::Buffer::new().format(number));
    }

    fn milliseconds(&mut self, name: &str, duration: Duration) {
        self.number(
            name,
            u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        );
        self.fraction(1000 + u64::from(duration.subsec_micros() % 1000));
    }

    /// A value of which it is known that it is a word.
    fn known(&mut self, name: &str, value: impl std::fmt::Display) {
        self.name(name);
        let quote = if self.json { "\"" } else { "" };
        self.text.push_str(quote);
        let _ = write!(self.text, "{value}");
        self.text.push_str(quote);
    }

    /// Any text: as it is if it is a word; else as a JSON string, in a line of text too.
    fn word(&mut self, name: &str, value: &str) {
        self.name(name);
        let is_word = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        if value.is_empty() || !value.bytes().all(is_word) {
            return push_json(self.text, value);
        }
        let quote = if self.json { "\"" } else { "" };
        for part in [quote, value, quote] {
            self.text.push_str(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_proto::auth::{Identity, Principal};
    use mcp_proto::{Caller, ExchangeId, Refusal, RequestId};
    use proptest::prelude::*;
    use serde_json::Value;
    use std::sync::Arc;

    fn violation() -> AccessRecord {
        let caller = Caller {
            address: "192.0.2.7".parse().unwrap(),
            identity: None,
        };
        let request = RequestId::parse(b"3f9a12c4-17").unwrap();
        AccessRecord::of_violation(ExchangeId(17), request, Refusal::MalformedHead, caller, 80)
    }

    /// Of a call of `name` by `subject`.
    fn call(method: &str, name: &str, subject: &str) -> AccessRecord {
        let principal = Principal {
            issuer: "https://as.example.org".to_owned(),
            subject: subject.to_owned(),
            client_id: None,
        };
        AccessRecord {
            method: Some(http::Method::POST),
            route: Route::Mcp,
            status: None,
            refusal: None,
            rpc_method: Some(method.into()),
            name: Some(name.into()),
            caller: Some(Caller {
                address: "::1".parse().unwrap(),
                identity: Some(Arc::new(Identity {
                    principal,
                    scopes: Vec::new(),
                    expires_at: None,
                })),
            }),
            bytes_in: 3,
            duration: Duration::from_micros(12_045),
            child_duration: Some(Duration::from_nanos(999)),
            streamed: true,
            client_left: true,
            ..violation()
        }
    }

    fn line(format: LogFormat, record: &AccessRecord) -> String {
        let mut text = String::new();
        let time = UNIX_EPOCH + Duration::from_micros(1_000_234);
        Formatter::new(format, "/mcp").push(&mut text, record, time);
        text
    }

    #[test]
    fn fields_stand_in_their_order_and_absent_ones_nowhere() {
        assert_eq!(
            line(LogFormat::Text, &violation()),
            "1970-01-01T00:00:01.000234Z  INFO access: request=3f9a12c4-17 ip=192.0.2.7 \
             method=- path=- status=400 reason=malformed-head bytes_in=0 bytes_out=80 ms=0.000\n"
        );
        assert_eq!(
            line(LogFormat::Text, &call("tools/call", "echo this", "ada")),
            "1970-01-01T00:00:01.000234Z  INFO access: request=3f9a12c4-17 ip=::1 method=POST \
             path=/mcp rpc=tools/call name=\"echo this\" bytes_in=3 bytes_out=80 ms=12.045 \
             child_ms=0.000 principal=ada streamed=true client_left=true\n"
        );
    }

    #[test]
    fn a_clock_that_is_far_off_costs_nothing() {
        for (time, year) in [
            (UNIX_EPOCH - Duration::from_secs(1), "1970-"),
            (UNIX_EPOCH + Duration::from_secs(1 << 40), "9999-"),
        ] {
            let mut text = String::new();
            Formatter::new(LogFormat::Text, "/mcp").push(&mut text, &violation(), time);
            assert!(text.starts_with(year), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_names_both_forms_tell_it_on_one_plain_line(
            method: String, name: String, subject: String,
        ) {
            let record = call(&method, &name, &subject);
            let json = line(LogFormat::Json, &record);
            let text = line(LogFormat::Text, &record);
            for line in [&json, &text] {
                let (end, line) = (line.chars().next_back(), &line[..line.len() - 1]);
                prop_assert_eq!(end, Some('\n'));
                let plain = |c: char| !c.is_control() && !crate::logging::misleads(c);
                prop_assert!(line.chars().all(plain), "{}", line);
            }
            let value: Value = serde_json::from_str(&json).unwrap();
            for (field, told) in [("rpc", &method), ("name", &name)] {
                prop_assert_eq!(value[field].as_str(), Some(told.as_str()));
            }
            prop_assert_eq!(&value["request"], "3f9a12c4-17");
            prop_assert_eq!(&value["child_ms"], &Value::from(0.0));
            // A value cannot pass for a field of its own.
            for field in [" status=", " reason="] {
                let outside: String = text.split('"').step_by(2).collect();
                let escaped = text.contains("\\\"");
                prop_assert!(escaped || !outside.contains(field), "{}", text);
            }
        }
    }
}
