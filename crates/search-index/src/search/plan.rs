//! What a search would look at, condition by condition, told from the index's own counts before
//! it runs: how many keys and documents, in which order, for what cost.
//!
//! It goes the way that the evaluation goes, without following references: how many resources a
//! chain ends at is taken from how many documents its conditions have, each version counted. Of
//! types of which nothing may be seen nothing is counted, as nothing is looked at. But a type's keys
//! are counted whole, those of resources contained in what may not be seen too, and each part of
//! the index by itself: plans are not to be shown to who does not see everything, nor to refuse
//! what they ask.

use std::sync::atomic::AtomicBool;

use fhir_core::ResourceType;
use fhir_search::{
    Chain, Clause, Direction, Has, Include, IncludeDirection, Parameter, Query, ReferenceTest,
    SortBy, Test, TypeQuery, UriTest, ValueClause,
};

use super::Search;
use super::found::{FEW, STEPS_PER_HIT};
use crate::error::SearchError;
use crate::evaluate::{Node, Resolver};
use crate::facet::Facet;
use crate::key::KeyRange;
use crate::parts::{Content, PartRef};
use crate::sort::SortViewKey;

/// What a search would look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Each type that is searched, in the order of the query.
    pub types: Vec<TypePlan>,
    /// What ordering the matches costs.
    pub sort: u64,
    /// What finding the included resources costs.
    pub includes: u64,
    /// All together, in keys and documents.
    pub cost: u64,
    /// How many parts the index has.
    pub parts: usize,
}

/// What is looked at of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypePlan {
    /// The type.
    pub resource_type: ResourceType,
    /// How many versions of such resources there are, those that have ended too.
    pub documents: u64,
    /// About how many of them are left at the end.
    pub left: u64,
    /// The conditions, in the order of the query; behind them the compartment, where there is one.
    pub steps: Vec<Step>,
    /// What it costs, in keys and documents.
    pub cost: u64,
}

/// How one condition is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// By what.
    pub way: Way,
    /// The type of the resources that it is of, where that is another than that of what it is in.
    pub of: Option<ResourceType>,
    /// About how many keys would be looked at.
    pub keys: u64,
    /// About how many documents they have.
    pub documents: u64,
    /// What it costs, in keys and documents.
    pub cost: u64,
    /// When it is its turn among its neighbours, from one on.
    pub turn: usize,
    /// Whether it is asked of each document that is left by then, instead of finding all.
    pub asks_each: bool,
    /// What it is made of.
    pub within: Vec<Step>,
    /// How dear it is among others, which says its turn.
    rank: u8,
    /// What is compared with the number of candidates to find out whether each is asked; none
    /// where that is not done.
    dear: Option<u64>,
}

/// By what a condition is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nothing can satisfy it.
    Nothing,
    /// Every version of the type.
    Everything,
    /// One key is looked up.
    Key,
    /// The keys of one or several ranges.
    Range,
    /// All values of the parameter are looked at.
    AllValues,
    /// References to certain resources.
    References,
    /// The documents of certain resources.
    Resources,
    /// When it was written.
    Time,
    /// All that lacks something.
    Complement,
    /// All of several conditions.
    All,
    /// One of several conditions.
    Any,
    /// From the end of a chain: first what is referred to.
    Chain,
    /// From the end of a `_has`: first what refers.
    Has,
}

impl Way {
    /// A word for it that never changes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Everything => "everything",
            Self::Key => "key",
            Self::Range => "range",
            Self::AllValues => "all-values",
            Self::References => "references",
            Self::Resources => "resources",
            Self::Time => "time",
            Self::Complement => "complement",
            Self::All => "all",
            Self::Any => "any",
            Self::Chain => "chain",
            Self::Has => "has",
        }
    }
}

/// What of a search costs most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Costliest {
    /// The condition at this place, of the type at that place of the query.
    Clause(usize, usize),
    /// That a type has so many versions.
    Type(usize),
    /// The order.
    Sort,
    /// What is included.
    Includes,
}

impl Plan {
    /// What costs most of it.
    #[must_use]
    pub fn costliest(&self) -> Costliest {
        let mut most = (Costliest::Includes, self.includes);
        let mut compare = |what, cost| {
            if cost > most.1 {
                most = (what, cost);
            }
        };
        compare(Costliest::Sort, self.sort);
        for (of, plan) in self.types.iter().enumerate() {
            compare(Costliest::Type(of), of_set(plan.documents));
            for (at, step) in plan.steps.iter().enumerate() {
                compare(Costliest::Clause(of, at), step.cost);
            }
        }
        most.0
    }
}

/// As the meter counts documents that are taken over many at a time.
fn of_set(documents: u64) -> u64 {
    1 + documents / 64
}

/// So many keys of a tail are counted one by one.
const MOST_COUNTED: usize = 256;

impl<'s> Search<'s> {
    /// What the query would look at for a page of `most` matches with as many included resources
    /// as `most_included`.
    ///
    /// # Errors
    /// [`SearchError::Unsupported`] and [`SearchError::Codes`], as the search would.
    pub fn plan(
        &self,
        query: &Query,
        most: usize,
        most_included: usize,
    ) -> Result<Plan, SearchError> {
        let resolver = Resolver { search: self, codes: self.codes };
        let planner = Planner { search: self, resolver: &resolver };
        let mut plan = Plan { parts: self.parts.len(), ..Plan::default() };
        for of in &query.types {
            plan.types.push(planner.of_type(query, of)?);
        }
        if most > 0 {
            plan.sort = planner.sort(query, &plan.types, most);
            let left = plan.types.iter().map(|it| it.left).sum::<u64>();
            let hits = left.min(most as u64);
            let each = query.includes.iter().map(|include| match include.direction {
                IncludeDirection::Forward => planner.forward(include, &plan.types, hits),
                IncludeDirection::Reverse => planner.reverse(include, hits, most_included as u64),
            });
            plan.includes = each.sum();
        }
        let types: u64 = plan.types.iter().map(|it| it.cost).sum();
        plan.cost = types + plan.sort + plan.includes;
        self.require_whole()?;
        Ok(plan)
    }
}

/// Counts, and looks at nothing.
struct Planner<'p, 's> {
    search: &'p Search<'s>,
    resolver: &'p Resolver<'p, 'p>,
}

impl<'p> Planner<'p, '_> {
    fn of_type(&self, query: &Query, of: &'p TypeQuery) -> Result<TypePlan, SearchError> {
        let name = of.resource_type.as_str();
        let documents = self.documents(name);
        let mut steps = Vec::with_capacity(of.clauses.len() + 1);
        for clause in &of.clauses {
            steps.push(self.clause(name, clause, documents)?);
        }
        if query.compartment.is_some() {
            steps.push(self.membership(of));
        }
        let (left, cost) = match documents {
            0 => (0, 0),
            documents => all(&mut steps, documents),
        };
        let own = self.universe(documents);
        Ok(TypePlan {
            resource_type: of.resource_type.clone(),
            documents,
            left,
            steps,
            cost: own + cost,
        })
    }

    /// What it costs to begin with all versions of a type.
    fn universe(&self, documents: u64) -> u64 {
        if documents == 0 { 0 } else { of_set(documents) + self.search.parts.len() as u64 }
    }

    /// The versions of a type, if such may be seen.
    fn documents(&self, of: &str) -> u64 {
        let each = self.search.parts.iter().zip(&self.search.scopes).map(|(part, scope)| {
            part.read_until(self.search.meter.cancelled(), |content| {
                let Some(postings) = content.get(Facet::TYPE, of.as_bytes()) else { return 0 };
                match &scope.visible {
                    Some(visible) if !postings.any_in(visible.all()) => 0,
                    _ => postings.len(),
                }
            })
        });
        each.sum()
    }

    fn clause(&self, of: &str, clause: &'p Clause, documents: u64) -> Result<Step, SearchError> {
        if documents == 0 {
            return Ok(leaf(Way::Nothing, 0, 0, 0));
        }
        let each = |clauses: &'p [Clause]| -> Result<Vec<Step>, SearchError> {
            clauses.iter().map(|clause| self.clause(of, clause, documents)).collect()
        };
        Ok(match clause {
            Clause::Value(value) if follows(value) => {
                // What is above and below is not looked for.
                self.references(&value.parameter, 1)
            }
            Clause::Value(_) | Clause::Missing { .. } | Clause::Text(_) | Clause::Content(_) => {
                self.node(&self.resolver.clause(of, clause)?, documents)
            }
            Clause::Chain(chain) => self.chain(chain)?,
            Clause::Has(has) => self.has(has, documents)?,
            Clause::List(_) => leaf(Way::Resources, 1, documents.min(1), 1),
            Clause::All(clauses) if clauses.is_empty() => everything(documents),
            Clause::All(clauses) => {
                let mut within = each(clauses)?;
                let (left, cost) = all(&mut within, documents);
                group(Way::All, within, left, cost)
            }
            Clause::Any(clauses) => any(each(clauses)?, documents),
            Clause::Not(clause) => not(self.clause(of, clause, documents)?, documents),
        })
    }

    fn chain(&self, chain: &'p Chain) -> Result<Step, SearchError> {
        let mut ends = Vec::with_capacity(chain.targets.len());
        for (of, clause) in &chain.targets {
            ends.push(self.end(of, clause)?);
        }
        let targets = ends.iter().map(|it| it.documents).sum();
        let found: u64 = ends.iter().map(|it| it.cost).sum();
        let references = self.references(&chain.parameter, targets);
        Ok(Step { way: Way::Chain, cost: found + references.cost, within: ends, ..references })
    }

    fn has(&self, has: &'p Has, documents: u64) -> Result<Step, SearchError> {
        let end = self.end(&has.resource_type, &has.clause)?;
        let (keys, of_keys) = self.all_of(&has.parameter);
        // Either documents are asked what they refer to, or references who has them.
        let follow = if end.documents < keys.saturating_mul(16) {
            end.documents
        } else {
            keys + of_keys / 64
        };
        let targets = keys.min(end.documents);
        let own = resources(targets, documents);
        Ok(Step { way: Way::Has, cost: end.cost + follow + own.cost, within: vec![end], ..own })
    }

    /// What a chain or `_has` ends at.
    fn end(&self, of: &ResourceType, clause: &'p Clause) -> Result<Step, SearchError> {
        let documents = self.documents(of.as_str());
        let step = self.clause(of.as_str(), clause, documents)?;
        // Each that is found is taken over by itself.
        let cost = self.universe(documents) + step.cost + step.documents;
        Ok(Step { of: Some(of.clone()), cost, turn: 1, ..step })
    }

    fn membership(&self, of: &TypeQuery) -> Step {
        let Some(membership) = &of.membership else { return leaf(Way::Nothing, 0, 0, 0) };
        let mut ways: Vec<Step> =
            membership.parameters.iter().map(|it| self.references(it, 1)).collect();
        if membership.itself {
            ways.push(leaf(Way::Resources, 1, 1, 1));
        }
        any(ways, u64::MAX)
    }

    /// References of a parameter to so many resources.
    fn references(&self, parameter: &Parameter, ordinals: u64) -> Step {
        let Some(facet) = self.facet(parameter) else { return leaf(Way::Nothing, 0, 0, 0) };
        let mut sum = Counts::default();
        for part in self.search.parts.iter() {
            sum.add(part.read_until(self.search.meter.cancelled(), |content| {
                let keys = content.count_keys(facet, &[], None) as u64;
                let documents = content.count_documents(facet, &[], None).max(keys);
                if keys == 0 {
                    return Counts::default();
                }
                let each = documents / keys;
                let found = ordinals.min(keys);
                if ordinals < keys / 8 {
                    let cost = ordinals * (2 + each / 64);
                    return Counts { keys: found, documents: found * each, cost, dear: 0 };
                }
                Counts { keys, documents: found * each, cost: keys + documents / 64, dear: 0 }
            }));
        }
        let rank = if ordinals < 64 { 2 } else { 7 };
        let dear = Some(ordinals.min(sum.keys + sum.documents / 16));
        Step { rank, dear, ..leaf(Way::References, sum.keys, sum.documents, sum.cost) }
    }

    /// All keys of a parameter's values, and about how many documents they have.
    fn all_of(&self, parameter: &Parameter) -> (u64, u64) {
        let Some(facet) = self.facet(parameter) else { return (0, 0) };
        let each = self.search.parts.iter().map(|part| {
            part.read_until(self.search.meter.cancelled(), |content| {
                let keys = content.count_keys(facet, &[], None) as u64;
                (keys, content.count_documents(facet, &[], None))
            })
        });
        each.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
    }

    fn facet(&self, parameter: &Parameter) -> Option<Facet> {
        self.search.facet(&parameter.resource_type, parameter.code())
    }

    /// A condition that leads nowhere else.
    fn node(&self, node: &Node<'_>, documents: u64) -> Step {
        match node {
            Node::Nothing => leaf(Way::Nothing, 0, 0, 0),
            Node::Everything => everything(documents),
            Node::Key { facet, key } => {
                let found = self.search.parts.iter().map(|part| {
                    part.read_until(self.search.meter.cancelled(), |content| {
                        content.get(*facet, key).map_or(0, |it| it.len())
                    })
                });
                let found = found.sum();
                Step { rank: 2, ..leaf(Way::Key, 1, found, of_set(found)) }
            }
            Node::Keys { facet, ranges, check } => {
                let mut sum = Counts::default();
                for range in ranges {
                    let is_sure = check.is_none() || range.is_sure;
                    let range = KeyRange { is_sure, ..range.clone() };
                    for part in self.search.parts.iter() {
                        sum.add(count(part, self.search.meter.cancelled(), *facet, &range));
                    }
                }
                let is_all = ranges.iter().any(|it| it.low.is_empty() && it.high.is_none());
                let way = if is_all { Way::AllValues } else { Way::Range };
                let rank = match check {
                    None => 4,
                    Some(_) if ranges.len() == 1 && !is_all => 4,
                    Some(_) if ranges.len() == 2 => 5,
                    Some(_) => 6,
                };
                let dear = Some(sum.dear);
                Step { rank, dear, ..leaf(way, sum.keys, sum.documents, sum.cost) }
            }
            // At most: where nothing is unknown in base units it is skipped.
            Node::Unconverted { node, .. } => self.node(node, documents),
            Node::Targets { facet, ordinals } => {
                let mut sum = Counts::default();
                for part in self.search.parts.iter() {
                    let all = count(part, self.search.meter.cancelled(), *facet, &KeyRange::all());
                    let found = ordinals.len().min(all.keys);
                    let each = all.documents / all.keys.max(1);
                    let cost = (found * (2 + each / 64)).min(all.cost);
                    sum.add(Counts { keys: found, documents: found * each, cost, dear: 0 });
                }
                let rank = if ordinals.len() < 64 { 2 } else { 7 };
                let dear = Some(ordinals.len());
                Step { rank, dear, ..leaf(Way::References, sum.keys, sum.documents, sum.cost) }
            }
            Node::Own(ordinals) => resources(ordinals.len(), documents),
            Node::Times(_) => leaf(Way::Time, 1, documents, 1),
            Node::All(nodes) => {
                let mut within: Vec<Step> =
                    nodes.iter().map(|it| self.node(it, documents)).collect();
                let (left, cost) = all(&mut within, documents);
                group(Way::All, within, left, cost)
            }
            Node::Any(nodes) if nodes.len() == 1 => self.node(&nodes[0], documents),
            Node::Any(nodes) => {
                any(nodes.iter().map(|it| self.node(it, documents)).collect(), documents)
            }
            Node::Not(node) => not(self.node(node, documents), documents),
        }
    }

    fn sort(&self, query: &Query, types: &[TypePlan], most: usize) -> u64 {
        let mut cost = 0;
        for key in &query.sort {
            let SortBy::Parameter(parameters) = &key.by else { continue };
            for (parameter, plan) in parameters.iter().zip(types) {
                let facet = match parameter.code() {
                    "_lastUpdated" if key.direction == Direction::Descending => {
                        cost += plan.left.min(most as u64 + 1);
                        continue;
                    }
                    "_lastUpdated" => None,
                    "_id" => Some(Facet::ID),
                    _ => self.facet(parameter),
                };
                // Along the order, where many are left; else their places are looked up.
                let is_walked = query.sort.len() == 1
                    && plan.left.saturating_mul(STEPS_PER_HIT as u64) >= plan.documents;
                let walked = self.search.parts.len() as u64 * (most as u64 + 1);
                cost += if is_walked { walked.min(plan.left) } else { plan.left / 8 };
                let descending = key.direction == Direction::Descending;
                let Some(facet) = facet.filter(|_| plan.left > 0) else { continue };
                let kept = SortViewKey { facet, descending };
                for part in self.search.parts.iter() {
                    cost += part.read_until(self.search.meter.cancelled(), |content| match content
                        .kept_view(kept)
                    {
                        Some(_) => 0,
                        None if plan.left <= FEW => plan.left,
                        None if facet == Facet::ID => u64::from(content.documents().len()),
                        None => content.count_keys(facet, &[], None) as u64,
                    });
                }
            }
        }
        cost
    }

    /// What the hits refer to; what is included has references of types that are not known yet.
    fn forward(&self, include: &Include, types: &[TypePlan], hits: u64) -> u64 {
        let followed = self.search.followed(include);
        let each = followed.iter().map(|(of, facet)| {
            let Some(plan) = types.iter().find(|it| it.resource_type.as_str() == &**of) else {
                return 0;
            };
            let hits = hits.min(plan.left);
            match self.keys_of(*facet) {
                Counts { keys: 0, .. } => 0,
                _ => hits * 2,
            }
        });
        each.sum()
    }

    /// What refers to the hits.
    fn reverse(&self, include: &Include, hits: u64, most: u64) -> u64 {
        if hits == 0 {
            return 0;
        }
        let followed = self.search.followed(include);
        let each = followed.iter().map(|(of, facet)| {
            let of_type = self.documents(of);
            if of_type == 0 {
                return 0;
            }
            let Counts { keys, documents, .. } = self.keys_of(*facet);
            if keys == 0 {
                return 0;
            }
            let found = (hits.min(keys) * (documents / keys)).min(most);
            let look = (hits * 2).min(keys + documents / 64);
            self.universe(of_type) + look + found
        });
        each.sum()
    }

    /// All keys of a facet.
    fn keys_of(&self, facet: Facet) -> Counts {
        let mut sum = Counts::default();
        for part in self.search.parts.iter() {
            sum.add(count(part, self.search.meter.cancelled(), facet, &KeyRange::all()));
        }
        sum
    }
}

/// Keys, their documents, and what it costs to look at them.
#[derive(Clone, Copy, Default)]
struct Counts {
    keys: u64,
    documents: u64,
    cost: u64,
    /// What the search takes it to cost where it may look at each candidate instead.
    dear: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.documents += other.documents;
        self.cost += other.cost;
        self.dear += other.dear;
    }
}

/// The keys of a range in one part.
fn count(part: &PartRef, cancelled: &AtomicBool, facet: Facet, range: &KeyRange) -> Counts {
    let (low, high) = (&*range.low, range.high.as_deref());
    part.read_until(cancelled, |content| {
        if let Content::Tail(_) = part.content {
            // A tail counts no range, and is small.
            let mut sum = Counts::default();
            for (_, postings) in content.range(facet, low, high).take(MOST_COUNTED) {
                let documents = postings.len();
                sum.add(Counts { keys: 1, documents, cost: of_set(documents), dear: 0 });
            }
            if sum.keys < MOST_COUNTED as u64 {
                let cost = if range.is_sure { of_set(sum.keys + sum.documents) } else { sum.cost };
                let (keys, documents) = (
                    content.count_keys(facet, low, high),
                    content.count_documents(facet, low, high),
                );
                let dear = dear(range, keys as u64, documents);
                return Counts { cost, dear, ..sum };
            }
        }
        let keys = content.count_keys(facet, low, high) as u64;
        // In most ranges of a date there is none.
        if keys == 0 {
            return Counts { cost: u64::from(range.is_sure), ..Counts::default() };
        }
        let documents = content.count_documents(facet, low, high);
        let dear = dear(range, keys, documents);
        // Keys that need not be asked are taken over together.
        let cost = if range.is_sure { of_set(keys + documents) } else { keys + documents / 64 };
        Counts { keys, documents, cost, dear }
    })
}

/// What the search takes keys and documents of a range to cost where it may look at each candidate.
fn dear(range: &KeyRange, keys: u64, documents: u64) -> u64 {
    if range.is_sure { documents / 16 } else { keys + documents / 16 }
}

/// Whether finding out what is asked for follows references.
fn follows(clause: &ValueClause) -> bool {
    clause.tests.iter().any(|test| {
        matches!(
            test,
            Test::Reference(ReferenceTest::Hierarchy { .. })
                | Test::Uri(UriTest::OfResource { .. })
        )
    })
}

fn leaf(way: Way, keys: u64, documents: u64, cost: u64) -> Step {
    let rank = match way {
        Way::Nothing => 0,
        Way::Resources => 1,
        _ => 3,
    };
    Step {
        way,
        of: None,
        keys,
        documents,
        cost,
        turn: 1,
        asks_each: false,
        within: Vec::new(),
        rank,
        dear: None,
    }
}

fn everything(documents: u64) -> Step {
    leaf(Way::Everything, 0, documents, 0)
}

/// The documents of so many resources.
fn resources(ordinals: u64, documents: u64) -> Step {
    let rank = if ordinals < 64 { 1 } else { 6 };
    let cost = ordinals.min(of_set(documents));
    Step { rank, ..leaf(Way::Resources, ordinals, ordinals.min(documents), cost) }
}

fn group(way: Way, within: Vec<Step>, documents: u64, cost: u64) -> Step {
    let keys = within.iter().map(|it| it.keys).sum();
    let ranks = within.iter().map(|it| it.rank);
    let rank = if way == Way::All { ranks.min().unwrap_or(3) } else { ranks.max().unwrap_or(0) };
    Step { rank, within, ..leaf(way, keys, documents, cost) }
}

fn any(within: Vec<Step>, documents: u64) -> Step {
    let found = within.iter().map(|it| it.documents).sum::<u64>().min(documents);
    let cost = within.iter().map(|it| it.cost).sum();
    let dear = within.iter().map(|it| it.dear).sum();
    // What a value is looked up by more than one view for is told as one.
    let is_plain = |step: &Step| step.within.is_empty() && step.of.is_none();
    let step = group(Way::Any, within, found, cost);
    let way = step.within.first().map_or(Way::Any, |it| it.way);
    if step.within.iter().all(|it| is_plain(it) && it.way == way) {
        return Step { way, within: Vec::new(), dear, ..step };
    }
    Step { dear, ..step }
}

fn not(inner: Step, documents: u64) -> Step {
    let left = documents.saturating_sub(inner.documents);
    let (cost, dear) = (inner.cost, inner.dear);
    Step { dear, rank: 7, ..group(Way::Complement, vec![inner], left, cost) }
}

/// Gives each condition its turn and, where each candidate is asked, the cost of that. Returns
/// about how many documents are left, and what it costs.
fn all(steps: &mut [Step], documents: u64) -> (u64, u64) {
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_key(|at| steps[*at].rank);
    let (mut left, mut cost) = (documents, 0);
    for (turn, at) in order.into_iter().enumerate() {
        let step = &mut steps[at];
        step.turn = turn + 1;
        if turn > 0 && step.dear.is_some_and(|dear| left.saturating_mul(4) < dear) {
            let found = step.within.iter().filter(|it| it.of.is_some()).map(|it| it.cost);
            step.cost = found.sum::<u64>() + left;
            step.asks_each = true;
        }
        if left == 0 {
            step.cost = step.within.iter().filter(|it| it.of.is_some()).map(|it| it.cost).sum();
        }
        cost += step.cost;
        left = left.min(step.documents);
    }
    (left, cost)
}
