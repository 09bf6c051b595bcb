//! Building a catalog: variables filled in, duplicates refused, hosts bound to groups.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sha1::{Digest, Sha1};

use super::hosts::{Binding, Hosts, Known};
use super::mapping::Mapping;
use super::matcher::{self, Group, Paths};
use super::responses::ResponseSets;
use super::shape::Shape;
use super::{
    Api, Backend, BackendPath, Carried, Catalog, DEFAULT_GROUP, Destination, HttpBackend, Member,
    RELEASE,
};
use crate::config::{Config, PathEscapes, Routing};
use crate::definition::{ApiDefinition, Definition, MatchMode, Method, Schemes};
use crate::document::{Complaint, Place};
use crate::observe::book::Book;
use crate::observe::series::Key;
use crate::relay::policy::TunnelPolicy;

/// One route for everything, without a definition: `ringgate proxy`.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Used in turn; at least one.
    pub members: Vec<Member>,
    /// The only path that is served; `None` forwards every path.
    pub path: Option<String>,
    pub backend_path: BackendPath,
    pub schemes: Schemes,
    pub policy: TunnelPolicy,
    pub timeout: Duration,
}

impl Catalog {
    /// Everything that the definitions publish, or every reason why not.
    pub fn build(config: &Config, definitions: &[Definition]) -> Result<Self, Vec<Complaint>> {
        Self::build_with(config, definitions, &mut Carried::default())
    }

    /// The same, with what earlier catalogs have left.
    pub fn build_with(
        config: &Config,
        definitions: &[Definition],
        carried: &mut Carried,
    ) -> Result<Self, Vec<Complaint>> {
        let mut build = Build::new(config, carried);
        build.responses = ResponseSets::gather(definitions, &mut build.complaints);
        for definition in definitions {
            for environment in &definition.environments {
                build.publish(definition, environment);
            }
        }
        build.finish(definitions)
    }

    /// One API on every host, in every environment and with every method. The error says what is wrong with the path.
    pub fn forward_all(forward: Forward) -> Result<Self, String> {
        let path = forward.path.unwrap_or_default();
        let book = Book::default();
        let of_api = Key {
            group: forward.policy.group.clone(),
            environment: forward.policy.environment.clone(),
            api: forward.policy.api.clone(),
            backend: String::new(),
        };
        let of_member = |member: &Member| {
            book.series(Key {
                backend: member.address(),
                ..of_api.clone()
            })
        };
        let api = Arc::new(Api {
            id: api_id(&forward.policy.group, &forward.policy.api),
            name: forward.policy.api.clone(),
            group: forward.policy.group.clone(),
            environment: forward.policy.environment.clone(),
            method: Method::Any,
            path: path.clone(),
            match_mode: MatchMode::Normal,
            schemes: forward.schemes,
            backend: Backend {
                destination: Destination::Http(HttpBackend {
                    series: forward.members.iter().map(of_member).collect(),
                    members: forward.members,
                    method: Method::Any,
                    path: forward.backend_path,
                    timeout: forward.timeout,
                    retry_count: -1,
                    policy: Arc::new(forward.policy),
                }),
                mapping: Mapping::default(),
            },
            parameters: Vec::new(),
            orchestration: None,
            policies: Vec::new(),
            cors: false,
            responses: Arc::default(),
            series: book.series(of_api),
        });
        // Everything begins with `/`.
        let (text, mode) = if path.is_empty() {
            ("/", MatchMode::Prefix)
        } else {
            (path.as_str(), MatchMode::Normal)
        };
        // What is forwarded as it is keeps its escapes.
        let escapes = PathEscapes::Kept;
        let mut paths = Paths::default();
        let place = paths.place(&Shape::of(text, escapes)?, mode);
        paths.insert(place, Arc::clone(&api));
        let group = Group {
            name: api.group.as_str().into(),
            elsewhere: Some(paths),
            ..Group::default()
        };
        Ok(Self {
            hosts: Hosts::Any(0),
            groups: vec![group],
            escapes,
            apis: vec![api],
            book,
        })
    }
}

/// A catalog in the making. What must be unique is unique in one group and environment: an environment may have another
/// version of the same API, as published versions in the cloud do.
pub(super) struct Build<'a> {
    pub(super) config: &'a Config,
    pub(super) carried: &'a mut Carried,
    groups: Vec<Group>,
    /// Index of a group by its name.
    indexes: HashMap<&'a str, usize>,
    names: HashMap<Scoped<'a, &'a str>, &'a Place>,
    routes: HashMap<Scoped<'a, (matcher::Place, Method)>, &'a Place>,
    apis: Vec<Arc<Api>>,
    pub(super) responses: ResponseSets<'a>,
    pub(super) complaints: Vec<Complaint>,
}

/// Notes where `key` was used first; the place of its first use if this is another one.
fn claim<'a, K: Eq + Hash>(
    known: &mut HashMap<K, &'a Place>,
    key: K,
    place: &'a Place,
) -> Option<&'a Place> {
    match known.entry(key) {
        Entry::Occupied(first) => Some(first.get()),
        Entry::Vacant(free) => {
            free.insert(place);
            None
        }
    }
}

/// Something of one group, by its index, in one environment.
type Scoped<'a, T> = (usize, &'a str, T);

impl<'a> Build<'a> {
    fn new(config: &'a Config, carried: &'a mut Carried) -> Self {
        carried.prune();
        Self {
            config,
            carried,
            groups: Vec::new(),
            indexes: HashMap::new(),
            names: HashMap::new(),
            routes: HashMap::new(),
            apis: Vec::new(),
            responses: ResponseSets::default(),
            complaints: Vec::new(),
        }
    }

    fn publish(&mut self, definition: &'a Definition, environment: &'a str) {
        let group = self.group(&definition.group);
        let known = |group: &mut Group| group.environments.remove(environment);
        let mut paths = self
            .groups
            .get_mut(group)
            .and_then(known)
            .unwrap_or_default();
        for api in &definition.apis {
            let shape = match Shape::of(&api.path, self.config.routing.path_escapes) {
                Ok(shape) => shape,
                Err(problem) => {
                    self.complaints.push(api.place.error(
                        format!("the path `{}` cannot be matched: {problem}", api.path),
                        "correct the path",
                    ));
                    continue;
                }
            };
            let place = paths.place(&shape, api.match_mode);
            if !self.is_new(group, environment, api, place) {
                continue;
            }
            if let Some(built) = self.api(&definition.group, environment, api) {
                let built = Arc::new(built);
                self.apis.push(Arc::clone(&built));
                paths.insert(place, built);
            }
        }
        if let Some(group) = self.groups.get_mut(group) {
            group.environments.insert(environment.into(), paths);
        }
    }

    fn group(&mut self, name: &'a str) -> usize {
        *self.indexes.entry(name).or_insert_with(|| {
            self.groups.push(Group {
                name: name.into(),
                responses: self.responses.of_group(name),
                ..Group::default()
            });
            self.groups.len() - 1
        })
    }

    /// Spec 3.5: names are unique in a group, and so are method, path and match mode together. Parameters of other names
    /// make no other path.
    fn is_new(
        &mut self,
        group: usize,
        environment: &'a str,
        api: &'a ApiDefinition,
        place: matcher::Place,
    ) -> bool {
        let route = (group, environment, (place, api.method));
        let same_route = claim(&mut self.routes, route, &api.place);
        if let Some(first) = same_route {
            self.complaints.push(
                api.place
                    .error(
                        format!("{} {} exists already: {first}", api.method.label(), api.path),
                        "give one of them another path or method, or publish it in another environment",
                    )
                    .with_code("APIG.3301"),
            );
        }
        let name = (group, environment, api.name.as_str());
        let same_name = claim(&mut self.names, name, &api.place);
        if let Some(first) = same_name {
            self.complaints.push(
                api.place
                    .error(
                        format!("the API name `{}` exists already: {first}", api.name),
                        "give one of them another operationId",
                    )
                    .with_code("APIG.3202"),
            );
        }
        same_route.is_none() && same_name.is_none()
    }

    fn finish(mut self, definitions: &[Definition]) -> Result<Catalog, Vec<Complaint>> {
        self.check_rules(definitions);
        if !self.complaints.is_empty() {
            return Err(self.complaints);
        }
        let hosts = Hosts::Known(Box::new(self.known_hosts(&self.config.routing)));
        self.apis.sort_by(|a, b| order(a).cmp(&order(b)));
        Ok(Catalog {
            hosts,
            groups: self.groups,
            escapes: self.config.routing.path_escapes,
            apis: self.apis,
            book: self.carried.book.clone(),
        })
    }

    /// Rules for an API that nobody defines are a slip that would leave another API without them.
    fn check_rules(&mut self, definitions: &[Definition]) {
        for rules in &self.config.apis {
            let defined = definitions.iter().any(|definition| {
                definition.group == rules.group
                    && (definition.left_out.contains(&rules.api)
                        || definition.apis.iter().any(|api| api.name == rules.api))
            });
            if !defined {
                self.complaints.push(rules.place.error(
                    format!(
                        "no definition has an API `{}` in group {}",
                        rules.api, rules.group
                    ),
                    "correct `name` or `group`, or remove this table",
                ));
            }
        }
    }

    fn known_hosts(&mut self, routing: &'a Routing) -> Known {
        let mut known = Known {
            default: self.indexes.get(DEFAULT_GROUP).copied(),
            inbound: routing
                .inbound_addresses
                .iter()
                .map(IpAddr::to_canonical)
                .collect(),
            any_address: routing.any_address,
            ..Known::default()
        };
        for domain in &routing.domains {
            // A group without APIs is known all the same: its domain is not served by a wildcard in its place.
            let binding = Binding {
                group: self.group(&domain.group),
                http: domain.http,
                https: domain.https,
            };
            let (names, name) = match domain.name.strip_prefix("*.") {
                Some(parent) => (&mut known.wildcard, parent),
                None => (&mut known.exact, domain.name.as_str()),
            };
            names.entry(name.into()).or_default().push(binding);
        }
        for domain in &routing.debug_domains {
            let calls = self
                .carried
                .quotas
                .calls(&domain.group, domain.calls_per_day);
            let group = self.group(&domain.group);
            known
                .debug
                .insert(domain.name.as_str().into(), (group, calls));
        }
        known
    }
}

fn order(api: &Api) -> (&str, bool, &str, &str, Method) {
    // RELEASE first: it is what callers without `X-Stage` get.
    (
        &api.group,
        api.environment != RELEASE,
        &api.environment,
        &api.path,
        api.method,
    )
}

/// What `$context.apiId` is for an API: exports carry no ids, so that one is made of what names it.
pub(crate) fn api_id(group: &str, name: &str) -> String {
    let mut hash = Sha1::new();
    for part in [group, "\0", name] {
        hash.update(part);
    }
    let digest = hash.finalize();
    digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
