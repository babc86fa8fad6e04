//! Every way for a call to end, while its circuit is half open and this call is the one trial: the circuit must leave
//! that state whatever happens, and close when the provider is well again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::Request;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tidegate::api::integration::CircuitState;
use tidegate::domain::plan::Plan;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::dataplane::{Dataplane, plan, problem};
use crate::support::provider::{Provider, Reply, answer, eventually, piece, streamed};

type Script = Arc<dyn Fn() -> Reply + Send + Sync>;

/// A provider whose behaviour changes from call to call.
struct Changing {
    provider: Provider,
    script: Arc<Mutex<Script>>,
}

impl Changing {
    async fn start() -> Self {
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Arc::new(|| Reply::from(200))));
        let current = script.clone();
        let provider = Provider::start(move |_| {
            let reply = current.lock().unwrap().clone();
            async move { reply() }
        })
        .await;
        Self { provider, script }
    }

    fn now(&self, script: impl Fn() -> Reply + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }
}

fn quick(provider: &Provider) -> Plan {
    let mut plan = plan(&[provider.url("")]);
    plan.retries.limit = 0;
    plan.timeouts.attempt = Duration::from_millis(200);
    plan.timeouts.idle = Duration::from_millis(300);
    plan.limits.response_body = 1000;
    plan.limits.request_body = 1000;
    plan.breaker.consecutive_failures = 1;
    plan.breaker.open_for = Duration::from_millis(20);
    plan.breaker.max_open_for = Duration::from_millis(40);
    plan
}

/// Opens the circuit, lets the trial end as `exit` makes it end, and checks that the circuit closes again.
async fn check<F: Future<Output = ()>>(
    what: &str,
    script: impl Fn() -> Reply + Send + Sync + 'static,
    exit: impl FnOnce(Arc<Dataplane>) -> F,
) {
    let changing = Changing::start().await;
    let worker = Arc::new(Dataplane::start([quick(&changing.provider)]));
    changing.now(|| Reply::from(500));
    assert_eq!(worker.get("/").await.status(), 500, "{what}");
    let tried = Arc::new(AtomicBool::new(false));
    let noted = tried.clone();
    changing.now(move || {
        noted.store(true, Ordering::SeqCst);
        script()
    });
    worker.until_trial().await;
    exit(worker.clone()).await;
    assert!(tried.load(Ordering::SeqCst), "{what}: the trial reached the provider");
    changing.now(|| Reply::from(200));
    let recovered = async {
        while worker.get("/").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(5), recovered).await;
    assert!(in_time.is_ok(), "{what}: the circuit sticks: {:#?}", worker.reports());
    let report = worker
        .endpoint(|endpoint| endpoint.circuit.state == CircuitState::Closed)
        .await;
    assert_eq!(report.circuit.tripped_by, None, "{what}");
}

/// A body of one piece and then nothing more, ever.
fn unending() -> Reply {
    streamed(futures::stream::iter([piece("begin")]).chain(futures::stream::pending())).into()
}

async fn expect(worker: Arc<Dataplane>, status: u16) {
    assert_eq!(worker.get("/").await.status(), status);
}

#[tokio::test]
async fn a_trial_that_is_answered_lets_go() {
    for status in [200, 204, 301, 400, 401, 403, 404, 408, 429, 500, 502, 503] {
        check(
            &format!("status {status}"),
            move || Reply::from(status),
            |worker| expect(worker, status),
        )
        .await;
    }
}

#[tokio::test]
async fn a_trial_without_an_answer_lets_go() {
    check("hang-up", || Reply::Hangup, |worker| expect(worker, 502)).await;
    check("timeout", || Reply::Silence, |worker| expect(worker, 504)).await;
}

#[tokio::test]
async fn a_trial_whose_answer_breaks_off_lets_go() {
    let broken = || {
        // The head has to be on its way before the body breaks, or there is no answer at all.
        let broken = futures::stream::once(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(std::io::Error::other("broken"))
        });
        streamed(futures::stream::iter([piece("begin")]).chain(broken)).into()
    };
    check("broken body", broken, |worker| async move {
        let request = Request::get("/").body(http_body_util::Empty::<Bytes>::new()).unwrap();
        assert!(
            worker.send(request).await.is_err(),
            "half an answer must not look whole"
        );
    })
    .await;
    check("stalled body", unending, |worker| async move {
        let request = Request::get("/").body(http_body_util::Empty::<Bytes>::new()).unwrap();
        assert!(
            worker.send(request).await.is_err(),
            "half an answer must not look whole"
        );
    })
    .await;
}

#[tokio::test]
async fn a_trial_whose_answer_is_too_large_lets_go() {
    let announced = || answer(200, vec![0; 1001]).into();
    check("announced", announced, |worker| async move {
        assert_eq!(problem(&worker.get("/").await), Some("response-too-large"));
    })
    .await;
    let unannounced = || streamed(futures::stream::iter([piece(vec![0; 600]), piece(vec![0; 600])])).into();
    check("unannounced", unannounced, |worker| async move {
        let request = Request::get("/").body(http_body_util::Empty::<Bytes>::new()).unwrap();
        assert!(
            worker.send(request).await.is_err(),
            "an answer that is cut must not look whole"
        );
    })
    .await;
}

#[tokio::test]
async fn a_trial_whose_caller_goes_lets_go() {
    let reached = Arc::new(AtomicBool::new(false));
    let noted = reached.clone();
    let silent = move || {
        noted.store(true, Ordering::SeqCst);
        Reply::Silence
    };
    check("before the head", silent, |worker| async move {
        let mut socket = TcpStream::connect(worker.address).await.unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n").await.unwrap();
        eventually("the trial", || reached.load(Ordering::SeqCst)).await;
    })
    .await;
    check("in the body", unending, |worker| async move {
        let mut socket = TcpStream::connect(worker.address).await.unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n").await.unwrap();
        socket.read_exact(&mut [0; 64]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_trial_whose_caller_breaks_its_own_body_lets_go() {
    // The provider answers nothing before it has the whole body, so its script tells nothing of these: the trial is
    // seen by the circuit being half open.
    for (what, status, body) in [
        ("too large", 413, vec![piece(vec![0; 600]), piece(vec![0; 600])]),
        ("paused", 504, vec![piece("a")]),
    ] {
        let changing = Changing::start().await;
        let worker = Dataplane::start([quick(&changing.provider)]);
        changing.now(|| Reply::from(500));
        worker.get("/").await;
        changing.now(|| Reply::from(200));
        worker.until_trial().await;
        let body =
            futures::stream::iter(body).chain(futures::stream::pending::<Result<Frame<Bytes>, std::io::Error>>());
        let request = Request::post("/").body(StreamBody::new(body)).unwrap();
        assert_eq!(worker.send(request).await.unwrap().status(), status, "{what}");
        let recovered = async {
            while worker.get("/").await.status() != 200 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(
            tokio::time::timeout(Duration::from_secs(5), recovered).await.is_ok(),
            "{what}: the circuit sticks"
        );
    }
}

#[tokio::test]
async fn a_trial_that_is_cut_by_the_end_of_the_drain_lets_go_of_everything() {
    let changing = Changing::start().await;
    let worker = Dataplane::start_with([quick(&changing.provider)], |settings| {
        settings.drain = Duration::from_millis(50);
    });
    changing.now(|| Reply::from(500));
    worker.get("/").await;
    changing.now(unending);
    worker.until_trial().await;
    let mut socket = TcpStream::connect(worker.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n").await.unwrap();
    socket.read_exact(&mut [0; 64]).await.unwrap();
    worker.stop.cancel();
    eventually("the worker's end", || worker.task.is_finished()).await;
    eventually("the end of the connection to the provider", || {
        changing.provider.open() == 0
    })
    .await;
}

#[tokio::test]
async fn what_the_head_said_counts_and_a_caller_that_leaves_is_no_failure() {
    let provider = Provider::start(|_| async { unending() }).await;
    let mut plan = quick(&provider);
    plan.timeouts.idle = Duration::from_secs(90);
    let worker = Dataplane::start([plan]);
    for _ in 0..10 {
        let mut socket = TcpStream::connect(worker.address).await.unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        socket.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
    }
    eventually("the end of what nobody reads", || provider.open() == 0).await;
    let report = worker.endpoint(|_| true).await;
    assert_eq!(report.circuit.state, CircuitState::Closed);
}

#[tokio::test]
async fn two_hundred_callers_at_once_make_one_trial() {
    let changing = Changing::start().await;
    let mut plan = quick(&changing.provider);
    plan.breaker.open_for = Duration::from_millis(200);
    plan.breaker.max_open_for = Duration::from_secs(300);
    plan.timeouts.attempt = Duration::from_secs(10);
    let worker = Arc::new(Dataplane::start([plan]));
    changing.now(|| Reply::from(500));
    worker.get("/").await;
    let before = changing.provider.seen().len();
    changing.now(|| Reply::Silence);
    worker.until_trial().await;
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let worker = worker.clone();
            tokio::spawn(async move { worker.get("/").await })
        })
        .collect();
    let mut refused = 0;
    for call in calls {
        if let Ok(answered) = tokio::time::timeout(Duration::from_millis(500), call).await {
            assert_eq!(problem(&answered.unwrap()), Some("circuit-open"));
            refused += 1;
        }
    }
    assert_eq!(refused, 199);
    assert_eq!(changing.provider.seen().len() - before, 1);
}
