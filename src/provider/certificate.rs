//! Client certificates that we issue, from a CA that the user has.
//!
//! Nothing is asked of anybody, so a crash after issuing loses nothing: the next attempt issues another one.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber, date_time_ymd,
};

use super::generated::hex;
use super::private_key::{self, KeyKind};
use super::{IssueError, Named, Order, lookup};
use crate::api::condition::reason;
use crate::api::credential::certificate::{Certificate, CertificateIssue, KeyAlgorithm};
use crate::domain::rotation::{Minted, Reason};
use crate::domain::secret::SecretValue;
use authority::Authority;
use chain::Link;

mod authority;
mod chain;
mod signature;

#[cfg(test)]
mod tests;

/// Key of the issued Secret that holds the certificate, and after it the intermediate ones.
pub const CERTIFICATE: &str = "tls.crt";
/// Key of the issued Secret that holds the private key.
pub const KEY: &str = "tls.key";
/// Key of the issued Secret that holds the certificates that a server has to trust.
pub const TRUSTED: &str = "ca.crt";
/// Where the issued Secret keeps the certificate before, as long as it does.
const PREVIOUS: &str = "previous.tls.crt";

const LIFETIME: Duration = Duration::from_secs(2160 * 3600);
/// How far a server's clock may be behind ours.
const SKEW: Duration = Duration::from_secs(300);
/// Most certificates under [`TRUSTED`].
const TRUSTED_MAX: usize = 8;
/// Most characters of a common name (RFC 5280, appendix A.1, ub-common-name).
const COMMON_NAME_MAX: usize = 64;
/// Bytes of a serial number (RFC 5280, 4.1.2.2).
const SERIAL_BYTES: usize = 20;

/// What the spec refers to.
pub fn named(spec: &Certificate) -> Named {
    let Certificate { secret_ref, issue } = spec;
    let referenced = secret_ref.iter().map(|secret| secret.name.clone());
    let authority = issue.iter().map(|issue| issue.ca_secret_ref.name.clone());
    Named {
        secrets: referenced.chain(authority).collect(),
        ..Named::default()
    }
}

/// Issues a certificate and a key of its own. `fill` fills a buffer with random bytes; they become the serial number. It
/// computes for as long as an RSA key takes to make, so it belongs on a thread that may block.
///
/// The certificate never outlives its CA. A renewal that would not outlive the certificate in use either is refused, or
/// there would be no end of renewals until the CA expires.
pub fn issue(order: &Order<'_>, fill: &mut dyn FnMut(&mut [u8])) -> Result<Minted, IssueError> {
    let spec = order.spec.certificate.as_ref().and_then(|spec| spec.issue.as_ref());
    let spec = spec.ok_or_else(|| lookup::refused("`spec.certificate.issue` must be set".to_owned()))?;
    let now = order.now;
    let authority = Authority::read(order.sources, &spec.ca_secret_ref.name, now)?;
    let not_after = not_after(order, spec, &authority)?;
    let key = private_key::make(match spec.algorithm.unwrap_or_default() {
        KeyAlgorithm::ECDSA => KeyKind::P256,
        KeyAlgorithm::RSA => KeyKind::Rsa2048,
        KeyAlgorithm::Ed25519 => KeyKind::Ed25519,
    });
    let failed = || lookup::failed("a certificate could not be made; it is tried again");
    let key = key.map_err(|_| failed())?;
    let pair = KeyPair::from_pem(key.expose()).map_err(|_| failed())?;
    let serial = serial(fill);
    let mut params = params(spec)?;
    let not_before = earlier(now, SKEW).max(authority.signer().not_before);
    let epoch = date_time_ymd(1970, 1, 1);
    let since_epoch = |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0));
    params.not_before = epoch + since_epoch(not_before);
    params.not_after = epoch + since_epoch(not_after);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let leaf = authority.sign(params, &pair).ok_or_else(failed)?;
    let chain: Vec<_> = std::iter::once(leaf)
        .chain(authority.intermediates().map(|link| link.der.clone()))
        .collect();
    // What a server would not take is not published: the CA may restrict names or the length of a path.
    chain::verify(&[authority.anchor()], &chain, now).map_err(|error| {
        lookup::refused(format!(
            "`spec.certificate.issue.caSecretRef` must name a CA that may issue this certificate: a server that trusts it \
             would answer `{error}`"
        ))
    })?;
    let trusted = trusted(order, authority.anchor());
    Ok(Minted {
        values: BTreeMap::from([
            (CERTIFICATE.to_owned(), SecretValue::new(chain::write(chain.iter()))),
            (KEY.to_owned(), key),
            (
                TRUSTED.to_owned(),
                SecretValue::new(chain::write(trusted.iter().map(|link| &link.der))),
            ),
        ]),
        id: Some(hex(&serial)),
        issued: now,
        not_before: Some(not_before),
        not_after: Some(not_after),
    })
}

/// When the certificate expires: after its lifetime, or with its CA.
fn not_after(order: &Order<'_>, spec: &CertificateIssue, authority: &Authority) -> Result<Timestamp, IssueError> {
    let lifetime = spec.lifetime.map_or(LIFETIME, |lifetime| lifetime.0);
    let wanted = whole(order.now.checked_add(lifetime).unwrap_or(Timestamp::MAX));
    let end = authority.not_after();
    if wanted <= end {
        return Ok(wanted);
    }
    // Another name, another CA or a person's wish are reasons enough; the time alone is one only if time is won.
    let for_time = matches!(
        order.attempt.reason,
        Reason::NearingExpiry | Reason::IntervalElapsed | Reason::Expired
    );
    let current = order.current.and_then(|current| current.record.not_after);
    if for_time && current.is_some_and(|current| current >= end) {
        return Err(IssueError::Refused {
            reason: reason::ISSUE_FAILED,
            message: format!(
                "the CA of Secret `{}` expires at {end}, so that another certificate would not be valid for longer than \
                 the one in use; renew the CA",
                spec.ca_secret_ref.name
            ),
        });
    }
    Ok(end)
}

/// What the certificate says besides its times and its number.
fn params(spec: &CertificateIssue) -> Result<CertificateParams, IssueError> {
    let CertificateIssue {
        ca_secret_ref: _,
        common_name,
        dns_names,
        uris,
        lifetime: _,
        algorithm: _,
    } = spec;
    if common_name.is_none() && dns_names.is_empty() && uris.is_empty() {
        return Err(lookup::refused(
            "`spec.certificate.issue` must have a `commonName`, `dnsNames` or `uris`".to_owned(),
        ));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if let Some(name) = common_name {
        if name.is_empty() || name.chars().count() > COMMON_NAME_MAX {
            return Err(lookup::refused(
                "`spec.certificate.issue.commonName` must have from 1 to 64 characters (RFC 5280)".to_owned(),
            ));
        }
        params.distinguished_name.push(DnType::CommonName, name);
    }
    for (field, names, san) in [
        ("dnsNames", dns_names, SanType::DnsName as fn(_) -> _),
        ("uris", uris, SanType::URI),
    ] {
        for (index, name) in names.iter().enumerate() {
            let name = name.as_str().try_into().map_err(|_| {
                lookup::refused(format!(
                    "`spec.certificate.issue.{field}[{index}]` must be ASCII (RFC 5280)"
                ))
            })?;
            params.subject_alt_names.push(san(name));
        }
    }
    Ok(params)
}

/// What a server has to trust: the CA of now, and beside it those that vouch for a certificate of ours that is still
/// valid, so that a change of the CA cuts nobody off.
fn trusted(order: &Order<'_>, anchor: &Link) -> Vec<Link> {
    let mut trusted = vec![anchor.clone()];
    let Some(current) = order.current else {
        return trusted;
    };
    let read = |key: &str| {
        current
            .values
            .get(key)
            .and_then(|value| chain::read(value.expose()).ok())
    };
    let in_use: Vec<_> = [CERTIFICATE, PREVIOUS].into_iter().filter_map(read).collect();
    for old in read(TRUSTED).unwrap_or_default() {
        let vouches = |links: &Vec<Link>| {
            let chain: Vec<_> = links.iter().map(|link| link.der.clone()).collect();
            let at = links.first().map_or(order.now, |leaf| leaf.not_before.max(order.now));
            chain::verify(&[&old], &chain, at).is_ok()
        };
        if trusted.len() < TRUSTED_MAX
            && old.not_after > order.now
            && trusted.iter().all(|known| known.der != old.der)
            && in_use.iter().any(vouches)
        {
            trusted.push(old);
        }
    }
    trusted
}

/// A random serial number: positive, and always of the same length.
fn serial(fill: &mut dyn FnMut(&mut [u8])) -> [u8; SERIAL_BYTES] {
    let mut serial = [0; SERIAL_BYTES];
    fill(&mut serial);
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}

/// A certificate counts in whole seconds.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn earlier(time: Timestamp, before: Duration) -> Timestamp {
    whole(time.checked_sub(before).unwrap_or(Timestamp::UNIX_EPOCH))
}
