//! Objects to test with.

use serde_json::{Value, json};
use tidegate::domain::key::Key;

/// An Integration with one endpoint and one Credential, `payments-key`.
pub fn integration(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Integration",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "endpoints": [{"name": "primary", "url": "https://api.example.com/v1"}],
            "credentialRefs": [{"name": "payments-key"}],
            "workers": {"replicas": 2},
        },
    })
}

/// The Credential `payments-key`, an API key from the Secret of the same name.
pub fn credential(namespace: &str) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Credential",
        "metadata": {"namespace": namespace, "name": "payments-key"},
        "spec": {
            "allowedHosts": ["api.example.com"],
            "apiKey": {"name": "X-API-Key", "secretRef": {"name": "payments-key", "key": "key"}},
        },
    })
}

/// The Secret, the Credential and the Integration of this module in the namespace `shop`.
pub fn shop() -> (Key, Key, Key) {
    (
        Key::new("shop", "payments-key"),
        Key::new("shop", "payments-key"),
        Key::new("shop", "payments-api"),
    )
}
