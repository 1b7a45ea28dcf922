//! Asks a gateway whether it is well, for images that have no other HTTP client.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use mcp_proto::auth::{FetchFailure, Fetched};

use crate::fetch::{Bounds, Client, Roots};

/// How long an answer may take.
const TIME: Duration = Duration::from_secs(5);

/// Most bytes of an answer: `/status` has a few hundred for each session.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The URL.
    pub url: String,
    /// What a certificate must lead to; anything if `None`: that of a gateway on this machine is rarely
    /// for the address at which it is asked.
    pub roots: Option<Roots>,
}

/// Asks whether a gateway is well. Whether the answer's status is 200, and what is to be said of it, a line without its
/// end. Blocks for five seconds at most.
pub fn ask(asked: &Asked) -> (bool, String) {
    let url = &asked.url;
    match get(asked) {
        Err(why) => (false, format!("{url} {why}")),
        Ok(answer) => {
            let words = words(&answer.body);
            let line = format!("{url} answered {}{words}", answer.status.as_u16());
            (answer.status == http::StatusCode::OK, line)
        }
    }
}

/// The answer to a GET.
///
/// # Errors
///
/// What follows the URL in a line: that it did not answer, and why.
pub(crate) fn get(asked: &Asked) -> Result<Fetched, String> {
    let request = Request::get(&asked.url).body(Bytes::new());
    let request = request.map_err(|_| "is not a URL such as http://127.0.0.1:8080/health")?;
    #[expect(clippy::disallowed_methods, reason = "the time limit of a command")]
    let now = Instant::now();
    let bounds = Bounds {
        most_bytes: MOST_BYTES,
        deadline: now + TIME,
        allow_private_addresses: true,
    };
    let client = match &asked.roots {
        Some(roots) => Client::new(crate::USER_AGENT, roots),
        None => Client::unverified(crate::USER_AGENT),
    };
    let answer = client.send(request, &bounds);
    answer.map_err(|why: FetchFailure| why.to_string())
}

/// What the members of a health document say. The answer may be anybody's: of others it is nothing.
fn words(body: &[u8]) -> String {
    let document: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let word = |name: &str| {
        let word = document[name].as_str()?;
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        (word.len() <= 32 && word.bytes().all(is_plain)).then_some(word)
    };
    match (word("status"), word("reason")) {
        (Some(status), Some(reason)) => format!(", {status}: {reason}"),
        (Some(status), None) => format!(", {status}"),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_are_told() {
        for (body, told) in [
            (r#"{"status":"ok","service":"x"}"#, ", ok"),
            (
                r#"{"status":"unavailable","reason":"probe-failed"}"#,
                ", unavailable: probe-failed",
            ),
            (r#"{"status":"\u001b[31m"}"#, ""),
            (r#"{"reason":"draining"}"#, ""),
            (r#"["status"]"#, ""),
            ("ok", ""),
        ] {
            assert_eq!(words(body.as_bytes()), told, "{body}");
        }
    }
}
