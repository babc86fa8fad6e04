//! What the API server takes and refuses, and that `domain::validate` agrees.

use kube::api::{Api, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate::api::bounds;
use tidegate::api::credential::Credential;
use tidegate::api::integration::Integration;
use tidegate::domain::validate::{self, Problem, References, Violation};

use super::kinds::{CERTIFICATE, JWT, KINDS, OAUTH2, STEPS};
use super::odd;
use super::table::{self, Bad, patched};
use crate::support::apiserver::{self, Place};

const INTEGRATION: &str = include_str!("integration.yaml");
const CREDENTIAL: &str = include_str!("credential.yaml");

#[tokio::test]
async fn bad_integrations_are_refused_with_the_field_and_what_is_allowed() {
    let place = apiserver::namespace("bad-integrations").await;
    let found = refusals(&place, INTEGRATION, table::INTEGRATIONS).await;
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test]
async fn bad_credentials_are_refused_with_the_field_and_what_is_allowed() {
    let place = apiserver::namespace("bad-credentials").await;
    let mut found = refusals(&place, CREDENTIAL, table::CREDENTIALS).await;
    for kind in KINDS {
        found.extend(refusals(&place, kind.good, kind.bad).await);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test]
async fn good_manifests_are_taken() {
    let place = apiserver::namespace("good").await;
    let kinds = KINDS.iter().map(|kind| (kind.good, kind.fine));
    for (good, patches) in kinds.chain([
        (INTEGRATION, table::GOOD_INTEGRATIONS),
        (CREDENTIAL, table::GOOD_CREDENTIALS),
    ]) {
        for patch in patches {
            if let Err(error) = create(&place, patched(good, patch), true).await {
                panic!("{patch}: {error}");
            }
        }
    }
}

#[test]
fn validation_refuses_the_same_integrations_for_the_same_fields() {
    let found = disagreements(
        INTEGRATION,
        table::INTEGRATIONS,
        table::GOOD_INTEGRATIONS,
        integration_violations,
    );
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn validation_refuses_the_same_credentials_for_the_same_fields() {
    let found = disagreements(
        CREDENTIAL,
        table::CREDENTIALS,
        table::GOOD_CREDENTIALS,
        credential_violations,
    );
    let kinds = KINDS.iter();
    let found: Vec<_> = kinds
        .flat_map(|kind| disagreements(kind.good, kind.bad, kind.fine, credential_violations))
        .chain(found)
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A token that is signed with the user's key, which alone has a name of the user's choice.
const KEY_OF_USER: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: Credential
metadata: {name: signer}
spec:
  allowedHosts: [api.example.com]
  jwt: {algorithm: ES256, keyRef: {name: signing, key: key.pem}, keyID: key-1}
";

/// Odd strings in every field that takes one: what the API server refuses, validation refuses too, and the other way
/// round but for what CEL cannot express (whether a label is too long, an address well-formed, an expression CEL).
#[tokio::test]
async fn both_judges_agree_on_odd_strings() {
    let place = apiserver::namespace("odd").await;
    let mut found = Vec::new();
    for (good, pointer, stricter, odd_for_this) in [
        (INTEGRATION, "/spec/endpoints/0/name", false, odd::NAMES),
        (INTEGRATION, "/spec/endpoints/0/url", true, odd::URLS),
        (INTEGRATION, "/spec/credentialRefs/0/name", false, odd::NAMES),
        (INTEGRATION, "/spec/tls/caRef/key", false, odd::NAMES),
        (INTEGRATION, "/spec/tls/serverName", false, odd::HOSTS),
        (INTEGRATION, "/spec/timeouts/connect", false, odd::DURATIONS),
        (INTEGRATION, "/spec/limits/headers", false, odd::AMOUNTS),
        (INTEGRATION, "/spec/healthCheck/path", false, odd::PATHS),
        (INTEGRATION, "/spec/healthCheck/expect/statuses/0", false, odd::STATUSES),
        (
            INTEGRATION,
            "/spec/healthCheck/expect/expression",
            true,
            &["true", "status ==", "("],
        ),
        (
            INTEGRATION,
            "/spec/workers/resources/limits/memory",
            false,
            odd::AMOUNTS,
        ),
        (INTEGRATION, "/spec/access/namespaces/0", false, odd::NAMES),
        (CREDENTIAL, "/spec/allowedHosts/0", true, odd::HOSTS),
        (CREDENTIAL, "/spec/apiKey/name", false, odd::SIGNS),
        (CREDENTIAL, "/spec/apiKey/prefix", false, odd::SIGNS),
        (OAUTH2.good, "/spec/oauth2/tokenURL", true, odd::URLS),
        (OAUTH2.good, "/spec/oauth2/clientID", false, odd::SIGNS),
        (OAUTH2.good, "/spec/oauth2/scopes/0", false, odd::SIGNS),
        (OAUTH2.good, "/spec/oauth2/audience", false, odd::SIGNS),
        (OAUTH2.good, "/spec/oauth2/resource", false, odd::URLS),
        (OAUTH2.good, "/spec/rotation/overlap", false, odd::DURATIONS),
        (OAUTH2.good, "/spec/rotation/windows/0/schedule", true, odd::SCHEDULES),
        (OAUTH2.good, "/spec/rotation/windows/0/timeZone", true, odd::ZONES),
        (JWT.good, "/spec/jwt/name", false, odd::SIGNS),
        (KEY_OF_USER, "/spec/jwt/keyID", false, odd::SIGNS),
        (
            CERTIFICATE.good,
            "/spec/certificate/issue/commonName",
            false,
            odd::SIGNS,
        ),
        (
            CERTIFICATE.good,
            "/spec/certificate/issue/dnsNames/0",
            false,
            odd::HOSTS,
        ),
        (CERTIFICATE.good, "/spec/certificate/issue/uris/0", false, odd::URLS),
        // What is in `allowedHosts` only we know.
        (STEPS.good, "/spec/rotation/steps/test/request/url", true, odd::URLS),
        (STEPS.good, "/spec/rotation/steps/create/request/url", false, odd::URLS),
        (
            STEPS.good,
            "/spec/rotation/steps/create/request/headers/Content-Type",
            false,
            odd::SIGNS,
        ),
        (STEPS.good, "/spec/rotation/steps/create/extract/id", false, odd::SIGNS),
    ] {
        for odd in odd::anywhere()
            .into_iter()
            .chain(odd_for_this.iter().map(ToString::to_string))
        {
            let mut manifest = patched(good, "{}");
            *manifest.pointer_mut(pointer).unwrap() = Value::String(odd.clone());
            let ours = if good == INTEGRATION {
                integration_violations(manifest.clone())
            } else {
                credential_violations(manifest.clone())
            };
            let theirs = create(&place, manifest, true).await;
            let shown: String = odd.chars().take(40).collect();
            match (ours.is_empty(), theirs) {
                (true, Err(error)) => {
                    found.push(format!("{pointer} {shown:?}: refused by the API server alone: {error}"));
                }
                (false, Ok(_)) if !stricter => {
                    found.push(format!("{pointer} {shown:?}: refused by us alone: {ours:?}"));
                }
                _ => (),
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The same for the names in a map.
#[tokio::test]
async fn both_judges_agree_on_odd_names_in_maps() {
    let place = apiserver::namespace("odd-names").await;
    let mut found = Vec::new();
    let names: Vec<String> = [
        odd::SIGNS,
        odd::HEADERS,
        &bounds::RESERVED_PARAMETERS,
        &bounds::FRAMING_HEADERS,
    ]
    .concat()
    .iter()
    .map(ToString::to_string)
    .chain(odd::anywhere())
    .chain(["a".repeat(128), "a".repeat(129)])
    .collect();
    let (mut taken, mut refused) = (0, 0);
    for (good, pointer) in [
        (OAUTH2.good, "/spec/oauth2/parameters"),
        (STEPS.good, "/spec/rotation/steps/create/request/headers"),
    ] {
        for name in &names {
            let mut manifest = patched(good, "{}");
            *manifest.pointer_mut(pointer).unwrap() = serde_json::json!({ name: "x" });
            let ours = credential_violations(manifest.clone());
            let theirs = create(&place, manifest, true).await;
            if ours.is_empty() == theirs.is_err() {
                found.push(format!("{pointer} {name:?}: {ours:?} {:?}", theirs.err()));
            }
            *(if ours.is_empty() { &mut taken } else { &mut refused }) += 1;
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(taken > 20 && refused > 40, "{taken} {refused}");
}

/// Every entry of `cases` that the API server takes, or refuses without naming the field and what is allowed.
async fn refusals(place: &Place, good: &str, cases: &[Bad]) -> Vec<String> {
    let mut found = Vec::new();
    for Bad { patch, field, says } in cases {
        match create(place, patched(good, patch), true).await {
            Ok(_) => found.push(format!("{patch}: taken")),
            Err(error) if !error.contains(field) || !error.contains(says) => {
                found.push(format!("{patch}: wanted `{field}` and `{says}`, got {error}"));
            }
            Err(_) => (),
        }
    }
    found
}

/// Every entry on which validation and the API server differ.
fn disagreements(good: &str, bad: &[Bad], fine: &[&str], judge: impl Fn(Value) -> Vec<Violation>) -> Vec<String> {
    let mut found = Vec::new();
    for Bad { patch, field, says } in bad {
        let violations = judge(patched(good, patch));
        // Of a missing field, decoding names the object that should have it, and the field in its message.
        let names = |violation: &Violation| {
            let (parent, last) = field.rsplit_once('.').unwrap_or(("", field));
            violation.field.starts_with(field) || (violation.field == parent && violation.must.contains(last))
        };
        let Some(violation) = violations.iter().find(|violation| names(violation)) else {
            found.push(format!("{patch}: wanted `{field}`, got {violations:?}"));
            continue;
        };
        let ours = says.starts_with("must ") && !says.starts_with("must be of type") && !says.ends_with("items");
        if ours && !violation.must.starts_with(says) {
            found.push(format!("{patch}: wanted `{says}`, got {violation:?}"));
        }
    }
    for patch in fine {
        let violations = judge(patched(good, patch));
        if !violations.is_empty() {
            found.push(format!("{patch}: should be good, got {violations:?}"));
        }
    }
    found
}

fn integration_violations(manifest: Value) -> Vec<Violation> {
    let problems = match decode::<Integration>(manifest) {
        Err(undecodable) => return vec![undecodable],
        Ok(object) => validate::integration(&object, &References::default())
            .err()
            .unwrap_or_default(),
    };
    let invalid = |problem| match problem {
        Problem::InvalidSpec(violation) => Some(violation),
        // The references are not there, which is not what is asked here.
        _ => None,
    };
    problems.into_iter().filter_map(invalid).collect()
}

fn credential_violations(manifest: Value) -> Vec<Violation> {
    match decode::<Credential>(manifest) {
        Err(undecodable) => vec![undecodable],
        Ok(object) => validate::credential_spec(&object.spec),
    }
}

/// As the file adapter decodes: with the path of what does not decode.
fn decode<T: DeserializeOwned>(manifest: Value) -> Result<T, Violation> {
    serde_path_to_error::deserialize(manifest).map_err(|error| Violation {
        field: error.path().to_string(),
        must: error.inner().to_string(),
    })
}

/// Creates the object, or the API server's message.
pub async fn create(place: &Place, manifest: Value, dry_run: bool) -> Result<DynamicObject, String> {
    let kind = manifest["kind"].as_str().unwrap_or_default().to_owned();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("tidegate.dev", "v1alpha1", &kind));
    let api: Api<DynamicObject> = Api::namespaced_with(place.client.clone(), &place.namespace, &resource);
    let object = serde_json::from_value(manifest).map_err(|error| error.to_string())?;
    let params = PostParams {
        dry_run,
        ..PostParams::default()
    };
    api.create(&params, &object).await.map_err(|error| match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    })
}
