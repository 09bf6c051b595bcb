//! `mockEndpoints`: an answer of the gateway's own (spec 3.3, U33).

use super::{DestinationDefinition, MockDefinition, responses};
use crate::document::{Complaints, Item, Severity};

/// Spec 3.3: one source has this as the most characters of an answer.
const CONTENT_CHARS_USUAL: usize = 2048;

/// The most that is taken: mocks stay in memory.
const CONTENT_CHARS_MAX: usize = 1 << 20;

pub(super) fn read(item: &Item<'_>, complaints: &mut Complaints) -> Option<DestinationDefinition> {
    let mut table = item.table(complaints)?;
    table.skip(&["description"]);
    let remedy = "write `result-content: '{}'`, what callers are answered";
    let content = table.need("result-content", remedy, complaints);
    let body = content
        .as_ref()
        .and_then(|item| item.text_of(0..=CONTENT_CHARS_MAX, complaints));
    if let (Some(item), Some(body)) = (&content, body)
        && body.chars().count() > CONTENT_CHARS_USUAL
    {
        complaints.warning(
            &item.place(complaints),
            "the answer is longer than the cloud's gateway may take",
            format!("at most {CONTENT_CHARS_USUAL} characters are safe there"),
        );
    }
    let status = match table.take("status-code") {
        Some(item) => item
            .integer(200..=599, complaints)
            .and_then(|status| u16::try_from(status).ok()),
        None => Some(200),
    };
    let headers = table.take("headers");
    let headers = headers
        .map(|item| responses::headers(&item, complaints))
        .unwrap_or_default();
    table.finish(Severity::Warning, complaints);
    Some(DestinationDefinition::Mock(MockDefinition {
        status: status?,
        headers,
        body: body?.to_owned(),
    }))
}
