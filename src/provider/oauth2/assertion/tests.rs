//! Assertions as a server verifies them.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    PublicKeyData, SignatureAlgorithm,
};
use serde_json::{Value, json};
use x509_parser::asn1_rs::{Any, FromBer};

use super::*;

type Kind = (
    &'static str,
    &'static SignatureAlgorithm,
    &'static dyn VerificationAlgorithm,
);

fn kinds() -> [Kind; 5] {
    [
        ("RS256", &PKCS_RSA_SHA256, &RSA_PKCS1_2048_8192_SHA256),
        ("ES256", &PKCS_ECDSA_P256_SHA256, &ECDSA_P256_SHA256_FIXED),
        ("ES384", &PKCS_ECDSA_P384_SHA384, &ECDSA_P384_SHA384_FIXED),
        ("ES512", &PKCS_ECDSA_P521_SHA512, &ECDSA_P521_SHA512_FIXED),
        ("EdDSA", &PKCS_ED25519, &ED25519),
    ]
}

fn claims() -> Claims<'static> {
    Claims::at(
        Timestamp::from_second(1_700_000_000).unwrap(),
        "me",
        "her",
        "https://idp.example/token",
        "1.1",
    )
}

fn verify(pem: &str, public: &[u8], name: &str, algorithm: &'static dyn VerificationAlgorithm) {
    let signer = Signer::from_pem(&SecretValue::new(pem)).unwrap_or_else(|| panic!("{name} is not taken"));
    let token = signer.sign(&claims()).unwrap();
    let parts: Vec<_> = token.expose().split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("not three parts")
    };
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let read = |part: &str| serde_json::from_slice::<Value>(&decoded(part)).unwrap();
    assert_eq!(read(header), json!({ "alg": name, "typ": "JWT" }));
    assert_eq!(
        read(payload),
        json!({
            "iss": "me", "sub": "her", "aud": "https://idp.example/token", "iat": 1_700_000_000, "exp": 1_700_000_300,
            "jti": "1.1",
        })
    );
    let public = UnparsedPublicKey::new(algorithm, public);
    let signed = format!("{header}.{payload}");
    public.verify(signed.as_bytes(), &decoded(signature)).unwrap();
    let other = format!("{header}.{payload}x");
    assert!(public.verify(other.as_bytes(), &decoded(signature)).is_err());
}

/// The private key within PKCS#8 (RFC 5208, 5): what stands after the version and the algorithm.
fn inner(pkcs8: &[u8]) -> &[u8] {
    let (_, outer) = Any::from_ber(pkcs8).unwrap();
    let (rest, _) = Any::from_ber(outer.data).unwrap();
    let (rest, _) = Any::from_ber(rest).unwrap();
    let (_, key) = Any::from_ber(rest).unwrap();
    key.data
}

fn armoured(label: &str, der: &[u8]) -> String {
    let lines: Vec<_> = STANDARD
        .encode(der)
        .into_bytes()
        .chunks(64)
        .map(<[u8]>::to_vec)
        .collect();
    let lines: Vec<_> = lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[test]
fn a_key_of_every_type_signs_by_its_own_algorithm() {
    for (name, kind, verification) in kinds() {
        let key = KeyPair::generate_for(kind).unwrap();
        verify(&key.serialize_pem(), key.der_bytes(), name, verification);
    }
}

#[test]
fn the_older_forms_of_a_key_are_taken_too() {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let pem = armoured("RSA PRIVATE KEY", inner(key.serialized_der()));
    verify(&pem, key.der_bytes(), "RS256", &RSA_PKCS1_2048_8192_SHA256);

    // SEC1 names the curve itself, which the key within PKCS#8 leaves to what is around it.
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let secret = &inner(key.serialized_der())[7..39];
    let public = key.der_bytes();
    let sec1 = [
        &[0x30, 0x77, 2, 1, 1, 4, 0x20][..],
        secret,
        &[
            0xa0, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 0xa1, 0x44, 3, 0x42, 0,
        ],
        public,
    ]
    .concat();
    verify(
        &armoured("EC PRIVATE KEY", &sec1),
        public,
        "ES256",
        &ECDSA_P256_SHA256_FIXED,
    );
    // The parameters that some programs write before the key.
    let pem = armoured("EC PARAMETERS", &sec1[41..51]) + &armoured("EC PRIVATE KEY", &sec1);
    verify(&pem, public, "ES256", &ECDSA_P256_SHA256_FIXED);
}

#[test]
fn what_is_no_key_is_not_taken_and_a_key_is_not_printed() {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let pem = key.serialize_pem();
    for text in [
        "",
        "hush",
        &pem.replace("PRIVATE", "PUBLIC"),
        &armoured("PRIVATE KEY", b"hush"),
        &armoured("RSA PRIVATE KEY", inner(key.serialized_der())),
        &pem[..pem.len() - 30],
    ] {
        assert!(Signer::from_pem(&SecretValue::new(text)).is_none(), "{text}");
    }
    let signer = Signer::from_pem(&SecretValue::new(pem)).unwrap();
    assert_eq!(format!("{signer:?}"), r#"Signer("EdDSA")"#);
}
