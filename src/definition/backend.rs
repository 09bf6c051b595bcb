//! Where an operation or a policy leads: `x-apigateway-backend` and what has the same members (spec 3.3, 1.3).

use super::backend_parameter;
use super::operation::Operation;
use super::{BackendDefinition, Placed, channel, http, mock};
use crate::document::{Complaints, Item, Severity, Table};

/// The types of backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Http,
    /// A load channel.
    Channel,
    /// A load channel with a URL for each server group.
    MemberGroup,
    Function,
    Mock,
}

impl Kind {
    const NAMES: [(&'static str, Self); 5] = [
        ("HTTP", Self::Http),
        ("HTTP-VPC", Self::Channel),
        ("HTTP-VPC-MEMBER-GROUP", Self::MemberGroup),
        ("FUNCTION", Self::Function),
        ("MOCK", Self::Mock),
    ];

    /// The member that has its endpoints.
    const MEMBERS: [(Self, &'static str); 5] = [
        (Self::Http, "httpEndpoints"),
        (Self::Channel, "httpVpcEndpoints"),
        (Self::MemberGroup, "httpVpcMemberGroupEndpoints"),
        (Self::Function, "functionEndpoints"),
        (Self::Mock, "mockEndpoints"),
    ];

    pub(super) fn name(self) -> &'static str {
        let names = Self::NAMES.iter();
        names
            .filter(|(_, kind)| *kind == self)
            .map(|(name, _)| *name)
            .next()
            .unwrap_or_default()
    }

    /// Whether a policy may lead to `self` where the default backend is of type `default` (spec 3.1).
    pub(super) fn fits(self, default: Self) -> bool {
        match default {
            Self::Function | Self::Mock => self == default,
            Self::Http | Self::Channel | Self::MemberGroup => true,
        }
    }
}

/// What was read, as far as it is right.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) kind: Kind,
    /// `None` where there are mistakes or where this version cannot serve it.
    pub(super) definition: Option<BackendDefinition>,
}

pub(super) fn read(
    item: &Item<'_>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Option<Read> {
    let mut table = item.table(complaints)?;
    let read = read_members(&mut table, operation, complaints);
    table.finish(Severity::Warning, complaints);
    read
}

/// The members that a backend and a policy have in common.
pub(super) fn read_members(
    table: &mut Table<'_>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Option<Read> {
    let item = table.need("type", "write `type: HTTP`", complaints);
    let kind = item
        .as_ref()
        .and_then(|item| item.choice(&Kind::NAMES, complaints));
    let parameters = table.take("parameters");
    let parameters = parameters
        .map(|item| backend_parameter::read_list(&item, operation, complaints))
        .unwrap_or_default();
    let Some(kind) = kind else {
        // Of whichever type it was meant to be, its endpoints are no unknown members.
        table.skip(&Kind::MEMBERS.map(|(_, member)| member));
        return None;
    };
    let endpoints = endpoints(kind, table, complaints);
    let mut paths = Vec::new();
    let endpoints = endpoints.as_ref();
    let destination = endpoints.and_then(|item| match kind {
        Kind::Http => http::read(item, &mut paths, operation, complaints),
        Kind::Channel => channel::read_channel(item, &mut paths, operation, complaints),
        Kind::MemberGroup => channel::read_groups(item, &mut paths, operation, complaints),
        Kind::Function => channel::read_function(item, operation, complaints),
        Kind::Mock => mock::read(item, complaints),
    });
    if let Some(item) = &item
        && matches!(kind, Kind::Channel | Kind::MemberGroup | Kind::Function)
    {
        let what = format!("backends of type {}", kind.name());
        operation.cannot(&item.place(complaints), &what);
    }
    check_paths(&paths, &parameters, operation, complaints);
    let definition = destination.map(|destination| BackendDefinition {
        destination,
        parameters,
    });
    Some(Read { kind, definition })
}

fn check_paths(
    paths: &[Placed],
    parameters: &[super::BackendParameter],
    operation: &Operation<'_>,
    complaints: &mut Complaints,
) {
    for path in paths {
        backend_parameter::check_path(path, parameters, operation, complaints);
    }
}

/// Exactly one endpoints member, and one that fits the type.
fn endpoints<'a>(
    kind: Kind,
    table: &mut Table<'a>,
    complaints: &mut Complaints,
) -> Option<Item<'a>> {
    let wanted = Kind::MEMBERS.iter().find(|(known, _)| *known == kind);
    let (_, wanted) = wanted?;
    for (_, member) in Kind::MEMBERS.iter().filter(|(_, member)| member != wanted) {
        // Some exports have all of them, those of other types empty.
        let other = table.take(member).filter(|item| !item.is_blank());
        if let Some(item) = other {
            let place = item.place(complaints);
            complaints.error_as(
                "APIG.2012",
                &place,
                format!("`{member}` does not fit the type of the backend"),
                format!("keep `{wanted}` alone, or change `type`"),
            );
        }
    }
    table.need(wanted, "add what the type asks for", complaints)
}
