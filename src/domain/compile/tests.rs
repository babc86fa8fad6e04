use serde_json::json;

use super::*;
use crate::api::integration::Integration;
use crate::domain::plan::Material;
use crate::domain::secret::SecretValue;
use crate::domain::validate::{CredentialFound, CredentialProblem, integration};

fn accepted(references: &References) -> Accepted {
    let object: Integration = serde_json::from_value(json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Integration",
        "metadata": {"name": "payments-api", "namespace": "shop", "uid": "u-1", "generation": 5},
        "spec": {
            "endpoints": [{"name": "a", "url": "https://api.example.com"}],
            "credentialRefs": [{"name": "key"}],
        },
    }))
    .unwrap();
    integration(&object, references).unwrap()
}

fn found(revision: i64, hosts: &[&str], value: Option<&str>) -> References {
    let material = value.map(header).ok_or(CredentialProblem::SecretNotFound {
        field: "spec.bearer.secretRef",
        secret: "s".into(),
    });
    References {
        credentials: vec![CredentialReference {
            name: "key".into(),
            found: Some(CredentialFound {
                not_after: None,
                renewable: false,
                allowed_hosts: hosts.iter().map(ToString::to_string).collect(),
                revision,
                material,
            }),
        }],
        ca: None,
    }
}

fn gone() -> References {
    References {
        credentials: vec![CredentialReference {
            name: "key".into(),
            found: None,
        }],
        ca: None,
    }
}

fn header(value: &str) -> Material {
    Material::Header {
        name: "authorization".into(),
        value: SecretValue::new(value),
    }
}

fn value(plan: &Plan) -> Option<&Material> {
    plan.credentials[0].material.as_ref()
}

const HOSTS: &[&str] = &["api.example.com"];

#[test]
fn the_first_plan_is_revision_one_and_the_same_again_stays_so() {
    let accepted = accepted(&found(7, HOSTS, Some("v")));
    let denied = ["10.0.0.1/32".parse().unwrap()];
    let first = plan(&accepted, &denied, None);
    assert_eq!((first.format, first.revision, first.generation), (FORMAT, 1, 5));
    assert_eq!(first.denied, denied);
    assert_eq!(first.credentials[0].revision, 7);
    assert_eq!(plan(&accepted, &denied, Some(&first)), first);
}

#[test]
fn any_difference_makes_the_next_revision() {
    let before = accepted(&found(7, HOSTS, Some("v")));
    let stored = Plan {
        revision: 41,
        ..plan(&before, &[], None)
    };
    let denied = ["10.0.0.1/32".parse().unwrap()];
    let mut changes = vec![plan(&before, &denied, Some(&stored))];
    let mut change = |edit: &dyn Fn(&mut Accepted)| {
        let mut accepted = before.clone();
        edit(&mut accepted);
        changes.push(plan(&accepted, &[], Some(&stored)));
    };
    change(&|it| it.generation = 6);
    change(&|it| it.endpoints[0].weight = 2);
    change(&|it| it.credentials = found(8, HOSTS, Some("v")).credentials);
    change(&|it| it.credentials = found(7, HOSTS, Some("w")).credentials);
    change(&|it| it.credentials = found(7, &["*.example.com"], Some("v")).credentials);
    change(&|it| it.tls.server_name = Some("a".into()));
    change(&|it| it.timeouts.idle *= 2);
    change(&|it| it.retries.limit = 9);
    change(&|it| it.breaker.minimum_requests = 9);
    change(&|it| it.concurrency.max_pending = 9);
    change(&|it| it.connections.max_per_endpoint = 9);
    change(&|it| it.limits.headers = 9);
    change(&|it| it.reset_circuit = Some("now".into()));
    for changed in changes {
        assert_eq!(changed.revision, 42, "{changed:?}");
        assert_ne!(changed, stored);
    }
    let mut scaled = before.clone();
    (scaled.replicas, scaled.access) = (9, vec!["x".into()]);
    assert_eq!(
        plan(&scaled, &[], Some(&stored)),
        stored,
        "what only the fleet needs is not in the plan"
    );
}

#[test]
fn a_namesake_begins_anew() {
    let accepted = accepted(&found(7, HOSTS, None));
    let stored = Plan {
        revision: 41,
        uid: "u-0".into(),
        ..plan(
            &Accepted {
                credentials: found(7, HOSTS, Some("theirs")).credentials,
                ..accepted.clone()
            },
            &[],
            None,
        )
    };
    let next = plan(&accepted, &[], Some(&stored));
    assert_eq!(next.revision, 1);
    assert_eq!(value(&next), None, "the credential of a namesake is not ours");
}

#[test]
fn the_last_good_value_outlives_a_broken_secret_but_not_its_permission() {
    let stored = plan(&accepted(&found(7, HOSTS, Some("v"))), &[], None);
    let broken = found(8, &["api.example.com", "b.example"], None);
    let next = plan(&accepted(&broken), &[], Some(&stored));
    assert_eq!(value(&next), Some(&header("v")));
    assert_eq!(next.credentials[0].revision, 7, "the revision is that of the value");
    assert_eq!(next.credentials[0].allowed_hosts, ["api.example.com", "b.example"]);
}

#[test]
fn a_credential_that_never_had_a_value_has_none() {
    let next = plan(&accepted(&found(0, HOSTS, None)), &[], None);
    assert_eq!(value(&next), None);
}

#[test]
fn a_credential_that_is_gone_is_withdrawn() {
    let stored = plan(&accepted(&found(7, HOSTS, Some("v"))), &[], None);
    let next = plan(&accepted(&gone()), &[], Some(&stored));
    assert_eq!((value(&next), next.revision), (None, 2));
    let refreshed = refresh(&stored, &gone());
    assert_eq!((value(&refreshed), refreshed.revision), (None, 2));
}

#[test]
fn a_refreshed_plan_differs_in_its_credentials_alone() {
    let stored = plan(&accepted(&found(7, HOSTS, Some("v"))), &[], None);
    assert_eq!(refresh(&stored, &found(7, HOSTS, Some("v"))), stored);
    assert_eq!(
        refresh(&stored, &References::default()),
        stored,
        "what is not read is not touched"
    );
    let rotated = refresh(&stored, &found(8, &["other.example"], Some("w")));
    let expected = Plan {
        revision: 2,
        credentials: vec![CredentialPlan {
            not_after: None,
            renewable: false,
            name: "key".into(),
            revision: 8,
            allowed_hosts: vec!["other.example".into()],
            material: Some(header("w")),
        }],
        ..stored.clone()
    };
    assert_eq!(rotated, expected);
}
