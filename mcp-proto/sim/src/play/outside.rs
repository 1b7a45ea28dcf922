//! What clients bear, and what others say of it, as the seed says.
//!
//! Whoever is asked about a token tells the truth about it, at once, late or never, or talks nonsense
//! instead; but nobody ever says that a token is good that is not. So that whatever is let in by a
//! token is let in rightly.

use bytes::Bytes;
use mcp_proto::auth::{
    FetchFailure, FetchRequest, Fetched, Identity, Principal, SignatureCheck, SignatureFailure,
    Token, Verdict, VerificationId, VerifierKind,
};
use serde_json::json;

use super::tokens::{Borne, ISSUER, KEYS, Known, RESOURCE, Sort, metadata};
use super::{Act, Play};
use crate::outside::answer;
use crate::request::Request;
use crate::rng::hash;

/// The nonsense of a server that is away.
const UNREACHABLE: u64 = 2;

/// What somebody was asked.
pub(super) enum Question {
    Fetch(FetchRequest),
    Check(SignatureCheck),
    Opinion(VerificationId, Token),
}

// What clients bear.
impl Play {
    /// Chooses what a client's next request bears.
    pub(super) fn choose_credential(&self, client: usize, number: u64, opens: bool) -> Borne {
        if self.outside.tokens.is_empty() {
            return Borne::Unasked;
        }
        let dice = &mut self
            .options
            .seed
            .dice(&format!("credential {client} {number}"));
        let clients = self.clients.len();
        if opens && dice.percent(90) {
            return Borne::Token(Sort::Lasting.of(client));
        }
        Borne::Token(match dice.below(100) {
            0 => return Borne::Nothing,
            1 => return Borne::Malformed,
            2..5 => Sort::Narrow.of(client),
            5..8 => Sort::Forged.of(client),
            8..15 => Sort::Revoked.of(client),
            15..22 => Sort::Ending.of(client),
            22..30 => Sort::Spare.of(client),
            30..34 if !self.options.calm => Sort::Lasting.of(dice.below(clients)),
            _ => Sort::Lasting.of(client),
        })
    }

    pub(super) fn dress_credential(&self, borne: Borne, request: Request) -> Request {
        match borne {
            Borne::Unasked | Borne::Nothing => request,
            Borne::Malformed => request.field("authorization", "Bearer not a-secret"),
            Borne::Token(token) => request.bearer(&self.outside.tokens[token].text),
        }
    }

    /// Whether nothing may come of a request that bears this now.
    pub(super) fn must_refuse(&self, borne: Borne) -> bool {
        let token = match borne {
            Borne::Unasked => return false,
            Borne::Nothing | Borne::Malformed => return true,
            Borne::Token(token) => &self.outside.tokens[token],
        };
        let (now, unix_seconds) = (self.world.now(), self.world.unix_seconds());
        let revoked = token.revoked.is_some_and(|revoked| match token.kind {
            // The operator may be late to take it back.
            VerifierKind::Static => revoked <= self.outside.took_back,
            VerifierKind::Jwt => false,
            // A verdict may be a while old.
            _ => revoked + self.world.gateway().policy().limits.verdict_time <= now,
        });
        let ends = token.ends.filter(|_| token.kind != VerifierKind::Static);
        let needs_scope = !self
            .world
            .gateway()
            .policy()
            .auth
            .required_scopes
            .is_empty();
        !token.real
            || (needs_scope && !token.scoped)
            || ends.is_some_and(|ends| ends + self.troubled.set_back <= unix_seconds)
            || revoked
    }

    /// Whether nobody may say that a request that bears this is not to be let in for its credential.
    pub(super) fn must_allow(&self, borne: Borne) -> bool {
        matches!(borne, Borne::Token(token) if {
            let token = &self.outside.tokens[token];
            token.kind == VerifierKind::Static && token.real && token.revoked.is_none()
        })
    }
}

// What others say.
impl Play {
    /// Somebody is asked something.
    pub(super) fn asked_outside(&mut self, question: Question) {
        let token = match &question {
            Question::Fetch(request) => self.token_of(request),
            Question::Check(check) => {
                let message = std::str::from_utf8(&check.message).expect("a JWT is ASCII");
                Some(self.outside.find(message).expect("somebody's token"))
            }
            Question::Opinion(_, token) => self.outside.find(token.expose()),
        };
        let is_opinion = matches!(question, Question::Opinion(..));
        let (client, name) = match token {
            Some(token) => {
                let known = &mut self.outside.tokens[token];
                known.asked += 1;
                known.open += 1;
                (known.client, format!("{} {}", known.text, known.asked))
            }
            None => {
                self.outside.fetches += 1;
                self.outside.open += 1;
                (usize::MAX, format!("fetch {}", self.outside.fetches))
            }
        };
        let choice = hash(format!("{} {name}", self.options.seed.number()).as_bytes());
        let after = match choice % 20 {
            0..10 => 0,
            10..16 => (choice >> 8) % 50,
            16..19 => (choice >> 8) % 4900,
            _ => 5000 + (choice >> 8) % 1000,
        };
        let number = self.outside.questions.len();
        self.outside.questions.push(Some(question));
        if choice % 20 == 19 && is_opinion && (choice >> 16).is_multiple_of(2) {
            // An embedder may never answer.
            self.count("never answered");
            return;
        }
        let wrong = (choice >> 32).is_multiple_of(12).then_some(choice >> 40);
        let wrong = if self.troubled.away {
            self.count("verifier away");
            Some(UNREACHABLE)
        } else {
            wrong
        };
        if self.options.calm || self.options.lockstep && after < 5000 {
            // A verdict that lets several in at once would be more than one thing, and so would the
            // end of a verifier's time be.
            return self.tell(number, token, wrong);
        }
        let act = Act::Tell {
            number,
            token,
            wrong,
        };
        self.plan(after, client, choice, act);
    }

    fn token_of(&self, request: &FetchRequest) -> Option<usize> {
        let form = request.form.clone().unwrap_or_default();
        let form = String::from_utf8_lossy(&form).into_owned();
        let posted = form
            .strip_prefix("token=")
            .and_then(|rest| rest.split('&').next());
        let borne = request
            .authorization
            .as_ref()
            .and_then(|value| value.to_str().ok());
        let borne = borne.and_then(|value| value.strip_prefix("Bearer "));
        self.outside.find(posted.or(borne)?)
    }

    /// Somebody says what is true, or that they cannot.
    pub(super) fn tell(&mut self, number: usize, token: Option<usize>, wrong: Option<u64>) {
        let Some(question) = self.outside.questions[number].take() else {
            return;
        };
        if wrong.is_some() {
            self.count("nonsense");
        }
        let (now, unix_seconds) = (self.world.now(), self.world.unix_seconds());
        match token {
            Some(token) => self.outside.tokens[token].open -= 1,
            None => self.outside.open -= 1,
        }
        let known = token.map(|token| &self.outside.tokens[token]);
        let good = known.filter(|known| known.is_good(now, unix_seconds));
        match &question {
            Question::Fetch(request) => {
                let result = match wrong {
                    Some(how) => nonsense(how),
                    None => truth(&request.url, good),
                };
                self.world.fetched(request.id, result);
            }
            Question::Check(check) => {
                // Of a signed token it is only asked whether it is real.
                let result = if wrong.is_some() {
                    Err(SignatureFailure("no such curve".to_owned()))
                } else {
                    Ok(known.is_some_and(|known| known.real))
                };
                self.world.checked(check.id, result);
            }
            &Question::Opinion(verification, _) => {
                let good = good.filter(|known| known.kind == VerifierKind::Custom);
                let verdict = match good {
                    _ if wrong.is_some() => Verdict::Unavailable,
                    None => Verdict::Denied,
                    Some(known) => Verdict::Allowed(Identity {
                        principal: Principal {
                            issuer: "app".to_owned(),
                            subject: format!("p{}", known.client),
                            client_id: None,
                        },
                        scopes: known.scopes().split(' ').map(str::to_owned).collect(),
                        expires_at: known.ends,
                    }),
                };
                self.world.verified(verification, verdict);
            }
        }
        self.world.free(question);
    }

    /// The operator takes tokens back.
    pub(super) fn take_back(&mut self) {
        self.outside.took_back = self.world.now();
        let left = self.outside.given_out(self.world.now());
        self.world.replace_tokens(&left);
    }

    /// Whoever owes an answer gives it.
    pub(super) fn answer_everything(&mut self) {
        let mut number = 0;
        while number < self.outside.questions.len() {
            let fetch = match &self.outside.questions[number] {
                Some(Question::Opinion(..)) | None => false,
                Some(Question::Fetch(_) | Question::Check(_)) => true,
            };
            if fetch {
                self.tell(number, None, None);
                self.settle();
            }
            number += 1;
        }
    }
}

fn nonsense(how: u64) -> Result<Fetched, FetchFailure> {
    match how % 8 {
        0 => Err(FetchFailure::TooLarge),
        1 => Err(FetchFailure::TimedOut),
        UNREACHABLE => Err(FetchFailure::Unreachable("no route".to_owned())),
        3 => answer(500, Bytes::new()),
        4 => answer(200, "<html>"),
        5 => answer(302, r#"{"active":true,"sub":"p0","id":"p0"}"#),
        6 => answer(200, r#"{"active":"true"}"#),
        _ => answer(404, "{}"),
    }
}

/// What a server says; of a token that is not good, that it is not.
fn truth(url: &str, good: Option<&Known>) -> Result<Fetched, FetchFailure> {
    if url.ends_with("/jwks") {
        return answer(200, KEYS);
    }
    if url.contains("/.well-known/") {
        return answer(200, metadata());
    }
    if url.ends_with("/introspect") {
        let good = good
            .filter(|known| [VerifierKind::Introspection, VerifierKind::Jwt].contains(&known.kind));
        let response = good.map_or(json!({"active": false}), |known| {
            let mut response = json!({
                "active": true, "iss": ISSUER, "aud": RESOURCE, "client_id": "app",
                "sub": format!("p{}", known.client), "scope": known.scopes(),
            });
            if let Some(ends) = known.ends {
                response["exp"] = ends.into();
            }
            response
        });
        return answer(200, response.to_string());
    }
    match good {
        Some(known) => {
            let response = json!({"id": format!("p{}", known.client), "ends": known.ends});
            answer(200, response.to_string())
        }
        None => answer(401, Bytes::new()),
    }
}
