//! The sections about what is served where: listeners, certificates, definitions, environments, domains, single APIs.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::addresses::{addresses, client_address, proxies};
use super::settings::{fate, tunnel};
use super::{CertificateFiles, DefinitionFiles, Reader, set};
use crate::catalog::{DEFAULT_GROUP, RELEASE};
use crate::config::{ApiRules, Environment, Listener, PathEscapes, Protection, Scheme};
use crate::definition::is_variable_name;
use crate::document::{Item, Table, plural};

const PROTOCOLS: [(&str, Scheme); 4] = [
    ("https", Scheme::Https),
    ("http", Scheme::Http),
    ("wss", Scheme::Https),
    ("ws", Scheme::Http),
];

/// Spec 2.4: the feature `api_uri_no_escape` is `keep`.
const ESCAPES: [(&str, PathEscapes); 2] = [
    ("decode", PathEscapes::Decoded),
    ("keep", PathEscapes::Kept),
];

/// Spec 2.3: variables per group and environment.
const VARIABLES_MAX: usize = 50;

impl Reader {
    pub(super) fn routing(&mut self, top: &mut Table<'_>) {
        let errors = self.complaints.errors();
        self.sections(top, "listeners", Self::listener);
        self.listeners_complete = errors == self.complaints.errors();
        let mut default = None;
        self.sections(top, "certificates", |reader, table| {
            reader.certificate(table, &mut default)
        });
        // The resolver takes the first as the default one.
        if let Some(default) = default.filter(|index| *index < self.draft.certificates.len()) {
            let chosen = self.draft.certificates.remove(default);
            self.draft.certificates.insert(0, chosen);
        }
        self.section(top, "routing", Self::hosts_and_paths);
        self.sections(top, "environments", Self::environment);
        self.sections(top, "definitions", Self::definition);
        self.sections(top, "domains", Self::domain);
        // After the domains, with which their debugging domains may not collide.
        self.sections(top, "groups", Self::group);
        self.sections(top, "orchestrations", Self::orchestration);
        self.sections(top, "apis", Self::api_rules);
    }

    fn hosts_and_paths(&mut self, table: &mut Table<'_>) {
        let routing = &mut self.draft.config.routing;
        if let Some(item) = table.take("inbound_addresses") {
            routing.inbound_addresses = addresses(&item, &mut self.complaints);
        }
        let any = table
            .take("any_address")
            .and_then(|item| item.boolean(&mut self.complaints));
        set(&mut routing.any_address, any);
        let escapes = table
            .take("path_escapes")
            .and_then(|item| item.choice(&ESCAPES, &mut self.complaints));
        set(&mut routing.path_escapes, escapes);
        let client = table
            .take("client_address")
            .and_then(|item| client_address(&item, &mut self.complaints));
        set(&mut routing.client_address, client);
    }

    fn listener(&mut self, table: &mut Table<'_>) {
        let complaints = &mut self.complaints;
        let address = table.need("address", "write address = \"0.0.0.0:443\"", complaints);
        let protocol = table.need(
            "protocol",
            "write protocol = \"https\" or \"http\"",
            complaints,
        );
        let parsed = address.as_ref().and_then(|item| {
            item.parsed(
                "an address with port, such as \"0.0.0.0:443\" or \"[::]:443\"",
                |text| text.parse::<SocketAddr>().ok(),
                complaints,
            )
        });
        let scheme = protocol.and_then(|item| item.choice(&PROTOCOLS, complaints));
        let proxies = match table.take("proxy_protocol") {
            Some(item) => proxies(&item, complaints),
            None => Some(Vec::new()),
        };
        let freebind = table
            .take("freebind")
            .and_then(|item| item.boolean(complaints));
        let socket_name = table.take("socket_name").and_then(|item| {
            // systemd.socket(5): what `FileDescriptorName=` may be.
            let valid = |text: &str| {
                (1..=255).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_graphic() && b != b':')
            };
            item.parsed(
                "the `FileDescriptorName=` of a socket unit",
                |text| valid(text).then(|| text.to_owned()),
                complaints,
            )
        });
        let (Some(address), Some(item), Some(scheme), Some(proxy_protocol_from)) =
            (parsed, address, scheme, proxies)
        else {
            return;
        };
        let listeners = &mut self.draft.config.listeners;
        // Port 0 asks for any free port, each time another one.
        if address.port() != 0 && listeners.iter().any(|listener| listener.address == address) {
            complaints.error(
                &item.place(complaints),
                format!("{address} is listed twice"),
                "list it once",
            );
        }
        listeners.push(Listener {
            address,
            scheme,
            proxy_protocol_from,
            freebind: freebind.unwrap_or(false),
            socket_name,
        });
    }

    fn certificate(&mut self, table: &mut Table<'_>, default: &mut Option<usize>) {
        let certificate = table.need(
            "certificate",
            "write certificate = \"cert.pem\"",
            &mut self.complaints,
        );
        let key = table.need("key", "write key = \"key.pem\"", &mut self.complaints);
        if let Some(item) = table.take("default")
            && item.boolean(&mut self.complaints) == Some(true)
            && default.replace(self.draft.certificates.len()).is_some()
        {
            let place = item.place(&self.complaints);
            self.complaints.error(
                &place,
                "another certificate is the default already",
                "keep one `default = true`",
            );
        }
        let (Some(certificate), Some(key)) = (certificate, key) else {
            return;
        };
        let (Some(certificate_path), Some(key_path)) = (self.path(&certificate), self.path(&key))
        else {
            return;
        };
        self.draft.certificates.push(CertificateFiles {
            certificate: certificate_path,
            certificate_place: certificate.place(&self.complaints),
            key: key_path,
            key_place: key.place(&self.complaints),
        });
    }

    fn environment(&mut self, table: &mut Table<'_>) {
        let variables = table
            .take("variables")
            .map(|item| self.variables(&item))
            .unwrap_or_default();
        let complaints = &mut self.complaints;
        let Some(item) = table.need("name", "write name = \"RELEASE\"", complaints) else {
            return;
        };
        let what = "an environment name: a letter, then letters, digits and `_`";
        let Some(name) = item.parsed(what, environment_name, complaints) else {
            return;
        };
        let environments = &mut self.draft.config.environments;
        if environments.iter().any(|known| known.name == name) {
            let place = item.place(complaints);
            complaints.push(
                place
                    .error(
                        format!("the environment {name} is there twice"),
                        "put its variables into one table",
                    )
                    .with_code("APIG.3205"),
            );
            return;
        }
        environments.push(Environment { name, variables });
    }

    fn variables(&mut self, item: &Item<'_>) -> BTreeMap<String, BTreeMap<String, String>> {
        let Some(mut groups) = item.table(&mut self.complaints) else {
            return BTreeMap::new();
        };
        let mut all = BTreeMap::new();
        for (group, item) in groups.rest() {
            all.insert(group.to_owned(), self.variables_of_group(&item));
        }
        all
    }

    fn variables_of_group(&mut self, item: &Item<'_>) -> BTreeMap<String, String> {
        let complaints = &mut self.complaints;
        let Some(mut table) = item.table(complaints) else {
            return BTreeMap::new();
        };
        let mut variables = BTreeMap::new();
        for (name, item) in table.rest() {
            if !is_variable_name(name) {
                let place = item.place(complaints);
                complaints.error(
                    &place,
                    format!("`{name}` is not a variable name"),
                    "write 3 to 32 characters: a letter, then letters, digits, `-` and `_`",
                );
                continue;
            }
            let what = "a value of 1 to 255 letters, digits and `_ - / . :`";
            if let Some(value) = item.parsed(what, variable_value, complaints) {
                variables.insert(name.to_owned(), value);
            }
        }
        if variables.len() > VARIABLES_MAX {
            let place = item.place(complaints);
            let count = plural(variables.len(), "variable");
            complaints.error(
                &place,
                format!("{count} is too many"),
                format!("at most {VARIABLES_MAX} are allowed"),
            );
        }
        variables
    }

    fn definition(&mut self, table: &mut Table<'_>) {
        let files = table.need(
            "files",
            "write files = [\"apis/*.yaml\"]",
            &mut self.complaints,
        );
        let environments = match table.take("environments") {
            Some(item) => self.published_in(&item),
            None => vec![RELEASE.to_owned()],
        };
        let Some(files) = files else { return };
        let mut patterns = Vec::new();
        for item in files.list(&mut self.complaints) {
            if let Some(path) = self.path(&item) {
                patterns.push((path, item.place(&self.complaints)));
            }
        }
        self.draft.definitions.push(DefinitionFiles {
            patterns,
            environments,
        });
    }

    fn published_in(&mut self, item: &Item<'_>) -> Vec<String> {
        let mut environments: Vec<String> = Vec::new();
        for item in item.list(&mut self.complaints) {
            let Some(name) = item.text(&mut self.complaints) else {
                continue;
            };
            let known = name == RELEASE
                || self
                    .draft
                    .config
                    .environments
                    .iter()
                    .any(|known| known.name == name);
            let place = item.place(&self.complaints);
            if !known {
                self.complaints.error(
                    &place,
                    format!("there is no environment {name}"),
                    format!("correct the name, or add [[environments]] with name = \"{name}\""),
                );
            } else if environments.iter().any(|known| known == name) {
                self.complaints
                    .error(&place, format!("{name} is listed twice"), "list it once");
            }
            environments.push(name.to_owned());
        }
        environments
    }

    fn api_rules(&mut self, table: &mut Table<'_>) {
        let place = table.place(&self.complaints);
        let complaints = &mut self.complaints;
        let name = table.need(
            "name",
            "write name = \"API01\", the `operationId` of an API",
            complaints,
        );
        let name = name.and_then(|item| item.text(complaints));
        let group = match table.take("group") {
            Some(item) => item.text(complaints),
            None => Some(DEFAULT_GROUP),
        };
        let insecure_ignore = match table.take("insecure_ignore") {
            Some(item) => item
                .list(complaints)
                .iter()
                .filter_map(|item| item.choice(&Protection::WORDS, complaints))
                .collect(),
            None => Vec::new(),
        };
        let mut rules = self.draft.config.tunnel;
        tunnel(&mut rules, table, complaints);
        let pace = self.draft.config.reload.pace;
        let mut fate_at = |key| {
            let item = table.take(key)?;
            fate(&item, pace, complaints)
        };
        let when_removed = fate_at("when_removed");
        let when_backend_removed = fate_at("when_backend_removed");
        let when_changed = fate_at("when_changed");
        let (Some(name), Some(group)) = (name, group) else {
            return;
        };
        if self.draft.config.api_rules(group, name).is_some() {
            self.complaints.error(
                &place,
                format!("there are rules for API {name} of group {group} already"),
                "put them into one table",
            );
            return;
        }
        self.draft.config.apis.push(ApiRules {
            api: name.to_owned(),
            group: group.to_owned(),
            insecure_ignore,
            tunnel: rules,
            when_removed,
            when_backend_removed,
            when_changed,
            place,
        });
    }
}

/// Spec 2.2.
fn environment_name(text: &str) -> Option<String> {
    let valid = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    valid.then(|| text.to_owned())
}

/// Spec 2.3.
fn variable_value(text: &str) -> Option<String> {
    let valid = (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-/.:".contains(&b));
    valid.then(|| text.to_owned())
}
