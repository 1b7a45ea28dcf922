//! Each verifier is tried once at the start, so that a wrong address or secret shows before anyone
//! comes.

use std::collections::BTreeSet;
use std::fmt;

use http::StatusCode;
use serde_json::Value;

use super::{AuthOutput, Authenticator, Purpose, unix_seconds};
use crate::audit::{AuditEvent, AuditRecord};
use crate::auth::judgement::Problem;
use crate::auth::jwt::Form;
use crate::auth::{
    Clients, FetchFailure, Fetched, HttpVerifier, KeySource, Token, Verifier, VerifierKind,
    judgement,
};
use crate::time::Now;

/// A verifier that does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupFailure {
    /// Which.
    pub verifier: VerifierKind,
    /// What is wrong with it, for the operator.
    pub problem: String,
}

impl fmt::Display for StartupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "auth {}: {}", self.verifier.as_str(), self.problem)
    }
}

/// What a verifier is tried with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrialToken {
    /// A token that nobody has given out: it must be refused.
    MadeUp,
    /// The operator's own token of a service: it must be accepted.
    Own,
}

/// How far the trials are.
pub(super) struct Startup {
    /// A token that nobody has given out.
    trial: Option<Token>,
    /// Places in the chain of those that have not answered.
    pending: BTreeSet<usize>,
    failures: Vec<StartupFailure>,
}

impl Startup {
    pub(super) fn new() -> Self {
        Self {
            trial: None,
            pending: BTreeSet::new(),
            failures: Vec::new(),
        }
    }
}

impl Authenticator {
    /// Tries every verifier; `trial` is a token that nobody has given out.
    pub(super) fn start(&mut self, trial: &Token, now: Now) {
        self.startup.trial = Some(trial.clone());
        let verifiers = self.policy.verifiers.clone();
        self.startup.pending = (0..verifiers.len()).collect();
        for (place, verifier) in verifiers.iter().enumerate() {
            match verifier {
                Verifier::Static(tokens) if tokens.is_empty() => {
                    self.tried(place, Err("there is no token".to_owned()));
                }
                // An embedder's own verifier is theirs to try.
                Verifier::Static(_) | Verifier::Custom => self.tried(place, Ok(())),
                Verifier::Http(verifier) => {
                    let purpose = Purpose::Trial(place, TrialToken::MadeUp);
                    self.fetch_opinion(verifier, trial, purpose);
                }
                Verifier::Introspection(_) => self.try_introspection(place, now),
                Verifier::Jwt(verifier) => match &verifier.keys {
                    KeySource::Given(_) => {
                        let usable = self.keys.get(now.monotonic).map(|_| ());
                        let problem = "the key set that was given has no key that can be used";
                        self.tried(place, usable.ok_or(problem.to_owned()));
                    }
                    KeySource::Url(_) | KeySource::Metadata => {
                        self.fetch_keys(false, now);
                        if !self.keys.is_fetching() {
                            self.keys_tried(now);
                        }
                    }
                },
            }
        }
        self.fetch_metadata(now);
        self.finish_start();
    }

    fn try_introspection(&mut self, place: usize, now: Now) {
        let Some(Verifier::Introspection(verifier)) = self.policy.verifiers.get(place).cloned()
        else {
            return;
        };
        match (
            self.introspection_url(&verifier, now),
            self.startup.trial.clone(),
        ) {
            (Some(url), Some(trial)) => {
                let purpose = Purpose::Trial(place, TrialToken::MadeUp);
                self.fetch_introspection(&verifier, url, &trial, purpose);
            }
            _ if self.metadata.is_fetching() => {}
            _ => {
                let problem = "the issuer's metadata name no introspection endpoint that may be \
                               asked, or could not be fetched; see --introspection-url";
                self.tried(place, Err(problem.to_owned()));
            }
        }
    }

    /// Goes on with those that needed the metadata.
    pub(super) fn metadata_tried(&mut self, now: Now) {
        let asked: BTreeSet<usize> = self
            .fetches
            .values()
            .filter_map(|purpose| match purpose {
                Purpose::Trial(place, _) => Some(*place),
                _ => None,
            })
            .collect();
        let waiting: Vec<_> = self.startup.pending.difference(&asked).copied().collect();
        for place in waiting {
            self.try_introspection(place, now);
        }
        self.finish_start();
    }

    /// The first fetch of the keys has ended.
    pub(super) fn keys_tried(&mut self, now: Now) {
        let is_jwt = |verifier: &Verifier| matches!(verifier, Verifier::Jwt(_));
        if let Some(place) = self.policy.verifiers.iter().position(is_jwt)
            && self.startup.pending.contains(&place)
        {
            let loaded = self.keys.get(now.monotonic).map(|_| ());
            let problem = "the issuer's keys could not be loaded";
            self.tried(place, loaded.ok_or(problem.to_owned()));
        }
        self.finish_start();
    }

    pub(super) fn handle_trial(
        &mut self,
        place: usize,
        token: TrialToken,
        result: Result<Fetched, FetchFailure>,
        now: Now,
    ) {
        let result = match (result, &self.policy.verifiers[place]) {
            (Err(failure), _) => Err(format!("the server {failure}")),
            (Ok(fetched), Verifier::Http(verifier)) => {
                judge_service(verifier, token, &fetched, now)
            }
            (Ok(fetched), _) => judge_introspection(&fetched),
        };
        if result.is_ok()
            && token == TrialToken::MadeUp
            && let Verifier::Http(verifier) = self.policy.verifiers[place].clone()
            && let Some(own) = &verifier.own_token
        {
            return self.try_own_token(place, &verifier, own);
        }
        self.tried(place, result);
        self.finish_start();
    }

    /// Shows a service the operator's own token, if it would be shown a caller's.
    fn try_own_token(&mut self, place: usize, verifier: &HttpVerifier, own: &Token) {
        let known = Verifier::Http(verifier.clone());
        if self.may_see(&known, &Form::of(own), own) {
            let purpose = Purpose::Trial(place, TrialToken::Own);
            self.fetch_opinion(verifier, own, purpose);
            return;
        }
        let problem = "the service's own token is a JWT, or has another prefix: the service would \
                       not be shown such tokens; see --http-issuer and --http-token-prefix";
        self.tried(place, Err(problem.to_owned()));
        self.finish_start();
    }

    fn tried(&mut self, place: usize, result: Result<(), String>) {
        if !self.startup.pending.remove(&place) {
            return;
        }
        let verifier = self.policy.verifiers[place].kind();
        let passed = result.is_ok();
        let record = AuditRecord::new(AuditEvent::VerifierTried { verifier, passed });
        self.outputs.push_back(AuthOutput::Audit(record));
        if let Err(problem) = result {
            self.startup
                .failures
                .push(StartupFailure { verifier, problem });
        }
    }

    /// Tells once that all were tried.
    fn finish_start(&mut self) {
        if self.startup.pending.is_empty() && self.startup.trial.take().is_some() {
            let failures = std::mem::take(&mut self.startup.failures);
            self.outputs.push_back(AuthOutput::Started(failures));
        }
    }
}

fn judge_service(
    verifier: &HttpVerifier,
    token: TrialToken,
    fetched: &Fetched,
    now: Now,
) -> Result<(), String> {
    let any = HttpVerifier {
        clients: Clients::Any,
        ..verifier.clone()
    };
    let judged = judgement::of_service(&any, fetched, String::new, unix_seconds(now));
    let status = fetched.status;
    match (judged, token) {
        (Ok(_), TrialToken::Own) => Ok(()),
        (Err(Problem::Denied), TrialToken::MadeUp) => Ok(()),
        (_, TrialToken::MadeUp) if status.is_success() => Err(
            "the service accepts a token that was made up; give a URL that wants a valid one"
                .to_owned(),
        ),
        (Err(Problem::Denied | Problem::NotYet), TrialToken::Own) => Err(format!(
            "the service does not accept the token that was given for it ({status})"
        )),
        (Err(Problem::Refused(why)), TrialToken::Own) => Err(format!(
            "the token that was given for the service is refused: {why}"
        )),
        (Err(Problem::Unclear(why)), TrialToken::Own) => {
            Err(format!("the service answered with {status}, but {why}"))
        }
        (_, TrialToken::MadeUp) => Err(format!("the service answered with {status}")),
    }
}

fn judge_introspection(fetched: &Fetched) -> Result<(), String> {
    let response: Value = serde_json::from_slice(&fetched.body).unwrap_or(Value::Null);
    match fetched.status {
        StatusCode::OK if response.get("active") == Some(&Value::Bool(false)) => Ok(()),
        StatusCode::OK if response.get("active") == Some(&Value::Bool(true)) => {
            Err("the endpoint calls a token active that was made up".to_owned())
        }
        StatusCode::OK => Err("the endpoint's answer is no introspection response".to_owned()),
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(format!(
            "the endpoint refuses the gateway itself ({}); see --introspection-client-id and its \
             secret",
            fetched.status
        )),
        status => Err(format!("the endpoint answered with {status}")),
    }
}
