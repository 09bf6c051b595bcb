//! Who may call: the security schemes of a file and what an operation asks of them (spec 3.3, 7.1).

use super::file::skip_foreign;
use crate::document::{Complaints, Item, Severity};

/// What a scheme asks for, by its name.
#[derive(Debug, Default)]
pub(super) struct SecuritySchemes(Vec<(String, &'static str)>);

impl SecuritySchemes {
    pub(super) fn read(item: &Item<'_>, complaints: &mut Complaints) -> Self {
        let Some(mut schemes) = item.table(complaints) else {
            return Self::default();
        };
        let mut kinds = Vec::new();
        for (name, item) in schemes.rest() {
            kinds.push((name.to_owned(), kind(&item, complaints)));
        }
        Self(kinds)
    }

    /// What the `security` of an operation asks for; nothing means that anybody may call.
    pub(super) fn demands(&self, security: &Item<'_>, complaints: &mut Complaints) -> Vec<String> {
        let mut demands = Vec::new();
        for alternative in security.list(complaints) {
            let Some(mut names) = alternative.table(complaints) else {
                continue;
            };
            for (name, item) in names.rest() {
                let known = self.0.iter().find(|(known, _)| known == name);
                if known.is_none() {
                    let place = item.place(complaints);
                    complaints.error_as(
                        "APIG.2012",
                        &place,
                        format!("there is no security scheme `{name}`"),
                        "correct the name, or define the scheme",
                    );
                }
                demands.push(known.map_or_else(|| name.to_owned(), |(_, kind)| (*kind).to_owned()));
            }
        }
        demands.dedup();
        demands
    }
}

fn kind(item: &Item<'_>, complaints: &mut Complaints) -> &'static str {
    let Some(mut scheme) = item.table(complaints) else {
        return "an unknown scheme";
    };
    // Standard members say where credentials stand; they matter once they are checked.
    for key in [
        "type",
        "name",
        "in",
        "description",
        "flow",
        "flows",
        "authorizationUrl",
        "tokenUrl",
        "scopes",
        "scheme",
        "bearerFormat",
        "openIdConnectUrl",
        "x-apigateway-auth-opt",
    ] {
        scheme.take(key);
    }
    let authorizer = scheme.take("x-apigateway-authorizer");
    let kinds = [
        ("AppSigv1", "APP authentication"),
        ("IAM", "IAM authentication"),
    ];
    let auth_type = scheme
        .take("x-apigateway-auth-type")
        .and_then(|item| match authorizer {
            // Spec U29: beside an authorizer the type says nothing.
            Some(_) => None,
            None => item.choice(&kinds, complaints),
        });
    skip_foreign(&mut scheme);
    scheme.finish(Severity::Warning, complaints);
    match (authorizer, auth_type) {
        (Some(_), _) => "a custom authorizer",
        (None, Some(kind)) => kind,
        (None, None) => "a scheme that the gateway does not have",
    }
}
