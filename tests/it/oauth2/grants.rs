//! Tokens of an identity provider that somebody else wrote: it knows every one that is issued as what was asked for.

use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
};

use super::issuer::{Issuer, public};
use super::*;

const RESOURCE: &str = "https://api.example.com/";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// With everything in it that has to be encoded.
const SECRET: &str = "p:w d%+&=~\"?/";

fn key_ref(key: &str) -> Value {
    json!({ "name": "s", "key": key })
}

/// `oauth2` of client `id` at `issuer`, found by discovery, with `more`.
fn spec(issuer: &Issuer, grant: &str, id: &str, more: &Value) -> Value {
    let mut spec = json!({ "grant": grant, "issuerURL": issuer.url, "clientID": id });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn client(id: &str, authentication: &str, grant: &str, more: &Value) -> Value {
    let mut client = json!({
        "client_id": id, "token_endpoint_auth_method": authentication, "grant_types": [grant],
    });
    client
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    client
}

fn refusal(error: &IssueError) -> &str {
    match error {
        IssueError::Refused { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_gets_a_token_by_its_secret_however_it_is_sent() {
    let grant = "client_credentials";
    let secret = json!({ "client_secret": SECRET });
    let Some(issuer) = Issuer::with(&[
        client("b:1 %", "client_secret_basic", grant, &secret),
        client("p:1 %", "client_secret_post", grant, &secret),
    ])
    .await
    else {
        return;
    };
    for (id, authentication) in [("b:1 %", "Basic"), ("p:1 %", "Post")] {
        let asked = json!({
            "clientAuthentication": authentication, "clientSecretRef": key_ref("k"), "scopes": ["read", "write"],
            "resource": RESOURCE,
        });
        let asked = spec(&issuer, "ClientCredentials", id, &asked);
        let before = Timestamp::now();
        let minted = Life::of(&asked, &[("k", SECRET)]).issue(&network()).await.unwrap();
        let known = issuer.known(&minted.values["token"]).await;
        assert_eq!(known["clientId"], id);
        assert_eq!(known["scope"], "read write");
        assert_eq!(known["aud"], RESOURCE);
        let lifetime = minted.not_after.unwrap().duration_since(minted.issued);
        assert_eq!(lifetime.as_secs(), 300);
        assert!(before <= minted.issued && minted.issued <= Timestamp::now());

        let error = Life::of(&asked, &[("k", "another")])
            .issue(&network())
            .await
            .unwrap_err();
        assert!(refusal(&error).contains("`invalid_client` (401)"), "{error}");
    }
    let asked = json!({ "clientSecretRef": key_ref("k"), "scopes": ["admin"] });
    let asked = spec(&issuer, "ClientCredentials", "b:1 %", &asked);
    let error = Life::of(&asked, &[("k", SECRET)]).issue(&network()).await.unwrap_err();
    assert!(refusal(&error).contains("`invalid_scope` (400)"), "{error}");
}

#[tokio::test]
async fn a_client_gets_a_token_by_its_key_of_any_type() {
    let keys: Vec<_> = [
        ("RS256", &PKCS_RSA_SHA256),
        ("ES256", &PKCS_ECDSA_P256_SHA256),
        ("ES384", &PKCS_ECDSA_P384_SHA384),
        ("ES512", &PKCS_ECDSA_P521_SHA512),
        ("EdDSA", &PKCS_ED25519),
    ]
    .into_iter()
    .map(|(name, kind)| (name, KeyPair::generate_for(kind).unwrap()))
    .collect();
    let clients: Vec<_> = keys
        .iter()
        .map(|(name, key)| {
            let keys = json!({ "publicKeys": [public(key)] });
            client(name, "private_key_jwt", "client_credentials", &keys)
        })
        .collect();
    let Some(issuer) = Issuer::with(&clients).await else {
        return;
    };
    let other = KeyPair::generate().unwrap().serialize_pem();
    for (name, key) in &keys {
        let asked = json!({ "clientAuthentication": "PrivateKeyJWT", "clientKeyRef": key_ref("k") });
        let asked = spec(&issuer, "ClientCredentials", name, &asked);
        let mut life = Life::of(&asked, &[("k", &key.serialize_pem())]);
        let minted = life.issue(&network()).await.unwrap();
        assert_eq!(issuer.known(&minted.values["token"]).await["clientId"], *name);
        // Each assertion is another one: the provider takes none twice.
        life.issue(&network()).await.unwrap();
        life.attempts = 0;
        let error = life.issue(&network()).await.unwrap_err();
        assert!(refusal(&error).contains("`invalid_client`"), "{error}");

        let error = Life::of(&asked, &[("k", &other)]).issue(&network()).await.unwrap_err();
        assert!(refusal(&error).contains("`invalid_client`"), "{error}");
    }
}

#[tokio::test]
async fn a_client_gets_a_token_by_its_certificate() {
    let self_signed = || {
        let key = KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let (certificate, key) = self_signed();
    let shown = json!({ "certificates": [certificate] });
    let Some(issuer) = Issuer::with(&[client("t", "self_signed_tls_client_auth", "client_credentials", &shown)]).await
    else {
        return;
    };
    let asked = json!({
        "clientAuthentication": "TLS", "clientCertificateRef": { "name": "s" },
        "tls": { "caRef": { "kind": "Secret", "name": "s", "key": "ca" } },
    });
    let asked = spec(&issuer, "ClientCredentials", "t", &asked);
    let secret = |certificate: &str, key: &str| {
        Life::of(
            &asked,
            &[("tls.crt", certificate), ("tls.key", key), ("ca", &issuer.ca_pem)],
        )
    };
    // Discovery names another endpoint for those who have a certificate, and it speaks TLS.
    let minted = secret(&certificate, &key).issue(&network()).await.unwrap();
    assert_eq!(issuer.known(&minted.values["token"]).await["clientId"], "t");

    let (certificate, key) = self_signed();
    let error = secret(&certificate, &key).issue(&network()).await.unwrap_err();
    assert!(refusal(&error).contains("`invalid_client`"), "{error}");
}

#[tokio::test]
async fn a_refresh_token_is_used_once_and_one_used_twice_needs_a_person() {
    let both = json!({ "client_secret": SECRET, "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": ["https://app.example/"], "response_types": ["code"] });
    let Some(issuer) = Issuer::with(&[client("r", "client_secret_basic", "refresh_token", &both)]).await else {
        return;
    };
    let (seed, grant) = issuer.consented("r").await;
    let asked = json!({ "clientSecretRef": key_ref("k"), "refreshTokenRef": key_ref("r") });
    let asked = spec(&issuer, "RefreshToken", "r", &asked);
    let secret = [("k", SECRET), ("r", seed.as_str())];
    let mut life = Life::of(&asked, &secret);
    let mut used = vec![seed.clone()];
    for _ in 0..3 {
        let minted = life.issue(&network()).await.unwrap();
        let known = issuer.known(&minted.values["token"]).await;
        assert_eq!(
            (known["clientId"].as_str(), known["accountId"].as_str()),
            (Some("r"), Some("someone"))
        );
        let next = minted.values["refresh_token"].expose().to_owned();
        assert!(!used.contains(&next), "the provider gives another one each time");
        used.push(next);
    }
    let last = life.current.as_ref().unwrap().1["token"].clone();

    // Whoever lost what was issued begins with the first one again, which is used up.
    let error = Life::of(&asked, &secret).issue(&network()).await.unwrap_err();
    assert!(matches!(error, IssueError::Reauthorize { .. }), "{error:?}");
    assert!(error.to_string().contains("`spec.oauth2.refreshTokenRef`"), "{error}");
    // The provider takes that for theft: all that came of the grant is gone.
    assert!(!issuer.stands(&grant).await);
    assert_eq!(issuer.known(&last).await, Value::Null);
    let error = life.issue(&network()).await.unwrap_err();
    assert!(matches!(error, IssueError::Reauthorize { .. }), "{error:?}");

    // A person authorises anew, and the new token is put into the Secret.
    let (fresh, grant) = issuer.consented("r").await;
    let values = life.sources.secrets.get_mut("s").unwrap().as_mut().unwrap();
    values.insert("r".to_owned(), Some(SecretValue::new(fresh)));
    life.current.as_mut().unwrap().0.sources = "before".to_owned();
    life.issue(&network()).await.unwrap();
    assert!(issuer.stands(&grant).await);
}

#[tokio::test]
async fn an_assertion_and_a_token_are_exchanged_for_a_token() {
    let key = KeyPair::generate().unwrap();
    let signing = json!({ "client_secret": SECRET, "publicKeys": [public(&key)] });
    let exchanging = json!({ "client_secret": SECRET, "grant_types": ["client_credentials", TOKEN_EXCHANGE] });
    let Some(issuer) = Issuer::with(&[
        client("a", "client_secret_post", JWT_BEARER, &signing),
        client("x", "client_secret_basic", TOKEN_EXCHANGE, &exchanging),
    ])
    .await
    else {
        return;
    };
    let asserted = |parameters: &Value| {
        let asked = json!({
            "clientAuthentication": "Post", "clientSecretRef": key_ref("k"), "clientKeyRef": key_ref("key"),
            "scopes": ["read"], "parameters": parameters,
        });
        Life::of(
            &spec(&issuer, "JWTBearer", "a", &asked),
            &[("k", SECRET), ("key", &key.serialize_pem())],
        )
    };
    for (parameters, subject) in [
        (json!({}), "a"),
        (json!({ "sub": "someone@example.com" }), "someone@example.com"),
    ] {
        // The provider takes no assertion twice, so the second life begins where the first has ended.
        let mut life = asserted(&parameters);
        life.attempts = u32::try_from(subject.len()).unwrap();
        let minted = life.issue(&network()).await.unwrap();
        let known = issuer.known(&minted.values["token"]).await;
        assert_eq!(
            (known["clientId"].as_str(), known["subject"].as_str()),
            (Some("a"), Some(subject))
        );
        life.attempts -= 1;
        let error = life.issue(&network()).await.unwrap_err();
        assert!(refusal(&error).contains("`invalid_grant` (400)"), "{error}");
    }

    let foreign = json!({ "clientAuthentication": "Post", "clientSecretRef": key_ref("k") });
    let foreign = spec(&issuer, "ClientCredentials", "a", &foreign);
    let error = Life::of(&foreign, &[("k", SECRET)])
        .issue(&network())
        .await
        .unwrap_err();
    assert!(refusal(&error).contains("`invalid_request` (400)"), "{error}");

    let own = json!({ "clientSecretRef": key_ref("k") });
    let own = spec(&issuer, "ClientCredentials", "x", &own);
    let subject = Life::of(&own, &[("k", SECRET)]).issue(&network()).await.unwrap();
    let subject = subject.values["token"].expose();
    let exchanged =
        json!({ "clientSecretRef": key_ref("k"), "subjectTokenRef": key_ref("t"), "audience": "downstream" });
    let exchanged = spec(&issuer, "TokenExchange", "x", &exchanged);
    let mut life = Life::of(&exchanged, &[("k", SECRET), ("t", &format!("{subject}\n"))]);
    let minted = life.issue(&network()).await.unwrap();
    let known = issuer.known(&minted.values["token"]).await;
    assert_eq!(
        (known["audience"].as_str(), known["subject"].as_str()),
        (Some("downstream"), Some("x"))
    );
    let error = Life::of(&exchanged, &[("k", SECRET), ("t", "unknown")])
        .issue(&network())
        .await
        .unwrap_err();
    assert!(refusal(&error).contains("`invalid_grant` (400)"), "{error}");
}

#[tokio::test]
async fn an_issuer_is_who_it_says_letter_by_letter() {
    let secret = json!({ "client_secret": SECRET });
    let Some(issuer) = Issuer::with(&[client("b", "client_secret_basic", "client_credentials", &secret)]).await else {
        return;
    };
    let port = issuer.url.rsplit_once(':').unwrap().1;
    let asked = |place: &str, url: String| {
        let mut asked = json!({ "grant": "ClientCredentials", "clientID": "b", "clientSecretRef": key_ref("k") });
        asked[place] = json!(url);
        Life::of(&asked, &[("k", SECRET)])
    };
    asked("tokenURL", format!("{}/token", issuer.url))
        .issue(&network())
        .await
        .unwrap();
    asked("issuerURL", issuer.url.clone()).issue(&network()).await.unwrap();
    for (other, said) in [
        (format!("{}/", issuer.url), "another issuer"),
        (format!("http://localhost:{port}"), "another issuer"),
        (format!("{}/realms/a", issuer.url), "status 404"),
    ] {
        let error = asked("issuerURL", other.clone()).issue(&network()).await.unwrap_err();
        assert!(matches!(error, IssueError::NotSent { .. }), "{other}: {error:?}");
        assert!(error.to_string().contains(said), "{other}: {error}");
    }
    let error = asked("tokenURL", format!("{}/elsewhere", issuer.url))
        .issue(&network())
        .await
        .unwrap_err();
    assert!(
        refusal(&error).contains("check that the URL is that of a token endpoint"),
        "{error}"
    );
}
