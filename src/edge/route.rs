//! Which API a request is for, where that leads, and what a request that leads nowhere is told.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::net::IpAddr;
use std::str;
use std::sync::Arc;

use super::refuse::Known;
use super::request::Request;
use super::{Edge, Peer, wall_clock};
use crate::catalog::{
    self, Api, Call, MappingError, Matched, Outgoing, Query, ResponseSet, RouteError, Unrouted,
};
use crate::close::CloseReason;
use crate::observe::series::Series;
use crate::proto::head::RequestHead;

/// A request's API, and how its path fits.
pub(super) struct Route<'a> {
    pub(super) api: Arc<Api>,
    matched: Matched<'a>,
}

/// Why a request is refused, and by whose templates.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) reason: CloseReason,
    pub(super) api: Option<Arc<Api>>,
    /// Where the request is counted, once its API is known.
    pub(super) series: Option<Arc<Series>>,
    responses: Option<Arc<ResponseSet>>,
}

impl From<CloseReason> for Wrong {
    fn from(reason: CloseReason) -> Self {
        Self {
            reason,
            api: None,
            series: None,
            responses: None,
        }
    }
}

impl Wrong {
    /// Something that went wrong with a request for `api`.
    pub(super) fn with_api(reason: CloseReason, api: &Arc<Api>) -> Self {
        Self {
            reason,
            responses: Some(Arc::clone(&api.responses)),
            series: Some(Arc::clone(&api.series)),
            api: Some(Arc::clone(api)),
        }
    }

    /// The same with a backend that was asked.
    pub(super) fn with_backend(self, series: &Arc<Series>) -> Self {
        Self {
            series: Some(Arc::clone(series)),
            ..self
        }
    }

    pub(super) fn known(&self) -> Known<'_> {
        Known {
            request: None,
            api: self.api.as_deref(),
            responses: self.responses.as_deref(),
        }
    }
}

/// The API that `request` is for. Counts the call where calls are counted by the domain they came by.
pub(super) fn route<'a>(
    edge: &Edge,
    peer: &Peer,
    request: &'a Request,
    buf: &'a [u8],
) -> Result<Route<'a>, Wrong> {
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
    let routed = edge.live().catalog.route(&query).map_err(unrouted)?;
    if routed.debug.is_some_and(|calls| !calls.take(wall_clock())) {
        return Err(Wrong::with_api(CloseReason::DebugQuota, &routed.api));
    }
    tracing::debug!(id = %request.began.id, api = routed.api.name, "routed");
    Ok(Route {
        api: routed.api,
        matched: routed.matched,
    })
}

fn unrouted(unrouted: Unrouted) -> Wrong {
    Wrong {
        reason: match unrouted.error {
            RouteError::NoRoute => CloseReason::NoRoute,
            RouteError::NoMethod => CloseReason::NoMethod,
            RouteError::WrongScheme { https_only } => CloseReason::WrongScheme { https_only },
            RouteError::BadTarget => CloseReason::BadTarget,
        },
        api: None,
        series: None,
        responses: unrouted.responses,
    }
}

impl Route<'_> {
    /// Where the request goes, and as what.
    pub(super) fn outgoing(
        &self,
        peer: &Peer,
        request: &Request,
        buf: &[u8],
    ) -> Result<Outgoing<'_>, CloseReason> {
        let host = request.facts.host.map(|host| host.of(buf));
        let id = request.began.id.hex();
        let fields: Vec<_> = request
            .head
            .fields
            .iter()
            .map(|field| (field.name.of(buf), field.value.of(buf)))
            .collect();
        let call = Call {
            scheme: peer.scheme,
            method: text(request.head.method.of(buf))?,
            host: text(host.unwrap_or_default())?,
            path: text(request.facts.path_of(buf))?,
            query: request
                .facts
                .query
                .map(|query| text(query.of(buf)))
                .transpose()?,
            fields: &fields,
            client: request.client,
            inbound: peer.inbound,
            request_id: text(&id)?,
            received_at: wall_clock(),
        };
        let outgoing = self.api.outgoing(&self.matched, &call);
        outgoing.map_err(|error| match error {
            MappingError::Parameter(name) => {
                tracing::debug!(name, id = %request.began.id, "a parameter is wrong");
                CloseReason::BadParameter
            }
            MappingError::NoOrchestrationInput => CloseReason::NoOrchestrationInput,
            MappingError::NoOrchestrationMatch => CloseReason::NoOrchestrationMatch,
        })
    }
}

fn text(bytes: &[u8]) -> Result<&str, CloseReason> {
    str::from_utf8(bytes).map_err(|_| CloseReason::BadTarget)
}

/// Whose request it is (spec 2.9), by the connection and by what the head says.
pub(super) fn client_address(edge: &Edge, peer: &Peer, head: &RequestHead, buf: &[u8]) -> IpAddr {
    let fields: Vec<_> = head
        .fields
        .iter()
        .map(|field| (field.name.of(buf), field.value.of(buf)))
        .collect();
    let live = edge.live();
    let rule = &live.config.routing.client_address;
    catalog::client_address(rule, peer.client.ip(), &fields)
}
