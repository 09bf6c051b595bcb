//! Who may call: the security schemes of a file and what an operation asks of them (spec 3.3, 7.1).

use super::extensions::skip_foreign;
use crate::document::{Complaints, Item, Severity, Table, likely};

/// What a scheme asks for, by its name.
#[derive(Debug, Default)]
pub(super) struct SecuritySchemes(Vec<(String, Kind)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    App,
    Iam,
    Authorizer,
    /// Of OpenAPI, but not of the gateway.
    Foreign,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::App => "APP authentication",
            Self::Iam => "IAM authentication",
            Self::Authorizer => "a custom authorizer",
            Self::Foreign => "a scheme that the gateway does not have",
        }
    }
}

/// What a `security` asks for.
#[derive(Debug, Default)]
pub(super) struct Demands {
    /// In words; nothing means that anybody may call.
    pub(super) what: Vec<String>,
    /// Whether a custom authorizer is among it.
    pub(super) authorizer: bool,
}

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

    pub(super) fn demands(&self, security: &Item<'_>, complaints: &mut Complaints) -> Demands {
        let mut demands = Demands::default();
        for alternative in security.list(complaints) {
            let Some(mut names) = alternative.table(complaints) else {
                continue;
            };
            for (name, item) in names.rest() {
                let known = self.0.iter().find(|(known, _)| known == name);
                if known.is_none() {
                    self.complain_about(name, &item, complaints);
                }
                let kind = known.map(|(_, kind)| *kind);
                demands.authorizer |= kind == Some(Kind::Authorizer);
                let what = kind.map_or(name, |kind| kind.label());
                demands.what.push(what.to_owned());
            }
        }
        demands.what.dedup();
        demands
    }

    fn complain_about(&self, name: &str, item: &Item<'_>, complaints: &mut Complaints) {
        let known = self.0.iter().map(|(known, _)| known.as_str());
        let remedy = match likely(name, known) {
            Some(known) => format!("did you mean `{known}`?"),
            None => "correct the name, or define the scheme".to_owned(),
        };
        let place = item.place(complaints);
        let problem = format!("there is no security scheme `{name}`");
        complaints.error_as("APIG.2012", &place, problem, remedy);
    }
}

fn kind(item: &Item<'_>, complaints: &mut Complaints) -> Kind {
    let Some(mut scheme) = item.table(complaints) else {
        return Kind::Foreign;
    };
    scheme.skip(&[
        "description",
        "flow",
        "flows",
        "authorizationUrl",
        "tokenUrl",
        "scopes",
        "scheme",
        "bearerFormat",
        "openIdConnectUrl",
    ]);
    let standard = ["type", "name", "in"].map(|key| scheme.take(key));
    let options = scheme.take("x-apigateway-auth-opt");
    if let Some(mut table) = options.and_then(|item| item.table(complaints)) {
        if let Some(item) = table.take("appcode-auth-type") {
            item.choice(&[("disable", ()), ("header", ())], complaints);
        }
        table.finish(Severity::Warning, complaints);
    }
    let kinds = [("AppSigv1", Kind::App), ("IAM", Kind::Iam)];
    let auth_type = scheme.take("x-apigateway-auth-type");
    let kind = match scheme.take("x-apigateway-authorizer") {
        // Spec U29: beside an authorizer the type says nothing.
        Some(authorizer) => {
            check_authorizer(&authorizer, complaints);
            Some(Kind::Authorizer)
        }
        None => auth_type.and_then(|item| item.choice(&kinds, complaints)),
    };
    if kind.is_some() {
        check_companions(standard, complaints);
    }
    skip_foreign(&mut scheme);
    scheme.finish(Severity::Warning, complaints);
    kind.unwrap_or(Kind::Foreign)
}

/// The schemes of the gateway are API keys in headers (spec 3.3).
fn check_companions(standard: [Option<Item<'_>>; 3], complaints: &mut Complaints) {
    let [kind, name, place] = standard;
    if let Some(item) = kind {
        item.choice(&[("apiKey", ())], complaints);
    }
    if let Some(item) = name {
        item.text(complaints);
    }
    if let Some(item) = place {
        item.choice(&[("header", ())], complaints);
    }
}

fn check_authorizer(item: &Item<'_>, complaints: &mut Complaints) {
    let Some(mut table) = item.table(complaints) else {
        return;
    };
    for (key, choices) in [
        ("authorizer_type", ["FUNC", "FUNC"]),
        ("type", ["FRONTEND", "BACKEND"]),
    ] {
        let [first, _] = choices;
        if let Some(item) = table.need(key, &format!("write `{key}: {first}`"), complaints) {
            item.choice(&choices.map(|choice| (choice, ())), complaints);
        }
    }
    if let Some(item) = table.need(
        "authorizer_uri",
        "write the URN of the function",
        complaints,
    ) {
        item.text(complaints);
    }
    if let Some(item) = set(&mut table, "authorizer_alias_uri") {
        item.text(complaints);
    }
    if let Some(item) = set(&mut table, "authorizer_version") {
        item.text_of(1..=64, complaints);
    }
    if let Some(item) = set(&mut table, "network_type") {
        item.choice(&[("V1", ()), ("V2", ())], complaints);
    }
    for key in ["auth_downgrade_enabled", "need_body"] {
        if let Some(item) = set(&mut table, key) {
            item.boolean(complaints);
        }
    }
    // Spec 3.3 has a range for the last alone.
    let any = i64::from(i32::MAX);
    for (key, most) in [("retry_attempts", any), ("timeout", any), ("ttl", 3600)] {
        if let Some(item) = set(&mut table, key) {
            item.integer(0..=most, complaints);
        }
    }
    if let Some(item) = set(&mut table, "identities") {
        check_identities(&item, complaints);
    }
    table.skip(&["description", "user_data"]);
    table.finish(Severity::Warning, complaints);
}

/// A member that may be there without a value.
fn set<'a>(table: &mut Table<'a>, key: &'static str) -> Option<Item<'a>> {
    table.take(key).filter(|item| !item.is_unset())
}

fn check_identities(item: &Item<'_>, complaints: &mut Complaints) {
    for item in item.list(complaints) {
        let Some(mut identity) = item.table(complaints) else {
            continue;
        };
        if let Some(item) = identity.need("name", "write `name: X-Token`", complaints) {
            item.text(complaints);
        }
        if let Some(item) = identity.need("location", "write `location: HEADER`", complaints) {
            item.choice(&[("HEADER", ()), ("QUERY", ())], complaints);
        }
        if let Some(item) = set(&mut identity, "validation") {
            item.text(complaints);
        }
        identity.finish(Severity::Warning, complaints);
    }
}
