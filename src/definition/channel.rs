//! Load channels and functions: read and checked in full, though this version serves none of them (spec 3.3).

use super::http::{self, Effort, Target};
use super::operation::Operation;
use super::{DestinationDefinition, Placed};
use crate::config::Scheme;
use crate::document::{Complaints, Item, Severity, Table};

/// `httpVpcEndpoints`.
pub(super) fn read_channel(
    item: &Item<'_>,
    paths: &mut Vec<Placed>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Option<DestinationDefinition> {
    let mut table = item.table(complaints)?;
    table.skip(&["description"]);
    name(&mut table, complaints);
    // Spec U32: the `Host` that the members are sent.
    if let Some(item) = table.take("host") {
        item.text_of(0..=255, complaints);
    }
    if let Some(item) = table.take("cascade_flag") {
        item.boolean(complaints);
    }
    let target = Target::read(&mut table, operation, complaints);
    Effort::read(&mut table, target.scheme, operation, complaints);
    table.finish(Severity::Warning, complaints);
    paths.extend(target.path);
    None
}

/// `httpVpcMemberGroupEndpoints`.
pub(super) fn read_groups(
    item: &Item<'_>,
    paths: &mut Vec<Placed>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Option<DestinationDefinition> {
    let mut table = item.table(complaints)?;
    table.skip(&["description"]);
    name(&mut table, complaints);
    let remedy = "list the server groups with name, scheme, method and path";
    let groups = table.need("memberGroupUrlInfos", remedy, complaints);
    let mut scheme = None;
    for item in groups.map(|item| item.list(complaints)).unwrap_or_default() {
        let Some(mut group) = item.table(complaints) else {
            continue;
        };
        name(&mut group, complaints);
        let target = Target::read(&mut group, operation, complaints);
        group.finish(Severity::Warning, complaints);
        // One server group without TLS is one that cannot be shown a certificate.
        scheme = target.scheme.filter(|s| *s == Scheme::Http).or(scheme);
        paths.extend(target.path);
    }
    Effort::read(&mut table, scheme, operation, complaints);
    table.finish(Severity::Warning, complaints);
    None
}

/// The name of a load channel or server group.
fn name(table: &mut Table<'_>, complaints: &mut Complaints) {
    if let Some(item) = table.need("name", "write the name of the load channel", complaints) {
        item.text_of(3..=64, complaints);
    }
}

/// `functionEndpoints`.
pub(super) fn read_function(
    item: &Item<'_>,
    operation: &Operation<'_>,
    complaints: &mut Complaints,
) -> Option<DestinationDefinition> {
    let mut table = item.table(complaints)?;
    table.skip(&["description"]);
    for (key, remedy) in [
        ("function-urn", "write the URN of the function"),
        ("version", "write `version: latest`"),
    ] {
        if let Some(item) = table.need(key, remedy, complaints) {
            item.scalar(complaints);
        }
    }
    let invocation = table.need(
        "invocation-type",
        "write `invocation-type: sync`",
        complaints,
    );
    if let Some(item) = invocation {
        item.choice(
            &[("sync", ()), ("async", ()), ("synchronous", ())],
            complaints,
        );
    }
    if let Some(item) = table.take("timeout") {
        http::timeout(&item, operation, complaints);
    }
    if let Some(item) = table.take("alias-urn") {
        item.text(complaints);
    }
    if let Some(item) = table.take("network-type") {
        item.choice(&[("V1", ()), ("V2", ())], complaints);
    }
    if let Some(item) = table.take("req_protocol") {
        item.choice(&[("HTTPS", ()), ("GRPCS", ())], complaints);
    }
    table.finish(Severity::Warning, complaints);
    None
}
