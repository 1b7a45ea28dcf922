//! One reader for each kind of value that is not an amount: text in, meaning or complaint out.

use crate::settings::LogFormat;
use http::Uri;
use mcp_proto::{SealKey, Share};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "1" | "yes" => Ok(true),
        "off" | "false" | "0" | "no" => Ok(false),
        _ => Err("is neither on nor off".to_owned()),
    }
}

/// Who shares a child with whom.
pub(crate) fn share(text: &str) -> Result<Share, String> {
    let pool = text
        .strip_prefix("pool(")
        .and_then(|rest| rest.strip_suffix(')'));
    match (text, pool) {
        ("auto", _) => Ok(Share::Auto),
        ("per-session", _) => Ok(Share::PerSession),
        ("per-principal", _) => Ok(Share::PerPrincipal),
        ("shared", _) => Ok(Share::Shared),
        (_, Some(count)) => count
            .parse()
            .map(Share::Pool)
            .map_err(|_| "is a pool of no children; give a count, as in pool(4)".to_owned()),
        _ => Err("is none of auto, per-session, per-principal, shared and pool(COUNT)".to_owned()),
    }
}

/// The same as text that [`share`] takes.
pub(crate) fn share_text(share: Share) -> String {
    match share {
        Share::Auto => "auto".to_owned(),
        Share::PerSession => "per-session".to_owned(),
        Share::PerPrincipal => "per-principal".to_owned(),
        Share::Shared => "shared".to_owned(),
        Share::Pool(count) => format!("pool({count})"),
    }
}

/// The keys in a file, one on each line; empty lines, and those that begin with #, are passed over.
/// No complaint shows any of it.
pub(crate) fn seal_keys(text: &str) -> Result<Vec<SealKey>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    let keys: Result<Vec<_>, String> = lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            key(line).ok_or_else(|| {
                let number = number + 1;
                format!("has no key on line {number}; openssl rand -hex 32 makes one")
            })
        })
        .collect();
    match keys?.as_slice() {
        [] => Err("has no key; openssl rand -hex 32 makes one".to_owned()),
        keys => Ok(keys.to_vec()),
    }
}

fn key(digits: &str) -> Option<SealKey> {
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; 32];
    for (byte, at) in key.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(SealKey(key))
}

/// A name that every client takes as the name of a server, and a shell as a part of a variable's.
pub(crate) fn service_name(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(is_name_byte) {
        return Ok(text.to_owned());
    }
    Err("is not a name; use up to 64 letters, digits, - and _".to_owned())
}

/// The name that a command gives its service: its file's stem, as far as it can be a name.
pub(crate) fn service_name_of(stem: &str) -> Option<String> {
    let fit = |c: char| {
        if c.is_ascii() && is_name_byte(c as u8) {
            c
        } else {
            '-'
        }
    };
    let name: String = stem.chars().take(64).map(fit).collect();
    let name = name.trim_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

pub(crate) fn service_version(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err("is not a version; use up to 64 visible ASCII characters".to_owned())
}

pub(crate) fn port(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| "is not a port; give a number from 0 to 65535".to_owned())
}

pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().map(Into::into),
        None => text.parse(),
    };
    address.map_err(|_| {
        "is not an IP address; give one such as 127.0.0.1, ::1 or 0.0.0.0, and the port with port"
            .to_owned()
    })
}

/// The admin address; `None` if there is to be none.
pub(crate) fn admin(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let address = text.parse().map(Some);
    address.map_err(|_| "is neither off nor an address such as 127.0.0.1:9090".to_owned())
}

/// The endpoint's path: plain segments, so that no client or proxy can spell it in another way.
pub(crate) fn path(text: &str) -> Result<String, String> {
    let Some(segments) = text.strip_prefix('/') else {
        return Err("does not begin with /".to_owned());
    };
    plain_segments(segments)?;
    let first = segments.split('/').next().unwrap_or_default();
    if matches!(first, "health" | ".well-known") {
        return Err(format!("is taken: /{first} is the gateway's own; try /mcp"));
    }
    Ok(text.to_owned())
}

fn plain_segments(segments: &str) -> Result<(), String> {
    let unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    for segment in segments.split('/') {
        if segment.is_empty() || segment == "." || segment == ".." {
            return Err("is not a plain path; give one such as /mcp, with no / at its end".into());
        }
        if !segment.bytes().all(unreserved) {
            return Err("has characters other than letters, digits, - . _ ~ in its path".into());
        }
    }
    Ok(())
}

/// Reads `https://HOST[:PORT][/PATH]`, into the whole URL and its origin; one without a path gets
/// `path`.
pub(crate) fn public_url(text: &str, path: &str) -> Result<(String, String), String> {
    let shape = "is not a URL such as https://mcp.example.org/mcp";
    let url: Uri = text.parse().map_err(|_| shape)?;
    let scheme = url.scheme_str().ok_or(shape)?;
    let authority = url.authority().ok_or(shape)?.as_str();
    if !matches!(scheme, "http" | "https") {
        return Err("is neither http nor https".to_owned());
    }
    if authority.contains('@') {
        return Err("has a user or password in it; leave them out".to_owned());
    }
    if text.contains(['?', '#']) {
        return Err("has a query or fragment; leave it out".to_owned());
    }
    let origin = format!("{scheme}://{authority}");
    match url.path() {
        "" | "/" => Ok((format!("{origin}{path}"), origin)),
        own => {
            plain_segments(&own[1..])?;
            Ok((format!("{origin}{own}"), origin))
        }
    }
}

pub(crate) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("is neither text nor json".to_owned()),
    }
}

/// A lone word must be a level: to `EnvFilter` a misspelt one is the name of a target, and the log
/// would stay empty without a word.
pub(crate) fn log_filter(text: &str) -> Result<String, String> {
    let sound =
        |part: &str| part.contains(['=', '[']) || part.trim().parse::<LevelFilter>().is_ok();
    if text.is_empty() || !text.split(',').all(sound) || EnvFilter::try_new(text).is_err() {
        return Err("is not a log filter; give error, warn, info, debug or trace".to_owned());
    }
    Ok(text.to_owned())
}

pub(crate) fn workers(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=1024).contains(count))
        .ok_or_else(|| "is not a number of threads from 1 to 1024".to_owned())
}

/// A variable for the server: passed on, or given a value.
#[derive(PartialEq, Eq)]
pub(crate) enum Variable {
    PassedOn(String),
    Set(String, String),
}

/// Reads `NAME` or `NAME=VALUE`. The complaint never shows what may be a value.
pub(crate) fn variable(text: &str) -> Result<Variable, &'static str> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(
            "has an entry that does not begin with a variable's name; give NAME or NAME=VALUE",
        );
    }
    let name = name.to_owned();
    Ok(match value {
        Some(value) => Variable::Set(name, value.to_owned()),
        None => Variable::PassedOn(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_sharing_reads_back() {
        let four = "4".parse().unwrap();
        for value in [
            Share::Auto,
            Share::PerSession,
            Share::PerPrincipal,
            Share::Shared,
            Share::Pool(four),
        ] {
            assert_eq!(share(&share_text(value)), Ok(value));
        }
        for wrong in [
            "", "Auto", "pool", "pool()", "pool(0)", "pool(-1)", "pool(4",
        ] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_read_and_never_shown() {
        let digits = "0123456789abcdefABCDEF0123456789".repeat(2);
        let keys = seal_keys(&format!("# new\n{digits}\r\n\n  {}\n", "0".repeat(64))).unwrap();
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0].0[..4], [0x01, 0x23, 0x45, 0x67]);
        assert_eq!(keys[1].0, [0; 32]);
        assert_eq!(format!("{:?}", keys[0]), "SealKey(..)");
        for wrong in [
            "",
            "# none\n",
            "secret",
            &digits[1..],
            &format!("{digits}\n{digits}0"),
        ] {
            let why = seal_keys(wrong).unwrap_err();
            assert!(!why.contains("secret") && !why.contains("0123"), "{why}");
        }
    }
}
