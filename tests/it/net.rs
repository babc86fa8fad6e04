//! Outbound connections on real sockets: what is dialled, what is not, and what is said about it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::net::policy::AddressPolicy;
use tidegate::net::resolve::{Answer, Pending, Resolve};
use tidegate::net::{Connection, DialError, Dialer, Target};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

pub mod tls;
mod vectors;

/// Long enough for whatever is local; nothing waits for it to pass unless something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A resolver that answers by a script: one answer after the other, the last for ever.
#[derive(Debug, Default)]
struct Script {
    answers: HashMap<String, Vec<Vec<IpAddr>>>,
    asked: Mutex<HashMap<String, usize>>,
}

impl Script {
    fn of(names: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let parse = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self {
            answers: names
                .iter()
                .map(|(name, answers)| ((*name).to_owned(), answers.iter().map(parse).collect()))
                .collect(),
            asked: Mutex::default(),
        })
    }

    fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

impl Resolve for Script {
    fn resolve(&self, name: &str) -> Pending {
        let mut asked = self.asked.lock().unwrap();
        let times = asked.entry(name.to_owned()).or_default();
        let answer: Answer = match self.answers.get(name) {
            Some(answers) => Ok(answers[(*times).min(answers.len() - 1)].clone().into()),
            None => Err("no such name".into()),
        };
        *times += 1;
        Box::pin(async move { answer })
    }
}

/// A resolver that never answers.
#[derive(Debug)]
struct Silent;

impl Resolve for Silent {
    fn resolve(&self, _: &str) -> Pending {
        Box::pin(std::future::pending())
    }
}

fn plain(host: &str, port: u16) -> Target {
    Target {
        host: host.into(),
        port,
        tls: None,
    }
}

fn loopback_allowed() -> AddressPolicy {
    AddressPolicy {
        allow_loopback: true,
        ..AddressPolicy::default()
    }
}

/// A listener that holds whoever connects. A connection is in the kernel's queue before the one who connected knows, so
/// the count needs no waiting.
struct Trap {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl Trap {
    fn at(address: &str) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many have connected since the last look.
    fn caught(&self) -> usize {
        std::iter::from_fn(|| self.listener.accept().ok()).count()
    }
}

/// An address whose connections are neither accepted nor refused: its queue is full.
async fn black_hole(address: &str) -> (SocketAddr, Vec<TcpStream>, TcpListener) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address.parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        queue.push(connected.unwrap());
    }
    (address, queue, listener)
}

#[tokio::test]
async fn a_literal_address_is_dialled_without_a_lookup() {
    let trap = Trap::at("127.0.0.1:0");
    let dialer = Dialer::with_resolver(Arc::new(loopback_allowed()), Arc::new(Silent));
    let connection = dialer.dial(&plain("127.0.0.1", trap.port()), PATIENCE).await.unwrap();
    assert_eq!(connection.peer().unwrap(), trap.address);
    assert!(!connection.is_h2());
}

#[tokio::test]
async fn a_connection_sends_small_writes_at_once_and_notices_a_dead_peer() {
    let trap = Trap::at("127.0.0.1:0");
    let dialer = Dialer::new(Arc::new(loopback_allowed()));
    let Connection::Plain(stream) = dialer.dial(&plain("127.0.0.1", trap.port()), PATIENCE).await.unwrap() else {
        panic!("cleartext was asked for");
    };
    let socket = socket2::SockRef::from(&stream);
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
}

#[tokio::test]
async fn a_name_is_resolved_once_for_each_dial_and_only_what_was_checked_is_dialled() {
    let trap = Trap::at("127.0.0.1:0");
    // The second answer is the attack: what was harmless when it was checked has become the metadata service.
    let script = Script::of(&[("api.example.com", &[&["127.0.0.1"], &["169.254.169.254"]])]);
    let dialer = Dialer::with_resolver(Arc::new(loopback_allowed()), Arc::clone(&script) as Arc<dyn Resolve>);
    let target = plain("api.example.com", trap.port());

    let first = dialer.dial(&target, PATIENCE).await.unwrap();
    assert_eq!(first.peer().unwrap(), trap.address);
    assert_eq!(script.asked("api.example.com"), 1);

    let second = dialer.dial(&target, PATIENCE).await.unwrap_err();
    assert!(
        matches!(&second, DialError::Refused { refused, .. } if refused.rule == "a metadata service"),
        "{second}"
    );
    assert_eq!(script.asked("api.example.com"), 2);
    assert_eq!(trap.caught(), 1);
}

#[tokio::test]
async fn of_a_mixed_answer_only_what_is_allowed_is_dialled() {
    let trap = Trap::at("127.0.0.9:0");
    let forbidden = Trap::at(&format!("127.0.0.10:{}", trap.port()));
    let mut policy = loopback_allowed();
    policy.denied.push("127.0.0.10/32".parse().unwrap());
    let script = Script::of(&[(
        "mixed.example.com",
        &[&["169.254.169.254", "127.0.0.10", "::", "127.0.0.9", "224.0.0.1"]],
    )]);
    let dialer = Dialer::with_resolver(Arc::new(policy), script);
    let connection = dialer
        .dial(&plain("mixed.example.com", trap.port()), PATIENCE)
        .await
        .unwrap();
    assert_eq!(connection.peer().unwrap(), trap.address);
    assert_eq!(trap.caught(), 1);
    assert_eq!(forbidden.caught(), 0);
}

#[tokio::test]
async fn when_every_address_is_refused_the_error_names_the_first_rule() {
    let script = Script::of(&[("metadata.google.internal", &[&["169.254.169.254", "::1"]])]);
    let dialer = Dialer::with_resolver(Arc::new(AddressPolicy::default()), script);
    let error = dialer
        .dial(&plain("metadata.google.internal", 80), PATIENCE)
        .await
        .unwrap_err();
    assert_eq!(error.slug(), "address-refused");
    assert_eq!(
        error.to_string(),
        "the address of `metadata.google.internal` is refused: 169.254.169.254 is a metadata service"
    );
}

#[tokio::test]
async fn a_name_that_has_no_address_is_not_resolved() {
    let script = Script::of(&[("empty.example.com", &[&[]])]);
    let dialer = Dialer::with_resolver(Arc::new(AddressPolicy::default()), script);
    for name in ["empty.example.com", "unknown.example.com"] {
        let error = dialer.dial(&plain(name, 80), PATIENCE).await.unwrap_err();
        assert!(matches!(error, DialError::Resolve { .. }), "{error}");
        assert_eq!(error.slug(), "upstream-unreachable");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let trap = Trap::at("127.0.0.1:0");
    let mut answer = vec!["169.254.169.254"; 1000];
    answer.push("127.0.0.1");
    let script = Script::of(&[("many.example.com", &[answer.as_slice()])]);
    let dialer = Dialer::with_resolver(Arc::new(loopback_allowed()), script);
    let error = dialer
        .dial(&plain("many.example.com", trap.port()), PATIENCE)
        .await
        .unwrap_err();
    assert_eq!(error.slug(), "address-refused");
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_is_silent_is_waited_for_no_longer_than_the_timeout() {
    let dialer = Dialer::with_resolver(Arc::new(AddressPolicy::default()), Arc::new(Silent));
    let begin = tokio::time::Instant::now();
    let error = dialer
        .dial(&plain("api.example.com", 80), Duration::from_secs(5))
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Resolve { .. }), "{error}");
    assert_eq!(begin.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn a_refused_connection_leads_to_the_next_address_at_once() {
    let trap = Trap::at("127.0.0.3:0");
    let script = Script::of(&[("api.example.com", &[&["127.0.0.2", "127.0.0.3"]])]);
    let dialer = Dialer::with_resolver(Arc::new(loopback_allowed()), script);
    let connection = dialer
        .dial(&plain("api.example.com", trap.port()), PATIENCE)
        .await
        .unwrap();
    assert_eq!(connection.peer().unwrap(), trap.address);
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_overtaken_by_the_next() {
    let (hole, _queue, _listener) = black_hole("127.0.0.4:0").await;
    let trap = Trap::at(&format!("127.0.0.5:{}", hole.port()));
    let script = Script::of(&[("api.example.com", &[&["127.0.0.4", "127.0.0.5"]])]);
    let dialer = Dialer::with_resolver(Arc::new(loopback_allowed()), script);
    let connection = dialer
        .dial(&plain("api.example.com", hole.port()), PATIENCE)
        .await
        .unwrap();
    assert_eq!(connection.peer().unwrap(), trap.address);
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_waited_for_no_longer_than_the_timeout() {
    let (hole, _queue, _listener) = black_hole("127.0.0.6:0").await;
    let dialer = Dialer::new(Arc::new(loopback_allowed()));
    let error = dialer
        .dial(&plain("127.0.0.6", hole.port()), Duration::from_millis(100))
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Timeout { .. }), "{error}");
    assert_eq!(error.slug(), "upstream-unreachable");
}

#[tokio::test]
async fn when_nobody_accepts_the_error_is_that_of_the_preferred_address() {
    let dialer = Dialer::new(Arc::new(loopback_allowed()));
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = dialer
        .dial(&plain("127.0.0.1", free.port()), PATIENCE)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, DialError::Connect { source, .. } if source.kind() == std::io::ErrorKind::ConnectionRefused)
    );
    assert_eq!(error.slug(), "upstream-unreachable");
}

#[tokio::test]
async fn the_systems_resolver_knows_localhost_and_is_not_believed_either() {
    let trap = Trap::at("127.0.0.1:0");
    let target = plain("localhost", trap.port());
    let connection = Dialer::new(Arc::new(loopback_allowed()))
        .dial(&target, PATIENCE)
        .await
        .unwrap();
    assert_eq!(connection.peer().unwrap().port(), trap.port());
    let refused = Dialer::new(Arc::new(AddressPolicy::default()))
        .dial(&target, PATIENCE)
        .await
        .unwrap_err();
    assert_eq!(refused.slug(), "address-refused");
    assert_eq!(trap.caught(), 1);
}

#[tokio::test]
async fn a_dial_that_is_given_up_leaves_the_resolver_usable() {
    let dialer = Dialer::new(Arc::new(loopback_allowed()));
    let trap = Trap::at("127.0.0.1:0");
    let target = plain("localhost", trap.port());
    for _ in 0..100 {
        // Dropped at its first wait, which is the lookup.
        let _ = futures::FutureExt::now_or_never(dialer.dial(&target, PATIENCE));
    }
    dialer.dial(&target, PATIENCE).await.unwrap();
}
