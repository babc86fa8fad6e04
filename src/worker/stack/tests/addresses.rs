//! What becomes of kept connections when their name moves.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::sleep;

use crate::net::Dialer;
use crate::net::policy::AddressPolicy;
use crate::net::resolve::{Answer, Pending, Resolve};
use crate::worker::simulated::{Provider, World, plan, status};

const SECOND: Duration = Duration::from_secs(1);

/// Answers that a test gives, one after the other; the last stays.
#[derive(Clone, Debug)]
struct Names(Arc<Mutex<Vec<Answer>>>);

impl Resolve for Names {
    fn resolve(&self, _: &str) -> Pending {
        let mut answers = self.0.lock().unwrap();
        let answer = answers[0].clone();
        if answers.len() > 1 {
            answers.rotate_left(1);
        }
        std::future::ready(answer).boxed()
    }
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

#[expect(clippy::unnecessary_wraps, reason = "other answers are failures")]
fn answer(addresses: &[u8]) -> Answer {
    Ok(addresses.iter().map(|last| ip(*last)).collect())
}

impl Names {
    fn of(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self(Arc::new(Mutex::new(answers.into_iter().collect())))
    }

    fn are(&self, answers: impl IntoIterator<Item = Answer>) {
        *self.0.lock().unwrap() = answers.into_iter().collect();
    }
}

/// Notes which address each request came to, and which connections were opened.
#[derive(Clone, Default)]
struct Noting {
    dialled: Arc<Mutex<Vec<IpAddr>>>,
    asked: Arc<Mutex<Vec<IpAddr>>>,
}

impl Provider for Noting {
    fn accepts(&self, at: SocketAddr) -> bool {
        self.dialled.lock().unwrap().push(at.ip());
        true
    }

    fn answer(&self, at: SocketAddr, _: Request<Incoming>) -> BoxFuture<'static, Response<Full<Bytes>>> {
        self.asked.lock().unwrap().push(at.ip());
        std::future::ready(status(200)).boxed()
    }
}

async fn world(names: &Names) -> (World, Noting) {
    let mut plan = plan(1);
    plan.endpoints[0].url = "http://api.example.com".to_owned();
    let noting = Noting::default();
    let dialer = Dialer::with_resolver(Arc::new(AddressPolicy::default()), Arc::new(names.clone()));
    (World::start_with(plan, noting.clone(), dialer).await, noting)
}

/// Calls once a second for so long, which keeps a connection from growing old.
async fn calls(world: &World, seconds: u32) {
    for _ in 0..seconds {
        assert_eq!(world.get().await, 200);
        sleep(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn traffic_follows_a_name_that_moves_though_its_connection_is_never_idle_for_long() {
    let names = Names::of([answer(&[1])]);
    let (world, noting) = world(&names).await;
    calls(&world, 120).await;
    assert_eq!(
        *noting.dialled.lock().unwrap(),
        [ip(1)],
        "one connection is enough while nothing moves"
    );
    names.are([answer(&[2])]);
    calls(&world, 100).await;
    assert_eq!(*noting.dialled.lock().unwrap(), [ip(1), ip(2)]);
    let asked = noting.asked.lock().unwrap();
    let after = asked.iter().skip(120).take_while(|at| **at == ip(1)).count();
    assert!((30..=75).contains(&after), "it moved after {after} s");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_answers_with_a_few_of_its_addresses_in_turn_costs_no_connections() {
    let names = Names::of([answer(&[1, 2]), answer(&[3, 4]), answer(&[5, 1])]);
    let (world, noting) = world(&names).await;
    calls(&world, 300).await;
    assert_eq!(noting.dialled.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_fails_moves_nothing() {
    let names = Names::of([answer(&[1])]);
    let (world, noting) = world(&names).await;
    calls(&world, 5).await;
    names.are([Err("it is away".into()), Ok(Arc::from([]))]);
    calls(&world, 300).await;
    assert_eq!(noting.dialled.lock().unwrap().len(), 1);
}
