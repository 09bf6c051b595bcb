//! What an operation means that this version does not do, and what becomes of the API then: it fails closed.

use super::operation::Operation;
use crate::config::{OnUnsupported, Protection};
use crate::document::{Complaints, Place};

#[derive(Debug)]
pub(super) struct Unsupported {
    place: Place,
    what: String,
    /// The rule that the operator may decide to do without.
    protection: Option<Protection>,
}

impl Operation<'_> {
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
    pub(super) fn settle(&self, complaints: &mut Complaints) -> bool {
        if self.unsupported.is_empty() {
            return true;
        }
        let config = self.document.config;
        let rules = self.document.rules.get(self.name.as_str());
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
