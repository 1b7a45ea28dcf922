//! Signatures of JWTs: the arithmetic, and nothing of what a token means.

use jsonwebtoken::crypto::{JwtVerifier, aws_lc};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm as Named, DecodingKey, DecodingKeyKind};
use mcp_proto::auth::{Algorithm, SignatureCheck, SignatureFailure};

/// Bits of an RSA modulus: at least 2048 (RFC 7518 section 3.3), and no more than is checked in a
/// reasonable time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Characters of a coordinate in base64url: 32 and 48 bytes, of which none may be left out
/// (RFC 7518 section 6.2.1.2).
const COORDINATE_256: usize = 43;
const COORDINATE_384: usize = 64;

/// Whether a signature is what its key made of its message. An error is the key's: it is no JSON
/// Web Key, does not fit the algorithm, or is too weak. A signature of whatever length and content
/// is valid or it is not.
pub fn is_valid(check: &SignatureCheck) -> Result<bool, SignatureFailure> {
    let key = Key::read(check.algorithm, &check.key)?;
    Ok(key.verifies(&check.message, &check.signature))
}

/// A public key, with the algorithm that it is used for.
pub struct Key(Box<dyn JwtVerifier>);

impl Key {
    /// Reads a JSON Web Key (RFC 7517): of type RSA for `RS*` and `PS*`, of type EC with P-256 for
    /// `ES256` and with P-384 for `ES384`, of type OKP with Ed25519 for `EdDSA`.
    ///
    /// A point that is not on its curve is found only when it is used: such a key verifies nothing.
    pub fn read(algorithm: Algorithm, jwk: &str) -> Result<Self, SignatureFailure> {
        // serde's own text may quote the key's.
        let jwk: Jwk = serde_json::from_str(jwk)
            .map_err(|_| unusable("it is no JSON Web Key of type RSA, EC or OKP"))?;
        if !fits(algorithm, &jwk.algorithm) {
            let name = algorithm.as_str();
            return Err(unusable(&format!(
                "its type, curve or size is none for {name}"
            )));
        }
        let key = DecodingKey::from_jwk(&jwk)
            .map_err(|_| unusable("a number in it is not base64url without padding"))?;
        if let DecodingKeyKind::RsaModulusExponent { n, .. } = key.kind() {
            let bits = bits(n);
            if !RSA_BITS.contains(&bits) {
                let (least, most) = RSA_BITS.into_inner();
                let why = format!("an RSA key of {bits} bits; {least} to {most} are taken");
                return Err(unusable(&why));
            }
        }
        // Named here, and not taken from jsonwebtoken's process-wide default: that is a panic where
        // another crate has chosen a second one.
        let verifier = (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&named(algorithm), &key);
        verifier.map(Self).map_err(|_| unusable("it does not fit"))
    }

    /// Whether `signature` (RFC 7518 section 3, RFC 8037 section 3.1) is this key's of `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify(message, &signature.to_vec()).is_ok()
    }
}

fn unusable(why: &str) -> SignatureFailure {
    SignatureFailure(format!("the key cannot be used: {why}"))
}

fn fits(algorithm: Algorithm, key: &AlgorithmParameters) -> bool {
    use Algorithm::*;
    match (algorithm, key) {
        (Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512, AlgorithmParameters::RSA(_)) => true,
        (Es256 | Es384, AlgorithmParameters::EllipticCurve(key)) => {
            let (curve, length) = match algorithm {
                Es256 => (EllipticCurve::P256, COORDINATE_256),
                _ => (EllipticCurve::P384, COORDINATE_384),
            };
            key.curve == curve && [&key.x, &key.y].iter().all(|number| number.len() == length)
        }
        (EdDsa, AlgorithmParameters::OctetKeyPair(key)) => {
            key.curve == EllipticCurve::Ed25519 && key.x.len() == COORDINATE_256
        }
        _ => false,
    }
}

fn named(algorithm: Algorithm) -> Named {
    match algorithm {
        Algorithm::Rs256 => Named::RS256,
        Algorithm::Rs384 => Named::RS384,
        Algorithm::Rs512 => Named::RS512,
        Algorithm::Ps256 => Named::PS256,
        Algorithm::Ps384 => Named::PS384,
        Algorithm::Ps512 => Named::PS512,
        Algorithm::Es256 => Named::ES256,
        Algorithm::Es384 => Named::ES384,
        Algorithm::EdDsa => Named::EdDSA,
    }
}

/// The length of a big-endian number, whatever zeros it begins with.
fn bits(number: &[u8]) -> usize {
    match number.iter().position(|&byte| byte != 0) {
        Some(at) => (number.len() - at) * 8 - number[at].leading_zeros() as usize,
        None => 0,
    }
}
