//! What the gateway wants fetched: keys, metadata, and other servers' opinions of tokens.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};

/// One fetch, as the gateway names it. Never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// One token that whoever embeds the gateway is asked about. Never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerificationId(pub u64);

/// One HTTP request to another server. Whoever performs it follows no redirect, sends no more than
/// is said here and `Accept: application/json`, and answers by
/// [`Gateway::handle_fetched`](crate::Gateway::handle_fetched) exactly once.
#[derive(Clone)]
pub struct FetchRequest {
    /// The name to answer under.
    pub id: FetchId,
    /// GET or POST.
    pub method: Method,
    /// An `https` URL, or an `http` one; see [`FetchRequest::allow_private_addresses`].
    pub url: String,
    /// The `Authorization` field. It is marked as sensitive.
    pub authorization: Option<HeaderValue>,
    /// The body of a POST, as `application/x-www-form-urlencoded`.
    pub form: Option<Bytes>,
    /// Most bytes of the answer's body; a longer one is [`FetchFailure::TooLarge`].
    pub most_bytes: usize,
    /// Time that all of it may take, the wait for a free thread included.
    pub time: Duration,
    /// Whether the host's name may resolve to an address that is not public. Loopback is allowed
    /// where the host is `localhost` or a loopback address itself. A plain `http` URL is
    /// allowed to go to loopback, and with this also to private addresses; never to a public one.
    pub allow_private_addresses: bool,
}

/// The answer to a fetch, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The status; a redirect's too.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer to a fetch. Its text is for the log, not for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchFailure {
    /// The name does not resolve, nobody listens, TLS failed, or the connection broke; with a line
    /// that says what.
    Unreachable(String),
    /// It took longer than [`FetchRequest::time`].
    TimedOut,
    /// The body is longer than [`FetchRequest::most_bytes`].
    TooLarge,
    /// The host's address is none that may be asked.
    AddressNotAllowed,
    /// Too many fetches wait already.
    Busy,
}

impl fmt::Display for FetchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable(why) => return write!(f, "cannot be reached: {why}"),
            Self::TimedOut => "did not answer in time",
            Self::TooLarge => "answered with too long a body",
            Self::AddressNotAllowed => {
                "has a private address, or a public one without https; see --allow-private-addresses"
            }
            Self::Busy => "was not asked: too many fetches wait already",
        })
    }
}

/// Shows neither the credential nor the form, which may hold one.
impl fmt::Debug for FetchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchRequest")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
