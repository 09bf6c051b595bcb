//! The extensions of the format, and those of others.

use crate::document::{Table, likely};

/// Every extension of spec 3.2, to tell misspelt ones from those of others.
const EXTENSIONS: [&str; 23] = [
    "x-apigateway-access-control",
    "x-apigateway-access-controls",
    "x-apigateway-any-method",
    "x-apigateway-auth-opt",
    "x-apigateway-auth-type",
    "x-apigateway-authorizer",
    "x-apigateway-backend",
    "x-apigateway-backend-policies",
    "x-apigateway-content-type",
    "x-apigateway-cors",
    "x-apigateway-is-send-fg-body-base64",
    "x-apigateway-match-mode",
    "x-apigateway-orchestrations",
    "x-apigateway-pass-through",
    "x-apigateway-plugins",
    "x-apigateway-ratelimit",
    "x-apigateway-ratelimits",
    "x-apigateway-request-type",
    "x-apigateway-response",
    "x-apigateway-responses",
    "x-apigateway-result-failure-sample",
    "x-apigateway-result-normal-sample",
    "x-apigateway-sample",
];

/// Extensions of others are none of our business, unless one looks like a misspelt one of ours: that may be a rule that
/// protects something.
pub(super) fn skip_foreign(table: &mut Table<'_>) {
    table.take_where(|key| {
        key.starts_with("x-")
            && !key.starts_with("x-apigateway")
            && likely(key, EXTENSIONS).is_none()
    });
}
