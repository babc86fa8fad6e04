//! The end of a worker: what is under way is finished, and nobody new gets in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::dataplane::{Dataplane, plan};
use crate::support::provider::{Provider, answer, eventually, read_head};

/// A provider that answers when it is let.
async fn gated() -> (Provider, Arc<Semaphore>) {
    let go = Arc::new(Semaphore::new(0));
    let gate = go.clone();
    let provider = Provider::start(move |_| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            answer(200, "in time")
        }
    })
    .await;
    (provider, go)
}

#[tokio::test]
async fn a_call_under_way_is_finished_and_its_connection_closed() {
    let (provider, go) = gated().await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let mut busy = TcpStream::connect(worker.address).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n").await.unwrap();
    eventually("the call", || provider.seen().len() == 1).await;
    worker.stop.cancel();
    eventually("the end of the listener", || {
        std::net::TcpStream::connect(worker.address).is_err()
    })
    .await;
    go.add_permits(1);
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    assert!(answer.ends_with("in time"), "{answer}");
    eventually("the worker's end", || worker.task.is_finished()).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_once() {
    let (provider, go) = gated().await;
    go.add_permits(1);
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let mut idle = TcpStream::connect(worker.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n").await.unwrap();
    read_head(&mut idle).await;
    let mut silent = TcpStream::connect(worker.address).await.unwrap();
    worker.stop.cancel();
    let closed = async {
        idle.read_to_end(&mut Vec::new()).await.unwrap();
        // One that was not even accepted yet is reset, which closes it too.
        drop(silent.read_to_end(&mut Vec::new()).await);
    };
    tokio::time::timeout(Duration::from_secs(10), closed)
        .await
        .expect("idle connections are closed");
    drop((idle, silent));
    eventually("the worker's end", || worker.task.is_finished()).await;
}

#[tokio::test]
async fn what_is_not_finished_at_the_end_of_the_drain_is_cut() {
    let (provider, _go) = gated().await;
    let worker = Dataplane::start_with([plan(&[provider.url("")])], |settings| {
        settings.drain = Duration::from_millis(50);
    });
    let mut busy = TcpStream::connect(worker.address).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n").await.unwrap();
    eventually("the call", || provider.seen().len() == 1).await;
    worker.stop.cancel();
    eventually("the worker's end", || worker.task.is_finished()).await;
    let mut answer = Vec::new();
    drop(busy.read_to_end(&mut answer).await);
    assert!(answer.is_empty());
    eventually("the end of the connection to the provider", || provider.open() == 0).await;
}

#[tokio::test]
async fn http2_streams_under_way_are_finished_and_no_new_one_begins() {
    let (provider, go) = gated().await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let socket = TcpStream::connect(worker.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = || Request::get("http://api/").body(Full::<Bytes>::default()).unwrap();
    let call = tokio::spawn(sender.send_request(request()));
    eventually("the call", || provider.seen().len() == 1).await;
    worker.stop.cancel();
    // The GOAWAY is on its way; a request after it is refused by the client itself.
    let refused = async {
        while let Ok(Ok(_)) | Err(_) =
            tokio::time::timeout(Duration::from_millis(20), sender.send_request(request())).await
        {}
    };
    tokio::time::timeout(Duration::from_secs(10), refused)
        .await
        .expect("new streams are refused");
    go.add_permits(100);
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "in time");
    connection.await.unwrap().unwrap();
    eventually("the worker's end", || worker.task.is_finished()).await;
}
