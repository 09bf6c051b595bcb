//! Environment, path and method to API, by hash: a look-up takes the same time however many APIs there are.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Api, Method, ResponseSet, RouteError};

/// A group's APIs by the environment they are published in.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) environments: HashMap<Box<str>, Paths>,
    /// What answers in every other environment: `ringgate proxy` knows none.
    pub(super) elsewhere: Option<Paths>,
    /// What answers where no API does.
    pub(super) responses: Arc<ResponseSet>,
}

impl Group {
    pub(super) fn paths(&self, environment: &str) -> Option<&Paths> {
        self.environments
            .get(environment)
            .or(self.elsewhere.as_ref())
    }
}

/// The APIs of one group in one environment.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// By normal form; most paths have one API.
    exact: HashMap<Box<[u8]>, Vec<Arc<Api>>>,
    /// What answers on every other path.
    rest: Option<Arc<Api>>,
}

impl Paths {
    pub(super) fn every_path(api: Arc<Api>) -> Self {
        Self {
            rest: Some(api),
            ..Self::default()
        }
    }

    pub(super) fn insert(&mut self, path: Vec<u8>, api: Arc<Api>) {
        self.exact.entry(path.into()).or_default().push(api);
    }

    /// Spec 2.4 and 2.5: the path first, then the method, a named one before `ANY`.
    pub(super) fn api(&self, path: &[u8], method: &str) -> Result<&Arc<Api>, RouteError> {
        let Some(apis) = self.exact.get(path) else {
            return self.rest.as_ref().ok_or(RouteError::NoRoute);
        };
        let of = |wanted: Option<Method>| apis.iter().find(|api| Some(api.method) == wanted);
        of(Method::named(method))
            .or_else(|| of(Some(Method::Any)))
            .ok_or(RouteError::NoMethod)
    }
}
