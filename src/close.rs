//! Why a connection or a tunnel ended, and what each reason means for the peers, the metrics and the log.
#![forbid(unsafe_code)]

use std::fmt;

use crate::proto::body::BodyError;
use crate::proto::frame::FrameError;
use crate::proto::handshake::{AnswerError, HandshakeError};
use crate::proto::head::HeadError;

/// One end of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Client,
    Backend,
}

impl Side {
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
        }
    }
}

/// Which party an end is to be blamed on, as the access log and the metrics say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    Client,
    Backend,
    Proxy,
    Nobody,
}

impl Blame {
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Proxy => "proxy",
            Self::Nobody => "nobody",
        }
    }
}

impl From<Side> for Blame {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Backend => Self::Backend,
        }
    }
}

/// An operating system error number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The number inside `error`, or `EIO` for one that the system did not give.
    pub fn of(error: &std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// The client did not finish its TLS handshake.
    TlsHandshake,
    /// The client did not finish its request head.
    RequestHead,
    /// A kept-alive connection brought no further request.
    KeepAlive,
    /// The backend did not accept the connection (TLS included).
    Connect,
    /// The backend accepted and did not complete its answer's head.
    Answer,
    /// The body of a relayed answer stalled.
    AnswerBody,
    /// The client did not send its request's body.
    RequestBody,
}

/// Why open tunnels are ended by order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrainCause {
    /// The endpoint goes away: 1001.
    #[default]
    Stop,
    /// It comes back, and clients may try again after a while: 1012 (IANA's registry of close codes).
    Restart,
}

/// Why a connection or tunnel ended. Every way out of the state machines names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    // Ends of a tunnel.
    /// Both directions ended by themselves, with or without a closing handshake.
    Finished,
    /// Nothing was relayed for the API's timeout.
    Idle,
    /// Somebody had it ended: a stop, a restart, or a change of what is served.
    Drained(DrainCause),
    /// The operator had this one closed, with this code.
    Ordered(u16),
    /// This side broke RFC 6455.
    BadFrame(Side, FrameError),
    /// This side accepted no byte for `slow_consumer_timeout` while bytes waited for it.
    SlowConsumer(Side),
    /// This side ended its stream without a Close frame (RFC 6455 §7.1.5: 1006 for the other).
    EndOfStream(Side),
    /// This side's TLS stream ended without close_notify before a Close frame.
    Truncated(Side),
    /// This side broke TLS.
    Tls(Side),
    /// This side's TLS keys are used up (AES-GCM on TLS 1.2: 2^24 records).
    TlsKeysUsedUp(Side),
    /// The transport of this side failed.
    Io(Side, Errno),

    // Ends before the 101.
    /// The client left before it had an answer.
    ClientGone,
    TimedOut(Deadline),
    ClientTlsFailed,
    BadHead(HeadError),
    BadHandshake(HandshakeError),
    /// A declared body above the limit.
    BodyTooLarge,
    /// A path that climbs above the root, or a host that cannot be one.
    BadTarget,
    /// No API for host, environment and path.
    NoRoute,
    /// The path has APIs, but none for this method.
    NoMethod,
    /// The API does not offer the scheme the client came by; it offers HTTPS (`true`) or HTTP.
    WrongScheme {
        https_only: bool,
    },
    /// An `Expect` that is not `100-continue` (RFC 9110 §10.1.1).
    BadExpectation,
    /// An upgrade to an API whose backend is asked with a method that no opening handshake has (spec 1.6).
    NoUpgrade,
    /// The connection limit is reached, or no descriptor is left.
    ConnectionLimit,
    /// The relay had no room within the time allowed.
    NoPermit,
    /// The buffers for heads of this core have reached their bound.
    NoHeadRoom,
    NameNotResolved,
    ConnectFailed(Errno),
    /// No local port was left towards the backend.
    PortsExhausted,
    BackendTlsFailed,
    /// The backend closed before its answer was complete.
    BackendGone,
    BadAnswer(AnswerError),
    /// The backend answered with this status instead of a 101; its answer was relayed.
    UpgradeRefused(u16),
    /// The listener demands the PROXY protocol, and the client (or a stranger) did not speak it.
    NoProxyHeader,
    /// The debugging domain has had its calls of the day (spec 2.1).
    DebugQuota,
    /// A parameter is missing, or not what its API allows (spec 2.6).
    BadParameter,
    /// Nothing for the orchestration to begin with (spec 8.10).
    NoOrchestrationInput,
    /// No orchestration rule applied.
    NoOrchestrationMatch,
    /// A body whose framing is broken (RFC 9112 §7.1).
    BadBody(BodyError),
    /// The backend's address lies in a range that the operator forbids (spec 5.2).
    BackendDenied,

    // Ends of an ordinary call.
    /// The call got this status, all of it.
    Answered(u16),
}

/// What a refused caller is told: spec section 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayError {
    pub status: u16,
    pub code: &'static str,
    pub message: &'static str,
    pub kind: ErrorType,
}

/// The types of gateway responses, for which an operator may have templates (spec 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorType {
    AccessDenied,
    AuthorizerConfFailure,
    AuthorizerFailure,
    AuthorizerIdentitiesFailure,
    ThirdAuthConfFailure,
    ThirdAuthFailure,
    ThirdAuthIdentitiesFailure,
    AuthFailure,
    AuthHeaderMissing,
    BackendTimeout,
    BackendUnavailable,
    Default4xx,
    Default5xx,
    NotFound,
    RequestParametersFailure,
    Throttled,
    Unauthorized,
    OrchestrationParameterNotFound,
    OrchestrationFailure,
    OidcAuthTokenVerifyFail,
    OidcAuthGetDiscoveryError,
    OidcAuthCodeFlowFail,
    JwtAuthFailure,
}

impl ErrorType {
    /// Each with its key in `x-apigateway-responses`.
    pub const KEYS: [(&'static str, Self); 23] = [
        ("ACCESS_DENIED", Self::AccessDenied),
        ("AUTHORIZER_CONF_FAILURE", Self::AuthorizerConfFailure),
        ("AUTHORIZER_FAILURE", Self::AuthorizerFailure),
        (
            "AUTHORIZER_IDENTITIES_FAILURE",
            Self::AuthorizerIdentitiesFailure,
        ),
        ("THIRD_AUTH_CONF_FAILURE", Self::ThirdAuthConfFailure),
        ("THIRD_AUTH_FAILURE", Self::ThirdAuthFailure),
        (
            "THIRD_AUTH_IDENTITIES_FAILURE",
            Self::ThirdAuthIdentitiesFailure,
        ),
        ("AUTH_FAILURE", Self::AuthFailure),
        ("AUTH_HEADER_MISSING", Self::AuthHeaderMissing),
        ("BACKEND_TIMEOUT", Self::BackendTimeout),
        ("BACKEND_UNAVAILABLE", Self::BackendUnavailable),
        ("DEFAULT_4XX", Self::Default4xx),
        ("DEFAULT_5XX", Self::Default5xx),
        ("NOT_FOUND", Self::NotFound),
        ("REQUEST_PARAMETERS_FAILURE", Self::RequestParametersFailure),
        ("THROTTLED", Self::Throttled),
        ("UNAUTHORIZED", Self::Unauthorized),
        (
            "ORCHESTRATION_PARAMETER_NOT_FOUND",
            Self::OrchestrationParameterNotFound,
        ),
        ("ORCHESTRATION_FAILURE", Self::OrchestrationFailure),
        ("OIDC_AUTH_TOKEN_VERIFY_FAIL", Self::OidcAuthTokenVerifyFail),
        (
            "OIDC_AUTH_GET_DISCOVERY_ERROR",
            Self::OidcAuthGetDiscoveryError,
        ),
        ("OIDC_AUTH_CODE_FLOW_FAIL", Self::OidcAuthCodeFlowFail),
        ("JWT_AUTH_FAILURE", Self::JwtAuthFailure),
    ];

    pub fn key(self) -> &'static str {
        Self::KEYS
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(key, _)| key)
    }
}

const API_REQUEST_ERROR: GatewayError = error(400, "APIG.0201", "API request error");
const BACKEND_UNAVAILABLE: GatewayError = typed(
    ErrorType::BackendUnavailable,
    error(502, "APIG.0202", "Backend unavailable"),
);
const BACKEND_TIMEOUT: GatewayError = typed(
    ErrorType::BackendTimeout,
    error(504, "APIG.0203", "Backend timeout"),
);
/// The cloud documents no answer for its own lack of room; spec U57 has the same status, code and text for a breaker.
const SERVICE_UNAVAILABLE: GatewayError = error(503, "APIG.0601", "Service unavailable");

/// An error of no type of its own: the default for its class.
const fn error(status: u16, code: &'static str, message: &'static str) -> GatewayError {
    GatewayError {
        status,
        code,
        message,
        kind: if status < 500 {
            ErrorType::Default4xx
        } else {
            ErrorType::Default5xx
        },
    }
}

const ORCHESTRATION_ERROR: GatewayError = error(400, "APIG.0106", "Orchestration error");

const fn typed(kind: ErrorType, error: GatewayError) -> GatewayError {
    GatewayError { kind, ..error }
}

impl CloseReason {
    /// The answer to a client that has not got one yet; `None` once there is nothing to say, or nobody to say it to.
    pub fn answer(self) -> Option<GatewayError> {
        match self {
            Self::Finished
            | Self::Idle
            | Self::Drained(_)
            | Self::Ordered(_)
            | Self::BadFrame(..)
            | Self::SlowConsumer(_)
            | Self::EndOfStream(_)
            | Self::Truncated(_)
            | Self::Tls(_)
            | Self::TlsKeysUsedUp(_)
            | Self::Io(..)
            | Self::ClientGone
            | Self::ClientTlsFailed
            | Self::UpgradeRefused(_)
            | Self::NoProxyHeader
            | Self::Answered(_) => None,
            Self::TimedOut(Deadline::TlsHandshake | Deadline::KeepAlive | Deadline::AnswerBody) => {
                None
            }
            Self::TimedOut(Deadline::RequestHead) => {
                Some(error(408, "APIG.0201", "API request error"))
            }
            Self::TimedOut(Deadline::Connect | Deadline::Answer) => Some(BACKEND_TIMEOUT),
            Self::BadHead(HeadError::TargetTooLong) => {
                Some(error(414, "APIG.0201", "Request URI too large"))
            }
            Self::BadHead(
                HeadError::FieldTooLong | HeadError::FieldsTooLong | HeadError::TooManyFields,
            ) => Some(error(494, "APIG.0201", "Request headers too large")),
            // Spec 6.1: a request body that does not come in time is a bad request.
            Self::TimedOut(Deadline::RequestBody)
            | Self::BadHead(HeadError::Malformed(_))
            | Self::BadBody(_)
            | Self::BadTarget
            | Self::NoUpgrade => Some(API_REQUEST_ERROR),
            Self::BadExpectation => Some(error(417, "APIG.0201", "API request error")),
            Self::BadParameter => Some(typed(
                ErrorType::RequestParametersFailure,
                API_REQUEST_ERROR,
            )),
            Self::NoOrchestrationInput => Some(typed(
                ErrorType::OrchestrationParameterNotFound,
                ORCHESTRATION_ERROR,
            )),
            Self::NoOrchestrationMatch => {
                Some(typed(ErrorType::OrchestrationFailure, ORCHESTRATION_ERROR))
            }
            Self::BackendDenied => Some(error(
                403,
                "APIG.0404",
                "Access to the backend IP address has been denied",
            )),
            Self::DebugQuota => Some(typed(
                ErrorType::Throttled,
                error(
                    429,
                    "APIG.0308",
                    "The throttling threshold has been reached",
                ),
            )),
            // RFC 6455 §4.2.2: 426 with the version that would be understood.
            Self::BadHandshake(HandshakeError::Version) => {
                Some(error(426, "APIG.0201", "API request error"))
            }
            Self::BadHandshake(_) => Some(API_REQUEST_ERROR),
            Self::BodyTooLarge => Some(error(413, "APIG.0201", "Request entity too large")),
            Self::NoRoute => Some(typed(
                ErrorType::NotFound,
                error(
                    404,
                    "APIG.0101",
                    "The API does not exist or has not been published in the environment",
                ),
            )),
            Self::NoMethod => Some(typed(
                ErrorType::NotFound,
                error(404, "APIG.0101", "The API does not exist"),
            )),
            Self::WrongScheme { https_only: true } => Some(error(
                400,
                "APIG.0607",
                "The following protocol is supported: HTTPS",
            )),
            Self::WrongScheme { https_only: false } => Some(error(
                400,
                "APIG.0607",
                "The following protocol is supported: HTTP",
            )),
            Self::ConnectionLimit | Self::NoPermit | Self::NoHeadRoom => Some(SERVICE_UNAVAILABLE),
            Self::NameNotResolved => Some(error(500, "APIG.0605", "Domain name resolution failed")),
            Self::ConnectFailed(_)
            | Self::PortsExhausted
            | Self::BackendTlsFailed
            | Self::BackendGone
            | Self::BadAnswer(_) => Some(BACKEND_UNAVAILABLE),
        }
    }

    /// The close code that a side of an open tunnel is sent (RFC 6455 §7.4.1); `None` where none can or should be.
    pub fn close_code(self, to: Side) -> Option<u16> {
        match self {
            Self::Ordered(code) => Some(code),
            Self::Drained(DrainCause::Restart) => Some(1012),
            Self::Idle | Self::Drained(DrainCause::Stop) | Self::TlsKeysUsedUp(_) => Some(1001),
            Self::BadFrame(_, FrameError::MessageTooBig) => Some(1009),
            Self::BadFrame(..) => Some(1002),
            // The slow side is reset. A backend learns that its client broke the policy, a client that it may come back.
            Self::SlowConsumer(slow) if slow == to => None,
            Self::SlowConsumer(Side::Client) => Some(1008),
            Self::SlowConsumer(Side::Backend) => Some(1013),
            Self::Finished
            | Self::EndOfStream(_)
            | Self::Truncated(_)
            | Self::Tls(_)
            | Self::Io(..) => None,
            Self::ClientGone
            | Self::TimedOut(_)
            | Self::ClientTlsFailed
            | Self::BadHead(_)
            | Self::BadHandshake(_)
            | Self::BodyTooLarge
            | Self::BadTarget
            | Self::NoRoute
            | Self::NoMethod
            | Self::WrongScheme { .. }
            | Self::BadExpectation
            | Self::NoUpgrade
            | Self::ConnectionLimit
            | Self::NoPermit
            | Self::NoHeadRoom
            | Self::NameNotResolved
            | Self::ConnectFailed(_)
            | Self::PortsExhausted
            | Self::BackendTlsFailed
            | Self::BackendGone
            | Self::BadAnswer(_)
            | Self::UpgradeRefused(_)
            | Self::NoProxyHeader
            | Self::DebugQuota
            | Self::BadParameter
            | Self::NoOrchestrationInput
            | Self::NoOrchestrationMatch
            | Self::BadBody(_)
            | Self::BackendDenied
            | Self::Answered(_) => None,
        }
    }

    /// The reason text inside our Close frames (RFC 6455 §5.5.1).
    pub fn text(self) -> &'static str {
        if let Self::Ordered(_) = self {
            return "closed by the operator";
        }
        match self
            .close_code(Side::Client)
            .or_else(|| self.close_code(Side::Backend))
        {
            Some(1001) if self == Self::Idle => "idle timeout",
            Some(1001) => "going away",
            Some(1002) => "protocol error",
            Some(1008 | 1013) => "too slow",
            Some(1009) => "message too big",
            Some(1012) => "service restart",
            _ => "",
        }
    }

    pub fn blame(self) -> Blame {
        match self {
            Self::Finished | Self::Idle | Self::Answered(_) => Blame::Nobody,
            Self::Drained(_)
            | Self::Ordered(_)
            | Self::ConnectionLimit
            | Self::NoPermit
            | Self::NoHeadRoom
            | Self::PortsExhausted
            | Self::BackendDenied
            | Self::TlsKeysUsedUp(_) => Blame::Proxy,
            Self::BadFrame(side, _)
            | Self::SlowConsumer(side)
            | Self::EndOfStream(side)
            | Self::Truncated(side)
            | Self::Tls(side)
            | Self::Io(side, _) => side.into(),
            Self::ClientGone
            | Self::ClientTlsFailed
            | Self::BadHead(_)
            | Self::BadHandshake(_)
            | Self::BodyTooLarge
            | Self::BadTarget
            | Self::NoRoute
            | Self::NoMethod
            | Self::NoUpgrade
            | Self::WrongScheme { .. }
            | Self::BadExpectation
            | Self::NoProxyHeader
            | Self::DebugQuota
            | Self::BadParameter
            | Self::NoOrchestrationInput
            | Self::NoOrchestrationMatch
            | Self::BadBody(_) => Blame::Client,
            Self::TimedOut(
                Deadline::TlsHandshake
                | Deadline::RequestHead
                | Deadline::KeepAlive
                | Deadline::RequestBody,
            ) => Blame::Client,
            Self::TimedOut(Deadline::Connect | Deadline::Answer | Deadline::AnswerBody) => {
                Blame::Backend
            }
            Self::NameNotResolved
            | Self::ConnectFailed(_)
            | Self::BackendTlsFailed
            | Self::BackendGone
            | Self::BadAnswer(_)
            | Self::UpgradeRefused(_) => Blame::Backend,
        }
    }

    /// The value of the `reason` label of metrics and logs: one of `LABELS`.
    pub fn label(self) -> &'static str {
        LABELS.get(self.index()).copied().unwrap_or("unknown")
    }

    /// The position of this reason's label in `LABELS`, for arrays of counters.
    pub fn index(self) -> usize {
        match self {
            Self::Finished => 0,
            Self::Idle => 1,
            Self::Drained(_) => 2,
            Self::BadFrame(..) => 3,
            Self::SlowConsumer(_) => 4,
            Self::Truncated(_) => 5,
            Self::Tls(_) => 6,
            Self::TlsKeysUsedUp(_) => 7,
            Self::Io(..) => 8,
            Self::EndOfStream(_) => 9,
            Self::Ordered(_) => 10,
            Self::ClientGone => 11,
            Self::TimedOut(Deadline::TlsHandshake) => 12,
            Self::TimedOut(Deadline::RequestHead) => 13,
            Self::TimedOut(Deadline::KeepAlive) => 14,
            Self::TimedOut(Deadline::Connect) => 15,
            Self::TimedOut(Deadline::Answer) => 16,
            Self::TimedOut(Deadline::AnswerBody) => 17,
            Self::ClientTlsFailed => 18,
            Self::BadHead(_) => 19,
            Self::BadHandshake(_) => 20,
            Self::BodyTooLarge => 21,
            Self::BadTarget => 22,
            Self::NoRoute => 23,
            Self::NoMethod => 24,
            Self::WrongScheme { .. } => 25,
            Self::BadExpectation => 26,
            Self::ConnectionLimit => 27,
            Self::NoPermit => 28,
            Self::NameNotResolved => 29,
            Self::ConnectFailed(_) => 30,
            Self::PortsExhausted => 31,
            Self::BackendTlsFailed => 32,
            Self::BackendGone => 33,
            Self::BadAnswer(_) => 34,
            Self::UpgradeRefused(_) => 35,
            Self::NoHeadRoom => 36,
            Self::NoUpgrade => 37,
            Self::NoProxyHeader => 38,
            Self::DebugQuota => 39,
            Self::BadParameter => 40,
            Self::NoOrchestrationInput => 41,
            Self::NoOrchestrationMatch => 42,
            Self::BadBody(_) => 43,
            Self::BackendDenied => 44,
            Self::Answered(_) => 45,
            Self::TimedOut(Deadline::RequestBody) => 46,
        }
    }
}

/// Every value of the `reason` label, in the order of `CloseReason::index`.
pub const LABELS: [&str; 47] = [
    "finished",
    "idle",
    "drained",
    "bad_frame",
    "slow_consumer",
    "truncated",
    "tls",
    "tls_keys_used_up",
    "io",
    "end_of_stream",
    "ordered",
    "client_gone",
    "tls_handshake_timeout",
    "request_head_timeout",
    "keep_alive_timeout",
    "connect_timeout",
    "answer_timeout",
    "answer_body_timeout",
    "client_tls_failed",
    "bad_head",
    "bad_handshake",
    "body_too_large",
    "bad_target",
    "no_route",
    "no_method",
    "wrong_scheme",
    "bad_expectation",
    "connection_limit",
    "no_permit",
    "name_not_resolved",
    "connect_failed",
    "ports_exhausted",
    "backend_tls_failed",
    "backend_gone",
    "bad_answer",
    "upgrade_refused",
    "no_head_room",
    "no_upgrade",
    "no_proxy_header",
    "debug_quota",
    "bad_parameter",
    "no_orchestration_input",
    "no_orchestration_match",
    "bad_body",
    "backend_denied",
    "answered",
    "request_body_timeout",
];
