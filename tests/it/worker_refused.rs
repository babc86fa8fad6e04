//! What an HTTP/2 provider says that it has not processed (RFC 9113 8.7) may be sent again whatever its method; what it
//! may have processed may not. The provider speaks in frames written by hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::Request;
use tidegate::api::integration::CircuitState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::dataplane::{Dataplane, trusting};
use crate::support::frames::{
    self, ACK, CANCEL, DATA, END_STREAM, HEADERS, INTERNAL_ERROR, NO_ERROR, PREFACE, REFUSED_STREAM, SETTINGS, frame,
    goaway, reset,
};
use crate::support::provider::Provider;

/// What the provider says when the first request of all has arrived whole.
#[derive(Clone, Copy, Debug)]
pub enum Say {
    /// Resets its stream with this code.
    Reset(u32),
    /// GOAWAY that names the stream before this one as the last.
    GoAwayBefore,
    /// GOAWAY that names this stream as the last, and then the end of the connection.
    GoAwayAfter(u32),
}

/// A provider that says so, and answers every other request with 200. Every body that has arrived whole is noted.
async fn provider(say: Say) -> (Provider, Arc<Mutex<Vec<Vec<u8>>>>) {
    answering(say, frames::ok).await
}

/// The same, which answers with what `ok` makes for a stream.
pub async fn answering(say: Say, ok: fn(u32) -> Vec<u8>) -> (Provider, Arc<Mutex<Vec<Vec<u8>>>>) {
    let arrived: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let noted = arrived.clone();
    let provider = Provider::raw_http2(move |mut socket, _| {
        let arrived = noted.clone();
        async move {
            drop(socket.read_exact(&mut [0; PREFACE.len()]).await);
            drop(socket.write_all(&frame(SETTINGS, 0, 0, &[])).await);
            let mut bodies = BTreeMap::<u32, Vec<u8>>::new();
            while let Some(read) = frames::read(&mut socket).await {
                match read.kind {
                    SETTINGS if read.flags & ACK == 0 => {
                        drop(socket.write_all(&frame(SETTINGS, ACK, 0, &[])).await);
                    }
                    HEADERS => drop(bodies.insert(read.stream, Vec::new())),
                    DATA => bodies.get_mut(&read.stream).unwrap().extend(&read.payload),
                    _ => {}
                }
                if ![HEADERS, DATA].contains(&read.kind) || read.flags & END_STREAM == 0 {
                    continue;
                }
                let first = {
                    let mut arrived = arrived.lock().unwrap();
                    arrived.push(bodies[&read.stream].clone());
                    arrived.len() == 1
                };
                let said = match say {
                    Say::Reset(code) if first => reset(read.stream, code),
                    Say::GoAwayBefore if first => goaway(read.stream - 1, NO_ERROR),
                    Say::GoAwayAfter(code) if first => goaway(read.stream, code),
                    _ => ok(read.stream),
                };
                drop(socket.write_all(&said).await);
                if first && matches!(say, Say::GoAwayAfter(_)) {
                    drop(socket.shutdown().await);
                    return;
                }
            }
        }
    })
    .await;
    (provider, arrived)
}

#[tokio::test]
async fn what_was_surely_not_processed_is_sent_again_whole_whatever_its_method() {
    for say in [Say::Reset(REFUSED_STREAM), Say::GoAwayBefore] {
        for (method, body) in [("GET", ""), ("POST", ""), ("POST", "order"), ("PATCH", "order")] {
            let (provider, arrived) = provider(say).await;
            let mut plan = trusting(&provider);
            plan.breaker.consecutive_failures = 1;
            let worker = Dataplane::start([plan]);
            let response = worker.call(Request::builder().method(method).uri("/"), body).await;
            assert_eq!(response.status(), 200, "{say:?} {method} {body:?}");
            assert_eq!(response.headers()["tidegate-attempts"], "2", "{say:?} {method}");
            assert_eq!(*arrived.lock().unwrap(), [body.as_bytes(); 2], "{say:?} {method}");
            // A server that is about to restart says so like this: it is not a failure of the endpoint.
            let circuit = worker.endpoint(|_| true).await.circuit;
            assert_eq!(circuit.state, CircuitState::Closed, "{say:?} {method}");
        }
    }
}

#[tokio::test]
async fn what_may_have_been_processed_is_sent_again_only_if_it_may_arrive_twice() {
    for say in [
        Say::Reset(INTERNAL_ERROR),
        Say::Reset(CANCEL),
        Say::Reset(NO_ERROR),
        Say::GoAwayAfter(NO_ERROR),
        Say::GoAwayAfter(INTERNAL_ERROR),
    ] {
        for (method, status, arrivals) in [("POST", 502, 1), ("PATCH", 502, 1), ("GET", 200, 2), ("PUT", 200, 2)] {
            let (provider, arrived) = provider(say).await;
            let worker = Dataplane::start([trusting(&provider)]);
            let response = worker.call(Request::builder().method(method).uri("/"), "order").await;
            assert_eq!(response.status(), status, "{say:?} {method}");
            assert_eq!(arrived.lock().unwrap().len(), arrivals, "{say:?} {method}");
        }
    }
}
