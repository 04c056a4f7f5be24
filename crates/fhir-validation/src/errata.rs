//! Published invariants that do not say what they mean, and what is evaluated in their place.
//!
//! An entry applies only where key and expression are exactly as published, so a definition that
//! was mended, in a package or a later version, is taken at its word.

/// One published invariant and its correction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erratum {
    /// The FHIR version that published it.
    pub fhir_version: &'static str,
    /// Where it stands; empty for wherever it is found.
    pub path: &'static str,
    /// Its key; `*-0` stands for all keys that end so.
    pub key: &'static str,
    /// As it was published.
    pub published: &'static str,
    /// What is evaluated.
    pub corrected: Correction,
    /// Why, and from where the correction is.
    pub reason: &'static str,
}

/// What takes the place of a published expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// Another expression.
    Expression(&'static str),
    /// A check in this crate.
    Native(Native),
}

/// Invariants that are checked without an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    /// ele-1: a value or children. The walk sees it by itself.
    HasContent,
    /// ext-1: a value or extensions, not both.
    ValueOrExtensions,
    /// dom-3: whatever is contained is referred to.
    ContainedIsReferred,
    /// txt-1 and txt-2: the narrative's XHTML.
    Narrative,
}

const R4: &str = "4.0.1";

const NAME: &str = "name.matches('[A-Z]([A-Za-z0-9_]){0,254}')";

const DOM_3: &str = "contained.where((('#'+id in (%resource.descendants().reference | %resource.descendants().as(canonical) | %resource.descendants().as(uri) | %resource.descendants().as(url))) or descendants().where(reference = '#').exists() or descendants().where(as(canonical) = '#').exists() or descendants().where(as(canonical) = '#').exists()).not()).trace('unmatched', id).empty()";

const ERRATA: &[Erratum] = &[
    native(
        "ele-1",
        "hasValue() or (children().count() > id.count())",
        Native::HasContent,
        "the same, seen while walking instead of by counting children of every element",
    ),
    native(
        "ext-1",
        "extension.exists() != value.exists()",
        Native::ValueOrExtensions,
        "the same, without an expression for every extension",
    ),
    native(
        "dom-3",
        DOM_3,
        Native::ContainedIsReferred,
        "as() on several items is an error by FHIRPath, and the text is quadratic; the rule as R4 \
         2.3.0.2 has it, references from the contained to the container included",
    ),
    native("txt-1", "htmlChecks()", Native::Narrative, "XHTML is read here"),
    native(
        "txt-2",
        "htmlChecks()",
        Native::Narrative,
        "published with the expression of txt-1; its text asks for content that is not blank",
    ),
    expression(
        "ref-1",
        "reference.startsWith('#').not() or (reference.substring(1).trace('url') in %rootResource.contained.id.trace('ids'))",
        "reference.exists() implies (reference = '#' or reference.startsWith('#').not() or (reference.substring(1) in %rootResource.contained.id) or (reference.substring(1) in %resource.contained.id))",
        "empty without a reference, and false for '#', which R4 2.3.0.2 allows",
    ),
    expression(
        "bdl-8",
        "fullUrl.contains('/_history/').not()",
        "fullUrl.exists() implies fullUrl.contains('/_history/').not()",
        "empty where there is no fullUrl",
    ),
    expression(
        "ras-2",
        "probability is decimal implies (probability as decimal) <= 100",
        "(probability.exists() and (probability is decimal)) implies ((probability as decimal) <= 100)",
        "empty where there is no probability",
    ),
    expression(
        "que-7",
        "operator = 'exists' implies (answer is Boolean)",
        "operator = 'exists' implies (answer is boolean)",
        "FHIR's boolean is meant, not FHIRPath's",
    ),
    expression(
        "que-12",
        "enableWhen.count() > 2 implies enableBehavior.exists()",
        "enableWhen.count() > 1 implies enableBehavior.exists()",
        "its text says: if there is more than one; corrected in R4B",
    ),
    expression(
        "tim-9",
        "offset.empty() or (when.exists() and ((when in ('C' | 'CM' | 'CD' | 'CV')).not()))",
        "offset.empty() or (when.exists() and when.select($this in ('C' | 'CM' | 'CD' | 'CV')).allFalse())",
        "'in' takes one item and when repeats; the form of R5",
    ),
    expression(
        "con-3",
        "clinicalStatus.exists() or verificationStatus.coding.where(system='http://terminology.hl7.org/CodeSystem/condition-ver-status' and code = 'entered-in-error').exists() or category.select($this='problem-list-item').empty()",
        "(category.coding.where(system = 'http://terminology.hl7.org/CodeSystem/condition-category' and code = 'problem-list-item').exists() and verificationStatus.coding.where(system = 'http://terminology.hl7.org/CodeSystem/condition-ver-status' and code = 'entered-in-error').empty()) implies clinicalStatus.exists()",
        "compares a CodeableConcept with a string, so it holds of no categorised condition; the \
         intent as R4B says it",
    ),
    expression(
        "per-1",
        "start.hasValue().not() or end.hasValue().not() or (start <= end)",
        "start.hasValue().not() or end.hasValue().not() or iif((start <= end).exists(), start <= end, iif((start.lowBoundary() <= end.highBoundary()).exists(), start.lowBoundary() <= end.highBoundary(), true))",
        "empty where one end is less precise; there the boundaries are compared, as in R5, and \
         what cannot be compared at all is not held against anyone",
    ),
    expression(
        "rng-2",
        "low.empty() or high.empty() or (low <= high)",
        "low.value.empty() or high.value.empty() or (low <= high).empty() or (low <= high)",
        "empty for units that cannot be compared, which R4 says nothing against",
    ),
    expression(
        "vs-1",
        "($this as dateTime).toString().length() >= 8",
        "($this is dateTime and $this.hasValue()) implies $this.toString().length() >= 8",
        "its text says: if it is a dateTime and has a value; empty for a period",
    ),
    expression(
        "*-0",
        NAME,
        "name.exists() implies name.matches('^[A-Z]([A-Za-z0-9_]){0,254}$')",
        "matches() finds a part, and a whole name is meant; empty where there is no name",
    ),
    expression(
        "eld-19",
        r#"path.matches('[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\.[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\[x\\])?(\\:[^\\s\\.]+)?)*')"#,
        r#"path.matches('^[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\.[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\[x\\])?(\\:[^\\s\\.]+)?)*$')"#,
        "matches() finds a part, and the whole path is meant",
    ),
    expression(
        "eld-20",
        r"path.matches('[A-Za-z][A-Za-z0-9]*(\\.[a-z][A-Za-z0-9]*(\\[x])?)*')",
        r"path.matches('^[A-Za-z][A-Za-z0-9]*(\\.[a-z][A-Za-z0-9]*(\\[x\\])?)*$')",
        "matches() finds a part, and the whole path is meant",
    ),
    expression(
        "ctm-1",
        "onBehalfOf.exists() implies (member.resolve().iif(empty(), true, ofType(Practitioner).exists()))",
        "onBehalfOf.exists() implies (member.resolve().empty() or member.resolve().ofType(Practitioner).exists())",
        "what is not resolved must not fail",
    ),
];

/// A published binding that refuses more than it means to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindingErratum {
    /// The FHIR version that published it.
    pub fhir_version: &'static str,
    /// The path of the element.
    pub path: &'static str,
    /// The value set, as it was published.
    pub value_set: &'static str,
    /// The strength that it was published with.
    pub published: &'static str,
    /// The strength that it is taken with.
    pub corrected: &'static str,
    /// Why, and from where the correction is.
    pub reason: &'static str,
}

const BINDING_ERRATA: &[BindingErratum] = &[BindingErratum {
    fhir_version: R4,
    path: "Observation.component.value[x]",
    value_set: "http://hl7.org/fhir/ValueSet/ucum-vitals-common|4.0.1",
    published: "required",
    corrected: "extensible",
    reason: "it would refuse a component that is no vital sign itself, a code or a flow among \
             them; US Core, whose profiles can only narrow this one, has it as extensible",
}];

/// The table of bindings.
#[must_use]
pub fn binding_errata() -> &'static [BindingErratum] {
    BINDING_ERRATA
}

/// The strength that a binding is taken with, if it is a defective one.
pub(crate) fn binding_strength(
    path: &str,
    value_set: Option<&str>,
    strength: &str,
) -> Option<&'static str> {
    let found = BINDING_ERRATA
        .iter()
        .find(|it| it.path == path && Some(it.value_set) == value_set && it.published == strength);
    found.map(|it| it.corrected)
}

const fn native(
    key: &'static str,
    published: &'static str,
    native: Native,
    reason: &'static str,
) -> Erratum {
    let corrected = Correction::Native(native);
    Erratum { fhir_version: R4, path: "", key, published, corrected, reason }
}

const fn expression(
    key: &'static str,
    published: &'static str,
    corrected: &'static str,
    reason: &'static str,
) -> Erratum {
    let corrected = Correction::Expression(corrected);
    Erratum { fhir_version: R4, path: "", key, published, corrected, reason }
}

/// The table.
#[must_use]
pub fn errata() -> &'static [Erratum] {
    ERRATA
}

/// The entry for an invariant, if it is a defective one.
pub(crate) fn erratum(path: &str, key: &str, expression: &str) -> Option<&'static Erratum> {
    ERRATA.iter().find(|it| {
        let is_key = match it.key.strip_prefix('*') {
            Some(ending) => key.ends_with(ending),
            None => it.key == key,
        };
        is_key && it.published == expression && (it.path.is_empty() || it.path == path)
    })
}

#[cfg(test)]
mod tests {
    use fhir_schema::DefinitionSet;

    use super::*;

    #[test]
    fn every_erratum_of_a_binding_is_about_one_that_r4_has_as_quoted() {
        for erratum in binding_errata() {
            let is_there = DefinitionSet::r4().structures().any(|structure| {
                structure.elements.iter().any(|element| {
                    element.binding.as_ref().is_some_and(|it| {
                        let value_set = it.value_set.as_deref();
                        binding_strength(&element.path, value_set, &it.strength)
                            == Some(erratum.corrected)
                    })
                })
            });
            assert!(is_there, "{}", erratum.path);
        }
    }

    #[test]
    fn every_erratum_is_about_an_invariant_that_r4_has_as_quoted() {
        // VAL-209
        for erratum in errata() {
            let is_there = DefinitionSet::r4().structures().any(|structure| {
                structure.elements.iter().any(|element| {
                    element.constraints.iter().any(|it| {
                        let found = it
                            .expression
                            .as_ref()
                            .and_then(|text| super::erratum(&element.path, &it.key, text));
                        found == Some(erratum)
                    })
                })
            });
            assert!(is_there, "{}: {}", erratum.key, erratum.published);
        }
    }
}
