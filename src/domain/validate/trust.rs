//! How the provider's certificate is verified.

use super::checks::Checks;
use super::{Problem, Values};
use crate::api::bounds;
use crate::api::integration::{CaRef, Tls};
use crate::domain::plan::TlsPlan;

/// Most bytes of a `caRef` value that are looked at (cert-manager CVE-2024-12401: a large PEM took most of a second).
const CA_MAX: usize = 256 << 10;

/// Everything but the certificates, which come with the references.
pub fn check(checks: &mut Checks, spec: Option<&Tls>) -> TlsPlan {
    let Some(Tls {
        ca_ref,
        server_name,
        min_version,
    }) = spec
    else {
        return TlsPlan::default();
    };
    if let Some(CaRef { kind: _, name, key }) = ca_ref {
        checks.text("spec.tls.caRef.name", name, bounds::OBJECT_NAME);
        checks.text("spec.tls.caRef.key", key, bounds::DATA_KEY);
    }
    if let Some(name) = server_name {
        checks.text("spec.tls.serverName", name, bounds::SERVER_NAME);
    }
    TlsPlan {
        ca_pem: None,
        server_name: server_name.clone(),
        min_version: *min_version,
    }
}

/// The certificates that `caRef` names.
pub fn certificates(CaRef { kind, name, key }: &CaRef, values: Option<&Values>) -> Result<String, Problem> {
    let kind = *kind;
    let Some(values) = values else {
        return Err(Problem::RefNotFound {
            kind,
            name: name.clone(),
        });
    };
    let unusable = |must: &str| Problem::RefUnusable {
        kind,
        name: name.clone(),
        key: key.clone(),
        must: must.to_owned(),
    };
    let pem = match values.get(key) {
        None => return Err(unusable("must exist; add it or name another")),
        Some(None) => return Err(unusable("must be text: certificates in PEM")),
        Some(Some(pem)) => pem.expose(),
    };
    if pem.len() > CA_MAX {
        return Err(unusable("must be at most 256 KiB of certificates in PEM"));
    }
    if !is_certificates(pem) {
        return Err(unusable("must be one or more certificates in PEM, and nothing else"));
    }
    Ok(pem.to_owned())
}

/// Whether `pem` is at least one X.509 certificate and no block of another kind (a private key has no business here).
fn is_certificates(pem: &str) -> bool {
    let mut blocks = x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()).peekable();
    blocks.peek().is_some()
        && blocks.all(|block| block.is_ok_and(|block| block.label == "CERTIFICATE" && block.parse_x509().is_ok()))
}
