//! The HTTP client: one request to another server, within bounds.

mod address;
mod resolver;
mod roots;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use mcp_proto::auth::{FetchFailure, Fetched};
use rustls::crypto::aws_lc_rs;
use ureq::tls::{TlsConfig, TlsConfigBuilder};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Error};

use self::resolver::{Guarded, NotAllowed};
pub use self::roots::{Roots, RootsError};

/// What is read from a connection at a time. ureq's own 128 KiB would be held for each idle one.
const BUFFER: usize = 16 * 1024;

/// How long a connection is kept for the next request. Shorter than what servers commonly allow,
/// since a request that meets the end of its connection is not repeated.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// A blocking HTTP/1.1 client. It follows no redirect, sends no cookie, asks for no compression
/// and repeats no request. It uses no proxy, whatever `HTTPS_PROXY` says: a proxy would resolve
/// the names, and no rule about addresses could hold.
#[derive(Debug)]
pub struct Client {
    // Each has connections of its own: one to a private address must not serve a request that may
    // not have it.
    public: Agent,
    private: Agent,
}

/// The bounds of one request.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most bytes of the answer's body.
    pub most_bytes: usize,
    /// When all of it must have ended, the look-up of the name included.
    pub deadline: Instant,
    /// See [`FetchRequest::allow_private_addresses`](mcp_proto::auth::FetchRequest).
    pub allow_private_addresses: bool,
}

impl Client {
    /// A client that calls itself `user_agent` (RFC 9110 section 10.1.5), `NAME/VERSION`, and
    /// believes `roots`.
    pub fn new(user_agent: &str, roots: &Roots) -> Self {
        Self::with(user_agent, TlsConfig::builder().root_certs(roots.to_ureq()))
    }

    /// A client that believes any certificate: only for what is asked of this machine itself, and
    /// holds no secret.
    pub(crate) fn unverified(user_agent: &str) -> Self {
        Self::with(user_agent, TlsConfig::builder().disable_verification(true))
    }

    fn with(user_agent: &str, tls: TlsConfigBuilder) -> Self {
        let tls = tls
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(user_agent)
            .accept("application/json")
            .accept_encoding("")
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .max_idle_age(KEEP_ALIVE)
            .build();
        let agent = |allow_private_addresses| {
            let resolver = Guarded {
                system: DefaultResolver::default(),
                allow_private_addresses,
            };
            Agent::with_parts(config.clone(), DefaultConnector::default(), resolver)
        };
        Self {
            public: agent(false),
            private: agent(true),
        }
    }

    /// Sends `request`, whose URI is absolute, and reads the whole answer, whatever its status.
    /// Blocks until then, until the deadline, or until more than `most_bytes` have come.
    pub fn send(&self, request: Request<Bytes>, bounds: &Bounds) -> Result<Fetched, FetchFailure> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a fetch's time runs while it waits for a thread"
        )]
        let now = Instant::now();
        let left = bounds.deadline.saturating_duration_since(now);
        if left.is_zero() {
            return Err(FetchFailure::TimedOut);
        }
        let agent = if bounds.allow_private_addresses {
            &self.private
        } else {
            &self.public
        };
        let (head, body) = request.into_parts();
        let answer = if body.is_empty() {
            run(agent, Request::from_parts(head, ()), left)
        } else {
            run(agent, Request::from_parts(head, &*body), left)
        };
        let mut answer = answer.map_err(failure)?;
        let body = answer.body_mut().with_config();
        let body = body.limit(bounds.most_bytes as u64).read_to_vec();
        Ok(Fetched {
            status: answer.status(),
            body: body.map_err(failure)?.into(),
        })
    }
}

fn run<B: ureq::AsSendBody>(
    agent: &Agent,
    request: Request<B>,
    time: Duration,
) -> Result<http::Response<ureq::Body>, Error> {
    let request = agent
        .configure_request(request)
        .timeout_global(Some(time))
        .build();
    agent.run(request)
}

/// What went wrong. The text says nothing of the request: neither its URL, whose query may hold a
/// credential, nor its `Authorization`.
fn failure(error: Error) -> FetchFailure {
    FetchFailure::Unreachable(match error {
        Error::Timeout(_) => return FetchFailure::TimedOut,
        Error::BodyExceedsLimit(_) => return FetchFailure::TooLarge,
        Error::Other(why) if why.is::<NotAllowed>() => return FetchFailure::AddressNotAllowed,
        Error::Io(why) => why.to_string(),
        Error::HostNotFound => "the name has no address".to_owned(),
        Error::Rustls(why) => why.to_string(),
        Error::Tls(why) => why.to_owned(),
        Error::Protocol(why) => format!("not HTTP as it should be: {why}"),
        Error::LargeResponseHeader(..) => "the answer's head is too long".to_owned(),
        Error::BadUri(_) => "the URL is not one of https or http".to_owned(),
        _ => "the request cannot be made".to_owned(),
    })
}
