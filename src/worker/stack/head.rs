//! What a call asks for: read once, made into a request for each attempt.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Stack;
use super::graphql::Operation;
use crate::api::integration::{IdempotencyKey, Protocol, RetryMethods};
use crate::domain::balance::Key;
use crate::domain::classify;
use crate::telemetry::spans::Attempt;
use crate::worker::body::outgoing::{Outgoing, Source};
use crate::worker::credential::Credential;
use crate::worker::endpoint::Endpoint;
use crate::worker::grpc::Bounded;
use crate::worker::hop;
use crate::worker::kept::Resumed;
use crate::worker::layer::authenticate::authenticate;
use crate::worker::layer::observe::random_uuid;
use crate::worker::problem::Failure;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

const INVALID_TARGET: Failure = Failure::InvalidRequest {
    detail: Cow::Borrowed("the request target is not a path"),
};

/// What a call asks for, without what was for our hop only.
pub(super) struct Asked {
    pub method: Method,
    pub target: PathAndQuery,
    pub headers: HeaderMap,
    /// It may arrive twice.
    pub repeatable: bool,
    /// What the operation is, where GraphQL is spoken and one is asked for.
    pub operation: Option<Operation>,
    /// It is a call of gRPC, for an Integration that speaks it.
    pub grpc: Option<Bounded>,
}

impl Asked {
    /// When the caller gives it up, if it has said so.
    pub(super) fn until(&self) -> Option<Instant> {
        self.grpc?.until
    }

    /// What the values of `header` mean to the choice of an endpoint; `None` where there are none, or only empty ones.
    pub(super) fn key(&self, header: &str) -> Option<Key> {
        let values = || self.headers.get_all(header).iter().map(|value| value.as_bytes());
        values().any(|value| !value.is_empty()).then(|| Key::of(values()))
    }
}

impl Asked {
    /// What the span of an attempt at `endpoint`, the `number`th of its call, tells.
    pub(super) fn spanned<'a>(&'a self, endpoint: &'a Endpoint, number: u32) -> Attempt<'a> {
        let address = endpoint.address();
        Attempt {
            method: &self.method,
            scheme: address.scheme.as_str(),
            authority: address.authority.as_str(),
            host: &address.host,
            port: address.port,
            base: &address.base,
            path: self.target.path(),
            endpoint: endpoint.name(),
            number,
        }
    }
}

impl Stack {
    /// Checks what is asked for against the limits, and takes off what was for our hop only.
    pub(super) fn read(&self, started: Instant, mut request: Request<Incoming>) -> Result<(Asked, Incoming), Failure> {
        let limits = &self.plan.limits;
        if hop::size(request.headers()) > limits.headers {
            return Err(Failure::RequestTooLarge {
                what: "the request's headers",
                limit: limits.headers,
            });
        }
        if request.body().size_hint().lower() > limits.request_body {
            return Err(Failure::RequestTooLarge {
                what: "the request's body",
                limit: limits.request_body,
            });
        }
        let handshake = self.handshake(&request)?;
        available(&self.credentials)?;
        let grpc = if self.plan.protocol == Protocol::GRPC {
            Some(Bounded::read(&mut request, started)?)
        } else {
            None
        };
        let (mut head, body) = request.into_parts();
        hop::strip(&mut head.headers);
        head.headers.remove(HOST);
        if let Some(handshake) = handshake {
            handshake.put(&mut head.headers);
        }
        // What waits for it is answered by hyper as soon as the body is read.
        head.headers.remove(EXPECT);
        if !body.is_end_stream() {
            // hyper says again how long the body is, from the body itself.
            head.headers.remove(CONTENT_LENGTH);
        }
        let target = head
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok((
            Asked {
                method: head.method,
                target,
                headers: head.headers,
                repeatable: false,
                operation: None,
                grpc,
            },
            body,
        ))
    }

    /// Makes the `body` of what is asked for one that attempts can send, and finds out whether they may.
    pub(super) async fn source(
        &self,
        asked: &mut Asked,
        body: Incoming,
        started: Instant,
        deadline: Instant,
    ) -> Result<Source, Failure> {
        let body = match &self.plan.graphql {
            None => Resumed::from(body),
            Some(graphql) => self.operation(graphql, asked, body, started, deadline).await?,
        };
        let retries = &self.plan.retries;
        // To gRPC that header is metadata like any other.
        let plain = asked.grpc.is_none();
        let mut has_key = plain && asked.headers.get(IDEMPOTENCY_KEY).is_some_and(|key| !key.is_empty());
        if plain
            && !has_key
            && retries.idempotency_key == IdempotencyKey::Add
            && [Method::POST, Method::PATCH].contains(&asked.method)
            && !asked.operation.is_some_and(Operation::is_repeatable)
            && let Ok(key) = HeaderValue::try_from(random_uuid())
        {
            // Set here, above all attempts, so that it is the same in each.
            asked.headers.insert(IDEMPOTENCY_KEY, key);
            has_key = true;
        }
        asked.repeatable = match asked.operation {
            None => classify::is_repeatable(&asked.method, has_key, retries.methods),
            // Its method says nothing of it.
            Some(operation) => operation.is_repeatable() || has_key || retries.methods == RetryMethods::All,
        };
        let refusable = self.endpoints.iter().any(|endpoint| endpoint.pool().may_speak_http2());
        // A request that is answered 401 may be sent again whatever its method: the provider has not acted.
        let keep = self.retries.may_repeat(asked.repeatable, refusable) || self.may_renew();
        Ok(Source::new(
            body,
            self.plan.limits.request_body,
            self.plan.timeouts.idle,
            keep,
            self.injected.clone(),
        ))
    }

    pub(super) fn authenticated(
        &self,
        endpoint: &Endpoint,
        asked: &Asked,
        body: Outgoing,
    ) -> Result<Request<Outgoing>, Failure> {
        const NOT_ALLOWED: &str = "may not be sent to the endpoint's host; add the host to its `allowedHosts`";
        const UNFIT: &str = "has a value that cannot be sent in a request";
        let refuse = |credential: &str, why| Failure::CredentialUnavailable {
            credential: credential.to_owned(),
            why,
        };
        if let Some(credential) = endpoint.not_allowed() {
            return Err(refuse(credential, NOT_ALLOWED));
        }
        let address = endpoint.address();
        let mut target = address.join(&asked.target).ok_or(INVALID_TARGET)?;
        let mut headers = asked.headers.clone();
        if let Some(grpc) = asked.grpc {
            grpc.say(&mut headers);
        }
        // Asked again in each attempt, for time has passed since the first.
        available(self.carried(endpoint, &asked.method))?;
        let credentials = endpoint
            .credentials()
            .iter()
            .filter_map(|index| self.credentials.get(*index));
        authenticate(&asked.method, &mut target, &mut headers, credentials)
            .map_err(|(credential, _)| refuse(&credential, UNFIT))?;
        let mut request = Request::new(body);
        *request.method_mut() = asked.method.clone();
        *request.uri_mut() = address.with(target).ok_or(INVALID_TARGET)?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Whether each of `credentials` has a value that may be sent now.
pub(super) fn available<'a>(credentials: impl IntoIterator<Item = &'a Credential>) -> Result<(), Failure> {
    let now = Instant::now();
    for credential in credentials {
        if let Some(why) = credential.trouble(now) {
            return Err(Failure::CredentialUnavailable {
                credential: credential.plan().name.clone(),
                why,
            });
        }
    }
    Ok(())
}
