//! Criteria of conditional interactions and references (FHIR R4, 3.1.0.8.1, 3.1.0.4.3, 3.1.0.7.1,
//! 3.1.0.11.2.2): what a search of one type takes, always read strictly, and for whom they are
//! asked. What the caller may not see counts as no match.
//!
//! One identifier in whose value case cannot matter is looked up without a search.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use contract::{Decision, Interaction};
use database::{
    Condition, Database, IdentifierKey, IndexedBy, SearchCriteria, SearchError, Snapshot,
    Visibility,
};
use fhir_core::{Instant, Resource, ResourceId, ResourceType};
use fhir_schema::Schema;
use fhir_search::{
    Answer, Clause, Handling, Limits, Query, Reader, Zone, decode_form, encode_form,
};

use crate::PublicBase;
use crate::access::{Reach, reach};
use crate::call::Call;
use crate::error::ServerError;
use crate::interactions::search::{SeenCodes, is_seen, refusal, visibility_of_matches};
use crate::validation::Definitions;

/// Where the criteria of a conditional create stand, for errors.
pub(crate) const IF_NONE_EXIST: &str = "http.If-None-Exist";

/// Parameters that shape an answer, or say what is searched, and are no criteria (HTTP-112).
const NO_CRITERIA: [&str; 16] = [
    "_contained",
    "_containedType",
    "_count",
    "_elements",
    "_graph",
    "_include",
    "_maxresults",
    "_offset",
    "_page",
    "_query",
    "_revinclude",
    "_score",
    "_sort",
    "_summary",
    "_total",
    "_type",
];

/// Versions that may be looked at for what is released from the quarantine, where there is no
/// index.
const VERSIONS_OF_RELEASE: u64 = 250_000;

/// Criteria over one type. Two are the same when they say the same in the same words.
#[derive(Debug, Clone)]
pub(crate) struct Criteria {
    pub(crate) resource_type: ResourceType,
    /// As they were understood.
    text: String,
    /// The interaction whose rules say what may match, where they do not let everything.
    matched_by: Option<&'static str>,
    asks: database::Criteria,
}

impl PartialEq for Criteria {
    fn eq(&self, other: &Self) -> bool {
        (&self.resource_type, &self.text, self.matched_by)
            == (&other.resource_type, &other.text, other.matched_by)
    }
}

impl Eq for Criteria {}

impl Hash for Criteria {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.resource_type, &self.text, self.matched_by).hash(state);
    }
}

impl Criteria {
    /// Checks that the caller may ask for resources of a type by criteria at all.
    ///
    /// # Errors
    /// When the caller may not search the type.
    pub(crate) fn may_be_asked(call: &Call<'_>, of: &ResourceType) -> Result<(), ServerError> {
        match contract::decide(call.grant, &Interaction::SearchType(of.clone())) {
            Decision::Deny(reason) => Err(ServerError::Denied(reason)),
            _ => Ok(()),
        }
    }

    /// Reads the criteria after `Type?`, for the caller. What codes mean is what they mean now: a
    /// snapshot that a commit is prepared on is taken before, so that what comes between is told
    /// by the condition.
    ///
    /// # Errors
    /// When the caller may not search the type, or what a chain or `_has` leads to; when a
    /// parameter is unknown, empty or no criterion, or there is none.
    pub(crate) async fn read(
        call: &Call<'_>,
        of: &ResourceType,
        query: &str,
    ) -> Result<Self, ServerError> {
        let matched_by = matched_by(call, of);
        let searched = reach(call, &Interaction::SearchType(of.clone()), of)?;
        let is_whole = searched == Reach::Whole && reach(call, &matched_by, of)? == Reach::Whole;
        let definitions = call.server.validations[&call.grant.tenant].current();
        let reading = Reading {
            schema: call.database.schema(),
            definitions: definitions.as_deref(),
            base: &call.server.base,
            now: call.server.clock.now(),
        };
        let understood = reading.read(of, query)?;
        let asks = match understood.asks {
            Asks::Identifier(identifier) if is_whole => database::Criteria::Identifier(identifier),
            // Which of these the caller sees, nothing here can tell.
            Asks::Identifier(_) => return Err(ServerError::TakesAll),
            Asks::Query { identifier: Some(identifier), .. } if is_whole => {
                database::Criteria::Identifier(identifier)
            }
            Asks::Query { query, by, .. } => {
                for clause in query.types.iter().flat_map(|of| &of.clauses) {
                    check_reached(call, clause)?;
                }
                let may_match = |_: &ResourceType| matched_by.clone();
                let visibility = visibility_of_matches(call, &query.types, may_match, None).await?;
                let codes = Arc::new(SeenCodes::of(call).await?);
                let budget = call.server.limits.search_versions;
                let search = SearchCriteria::new(*query, by, codes, visibility, budget);
                database::Criteria::Search(Arc::new(search))
            }
        };
        let matched_by = (!is_whole).then(|| matched_by.code());
        Ok(Self { resource_type: of.clone(), text: understood.text, matched_by, asks })
    }

    /// Reads the value of `If-None-Exist`: the criteria alone; a leading `?` or `Type?` is
    /// tolerated (HTTP-084).
    ///
    /// # Errors
    /// As [`Criteria::read`].
    pub(crate) async fn if_none_exist(
        call: &Call<'_>,
        of: &ResourceType,
        value: &str,
    ) -> Result<Self, ServerError> {
        let read = Self::read(call, of, criteria_of(of, value)).await;
        read.map_err(|error| match error {
            // Whoever may not search is told no more than that.
            ServerError::Denied(_) => error,
            error => error.at(IF_NONE_EXIST),
        })
    }

    /// The criteria of a conditional create that was set apart, among all there is, and with what
    /// codes mean to the tenant.
    ///
    /// # Errors
    /// As [`Criteria::read`], for one who may do everything.
    pub(crate) fn of_release(
        (schema, base): (&Schema, &PublicBase),
        definitions: Option<&Definitions>,
        now: Instant,
        (of, value): (&ResourceType, &str),
        codes: Arc<SeenCodes>,
    ) -> Result<Self, ServerError> {
        let reading = Reading { schema, definitions, base, now };
        let understood = reading.read(of, criteria_of(of, value))?;
        let asks = match understood.asks {
            Asks::Identifier(identifier) | Asks::Query { identifier: Some(identifier), .. } => {
                database::Criteria::Identifier(identifier)
            }
            Asks::Query { query, by, .. } => {
                let all = Visibility::everything();
                let search = SearchCriteria::new(*query, by, codes, all, VERSIONS_OF_RELEASE);
                database::Criteria::Search(Arc::new(search))
            }
        };
        let (resource_type, text, matched_by) = (of.clone(), understood.text, None);
        Ok(Self { resource_type, text, matched_by, asks })
    }

    /// What they match as of a snapshot that counts for the request, in the order of ids; so many
    /// at most.
    ///
    /// # Errors
    /// When that cannot be told, would cost more than the request may, or nobody waits for it.
    pub(crate) async fn find(
        &self,
        call: &Call<'_>,
        snapshot: &Snapshot,
        most: usize,
    ) -> Result<Vec<ResourceId>, ServerError> {
        self.find_within(call.database, snapshot, (most, call.rows_left())).await
    }

    /// The same by so many rows at most.
    ///
    /// # Errors
    /// As [`Criteria::find`].
    pub(crate) async fn find_within(
        &self,
        database: &Database,
        snapshot: &Snapshot,
        (most, left): (usize, u64),
    ) -> Result<Vec<ResourceId>, ServerError> {
        let criteria = (&self.resource_type, &self.asks);
        Ok(database.matching(snapshot, criteria, (most, left)).await?)
    }

    /// That they match these, and nothing else.
    pub(crate) fn condition(&self, found: Vec<ResourceId>) -> Condition {
        let (resource_type, criteria) = (self.resource_type.clone(), self.asks.clone());
        Condition { resource_type, criteria, found }
    }

    /// Whether they match a resource, as it is to be written; `None` where it alone does not tell.
    pub(crate) fn match_written(
        &self,
        resource: &Resource<'_>,
        json: &[u8],
        schema: &Schema,
    ) -> Option<bool> {
        match &self.asks {
            database::Criteria::Identifier(identifier) => {
                Some(database::identifiers(resource, schema).contains(identifier))
            }
            database::Criteria::Search(search) => search.matches_json(json),
        }
    }

    /// Whether what they match depends on resources of this type besides those that are matched.
    pub(crate) fn reach(&self, of: &ResourceType) -> bool {
        match &self.asks {
            database::Criteria::Identifier(_) => false,
            database::Criteria::Search(search) => search.reaches(of),
        }
    }
}

/// The error of a search for criteria that stand there, and not where a search has its parameters.
pub(crate) fn standing_at(expression: &str) -> impl FnOnce(ServerError) -> ServerError {
    move |error| match error {
        ServerError::Search(SearchError::TooCostly { .. }) => error.at(expression),
        error => error,
    }
}

fn criteria_of<'v>(of: &ResourceType, value: &'v str) -> &'v str {
    let value = value.trim();
    let query = value.strip_prefix(of.as_str()).unwrap_or(value);
    query.strip_prefix('?').unwrap_or(value)
}

/// The interaction whose rules say what may match: that of the call where criteria say what it is
/// about.
fn matched_by(call: &Call<'_>, of: &ResourceType) -> Interaction {
    match &call.interaction {
        Interaction::ConditionalUpdate(it)
        | Interaction::ConditionalPatch(it)
        | Interaction::ConditionalDelete(it)
            if it == of =>
        {
            call.interaction.clone()
        }
        _ => Interaction::SearchType(of.clone()),
    }
}

/// Checks that the caller may search and read what a clause looks at beside the resource itself:
/// else it would match by nothing, and create again and again what is there.
fn check_reached(call: &Call<'_>, clause: &Clause) -> Result<(), ServerError> {
    let check = |of: &ResourceType| match is_seen(call, of) {
        true => Ok(()),
        false => Err(refusal(call, of)),
    };
    match clause {
        Clause::Chain(chain) => {
            let (seen, hidden): (Vec<_>, Vec<_>) =
                chain.targets.iter().partition(|(of, _)| is_seen(call, of));
            match (seen.as_slice(), hidden.first()) {
                ([], Some((of, _))) => Err(refusal(call, of)),
                _ => seen.iter().try_for_each(|(_, clause)| check_reached(call, clause)),
            }
        }
        Clause::Has(has) => {
            check(&has.resource_type)?;
            check_reached(call, &has.clause)
        }
        Clause::List(_) => check(&ResourceType::new("List").expect("the name of a type")),
        Clause::All(clauses) | Clause::Any(clauses) => {
            clauses.iter().try_for_each(|clause| check_reached(call, clause))
        }
        Clause::Not(clause) => check_reached(call, clause),
        Clause::Value(_) | Clause::Missing { .. } | Clause::Text(_) | Clause::Content(_) => Ok(()),
    }
}

/// What criteria are read by.
struct Reading<'a> {
    schema: &'a Schema,
    /// None where nothing can be searched: then one identifier is all that can be asked for.
    definitions: Option<&'a Definitions>,
    base: &'a PublicBase,
    now: Instant,
}

struct Understood {
    text: String,
    asks: Asks,
}

enum Asks {
    Identifier(IdentifierKey),
    Query {
        query: Box<Query>,
        by: IndexedBy,
        /// Where looking up this finds the same.
        identifier: Option<IdentifierKey>,
    },
}

impl Reading<'_> {
    fn read(&self, of: &ResourceType, criteria: &str) -> Result<Understood, ServerError> {
        let unusable = |reason: String| ServerError::CriteriaNotSupported {
            criteria: criteria.to_owned(),
            reason,
        };
        if !self.schema.is_resource_type(of.as_str()) {
            return Err(unusable(format!("there is no resource type {of}")));
        }
        let mut parameters =
            decode_form(criteria.as_bytes()).map_err(ServerError::MalformedForm)?;
        parameters.retain(|(name, _)| !matches!(name.as_str(), "_format" | "_pretty"));
        for (name, value) in &parameters {
            let plain = name.split(':').next().unwrap_or_default();
            if NO_CRITERIA.contains(&plain) {
                let reason = format!("{plain} is no criterion of what is meant; leave it out");
                return Err(unusable(reason));
            }
            if value.is_empty() {
                return Err(unusable(format!("\"{name}\" has no value; give one or leave it out")));
            }
        }
        if parameters.is_empty() {
            return Err(unusable("they say nothing; name what is meant, as its identifier".into()));
        }
        let identifier = self.identifier(of, &parameters);
        let Some(definitions) = self.definitions else {
            let identifier = identifier.ok_or_else(|| {
                unusable("in this FHIR version one identifier=system|value is all".into())
            })?;
            let text = parameters.iter().map(|(name, value)| (&**name, &**value));
            return Ok(Understood { text: encode_form(text), asks: Asks::Identifier(identifier) });
        };
        let reader = Reader {
            parameters: definitions.extractor.parameters(),
            definitions: &definitions.set,
            schema: self.schema,
            base: self.base.as_str(),
            zone: Zone::UTC,
            now: self.now,
            handling: Handling::Strict,
            limits: &Limits::default(),
        };
        let asked = fhir_search::Asked {
            resource_type: Some(of.clone()),
            compartment: None,
            parameters: &parameters,
        };
        let query = reader.read(&asked).map_err(|error| ServerError::Criteria {
            criteria: criteria.to_owned(),
            error: Box::new(error),
        })?;
        let asks_all = query.types.iter().any(|of| of.clauses.is_empty());
        let shapes = !query.sort.is_empty()
            || !query.includes.is_empty()
            || query.answer != Answer::default();
        // What was read and not used would have narrowed the match.
        if asks_all || shapes || query.applied.len() != parameters.len() {
            return Err(unusable("not all of it is a criterion of what is meant".into()));
        }
        let by = IndexedBy {
            extractor: Arc::clone(&definitions.extractor),
            base: self.base.as_str().into(),
            zone: Zone::UTC,
        };
        let identifier = identifier.filter(|_| {
            // It is looked up by what FHIR's own definition says; a tenant may have another.
            if !definitions.has_fhirs_own(of, &parameters[0].0) {
                return false;
            }
            // A system is compared to the letter, a value as its system does.
            let value = parameters[0].1.rsplit('|').next().unwrap_or_default();
            value.to_lowercase() == value && value.to_uppercase() == value
        });
        let text = query.to_query_string();
        let query = Box::new(query);
        Ok(Understood { text, asks: Asks::Query { query, by, identifier } })
    }

    /// The one identifier that is asked for, with its system or `|value` for one without, when
    /// that is all.
    fn identifier(
        &self,
        of: &ResourceType,
        parameters: &[(String, String)],
    ) -> Option<IdentifierKey> {
        let [(name, token)] = parameters else { return None };
        if name != "identifier"
            || token.contains(['\\', ','])
            || self.schema.identifier_paths(of.as_str()).is_empty()
        {
            return None;
        }
        let (system, value) = token.split_once('|')?;
        if value.is_empty() || value.contains('|') {
            return None;
        }
        Some(IdentifierKey::new(Some(system).filter(|system| !system.is_empty()), value))
    }
}

#[cfg(test)]
mod tests {
    use super::{Asks, Reading, criteria_of};
    use crate::validation::{Validation, WritePolicy};
    use database::IdentifierKey;
    use fhir_core::{Instant, ResourceType};
    use fhir_schema::Schema;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static VALIDATION: LazyLock<Validation> =
        LazyLock::new(|| Validation::new(WritePolicy::parse_only(), "4.0.1"));

    fn read(of: &str, value: &str) -> Option<Asks> {
        let of = ResourceType::new(of).unwrap();
        let definitions = VALIDATION.current();
        let base = "http://own/fhir".parse().unwrap();
        let reading = Reading {
            schema: Schema::r4(),
            definitions: definitions.as_deref(),
            base: &base,
            now: Instant::from_micros(0),
        };
        reading.read(&of, criteria_of(&of, value)).ok().map(|understood| understood.asks)
    }

    fn looked_up(of: &str, value: &str) -> Option<IdentifierKey> {
        match read(of, value) {
            Some(Asks::Query { identifier, .. }) => identifier,
            _ => None,
        }
    }

    #[test]
    fn one_identifier_with_its_system_is_looked_up_in_every_form() {
        // HTTP-084
        let expected = Some(IdentifierKey::new(Some("urn:x"), "4 7"));
        for value in [
            "identifier=urn:x|4+7",
            "?identifier=urn:x%7C4%207",
            "Patient?identifier=urn%3Ax%7c4+7&_format=json",
        ] {
            assert_eq!(looked_up("Patient", value), expected, "{value}");
        }
        let no_system = Some(IdentifierKey::new(None, "47"));
        assert_eq!(looked_up("Patient", "identifier=|47"), no_system);
    }

    #[test]
    fn what_a_search_finds_by_more_than_the_letter_is_searched() {
        for value in ["identifier=urn:x|ab", "identifier=47", "identifier=x|1,x|2", "name=ada"] {
            assert!(read("Patient", value).is_some(), "{value}");
            assert_eq!(looked_up("Patient", value), None, "{value}");
        }
    }

    #[test]
    fn criteria_that_could_match_anything_are_refused() {
        // HTTP-085, HTTP-112
        for value in [
            "",
            "?",
            "foo=bar",
            "_format=json",
            "identifier=",
            "name=ada&foo=bar",
            "name=ada&birthdate=",
            "name=ada&_count=1",
            "name=ada&_sort=name",
            "name=ada&_include=Patient:organization",
            "_include:iterate=Patient:organization",
            "_type=Patient",
            "_summary=count",
            "birthdate=never",
        ] {
            assert!(read("Patient", value).is_none(), "{value}");
        }
        // Types without the search parameter: nothing could ever match.
        assert!(read("AuditEvent", "identifier=x|1").is_none());
        assert!(read("NoSuchType", "identifier=x|1").is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(value in r"\PC{0,40}", rest in "[?=&|%a-z+\\\\,0-9é]{0,40}") {
            for value in [value, format!("Patient?identifier={rest}"), rest] {
                if let Some(Asks::Query { query, .. }) = read("Patient", &value) {
                    prop_assert!(!query.types[0].clauses.is_empty());
                }
            }
        }
    }
}
