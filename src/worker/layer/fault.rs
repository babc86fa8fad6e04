//! What it means that an attempt has no answer: for the breaker and another try, for the caller, and for the endpoint's
//! health.

use std::error::Error as _;
use std::time::Duration;

use crate::api::integration::HealthReason;
use crate::domain::classify::{self, Ending, Fault, Outcome};
use crate::net::DialError;
use crate::worker::body::Broken;
use crate::worker::pool::SendError;
use crate::worker::problem::Failure;

/// An attempt without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// How it ended, for another try; absent where another try makes no sense.
    pub fault: Option<Fault>,
    /// What it says of the endpoint, for the breaker.
    pub outcome: Outcome,
    /// For the caller.
    pub failure: Failure,
    /// For the endpoint's health; absent where it says nothing about it.
    pub health: Option<HealthReason>,
}

impl Unanswered {
    /// The endpoint's doing.
    fn fault(fault: Fault, failure: Failure, health: HealthReason) -> Self {
        let outcome = classify::outcome(Ending::Failed(fault));
        Self {
            fault: Some(fault),
            outcome,
            failure,
            health: Some(health),
        }
    }

    /// It says nothing of the endpoint.
    fn nothing(fault: Option<Fault>, failure: Failure) -> Self {
        Self {
            fault,
            outcome: Outcome::Nothing,
            failure,
            health: None,
        }
    }

    /// No answer within the attempt's time.
    pub fn timeout(bound: Duration) -> Self {
        let failure = Failure::RequestTimeout {
            what: "the provider's answer",
            bound,
        };
        Self::fault(Fault::Timeout, failure, HealthReason::TrafficFailed)
    }

    /// The whole request ran out of time, which may be the fault of attempts before this one.
    pub fn deadline(bound: Duration) -> Self {
        Self::nothing(
            None,
            Failure::RequestTimeout {
                what: "the request with all its attempts",
                bound,
            },
        )
    }

    /// Every connection to the endpoint was busy for the whole time of the attempt.
    pub fn no_connection_free() -> Self {
        Self::nothing(None, Failure::Overloaded)
    }

    /// The request could not be made.
    pub fn not_asked(failure: Failure) -> Self {
        Self::nothing(None, failure)
    }

    /// The provider answered something that is not the protocol.
    pub fn protocol(detail: &'static str) -> Self {
        let failure = Failure::UpstreamProtocol { detail: detail.into() };
        Self::fault(Fault::Protocol, failure, HealthReason::TrafficFailed)
    }

    /// The answer's head says that the answer is too large. The provider works: the bound is ours.
    pub fn too_large(what: &'static str, limit: u64) -> Self {
        let failure = Failure::ResponseTooLarge { what, limit };
        Self {
            fault: None,
            outcome: Outcome::Success,
            failure,
            health: None,
        }
    }

    /// The caller's body did not come to its end.
    pub fn caller(broken: Broken) -> Self {
        let failure = match broken {
            Broken::TooLarge(limit) => Failure::RequestTooLarge {
                what: "the request's body",
                limit,
            },
            Broken::Paused(bound) => Failure::RequestTimeout {
                what: "a pause in the request's body",
                bound,
            },
            Broken::BrokenOff | Broken::Superseded | Broken::Unread | Broken::Late => Failure::InvalidRequest {
                detail: "the request's body broke off or is not a body".into(),
            },
        };
        Self::nothing(None, failure)
    }

    /// The request was not answered because of `error`. `headers` is the bound on the headers of an answer, in bytes.
    pub fn send(error: &SendError, headers: u64) -> Self {
        let unreachable = |detail: &'static str| Failure::UpstreamUnreachable { detail: detail.into() };
        match error {
            SendError::Dial(error) => Self::dial(error),
            SendError::Late => Self::no_connection_free(),
            SendError::NotSent => {
                let failure = unreachable("the provider closed the connection at once");
                Self::fault(Fault::Connect, failure, HealthReason::TrafficFailed)
            }
            SendError::Sent(error) if error.is_parse_too_large() => {
                Self::too_large("the headers of the provider's answer", headers)
            }
            // Not processed, so any request may be sent again; and no failure, because this is how a server that is
            // about to restart says so.
            SendError::Sent(error) if is_refused_stream(error) => Self::nothing(
                Some(Fault::Connect),
                unreachable("the provider refused the request's stream"),
            ),
            SendError::Sent(error) if error.is_parse() || is_http2_violation(error) => {
                let detail = "what the provider sent is not an HTTP answer".into();
                Self::fault(
                    Fault::Protocol,
                    Failure::UpstreamProtocol { detail },
                    HealthReason::TrafficFailed,
                )
            }
            SendError::Sent(error) => {
                // With TLS 1.3 the handshake is over for us before the provider has looked at our certificate.
                let failure = unreachable(if is_refused_certificate(error) {
                    "the provider does not accept the client certificate, or wants one"
                } else {
                    "the connection broke before the answer"
                });
                Self::fault(Fault::Reset, failure, HealthReason::TrafficFailed)
            }
        }
    }

    fn dial(error: &DialError) -> Self {
        let detail = error.to_string();
        let failure = match error {
            DialError::Refused { .. } => Failure::AddressRefused { detail },
            _ => Failure::UpstreamUnreachable { detail: detail.into() },
        };
        Self::fault(error.fault(), failure, error.health_reason(HealthReason::TrafficFailed))
    }
}

/// Whether TLS ended because of who we are (RFC 8446 6.2).
fn is_refused_certificate(error: &hyper::Error) -> bool {
    use rustls::AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown,
        UnknownCA, UnsupportedCertificate,
    };
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>());
    let tls = io.and_then(|io| io.get_ref()?.downcast_ref::<rustls::Error>());
    matches!(
        tls,
        Some(rustls::Error::AlertReceived(
            AccessDenied
                | BadCertificate
                | CertificateExpired
                | CertificateRequired
                | CertificateRevoked
                | CertificateUnknown
                | UnknownCA
                | UnsupportedCertificate
        ))
    )
}

fn http2(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

/// RFC 9113 8.7: a refused stream was not processed at all, and neither was one above the last that a GOAWAY names; h2
/// gives the streams below it no error.
fn is_refused_stream(error: &hyper::Error) -> bool {
    http2(error).is_some_and(|error| {
        error.is_remote()
            && (error.reason() == Some(h2::Reason::REFUSED_STREAM)
                || (error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)))
    })
}

fn is_http2_violation(error: &hyper::Error) -> bool {
    http2(error).is_some_and(|error| {
        error.is_library()
            && error
                .reason()
                .is_some_and(|reason| reason != h2::Reason::NO_ERROR && reason != h2::Reason::CANCEL)
    })
}
