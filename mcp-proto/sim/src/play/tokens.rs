//! Who asks for whom: the tokens of a play, the truth about each, and the policy that goes with them.

use std::collections::BTreeSet;
use std::time::Duration;

use mcp_proto::auth::{
    Algorithm, Audience, AuthPolicy, AuthorizationServer, Clients, HttpVerifier,
    IntrospectionVerifier, JwtVerifier, KeySource, Rate, ScopeRule, Secret, StaticToken, Token,
    Verifier, VerifierKind,
};
use mcp_proto::{Instant, Limits};
use serde_json::json;

use super::addresses::PROXIES;
use super::outside::Question;
use super::plan::Tone;
use crate::outside::jwt;
use crate::rng::{Rng, Seed};

pub(super) const RESOURCE: &str = "https://gw.example.org/mcp";
pub(super) const ISSUER: &str = "https://as.example.org";
pub(super) const KEYS: &str = r#"{"keys":[{"kty":"RSA","kid":"r","n":"AQ","e":"AQAB"}]}"#;

/// The tokens that each client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Lasting,
    Spare,
    Ending,
    Revoked,
    Forged,
    /// It lacks a scope.
    Narrow,
}

impl Sort {
    const ALL: [Self; 6] = [
        Self::Lasting,
        Self::Spare,
        Self::Ending,
        Self::Revoked,
        Self::Forged,
        Self::Narrow,
    ];

    /// The place of a client's token of this sort among all tokens.
    pub(super) fn of(self, client: usize) -> usize {
        client * Self::ALL.len() + self as usize
    }
}

/// A token, and the truth about it.
pub(super) struct Known {
    pub(super) text: String,
    pub(super) kind: VerifierKind,
    /// The client whose it is.
    pub(super) client: usize,
    /// Whether it ever was one.
    pub(super) real: bool,
    /// Whether it has all scopes.
    pub(super) scoped: bool,
    /// In seconds since the Unix epoch.
    pub(super) ends: Option<u64>,
    pub(super) revoked: Option<Instant>,
    /// How often somebody was asked about it.
    pub(super) asked: u64,
    /// How many questions about it are open.
    pub(super) open: u32,
}

impl Known {
    /// Who shows it, as sessions tell principals apart: the authorization server has one name for
    /// its own, whoever is asked about them.
    fn principal(&self) -> (VerifierKind, usize) {
        let by = match self.kind {
            VerifierKind::Jwt => VerifierKind::Introspection,
            kind => kind,
        };
        (by, self.client)
    }

    pub(super) fn is_good(&self, now: Instant, unix_seconds: u64) -> bool {
        self.real
            && self.ends.is_none_or(|ends| unix_seconds < ends)
            && self.revoked.is_none_or(|revoked| now < revoked)
    }

    pub(super) fn scopes(&self) -> &'static str {
        if self.scoped { "mcp call" } else { "call" }
    }
}

/// What a request bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Borne {
    /// Nobody is asked who they are.
    Unasked,
    Nothing,
    Malformed,
    Token(usize),
}

/// Everyone's tokens.
#[derive(Default)]
pub(super) struct Outside {
    pub(super) tokens: Vec<Known>,
    /// How often something else than a token was asked for.
    pub(super) fetches: u64,
    /// How many of these questions are open.
    pub(super) open: u32,
    pub(super) questions: Vec<Option<Question>>,
    pub(super) started: u32,
    /// When the operator last took tokens back.
    pub(super) took_back: Instant,
}

/// The policy of a play, and the tokens that go with it; in most plays nobody is asked.
pub(super) fn prepare(
    seed: &Seed,
    clients: usize,
    tone: Tone,
    limits: &mut Limits,
    unix_seconds: u64,
    now: Instant,
) -> (AuthPolicy, Outside) {
    let dice = &mut seed.dice("outside");
    if dice.percent(55) {
        return (everyone(), Outside::default());
    }
    let all = [
        VerifierKind::Static,
        VerifierKind::Http,
        VerifierKind::Jwt,
        VerifierKind::Introspection,
        VerifierKind::Custom,
    ];
    let mut kinds: Vec<_> = all.into_iter().filter(|_| dice.percent(50)).collect();
    if kinds.is_empty() {
        kinds.push(*dice.pick(&all));
    }
    limits.verdict_time = Duration::from_secs(*dice.pick(&[2, 10, 60]));
    if !tone.calm {
        limits.verdicts = *dice.pick(&[2, 10_000]);
        limits.sessions_per_principal = *dice.pick(&[1, 64]);
        limits.principal_rate = dice.percent(20).then(|| Rate::per_minute(20));
        limits.address_rate = dice.percent(20).then(|| Rate::per_minute(20));
        limits.rate_entries = *dice.pick(&[1, 65_536]);
    }
    let mut outside = Outside::default();
    for client in 0..clients {
        let kind = *dice.pick(&kinds);
        for sort in Sort::ALL {
            let mut token = Known {
                text: String::new(),
                kind,
                client,
                real: sort != Sort::Forged,
                scoped: sort != Sort::Narrow,
                ends: (sort == Sort::Ending).then(|| unix_seconds + 2 + dice.draw() % 20),
                revoked: (sort == Sort::Revoked)
                    .then(|| now + Duration::from_millis(dice.draw() % 20_000)),
                asked: 0,
                open: 0,
            };
            token.text = text(&token, sort, unix_seconds);
            outside.tokens.push(token);
        }
    }
    // Nobody gives scopes to tokens of these kinds.
    let scopes = kinds
        .iter()
        .all(|kind| ![VerifierKind::Static, VerifierKind::Http].contains(kind));
    let policy = AuthPolicy {
        verifiers: kinds
            .iter()
            .map(|&kind| verifier(kind, dice, tone, &outside))
            .collect(),
        resource: RESOURCE.to_owned(),
        required_scopes: if scopes {
            vec!["mcp".to_owned()]
        } else {
            vec![]
        },
        scope_rules: scopes
            .then(|| ScopeRule {
                method: "tools/call".to_owned(),
                name: Some("t*".to_owned()),
                scopes: vec!["call".to_owned()],
            })
            .into_iter()
            .collect(),
        authorization_server: Some(AuthorizationServer {
            issuer: ISSUER.to_owned(),
            metadata: (tone.calm || dice.percent(50)).then(metadata),
        }),
        ..everyone()
    };
    (policy, outside)
}

/// The policy of a play in which nobody is asked.
fn everyone() -> AuthPolicy {
    AuthPolicy {
        trusted_proxies: vec![PROXIES.parse().expect("a network")],
        refuse_unaudited: true,
        ..AuthPolicy::default()
    }
}

pub(super) fn metadata() -> String {
    let document = json!({
        "issuer": ISSUER,
        "jwks_uri": "https://as.example.org/jwks",
        "introspection_endpoint": "https://as.example.org/introspect",
    });
    document.to_string()
}

fn text(token: &Known, sort: Sort, unix_seconds: u64) -> String {
    let name = format!("{}-{}-secret", token.client, sort as usize);
    match token.kind {
        VerifierKind::Static => format!("own-{name}"),
        VerifierKind::Http => format!("svc-{name}"),
        VerifierKind::Introspection => format!("opq-{name}"),
        VerifierKind::Custom => format!("app-{name}"),
        VerifierKind::Jwt => {
            let header = json!({"alg": "RS256", "typ": "at+jwt", "kid": "r"});
            let ends = token.ends.unwrap_or(unix_seconds + 1_000_000);
            jwt(
                &header,
                &json!({
                    "iss": ISSUER, "aud": RESOURCE, "exp": ends, "jti": name,
                    "sub": format!("p{}", token.client), "client_id": "app",
                    "scope": token.scopes(),
                }),
            )
        }
    }
}

fn verifier(kind: VerifierKind, dice: &mut Rng, tone: Tone, outside: &Outside) -> Verifier {
    match kind {
        VerifierKind::Static => Verifier::Static(outside.given_out(Instant::default())),
        VerifierKind::Http => Verifier::Http(HttpVerifier {
            url: "https://api.example.org/whoami".to_owned(),
            method: http::Method::GET,
            client_pointer: Some("/id".to_owned()),
            expiry_pointer: Some("/ends".to_owned()),
            clients: Clients::Any,
            issuer: None,
            token_prefix: Some("svc-".to_owned()),
            own_token: None,
        }),
        VerifierKind::Introspection => Verifier::Introspection(IntrospectionVerifier {
            url: (tone.calm || dice.percent(50))
                .then(|| "https://as.example.org/introspect".to_owned()),
            client_id: "gw".to_owned(),
            client_secret: Secret::new("hush"),
            audience: Audience::Resource,
            token_prefix: Some("opq-".to_owned()),
        }),
        VerifierKind::Jwt => Verifier::Jwt(JwtVerifier {
            keys: match dice.below(3) {
                _ if tone.calm => KeySource::Given(KEYS.to_owned()),
                0 => KeySource::Given(KEYS.to_owned()),
                1 => KeySource::Metadata,
                _ => KeySource::Url("https://as.example.org/jwks".to_owned()),
            },
            algorithms: vec![Algorithm::Rs256],
            types: vec!["at+jwt".to_owned()],
            audience: Audience::Resource,
        }),
        VerifierKind::Custom => Verifier::Custom,
    }
}

impl Outside {
    /// The tokens that the operator has given out and not taken back.
    pub(super) fn given_out(&self, now: Instant) -> Vec<StaticToken> {
        let own = self.tokens.iter().filter(|token| {
            let back = token.revoked.is_some_and(|revoked| revoked <= now);
            token.kind == VerifierKind::Static && token.real && !back
        });
        own.map(|token| StaticToken {
            name: format!("p{}", token.client),
            token: Token::new(token.text.clone()).expect("a token"),
        })
        .collect()
    }

    /// When the operator takes tokens back.
    pub(super) fn taken_back(&self) -> BTreeSet<Instant> {
        let own = self.tokens.iter();
        let own = own.filter(|token| token.kind == VerifierKind::Static);
        own.filter_map(|token| token.revoked).collect()
    }

    /// The token with this text, or that begins with it.
    pub(super) fn find(&self, text: &str) -> Option<usize> {
        let mut tokens = self.tokens.iter();
        tokens.position(|token| token.text.starts_with(text))
    }

    /// Whether somebody is asked about what a request bears, or what it takes to ask them.
    pub(super) fn is_open(&self, borne: Borne) -> bool {
        matches!(borne, Borne::Token(token) if self.open + self.tokens[token].open > 0)
    }

    pub(super) fn principal(&self, borne: Borne) -> Option<(VerifierKind, usize)> {
        match borne {
            Borne::Token(token) => Some(self.tokens[token].principal()),
            Borne::Unasked | Borne::Nothing | Borne::Malformed => None,
        }
    }
}
