use super::*;

fn read(algorithm: JwtAlgorithm, pem: &str) -> Result<SigningKey, UnfitKey> {
    SigningKey::read(algorithm, &SecretValue::new(pem))
}

fn signature(key: &SigningKey, message: &str) -> String {
    URL_SAFE_NO_PAD.encode(key.pair().sign(message.as_bytes()).unwrap())
}

const RSA: &str = include_str!("../vectors/rfc7515-a2-rsa.pem");
const RSA_PKCS8: &str = include_str!("../vectors/rfc7515-a2-rsa-pkcs8.pem");
const RSA_OF_THUMBPRINT: &str = include_str!("../vectors/rfc7517-a2-rsa.pem");
const RSA_1024: &str = include_str!("../vectors/rsa-1024.pem");
const EC: &str = include_str!("../vectors/rfc7515-a3-ec.pem");
const P384: &str = include_str!("../vectors/ec-p384.pem");
const ED: &str = include_str!("../vectors/rfc8037-a1-ed25519.pem");
const ENCRYPTED: &str = include_str!("../vectors/encrypted.pem");

#[test]
fn rsa_signs_as_rfc_7515_a_2_says() {
    let message = "eyJhbGciOiJSUzI1NiJ9.\
                   eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    for pem in [RSA, RSA_PKCS8] {
        let key = read(JwtAlgorithm::RS256, pem).unwrap();
        assert_eq!(
            signature(&key, message),
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9C\
             UAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6\
             _dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp\
             0igcN_IoypGlUPQGe77Rw"
        );
    }
}

#[test]
fn ed25519_signs_as_rfc_8037_a_4_says() {
    let key = read(JwtAlgorithm::EdDSA, ED).unwrap();
    assert_eq!(
        signature(&key, "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"),
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

#[test]
fn thumbprints_are_those_of_rfc_7638_and_rfc_8037() {
    for (algorithm, pem, thumbprint) in [
        (
            JwtAlgorithm::RS256,
            RSA_OF_THUMBPRINT,
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        ),
        (JwtAlgorithm::EdDSA, ED, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ] {
        let key = read(algorithm, pem).unwrap();
        assert_eq!(key.thumbprint().as_deref(), Some(thumbprint));
    }
}

#[test]
fn public_members_are_those_of_the_rfcs() {
    let key = read(JwtAlgorithm::ES256, EC).unwrap();
    let members = BTreeMap::from(
        [
            ("kty", "EC"),
            ("crv", "P-256"),
            ("x", "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
            ("y", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    assert_eq!(key.public(), Some(members));
    let key = read(JwtAlgorithm::RS256, RSA).unwrap();
    let public = key.public().unwrap();
    assert_eq!(public["e"], "AQAB");
    assert!(
        public["n"].starts_with("ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0"),
        "{public:?}"
    );
    assert_eq!(public["n"].len(), 342, "no leading zero");
    let key = read(JwtAlgorithm::EdDSA, ED).unwrap();
    assert_eq!(
        key.public().unwrap()["x"],
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    );
}

#[test]
fn key_that_does_not_fit_its_algorithm_is_refused_in_words() {
    let rsa = "be an RSA key of 2048 to 8192 bits for RS256";
    let ec = "be a key on the curve P-256 for ES256";
    let ed = "be an Ed25519 key for EdDSA";
    let no_key = "be a private key in PEM (PKCS#8, PKCS#1 or SEC1)";
    let encrypted = "be a private key without a passphrase; this one is encrypted";
    let short = "have at least 32 bytes for HS256 (RFC 7518, 3.2)";
    let shared = "be the raw bytes of a shared key for HS256, not PEM";
    let truncated = &RSA[..600];
    for (algorithm, text, message) in [
        (JwtAlgorithm::RS256, EC, rsa),
        (JwtAlgorithm::RS256, ED, rsa),
        (JwtAlgorithm::RS256, RSA_1024, rsa),
        (JwtAlgorithm::ES256, RSA, ec),
        (JwtAlgorithm::ES256, RSA_PKCS8, ec),
        (JwtAlgorithm::ES256, P384, ec),
        (JwtAlgorithm::ES256, ED, ec),
        (JwtAlgorithm::EdDSA, EC, ed),
        (JwtAlgorithm::EdDSA, RSA_PKCS8, ed),
        (JwtAlgorithm::ES256, "", no_key),
        (JwtAlgorithm::ES256, "0123456789abcdef0123456789abcdef", no_key),
        (JwtAlgorithm::RS256, truncated, no_key),
        (JwtAlgorithm::ES256, ENCRYPTED, encrypted),
        (JwtAlgorithm::HS256, "0123456789abcdef0123456789abcde\n", short),
        (JwtAlgorithm::HS256, "", short),
        (JwtAlgorithm::HS256, RSA, shared),
    ] {
        let error = read(algorithm, text).unwrap_err();
        assert_eq!(error.to_string(), message, "{algorithm:?}");
    }
}

#[test]
fn shared_key_loses_one_newline_and_no_more() {
    let tag = |text: &str| signature(&read(JwtAlgorithm::HS256, text).unwrap(), "message");
    let plain = "0123456789abcdef0123456789abcdef";
    assert_eq!(tag(plain), tag(&format!("{plain}\n")));
    assert_eq!(tag(plain), tag(&format!("{plain}\r\n")));
    assert_ne!(tag(plain), tag(&format!("{plain}\n\n")));
}

#[test]
fn made_keys_are_read_back_and_all_different() {
    for algorithm in [
        JwtAlgorithm::RS256,
        JwtAlgorithm::ES256,
        JwtAlgorithm::EdDSA,
        JwtAlgorithm::HS256,
    ] {
        let mut next = 0;
        let mut fill = |buffer: &mut [u8]| {
            next += 1;
            buffer.fill(next);
        };
        let mut thumbprint = || {
            let text = SigningKey::make(algorithm, &mut fill).unwrap();
            SigningKey::read(algorithm, &text).unwrap().thumbprint().unwrap()
        };
        assert_ne!(thumbprint(), thumbprint(), "{algorithm:?}");
    }
}

#[test]
fn shared_key_has_no_public_half() {
    let key = read(JwtAlgorithm::HS256, "0123456789abcdef0123456789abcdef").unwrap();
    assert_eq!(key.public(), None);
}

#[test]
fn debug_shows_nothing_of_a_key() {
    let key = read(JwtAlgorithm::HS256, "canary-canary-canary-canary-canary").unwrap();
    assert_eq!(format!("{key:?}"), "SigningKey { algorithm: HS256, .. }");
}
