//! Clients of the API server.

use std::time::Duration;

use kube::{Client, Config};

/// Two clients, because a watch waits and a call must not.
pub struct Clients {
    /// For reads and writes.
    pub calling: Client,
    /// For watches.
    pub watching: Client,
}

impl Clients {
    /// Connects by `config`. Nothing is sent yet.
    pub fn new(config: Config) -> Result<Self, kube::Error> {
        let mut calling = config.clone();
        calling.connect_timeout = Some(Duration::from_secs(5));
        calling.read_timeout = Some(Duration::from_secs(10));
        calling.reset_reader_on_write = true;
        calling.write_timeout = Some(Duration::from_secs(10));
        // kube repeats any method on 429, 503 and 504, up to 15 times over minutes, POST included. A reconcile decides
        // itself when to try again, on what is stored then.
        calling.default_retry = false;
        let mut watching = config;
        watching.connect_timeout = Some(Duration::from_secs(5));
        // The watcher notices a silent stream itself.
        watching.read_timeout = None;
        watching.default_retry = false;
        Ok(Self {
            calling: Client::try_from(calling)?,
            watching: Client::try_from(watching)?,
        })
    }
}
