//! Every way in which the gateway says no.
//!
//! One enum names the HTTP status, the JSON-RPC code and message that the client sees, and the
//! reason that the audit record carries. A message tells what the client can do, and nothing of
//! what goes on inside.

use bytes::Bytes;
use http::StatusCode;

use crate::envelope::ScanReason;
use crate::error_data::ErrorData;
#[cfg(feature = "h1")]
use crate::h1::Violation;
use crate::head::{ContentType, ResponseHead};
use crate::request_id::RequestId;
use crate::version::Era;

/// Why a request, or a call that was admitted, got no answer of the child's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// What came is not TLS, where only TLS is spoken. No exchange sees it: the adapter answers, and
    /// does not encrypt.
    PlainHttp,
    /// The head is no HTTP/1.1. No exchange sees it: the HTTP front end answers.
    MalformedHead,
    /// The target is longer than [`Limits::target_bytes`](crate::Limits::target_bytes).
    TargetTooLong,
    /// The head is longer than [`Limits::head_bytes`](crate::Limits::head_bytes), or has more than
    /// [`Limits::head_fields`](crate::Limits::head_fields) fields.
    HeadTooLarge,
    /// Where the body ends can be read in more than one way.
    AmbiguousLength,
    /// The body's transfer coding is not `chunked`.
    UnsupportedTransferCoding,
    /// The head took longer than [`Limits::head_time`](crate::Limits::head_time). No exchange sees
    /// it: the HTTP front end answers.
    HeadTimeout,
    /// `Host` is missing, repeated, empty, malformed, or not the target's.
    BadHost,
    /// A field that must stand alone stands twice.
    RepeatedField,
    /// `Host` is none of the gateway's names.
    HostNotAllowed,
    /// `Origin` is neither the gateway's own nor one that the operator named.
    OriginNotAllowed,
    /// No bearer token.
    CredentialsMissing,
    /// `Authorization` is not a bearer token by its form.
    CredentialsMalformed,
    /// Every verifier that may see the token says that it is not good.
    InvalidToken,
    /// The token lacks a scope that the request needs.
    InsufficientScope,
    /// A verifier that could have said yes could not be asked.
    VerifierUnavailable,
    /// Too many credentials from this address were not good, or were new.
    TooManyCredentials,
    /// Too many requests from this address came without a credential.
    TooManyProbes,
    /// Too many requests from this address, or with this principal's tokens.
    TooManyRequests,
    /// Audit records cannot be kept, and the operator wants none to be missed.
    AuditUnavailable,
    /// This OAuth metadata is not published.
    NotPublished,
    /// The authorization server's metadata could not be fetched.
    MetadataUnavailable,
    /// Nothing is at this path.
    NotFound,
    /// The path does not take this method.
    MethodNotAllowed,
    /// `Accept` does not admit what the answer may be.
    NotAcceptable,
    /// `Content-Type` is not `application/json`.
    UnsupportedMediaType,
    /// The body is encoded.
    UnsupportedContentEncoding,
    /// `MCP-Protocol-Version`, or the version in `_meta`, is not one with sessions.
    UnsupportedVersion,
    /// The body is longer than [`Limits::body_bytes`](crate::Limits::body_bytes).
    BodyTooLarge,
    /// The body's chunks are malformed.
    MalformedBody,
    /// The body took longer than [`Limits::body_time`](crate::Limits::body_time).
    BodyTimeout,
    /// Too many bytes of bodies are held for other requests.
    BodyBudget,
    /// The body is not JSON, or not a JSON-RPC message.
    BadMessage(ScanReason),
    /// A batch, in a session whose revision has none, or without a session.
    BatchNotAllowed,
    /// `initialize` in a session that is open, or in a batch.
    AlreadyInitialized,
    /// No `Mcp-Session-Id`, and the message does not open a session.
    SessionRequired,
    /// The session is unknown, expired or ended.
    SessionNotFound,
    /// The id is that of a call in flight in the same session.
    DuplicateId,
    /// `Last-Event-ID` was not issued in this session, or its events are gone.
    UnknownEventId,
    /// [`Limits::sessions`](crate::Limits::sessions) sessions are open and none is idle.
    TooManySessions,
    /// [`Limits::sessions_per_principal`](crate::Limits::sessions_per_principal) sessions of this
    /// principal are open and none is idle.
    TooManyOwnSessions,
    /// [`Limits::calls_per_session`](crate::Limits::calls_per_session) calls are in flight.
    TooManyCalls,
    /// [`Limits::streams_per_session`](crate::Limits::streams_per_session) streams are open.
    TooManyStreams,
    /// The child does not read what was sent to it before.
    ChildNotReading,
    /// The child could not be started, or is held back after failed starts.
    ChildUnavailable,
    /// The gateway is stopping.
    Draining,
    /// The child ended before it answered.
    ChildExited,
    /// The call took longer than [`Limits::request_time`](crate::Limits::request_time).
    RequestTimeout,
    /// The client cancelled the call.
    RequestCancelled,
    /// The session ended before the child answered.
    SessionEnded,
    /// A header that mirrors the body is missing, repeated, malformed, or says something else
    /// (2026-07-28, Streamable HTTP, "Server Validation").
    HeaderMismatch,
    /// The revision that a request without a session names is not served (2026-07-28, versioning).
    UnsupportedProtocolVersion,
    /// `_meta` lacks a required field, or has one of a wrong type (2026-07-28, basic, "`_meta`").
    InvalidMeta,
    /// The method is not one of 2026-07-28, or not one that the server can be asked.
    MethodNotFound,
    /// A response, where clients answer by `inputResponses` (2026-07-28, Streamable HTTP).
    ResponseNotAllowed,
    /// `requestState` was not issued here, to this caller and for this call, or is too old
    /// (2026-07-28, MRTR).
    InvalidRequestState,
}

/// What one refusal amounts to.
struct Entry {
    status: StatusCode,
    code: i32,
    reason: &'static str,
    message: &'static str,
}

/// JSON-RPC 2.0, section 5.1.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const INTERNAL_ERROR: i32 = -32603;
/// MCP 2026-07-28, basic, "Error Codes".
const HEADER_MISMATCH: i32 = -32020;
const UNSUPPORTED_PROTOCOL_VERSION: i32 = -32022;
/// From the range that JSON-RPC leaves to implementations; the official SDKs use these two for the
/// same things.
const SERVER_ERROR: i32 = -32000;
const NOT_FOUND_OR_TIMED_OUT: i32 = -32001;

impl Refusal {
    /// Every refusal, for tests and documentation; of the bad messages, one of each code.
    pub const ALL: [Self; 57] = [
        Self::PlainHttp,
        Self::MalformedHead,
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::AmbiguousLength,
        Self::UnsupportedTransferCoding,
        Self::HeadTimeout,
        Self::BadHost,
        Self::RepeatedField,
        Self::HostNotAllowed,
        Self::OriginNotAllowed,
        Self::CredentialsMissing,
        Self::CredentialsMalformed,
        Self::InvalidToken,
        Self::InsufficientScope,
        Self::VerifierUnavailable,
        Self::TooManyCredentials,
        Self::TooManyProbes,
        Self::TooManyRequests,
        Self::AuditUnavailable,
        Self::NotPublished,
        Self::MetadataUnavailable,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::UnsupportedMediaType,
        Self::UnsupportedContentEncoding,
        Self::UnsupportedVersion,
        Self::BodyTooLarge,
        Self::MalformedBody,
        Self::BodyTimeout,
        Self::BodyBudget,
        Self::BadMessage(ScanReason::NotJson),
        Self::BadMessage(ScanReason::NotJsonRpc),
        Self::BatchNotAllowed,
        Self::AlreadyInitialized,
        Self::SessionRequired,
        Self::SessionNotFound,
        Self::DuplicateId,
        Self::UnknownEventId,
        Self::TooManySessions,
        Self::TooManyOwnSessions,
        Self::TooManyCalls,
        Self::TooManyStreams,
        Self::ChildNotReading,
        Self::ChildUnavailable,
        Self::Draining,
        Self::ChildExited,
        Self::RequestTimeout,
        Self::RequestCancelled,
        Self::SessionEnded,
        Self::HeaderMismatch,
        Self::UnsupportedProtocolVersion,
        Self::InvalidMeta,
        Self::MethodNotFound,
        Self::ResponseNotAllowed,
        Self::InvalidRequestState,
    ];

    fn entry(self) -> Entry {
        let (status, code, reason, message) = match self {
            Self::PlainHttp => (
                400,
                INVALID_REQUEST,
                "plain-http",
                "This port speaks HTTPS only: use a URL that begins with https://.",
            ),
            Self::MalformedHead => (
                400,
                INVALID_REQUEST,
                "malformed-head",
                "The request's head is malformed.",
            ),
            Self::TargetTooLong => (
                414,
                INVALID_REQUEST,
                "target-too-long",
                "The URL is too long.",
            ),
            Self::HeadTooLarge => (
                431,
                INVALID_REQUEST,
                "head-too-large",
                "The request's headers are too large.",
            ),
            Self::AmbiguousLength => (
                400,
                INVALID_REQUEST,
                "ambiguous-length",
                "The body's length must be told once, by a plain Content-Length or by chunks.",
            ),
            Self::UnsupportedTransferCoding => (
                501,
                INVALID_REQUEST,
                "unsupported-transfer-coding",
                "The only transfer coding is chunked.",
            ),
            Self::HeadTimeout => (
                408,
                INVALID_REQUEST,
                "head-timeout",
                "The request's headers did not arrive in time.",
            ),
            Self::BadHost => (
                400,
                INVALID_REQUEST,
                "bad-host",
                "Exactly one well-formed Host header is required.",
            ),
            Self::RepeatedField => (
                400,
                INVALID_REQUEST,
                "repeated-field",
                "A header that must stand alone was sent more than once.",
            ),
            Self::HostNotAllowed => (
                403,
                INVALID_REQUEST,
                "host-not-allowed",
                "This Host is not served here.",
            ),
            Self::OriginNotAllowed => (
                403,
                INVALID_REQUEST,
                "origin-not-allowed",
                "This Origin may not call this server.",
            ),
            Self::CredentialsMissing => (
                401,
                SERVER_ERROR,
                "credentials-missing",
                "A bearer token is needed.",
            ),
            Self::CredentialsMalformed => (
                401,
                SERVER_ERROR,
                "credentials-malformed",
                "Authorization must be Bearer and one token.",
            ),
            Self::InvalidToken => (
                401,
                SERVER_ERROR,
                "invalid-token",
                "The token is not valid here, or not any more.",
            ),
            Self::InsufficientScope => (
                403,
                SERVER_ERROR,
                "insufficient-scope",
                "The token lacks a scope that this needs.",
            ),
            Self::VerifierUnavailable => (
                503,
                INTERNAL_ERROR,
                "verifier-unavailable",
                "The token cannot be verified now; try again later.",
            ),
            Self::TooManyCredentials => (
                429,
                SERVER_ERROR,
                "too-many-credentials",
                "Too many attempts; try again later.",
            ),
            Self::TooManyProbes => (
                429,
                SERVER_ERROR,
                "too-many-probes",
                "Too many requests without a token; try again later.",
            ),
            Self::TooManyRequests => (
                429,
                SERVER_ERROR,
                "too-many-requests",
                "Too many requests; try again later.",
            ),
            Self::AuditUnavailable => (
                503,
                INTERNAL_ERROR,
                "audit-unavailable",
                "The server cannot serve requests now; try again later.",
            ),
            Self::NotPublished => (
                404,
                INVALID_REQUEST,
                "not-published",
                "This server publishes no such OAuth metadata.",
            ),
            Self::MetadataUnavailable => (
                503,
                INTERNAL_ERROR,
                "metadata-unavailable",
                "The metadata cannot be had now; try again later.",
            ),
            Self::NotFound => (
                404,
                INVALID_REQUEST,
                "not-found",
                "Nothing is at this path.",
            ),
            Self::MethodNotAllowed => (
                405,
                INVALID_REQUEST,
                "method-not-allowed",
                "This path does not take this method; see Allow.",
            ),
            Self::NotAcceptable => (
                406,
                INVALID_REQUEST,
                "not-acceptable",
                "Accept must admit application/json and text/event-stream for POST, and \
                 text/event-stream for GET.",
            ),
            Self::UnsupportedMediaType => (
                415,
                INVALID_REQUEST,
                "unsupported-media-type",
                "Content-Type must be application/json.",
            ),
            Self::UnsupportedContentEncoding => (
                415,
                INVALID_REQUEST,
                "unsupported-content-encoding",
                "The body must not be encoded.",
            ),
            Self::UnsupportedVersion => (
                400,
                INVALID_REQUEST,
                "unsupported-version",
                "Unsupported protocol version; supported: 2024-11-05, 2025-03-26, 2025-06-18, \
                 2025-11-25. Begin with initialize.",
            ),
            Self::BodyTooLarge => (
                413,
                INVALID_REQUEST,
                "body-too-large",
                "The body is larger than this server takes.",
            ),
            Self::MalformedBody => (
                400,
                INVALID_REQUEST,
                "malformed-body",
                "The body's chunks are malformed.",
            ),
            Self::BodyTimeout => (
                408,
                INVALID_REQUEST,
                "body-timeout",
                "The body did not arrive in time.",
            ),
            Self::BodyBudget => (
                503,
                INTERNAL_ERROR,
                "body-budget",
                "The server holds too many large requests; try again later.",
            ),
            Self::BadMessage(reason) if reason.is_parse_error() => (
                400,
                PARSE_ERROR,
                "parse-error",
                "The body is not valid JSON.",
            ),
            Self::BadMessage(_) => (
                400,
                INVALID_REQUEST,
                "invalid-request",
                "The body is not a valid JSON-RPC 2.0 message.",
            ),
            Self::BatchNotAllowed => (
                400,
                INVALID_REQUEST,
                "batch-not-allowed",
                "Batches exist only in sessions of revision 2025-03-26.",
            ),
            Self::AlreadyInitialized => (
                400,
                INVALID_REQUEST,
                "already-initialized",
                "initialize opens a session: send it alone and without Mcp-Session-Id.",
            ),
            Self::SessionRequired => (
                400,
                INVALID_REQUEST,
                "session-required",
                "Mcp-Session-Id is required; begin with initialize.",
            ),
            Self::SessionNotFound => (
                404,
                NOT_FOUND_OR_TIMED_OUT,
                "session-not-found",
                "Session not found; begin with initialize.",
            ),
            Self::DuplicateId => (
                400,
                INVALID_REQUEST,
                "duplicate-id",
                "A request with this id is in flight in this session.",
            ),
            Self::UnknownEventId => (
                400,
                INVALID_REQUEST,
                "unknown-event-id",
                "Last-Event-ID is not one that can be resumed from.",
            ),
            Self::TooManySessions => (
                503,
                INTERNAL_ERROR,
                "too-many-sessions",
                "The server has no room for a further session; try again later.",
            ),
            Self::TooManyOwnSessions => (
                503,
                INTERNAL_ERROR,
                "too-many-own-sessions",
                "You have too many sessions; end one, or try again later.",
            ),
            Self::TooManyCalls => (
                503,
                INTERNAL_ERROR,
                "too-many-calls",
                "Too many requests are in flight in this session; try again later.",
            ),
            Self::TooManyStreams => (
                503,
                INTERNAL_ERROR,
                "too-many-streams",
                "Too many streams are open in this session; close one first.",
            ),
            Self::ChildNotReading => (
                503,
                INTERNAL_ERROR,
                "child-not-reading",
                "The server is busy with earlier requests; try again later.",
            ),
            Self::ChildUnavailable => (
                503,
                INTERNAL_ERROR,
                "child-unavailable",
                "The server could not be started; try again later.",
            ),
            Self::Draining => (
                503,
                INTERNAL_ERROR,
                "draining",
                "The server is stopping; try again later.",
            ),
            Self::ChildExited => (
                200,
                INTERNAL_ERROR,
                "child-exited",
                "The server ended before it answered.",
            ),
            Self::RequestTimeout => (
                200,
                NOT_FOUND_OR_TIMED_OUT,
                "request-timeout",
                "The request timed out.",
            ),
            Self::RequestCancelled => (
                200,
                SERVER_ERROR,
                "request-cancelled",
                "The request was cancelled.",
            ),
            Self::SessionEnded => (
                200,
                SERVER_ERROR,
                "session-ended",
                "The session ended before the request was answered.",
            ),
            Self::HeaderMismatch => (
                400,
                HEADER_MISMATCH,
                "header-mismatch",
                "Header mismatch: MCP-Protocol-Version, Mcp-Method, Mcp-Name and Mcp-Param-* must be \
                 sent once each where they are due, and say what the body says.",
            ),
            Self::UnsupportedProtocolVersion => (
                400,
                UNSUPPORTED_PROTOCOL_VERSION,
                "unsupported-protocol-version",
                "Unsupported protocol version.",
            ),
            Self::InvalidMeta => (
                400,
                INVALID_PARAMS,
                "invalid-meta",
                "A required field of _meta is missing, or one of its fields is not valid.",
            ),
            Self::MethodNotFound => (
                404,
                METHOD_NOT_FOUND,
                "method-not-found",
                "Method not found.",
            ),
            Self::ResponseNotAllowed => (
                400,
                INVALID_REQUEST,
                "response-not-allowed",
                "Responses are not taken; call again with inputResponses.",
            ),
            Self::InvalidRequestState => (
                400,
                INVALID_PARAMS,
                "invalid-request-state",
                "requestState is not good for this call, or not any more; call again without it.",
            ),
        };
        Entry {
            status: StatusCode::from_u16(status).expect("the table holds valid statuses"),
            code,
            reason,
            message,
        }
    }

    /// The HTTP status. A call that the child had been given fails with 200: the HTTP exchange
    /// itself went well, and clients look for JSON-RPC errors only there.
    pub fn status(self) -> StatusCode {
        self.entry().status
    }

    /// The JSON-RPC error code in the revisions with sessions.
    pub fn code(self) -> i32 {
        self.entry().code
    }

    /// The JSON-RPC error code in the revisions of an era. Modern clients see JSON-RPC's own codes
    /// and those that MCP defines: new uses of the range that is left to implementations are
    /// discouraged (2026-07-28, basic, "Error Codes").
    pub fn code_for(self, era: Era) -> i32 {
        let entry = self.entry();
        match (era, entry.code) {
            (Era::Modern, SERVER_ERROR | NOT_FOUND_OR_TIMED_OUT) => {
                if entry.status.is_client_error() {
                    INVALID_REQUEST
                } else {
                    INTERNAL_ERROR
                }
            }
            (_, code) => code,
        }
    }

    /// The reason that the audit record carries: kebab-case, stable.
    pub fn reason(self) -> &'static str {
        self.entry().reason
    }

    /// What the client reads.
    pub fn message(self) -> &'static str {
        self.entry().message
    }

    /// Seconds after which to try again, for those that pass by themselves. Of those with status
    /// 429, each says for itself.
    pub fn retry_after(self) -> Option<u32> {
        (self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(1)
    }

    /// Whether it is about who the caller is, or what the caller may do.
    pub fn is_authentication(self) -> bool {
        matches!(
            self,
            Self::CredentialsMissing
                | Self::CredentialsMalformed
                | Self::InvalidToken
                | Self::InsufficientScope
                | Self::VerifierUnavailable
                | Self::TooManyCredentials
                | Self::TooManyProbes
        )
    }

    /// Whether nothing that follows on the connection may be taken for a request.
    pub fn closes_connection(self) -> bool {
        matches!(
            self,
            Self::PlainHttp
                | Self::MalformedHead
                | Self::BadHost
                | Self::TargetTooLong
                | Self::HeadTooLarge
                | Self::AmbiguousLength
                | Self::UnsupportedTransferCoding
                | Self::HeadTimeout
                | Self::BodyTooLarge
                | Self::MalformedBody
                | Self::BodyTimeout
        )
    }

    /// The JSON-RPC error response, with the code of `era`. `id` is the JSON-RPC request's id as raw
    /// JSON, where it is known; `request` the HTTP request's, which goes into the error's `data`, with
    /// what else there is to tell.
    pub(crate) fn to_json_rpc(
        self,
        era: Era,
        id: Option<&[u8]>,
        data: Option<&ErrorData>,
        request: &RequestId,
    ) -> Bytes {
        let mut body = Vec::with_capacity(256);
        body.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        body.extend_from_slice(id.unwrap_or(b"null"));
        body.extend_from_slice(
            format!(
                r#","error":{{"code":{},"message":"{}","data":{{"requestId":"{request}""#,
                self.code_for(era),
                self.message()
            )
            .as_bytes(),
        );
        if let Some(data) = data {
            data.write(&mut body);
        }
        body.extend_from_slice(b"}}}");
        body.into()
    }

    /// The whole response to what never became a request, for the HTTP front end to send.
    pub fn to_response(self, request: RequestId) -> (ResponseHead, Bytes) {
        let body = self.to_json_rpc(Era::Legacy, None, None, &request);
        let mut head = ResponseHead::new(self.status(), Some(body.len() as u64), request);
        head.content_type = Some(ContentType::Json);
        head.close = self.closes_connection();
        (head, body)
    }

    /// The error of a path that is not the MCP endpoint, in OAuth's form (RFC 6749 section 5.2):
    /// clients probe such paths for OAuth metadata and fail on anything else.
    pub fn to_oauth(self, request: &RequestId) -> Bytes {
        let entry = self.entry();
        format!(
            r#"{{"error":"{}","error_description":"{}","request_id":"{request}"}}"#,
            entry.reason.replace('-', "_"),
            entry.message
        )
        .into()
    }
}

#[cfg(feature = "h1")]
impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::MalformedHead => Self::MalformedHead,
            Violation::BadHost => Self::BadHost,
            Violation::TargetTooLong => Self::TargetTooLong,
            Violation::HeadTooLarge => Self::HeadTooLarge,
            Violation::AmbiguousLength => Self::AmbiguousLength,
            Violation::UnsupportedTransferCoding => Self::UnsupportedTransferCoding,
            Violation::HeadTimeout => Self::HeadTimeout,
            Violation::MalformedBody => Self::MalformedBody,
            Violation::BodyTooLarge => Self::BodyTooLarge,
            Violation::BodyTimeout => Self::BodyTimeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn reasons_are_unique_and_bodies_are_json() {
        let reasons: BTreeSet<_> = Refusal::ALL
            .iter()
            .map(|refusal| refusal.reason())
            .collect();
        assert_eq!(reasons.len(), Refusal::ALL.len());
        let request = RequestId::parse(b"a1._~+/=:@-").unwrap();
        for refusal in Refusal::ALL {
            for era in [Era::Legacy, Era::Modern] {
                let body = refusal.to_json_rpc(era, Some(b"\"a\""), None, &request);
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(body["id"], "a");
                assert_eq!(body["error"]["data"]["requestId"], request.as_str());
                assert_eq!(body["error"]["code"], refusal.code_for(era));
                assert_eq!(body["error"]["message"], refusal.message());
            }
            let body: serde_json::Value =
                serde_json::from_slice(&refusal.to_oauth(&request)).unwrap();
            assert_eq!(body["request_id"], request.as_str());
            assert_eq!(body["error_description"], refusal.message());
        }
    }

    #[test]
    fn modern_clients_see_only_codes_that_are_defined() {
        for refusal in Refusal::ALL {
            assert_eq!(refusal.code_for(Era::Legacy), refusal.code());
            let code = refusal.code_for(Era::Modern);
            let is_defined = match code {
                -32603..=-32600 | -32022..=-32020 => true,
                -32700 => refusal.reason() == "parse-error",
                _ => false,
            };
            assert!(is_defined, "{refusal:?}: {code}");
            let is_servers = refusal.status().is_server_error();
            assert!(!is_servers || code == -32603 || refusal.status() == 501);
        }
    }

    #[test]
    fn those_that_pass_by_themselves_say_when_to_try_again() {
        for refusal in Refusal::ALL {
            assert_eq!(refusal.retry_after().is_some(), refusal.status() == 503);
        }
    }
}
