//! What must still be found, or not, when a transaction is committed: criteria, for whom they are
//! asked, and what they found at the position it was prepared at (FHIR R4, 3.1.0.8.1, 3.1.0.4.3).
//!
//! In the serial step only what was committed since is looked at, by the values that were taken
//! from it before ([`crate::lately`]). What cannot be told by them alone is asked again: the
//! transaction goes back, and is prepared anew.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fhir_core::json::Document;
use fhir_core::{ResourceId, ResourceType};
use fhir_search::{
    Clause, Codes, CodesError, ExtractOptions, Has, IndexedResource, NoCodes, Parameters, Query,
    ReferenceTest, Test, Unanswered, UriTest, Weight, World, asks_for_words, matches,
};
use store::IdentifierKey;

use crate::indexing::IndexedBy;
use crate::{Asked, Database, SearchError, Snapshot, Visibility};

/// What criteria found at the position the transaction was prepared at.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The type searched.
    pub resource_type: ResourceType,
    /// What is searched for.
    pub criteria: Criteria,
    /// The ids found, all of them, in order.
    pub found: Vec<ResourceId>,
}

/// What is searched for.
#[derive(Debug, Clone)]
pub enum Criteria {
    /// Whoever bears this identifier, to the letter, among all there is.
    Identifier(IdentifierKey),
    /// What matches a query.
    Search(Arc<SearchCriteria>),
}

/// A query over one type, and for whom it is asked.
pub struct SearchCriteria {
    query: Query,
    by: IndexedBy,
    codes: Arc<dyn Codes>,
    visibility: Visibility,
    budget: u64,
    /// Types whose resources, whatever becomes of them, may change what others match.
    reached: BTreeSet<ResourceType>,
    /// Whether the values that are taken before a commit tell all that is asked.
    told_by_values: bool,
    weight: Weight,
}

/// Nobody's data is in a log.
impl fmt::Debug for SearchCriteria {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SearchCriteria").finish_non_exhaustive()
    }
}

impl SearchCriteria {
    /// The criteria `query`, of one type and read with the parameters of `by`, asked for whoever
    /// sees this much: what else there is counts as no match. A search for them looks at `budget`
    /// versions at most.
    #[must_use]
    pub fn new(
        query: Query,
        by: IndexedBy,
        codes: Arc<dyn Codes>,
        visibility: Visibility,
        budget: u64,
    ) -> Self {
        let mut reached = BTreeSet::new();
        for of in &query.types {
            if !is_told_by_values(&of.clauses) {
                reached.insert(of.resource_type.clone());
            }
            of.clauses.iter().for_each(|clause| reach(clause, &mut reached));
        }
        reached.retain(|of| visibility.shows_some_of(of));
        let told_by_values = query.types.iter().all(|of| is_told_by_values(&of.clauses));
        let weight = Weight::of(&query);
        Self { query, by, codes, visibility, budget, reached, told_by_values, weight }
    }

    /// By what values are taken from resources.
    pub(crate) fn by(&self) -> &IndexedBy {
        &self.by
    }

    /// Types whose resources may change what others match.
    pub(crate) fn reached(&self) -> &BTreeSet<ResourceType> {
        &self.reached
    }

    /// Whether whoever asks may see resources of this type.
    pub(crate) fn shows_some_of(&self, of: &ResourceType) -> bool {
        self.visibility.shows_some_of(of)
    }

    /// Whether whoever asks may see a resource of this type that stands in these compartments.
    pub(crate) fn may_show(&self, of: &ResourceType, named: &[(ResourceType, ResourceId)]) -> bool {
        match self.visibility.parts_of(of) {
            Some(parts) => parts.iter().any(|part| part.within.has(named)),
            None => self.shows_some_of(of),
        }
    }

    /// Whether what matches depends on resources of this type besides those that are matched.
    #[must_use]
    pub fn reaches(&self, of: &ResourceType) -> bool {
        self.reached.contains(of)
    }

    /// Whether a resource matches, given as JSON; `None` where it alone does not tell.
    #[must_use]
    pub fn matches_json(&self, json: &[u8]) -> Option<bool> {
        let document = Document::parse(json).ok()?;
        let IndexedBy { extractor, base, zone } = &self.by;
        let options = ExtractOptions { base: Some(base), zone: *zone, last_updated: None };
        let resource = IndexedResource::of(document.root(), extractor, &options);
        self.matches_alone(&resource, &*self.codes)
    }

    /// Whether a resource matches, told in the serial step: by its own values, and what codes mean
    /// by what was looked up before, since that may take long. Takes what work it is from `left`. `None`
    /// where that does not tell, or so much is not left.
    pub(crate) fn matches_at_once(
        &self,
        resource: &IndexedResource,
        left: &mut usize,
    ) -> Option<bool> {
        *left = left.checked_sub(self.weight.on(resource))?;
        let codes = AtHand { codes: &*self.codes, is_unknown: AtomicBool::new(false) };
        let matches = self.matches_alone(resource, &codes)?;
        (!codes.is_unknown.into_inner()).then_some(matches)
    }

    /// Whether a resource matches; `None` where its own values and these codes do not tell.
    fn matches_alone(&self, resource: &IndexedResource, codes: &dyn Codes) -> Option<bool> {
        let of = self.query.types.iter();
        let mut of = of.filter(|of| of.resource_type.as_str() == resource.resource_type());
        let Some(of) = of.next() else { return Some(false) };
        if !self.told_by_values {
            return None;
        }
        matches(&self.query, of, resource, &Alone { criteria: self, codes }).ok()
    }
}

/// Whether the values that are taken before a commit tell all that is asked of a resource: when
/// it is written is not known then, and words are not taken.
fn is_told_by_values(clauses: &[Clause]) -> bool {
    !asks_for_words(clauses) && !clauses.iter().any(asks_when_written)
}

fn asks_when_written(clause: &Clause) -> bool {
    match clause {
        Clause::Value(clause) => clause.parameter.code() == "_lastUpdated",
        Clause::Missing { parameter, .. } => parameter.code() == "_lastUpdated",
        Clause::All(clauses) | Clause::Any(clauses) => clauses.iter().any(asks_when_written),
        Clause::Not(clause) => asks_when_written(clause),
        Clause::Chain(_)
        | Clause::Has(_)
        | Clause::Text(_)
        | Clause::Content(_)
        | Clause::List(_) => false,
    }
}

/// Adds the types whose resources a clause looks at beside the one that it is asked of.
fn reach(clause: &Clause, reached: &mut BTreeSet<ResourceType>) {
    match clause {
        Clause::Value(clause) => clause.tests.iter().for_each(|test| reach_by(test, reached)),
        Clause::Chain(chain) => {
            for (of, clause) in &chain.targets {
                reached.insert(of.clone());
                reach(clause, reached);
            }
        }
        Clause::Has(has) => {
            reached.insert(has.resource_type.clone());
            reach(&has.clause, reached);
        }
        Clause::List(_) => add(&["List"], reached),
        Clause::All(clauses) | Clause::Any(clauses) => {
            clauses.iter().for_each(|clause| reach(clause, reached));
        }
        Clause::Not(clause) => reach(clause, reached),
        Clause::Missing { .. } | Clause::Text(_) | Clause::Content(_) => {}
    }
}

fn reach_by(test: &Test, reached: &mut BTreeSet<ResourceType>) {
    match test {
        // What codes mean, and whether case counts in them, these say.
        Test::Token(_) | Test::Reference(ReferenceTest::Identifier(_)) => {
            add(&["CodeSystem", "ValueSet"], reached);
        }
        Test::Reference(ReferenceTest::Hierarchy { resource_type, .. })
        | Test::Uri(UriTest::OfResource { resource_type, .. }) => {
            reached.insert(resource_type.clone());
        }
        Test::Composite(composite) => {
            composite.parts.iter().for_each(|part| reach_by(part, reached));
        }
        _ => {}
    }
}

fn add(names: &[&str], reached: &mut BTreeSet<ResourceType>) {
    reached.extend(names.iter().filter_map(|name| ResourceType::new(name).ok()));
}

/// A world in which nothing is known of other resources.
struct Alone<'c> {
    criteria: &'c SearchCriteria,
    codes: &'c dyn Codes,
}

impl World for Alone<'_> {
    fn parameters(&self) -> &Parameters {
        self.criteria.by.extractor.parameters()
    }

    fn base(&self) -> Option<&str> {
        Some(&self.criteria.by.base)
    }

    fn resource(
        &self,
        resource_type: &str,
        id: &str,
    ) -> Result<Option<Arc<IndexedResource>>, Unanswered> {
        Err(Unanswered::Resource { resource_type: resource_type.into(), id: id.into() })
    }

    fn named(
        &self,
        resource_type: &str,
        _: &str,
        _: Option<&str>,
    ) -> Result<Vec<Arc<IndexedResource>>, Unanswered> {
        Err(Unanswered::Urls(resource_type.into()))
    }

    fn is_referred_to(&self, has: &Has, _: &IndexedResource) -> Result<bool, Unanswered> {
        Err(Unanswered::Has(Box::new(has.clone())))
    }

    fn codes(&self) -> &dyn Codes {
        self.codes
    }
}

/// What is known of codes where nobody has time to look anything up: what was looked up before, when
/// the criteria were asked. It tells whether anybody asked for more.
struct AtHand<'c> {
    codes: &'c dyn Codes,
    is_unknown: AtomicBool,
}

impl AtHand<'_> {
    /// The answer, which is noted where there is none.
    fn noted(&self, answer: Option<bool>) -> bool {
        if answer.is_none() {
            self.is_unknown.store(true, Ordering::Relaxed);
        }
        answer.unwrap_or(false)
    }
}

impl Codes for AtHand<'_> {
    fn check_value_set(&self, value_set: &str) -> Result<(), CodesError> {
        NoCodes.check_value_set(value_set)
    }

    fn check_hierarchy(&self, system: &str) -> Result<(), CodesError> {
        NoCodes.check_hierarchy(system)
    }

    fn is_member(
        &self,
        value_set: &str,
        system: Option<&str>,
        code: &str,
    ) -> Result<bool, CodesError> {
        Ok(self.noted(self.codes.is_member_at_hand(value_set, system, code)))
    }

    fn subsumes(&self, system: &str, above: &str, below: &str) -> Result<bool, CodesError> {
        Ok(self.noted(self.codes.subsumes_at_hand(system, above, below)))
    }

    fn is_case_sensitive(&self, system: &str) -> bool {
        self.noted(self.codes.is_case_sensitive_at_hand(system))
    }
}

impl Database {
    /// What criteria over a type find as of a snapshot of all data, in the order of ids; so many
    /// at most, and by no more rows than are left to whoever asks. From now on it is remembered
    /// what is committed of that type, so that a condition on these criteria can be judged.
    ///
    /// # Errors
    /// [`SearchError`]; nothing is answered in part.
    pub async fn matching(
        &self,
        snapshot: &Snapshot,
        (of, criteria): (&ResourceType, &Criteria),
        (most, left): (usize, u64),
    ) -> Result<Vec<ResourceId>, SearchError> {
        if snapshot.abandoned.is_set() {
            return Err(SearchError::Abandoned);
        }
        let criteria = match criteria {
            Criteria::Identifier(_) if left == 0 => {
                return Err(SearchError::TooCostly { budget: left, estimated: None, most: None });
            }
            Criteria::Identifier(identifier) => {
                return Ok(snapshot.identified(of, identifier).await?);
            }
            Criteria::Search(criteria) => criteria,
        };
        self.shared.watched.watch((of, criteria), snapshot.at());
        let snapshot = snapshot.seen_by(criteria.visibility.clone());
        let asked = Asked {
            extractor: &criteria.by.extractor,
            codes: &*criteria.codes,
            base: &criteria.by.base,
            zone: criteria.by.zone,
            after: None,
            most,
            count: false,
            most_included: 0,
            budget: criteria.budget.min(left),
        };
        let found = match snapshot.search(&criteria.query, &asked).await {
            // A request that is sent again after days is answered by what there was.
            Err(SearchError::BeforeHorizon) => {
                snapshot.without_index().search(&criteria.query, &asked).await?
            }
            found => found?,
        };
        let mut ids: Vec<_> = found.matches.into_iter().map(|entry| entry.id).collect();
        ids.sort();
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir_core::Instant;
    use fhir_schema::{DefinitionSet, Schema};
    use fhir_search::{Extractor, Handling, Limits, Reader, Zone, decode_form};

    fn criteria(of: &str, form: &str, visibility: Visibility) -> SearchCriteria {
        let (definitions, schema) = (DefinitionSet::r4(), Schema::r4());
        let parameters = Arc::new(Parameters::new(definitions, schema));
        let limits = Limits::default();
        let reader = Reader {
            parameters: &parameters,
            definitions,
            schema,
            base: "http://own/fhir",
            zone: Zone::UTC,
            now: Instant::from_micros(0),
            handling: Handling::Strict,
            limits: &limits,
        };
        let asked = fhir_search::Asked {
            resource_type: Some(of.parse().unwrap()),
            compartment: None,
            parameters: &decode_form(form.as_bytes()).unwrap(),
        };
        let query = reader.read(&asked).unwrap();
        let terminology = fhir_terminology::Terminology::r4();
        let extractor = Extractor::new(schema, parameters, definitions.clone(), terminology);
        let by = IndexedBy {
            extractor: Arc::new(extractor),
            base: "http://own/fhir".into(),
            zone: Zone::UTC,
        };
        SearchCriteria::new(query, by, Arc::new(Looked), visibility, 100)
    }

    /// Knows of one value set and one system, which it looked up before, and of nothing else.
    struct Looked;

    impl Codes for Looked {
        fn check_value_set(&self, value_set: &str) -> Result<(), CodesError> {
            NoCodes.check_value_set(value_set)
        }

        fn check_hierarchy(&self, system: &str) -> Result<(), CodesError> {
            NoCodes.check_hierarchy(system)
        }

        fn is_member(&self, set: &str, _: Option<&str>, _: &str) -> Result<bool, CodesError> {
            panic!("{set} is looked up in the serial step")
        }

        fn subsumes(&self, system: &str, _: &str, _: &str) -> Result<bool, CodesError> {
            panic!("{system} is looked up in the serial step")
        }

        fn is_case_sensitive(&self, system: &str) -> bool {
            panic!("{system} is looked up in the serial step")
        }

        fn is_member_at_hand(&self, set: &str, _: Option<&str>, code: &str) -> Option<bool> {
            (set == "http://known/vs").then_some(code == "male")
        }

        fn subsumes_at_hand(&self, system: &str, above: &str, below: &str) -> Option<bool> {
            (system == "http://known/cs").then_some(above < below)
        }

        fn is_case_sensitive_at_hand(&self, system: &str) -> Option<bool> {
            (system == "http://known/cs").then_some(true)
        }
    }

    fn reached(of: &str, form: &str) -> Vec<String> {
        let criteria = criteria(of, form, Visibility::everything());
        criteria.reached.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn criteria_reach_the_types_by_which_a_match_may_change() {
        let codes = ["CodeSystem", "ValueSet"];
        assert_eq!(reached("Patient", "name=a&birthdate=2000"), [""; 0]);
        assert_eq!(reached("Patient", "active=true"), codes);
        assert_eq!(reached("Patient", "organization.name=a"), ["Organization"]);
        assert_eq!(
            reached("Patient", "_has:Observation:patient:encounter.length=1"),
            ["Encounter", "Observation"]
        );
        assert_eq!(reached("Patient", "_list=1"), ["List"]);
        assert_eq!(reached("Location", "partof:below=1"), ["Location"]);
        // When something was written, no value tells before it is.
        assert_eq!(reached("Patient", "_lastUpdated=gt2000"), ["Patient"]);
        assert_eq!(reached("Patient", "_content=a"), ["Patient"]);
    }

    #[test]
    fn in_the_serial_step_codes_mean_what_was_looked_up_before_and_nobody_looks_them_up() {
        let told = |form: &str, members: &str| {
            let criteria = criteria("Patient", form, Visibility::everything());
            let json = format!(r#"{{"resourceType":"Patient","id":"1",{members}}}"#);
            let document = Document::parse(json.as_bytes()).unwrap();
            let options = ExtractOptions::default();
            let of = IndexedResource::of(document.root(), &criteria.by.extractor, &options);
            criteria.matches_at_once(&of, &mut 1_000)
        };
        assert_eq!(told("gender=male", r#""gender":"male""#), Some(true));
        assert_eq!(told("gender=male", r#""gender":"female""#), Some(false));
        // Whether it matches is for the code system to say.
        assert_eq!(told("gender=male", r#""gender":"Male""#), None);
        assert_eq!(told("gender:in=http://a.example/vs", r#""gender":"male""#), None);
        assert_eq!(told("gender:in=http://a.example/vs", r#""active":true"#), Some(false));
        // What was looked up before it says.
        assert_eq!(told("gender:in=http://known/vs", r#""gender":"male""#), Some(true));
        assert_eq!(told("gender:in=http://known/vs", r#""gender":"other""#), Some(false));
        let below = "_tag:below=http://known/cs|b";
        let tag = |system: &str, code: &str| {
            format!(r#""meta":{{"tag":[{{"system":"http://{system}/cs","code":"{code}"}}]}}"#)
        };
        assert_eq!(told(below, &tag("known", "c")), Some(true));
        assert_eq!(told(below, &tag("known", "a")), Some(false));
        assert_eq!(told("_tag:below=http://a.example/cs|b", &tag("a.example", "c")), None);
        assert_eq!(told("_tag=http://known/cs|B", &tag("known", "b")), Some(false));
        assert_eq!(told("_tag=http://a.example/cs|B", &tag("a.example", "b")), None);
    }

    #[test]
    fn what_is_too_much_work_for_the_serial_step_is_not_done_in_it() {
        let names = r#"{"family":"F"},"#.repeat(30);
        let json = format!(
            r#"{{"resourceType":"Patient","id":"1","name":[{}]}}"#,
            names.trim_end_matches(',')
        );
        let document = Document::parse(json.as_bytes()).unwrap();
        let check = |form: &str, work: std::ops::Range<usize>| {
            let criteria = criteria("Patient", form, Visibility::everything());
            let options = ExtractOptions::default();
            let of = IndexedResource::of(document.root(), &criteria.by.extractor, &options);
            let mut left = work.end;
            assert_eq!(criteria.matches_at_once(&of, &mut left), Some(false), "{form}");
            assert!(work.contains(&(work.end - left)), "{form}: {}", work.end - left);
            assert_eq!(criteria.matches_at_once(&of, &mut (work.start - 1)), None, "{form}");
        };
        check("family=a", 30..40);
        check("birthdate=2000", 1..5);
        check(&format!("family={}", vec!["a"; 40].join(",")), 1_200..1_210);
        check(&format!("family={}", "a".repeat(6_400)), 3_000..3_050);
    }

    #[test]
    fn what_is_not_seen_is_not_reached() {
        let types = ["Patient", "CodeSystem"].map(|of| of.parse().unwrap());
        let seen = Visibility::of_types(types.into());
        let criteria = criteria("Patient", "organization.name=a&active=true", seen);
        let reached: Vec<_> = criteria.reached.iter().map(ToString::to_string).collect();
        assert_eq!(reached, ["CodeSystem"]);
    }
}
