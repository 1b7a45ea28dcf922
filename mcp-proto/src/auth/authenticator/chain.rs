//! One token, from verifier to verifier.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;

use super::{
    Answer, AuthOutput, Authenticator, Credentials, Denial, Purpose, has_ended, unix_seconds,
};
use crate::audit::{AuditEvent, AuditRecord};
use crate::auth::judgement::Problem;
use crate::auth::jwt::{Form, Jwt};
use crate::auth::token::TokenDigest;
use crate::auth::{
    FetchFailure, FetchId, Fetched, Identity, JwtVerifier, SignatureCheck, SignatureFailure,
    SignatureId, Token, Verdict, VerificationId, Verifier, VerifierKind,
};
use crate::id::ExchangeId;
use crate::refusal::Refusal;
use crate::time::{Instant, Now};

/// Someone who waits for a verdict.
pub(super) struct Waiter {
    pub(super) exchange: ExchangeId,
    /// The address that is to be charged once the token turns out bad.
    pub(super) owes: Option<IpAddr>,
}

/// One token that is being verified.
pub(super) struct Verification {
    token: Token,
    form: Form,
    /// The place in the chain of the verifier that is asked.
    place: usize,
    wait: Wait,
    /// Whether what the verifier lacked was fetched for it already.
    fetched: bool,
    /// Why nobody else can be asked, if the payer cannot pay.
    limited: Option<Denial>,
    /// Whether one that could have said yes was not there.
    unavailable: bool,
    /// Whether the token could still become good.
    undecided: bool,
    /// The address that is charged once somebody else is asked.
    payer: Option<IpAddr>,
    waiters: Vec<Waiter>,
    deadline: Instant,
}

/// What a verification waits for.
enum Wait {
    Nothing,
    Metadata,
    Keys,
    Fetch(FetchId),
    Signature(SignatureId, Box<Identity>),
    Opinion(VerificationId),
}

impl Verification {
    pub(super) fn forget(&mut self, exchange: ExchangeId) {
        self.waiters.retain(|waiter| waiter.exchange != exchange);
    }

    fn turn_to_next(&mut self) {
        self.place += 1;
        self.fetched = false;
    }

    fn jwt(&self) -> Option<&Jwt> {
        match &self.form {
            Form::Jwt(jwt) => Some(jwt),
            Form::Opaque | Form::Broken => None,
        }
    }
}

// What comes in.
impl Authenticator {
    /// Adds an exchange to those who wait for a token that is being verified.
    pub(super) fn join(
        &mut self,
        exchange: ExchangeId,
        digest: TokenDigest,
        owes: Option<IpAddr>,
    ) -> bool {
        let Some(verification) = self.verifications.get_mut(&digest) else {
            return false;
        };
        verification.waiters.push(Waiter { exchange, owes });
        self.waiting.insert(exchange, digest);
        true
    }

    /// Begins to verify a token. The `payer` is charged once somebody else is asked.
    pub(super) fn verify(
        &mut self,
        digest: TokenDigest,
        token: Token,
        waiter: Waiter,
        payer: Option<IpAddr>,
        now: Now,
    ) -> Answer {
        let exchange = waiter.exchange;
        let deadline = now.monotonic + self.verifier_time;
        self.waiting.insert(exchange, digest);
        self.deadlines.insert((deadline, digest));
        self.verifications.insert(
            digest,
            Verification {
                form: Form::of(&token),
                token,
                place: 0,
                wait: Wait::Nothing,
                fetched: false,
                limited: None,
                unavailable: false,
                undecided: false,
                payer,
                waiters: vec![waiter],
                deadline,
            },
        );
        let before = self.outputs.len();
        self.go_on(digest, now);
        // A verdict that needed nobody is no output but the answer.
        let own = |output: &AuthOutput| match output {
            AuthOutput::Decided { exchange: of, .. } => *of == exchange,
            _ => false,
        };
        let position = self.outputs.iter().skip(before).position(own);
        match position.and_then(|position| self.outputs.remove(before + position)) {
            Some(AuthOutput::Decided { answer, .. }) => Answer::Decided(answer),
            _ => Answer::Later,
        }
    }

    /// Takes the answer to a fetch.
    pub(crate) fn handle_fetched(
        &mut self,
        id: FetchId,
        result: Result<Fetched, FetchFailure>,
        now: Now,
    ) {
        match self.fetches.remove(&id) {
            Some(Purpose::Token(digest)) => self.handle_opinion_fetched(id, digest, result, now),
            Some(Purpose::Trial(place, token)) => self.handle_trial(place, token, result, now),
            Some(Purpose::Metadata(candidate)) => {
                self.handle_metadata(candidate, result, now);
            }
            Some(Purpose::Keys) => self.handle_keys(result, now),
            None => {}
        }
    }

    fn handle_opinion_fetched(
        &mut self,
        id: FetchId,
        digest: TokenDigest,
        result: Result<Fetched, FetchFailure>,
        now: Now,
    ) {
        let Some(verification) = self.verifications.get(&digest) else {
            return;
        };
        if !matches!(verification.wait, Wait::Fetch(awaited) if awaited == id) {
            return;
        }
        let verifier = &self.policy.verifiers[verification.place];
        let kind = verifier.kind();
        let verdict = match result {
            Ok(fetched) => {
                let judged = self.judge_answer(verifier, &fetched, digest, now);
                if let Some(verification) = self.verifications.get_mut(&digest) {
                    verification.undecided |= judged == Err(Problem::NotYet);
                }
                self.hear(kind, judged, Some(fetched.status))
            }
            Err(failure) => {
                let kind = kind.as_str();
                self.warn(format!(
                    "{kind}: a token could not be verified: the verifier's server {failure}"
                ));
                Verdict::Unavailable
            }
        };
        self.handle_verdict_at(digest, verdict, now);
    }

    /// What a judgement amounts to; the operator is told what only they can mend.
    fn hear(
        &mut self,
        kind: VerifierKind,
        judged: Result<Identity, Problem>,
        status: Option<StatusCode>,
    ) -> Verdict {
        let kind = kind.as_str();
        match judged {
            Ok(identity) => Verdict::Allowed(identity),
            Err(Problem::Denied | Problem::NotYet) => Verdict::Denied,
            Err(Problem::Refused(why)) => {
                self.warn(format!("{kind}: a token was refused: {why}"));
                Verdict::Denied
            }
            Err(Problem::Unclear(why)) => {
                let status = status.map_or(String::new(), |status| format!(" {status}"));
                self.warn(format!(
                    "{kind}: a token could not be verified: of the answer{status}, {why}"
                ));
                Verdict::Unavailable
            }
        }
    }

    /// Takes what was found of a signature.
    pub(crate) fn handle_signature(
        &mut self,
        id: SignatureId,
        result: Result<bool, SignatureFailure>,
        now: Now,
    ) {
        let Some(digest) = self.signatures.remove(&id) else {
            return;
        };
        let Some(verification) = self.verifications.get_mut(&digest) else {
            return;
        };
        let verdict = match (
            std::mem::replace(&mut verification.wait, Wait::Nothing),
            result,
        ) {
            (Wait::Signature(awaited, identity), Ok(true)) if awaited == id => {
                Verdict::Allowed(*identity)
            }
            (Wait::Signature(..), Ok(false)) => {
                self.warn("jwt: a token was refused: its signature is not the key's".to_owned());
                Verdict::Denied
            }
            (Wait::Signature(..), Err(failure)) => {
                self.warn(format!(
                    "jwt: a key of the issuer's cannot be used: {failure}"
                ));
                Verdict::Unavailable
            }
            (wait, _) => {
                verification.wait = wait;
                return;
            }
        };
        self.handle_verdict_at(digest, verdict, now);
    }

    /// Takes an embedder's verdict.
    pub(crate) fn handle_verdict(&mut self, id: VerificationId, verdict: Verdict, now: Now) {
        if let Some(digest) = self.opinions.remove(&id)
            && let Some(verification) = self.verifications.get(&digest)
            && matches!(verification.wait, Wait::Opinion(awaited) if awaited == id)
        {
            self.handle_verdict_at(digest, verdict, now);
        }
    }

    /// Goes on with those who waited for the metadata.
    pub(super) fn metadata_ended(&mut self, now: Now) {
        self.wake(|wait| matches!(wait, Wait::Metadata), now);
    }

    /// Goes on with those who waited for keys.
    pub(super) fn keys_ended(&mut self, now: Now) {
        self.wake(|wait| matches!(wait, Wait::Keys), now);
    }

    fn wake(&mut self, waits: impl Fn(&Wait) -> bool, now: Now) {
        let waiting = self
            .verifications
            .iter_mut()
            .filter(|(_, it)| waits(&it.wait));
        let mut woken = Vec::new();
        for (&digest, verification) in waiting {
            verification.wait = Wait::Nothing;
            woken.push(digest);
        }
        for digest in woken {
            self.go_on(digest, now);
        }
    }

    /// Goes on without a verifier that takes too long.
    pub(super) fn give_up(&mut self, digest: TokenDigest, now: Now) {
        let Some(verification) = self.verifications.get_mut(&digest) else {
            return;
        };
        if let Wait::Keys = verification.wait {
            // Older ones may do.
            verification.wait = Wait::Nothing;
            self.restart_clock(digest, now);
            return self.go_on(digest, now);
        }
        let kind = self.policy.verifiers[verification.place].kind();
        // Whoever embeds the gateway may never answer.
        if let Wait::Opinion(id) = verification.wait {
            self.opinions.remove(&id);
        }
        self.warn(format!(
            "{}: a token could not be verified in time",
            kind.as_str()
        ));
        self.handle_verdict_at(digest, Verdict::Unavailable, now);
    }
}

// How it goes on.
impl Authenticator {
    /// The verifier that is asked has said its word.
    fn handle_verdict_at(&mut self, digest: TokenDigest, verdict: Verdict, now: Now) {
        let Some(verification) = self.verifications.get_mut(&digest) else {
            return;
        };
        verification.wait = Wait::Nothing;
        let kind = self.policy.verifiers[verification.place].kind();
        match verdict {
            Verdict::Allowed(identity) if !has_ended(&identity, now) => {
                return self.end(digest, Ok((identity, kind)), now);
            }
            // A token may have ended while it was asked about.
            Verdict::Allowed(_) | Verdict::Denied => {}
            Verdict::Unavailable => {
                verification.unavailable = true;
                self.failed(kind);
            }
        }
        if let Some(verification) = self.verifications.get_mut(&digest) {
            verification.turn_to_next();
        }
        self.restart_clock(digest, now);
        self.go_on(digest, now);
    }

    /// Gives whoever is asked as much time as anyone before.
    fn restart_clock(&mut self, digest: TokenDigest, now: Now) {
        if let Some(verification) = self.verifications.get_mut(&digest) {
            self.deadlines.remove(&(verification.deadline, digest));
            verification.deadline = now.monotonic + self.verifier_time;
            self.deadlines.insert((verification.deadline, digest));
        }
    }

    /// Asks the verifier whose turn it is, and those after it, until one makes the token wait.
    fn go_on(&mut self, digest: TokenDigest, now: Now) {
        // It is out of the table while it is asked about, so that all else can be changed.
        let Some(mut verification) = self.verifications.remove(&digest) else {
            return;
        };
        let first = verification.place;
        while let Some(verifier) = self.policy.verifiers.get(verification.place) {
            let verifier = verifier.clone();
            match self.ask(&verifier, digest, &mut verification, now) {
                None => {
                    let moved = verification.place > first;
                    self.verifications.insert(digest, verification);
                    if moved {
                        self.restart_clock(digest, now);
                    }
                    return;
                }
                Some(Verdict::Allowed(identity)) => {
                    self.verifications.insert(digest, verification);
                    return self.end(digest, Ok((identity, verifier.kind())), now);
                }
                Some(Verdict::Denied) => {}
                Some(Verdict::Unavailable) if verification.limited.is_some() => {}
                Some(Verdict::Unavailable) => {
                    verification.unavailable = true;
                    self.failed(verifier.kind());
                }
            }
            verification.turn_to_next();
        }
        let refusal = if verification.unavailable {
            Refusal::VerifierUnavailable
        } else {
            Refusal::InvalidToken
        };
        let denial = verification.limited.unwrap_or(refusal.into());
        self.verifications.insert(digest, verification);
        self.end(digest, Err(denial), now);
    }

    /// Asks one verifier. `None`: its word comes later.
    fn ask(
        &mut self,
        verifier: &Verifier,
        digest: TokenDigest,
        verification: &mut Verification,
        now: Now,
    ) -> Option<Verdict> {
        if !self.may_see(verifier, &verification.form, &verification.token) {
            return Some(Verdict::Denied);
        }
        match verifier {
            // Compared before anyone was asked.
            Verifier::Static(_) => Some(Verdict::Denied),
            Verifier::Http(verifier) => {
                if !self.pay(verification, now) {
                    return Some(Verdict::Unavailable);
                }
                let token = verification.token.clone();
                let purpose = Purpose::Token(digest);
                let id = self.fetch_opinion(verifier, &token, purpose);
                verification.wait = Wait::Fetch(id);
                None
            }
            Verifier::Introspection(verifier) => {
                let Some(url) = self.introspection_url(verifier, now) else {
                    if self.metadata.is_fetching() && !verification.fetched {
                        verification.fetched = true;
                        verification.wait = Wait::Metadata;
                        return None;
                    }
                    return Some(Verdict::Unavailable);
                };
                if !self.pay(verification, now) {
                    return Some(Verdict::Unavailable);
                }
                let token = verification.token.clone();
                let purpose = Purpose::Token(digest);
                let id = self.fetch_introspection(verifier, url, &token, purpose);
                verification.wait = Wait::Fetch(id);
                None
            }
            Verifier::Jwt(verifier) => self.ask_signature(verifier, digest, verification, now),
            Verifier::Custom => {
                if !self.pay(verification, now) {
                    return Some(Verdict::Unavailable);
                }
                self.next_id += 1;
                let id = VerificationId(self.next_id);
                self.opinions.insert(id, digest);
                self.outputs.push_back(AuthOutput::VerifyToken {
                    verification: id,
                    token: verification.token.clone(),
                });
                verification.wait = Wait::Opinion(id);
                None
            }
        }
    }

    /// Charges whoever a call to somebody else is for, once.
    fn pay(&mut self, verification: &mut Verification, now: Now) -> bool {
        let Some(address) = verification.payer.take() else {
            return verification.limited.is_none();
        };
        if let Err(denial) = self.charge(address, now) {
            verification.limited = Some(denial);
            return false;
        }
        let payer = |waiter: &&mut Waiter| waiter.owes == Some(address);
        if let Some(waiter) = verification.waiters.iter_mut().find(payer) {
            waiter.owes = None;
        }
        true
    }

    /// Whether a verifier may be shown a token: a JWT only if it is of the issuer whose tokens the
    /// verifier is for, and an opaque one only if it begins as that verifier's tokens do.
    pub(super) fn may_see(&self, verifier: &Verifier, form: &Form, token: &Token) -> bool {
        let named = match form {
            Form::Broken => return false,
            Form::Opaque => None,
            Form::Jwt(jwt) => Some(jwt.issuer()),
        };
        let server = self.policy.authorization_server.as_ref();
        let server = server.map(|server| server.issuer.as_str());
        let shown = |issuer: Option<&str>, prefix: &Option<String>| match named {
            Some(named) => issuer.is_some() && named == issuer,
            None => prefix
                .as_ref()
                .is_none_or(|prefix| token.expose().starts_with(prefix)),
        };
        match verifier {
            Verifier::Static(_) => true,
            Verifier::Http(verifier) => shown(verifier.issuer.as_deref(), &verifier.token_prefix),
            Verifier::Introspection(verifier) => shown(server, &verifier.token_prefix),
            Verifier::Jwt(_) => server.is_some() && named == Some(server),
            // An embedder sees what is not somebody else's.
            Verifier::Custom => !self.policy.verifiers.iter().any(|other| match other {
                Verifier::Jwt(_) | Verifier::Introspection(_) => {
                    server.is_some() && named == Some(server)
                }
                Verifier::Http(other) => {
                    other.issuer.is_some() && named == Some(other.issuer.as_deref())
                }
                Verifier::Static(_) | Verifier::Custom => false,
            }),
        }
    }

    fn ask_signature(
        &mut self,
        verifier: &JwtVerifier,
        digest: TokenDigest,
        verification: &mut Verification,
        now: Now,
    ) -> Option<Verdict> {
        let jwt = verification.jwt()?;
        let server = self.policy.authorization_server.as_ref();
        let issuer = server.map_or("", |server| server.issuer.as_str());
        let audiences = self.audiences(&verifier.audience).unwrap_or_default();
        let Some(algorithm) = jwt.algorithm(verifier) else {
            let problem = Problem::Refused("its algorithm is not allowed; see --jwt-algorithms");
            return Some(self.hear(VerifierKind::Jwt, Err(problem), None));
        };
        let identity = match jwt.judge(verifier, issuer, &audiences, unix_seconds(now)) {
            Ok(identity) => Box::new(identity),
            Err(problem) => {
                verification.undecided |= problem == Problem::NotYet;
                return Some(self.hear(VerifierKind::Jwt, Err(problem), None));
            }
        };
        let key_id = jwt.key_id().map(str::to_owned);
        let (message, signature) = (jwt.message.clone(), jwt.signature.clone());
        let found = self
            .keys
            .get(now.monotonic)
            .map(|keys| keys.find(key_id.as_deref(), algorithm));
        let unknown = matches!(found, Some(None));
        let fresh = self.keys.is_fresh(now.monotonic);
        self.fetch_keys(unknown && !verification.fetched, now);
        // Keys that are not fresh do only while their server is away: one may have been withdrawn.
        if (unknown || !fresh) && self.keys.is_fetching() && !verification.fetched {
            verification.fetched = true;
            verification.wait = Wait::Keys;
            return None;
        }
        match found {
            Some(Some(key)) => {
                self.next_id += 1;
                let id = SignatureId(self.next_id);
                self.signatures.insert(id, digest);
                verification.wait = Wait::Signature(id, identity);
                let check = SignatureCheck {
                    id,
                    algorithm,
                    key,
                    message,
                    signature,
                };
                self.outputs.push_back(AuthOutput::CheckSignature(check));
                None
            }
            Some(None) if self.keys.is_failing() => Some(Verdict::Unavailable),
            // The issuer may publish the key in a moment.
            Some(None) => {
                verification.undecided = true;
                let problem = Problem::Refused("its key is none of the issuer's");
                Some(self.hear(VerifierKind::Jwt, Err(problem), None))
            }
            None => Some(Verdict::Unavailable),
        }
    }

    /// The last word on a token: it is kept, and everyone who waits is told.
    fn end(
        &mut self,
        digest: TokenDigest,
        result: Result<(Identity, VerifierKind), Denial>,
        now: Now,
    ) {
        let Some(verification) = self.verifications.remove(&digest) else {
            return;
        };
        self.deadlines.remove(&(verification.deadline, digest));
        for waiter in &verification.waiters {
            self.waiting.remove(&waiter.exchange);
        }
        let answer = match result {
            Ok((identity, verifier)) => {
                let identity = Arc::new(identity);
                let asked = verifier != VerifierKind::Jwt;
                let token = asked.then_some(verification.token);
                let (kept, kind) = (Arc::clone(&identity), verifier);
                let renew_at = self.verdicts.allow(digest, kept, kind, token, now);
                Ok(Credentials {
                    identity,
                    verifier,
                    digest,
                    renew_at,
                })
            }
            Err(denial) => {
                if denial.refusal == Refusal::InvalidToken {
                    if verification.undecided {
                        self.verdicts.forget(&digest);
                    } else {
                        self.verdicts.deny(digest, now);
                    }
                }
                Err(denial)
            }
        };
        let is_bad = matches!(&answer, Err(denial) if denial.refusal == Refusal::InvalidToken);
        for waiter in verification.waiters {
            if is_bad && let Some(address) = waiter.owes {
                // Where the bucket is empty already, the answer is known all the same.
                let _ = self.charge(address, now);
            }
            self.outputs.push_back(AuthOutput::Decided {
                exchange: waiter.exchange,
                answer: answer.clone(),
            });
        }
    }

    fn failed(&mut self, kind: VerifierKind) {
        let record = AuditRecord::new(AuditEvent::VerifierFailed(kind));
        self.outputs.push_back(AuthOutput::Audit(record));
    }
}
