//! What is put down of a request for its access record.

use http::{Method, StatusCode};

use super::message::Names;
use crate::access::Route;
use crate::id::UpstreamId;
use crate::refusal::Refusal;
use crate::time::Instant;

/// What is known of a request so far that its access record tells.
pub(super) struct Account {
    pub(super) method: Option<Method>,
    pub(super) route: Route,
    pub(super) status: Option<StatusCode>,
    pub(super) refusal: Option<Refusal>,
    /// The JSON-RPC method and what it names, once the message is not held any more.
    pub(super) names: Option<Names>,
    pub(super) upstream: Option<UpstreamId>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// When a message was handed to an upstream whose answer is waited for.
    pub(super) called: Option<Instant>,
    pub(super) streamed: bool,
}

impl Account {
    pub(super) fn new(method: &Method) -> Self {
        Self {
            method: is_defined(method).then(|| method.clone()),
            route: Route::Unknown,
            status: None,
            refusal: None,
            names: None,
            upstream: None,
            bytes_in: 0,
            bytes_out: 0,
            called: None,
            streamed: false,
        }
    }
}

/// Whether the method is one of RFC 9110 section 9 or RFC 5789: whatever else it is, the client made it
/// up.
fn is_defined(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ]
    .contains(method)
}
