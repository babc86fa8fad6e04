//! OpenTelemetry spans: one for a call, and below it one for each of its attempts.
//!
//! They are off unless the environment names a collector ([`environment`]). Off, a call pays for one look at a cell, and
//! the W3C context of a caller passes through as it came. On, the provider gets the context of the attempt, so that what
//! it records hangs below the attempt that asked it.
//!
//! Names are those of the semantic conventions for HTTP, version 1.x. A query is in no span, nor a header or a body:
//! credentials travel in them.

use std::sync::OnceLock;
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode, Version};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector, HttpClient};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::domain::key::Key;

pub mod environment;

use environment::{Collector, SpansError};

/// How long the end of the process waits for the spans that are left.
const LAST_WORDS: Duration = Duration::from_secs(2);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Sends what is left when the process ends.
#[derive(Debug)]
pub struct Spans(SdkTracerProvider);

impl Spans {
    /// Starts spans for the whole process, sent to `collector` by `client`. Once in a process.
    pub fn start(collector: &Collector, client: impl HttpClient + 'static) -> Result<Self, SpansError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(collector.url.as_str())
            .build()
            .map_err(|_| SpansError::Exporter)?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource())
            .with_batch_exporter(exporter)
            .build();
        let scope = InstrumentationScope::builder("tidegate")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        TRACER
            .set(provider.tracer_with_scope(scope))
            .map_err(|_| SpansError::Taken)?;
        Ok(Self(provider))
    }

    /// Sends what is left, within two seconds. It blocks its thread.
    pub fn finish(self) {
        // What cannot be sent now is lost, and its sender has told why.
        let _ = self.0.shutdown_with_timeout(LAST_WORDS);
    }
}

/// What the environment says of this process, and what it leaves open.
fn resource() -> Resource {
    let said = Resource::builder().build();
    let has = |name: &'static str| said.get(&name.into()).is_some();
    let mut ours = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    // The SDK fills a name that nobody gave with a text that begins so.
    let named = said
        .get(&"service.name".into())
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if !named {
        ours.push(KeyValue::new("service.name", "tidegate"));
    }
    // In a Pod this is its name.
    if let Some(host) = std::env::var("HOSTNAME").ok().filter(|_| !has("service.instance.id")) {
        ours.push(KeyValue::new("service.instance.id", host));
    }
    Resource::builder().with_attributes(ours).build()
}

/// The span of a call; it ends with [`CallSpan::end`], or when it is dropped.
#[derive(Debug, Default)]
pub struct CallSpan(Option<Context>);

/// The span of an attempt; it ends with [`AttemptSpan::end`], or when it is dropped.
#[derive(Debug, Default)]
pub struct AttemptSpan(Option<Context>);

/// What is asked in an attempt.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// Method.
    pub method: &'a Method,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host, with its port if that is not the scheme's own.
    pub authority: &'a str,
    /// Host alone.
    pub host: &'a str,
    /// Port.
    pub port: u16,
    /// The endpoint's own path, put before the caller's.
    pub base: &'a str,
    /// The caller's path, without its query.
    pub path: &'a str,
    /// Name of the endpoint.
    pub endpoint: &'a str,
    /// Attempts of the call, with this one.
    pub number: u32,
}

impl CallSpan {
    /// `request`, for `integration` where one answers, begins.
    pub fn begin<B>(request: &Request<B>, integration: Option<&Key>) -> Self {
        let Some(tracer) = TRACER.get() else { return Self(None) };
        let parent =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(request.headers()));
        let mut attributes = method_attributes(request.method());
        attributes.push(KeyValue::new("url.scheme", "http"));
        attributes.push(KeyValue::new("url.path", request.uri().path().to_owned()));
        if let Some(version) = version(request.version()) {
            attributes.push(KeyValue::new("network.protocol.version", version));
        }
        if let Some(key) = integration {
            attributes.push(KeyValue::new("tidegate.namespace", key.namespace.to_string()));
            attributes.push(KeyValue::new("tidegate.integration", key.name.to_string()));
        }
        let builder = SpanBuilder::from_name(span_name(request.method()))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        let span = tracer.build_with_context(builder, &parent);
        Self(Some(parent.with_span(span)))
    }

    /// An attempt begins.
    pub fn attempt(&self, attempt: &Attempt<'_>) -> AttemptSpan {
        let (Some(tracer), Some(call)) = (TRACER.get(), &self.0) else {
            return AttemptSpan(None);
        };
        let mut attributes = method_attributes(attempt.method);
        let Attempt {
            scheme,
            authority,
            base,
            path,
            ..
        } = attempt;
        attributes.push(KeyValue::new("url.full", format!("{scheme}://{authority}{base}{path}")));
        attributes.push(KeyValue::new("server.address", attempt.host.to_owned()));
        attributes.push(KeyValue::new("server.port", i64::from(attempt.port)));
        attributes.push(KeyValue::new("tidegate.endpoint", attempt.endpoint.to_owned()));
        // The convention leaves it out where nothing was sent before.
        if attempt.number > 1 {
            attributes.push(KeyValue::new(
                "http.request.resend_count",
                i64::from(attempt.number - 1),
            ));
        }
        let builder = SpanBuilder::from_name(span_name(attempt.method))
            .with_kind(SpanKind::Client)
            .with_attributes(attributes);
        let span = tracer.build_with_context(builder, call);
        AttemptSpan(Some(call.with_span(span)))
    }

    /// The call has ended: with `status`, if it had an answer, after `attempts`. `outcome` is what the access log has for
    /// it: `answered`, or what went wrong.
    pub fn end(&mut self, status: Option<StatusCode>, outcome: &'static str, attempts: u32) {
        let Some(context) = self.0.take() else { return };
        let span = context.span();
        span.set_attribute(KeyValue::new("tidegate.attempts", i64::from(attempts)));
        if let Some(status) = status {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        }
        // To a server, what a caller did wrong is no error of its own.
        let is_error = status.is_none_or(|status| status.is_server_error()) || ["cut", "cancelled"].contains(&outcome);
        if outcome != "answered" {
            span.set_attribute(KeyValue::new("error.type", outcome));
        } else if let (true, Some(status)) = (is_error, status) {
            span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
        }
        if is_error {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

impl AttemptSpan {
    /// Puts its context into the headers that go to the provider, in place of the caller's.
    pub fn put(&self, headers: &mut HeaderMap) {
        let Some(context) = &self.0 else { return };
        TraceContextPropagator::new().inject_context(context, &mut HeaderInjector(headers));
        if headers.get("tracestate").is_some_and(|state| state.is_empty()) {
            headers.remove("tracestate");
        }
    }

    /// The attempt was answered with a status, or failed in the way that a slug names.
    pub fn end(self, result: Result<StatusCode, &'static str>) {
        let Some(context) = self.0 else { return };
        let span = context.span();
        // To a client, every status that is no success is an error.
        match result {
            Ok(status) => {
                span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
                if status.is_client_error() || status.is_server_error() {
                    span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
                    span.set_status(Status::error(""));
                }
            }
            Err(slug) => {
                span.set_attribute(KeyValue::new("error.type", slug));
                span.set_status(Status::error(""));
            }
        }
        span.end();
    }
}

/// Methods are a closed list in the conventions; what a caller makes up is not to become a name.
fn known(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = [
        "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT",
    ];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

fn span_name(method: &Method) -> &'static str {
    known(method).unwrap_or("HTTP")
}

fn method_attributes(method: &Method) -> Vec<KeyValue> {
    // Room for what is pushed afterwards, too.
    let mut attributes = Vec::with_capacity(8);
    attributes.push(KeyValue::new("http.request.method", known(method).unwrap_or("_OTHER")));
    attributes
}

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}
