//! From names to addresses.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::Shared;

/// The addresses of a name, in the order in which they are to be tried. An error is a sentence for people.
pub type Answer = Result<Arc<[IpAddr]>, Arc<str>>;

/// An answer to come.
pub type Pending = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Turns names into addresses. What it answers is not trusted: every address is checked before it is dialled.
pub trait Resolve: std::fmt::Debug + Send + Sync {
    /// The addresses of `name` now.
    fn resolve(&self, name: &str) -> Pending;
}

/// More addresses than this are not looked at: an answer must not become a list of places to knock at.
pub const MAX_ADDRESSES: usize = 32;

/// The system's resolver (`getaddrinfo`), which follows `/etc/hosts`, search domains and the order of RFC 6724.
///
/// It blocks a thread for as long as the name servers are silent, and cannot be given up. So there is at most one
/// lookup of a name at a time; everyone who wants that name waits for it together, each with a deadline of its own.
#[derive(Debug, Default)]
pub struct System {
    running: Arc<Mutex<HashMap<Arc<str>, Shared<Pending>>>>,
}

impl Resolve for System {
    fn resolve(&self, name: &str) -> Pending {
        let name: Arc<str> = name.into();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = running.get(&name) {
            return lookup.clone().boxed();
        }
        let (done, key) = (Arc::clone(&self.running), Arc::clone(&name));
        // A task of its own, so that the entry lives exactly as long as the thread it stands for, even when everyone
        // who waited has gone.
        let task = tokio::spawn(async move {
            let answer = look_up(&name).await;
            done.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            answer
        });
        let pending: Pending =
            async move { task.await.unwrap_or_else(|_| Err("the lookup was stopped".into())) }.boxed();
        let lookup = pending.shared();
        running.insert(key, lookup.clone());
        lookup.boxed()
    }
}

async fn look_up(name: &str) -> Answer {
    let addresses = tokio::net::lookup_host((name, 0)).await;
    let addresses: io::Result<Vec<IpAddr>> = addresses.map(|all| all.map(|address| address.ip()).collect());
    match addresses {
        Ok(addresses) => Ok(addresses.into()),
        Err(error) => Err(error.to_string().into()),
    }
}
