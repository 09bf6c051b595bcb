//! Environment, path and method to API (spec 2.4): a tree of segments for each group and environment.
//!
//! A look-up follows the request's segments down the tree and takes the first API in the order of precedence. What it
//! costs depends on the segments that definitions and request have in common, not on how many APIs there are: literal
//! children of all nodes are in one hash table, and a node has at most one child of each other kind. It allocates nothing
//! on its way and visits a node at most once for each match mode, whatever the request.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use super::shape::{Segment, Shape};
use super::{Api, MatchMode, Method, ResponseSet, RouteError};

/// A group's APIs by the environment they are published in.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) name: Box<str>,
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
#[derive(Debug)]
pub(super) struct Paths {
    /// The first is the root.
    nodes: Vec<Node>,
    literals: Literals,
    entries: Vec<Entry>,
}

/// Index of a node or entry; `NONE` is none. Half the size of an `Option<usize>`, of which a node would need six.
type Index = u32;
const NONE: Index = Index::MAX;
const ROOT: Index = 0;

#[derive(Debug)]
struct Node {
    parent: Index,
    kind: Kind,
    /// Of a literal: its bytes.
    label: Box<[u8]>,
    parameter: Index,
    rest: Index,
    /// First entries of the lists of APIs whose paths end here, by `Ending`.
    endings: [Index; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Literal,
    Parameter,
    Rest,
}

/// How a defined path ends at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ending {
    /// `NORMAL`.
    Whole,
    /// `SWA`.
    Prefix,
    /// `SWA` with a slash at its end: one has to follow.
    OpenPrefix,
}

/// Where APIs with one shape and match mode are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    node: Index,
    ending: Ending,
}

/// An API in the list of those with the same path.
#[derive(Debug)]
struct Entry {
    api: Arc<Api>,
    next: Index,
}

/// What a request's path and method lead to.
#[derive(Debug)]
pub(super) struct Hit<'a> {
    pub(super) api: &'a Arc<Api>,
    /// Values of the parameters in the order of the path.
    pub(super) captures: Vec<Range<usize>>,
    /// Where what follows the prefix begins, with its slash; the end of the path where nothing does.
    pub(super) remainder: usize,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            nodes: vec![Node::new(NONE, Kind::Literal, b"")],
            literals: Literals::default(),
            entries: Vec::new(),
        }
    }
}

impl Paths {
    /// The place of a path, made if it is new.
    pub(super) fn place(&mut self, shape: &Shape, mode: MatchMode) -> Place {
        let (segments, open) = shape.segments(mode);
        let node = segments.fold(ROOT, |node, segment| self.child(node, segment));
        let ending = match (mode, open) {
            (MatchMode::Normal, _) => Ending::Whole,
            (MatchMode::Prefix, false) => Ending::Prefix,
            (MatchMode::Prefix, true) => Ending::OpenPrefix,
        };
        Place { node, ending }
    }

    pub(super) fn insert(&mut self, place: Place, api: Arc<Api>) {
        let index = Index::try_from(self.entries.len()).unwrap_or(NONE);
        let Some(node) = at_mut(&mut self.nodes, place.node) else {
            return;
        };
        let [whole, prefix, open] = &mut node.endings;
        let first = match place.ending {
            Ending::Whole => whole,
            Ending::Prefix => prefix,
            Ending::OpenPrefix => open,
        };
        let next = std::mem::replace(first, index);
        self.entries.push(Entry { api, next });
    }

    fn child(&mut self, parent: Index, segment: Segment<'_>) -> Index {
        let (kind, label): (_, &[u8]) = match segment {
            Segment::Literal(label) => (Kind::Literal, label),
            Segment::Parameter => (Kind::Parameter, b""),
            Segment::Rest => (Kind::Rest, b""),
        };
        let found = match kind {
            Kind::Literal => self.literals.find(&self.nodes, parent, label),
            Kind::Parameter => self.node(parent).map_or(NONE, |node| node.parameter),
            Kind::Rest => self.node(parent).map_or(NONE, |node| node.rest),
        };
        if found != NONE {
            return found;
        }
        // Definitions of four billion segments do not fit into memory.
        let index = Index::try_from(self.nodes.len()).unwrap_or(NONE);
        self.nodes.push(Node::new(parent, kind, label));
        match (kind, at_mut(&mut self.nodes, parent)) {
            (Kind::Literal, _) => self.literals.insert(&self.nodes, index),
            (Kind::Parameter, Some(parent)) => parent.parameter = index,
            (Kind::Rest, Some(parent)) => parent.rest = index,
            (Kind::Parameter | Kind::Rest, None) => {}
        }
        index
    }

    fn node(&self, index: Index) -> Option<&Node> {
        at(&self.nodes, index)
    }

    /// The APIs of a list.
    fn list(&self, first: Index) -> impl Iterator<Item = &Arc<Api>> {
        let entry = |index| self.entries.get(usize::try_from(index).ok()?);
        std::iter::successors(entry(first), move |last| entry(last.next)).map(|entry| &entry.api)
    }

    /// The API for a path in normal form and a method: `NORMAL` before `SWA`, then the path segment by segment, then the
    /// method, a named one before `ANY`. A path without the method gives way to the next one (spec 2.4).
    pub(super) fn find(&self, path: &[u8], method: &str) -> Result<Hit<'_>, RouteError> {
        let mut walk = Walk {
            paths: self,
            path,
            method: Method::named(method),
            saw_path: false,
        };
        if let Some(hit) = walk.first(MatchMode::Normal) {
            return Ok(hit);
        }
        if let Some(hit) = walk.first(MatchMode::Prefix) {
            return Ok(hit);
        }
        Err(if walk.saw_path {
            RouteError::NoMethod
        } else {
            RouteError::NoRoute
        })
    }
}

impl Node {
    fn new(parent: Index, kind: Kind, label: &[u8]) -> Self {
        Self {
            parent,
            kind,
            label: label.into(),
            parameter: NONE,
            rest: NONE,
            endings: [NONE; 3],
        }
    }
}

/// One request on its way through the tree.
struct Walk<'a, 'p> {
    paths: &'a Paths,
    path: &'p [u8],
    method: Option<Method>,
    /// Whether a path matched, of whatever method.
    saw_path: bool,
}

/// What is tried next at a node, in the order of precedence. More segments win, so that what ends at the node itself
/// comes last.
#[derive(Clone, Copy)]
enum Step {
    Literal,
    Parameter,
    Rest,
    Own,
}

impl<'a> Walk<'a, '_> {
    /// The first API in the order of precedence.
    ///
    /// Depth first and without a stack: a node knows its parent, and the path has a slash before each segment. `end` is
    /// where the segments end that led to `node`.
    fn first(&mut self, mode: MatchMode) -> Option<Hit<'a>> {
        let (mut index, mut end, mut step) = (ROOT, 0, Step::Literal);
        loop {
            let node = self.paths.node(index)?;
            let next = self.segment(end);
            let child = match (step, &next) {
                (Step::Literal, Some(segment)) => {
                    step = Step::Parameter;
                    let label = self.path.get(segment.clone()).unwrap_or_default();
                    self.paths.literals.find(&self.paths.nodes, index, label)
                }
                (Step::Parameter, Some(segment)) => {
                    step = Step::Rest;
                    if segment.is_empty() {
                        NONE
                    } else {
                        node.parameter
                    }
                }
                (Step::Rest, Some(segment)) => {
                    step = Step::Own;
                    if segment.start < self.path.len()
                        && let Some((api, remainder)) =
                            self.ending(node.rest, self.path.len(), mode)
                    {
                        let mut captures = self.captures(index, end);
                        captures.push(segment.start..self.path.len());
                        return Some(Hit {
                            api,
                            captures,
                            remainder,
                        });
                    }
                    NONE
                }
                (Step::Own, _) | (_, None) => {
                    if let Some((api, remainder)) = self.ending(index, end, mode) {
                        return Some(Hit {
                            api,
                            captures: self.captures(index, end),
                            remainder,
                        });
                    }
                    step = match node.kind {
                        Kind::Literal => Step::Parameter,
                        Kind::Parameter | Kind::Rest => Step::Rest,
                    };
                    end = self.before(end)?;
                    index = node.parent;
                    continue;
                }
            };
            if let (true, Some(segment)) = (child != NONE, next) {
                (index, end, step) = (child, segment.end, Step::Literal);
            }
        }
    }

    /// The segment behind the slash at `end`; none at the end of the path.
    fn segment(&self, end: usize) -> Option<Range<usize>> {
        let start = end + 1;
        let rest = self.path.get(start..)?;
        let len = rest.iter().position(|b| *b == b'/');
        Some(start..start + len.unwrap_or(rest.len()))
    }

    /// Where the segments end that lead to the parent of a node at `end`; none above the root.
    fn before(&self, end: usize) -> Option<usize> {
        self.path.get(..end)?.iter().rposition(|b| *b == b'/')
    }

    /// The API whose path ends at a node, the segments of which end at `end`, and where the remainder begins.
    fn ending(
        &mut self,
        index: Index,
        end: usize,
        mode: MatchMode,
    ) -> Option<(&'a Arc<Api>, usize)> {
        let [whole, prefix, open] = self.paths.node(index)?.endings;
        let more = end < self.path.len();
        match mode {
            MatchMode::Normal if more => None,
            MatchMode::Normal => self.of_method(whole).map(|api| (api, end)),
            MatchMode::Prefix => {
                // The prefix with the slash is the longer one. It is all of a path that ends with that slash.
                let rest_after_slash = self.path.get(end + 1..).unwrap_or_default();
                let remainder = if rest_after_slash.is_empty() {
                    self.path.len()
                } else {
                    end
                };
                let longer = if more { open } else { NONE };
                self.of_method(longer)
                    .map(|api| (api, remainder))
                    .or_else(|| self.of_method(prefix).map(|api| (api, end)))
            }
        }
    }

    /// Of the APIs with one path the one with the request's method, or else the one for any.
    fn of_method(&mut self, first: Index) -> Option<&'a Arc<Api>> {
        let mut any = None;
        for api in self.paths.list(first) {
            self.saw_path = true;
            if Some(api.method) == self.method {
                return Some(api);
            }
            if api.method == Method::Any {
                any = Some(api);
            }
        }
        any
    }

    /// The values of the parameters on the way to a node whose segments end at `end`.
    fn captures(&self, mut index: Index, mut end: usize) -> Vec<Range<usize>> {
        let mut captures = Vec::new();
        while let (Some(node), Some(start)) = (self.paths.node(index), self.before(end)) {
            if node.kind == Kind::Parameter {
                captures.push(start + 1..end);
            }
            end = start;
            index = node.parent;
        }
        captures.reverse();
        captures
    }
}

/// The literal children of all nodes: open addressing, at most half full, at a power of two.
///
/// Its hash has no secret: whoever could make keys collide would have to write the definitions, and a look-up puts nothing
/// in.
#[derive(Debug, Default)]
struct Literals {
    slots: Vec<Index>,
    used: usize,
}

impl Literals {
    const SLOTS_MIN: usize = 8;

    fn find(&self, nodes: &[Node], parent: Index, label: &[u8]) -> Index {
        for slot in self.probes(parent, label) {
            let index = self.slots.get(slot).copied().unwrap_or(NONE);
            let is_it = |node: &Node| node.parent == parent && *node.label == *label;
            if index == NONE || at(nodes, index).is_some_and(is_it) {
                return index;
            }
        }
        NONE
    }

    /// Adds a literal node that is not there yet.
    fn insert(&mut self, nodes: &[Node], index: Index) {
        if (self.used + 1) * 2 > self.slots.len() {
            let doubled = (self.slots.len() * 2).max(Self::SLOTS_MIN);
            let old = std::mem::replace(&mut self.slots, vec![NONE; doubled]);
            for index in old.into_iter().filter(|index| *index != NONE) {
                self.put(nodes, index);
            }
        }
        self.used += 1;
        self.put(nodes, index);
    }

    fn put(&mut self, nodes: &[Node], index: Index) {
        let Some(node) = at(nodes, index) else {
            return;
        };
        let free = self
            .probes(node.parent, &node.label)
            .find(|slot| self.slots.get(*slot) == Some(&NONE));
        if let Some(slot) = free.and_then(|slot| self.slots.get_mut(slot)) {
            *slot = index;
        }
    }

    /// The slots in which a child may be, in their order.
    fn probes(&self, parent: Index, label: &[u8]) -> impl Iterator<Item = usize> + use<> {
        let mut hasher = DefaultHasher::new();
        (parent, label).hash(&mut hasher);
        let len = self.slots.len();
        // Any bits of the hash do.
        let first = usize::try_from(hasher.finish() & u64::from(u32::MAX)).unwrap_or_default();
        (0..len).map(move |step| (first + step) & (len - 1))
    }
}

fn at(nodes: &[Node], index: Index) -> Option<&Node> {
    nodes.get(usize::try_from(index).ok()?)
}

fn at_mut(nodes: &mut [Node], index: Index) -> Option<&mut Node> {
    nodes.get_mut(usize::try_from(index).ok()?)
}
