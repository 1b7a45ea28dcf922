//! Log messages: a legacy child has one level and names no call; a modern request has its own level,
//! and gets what is logged for it (MCP 2026-07-28, logging, "Per-request log level").

use super::ModernServer;
use crate::envelope::{Envelope, Field};
use crate::framing::{Text, splice};
use crate::modern::Level;
use crate::translation::TranslationOutput;

impl ModernServer {
    /// Has the child log what a call asked for, before it hears of the call.
    pub(super) fn set_level(&mut self, level: Level) {
        if self.logs() && self.level.replace(level) != Some(level) {
            let params = format!("{{\"level\":\"{}\"}}", level.as_str());
            self.tell_child("logging/setLevel", &params);
        }
    }

    /// A log message goes to the one call that there is, or nowhere: nothing in it says whose it is.
    pub(super) fn log(&mut self, text: Text<'_>, document: &[u8], message: &Envelope) {
        let level = message.text(Field::Level, document);
        let level = level.and_then(|level| Level::parse(&level));
        let wanted = self
            .calls
            .only()
            .filter(|call| call.request.is_some())
            .and_then(|call| call.level);
        if self.logs() && level.zip(wanted).is_some_and(|(is, wanted)| is >= wanted) {
            let breaks = message.has_line_breaks();
            let frame = splice(b"", text, message.span(), breaks, &[], b"");
            self.outputs.push_back(TranslationOutput::ToClient(frame));
        }
    }
}
