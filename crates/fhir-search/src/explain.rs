//! A query and what is indexed of a resource, as words for a person: how each condition was read,
//! which values stand against it, and how it could be asked for less.
//!
//! Nothing is decided here: the words are of what [`crate::Query`] and [`IndexValue`] already say.
//! Whoever shows the values of a resource must know that they may be seen.

use std::ops::Bound;

use fhir_core::Instant;

use crate::grammar::is_criterion;
use crate::{
    Applied, Clause, Composite, DateRange, DateTest, Direction, Hierarchy, Include,
    IncludeDirection, IncludeSource, IndexValue, NumberRange, NumberTest, Parameter, Quantity,
    Query, ReferenceTarget, ReferenceTest, Sense, SortBy, SortKey, StringMatch, SystemTest, Test,
    TextTest, Token, TokenTest, UnitTest, UriTest, ValueClause,
};

/// How a condition was read: a tree of named words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Read {
    /// What it is: `value`, `missing`, `chain`, `has`, `text`, `list`, `all`, `any`, `not`, or of
    /// one value `test`.
    pub what: &'static str,
    /// What is said of it, each with the name of what it says.
    pub says: Vec<(&'static str, String)>,
    /// What it is made of.
    pub within: Vec<Read>,
}

impl Read {
    fn of(what: &'static str) -> Self {
        Self { what, ..Self::default() }
    }

    fn say(mut self, name: &'static str, text: impl ToString) -> Self {
        self.says.push((name, text.to_string()));
        self
    }

    fn say_some(self, name: &'static str, text: Option<impl ToString>) -> Self {
        match text {
            Some(text) => self.say(name, text),
            None => self,
        }
    }

    fn parameter(self, parameter: &Parameter) -> Self {
        let name = format!("{}.{}", parameter.resource_type, parameter.code());
        self.say("parameter", name).say("type", parameter.kind.as_str())
    }
}

/// The parameters of a query that each put one condition on every type that is searched, in the
/// order of the conditions of [`crate::TypeQuery::clauses`].
#[must_use]
pub fn criteria(query: &Query) -> Vec<&Applied> {
    query.applied.iter().filter(|it| is_criterion(&it.name)).collect()
}

/// How a condition was read.
#[must_use]
pub fn read_as(clause: &Clause) -> Read {
    let each = |what, clauses: &[Clause]| Read {
        within: clauses.iter().map(read_as).collect(),
        ..Read::of(what)
    };
    match clause {
        Clause::Value(clause) => value(clause),
        Clause::Missing { parameter, missing } => {
            Read::of("missing").parameter(parameter).say("missing", missing)
        }
        Clause::Chain(chain) => {
            let target = |(of, clause): &(_, _)| Read {
                within: vec![read_as(clause)],
                ..Read::of("target").say("of", of)
            };
            let within = chain.targets.iter().map(target).collect();
            Read { within, ..Read::of("chain").parameter(&chain.parameter) }
        }
        Clause::Has(has) => {
            Read { within: vec![read_as(&has.clause)], ..Read::of("has").parameter(&has.parameter) }
        }
        Clause::Text(test) => Read::of("text").say("in", "narrative").say("words", words(test)),
        Clause::Content(test) => {
            Read::of("text").say("in", "the whole resource").say("words", words(test))
        }
        Clause::List(id) => Read::of("list").say("value", id),
        Clause::All(clauses) => each("all", clauses),
        Clause::Any(clauses) => each("any", clauses),
        Clause::Not(clause) => each("not", std::slice::from_ref(clause)),
    }
}

/// So many values of one parameter are told; of more the number alone.
const MOST_TOLD: usize = 20;

fn value(clause: &ValueClause) -> Read {
    let sense = match clause.sense {
        Sense::SomeHolds => None,
        Sense::SomeDiffers => Some("some value differs from all of these"),
    };
    let read = Read::of("value").parameter(&clause.parameter).say_some("sense", sense);
    let more = clause.tests.len().saturating_sub(MOST_TOLD);
    let read = read.say_some("more", (more > 0).then_some(more));
    Read { within: clause.tests.iter().take(MOST_TOLD).map(test).collect(), ..read }
}

fn test(test: &Test) -> Read {
    let read = Read::of("test");
    match test {
        Test::Number(test) => number(read, test),
        Test::Date(DateTest { prefix, range }) => {
            let read = read.say("prefix", prefix.as_str());
            read.say("from", moment(range.low())).say("before", moment(range.high()))
        }
        Test::String(test) => {
            let at = match test.at {
                StringMatch::Start => "the start of a field",
                StringMatch::Contains => "anywhere",
                StringMatch::Exact => "a field to the letter",
                StringMatch::Whole => "a whole field",
                StringMatch::End => "the end of a field",
            };
            read.say("value", &test.text).say("at", at)
        }
        Test::Token(test) => token_test(read, test),
        Test::Reference(test) => reference_test(read, test),
        Test::Composite(composite) => {
            Read { within: composite.parts.iter().map(self::test).collect(), ..read }
        }
        Test::Quantity(test) => match &test.unit {
            UnitTest::Any => number(read, &test.number),
            UnitTest::CodeOrUnit(unit) => number(read, &test.number).say("unit", unit),
            UnitTest::System(system) => number(read, &test.number).say("system", system),
            UnitTest::Coded { system, code, canonical } => number(read, &test.number)
                .say("system", system)
                .say("unit", code)
                .say_some("comparedIn", canonical.as_ref().map(|it| &it.0)),
        },
        Test::Uri(test) => match test {
            UriTest::Is(uri) => read.say("value", uri),
            UriTest::Below(uri) => read.say("below", uri),
            UriTest::Above(uri) => read.say("above", uri),
            UriTest::Canonical { url, version } => {
                read.say("value", url).say_some("version", version.as_ref())
            }
            UriTest::VersionBelow { url, version } => {
                read.say("value", url).say("versionBelow", version)
            }
            UriTest::OfResource { resource_type, id } => {
                read.say("ofResource", format!("{resource_type}/{id}"))
            }
        },
        Test::Near(test) => read
            .say("value", format!("{}|{}", test.latitude, test.longitude))
            .say_some("metres", test.metres),
    }
}

fn number(read: Read, test: &NumberTest) -> Read {
    let read = read.say("prefix", test.prefix.as_str()).say("value", test.value);
    read.say("from", test.low).say("before", test.high)
}

fn token_test(read: Read, test: &TokenTest) -> Read {
    match test {
        TokenTest::Code { system, code } => {
            let system = match system {
                SystemTest::Any => "any",
                SystemTest::None => "none",
                SystemTest::Is(system) => system,
            };
            read.say("system", system).say("value", code)
        }
        TokenTest::System(system) => read.say("system", system).say("value", "any"),
        TokenTest::Text(text) => read.say("text", text),
        TokenTest::In(value_set) => read.say("inValueSet", value_set),
        TokenTest::Below { system, code } => read.say("system", system).say("below", code),
        TokenTest::Above { system, code } => read.say("system", system).say("above", code),
        TokenTest::MimeBelow(mime) => read.say("below", mime),
        TokenTest::OfType { system, code, value } => {
            read.say("typeOfIdentifier", format!("{system}|{code}")).say("value", value)
        }
    }
}

fn reference_test(read: Read, test: &ReferenceTest) -> Read {
    match test {
        ReferenceTest::Id { id, types } => {
            let types: Vec<&str> = types.iter().map(|it| it.as_str()).collect();
            let types = if types.is_empty() { "any".to_owned() } else { types.join(",") };
            read.say("value", id).say("of", types)
        }
        ReferenceTest::Local { resource_type, id, version } => {
            read.say("value", format!("{resource_type}/{id}")).say_some("version", version.as_ref())
        }
        ReferenceTest::Url { url, version } => {
            read.say("value", url).say_some("version", version.as_ref())
        }
        ReferenceTest::CanonicalBelow { url, version } => {
            read.say("value", url).say_some("versionBelow", version.as_ref())
        }
        ReferenceTest::Identifier(token) => token_test(read.say("of", "its identifier"), token),
        ReferenceTest::Hierarchy { towards, resource_type, id } => {
            let towards = match towards {
                Hierarchy::Above => "above",
                Hierarchy::Below => "below",
            };
            read.say(towards, format!("{resource_type}/{id}"))
        }
    }
}

fn words(test: &TextTest) -> String {
    let joined = |tests: &[TextTest], between: &str| {
        let each: Vec<String> = tests.iter().map(words).collect();
        format!("({})", each.join(between))
    };
    match test {
        TextTest::Phrase(words) => words.join(" "),
        TextTest::All(tests) => joined(tests, " and "),
        TextTest::Any(tests) => joined(tests, " or "),
        TextTest::Not(test) => format!("not {}", words(test)),
    }
}

/// A key of `_sort` for the type that stands at `of_type` in the query.
#[must_use]
pub fn sorted_by(key: &SortKey, of_type: usize) -> String {
    let direction = match key.direction {
        Direction::Ascending => "ascending",
        Direction::Descending => "descending",
    };
    match &key.by {
        SortBy::Score => format!("_score {direction}"),
        SortBy::Parameter(parameters) => match parameters.get(of_type) {
            Some(parameter) => format!("{} {direction}", parameter.code()),
            None => direction.to_owned(),
        },
    }
}

/// An `_include` or `_revinclude` as it was read.
#[must_use]
pub fn included_by(include: &Include) -> String {
    let name = match include.direction {
        IncludeDirection::Forward => "_include",
        IncludeDirection::Reverse => "_revinclude",
    };
    let source = match &include.source {
        IncludeSource::Everything => "*".to_owned(),
        IncludeSource::OfType(of) => format!("{of}:*"),
        IncludeSource::Parameter(parameter) => {
            format!("{}:{}", parameter.resource_type, parameter.code())
        }
    };
    let iterate = if include.iterate { ":iterate" } else { "" };
    match &include.target {
        Some(target) => format!("{name}{iterate}={source}:{target}"),
        None => format!("{name}{iterate}={source}"),
    }
}

/// A value that is indexed, for a person to read.
#[must_use]
pub fn indexed_as(value: &IndexValue<'_>) -> String {
    match value {
        IndexValue::Number(range) => range_of(range),
        IndexValue::Date(range) => date(range),
        IndexValue::String(text) | IndexValue::Uri(text) => text.to_string(),
        IndexValue::Token(it) => token(it),
        IndexValue::Reference(reference) => match (&reference.target, &reference.identifier) {
            (ReferenceTarget::Local { resource_type, id, version }, _) => match version {
                Some(version) => format!("{resource_type}/{id}/_history/{version}"),
                None => format!("{resource_type}/{id}"),
            },
            (ReferenceTarget::Url(url), _) => url.to_string(),
            (ReferenceTarget::Canonical { url, version }, _) => match version {
                Some(version) => format!("{url}|{version}"),
                None => url.to_string(),
            },
            (ReferenceTarget::Contained(id), _) => format!("#{id}"),
            (ReferenceTarget::Logical, Some(identifier)) => token(identifier),
            (ReferenceTarget::Logical, None) => {
                reference.display.as_deref().unwrap_or_default().to_owned()
            }
        },
        IndexValue::Composite(Composite { components }) => {
            let part = |values: &Vec<IndexValue<'_>>| {
                let each: Vec<String> = values.iter().map(indexed_as).collect();
                each.join(",")
            };
            let parts: Vec<String> = components.iter().map(part).collect();
            parts.join("$")
        }
        IndexValue::Quantity(quantity) => quantity_of(quantity),
        IndexValue::Position(position) => format!("{}|{}", position.latitude, position.longitude),
    }
}

fn token(token: &Token<'_>) -> String {
    match (&token.system, &token.code, &token.text) {
        (Some(system), Some(code), _) => format!("{system}|{code}"),
        (None, Some(code), _) => code.to_string(),
        (Some(system), None, _) => format!("{system}|"),
        (None, None, text) => format!("\"{}\"", text.as_deref().unwrap_or_default()),
    }
}

fn quantity_of(quantity: &Quantity<'_>) -> String {
    let number = range_of(&quantity.range);
    match (&quantity.system, quantity.code.as_ref().or(quantity.unit.as_ref())) {
        (Some(system), Some(code)) => format!("{number}|{system}|{code}"),
        (None, Some(unit)) => format!("{number}||{unit}"),
        _ => number,
    }
}

fn range_of(range: &NumberRange) -> String {
    if let Some(number) = range.as_point() {
        return number.to_string();
    }
    let low = match range.low() {
        Bound::Unbounded => "any".to_owned(),
        Bound::Included(low) => low.to_string(),
        Bound::Excluded(low) => format!("above {low}"),
    };
    match range.high() {
        Bound::Unbounded => format!("{low} and more"),
        Bound::Included(high) => format!("{low} to {high}"),
        Bound::Excluded(high) => format!("{low} to below {high}"),
    }
}

fn date(range: &DateRange) -> String {
    format!("from {} to before {}", moment(range.low()), moment(range.high()))
}

fn moment(micros: i64) -> String {
    match micros {
        DateRange::BEGINNING => "all time".to_owned(),
        DateRange::END => "the end of time".to_owned(),
        micros => Instant::from_micros(micros).to_string(),
    }
}

/// How a condition could be asked so that less must be looked at, by its form alone.
#[must_use]
pub fn cheaper(clause: &Clause) -> &'static str {
    match clause {
        Clause::Value(clause) => cheaper_value(clause),
        Clause::Missing { missing: true, .. } | Clause::Not(_) => {
            "it holds of all that lack something: add what they must have, as a patient or a code"
        }
        Clause::Missing { .. } => "ask for a value itself instead of for there being one",
        Clause::Chain(chain) if chain.targets.iter().any(|(_, it)| leads_on(it)) => {
            "go along fewer references: search the last types first, and name what was found"
        }
        Clause::Chain(_) => {
            "name what is referred to by its id, or say its type: parameter:Type.name"
        }
        Clause::Has(_) => {
            "search the type that refers with _include of what it refers to, or ask there for an \
             exact code and a narrow date"
        }
        Clause::Text(_) | Clause::Content(_) => {
            "leave the words out, or ask for a code, an id or a patient instead"
        }
        Clause::List(_) => "search a shorter list",
        Clause::All(clauses) | Clause::Any(clauses) => {
            clauses.first().map_or("leave it out", cheaper)
        }
    }
}

/// Whether it goes on to other resources.
fn leads_on(clause: &Clause) -> bool {
    match clause {
        Clause::Chain(_) | Clause::Has(_) => true,
        Clause::All(clauses) | Clause::Any(clauses) => clauses.iter().any(leads_on),
        Clause::Not(clause) => leads_on(clause),
        _ => false,
    }
}

fn cheaper_value(clause: &ValueClause) -> &'static str {
    if clause.sense == Sense::SomeDiffers {
        return "ask for what a value is instead of for what it is not";
    }
    match clause.tests.first() {
        _ if clause.tests.len() > MOST_TOLD => "give fewer values at once",
        Some(Test::String(test)) => match test.at {
            StringMatch::Contains | StringMatch::End => {
                "leave out :contains, which looks at every value, and give how it begins"
            }
            _ => "give more of the text",
        },
        Some(Test::Token(TokenTest::Code { .. } | TokenTest::OfType { .. })) => {
            "add a patient, or a date"
        }
        Some(Test::Token(_)) => "ask for an exact code with its system",
        Some(Test::Date(_)) => "give a narrower range of dates, with a start and an end",
        Some(Test::Number(_) | Test::Quantity(_)) => {
            "give a narrower range of numbers, or add a code"
        }
        Some(Test::Uri(_)) => "give the whole URI, without :above or :below",
        Some(Test::Reference(ReferenceTest::Hierarchy { .. })) => {
            "name what is referred to itself, without :above or :below"
        }
        Some(Test::Near(_)) => "give a shorter distance",
        Some(Test::Composite(_)) => "begin the composite with an exact code",
        Some(Test::Reference(_)) | None => "add a code, or a date",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::tests::lenient as read;

    /// The words of a tree, in one line.
    fn line(read: &Read) -> String {
        let says: Vec<String> =
            read.says.iter().map(|(name, text)| format!("{name}={text}")).collect();
        let within: Vec<String> = read.within.iter().map(line).collect();
        format!("{}({}{})", read.what, says.join(" "), within.join(""))
    }

    fn check(url: &str, expected: &str) {
        let query = read(url);
        let clauses: Vec<String> =
            query.types[0].clauses.iter().map(|clause| line(&read_as(clause))).collect();
        assert_eq!(clauses.join(" "), expected, "{url}");
    }

    #[test]
    fn a_condition_is_told_as_it_was_read() {
        check(
            "Observation?date=ge2024-01",
            "value(parameter=Observation.date type=date\
             test(prefix=ge from=2024-01-01T00:00:00.000000Z before=2024-02-01T00:00:00.000000Z))",
        );
        check(
            "Patient?name:contains=Mül",
            "value(parameter=Patient.name type=stringtest(value=mul at=anywhere))",
        );
        check(
            "Observation?code=http://loinc.org|1,2",
            "value(parameter=Observation.code type=tokentest(system=http://loinc.org value=1)\
             test(system=any value=2))",
        );
        check(
            "Observation?subject:Patient.active:not=true",
            "chain(parameter=Observation.subject type=referencetarget(of=Patient\
             not(value(parameter=Patient.active type=tokentest(system=any value=true)))))",
        );
        check(
            "Patient?_has:Observation:patient:value-quantity=gt5",
            "has(parameter=Observation.patient type=reference\
             value(parameter=Observation.value-quantity type=quantity\
             test(prefix=gt value=5 from=4.5 before=5.5)))",
        );
    }

    #[test]
    fn each_criterion_has_its_condition() {
        for url in [
            "Patient?name=a&_sort=name&_count=2&birthdate=2000&_include=*",
            "Patient?_filter=name eq a and active eq true&_id=1&_elements=id&gender:missing=true",
            "?_type=Patient,Group&_lastUpdated=gt2020&_total=none&_tag=a|b",
            "Patient?_text=a&_content=b&_list=1&_has:Group:member:_id=2&_summary=true",
        ] {
            let query = read(url);
            for of in &query.types {
                assert_eq!(criteria(&query).len(), of.clauses.len(), "{url}");
            }
        }
    }

    #[test]
    fn what_costs_has_a_cheaper_form() {
        for (url, mend) in [
            ("Patient?name:contains=a", ":contains"),
            ("Patient?birthdate=gt1900", "narrower range of dates"),
            ("Observation?subject:Patient.organization.name=a", "fewer references"),
            ("Observation?code:in=http://a", "exact code"),
            ("Patient?active:not=true", "add what they must have"),
        ] {
            let query = read(url);
            let told = cheaper(&query.types[0].clauses[0]);
            assert!(told.contains(mend), "{url}: {told}");
        }
    }
}
