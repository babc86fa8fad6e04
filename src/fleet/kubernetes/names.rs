//! Names and labels of what is made for an Integration: functions of its name and UID, so that a second run finds what
//! the first one made.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::Labels;
use crate::api::{GROUP, LABEL_INTEGRATION, VERSION};
use crate::domain::plan::Plan;

/// Label of worker Pods: UID of the Integration they work for. An Integration that is deleted and made anew under the
/// same name must not send traffic to the workers of its predecessor while these go.
pub const LABEL_UID: &str = "tidegate.dev/uid";

/// Selects every worker Pod, of whichever Integration.
pub const ALL_WORKERS: &str = "app.kubernetes.io/managed-by=tidegate,app.kubernetes.io/component=worker";

/// Longest name of a Deployment whose Pods' names still hold all of it: 63, less a hyphen and ten characters for the
/// ReplicaSet, less a hyphen and five for the Pod.
const LONGEST: usize = 63 - 11 - 6;
const SUFFIX: &str = "-worker";
/// Hexadecimal digits that stand for the rest of a name that is too long: 40 bits.
const DIGITS: usize = 10;

/// Name of everything but the Service: `<integration>-worker`, with the end of a long name replaced by its hash.
pub fn worker(integration: &str) -> String {
    if integration.len() + SUFFIX.len() <= LONGEST {
        return format!("{integration}{SUFFIX}");
    }
    let head: String = integration.chars().take(LONGEST - SUFFIX.len() - DIGITS - 1).collect();
    let hash = sha256(integration.as_bytes());
    format!("{head}-{}{SUFFIX}", &hash[..DIGITS])
}

/// Labels of everything that is made for the Integration of this name.
pub fn labels(integration: &str) -> Labels {
    [
        ("app.kubernetes.io/name", "tidegate"),
        ("app.kubernetes.io/component", "worker"),
        ("app.kubernetes.io/instance", integration),
        ("app.kubernetes.io/managed-by", "tidegate"),
        (LABEL_INTEGRATION, integration),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Labels by which the Pods of this very Integration are selected.
pub fn selector(plan: &Plan) -> Labels {
    [
        ("app.kubernetes.io/component", "worker"),
        (LABEL_INTEGRATION, &*plan.integration.name),
        (LABEL_UID, &plan.uid),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Metadata of an object of ours: named, labelled, and gone when the Integration goes.
pub fn metadata(plan: &Plan, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(plan.integration.namespace.to_string()),
        labels: Some(labels(&plan.integration.name)),
        owner_references: Some(vec![OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: "Integration".into(),
            name: plan.integration.name.to_string(),
            uid: plan.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_name_is_kept_whole() {
        assert_eq!(worker("payments-api"), "payments-api-worker");
        assert_eq!(worker(&"a".repeat(39)), format!("{}-worker", "a".repeat(39)));
    }

    #[test]
    fn long_name_fits_and_stays_distinct() {
        let (one, other) = (format!("{}1", "a".repeat(62)), format!("{}2", "a".repeat(62)));
        assert_eq!(worker(&one).len(), LONGEST);
        assert_ne!(worker(&one), worker(&other));
        assert_eq!(worker(&one), worker(&one));
        assert_eq!(
            worker(&"a".repeat(40)).len(),
            LONGEST,
            "the first name that does not fit"
        );
    }
}
