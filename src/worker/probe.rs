//! Active probes: one loop for each endpoint, on the path that traffic takes.
//!
//! A probe dials, verifies and authenticates as a call does, so what it finds is what a call would find; it goes through
//! no breaker, because it is to find out when the endpoint is well again. Redirects are not followed. What it says of
//! what it found is the status and nothing else of what the provider sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, TE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use tokio::task::JoinSet;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::api::integration::{HealthReason, Protocol};
use crate::domain::grpc::Code;
use crate::domain::grpc::health::{self, Serving};
use crate::domain::plan::ProbePlan;
use crate::domain::probing::Finding;

use super::body::outgoing::Outgoing;
use super::credential::Asker;
use super::endpoint::Endpoint;
use super::expression::{self, Certificate, Expression, ExpressionError, Seen};
use super::grpc::Said;
use super::layer::authenticate::authenticate;
use super::layer::fault::Unanswered;
use super::pool::alone::Alone;
use super::stack::Stack;

mod websocket;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")));

/// Probes are spread by up to this share of the interval, so that the workers of an Integration do not probe together.
const JITTER: f64 = 0.1;

/// Probes every endpoint of `stack` until the set is dropped; there is nothing to do without a health check.
pub fn start(stack: &Arc<Stack>) -> JoinSet<()> {
    let mut probes = JoinSet::new();
    if let Some(plan) = &stack.plan.health_check {
        for endpoint in &stack.endpoints {
            probes.spawn(probe_on(stack.clone(), endpoint.clone(), plan.clone()));
        }
    }
    probes
}

async fn probe_on(stack: Arc<Stack>, endpoint: Arc<Endpoint>, plan: ProbePlan) {
    let expression = match &plan.expression {
        Some(text) => Some(compile(text.clone()).await),
        None => None,
    };
    // An edit starts this anew; what was probed a moment ago need not be probed again for that.
    let mut next = match endpoint.standing().last_probe() {
        Some(last) => last + plan.interval,
        None => Instant::now(),
    } + spread(plan.interval.min(Duration::from_secs(1)));
    loop {
        tokio::time::sleep_until(next).await;
        next = Instant::now() + plan.interval + spread(plan.interval);
        // The provider counts probes too. One that finds no turn is left out: traffic shows how the endpoint is.
        // One that would disturb a provider that asked to be left alone is left out too.
        if endpoint.pause().left().is_some() {
            continue;
        }
        if let Some(quota) = &stack.quota
            && quota.take_within(Instant::now() + plan.interval).await.is_err()
        {
            continue;
        }
        let timer = endpoint.standing().metrics.probe.start_timer();
        let probed = tokio::time::timeout(plan.timeout, probe(&stack, &endpoint, &plan, expression.as_ref()));
        let finding = probed.await.unwrap_or_else(|_| Finding::Bad {
            reason: HealthReason::ProbeTimeout,
            message: format!("no answer within {:?}", plan.timeout),
        });
        timer.observe_duration();
        tracing::debug!(target: "tidegate::probe", endpoint = endpoint.name(), ?finding, "probe");
        endpoint.standing().probed(&finding);
    }
}

fn spread(interval: Duration) -> Duration {
    interval.mul_f64(JITTER * rand::random::<f64>())
}

async fn compile(text: String) -> Result<Expression, ExpressionError> {
    // The parser is waited for on a thread that may be waited on.
    let compiled = tokio::task::spawn_blocking(move || Expression::compile(&text));
    compiled.await.unwrap_or(Err(ExpressionError::Failed))
}

async fn probe(
    stack: &Stack,
    endpoint: &Endpoint,
    plan: &ProbePlan,
    expression: Option<&Result<Expression, ExpressionError>>,
) -> Finding {
    let request = match ask(stack, endpoint, plan) {
        Ok(request) => request,
        Err(message) => return bad(HealthReason::ProbeFailed, message),
    };
    let method = request.method().clone();
    let handshake = (stack.plan.protocol == Protocol::WebSocket).then(|| request.headers().clone());
    let Alone {
        mut response,
        certificate,
        ..
    } = match endpoint.pool().send_alone(request).await {
        Ok(answered) => answered,
        Err(error) => {
            let unanswered = Unanswered::send(&error, stack.plan.limits.headers);
            let reason = match unanswered.health {
                Some(reason @ (HealthReason::AddressRefused | HealthReason::NameNotResolved)) => reason,
                _ => HealthReason::ProbeFailed,
            };
            return bad(reason, unanswered.failure.detail());
        }
    };
    let status = response.status();
    stack.note_pause(endpoint, status, response.headers());
    if stack.plan.protocol == Protocol::GRPC {
        let (head, body) = response.into_parts();
        let told = told(status, &head.headers, body).await;
        if let (Ok((said, _)), true) = (&told, plan.use_credential) {
            stack.note_credentials(endpoint, &method, said.status, Asker::Probe);
        }
        return match told.and_then(|(said, answer)| serving(said, answer)) {
            Err(bad) => bad,
            Ok(_) if expression.is_none() => Finding::Good,
            Ok(serving) => {
                let body = format!(r#"{{"status":"{}"}}"#, serving.name());
                let seen = see(status, &head.headers, body.into(), certificate.as_ref());
                judge(expression, seen, plan.timeout).await
            }
        };
    }
    if plan.use_credential {
        stack.note_credentials(endpoint, &method, status, Asker::Probe);
    }
    let code = status.as_u16();
    if !plan
        .statuses
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&code))
    {
        return bad(HealthReason::UnexpectedStatus, format!("answered with status {code}"));
    }
    if let (Some(asked), StatusCode::SWITCHING_PROTOCOLS) = (&handshake, status)
        && let Err(why) = websocket::check(asked, &mut response).await
    {
        return bad(HealthReason::ProbeFailed, why);
    }
    if expression.is_none() {
        return Finding::Good;
    }
    let (head, body) = response.into_parts();
    let Ok((body, _)) = read(body).await else {
        return bad(HealthReason::ProbeFailed, BROKE_OFF);
    };
    let seen = see(status, &head.headers, body, certificate.as_ref());
    judge(expression, seen, plan.timeout).await
}

async fn judge(expression: Option<&Result<Expression, ExpressionError>>, seen: Seen, timeout: Duration) -> Finding {
    match expression {
        None => Finding::Good,
        Some(Err(error)) => bad(HealthReason::ProbeFailed, error.to_string()),
        Some(Ok(expression)) => match expression.holds(seen, timeout).await {
            Ok(true) => Finding::Good,
            Ok(false) => bad(HealthReason::ExpressionFalse, "the expression is false"),
            Err(error @ ExpressionError::Timeout) => bad(HealthReason::ProbeFailed, error.to_string()),
            Err(error) => bad(HealthReason::ExpressionFalse, error.to_string()),
        },
    }
}

/// What the answer to a call of grpc.health.v1 says, and its message.
async fn told(status: StatusCode, headers: &HeaderMap, body: Incoming) -> Result<(Said, Vec<u8>), Finding> {
    if let Some(code) = Code::of(headers) {
        return Ok((Said::grpc(code, false), Vec::new()));
    }
    if status != StatusCode::OK {
        return Ok((Said::http(status), Vec::new()));
    }
    let Ok((body, trailers)) = read(body).await else {
        return Err(bad(HealthReason::ProbeFailed, BROKE_OFF));
    };
    let code = trailers.as_ref().and_then(Code::of).unwrap_or(Code::Unknown);
    Ok((Said::grpc(code, false), body))
}

/// Whether the service serves.
fn serving(said: Said, message: Vec<u8>) -> Result<Serving, Finding> {
    if said.code != Some(Code::Ok) {
        return Err(bad(HealthReason::UnexpectedStatus, said.described()));
    }
    match health::answer(&message) {
        Some(Serving::Serving) => Ok(Serving::Serving),
        Some(other) => {
            let message = format!("the health service says {}", other.name());
            Err(bad(HealthReason::UnexpectedStatus, message))
        }
        None => Err(bad(
            HealthReason::ProbeFailed,
            "what was answered is not a message of grpc.health.v1",
        )),
    }
}

const BROKE_OFF: &str = "the answer broke off";

fn bad(reason: HealthReason, message: impl Into<String>) -> Finding {
    Finding::Bad {
        reason,
        message: message.into(),
    }
}

fn ask(stack: &Stack, endpoint: &Endpoint, plan: &ProbePlan) -> Result<Request<Outgoing>, String> {
    const TARGET: &str = "the probe's path is not a path";
    let grpc = stack.plan.protocol == Protocol::GRPC;
    let method = if grpc { "POST" } else { &plan.method };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| "the probe's method is not a method")?;
    let path = if grpc {
        health::PATH.to_owned()
    } else if plan.path.starts_with('/') {
        plan.path.clone()
    } else {
        format!("/{}", plan.path)
    };
    let path = PathAndQuery::try_from(path).map_err(|_| TARGET)?;
    let address = endpoint.address();
    let mut target = address.join(&path).ok_or(TARGET)?;
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, AGENT);
    if grpc {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    }
    if stack.plan.protocol == Protocol::WebSocket {
        websocket::ask(&mut headers);
    }
    // The connection shows a certificate whether or not the request carries a credential.
    let now = Instant::now();
    let needed = endpoint
        .credentials()
        .iter()
        .filter_map(|index| stack.credentials.get(*index))
        .filter(|credential| plan.use_credential || credential.is_certificate());
    for credential in needed {
        if let Some(why) = credential.trouble(now) {
            return Err(format!("the credential `{}` {why}", credential.plan().name));
        }
    }
    if plan.use_credential {
        if let Some(name) = endpoint.not_allowed() {
            return Err(format!(
                "the credential `{name}` may not be sent to the endpoint's host"
            ));
        }
        let credentials = endpoint
            .credentials()
            .iter()
            .filter_map(|index| stack.credentials.get(*index));
        authenticate(&method, &mut target, &mut headers, credentials)
            .map_err(|(name, _)| format!("the credential `{name}` cannot be sent in a request"))?;
    }
    let mut request = Request::new(if grpc {
        Outgoing::own(health::question(&plan.service))
    } else {
        Outgoing::empty()
    });
    *request.method_mut() = method;
    *request.uri_mut() = address.with(target).ok_or(TARGET)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// As much of the body as an expression may look at, and the trailers behind it; the rest is left where it is.
async fn read(mut body: Incoming) -> Result<(Vec<u8>, Option<HeaderMap>), hyper::Error> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let data: Bytes = match frame?.into_data() {
            Ok(data) => data,
            Err(frame) => return Ok((read, frame.into_trailers().ok())),
        };
        read.extend_from_slice(&data[..data.len().min(expression::BODY - read.len())]);
        if read.len() == expression::BODY {
            break;
        }
    }
    Ok((read, None))
}

fn see(status: StatusCode, headers: &HeaderMap, body: Vec<u8>, certificate: Option<&CertificateDer<'_>>) -> Seen {
    let mut seen = Seen {
        status: status.as_u16(),
        body,
        ..Seen::default()
    };
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        seen.headers
            .entry(name.as_str().to_owned())
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    seen.certificate = certificate.and_then(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let end = Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?;
        Some(Certificate {
            subject: certificate.subject().to_string(),
            not_after: end.to_string(),
            expires_in_seconds: end.as_second() - Timestamp::now().as_second(),
        })
    });
    seen
}
