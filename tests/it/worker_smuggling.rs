//! Request smuggling, told from the provider's side: hundreds of requests that two readers could read otherwise, each with
//! a request hidden behind it. Each is refused, closes its connection, and reaches nobody. And the same the other way
//! round: answers that two readers could read otherwise become 502, and their connection is not used again.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::dataplane::{Dataplane, plan};
use crate::support::provider::{Provider, read_head, write};

/// Served or refused, the connection ends with it.
const HIDDEN: &[u8] = b"GET /hidden HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n";

/// `Transfer-Encoding` as nobody should write it: names with the colon, and values.
const NAMES: &[&[u8]] = &[
    b"Transfer-Encoding :",
    b"Transfer-Encoding\t:",
    b" Transfer-Encoding:",
    b"\tTransfer-Encoding:",
    b"\x0bTransfer-Encoding:",
    b"Transfer-Encoding\x0b:",
    b"Transfer-Encoding\0:",
    b"Transfer\0-Encoding:",
    b"Transfer Encoding:",
    b"Transfer-Encoding\x7f:",
    b"\xefTransfer-Encoding:",
    b"\"Transfer-Encoding\":",
    b"Transfer-Encoding;:",
    b"Transfer-Encoding,:",
    b"(Transfer-Encoding):",
];

const VALUES: &[&[u8]] = &[
    b"",
    b" ",
    b"\t",
    b"chunked\x0b",
    b"\x0bchunked",
    b"\x0cchunked",
    b"chunked\0",
    b"\0chunked",
    b"xchunked",
    b"chunkedx",
    b"chunk",
    b"CHUNKED chunked",
    b"chunked, identity",
    b"identity, chunked",
    b"identity,chunked,identity",
    b"gzip",
    b"gzip, chunked",
    b"chunked, gzip",
    b"chunked, chunked",
    b"chunked chunked",
    b"chunked;q=1",
    b"chunked;",
    b",chunked",
    b"chunked,",
    b"\"chunked\"",
    b"'chunked'",
    b"identity",
    b"deflate",
    b"compress",
    b"chunked\xa0",
    b"\xc2\xa0chunked",
    b"chunked\r\n x",
    b"\r\n chunked",
    b"\r\n\tchunked",
    b"chunked\r\nTransfer-Encoding: chunked",
    b"chunked\r\nTransfer-Encoding: identity",
    b"identity\r\nTransfer-Encoding: chunked",
    b"x\rTransfer-Encoding: chunked",
    b"x\nTransfer-Encoding: chunked",
    b"0",
    b"true",
];

/// `Content-Length` of a body of five bytes, as nobody should write it.
const LENGTHS: &[&[u8]] = &[
    b"",
    b" ",
    b"+5",
    b"-5",
    b"--5",
    b"5,5",
    b"5, 5",
    b"5 5",
    b"5;",
    b"5x",
    b"x5",
    b"0x5",
    b"5.0",
    b"5e0",
    b"5_0",
    b"'5'",
    b"\"5\"",
    b"5\0",
    b"\x005",
    b"5\x0b",
    b"\x0b5",
    b"5\xa0",
    b"\xef\xbc\x95",
    b"5\r\n 0",
    b"\r\n 5",
    b"5\r\nContent-Length: 5",
    b"5\r\nContent-Length: 0",
    b"0\r\nContent-Length: 5",
    b"5\r\nCONTENT-LENGTH: 6",
    b"5\r\ncontent-length:",
    b"18446744073709551616",
    b"99999999999999999999999999",
    b"-0",
    b"NaN",
    b"five",
    b"5\nX: y",
    b"5\rX: y",
];

/// Chunked bodies that end in more than one place.
const BODIES: &[&[u8]] = &[
    b"5 \r\nabcde\r\n0\r\n\r\n",
    b"5\t\r\nabcde\r\n0\r\n\r\n",
    b" 5\r\nabcde\r\n0\r\n\r\n",
    b"5 ;x\r\nabcde\r\n0\r\n\r\n",
    b"5\x0b\r\nabcde\r\n0\r\n\r\n",
    b"5\0\r\nabcde\r\n0\r\n\r\n",
    b"5\nabcde\r\n0\r\n\r\n",
    b"5\r\rabcde\r\n0\r\n\r\n",
    b"5\rabcde\r\n0\r\n\r\n",
    b"5\n\rabcde\r\n0\r\n\r\n",
    b"5\r\nabcdef\r\n0\r\n\r\n",
    b"5\r\nabcd\r\n0\r\n\r\n",
    b"5\r\nabcde\n0\r\n\r\n",
    b"5\r\nabcde\r0\r\n\r\n",
    b"5\r\nabcde0\r\n\r\n",
    b"0x5\r\nabcde\r\n0\r\n\r\n",
    b"+5\r\nabcde\r\n0\r\n\r\n",
    b"-5\r\nabcde\r\n0\r\n\r\n",
    b"5g\r\nabcde\r\n0\r\n\r\n",
    b"g\r\nabcde\r\n0\r\n\r\n",
    b"5_0\r\nabcde\r\n0\r\n\r\n",
    b"5,5\r\nabcde\r\n0\r\n\r\n",
    b"\r\nabcde\r\n0\r\n\r\n",
    b"\r\n5\r\nabcde\r\n0\r\n\r\n",
    b";x\r\nabcde\r\n0\r\n\r\n",
    b"00000000000000005\r\nabcde\r\n0\r\n\r\n",
    b"10000000000000005\r\nabcde\r\n0\r\n\r\n",
    b"fffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
    b"5;x\nabcde\r\n0\r\n\r\n",
    b"5;\nabcde\r\n0\r\n\r\n",
    b"5;x=\"\n\"\r\nabcde\r\n0\r\n\r\n",
    b"5\r\nabcde\r\n0\n\r\n",
    b"5\r\nabcde\r\n0\r\nX: a\n\r\n",
    b"5\r\nabcde\r\n0\r\nX: a\r\n b\r\n\r\n",
    b"5\r\nabcde\r\n0 \r\n\r\n",
    b"5\r\nabcde\r\n0\r\n\n",
    b"5\r\nabcde\r\n-0\r\n\r\n",
    b"5\r\nabcde\r\n0x0\r\n\r\n",
];

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Every request of the corpus, each once.
fn corpus() -> BTreeSet<Vec<u8>> {
    const START: &[u8] = b"POST /front HTTP/1.1\r\nHost: api\r\n";
    const CHUNKS: &[u8] = b"\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    let length: &[u8] = b"Content-Length: 5\r\n";
    let mut all = BTreeSet::new();
    // Beside a length that says otherwise, before it, and alone.
    for (before, after) in [(&b""[..], &b""[..]), (length, b""), (b"", b"\r\nContent-Length: 5")] {
        for name in NAMES {
            all.insert(joined(&[START, before, name, b" chunked", after, CHUNKS]));
        }
        for value in VALUES {
            all.insert(joined(&[START, before, b"Transfer-Encoding: ", value, after, CHUNKS]));
        }
    }
    for value in LENGTHS {
        all.insert(joined(&[START, b"Content-Length:", value, b"\r\n\r\nabcde"]));
        all.insert(joined(&[START, length, b"Content-Length:", value, b"\r\n\r\nabcde"]));
        all.insert(joined(&[
            START,
            b"Content-Length:",
            value,
            b"\r\n",
            length,
            b"\r\nabcde",
        ]));
    }
    for body in BODIES {
        all.insert(joined(&[START, b"Transfer-Encoding: chunked\r\n\r\n", body]));
    }
    // Bytes that no name, value, method or target has.
    for byte in (0..32).chain([127]).filter(|byte| *byte != b'\t') {
        let byte = &[byte][..];
        all.insert(joined(&[
            b"GET /front HTTP/1.1\r\nHost: api\r\nX: a",
            byte,
            b"b\r\n\r\n",
        ]));
        all.insert(joined(&[
            b"GET /front HTTP/1.1\r\nHost: api\r\nX",
            byte,
            b"Y: a\r\n\r\n",
        ]));
        all.insert(joined(&[b"GET /fr", byte, b"ont HTTP/1.1\r\nHost: api\r\n\r\n"]));
        all.insert(joined(&[b"G", byte, b"T /front HTTP/1.1\r\nHost: api\r\n\r\n"]));
    }
    for byte in b"(),/;<=>?@[\\]{}\" \t" {
        all.insert(joined(&[
            b"GET /front HTTP/1.1\r\nHost: api\r\nX",
            &[*byte],
            b"Y: a\r\n\r\n",
        ]));
    }
    // A line that ends otherwise, wherever a line ends.
    let lines: [&[u8]; 4] = [b"POST /front HTTP/1.1", b"Host: api", b"Content-Length: 5", b""];
    for end in [&b"\n"[..], b"\r", b"\n\r", b"\r\r\n", b"\x0b", b"\x85", b"\0\r\n"] {
        for at in 0..lines.len() {
            let mut request = Vec::new();
            for (index, line) in lines.iter().enumerate() {
                request.extend_from_slice(line);
                request.extend_from_slice(if index == at { end } else { b"\r\n" });
            }
            request.extend_from_slice(b"abcde");
            all.insert(request);
        }
    }
    all
}

async fn exchange(worker: &Dataplane, pieces: &[&[u8]]) -> Vec<u8> {
    let mut socket = TcpStream::connect(worker.address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for piece in pieces {
        // A worker that refuses early closes before all is written, which is no failure.
        drop(socket.write_all(piece).await);
        tokio::task::yield_now().await;
    }
    let mut read = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), async {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = socket.read(&mut buffer).await {
            read.extend_from_slice(&buffer[..count]);
        }
    });
    assert!(closed.await.is_ok(), "not closed: {:?}", String::from_utf8_lossy(&read));
    read
}

#[tokio::test]
async fn what_two_could_read_otherwise_is_read_by_nobody() {
    let provider = Provider::start(|_| async { 200 }).await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let corpus = corpus();
    assert!(corpus.len() >= 400, "{}", corpus.len());
    for request in &corpus {
        let whole = [request, HIDDEN].concat();
        let half = request.len() / 2;
        for pieces in [&[whole.as_slice()][..], &[&whole[..half], &whole[half..]]] {
            let answers = exchange(&worker, pieces).await;
            let told = String::from_utf8_lossy(&answers);
            assert!(
                told.starts_with("HTTP/1.1 400 ") && told.matches("HTTP/1.1 ").count() == 1,
                "{:?} got {told:?}",
                String::from_utf8_lossy(request)
            );
            let seen = provider.seen();
            assert!(
                seen.is_empty(),
                "{:?} came to the provider as {seen:?}",
                String::from_utf8_lossy(request)
            );
        }
    }
}

#[tokio::test]
async fn the_hidden_request_is_served_where_it_is_not_hidden() {
    // Else the test above could not fail.
    let provider = Provider::start(|_| async { 200 }).await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let front = b"POST /front HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    let answers = exchange(&worker, &[front, HIDDEN]).await;
    assert_eq!(String::from_utf8_lossy(&answers).matches("HTTP/1.1 200 ").count(), 2);
    let paths: Vec<_> = provider.seen().iter().map(|seen| seen.uri.path().to_owned()).collect();
    assert_eq!(paths, ["/front", "/hidden"]);
}

/// Answers that end in more than one place, or nowhere that they say; behind each is an answer for somebody else.
const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nabcde",
    "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nabcde",
    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabcde",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nabcde",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabcde",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "ICY 200 OK\r\n\r\n",
    "\r\n\r\n\x16\x03\x01",
];

#[tokio::test]
async fn an_answer_that_two_could_read_otherwise_is_502_and_its_connection_ends() {
    for lie in ANSWERS {
        let provider = Provider::raw(move |mut socket, count| async move {
            read_head(&mut socket).await;
            if count == 0 {
                write(&mut socket, lie).await;
                write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden").await;
            } else {
                write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nproper").await;
            }
            // Until the worker closes.
            drop(socket.read(&mut [0; 64]).await);
        })
        .await;
        let mut plan = plan(&[provider.url("")]);
        plan.retries.limit = 0;
        let worker = Dataplane::start([plan]);
        let first = worker.get("/").await;
        assert_eq!(first.status(), 502, "{lie:?}");
        assert_eq!(first.headers()["tidegate-error"], "upstream-protocol", "{lie:?}");
        let second = worker.get("/").await;
        assert_eq!(
            (second.status().as_u16(), &second.body()[..]),
            (200, &b"proper"[..]),
            "{lie:?}"
        );
    }
}
