//! What one published API runs as: its definition with variables filled in and everything checked that depends on them.

use std::sync::Arc;

use super::build::{Build, api_id};
use super::mapping::compile::{self, Compiled};
use super::{Api, Backend, BackendPath, Destination, HttpBackend, Member, Mock};
use crate::definition::{
    ApiDefinition, BackendDefinition, DestinationDefinition, HttpDefinition, Piece, Placed,
    references,
};
use crate::observe::series::Key;
use crate::relay::policy::TunnelPolicy;

impl Build<'_> {
    pub(super) fn api(
        &mut self,
        group: &str,
        environment: &str,
        api: &ApiDefinition,
    ) -> Option<Api> {
        let parameters = compile::parameters(api);
        let orchestration = self.orchestration(api);
        let compiled = Compiled {
            group,
            environment,
            api,
            label: "",
            parameters: &parameters,
            rules: orchestration.as_ref(),
        };
        // Everything is compiled before anything is given up, for the sake of its complaints.
        let policies: Vec<_> = api
            .policies
            .iter()
            .map(|policy| self.policy(&compiled, policy))
            .collect();
        let backend = self.backend(&compiled, &api.backend);
        let responses = self.responses.of_api(group, api, &mut self.complaints);
        let policies = policies.into_iter().collect::<Option<Vec<_>>>()?;
        let backend = backend?;
        let mut built = Api {
            id: api_id(group, &api.name),
            name: api.name.clone(),
            group: group.to_owned(),
            environment: environment.to_owned(),
            method: api.method,
            path: api.path.clone(),
            match_mode: api.match_mode,
            schemes: api.schemes,
            backend,
            cors: api.cors,
            parameters,
            orchestration,
            policies,
            responses,
            series: self.carried.book.series(key(group, environment, &api.name)),
        };
        built.stamp(|policy| self.carried.policy(policy));
        Some(built)
    }

    pub(super) fn backend(
        &mut self,
        compiled: &Compiled<'_>,
        backend: &BackendDefinition,
    ) -> Option<Backend> {
        let destination = match &backend.destination {
            DestinationDefinition::Http(http) => {
                Destination::Http(self.http(compiled, backend, http)?)
            }
            DestinationDefinition::Mock(mock) => Destination::Mock(Mock {
                status: mock.status,
                headers: mock.headers.clone(),
                body: mock.body.clone(),
            }),
        };
        let mapping = self.mapping(compiled, backend)?;
        Some(Backend {
            destination,
            mapping,
        })
    }

    fn http(
        &mut self,
        compiled: &Compiled<'_>,
        backend: &BackendDefinition,
        http: &HttpDefinition,
    ) -> Option<HttpBackend> {
        let Compiled {
            group,
            environment,
            api,
            label,
            ..
        } = *compiled;
        // The variables of both are filled in before either is judged: what has no value is told once for all.
        let address = self.filled(group, environment, &http.address);
        let path = self.filled(group, environment, &http.path);
        let member = self.member(http, &address?)?;
        let path = self.backend_path(compiled, backend, http, &path?)?;
        let address = format!("{}:{}", member.host, member.port);
        let tunnel = self
            .config
            .api_rules(group, &api.name)
            .map_or(self.config.tunnel, |rules| rules.tunnel);
        Some(HttpBackend {
            series: vec![self.carried.book.series(Key {
                backend: member.address(),
                ..key(group, environment, &api.name)
            })],
            members: vec![member],
            method: http.method,
            path,
            timeout: http.timeout,
            retry_count: http.retry_count,
            policy: Arc::new(TunnelPolicy {
                api: api.name.clone(),
                group: group.to_owned(),
                environment: environment.to_owned(),
                backend: label.to_owned(),
                address,
                // That of the whole API comes once the whole is there.
                version: 0,
                idle_timeout: http.timeout,
                idle_end: tunnel.idle_end,
                frames: tunnel.frames,
                message_bytes_max: tunnel.message_bytes_max,
            }),
        })
    }

    /// The text with the variables of group and environment in place (spec 2.3).
    fn filled(&mut self, group: &str, environment: &str, placed: &Placed) -> Option<String> {
        let config = self.config;
        let variables = config
            .environments
            .iter()
            .find(|known| known.name == environment)
            .and_then(|known| known.variables.get(group));
        let mut text = String::new();
        let mut complete = true;
        for piece in references(&placed.text)? {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Variable(name) => match variables.and_then(|known| known.get(name)) {
                    Some(value) => text.push_str(value),
                    None => {
                        complete = false;
                        self.complaints.push(placed.place.error(
                            format!("the variable `#{name}#` has no value in {environment} for group {group}"),
                            format!(
                                "set `{name}` under [environments.variables.{group}] of the environment {environment}"
                            ),
                        ));
                    }
                },
            }
        }
        complete.then_some(text)
    }

    fn member(&mut self, http: &HttpDefinition, address: &str) -> Option<Member> {
        let member = Member::from_address(http.scheme, address);
        if member.is_none() {
            self.complaints.push(
                http.address
                    .place
                    .error(
                        format!("\"{address}\" is not a backend address"),
                        "write host or host:port (1 to 65535), IPv6 addresses in brackets, at most 255 characters",
                    )
                    .with_code("APIG.2024"),
            );
        }
        member
    }

    fn backend_path(
        &mut self,
        compiled: &Compiled<'_>,
        backend: &BackendDefinition,
        http: &HttpDefinition,
        path: &str,
    ) -> Option<BackendPath> {
        let place = &http.path.place;
        if path.starts_with('/')
            && !path.contains(['?', '#'])
            && !path.contains(|c: char| c.is_control())
        {
            let template = self.template(compiled, backend, (place, path));
            return template.map(BackendPath::Template);
        }
        let problem = format!("\"{path}\" is not a backend path");
        let remedy = "write a path that begins with `/`, without query or fragment";
        let complaint = place.error(problem, remedy);
        self.complaints.push(complaint.with_code("APIG.2012"));
        None
    }
}

fn key(group: &str, environment: &str, api: &str) -> Key {
    Key {
        group: group.to_owned(),
        environment: environment.to_owned(),
        api: api.to_owned(),
        backend: String::new(),
    }
}
