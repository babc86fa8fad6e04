//! The authority in its Secret.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tidegate::fleet::kubernetes::trust::{SECRET, TrustStore};

use crate::support::apiserver;

#[tokio::test]
async fn replicas_that_start_together_agree_on_one_authority() {
    let place = apiserver::namespace("trust-race").await;
    let stores: Vec<_> = (0..8)
        .map(|_| TrustStore::new(place.client.clone(), &place.namespace))
        .collect();
    let now = Timestamp::now();
    let found = futures::future::join_all(stores.iter().map(|store| store.trust(now))).await;
    let trusted: Vec<_> = found
        .into_iter()
        .map(|trust| trust.unwrap().authority.trusted())
        .collect();
    assert!(trusted.iter().all(|one| *one == trusted[0]));
    let secret = place.api::<Secret>().get(SECRET).await.unwrap();
    assert_eq!(secret.data.unwrap()["ca.crt"].0, trusted[0].as_bytes());
}

#[tokio::test]
async fn authority_is_renewed_when_it_is_time_and_only_then() {
    let place = apiserver::namespace("trust-renew").await;
    let now = Timestamp::now();
    let first = TrustStore::new(place.client.clone(), &place.namespace)
        .trust(now)
        .await
        .unwrap();
    let version = async || place.api::<Secret>().get(SECRET).await.unwrap().resource_version();
    let made = version().await;
    let days = |number: i64| now + std::time::Duration::from_secs(u64::try_from(number * 86_400).unwrap());
    let at = async |number| {
        TrustStore::new(place.client.clone(), &place.namespace)
            .trust(days(number))
            .await
            .unwrap()
    };
    assert_eq!(at(2900).await.authority, first.authority);
    assert_eq!(version().await, made);

    let prepared = at(3000).await;
    assert!(prepared.authority.trusted().starts_with(&first.authority.trusted()));
    assert_ne!(version().await, made);
    assert_eq!(at(3001).await.authority, prepared.authority);
    let promoted = at(3400).await;
    assert_eq!(at(3401).await.authority, promoted.authority);
    let secret = place.api::<Secret>().get(SECRET).await.unwrap();
    assert!(!secret.data.unwrap().contains_key("next.key"), "it signs now");
    assert!(promoted.authority.trusted().contains(&first.authority.trusted()));
}

#[tokio::test]
async fn deleted_authority_comes_back_while_a_controller_has_it_at_hand() {
    let place = apiserver::namespace("trust-lost").await;
    let store = TrustStore::new(place.client.clone(), &place.namespace);
    let now = Timestamp::now();
    let before = store.trust(now).await.unwrap();
    place
        .api::<Secret>()
        .delete(SECRET, &DeleteParams::default())
        .await
        .unwrap();
    let later = now + std::time::Duration::from_secs(25 * 3600);
    assert_eq!(store.trust(later).await.unwrap().authority, before.authority);
    place.api::<Secret>().get(SECRET).await.unwrap();
}

#[tokio::test]
async fn broken_authority_is_told_and_one_at_hand_goes_on() {
    let place = apiserver::namespace("trust-broken").await;
    let store = TrustStore::new(place.client.clone(), &place.namespace);
    let now = Timestamp::now();
    let before = store.trust(now).await.unwrap();
    let garbage = json!({"stringData": {"tls.key": "canary-garbage"}});
    let secrets = place.api::<Secret>();
    secrets
        .patch(SECRET, &PatchParams::default(), &Patch::Merge(garbage))
        .await
        .unwrap();
    let later = now + std::time::Duration::from_secs(25 * 3600);
    assert_eq!(store.trust(later).await.unwrap().authority, before.authority);
    let error = TrustStore::new(place.client.clone(), &place.namespace)
        .trust(now)
        .await
        .unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("tls.key") && text.contains("delete") && !text.contains("canary"),
        "{text}"
    );
}
