//! The head of a request: found in a buffer, judged, and read in place.

use std::mem::MaybeUninit;

use http::{Method, Version};

use super::body::BodyReader;
use super::syntax::{is_host, is_origin_form, is_path_and_query, is_token_byte, trim};
use super::{Limits, Violation};
use crate::head::ends_in_chunks;

/// What a request line may have beside its target: a method, two spaces and the version.
const AROUND_TARGET: usize = 64;

/// Fields up to which a head is parsed without an allocation.
const FIELDS_ON_STACK: usize = 128;

/// The head of a request, in the buffer that it was read into.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    method: Method,
    target: &'a str,
    authority: Option<&'a str>,
    version: Version,
    /// The lines of the fields, each with its CRLF: they were found to be well-formed.
    fields: &'a [u8],
    expects_continue: bool,
    persists: bool,
    body: BodyReader,
}

impl<'a> RequestHead<'a> {
    /// The method, in the case that it was sent in.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The target's path and query, percent-encoded as it was sent. It is `*` for the asterisk form
    /// and empty for the authority form (RFC 9112 section 3.2). In the absolute form it may begin with
    /// the query.
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// The authority of a target in absolute form, which is the same as `Host`.
    pub fn authority(&self) -> Option<&'a str> {
        self.authority
    }

    /// HTTP/1.0 or HTTP/1.1.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The fields in their order: names as they were sent, values without the white space around
    /// them.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let mut rest = self.fields;
        std::iter::from_fn(move || {
            let colon = memchr::memchr(b':', rest)?;
            let end = memchr::memchr(b'\r', rest)?;
            let name = std::str::from_utf8(&rest[..colon]).expect("names are tokens");
            let value = trim(&rest[colon + 1..end]);
            rest = &rest[end + 2..];
            Some((name, value))
        })
    }

    /// Whether the client waits to be told to send the body (RFC 9110 section 10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether the client leaves the connection open after the response (RFC 9112 section 9.3).
    pub fn persists(&self) -> bool {
        self.persists
    }

    /// How the body is to be read.
    pub(super) fn body(&self) -> &BodyReader {
        &self.body
    }

    /// Reads a head of so many lines that [`HeadScan`] has found, its empty line included.
    pub(super) fn parse(head: &'a [u8], lines: usize) -> Result<Self, Violation> {
        let mut few = [MaybeUninit::uninit(); FIELDS_ON_STACK];
        let mut many = Vec::new();
        let slots = if lines <= few.len() {
            &mut few[..]
        } else {
            many.resize(lines, MaybeUninit::uninit());
            &mut many
        };
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(head, slots);
        let (Ok(httparse::Status::Complete(_)), Some(method), Some(target), Some(minor)) =
            (parsed, request.method, request.path, request.version)
        else {
            return Err(Violation::MalformedHead);
        };
        let version = if minor == 0 {
            Version::HTTP_10
        } else {
            Version::HTTP_11
        };
        let mut marks = Marks::default();
        for field in &*request.headers {
            marks.note(field.name, field.value);
        }
        if marks.malformed {
            return Err(Violation::MalformedHead);
        }
        let host = marks.host(version)?;
        let method = Method::from_bytes(method.as_bytes());
        let method = method.map_err(|_| Violation::MalformedHead)?;
        let (target, authority) = split_target(&method, target, host)?;
        let end_of_line = memchr::memchr(b'\n', head).ok_or(Violation::MalformedHead)?;
        Ok(Self {
            method,
            target,
            authority,
            version,
            fields: &head[end_of_line + 1..head.len() - 2],
            expects_continue: marks.expects_continue && version == Version::HTTP_11,
            persists: !marks.close && (version == Version::HTTP_11 || marks.keep_alive),
            body: marks.body(version)?,
        })
    }
}

/// Splits a target into its path with the query, and the authority of an absolute form (RFC 9112
/// section 3.2).
fn split_target<'a>(
    method: &Method,
    target: &'a str,
    host: &[u8],
) -> Result<(&'a str, Option<&'a str>), Violation> {
    let bytes = target.as_bytes();
    if is_origin_form(bytes) || target == "*" && *method == Method::OPTIONS {
        return Ok((target, None));
    }
    if *method == Method::CONNECT && is_host(bytes) {
        return Ok(("", None));
    }
    let absolute = ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let rest = absolute.ok_or(Violation::MalformedHead)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path_and_query) = rest.split_at(end);
    if !is_path_and_query(path_and_query.as_bytes()) {
        return Err(Violation::MalformedHead);
    }
    // An empty one is none, though HTTP/1.0 may name no other (RFC 9110 section 4.2.1).
    if authority.is_empty() || !authority.as_bytes().eq_ignore_ascii_case(host) {
        return Err(Violation::BadHost);
    }
    match path_and_query {
        "" => Ok(("/", Some(authority))),
        _ => Ok((path_and_query, Some(authority))),
    }
}

/// What a head's fields say of the message and the connection.
#[derive(Default)]
struct Marks<'a> {
    host: Option<&'a [u8]>,
    hosts: usize,
    length: Option<&'a [u8]>,
    lengths: usize,
    codings: Option<&'a [u8]>,
    codings_fields: usize,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    /// Whether a field's value, which others may read in another way, is not what it should be.
    malformed: bool,
}

impl<'a> Marks<'a> {
    fn note(&mut self, name: &str, value: &'a [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("host") => {
                self.host = Some(value);
                self.hosts += 1;
            }
            6 if is("expect") => {
                self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
            10 if is("connection") => {
                for option in value.split(|&byte| byte == b',').map(trim) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    // What follows a request must not depend on who reads this.
                    self.malformed |= !option.iter().all(|&byte| is_token_byte(byte));
                }
            }
            14 if is("content-length") => {
                self.length = Some(value);
                self.lengths += 1;
            }
            17 if is("transfer-encoding") => {
                self.codings = Some(value);
                self.codings_fields += 1;
            }
            _ => {}
        }
    }

    /// The one host. Only HTTP/1.0 knew requests without any.
    fn host(&self, version: Version) -> Result<&'a [u8], Violation> {
        match (self.hosts, self.host) {
            (0, _) if version == Version::HTTP_10 => Ok(b""),
            (1, Some(host)) if is_host(host) => Ok(host),
            _ => Err(Violation::BadHost),
        }
    }

    /// Where the body ends (RFC 9112 section 6.3): a request with neither field has none.
    fn body(&self, version: Version) -> Result<BodyReader, Violation> {
        match (self.lengths, self.length, self.codings_fields, self.codings) {
            (0, _, 0, _) => Ok(BodyReader::Length(0)),
            (1, Some(length), 0, _) => {
                let is_plain = length.iter().all(u8::is_ascii_digit)
                    && (length.len() == 1 || length.first() != Some(&b'0'));
                let value = std::str::from_utf8(length)
                    .ok()
                    .and_then(|it| it.parse().ok());
                value
                    .filter(|_| is_plain)
                    .map(BodyReader::Length)
                    .ok_or(Violation::AmbiguousLength)
            }
            (0, _, 1, Some(codings)) if version == Version::HTTP_11 => {
                if codings.eq_ignore_ascii_case(b"chunked") {
                    Ok(BodyReader::chunked())
                } else if ends_in_chunks(codings) {
                    Err(Violation::UnsupportedTransferCoding)
                } else {
                    Err(Violation::AmbiguousLength)
                }
            }
            _ => Err(Violation::AmbiguousLength),
        }
    }
}

/// Finds the end of a head, as its bytes come, and judges its lines.
///
/// # Invariants
///
/// - `line <= searched`; the bytes before `searched` were looked at and are not looked at again.
/// - The lines before `line` end in CRLF, hold no other CR or LF, and none is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HeadScan {
    searched: usize,
    line: usize,
    /// Lines that have ended.
    lines: usize,
    /// Where the first field begins.
    fields: usize,
}

/// A head that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its bytes, the empty line included.
    pub(super) length: usize,
    /// Its lines, the request line and the empty one included.
    pub(super) lines: usize,
}

impl HeadScan {
    /// Searches on in all of the head's bytes that have come. What can be refused before the head
    /// is complete is refused.
    pub(super) fn search(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<Found>, Violation> {
        loop {
            let from = self.searched;
            let break_at = memchr::memchr2(b'\r', b'\n', &bytes[from..]).map(|at| from + at);
            let end = break_at.unwrap_or(bytes.len());
            if self.lines == 0 {
                judge_request_line(&bytes[..end], from, limits)?;
            } else if end - self.fields > limits.head_bytes {
                return Err(Violation::HeadTooLarge);
            }
            self.searched = end;
            let Some(break_at) = break_at else {
                return Ok(None);
            };
            match (bytes[break_at], bytes.get(break_at + 1)) {
                (b'\r', Some(b'\n')) => {}
                (b'\r', None) => return Ok(None),
                _ => return Err(Violation::MalformedHead),
            }
            let is_empty = break_at == self.line;
            self.lines += 1;
            self.line = break_at + 2;
            self.searched = self.line;
            match (is_empty, self.lines) {
                (true, 1) => return Err(Violation::MalformedHead),
                (true, lines) => {
                    let length = self.line;
                    return Ok(Some(Found { length, lines }));
                }
                (false, 1) => {
                    let line = &bytes[..break_at];
                    if ![b" HTTP/1.1", b" HTTP/1.0"]
                        .iter()
                        .any(|it| line.ends_with(*it))
                    {
                        return Err(Violation::MalformedHead);
                    }
                    self.fields = self.line;
                }
                (false, lines) if lines - 1 > limits.head_fields => {
                    return Err(Violation::HeadTooLarge);
                }
                (false, _) => {}
            }
        }
    }
}

/// Judges what there is of a request line, of which all before `judged` was judged. A peer that
/// speaks something else, TLS for instance, hears of it at once.
fn judge_request_line(line: &[u8], judged: usize, limits: &Limits) -> Result<(), Violation> {
    if !line[judged..]
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~'))
    {
        return Err(Violation::MalformedHead);
    }
    if line.len() <= limits.target_bytes {
        return Ok(());
    }
    let mut words = line.split(|&byte| byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next());
    match target {
        _ if method.len() > AROUND_TARGET => Err(Violation::MalformedHead),
        Some(target) if target.len() > limits.target_bytes => Err(Violation::TargetTooLong),
        _ if line.len() > limits.target_bytes + 2 * AROUND_TARGET => Err(Violation::MalformedHead),
        _ => Ok(()),
    }
}
