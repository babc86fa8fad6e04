//! The Credentials that the matrix is run with: one or more of every class.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::domain::key::Key;

use crate::net::tls::authority;
use crate::support::memory::{World, clock};
use crate::support::simulator::{Kind, Settings, Simulator};

/// What a crash may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nothing: what workers use is accepted at every time.
    NoOutage,
    /// An outage for some minutes.
    Recovers,
    /// The value, where an answer was lost and the provider has no grace period that would bring it again.
    MayLose,
}

/// A Credential, its provider, and what happens to it.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "a table of switches")]
pub struct Scenario {
    pub name: &'static str,
    /// How the provider is.
    pub provider: fn(&mut Settings),
    /// The spec without `allowedHosts`; `true`: after its edit.
    pub spec: fn(bool) -> Value,
    /// The first value, which is at the provider before.
    pub first: Option<Kind>,
    /// What it is made from changes.
    pub source: fn(&World, &Simulator),
    pub promise: Promise,
    /// The kind of what is published, as the provider has it; `None`: it is made here.
    pub kind: Option<Kind>,
    /// A value that the provider refuses is replaced.
    pub replaces_rejected: bool,
    /// What is not used any more is taken away at the provider.
    pub revokes: bool,
    /// The provider does once what it is asked twice under one attempt.
    pub idempotent: bool,
    /// An orphan may be left where an answer was lost, and is named.
    pub names_orphans: bool,
}

pub fn own() -> Key {
    Key::new("shop", "payments-key")
}

fn at(name: &str) -> Key {
    Key::new("shop", name)
}

/// What all of them find in place: the admin's key, the OAuth client's secret, a signing key, a CA.
pub fn furnish(world: &World, simulator: &Simulator) {
    world.apply_secret(&at("admin"), &[("key", "admin")]);
    world.apply_credential(json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Credential",
        "metadata": {"namespace": "shop", "name": "admin"},
        "spec": {"allowedHosts": ["provider.test"], "bearer": {"secretRef": {"name": "admin", "key": "key"}}},
    }));
    world.apply_secret(&at("client"), &[("secret", "client-secret")]);
    world.apply_secret(&at("signing"), &[("key", "0123456789abcdef0123456789abcdef")]);
    apply_ca(world, 0);
    simulator.seed(Kind::Refresh, "refresh-0");
    world.apply_secret(&at("refresh"), &[("token", "refresh-0")]);
}

fn apply_ca(world: &World, number: usize) {
    static CAS: OnceLock<[(String, String); 2]> = OnceLock::new();
    let cas = CAS.get_or_init(|| {
        ["one", "two"].map(|name| {
            let ca = authority(name);
            (ca.pem(), ca.key().serialize_pem())
        })
    });
    let (certificate, key) = &cas[number];
    world.apply_secret(&at("ca"), &[("tls.crt", certificate), ("tls.key", key)]);
}

fn admin_changes(world: &World, simulator: &Simulator) {
    simulator.set(|it| it.admin = "admin-2".into());
    world.apply_secret(&at("admin"), &[("key", "admin-2")]);
}

fn client_changes(world: &World, simulator: &Simulator) {
    simulator.set(|it| it.client.1 = "client-secret-2".into());
    world.apply_secret(&at("client"), &[("secret", "client-secret-2")]);
}

fn refresh_changes(world: &World, simulator: &Simulator) {
    simulator.seed(Kind::Refresh, "refresh-1");
    world.apply_secret(&at("refresh"), &[("token", "refresh-1")]);
}

fn key_changes(world: &World, _: &Simulator) {
    world.apply_secret(&at("signing"), &[("key", "fedcba9876543210fedcba9876543210")]);
}

fn ca_changes(world: &World, _: &Simulator) {
    apply_ca(world, 1);
}

fn nothing(_: &World, _: &Simulator) {}

fn request(method: &str, path: &str) -> Value {
    json!({"method": method, "url": format!("https://provider.test/{path}")})
}

/// A bearer token that is replaced by these steps.
fn steps(steps: Value, first: bool) -> Value {
    let bearer = if first {
        json!({"secretRef": {"name": "first", "key": "token"}})
    } else {
        json!({})
    };
    json!({"bearer": bearer, "rotation": {"interval": "2h", "overlap": "1m", "steps": steps}})
}

/// Class A; the value is set by `authority`, tried, and the one before it deleted.
fn chosen(edited: bool, by: &str, tests: bool, revokes: bool) -> Value {
    let mut set = request("PUT", "secret");
    set["body"] = json!("{\"value\": \"{{ value }}\"}");
    set["headers"] = json!({"Idempotency-Key": "{{ attempt.id }}"});
    let mut all = json!({
        "create": {"generate": {"length": if edited { 48 } else { 40 }, "encoding": "Alphanumeric"}},
        "set": {"request": set, "credentialRef": {"name": by}},
    });
    if tests {
        all["test"] = json!({"request": request("GET", "whoami"), "credentialRef": {"name": "payments-key"}});
    }
    if revokes {
        let mut revoke = request("DELETE", "secret");
        revoke["body"] = json!("{\"value\": \"{{ previous.value }}\"}");
        all["revoke"] = json!({"request": revoke, "credentialRef": {"name": "admin"}});
    }
    all
}

/// Class B.
#[expect(clippy::fn_params_excessive_bools, reason = "a table of switches")]
fn added(edited: bool, finds: bool, tests: bool, idempotent: bool) -> Value {
    let mut create = request("POST", "keys");
    create["body"] = json!("{\"label\": \"{{ attempt.id }}\"}");
    create["headers"] = json!({"X-Edited": edited.to_string()});
    if idempotent {
        create["headers"]["Idempotency-Key"] = json!("{{ attempt.id }}");
    }
    let by = json!({"name": "admin"});
    let mut all = json!({
        "create": {"request": create, "credentialRef": by, "extract": {"value": ".key", "id": ".id", "expiresAt": ".expires_at"}},
        "revoke": {"request": request("DELETE", "keys/{{ previous.id }}"), "credentialRef": by},
    });
    if finds {
        let find = request("GET", "keys?label={{ attempt.id }}");
        all["find"] = json!({"request": find, "credentialRef": by, "extract": {"ids": ".keys[].id"}});
    }
    if tests {
        all["test"] = json!({"request": request("GET", "whoami"), "credentialRef": {"name": "payments-key"}});
    }
    all
}

/// Classes C and D.
fn replaced(edited: bool, path: &str, by: &str) -> Value {
    let mut create = request("POST", path);
    create["headers"] = json!({"X-Edited": edited.to_string()});
    json!({"create": {"request": create, "credentialRef": {"name": by}, "extract": {"value": ".key"}}})
}

fn oauth2(edited: bool, refreshes: bool) -> Value {
    let mut spec = json!({
        "grant": "ClientCredentials",
        "tokenURL": "https://provider.test/token",
        "clientID": "client",
        "clientSecretRef": {"name": "client", "key": "secret"},
        "scopes": [if edited { "write" } else { "read" }],
    });
    if refreshes {
        spec["grant"] = json!("RefreshToken");
        spec["refreshTokenRef"] = json!({"name": "refresh", "key": "token"});
    }
    json!({"oauth2": spec})
}

fn as_it_is(_: &mut Settings) {}

fn grace_30(settings: &mut Settings) {
    settings.grace = Duration::from_secs(30);
}

fn grace_60(settings: &mut Settings) {
    settings.grace = Duration::from_secs(60);
}

const A: Scenario = Scenario {
    name: "A: generated, set",
    provider: as_it_is,
    spec: |edited| steps(chosen(edited, "admin", false, false), false),
    first: None,
    source: admin_changes,
    promise: Promise::NoOutage,
    kind: Some(Kind::Secret),
    replaces_rejected: true,
    revokes: false,
    idempotent: false,
    names_orphans: false,
};

const B: Scenario = Scenario {
    name: "B: added, found by its label",
    provider: |it| it.key_lifetime = Some(Duration::from_secs(7200)),
    spec: |edited| steps(added(edited, true, false, false), false),
    kind: Some(Kind::Key),
    revokes: true,
    ..A
};

const D: Scenario = Scenario {
    name: "D: refresh token, no grace",
    provider: as_it_is,
    spec: |edited| oauth2(edited, true),
    source: refresh_changes,
    promise: Promise::MayLose,
    kind: Some(Kind::Access),
    ..A
};

const FREE: Scenario = Scenario {
    name: "free: client credentials",
    spec: |edited| oauth2(edited, false),
    source: client_changes,
    promise: Promise::NoOutage,
    kind: Some(Kind::Access),
    ..A
};

/// All of them.
pub const SCENARIOS: [Scenario; 16] = [
    A,
    Scenario {
        name: "A: generated, set, tried, deleted",
        spec: |edited| steps(chosen(edited, "admin", true, true), true),
        revokes: true,
        first: Some(Kind::Secret),
        ..A
    },
    Scenario {
        name: "A: generated, set by itself",
        spec: |edited| steps(chosen(edited, "payments-key", true, false), true),
        first: Some(Kind::Secret),
        source: nothing,
        replaces_rejected: false,
        ..A
    },
    B,
    Scenario {
        name: "B: added, found by its label, tried, first value given",
        spec: |edited| steps(added(edited, true, true, false), true),
        first: Some(Kind::Key),
        // The first value's id is known to nobody, so it stays.
        provider: |it| it.quota = 3,
        ..B
    },
    Scenario {
        name: "B: added, idempotent",
        provider: |it| {
            it.key_lifetime = Some(Duration::from_secs(7200));
            it.idempotency = true;
            it.lists = false;
        },
        spec: |edited| steps(added(edited, false, true, true), false),
        idempotent: true,
        ..B
    },
    Scenario {
        name: "B: added, lost where its answer is",
        provider: |it| {
            it.key_lifetime = Some(Duration::from_secs(7200));
            it.lists = false;
            it.quota = 3;
        },
        spec: |edited| steps(added(edited, false, false, false), false),
        names_orphans: true,
        ..B
    },
    Scenario {
        name: "C: regenerated by an admin",
        spec: |edited| steps(replaced(edited, "regenerate", "admin"), false),
        promise: Promise::Recovers,
        kind: Some(Kind::Regenerated),
        ..A
    },
    D,
    Scenario {
        name: "D: refresh token, 30 s of grace",
        provider: grace_30,
        promise: Promise::Recovers,
        ..D
    },
    Scenario {
        name: "D: refresh token, 60 s of grace",
        provider: grace_60,
        promise: Promise::Recovers,
        ..D
    },
    Scenario {
        name: "D: rotated by itself",
        spec: |edited| steps(replaced(edited, "rotate", "payments-key"), true),
        first: Some(Kind::SelfRotating),
        source: nothing,
        kind: Some(Kind::SelfRotating),
        replaces_rejected: false,
        ..D
    },
    FREE,
    Scenario {
        name: "free: JWT",
        spec: |edited| {
            let issuer = if edited { "they" } else { "us" };
            json!({"jwt": {
                "algorithm": "HS256", "keyRef": {"name": "signing", "key": "key"}, "issuer": issuer, "lifetime": "2h",
            }})
        },
        source: key_changes,
        kind: None,
        ..FREE
    },
    Scenario {
        name: "free: certificate",
        spec: |edited| {
            let name = if edited { "them" } else { "us" };
            json!({"certificate": {"issue": {"caSecretRef": {"name": "ca"}, "commonName": name, "lifetime": "2h"}}})
        },
        source: ca_changes,
        kind: None,
        ..FREE
    },
    Scenario {
        name: "generated",
        spec: |edited| {
            json!({
                "generated": {"length": if edited { 40 } else { 32 }},
                "rotation": {"interval": "2h", "overlap": "1m"},
            })
        },
        source: nothing,
        kind: None,
        replaces_rejected: false,
        ..FREE
    },
];

/// A simulator for the scenario, with its first value.
pub fn simulator(scenario: &Scenario) -> Simulator {
    let mut settings = Settings {
        epoch: clock()(),
        access_lifetime: Duration::from_secs(7200),
        ..Settings::default()
    };
    (scenario.provider)(&mut settings);
    Simulator::new(settings)
}

/// The manifest of the Credential.
pub fn manifest(scenario: &Scenario, edited: bool) -> Value {
    let mut spec = (scenario.spec)(edited);
    spec["allowedHosts"] = json!(["api.example.com", "provider.test"]);
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Credential",
        "metadata": {"namespace": "shop", "name": "payments-key"},
        "spec": spec,
    })
}
