//! One operation: an API if it can be served as it is meant, complaints if not.

use super::backend;
use super::file::{
    Document, Format, response_sets, schemes_of_list, schemes_of_servers, skip_foreign,
};
use super::syntax::is_api_name;
use super::{ApiDefinition, DestinationDefinition, MatchMode, Method, Placed, Schemes};
use crate::config::{OnUnsupported, Protection};
use crate::document::{Complaints, Item, Place, Severity, Table};

/// What an operation takes from above where it says nothing itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Inherited<'a> {
    pub(super) schemes: Option<Schemes>,
    pub(super) security: Option<Item<'a>>,
    /// Of the path.
    pub(super) parameters: Option<Item<'a>>,
}

/// An operation while it is read.
pub(super) struct Operation<'a> {
    pub(super) document: &'a Document<'a>,
    pub(super) name: String,
    method: Method,
    /// What it means that this version does not do.
    unsupported: Vec<Unsupported>,
}

struct Unsupported {
    place: Place,
    what: String,
    /// The rule that the operator may decide to do without.
    protection: Option<Protection>,
}

impl<'a> Operation<'a> {
    /// The name, and the API if it can be served; nothing where not even the name can be told.
    pub(super) fn read(
        document: &'a Document<'a>,
        item: &Item<'_>,
        method: Method,
        path: &str,
        inherited: &Inherited<'_>,
        complaints: &mut Complaints,
    ) -> Option<(String, Option<ApiDefinition>)> {
        let mut table = item.table(complaints)?;
        let errors = complaints.errors();
        let place = item.place(complaints);
        let name = name(&mut table, complaints)?;
        let mut operation = Operation {
            document,
            name,
            method,
            unsupported: Vec::new(),
        };
        let api = operation.api(&mut table, place.clone(), path, inherited, complaints);
        skip_foreign(&mut table);
        table.finish(Severity::Warning, complaints);
        let mistaken = complaints.errors() != errors;
        let served = operation.settle(complaints);
        Some((operation.name, api.filter(|_| served && !mistaken)))
    }

    fn api(
        &mut self,
        table: &mut Table<'_>,
        place: Place,
        path: &str,
        inherited: &Inherited<'_>,
        complaints: &mut Complaints,
    ) -> Option<ApiDefinition> {
        self.documentation(table, complaints);
        if path.contains(['{', '}']) {
            self.cannot(&place, "path parameters");
        }
        let match_mode = self.match_mode(table, complaints);
        let schemes = self.schemes(table, complaints).or(inherited.schemes);
        self.protections(table, inherited, complaints);
        self.mapping(table, inherited, complaints);
        self.responses(table, complaints);
        let remedy = "add it with `type: HTTP` and `httpEndpoints`";
        let backend = table.need("x-apigateway-backend", remedy, complaints);
        let backend = backend.and_then(|item| backend::read(&item, self, complaints))?;
        let DestinationDefinition::Http(http) = &backend.destination else {
            return None;
        };
        if self.method.takes_get() && !http.method.takes_get() {
            complaints.warning(
                &place,
                format!(
                    "{}: no WebSocket can pass, for the backend's method is not GET",
                    self.name
                ),
                "write `method: GET` in `httpEndpoints`, unless only ordinary calls are meant",
            );
        }
        Some(ApiDefinition {
            name: self.name.clone(),
            place,
            method: self.method,
            path: path.to_owned(),
            match_mode,
            // Spec 1.2: HTTPS is the default.
            schemes: schemes.unwrap_or(Schemes::Https),
            description: String::new(),
            parameters: Vec::new(),
            backend,
            policies: Vec::new(),
            cors: false,
            response_set: Placed {
                text: "default".to_owned(),
                place: table.place(complaints),
            },
            response_sets: Vec::new(),
        })
    }

    /// Members that change nothing about a call; those with fixed values are checked all the same.
    fn documentation(&self, table: &mut Table<'_>, complaints: &mut Complaints) {
        for key in [
            "tags",
            "summary",
            "description",
            "externalDocs",
            "deprecated",
            "responses",
        ] {
            table.take(key);
        }
        // Spec 3.1: ignored on import. Bodies pass as they are.
        for key in ["consumes", "produces", "requestBody", "callbacks"] {
            table.take(key);
        }
        if let Some(item) = table.take("x-apigateway-request-type") {
            item.choice(&[("public", ()), ("private", ())], complaints);
        }
        if let Some(item) = table.take("x-apigateway-is-send-fg-body-base64") {
            item.boolean(complaints);
        }
        if let Some(item) = table.take("x-apigateway-content-type") {
            let known = [
                "application/json",
                "application/xml",
                "multipart/form-data",
                "text/plain",
            ];
            item.choice(&known.map(|name| (name, ())), complaints);
        }
    }

    fn match_mode(&mut self, table: &mut Table<'_>, complaints: &mut Complaints) -> MatchMode {
        let modes = [("NORMAL", MatchMode::Normal), ("SWA", MatchMode::Prefix)];
        let Some(item) = table.take("x-apigateway-match-mode") else {
            return MatchMode::Normal;
        };
        let mode = item.choice(&modes, complaints).unwrap_or(MatchMode::Normal);
        if mode == MatchMode::Prefix {
            self.cannot(&item.place(complaints), "prefix matching (SWA)");
        }
        mode
    }

    fn schemes(&self, table: &mut Table<'_>, complaints: &mut Complaints) -> Option<Schemes> {
        match self.document.format {
            Format::Swagger2 => table
                .take("schemes")
                .and_then(|item| schemes_of_list(&item, complaints)),
            Format::OpenApi3 => table
                .take("servers")
                .and_then(|item| schemes_of_servers(&item, complaints)),
        }
    }

    /// Everything that keeps callers out or down. Fails closed.
    fn protections(
        &mut self,
        table: &mut Table<'_>,
        inherited: &Inherited<'_>,
        complaints: &mut Complaints,
    ) {
        let own = table.take("security");
        // OpenAPI lets the document set a default. The cloud is silent about it; serving openly would be the worse guess.
        if let Some(item) = own.as_ref().or(inherited.security.as_ref()) {
            let demands = self.document.security_schemes.demands(item, complaints);
            if !demands.is_empty() {
                let what = demands.join(" and ");
                self.cannot_enforce(&item.place(complaints), &what, Protection::Authentication);
            }
        }
        for (key, what, protection) in [
            (
                "x-apigateway-access-control",
                "access control",
                Protection::AccessControl,
            ),
            (
                "x-apigateway-ratelimit",
                "throttling",
                Protection::RateLimit,
            ),
            ("x-apigateway-plugins", "plugins", Protection::Plugins),
        ] {
            if let Some(item) = table.take(key).filter(|item| !item.is_blank()) {
                self.cannot_enforce(&item.place(complaints), what, protection);
            }
        }
    }

    /// What would change the call on its way.
    fn mapping(
        &mut self,
        table: &mut Table<'_>,
        inherited: &Inherited<'_>,
        complaints: &mut Complaints,
    ) {
        let own = table.take("parameters").filter(|item| !item.is_blank());
        if let Some(item) = own.as_ref().or(inherited.parameters.as_ref()) {
            check_parameters(item, complaints);
            self.cannot(
                &item.place(complaints),
                "request parameters (checks, defaults, mapping)",
            );
        }
        if let Some(item) = table
            .take("x-apigateway-backend-policies")
            .filter(|item| !item.is_blank())
        {
            self.cannot(&item.place(complaints), "backend policies");
        }
        if let Some(item) = table.take("x-apigateway-cors")
            && item.boolean(complaints) == Some(true)
        {
            self.cannot(&item.place(complaints), "CORS headers");
        }
    }

    fn responses(&mut self, table: &mut Table<'_>, complaints: &mut Complaints) {
        let own = table
            .take("x-apigateway-responses")
            .map(|item| response_sets(&item, complaints));
        let own = own.unwrap_or_default();
        let item = table.take("x-apigateway-response");
        let name = match &item {
            Some(item) => item.text(complaints),
            None => Some("default"),
        };
        let Some(name) = name else { return };
        let set = own
            .iter()
            .chain(&self.document.response_sets)
            .find(|(known, _)| known == name);
        let place = item.map_or_else(|| table.place(complaints), |item| item.place(complaints));
        match set {
            Some((_, true)) => self.cannot(
                &place,
                &format!("the gateway responses of the set `{name}`"),
            ),
            Some((_, false)) => {}
            // `default` exists in every group (spec 5.4).
            None if name == "default" => {}
            None => complaints.error_as(
                "APIG.2012",
                &place,
                format!("there is no set of gateway responses `{name}`"),
                "write `default`, or define the set in `x-apigateway-responses`",
            ),
        }
    }

    /// Notes something that this version does not do.
    pub(super) fn cannot(&mut self, place: &Place, what: &str) {
        self.unsupported.push(Unsupported {
            place: place.clone(),
            what: what.to_owned(),
            protection: None,
        });
    }

    /// Notes a rule that this version cannot enforce.
    pub(super) fn cannot_enforce(&mut self, place: &Place, what: &str, protection: Protection) {
        self.unsupported.push(Unsupported {
            place: place.clone(),
            what: what.to_owned(),
            protection: Some(protection),
        });
    }

    /// Says what is not supported, and whether the API is served all the same.
    fn settle(&self, complaints: &mut Complaints) -> bool {
        let config = self.document.config;
        let rules = config.api_rules(&self.document.group, &self.name);
        let ignored =
            |protection| rules.is_some_and(|rules| rules.insecure_ignore.contains(&protection));
        let mut served = true;
        for Unsupported {
            place,
            what,
            protection,
        } in &self.unsupported
        {
            if let Some(word) = protection
                .filter(|protection| ignored(*protection))
                .map(Protection::word)
            {
                complaints.warning(
                    place,
                    format!(
                        "{}: served WITHOUT {what}, as insecure_ignore says",
                        self.name
                    ),
                    format!("remove \"{word}\" from insecure_ignore once it can be enforced"),
                );
                continue;
            }
            served = false;
            let problem = format!("{}: this version does not support {what}", self.name);
            let remedy = self.remedy(*protection);
            match config.definitions.on_unsupported {
                OnUnsupported::Reject => complaints.error(place, problem, remedy),
                OnUnsupported::Skip => {
                    complaints.warning(place, format!("{problem}, so the API is left out"), remedy);
                }
            }
        }
        served
    }

    fn remedy(&self, protection: Option<Protection>) -> String {
        let group = &self.document.group;
        let mut remedy = "remove it from the definition".to_owned();
        if let Some(protection) = protection {
            remedy.push_str(&format!(
                ", or serve the API without that protection: [[apis]] name = \"{}\", group = \"{group}\", \
                 insecure_ignore = [\"{}\"]",
                self.name,
                protection.word(),
            ));
        }
        if self.document.config.definitions.on_unsupported == OnUnsupported::Reject {
            remedy.push_str(", or leave such APIs out: on_unsupported = \"skip\"");
        }
        remedy
    }
}

fn name(table: &mut Table<'_>, complaints: &mut Complaints) -> Option<String> {
    let item = table.need(
        "operationId",
        "add `operationId: API01`, the name of the API",
        complaints,
    )?;
    let what = "an API name: 3 to 255 letters, digits and `-_./():`, a letter or digit first";
    item.parsed(
        what,
        |text| is_api_name(text).then(|| text.to_owned()),
        complaints,
    )
}

/// Spec 3.1: a file that declares `X-Auth-Token` is refused.
fn check_parameters(item: &Item<'_>, complaints: &mut Complaints) {
    for item in item.list(complaints) {
        let Some(mut parameter) = item.table(complaints) else {
            continue;
        };
        let name = parameter
            .take("name")
            .and_then(|item| item.text(complaints));
        if name.is_some_and(|name| name.eq_ignore_ascii_case("X-Auth-Token")) {
            complaints.error_as(
                "APIG.2012",
                &item.place(complaints),
                "`X-Auth-Token` is reserved",
                "remove the parameter or give it another name",
            );
        }
    }
}
