//! The keys that sign an issuer's tokens: a JSON Web Key Set (RFC 7517 section 5).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Algorithm;

/// Most keys that are looked at in one set.
const MOST_KEYS: usize = 100;

/// Keys that tokens may be signed with.
#[derive(Debug)]
pub(crate) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    family: Family,
    /// The one algorithm that the key is for, if it says so.
    algorithm: Option<String>,
    jwk: Arc<str>,
}

/// What a key is, which says which algorithms fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Family {
    fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => Self::Rsa,
            Algorithm::Es256 => Self::P256,
            Algorithm::Es384 => Self::P384,
            Algorithm::EdDsa => Self::Ed25519,
        }
    }
}

impl Keys {
    /// Reads a set. Keys that sign nothing, or in ways that are not known here, are passed over
    /// (RFC 7517 section 5); a set without any other is none.
    pub(crate) fn parse(document: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(document).ok()?;
        let keys = document.get("keys")?.as_array()?;
        let usable = keys.iter().take(MOST_KEYS).filter_map(Key::read);
        let keys: Vec<_> = usable.collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The key of this id for this algorithm. A token that names no key may be checked where only
    /// one fits.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<str>> {
        let fits = |key: &&Key| {
            let declared = key.algorithm.as_deref();
            key.family == Family::of(algorithm)
                && declared.is_none_or(|declared| declared == algorithm.as_str())
                && (id.is_none() || key.id.as_deref() == id)
        };
        let mut fitting = self.0.iter().filter(fits);
        let first = fitting.next()?;
        (id.is_some() || fitting.next().is_none()).then(|| Arc::clone(&first.jwk))
    }
}

impl Key {
    fn read(jwk: &Value) -> Option<Self> {
        let members = jwk.as_object()?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let family = match (text("kty")?, text("crv")) {
            ("RSA", _) => Family::Rsa,
            ("EC", Some("P-256")) => Family::P256,
            ("EC", Some("P-384")) => Family::P384,
            ("OKP", Some("Ed25519")) => Family::Ed25519,
            _ => return None,
        };
        (is_for_signatures(members)).then(|| Self {
            id: text("kid").map(str::to_owned),
            family,
            algorithm: text("alg").map(str::to_owned),
            jwk: jwk.to_string().into(),
        })
    }
}

/// RFC 7517 sections 4.2 and 4.3.
fn is_for_signatures(members: &Map<String, Value>) -> bool {
    let for_signing = members.get("use").is_none_or(|purpose| purpose == "sig");
    let verifies = |operations: &Value| {
        operations
            .as_array()
            .is_some_and(|operations| operations.iter().any(|operation| operation == "verify"))
    };
    for_signing && members.get("key_ops").is_none_or(verifies)
}
