//! Types of request parameters and what they allow: inline in Swagger 2.0, under `schema` in OpenAPI 3.0 (spec 3.1).

use super::ParameterKind;
use super::extensions::skip_foreign;
use super::file::Format;
use crate::document::{Complaints, Item, Severity, Table};

/// The longest length that can be demanded.
const LENGTH_MAX: i64 = u32::MAX as i64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Text,
    Number,
    Boolean,
    Other,
}

/// The published type names; all others are not supported.
const TYPES: [(&str, Type); 10] = [
    ("string", Type::Text),
    ("integer", Type::Number),
    ("long", Type::Number),
    ("number", Type::Number),
    ("float", Type::Number),
    ("double", Type::Number),
    ("boolean", Type::Boolean),
    ("array", Type::Other),
    ("object", Type::Other),
    ("file", Type::Other),
];

/// Restrictions that the gateway does not have (spec 2.6: `regular` and `json_schema` are ignored).
const UNCHECKED: [&str; 10] = [
    "pattern",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "collectionFormat",
    "nullable",
];

/// The kind and the default value.
pub(super) fn read(
    parameter: &mut Table<'_>,
    format: Format,
    complaints: &mut Complaints,
) -> Option<(ParameterKind, Option<String>)> {
    match format {
        Format::Swagger2 => read_from(parameter, complaints),
        Format::OpenApi3 => {
            let item = parameter.need("schema", "write `schema: {type: string}`", complaints)?;
            let mut schema = item.table(complaints)?;
            if let Some(reference) = schema.take("$ref") {
                complaints.error_as(
                    "APIG.2012",
                    &reference.place(complaints),
                    "types of parameters are not looked up elsewhere",
                    "write `type` and what else is meant in place of the reference",
                );
                schema.finish(Severity::Warning, complaints);
                return None;
            }
            schema.skip(&["title", "description", "example", "deprecated"]);
            let read = read_from(&mut schema, complaints);
            skip_foreign(&mut schema);
            schema.finish(Severity::Warning, complaints);
            read
        }
    }
}

fn read_from(
    table: &mut Table<'_>,
    complaints: &mut Complaints,
) -> Option<(ParameterKind, Option<String>)> {
    let item = table.need("type", "write `type: string` or `type: number`", complaints);
    let kind = item.and_then(|item| supported(&item, complaints));
    // Widths such as int64 add nothing to what is checked.
    table.skip(&["format"]);
    for key in UNCHECKED {
        if let Some(item) = table.take(key).filter(|item| !item.is_blank()) {
            complaints.warning(
                &item.place(complaints),
                format!("`{key}` is not checked: the gateway knows no such rule"),
                "let the backend check it, or use minimum, maximum, minLength, maxLength or enum",
            );
        }
    }
    let choices = choices(table, complaints);
    let bounds = ["minimum", "maximum", "minLength", "maxLength"].map(|key| table.take(key));
    let [minimum, maximum, min_length, max_length] = bounds;
    let default = table.take("default").filter(|item| !item.is_unset());
    let kind = match kind? {
        Type::Number => {
            warn_of_misfits([min_length, max_length], "text", complaints);
            number(minimum, maximum, choices, complaints)
        }
        Type::Text | Type::Boolean | Type::Other => {
            warn_of_misfits([minimum, maximum], "numbers", complaints);
            text(min_length, max_length, choices, complaints)
        }
    };
    let default = default.and_then(|item| default_of(&item, &kind, complaints));
    Some((kind, default))
}

fn supported(item: &Item<'_>, complaints: &mut Complaints) -> Option<Type> {
    let kind = item.choice(&TYPES, complaints)?;
    let remedy = match kind {
        Type::Text | Type::Number => return Some(kind),
        Type::Boolean => "declare it as `string` with `enum: [\"true\", \"false\"]`",
        Type::Other => "declare it as `string`, or leave it to the backend",
    };
    let problem = "parameters of this type are not supported";
    complaints.error_as("APIG.2011", &item.place(complaints), problem, remedy);
    None
}

fn choices<'a>(table: &mut Table<'a>, complaints: &mut Complaints) -> Vec<(String, Item<'a>)> {
    let Some(item) = table.take("enum").filter(|item| !item.is_blank()) else {
        return Vec::new();
    };
    let items = item.list(complaints).into_iter();
    items
        // Exports write `[""]` where there are none.
        .filter(|item| !item.is_unset())
        .filter_map(|item| Some((item.scalar(complaints)?, item)))
        .collect()
}

/// Placeholders of exports say nothing, so that only real bounds of the other type are worth a word.
fn warn_of_misfits<const N: usize>(
    items: [Option<Item<'_>>; N],
    whose: &str,
    complaints: &mut Complaints,
) {
    for item in items.into_iter().flatten() {
        if item.number(complaints).is_some_and(|bound| bound != 0.0) {
            complaints.warning(
                &item.place(complaints),
                format!("this bound is for {whose}, and is not checked here"),
                "remove it or correct `type`",
            );
        }
    }
}

fn number(
    minimum: Option<Item<'_>>,
    maximum: Option<Item<'_>>,
    choices: Vec<(String, Item<'_>)>,
    complaints: &mut Complaints,
) -> ParameterKind {
    // Spec 3.1: 0 is the placeholder for no bound.
    let mut bound = |item: &Option<Item<'_>>| {
        let bound = item.as_ref().and_then(|item| item.number(complaints));
        bound.filter(|bound| *bound != 0.0)
    };
    let (min, max) = (bound(&minimum), bound(&maximum));
    if let (Some(item), Some(low), Some(high)) = (&minimum, min, max)
        && low > high
    {
        crossed(item, complaints);
    }
    for (text, item) in &choices {
        if text.trim().parse::<f64>().is_err() {
            complaints.error_as(
                "APIG.2012",
                &item.place(complaints),
                format!("\"{text}\" is not a number"),
                "write numbers, or `type: string`",
            );
        }
    }
    let choices = choices.into_iter().map(|(text, _)| text).collect();
    ParameterKind::Number { min, max, choices }
}

fn text(
    minimum: Option<Item<'_>>,
    maximum: Option<Item<'_>>,
    choices: Vec<(String, Item<'_>)>,
    complaints: &mut Complaints,
) -> ParameterKind {
    let mut bound = |item: &Option<Item<'_>>| {
        let length = item.as_ref()?.integer(0..=LENGTH_MAX, complaints)?;
        u32::try_from(length).ok().filter(|length| *length != 0)
    };
    let (length_min, length_max) = (bound(&minimum), bound(&maximum));
    if let (Some(item), Some(low), Some(high)) = (&minimum, length_min, length_max)
        && low > high
    {
        crossed(item, complaints);
    }
    ParameterKind::Text {
        length_min,
        length_max,
        choices: choices.into_iter().map(|(text, _)| text).collect(),
    }
}

fn crossed(item: &Item<'_>, complaints: &mut Complaints) {
    complaints.error_as(
        "APIG.2004",
        &item.place(complaints),
        "the lower bound is above the upper one",
        "swap them, or write 0 for no bound",
    );
}

fn default_of(
    item: &Item<'_>,
    kind: &ParameterKind,
    complaints: &mut Complaints,
) -> Option<String> {
    let default = item.scalar(complaints)?;
    if !kind.allows(&default) {
        complaints.error_as(
            "APIG.2012",
            &item.place(complaints),
            format!("the default \"{default}\" is not what the parameter allows"),
            "write a value that a caller could send",
        );
    }
    Some(default)
}

impl ParameterKind {
    /// Any text.
    pub(super) fn any() -> Self {
        Self::Text {
            length_min: None,
            length_max: None,
            choices: Vec::new(),
        }
    }

    fn allows(&self, value: &str) -> bool {
        match self {
            Self::Text {
                length_min,
                length_max,
                choices,
            } => {
                let length = u32::try_from(value.chars().count()).unwrap_or(u32::MAX);
                length_min.is_none_or(|min| length >= min)
                    && length_max.is_none_or(|max| length <= max)
                    && (choices.is_empty() || choices.iter().any(|choice| choice == value))
            }
            Self::Number { min, max, choices } => {
                let Some(number) = value.trim().parse::<f64>().ok().filter(|n| n.is_finite())
                else {
                    return false;
                };
                let same = |choice: &String| choice.trim().parse() == Ok(number);
                min.is_none_or(|min| number >= min)
                    && max.is_none_or(|max| number <= max)
                    && (choices.is_empty() || choices.iter().any(same))
            }
        }
    }
}
