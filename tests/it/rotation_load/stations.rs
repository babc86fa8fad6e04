//! Providers, each of one class, with the manifests of the Integration and the Credential that use it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::clients::Authority;
use crate::support::provider::{Provider, Seen, answer};
use crate::support::simulator::{Kind, Served, Settings, Simulator};

/// How a provider replaces what it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// We choose, and the one before is accepted as well.
    Accepted,
    /// We choose, and the one before is refused at once.
    Overwritten,
    /// The provider adds, and takes away when told to.
    Added,
    /// Tokens by a key of ours, which the provider reads where we publish it.
    Token,
    /// Client certificates of an authority that the provider trusts.
    Certificate,
}

impl Class {
    pub const ALL: [Self; 5] = [
        Self::Accepted,
        Self::Overwritten,
        Self::Added,
        Self::Token,
        Self::Certificate,
    ];
}

enum Side {
    Simulated(Simulator, Served),
    Scripted(Provider),
}

/// A provider, and who uses it.
pub struct Station {
    pub class: Class,
    pub name: String,
    side: Side,
    authority: Option<Authority>,
    refused: Arc<AtomicUsize>,
    issued: PathBuf,
}

/// What authorises the calls that make keys.
pub fn admin() -> Value {
    list(vec![
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Credential",
            "metadata": {"name": "admin", "namespace": "load"},
            "spec": {"allowedHosts": ["127.0.0.1"], "bearer": {"secretRef": {"name": "admin", "key": "token"}}},
        }),
        secret("admin", json!({"token": "admin-of-all"})),
    ])
}

fn secret(name: &str, values: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "load"}, "stringData": values})
}

fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

impl Station {
    /// Starts the provider. What is issued will be in `state`.
    pub async fn open(class: Class, number: usize, state: &Path) -> Self {
        let name = format!("{class:?}-{number}").to_lowercase();
        let issued = state.join(format!("load.{name}-issued.secret.json"));
        let refused: Arc<AtomicUsize> = Arc::default();
        let authority = (class == Class::Certificate).then(Authority::new);
        let side = match class {
            Class::Accepted | Class::Overwritten | Class::Added => {
                let simulator = Simulator::new(Settings {
                    admin: "admin-of-all".into(),
                    live_secrets: if class == Class::Accepted { 2 } else { 1 },
                    ..Settings::default()
                });
                let served = simulator.serve().await;
                Side::Simulated(simulator, served)
            }
            Class::Token => {
                let (published, refused) = (issued.clone(), refused.clone());
                Side::Scripted(
                    Provider::start(move |seen| {
                        let verified = verifies(&seen, &published);
                        refused.fetch_add(usize::from(verified.is_none()), Ordering::SeqCst);
                        async move { answer(if verified.is_some() { 200 } else { 401 }, "") }
                    })
                    .await,
                )
            }
            Class::Certificate => {
                let authority = authority.as_ref().unwrap();
                Side::Scripted(Provider::start_mutual(false, authority, |_| async { answer(200, "") }).await)
            }
        };
        Self {
            class,
            name,
            side,
            authority,
            refused,
            issued,
        }
    }

    pub fn file(&self) -> String {
        format!("{}.json", self.name)
    }

    pub fn host(&self) -> String {
        format!("{}.load", self.name)
    }

    fn url(&self, path: &str) -> String {
        match &self.side {
            Side::Simulated(_, served) => format!("http://{}{path}", served.address),
            Side::Scripted(provider) => provider.url(path),
        }
    }

    /// The manifests, with the annotation that asks for this rotation; 0 asks for none.
    pub fn manifests(&self, round: usize) -> String {
        let (name, class) = (&self.name, self.class);
        let mut spec = match class {
            Class::Accepted | Class::Overwritten => json!({
                "apiKey": {"in": "Header", "name": "x-api-key"},
                "rotation": {"overlap": "0s", "steps": {
                    "create": {"generate": {"length": 24, "encoding": "Alphanumeric"}},
                    "set": {
                        "request": {
                            "method": "PUT", "url": self.url("/secret"),
                            "headers": {"Content-Type": "application/json"}, "body": r#"{"value": "{{ value }}"}"#,
                        },
                        "credentialRef": {"name": "admin"},
                    },
                }},
            }),
            Class::Added => json!({
                "apiKey": {"in": "Header", "name": "x-api-key"},
                "rotation": {"overlap": "0s", "steps": {
                    "create": {
                        "request": {
                            "method": "POST", "url": self.url("/keys"),
                            "headers": {"Content-Type": "application/json"}, "body": r#"{"label": "{{ attempt.id }}"}"#,
                        },
                        "credentialRef": {"name": "admin"},
                        "extract": {"value": ".key", "id": ".id"},
                    },
                    "revoke": {
                        "request": {"method": "DELETE", "url": self.url("/keys/{{ previous.id }}")},
                        "credentialRef": {"name": "admin"},
                    },
                }},
            }),
            Class::Token => json!({
                "jwt": {"algorithm": "ES256", "generate": {"overlap": "0s"}, "issuer": "load", "lifetime": "1h"},
            }),
            Class::Certificate => json!({
                "certificate": {"issue": {"caSecretRef": {"name": format!("{name}-ca")}, "commonName": "load"}},
            }),
        };
        spec["allowedHosts"] = json!(["127.0.0.1"]);
        let mut metadata = json!({"name": name, "namespace": "load"});
        if round > 0 {
            metadata["annotations"] = json!({"tidegate.dev/rotate": round.to_string()});
        }
        let mut integration = json!({
            "endpoints": [{"name": "primary", "url": self.url("")}],
            "credentialRefs": [{"name": name}],
            "retries": {"limit": 0},
        });
        let mut items = Vec::new();
        if let (Side::Scripted(provider), Some(authority)) = (&self.side, &self.authority) {
            let (certificate, key) = authority.pem();
            items.push(secret(
                &format!("{name}-ca"),
                json!({"tls.crt": certificate, "tls.key": key}),
            ));
            items.push(secret(&format!("{name}-roots"), json!({"ca.crt": provider.ca_pem})));
            let reference = json!({"kind": "Secret", "name": format!("{name}-roots"), "key": "ca.crt"});
            integration["tls"] = json!({"caRef": reference, "serverName": "provider.test"});
        }
        items.push(json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Credential", "metadata": metadata, "spec": spec,
        }));
        items.push(json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Integration",
            "metadata": {"name": name, "namespace": "load"}, "spec": integration,
        }));
        list(items).to_string()
    }

    /// Calls that the provider refused.
    pub fn refusals(&self) -> usize {
        match &self.side {
            Side::Simulated(simulator, _) => {
                simulator.read(|ledger| ledger.uses.iter().filter(|(.., accepted)| !accepted).count())
            }
            Side::Scripted(_) => self.refused.load(Ordering::SeqCst),
        }
    }

    /// Another value was used for each rotation, and no more are left than there may be.
    pub fn check(&self, rounds: usize) {
        match &self.side {
            Side::Simulated(simulator, _) => {
                let kind = if self.class == Class::Added {
                    Kind::Key
                } else {
                    Kind::Secret
                };
                let made = simulator.read(|ledger| ledger.mints().filter(|it| it.kind == kind).count());
                assert_eq!(made, rounds + 1, "{}", self.name);
                assert!(simulator.live().len() <= 2, "{}: {:?}", self.name, simulator.live());
                let values: BTreeSet<_> = simulator.read(|ledger| ledger.uses.iter().map(|it| it.1.clone()).collect());
                // A value may be replaced before any call has used it.
                assert!(
                    (2..=rounds + 1).contains(&values.len()),
                    "{}: {}",
                    self.name,
                    values.len()
                );
            }
            Side::Scripted(provider) => {
                let shown: BTreeSet<Vec<u8>> = provider.seen().iter().map(Self::shown).collect();
                assert!(
                    (2..=rounds + 1).contains(&shown.len()),
                    "{}: {}",
                    self.name,
                    shown.len()
                );
            }
        }
    }

    fn shown(seen: &Seen) -> Vec<u8> {
        match &seen.certificate {
            Some(leaf) => leaf.clone(),
            None => seen.header("authorization").unwrap().as_bytes().to_vec(),
        }
    }

    /// Everything secret that it gave or was given.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = match &self.side {
            Side::Simulated(simulator, _) => {
                simulator.read(|ledger| ledger.issued.iter().map(|it| it.value.clone()).collect::<Vec<_>>())
            }
            Side::Scripted(provider) if self.class == Class::Token => {
                let tokens = provider
                    .seen()
                    .into_iter()
                    .map(|seen| seen.header("authorization").unwrap()[7..].to_owned());
                tokens.collect::<BTreeSet<_>>().into_iter().collect()
            }
            Side::Scripted(_) => Vec::new(),
        };
        if let Some(authority) = &self.authority {
            secrets.push(authority.pem().1.lines().nth(1).unwrap().to_owned());
        }
        if let Some(key) = stored(&self.issued, "tls.key") {
            secrets.push(key.lines().nth(1).unwrap().to_owned());
        }
        if let Some(keys) = stored(&self.issued, "keys.json") {
            let keys: Value = serde_json::from_str(&keys).unwrap();
            let private = keys["keys"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|key| key["private"].as_str());
            secrets.extend(private.map(|pem| pem.lines().nth(1).unwrap_or(pem).to_owned()));
        }
        secrets
    }
}

/// A value of an issued Secret in the state directory.
pub fn stored(path: &Path, key: &str) -> Option<String> {
    let secret: Value = serde_json::from_slice(&std::fs::read(path).ok()?).unwrap();
    let bytes = STANDARD.decode(secret["data"][key].as_str()?).unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

/// Whether the token of a request verifies with a key that is published now (RFC 7515, ES256), and has not expired.
fn verifies(seen: &Seen, published: &Path) -> Option<()> {
    let token = seen.header("authorization")?.strip_prefix("Bearer ")?;
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let part = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let header: Value = serde_json::from_slice(&part(header)?).ok()?;
    let claims: Value = serde_json::from_slice(&part(payload)?).ok()?;
    if header["alg"] != "ES256" || claims["exp"].as_i64()? <= jiff::Timestamp::now().as_second() {
        return None;
    }
    let set: Value = serde_json::from_str(&stored(published, "jwks.json")?).ok()?;
    let key = set["keys"].as_array()?.iter().find(|key| key["kid"] == header["kid"])?;
    let point = [vec![4], part(key["x"].as_str()?)?, part(key["y"].as_str()?)?].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(signed.as_bytes(), &part(signature)?).ok()
}
