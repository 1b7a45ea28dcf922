//! The authorization server's metadata and keys: when they are fetched, and who waits for them.

use http::{Method, StatusCode};

use super::{AuthOutput, Authenticator, Document, Purpose};
use crate::auth::cached::Cached;
use crate::auth::keys::Keys;
use crate::auth::metadata::{Metadata, candidates};
use crate::auth::{
    AuthPolicy, FetchFailure, FetchRequest, Fetched, IntrospectionVerifier, KeySource, Verifier,
};
use crate::id::ExchangeId;
use crate::refusal::Refusal;
use crate::time::Now;

/// Most bytes of a document.
const DOCUMENT_BYTES: usize = 256 * 1024;

/// The metadata that the operator gave, if they did.
pub(super) fn given_metadata(policy: &AuthPolicy) -> Cached<Metadata> {
    let server = policy.authorization_server.as_ref();
    let given = server.and_then(|server| {
        let document = server.metadata.clone()?.into();
        Metadata::parse(document, &server.issuer, policy.allow_private_addresses)
    });
    given.map_or_else(Cached::empty, Cached::given)
}

/// The keys that the operator gave, if they did.
pub(super) fn given_keys(policy: &AuthPolicy) -> Cached<Keys> {
    let given = match key_source(policy) {
        Some(KeySource::Given(document)) => Keys::parse(document.as_bytes()),
        _ => None,
    };
    given.map_or_else(Cached::empty, Cached::given)
}

fn key_source(policy: &AuthPolicy) -> Option<&KeySource> {
    policy.verifiers.iter().find_map(|verifier| match verifier {
        Verifier::Jwt(verifier) => Some(&verifier.keys),
        _ => None,
    })
}

impl Authenticator {
    /// The authorization server's metadata, for a client.
    pub(super) fn mirrored(&mut self, exchange: ExchangeId, may_wait: bool, now: Now) -> Document {
        self.fetch_metadata(now);
        if let Some(metadata) = self.metadata.get(now.monotonic) {
            return Document::Ready(metadata.document.clone());
        }
        if may_wait && self.metadata.is_fetching() {
            self.readers.insert(exchange);
            return Document::Later;
        }
        Document::Refused(Refusal::MetadataUnavailable)
    }

    /// The introspection endpoint, if it is known. If not, it may be being fetched.
    pub(super) fn introspection_url(
        &mut self,
        verifier: &IntrospectionVerifier,
        now: Now,
    ) -> Option<String> {
        if verifier.url.is_some() {
            return verifier.url.clone();
        }
        self.fetch_metadata(now);
        let metadata = self.metadata.get(now.monotonic)?;
        metadata.introspection_url.clone()
    }

    /// Fetches the metadata if that is due.
    pub(super) fn fetch_metadata(&mut self, now: Now) {
        let server = self.policy.authorization_server.as_ref();
        if server.is_some_and(|server| server.metadata.is_none())
            && self.metadata.begin(false, now.monotonic)
        {
            self.fetch_candidate(0);
        }
    }

    /// Fetches the keys if that is due, or if one is `wanting`.
    pub(super) fn fetch_keys(&mut self, wanting: bool, now: Now) {
        let url = match key_source(&self.policy) {
            Some(KeySource::Url(url)) => Some(url.clone()),
            Some(KeySource::Metadata) => None,
            Some(KeySource::Given(_)) | None => return,
        };
        if !self.keys.begin(wanting, now.monotonic) {
            return;
        }
        match url {
            Some(url) => self.fetch_keys_from(url),
            None => {
                self.fetch_metadata(now);
                if self.metadata.get(now.monotonic).is_some() || !self.metadata.is_fetching() {
                    self.fetch_named_keys(now);
                }
                // Else once the metadata are there.
            }
        }
    }

    /// Fetches the keys from where the metadata say.
    fn fetch_named_keys(&mut self, now: Now) {
        let metadata = self.metadata.get(now.monotonic);
        match metadata.map(|metadata| metadata.jwks_url.clone()) {
            Some(Some(url)) => self.fetch_keys_from(url),
            named => {
                if named.is_some() {
                    self.warn(
                        "jwt: the issuer's metadata have no jwks_uri that may be asked".into(),
                    );
                }
                self.keys.end(None, now.monotonic);
            }
        }
    }

    fn fetch_keys_from(&mut self, url: String) {
        self.fetch_document(Purpose::Keys, url);
    }

    fn fetch_candidate(&mut self, number: usize) -> bool {
        let server = self.policy.authorization_server.as_ref();
        let url = server.and_then(|server| candidates(&server.issuer).into_iter().nth(number));
        let found = url.is_some();
        if let Some(url) = url {
            self.fetch_document(Purpose::Metadata(number), url);
        }
        found
    }

    fn fetch_document(&mut self, purpose: Purpose, url: String) {
        let (time, private) = (self.verifier_time, self.policy.allow_private_addresses);
        self.fetch(purpose, |id| FetchRequest {
            id,
            method: Method::GET,
            url,
            authorization: None,
            form: None,
            most_bytes: DOCUMENT_BYTES,
            time,
            allow_private_addresses: private,
        });
    }

    /// Takes the answer of the candidate with this number, and asks the next one if it is none.
    pub(super) fn handle_metadata(
        &mut self,
        candidate: usize,
        result: Result<Fetched, FetchFailure>,
        now: Now,
    ) {
        let server = self.policy.authorization_server.as_ref();
        let issuer = server
            .map(|server| server.issuer.clone())
            .unwrap_or_default();
        let private = self.policy.allow_private_addresses;
        let (metadata, problem) = match result {
            Ok(fetched) if fetched.status == StatusCode::OK => (
                Metadata::parse(fetched.body, &issuer, private),
                "is not a document of that issuer's".to_owned(),
            ),
            Ok(fetched) => (None, format!("answered with {}", fetched.status)),
            Err(failure) => (None, failure.to_string()),
        };
        if metadata.is_none() && self.fetch_candidate(candidate + 1) {
            return;
        }
        if metadata.is_none() {
            self.warn(format!(
                "the metadata of {issuer} could not be fetched: the last place that was tried \
                 {problem}"
            ));
        }
        self.metadata.end(metadata, now.monotonic);
        if self.keys.is_fetching() && !self.is_fetching_keys() {
            self.fetch_named_keys(now);
            if !self.keys.is_fetching() {
                self.keys_ended(now);
                self.keys_tried(now);
            }
        }
        self.metadata_ended(now);
        self.metadata_tried(now);
        for exchange in std::mem::take(&mut self.readers) {
            self.outputs
                .push_back(AuthOutput::DocumentFetched(exchange));
        }
    }

    /// Whether the keys themselves are on their way, and not only the metadata that name them.
    fn is_fetching_keys(&self) -> bool {
        self.fetches
            .values()
            .any(|purpose| matches!(purpose, Purpose::Keys))
    }

    pub(super) fn handle_keys(&mut self, result: Result<Fetched, FetchFailure>, now: Now) {
        let (keys, problem) = match result {
            Ok(fetched) if fetched.status == StatusCode::OK => (
                Keys::parse(&fetched.body),
                "sent no JSON Web Key Set with a key that can be used".to_owned(),
            ),
            Ok(fetched) => (None, format!("answered with {}", fetched.status)),
            Err(failure) => (None, failure.to_string()),
        };
        if keys.is_none() {
            self.warn(format!(
                "jwt: the keys could not be fetched: the server {problem}"
            ));
        }
        self.keys.end(keys, now.monotonic);
        self.keys_ended(now);
        self.keys_tried(now);
    }
}
