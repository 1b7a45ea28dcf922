//! What was said about callers: who is asked about their tokens, and what goes with what.

use super::auth_options::*;
use super::auth_value as value;
use super::environment::Environment;
use super::error::Error;
use super::meaning::{display, switch};
use super::oauth;
use super::reading::{Reading, wrong};
use super::tokens::{self, ServiceToken};
use super::warnings;
use crate::settings::StartupCheck;
use crate::static_tokens::TokenFile;
use http::Method;
use mcp_proto::auth::{AuthPolicy, Clients, Discovery, HttpVerifier, Verifier, VerifierKind};
use toml::Value;

/// Everything that the options about callers mean.
pub(crate) struct Authentication {
    pub(crate) policy: AuthPolicy,
    pub(crate) token_file: Option<TokenFile>,
    /// A variable of a caller's token, if one was given.
    pub(crate) token_variable: Option<String>,
    pub(crate) startup_check: StartupCheck,
    /// What stands against serving callers without asking them, where they are asked.
    pub(crate) asked_by: Option<String>,
    pub(crate) warnings: Vec<String>,
}

const STATIC_OPTIONS: &[&str] = &[STATIC_TOKEN_ENV, STATIC_TOKEN_FILE];
const HTTP_OPTIONS: &[&str] = &[
    HTTP_URL,
    HTTP_METHOD,
    HTTP_CLIENT_POINTER,
    HTTP_EXPIRY_POINTER,
    ALLOW_CLIENTS,
    ALLOW_ANY_CLIENT,
    HTTP_ISSUER,
    HTTP_TOKEN_PREFIX,
];
const SCOPE_OPTIONS: &[&str] = &[REQUIRED_SCOPES, SCOPE];
const ANY: &[VerifierKind] = &[
    VerifierKind::Static,
    VerifierKind::Http,
    VerifierKind::Introspection,
    VerifierKind::Jwt,
];
const FETCHING: &[VerifierKind] = &[
    VerifierKind::Http,
    VerifierKind::Introspection,
    VerifierKind::Jwt,
];

impl Authentication {
    pub(crate) fn read(
        reading: &mut Reading<'_>,
        env: &Environment,
        service_name: &str,
    ) -> Result<Self, Error> {
        let service = ServiceToken::of(env, service_name)?;
        let kinds = kinds(reading, &service)?;
        for variable in service.variables() {
            reading.remark(format!("{variable} is set, and masked"));
        }
        let mut warnings = Vec::new();
        let mut policy = AuthPolicy::default();
        if concerns(reading, &kinds, &[ALLOW_PRIVATE_ADDRESSES], FETCHING)? {
            policy.allow_private_addresses = switch(reading, ALLOW_PRIVATE_ADDRESSES, false)?;
        }
        let private = policy.allow_private_addresses;
        let mut verifiers = Vec::new();
        if concerns(reading, &kinds, HTTP_OPTIONS, &[VerifierKind::Http])? {
            let mut http = http(reading, private, &mut warnings)?;
            if !kinds.contains(&VerifierKind::Static) {
                http.own_token = service.current()?;
            }
            verifiers.push(Verifier::Http(http));
        } else if service.is_set() && !kinds.contains(&VerifierKind::Static) {
            let variable = &service.variable;
            warnings.push(format!(
                "{variable} is set, but auth does not name static: its token opens nothing"
            ));
        }
        policy.authorization_server = oauth::server(reading, &kinds, private)?;
        verifiers.extend(oauth::verifiers(reading, env, &kinds, &policy)?);
        if kinds.contains(&VerifierKind::Introspection) && policy.authorization_server.is_none() {
            warnings.push(format!(
                "auth names introspection, but there is no {ISSUER}: tokens that are JWTs are shown \
                 to nobody"
            ));
        }
        let prefixes = prefixes(&kinds, &verifiers)?;
        let mut token_file = None;
        let mut token_variable = service.is_set().then(|| service.variable.clone());
        if concerns(reading, &kinds, STATIC_OPTIONS, &[VerifierKind::Static])? {
            let (tokens, file) =
                tokens::static_tokens(reading, env, &service, &prefixes, &mut warnings)?;
            token_variable = token_variable.or_else(|| tokens::first_variable(reading));
            if tokens.is_empty() {
                let variable = &service.variable;
                let why = format!(
                    "names static, but there is no token; set {variable}, or give \
                     {STATIC_TOKEN_ENV} or {STATIC_TOKEN_FILE}"
                );
                return Err(Error::about(AUTH, why));
            }
            verifiers.push(Verifier::Static(tokens));
            token_file = file;
        }
        verifiers.sort_by_key(|it| kinds.iter().position(|kind| *kind == it.kind()));
        let asked_by = (!kinds.is_empty()).then(|| match reading.given(AUTH) {
            Some(_) => AUTH.to_owned(),
            None => service.variable.clone(),
        });
        policy.verifiers = verifiers;
        if concerns(reading, &kinds, SCOPE_OPTIONS, ANY)? {
            let none = Vec::new;
            policy.required_scopes =
                reading.many(REQUIRED_SCOPES, none(), value::scope, display)?;
            let show = |rule: &_| Value::from(value::show_scope_rule(rule));
            policy.scope_rules = reading.many(SCOPE, Vec::new(), value::scope_rule, show)?;
            warnings.extend(warnings::of_scopes(&policy, &kinds));
        }
        policy.trusted_proxies =
            reading.many(TRUSTED_PROXIES, Vec::new(), value::proxy, display)?;
        for network in policy
            .trusted_proxies
            .iter()
            .filter(|it| it.prefix_len() == 0)
        {
            warnings.push(format!(
                "trusted-proxies has {network}: anyone's X-Forwarded-For is believed"
            ));
        }
        let discovery = |discovery: &Discovery| {
            Value::from(match discovery {
                Discovery::Auto => "auto",
                Discovery::Always => "always",
                Discovery::Off => "off",
            })
        };
        policy.discovery = reading.one(DISCOVERY, Discovery::Auto, value::discovery, discovery)?;
        let check = |check: &StartupCheck| {
            Value::from(match check {
                StartupCheck::Stop => "stop",
                StartupCheck::Warn => "warn",
            })
        };
        let stop = StartupCheck::Stop;
        let startup_check = reading.one(STARTUP_CHECK, stop, value::startup_check, check)?;
        for warning in &warnings {
            reading.remark(format!("warning: {warning}"));
        }
        Ok(Self {
            policy,
            token_file,
            token_variable,
            startup_check,
            asked_by,
            warnings,
        })
    }
}

/// The verifiers that are asked, in their order; empty for `none`.
fn kinds(reading: &mut Reading<'_>, service: &ServiceToken) -> Result<Vec<VerifierKind>, Error> {
    let default = service.is_set().then_some(VerifierKind::Static);
    let show = |kind: &Option<VerifierKind>| Value::from(kind.map_or("none", |it| it.as_str()));
    let kinds = reading.many(AUTH, vec![default], value::verifier, show)?;
    if kinds.is_empty() {
        let why = "is an empty list; give none, or who is asked";
        return Err(Error::about(AUTH, why));
    }
    if kinds.len() > 1 && kinds.contains(&None) {
        let why = "names none beside others; leave none out, or the others";
        return Err(Error::about(AUTH, why));
    }
    Ok(kinds.into_iter().flatten().collect())
}

/// Whether options mean something, which they do for the verifiers in `needed` alone. Those that
/// mean nothing are not to be given.
pub(super) fn concerns(
    reading: &mut Reading<'_>,
    kinds: &[VerifierKind],
    options: &[&'static str],
    needed: &[VerifierKind],
) -> Result<bool, Error> {
    if kinds.iter().any(|kind| needed.contains(kind)) {
        return Ok(true);
    }
    for option in options {
        if let Some(given) = reading.given(option) {
            let names: Vec<_> = needed.iter().map(|kind| kind.as_str()).collect();
            let why = format!(
                "is given, but auth does not name {}; add it to auth, or leave {option} out",
                names.join(" or ")
            );
            return Err(wrong(option, &why, &given.source));
        }
        reading.show(option, None, None);
    }
    Ok(false)
}

fn http(
    reading: &mut Reading<'_>,
    private: bool,
    warnings: &mut Vec<String>,
) -> Result<HttpVerifier, Error> {
    let url = reading.maybe(HTTP_URL, |text| value::server_url(text, private), display)?;
    let url = url.ok_or_else(|| {
        Error::about(
            HTTP_URL,
            "is missing: auth names http; give the URL that tells whose a token is",
        )
    })?;
    let method = reading.one(HTTP_METHOD, Method::GET, value::method, display)?;
    let client_pointer = reading.maybe(HTTP_CLIENT_POINTER, value::pointer, display)?;
    let expiry_pointer = reading.maybe(HTTP_EXPIRY_POINTER, value::pointer, display)?;
    let allowed = reading.many(ALLOW_CLIENTS, Vec::new(), value::identifier, display)?;
    let any = switch(reading, ALLOW_ANY_CLIENT, false)?;
    let clients = match (allowed.is_empty(), any) {
        (true, true) => {
            // A query may have a key in it.
            let shown = url
                .split_once('?')
                .map_or(url.as_str(), |(before, _)| before);
            warnings.push(format!(
                "{ALLOW_ANY_CLIENT} is on: any user of {shown} comes in, and acts with the server's \
                 credentials"
            ));
            Clients::Any
        }
        (false, false) if client_pointer.is_none() => {
            let why = format!(
                "is missing: {ALLOW_CLIENTS} needs it; give where the answer of {HTTP_URL} has the \
                 client's id, such as /user/id"
            );
            return Err(Error::about(HTTP_CLIENT_POINTER, why));
        }
        (false, false) => Clients::Only(allowed.into_iter().collect()),
        (false, true) => {
            let why = format!("is given together with {ALLOW_CLIENTS}; leave one of them out");
            return Err(Error::about(ALLOW_ANY_CLIENT, why));
        }
        (true, false) => {
            let why = format!(
                "is missing: auth names http, and other users of the service have tokens too; give \
                 the clients that come in, with {HTTP_CLIENT_POINTER}, or {ALLOW_ANY_CLIENT}"
            );
            return Err(Error::about(ALLOW_CLIENTS, why));
        }
    };
    let issuer = reading.maybe(HTTP_ISSUER, |text| value::issuer(text, private), display)?;
    Ok(HttpVerifier {
        url,
        method,
        client_pointer,
        expiry_pointer,
        clients,
        issuer,
        token_prefix: reading.maybe(HTTP_TOKEN_PREFIX, value::token_prefix, display)?,
        own_token: None,
    })
}

/// What tells opaque tokens apart. Where more than one verifier takes them, a token is shown to the
/// one whose prefix it has: a token that is mistyped or of another service is shown to nobody.
fn prefixes(kinds: &[VerifierKind], verifiers: &[Verifier]) -> Result<Vec<String>, Error> {
    let opaque = |kind: &&VerifierKind| **kind != VerifierKind::Jwt;
    if kinds.iter().filter(opaque).count() < 2 {
        return Ok(Vec::new());
    }
    let mut known: Vec<String> = Vec::new();
    for verifier in verifiers {
        let (key, prefix) = match verifier {
            Verifier::Http(http) => (HTTP_TOKEN_PREFIX, &http.token_prefix),
            Verifier::Introspection(it) => (INTROSPECTION_TOKEN_PREFIX, &it.token_prefix),
            Verifier::Static(_) | Verifier::Jwt(_) | Verifier::Custom => continue,
        };
        let Some(prefix) = prefix else {
            let why = "is missing: auth names several verifiers of opaque tokens, and each may see \
                       its own only; give what these tokens begin with";
            return Err(Error::about(key, why));
        };
        if known
            .iter()
            .any(|it| it.starts_with(prefix) || prefix.starts_with(it.as_str()))
        {
            let why = format!(
                "begins like {HTTP_TOKEN_PREFIX}, so that they tell no tokens apart; give longer ones"
            );
            return Err(Error::about(key, why));
        }
        known.push(prefix.clone());
    }
    Ok(known)
}
