//! What a caller that is not let in is told: `WWW-Authenticate` (RFC 6750 section 3, RFC 9728
//! section 5.1).

use std::fmt::Write as _;

use http::HeaderValue;

use super::{Identity, ScopeRule, scope};
use crate::refusal::Refusal;

/// Why a caller is not let in, as OAuth names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorCode {
    InvalidToken,
    InsufficientScope,
}

/// What is asked of callers, and how they are told.
#[derive(Debug)]
pub(crate) struct Challenges {
    realm: String,
    /// The URL of the protected resource's metadata, where it is published.
    resource_metadata: Option<String>,
    required_scopes: Vec<String>,
    rules: Vec<ScopeRule>,
}

impl Challenges {
    pub(crate) fn new(
        realm: String,
        resource_metadata: Option<String>,
        required_scopes: Vec<String>,
        rules: Vec<ScopeRule>,
    ) -> Self {
        Self {
            realm,
            resource_metadata,
            required_scopes,
            rules,
        }
    }

    /// Whether what is in the body decides too.
    pub(crate) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The field that goes with a refusal, if one does.
    pub(crate) fn for_refusal(&self, refusal: Refusal) -> Option<HeaderValue> {
        match refusal {
            // No error: the caller may not have known that a token is needed.
            Refusal::CredentialsMissing => Some(self.field(None, &[])),
            Refusal::CredentialsMalformed | Refusal::InvalidToken => {
                Some(self.field(Some(ErrorCode::InvalidToken), &[]))
            }
            Refusal::InsufficientScope => Some(self.field(Some(ErrorCode::InsufficientScope), &[])),
            _ => None,
        }
    }

    /// Whether the token opens anything at all.
    pub(crate) fn admits(&self, identity: &Identity) -> bool {
        let has = |scope| identity.scopes.contains(scope);
        self.required_scopes.iter().all(has)
    }

    /// Whether the token is good for a call; if not, the field that says what is missing.
    pub(crate) fn judge_call(
        &self,
        identity: &Identity,
        method: &str,
        name: Option<&str>,
    ) -> Result<(), HeaderValue> {
        let wanted = scope::wanted(&self.rules, method, name);
        let granted = |scope: &&String| identity.scopes.contains(scope);
        if wanted.iter().all(granted) {
            return Ok(());
        }
        // A client asks for just what it is told: without what it had, it would lose that, and be
        // sent back and forth between two calls.
        let known = self.rules.iter().flat_map(|rule| &rule.scopes);
        let mut scopes = wanted;
        for scope in known.filter(granted) {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        let scopes: Vec<_> = scopes.into_iter().map(String::as_str).collect();
        Err(self.field(Some(ErrorCode::InsufficientScope), &scopes))
    }

    /// `more` are scopes beside those that everything needs: a client asks for just these.
    fn field(&self, error: Option<ErrorCode>, more: &[&str]) -> HeaderValue {
        let mut text = String::from("Bearer ");
        match &self.resource_metadata {
            Some(url) => write!(text, "resource_metadata=\"{url}\""),
            // RFC 6750 section 3 wants one parameter at the least.
            None => write!(text, "realm=\"{}\"", escaped(&self.realm)),
        }
        .expect("a String takes all");
        let required: Vec<_> = self.required_scopes.iter().map(String::as_str).collect();
        let more = more.iter().filter(|scope| !required.contains(scope));
        let scopes: Vec<_> = required.iter().chain(more).copied().collect();
        if !scopes.is_empty() {
            write!(text, ", scope=\"{}\"", scopes.join(" ")).expect("a String takes all");
        }
        text.push_str(match error {
            None => "",
            Some(ErrorCode::InvalidToken) => ", error=\"invalid_token\"",
            Some(ErrorCode::InsufficientScope) => ", error=\"insufficient_scope\"",
        });
        // Names, URLs and scopes come from the operator, who may have written anything.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer realm=\"mcp\""))
    }
}

/// What stands between the quotes of a quoted string (RFC 9110 section 5.6.4).
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Principal;

    #[test]
    fn a_challenge_says_what_a_client_needs_to_get_a_token() {
        let url = "https://gw.example.org/.well-known/oauth-protected-resource/mcp";
        let rule = ScopeRule {
            method: "tools/call".to_owned(),
            name: None,
            scopes: vec!["files:write".to_owned()],
        };
        let oauth = Challenges::new(
            "demo".to_owned(),
            Some(url.to_owned()),
            vec!["mcp".to_owned()],
            vec![rule],
        );
        let plain = Challenges::new("demo".to_owned(), None, Vec::new(), Vec::new());
        assert_eq!(
            oauth.for_refusal(Refusal::CredentialsMissing).unwrap(),
            format!("Bearer resource_metadata=\"{url}\", scope=\"mcp\"")
        );
        assert_eq!(
            oauth.for_refusal(Refusal::InvalidToken).unwrap(),
            format!("Bearer resource_metadata=\"{url}\", scope=\"mcp\", error=\"invalid_token\"")
        );
        assert_eq!(
            plain.for_refusal(Refusal::CredentialsMissing).unwrap(),
            "Bearer realm=\"demo\""
        );
        assert_eq!(oauth.for_refusal(Refusal::TooManyProbes), None);
        let identity = Identity {
            principal: Principal {
                issuer: "i".to_owned(),
                subject: "s".to_owned(),
                client_id: None,
            },
            scopes: vec!["mcp".to_owned()],
            expires_at: None,
        };
        assert!(oauth.admits(&identity));
        assert_eq!(
            oauth.judge_call(&identity, "tools/call", None).unwrap_err(),
            format!(
                "Bearer resource_metadata=\"{url}\", scope=\"mcp files:write\", \
                 error=\"insufficient_scope\""
            )
        );
        assert_eq!(oauth.judge_call(&identity, "tools/list", None), Ok(()));
    }

    #[test]
    fn whoever_asks_for_what_is_missing_keeps_what_they_had() {
        let rule = |name: Option<&str>, scope: &str| ScopeRule {
            method: "tools/call".to_owned(),
            name: name.map(str::to_owned),
            scopes: vec![scope.to_owned()],
        };
        let rules = vec![
            rule(None, "call"),
            rule(Some("add*"), "write"),
            rule(Some("drop*"), "drop"),
            rule(Some("list*"), "list"),
        ];
        let challenges = Challenges::new("demo".to_owned(), None, vec!["mcp".to_owned()], rules);
        let identity = Identity {
            principal: Principal {
                issuer: "i".to_owned(),
                subject: "s".to_owned(),
                client_id: None,
            },
            scopes: ["mcp", "call", "list", "unheard-of"]
                .map(str::to_owned)
                .into(),
            expires_at: None,
        };
        assert_eq!(
            challenges
                .judge_call(&identity, "tools/call", Some("add"))
                .unwrap_err(),
            "Bearer realm=\"demo\", scope=\"mcp call write list\", error=\"insufficient_scope\""
        );
    }
}
