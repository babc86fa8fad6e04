//! The plan of the worker under measurement: what the controller makes of an Integration that names an endpoint and an
//! API key and leaves the rest to the defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;
use tidegate::domain::compile;
use tidegate::domain::plan::{Material, Plan};
use tidegate::domain::secret::SecretValue;
use tidegate::domain::validate::{self, CredentialFound, CredentialReference, References};

/// Writes what a worker mounts into `directory/plan`. With an `authority`, in PEM, and the
/// name that its certificates are for, TLS is spoken with the upstream.
pub fn write(upstream: SocketAddr, authority: Option<(&str, &str)>, directory: &Path) -> Result<PathBuf, String> {
    let place = directory.join("plan");
    let put = |name: &str, content: String| {
        std::fs::write(place.join(name), content).map_err(|error| format!("{}/{name}: {error}", place.display()))
    };
    std::fs::create_dir(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    put(
        "plan.json",
        serde_json::to_string(&plan(upstream, authority)?).map_err(|error| error.to_string())?,
    )?;
    Ok(place)
}

fn plan(upstream: SocketAddr, authority: Option<(&str, &str)>) -> Result<Plan, String> {
    let scheme = if authority.is_some() { "https" } else { "http" };
    let tls = authority.map(
        |(_, name)| json!({"caRef": {"kind": "ConfigMap", "name": "authority", "key": "ca.crt"}, "serverName": name}),
    );
    let integration = serde_json::from_value(json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Integration",
        "metadata": {
            "namespace": "bench",
            "name": "upstream",
            "uid": "00000000-0000-0000-0000-000000000001",
            "generation": 1,
        },
        "spec": {
            "endpoints": [
                {"name": "primary", "url": format!("{scheme}://{upstream}")},
                // Never asked. It is there for what TLS costs in memory: nearly every provider is behind it.
                {"name": "spare", "url": "https://127.0.0.1:1", "priority": 1},
            ],
            "credentialRefs": [{"name": "key"}],
            "tls": tls,
        },
    }))
    .map_err(|error| error.to_string())?;
    let found = CredentialFound {
        material: Ok(Material::Header {
            name: "x-api-key".into(),
            value: SecretValue::new("bench-key"),
        }),
        allowed_hosts: vec!["127.0.0.1".into()],
        revision: 1,
        not_after: None,
        renewable: false,
    };
    let name = "key".to_owned();
    let references = References {
        credentials: vec![CredentialReference {
            name,
            found: Some(found),
        }],
        ca: authority.map(|(pem, _)| [("ca.crt".to_owned(), Some(SecretValue::new(pem)))].into()),
    };
    let accepted = validate::integration(&integration, &references).map_err(|problems| format!("{problems:?}"))?;
    Ok(compile::plan(&accepted, &[], None))
}
