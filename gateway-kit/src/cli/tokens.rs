//! Tokens and secrets that variables and files hold. Nothing here shows one.

use super::auth_options::*;
use super::environment::Environment;
use super::error::{Error, quoted};
use super::reading::{Reading, text, wrong};
use super::typed::Source;
use crate::static_tokens::{self, TokenFile, is_name};
use mcp_proto::auth::{Secret, StaticToken, Token};
use std::ffi::{OsStr, OsString};
use std::fs;
use toml::Value;

/// Tokens that are shorter can be guessed.
const LEAST_CHARACTERS: usize = 16;

/// The variable of the service's own token, and what it holds.
pub(crate) struct ServiceToken {
    service_name: String,
    /// The variable that is set, or is to be set.
    pub(crate) variable: String,
    current: Option<OsString>,
    /// The variable of the token before it, if that is set.
    previous: Option<(String, OsString)>,
}

impl ServiceToken {
    pub(crate) fn of(env: &Environment, service_name: &str) -> Result<Self, Error> {
        let current = service_variable(env, service_name, "")?;
        let previous = service_variable(env, service_name, "_PREVIOUS")?;
        let expected = static_tokens::variable(service_name);
        if let (None, Some((variable, _))) = (&current, &previous) {
            let why = format!("is set, but {expected} is not; set that one first");
            return Err(Error::about(variable, why));
        }
        let (variable, current) = match current {
            Some((variable, value)) => (variable, Some(value)),
            None => (expected, None),
        };
        Ok(Self {
            service_name: service_name.to_owned(),
            variable,
            current,
            previous,
        })
    }

    pub(crate) fn is_set(&self) -> bool {
        self.current.is_some()
    }

    /// The variables that are set.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        let current = self.current.as_ref().map(|_| self.variable.as_str());
        let previous = self.previous.as_ref().map(|(name, _)| name.as_str());
        current.into_iter().chain(previous)
    }

    /// The token that is in force.
    pub(crate) fn current(&self) -> Result<Option<Token>, Error> {
        let current = self.current.as_ref();
        current.map(|it| token(&self.variable, it)).transpose()
    }

    /// The token, and the one before it, with their variables.
    fn all(&self) -> Result<Vec<(&str, Token)>, Error> {
        let current = self.current.as_ref().map(|it| (self.variable.as_str(), it));
        let previous = self.previous.as_ref().map(|(name, it)| (name.as_str(), it));
        let both = [current, previous].into_iter().flatten();
        both.map(|(name, value)| Ok((name, token(name, value)?)))
            .collect()
    }
}

/// The one that is set of the service's variables, with a trailing `-mcp` of its name and without.
fn service_variable(
    env: &Environment,
    service_name: &str,
    suffix: &str,
) -> Result<Option<(String, OsString)>, Error> {
    let short = found_with(env, static_tokens::variable(service_name) + suffix);
    let whole = found_with(env, static_tokens::whole_variable(service_name) + suffix);
    match (short, whole) {
        (Some((name, value)), Some((other, another))) if value != another => Err(Error::about(
            &name,
            format!("is set, and {other} too, to another token; unset one of them"),
        )),
        (short, whole) => Ok(short.or(whole)),
    }
}

fn found_with(env: &Environment, variable: String) -> Option<(String, OsString)> {
    let value = set(env, &variable)?.clone();
    Some((variable, value))
}

/// The value of a variable that is set; an empty one is not.
fn set<'a>(env: &'a Environment, variable: &str) -> Option<&'a OsString> {
    env.get(OsStr::new(variable)).filter(|it| !it.is_empty())
}

fn token(variable: &str, value: &OsStr) -> Result<Token, Error> {
    let value = text(variable, value, &Source::Environment(variable.to_owned()))?;
    Token::new(value.to_owned())
        .map_err(|why| Error::about(variable, format!("holds a token that {why}")))
}

/// The static tokens: those of the environment first, then those of the file.
pub(crate) fn static_tokens(
    reading: &mut Reading<'_>,
    env: &Environment,
    service: &ServiceToken,
    foreign_prefixes: &[String],
    warnings: &mut Vec<String>,
) -> Result<(Vec<StaticToken>, Option<TokenFile>), Error> {
    let mut tokens = Vec::new();
    let mut add = |key: &str, variable: &str, name: &str, token: Token| {
        if is_short(&token) {
            warnings.push(format!(
                "{variable} holds a token of fewer than {LEAST_CHARACTERS} characters, which can \
                 be guessed"
            ));
        }
        let name = name.to_owned();
        static_tokens::add(&mut tokens, StaticToken { name, token }, foreign_prefixes).map_err(
            |why| match key == variable {
                true => Error::about(key, why),
                false => Error::about(key, format!("{} {why}", shown(variable))),
            },
        )
    };
    for (variable, token) in service.all()? {
        add(variable, variable, &service.service_name, token)?;
    }
    let given = reading.given(STATIC_TOKEN_ENV);
    let mut entries = Vec::new();
    for (number, value) in (1..).zip(given.iter().flat_map(|given| &given.values)) {
        let source = given.map_or(&Source::Default, |given| &given.source);
        let entry = text(STATIC_TOKEN_ENV, value, source)?;
        let (name, variable) = name_and_variable(entry);
        if !is_name(name) || !is_variable(variable) {
            let why =
                format!("has an entry, number {number}, that is not VARIABLE or NAME=VARIABLE");
            return Err(wrong(STATIC_TOKEN_ENV, &why, source));
        }
        let Some(value) = set(env, variable) else {
            let variable = shown(variable);
            let why = format!("{variable}, of entry {number}, is not set for the gateway; set it");
            return Err(wrong(STATIC_TOKEN_ENV, &why, source));
        };
        add(STATIC_TOKEN_ENV, variable, name, token(variable, value)?)?;
        entries.push(Value::from(entry));
    }
    reading.show(STATIC_TOKEN_ENV, Some(Value::Array(entries)), given);
    let path = reading.maybe(STATIC_TOKEN_FILE, non_empty, |path| {
        Value::from(path.clone())
    })?;
    let Some(path) = path else {
        return Ok((tokens, None));
    };
    let beside = tokens.len();
    let file = TokenFile::open(&path, tokens, foreign_prefixes.to_vec())
        .map_err(|why| Error::about(STATIC_TOKEN_FILE, format!("{} {why}", quoted(&path))))?;
    let tokens = file.tokens().to_vec();
    let short = tokens[beside..]
        .iter()
        .filter(|it| is_short(&it.token))
        .count();
    if short > 0 {
        warnings.push(format!(
            "{path} holds tokens of fewer than {LEAST_CHARACTERS} characters ({short} of them), \
             which can be guessed"
        ));
    }
    Ok((tokens, Some(file)))
}

/// What an entry, `NAME=VARIABLE` or `VARIABLE`, consists of.
fn name_and_variable(entry: &str) -> (&str, &str) {
    entry.split_once('=').unwrap_or((entry, entry))
}

/// The variable of the first entry.
pub(crate) fn first_variable(reading: &Reading<'_>) -> Option<String> {
    let entry = reading.given(STATIC_TOKEN_ENV)?.values.first()?;
    Some(name_and_variable(entry.to_str()?).1.to_owned())
}

fn is_short(token: &Token) -> bool {
    token.expose().len() < LEAST_CHARACTERS
}

fn is_variable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !name.is_empty() && name.bytes().all(plain)
}

/// A variable's name for an error line, if it is one beyond doubt: a token may have been typed in
/// its place.
fn shown(variable: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if variable.bytes().all(plain) && variable.len() <= 64 {
        variable
    } else {
        "the variable"
    }
}

/// The secret in the variable that `env_key` names, or in the file that `file_key` names.
pub(crate) fn secret(
    reading: &mut Reading<'_>,
    env: &Environment,
    env_key: &'static str,
    file_key: &'static str,
) -> Result<Secret, Error> {
    let as_is = |text: &String| Value::from(text.clone());
    let held = |text: &str| match set(env, text) {
        Some(value) => Ok((text.to_owned(), value.clone())),
        None => Err(format!(
            "{} is not set for the gateway; set it",
            shown(text)
        )),
    };
    // The value may be a secret that was typed in the wrong place, so that it is not quoted.
    let variable = match reading.given(env_key) {
        Some(given) => match given.values.as_slice() {
            [value] => {
                let name = text(env_key, value, &given.source)?;
                Some(held(name).map_err(|why| wrong(env_key, &why, &given.source))?)
            }
            _ => return Err(wrong(env_key, "takes exactly one value", &given.source)),
        },
        None => None,
    };
    let name = variable.as_ref().map(|(name, _)| as_is(name));
    reading.show(env_key, name, reading.given(env_key));
    let file = reading.maybe(file_key, non_empty, as_is)?;
    let (key, secret) = match (variable, file) {
        (Some(_), Some(_)) => {
            let why = format!("is given together with {env_key}; leave one of them out");
            return Err(Error::about(file_key, why));
        }
        (None, None) => {
            let why = format!("is missing: introspection needs it, or {file_key}");
            return Err(Error::about(env_key, why));
        }
        (Some((_, value)), None) => (env_key, value.into_string().ok()),
        (None, Some(path)) => {
            let bytes = fs::read(&path).map_err(|why| {
                Error::about(file_key, format!("{} cannot be read: {why}", quoted(&path)))
            })?;
            let text = String::from_utf8(bytes).ok();
            (
                file_key,
                text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned()),
            )
        }
    };
    secret
        .filter(|secret| !secret.is_empty() && !secret.chars().any(char::is_control))
        .map(Secret::new)
        .ok_or_else(|| Error::about(key, "holds no secret: one line of UTF-8 text is one"))
}

pub(crate) fn non_empty(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("is empty; give a file".to_owned());
    }
    Ok(text.to_owned())
}
