//! What becomes of each request is said once, and it is found again by its id.

use mcp_proto::{AuditEvent, ExchangeId};

use super::Play;
use crate::request::Request;

impl Play {
    /// Has some requests choose an id, and some fail to.
    pub(super) fn dress_id(exchange: ExchangeId, request: Request) -> Request {
        match exchange.0 % 4 {
            0 => request.field("x-request-id", &chosen(exchange)),
            1 => request
                .field("x-request-id", "one")
                .field("x-request-id", "another"),
            2 => request.field("x-request-id", "\"quoted\""),
            _ => request,
        }
    }

    /// Every request has one record of its end, which says what its client saw of it; and its response,
    /// its error, and the records of what happened to it have one id.
    pub(super) fn check_access(&self) {
        for (&exchange, asked) in self.clients.iter().flat_map(|client| &client.asked) {
            let response = self.world.response(exchange);
            // That there is no second one, the world sees to.
            let record = self.world.access(exchange);
            let record = record.unwrap_or_else(|| panic!("{exchange:?} has no access record"));
            let id = record.request.as_str();
            if exchange.0.is_multiple_of(4) {
                assert_eq!(id, chosen(exchange));
            } else {
                assert_eq!(id, format!("3f9a12c4-{}", exchange.0));
            }
            if response.head.is_some() {
                assert_eq!(response.field("x-request-id").as_deref(), Some(id));
            }
            let status = record.status.map_or(0, |status| status.as_u16());
            assert_eq!(status, response.status(), "{record:?}");
            assert_eq!(record.method.as_ref(), Some(&asked.method));
            assert_eq!(record.streamed, response.is_stream(), "{record:?}");
            let caller = record.caller.as_ref().map(|caller| caller.address);
            assert_eq!(caller, Some(asked.address), "{record:?}");
            let read = response.body.len() as u64;
            if response.complete {
                assert!(!record.client_left, "{record:?}");
                assert_eq!(record.bytes_out, read, "{record:?}");
            }
            assert!(read <= record.bytes_out, "{record:?}");
            assert!(record.child_duration.is_none_or(|it| it <= record.duration));
            if !record.streamed
                && !response.body.is_empty()
                && response.complete
                && status >= 400
                && !self.modern.may_be_childs(exchange)
            {
                let error = response.json();
                let told = error.pointer("/error/data/requestId");
                let told = told.or(error.get("request_id")).and_then(|it| it.as_str());
                assert_eq!(told, Some(id), "{error}");
            }
        }
        for record in self.world.audit() {
            let Some(exchange) = record.exchange else {
                assert_eq!(record.request, None);
                continue;
            };
            let access = self.world.access(exchange).expect("every request has one");
            assert_eq!(record.request.as_ref(), Some(&access.request));
            if let AuditEvent::Refused(refusal) = record.event
                && !access.streamed
                && !access.client_left
            {
                assert_eq!(access.refusal, Some(refusal), "{access:?}");
            }
        }
    }
}

/// The id that a request chooses, if it chooses one.
fn chosen(exchange: ExchangeId) -> String {
    format!("its/{}", exchange.0)
}
