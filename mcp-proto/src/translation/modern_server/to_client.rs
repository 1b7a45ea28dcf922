//! From the child to the client: answers, progress, and what else the child tells of.

use super::error::INTERNAL_ERROR;
use super::result::complete;
use super::subscriptions::Change;
use super::{ModernServer, OWN_ID, number};
use crate::decimal::Decimal;
use crate::envelope::{Envelope, Field};
use crate::framing::{Text, splice};
use crate::time::Now;
use crate::translation::TranslationOutput;

impl ModernServer {
    /// Takes the child's answer to a call, or to a request of the machine's own.
    pub(super) fn answer(&mut self, text: Text<'_>, message: &Envelope, now: Now) {
        let document = text.as_bytes();
        let own = message.text(Field::Id, document);
        if let Some(own) = own.and_then(|id| id.strip_prefix(OWN_ID)?.parse().ok()) {
            return self.subscribed(own, message.get(Field::Error).is_some());
        }
        let Some(id) = message.raw(Field::Id, document).and_then(number) else {
            return;
        };
        self.calls.lay(id);
        let has_turn = self.turn.as_ref().is_some_and(|turn| turn.call == id);
        if has_turn && self.keep_answer(document, message) {
            return;
        }
        let missing = self.calls.missing(id);
        let Some(call) = self.calls.remove(id) else {
            return;
        };
        if let Some(request) = call.request {
            let is_error = message.get(Field::Error).is_some()
                || message.raw(Field::ResultIsError, document) == Some(b"true");
            if let Some(missing) = missing.filter(|_| is_error) {
                self.miss_capability(request, &missing);
            } else if message.get(Field::Error).is_some() {
                self.pass_error(request, &call, text, message);
            } else {
                let info = self.server_info();
                match complete(request, call.kind, info, text, message) {
                    Some(frame) => self.outputs.push_back(TranslationOutput::ToClient(frame)),
                    None => {
                        self.refuse(request, INTERNAL_ERROR, "The server's result is no object.");
                    }
                }
            }
        }
        if has_turn {
            self.refuse_asked("The call has been answered.");
            self.next_turn(now);
        }
    }

    /// Ends the turn of the call that has it, and gives it to the next that waits.
    pub(super) fn next_turn(&mut self, now: Now) {
        self.turn = None;
        while self.turn.is_none()
            && let Some((line, message)) = self.waiting.pop()
        {
            self.request(&line, &message, now);
        }
    }

    pub(super) fn child_notification(
        &mut self,
        text: Text<'_>,
        document: &[u8],
        message: &Envelope,
    ) {
        let method = message.text(Field::Method, document).unwrap_or_default();
        match &*method {
            "notifications/progress" => self.progress(text, document, message),
            "notifications/message" => self.log(text, document, message),
            "notifications/cancelled" => self.child_cancelled(document, message),
            method => {
                if let Some(change) = Change::read(method, document, message) {
                    self.handle_change(&change);
                    self.changes.push_back(change);
                }
            }
        }
    }

    fn progress(&mut self, text: Text<'_>, document: &[u8], message: &Envelope) {
        let token = message.get(Field::Progress);
        let call = token.and_then(|token| self.calls.get(number(token.of(document))?));
        let request = call
            .filter(|call| call.wants_progress)
            .and_then(|call| call.request);
        let (Some(token), Some(request)) = (token, request) else {
            return;
        };
        let id = Decimal::new(request);
        let edits = [(token, id.as_bytes())];
        let breaks = message.has_line_breaks();
        let frame = splice(b"", text, message.span(), breaks, &edits, b"");
        self.outputs.push_back(TranslationOutput::ToClient(frame));
    }
}
