//! Definitions without their places, to compare what they say.

use super::{BackendDefinition, Definition, DestinationDefinition, Placed, ResponseSetDefinition};
use crate::document::Place;

impl Definition {
    /// Forgets where everything stands: two definitions that are equal then mean the same.
    pub fn erase_places(&mut self) {
        sets(&mut self.response_sets);
        for api in &mut self.apis {
            erase(&mut api.place);
            placed(&mut api.response_set);
            sets(&mut api.response_sets);
            backend(&mut api.backend);
            for parameter in &mut api.parameters {
                erase(&mut parameter.place);
                parameter.orchestrations.iter_mut().for_each(placed);
            }
            for policy in &mut api.policies {
                erase(&mut policy.place);
                backend(&mut policy.backend);
                let conditions = policy.conditions.iter_mut();
                conditions.for_each(|condition| erase(&mut condition.place));
            }
        }
    }
}

fn erase(place: &mut Place) {
    *place = Place::whole("");
}

fn placed(placed: &mut Placed) {
    erase(&mut placed.place);
}

fn sets(sets: &mut [ResponseSetDefinition]) {
    sets.iter_mut().for_each(|set| erase(&mut set.place));
}

fn backend(backend: &mut BackendDefinition) {
    if let DestinationDefinition::Http(http) = &mut backend.destination {
        placed(&mut http.address);
        placed(&mut http.path);
    }
    let parameters = backend.parameters.iter_mut();
    parameters.for_each(|parameter| erase(&mut parameter.place));
}
