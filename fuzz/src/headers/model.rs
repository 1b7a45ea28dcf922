//! What a head leads to, read field by field in the plainest way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Method;
use mcp_proto::sse::EventId;
use mcp_proto::{Limits, Refusal};

use super::TOKEN;

/// An input: a method, and fields with their values, or without where they are not sent.
#[derive(Clone)]
pub(super) struct Input {
    method: Method,
    fields: Vec<(String, Option<String>)>,
}

/// What a request leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// It is refused.
    Refused(Refusal),
    /// The embedder is asked about this token.
    Asked(String),
    /// It is answered with this status.
    Status(u16),
    /// An event stream that begins behind so many of the events that were issued.
    Events(usize),
}

/// The fields that this model knows to say something of, with what a client would send.
const KNOWN: [(&str, Option<&str>); 9] = [
    ("host", Some("localhost:8080")),
    ("origin", None),
    ("authorization", None),
    ("content-type", Some("application/json")),
    ("content-encoding", None),
    ("accept", Some("application/json, text/event-stream")),
    ("mcp-protocol-version", None),
    ("mcp-session-id", None),
    ("last-event-id", None),
];

/// Fields that must stand alone; `Host` is another matter.
const SINGLE: [&str; 6] = [
    "origin",
    "content-type",
    "mcp-session-id",
    "mcp-protocol-version",
    "last-event-id",
    "authorization",
];

/// The revisions with sessions; whatever else a head names is one without, and known or not.
const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// The revision without sessions.
const MODERN: &str = "2026-07-28";

/// Fields that say where a body ends, and from whom a request comes: not this target's.
const LEFT_OUT: [&str; 3] = ["content-length", "transfer-encoding", "x-forwarded-for"];

/// What stands in an input for the session's id; `<event 0>` and so on stand for events' ids, and
/// [`NEXT`] for the id that no event has yet.
const SESSION: &str = "<session>";

/// See [`SESSION`].
const NEXT: &str = "<next event>";

impl Input {
    /// Reads an input; `None` if it is none that an HTTP parser would let through.
    pub(super) fn read(input: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(input).ok()?;
        if text.len() > 10 * 1024 {
            return None;
        }
        let mut lines = text.lines();
        let method = match lines.next()? {
            "POST" => Method::POST,
            "GET" => Method::GET,
            "DELETE" => Method::DELETE,
            _ => return None,
        };
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = match line.split_once(':') {
                Some((name, value)) => (name, Some(value.trim_matches([' ', '\t']))),
                None => (line, None),
            };
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            let is_control = |byte: u8| byte == 0x7f || byte < 0x20 && byte != b'\t';
            if name.is_empty()
                || !name.bytes().all(is_token)
                || value.is_some_and(|value| value.bytes().any(is_control))
            {
                return None;
            }
            if !LEFT_OUT
                .iter()
                .any(|left_out| name.eq_ignore_ascii_case(left_out))
            {
                fields.push((name.to_owned(), value.map(str::to_owned)));
            }
        }
        (fields.len() < 80).then_some(Self { method, fields })
    }

    /// With what a client would send besides, and with ids in their places.
    pub(super) fn complete(mut self, session: &str, issued: &[String], asks: bool) -> Head {
        for (name, value) in KNOWN {
            let value = match name {
                "authorization" if asks => Some(format!("Bearer {TOKEN}")),
                "mcp-session-id" => Some(SESSION.to_owned()),
                _ => value.map(str::to_owned),
            };
            let mut named = self.fields.iter();
            if value.is_some() && !named.any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                self.fields.push((name.to_owned(), value));
            }
        }
        let last = issued.last().expect("the stream has carried events");
        let mut next: EventId = last.parse().expect("an event's id");
        next.sequence += 1;
        let next = next.to_string();
        let fields = self.fields.into_iter().filter_map(|(name, value)| {
            let mut value = value?.replace(SESSION, session).replace(NEXT, &next);
            for (n, id) in issued.iter().enumerate() {
                value = value.replace(&format!("<event {n}>"), id);
            }
            Some((name, value))
        });
        Head {
            method: self.method,
            fields: fields.collect(),
        }
    }
}

/// A request's head.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) fields: Vec<(String, String)>,
}

impl Head {
    /// The values of a field.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter();
        let fields = fields.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that may stand once.
    fn value(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.values(name)[..] {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(Refusal::RepeatedField),
        }
    }

    /// The revision that the head names, if it is none with sessions.
    fn modern_version(&self) -> Option<&str> {
        let version = self.value("mcp-protocol-version").ok().flatten();
        version.filter(|version| !VERSIONS.contains(version))
    }

    /// What the request leads to at a gateway with this session, whose stream has carried events of
    /// these ids, and which asks for tokens or not.
    pub(super) fn judge(&self, session: &str, issued: &[String], asks: bool) -> Expected {
        let judged = self.judge_sender().and_then(|()| match asks {
            true => self.judge_credentials(),
            false => Ok(None),
        });
        match judged {
            Err(refusal) => Expected::Refused(refusal),
            Ok(Some(token)) => Expected::Asked(token.to_owned()),
            Ok(None) => self
                .judge_request(session, issued)
                .unwrap_or_else(Expected::Refused),
        }
    }

    fn judge_sender(&self) -> Result<(), Refusal> {
        let [host] = self.values("host")[..] else {
            return Err(Refusal::BadHost);
        };
        let host = Authority::read(host).ok_or(Refusal::BadHost)?;
        let port = host.port;
        let allowed = match &host.name {
            Name::Address(_) => true,
            Name::Registered(name) => match name.as_str() {
                "localhost" | "mcp.example.com" | "inner" => true,
                "ported" => port == Some(81),
                _ => false,
            },
        };
        if !allowed {
            return Err(Refusal::HostNotAllowed);
        }
        for name in SINGLE {
            self.value(name)?;
        }
        match self.value("origin")? {
            Some(origin) if !is_allowed_origin(origin) => Err(Refusal::OriginNotAllowed),
            _ if self.method != Method::POST && self.modern_version() == Some(MODERN) => {
                Err(Refusal::MethodNotAllowed)
            }
            _ => Ok(()),
        }
    }

    /// The token that the embedder is asked about; `None` if it is the one that was given out.
    fn judge_credentials(&self) -> Result<Option<&str>, Refusal> {
        let value = self.value("authorization")?;
        let value = value.ok_or(Refusal::CredentialsMissing)?;
        let end = value.find(|byte: char| !byte.is_ascii_alphanumeric());
        let (scheme, rest) = value.split_at(end.unwrap_or(value.len()));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::CredentialsMissing);
        }
        let token = rest.trim_start_matches(' ');
        let plain = token.trim_end_matches('=');
        let is_plain = |byte: char| byte.is_ascii_alphanumeric() || "-._~+/".contains(byte);
        let most = Limits::default().token_bytes;
        if token.len() == rest.len()
            || plain.is_empty()
            || !plain.chars().all(is_plain)
            || token.len() > most
        {
            return Err(Refusal::CredentialsMalformed);
        }
        Ok((token != TOKEN).then_some(token))
    }

    /// A notification of a revision without sessions, whose body names none.
    fn judge_mirrors(&self, version: &str) -> Result<Expected, Refusal> {
        let method = self.values("mcp-method");
        if !is_visible(version)
            || !(method.is_empty() || method == ["notifications/n"])
            || self.values("mcp-name").len() > 1
        {
            return Err(Refusal::HeaderMismatch);
        }
        match version {
            MODERN => Ok(Expected::Status(202)),
            _ => Err(Refusal::UnsupportedProtocolVersion),
        }
    }

    fn judge_request(&self, session: &str, issued: &[String]) -> Result<Expected, Refusal> {
        let is_post = self.method == Method::POST;
        if is_post {
            let encodings = self.values("content-encoding");
            if encodings
                .iter()
                .any(|coding| !coding.eq_ignore_ascii_case("identity"))
            {
                return Err(Refusal::UnsupportedContentEncoding);
            }
            let media_type = self.value("content-type")?.unwrap_or_default();
            let media_type = media_type.split(';').next().unwrap_or_default();
            if !unspaced(media_type).eq_ignore_ascii_case("application/json") {
                return Err(Refusal::UnsupportedMediaType);
            }
        }
        let accept = self.values("accept");
        if is_post && !admits(&accept, "application", "json")
            || self.method != Method::DELETE && !admits(&accept, "text", "event-stream")
        {
            return Err(Refusal::NotAcceptable);
        }
        if let Some(version) = self.modern_version() {
            // What names a session knows no revision without.
            let names_session = !self.values("mcp-session-id").is_empty();
            return match is_post && (version == MODERN || !names_session) {
                true => self.judge_mirrors(version),
                false => Err(Refusal::UnsupportedVersion),
            };
        }
        match self.value("mcp-session-id")? {
            None => return Err(Refusal::SessionRequired),
            Some(id) if id != session => return Err(Refusal::SessionNotFound),
            Some(_) => {}
        }
        Ok(match self.method {
            Method::POST => Expected::Status(202),
            Method::DELETE => Expected::Status(204),
            _ => match self.value("last-event-id")? {
                None => Expected::Events(issued.len()),
                Some(id) => {
                    let place = issued.iter().position(|issued| issued == id);
                    Expected::Events(place.ok_or(Refusal::UnknownEventId)? + 1)
                }
            },
        })
    }
}

/// Whether a value has only characters that one that mirrors the body may have.
fn is_visible(value: &str) -> bool {
    let mut bytes = value.bytes();
    bytes.all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
}

/// Whether `Accept` admits a media type: of the ranges that match it, the most specific ones decide.
fn admits(accept: &[&str], kind: &str, subtype: &str) -> bool {
    let mut by_precision = [None; 3];
    for element in accept.iter().flat_map(|value| value.split(',')) {
        let mut parts = element.split(';').map(unspaced);
        let range = parts.next().unwrap_or_default().to_ascii_lowercase();
        let precision = if range == "*/*" {
            2
        } else if range == format!("{kind}/*") {
            1
        } else if range == format!("{kind}/{subtype}") {
            0
        } else {
            continue;
        };
        let is_refused = parts.any(|parameter| match parameter.split_once('=') {
            Some((name, weight)) => {
                unspaced(name).eq_ignore_ascii_case("q") && is_zero(unspaced(weight))
            }
            None => false,
        });
        *by_precision[precision].get_or_insert(false) |= !is_refused;
    }
    accept.is_empty() || by_precision.into_iter().flatten().next().unwrap_or(false)
}

/// Whether a weight (RFC 9110, section 12.4.2) says "not acceptable".
fn is_zero(weight: &str) -> bool {
    let zeros = weight.trim_end_matches('0');
    weight == "0" || zeros == "0."
}

fn unspaced(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// A host and a port.
struct Authority {
    name: Name,
    port: Option<u16>,
}

#[derive(PartialEq)]
enum Name {
    Address(IpAddr),
    /// In lower case.
    Registered(String),
}

impl Authority {
    fn read(text: &str) -> Option<Self> {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => {
                let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                let port = is_number.then(|| port.parse().ok()).flatten()?;
                (name, Some(port))
            }
            _ => (text, None),
        };
        let bracketed = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let name = match bracketed {
            Some(literal) => Name::Address(literal.parse::<Ipv6Addr>().ok()?.into()),
            None => Name::read(name)?,
        };
        Some(Self { name, port })
    }
}

impl Name {
    /// A name that DNS can hold, or an IPv4 address in its one common form.
    fn read(name: &str) -> Option<Self> {
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if !name.bytes().all(is_plain) || name.len() > 255 {
            return None;
        }
        // Without a label, or with a number in the last place, of which browsers make an address.
        let name = name.to_ascii_lowercase();
        let last = name.split('.').rfind(|label| !label.is_empty())?;
        let is_number = last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit());
        (!is_number).then_some(Self::Registered(name))
    }

    fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Registered(name) => name == "localhost",
        }
    }
}

fn is_allowed_origin(origin: &str) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return false;
    };
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let Some(authority) = Authority::read(rest) else {
        return false;
    };
    let name = authority.name;
    let port = authority.port.unwrap_or(default);
    let is = |registered: &str| matches!(&name, Name::Registered(name) if name == registered);
    match scheme {
        "http" => {
            name.is_loopback() && port == 8080
                || name == Name::Address(Ipv6Addr::LOCALHOST.into()) && port == 9000
        }
        _ => (is("mcp.example.com") || is("pages.example.com")) && port == 443,
    }
}
