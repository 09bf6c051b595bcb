//! Building a catalog: variables filled in, duplicates refused, hosts bound to groups.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sha1::{Digest, Sha1};

use super::hosts::{Hosts, Known};
use super::mapping::Mapping;
use super::path::encode;
use super::table::{Group, Paths};
use super::{
    Api, Backend, BackendPath, Catalog, DEFAULT_GROUP, Destination, HttpBackend, Member, RELEASE,
    normalize,
};
use crate::config::{Config, Routing};
use crate::definition::{ApiDefinition, Definition, MatchMode, Method, Schemes};
use crate::document::{Complaint, Place};
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
        let mut build = Build::new(config);
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
        });
        let paths = if path.is_empty() {
            Paths::every_path(Arc::clone(&api))
        } else {
            let mut paths = Paths::default();
            paths.insert(matched_form(&path)?, Arc::clone(&api));
            paths
        };
        let group = Group {
            elsewhere: Some(paths),
            ..Group::default()
        };
        Ok(Self {
            hosts: Hosts::Any(0),
            groups: vec![group],
            apis: vec![api],
        })
    }
}

/// The form in which a defined path is compared with requests: percent-escapes decoded as theirs are. A `%` that begins
/// no escape stands for itself, as spec 1.2 allows it in a path.
fn matched_form(path: &str) -> Result<Vec<u8>, String> {
    let encoded = encode(path);
    let form = normalize(&encoded).map_err(|_| {
        "no request can have it: it does not begin with `/`, climbs above the root or has control characters".to_owned()
    })?;
    Ok(form.into_owned())
}

/// A catalog in the making. What must be unique is unique in one group and environment: an environment may have another
/// version of the same API, as published versions in the cloud do.
pub(super) struct Build<'a> {
    pub(super) config: &'a Config,
    groups: Vec<(String, Group)>,
    names: HashMap<(usize, String, String), Place>,
    routes: HashMap<(usize, String, Method, Vec<u8>, MatchMode), Place>,
    apis: Vec<Arc<Api>>,
    pub(super) complaints: Vec<Complaint>,
}

impl<'a> Build<'a> {
    fn new(config: &'a Config) -> Self {
        Self {
            config,
            groups: Vec::new(),
            names: HashMap::new(),
            routes: HashMap::new(),
            apis: Vec::new(),
            complaints: Vec::new(),
        }
    }

    fn publish(&mut self, definition: &Definition, environment: &str) {
        let group = self.group(&definition.group);
        for api in &definition.apis {
            let path = match matched_form(&api.path) {
                Ok(path) => path,
                Err(problem) => {
                    self.complaints.push(api.place.error(
                        format!("the path `{}` cannot be matched: {problem}", api.path),
                        "correct the path",
                    ));
                    continue;
                }
            };
            if !self.is_new(group, environment, api, &path) {
                continue;
            }
            let Some(built) = self.api(&definition.group, environment, api) else {
                continue;
            };
            let built = Arc::new(built);
            self.apis.push(Arc::clone(&built));
            if let Some((_, group)) = self.groups.get_mut(group) {
                group
                    .environments
                    .entry(environment.into())
                    .or_default()
                    .insert(path, built);
            }
        }
    }

    fn group(&mut self, name: &str) -> usize {
        let found = self.groups.iter().position(|(known, _)| known == name);
        found.unwrap_or_else(|| {
            self.groups.push((name.to_owned(), Group::default()));
            self.groups.len() - 1
        })
    }

    /// Spec 3.5: names are unique in a group, and so are method, path and match mode together.
    fn is_new(
        &mut self,
        group: usize,
        environment: &str,
        api: &ApiDefinition,
        path: &[u8],
    ) -> bool {
        let name = (group, environment.to_owned(), api.name.clone());
        let route = (
            group,
            environment.to_owned(),
            api.method,
            path.to_vec(),
            api.match_mode,
        );
        let same_route = self.routes.get(&route).cloned();
        let same_name = self.names.get(&name).cloned();
        if let Some(first) = &same_route {
            self.complaints.push(
                api.place
                    .error(
                        format!("{} {} exists already: {first}", api.method.label(), api.path),
                        "give one of them another path or method, or publish it in another environment",
                    )
                    .with_code("APIG.3301"),
            );
        }
        if let Some(first) = &same_name {
            self.complaints.push(
                api.place
                    .error(
                        format!("the API name `{}` exists already: {first}", api.name),
                        "give one of them another operationId",
                    )
                    .with_code("APIG.3202"),
            );
        }
        self.routes
            .entry(route)
            .or_insert_with(|| api.place.clone());
        self.names.entry(name).or_insert_with(|| api.place.clone());
        same_route.is_none() && same_name.is_none()
    }

    fn finish(mut self, definitions: &[Definition]) -> Result<Catalog, Vec<Complaint>> {
        self.check_rules(definitions);
        if !self.complaints.is_empty() {
            return Err(self.complaints);
        }
        let hosts = Hosts::Known(self.known_hosts(&self.config.routing));
        self.apis.sort_by(|a, b| order(a).cmp(&order(b)));
        Ok(Catalog {
            hosts,
            groups: self.groups.into_iter().map(|(_, group)| group).collect(),
            apis: self.apis,
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

    fn known_hosts(&self, routing: &Routing) -> Known {
        let index = |name: &str| self.groups.iter().position(|(known, _)| known == name);
        let mut known = Known {
            default: index(DEFAULT_GROUP),
            inbound: routing
                .inbound_addresses
                .iter()
                .map(IpAddr::to_canonical)
                .collect(),
            any_address: routing.any_address,
            ..Known::default()
        };
        for domain in &routing.domains {
            // A group without APIs answers as one that is not there: 404.
            let Some(group) = index(&domain.group) else {
                continue;
            };
            match domain.name.strip_prefix("*.") {
                Some(parent) => known.wildcard.insert(parent.into(), group),
                None => known.exact.insert(domain.name.as_str().into(), group),
            };
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
pub(super) fn api_id(group: &str, name: &str) -> String {
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
