//! What is asked: of every row of the tables, requests that would tell of somebody's data.

use super::callers::{OTHERS, Whose};
use super::rows::Via;

/// One request of a row. `[o]` is the id of somebody's Observation (and CodeSystem, ValueSet,
/// ConceptMap, Binary), `[p]` of the Patient.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    /// As [`super::rows::rows`] names it.
    pub(super) row: &'static str,
    pub(super) method: &'static str,
    pub(super) target: &'static str,
    pub(super) header: Option<(&'static str, &'static str)>,
    /// A resource, or a form where the content type says so.
    pub(super) body: Option<&'static str>,
    /// Without the actions of any of these lists it is refused.
    pub(super) takes: &'static [&'static [&'static str]],
}

const fn ask(row: &'static str, method: &'static str, target: &'static str) -> Request {
    Request { row, method, target, header: None, body: None, takes: &[] }
}

impl Request {
    const fn takes(self, takes: &'static [&'static [&'static str]]) -> Self {
        Self { takes, ..self }
    }

    const fn sending(self, body: &'static str) -> Self {
        Self { body: Some(body), ..self }
    }

    const fn when(self, name: &'static str, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// A form is no resource, so no entry has it.
    pub(super) fn is_form(&self) -> bool {
        self.header.is_some_and(|(name, _)| name == "content-type")
    }

    /// As a line of the matrix names it.
    pub(super) fn name(&self) -> String {
        let mut name = format!("{} {}", self.method, self.target);
        if let Some((header, value)) = self.header.filter(|_| !self.is_form()) {
            name += &format!("  {header}: {value}");
        }
        name
    }

    /// About whose data of others' it is asked, sent so.
    pub(super) fn others(&self, via: Via) -> &'static [Whose] {
        let path = self.target.split('?').next().unwrap_or_default();
        let looks = ["GET", "HEAD"].contains(&self.method) && self.target.contains("[o]");
        let is_of_each = via == Via::Itself && (looks || path.contains("[o]"));
        if is_of_each { &OTHERS } else { &OTHERS[..1] }
    }

    /// Whether it can be sent so.
    pub(super) fn goes(&self, via: Via) -> bool {
        via == Via::Itself || !(self.is_form() || self.row == "batch-or-transaction")
    }
}

/// An Observation of the caller's patient, whoever had the id before.
const OBSERVATION: &str = r#"{"resourceType":"Observation","id":"[o]","status":"final",
    "meta":{"tag":[{"system":"urn:t","code":"mine"}]},"subject":{"reference":"Patient/p-mine"}}"#;
/// The caller's Observation, become one of somebody's.
const MOVED: &str = r#"{"resourceType":"Observation","id":"o-mine","status":"final",
    "meta":{"tag":[{"system":"urn:t","code":"mine"}]},"subject":{"reference":"Patient/[p]"}}"#;
/// The same without an id of its own.
const OF_SOMEBODY: &str = r#"{"resourceType":"Observation","status":"final",
    "meta":{"tag":[{"system":"urn:t","code":"mine"}]},"subject":{"reference":"Patient/[p]"}}"#;
const OF_MINE: &str = r#"{"resourceType":"Observation","status":"final",
    "meta":{"tag":[{"system":"urn:t","code":"mine"}]},"subject":{"reference":"Patient/p-mine"}}"#;
/// Whose it is, criteria say.
const FOUND: &str = r#"{"resourceType":"Observation","status":"final",
    "meta":{"tag":[{"system":"urn:t","code":"mine"}]},
    "subject":{"reference":"Patient?identifier=urn:i%7C[p]"}}"#;
const PATIENT: &str = r#"{"resourceType":"Patient","id":"[p]","active":true,
    "meta":{"tag":[{"system":"urn:t","code":"mine"}]}}"#;
const ANNOTATE: &str = r#"{"resourceType":"Parameters","parameter":[{"name":"operation","part":[
    {"name":"type","valueCode":"replace"},{"name":"path","valueString":"Observation.status"},
    {"name":"value","valueCode":"amended"}]}]}"#;
const MOVE: &str = r#"{"resourceType":"Parameters","parameter":[{"name":"operation","part":[
    {"name":"type","valueCode":"replace"},{"name":"path","valueString":"Observation.subject"},
    {"name":"value","valueReference":{"reference":"Patient/[p]"}}]}]}"#;
const BATCH: &str = r#"{"resourceType":"Bundle","type":"batch"}"#;
const TRANSACTION: &str = r#"{"resourceType":"Bundle","type":"transaction"}"#;
const VALIDATE: &str = r#"{"resourceType":"Parameters","parameter":[
    {"name":"mode","valueCode":"create"},{"name":"resource","resource":{
    "resourceType":"Observation","status":"final","code":{"text":"x"},
    "meta":{"tag":[{"system":"urn:t","code":"mine"}]},"subject":{"reference":"Patient/[p]"}}}]}"#;
const VALIDATE_UPDATE: &str = r#"{"resourceType":"Parameters","parameter":[
    {"name":"mode","valueCode":"update"},{"name":"resource","resource":{
    "resourceType":"Observation","id":"[o]","status":"final","code":{"text":"x"},
    "meta":{"tag":[{"system":"urn:t","code":"mine"}]},"subject":{"reference":"Patient/p-mine"}}}]}"#;
const ITEM: &str = r#"{"resourceType":"Parameters","parameter":[{"name":"item","valueId":"[o]"}]}"#;

const READ: &[&[&str]] = &[&["read"]];
const SEARCH: &[&[&str]] = &[&["search"]];
const UPDATE: &[&[&str]] = &[&["update"]];
const PATCH: &[&[&str]] = &[&["update"], &["read"]];
const DELETE: &[&[&str]] = &[&["delete"]];
const CREATE: &[&[&str]] = &[&["create"]];
const HISTORY: &[&[&str]] = &[&["history"]];
const LISTED: &[&[&str]] = &[&["history"], &["search"]];
const OPERATION: &[&[&str]] = &[&["operation:*"]];

/// All of them, in the order of the tables.
pub(super) const REQUESTS: &[Request] = &[
    // LEAK-18, LEAK-29
    ask("read", "GET", "Observation/[o]").takes(READ),
    ask("read", "GET", "Observation/[o]").when("if-none-match", "W/\"2\"").takes(READ),
    ask("read", "HEAD", "Observation/[o]").takes(READ),
    ask("read", "GET", "Patient/[p]").takes(READ),
    ask("read", "GET", "Binary/[o]").takes(READ),
    // LEAK-08
    ask("vread", "GET", "Observation/[o]/_history/1").takes(READ),
    ask("vread", "GET", "Observation/[o]/_history/2").takes(READ),
    ask("vread", "GET", "Observation/[o]/_history/9").takes(READ),
    // LEAK-13, LEAK-14, LEAK-15, LEAK-26
    ask("update", "PUT", "Observation/[o]").sending(OBSERVATION).takes(UPDATE),
    ask("update", "PUT", "Observation/[o]")
        .sending(OBSERVATION)
        .when("if-match", "W/\"1\"")
        .takes(UPDATE),
    ask("update", "PUT", "Observation/[o]")
        .sending(OBSERVATION)
        .when("if-none-match", "*")
        .takes(UPDATE),
    ask("update", "PUT", "Patient/[p]").sending(PATIENT).takes(UPDATE),
    ask("update", "PUT", "Observation/o-mine").sending(MOVED).takes(UPDATE),
    // LEAK-12
    ask("conditional-update", "PUT", "Observation?code=[o]")
        .sending(OF_MINE)
        .takes(&[&["update"], &["search"]]),
    ask("conditional-update", "PUT", "Observation?performer:Patient.family=[p]")
        .sending(OF_MINE)
        .takes(&[&["update"], &["search"]]),
    // LEAK-14
    ask("patch", "PATCH", "Observation/[o]").sending(ANNOTATE).takes(PATCH),
    ask("patch", "PATCH", "Observation/[o]")
        .sending(ANNOTATE)
        .when("if-match", "W/\"1\"")
        .takes(PATCH),
    ask("patch", "PATCH", "Observation/o-mine").sending(MOVE).takes(PATCH),
    ask("conditional-patch", "PATCH", "Observation?code=[o]").sending(ANNOTATE).takes(&[
        &["update"],
        &["read"],
        &["search"],
    ]),
    ask("delete", "DELETE", "Observation/[o]").takes(DELETE),
    ask("delete", "DELETE", "Observation/[o]").when("if-match", "W/\"1\"").takes(DELETE),
    ask("delete", "DELETE", "Patient/[p]").takes(DELETE),
    ask("conditional-delete", "DELETE", "Observation?code=[o]").takes(&[&["delete"], &["search"]]),
    // LEAK-12, LEAK-13, LEAK-26
    ask("create", "POST", "Observation").sending(OF_SOMEBODY).takes(CREATE),
    ask("create", "POST", "Observation").sending(FOUND).takes(CREATE),
    ask("create", "POST", "Observation")
        .sending(OF_MINE)
        .when("if-none-exist", "code=[o]")
        .takes(&[&["create"], &["search"]]),
    ask("create", "POST", "Patient").sending(PATIENT).takes(CREATE),
    // LEAK-01, LEAK-03, LEAK-04, LEAK-05, LEAK-06, LEAK-16, LEAK-21
    ask("search-type", "GET", "Observation").takes(SEARCH),
    ask("search-type", "GET", "Observation?code=[o]").takes(SEARCH),
    ask("search-type", "GET", "Observation?_id=[o]&_elements=status").takes(SEARCH),
    ask("search-type", "GET", "Observation?subject=Patient/[p]&_summary=count").takes(SEARCH),
    ask("search-type", "GET", "Observation?_sort=-code&_count=1&_total=accurate").takes(SEARCH),
    ask("search-type", "GET", "Observation?performer:Patient.family=[p]").takes(SEARCH),
    ask("search-type", "GET", "Observation?subject:Patient.identifier:not=urn:i%7C[p]")
        .takes(SEARCH),
    ask("search-type", "GET", "Patient?_has:Observation:subject:code=[o]").takes(SEARCH),
    ask("search-type", "GET", "Observation?_filter=performer:Patient.family%20eq%20[p]")
        .takes(SEARCH),
    ask("search-type", "GET", "Observation?_id=o-both&_include=*").takes(SEARCH),
    ask(
        "search-type",
        "GET",
        "Patient?_revinclude=Observation:subject&_include:iterate=Observation:performer",
    )
    .takes(SEARCH),
    ask("search-type", "GET", "Group?_include=Group:member&_revinclude:iterate=*:*").takes(SEARCH),
    ask("search-type", "POST", "Observation/_search")
        .sending("code=[o]")
        .when("content-type", "application/x-www-form-urlencoded")
        .takes(SEARCH),
    ask("search-type", "GET", "AuditEvent?patient=[p]").takes(SEARCH),
    ask("search-system", "GET", "?_type=Observation,Patient").takes(SEARCH),
    ask("search-system", "GET", "?_id=[o]&_total=accurate").takes(SEARCH),
    ask("search-compartment", "GET", "Patient/[p]/Observation").takes(SEARCH),
    ask("search-compartment", "GET", "Patient/[p]/*").takes(SEARCH),
    ask("search-compartment", "GET", "Practitioner/pr-doc/Patient?family=[p]").takes(SEARCH),
    ask("capabilities", "GET", "metadata"),
    ask("batch-or-transaction", "POST", "").sending(BATCH),
    ask("batch-or-transaction", "POST", "").sending(TRANSACTION),
    // LEAK-07, LEAK-08, LEAK-16
    ask("history-instance", "GET", "Observation/[o]/_history").takes(HISTORY),
    ask("history-instance", "GET", "Observation/[o]/_history?_count=1").takes(HISTORY),
    ask("history-type", "GET", "Observation/_history").takes(LISTED),
    ask("history-type", "GET", "Observation/_history?_count=1").takes(LISTED),
    ask("history-type", "GET", "Patient/_history?_since=2026-01-01T00:00:00Z").takes(LISTED),
    ask("history-system", "GET", "_history").takes(LISTED),
    ask("history-system", "GET", "_history?_count=2").takes(LISTED),
    // LEAK-09, LEAK-22: what is not there.
    ask("operation", "GET", "Patient/[p]/$everything").takes(OPERATION),
    ask("[type] $validate", "POST", "Observation/$validate").sending(VALIDATE).takes(&[&[
        "create",
        "read",
        "operation:*",
    ]]),
    ask("[type]/[id] $validate", "GET", "Observation/[o]/$validate?mode=delete")
        .takes(&[&["read", "operation:*"]]),
    ask("[type]/[id] $validate", "POST", "Observation/[o]/$validate")
        .sending(VALIDATE_UPDATE)
        .takes(&[&["read", "operation:*"]]),
    ask("Patient/[id] $access-log", "GET", "Patient/[p]/$access-log")
        .takes(&[&["read", "operation:*"]]),
    ask("CodeSystem $lookup", "GET", "CodeSystem/$lookup?system=urn:cs:[o]&code=a")
        .takes(OPERATION),
    ask("CodeSystem $validate-code", "GET", "CodeSystem/$validate-code?url=urn:cs:[o]&code=a")
        .takes(OPERATION),
    ask("CodeSystem/[id] $validate-code", "GET", "CodeSystem/[o]/$validate-code?code=a")
        .takes(OPERATION),
    ask("CodeSystem $subsumes", "GET", "CodeSystem/$subsumes?system=urn:cs:[o]&codeA=a&codeB=a")
        .takes(OPERATION),
    ask("CodeSystem/[id] $subsumes", "GET", "CodeSystem/[o]/$subsumes?codeA=a&codeB=a")
        .takes(OPERATION),
    ask("ValueSet $expand", "GET", "ValueSet/$expand?url=urn:vs:[o]").takes(OPERATION),
    ask("ValueSet/[id] $expand", "GET", "ValueSet/[o]/$expand").takes(OPERATION),
    ask(
        "ValueSet $validate-code",
        "GET",
        "ValueSet/$validate-code?url=urn:vs:[o]&system=urn:cs:[o]&code=a",
    )
    .takes(OPERATION),
    ask(
        "ValueSet/[id] $validate-code",
        "GET",
        "ValueSet/[o]/$validate-code?system=urn:cs:[o]&code=a",
    )
    .takes(OPERATION),
    ask(
        "ConceptMap $translate",
        "GET",
        "ConceptMap/$translate?url=urn:cm:[o]&system=urn:cs:[o]&code=a",
    )
    .takes(OPERATION),
    ask("ConceptMap/[id] $translate", "GET", "ConceptMap/[o]/$translate?system=urn:cs:[o]&code=a")
        .takes(OPERATION),
    ask("$quarantine", "GET", "$quarantine").takes(OPERATION),
    ask("$quarantine-defects", "GET", "$quarantine-defects").takes(OPERATION),
    ask("$quarantine-release", "POST", "$quarantine-release").sending(ITEM).takes(OPERATION),
    ask("$quarantine-discard", "POST", "$quarantine-discard").sending(ITEM).takes(OPERATION),
];
