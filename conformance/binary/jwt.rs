//! Tokens that an authorization server has signed (RFC 9068), and its documents.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::http::{Caller, LIST};
use super::mock::{Asked, Mock, Reply};
use super::run::Launch;

const AUDIENCE: &str = "https://gw.example.org/base/mcp";

/// A key that signs, and the id that it goes by.
struct Signer {
    id: &'static str,
    pair: Ed25519KeyPair,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key can be made");
        Self { id, pair }
    }

    fn public(&self) -> String {
        encoded(self.pair.public_key())
    }

    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": self.public()})
    }

    fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "at+jwt", "kid": self.id})
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_under(&self.header(), claims)
    }

    fn sign_under(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", encoded(signature))
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn message(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| encoded(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_secs()
}

/// An authorization server, and the keys that it publishes.
struct Issuer {
    mock: Mock,
    keys: Vec<Value>,
}

const METADATA: &str = "/.well-known/oauth-authorization-server";

impl Issuer {
    fn new(signers: &[&Signer]) -> Self {
        let keys = signers.iter().map(|signer| signer.jwk()).collect();
        let issuer = Self {
            mock: Mock::start(|_| Reply::Json(503, json!({}))),
            keys,
        };
        issuer.mock.answer_with(issuer.answer());
        issuer
    }

    fn url(&self) -> String {
        self.mock.url("")
    }

    /// How it answers while it is well.
    fn answer(&self) -> impl FnMut(&Asked) -> Reply + Send + 'static {
        let (metadata, keys) = (self.metadata(), json!({"keys": self.keys}));
        move |asked| match asked.target.as_str() {
            METADATA => Reply::Json(200, metadata.clone()),
            "/keys" => Reply::Json(200, keys.clone()),
            _ => Reply::Json(404, json!({})),
        }
    }

    fn metadata(&self) -> Value {
        json!({
            "issuer": self.url(),
            "jwks_uri": self.mock.url("/keys"),
            "authorization_endpoint": self.mock.url("/authorize"),
            "token_endpoint": self.mock.url("/token"),
            "vendor_extension": [1, {"a": null}],
        })
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.url(),
            "aud": AUDIENCE,
            "sub": "ada",
            "client_id": "editor",
            "scope": "mcp",
            "exp": now() + 600,
        })
    }

    fn claims_with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        claims[name] = value;
        claims
    }

    fn fetched(&self, target: &str) -> usize {
        self.mock.count(|asked| asked.target == target)
    }

    fn launch(&self) -> Launch {
        Launch::demo()
            .options(&["--auth", "jwt", "--issuer", &self.url()])
            .options(&["--public-url", AUDIENCE])
            .options(&["--credential-rate", "1000/m"])
    }
}

#[test]
fn a_signed_token_comes_in_and_others_do_not() {
    let signer = Signer::new("a");
    let issuer = Issuer::new(&[&signer]);
    let gateway = issuer.launch().start();
    let knock = |token: &str| Caller::bearer(gateway.address, token).knock().status;
    let good = signer.sign(&issuer.claims());
    let caller = Caller::bearer(gateway.address, &good);
    let session = caller.initialize();
    let listed = caller.request("POST", Some(&session), LIST);
    assert_eq!(listed.status, 200);
    let both = json!(["https://other.example", AUDIENCE]);
    assert_eq!(knock(&signer.sign(&issuer.claims_with("aud", both))), 200);
    gateway.stdout.wait_for(r#""principal":"ada""#, 3);

    let claims = issuer.claims();
    let with = |name: &str, value: Value| signer.sign(&issuer.claims_with(name, value));
    let under = |name: &str, value: Value| {
        let mut header = signer.header();
        header[name] = value;
        signer.sign_under(&header, &claims)
    };
    // Whoever knows the public key can make this one.
    let symmetric = {
        let message = message(
            &json!({"alg": "HS256", "typ": "at+jwt", "kid": "a"}),
            &claims,
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, signer.pair.public_key().as_ref());
        let tag = hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", encoded(tag))
    };
    let unsigned = message(&json!({"alg": "none", "typ": "at+jwt"}), &claims) + ".";
    let stranger = Signer::new("a");
    let own_key = stranger.sign_under(
        &json!({"alg": "EdDSA", "typ": "at+jwt", "jwk": stranger.jwk()}),
        &claims,
    );
    let mut parts = good.split('.');
    let (header, signature) = (parts.next(), parts.nth(1));
    let other_claims = encoded(issuer.claims_with("sub", json!("root")).to_string());
    let spliced = [header, Some(&*other_claims), signature]
        .map(|part| part.expect("a token has three parts"))
        .join(".");
    for (what, token) in [
        ("expired", with("exp", json!(now() - 1))),
        ("without an end", with("exp", Value::Null)),
        (
            "another audience",
            with("aud", json!("https://gw.example.org")),
        ),
        ("no audience", with("aud", Value::Null)),
        (
            "another issuer",
            with("iss", json!("https://as.example.org")),
        ),
        (
            "the issuer with a slash",
            with("iss", json!(issuer.url() + "/")),
        ),
        ("from the future", with("nbf", json!(now() + 600))),
        ("an id token", under("typ", json!("JWT"))),
        ("an extension", under("crit", json!(["b64"]))),
        (
            "keys from elsewhere",
            under("jku", json!(issuer.mock.url("/evil"))),
        ),
        ("unsigned", unsigned),
        ("signed with the public key", symmetric),
        ("a stranger's", stranger.sign(&claims)),
        ("with a key of its own", own_key),
        ("spliced", spliced),
        ("cut", good[..good.len() - 1].to_owned()),
    ] {
        assert_eq!(knock(&token), 401, "{what}");
    }
    assert_eq!(issuer.fetched("/keys"), 1);
    assert_eq!(issuer.fetched("/evil"), 0);
    let shown = |asked: &Asked| asked.authorization.is_some() || asked.body.contains("eyJ");
    assert_eq!(issuer.mock.count(shown), 0, "the issuer sees no token");
}

#[test]
fn ids_of_keys_that_are_made_up_drive_no_fetches() {
    let [known, unknown] = ["known", "unknown"].map(Signer::new);
    let issuer = Issuer::new(&[&known]);
    let gateway = issuer.launch().start();
    let knock = |signer: &Signer, subject: &str| {
        let token = signer.sign(&issuer.claims_with("sub", json!(subject)));
        Caller::bearer(gateway.address, &token).knock().status
    };
    // Between two fetches lies half a minute.
    for subject in ["a", "b", "c"] {
        assert_eq!(knock(&unknown, subject), 401);
        assert_eq!(knock(&known, subject), 200);
    }
    assert_eq!(issuer.fetched("/keys"), 1);
}

#[test]
fn a_start_without_keys_fails_or_waits_for_them() {
    let signer = Signer::new("a");
    let issuer = Issuer::new(&[&signer]);
    let token = signer.sign(&issuer.claims());
    for reply in [
        || Reply::Json(500, json!({})),
        || Reply::Json(200, json!({"issuer": "https://evil.example"})),
        || Reply::Garbage,
    ] {
        issuer.mock.answer_with(move |_| reply());
        let output = issuer.launch().run();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("keys could not be loaded"), "{told}");
    }
    let gateway = issuer
        .launch()
        .options(&["--startup-check", "warn"])
        .start();
    let caller = Caller::bearer(gateway.address, &token);
    let answer = caller.knock();
    assert_eq!(answer.status, 503);
    assert!(answer.field("retry-after").is_some());
    // What needs no key is refused all the same.
    let foreign = signer.sign(&issuer.claims_with("aud", json!("https://other.example")));
    assert_eq!(
        Caller::bearer(gateway.address, &foreign).knock().status,
        401
    );
}

#[test]
fn documents_stand_wherever_clients_look() {
    let signer = Signer::new("a");
    let issuer = Issuer::new(&[&signer]);
    let gateway = issuer
        .launch()
        .options(&["--required-scopes", "mcp"])
        .start();
    let caller = Caller::new(gateway.address);
    for name in ["oauth-authorization-server", "openid-configuration"] {
        for path in [
            format!("/.well-known/{name}"),
            format!("/.well-known/{name}/mcp"),
            format!("/.well-known/{name}/base/mcp"),
            format!("/mcp/.well-known/{name}"),
        ] {
            let document = caller.get(&path);
            assert_eq!(document.status, 200, "{path}");
            let read: Value = serde_json::from_str(&document.body).expect("it is JSON");
            assert_eq!(read, issuer.metadata(), "{path}");
        }
    }
    assert_eq!(issuer.fetched(METADATA), 1);
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource/base/mcp",
        "/mcp/.well-known/oauth-protected-resource",
    ] {
        let document = caller.get(path);
        assert_eq!(document.status, 200, "{path}");
        let read: Value = serde_json::from_str(&document.body).expect("it is JSON");
        assert_eq!(read["resource"], AUDIENCE);
        assert_eq!(read["authorization_servers"], json!([issuer.url()]));
        assert_eq!(read["scopes_supported"], json!(["mcp"]));
    }
    for path in [
        "/.well-known/oauth-protected-resource/other",
        "/.well-known/unknown",
        "/register",
    ] {
        let none = caller.get(path);
        assert_eq!(none.status, 404, "{path}");
        assert_eq!(none.field("content-type"), Some("application/json"));
        assert!(serde_json::from_str::<Value>(&none.body).is_ok());
    }
    let challenge = "Bearer resource_metadata=\"https://gw.example.org/.well-known/\
                     oauth-protected-resource/base/mcp\", scope=\"mcp\"";
    assert_eq!(caller.knock().field("www-authenticate"), Some(challenge));
}

#[test]
fn nothing_is_published_where_that_is_switched_off() {
    let signer = Signer::new("a");
    let issuer = Issuer::new(&[&signer]);
    let gateway = issuer.launch().options(&["--discovery", "off"]).start();
    let caller = Caller::new(gateway.address);
    for name in ["oauth-protected-resource", "oauth-authorization-server"] {
        assert_eq!(caller.get(&format!("/.well-known/{name}")).status, 404);
    }
    let challenge = caller.knock();
    let challenge = challenge.field("www-authenticate");
    assert_eq!(challenge, Some("Bearer realm=\"demo\""));
    let good = signer.sign(&issuer.claims());
    assert_eq!(Caller::bearer(gateway.address, &good).knock().status, 200);
}
