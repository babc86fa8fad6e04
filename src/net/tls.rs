//! TLS configurations, all of them on one provider (aws-lc-rs), which is passed explicitly everywhere.

use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::api::integration::{Http2, TlsVersion};
use crate::domain::plan::TlsPlan;

pub use certificate::ClientCertificate;

mod certificate;

/// A PEM text beyond this is refused before it is parsed (cert-manager CVE-2024-12401: 856 kB took 750 ms).
pub const MAX_PEM_BYTES: usize = 256 * 1024;

/// More certificates than this in one PEM text are refused.
pub const MAX_CERTIFICATES: usize = 100;

/// TLS sessions that are remembered for resumption by one configuration; a plan has at most 16 hosts.
const SESSIONS: usize = 32;

/// Why a TLS configuration cannot be made. Never holds what was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// Too long to be parsed.
    #[error("the {what} is {bytes} bytes of PEM; at most {MAX_PEM_BYTES} are accepted")]
    TooLong {
        /// Which of the inputs.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// Too many certificates.
    #[error("the {what} holds more than {MAX_CERTIFICATES} certificates; keep those that are needed")]
    TooMany {
        /// Which of the inputs.
        what: &'static str,
    },
    /// No certificate.
    #[error("the {what} holds no certificate; give it as PEM, with its BEGIN and END lines")]
    Missing {
        /// Which of the inputs.
        what: &'static str,
    },
    /// Not PEM, or PEM around something else.
    #[error("the {what} cannot be used: {detail}")]
    Invalid {
        /// Which of the inputs.
        what: &'static str,
        /// Reason.
        detail: String,
    },
    /// The name to verify is neither a DNS name nor an address.
    #[error("`{0}` is neither a DNS name nor an address, so no certificate can be verified for it; set tls.serverName")]
    ServerName(String),
}

/// Makes aws-lc-rs the default of this process, for libraries that look for one (kube). Calling it again does nothing.
pub fn install_provider() {
    // Failing means that one is installed already, and there is only one in the product.
    let _ = CryptoProvider::install_default(provider().as_ref().clone());
}

/// Configuration of connections to the provider's endpoints, without a client certificate.
///
/// Roots: the plan's, else those of a mounted system store, else Mozilla's, which are built in.
pub fn provider_config(plan: &TlsPlan, http2: Http2) -> Result<Arc<ClientConfig>, TlsError> {
    provider_config_with(plan, http2, None)
}

/// The same, with `certificate` for providers that ask for one.
///
/// Each call makes a store for sessions of its own, so that a connection never resumes a session that was begun with
/// another certificate or verified against other roots.
pub fn provider_config_with(
    plan: &TlsPlan,
    http2: Http2,
    certificate: Option<&ClientCertificate>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &plan.ca_pem {
        Some(pem) => Arc::new(roots_of(pem, "CA bundle")?),
        None => public_roots(),
    };
    let versions: &[&SupportedProtocolVersion] = match plan.min_version {
        Some(TlsVersion::V1_3) => &[&TLS13],
        Some(TlsVersion::V1_2) | None => &[&TLS13, &TLS12],
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| invalid("TLS version", error))?
        .with_root_certificates(roots);
    let mut config = match certificate {
        Some(certificate) => certificate.present(builder)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    config.alpn_protocols = match http2 {
        Http2::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Http2::Never => vec![b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

/// The same for connections on which HTTP/2 is spoken or nothing.
#[must_use]
pub fn http2_only(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// The name to send and to verify for `host` (IPv6 without brackets): the plan's, or the host itself.
pub fn server_name(plan: &TlsPlan, host: &str) -> Result<ServerName<'static>, TlsError> {
    let name = plan.server_name.as_deref().unwrap_or(host);
    // A trailing dot is for the resolver; certificates and SNI have none (RFC 6066, 3).
    let name = name.strip_suffix('.').unwrap_or(name);
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
}

/// The one provider of the process.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// The public roots, loaded when the first plan without a CA of its own asks for them, and shared from then on. The
/// built-in ones are static data and cost 20 KiB of heap; a mounted store of 150 certificates costs 0.4 MiB.
fn public_roots() -> Arc<RootCertStore> {
    static ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        // A store that is there but broken in parts still counts by what is good in it: whoever mounts one wants it.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Arc::new(roots)
    });
    Arc::clone(&ROOTS)
}

fn roots_of(pem: &str, what: &'static str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, what)? {
        roots.add(certificate).map_err(|error| invalid(what, error))?;
    }
    Ok(roots)
}

/// Every certificate in `pem`; at least one.
fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    bounded(pem, what)?;
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        if certificates.len() == MAX_CERTIFICATES {
            return Err(TlsError::TooMany { what });
        }
        certificates.push(certificate.map_err(|error| invalid(what, error))?);
    }
    if certificates.is_empty() {
        return Err(TlsError::Missing { what });
    }
    Ok(certificates)
}

fn bounded(pem: &str, what: &'static str) -> Result<(), TlsError> {
    if pem.len() > MAX_PEM_BYTES {
        return Err(TlsError::TooLong { what, bytes: pem.len() });
    }
    Ok(())
}

fn invalid(what: &'static str, error: impl std::fmt::Display) -> TlsError {
    TlsError::Invalid {
        what,
        detail: error.to_string(),
    }
}
