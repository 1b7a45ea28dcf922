//! A request's message, as records and refusals name it.

use std::borrow::Cow;

use bytes::Bytes;

use crate::audit::AuditRecord;
use crate::envelope::{self, Envelope, Field, Kind, Span};

/// The message of a request's body, as records and refusals name it.
#[derive(Default)]
pub(super) struct Message {
    body: Bytes,
    /// Of a request alone, not of a batch.
    id: Option<Span>,
    method: Option<Span>,
    /// The tool's or prompt's name, or the resource's URI.
    name: Option<Span>,
}

/// What a message calls, as records hold it.
pub(super) struct Names {
    pub(super) method: Option<Box<str>>,
    pub(super) name: Option<Box<str>>,
}

impl Message {
    pub(super) fn of(envelope: &Envelope, body: &Bytes) -> Self {
        let is_request = envelope.kind() == Kind::Request;
        // A server reads one of the two and passes the other over: so does whoever judges the call.
        let method = envelope.text(Field::Method, body);
        let of_resource = method.is_some_and(|method| method.starts_with("resources/"));
        let named_by = if of_resource { Field::Uri } else { Field::Name };
        Self {
            body: body.clone(),
            id: envelope.get(Field::Id).filter(|_| is_request),
            method: envelope.get(Field::Method),
            name: envelope.get(named_by),
        }
    }

    /// One that is none, but for its id.
    pub(super) fn refused(id: Option<Span>, body: Bytes) -> Self {
        Self {
            body,
            id,
            ..Self::default()
        }
    }

    /// One of a batch, whose refusal has no id.
    pub(super) fn of_batch(self) -> Self {
        Self { id: None, ..self }
    }

    pub(super) fn id(&self) -> Option<&[u8]> {
        self.id.map(|span| span.of(&self.body))
    }

    pub(super) fn method(&self) -> Option<Cow<'_, str>> {
        envelope::decode_string(self.method?.of(&self.body))
    }

    /// Method and name, as records hold them.
    pub(super) fn names(&self) -> Names {
        Names {
            method: self.method().map(cut),
            name: self.name().map(cut),
        }
    }

    pub(super) fn name(&self) -> Option<Cow<'_, str>> {
        envelope::decode_string(self.name?.of(&self.body))
    }
}

/// A client's text as a record holds it.
fn cut(text: Cow<'_, str>) -> Box<str> {
    let fits = |&(start, c): &(usize, char)| start + c.len_utf8() <= AuditRecord::TEXT_BYTES;
    text.char_indices()
        .take_while(fits)
        .map(|(_, c)| c)
        .collect()
}
