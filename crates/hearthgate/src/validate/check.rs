//! One resource: validated as it was read, with places in the file that its sender has.

use std::sync::atomic::{AtomicBool, Ordering};

use contract::Instant;
use fhir_core::json::Document as Json;
use fhir_core::{IssueCode, Severity};
use fhir_schema::{DefinitionSet, Schema};
use fhir_validation::{Depth, Issue, Options, Place, Validator};
use fhir_xml::{Converted, Limits, XmlIssue};
use fhirpath::DateTime;

use super::ValidateError;
use super::packages::Packages;
use super::reading::{Content, Document, LONGEST_DOCUMENT};

/// Issues of one resource. The validator ends at so many, warnings or not, so that few would hide
/// what comes after them in a large Bundle.
const MOST_ISSUES: usize = 100_000;

/// What validates, the same for all resources.
pub(crate) struct Checker {
    validator: Validator<'static>,
    depth: Depth,
    now: Option<DateTime>,
    asked: Vec<Asked>,
}

/// A profile that was asked for.
struct Asked {
    canonical: String,
    type_name: String,
    /// Whether a resource of its type was met.
    is_met: AtomicBool,
}

/// What came of one resource.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The file's name, as it was given; `-` for the standard input.
    pub(crate) file: std::sync::Arc<str>,
    /// The line of the file that it begins on, from 1.
    pub(crate) line: usize,
    /// `Type/id`, `Type`, or nothing, as far as it could be read.
    pub(crate) resource: String,
    /// Their lines are those of the file.
    pub(crate) issues: Vec<Issue>,
}

impl Checker {
    /// A checker by these definitions, for the profiles that were asked for.
    ///
    /// # Errors
    /// When a profile is not defined.
    pub(crate) fn new(
        packages: Packages,
        profiles: &[String],
        depth: Depth,
        now: Instant,
    ) -> Result<Self, ValidateError> {
        let Packages { definitions, terminology, .. } = packages;
        let asked = profiles.iter().map(|canonical| {
            let structure = definitions.structure(canonical);
            let structure = structure.ok_or_else(|| ValidateError::UnknownProfile {
                canonical: canonical.clone(),
                mend: mend(&definitions, canonical),
            })?;
            Ok(Asked {
                canonical: canonical.clone(),
                type_name: structure.type_name.to_string(),
                is_met: AtomicBool::new(false),
            })
        });
        let asked = asked.collect::<Result<_, ValidateError>>()?;
        let text = now.text();
        // An instant's fraction is more than a rule of FHIR asks for.
        let now = std::str::from_utf8(&text[..19]).ok();
        let now = now.and_then(|it| DateTime::parse(&format!("{it}Z")));
        let validator = Validator::new(Schema::r4(), definitions, terminology);
        Ok(Self { validator, depth, now, asked })
    }

    /// Validates what was read. The issues are those of the resource and its lines those of the
    /// file.
    pub(crate) fn check(&self, document: Document) -> (String, Vec<Issue>) {
        let (resource, mut issues) = match document.content {
            Content::Json(bytes) => self.json(&bytes),
            Content::Xml(bytes) => self.xml(&bytes),
            Content::Unreadable(why) => (String::new(), vec![unreadable(why)]),
        };
        if issues.len() >= MOST_ISSUES {
            let why = format!("{MOST_ISSUES} issues, and what comes after them was not looked at");
            issues.push(Issue { code: IssueCode::TooCostly, ..unreadable(why) });
        }
        for issue in &mut issues {
            issue.place.line += document.line - 1;
        }
        (resource, issues)
    }

    /// What is to be told when all is done: profiles that nothing was held to.
    pub(crate) fn notes(&self) -> Vec<String> {
        let unmet = self.asked.iter().filter(|it| !it.is_met.load(Ordering::Relaxed));
        unmet
            .map(|it| {
                format!(
                    "nothing was checked against {}: no resource is a {} (entries of Bundles are \
                     checked against what they claim in meta.profile)",
                    it.canonical, it.type_name
                )
            })
            .collect()
    }

    fn json(&self, bytes: &[u8]) -> (String, Vec<Issue>) {
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let Ok(document) = Json::parse(text) else {
            // The same error again, as an issue.
            return (String::new(), self.validator.validate_json(text, &self.options(&[])));
        };
        let root = document.root();
        let type_name = root.get_str("resourceType").unwrap_or_default();
        let mut profiles = Vec::new();
        for asked in self.asked.iter().filter(|it| it.type_name == *type_name) {
            asked.is_met.store(true, Ordering::Relaxed);
            profiles.push(&*asked.canonical);
        }
        let resource = match root.get_str("id") {
            Some(id) => format!("{type_name}/{id}"),
            None => type_name.into_owned(),
        };
        (resource, self.validator.validate(root, &self.options(&profiles)))
    }

    fn xml(&self, bytes: &[u8]) -> (String, Vec<Issue>) {
        let limits = Limits { bytes: LONGEST_DOCUMENT as usize, ..Limits::default() };
        match fhir_xml::to_json(bytes, Schema::r4(), &limits) {
            Ok(converted) => self.converted(&converted),
            Err(refused) => {
                let is_readable = refused.readable.is_some();
                let mut issues: Vec<Issue> =
                    refused.issues.into_iter().map(|it| of_xml(it, is_readable)).collect();
                let mut resource = String::new();
                // What could be read may have more that is wrong.
                if let Some(readable) = &refused.readable {
                    let (name, found) = self.converted(readable);
                    resource = name;
                    issues.extend(found);
                }
                (resource, issues)
            }
        }
    }

    fn converted(&self, converted: &Converted<'_>) -> (String, Vec<Issue>) {
        let (resource, mut issues) = self.json(&converted.json);
        for issue in &mut issues {
            let (line, column) = converted.places.position_of(issue.place.offset);
            issue.place.line = line;
            issue.place.column = column;
        }
        (resource, issues)
    }

    fn options<'o>(&self, profiles: &'o [&'o str]) -> Options<'o> {
        let (depth, now) = (self.depth, self.now);
        Options { depth, profiles, now, cap: MOST_ISSUES, ..Options::default() }
    }
}

fn of_xml(issue: XmlIssue, is_readable: bool) -> Issue {
    Issue {
        severity: if is_readable { Severity::Error } else { Severity::Fatal },
        code: issue.problem.code(),
        text: issue.problem.to_string(),
        place: Place { offset: 0, line: issue.line, column: issue.column },
        rule: "xml".to_owned(),
        expression: issue.expression,
    }
}

fn unreadable(why: String) -> Issue {
    Issue {
        severity: Severity::Fatal,
        code: IssueCode::Structure,
        expression: String::new(),
        place: Place { offset: 0, line: 1, column: 1 },
        rule: "unreadable".to_owned(),
        text: why,
    }
}

/// Points to the nearest canonical that is there, where one is near.
fn mend(definitions: &DefinitionSet, canonical: &str) -> String {
    let nearness = |known: &str| strsim::normalized_levenshtein(known, canonical);
    let known = definitions.structures().map(|it| (nearness(&it.url), &it.url));
    match known.max_by(|one, other| one.0.total_cmp(&other.0)) {
        Some((nearness, known)) if nearness > 0.8 => format!("did you mean {known}?"),
        _ => "give the package that defines it with --package".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(profiles: &[&str], content: Content) -> (Checker, String, Vec<String>) {
        let profiles: Vec<String> = profiles.iter().map(|it| (*it).to_owned()).collect();
        let packages = Packages::load(&[]).unwrap();
        let checker =
            Checker::new(packages, &profiles, Depth::Terminology, Instant::from_micros(0)).unwrap();
        let (resource, issues) = checker.check(Document { line: 7, content });
        let errors = issues.iter().filter(|it| it.is_error());
        let errors = errors
            .map(|it| {
                format!("{}:{} {} {}", it.place.line, it.place.column, it.rule, it.expression)
            })
            .collect();
        (checker, resource, errors)
    }

    #[test]
    fn issues_stand_on_the_lines_of_the_file_in_json_and_in_xml() {
        let json = b"{\"resourceType\":\"Patient\",\"id\":\"a\",\n \"gender\":\"x\"}".to_vec();
        let (_, resource, errors) = check(&[], Content::Json(json));
        assert_eq!((&*resource, errors), ("Patient/a", vec!["8:11 binding Patient.gender".into()]));
        let xml = b"<Patient xmlns=\"http://hl7.org/fhir\">\n\n <gender value=\"x\"/>\n</Patient>";
        let (_, resource, errors) = check(&[], Content::Xml(xml.to_vec()));
        assert_eq!(resource, "Patient");
        assert!(errors.len() == 1 && errors[0].starts_with("9:"), "{errors:?}");
    }

    #[test]
    fn what_cannot_be_read_is_one_issue_and_what_xml_has_too_much_is_told_beside_the_rest() {
        let first = |content| check(&[], content).2;
        assert_eq!(first(Content::Json(b"{\"a\":".to_vec())).len(), 1);
        assert_eq!(first(Content::Unreadable("no".into())), ["7:1 unreadable "]);
        let xml = b"<Patient xmlns=\"http://hl7.org/fhir\"><foo/><gender value=\"x\"/></Patient>";
        let errors = first(Content::Xml(xml.to_vec()));
        assert!(errors[0].contains(" xml Patient"), "{errors:?}");
        assert!(errors.iter().any(|it| it.ends_with("binding Patient.gender")), "{errors:?}");
    }

    #[test]
    fn an_error_is_told_however_many_warnings_stand_before_it() {
        let entry = r#"{"resource":{"resourceType":"Basic","code":{"text":"x"}}},"#;
        let json = format!(
            r#"{{"resourceType":"Bundle","type":"collection","entry":[{}{{"resource":{{"resourceType":"Basic","wrong":1}}}}]}}"#,
            entry.repeat(2_000)
        );
        let (_, _, errors) = check(&[], Content::Json(json.into_bytes()));
        assert!(errors.iter().any(|it| it.contains("entry[2000]")), "{errors:?}");
    }

    #[test]
    fn a_profile_is_asked_of_the_resources_of_its_type_and_said_when_there_are_none() {
        let vitals = "http://hl7.org/fhir/StructureDefinition/vitalsigns";
        let patient = Content::Json(b"{\"resourceType\":\"Patient\"}".to_vec());
        let (checker, _, errors) = check(&[vitals], patient);
        assert_eq!(errors, [""; 0]);
        assert!(checker.notes()[0].contains(vitals), "{:?}", checker.notes());
        let observation =
            b"{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"text\":\"x\"}}";
        let (checker, _, errors) = check(&[vitals], Content::Json(observation.to_vec()));
        assert!(errors.iter().any(|it| it.contains("cardinality Observation")), "{errors:?}");
        assert!(checker.notes().is_empty());
    }

    #[test]
    fn a_profile_that_is_not_there_is_an_error_that_names_a_near_one() {
        let packages = Packages::load(&[]).unwrap();
        let wrong = "http://hl7.org/fhir/StructureDefinition/vitalsign".to_owned();
        let now = Instant::from_micros(0);
        let error = Checker::new(packages, &[wrong], Depth::Base, now).err().unwrap();
        assert!(error.to_string().ends_with("StructureDefinition/vitalsigns?"), "{error}");
    }
}
