//! Codes against the value sets that elements are bound to (FHIR R4, 4.1.5).

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_core::{IssueCode, Severity};
use fhir_terminology::{
    Canonical, CodeSystem, ConceptIndex, Membership, ResolvedSet, TerminologyError,
    ValidateOptions, form_fault,
};

use crate::options::WrongDisplays;
use crate::program::Bound;
use crate::walk::{Instance, Run};

/// What an element says in codes.
pub(crate) enum Coded<'a> {
    /// A code, without its system.
    Code(Cow<'a, str>),
    /// Codings; none where there is text alone.
    Codings(Vec<Coding<'a>>),
}

/// A code with the system it says it is of.
pub(crate) struct Coding<'a> {
    system: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
}

impl<'a> Coding<'a> {
    fn of(value: Value<'a>) -> Self {
        Self { system: value.get_str("system"), code: value.get_str("code") }
    }

    fn shown(&self) -> String {
        let part = |it: &Option<Cow<'_, str>>| it.as_deref().unwrap_or("-").to_owned();
        format!("{}#{}", part(&self.system), part(&self.code))
    }
}

impl<'a> Coded<'a> {
    pub(crate) fn of(type_name: &str, value: Value<'a>) -> Option<Self> {
        Some(match type_name {
            "CodeableConcept" => {
                let codings = value.get("coding").filter(|it| it.kind() == JsonKind::Array);
                let each = codings.into_iter().flat_map(|it| it.items());
                Self::Codings(each.map(Coding::of).collect())
            }
            "Coding" | "Quantity" | "Age" | "Count" | "Distance" | "Duration" | "Money"
            | "SimpleQuantity" => Self::Codings(vec![Coding::of(value)]),
            "code" | "string" | "uri" | "url" | "canonical" | "id" | "oid" => {
                Self::Code(value.as_str()?)
            }
            _ => return None,
        })
    }
}

/// Whether what an element says is in a value set; or why nobody can tell.
pub(crate) fn is_in<'s>(
    set: &'s ResolvedSet,
    coded: &Coded<'_>,
) -> Result<bool, &'s TerminologyError> {
    match coded {
        Coded::Code(code) => match set.check_code(code) {
            Membership::Member(_) => Ok(true),
            Membership::Outside => Ok(false),
            Membership::NotKnown(why) => Err(why),
        },
        Coded::Codings(codings) => {
            let mut unknown = None;
            for coding in codings {
                let (Some(system), Some(code)) = (&coding.system, &coding.code) else { continue };
                match set.check(system, code) {
                    Membership::Member(_) => return Ok(true),
                    Membership::Outside => {}
                    Membership::NotKnown(why) => unknown = Some(why),
                }
            }
            unknown.map_or(Ok(false), Err)
        }
    }
}

impl<'a> Run<'a> {
    /// A Coding against its code system, where that is loaded: the code where all of it is, the
    /// display of what is there. Elsewhere the code's form, where the code system has a rule for it.
    pub(crate) fn known_code(&mut self, value: Value<'a>) {
        let (Some(system), Some(code)) = (value.get_str("system"), value.get("code")) else {
            return;
        };
        let Some(text) = code.as_str() else { return };
        let version = value.get_str("version");
        let canonical = Canonical { url: &system, version: version.as_deref() };
        let Ok(found) = self.validator.terminology().code_system(canonical, None) else { return };
        match found.as_ref().map(|found| (found, found.find(&text))) {
            Some((found, Some(concept))) => self.display_of(found, concept, value),
            Some((found, None)) if found.is_complete() => {
                self.enter("code", None);
                let said = format!("the code system {system} has no code '{text}'");
                self.error(IssueCode::CodeInvalid, code, "unknown-code", said);
                self.leave();
            }
            _ => {
                let Some(fault) = form_fault(&system, &text) else { return };
                self.enter("code", None);
                let kind = IssueCode::CodeInvalid;
                self.tell(fault.severity, kind, code, "code-invalid", fault.text);
                self.leave();
            }
        }
    }

    /// Whether a code says which code system it is of, by that one's own name.
    pub(crate) fn about_system(&mut self, value: Value<'a>) {
        let Some(system) = value.get("system") else {
            // A system that is absent with a reason is said to be.
            if value.get("code").is_some() && value.get("_system").is_none() {
                let said = "a code without its system says nothing for certain: add the system";
                let kind = IssueCode::Required;
                self.tell(Severity::Warning, kind, value, "coding-system", said);
            }
            return;
        };
        let Some(given) = system.as_str() else { return };
        if let Some(meant) = crate::code_systems::meant(&given, self.validator.terminology()) {
            self.enter("system", None);
            let said = format!("no code system is called {given}: if {meant} is meant, write that");
            self.tell(Severity::Warning, IssueCode::CodeInvalid, system, "coding-system", said);
            self.leave();
        }
    }

    /// The display of a Coding against the names that its code system has for the concept, in any
    /// language; case and white space are not regarded.
    fn display_of(&mut self, system: &Arc<CodeSystem>, concept: ConceptIndex, value: Value<'a>) {
        if system.is_inactive(concept) {
            let said = format!("the code {} is no longer in use", system.code(concept));
            self.tell(Severity::Warning, IssueCode::BusinessRule, value, "inactive-code", said);
        }
        let Some(display) = value.get("display") else { return };
        let right = system.display(concept);
        if right.is_empty() || display.is_string(right) {
            return;
        }
        let Some(given) = display.as_str() else { return };
        let coding = fhir_terminology::Coding {
            system: None,
            version: None,
            code: system.code(concept),
            display: Some(&given),
        };
        let judged = fhir_terminology::validate_in(system, &coding, &ValidateOptions::default());
        let is_wrong = |it: &fhir_terminology::Finding| {
            it.kind == fhir_terminology::FindingKind::InvalidDisplay
        };
        if let Some(finding) = judged.findings.into_iter().find(is_wrong) {
            let severity = match self.options.wrong_displays {
                WrongDisplays::Warn => Severity::Warning,
                WrongDisplays::Refuse => Severity::Error,
            };
            self.enter("display", None);
            self.tell(severity, IssueCode::Invalid, display, "display", finding.text);
            self.leave();
        }
    }

    /// An element against its binding.
    pub(crate) fn bound(&mut self, bound: &'a Bound, type_name: &str, instance: Instance<'a>) {
        // What has extensions alone has no code to check.
        let Some(value) = instance.value else { return };
        let Some(coded) = Coded::of(type_name, value) else { return };
        let binding = &bound.binding;
        if let Some(url) = &binding.value_set
            && matches!(&*binding.strength, "required" | "extensible")
        {
            let is_required = &*binding.strength == "required";
            self.against(url, &bound.set, &coded, value, is_required);
        }
        if let Some(url) = &binding.max_value_set {
            self.against(url, &bound.max_set, &coded, value, true);
        }
    }

    fn against(
        &mut self,
        url: &str,
        set: &'a OnceLock<Result<std::sync::Arc<ResolvedSet>, String>>,
        coded: &Coded<'_>,
        value: Value<'a>,
        is_required: bool,
    ) {
        let terminology = self.validator.terminology();
        let set = set.get_or_init(|| terminology.resolve(url).map_err(|it| it.to_string()));
        let set = match set {
            Ok(set) => set,
            Err(reason) => {
                let text = format!("not checked against {url}: {reason}");
                return self.tell(
                    Severity::Warning,
                    IssueCode::NotSupported,
                    value,
                    "binding-unknown",
                    text,
                );
            }
        };
        let shown = match coded {
            Coded::Code(code) => code.to_string(),
            Coded::Codings(codings) => {
                if codings.is_empty() && !is_required {
                    // Text alone is allowed where the value set may be extended.
                    return;
                }
                let shown: Vec<String> = codings.iter().take(5).map(Coding::shown).collect();
                shown.join(", ")
            }
        };
        match is_in(set, coded) {
            Ok(true) => {}
            Err(why) => {
                let text = format!("'{shown}' is not checked against {url}: {why}");
                self.tell(
                    Severity::Warning,
                    IssueCode::NotSupported,
                    value,
                    "binding-unknown",
                    text,
                );
            }
            Ok(false) if is_required => {
                let text = if shown.is_empty() {
                    format!("a code of {url} is required; add one")
                } else {
                    format!("'{shown}' is not in {url}; take a code from there")
                };
                self.error(IssueCode::CodeInvalid, value, "binding", text);
            }
            Ok(false) => {
                let text = format!(
                    "'{shown}' is not in {url}; take a code from there if one has the meaning"
                );
                self.tell(Severity::Warning, IssueCode::CodeInvalid, value, "binding", text);
            }
        }
    }
}
