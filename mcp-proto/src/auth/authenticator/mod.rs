//! The machine that tells callers apart.
//!
//! A credential goes through these steps, and is decided by the first that can:
//!
//! ```text
//! form ─> static tokens ─> verdicts that are known ─> the limit on guesses ─> the chain ─> verdict
//! ```
//!
//! The chain asks one verifier after another, each only if it may see the token:
//!
//! ```text
//! Asked ──Allowed──> good: the verdict is kept, everyone who waits is let in
//!   │  ^
//!   │  └──Denied or Unavailable, and there is another verifier
//!   └──no more──> bad if all said no; unavailable if one that could have said yes was not there
//! ```
//!
//! Equal tokens that come while one is being verified wait for the same verdict. What a verifier
//! needs (keys, metadata) is fetched once for all of them.

mod chain;
mod documents;
mod questions;
mod startup;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::chain::{Verification, Waiter};
pub use self::startup::StartupFailure;
use self::startup::{Startup, TrialToken};
use super::address::network;
use super::bucket::Buckets;
use super::cached::Cached;
use super::discovery::{AuthorizationServerDocument, Publication, WellKnown};
use super::keys::Keys;
use super::metadata::Metadata;
use super::token::{Credential, Digester, TokenDigest};
use super::verdicts::{Good, Known, Verdicts, good_until, has_ended};
use super::{
    AuthPolicy, FetchId, FetchRequest, Identity, Principal, SignatureCheck, SignatureId,
    StaticToken, Token, VerificationId, Verifier, VerifierKind,
};
use crate::audit::{AuditEvent, AuditRecord};
use crate::head::Field;
use crate::id::ExchangeId;
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::time::{Instant, Now};

/// What the authenticator wants done, or has found out.
#[derive(Debug)]
pub(crate) enum AuthOutput {
    Fetch(FetchRequest),
    CheckSignature(SignatureCheck),
    VerifyToken {
        verification: VerificationId,
        token: Token,
    },
    /// To an exchange that was told [`Answer::Later`].
    Decided {
        exchange: ExchangeId,
        answer: Result<Credentials, Denial>,
    },
    /// To an exchange that was told [`Document::Later`]: it may ask again.
    DocumentFetched(ExchangeId),
    /// Every verifier was tried.
    Started(Vec<StartupFailure>),
    Audit(AuditRecord),
    /// A line for the operator.
    Warn(String),
}

/// What is known of a caller that was let in.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) identity: Arc<Identity>,
    pub(crate) verifier: VerifierKind,
    pub(crate) digest: TokenDigest,
    /// When to ask again, for as long as a stream is open.
    pub(crate) renew_at: Instant,
}

impl Credentials {
    fn of(good: &Good, digest: TokenDigest, renew_at: Instant) -> Self {
        Self {
            identity: Arc::clone(&good.identity),
            verifier: good.verifier,
            digest,
            renew_at,
        }
    }
}

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) refusal: Refusal,
    /// Seconds until it is worth trying again, where that is known.
    pub(crate) retry_after: Option<u32>,
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            retry_after: refusal.retry_after(),
        }
    }
}

impl Denial {
    fn limited(refusal: Refusal, wait: Duration) -> Self {
        let seconds = wait.as_nanos().div_ceil(1_000_000_000);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        Self {
            refusal,
            retry_after: Some(seconds.max(1)),
        }
    }
}

/// What becomes of a credential.
#[derive(Debug)]
pub(crate) enum Answer {
    Decided(Result<Credentials, Denial>),
    /// [`AuthOutput::Decided`] follows.
    Later,
}

impl From<Credentials> for Answer {
    fn from(credentials: Credentials) -> Self {
        Self::Decided(Ok(credentials))
    }
}

impl From<Denial> for Answer {
    fn from(denial: Denial) -> Self {
        Self::Decided(Err(denial))
    }
}

/// What becomes of a request for metadata.
#[derive(Debug)]
pub(crate) enum Document {
    Ready(Bytes),
    Refused(Refusal),
    /// [`AuthOutput::DocumentFetched`] follows.
    Later,
}

/// A token that the operator gave out.
struct OwnToken {
    digest: TokenDigest,
    identity: Arc<Identity>,
}

/// What a fetch is for.
enum Purpose {
    /// The verifier in this place of the chain is tried at the start, with this token.
    Trial(usize, TrialToken),
    /// A token is asked about.
    Token(TokenDigest),
    /// The metadata, at the candidate with this number.
    Metadata(usize),
    Keys,
}

/// Tells callers apart; see the module's documentation.
pub(crate) struct Authenticator {
    policy: AuthPolicy,
    verdict_time: Duration,
    verifier_time: Duration,
    token_bytes: usize,
    digester: Digester,
    own_tokens: Vec<OwnToken>,

    verdicts: Verdicts,
    verifications: BTreeMap<TokenDigest, Verification>,
    deadlines: BTreeSet<(Instant, TokenDigest)>,
    /// Which verification an exchange waits for.
    waiting: BTreeMap<ExchangeId, TokenDigest>,

    publication: Publication,
    metadata: Cached<Metadata>,
    keys: Cached<Keys>,
    /// Exchanges that wait for the metadata.
    readers: BTreeSet<ExchangeId>,
    startup: Startup,

    fetches: BTreeMap<FetchId, Purpose>,
    signatures: BTreeMap<SignatureId, TokenDigest>,
    opinions: BTreeMap<VerificationId, TokenDigest>,
    next_id: u64,

    credential_limit: Buckets<IpAddr>,
    probe_limit: Buckets<IpAddr>,
    address_limit: Option<Buckets<IpAddr>>,
    principal_limit: Option<Buckets<Principal>>,
    outputs: VecDeque<AuthOutput>,
}

impl Authenticator {
    /// `random` is what tables are salted with and what verifiers are tried with: 48 bytes.
    pub(crate) fn new(
        policy: AuthPolicy,
        service_name: &str,
        endpoint: &str,
        limits: &Limits,
        random: [u8; 48],
        now: Now,
    ) -> Self {
        let (salt, trial) = random.split_at(32);
        let salt = salt.try_into().expect("it was split there");
        let trial: String = trial.iter().map(|byte| format!("{byte:02x}")).collect();
        let trial = Token::new(trial).expect("hexadecimal digits are a token");
        let rate = |rate| Buckets::new(rate, limits.rate_entries);
        let mut authenticator = Self {
            digester: Digester::new(salt, &policy.resource),
            verdict_time: limits.verdict_time,
            verifier_time: limits.verifier_time,
            token_bytes: limits.token_bytes,
            own_tokens: Vec::new(),
            verdicts: Verdicts::new(limits.verdict_time, limits.verdicts),
            verifications: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            waiting: BTreeMap::new(),
            publication: Publication::new(&policy, service_name, endpoint),
            metadata: documents::given_metadata(&policy),
            keys: documents::given_keys(&policy),
            readers: BTreeSet::new(),
            startup: Startup::new(),
            fetches: BTreeMap::new(),
            signatures: BTreeMap::new(),
            opinions: BTreeMap::new(),
            next_id: 0,
            credential_limit: rate(limits.credential_rate),
            probe_limit: rate(limits.probe_rate),
            address_limit: limits.address_rate.map(rate),
            principal_limit: limits
                .principal_rate
                .map(|rate| Buckets::new(rate, limits.rate_entries)),
            outputs: VecDeque::new(),
            policy,
        };
        let tokens: Vec<_> = authenticator
            .policy
            .verifiers
            .iter()
            .filter_map(|verifier| match verifier {
                Verifier::Static(tokens) => Some(tokens.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        authenticator.own_tokens = authenticator.digested(&tokens);
        authenticator.start(&trial, now);
        authenticator
    }

    /// Whether nobody is asked who they are.
    pub(crate) fn is_open(&self) -> bool {
        self.policy.verifiers.is_empty()
    }

    /// Which document of OAuth's stands at a path.
    pub(crate) fn find_document(&self, path: &str) -> Option<WellKnown> {
        self.publication.find(path)
    }

    /// Judges a request's credential.
    pub(crate) fn authenticate(
        &mut self,
        exchange: ExchangeId,
        authorization: Field<'_>,
        address: IpAddr,
        now: Now,
    ) -> Answer {
        let token = match Credential::read(authorization, self.token_bytes) {
            Credential::Bearer(token) => token,
            Credential::Missing => {
                let denial = self.probe(address, now).err();
                return denial.unwrap_or(Refusal::CredentialsMissing.into()).into();
            }
            // As if there were none (RFC 6750 section 3.1), but for what it counts as.
            Credential::OtherScheme => {
                return self.wrong(Refusal::CredentialsMissing, address, now).into();
            }
            Credential::Malformed => {
                return self
                    .wrong(Refusal::CredentialsMalformed, address, now)
                    .into();
            }
        };
        let digest = self.digester.digest(&token);
        if let Some(identity) = self.own_token(&digest) {
            return self.own_credentials(identity, digest, now).into();
        }
        let known = match self.verdicts.get(&digest, now) {
            Known::Live(good) => return Credentials::of(good, digest, good.until).into(),
            Known::Bad => return self.wrong(Refusal::InvalidToken, address, now).into(),
            Known::Lapsed(_) => true,
            Known::Nothing => false,
        };
        if self.join(exchange, digest, Some(address)) {
            return Answer::Later;
        }
        if !known
            && let Err(wait) = self
                .credential_limit
                .check(&network(address), now.monotonic)
        {
            return Denial::limited(Refusal::TooManyCredentials, wait).into();
        }
        let waiter = Waiter {
            exchange,
            owes: Some(address),
        };
        // Whoever is known to have been good is asked about at nobody's cost.
        let payer = (!known).then_some(address);
        self.verify(digest, token, waiter, payer, now)
    }

    /// Asks again about a credential that was good, since a stream is open with it.
    pub(crate) fn renew(&mut self, exchange: ExchangeId, digest: TokenDigest, now: Now) -> Answer {
        if let Some(identity) = self.own_token(&digest) {
            return self.own_credentials(identity, digest, now).into();
        }
        let good = match self.verdicts.get(&digest, now) {
            Known::Live(good) | Known::Lapsed(good) => good.clone(),
            Known::Bad | Known::Nothing => return Denial::from(Refusal::InvalidToken).into(),
        };
        if good.is_live(now) {
            // It was verified since, for someone else.
            return Credentials::of(&good, digest, good.until).into();
        }
        if good.verifier == VerifierKind::Jwt && !has_ended(&good.identity, now) {
            // What was signed stays signed: only its end can end it.
            self.verdicts.remember(&digest, now.monotonic);
            let renew_at = good_until(&good.identity, self.verdict_time, now);
            return Credentials::of(&good, digest, renew_at).into();
        }
        let Some(token) = good.token.filter(|_| !has_ended(&good.identity, now)) else {
            return Denial::from(Refusal::InvalidToken).into();
        };
        // Nobody presents a credential here: it costs nothing if it is bad.
        if self.join(exchange, digest, None) {
            return Answer::Later;
        }
        let waiter = Waiter {
            exchange,
            owes: None,
        };
        self.verify(digest, token, waiter, None, now)
    }

    /// Takes note that an exchange has gone: nobody waits for its answer.
    pub(crate) fn handle_gone(&mut self, exchange: ExchangeId) {
        self.readers.remove(&exchange);
        if let Some(digest) = self.waiting.remove(&exchange)
            && let Some(verification) = self.verifications.get_mut(&digest)
        {
            verification.forget(exchange);
        }
    }

    /// Takes other static tokens for those that there are.
    pub(crate) fn handle_static_tokens(&mut self, tokens: &[StaticToken]) {
        self.own_tokens = self.digested(tokens);
        let record = AuditRecord::new(AuditEvent::TokensReplaced);
        self.outputs.push_back(AuthOutput::Audit(record));
    }

    /// Counts a request that comes without a credential, or for metadata.
    pub(crate) fn probe(&mut self, address: IpAddr, now: Now) -> Result<(), Denial> {
        self.probe_limit
            .take(&network(address), now.monotonic)
            .map_err(|wait| Denial::limited(Refusal::TooManyProbes, wait))
    }

    /// Counts a request to the MCP endpoint that was let in.
    pub(crate) fn count_request(
        &mut self,
        address: IpAddr,
        principal: Option<&Principal>,
        now: Now,
    ) -> Result<(), Denial> {
        let limited = |wait| Denial::limited(Refusal::TooManyRequests, wait);
        if let Some(limit) = &mut self.address_limit {
            limit
                .take(&network(address), now.monotonic)
                .map_err(limited)?;
        }
        if let (Some(limit), Some(principal)) = (&mut self.principal_limit, principal) {
            limit.take(principal, now.monotonic).map_err(limited)?;
        }
        Ok(())
    }

    /// The document that an exchange wants.
    pub(crate) fn document(
        &mut self,
        exchange: ExchangeId,
        wanted: WellKnown,
        may_wait: bool,
        now: Now,
    ) -> Document {
        let fixed = match (wanted, &self.publication.authorization_server) {
            (WellKnown::ProtectedResource, _) => self.publication.protected_resource.clone(),
            (WellKnown::AuthorizationServer, AuthorizationServerDocument::Fixed(document)) => {
                Some(document.clone())
            }
            (WellKnown::AuthorizationServer, AuthorizationServerDocument::Mirrored) => {
                return self.mirrored(exchange, may_wait, now);
            }
            (WellKnown::AuthorizationServer | WellKnown::Other, _) => None,
        };
        fixed.map_or(Document::Refused(Refusal::NotPublished), Document::Ready)
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.verdicts.handle_timeout(now.monotonic);
        while let Some((due, digest)) = self.deadlines.first().copied()
            && due <= now.monotonic
        {
            self.give_up(digest, now);
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<AuthOutput> {
        self.outputs.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|&(due, _)| due);
        deadline
            .into_iter()
            .chain(self.verdicts.poll_timeout())
            .min()
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.verifications.is_empty()
            && self.deadlines.is_empty()
            && self.waiting.is_empty()
            && self.readers.is_empty()
            && self.fetches.is_empty()
            && self.signatures.is_empty()
            && self.opinions.is_empty()
    }

    /// A credential that is not good: refused, and counted.
    fn wrong(&mut self, refusal: Refusal, address: IpAddr, now: Now) -> Denial {
        self.charge(address, now).err().unwrap_or(refusal.into())
    }

    /// Counts a credential that is not good, or that is to be shown to a verifier.
    fn charge(&mut self, address: IpAddr, now: Now) -> Result<(), Denial> {
        self.credential_limit
            .take(&network(address), now.monotonic)
            .map_err(|wait| Denial::limited(Refusal::TooManyCredentials, wait))
    }

    /// The static token of this digest. All are compared, each in constant time.
    fn own_token(&self, digest: &TokenDigest) -> Option<Arc<Identity>> {
        let mut found = None;
        for token in &self.own_tokens {
            if token.digest.is_equal(digest) {
                found = Some(&token.identity);
            }
        }
        found.map(Arc::clone)
    }

    fn own_credentials(
        &self,
        identity: Arc<Identity>,
        digest: TokenDigest,
        now: Now,
    ) -> Credentials {
        Credentials {
            identity,
            verifier: VerifierKind::Static,
            digest,
            renew_at: now.monotonic + self.verdict_time,
        }
    }

    fn digested(&self, tokens: &[StaticToken]) -> Vec<OwnToken> {
        let own = |token: &StaticToken| OwnToken {
            digest: self.digester.digest(&token.token),
            identity: Arc::new(Identity {
                principal: Principal {
                    issuer: VerifierKind::Static.as_str().to_owned(),
                    subject: token.name.clone(),
                    client_id: None,
                },
                scopes: Vec::new(),
                expires_at: None,
            }),
        };
        tokens.iter().map(own).collect()
    }

    fn fetch(
        &mut self,
        purpose: Purpose,
        request: impl FnOnce(FetchId) -> FetchRequest,
    ) -> FetchId {
        self.next_id += 1;
        let id = FetchId(self.next_id);
        self.fetches.insert(id, purpose);
        self.outputs.push_back(AuthOutput::Fetch(request(id)));
        id
    }

    fn warn(&mut self, line: String) {
        self.outputs.push_back(AuthOutput::Warn(line));
    }
}

/// The time in seconds since the Unix epoch.
fn unix_seconds(now: Now) -> u64 {
    now.unix_ms / 1000
}
