//! Everything that was said, by whom, to whom, and how it has to arrive: the reference model's
//! memory. Each payload carries a marker that no other carries.

use std::collections::BTreeMap;

use mcp_proto::UpstreamId;
use serde_json::Value;
use serde_json::value::RawValue;

/// Stands in a template where the id goes.
pub(super) const ID: &str = "\u{1}";
/// Stands in a template where the progress token goes.
pub(super) const TOKEN: &str = "\u{2}";

/// What a client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SentKind {
    Initialize,
    Call,
    Notification,
    /// A cancel of the call with this id, as raw JSON: the client may have used it before.
    Cancel(String),
    /// An answer to the request with this marker.
    Answer(String),
    /// Nothing that may ever reach a child.
    Bogus,
}

#[derive(Debug)]
pub(super) struct Sent {
    pub(super) client: usize,
    pub(super) template: String,
    pub(super) kind: SentKind,
    /// The client's id for it, for a call.
    pub(super) id: String,
    /// How often a child has read it.
    pub(super) read: u32,
    /// The id under which the child knows it.
    pub(super) minted: String,
}

/// What a child said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SaidKind {
    /// An answer to the call with this marker.
    Answer(String),
    /// Progress on the call with this marker.
    Progress(String),
    Notification,
    /// A request, with the child's id for it.
    Request(String),
    /// A cancel of the request with this marker.
    Cancel(String),
}

#[derive(Debug)]
pub(super) struct Said {
    pub(super) client: usize,
    pub(super) upstream: UpstreamId,
    pub(super) template: String,
    pub(super) kind: SaidKind,
    /// How often a client has read it.
    pub(super) read: u32,
    /// The id under which the client knows it, for a request.
    pub(super) minted: String,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Whether clients have answers from a translation, which writes their envelopes anew.
    pub(super) rewrites_envelopes: bool,
    pub(super) sent: BTreeMap<String, Sent>,
    pub(super) said: BTreeMap<String, Said>,
}

impl Ledger {
    pub(super) fn send(&mut self, client: usize, marker: &str, template: &str, kind: SentKind) {
        let sent = Sent {
            client,
            template: template.to_owned(),
            kind,
            id: String::new(),
            read: 0,
            minted: String::new(),
        };
        let before = self.sent.insert(marker.to_owned(), sent);
        assert!(before.is_none(), "marker {marker} is used twice");
    }

    /// The marker of this client's call that goes by these two ids.
    pub(super) fn call_of(&self, client: usize, id: &str, minted: &str) -> Option<String> {
        let mut sent = self.sent.iter();
        let found =
            sent.find(|(_, sent)| sent.client == client && sent.id == id && sent.minted == minted);
        found.map(|(marker, _)| marker.clone())
    }

    /// A child reads a line that holds this marker.
    pub(super) fn child_reads(&mut self, client: usize, marker: &str, line: &str) {
        let message = fields(line);
        let id = message.get("id").map_or("", |id| id.get());
        let known = match &self.sent[marker].kind {
            SentKind::Initialize | SentKind::Call => id.to_owned(),
            SentKind::Notification => String::new(),
            SentKind::Cancel(raw) => {
                let params = fields(message["params"].get());
                let id = params["requestId"].get();
                let known = self.call_of(client, raw, id).is_some();
                assert!(known, "a cancel of another call: {line}");
                id.to_owned()
            }
            SentKind::Answer(request) => match &self.said[request].kind {
                SaidKind::Request(id) => id.clone(),
                kind => panic!("an answer to {kind:?}"),
            },
            SentKind::Bogus => panic!("a child reads what should have been refused: {line}"),
        };
        let sent = self.sent.get_mut(marker).expect("it was sent");
        assert_eq!(
            sent.client, client,
            "a child reads what another client sent"
        );
        sent.read += 1;
        assert_eq!(sent.read, 1, "a child reads twice: {line}");
        let expected = sent.template.replace(ID, &known).replace(TOKEN, &known);
        let expected = expected.trim().replace(['\n', '\r'], " ");
        assert_eq!(line, expected, "a payload was changed");
        sent.minted = known;
    }

    /// A client reads a message that holds this marker, with this id or token where it is its own.
    pub(super) fn client_reads(&mut self, client: usize, marker: &str, text: &str, known: &str) {
        let said = self.said.get_mut(marker);
        let said = said.unwrap_or_else(|| panic!("nobody said {text}"));
        assert_eq!(
            said.client, client,
            "a client reads what another's child said"
        );
        said.read += 1;
        assert_eq!(said.read, 1, "a client reads twice: {text}");
        let expected = said.template.replace(ID, known).replace(TOKEN, known);
        let expected = expected.trim().replace(['\n', '\r'], " ");
        if self.rewrites_envelopes {
            let raw = |text| {
                let members = fields(text).into_iter();
                members.map(|(name, raw)| (name, raw.get().to_owned()))
            };
            assert!(raw(text).eq(raw(&expected)), "{text} was {expected}");
        } else {
            assert_eq!(text, expected, "a payload was changed");
        }
    }
}

/// The members of a message, as they are written.
pub(super) fn fields(text: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The marker in a message.
pub(super) fn marker(message: &Value) -> Option<String> {
    let places = ["/params/marker", "/result/marker", "/error/data/marker"];
    let found = places.iter().find_map(|place| message.pointer(place));
    Some(found?.as_str().expect("markers are text").to_owned())
}

/// A value that a careless relay would change.
pub(super) fn filler(choice: u64) -> &'static str {
    const FILLERS: [&str; 8] = [
        "null",
        "{\"big\":123456789012345678901234567890,\"small\":-0.000,\"e\":1E+05}",
        "\"\u{2028}\\u2029 \u{e9}\\u00e9\\/ \\ud83d\\ude00\"",
        "[ 1 , [ ] ,{ } , \"\" ]",
        "{\"id\":1,\"method\":\"evil\",\"jsonrpc\":\"2.0\",\"progressToken\":7}",
        "\"\\n\\r\\ndata: x\\n\\n\"",
        "{\"z\":1,\"a\":2, \"m\":\t3}",
        "9007199254740993",
    ];
    FILLERS[(choice % FILLERS.len() as u64) as usize]
}
