//! One call: the request with its values, authorised, to a host that may see what authorises it.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::Given;
use super::authority::{Authorised, authorised};
use crate::domain::hosts::{HostPattern, allowed};
use crate::domain::inject::inject;
use crate::domain::plan::Material;
use crate::domain::rotation::Minted;
use crate::domain::secret::SecretValue;
use crate::domain::validate::Violation;
use crate::provider::exchange::Call;
use crate::provider::template::{self, Known, Rendered, Step};
use crate::provider::{IssueError, Order};

/// Builds the call of `given`.
pub fn build(order: &Order<'_>, given: Given<'_>, known: Known<'_>, own: Option<&Minted>) -> Result<Call, IssueError> {
    let Given { step, request, .. } = given;
    let Rendered {
        method,
        mut url,
        headers,
        body,
    } = template::render(step, request, known)?;
    let authorised = given
        .credential
        .map(|name| authorised(order, step, name, own))
        .transpose()?;
    let (hosts, who) = match (&authorised, given.credential) {
        (Some(Authorised { allowed_hosts, .. }), Some(name)) => (allowed_hosts, name),
        _ => (&order.spec.allowed_hosts, &*order.key.name),
    };
    check_host(step, &url, hosts, who)?;
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let unfit = || violated(step, "request.headers", "must be headers");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| unfit())?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    let mut certificate = None;
    if let Some(Authorised { material, .. }) = authorised {
        authorise(step, &material, &mut url, &mut map)?;
        if let Material::Certificate { chain, key } = material {
            certificate = Some((chain, key));
        }
    }
    // Everything in the map is text: it was made of strings.
    let headers = map.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.clone(), SecretValue::new(value)))
    });
    Ok(Call {
        method,
        headers: headers.collect(),
        url,
        body,
        ca_pem: None,
        certificate,
    })
}

/// Puts the credential into the request.
fn authorise(step: Step, material: &Material, url: &mut Url, headers: &mut HeaderMap) -> Result<(), IssueError> {
    if let Material::Unsent { .. } = material {
        let must = "must name a Credential that requests carry, and not a generated one";
        return Err(violated(step, "credentialRef", must));
    }
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = PathAndQuery::try_from(format!("{}{query}", url.path()));
    let mut target = target.map_err(|_| violated(step, "request.url", "must be a URL that can be requested"))?;
    inject(material, &mut target, headers).map_err(|unfit| {
        violated(
            step,
            "credentialRef",
            &format!("must name a usable Credential: {unfit}"),
        )
    })?;
    if let Material::Query { .. } = material {
        url.set_query(target.query());
    }
    Ok(())
}

/// What authorises a call, or is issued by it, goes to hosts that may see it and to no other.
fn check_host(step: Step, url: &Url, hosts: &[String], who: &str) -> Result<(), IssueError> {
    let patterns: Vec<HostPattern> = hosts.iter().filter_map(|host| host.parse().ok()).collect();
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default());
    let port = port.unwrap_or_default();
    if allowed(&patterns, host, port) {
        return Ok(());
    }
    let must = format!(
        "must be at a host that `spec.allowedHosts` of Credential `{who}` allows, which `{host}:{port}` is not; add it \
         there or call another"
    );
    Err(violated(step, "request.url", &must))
}

fn violated(step: Step, field: &str, must: &str) -> IssueError {
    Violation {
        field: step.field(field),
        must: must.to_owned(),
    }
    .into()
}
