//! What the core asks of the world outside: fetches and checked signatures.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use mcp_proto::auth::{FetchFailure, FetchRequest, Fetched, SignatureCheck, SignatureFailure};

use crate::fetch::{Bounds, Client};
use crate::pool::{NotDone, Pool};
use crate::signature;

/// The media type of [`FetchRequest::form`].
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Performs the core's [`FetchRequest`]s and [`SignatureCheck`]s on a few threads of its own, for
/// any runtime or none. Four threads fetch; 64 further fetches wait for them. Signatures are
/// checked by a fifth, and wait for no fetch.
///
/// Dropping it does not block: whoever still waits is told that the gateway stops, and a fetch that is
/// under way is told of when it ends, which is within its time.
#[derive(Debug)]
pub struct Outside {
    client: Arc<Client>,
    pool: Pool,
}

impl Outside {
    /// Starts the threads, which fetch with `client`. It is an error if the system gives none.
    pub fn start(client: Client) -> io::Result<Self> {
        Ok(Self {
            client: Arc::new(client),
            pool: Pool::start()?,
        })
    }

    /// Performs one fetch. `done` is called exactly once, on another thread than this one; it must
    /// not block. The time of the request counts from now.
    pub fn fetch(
        &self,
        request: FetchRequest,
        done: impl FnOnce(Result<Fetched, FetchFailure>) + Send + 'static,
    ) {
        #[expect(
            clippy::disallowed_methods,
            reason = "a fetch's time runs from here on"
        )]
        let now = Instant::now();
        let bounds = Bounds {
            most_bytes: request.most_bytes,
            deadline: now + request.time,
            allow_private_addresses: request.allow_private_addresses,
        };
        let client = self.client.clone();
        let work = move || client.send(http_request(request)?, &bounds);
        self.pool.wait(work, |result| {
            done(result.unwrap_or_else(|why| {
                Err(match why {
                    NotDone::Busy => FetchFailure::Busy,
                    why => FetchFailure::Unreachable(text(why).to_owned()),
                })
            }));
        });
    }

    /// Checks one signature. `done` is called exactly once, on another thread than this one; it
    /// must not block.
    pub fn check_signature(
        &self,
        check: SignatureCheck,
        done: impl FnOnce(Result<bool, SignatureFailure>) + Send + 'static,
    ) {
        let work = move || signature::is_valid(&check);
        self.pool.compute(work, |result| {
            done(result.unwrap_or_else(|why| Err(SignatureFailure(text(why).to_owned()))));
        });
    }
}

fn http_request(request: FetchRequest) -> Result<Request<Bytes>, FetchFailure> {
    let mut head = Request::builder().method(request.method).uri(request.url);
    if let Some(credential) = request.authorization {
        head = head.header(AUTHORIZATION, credential);
    }
    if request.form.is_some() {
        head = head.header(CONTENT_TYPE, FORM);
    }
    // The error's text may quote the URL.
    head.body(request.form.unwrap_or_default())
        .map_err(|_| FetchFailure::Unreachable("the URL cannot be read".to_owned()))
}

fn text(why: NotDone) -> &'static str {
    match why {
        NotDone::Busy => "too many wait already",
        NotDone::Panicked => "the gateway panicked over it, which is a bug of its own",
        NotDone::Stopping => "the gateway stops",
    }
}
