//! Bodies, trailers and the versions of HTTP, to either side.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate::api::integration::Http2;
use tidegate::domain::plan::Material;
use tidegate::domain::secret::SecretValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::support::dataplane::{Dataplane, plan, problem, trusting};
use crate::support::provider::{Body, Provider, Reply, answer, piece, read_head, streamed, write};

type Pieces = mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>;

type Streamed = StreamBody<UnboundedReceiverStream<Result<Frame<Bytes>, std::io::Error>>>;

fn body() -> (Pieces, Streamed) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, StreamBody::new(UnboundedReceiverStream::new(receiver)))
}

#[expect(clippy::unnecessary_wraps, reason = "the other pieces of a stream may be errors")]
fn trailers(name: &'static str) -> Result<Frame<Bytes>, std::io::Error> {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, "v".parse().unwrap());
    trailers.insert("x-api-key", "the caller's".parse().unwrap());
    Ok(Frame::trailers(trailers))
}

/// A connection of HTTP/2 with prior knowledge.
async fn http2<B>(worker: &Dataplane) -> hyper::client::conn::http2::SendRequest<B>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let socket = TcpStream::connect(worker.address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn both_bodies_flow_before_either_has_ended() {
    // The provider sends back each piece as it comes; the caller sends the next only when it has the one before.
    let provider = Provider::raw(|mut socket, _| async move {
        read_head(&mut socket).await;
        write(&mut socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = socket.read(&mut buffer).await {
            let _ = socket.write_all(&buffer[..count]).await;
        }
    })
    .await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let mut socket = TcpStream::connect(worker.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    for number in 0..5 {
        let chunk = format!("6\r\npiece{number}\r\n");
        socket.write_all(chunk.as_bytes()).await.unwrap();
        let expected = format!("piece{number}");
        let flows = tokio::time::timeout(Duration::from_secs(10), async {
            while !String::from_utf8_lossy(&read).contains(&expected) {
                socket.read_buf(&mut read).await.unwrap();
            }
        });
        flows.await.expect("a piece is passed on before the next is there");
    }
    socket.write_all(b"0\r\n\r\n").await.unwrap();
    while !read.ends_with(b"0\r\n\r\n") {
        assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn trailers_pass_both_ways_on_every_version() {
    for (tls, from_http2) in [(false, false), (false, true), (true, false), (true, true)] {
        let script = |_| async {
            let mut response = streamed(futures::stream::iter([piece("data"), trailers("checksum")]));
            response.headers_mut().insert("trailer", "checksum".parse().unwrap());
            response
        };
        let provider = if tls {
            Provider::start_tls(true, script).await
        } else {
            Provider::start(script).await
        };
        let mut plan = trusting(&provider);
        plan.credentials = vec![crate::support::dataplane::api_key(1, "s3cret")];
        let worker = Dataplane::start([plan]);
        let (pieces, body) = body();
        pieces.send(piece("data")).unwrap();
        pieces.send(trailers("digest")).unwrap();
        drop(pieces);
        let request = Request::post("http://api/")
            .header("te", "trailers")
            .header("trailer", "digest, x-api-key");
        let response = if from_http2 {
            http2(&worker)
                .await
                .send_request(request.body(body).unwrap())
                .await
                .unwrap()
        } else {
            let socket = TcpStream::connect(worker.address).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
                .await
                .unwrap();
            tokio::spawn(connection);
            let request = request.uri("/").header("host", "api").body(body).unwrap();
            sender.send_request(request).await.unwrap()
        };
        let what = format!("TLS {tls}, HTTP/2 {from_http2}");
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().expect(&what)["checksum"], "v", "{what}");
        let seen = provider.seen().remove(0);
        assert_eq!(
            seen.version,
            if tls { Version::HTTP_2 } else { Version::HTTP_11 },
            "{what}"
        );
        let trailers = seen.trailers.expect(&what);
        assert_eq!(trailers["digest"], "v", "{what}");
        assert!(
            !trailers.contains_key("x-api-key"),
            "{what}: what we inject is nobody else's to say"
        );
        assert_eq!(seen.headers["x-api-key"], "s3cret");
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let provider = Provider::start(|seen| async move {
        match seen.uri.path() {
            "/204" => answer(204, ""),
            "/304" => {
                let mut response = answer(304, "");
                response.headers_mut().insert("etag", "\"x\"".parse().unwrap());
                response
            }
            _ => answer(200, "twelve bytes"),
        }
    })
    .await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let head = worker.call(Request::head("/"), "").await;
    assert_eq!(
        (head.headers()["content-length"].to_str().unwrap(), head.body().len()),
        ("12", 0)
    );
    assert_eq!(worker.get("/204").await.status(), 204);
    let unchanged = worker.get("/304").await;
    assert_eq!(
        (unchanged.status().as_u16(), &unchanged.headers()["etag"]),
        (304, &"\"x\"".parse().unwrap())
    );
    assert_eq!(provider.connections(), 1, "the connection is free again after each");
}

#[tokio::test]
async fn a_problem_answers_head_without_a_body_on_both_versions() {
    let worker = Dataplane::start([]);
    let first = worker.call(Request::head("/").header("host", "nobody"), "").await;
    assert_eq!((problem(&first), first.body().len()), (Some("unknown-integration"), 0));
    let request = Request::head("http://nobody/").body(Full::<Bytes>::default()).unwrap();
    let second = http2(&worker).await.send_request(request).await.unwrap();
    assert_eq!(second.status(), 404);
    assert_eq!(second.into_body().collect().await.unwrap().to_bytes().len(), 0);
}

#[tokio::test]
async fn a_caller_that_waits_for_100_continue_gets_it() {
    let provider = Provider::start(|seen| async move { answer(200, seen.body) }).await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let mut socket = TcpStream::connect(worker.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut socket).await, "HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"data").await.unwrap();
    assert!(read_head(&mut socket).await.starts_with("HTTP/1.1 200 OK"));
    assert!(!provider.seen()[0].headers.contains_key("expect"));
}

#[tokio::test]
async fn an_upgrade_is_taken_off_and_the_call_goes_on_without_it() {
    let provider = Provider::start(|_| async { answer(200, "no upgrade") }).await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let mut socket = TcpStream::connect(worker.address).await.unwrap();
    let head = "GET / HTTP/1.1\r\nHost: api\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    assert!(read_head(&mut socket).await.starts_with("HTTP/1.1 200 OK"));
    let seen = &provider.seen()[0];
    assert!(!seen.headers.contains_key("upgrade") && !seen.headers.contains_key("http2-settings"));
}

#[tokio::test]
async fn http2_to_the_provider_shares_one_connection_and_http1_does_not() {
    for (http2, version) in [(Http2::Auto, Version::HTTP_2), (Http2::Never, Version::HTTP_11)] {
        let all_there = Arc::new(tokio::sync::Barrier::new(10));
        let provider = Provider::start_tls(true, move |_| {
            let all_there = all_there.clone();
            async move {
                all_there.wait().await;
                answer(200, "")
            }
        })
        .await;
        let mut plan = trusting(&provider);
        plan.connections.http2 = http2;
        let worker = Arc::new(Dataplane::start([plan]));
        let calls: Vec<_> = (0..10)
            .map(|_| {
                let worker = worker.clone();
                tokio::spawn(async move { worker.get("/").await.status() })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), 200);
        }
        assert_eq!(provider.connections(), if http2 == Http2::Auto { 1 } else { 10 });
        assert!(provider.seen().iter().all(|seen| seen.version == version));
        let hosts: Vec<_> = provider
            .seen()
            .iter()
            .map(|seen| seen.uri.authority().map(ToString::to_string))
            .collect();
        let expected = (http2 == Http2::Auto).then(|| provider.address.to_string());
        assert!(hosts.iter().all(|host| *host == expected), "{hosts:?}");
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_verified_is_not_talked_to() {
    let provider = Provider::start_tls(true, |_| async { answer(200, "") }).await;
    let mut untrusted = trusting(&provider);
    untrusted.tls.ca_pem = None;
    let mut misnamed = trusting(&provider);
    misnamed.tls.server_name = Some("other.test".to_owned());
    for plan in [untrusted, misnamed] {
        let worker = Dataplane::start([plan]);
        let response = worker.get("/").await;
        assert_eq!(problem(&response), Some("upstream-unreachable"));
        assert_eq!(provider.seen().len(), 0);
    }
}

#[tokio::test]
async fn what_is_not_http_is_told_from_what_is_not_there() {
    for (sent, slug, status) in [
        ("SSH-2.0-OpenSSH_9.6\r\n", "upstream-protocol", 502),
        ("HTTP/1.1 abc OK\r\n\r\n", "upstream-protocol", 502),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "upstream-protocol", 502),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n",
            "response-too-large",
            502,
        ),
        ("HTTP/1.1 200 ", "upstream-unreachable", 502),
        ("", "upstream-unreachable", 502),
    ] {
        let provider = Provider::raw(move |mut socket, _| async move {
            read_head(&mut socket).await;
            write(&mut socket, sent).await;
        })
        .await;
        let mut plan = plan(&[provider.url("")]);
        plan.retries.limit = 0;
        let worker = Dataplane::start([plan]);
        let response = worker.get("/").await;
        assert_eq!(
            (problem(&response), response.status().as_u16()),
            (Some(slug), status),
            "{sent:?}"
        );
        let body = String::from_utf8_lossy(response.body());
        assert!(
            !body.contains("OpenSSH"),
            "nothing of what the provider sent is told: {body}"
        );
    }
}

#[tokio::test]
async fn headers_of_an_answer_have_a_bound() {
    let provider = Provider::start(|_| async {
        let mut response = answer(200, "");
        response
            .headers_mut()
            .insert("x-large", "v".repeat(9000).parse().unwrap());
        response
    })
    .await;
    let mut plan = plan(&[provider.url("")]);
    plan.limits.headers = 8 << 10;
    let worker = Dataplane::start([plan]);
    assert_eq!(problem(&worker.get("/").await), Some("response-too-large"));
}

#[tokio::test]
async fn what_a_provider_says_of_itself_in_our_name_is_taken_off() {
    let provider = Provider::start(|_| async {
        let mut response: Response<Body> = answer(200, "");
        for name in ["tidegate-error", "tidegate-attempts", "tidegate-endpoint"] {
            response.headers_mut().insert(name, "spoofed".parse().unwrap());
        }
        response.headers_mut().insert("connection", "x-once".parse().unwrap());
        response.headers_mut().insert("x-once", "1".parse().unwrap());
        response
            .headers_mut()
            .insert("proxy-authenticate", "Basic".parse().unwrap());
        response
    })
    .await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let response = worker.get("/").await;
    assert_eq!(problem(&response), None);
    assert_eq!(response.headers()["tidegate-attempts"], "1");
    assert_eq!(response.headers()["tidegate-endpoint"], "e0");
    assert!(!response.headers().contains_key("x-once") && !response.headers().contains_key("proxy-authenticate"));
}

#[tokio::test]
async fn a_redirect_is_passed_on_and_not_followed() {
    let provider = Provider::start(|_| async {
        let mut response = answer(307, "");
        response.headers_mut().insert("location", "/elsewhere".parse().unwrap());
        response
    })
    .await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let response = worker.get("/").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (307, &"/elsewhere".parse().unwrap())
    );
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn a_redirect_does_not_hand_the_key_of_a_query_to_the_caller() {
    let provider = Provider::start(|seen| async move {
        let mut response = answer(301, "");
        response
            .headers_mut()
            .insert("location", seen.uri.to_string().replace("/x", "/x/").parse().unwrap());
        response
    })
    .await;
    let mut plan = plan(&[provider.url("")]);
    plan.credentials = vec![crate::support::dataplane::api_key(1, "s3cret")];
    plan.credentials[0].material = Some(Material::Query {
        name: "key".to_owned(),
        value: SecretValue::new("s3cret"),
    });
    let worker = Dataplane::start([plan]);
    let response = worker.get("/x?a=1&key=mine").await;
    assert_eq!(provider.seen()[0].uri, "/x?a=1&key=s3cret");
    assert_eq!(response.headers()["location"], "/x/?a=1");
}

#[tokio::test]
async fn a_trace_request_carries_no_credential() {
    let provider = Provider::start(|seen| async move { answer(200, format!("{:?}", seen.headers)) }).await;
    let mut plan = plan(&[provider.url("")]);
    plan.credentials = vec![crate::support::dataplane::api_key(1, "s3cret")];
    let worker = Dataplane::start([plan]);
    let response = worker.call(Request::builder().method(Method::TRACE).uri("/"), "").await;
    assert_eq!(response.status(), 200);
    assert!(!String::from_utf8_lossy(response.body()).contains("s3cret"));
}

#[tokio::test]
async fn an_early_answer_to_a_large_body_reaches_the_caller() {
    // The provider refuses on the head alone, as upload services do, while the caller is still sending.
    let provider = Provider::raw(|mut socket, _| async move {
        read_head(&mut socket).await;
        write(
            &mut socket,
            "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge",
        )
        .await;
        drop(tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut Vec::new())).await);
    })
    .await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let (pieces, body) = body();
    let done = Arc::new(Mutex::new(()));
    pieces.send(piece(vec![0; 64 << 10])).unwrap();
    let request = Request::put("/").body(body).unwrap();
    let response = worker.send(request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.body().as_ref()),
        (413, b"large".as_slice())
    );
    drop((pieces, done));
}

#[tokio::test]
async fn a_caller_that_reads_slowly_slows_the_provider_down_and_nothing_grows() {
    const TOTAL: usize = 64 << 20;
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = sent.clone();
    let provider = Provider::start(move |_| {
        let count = count.clone();
        let pieces = futures::stream::iter(0..TOTAL / (64 << 10)).map(move |_| {
            count.fetch_add(64 << 10, std::sync::atomic::Ordering::SeqCst);
            piece(vec![0; 64 << 10])
        });
        let reply = Reply::Answer(streamed(pieces));
        let reply = Mutex::new(Some(reply));
        async move { reply.lock().unwrap().take().unwrap() }
    })
    .await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let mut socket = TcpStream::connect(worker.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n").await.unwrap();
    read_head(&mut socket).await;
    // The caller reads nothing more; what is in the sockets' buffers is all that may be under way.
    let mut before = usize::MAX;
    while before != sent.load(std::sync::atomic::Ordering::SeqCst) {
        before = sent.load(std::sync::atomic::Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        before < TOTAL / 2,
        "{before} bytes were sent to a caller that does not read"
    );
}

#[tokio::test]
async fn an_http2_stream_that_nobody_reads_is_taken_back_though_its_connection_is_busy() {
    let provider = Provider::start(|seen| async move {
        match seen.uri.path() {
            "/large" => streamed(futures::stream::repeat_with(|| piece(vec![0; 16 << 10]))),
            _ => answer(200, "small"),
        }
    })
    .await;
    let mut plan = plan(&[provider.url("")]);
    plan.timeouts.idle = Duration::from_millis(300);
    plan.concurrency.max_in_flight = 1;
    plan.concurrency.max_pending = 0;
    let worker = Dataplane::start([plan]);
    let mut sender = http2(&worker).await;
    let request = |path: &str| {
        Request::get(format!("http://api{path}"))
            .body(Full::<Bytes>::default())
            .unwrap()
    };
    let unread = sender.send_request(request("/large")).await.unwrap();
    let refused = sender.send_request(request("/small")).await.unwrap();
    assert_eq!(
        refused.headers()["tidegate-error"],
        "overloaded",
        "the one place is taken"
    );
    let freed = async {
        while sender.send_request(request("/small")).await.unwrap().status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed)
        .await
        .expect("the place is free again");
    drop(unread);
}
