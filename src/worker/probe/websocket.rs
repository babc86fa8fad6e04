//! A probe that is a WebSocket handshake, and leaves as it came.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use crate::domain::websocket::{handshake, write};

/// How long a provider may take to let a probe leave.
const LEAVING: Duration = Duration::from_secs(1);

/// Makes a request with `headers` a handshake.
pub fn ask(headers: &mut HeaderMap) {
    let key = STANDARD.encode(rand::random::<[u8; 16]>());
    // Base64 is always a header value.
    if let Ok(key) = HeaderValue::from_str(&key) {
        handshake::ask(headers, key);
    }
}

/// Checks a 101 to the handshake `asked`, and closes the connection that it opened.
pub async fn check(asked: &HeaderMap, response: &mut Response<Incoming>) -> Result<(), &'static str> {
    handshake::agreed(asked, response.headers())?;
    let opened = hyper::upgrade::on(response);
    let leave = async {
        let mut opened = TokioIo::new(opened.await.ok()?);
        let close = write::close(1000, "", Some(rand::random()));
        opened.write_all(&close).await.ok()?;
        opened.shutdown().await.ok()
    };
    // Whether it was polite says nothing of the provider's health.
    drop(tokio::time::timeout(LEAVING, leave).await);
    Ok(())
}
