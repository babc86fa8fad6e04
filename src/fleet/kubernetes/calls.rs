//! Calls to the API server: each under a deadline, each error told by object and verb, never with a value.

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

use crate::domain::key::Key;
use crate::fleet::FleetError;

/// How long one call may take. kube has no such bound by itself, and retries for minutes.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a call is about, for its error.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// API verb.
    pub verb: &'static str,
    /// Kind of the object.
    pub kind: &'static str,
    /// Its name.
    pub key: &'a Key,
}

impl Call<'_> {
    /// The outcome of `call` within the deadline.
    pub async fn within_deadline<T>(self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, FleetError> {
        match timeout(DEADLINE, call).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.failure(&error)),
            Err(_) => Err(self.failed(format!("no answer within {} s", DEADLINE.as_secs()))),
        }
    }

    /// This call failed for this reason; another try may succeed.
    pub fn failed(self, detail: impl Into<String>) -> FleetError {
        let Self { verb, kind, key } = self;
        FleetError::Failed {
            verb,
            kind,
            key: key.clone(),
            detail: detail.into(),
        }
    }

    fn failure(self, error: &kube::Error) -> FleetError {
        let status = match error {
            kube::Error::Api(status) => status,
            // serde quotes what it stumbles over, which may be a value.
            kube::Error::SerdeError(_) => return self.failed("the answer of the API server cannot be read"),
            other => return self.failed(told(other)),
        };
        // An invalid Secret could be quoted in what the server says of it.
        let detail = match self.kind {
            "Secret" => format!("{} ({})", status.reason, status.code),
            _ => status.message.clone(),
        };
        match status.code {
            // What the server will not have now it will not have a second later: quota, admission, rights, schema.
            400 | 403 | 413 | 422 => FleetError::Refused {
                kind: self.kind,
                key: self.key.clone(),
                detail,
            },
            _ => self.failed(detail),
        }
    }
}

/// An error that did not come from the API server, with its causes.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
