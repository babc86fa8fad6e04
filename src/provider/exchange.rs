//! One call to a provider and its answer: the port that everything here leaves through.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderName, Method};
use jiff::Timestamp;
use url::Url;

use crate::domain::secret::SecretValue;

mod network;

pub use network::{DEADLINE, Network};

/// Longest answer that is read, in bytes.
pub const ANSWER_MAX: usize = 256 << 10;

/// One HTTP request. Redirects are never followed.
#[derive(Clone)]
pub struct Call {
    /// Method.
    pub method: Method,
    /// URL; `http` or `https`.
    pub url: Url,
    /// Headers besides those that frame the message, which are refused.
    pub headers: Vec<(HeaderName, SecretValue)>,
    /// Body, if there is one; `content-type` is among the headers.
    pub body: Option<SecretValue>,
    /// PEM certificates to trust instead of the public roots.
    pub ca_pem: Option<String>,
    /// Client certificate for mutual TLS: chain and key in PEM.
    pub certificate: Option<(String, SecretValue)>,
}

/// Path and query of the URL may hold a value.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url.host_str().unwrap_or_default())
    }
}

/// The answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// `Content-Type`, if there is one, without parameters, in lower case.
    pub content_type: Option<String>,
    /// `Retry-After`, as a time from now.
    pub retry_after: Option<Duration>,
    /// `Date`, if there is one: how late the provider believes it is.
    pub date: Option<Timestamp>,
    /// How long the call took, from the first byte sent to the last one received.
    pub took: Duration,
    /// Body; text, at most [`ANSWER_MAX`] bytes. It is empty where an answer that is no success (2xx) had one that could
    /// not be read: the status tells enough then.
    pub body: SecretValue,
}

/// A call without an answer. No message has a secret, a header, or a body of a provider in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// Not a byte of the request was sent: the name, the address, the connection, TLS.
    #[error("{0}")]
    NotSent(String),
    /// It may have been received: no answer in time, or one that broke off or is no HTTP.
    #[error("{0}")]
    Lost(String),
    /// The head of a success (2xx) came, and a body that is too long or no text. The provider has acted, and would most
    /// likely answer the same again.
    #[error("{0}")]
    Unreadable(String),
}

/// Calls a provider. The whole call has a deadline, [`DEADLINE`].
pub trait Exchange: Send + Sync {
    /// Makes one call.
    fn exchange(&self, call: Call) -> BoxFuture<'_, Result<Answer, ExchangeError>>;
}

/// No way out: every call fails before a byte is sent. For controllers that issue nothing.
#[derive(Debug)]
pub struct Unplugged;

impl Exchange for Unplugged {
    fn exchange(&self, _: Call) -> BoxFuture<'_, Result<Answer, ExchangeError>> {
        let failed = ExchangeError::NotSent("this controller is set up without a way to call providers".into());
        Box::pin(std::future::ready(Err(failed)))
    }
}
