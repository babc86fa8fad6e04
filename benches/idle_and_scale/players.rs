//! The workers of a cluster without nodes: a Pod object and a control port for every Deployment that the controller makes.
//!
//! Each has an address of its own in 127.0.0.0/8, proves itself with the certificate that the controller issued, takes the
//! plan that it mounts and those that are pushed, and reports.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tidegate::api::PORT_CONTROL;
use tidegate::api::integration::{CircuitState, Health, HealthReason, TrippedBy};
use tidegate::domain::health::{self, CircuitReport, CredentialReport, EndpointReport, Report, control};
use tidegate::domain::plan::Plan;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::Outcome;

/// Makes a worker for every Deployment of ours, for ever. What all of them say of their circuits is `circuit`.
pub async fn play(client: Client, circuit: watch::Receiver<CircuitState>) -> Outcome {
    let deployments: Api<Deployment> = Api::all(client.clone());
    let ours = watcher::Config::default().labels("app.kubernetes.io/managed-by=tidegate");
    let mut events = std::pin::pin!(watcher(deployments, ours).default_backoff().applied_objects());
    let mut known = BTreeSet::new();
    while let Some(deployment) = events.try_next().await? {
        let name = format!(
            "{}/{}",
            deployment.namespace().unwrap_or_default(),
            deployment.name_any()
        );
        if known.insert(name.clone()) {
            let number = u32::try_from(known.len())?;
            let (client, circuit) = (client.clone(), circuit.clone());
            tokio::spawn(async move {
                if let Err(error) = start(client, deployment, number, circuit).await {
                    eprintln!("the worker of {name} does not play: {error}");
                }
            });
        }
    }
    Ok(())
}

/// One worker: its control port first, then the Pod that leads there.
async fn start(client: Client, deployment: Deployment, number: u32, circuit: watch::Receiver<CircuitState>) -> Outcome {
    let namespace = deployment.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let data = secrets.get(&deployment.name_any()).await?.data.unwrap_or_default();
    let file = |name: &str| {
        data.get(name)
            .map(|bytes| bytes.0.clone())
            .ok_or(format!("the Secret has no {name}"))
    };
    let plan: Plan = serde_json::from_slice(&file("plan.json")?)?;
    let tls = server_config(&file("tls.crt")?, &file("tls.key")?, &file("ca.crt")?)?;

    let [_, high, middle, low] = number.to_be_bytes();
    // From 127.1.0.0 on, since others may listen on the first.
    let address = Ipv4Addr::new(127, high + 1, middle, low);
    let listener = TcpListener::bind((address, PORT_CONTROL)).await?;
    tokio::spawn(serve(
        listener,
        TlsAcceptor::from(tls),
        watch::Sender::new(plan),
        circuit,
    ));

    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let template = deployment.spec.map(|spec| spec.template).unwrap_or_default();
    let name = format!("{}-0", deployment.metadata.name.unwrap_or_default());
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: template.metadata.and_then(|metadata| metadata.labels),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    };
    pods.create(&PostParams::default(), &pod).await?;
    let status = json!({"status": {
        "phase": "Running",
        "podIP": address.to_string(),
        "podIPs": [{"ip": address.to_string()}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }});
    pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

fn server_config(certificate: &[u8], key: &[u8], authority: &[u8]) -> Outcome<Arc<ServerConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        roots.add(certificate?)?;
    }
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    plan: watch::Sender<Plan>,
    circuit: watch::Receiver<CircuitState>,
) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let (tls, plan, circuit) = (tls.clone(), plan.clone(), circuit.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let answer = service_fn(move |request| answer(request, plan.clone(), circuit.clone()));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // A connection that ends is the controller's affair.
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    plan: watch::Sender<Plan>,
    circuit: watch::Receiver<CircuitState>,
) -> Result<Response<Body>, hyper::Error> {
    let mut response = Response::new(Empty::new().boxed());
    match request.uri().path() {
        control::REPORTS => {
            let lines = reports(plan.subscribe(), circuit).map(|line| Ok(Frame::data(line)));
            response = Response::new(BodyExt::boxed(StreamBody::new(lines)));
        }
        control::PLAN => {
            let text = request.into_body().collect().await?.to_bytes();
            match serde_json::from_slice(&text) {
                Ok(newer) => drop(plan.send_replace(newer)),
                Err(_) => *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY,
            }
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}

/// The report as it is now, and again with every change.
fn reports(
    plan: watch::Receiver<Plan>,
    circuit: watch::Receiver<CircuitState>,
) -> impl Stream<Item = Bytes> + Send + Sync {
    let plans = tokio_stream::wrappers::WatchStream::new(plan.clone()).map(drop);
    let circuits = tokio_stream::wrappers::WatchStream::from_changes(circuit.clone()).map(drop);
    futures::stream::select(plans, circuits).map(move |()| {
        let mut line = serde_json::to_vec(&report(&plan.borrow(), *circuit.borrow())).unwrap_or_default();
        line.push(b'\n');
        line.into()
    })
}

fn report(plan: &Plan, state: CircuitState) -> Report {
    let since = Timestamp::UNIX_EPOCH;
    let closed = state == CircuitState::Closed;
    let endpoint = |name: &String| EndpointReport {
        name: name.clone(),
        health: if closed { Health::Healthy } else { Health::Unhealthy },
        reason: if closed {
            HealthReason::TrafficSucceeded
        } else {
            HealthReason::TrafficFailed
        },
        message: String::new(),
        since,
        circuit: CircuitReport {
            state,
            since,
            next_trial: None,
            tripped_by: (!closed).then_some(TrippedBy::ConsecutiveFailures),
        },
    };
    let credentials = plan.credentials.iter().map(|used| CredentialReport {
        name: used.name.clone(),
        revision: used.revision,
        rejected_status: None,
    });
    Report {
        paused_until: std::collections::BTreeMap::new(),
        format: health::FORMAT,
        integration: plan.integration.clone(),
        uid: plan.uid.clone(),
        plan_revision: plan.revision,
        generation: plan.generation,
        credentials: credentials.collect(),
        reset_circuit: plan.reset_circuit.clone(),
        share: None,
        endpoints: plan
            .endpoints
            .iter()
            .map(|endpoint_plan| endpoint(&endpoint_plan.name))
            .collect(),
    }
}
