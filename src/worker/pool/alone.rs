//! A request on a connection of its own, for probes: it finds out whether a connection can be made, takes no place from
//! traffic, and shows the provider's certificate.

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use rustls::pki_types::CertificateDer;

use super::fit::{fit_http1, fit_http2};
use super::{Pool, SendError};
use crate::net::Connection;
use crate::worker::body::outgoing::Outgoing;

/// An answer on a connection of its own, which closes when this is dropped.
#[derive(Debug)]
pub struct Alone {
    /// The answer, its head read.
    pub response: Response<Incoming>,
    /// The provider's certificate, if TLS is spoken.
    pub certificate: Option<CertificateDer<'static>>,
    _sender: Sender,
}

#[derive(Debug)]
enum Sender {
    Http1 { _sender: http1::SendRequest<Outgoing> },
    Http2 { _sender: http2::SendRequest<Outgoing> },
}

impl Pool {
    /// Sends `request` on a connection that is opened for it. The URI is whole, as in [`send`](Pool::send).
    pub async fn send_alone(&self, mut request: Request<Outgoing>) -> Result<Alone, SendError> {
        let uri = request.uri().clone();
        let (connection, http2) = self.dial().await?;
        let certificate = match &connection {
            Connection::Plain(_) => None,
            #[cfg(test)]
            Connection::Pipe(..) => None,
            Connection::Tls(stream) => {
                let chain = stream.get_ref().1.peer_certificates();
                chain
                    .and_then(<[_]>::first)
                    .map(|certificate| certificate.clone().into_owned())
            }
        };
        let (response, sender) = if http2 {
            fit_http2(&mut request, &uri);
            let mut sender = self.open_http2(connection).await?;
            let response = sender.send_request(request).await.map_err(SendError::Sent)?;
            (response, Sender::Http2 { _sender: sender })
        } else {
            fit_http1(&mut request, &uri);
            let mut sender = self.open_http1(connection).await?;
            let response = sender.send_request(request).await.map_err(SendError::Sent)?;
            (response, Sender::Http1 { _sender: sender })
        };
        Ok(Alone {
            response,
            certificate,
            _sender: sender,
        })
    }
}
