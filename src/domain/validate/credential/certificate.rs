//! Client certificates.

use super::check_secret_name_ref;
use crate::api::bounds;
use crate::api::credential::certificate::{Certificate, CertificateIssue};
use crate::domain::validate::checks::Checks;

/// Checks `spec.certificate`.
pub fn check(checks: &mut Checks, spec: &Certificate) {
    let Certificate { secret_ref, issue } = spec;
    if secret_ref.is_some() == issue.is_some() {
        checks.violated("spec.certificate", bounds::ONE_CERTIFICATE.1);
    }
    check_secret_name_ref(checks, "spec.certificate.secretRef", secret_ref.as_ref());
    if let Some(issue) = issue {
        check_issue(checks, issue);
    }
}

fn check_issue(checks: &mut Checks, spec: &CertificateIssue) {
    let CertificateIssue {
        ca_secret_ref,
        common_name,
        dns_names,
        uris,
        lifetime,
        algorithm: _,
    } = spec;
    let object = "spec.certificate.issue";
    if common_name.is_none() && dns_names.is_empty() && uris.is_empty() {
        checks.violated(object, bounds::SOME_SUBJECT.1);
    }
    check_secret_name_ref(checks, "spec.certificate.issue.caSecretRef", Some(ca_secret_ref));
    checks.text_if_set(
        "spec.certificate.issue.commonName",
        common_name.as_ref(),
        bounds::COMMON_NAME,
    );
    checks.texts(
        "spec.certificate.issue.dnsNames",
        dns_names,
        32,
        bounds::CERTIFICATE_DNS_NAME,
    );
    checks.texts("spec.certificate.issue.uris", uris, 16, bounds::CERTIFICATE_URI);
    checks.span_if_set(
        "spec.certificate.issue.lifetime",
        *lifetime,
        bounds::CERTIFICATE_LIFETIME,
    );
}
