//! Backends for the calls that meet conditions: `x-apigateway-backend-policies` (spec 3.3, 8.11).

use super::backend::{self, Kind};
use super::operation::Operation;
use super::syntax::is_policy_name;
use super::{Effect, PolicyDefinition, condition};
use crate::document::{Complaints, Item, Severity};

/// Most policies of one API (spec 8.11).
const POLICIES_MAX: usize = 5;

/// Most conditions of one policy (spec 8.11).
const CONDITIONS_MAX: usize = 5;

/// `default` is the type of the backend that is left when no policy applies, if it is known.
pub(super) fn read_list(
    item: &Item<'_>,
    default: Option<Kind>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Vec<PolicyDefinition> {
    let items = item.list(complaints);
    if items.len() > POLICIES_MAX {
        complaints.error_as(
            "APIG.3113",
            &item.place(complaints),
            format!("there are {} backend policies", items.len()),
            format!("at most {POLICIES_MAX} are allowed"),
        );
        return Vec::new();
    }
    let mut names: Vec<String> = Vec::new();
    let mut policies = Vec::new();
    for item in items {
        policies.extend(read_one(&item, default, &mut names, operation, complaints));
    }
    policies
}

fn read_one(
    item: &Item<'_>,
    default: Option<Kind>,
    names: &mut Vec<String>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Option<PolicyDefinition> {
    let mut table = item.table(complaints)?;
    let place = item.place(complaints);
    let name = table.need("name", "write `name: canary`", complaints);
    let name = name.and_then(|item| name_of(&item, names, complaints));
    let effects = [("ALL", Effect::All), ("ANY", Effect::Any)];
    // Spec U34.
    let effect = match table.take_any(&["effect-mode", "effect_mode"]) {
        Some(item) => item.choice(&effects, complaints),
        None => Some(Effect::Any),
    };
    let remedy = "list 1 to 5 conditions with type, origin, parameter and value";
    let conditions = table.need("conditions", remedy, complaints);
    let conditions = conditions.map(|item| conditions_of(&item, operation, complaints));
    let read = backend::read_members(&mut table, operation, complaints);
    table.finish(Severity::Warning, complaints);
    if let (Some(read), Some(default)) = (&read, default)
        && !read.kind.fits(default)
    {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!(
                "a policy of type {} beside a default backend of type {}",
                read.kind.name(),
                default.name()
            ),
            format!(
                "write `type: {}`, or change the default backend",
                default.name()
            ),
        );
    }
    Some(PolicyDefinition {
        name: name?,
        effect: effect?,
        conditions: conditions?,
        backend: read?.definition?,
        place,
    })
}

fn name_of(
    item: &Item<'_>,
    names: &mut Vec<String>,
    complaints: &mut Complaints,
) -> Option<String> {
    let what = "the name of a policy: 3 to 64 letters, digits and `_`, a letter first";
    let name = item.parsed(
        what,
        |text| is_policy_name(text).then(|| text.to_owned()),
        complaints,
    )?;
    if names.contains(&name) {
        complaints.error_as(
            "APIG.3210",
            &item.place(complaints),
            format!("the policy `{name}` exists already"),
            "give one of them another name",
        );
    }
    names.push(name.clone());
    Some(name)
}

fn conditions_of(
    item: &Item<'_>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Vec<super::ConditionDefinition> {
    let items = item.list(complaints);
    if !(1..=CONDITIONS_MAX).contains(&items.len()) {
        complaints.error_as(
            "APIG.3114",
            &item.place(complaints),
            format!("there are {} conditions", items.len()),
            format!("1 to {CONDITIONS_MAX} are allowed"),
        );
        return Vec::new();
    }
    items
        .iter()
        .filter_map(|item| condition::read(item, operation, complaints))
        .collect()
}
