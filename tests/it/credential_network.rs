//! A controller that is to be led somewhere else on its way to a provider: real sockets, and names that lie.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;
use serde_json::{Value, json};
use tidegate::api::condition::Condition;
use tidegate::controller::Settings;
use tidegate::domain::key::Key;
use tidegate::net::Dialer;
use tidegate::net::policy::AddressPolicy;
use tidegate::net::resolve::{Pending, Resolve};
use tidegate::provider::exchange::Network;
use tokio::time::sleep;

use crate::support::memory::{Process, World};
use crate::support::provider::{Provider, Reply, answer};

/// Every name means this address.
#[derive(Debug)]
struct Liar(IpAddr);

impl Resolve for Liar {
    fn resolve(&self, _: &str) -> Pending {
        let address = self.0;
        Box::pin(async move { Ok(vec![address].into()) })
    }
}

fn own() -> Key {
    Key::new("shop", "key")
}

fn credential(spec: Value) -> Value {
    let meta = json!({"name": "key", "namespace": "shop"});
    json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Credential", "metadata": meta, "spec": spec})
}

fn through(address: &str, allow_loopback: bool) -> impl FnOnce(&mut Settings) + use<> {
    let address = address.parse().unwrap();
    move |settings| {
        let policy = AddressPolicy {
            allow_loopback,
            ..AddressPolicy::default()
        };
        let dialer = Dialer::with_resolver(Arc::new(policy), Arc::new(Liar(address)));
        settings.exchange = Arc::new(Network::new(dialer));
        // The time of day of these tests is the real one.
        settings.clock = Arc::new(jiff::Timestamp::now);
    }
}

/// `Ready`, once it says why there is no value.
async fn why(world: &World) -> Condition {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let status = world.credential(&own()).unwrap().status.unwrap_or_default();
        let ready = status.conditions.into_iter().find(|it| it.type_ == "Ready");
        if let Some(ready) = ready.filter(|it| it.reason == "IssueFailed") {
            return ready;
        }
        assert!(Instant::now() < until, "it is not told of");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Both ways in which a provider is asked, at a port of this host.
fn asking(port: u16) -> [Value; 2] {
    let base = format!("http://provider.shop.svc:{port}");
    let hosts = json!(["provider.shop.svc"]);
    let create = json!({
        "request": {"url": format!("{base}/keys"), "headers": {"Authorization": "Bearer canary"}},
        "extract": {"value": ".key"},
    });
    [
        json!({"allowedHosts": hosts, "bearer": {}, "rotation": {"steps": {"create": create}}}),
        json!({"allowedHosts": hosts, "oauth2": {
            "grant": "ClientCredentials", "tokenURL": format!("{base}/token"), "clientID": "id",
            "clientSecretRef": {"name": "client", "key": "secret"},
        }}),
    ]
}

#[tokio::test]
async fn a_name_that_means_an_address_of_the_cluster_itself_is_not_dialled() {
    let provider = Provider::start(|_| async { (200, r#"{"key": "k"}"#) }).await;
    let port = provider.url("").parse::<http::Uri>().unwrap().port_u16().unwrap();
    for address in [
        "127.0.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fe80::1",
        "0.0.0.0",
        "224.0.0.1",
        "fd00:ec2::254",
    ] {
        for spec in asking(port) {
            let world = World::default();
            world.apply_secret(&Key::new("shop", "client"), &[("secret", "canary")]);
            let process = Process::start_with(&world, through(address, false));
            world.apply_credential(credential(spec));
            let told = why(&world).await;
            assert!(
                told.message.contains("provider.shop.svc"),
                "{address}: {}",
                told.message
            );
            assert!(told.message.contains("refused"), "{address}: {}", told.message);
            assert!(!told.message.contains("canary"), "{}", told.message);
            process.stop().await;
        }
    }
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_told_of_and_not_followed() {
    let elsewhere = Provider::start(|_| async { (200, r#"{"key": "k"}"#) }).await;
    for status in [301, 302, 303, 307, 308] {
        let target = elsewhere.url("/keys");
        let provider = Provider::start(move |_| {
            let mut redirect = answer(status, "canary");
            let location = HeaderValue::from_str(&target).unwrap();
            redirect.headers_mut().insert(http::header::LOCATION, location);
            async move { Reply::from(redirect) }
        })
        .await;
        let port = provider.url("").parse::<http::Uri>().unwrap().port_u16().unwrap();
        for spec in asking(port) {
            let world = World::default();
            world.apply_secret(&Key::new("shop", "client"), &[("secret", "canary")]);
            let process = Process::start_with(&world, through("127.0.0.1", true));
            world.apply_credential(credential(spec));
            let told = why(&world).await;
            assert!(told.message.contains("redirects are not followed"), "{}", told.message);
            assert!(!told.message.contains("canary"), "{}", told.message);
            let status = world.credential(&own()).unwrap().status.unwrap();
            assert!(
                status.conditions.iter().any(|it| it.type_ == "Stalled"),
                "only an edit helps"
            );
            process.stop().await;
        }
        assert_eq!(provider.seen().len(), 2, "each is asked once");
    }
    assert_eq!(elsewhere.connections(), 0);
}
