//! What the `data` of a JSON-RPC error says beside the request's id.

use std::borrow::Cow;

use crate::version::MODERN;

/// Most bytes of a version that is echoed.
const REQUESTED_BYTES: usize = 64;

/// What the `data` of a refusal's JSON-RPC error says beside the request's id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ErrorData {
    /// The revisions that are served, and the one that was asked for (2026-07-28, schema,
    /// `UnsupportedProtocolVersionError`).
    Versions { requested: Box<str> },
    /// The header that does not say what the body says.
    Header(Cow<'static, str>),
    /// The key of `_meta` that is missing or not valid.
    MetaKey(&'static str),
}

impl ErrorData {
    /// That `requested` is not served. It is cut to 64 bytes: no revision has a longer name.
    pub(crate) fn of_version(requested: &str) -> Self {
        let most = requested.len().min(REQUESTED_BYTES);
        let end = (0..=most).rfind(|&end| requested.is_char_boundary(end));
        Self::Versions {
            requested: requested[..end.unwrap_or(0)].into(),
        }
    }

    /// Appends the members, each after a comma.
    pub(crate) fn write(&self, body: &mut Vec<u8>) {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let members = match self {
            // Those with sessions are no choice for a request without one.
            Self::Versions { requested } => {
                let requested = text(requested);
                format!(r#","supported":["{MODERN}"],"requested":{requested}"#)
            }
            Self::Header(name) => format!(r#","header":{}"#, text(name)),
            Self::MetaKey(key) => format!(r#","field":{}"#, text(key)),
        };
        body.extend_from_slice(members.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::refusal::Refusal;
    use crate::request_id::RequestId;
    use crate::version::Era;

    fn data(data: &ErrorData) -> Value {
        let request = RequestId::parse(b"r").expect("an id");
        let refusal = Refusal::UnsupportedProtocolVersion;
        let body = refusal.to_json_rpc(Era::Modern, Some(b"1"), Some(data), &request);
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        body["error"]["data"].clone()
    }

    #[test]
    fn members_stand_beside_the_requests_id() {
        let header = ErrorData::Header("Mcp-Name".into());
        let expected = json!({"requestId": "r", "header": "Mcp-Name"});
        assert_eq!(data(&header), expected);
        let key = ErrorData::MetaKey("io.modelcontextprotocol/logLevel");
        let expected = json!({"requestId": "r", "field": "io.modelcontextprotocol/logLevel"});
        assert_eq!(data(&key), expected);
    }

    proptest! {
        #[test]
        fn a_version_is_echoed_as_far_as_it_is_short(requested in any::<String>()) {
            let data = data(&ErrorData::of_version(&requested));
            let supported = json!(["2026-07-28"]);
            prop_assert_eq!(&data["supported"], &supported);
            let echoed = data["requested"].as_str().expect("a string");
            prop_assert!(requested.starts_with(echoed) && echoed.len() <= REQUESTED_BYTES);
            prop_assert!(echoed.len() + 4 > requested.len().min(REQUESTED_BYTES));
        }
    }
}
