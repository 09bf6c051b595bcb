//! Templates with `$context.…` variables (spec 5.4), as far as a definition can be judged by them.

use serde::de::IgnoredAny;

use crate::document::{Complaints, Place, likely};

const PREFIX: &str = "$context.";

/// The variables of spec 5.4 after their prefix; none begins with another.
const VARIABLES: [&str; 13] = [
    "apiId",
    "apiName",
    "appId",
    "appName",
    "requestId",
    "stage",
    "sourceIp",
    "reqPath",
    "reqUri",
    "reqMethod",
    "error.message",
    "error.code",
    "error.type",
];

/// Followed by the name of a value.
const AUTHORIZERS: [&str; 2] = ["authorizer.frontend.", "authorizer.backend."];

/// Variables that the gateway does not have become nothing, which nobody can have meant.
pub(super) fn warn_of_unknown(template: &str, place: &Place, complaints: &mut Complaints) {
    for rest in template.split(PREFIX).skip(1) {
        if variable_of(rest).is_some() {
            continue;
        }
        let name = rest.split(|c: char| !is_name(c)).next().unwrap_or_default();
        let remedy = match likely(name, VARIABLES) {
            Some(known) => format!("did you mean `{PREFIX}{known}`?"),
            None => format!("known: {}", VARIABLES.join(", ")),
        };
        complaints.warning(
            place,
            format!("there is no variable `{PREFIX}{name}`, so that nothing stands there"),
            remedy,
        );
    }
}

/// Why the template is no JSON when its variables are text.
pub(super) fn json_problem(template: &str) -> Option<String> {
    let mut text = String::with_capacity(template.len());
    let mut pieces = template.split(PREFIX);
    text.push_str(pieces.next().unwrap_or_default());
    for rest in pieces {
        text.push('x');
        let length = variable_of(rest).unwrap_or_else(|| name_length(rest));
        text.push_str(rest.get(length..).unwrap_or_default());
    }
    let error = serde_json::from_str::<IgnoredAny>(&text).err()?;
    Some(error.to_string())
}

/// How many bytes at the start of `rest` name a variable. Replacement is literal (spec U44): what follows stays.
fn variable_of(rest: &str) -> Option<usize> {
    let known = VARIABLES.iter().find(|name| rest.starts_with(**name));
    known.map(|name| name.len()).or_else(|| {
        let prefix = AUTHORIZERS.iter().find(|name| rest.starts_with(**name))?;
        let name = rest.get(prefix.len()..)?;
        Some(prefix.len() + name_length(name))
    })
}

fn name_length(text: &str) -> usize {
    text.find(|c: char| !is_name(c)).unwrap_or(text.len())
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_json_with_text_for_its_variables() {
        for (template, good) in [
            (r#"{"code":"$context.error.code"}"#, true),
            (
                r#"{"at":"$context.stage/$context.authorizer.frontend.user"}"#,
                true,
            ),
            (r#"{"unknown":"$context.nothing"}"#, true),
            (r#"{"code":$context.error.code}"#, false),
            (r#"{"code":"x",}"#, false),
            ("plain $context.requestId", false),
        ] {
            assert_eq!(json_problem(template).is_none(), good, "{template}");
        }
    }
}
