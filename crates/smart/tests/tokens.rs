//! Tokens signed here with keys made here, and all that is wrong with others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RsaKeyPair,
};
use serde_json::{Value, json};
use smart::{Algorithm, Claims, Expected, KeySet, KeySetError, TokenProblem, UnverifiedToken};

const NOW: i64 = 1_790_000_000;
const ALL: [Algorithm; 5] =
    [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];

/// A key that signs.
enum Signer {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    /// ring makes no keys of RSA.
    fn rsa() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key.der");
        let made = std::process::Command::new("openssl")
            .args(["genpkey", "-algorithm", "RSA", "-outform", "DER"])
            .args(["-pkeyopt", "rsa_keygen_bits:2048"])
            .arg("-out")
            .arg(&path)
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "{made:?}");
        let der = std::fs::read(path).expect("a key");
        Self::Rsa(
            RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der)).expect("a key"),
        )
    }

    fn p256() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random);
        Self::P256(pair.expect("a key"))
    }

    fn p384() -> Self {
        let (algorithm, random) = (&ECDSA_P384_SHA384_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random);
        Self::P384(pair.expect("a key"))
    }

    fn ed25519() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key"))
    }

    fn jwk(&self, id: &str) -> Value {
        let mut key = match self {
            Self::Rsa(pair) => {
                let public =
                    ring::signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": b64(public.n), "e": b64(public.e)})
            }
            Self::P256(pair) | Self::P384(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
            }
            Self::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key())})
            }
        };
        key["kid"] = json!(id);
        key
    }

    fn sign(&self, algorithm: &str, text: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    _ => &RSA_PKCS1_SHA256,
                };
                pair.sign(padding, &random, text.as_bytes(), &mut signature).expect("a signature");
                signature
            }
            Self::P256(pair) | Self::P384(pair) => {
                pair.sign(&random, text.as_bytes()).expect("a signature").as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(text.as_bytes()).as_ref().to_vec(),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let algorithm = header["alg"].as_str().unwrap_or_default();
        format!("{signed}.{}", b64(self.sign(algorithm, &signed)))
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example.org", "aud": ["other", "https://ehr.example.org/fhir"],
        "exp": NOW + 300, "iat": NOW, "azp": "app", "sub": "u-1", "scope": "user/*.rs",
    })
}

fn expected() -> Expected {
    Expected {
        issuer: "https://id.example.org".to_owned(),
        audience: "https://ehr.example.org/fhir".to_owned(),
        leeway: 30,
    }
}

fn key_set(keys: &[Value], accepted: &[Algorithm]) -> Result<KeySet, KeySetError> {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes(), accepted)
}

fn verify(token: &str, keys: &KeySet) -> Result<Claims, TokenProblem> {
    UnverifiedToken::read(token)?.verify(keys, &expected(), NOW)
}

/// One key with all that can be asked of it.
struct Case {
    signer: Signer,
    keys: KeySet,
}

impl Case {
    fn new(signer: Signer) -> Self {
        let keys = key_set(&[signer.jwk("k")], &ALL).expect("a key");
        Self { signer, keys }
    }

    fn check(&self, header: &Value, claims: &Value, problem: TokenProblem) {
        let token = self.signer.token(header, claims);
        assert_eq!(verify(&token, &self.keys), Err(problem), "{header} {claims}");
    }
}

// GW-030
#[test]
fn a_token_of_each_algorithm_is_believed_and_none_of_its_bytes_may_change() {
    for (signer, name) in [
        (Signer::rsa(), "RS256"),
        (Signer::rsa(), "RS384"),
        (Signer::p256(), "ES256"),
        (Signer::p384(), "ES384"),
        (Signer::ed25519(), "EdDSA"),
    ] {
        let mut jwk = signer.jwk("k");
        jwk["alg"] = json!(name);
        let keys = key_set(&[jwk], &ALL).expect("a key");
        let token = signer.token(&json!({"alg": name, "kid": "k", "typ": "at+jwt"}), &claims());
        let believed = verify(&token, &keys).expect(name);
        assert_eq!(believed.text("sub"), Some("u-1"));
        for at in (0..token.len()).step_by(7) {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(verify(&changed, &keys).is_err(), "{name} byte {at}");
        }
    }
}

// GW-030
#[test]
fn what_the_header_says_never_changes_how_a_key_is_used() {
    let case = Case::new(Signer::rsa());
    // Signed with the public key as a shared secret, in each spelling.
    let modulus = case.signer.jwk("k")["n"].as_str().expect("a modulus").to_owned();
    for alg in ["HS256", "HS384", "none", "None", "nOnE", "RS512", "PS256", "ES256K", ""] {
        let header = json!({"alg": alg, "kid": "k"});
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims().to_string()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, modulus.as_bytes());
        let mac = ring::hmac::sign(&key, signed.as_bytes());
        for signature in [b64(mac), String::new()] {
            let token = format!("{signed}.{signature}");
            assert_eq!(verify(&token, &case.keys), Err(TokenProblem::Algorithm), "{alg}");
        }
    }
    // Of its kind, and another than the one it has; of another kind.
    case.check(&json!({"alg": "RS384", "kid": "k"}), &claims(), TokenProblem::Algorithm);
    let curve = Signer::p256();
    let token = curve.token(&json!({"alg": "ES256", "kid": "k"}), &claims());
    assert_eq!(verify(&token, &case.keys), Err(TokenProblem::Algorithm));
}

// GW-030, LEAK-28
#[test]
fn what_is_not_for_here_or_not_for_now_is_refused_by_name() {
    let case = Case::new(Signer::ed25519());
    let header = json!({"alg": "EdDSA", "kid": "k"});
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        claims
    };
    for (name, value, problem) in [
        ("iss", json!("https://id.example.org/"), TokenProblem::Issuer),
        ("iss", json!(["https://id.example.org"]), TokenProblem::Issuer),
        ("aud", json!("https://ehr.example.org/fhir/"), TokenProblem::Audience),
        ("aud", json!([]), TokenProblem::Audience),
        ("aud", Value::Null, TokenProblem::Audience),
        ("exp", json!(NOW - 30), TokenProblem::Expired),
        ("exp", json!("1890000000"), TokenProblem::ExpiryMissing),
        ("exp", Value::Null, TokenProblem::ExpiryMissing),
        ("nbf", json!(NOW + 31), TokenProblem::NotYet),
        ("nbf", json!("soon"), TokenProblem::NotYet),
        ("cnf", json!({"jkt": "x"}), TokenProblem::Bound),
        ("token_type", json!("DPoP"), TokenProblem::Bound),
    ] {
        case.check(&header, &with(name, value), problem);
    }
    for (name, value) in [
        ("exp", json!(NOW - 29)),
        ("exp", json!(1_890_000_000.5)),
        ("nbf", json!(NOW + 30)),
        ("aud", json!("https://ehr.example.org/fhir")),
    ] {
        let token = case.signer.token(&header, &with(name, value));
        assert!(verify(&token, &case.keys).is_ok(), "{name}");
    }
}

#[test]
fn what_is_no_access_token_is_refused() {
    let case = Case::new(Signer::ed25519());
    for (header, problem) in [
        (json!({"alg": "EdDSA", "kid": "other"}), TokenProblem::KeyUnknown),
        (json!({"alg": "EdDSA", "kid": "k", "crit": ["exp"]}), TokenProblem::Critical),
        (json!({"alg": "EdDSA", "kid": "k", "typ": "logout+jwt"}), TokenProblem::Type),
        (json!({"alg": "EdDSA", "kid": "k", "typ": "dpop+jwt"}), TokenProblem::Type),
        (json!({"kid": "k"}), TokenProblem::Malformed),
        (json!({"alg": "EdDSA", "kid": 7}), TokenProblem::Malformed),
    ] {
        case.check(&header, &claims(), problem);
    }
    for text in ["", ".", "..", "a.b", "a.b.c", "e30.e30.", "e30.e30.e30.e30"] {
        assert!(verify(text, &case.keys).is_err(), "{text}");
    }
    let long = format!("{}.e30.e30", "e".repeat(16 * 1024));
    assert_eq!(verify(&long, &case.keys), Err(TokenProblem::Malformed));
}

#[test]
fn a_token_without_a_key_id_takes_the_only_key_of_its_algorithm() {
    let (one, other) = (Signer::p256(), Signer::p256());
    let token = one.token(&json!({"alg": "ES256"}), &claims());
    let alone = key_set(&[one.jwk("a"), Signer::p384().jwk("b")], &ALL).expect("keys");
    assert!(verify(&token, &alone).is_ok());
    let two = key_set(&[one.jwk("a"), other.jwk("b")], &ALL).expect("keys");
    assert_eq!(verify(&token, &two), Err(TokenProblem::KeyUnknown));
}

// GW-030
#[test]
fn keys_that_are_not_for_signatures_accepted_here_are_left_out() {
    let good = Signer::p256();
    let with = |name: &str, value: Value| {
        let mut key = good.jwk("k");
        key[name] = value;
        key
    };
    for bad in [
        json!({"kty": "oct", "k": b64("secret"), "kid": "k", "alg": "HS256"}),
        json!({"kty": "RSA", "n": b64([0xff; 128]), "e": "AQAB", "kid": "k"}),
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("ES384")),
        with("alg", json!("HS256")),
        with("crv", json!("secp256k1")),
        with("x", json!("AA")),
        json!("k"),
    ] {
        let error = key_set(std::slice::from_ref(&bad), &ALL).expect_err("no key");
        assert!(matches!(error, KeySetError::NoKey(1)), "{bad}: {error}");
        let both = key_set(&[bad, good.jwk("good")], &ALL).expect("a key");
        assert_eq!((both.len(), both.left_out()), (1, 1));
    }
    assert!(matches!(key_set(&[good.jwk("k")], &[Algorithm::Rs256]), Err(KeySetError::NoKey(1))));
    let many = vec![good.jwk("k"); 101];
    assert!(matches!(key_set(&many, &ALL), Err(KeySetError::TooMany(101))));
    assert!(matches!(KeySet::parse(b"{}", &ALL), Err(KeySetError::NotJson(_))));
    let long = vec![b' '; smart::LONGEST_KEY_SET + 1];
    assert!(matches!(KeySet::parse(&long, &ALL), Err(KeySetError::TooLong(_))));
}

proptest! {
    #[test]
    fn no_text_is_believed_and_none_panics(text in "[A-Za-z0-9_.-]{0,200}") {
        let keys = key_set(&[Signer::ed25519().jwk("k")], &ALL).expect("a key");
        prop_assert!(verify(&text, &keys).is_err());
    }
}
