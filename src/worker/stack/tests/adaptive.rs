//! Adaptive concurrency in front of a provider that does so many requests at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::domain::plan::AdaptivePlan;
use crate::worker::simulated::{Provider, World, plan, status};

const SERVICE: Duration = Duration::from_millis(50);

/// Does eight requests at a time.
struct Queue {
    servers: Arc<Semaphore>,
    most: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
}

impl Provider for Queue {
    fn answer(&self, _: SocketAddr, _: Request<Incoming>) -> BoxFuture<'static, Response<Full<Bytes>>> {
        let (servers, under_way) = (self.servers.clone(), self.under_way.clone());
        self.most
            .fetch_max(under_way.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        Box::pin(async move {
            let server = servers.acquire_owned().await;
            sleep(SERVICE).await;
            drop(server);
            under_way.fetch_sub(1, Ordering::Relaxed);
            status(200)
        })
    }
}

/// Answers of ten seconds to fifty callers who always want more, after it has settled.
async fn answers(adaptive: Option<AdaptivePlan>) -> (usize, usize) {
    let most = Arc::new(AtomicUsize::new(0));
    let provider = Queue {
        servers: Arc::new(Semaphore::new(8)),
        most: most.clone(),
        under_way: Arc::default(),
    };
    let mut plan = plan(1);
    plan.concurrency.adaptive = adaptive;
    let world = Arc::new(World::start(plan, provider).await);
    let answered = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let (world, answered) = (world.clone(), answered.clone());
        callers.spawn(async move {
            loop {
                assert_eq!(world.get().await, 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    sleep(Duration::from_secs(15)).await;
    answered.store(0, Ordering::Relaxed);
    most.store(0, Ordering::Relaxed);
    let start = Instant::now();
    sleep(Duration::from_secs(6)).await;
    assert!(start.elapsed() < Duration::from_secs(7));
    (answered.load(Ordering::Relaxed), most.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_kept_here_and_the_provider_is_kept_busy() {
    let bounds = AdaptivePlan {
        minimum: 4,
        maximum: 64,
    };
    let capacity = 6 * 20 * 8;
    let (answered, most) = answers(Some(bounds)).await;
    assert!(answered * 100 >= capacity * 95, "{answered} of {capacity}");
    assert!(most <= 16, "{most} under way at a provider that does 8 at a time");
    let (answered, most) = answers(None).await;
    assert!(answered * 100 >= capacity * 95, "{answered} of {capacity}");
    assert_eq!(most, 50, "without it all of them are");
}
