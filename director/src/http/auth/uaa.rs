//! Tokens of a UAA: signed by a key that director.yml names, checked without asking it
//! (upstream: api/uaa_identity_provider.rb and cf-uaa-lib's token coder).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bosh_protocol::Secret;
use ring::hmac;
use serde::Deserialize;

use super::key::PublicKey;
use super::user::User;
use crate::config;

/// Longest token that is looked at.
const LONGEST: usize = 64 * 1024;
/// An upload that nginx took its time to receive is judged by the time it began, this much ago at most.
pub(super) const EXTENSION: i64 = 3600;

/// Checks tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    symmetric: Option<Secret>,
    public: Option<PublicKey>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    jti: Option<String>,
    exp: Option<i64>,
    user_name: Option<String>,
    client_id: Option<String>,
    #[serde(default)]
    scope: Vec<String>,
}

impl Tokens {
    /// By the keys of director.yml. A key that cannot be read is an error that says what was expected.
    pub(super) fn new(uaa: &config::Uaa) -> Result<Self, String> {
        let public = match uaa.public_key.as_deref().map(str::trim) {
            None | Some("") => None,
            Some(pem) => Some(PublicKey::from_pem(pem)?),
        };
        Ok(Self {
            symmetric: uaa.symmetric_key.clone().filter(|key| !key.is_empty()),
            public,
        })
    }

    /// Whom an access token names; `None` unless it is signed by our UAA and was valid at `time` (seconds since 1970).
    pub(super) fn user(&self, token: &str, time: i64) -> Option<User> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if !self.signed(&header.alg, signed.as_bytes(), &decode(signature)?) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&decode(claims)?).ok()?;
        // Refresh tokens are for the UAA only.
        let is_access = claims.jti.is_some_and(|id| !id.ends_with("-r"));
        if !is_access || claims.exp.is_none_or(|end| end <= time) {
            return None;
        }
        User::of_token(claims.user_name, claims.client_id, claims.scope)
    }

    /// The algorithm is the token's word, so each kind of key answers only to its own.
    fn signed(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let by = match algorithm {
            "HS256" => hmac::HMAC_SHA256,
            "HS384" => hmac::HMAC_SHA384,
            "HS512" => hmac::HMAC_SHA512,
            _ => {
                return self
                    .public
                    .as_ref()
                    .is_some_and(|key| key.verifies(algorithm, message, signature));
            }
        };
        self.symmetric.as_ref().is_some_and(|key| {
            let key = hmac::Key::new(by, key.expose().as_bytes());
            hmac::verify(&key, message, signature).is_ok()
        })
    }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{
        KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, SigningKey as _,
    };
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    };
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn claims() -> Value {
        json!({
            "jti": "5f6a", "exp": NOW + 60, "user_name": "marissa", "client_id": "bosh_cli",
            "scope": ["openid", "bosh.read"], "aud": ["bosh_cli", "bosh"],
        })
    }

    fn token(algorithm: &str, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let encode = |text: &[u8]| URL_SAFE_NO_PAD.encode(text);
        let header = json!({ "alg": algorithm, "typ": "JWT" }).to_string();
        let signed = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let signature = sign(signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }

    fn hs256(key: &str) -> impl Fn(&[u8]) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        move |message| hmac::sign(&key, message).as_ref().to_vec()
    }

    fn tokens(symmetric: Option<&str>, public: Option<String>) -> Tokens {
        Tokens::new(&config::Uaa {
            urls: vec!["https://uaa".to_owned()],
            symmetric_key: symmetric.map(Secret::new),
            public_key: public,
        })
        .unwrap()
    }

    #[test]
    fn hmac_tokens() {
        let tokens = tokens(Some("key"), None);
        let good = token("HS256", &claims(), hs256("key"));
        let user = tokens.user(&good, NOW).unwrap();
        assert_eq!(user.name, "marissa");
        assert_eq!(user.client.as_deref(), Some("bosh_cli"));
        assert!(user.may(crate::http::auth::Permission::Read, "u", &[]));
        for bad in [
            token("HS256", &claims(), hs256("other")),
            token("none", &claims(), |_| Vec::new()),
            token("RS256", &claims(), hs256("key")),
            good.replacen('.', "", 1),
            "a.b.c".to_owned(),
            String::new(),
            "....".to_owned(),
            "x".repeat(LONGEST + 1),
        ] {
            assert_eq!(tokens.user(&bad, NOW), None, "{bad:.80}");
        }
    }

    #[test]
    fn claims_that_name_nobody_or_are_over() {
        let tokens = tokens(Some("key"), None);
        let with = |key: &str, value: Value| {
            let mut claims = claims();
            claims[key] = value;
            tokens.user(&token("HS256", &claims, hs256("key")), NOW)
        };
        assert!(with("exp", json!(NOW + 1)).is_some());
        assert_eq!(with("exp", json!(NOW)), None);
        assert_eq!(with("exp", json!("tomorrow")), None);
        assert_eq!(with("exp", Value::Null), None);
        assert_eq!(with("jti", Value::Null), None);
        assert_eq!(with("jti", json!("5f6a-r")), None);
        let client = with("user_name", Value::Null).unwrap();
        assert_eq!((client.name.as_str(), client.username), ("bosh_cli", None));
        assert!(with("scope", Value::Null).is_none());
    }

    #[test]
    fn tokens_of_each_kind_of_public_key() {
        let rsa = KeyPair::from_pem_and_sign_algo(&rsa_key(), &PKCS_RSA_SHA256).unwrap();
        let sign = |message: &[u8]| rsa.sign(message).unwrap();
        let tokens_of_rsa = tokens(None, Some(rsa.public_key_pem()));
        assert!(
            tokens_of_rsa
                .user(&token("RS256", &claims(), sign), NOW)
                .is_some()
        );
        // The public key is no secret: it must not pass for a symmetric one.
        let forged = token("HS256", &claims(), hs256(&rsa.public_key_pem()));
        assert_eq!(tokens_of_rsa.user(&forged, NOW), None);
        let other = tokens(Some("key"), Some(rsa.public_key_pem()));
        assert!(
            other
                .user(&token("HS256", &claims(), hs256("key")), NOW)
                .is_some()
        );
        assert!(other.user(&token("RS256", &claims(), sign), NOW).is_some());

        for (name, kind, signing) in [
            (
                "ES256",
                &PKCS_ECDSA_P256_SHA256,
                &ECDSA_P256_SHA256_FIXED_SIGNING,
            ),
            (
                "ES384",
                &PKCS_ECDSA_P384_SHA384,
                &ECDSA_P384_SHA384_FIXED_SIGNING,
            ),
        ] {
            let pair = KeyPair::generate_for(kind).unwrap();
            let random = ring::rand::SystemRandom::new();
            let key = EcdsaKeyPair::from_pkcs8(signing, &pair.serialize_der(), &random).unwrap();
            let sign = |message: &[u8]| key.sign(&random, message).unwrap().as_ref().to_vec();
            let tokens = tokens(None, Some(pair.public_key_pem()));
            assert!(
                tokens.user(&token(name, &claims(), sign), NOW).is_some(),
                "{name}"
            );
            assert_eq!(tokens.user(&token("RS256", &claims(), sign), NOW), None);
            let certificate = rcgen::CertificateParams::default()
                .self_signed(&pair)
                .unwrap();
            let by_certificate = self::tokens(None, Some(certificate.pem()));
            assert!(
                by_certificate
                    .user(&token(name, &claims(), sign), NOW)
                    .is_some()
            );
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        for pem in [
            "key",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            let uaa = config::Uaa {
                urls: Vec::new(),
                symmetric_key: None,
                public_key: Some(pem.to_owned()),
            };
            assert!(Tokens::new(&uaa).is_err(), "{pem}");
        }
    }

    /// What ring cannot make.
    fn rsa_key() -> String {
        let output = std::process::Command::new("openssl")
            .args([
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "openssl: {}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }
}
