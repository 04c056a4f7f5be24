//! How a search would be answered and what of it costs, and why a resource matches or does not.
//!
//! Who sees a part of the data is told what depends on that part alone: no positions of the log,
//! for others' commits move them, and no plan, whose counts are of all keys, those of resources
//! contained in what may not be seen too. A resource that may not be seen is one that is not there.

use fhir_core::{Instant, ResourceId, ResourceType};
use fhir_search::explain::{cheaper, criteria, indexed_as, sorted_by};
use fhir_search::{
    Clause, Contained, IndexedResource, Parameter, Query, TypeQuery, check_answerable, sort_value,
    values_asked,
};
use search_index::{Context, Costliest, Plan};
use store::{T, VersionEntry};

use super::indexed::{KEYS_FOR_A_VERSION, NoIndex, too_costly};
use super::scan::Scan;
use super::{Asked, SearchError};
use crate::aside::aside;
use crate::{Rows, Snapshot};

/// What of a search costs most, and how to ask for less. It tells nothing of what may not be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Costly {
    /// The parameter as the request has it; none when it is what is searched as a whole.
    pub parameter: Option<Box<str>>,
    /// How to ask for less.
    pub mend: &'static str,
}

/// How a search would be answered.
#[derive(Debug)]
pub struct Explained {
    /// The position that it shows; told to who sees all data.
    pub at: Option<T>,
    /// What the index would look at, in keys and documents, told to who sees all data; why it is
    /// not asked, where it is not.
    pub by: Result<Option<Plan>, NoIndex>,
    /// The same in rows, where it is known.
    pub estimated: Option<u64>,
    /// What costs most of it.
    pub most: Option<Costly>,
}

/// Why a resource matches or does not.
#[derive(Debug)]
pub struct ResourceExplained {
    /// The version that is looked at.
    pub entry: VersionEntry,
    /// The position of the commit from which on its values are indexed; told to who sees all data.
    pub since: Option<T>,
    /// When that was.
    pub instant: Instant,
    /// Whether the index has caught up with what is searched.
    pub caught_up: bool,
    /// Whether it matches.
    pub matches: bool,
    /// Whether it is in the compartment that is searched, where one is.
    pub in_compartment: Option<bool>,
    /// The conditions on its type, in the order of the query.
    pub clauses: Vec<ClauseExplained>,
    /// What it is sorted by, and the value of it that counts.
    pub sort: Vec<(String, Option<String>)>,
}

/// Whether a condition holds of a resource, and what there is for it to hold of.
#[derive(Debug)]
pub struct ClauseExplained {
    /// Whether it holds.
    pub holds: bool,
    /// The values that the resource has of the parameters that are asked about.
    pub values: Vec<Valued>,
    /// What it is made of, as far as that is asked of the same resource.
    pub within: Vec<ClauseExplained>,
}

/// A value that a resource has.
#[derive(Debug)]
pub struct Valued {
    /// `Type.code` of the parameter.
    pub parameter: String,
    /// The value.
    pub value: String,
    /// Whether the condition holds by it; none where not values are compared.
    pub counts: Option<bool>,
}

impl Snapshot {
    /// How a search would be answered, and what it would cost; nothing is searched.
    ///
    /// # Errors
    /// [`SearchError`] when it has no answer.
    pub async fn explain(
        &self,
        query: &Query,
        asked: &Asked<'_>,
    ) -> Result<Explained, SearchError> {
        check(query, asked)?;
        let sees_all = self.visibility.is_everything();
        let by = self.plan(query, asked)?.map(|plan| Some(plan).filter(|_| sees_all));
        let (estimated, most) = match &by {
            Ok(Some(plan)) => {
                (Some(plan.cost.div_ceil(KEYS_FOR_A_VERSION)), Some(costliest(query, plan)))
            }
            Ok(None) | Err(_) => (None, costliest_by_form(query)),
        };
        Ok(Explained { at: Some(self.at()).filter(|_| sees_all), by, estimated, most })
    }

    fn plan(&self, query: &Query, asked: &Asked<'_>) -> Result<Result<Plan, NoIndex>, SearchError> {
        let indexing = match self.index_for(query, asked) {
            Ok(indexing) => indexing,
            Err(why) => return Ok(Err(why)),
        };
        let visible = self.visibility.as_visible();
        let context = Context {
            codes: asked.codes,
            base: asked.base,
            // It looks at nothing but what is visible, which no search looks at for less.
            budget: asked.budget.saturating_mul(KEYS_FOR_A_VERSION),
            cancelled: self.abandoned.flag(),
        };
        let plan = aside(|| {
            let search = indexing.index.search(self.at(), visible, context)?;
            search.plan(query, asked.most, asked.most_included)
        });
        match plan {
            Ok(plan) => Ok(Ok(plan)),
            Err(error) => match SearchError::from(error) {
                SearchError::IndexNotReady => Ok(Err(NoIndex::Condition)),
                SearchError::TooCostly { .. } => Err(too_costly(query, None, asked)),
                error => Err(error),
            },
        }
    }

    /// Why a resource matches or does not; none when it is not there.
    ///
    /// # Errors
    /// [`SearchError`] when it cannot be told.
    pub async fn explain_resource(
        &self,
        query: &Query,
        asked: &Asked<'_>,
        (of, id): (&ResourceType, &ResourceId),
    ) -> Result<Option<ResourceExplained>, SearchError> {
        check(query, asked)?;
        let uncounted = self.clone().counted(&Rows::default());
        let mut scan = Scan::new(&uncounted, query, asked);
        let explained = self.look_into(&mut scan, of, id).await;
        self.rows.add(scan.spent());
        explained
    }

    async fn look_into(
        &self,
        scan: &mut Scan<'_>,
        of: &ResourceType,
        id: &ResourceId,
    ) -> Result<Option<ResourceExplained>, SearchError> {
        let query = scan.query;
        let types = query.types.iter();
        let Some(at) = types.clone().position(|it| it.resource_type == *of) else {
            return Ok(None);
        };
        let Some((entry, resource)) = scan.read(of, id).await? else { return Ok(None) };
        let of = &query.types[at];
        let mut clauses = Vec::with_capacity(of.clauses.len());
        for clause in &of.clauses {
            clauses.push(clause_of(scan, clause, &resource).await?);
        }
        let in_compartment = match &query.compartment {
            None => None,
            Some(_) => {
                let without = TypeQuery { clauses: Vec::new(), ..of.clone() };
                Some(scan.matches(&without, &resource).await?)
            }
        };
        let sort = query.sort.iter().map(|key| {
            let value = sort_value(key, at, &resource);
            (sorted_by(key, at), value.map(indexed_as))
        });
        let sees_all = self.visibility.is_everything();
        let caught_up = self.indexes.current.as_ref();
        let caught_up = caught_up.is_some_and(|it| it.index.head() >= self.at());
        Ok(Some(ResourceExplained {
            since: Some(entry.t).filter(|_| sees_all),
            instant: entry.instant,
            caught_up,
            matches: in_compartment != Some(false) && clauses.iter().all(|it| it.holds),
            in_compartment,
            clauses,
            sort: sort.collect(),
            entry,
        }))
    }
}

fn check(query: &Query, asked: &Asked<'_>) -> Result<(), SearchError> {
    if query.answer.contained != Contained::False {
        return Err(SearchError::ContainedUnexplained);
    }
    Ok(check_answerable(query, asked.codes)?)
}

/// One condition, and those that it is made of.
async fn clause_of(
    scan: &mut Scan<'_>,
    clause: &Clause,
    resource: &IndexedResource,
) -> Result<ClauseExplained, SearchError> {
    let mut within = Vec::new();
    let parts = match clause {
        Clause::All(clauses) | Clause::Any(clauses) => &**clauses,
        Clause::Not(clause) => std::slice::from_ref(&**clause),
        _ => &[],
    };
    for part in parts {
        within.push(Box::pin(clause_of(scan, part, resource)).await?);
    }
    let told = |parameter: &Parameter, value, counts| Valued {
        parameter: format!("{}.{}", parameter.resource_type, parameter.code()),
        value,
        counts,
    };
    let values = match clause {
        Clause::Value(clause) => {
            let values = scan
                .ask(|world| {
                    let values = values_asked(clause, resource, world)?;
                    Ok(values.into_iter().map(|(it, counts)| (indexed_as(it), counts)).collect())
                })
                .await?;
            let values: Vec<(String, bool)> = values;
            let values = values.into_iter();
            values.map(|(it, counts)| told(&clause.parameter, it, Some(counts))).collect()
        }
        Clause::Missing { parameter, .. } => {
            let values = resource.values(parameter.id);
            values.map(|it| told(parameter, indexed_as(it), None)).collect()
        }
        Clause::Chain(chain) => {
            let values = resource.values(chain.parameter.id);
            values.map(|it| told(&chain.parameter, indexed_as(it), None)).collect()
        }
        _ => Vec::new(),
    };
    Ok(ClauseExplained { holds: scan.holds(clause, resource).await?, values, within })
}

/// What of a plan costs most, and how to ask for less.
pub(super) fn costliest(query: &Query, plan: &Plan) -> Costly {
    let named = |parameter: &str, mend| Costly { parameter: Some(parameter.into()), mend };
    match plan.costliest() {
        Costliest::Clause(of, at) => {
            let clause = query.types.get(of).and_then(|of| of.clauses.get(at));
            match (clause, criteria(query).get(at)) {
                (Some(clause), Some(name)) => named(&name.name, cheaper(clause)),
                _ => Costly { parameter: None, mend: "add a code or a date" },
            }
        }
        Costliest::Sort => named("_sort", "sort by -_lastUpdated or not at all, or ask for less"),
        Costliest::Includes => {
            let given = |it: &&fhir_search::Applied| it.name.contains("include");
            let name = query.applied.iter().find(given).map_or("_include", |it| &it.name);
            named(name, "ask for fewer matches a page with _count, or name what is to be included")
        }
        Costliest::Type(_) => Costly { parameter: None, mend: of_types(query) },
    }
}

/// What makes a search costly by its form, whatever there is, and how to ask for less.
pub(super) fn costliest_by_form(query: &Query) -> Option<Costly> {
    let clauses = query.types.first().map(|of| &of.clauses)?;
    let dear = |clause: &Clause| {
        matches!(clause, Clause::Text(_) | Clause::Content(_) | Clause::Has(_) | Clause::Chain(_))
    };
    let at = clauses.iter().position(dear);
    let named = at.and_then(|at| Some((criteria(query).get(at)?.name.clone(), &clauses[at])));
    Some(match named {
        Some((name, clause)) => Costly { parameter: Some(name), mend: cheaper(clause) },
        None => Costly { parameter: None, mend: of_types(query) },
    })
}

fn of_types(query: &Query) -> &'static str {
    if query.types.len() > 1 {
        "search fewer types: name them with _type"
    } else {
        "say more of what is searched: a patient, a code, a date"
    }
}
