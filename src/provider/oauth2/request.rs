//! The request for a token: which grant, and how the client proves who it is.

use http::{HeaderName, Method, header};
use jiff::Timestamp;

use super::assertion::{Claims, KEY_MUST, Signer};
use super::endpoint::Endpoint;
use super::form::{self, Form};
use super::{IssueError, Order, REFRESH_TOKEN};
use crate::api::credential::oauth2::{ClientAuthentication, Grant, OAuth2};
use crate::api::integration::Http2;
use crate::domain::plan::TlsPlan;
use crate::domain::rotation::root;
use crate::domain::secret::SecretValue;
use crate::net::tls::{self, ClientCertificate};
use crate::provider::exchange::Call;
use crate::provider::lookup::{self, Source, invalid, unset};

/// Parameters that are ours to write, whatever the grant: `parameters` must not have them.
const RESERVED: [&str; 8] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "refresh_token",
    "assertion",
    "subject_token",
];

/// A parameter of [`Grant::JWTBearer`] that becomes a claim.
const SUBJECT: &str = "sub";
/// A parameter of [`Grant::TokenExchange`] that has a default.
const SUBJECT_TOKEN_TYPE: &str = "subject_token_type";
/// That default (RFC 8693, 3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// RFC 7523, 2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// RFC 8693, 2.1.
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 7523, 2.2.
const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A request, but for what depends on the token endpoint.
#[derive(Debug)]
pub struct Prepared {
    /// The refresh token that it uses up.
    pub refresh_token: Option<SecretValue>,
    /// PEM certificates to trust instead of the public roots.
    pub ca_pem: Option<String>,
    form: Form,
    authorization: Option<SecretValue>,
    certificate: Option<(String, SecretValue)>,
    signer: Option<Signer>,
    /// The client signs who it is.
    proves_itself: bool,
    /// The client signs what it asks for, about this subject.
    asserts: Option<String>,
    client: String,
    /// Tells apart what is signed for one attempt and the next.
    jti: String,
}

/// Everything that can be said before the token endpoint is known. What is missing or unusable shows here, before
/// anybody is asked anything.
pub fn prepare(spec: &OAuth2, order: &Order<'_>) -> Result<Prepared, IssueError> {
    check_parameters(spec)?;
    let mut prepared = Prepared {
        refresh_token: None,
        ca_pem: ca_pem(spec, order)?,
        form: Form::default(),
        authorization: None,
        certificate: None,
        signer: None,
        proves_itself: false,
        asserts: None,
        client: spec.client_id.clone().unwrap_or_default(),
        jti: format!("{}.{}", order.attempt.id, order.attempt.sends),
    };
    prepared.grant(spec, order)?;
    prepared.authenticate(spec, order)?;
    prepared.further(spec);
    Ok(prepared)
}

impl Prepared {
    fn grant(&mut self, spec: &OAuth2, order: &Order<'_>) -> Result<(), IssueError> {
        let subject_token = || Source::of("spec.oauth2.subjectTokenRef", spec.subject_token_ref.as_ref());
        match spec.grant {
            Grant::ClientCredentials => self.add("grant_type", "client_credentials"),
            Grant::RefreshToken => {
                let token = refresh_token(spec, order)?;
                self.add("grant_type", "refresh_token");
                self.form.add("refresh_token", token.clone());
                self.refresh_token = Some(token);
            }
            Grant::JWTBearer => {
                self.add("grant_type", JWT_BEARER);
                if spec.subject_token_ref.is_some() {
                    self.form.add("assertion", subject_token()?.text(order.sources)?);
                } else {
                    self.require_client(spec)?;
                    self.signer = Some(signer(spec, order)?);
                    let subject = spec.parameters.get(SUBJECT).unwrap_or(&self.client);
                    self.asserts = Some(subject.clone());
                }
            }
            Grant::TokenExchange => {
                self.add("grant_type", TOKEN_EXCHANGE);
                self.form.add("subject_token", subject_token()?.text(order.sources)?);
                let kind = spec.parameters.get(SUBJECT_TOKEN_TYPE);
                self.add(SUBJECT_TOKEN_TYPE, kind.map_or(ACCESS_TOKEN, String::as_str));
            }
        }
        Ok(())
    }

    fn authenticate(&mut self, spec: &OAuth2, order: &Order<'_>) -> Result<(), IssueError> {
        let secret = || Source::of("spec.oauth2.clientSecretRef", spec.client_secret_ref.as_ref())?.text(order.sources);
        let authentication = spec.client_authentication.unwrap_or_default();
        if authentication != ClientAuthentication::None {
            self.require_client(spec)?;
        }
        let client = self.client.clone();
        match authentication {
            ClientAuthentication::Basic => self.authorization = Some(form::basic(&client, &secret()?)),
            ClientAuthentication::Post => {
                self.add("client_id", &client);
                self.form.add("client_secret", secret()?);
            }
            ClientAuthentication::PrivateKeyJWT => {
                self.add("client_id", &client);
                self.add("client_assertion_type", CLIENT_ASSERTION);
                self.proves_itself = true;
                self.signer = Some(signer(spec, order)?);
            }
            ClientAuthentication::TLS => {
                self.add("client_id", &client);
                self.certificate = Some(certificate(spec, order)?);
            }
            // RFC 6749, 3.2.1. Where the grant is an assertion of the client's own, that says who it is.
            ClientAuthentication::None if !client.is_empty() && self.asserts.is_none() => {
                self.add("client_id", &client);
            }
            ClientAuthentication::None => (),
        }
        Ok(())
    }

    fn further(&mut self, spec: &OAuth2) {
        if !spec.scopes.is_empty() {
            self.add("scope", &spec.scopes.join(" "));
        }
        for (name, value) in [("audience", &spec.audience), ("resource", &spec.resource)] {
            if let Some(value) = value {
                self.add(name, value);
            }
        }
        let claim = self.asserts.is_some();
        for (name, value) in &spec.parameters {
            if !(claim && name == SUBJECT) {
                self.add(name, value);
            }
        }
    }

    /// The call of `endpoint`, signed `now` where something is signed.
    pub fn call(&self, endpoint: &Endpoint, now: Timestamp) -> Result<Call, IssueError> {
        let mut form = self.form.clone();
        if self.proves_itself {
            let claims = Claims::at(now, &self.client, &self.client, &endpoint.text, &self.jti);
            form.add("client_assertion", self.sign(&claims)?);
        }
        if let Some(subject) = &self.asserts {
            let scope = self.form.get("scope");
            // Both assertions may be in one request, and each is used once.
            let jti = format!("{}.grant", self.jti);
            let mut claims = Claims::at(now, &self.client, subject, &endpoint.text, &jti);
            claims.scope = scope;
            form.add("assertion", self.sign(&claims)?);
        }
        let mut headers: Vec<(HeaderName, SecretValue)> = vec![
            (header::ACCEPT, SecretValue::new("application/json")),
            (header::CONTENT_TYPE, SecretValue::new(form::MEDIA_TYPE)),
        ];
        headers.extend(self.authorization.clone().map(|value| (header::AUTHORIZATION, value)));
        Ok(Call {
            method: Method::POST,
            url: endpoint.url.clone(),
            headers,
            body: Some(form.encode()),
            ca_pem: self.ca_pem.clone(),
            certificate: self.certificate.clone(),
        })
    }

    fn sign(&self, claims: &Claims<'_>) -> Result<SecretValue, IssueError> {
        let signed = self.signer.as_ref().and_then(|signer| signer.sign(claims).ok());
        let failed = "`spec.oauth2.clientKeyRef`: the key could not sign; check it, or name another";
        signed.ok_or_else(|| lookup::failed(failed))
    }

    fn add(&mut self, name: &str, value: &str) {
        self.form.add(name, SecretValue::new(value));
    }

    fn require_client(&self, spec: &OAuth2) -> Result<(), IssueError> {
        if !self.client.is_empty() {
            return Ok(());
        }
        Err(match spec.client_authentication {
            Some(_) => unset("spec.oauth2.clientID"),
            None => invalid(
                "spec.oauth2.clientID",
                "must be set, unless `spec.oauth2.clientAuthentication` is None",
            ),
        })
    }
}

/// `parameters` add to what is ours and never take its place.
fn check_parameters(spec: &OAuth2) -> Result<(), IssueError> {
    let fields = [
        ("scope", !spec.scopes.is_empty(), "spec.oauth2.scopes"),
        ("audience", spec.audience.is_some(), "spec.oauth2.audience"),
        ("resource", spec.resource.is_some(), "spec.oauth2.resource"),
    ];
    for name in spec.parameters.keys() {
        if RESERVED.contains(&name.as_str()) {
            let must = format!("must not have `{name}`, which follows from the other fields");
            return Err(invalid("spec.oauth2.parameters", &must));
        }
        if let Some((_, _, field)) = fields.iter().find(|(field, set, _)| field == name && *set) {
            let must = format!("must not have `{name}` while `{field}` is set");
            return Err(invalid("spec.oauth2.parameters", &must));
        }
    }
    Ok(())
}

/// The refresh token to use: the one that came with the value in use, as long as that was made from the same sources;
/// else the first one. So an edit of the source, after a person has authorised anew, counts.
fn refresh_token(spec: &OAuth2, order: &Order<'_>) -> Result<SecretValue, IssueError> {
    let kept = order
        .current
        .filter(|current| root(&current.record.sources) == root(&order.attempt.sources))
        .and_then(|current| current.values.get(REFRESH_TOKEN));
    match kept {
        Some(token) => Ok(token.clone()),
        None => Source::of("spec.oauth2.refreshTokenRef", spec.refresh_token_ref.as_ref())?.text(order.sources),
    }
}

fn signer(spec: &OAuth2, order: &Order<'_>) -> Result<Signer, IssueError> {
    let source = Source::of("spec.oauth2.clientKeyRef", spec.client_key_ref.as_ref())?;
    Signer::from_pem(source.read(order.sources)?).ok_or_else(|| source.unusable(KEY_MUST))
}

fn certificate(spec: &OAuth2, order: &Order<'_>) -> Result<(String, SecretValue), IssueError> {
    let field = "spec.oauth2.clientCertificateRef";
    let (chain, key) = lookup::certificate(field, spec.client_certificate_ref.as_ref(), order.sources)?;
    // What cannot be used shows before anything is dialled, as something that only an edit mends.
    let presented = ClientCertificate {
        chain: chain.clone(),
        key: key.clone(),
    };
    tls::provider_config_with(&TlsPlan::default(), Http2::Never, Some(&presented))
        .map_err(|error| invalid(field, &format!("must name a usable certificate and key: {error}")))?;
    Ok((chain, key))
}

fn ca_pem(spec: &OAuth2, order: &Order<'_>) -> Result<Option<String>, IssueError> {
    let Some(reference) = spec.tls.as_ref().and_then(|tls| tls.ca_ref.as_ref()) else {
        return Ok(None);
    };
    let plan = TlsPlan {
        ca_pem: Some(lookup::ca("spec.oauth2.tls.caRef", reference, order.sources)?),
        ..TlsPlan::default()
    };
    tls::provider_config(&plan, Http2::Never).map_err(|error| {
        invalid(
            "spec.oauth2.tls.caRef",
            &format!("must name usable certificates: {error}"),
        )
    })?;
    Ok(plan.ca_pem)
}

#[cfg(test)]
mod tests;
