//! HTTP/1.1 requests (RFC 9112) as they are read by whoever has all of the bytes: a head is cut at
//! its empty line, and then into its lines.

use mcp_proto::h1::Limits;

/// A request, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) authority: Option<String>,
    pub(super) target: String,
    pub(super) fields: Vec<(String, Vec<u8>)>,
    /// `None` if not all of it has come.
    pub(super) body: Option<Vec<u8>>,
}

/// How a client's bytes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Behind a request.
    Complete,
    /// Within one.
    Incomplete,
    /// With something that is none.
    Refused,
}

/// Why there is no request.
type Fault = End;

/// The requests among a client's bytes.
pub(super) fn read(mut bytes: &[u8]) -> (Vec<Request>, End) {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = match cut_head(bytes) {
            Ok(cut) => cut,
            Err(fault) => return (requests, fault),
        };
        requests.push(head.request);
        let (body, rest) = match head.body.read(rest) {
            Ok(cut) => cut,
            Err(fault) => return (requests, fault),
        };
        if let Some(request) = requests.last_mut() {
            request.body = Some(body);
        }
        if !head.persists {
            break;
        }
        bytes = rest;
    }
    (requests, End::Complete)
}

struct Head {
    request: Request,
    body: Body,
    persists: bool,
}

/// How a body is delimited.
enum Body {
    Length(u64),
    Chunks,
}

fn cut_head(bytes: &[u8]) -> Result<(Head, &[u8]), Fault> {
    let end = find(bytes, b"\r\n\r\n").ok_or(End::Incomplete)?;
    let lines = lines(&bytes[..end]).ok_or(End::Refused)?;
    let head = read_head(&lines).ok_or(End::Refused)?;
    Ok((head, &bytes[end + 4..]))
}

/// The lines, of which none holds a CR or LF.
fn lines(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut lines = Vec::new();
    while let Some(end) = find(bytes, b"\r\n") {
        lines.push(&bytes[..end]);
        bytes = &bytes[end + 2..];
    }
    lines.push(bytes);
    let is_line = |line: &&[u8]| !line.iter().any(|byte| b"\r\n".contains(byte));
    lines.iter().all(is_line).then_some(lines)
}

fn read_head(lines: &[&[u8]]) -> Option<Head> {
    let (first, fields) = lines.split_first()?;
    let limits = Limits::default();
    if fields.len() > limits.head_fields {
        return None;
    }
    let words: Vec<&[u8]> = first.split(|&byte| byte == b' ').collect();
    let [method, target, version] = words[..] else {
        return None;
    };
    let is_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return None,
    };
    let method = token(method)?;
    let target = std::str::from_utf8(target).ok()?;
    let fields: Vec<_> = fields
        .iter()
        .map(|line| field(line))
        .collect::<Option<_>>()?;
    let values = |name: &str| -> Vec<&[u8]> {
        let fields = fields.iter();
        let fields = fields.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_slice()).collect()
    };

    let host = match values("host")[..] {
        [] if !is_11 => None,
        [host] => Some(
            std::str::from_utf8(host)
                .ok()
                .filter(|host| is_host(host))?,
        ),
        _ => return None,
    };
    let is_asterisk = target == "*" && method == "OPTIONS";
    let (authority, target) = if target.starts_with('/') && is_path(target) || is_asterisk {
        (None, target)
    } else if method == "CONNECT" && is_host(target) {
        (None, "")
    } else {
        let (scheme, rest) = target.split_once("://")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let is_http = ["http", "https"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known));
        // RFC 9110, section 4.2.1: a host that is empty is none.
        if !is_http || !is_path(path) || !host?.eq_ignore_ascii_case(authority) {
            return None;
        }
        // RFC 3986, section 6.2.3: an empty path is the same as a slash.
        (
            Some(authority.to_owned()),
            if path.is_empty() { "/" } else { path },
        )
    };

    let body = match (
        &values("content-length")[..],
        &values("transfer-encoding")[..],
    ) {
        ([], []) => Body::Length(0),
        ([length], []) => Body::Length(plain_number(length)?),
        ([], [coding]) if is_11 && coding.eq_ignore_ascii_case(b"chunked") => Body::Chunks,
        _ => return None,
    };
    // Options are tokens; elements may be empty (RFC 9110, sections 5.6.1 and 7.6.1).
    for value in values("connection") {
        for option in value.split(|&byte| byte == b',') {
            let option = unspaced(option);
            if !option.is_empty() && token(option).is_none() {
                return None;
            }
        }
    }
    let connection = values("connection").join(&b","[..]).to_ascii_lowercase();
    let has = |option: &[u8]| {
        let mut options = connection.split(|&byte| byte == b',');
        options.any(|other| unspaced(other) == option)
    };
    let persists = !has(b"close") && (is_11 || has(b"keep-alive"));
    Some(Head {
        body,
        persists,
        request: Request {
            method: method.to_owned(),
            authority,
            target: target.to_owned(),
            fields,
            body: None,
        },
    })
}

impl Body {
    /// The body, and what stands behind it.
    fn read(self, bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), Fault> {
        match self {
            Self::Length(length) => {
                let length = usize::try_from(length).map_err(|_| End::Incomplete)?;
                let (body, rest) = bytes.split_at_checked(length).ok_or(End::Incomplete)?;
                Ok((body.to_vec(), rest))
            }
            Self::Chunks => read_chunks(bytes),
        }
    }
}

fn read_chunks(mut bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), Fault> {
    let limits = Limits::default();
    let mut body = Vec::new();
    loop {
        let end = find(bytes, b"\r\n").ok_or(End::Incomplete)?;
        let line = &bytes[..end];
        if line.len() + 2 > limits.chunk_line_bytes {
            return Err(End::Refused);
        }
        let size = chunk_size(line, limits.body_bytes - body.len()).ok_or(End::Refused)?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            break;
        }
        let (data, rest) = bytes.split_at_checked(size).ok_or(End::Incomplete)?;
        body.extend_from_slice(data);
        bytes = match rest {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Err(End::Incomplete),
            _ => return Err(End::Refused),
        };
    }
    // Trailers, which are read and thrown away.
    let mut trailers = 0;
    loop {
        let end = find(bytes, b"\r\n").ok_or(End::Incomplete)?;
        let line = &bytes[..end];
        bytes = &bytes[end + 2..];
        if line.is_empty() {
            return Ok((body, bytes));
        }
        field(line).ok_or(End::Refused)?;
        trailers += 1;
        if trailers > limits.head_fields {
            return Err(End::Refused);
        }
    }
}

/// A size of at most `most`, and extensions that mean nothing (RFC 9112, section 7.1).
fn chunk_size(line: &[u8], most: usize) -> Option<usize> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (digits, extensions) = line.split_at(digits);
    if digits.is_empty() || !extensions.is_empty() && extensions[0] != b';' || !is_text(extensions)
    {
        return None;
    }
    // As many digits as a u128 has room for, or zeros.
    let digits = std::str::from_utf8(digits).ok()?.trim_start_matches('0');
    let size = match digits {
        "" => 0,
        digits => u128::from_str_radix(digits, 16).ok()?,
    };
    usize::try_from(size).ok().filter(|&size| size <= most)
}

/// A field's name and its value (RFC 9112, section 5).
fn field(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = (token(&line[..colon])?, &line[colon + 1..]);
    is_text(value).then(|| (name.to_owned(), unspaced(value).to_vec()))
}

/// RFC 9110, section 5.6.2.
fn token(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_token = |byte: char| byte.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(byte);
    (!text.is_empty() && text.chars().all(is_token)).then_some(text)
}

/// Whether there are no control characters (RFC 9110, section 5.5), CR and LF among them.
fn is_text(bytes: &[u8]) -> bool {
    !bytes
        .iter()
        .any(|&byte| byte < 0x20 && byte != b'\t' || byte == 0x7f)
}

fn unspaced(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// A number in the one way in which it is written.
fn plain_number(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// A path that may be empty, and perhaps a query (RFC 3986, sections 3.3 and 3.4).
fn is_path(text: &str) -> bool {
    is_of(text, "-._~!$&'()*+,;=:@/?")
}

/// A name or an address, and perhaps a port (RFC 9110, section 7.2).
fn is_host(text: &str) -> bool {
    let end = match text.strip_prefix('[') {
        Some(rest) => match rest.find(']') {
            Some(end) if rest[..end].parse::<std::net::Ipv6Addr>().is_ok() => end + 2,
            _ => return false,
        },
        None => text.find(':').unwrap_or(text.len()),
    };
    let (name, port) = text.split_at(end);
    let is_name = name.starts_with('[') || !name.is_empty() && is_of(name, "-._~!$&'()*+,;=");
    let is_port = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        }
    };
    is_name && is_port
}

/// Whether there are letters, digits, these characters and percent-encodings only.
fn is_of(text: &str, plain: &str) -> bool {
    let mut parts = text.split('%');
    let is_plain = |byte: char| byte.is_ascii_alphanumeric() || plain.contains(byte);
    let first = parts.next().unwrap_or_default();
    let encoded =
        |part: &str| part.len() >= 2 && part.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
    first.chars().all(is_plain)
        && parts.all(|part| encoded(part) && part[2..].chars().all(is_plain))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
