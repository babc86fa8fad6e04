//! A client whose calls can be made to fail: a layer around the real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tower::BoxError;

use super::apiserver::{self, Place};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never reaches the API server.
    NotSent,
    /// The API server does it, and nobody hears so.
    AnswerLost,
    /// It never reaches the API server, and whoever makes it waits for ever, as if it had died.
    DiesBefore,
    /// The API server does it, and whoever made it waits for ever.
    DiesAfter,
}

/// Counts calls and lets one of them fail. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    at: Option<(usize, Fault)>,
    at_write: Option<(usize, Fault)>,
    /// Which paths count; absent: all.
    about: Option<fn(&str) -> bool>,
    calls: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
    happened: Arc<AtomicBool>,
}

impl Faults {
    /// Only counts.
    pub fn none() -> Self {
        Self::default()
    }

    /// The call of this number, from 1, fails.
    pub fn at(call: usize, fault: Fault) -> Self {
        Self {
            at: Some((call, fault)),
            ..Self::default()
        }
    }

    /// The call of this number, from 1, of those that are meant to change something fails.
    pub fn at_write(write: usize, fault: Fault) -> Self {
        Self {
            at_write: Some((write, fault)),
            ..Self::default()
        }
    }

    /// Only calls with such a path count, and may fail.
    pub fn about(self, path: fn(&str) -> bool) -> Self {
        Self {
            about: Some(path),
            ..self
        }
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Of these, those that are meant to change something.
    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    /// What was to fail has failed; what was to be done all the same is done.
    pub fn happened(&self) -> bool {
        self.happened.load(Ordering::SeqCst)
    }

    /// The same place, seen through a client that fails.
    pub async fn place(&self, place: &Place) -> Place {
        let kubeconfig = Kubeconfig::read_from(apiserver::kubeconfig().await).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        let faults = self.clone();
        let client = ClientBuilder::try_from(config)
            .unwrap()
            .with_layer(&tower::layer::layer_fn(move |inner| Faulty {
                inner,
                faults: faults.clone(),
            }))
            .build();
        Place {
            client,
            namespace: place.namespace.clone(),
        }
    }
}

struct Faulty<S> {
    inner: S,
    faults: Faults,
}

impl<S, B> tower::Service<Request<Body>> for Faulty<S>
where
    S: tower::Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.faults.about.is_some_and(|about| !about(request.uri().path())) {
            let answer = self.inner.call(request);
            return Box::pin(async move { answer.await.map_err(Into::into) });
        }
        let number = self.faults.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let mut fault = self.faults.at.and_then(|(at, fault)| (at == number).then_some(fault));
        if *request.method() != Method::GET {
            let write = self.faults.writes.fetch_add(1, Ordering::SeqCst) + 1;
            let at_write = self
                .faults
                .at_write
                .and_then(|(at, fault)| (at == write).then_some(fault));
            fault = fault.or(at_write);
        }
        if matches!(fault, Some(Fault::NotSent | Fault::DiesBefore)) {
            self.faults.happened.store(true, Ordering::SeqCst);
        }
        if fault == Some(Fault::NotSent) {
            return Box::pin(async { Err("the call was not sent".into()) });
        }
        if fault == Some(Fault::DiesBefore) {
            return Box::pin(std::future::pending());
        }
        let (answer, happened) = (self.inner.call(request), self.faults.happened.clone());
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into)?;
            happened.fetch_or(fault.is_some(), Ordering::SeqCst);
            match fault {
                Some(Fault::DiesAfter) => std::future::pending().await,
                Some(_) => Err("the answer was lost".into()),
                None => Ok(answer),
            }
        })
    }
}
