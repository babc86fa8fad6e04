//! A verifier that shares no code with what signs: openssl, given nothing but a JWK set and a token.

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Whether `token` verifies with the key of `jwks` that its header names.
pub fn verifies(jwks: &Value, token: &str) -> bool {
    let mut parts = token.split('.');
    let header: Value = serde_json::from_slice(&bytes(parts.next().unwrap())).unwrap();
    let named = |jwk: &&Value| jwk["kid"] == header["kid"] && jwk["alg"] == header["alg"];
    let Some(jwk) = jwks["keys"].as_array().unwrap().iter().find(named) else {
        return false;
    };
    let (message, signature) = token.rsplit_once('.').unwrap();
    verifies_with(&public_der(jwk), message, &encoded(jwk, &bytes(signature)))
}

/// The tag of `message` by HMAC with SHA-256.
pub fn tag(key: &str, message: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("message");
    std::fs::write(&file, message).unwrap();
    let output = Command::new("openssl")
        .args(["dgst", "-sha256", "-mac", "HMAC", "-binary", "-macopt"])
        .arg(format!("hexkey:{}", crate::provider::generated::hex(key.as_bytes())))
        .arg(&file)
        .output()
        .unwrap();
    URL_SAFE_NO_PAD.encode(output.stdout)
}

/// Whether openssl reads `pem` as a private key.
pub fn reads_private_key(pem: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.pem");
    std::fs::write(&file, pem).unwrap();
    succeeds(Command::new("openssl").args(["pkey", "-noout", "-in"]).arg(&file))
}

fn verifies_with(key: &[u8], message: &str, signature: &[u8]) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let verify = |digest: &[&str], [key, message, signature]: [&Path; 3]| {
        succeeds(
            Command::new("openssl")
                .args(["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin"])
                .args(digest)
                .arg("-inkey")
                .arg(key)
                .arg("-in")
                .arg(message)
                .arg("-sigfile")
                .arg(signature),
        )
    };
    // Ed25519 has its hash in it, and is told by its short key.
    let digest: &[&str] = if key.len() == 44 { &[] } else { &["-digest", "sha256"] };
    let (key, message, signature) = (
        write("key", key),
        write("message", message.as_bytes()),
        write("signature", signature),
    );
    verify(digest, [&key, &message, &signature])
}

fn succeeds(command: &mut Command) -> bool {
    command.output().expect("openssl is there").status.success()
}

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn member(jwk: &Value, name: &str) -> Vec<u8> {
    bytes(jwk[name].as_str().unwrap())
}

/// SubjectPublicKeyInfo (RFC 5280, 4.1.2.7).
fn public_der(jwk: &Value) -> Vec<u8> {
    let (algorithm, key) = match jwk["kty"].as_str().unwrap() {
        "RSA" => (
            [&oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1])[..], &[5, 0]].concat(),
            sequence(&[integer(&member(jwk, "n")), integer(&member(jwk, "e"))].concat()),
        ),
        "EC" => (
            [
                oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]),
                oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]),
            ]
            .concat(),
            [vec![4], member(jwk, "x"), member(jwk, "y")].concat(),
        ),
        _ => (oid(&[0x2b, 0x65, 0x70]), member(jwk, "x")),
    };
    let key = element(3, &[vec![0], key].concat());
    sequence(&[sequence(&algorithm), key].concat())
}

/// A signature as openssl takes it: that of ECDSA is two numbers in DER.
fn encoded(jwk: &Value, signature: &[u8]) -> Vec<u8> {
    if jwk["kty"] != "EC" {
        return signature.to_vec();
    }
    let (r, s) = signature.split_at(signature.len() / 2);
    sequence(&[integer(r), integer(s)].concat())
}

fn oid(content: &[u8]) -> Vec<u8> {
    element(6, content)
}

fn sequence(content: &[u8]) -> Vec<u8> {
    element(0x30, content)
}

fn integer(number: &[u8]) -> Vec<u8> {
    let mut number: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
    if number.first().is_none_or(|byte| *byte >= 128) {
        number.insert(0, 0);
    }
    element(2, &number)
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let length = match content.len() {
        0..=127 => vec![low],
        128..=255 => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [vec![tag], length, content.to_vec()].concat()
}
