use std::future::poll_fn;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};

use super::*;

const IDLE: Duration = Duration::from_secs(90);

type Test = BoxBody<Bytes, std::io::Error>;

/// A body of `pieces`, then, if `fails`, an error.
fn streamed(pieces: &[&[u8]], fails: bool) -> Test {
    let mut frames: Vec<Result<Frame<Bytes>, std::io::Error>> = pieces
        .iter()
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    if fails {
        frames.push(Err(std::io::Error::other("gone")));
    }
    BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)))
}

fn source(body: Test, limit: u64, keep: bool) -> Source<Test> {
    Source::new(body, limit, IDLE, keep, Arc::from([]))
}

async fn next(body: &mut Outgoing<Test>) -> Option<Result<Bytes, Broken>> {
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

async fn whole(mut body: Outgoing<Test>) -> Result<Vec<u8>, Broken> {
    let mut all = Vec::new();
    while let Some(data) = next(&mut body).await {
        all.extend_from_slice(&data?);
    }
    Ok(all)
}

#[tokio::test]
async fn a_body_that_is_kept_is_sent_again_from_its_start_wherever_the_first_attempt_stopped() {
    for stop in 0..=3 {
        let source = source(streamed(&[b"one ", b"two ", b"three"], false), 100, true);
        let mut first = source.attempt().unwrap();
        for _ in 0..stop {
            next(&mut first).await;
        }
        let second = source.attempt().expect("it can be sent again");
        assert_eq!(whole(second).await.unwrap(), b"one two three", "stopped after {stop}");
        assert_eq!(next(&mut first).await, Some(Err(Broken::Superseded)));
    }
}

#[tokio::test]
async fn a_body_that_is_not_kept_can_be_sent_again_only_while_nothing_of_it_was_read() {
    let source = source(streamed(&[b"one", b"two"], false), 100, false);
    drop(source.attempt().unwrap());
    let mut second = source.attempt().expect("nothing was read yet");
    next(&mut second).await;
    assert!(!source.can_repeat());
    assert!(source.attempt().is_none());
    assert_eq!(next(&mut second).await, Some(Ok(Bytes::from_static(b"two"))));
}

#[tokio::test]
async fn a_body_is_kept_up_to_one_mebibyte_and_streams_on_beyond() {
    let piece = vec![7; KEPT / 4];
    let pieces: Vec<&[u8]> = std::iter::repeat_n(piece.as_slice(), 5).collect();
    let source = source(streamed(&pieces, false), u64::MAX, true);
    let mut first = source.attempt().unwrap();
    for _ in 0..4 {
        next(&mut first).await.unwrap().unwrap();
    }
    assert!(source.can_repeat(), "exactly one mebibyte is kept");
    next(&mut first).await.unwrap().unwrap();
    assert!(!source.can_repeat());
    assert_eq!(next(&mut first).await, None);
}

#[tokio::test]
async fn tiny_pieces_do_not_cost_more_memory_than_large_ones() {
    let pieces: Vec<&[u8]> = std::iter::repeat_n(b"x".as_slice(), KEPT / 64 + 1).collect();
    let source = source(streamed(&pieces, false), u64::MAX, true);
    whole(source.attempt().unwrap()).await.unwrap();
    assert!(!source.can_repeat());
}

#[tokio::test]
async fn a_body_over_the_limit_is_cut_and_stays_broken() {
    let source = source(streamed(&[b"12345", b"6"], false), 5, true);
    let mut body = source.attempt().unwrap();
    assert_eq!(next(&mut body).await, Some(Ok(Bytes::from_static(b"12345"))));
    assert_eq!(next(&mut body).await, Some(Err(Broken::TooLarge(5))));
    assert_eq!(source.broken(), Some(Broken::TooLarge(5)));
    assert!(source.attempt().is_none());
}

#[tokio::test]
async fn a_caller_that_breaks_off_is_told_from_a_provider_that_does() {
    let source = source(streamed(&[b"12345"], true), 100, true);
    let body = source.attempt().unwrap();
    assert_eq!(whole(body).await, Err(Broken::BrokenOff));
    assert_eq!(source.broken(), Some(Broken::BrokenOff));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_pauses_for_too_long_is_cut() {
    let body = BodyExt::boxed(StreamBody::new(futures::stream::pending::<
        Result<Frame<Bytes>, std::io::Error>,
    >()));
    let source = source(body, 100, true);
    assert_eq!(whole(source.attempt().unwrap()).await, Err(Broken::Paused(IDLE)));
    assert_eq!(source.broken(), Some(Broken::Paused(IDLE)));
}

#[tokio::test]
async fn trailers_are_sent_by_every_attempt_without_what_is_not_the_callers_to_say() {
    let mut trailers = HeaderMap::new();
    for name in ["checksum", "x-api-key", "transfer-encoding", "connection"] {
        trailers.insert(name, "v".parse().unwrap());
    }
    let body = Full::new(Bytes::from_static(b"data"))
        .map_err(|never| match never {})
        .with_trailers(async { Some(Ok::<_, std::io::Error>(trailers)) });
    let injected: Arc<[HeaderName]> = Arc::from([HeaderName::from_static("x-api-key")]);
    let source = Source::new(BodyExt::boxed(body), 100, IDLE, true, injected);
    for _ in 0..2 {
        let collected = source.attempt().unwrap().collect().await.unwrap();
        let names: Vec<_> = collected
            .trailers()
            .unwrap()
            .keys()
            .map(|name| name.as_str().to_owned())
            .collect();
        assert_eq!(names, ["checksum"]);
    }
}

#[test]
fn a_body_of_known_length_says_so() {
    let body = BodyExt::boxed(Full::new(Bytes::from_static(b"12345")).map_err(|never| match never {}));
    let source = source(body, 100, true);
    assert_eq!(source.attempt().unwrap().size_hint().exact(), Some(5));
    let empty = BodyExt::boxed(http_body_util::Empty::new().map_err(|never| match never {}));
    let source = Source::new(empty, 100, IDLE, true, Arc::from([]));
    assert!(source.attempt().unwrap().is_end_stream());
}
