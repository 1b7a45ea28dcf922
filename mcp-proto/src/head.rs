//! Heads of requests and responses: the fields that the machines use, and no others.
//!
//! A request's head borrows from the driver's own; a response's is a closed set. Both stand on
//! `http`'s types, and converting to and from a driver's allocates nothing per field.

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::id::SessionId;
use crate::refusal::Refusal;
use crate::request_id::RequestId;
use crate::version::{MODERN, Version};

/// What the names of headers begin with that mirror a tool's parameters (MCP 2026-07-28, Streamable
/// HTTP, "Custom Headers from Tool Parameters").
const PARAM_PREFIX: &str = "Mcp-Param-";

/// A field that must stand alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Field<'a> {
    /// Not sent.
    #[default]
    Absent,
    /// Sent once, with this value.
    One(&'a [u8]),
    /// Sent more than once.
    Repeated,
}

impl<'a> Field<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Absent => Self::One(value),
            Self::One(_) | Self::Repeated => Self::Repeated,
        };
    }

    /// The value, if it was sent once.
    pub fn value(self) -> Option<&'a [u8]> {
        match self {
            Self::One(value) => Some(value),
            Self::Absent | Self::Repeated => None,
        }
    }
}

/// Which of the two kinds of answer the `Accept` fields admit (RFC 9110 section 12.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Accept {
    sent: bool,
    json: Admits,
    events: Admits,
}

/// How specific the range is that decided, and what it decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Admits {
    precedence: u8,
    admitted: bool,
}

impl Admits {
    /// The most specific range decides; of two alike, the one that admits.
    fn decide(&mut self, precedence: u8, admitted: bool) {
        if precedence > self.precedence {
            *self = Self {
                precedence,
                admitted,
            };
        } else if precedence == self.precedence {
            self.admitted |= admitted;
        }
    }
}

impl Accept {
    fn add(&mut self, value: &[u8]) {
        self.sent = true;
        for element in value.split(|&byte| byte == b',') {
            let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let range = parts.next().unwrap_or_default();
            // A weight of zero means "not acceptable"; whatever is no weight at all is left out.
            let refused = parts.any(|parameter| {
                split_once_equals(parameter)
                    .is_some_and(|(name, value)| name.eq_ignore_ascii_case(b"q") && is_zero(value))
            });
            let admitted = !refused;
            if range == b"*/*" {
                self.json.decide(1, admitted);
                self.events.decide(1, admitted);
            } else if range.eq_ignore_ascii_case(b"application/*") {
                self.json.decide(2, admitted);
            } else if range.eq_ignore_ascii_case(b"text/*") {
                self.events.decide(2, admitted);
            } else if range.eq_ignore_ascii_case(b"application/json") {
                self.json.decide(3, admitted);
            } else if range.eq_ignore_ascii_case(b"text/event-stream") {
                self.events.decide(3, admitted);
            }
        }
    }

    pub(crate) fn admits_json(self) -> bool {
        !self.sent || self.json.admitted
    }

    pub(crate) fn admits_events(self) -> bool {
        !self.sent || self.events.admitted
    }
}

fn split_once_equals(parameter: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = parameter.iter().position(|&byte| byte == b'=')?;
    Some((
        parameter[..at].trim_ascii(),
        parameter[at + 1..].trim_ascii(),
    ))
}

/// Whether the codings are known ones with `chunked` last and nowhere else (RFC 9112 section 7), so
/// that the body's end can be told though its content cannot be read.
pub(crate) fn ends_in_chunks(codings: &[u8]) -> bool {
    let mut codings = codings.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let known = |coding: &[u8]| {
        ["gzip", "x-gzip", "deflate", "compress", "x-compress"]
            .iter()
            .any(|known| coding.eq_ignore_ascii_case(known.as_bytes()))
    };
    codings
        .next()
        .is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"))
        && codings.all(known)
}

/// `0`, `0.`, `0.0` to `0.000`.
fn is_zero(weight: &[u8]) -> bool {
    match weight.split_first() {
        Some((b'0', [])) => true,
        Some((b'0', [b'.', digits @ ..])) => digits.iter().all(|&digit| digit == b'0'),
        _ => false,
    }
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a str,
    pub(crate) authority: Option<&'a str>,
    pub(crate) host: Field<'a>,
    pub(crate) origin: Field<'a>,
    pub(crate) content_type: Field<'a>,
    pub(crate) content_encoding: bool,
    pub(crate) content_length: Field<'a>,
    pub(crate) transfer_encoding: Field<'a>,
    pub(crate) accept: Accept,
    pub(crate) session: Field<'a>,
    pub(crate) version: Field<'a>,
    pub(crate) mcp_method: Field<'a>,
    pub(crate) mcp_name: Field<'a>,
    /// What follows `Mcp-Param-` in each name, in the case that it came in, and the value.
    pub(crate) mcp_params: Vec<(&'a str, &'a [u8])>,
    pub(crate) last_event_id: Field<'a>,
    pub(crate) authorization: Field<'a>,
    pub(crate) request_id: Field<'a>,
    /// `Access-Control-Request-Headers`
    pub(crate) wanted_headers: Field<'a>,
    /// Every value of `X-Forwarded-For`, in their order.
    pub(crate) forwarded_for: Vec<&'a [u8]>,
    /// Fields, and the bytes of all names and values.
    pub(crate) field_count: usize,
    pub(crate) field_bytes: usize,
}

impl<'a> RequestHead<'a> {
    /// The head of a request with this method and target.
    ///
    /// `target` is the path and query; `authority` is the authority of an absolute-form target
    /// (RFC 9112 section 3.2.2). `fields` are all of the head's, with their values as sent but for
    /// white space around them; names may be in any case.
    pub fn new(
        method: &'a Method,
        target: &'a str,
        authority: Option<&'a str>,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let mut head = Self {
            method,
            target,
            authority,
            host: Field::Absent,
            origin: Field::Absent,
            content_type: Field::Absent,
            content_encoding: false,
            content_length: Field::Absent,
            transfer_encoding: Field::Absent,
            accept: Accept::default(),
            session: Field::Absent,
            version: Field::Absent,
            mcp_method: Field::Absent,
            mcp_name: Field::Absent,
            mcp_params: Vec::new(),
            last_event_id: Field::Absent,
            authorization: Field::Absent,
            request_id: Field::Absent,
            wanted_headers: Field::Absent,
            forwarded_for: Vec::new(),
            field_count: 0,
            field_bytes: 0,
        };
        for (name, value) in fields {
            head.field_count += 1;
            // With the colon, a space and the line's end.
            head.field_bytes += name.len() + value.len() + 4;
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            // Lengths first: one comparison passes over most fields that are of no interest.
            match name.len() {
                4 if is("host") => head.host.add(value),
                6 if is("origin") => head.origin.add(value),
                6 if is("accept") => head.accept.add(value),
                8 if is("mcp-name") => head.mcp_name.add(value),
                10 if is("mcp-method") => head.mcp_method.add(value),
                12 if is("content-type") => head.content_type.add(value),
                12 if is("x-request-id") => head.request_id.add(value),
                13 if is("last-event-id") => head.last_event_id.add(value),
                13 if is("authorization") => head.authorization.add(value),
                14 if is("mcp-session-id") => head.session.add(value),
                14 if is("content-length") => head.content_length.add(value),
                15 if is("x-forwarded-for") => head.forwarded_for.push(value),
                16 if is("content-encoding") => {
                    head.content_encoding |= !value.eq_ignore_ascii_case(b"identity");
                }
                17 if is("transfer-encoding") => head.transfer_encoding.add(value),
                20 if is("mcp-protocol-version") => head.version.add(value),
                30 if is("access-control-request-headers") => head.wanted_headers.add(value),
                _ => {
                    let param = param_suffix(name).map(|suffix| (suffix, value));
                    head.mcp_params.extend(param);
                }
            }
        }
        head
    }

    /// Whether `MCP-Protocol-Version` names the revision without sessions; or one that is not known,
    /// and nothing else in the head is of a revision with sessions.
    pub(crate) fn is_modern(&self) -> bool {
        self.version.value().is_some_and(|version| {
            version == MODERN.as_bytes()
                || self.session == Field::Absent && Version::parse(version).is_none()
        })
    }

    /// The target without its query. An absolute form may have no path, which is that of the root
    /// (RFC 9110, section 4.2.3).
    pub(crate) fn path(&self) -> &'a str {
        match self.target.split('?').next() {
            None | Some("") => "/",
            Some(path) => path,
        }
    }

    /// The body's length, where it is declared. An HTTP front end that reads laxly may have taken a
    /// body whose end another reader would see elsewhere (RFC 9112 section 6.3): such a one is
    /// refused, as far as the head still shows it.
    pub(crate) fn declared_length(&self) -> Result<Option<u64>, Refusal> {
        match (self.content_length, self.transfer_encoding) {
            (Field::Absent, Field::Absent) => Ok(None),
            (Field::Absent, Field::One(coding)) if coding.eq_ignore_ascii_case(b"chunked") => {
                Ok(None)
            }
            (Field::Absent, Field::One(codings)) if ends_in_chunks(codings) => {
                Err(Refusal::UnsupportedTransferCoding)
            }
            (Field::One(digits), Field::Absent) => {
                let is_plain = digits.iter().all(u8::is_ascii_digit)
                    && (digits.len() == 1 || digits.first() != Some(&b'0'));
                let length = std::str::from_utf8(digits)
                    .ok()
                    .and_then(|text| text.parse().ok());
                match length {
                    Some(length) if is_plain => Ok(Some(length)),
                    _ => Err(Refusal::AmbiguousLength),
                }
            }
            _ => Err(Refusal::AmbiguousLength),
        }
    }

    /// Whether a field that must stand alone stands twice.
    pub(crate) fn has_repeated_field(&self) -> bool {
        [
            self.origin,
            self.content_type,
            self.session,
            self.version,
            self.last_event_id,
            self.authorization,
        ]
        .contains(&Field::Repeated)
    }

    /// Whether the body is declared as JSON; parameters such as `charset` are allowed.
    pub(crate) fn has_json_body(&self) -> bool {
        self.content_type.value().is_some_and(|value| {
            let media_type = value.split(|&byte| byte == b';').next().unwrap_or_default();
            media_type
                .trim_ascii()
                .eq_ignore_ascii_case(b"application/json")
        })
    }
}

/// The kinds of content that the gateway sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// `application/json`
    Json,
    /// `text/event-stream`
    EventStream,
    /// `text/html; charset=utf-8`
    Html,
}

/// What a page of another origin is told (Fetch standard, "CORS protocol").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The origin that may read the response: the request's own, never `*`.
    pub(crate) origin: HeaderValue,
    /// Where this answers a preflight request, the headers that the request itself may have. Boxed:
    /// hardly any answer has it.
    pub(crate) allowed_headers: Option<Box<HeaderValue>>,
}

impl Cors {
    /// What a page of `origin`, which may send requests, is told of one with this head.
    pub(crate) fn of(head: &RequestHead<'_>, origin: HeaderValue) -> Self {
        let is_preflight = head.method == Method::OPTIONS;
        Self {
            origin,
            allowed_headers: is_preflight.then(|| Box::new(allowed_headers(head.wanted_headers))),
        }
    }
}

/// The headers that a request of another origin may have: those that MCP knows, and of those that are
/// wanted the ones that mirror a tool's parameters, which have names of their own.
fn allowed_headers(wanted: Field<'_>) -> HeaderValue {
    const KNOWN: &str = "Authorization, Content-Type, Accept, Mcp-Session-Id, \
                         MCP-Protocol-Version, Last-Event-ID, Mcp-Method, Mcp-Name, X-Request-Id";
    let mut value = KNOWN.to_owned();
    let names = wanted
        .value()
        .unwrap_or_default()
        .split(|&byte| byte == b',');
    for name in names {
        // Made of the characters of a name, in lower case.
        if let Ok(name) = HeaderName::from_bytes(name.trim_ascii())
            && param_suffix(name.as_str()).is_some()
        {
            value.push_str(", ");
            value.push_str(name.as_str());
        }
    }
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static(KNOWN))
}

/// What follows `Mcp-Param-` in a field's name.
fn param_suffix(name: &str) -> Option<&str> {
    let (prefix, suffix) = name.split_at_checked(PARAM_PREFIX.len())?;
    (prefix.eq_ignore_ascii_case(PARAM_PREFIX) && !suffix.is_empty()).then_some(suffix)
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// Bytes of the body, where it is complete already; `None` for a stream.
    pub length: Option<u64>,
    pub(crate) request: RequestId,
    pub(crate) content_type: Option<ContentType>,
    pub(crate) session: Option<SessionId>,
    pub(crate) allow: Option<&'static str>,
    pub(crate) retry_after: Option<u32>,
    pub(crate) challenge: Option<HeaderValue>,
    pub(crate) cors: Option<Cors>,
    pub(crate) close: bool,
}

impl ResponseHead {
    pub(crate) fn new(status: StatusCode, length: Option<u64>, request: RequestId) -> Self {
        Self {
            status,
            length,
            request,
            content_type: None,
            session: None,
            allow: None,
            retry_after: None,
            challenge: None,
            cors: None,
            close: false,
        }
    }

    /// Calls `field` with each field of the head, `Content-Length`, `Date` and those that belong to
    /// the connection excepted: these are the HTTP front end's.
    pub fn for_each_field(&self, mut field: impl FnMut(HeaderName, HeaderValue)) {
        const MCP_SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
        const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
        const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
        let request = HeaderValue::from_str(self.request.as_str());
        field(X_REQUEST_ID, request.expect("an id is visible ASCII"));
        if let Some(content_type) = self.content_type {
            let value = match content_type {
                ContentType::Json => "application/json",
                ContentType::EventStream => "text/event-stream",
                ContentType::Html => "text/html; charset=utf-8",
            };
            field(header::CONTENT_TYPE, HeaderValue::from_static(value));
            field(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            );
            if content_type == ContentType::EventStream {
                // nginx would gather events before it passes them on.
                field(ACCEL_BUFFERING, HeaderValue::from_static("no"));
            }
            if content_type == ContentType::Html {
                field(
                    header::CONTENT_SECURITY_POLICY,
                    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
                );
            }
        }
        field(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(session) = self.session {
            let mut value =
                HeaderValue::from_bytes(&session.to_text()).expect("hex digits are visible ASCII");
            value.set_sensitive(true);
            field(MCP_SESSION_ID, value);
        }
        if let Some(allow) = self.allow {
            field(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = self.retry_after {
            field(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = &self.challenge {
            field(header::WWW_AUTHENTICATE, challenge.clone());
        }
        if self.close {
            field(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(cors) = &self.cors {
            field(header::ACCESS_CONTROL_ALLOW_ORIGIN, cors.origin.clone());
            field(header::VARY, HeaderValue::from_static("Origin"));
            if let Some(allowed) = &cors.allowed_headers {
                field(
                    header::ACCESS_CONTROL_ALLOW_HEADERS,
                    HeaderValue::clone(allowed),
                );
                for (name, value) in [
                    (
                        header::ACCESS_CONTROL_ALLOW_METHODS,
                        "GET, POST, DELETE, OPTIONS",
                    ),
                    (header::ACCESS_CONTROL_MAX_AGE, "7200"),
                ] {
                    field(name, HeaderValue::from_static(value));
                }
            } else {
                field(
                    header::ACCESS_CONTROL_EXPOSE_HEADERS,
                    HeaderValue::from_static("Mcp-Session-Id, WWW-Authenticate, X-Request-Id"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(values: &[&str]) -> (bool, bool) {
        let mut accept = Accept::default();
        for value in values {
            accept.add(value.as_bytes());
        }
        (accept.admits_json(), accept.admits_events())
    }

    #[test]
    fn accept_admits_by_the_most_specific_range() {
        for (values, expected) in [
            (&[][..], (true, true)),
            (&["*/*"], (true, true)),
            (&["application/json, text/event-stream"], (true, true)),
            (&["application/json", "text/event-stream"], (true, true)),
            (
                &["APPLICATION/JSON;charset=utf-8, Text/Event-Stream; q=0.1"],
                (true, true),
            ),
            (&["application/*, text/*"], (true, true)),
            (&["application/json"], (true, false)),
            (&["text/event-stream"], (false, true)),
            (&["text/html"], (false, false)),
            (&[""], (false, false)),
            (&["*/*, text/event-stream;q=0"], (true, false)),
            (&["text/event-stream;q=0.000, */*;q=1"], (true, false)),
            (&["*/*;q=0"], (false, false)),
            (&["*/*;q=0, application/json"], (true, false)),
            (&["application/json;q=0.0001, */*"], (true, true)),
        ] {
            assert_eq!(accept(values), expected, "{values:?}");
        }
    }

    #[test]
    fn fields_with_underscores_stand_for_nothing() {
        let fields = [
            ("mcp_session_id", &b"x"[..]),
            ("Host", b"a"),
            ("HOST", b"b"),
            ("mcp-session-id", b"y"),
        ];
        let head = RequestHead::new(&Method::GET, "/mcp?q", None, fields.into_iter());
        assert_eq!(head.session, Field::One(b"y"));
        assert_eq!(head.host, Field::Repeated);
        assert_eq!(head.path(), "/mcp");
    }

    #[test]
    fn fields_that_mirror_parameters_are_kept_by_what_tells_them_apart() {
        let fields = [
            ("MCP-PARAM-Region", &b"a"[..]),
            ("mcp-param-region", b"b"),
            ("Mcp-Param-", b"c"),
            ("Mcp-Params", b"d"),
            ("Mcp-Parameters", b"e"),
            ("Mcp-Method", b"f"),
            ("mcp-name", b"g"),
        ];
        let head = RequestHead::new(&Method::POST, "/", None, fields.into_iter());
        assert_eq!(head.mcp_params, [("Region", &b"a"[..]), ("region", b"b")]);
        assert_eq!(head.mcp_method, Field::One(b"f"));
        assert_eq!(head.mcp_name, Field::One(b"g"));
    }

    #[test]
    fn preflight_requests_are_allowed_what_mirrors_parameters_and_nothing_else_of_their_choice() {
        let allowed = |method: &Method, wanted: &[&str]| {
            let name = "access-control-request-headers";
            let fields = wanted.iter().map(|value| (name, value.as_bytes()));
            let head = RequestHead::new(method, "/", None, fields);
            let cors = Cors::of(&head, HeaderValue::from_static("https://a.example"));
            let value = cors.allowed_headers?;
            let value = value.to_str().expect("visible ASCII").to_owned();
            Some(value.split_once(", X-Request-Id")?.1.to_owned())
        };
        assert_eq!(allowed(&Method::POST, &["mcp-param-a"]), None);
        for (wanted, expected) in [
            (&[][..], ""),
            (&["content-type,mcp-param-a"], ", mcp-param-a"),
            (&["Mcp-Param-B , mcp-param-a"], ", mcp-param-b, mcp-param-a"),
            (&["cookie, x-mcp-param-a, mcp-param-, mcp-param-a b, *"], ""),
            (&["mcp-param-a", "mcp-param-b"], ""),
        ] {
            let found = allowed(&Method::OPTIONS, wanted);
            assert_eq!(found.as_deref(), Some(expected), "{wanted:?}");
        }
    }

    #[test]
    fn lengths() {
        use Refusal::{AmbiguousLength, UnsupportedTransferCoding};
        for (fields, expected) in [
            (&[][..], Ok(None)),
            (&[("content-length", "0")], Ok(Some(0))),
            (&[("content-length", "10")], Ok(Some(10))),
            (&[("transfer-encoding", "Chunked")], Ok(None)),
            (&[("content-length", "010")], Err(AmbiguousLength)),
            (&[("content-length", "+1")], Err(AmbiguousLength)),
            (&[("content-length", "")], Err(AmbiguousLength)),
            (&[("content-length", "1, 1")], Err(AmbiguousLength)),
            (
                &[("content-length", "99999999999999999999")],
                Err(AmbiguousLength),
            ),
            (
                &[("content-length", "1"), ("content-length", "1")],
                Err(AmbiguousLength),
            ),
            (
                &[("content-length", "1"), ("transfer-encoding", "chunked")],
                Err(AmbiguousLength),
            ),
            (
                &[
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
                Err(AmbiguousLength),
            ),
            (
                &[("transfer-encoding", "gzip, chunked")],
                Err(UnsupportedTransferCoding),
            ),
            (
                &[("transfer-encoding", "chunked, chunked")],
                Err(AmbiguousLength),
            ),
            (
                &[("transfer-encoding", "chunked, gzip")],
                Err(AmbiguousLength),
            ),
            (
                &[("transfer-encoding", "nonsense, chunked")],
                Err(AmbiguousLength),
            ),
        ] {
            let fields = fields.iter().map(|&(name, value)| (name, value.as_bytes()));
            let head = RequestHead::new(&Method::POST, "/", None, fields);
            assert_eq!(head.declared_length(), expected);
        }
    }

    #[test]
    fn media_types() {
        for (value, json) in [
            (&b"application/json"[..], true),
            (b"Application/JSON ; charset=utf-8", true),
            (b"application/json5", false),
            (b"text/plain", false),
            (b"", false),
        ] {
            let fields = [("content-type", value)];
            let head = RequestHead::new(&Method::POST, "/", None, fields.into_iter());
            assert_eq!(head.has_json_body(), json);
        }
    }
}
