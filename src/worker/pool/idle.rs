//! The connections of a pool that carry no request.

use std::net::IpAddr;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use super::addresses::Addresses;
use crate::worker::body::outgoing::Outgoing;

/// Connections that carry no request, or that any number of requests share.
#[derive(Debug, Default)]
pub struct Shelf {
    /// The last used is last; it is used first, so that what is not needed grows old.
    idle: Vec<Idle>,
    shared: Option<Shared>,
    addresses: Addresses,
    /// The last connection spoke HTTP/1.
    http1: bool,
    sweeping: bool,
    /// Nothing is kept any more.
    retired: bool,
    /// Requests that took a connection of another lane since one was opened for that reason.
    crossed: u32,
}

/// A connection that any number of requests share.
#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<Outgoing>,
    used: Instant,
    peer: Option<IpAddr>,
}

/// An idle connection.
#[derive(Debug)]
pub struct Idle {
    /// The way in.
    pub sender: http1::SendRequest<Outgoing>,
    /// When it is to be closed.
    pub until: Instant,
    /// Where it leads.
    pub peer: Option<IpAddr>,
    /// The lane that drives it, if one does.
    pub lane: Option<usize>,
}

/// A connection of another lane costs a request a few microseconds; one of the lane's own is opened after so many, so that
/// a handshake is worth it.
const CROSSINGS: u32 = 16;

impl Shelf {
    /// The shared connection, if there is one and it takes requests.
    pub fn shared(&mut self) -> Option<http2::SendRequest<Outgoing>> {
        let shared = self.shared.as_mut()?;
        if shared.sender.is_closed() {
            self.shared = None;
            return None;
        }
        shared.used = Instant::now();
        Some(shared.sender.clone())
    }

    /// From now on `sender` is shared, unless nothing is.
    pub fn share(&mut self, sender: http2::SendRequest<Outgoing>, peer: Option<IpAddr>) {
        if !self.retired {
            let used = Instant::now();
            self.shared = Some(Shared { sender, used, peer });
        }
        self.http1 = false;
    }

    /// Lets go of all of them, and of all that come.
    pub fn retire(&mut self) {
        self.retired = true;
        self.clear();
    }

    /// Lets go of all of them.
    pub fn clear(&mut self) {
        self.idle.clear();
        self.shared = None;
    }

    /// The shared connection takes no more requests; what is under way on it goes on.
    pub fn forget_shared(&mut self) {
        self.shared = None;
    }

    /// The endpoint chose HTTP/1.
    pub fn note_http1(&mut self) {
        self.http1 = true;
    }

    /// Whether the endpoint chose HTTP/1 the last time.
    pub fn speaks_http1(&self) -> bool {
        self.http1
    }

    /// The last used connection that can take a request now. One whose last answer has only just ended may still need a
    /// moment; it stays for the next.
    ///
    /// On a `lane` one that the lane drives is preferred. `None` too when the lane has made do with others' for so long that
    /// it is to have one of its own.
    pub fn take(&mut self, now: Instant, lane: Option<usize>) -> Option<Idle> {
        self.idle.retain(|idle| !idle.sender.is_closed() && idle.until > now);
        let ready = |idle: &Idle| idle.sender.is_ready();
        let own = self.idle.iter().rposition(|idle| idle.lane == lane && ready(idle));
        let position = if let Some(position) = own {
            position
        } else {
            let others = self.idle.iter().rposition(ready)?;
            if lane.is_some() {
                self.crossed += 1;
                if self.crossed >= CROSSINGS {
                    self.crossed = 0;
                    return None;
                }
            }
            others
        };
        Some(self.idle.remove(position))
    }

    /// Keeps a connection, at most `max` of them; says whether it is the first.
    pub fn put(&mut self, idle: Idle, max: usize) -> bool {
        if self.retired || idle.peer.is_some_and(|peer| self.addresses.has_left(peer)) {
            return false;
        }
        if self.idle.len() >= max.max(1) {
            self.idle.remove(0);
        }
        self.idle.push(idle);
        self.idle.len() == 1
    }

    /// A connection leads to this address, which its name has now.
    pub fn dialled(&mut self, peer: IpAddr) {
        self.addresses.dialled(peer);
    }

    /// The name has these addresses now. Lets go of connections to those that it has no more; what is under way on a
    /// shared one goes on to its end.
    pub fn note_addresses(&mut self, answer: &[IpAddr]) {
        self.addresses.note(answer);
        let left = |peer: Option<IpAddr>| peer.is_some_and(|peer| self.addresses.has_left(peer));
        self.idle.retain(|idle| !left(idle.peer));
        self.shared.take_if(|shared| left(shared.peer));
    }

    /// Whether a sweep is to begin now: there is none yet.
    pub fn begin_sweep(&mut self) -> bool {
        !std::mem::replace(&mut self.sweeping, true)
    }

    /// Lets go of what is closed or was unused for too long; says whether nothing is left, which ends the sweep.
    pub fn sweep(&mut self, now: Instant, idle: Duration) -> bool {
        self.idle.retain(|idle| !idle.sender.is_closed() && idle.until > now);
        // Letting go of the way in closes the connection when the last request on it has ended.
        self.shared
            .take_if(|shared| shared.sender.is_closed() || now.duration_since(shared.used) >= idle);
        self.sweeping = !(self.idle.is_empty() && self.shared.is_none());
        !self.sweeping
    }
}
