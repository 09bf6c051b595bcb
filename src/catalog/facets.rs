//! What an API is, point by point, in words: so that versions of it can be told apart, and what has changed can be said.

use std::fmt::{self, Debug, Write};
use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::{Api, Backend, Destination, MatchMode};
use crate::document::quantity::format_duration;
use crate::relay::policy::{FrameMode, IdleEnd, TunnelPolicy};

/// One point. The value of one that takes more than a few words is a digest, which begins with `#`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facet {
    pub name: String,
    pub value: String,
}

/// Collects the points of an API.
struct Facets(Vec<Facet>);

impl Api {
    /// Everything that a definition, the operator's rules and the variables say of it.
    pub fn facets(&self) -> Vec<Facet> {
        let mut facets = Facets(Vec::new());
        facets.add("method", self.method.label());
        facets.add("path", &self.path);
        let mode = match self.match_mode {
            MatchMode::Normal => "exact",
            MatchMode::Prefix => "prefix",
        };
        facets.add("match", mode);
        facets.add("schemes", self.schemes.label());
        facets.add("cors", if self.cors { "on" } else { "off" });
        let parameters: Vec<_> = self.parameters.iter().map(|one| one.told()).collect();
        facets.add_digest("parameters", !parameters.is_empty(), &parameters);
        if let Some(orchestration) = &self.orchestration {
            facets.add_digest("orchestration", true, &orchestration.told());
        }
        let responses = self.responses.told();
        facets.add_digest("responses", !responses.is_empty(), &responses);
        let names: Vec<_> = self.policies.iter().map(|one| one.name.as_str()).collect();
        facets.add("policies", &names.join(", "));
        facets.backend("backend", &self.backend);
        for policy in &self.policies {
            let name = format!("policy {}", policy.name);
            facets.add_digest(&format!("{name} conditions"), true, &policy.told());
            facets.backend(&name, &policy.backend);
        }
        facets.0
    }

    /// Where its backends are, as its tunnels know them.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.backends()
            .filter_map(|backend| match &backend.destination {
                Destination::Http(http) => Some(http.policy.address.as_str()),
                Destination::Mock(_) => None,
            })
    }

    /// Gives everything that its tunnels live by the version of the whole.
    pub(super) fn stamp(&mut self, mut keep: impl FnMut(TunnelPolicy) -> Arc<TunnelPolicy>) {
        let mut hash = Sha1::new();
        for Facet { name, value } in self.facets() {
            for part in [&name, "\0", &value, "\0"] {
                hash.update(part);
            }
        }
        let digest = hash.finalize();
        let version = digest.first_chunk().copied().map(u64::from_be_bytes);
        let of_policies = self.policies.iter_mut().map(|policy| &mut policy.backend);
        for backend in of_policies.chain([&mut self.backend]) {
            if let Destination::Http(http) = &mut backend.destination {
                http.policy = keep(TunnelPolicy {
                    version: version.unwrap_or_default(),
                    ..TunnelPolicy::clone(&http.policy)
                });
            }
        }
    }
}

impl Facets {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push(Facet {
            name: name.to_owned(),
            value: value.to_owned(),
        });
    }

    fn add_digest(&mut self, name: &str, there: bool, value: &impl Debug) {
        let value = if there { digest(value) } else { String::new() };
        self.add(name, &value);
    }

    fn backend(&mut self, name: &str, backend: &Backend) {
        let of = |what: &str| format!("{name} {what}");
        match &backend.destination {
            Destination::Mock(mock) => {
                self.add(name, &format!("mock {}", mock.status));
                self.add_digest(&of("answer"), true, &(&mock.headers, &mock.body));
            }
            Destination::Http(http) => {
                let members = http.members.iter();
                let urls = members.map(|one| format!("{}://{}", one.scheme.label(), one.authority));
                self.add(name, &urls.collect::<Vec<_>>().join(", "));
                self.add(&of("method"), http.method.label());
                self.add(&of("path"), &http.path.to_string());
                self.add(&of("timeout"), &format_duration(http.timeout));
                self.add(&of("retries"), &http.retry_count.to_string());
                // Where the values of its path come from shows in its form alone.
                self.add_digest(&of("mapping"), true, &(&backend.mapping, &http.path));
                let policy = &http.policy;
                let frames = match policy.frames {
                    FrameMode::Strict => "strict",
                    FrameMode::Observe => "observe",
                    FrameMode::Opaque => "opaque",
                };
                self.add(&of("frames"), frames);
                let idle_end = match policy.idle_end {
                    IdleEnd::Close => "close",
                    IdleEnd::Disconnect => "disconnect",
                };
                self.add(&of("idle_end"), idle_end);
                let most = policy.message_bytes_max.to_string();
                self.add(&of("message_bytes_max"), &most);
            }
        }
    }
}

/// A digest of all that `value` shows of itself.
fn digest(value: &impl Debug) -> String {
    struct Hash(Sha1);
    impl fmt::Write for Hash {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text);
            Ok(())
        }
    }
    let mut hash = Hash(Sha1::new());
    // Writing to a hash does not fail.
    write!(hash, "{value:?}").ok();
    let digest = hash.0.finalize();
    let digits = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
    std::iter::once("#".to_owned()).chain(digits).collect()
}
