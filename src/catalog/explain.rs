//! Why a request leads where it does (`ringgate explain`): the decisions of `route` one by one, and what each API lacked.
//!
//! It goes through all APIs, one at a time and without the tree of `matcher`: it is asked by a person.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use super::hosts::By;
use super::shape::{Segment, Shape};
use super::{
    Api, Catalog, Group, MatchMode, Method, Query, RELEASE, RouteError, encode_path, normalize,
};

/// Candidates that are listed; the nearest come first.
const CANDIDATES_MAX: usize = 50;

/// How a request is routed, and why so.
#[derive(Debug)]
pub struct Explanation {
    pub host: Host,
    pub environment: String,
    /// The path as it is matched and sent on, escaped; `None` if the path is refused.
    pub path: Option<String>,
    /// The winner first, then by how near they came; of those whose path differs only the ones of the same group and
    /// environment.
    pub candidates: Vec<Candidate>,
    /// Further candidates that are not listed.
    pub left_out: usize,
    /// The API, or why there is none.
    pub outcome: Result<Arc<Api>, RouteError>,
}

/// What the host of a request leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// It cannot be one.
    Invalid,
    /// No group has it, at least not on this listener.
    Unknown,
    Group {
        name: String,
        /// What made it so, in words.
        by: String,
    },
}

/// An API and what became of it.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub api: Arc<Api>,
    pub verdict: Verdict,
}

/// Why an API is the one, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Wins,
    /// It is the one that the request means, but not by this scheme.
    Scheme {
        https_only: bool,
    },
    /// It fits too, and the winner goes before it.
    Precedence(Rule),
    Method,
    /// It fits, and is published in another environment only.
    Environment,
    /// It fits, and belongs to another group.
    Group,
    /// The path differs at this segment, counted from 1.
    Path {
        segment: Reverse<usize>,
    },
}

/// The rule of precedence (spec 2.4) that decided between two APIs that fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// `NORMAL` goes before `SWA`.
    MatchMode,
    /// At this segment, counted from 1: a literal goes before `{name}`, that before `{name+}`.
    Segment(usize),
    /// The longer prefix goes first.
    Length,
    /// A named method goes before `ANY`.
    Method,
}

impl Catalog {
    /// What `route` decides about the request, step by step.
    pub fn explain(&self, query: &Query<'_>) -> Explanation {
        let stage = query.stage.unwrap_or(RELEASE);
        let form = normalize(query.path, self.escapes);
        let (host, group) = self.explain_host(query);
        let hit = form.as_ref().ok().zip(group).and_then(|(form, group)| {
            let hit = group.paths(stage)?.find(form, query.method).ok()?;
            Some(Arc::clone(hit.api))
        });
        let mut explanation = Explanation {
            host,
            environment: stage.to_owned(),
            path: form.as_ref().ok().map(|form| encode_path(form)),
            candidates: Vec::new(),
            left_out: 0,
            outcome: self
                .route(query)
                .map(|routed| routed.api)
                .map_err(|unrouted| unrouted.error),
        };
        if let Ok(form) = form {
            let judge = Judge {
                catalog: self,
                query,
                form: &form,
                group,
                hit: hit.as_ref(),
            };
            explanation.list(self.apis.iter().filter_map(|api| judge.candidate(api)));
        }
        explanation
    }

    fn explain_host(&self, query: &Query<'_>) -> (Host, Option<&Group>) {
        let Ok(found) = self.hosts.group(query) else {
            return (Host::Invalid, None);
        };
        let group = found.and_then(|found| Some((found.by, self.groups.get(found.group)?)));
        match group {
            None => (Host::Unknown, None),
            Some((by, group)) => {
                let (name, by) = (group.name.to_string(), by.to_string());
                (Host::Group { name, by }, Some(group))
            }
        }
    }
}

impl Explanation {
    fn list(&mut self, candidates: impl Iterator<Item = Candidate>) {
        let mut candidates: Vec<Candidate> = candidates.collect();
        candidates.sort_by_key(|candidate| candidate.verdict);
        self.left_out = candidates.len().saturating_sub(CANDIDATES_MAX);
        candidates.truncate(CANDIDATES_MAX);
        self.candidates = candidates;
    }
}

/// One request against one API after the other.
struct Judge<'a> {
    catalog: &'a Catalog,
    query: &'a Query<'a>,
    form: &'a [u8],
    group: Option<&'a Group>,
    /// What the request leads to, if the scheme is right.
    hit: Option<&'a Arc<Api>>,
}

impl Judge<'_> {
    fn candidate(&self, api: &Arc<Api>) -> Option<Candidate> {
        Some(Candidate {
            api: Arc::clone(api),
            verdict: self.verdict(api)?,
        })
    }

    /// `None` for an API that has nothing to do with the request.
    fn verdict(&self, api: &Arc<Api>) -> Option<Verdict> {
        let shape = self.shape(api)?;
        let group = self.group.is_some_and(|group| *group.name == api.group);
        let everywhere = self.group.is_some_and(|group| group.elsewhere.is_some());
        let environment = everywhere || self.query.stage.unwrap_or(RELEASE) == api.environment;
        let here = group && environment;
        if let Some(segment) = differs(&shape, mode(api), self.form) {
            let segment = Reverse(segment);
            return here.then_some(Verdict::Path { segment });
        }
        let method = Method::named(self.query.method);
        if api.method != Method::Any && Some(api.method) != method {
            return here.then_some(Verdict::Method);
        }
        if !group {
            return Some(Verdict::Group);
        }
        if !environment {
            return Some(Verdict::Environment);
        }
        let hit = self.hit?;
        if !Arc::ptr_eq(hit, api) {
            let rule = rule(&self.shape(hit)?, mode(hit), &shape, mode(api));
            return Some(Verdict::Precedence(rule));
        }
        Some(match api.schemes.refusal(self.query.scheme) {
            None => Verdict::Wins,
            Some(https_only) => Verdict::Scheme { https_only },
        })
    }

    fn shape(&self, api: &Api) -> Option<Shape> {
        let path = if api.path.is_empty() { "/" } else { &api.path };
        Shape::of(path, self.catalog.escapes).ok()
    }
}

fn mode(api: &Api) -> MatchMode {
    if api.path.is_empty() {
        MatchMode::Prefix
    } else {
        api.match_mode
    }
}

/// The segment, counted from 1, at which a path is not what the shape asks for.
pub(super) fn differs(shape: &Shape, mode: MatchMode, form: &[u8]) -> Option<usize> {
    let (segments, open) = shape.segments(mode);
    let mut given = form.split(|b| *b == b'/').skip(1);
    let mut number = 0;
    for segment in segments {
        number += 1;
        let fits = match (segment, given.next()) {
            (_, None) => false,
            (Segment::Literal(label), Some(given)) => label == given,
            (Segment::Parameter, Some(given)) => !given.is_empty(),
            (Segment::Rest, Some(first)) => {
                let some = !first.is_empty() || given.next().is_some();
                return (!some).then_some(number);
            }
        };
        if !fits {
            return Some(number);
        }
    }
    let more = given.next().is_some();
    let fits = match mode {
        MatchMode::Normal => !more,
        MatchMode::Prefix => more || !open,
    };
    (!fits).then_some(number + 1)
}

/// What put the winner before the other.
fn rule(winner: &Shape, winner_mode: MatchMode, other: &Shape, other_mode: MatchMode) -> Rule {
    if winner_mode != other_mode {
        return Rule::MatchMode;
    }
    let (winner, winner_open) = winner.segments(winner_mode);
    let (other, other_open) = other.segments(other_mode);
    let (winner, other): (Vec<_>, Vec<_>) = (winner.collect(), other.collect());
    let differs = winner.iter().zip(&other).position(|(a, b)| a != b);
    match differs {
        Some(index) => Rule::Segment(index + 1),
        None if (winner.len(), winner_open) != (other.len(), other_open) => Rule::Length,
        None => Rule::Method,
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "host: {}", self.host)?;
        writeln!(f, "environment: {}", self.environment)?;
        match &self.path {
            Some(path) => writeln!(f, "path: {path}")?,
            None => writeln!(
                f,
                "path: refused: broken escapes, a way above the root, or more ways than one to read it"
            )?,
        }
        match &self.outcome {
            Ok(api) => writeln!(f, "API: {}", api.name)?,
            Err(error) => writeln!(f, "API: none: {error}")?,
        }
        for Candidate { api, verdict } in &self.candidates {
            let (name, method) = (&api.name, api.method.label());
            let path = if api.path.is_empty() {
                "every path"
            } else {
                &api.path
            };
            let swa = if api.match_mode == MatchMode::Prefix {
                " (SWA)"
            } else {
                ""
            };
            let sign = if *verdict == Verdict::Wins { '+' } else { '-' };
            write!(f, "  {sign} {name}, {method} {path}{swa}: {verdict}")?;
            match verdict {
                Verdict::Environment => writeln!(f, " {}", api.environment)?,
                Verdict::Group => writeln!(f, " {} in {}", api.group, api.environment)?,
                _ => writeln!(f)?,
            }
        }
        if self.left_out > 0 {
            writeln!(f, "  and {} more, farther off", self.left_out)?;
        }
        Ok(())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("not a host"),
            Self::Unknown => f.write_str(
                "no group has it: neither an inbound address nor a domain that is served on this listener",
            ),
            Self::Group { name, by } => write!(f, "group {name}, by {by}"),
        }
    }
}

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anything => f.write_str("any host"),
            Self::Address => f.write_str("an inbound address"),
            Self::Domain(name) => write!(f, "the domain {name}"),
            Self::Wildcard(parent) => write!(f, "the domain *.{parent}"),
            Self::DebugDomain(name) => write!(f, "the debugging domain {name}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wins => f.write_str("wins"),
            Self::Scheme { https_only: true } => f.write_str("served over HTTPS only"),
            Self::Scheme { https_only: false } => f.write_str("served over HTTP only"),
            Self::Precedence(Rule::MatchMode) => {
                f.write_str("fits, but an exact path goes before a prefix")
            }
            Self::Precedence(Rule::Segment(number)) => {
                write!(
                    f,
                    "fits, but segment {number} of the winner is more specific"
                )
            }
            Self::Precedence(Rule::Length) => {
                f.write_str("fits, but the winner's prefix is longer")
            }
            Self::Precedence(Rule::Method) => {
                f.write_str("fits, but a named method goes before ANY")
            }
            Self::Method => f.write_str("other method"),
            Self::Environment => f.write_str("fits, but is published in"),
            Self::Group => f.write_str("fits, but belongs to group"),
            Self::Path { segment } => write!(f, "the path differs at segment {}", segment.0),
        }
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoute => "nothing is published there",
            Self::NoMethod => "the path has no API of this method",
            Self::WrongScheme { https_only: true } => "it is served over HTTPS only",
            Self::WrongScheme { https_only: false } => "it is served over HTTP only",
            Self::BadTarget => "not a host or path that can be routed",
        })
    }
}
