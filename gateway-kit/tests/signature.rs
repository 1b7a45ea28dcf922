//! Signatures that openssl made, each with its key; and what is no such signature or no such key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_kit::signature::Key;
use mcp_proto::auth::Algorithm;
use proptest::prelude::*;
use serde_json::{Value, json};

/// One signature of `tests/signatures.json`.
struct Signed {
    algorithm: Algorithm,
    key: Value,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    fn key(&self) -> Key {
        self.read(&self.key).unwrap()
    }

    fn read(&self, key: &Value) -> Result<Key, String> {
        Key::read(self.algorithm, &key.to_string()).map_err(|error| error.to_string())
    }

    fn error(&self, key: &Value) -> String {
        self.read(key).err().expect("the key is refused")
    }
}

/// All of them; the last one is by an RSA key of 1024 bits.
fn all() -> Vec<Signed> {
    let file: Value = serde_json::from_str(include_str!("signatures.json")).unwrap();
    let signed = file["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|signed| Signed {
            algorithm: Algorithm::parse(signed["alg"].as_str().unwrap()).unwrap(),
            key: file["keys"][signed["key"].as_str().unwrap()].clone(),
            message: file["message"].as_str().unwrap().into(),
            signature: URL_SAFE_NO_PAD
                .decode(signed["signature"].as_str().unwrap())
                .unwrap(),
        });
    signed.collect()
}

/// One of each algorithm.
fn good() -> Vec<Signed> {
    let mut all = all();
    all.pop();
    all
}

fn of(algorithm: Algorithm) -> Signed {
    good()
        .into_iter()
        .find(|signed| signed.algorithm == algorithm)
        .unwrap()
}

#[test]
fn every_algorithms_signature_is_valid_and_with_one_bit_changed_is_not() {
    assert!(
        good()
            .iter()
            .map(|signed| signed.algorithm)
            .eq(Algorithm::ALL)
    );
    for signed in good() {
        let key = signed.key();
        let name = signed.algorithm.as_str();
        assert!(key.verifies(&signed.message, &signed.signature), "{name}");
        for bit in 0..signed.signature.len() * 8 {
            let mut changed = signed.signature.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verifies(&signed.message, &changed), "{name} {bit}");
        }
        let mut changed = signed.message.clone();
        changed[0] ^= 1;
        assert!(!key.verifies(&changed, &signed.signature), "{name}");
    }
}

#[test]
fn a_signature_of_another_algorithm_is_not_valid() {
    for signed in good() {
        let key = signed.key();
        for other in good() {
            let same = other.algorithm == signed.algorithm;
            assert_eq!(key.verifies(&other.message, &other.signature), same);
        }
    }
}

#[test]
fn a_short_rsa_key_is_refused_however_it_is_written() {
    let mut weak = all().pop().unwrap();
    let expected = "the key cannot be used: an RSA key of 1024 bits; 2048 to 8192 are taken";
    assert_eq!(weak.error(&weak.key), expected);
    let number = URL_SAFE_NO_PAD
        .decode(weak.key["n"].as_str().unwrap())
        .unwrap();
    let padded = [vec![0; 128], number].concat();
    weak.key["n"] = URL_SAFE_NO_PAD.encode(padded).into();
    assert_eq!(weak.error(&weak.key), expected);
    weak.key["n"] = "".into();
    assert!(weak.error(&weak.key).contains("of 0 bits"));
}

#[test]
fn a_key_of_another_type_or_curve_is_refused() {
    for signed in good() {
        for other in good() {
            let rsa = |signed: &Signed| signed.key["kty"] == "RSA";
            let fits = other.key == signed.key || rsa(&signed) && rsa(&other);
            match signed.read(&other.key) {
                Ok(_) => assert!(fits),
                Err(error) => assert!(!fits && error.contains("type, curve or size"), "{error}"),
            }
        }
        let secret = json!({"kty": "oct", "k": "c2VjcmV0"});
        assert!(signed.error(&secret).contains("type, curve or size"));
    }
}

#[test]
fn what_is_no_key_is_refused_without_being_quoted() {
    let signed = of(Algorithm::Es256);
    let with = |name: &str, value: Value| {
        let mut key = signed.key.clone();
        key[name] = value;
        key
    };
    let x = signed.key["x"].as_str().unwrap();
    for key in [
        json!("marker"),
        json!({}),
        json!({"kty": "marker"}),
        json!({"kty": "EC", "crv": "P-256", "x": "marker"}),
        with("crv", "marker".into()),
        with("x", "marker".into()),
        with("x", 1.into()),
        with("x", format!("{}=", &x[1..]).into()),
        with("x", format!("{}+", &x[1..]).into()),
        // One byte moved from one coordinate to the other.
        with("x", x[..42].into()),
    ] {
        let error = signed.error(&key);
        assert!(error.starts_with("the key cannot be used: "), "{error}");
        assert!(!error.contains("marker"), "{error}");
    }
    assert!(Key::read(Algorithm::Es256, "{").is_err());
}

#[test]
fn a_point_off_its_curve_verifies_nothing() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        let mut signed = of(algorithm);
        let length = signed.key["x"].as_str().unwrap().len();
        signed.key["x"] = format!("{}8", "_".repeat(length - 1)).into();
        assert!(!signed.key().verifies(&signed.message, &signed.signature));
    }
}

proptest! {
    #[test]
    fn no_bytes_are_a_signature_and_none_panic(
        signature in prop::collection::vec(any::<u8>(), 0..1100),
        message in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        for signed in good() {
            prop_assert!(!signed.key().verifies(&message, &signature));
        }
    }

    #[test]
    fn a_signature_cut_or_lengthened_is_none(cut in 0usize..512, more in 1usize..64) {
        for signed in good() {
            let key = signed.key();
            let mut changed = signed.signature.clone();
            changed.resize(signed.signature.len() + more, 0);
            prop_assert!(!key.verifies(&signed.message, &changed));
            changed.truncate(cut % signed.signature.len());
            prop_assert!(!key.verifies(&signed.message, &changed));
        }
    }

    #[test]
    fn no_text_panics_as_a_key(text: String) {
        for algorithm in Algorithm::ALL {
            prop_assert!(Key::read(algorithm, &text).is_err());
        }
    }
}
