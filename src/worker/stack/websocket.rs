//! What is other about a call of an Integration that speaks WebSocket: its request must be a handshake, a 101 must fit
//! it, and then the connection is relayed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Stack;
use super::head::Asked;
use super::reply::{AnswerBody, Reply, dress};
use crate::api::integration::Protocol;
use crate::domain::websocket::handshake::{self, From};
use crate::worker::body::answer::Answer;
use crate::worker::credential::Credential;
use crate::worker::endpoint::Endpoint;
use crate::worker::layer::admit::Place;
use crate::worker::layer::fault::Unanswered;
use crate::worker::layer::observe::Call;
use crate::worker::problem::Failure;
use crate::worker::websocket::Handover;
use crate::worker::websocket::relay::{Bounds, End, Ended, Side, relay};

/// How long hyper may take to let go of a connection to a provider that has answered 101.
const LETTING_GO: Duration = Duration::from_secs(5);

/// What makes a caller's request a handshake.
pub(super) struct Handshake {
    key: HeaderValue,
    /// Whether its `Origin` means something to the provider.
    keep_origin: bool,
}

impl Handshake {
    /// Puts it back into headers from which those for one hop were taken off.
    pub(super) fn put(self, headers: &mut HeaderMap) {
        if !self.keep_origin {
            headers.remove(ORIGIN);
        }
        handshake::ask(headers, self.key);
    }
}

impl Stack {
    /// The handshake that `request` must be, if WebSocket is spoken.
    pub(super) fn handshake<B: Body>(&self, request: &Request<B>) -> Result<Option<Handshake>, Failure> {
        if self.plan.protocol != Protocol::WebSocket {
            return Ok(None);
        }
        let refuse = |detail: &'static str| Failure::InvalidRequest { detail: detail.into() };
        let headers = request.headers();
        handshake::check(request.method(), request.version(), headers).map_err(refuse)?;
        if !request.body().is_end_stream() {
            return Err(refuse("a WebSocket handshake has no body"));
        }
        let key = headers
            .get(SEC_WEBSOCKET_KEY)
            .cloned()
            .ok_or(refuse("`Sec-WebSocket-Key` must be there"))?;
        let host = match request.uri().authority() {
            Some(authority) => authority.as_str(),
            None => headers
                .get(HOST)
                .and_then(|host| host.to_str().ok())
                .unwrap_or_default(),
        };
        let endpoints = self
            .endpoints
            .iter()
            .map(|endpoint| endpoint.address().authority.as_str());
        let from = handshake::origin(headers, host, endpoints);
        // A browser lets every page open a WebSocket to everywhere, and what is opened here carries a credential.
        if from == From::Elsewhere {
            return Err(refuse(
                "`Origin` must be the host that is called or one of the endpoints; pages of others may not connect",
            ));
        }
        Ok(Some(Handshake {
            key,
            keep_origin: from == From::There,
        }))
    }

    /// Tells who made no handshake which version there is (RFC 6455 4.4).
    pub(super) fn refuse_handshake(&self, mut response: Response<AnswerBody>) -> Response<AnswerBody> {
        if self.plan.protocol == Protocol::WebSocket && response.status() == StatusCode::BAD_REQUEST {
            let version = HeaderValue::from_static("13");
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, version);
        }
        response
    }

    /// Whether a 101 fits the handshake that was asked for.
    pub(super) fn check_handshake<B>(&self, asked: &Asked, response: &Response<B>) -> Result<(), Unanswered> {
        if self.plan.protocol != Protocol::WebSocket || response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        let agreed = handshake::agreed(&asked.headers, response.headers());
        agreed.map(drop).map_err(Unanswered::protocol)
    }

    /// Waits until a connection to `endpoint` has to end though nothing is wrong with it.
    async fn until_over(&self, endpoint: &Endpoint, stop: CancellationToken) -> End {
        let mut running = self.bulletin.follow();
        loop {
            let current = running.borrow_and_update().upgrade();
            if let Some(end) = self.is_over(endpoint, current.as_deref()) {
                return end;
            }
            drop(current);
            tokio::select! {
                () = stop.cancelled() => return End::Moved,
                changed = running.changed() => if changed.is_err() {
                    return End::Moved;
                },
            }
        }
    }

    /// Whether a connection to `endpoint` has to end now that `current` runs.
    ///
    /// It goes on where the connection itself is what it would be if it were opened now. A credential that a handshake
    /// carried was judged then; a newer value, and the end of the old one, are between the provider and the
    /// connection. One that was taken away is another matter: nobody is to go on using it.
    fn is_over(&self, endpoint: &Endpoint, current: Option<&Self>) -> Option<End> {
        let Some(current) = current.filter(|current| current.plan.uid == self.plan.uid) else {
            return Some(End::Moved);
        };
        let same =
            |other: &&Arc<Endpoint>| other.name() == endpoint.name() && Arc::ptr_eq(other.pool(), endpoint.pool());
        let has = |carried: &Credential, by: &Endpoint| {
            let mut valid = current.carried(by, &Method::GET).map(Credential::plan);
            valid.any(|plan| plan.name == carried.plan().name && plan.material.is_some())
        };
        match current.endpoints.iter().find(same) {
            None => Some(End::Moved),
            Some(other) => {
                let mut carried = self.carried(endpoint, &Method::GET);
                carried.any(|carried| !has(carried, other)).then_some(End::Withdrawn)
            }
        }
    }
}

impl Reply {
    /// Whether this is the 101 that opens a WebSocket connection.
    pub(super) fn opens_websocket(&self) -> bool {
        self.response.status() == StatusCode::SWITCHING_PROTOCOLS
            && self.load.stack.plan.protocol == Protocol::WebSocket
    }

    /// The 101 for the caller, with what is to be done with the connection then.
    pub(super) fn open_websocket(self, mut call: Call, place: Place) -> Response<AnswerBody> {
        let Self {
            mut response,
            lease,
            guard,
            load,
            endpoint,
            status: _,
            code: _,
            open: _,
            reading: _,
            until: _,
            source: _,
        } = self;
        // The handshake is what the breaker knows of: with the 101 it is over, and it was good.
        drop(guard);
        let upgrade = hyper::upgrade::on(&mut response);
        let stack = load.stack.clone();
        let (mut head, _) = response.into_parts();
        dress(&mut head, &stack, &endpoint, &call);
        head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        call.answered(head.status);
        call.answered_by(endpoint.clone());
        let limits = &stack.plan.limits;
        let bounds = Bounds {
            from_caller: limits.request_body,
            from_provider: limits.response_body,
            idle: stack.plan.timeouts.idle,
            deflate: head.headers.contains_key(SEC_WEBSOCKET_EXTENSIONS),
        };
        let begin = move |caller: TcpStream, early: Bytes, stop: CancellationToken| async move {
            let ended = match tokio::time::timeout(LETTING_GO, upgrade).await {
                Ok(Ok(provider)) => {
                    let stop = stack.until_over(&endpoint, stop);
                    relay(caller, TokioIo::new(provider), &early, bounds, stop).await
                }
                _ => Ended {
                    end: End::Gone(Side::Provider),
                    code: 1006,
                    from_caller: 0,
                    from_provider: 0,
                },
            };
            // A place, a connection to the provider and the load of an endpoint, for as long as the connection was open.
            drop((lease, load, place));
            call.closed(&ended);
        };
        head.extensions.insert(Handover::new(begin));
        Response::from_parts(head, Answer::Own(None))
    }
}
