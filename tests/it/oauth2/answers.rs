//! Answers that are meant to hurt: each ends in time, and is told apart by whether the provider may have acted.

use http::{HeaderName, Method};
use tidegate::provider::exchange::{ANSWER_MAX, Answer as Read, Call, Exchange, ExchangeError};

use super::peer::{Answer, Peer};
use super::*;

fn call(url: &str) -> Call {
    Call {
        method: Method::POST,
        url: url.parse().unwrap(),
        headers: vec![
            (
                HeaderName::from_static("authorization"),
                SecretValue::new("Basic aHVzaA=="),
            ),
            (HeaderName::from_static("content-type"), SecretValue::new("text/plain")),
        ],
        body: Some(SecretValue::new("hush=1")),
        ca_pem: None,
        certificate: None,
    }
}

/// Asks `peer` over `network`, within the patience of this test.
async fn ask(network: &Network, peer: &Peer) -> Result<Read, ExchangeError> {
    let call = call(&format!("http://127.0.0.1:{}/token?a=b", peer.port));
    let asked = tokio::time::timeout(PATIENCE, network.exchange(call)).await;
    let result = asked.expect("the call did not end");
    if let Err(error) = &result {
        let message = error.to_string();
        assert!(message.contains("`127.0.0.1`"), "{message}");
        assert!(!message.contains("hush") && !message.contains("aHVzaA"), "{message}");
    }
    result
}

#[tokio::test]
async fn an_answer_comes_as_it_was_sent_and_the_request_went_as_it_was_meant() {
    let head = "203 Fine\r\nContent-Type: Application/JSON; charset=utf-8\r\nRetry-After: 7\r\n\
                Date: Sun, 06 Nov 1994 08:49:37 GMT";
    let peer = Peer::plain(Answer::of(head, "{\"ü\": 1}".as_bytes())).await;
    let read = ask(&network(), &peer).await.unwrap();
    assert_eq!(read.status, 203);
    assert_eq!(read.content_type.as_deref(), Some("application/json"));
    assert_eq!(read.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(read.date.unwrap().to_string(), "1994-11-06T08:49:37Z");
    assert_eq!(read.body.expose(), "{\"ü\": 1}");

    let asked = peer.asked();
    let [request] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().map(str::to_ascii_lowercase).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "authorization: basic ahvzaa==".to_owned(),
            "connection: close".to_owned(),
            "content-length: 6".to_owned(),
            "content-type: text/plain".to_owned(),
            format!("host: 127.0.0.1:{}", peer.port),
            "post /token?a=b http/1.1".to_owned(),
            format!("user-agent: tidegate/{}", env!("CARGO_PKG_VERSION")),
        ]
    );
    assert_eq!(body, "hush=1");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_else_is_asked() {
    let other = Peer::plain(Answer::of("200 OK", b"")).await;
    for status in [301, 302, 303, 307, 308] {
        let head = format!("{status} There\r\nlocation: http://127.0.0.1:{}/", other.port);
        let peer = Peer::plain(Answer::of(&head, b"")).await;
        assert_eq!(ask(&network(), &peer).await.unwrap().status, status);
        assert_eq!(peer.asked().len(), 1);
    }
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn a_body_is_read_up_to_its_bound_and_no_further() {
    let fits = "x".repeat(ANSWER_MAX);
    let peer = Peer::plain(Answer::of("200 OK", fits.as_bytes())).await;
    assert_eq!(ask(&network(), &peer).await.unwrap().body.expose().len(), ANSWER_MAX);

    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"1000\r\n".to_vec(), vec![b'x'; 4096], b"\r\n".to_vec()].concat();
    for (what, answer) in [
        ("one byte too many", Answer::of("200 OK", format!("{fits}x").as_bytes())),
        (
            "promised",
            Answer::Hold(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n".to_vec()),
        ),
        ("in chunks", Answer::Endless(chunked, chunk)),
        (
            "until the end",
            Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 4096]),
        ),
    ] {
        let peer = Peer::plain(answer).await;
        let error = ask(&network(), &peer).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Unreadable(_)), "{what}: {error:?}");
        assert!(
            error.to_string().contains("longer than 262144 bytes"),
            "{what}: {error}"
        );
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_told_by_the_status_before_it() {
    let answer = |status: &str, rest: &[u8]| {
        let head = format!("HTTP/1.1 {status} X\r\n");
        Answer::Close([head.as_bytes(), rest].concat())
    };
    for (what, acted, rest) in [
        ("no text", true, &b"content-length: 2\r\n\r\n\xff\xfe"[..]),
        (
            "gzip",
            true,
            b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00",
        ),
        ("broken off", false, b"content-length: 20\r\n\r\n{\"access_token"),
        (
            "a broken chunk",
            false,
            b"transfer-encoding: chunked\r\n\r\n5\r\nhush!\r\nzz\r\n",
        ),
        (
            "no last chunk",
            false,
            b"transfer-encoding: chunked\r\n\r\n5\r\nhush!\r\n",
        ),
    ] {
        let peer = Peer::plain(answer("200", rest)).await;
        let error = ask(&network(), &peer).await.unwrap_err();
        let told = if acted {
            matches!(error, ExchangeError::Unreadable(_))
        } else {
            matches!(error, ExchangeError::Lost(_))
        };
        assert!(told, "{what}: {error:?}");
        for status in ["400", "503", "302"] {
            let peer = Peer::plain(answer(status, rest)).await;
            let read = ask(&network(), &peer).await.unwrap();
            assert_eq!(
                (read.status.to_string().as_str(), read.body.expose()),
                (status, ""),
                "{what}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_is_lost() {
    let head = |lines: usize, length: usize| {
        let line = format!("x-{}: y\r\n", "z".repeat(length));
        format!("HTTP/1.1 200 OK\r\n{}\r\n", line.repeat(lines)).into_bytes()
    };
    for (what, answer) in [
        ("nothing", Answer::Close(Vec::new())),
        ("half a head", Answer::Close(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec())),
        ("no HTTP", Answer::Close(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec())),
        ("HTTP/0.9", Answer::Close(b"<html>hush</html>".to_vec())),
        ("HTTP/2", Answer::Close(b"\0\0\x12\x04\0\0\0\0\0".to_vec())),
        ("binary", Answer::Close(vec![0xff; 4096])),
        ("no number", Answer::Close(b"HTTP/1.1 2x0 OK\r\n\r\n".to_vec())),
        ("too many headers", Answer::Close(head(200, 1))),
        ("large headers", Answer::Close(head(99, 4096))),
        (
            "endless headers",
            Answer::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"a: b\r\n".repeat(512)),
        ),
        (
            "an endless header",
            Answer::Endless(b"HTTP/1.1 200 OK\r\na: ".to_vec(), vec![b'x'; 4096]),
        ),
        (
            "two lengths",
            Answer::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_vec()),
        ),
    ] {
        let peer = Peer::plain(answer).await;
        let error = ask(&network(), &peer).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Lost(_)), "{what}: {error:?}");
        assert_eq!(peer.asked().len(), 1, "{what}: it is asked once");
    }
}

#[tokio::test]
async fn whatever_is_slow_ends_with_the_deadline() {
    type Expected = fn(&ExchangeError) -> bool;
    let network = network().with_deadline(Duration::from_millis(400));
    let lost = |error: &ExchangeError| matches!(error, ExchangeError::Lost(_));
    let ok = || b"HTTP/1.1 200 OK\r\n".to_vec();
    for (what, answer, expected) in [
        ("silence", Answer::Hold(Vec::new()), lost as Expected),
        ("half a head", Answer::Hold(ok()), lost),
        ("a slow head", Answer::Trickle(ok(), b'x'), lost),
        (
            "one interim answer after the other",
            Answer::Endless(Vec::new(), b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()),
            lost,
        ),
        (
            "a slow body",
            Answer::Trickle([ok(), b"\r\n".to_vec()].concat(), b'x'),
            lost,
        ),
        (
            "half a body",
            Answer::Hold([ok(), b"content-length: 5\r\n\r\nab".to_vec()].concat()),
            lost,
        ),
    ] {
        let peer = Peer::plain(answer).await;
        let error = ask(&network, &peer).await.unwrap_err();
        assert!(expected(&error), "{what}: {error:?}");
        assert!(error.to_string().contains("within 400ms"), "{what}: {error}");
        assert_eq!(peer.asked().len(), 1, "{what}");
    }
    let peer = Peer::plain(Answer::Trickle(b"HTTP/1.1 503 X\r\n\r\n".to_vec(), b'x')).await;
    assert_eq!(ask(&network, &peer).await.unwrap().status, 503);
}

/// The log belongs to a whole process, so the call is made in one of its own.
#[tokio::test]
async fn no_log_at_any_level_has_the_request_or_the_answer_in_it() {
    let alone = [
        "--ignored",
        "--exact",
        "--nocapture",
        "oauth2::answers::one_call_with_everything_logged",
    ];
    let program = std::env::current_exe().unwrap();
    let child = tokio::process::Command::new(program)
        .args(alone)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, child).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("DEBUG tidegate::provider::exchange"), "{text}");
    for secret in ["aHVzaA", "hush", "a=b"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
#[ignore = "the test before it runs this, alone"]
async fn one_call_with_everything_logged() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .init();
    let peer = Peer::plain(Answer::of("200 OK", b"hushed")).await;
    ask(&network(), &peer).await.unwrap();
}

/// What a token endpoint may do wrong, seen from the order.
#[tokio::test]
async fn a_hostile_token_endpoint_gives_no_token_and_gets_no_second_try() {
    let other = Peer::plain(Answer::of("200 OK", b"{}")).await;
    let redirect = format!("307 There\r\nlocation: http://127.0.0.1:{}/", other.port);
    let token = br#"{"access_token":"abc","token_type":"Bearer"}"#;
    let json = "200 OK\r\ncontent-type: application/json";
    for (what, answer, refreshing, other) in [
        (
            "a page",
            Answer::of("200 OK\r\ncontent-type: text/html", b"<html>"),
            "lost",
            "unusable",
        ),
        (
            "a token as a page",
            Answer::of("200 OK\r\ncontent-type: text/html", token),
            "lost",
            "unusable",
        ),
        ("binary", Answer::of(json, &[0xff; 64]), "lost", "unusable"),
        (
            "an array",
            Answer::of(json, b"[\"abc\", \"Bearer\"]"),
            "lost",
            "unusable",
        ),
        ("deep", Answer::of(json, &vec![b'['; 100_000]), "lost", "unusable"),
        (
            "deep within",
            Answer::of(json, &b"{\"a\":".repeat(20_000)),
            "lost",
            "unusable",
        ),
        ("a redirect", Answer::of(&redirect, b""), "refused", "refused"),
        ("no answer", Answer::Close(Vec::new()), "lost", "lost"),
        (
            "a broken 400",
            Answer::Close(b"HTTP/1.1 400 X\r\ncontent-length: 9\r\n\r\n{".to_vec()),
            "refused",
            "refused",
        ),
    ] {
        for (grant, expected) in [("RefreshToken", refreshing), ("ClientCredentials", other)] {
            let peer = Peer::plain(answer.clone()).await;
            let mut life = Life::of(
                &json!({
                    "grant": grant, "tokenURL": format!("http://127.0.0.1:{}/token", peer.port), "clientID": "id",
                    "clientSecretRef": { "name": "s", "key": "k" }, "refreshTokenRef": { "name": "s", "key": "k" },
                }),
                &[("k", "hush")],
            );
            let error = life.issue(&network()).await.unwrap_err();
            let got = match &error {
                IssueError::NotSent { .. } => "not sent",
                IssueError::Lost { .. } => "lost",
                IssueError::Unusable { .. } => "unusable",
                IssueError::Later { .. } => "later",
                IssueError::Refused { .. } => "refused",
                IssueError::Reauthorize { .. } => "reauthorize",
            };
            assert_eq!(got, expected, "{what}, {grant}: {error}");
            assert!(!error.to_string().contains("hush"), "{error}");
            assert_eq!(peer.asked().len(), 1, "{what}, {grant}");
        }
    }
    assert!(other.asked().is_empty(), "the refresh token went elsewhere");
}
