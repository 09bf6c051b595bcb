//! One operation: an API if it can be served as it is meant, complaints if not.

use super::extensions::skip_foreign;
use super::file::{Document, Format};
use super::parameter::{self, Orchestrated};
use super::paths::FrontPath;
use super::schemes::{Protocols, schemes_of_list, schemes_of_servers};
use super::syntax::is_api_name;
use super::unsupported::Unsupported;
use super::{
    ApiDefinition, BackendDefinition, Location, MatchMode, Method, Placed, RequestParameter,
    ResponseSetDefinition, Schemes, backend, policy, protection, responses,
};
use crate::document::{Complaints, Item, Place, Severity, Table};

/// What an operation takes from above where it says nothing itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Inherited<'a> {
    pub(super) protocols: Protocols,
    pub(super) security: Option<Item<'a>>,
    /// Of the path.
    pub(super) parameters: Vec<RequestParameter>,
}

/// An operation while it is read.
#[derive(Debug)]
pub(super) struct Operation<'a> {
    pub(super) document: &'a Document<'a>,
    pub(super) name: String,
    pub(super) method: Method,
    pub(super) front: &'a FrontPath,
    /// Known once they have been read, before the backends.
    pub(super) parameters: Vec<RequestParameter>,
    /// The parameters that orchestration rules make of one of them.
    pub(super) orchestrated: Vec<Orchestrated<'a>>,
    /// Whether a custom authorizer decides who may call.
    pub(super) has_authorizer: bool,
    /// What it means that this version does not do.
    pub(super) unsupported: Vec<Unsupported>,
}

impl<'a> Operation<'a> {
    /// The name, and the API if it can be served; nothing where it is no operation at all.
    pub(super) fn read(
        document: &'a Document<'a>,
        item: &Item<'a>,
        method: Method,
        front: &'a FrontPath,
        inherited: &Inherited<'a>,
        complaints: &mut Complaints,
    ) -> Option<(String, Option<ApiDefinition>)> {
        let mut table = item.table(complaints)?;
        let errors = complaints.errors();
        let place = item.place(complaints);
        // Without a right name the rest is read all the same: one run tells every mistake.
        let name = name(&mut table, complaints);
        let name = name.unwrap_or_else(|| format!("{} {}", method.label(), front.full));
        let mut operation = Operation {
            document,
            name,
            method,
            front,
            parameters: Vec::new(),
            orchestrated: Vec::new(),
            has_authorizer: false,
            unsupported: Vec::new(),
        };
        let api = operation.api(&mut table, place, inherited, complaints);
        skip_foreign(&mut table);
        table.finish(Severity::Warning, complaints);
        let mistaken = complaints.errors() != errors;
        let served = operation.settle(complaints);
        Some((operation.name, api.filter(|_| served && !mistaken)))
    }

    fn api(
        &mut self,
        table: &mut Table<'a>,
        place: Place,
        inherited: &Inherited<'a>,
        complaints: &mut Complaints,
    ) -> Option<ApiDefinition> {
        let description = documentation(table, complaints);
        let match_mode = match_mode(table, complaints);
        let protocols = self.protocols(table, complaints);
        let protocols = protocols.or(inherited.protocols.clone());
        if let Some(place) = &protocols.grpc {
            self.cannot(place, "gRPC");
        }
        let cors = table.take("x-apigateway-cors");
        let cors = cors.and_then(|item| item.boolean(complaints));
        protection::read(self, table, inherited, complaints);
        self.read_parameters(table, inherited, &place, complaints);
        let response_sets = own_response_sets(table, complaints);
        let response_set = response_set(table, &place, complaints);
        let remedy = "add it with `type: HTTP` and `httpEndpoints`";
        let backend = table.need("x-apigateway-backend", remedy, complaints);
        let backend = backend.and_then(|item| backend::read(&item, self, complaints));
        let policies = table.take("x-apigateway-backend-policies");
        let default = backend.as_ref().map(|read| read.kind);
        let policies = policies.map(|item| policy::read_list(&item, default, self, complaints));
        let policies = policies.unwrap_or_default();
        let backend = backend.and_then(|read| read.definition)?;
        self.warn_where_no_websocket_passes(&backend, &place, complaints);
        Some(ApiDefinition {
            name: self.name.clone(),
            description,
            place,
            method: self.method,
            path: self.front.full.clone(),
            match_mode,
            // Spec 1.2: HTTPS is the default.
            schemes: protocols.schemes.unwrap_or(Schemes::Https),
            parameters: std::mem::take(&mut self.parameters),
            backend,
            policies,
            cors: cors.unwrap_or(false),
            response_set,
            response_sets,
        })
    }

    fn protocols(&self, table: &mut Table<'_>, complaints: &mut Complaints) -> Protocols {
        let key = match self.document.format {
            Format::Swagger2 => "schemes",
            Format::OpenApi3 => "servers",
        };
        let item = table.take(key);
        item.map_or_else(Protocols::default, |item| match self.document.format {
            Format::Swagger2 => schemes_of_list(&item, complaints),
            Format::OpenApi3 => schemes_of_servers(&item, complaints),
        })
    }

    /// Its own parameters, and those of the path that it does not override (by name and location).
    fn read_parameters(
        &mut self,
        table: &mut Table<'a>,
        inherited: &Inherited<'a>,
        place: &Place,
        complaints: &mut Complaints,
    ) {
        let own = table.take("parameters");
        let own = own.map(|item| parameter::read_list(&item, self.document, complaints));
        self.parameters = own.unwrap_or_default();
        for parameter in &inherited.parameters {
            let overridden = self.parameters.iter().any(|own| {
                own.location == parameter.location && own.name.eq_ignore_ascii_case(&parameter.name)
            });
            if !overridden {
                self.parameters.push(parameter.clone());
            }
        }
        parameter::check_together(&self.parameters, place, complaints);
        self.check_path_parameters(place, complaints);
        self.orchestrated =
            parameter::check_orchestrations(&self.parameters, self.document, complaints);
    }

    /// Every parameter of the path is declared, and the path has every one that is declared.
    fn check_path_parameters(&self, place: &Place, complaints: &mut Complaints) {
        let declared = || {
            self.parameters
                .iter()
                .filter(|parameter| parameter.location == Location::Path)
        };
        for name in &self.front.names {
            if !declared().any(|parameter| parameter.name == *name) {
                complaints.error_as(
                    "APIG.2026",
                    place,
                    format!(
                        "`{{{name}}}` of the path {} is not declared",
                        self.front.full
                    ),
                    format!(
                        "add it to `parameters` with `name: {name}` and `in: path`, spelt alike"
                    ),
                );
            }
        }
        for parameter in declared() {
            if !self.front.names.contains(&parameter.name) {
                complaints.error_as(
                    "APIG.2012",
                    &parameter.place,
                    format!(
                        "the path {} has no `{{{}}}`",
                        self.front.full, parameter.name
                    ),
                    "correct the name, remove the parameter, or add it to the path",
                );
            }
        }
    }

    /// The declared parameter of this name, whatever the case of its letters (spec 2.6).
    pub(super) fn declared(&self, name: &str) -> Option<&RequestParameter> {
        self.parameters
            .iter()
            .find(|parameter| parameter.name.eq_ignore_ascii_case(name))
    }

    fn warn_where_no_websocket_passes(
        &self,
        backend: &BackendDefinition,
        place: &Place,
        complaints: &mut Complaints,
    ) {
        let http = backend.http();
        if self.method.takes_get() && http.is_some_and(|http| !http.method.takes_get()) {
            complaints.warning(
                place,
                format!(
                    "{}: no WebSocket can pass, for the backend's method is not GET",
                    self.name
                ),
                "write `method: GET` in `httpEndpoints`, unless only ordinary calls are meant",
            );
        }
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

/// Members that change nothing about a call; those with fixed values are checked all the same. The description.
fn documentation(table: &mut Table<'_>, complaints: &mut Complaints) -> String {
    table.skip(&["tags", "summary", "externalDocs", "deprecated", "responses"]);
    // Spec 3.1: ignored on import. Bodies pass as they are.
    table.skip(&["consumes", "produces", "requestBody", "callbacks"]);
    if let Some(item) = table.take("x-apigateway-request-type") {
        item.choice(&[("public", ()), ("private", ())], complaints);
    }
    let json = content_type_is_json(table, complaints);
    if let Some(item) = table.take("x-apigateway-is-send-fg-body-base64")
        && item.boolean(complaints) == Some(false)
        && !json
    {
        complaints.warning(
            &item.place(complaints),
            "bodies of other types than application/json go to functions in Base64",
            "write `true`, or `x-apigateway-content-type: application/json`",
        );
    }
    let description = table.take("description");
    let description = description.and_then(|item| item.text(complaints));
    description.unwrap_or_default().to_owned()
}

/// Whether the type of bodies is JSON, or not said.
fn content_type_is_json(table: &mut Table<'_>, complaints: &mut Complaints) -> bool {
    let known = [
        ("application/json", true),
        ("application/xml", false),
        ("multipart/form-data", false),
        ("text/plain", false),
    ];
    let item = table.take("x-apigateway-content-type");
    item.and_then(|item| item.choice(&known, complaints))
        .unwrap_or(true)
}

fn match_mode(table: &mut Table<'_>, complaints: &mut Complaints) -> MatchMode {
    let modes = [("NORMAL", MatchMode::Normal), ("SWA", MatchMode::Prefix)];
    let item = table.take("x-apigateway-match-mode");
    item.and_then(|item| item.choice(&modes, complaints))
        .unwrap_or(MatchMode::Normal)
}

/// Sets that the operation itself defines (spec U36).
fn own_response_sets(
    table: &mut Table<'_>,
    complaints: &mut Complaints,
) -> Vec<ResponseSetDefinition> {
    let Some(item) = table.take("x-apigateway-responses") else {
        return Vec::new();
    };
    let sets = responses::read(&item, complaints);
    responses::check_sets(&sets, complaints);
    sets
}

/// The name of the set that is used. Other files of the group may define it, so that only the catalog can tell whether
/// it is there.
fn response_set(table: &mut Table<'_>, place: &Place, complaints: &mut Complaints) -> Placed {
    let item = table
        .take("x-apigateway-response")
        .filter(|item| !item.is_blank());
    let placed = item.and_then(|item| {
        Some(Placed {
            text: item.text(complaints)?.to_owned(),
            place: item.place(complaints),
        })
    });
    placed.unwrap_or_else(|| Placed {
        text: "default".to_owned(),
        place: place.clone(),
    })
}
