//! Which API a request is for, and what that says about one that wants no upgrade.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::str;
use std::sync::Arc;

use super::request::Request;
use super::{Edge, Peer};
use crate::catalog::{Api, Query, RouteError};
use crate::close::CloseReason;
use crate::proto::head::Body;

/// The API that `request` is for.
pub(super) fn route(
    edge: &Edge,
    peer: &Peer,
    request: &Request,
    buf: &[u8],
) -> Result<Arc<Api>, CloseReason> {
    let text = |bytes| str::from_utf8(bytes).map_err(|_| CloseReason::BadTarget);
    let host = request.facts.host.map(|host| host.of(buf));
    let query = Query {
        scheme: peer.scheme,
        inbound: peer.inbound,
        host: text(host.unwrap_or_default())?,
        method: text(request.head.method.of(buf))?,
        path: text(request.facts.path_of(buf))?,
        // Compared as it is (spec U11): what is no text names no environment.
        stage: request
            .head
            .values(buf, "x-stage")
            .next()
            .map(|stage| str::from_utf8(stage).unwrap_or_default()),
    };
    edge.catalog()
        .route(&query)
        .map(|routed| routed.api)
        .map_err(|unrouted| refusal(unrouted.error))
}

fn refusal(error: RouteError) -> CloseReason {
    match error {
        RouteError::NoRoute => CloseReason::NoRoute,
        RouteError::NoMethod => CloseReason::NoMethod,
        RouteError::WrongScheme { https_only } => CloseReason::WrongScheme { https_only },
        RouteError::BadTarget => CloseReason::BadTarget,
    }
}

/// Why a request that asks for no upgrade is refused. Only upgrades are served (spec 1.1 allows that). Sizes come first
/// (spec 1.6).
pub(super) fn refuse_call(edge: &Edge, peer: &Peer, request: &Request, buf: &[u8]) -> CloseReason {
    let bytes_max = edge.config.limits.request_body_bytes_max;
    if matches!(request.facts.body, Body::Length(length) if length > bytes_max) {
        return CloseReason::BodyTooLarge;
    }
    match route(edge, peer, request, buf) {
        Err(reason) => reason,
        Ok(_) => CloseReason::NotAnUpgrade,
    }
}
