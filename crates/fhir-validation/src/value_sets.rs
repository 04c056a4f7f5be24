//! Expressions in a ValueSet that has parameters (the extensions valueset-parameter and
//! cqf-expression): they are FHIRPath, and name no parameter that the value set does not have.

use std::borrow::Cow;

use fhir_core::IssueCode;
use fhir_core::json::{Kind as JsonKind, Value};

use crate::walk::Run;

const PARAMETER: &str = "http://hl7.org/fhir/tools/StructureDefinition/valueset-parameter";
const EXPRESSION: &str = "http://hl7.org/fhir/StructureDefinition/cqf-expression";
const FHIRPATH: &str = "text/fhirpath";

/// Variables that FHIRPath has in FHIR (R4 2.9.1.3).
const VARIABLES: &[&str] = &["context", "resource", "rootResource", "ucum", "sct", "loinc"];

fn items<'a>(of: Value<'a>, name: &str) -> impl Iterator<Item = (usize, Value<'a>)> {
    let array = of.get(name).filter(|it| it.kind() == JsonKind::Array);
    array.into_iter().flat_map(|it| it.items()).enumerate()
}

impl<'a> Run<'a> {
    /// The expressions in the filters of a value set.
    pub(crate) fn about_filter_expressions(&mut self, set: Value<'a>) {
        let parameters: Vec<Cow<'a, str>> = items(set, "extension")
            .filter(|(_, it)| it.get("url").is_some_and(|it| it.is_string(PARAMETER)))
            .filter_map(|(_, it)| {
                let mut parts = items(it, "extension").map(|(_, part)| part);
                let name = parts.find(|it| it.get("url").is_some_and(|it| it.is_string("name")))?;
                name.get_str("valueCode").or_else(|| name.get_str("valueString"))
            })
            .collect();
        let Some(compose) = set.get("compose") else { return };
        self.enter("compose", None);
        for part in ["include", "exclude"] {
            for (index, include) in items(compose, part) {
                self.enter(part, Some(index));
                for (index, filter) in items(include, "filter") {
                    self.enter("filter", Some(index));
                    self.filter_expression(filter, &parameters);
                    self.leave();
                }
                self.leave();
            }
        }
        self.leave();
    }

    fn filter_expression(&mut self, filter: Value<'a>, parameters: &[Cow<'a, str>]) {
        let Some(beside) = filter.get("_value") else { return };
        self.enter("value", None);
        for (index, extension) in items(beside, "extension") {
            if !extension.get("url").is_some_and(|it| it.is_string(EXPRESSION)) {
                continue;
            }
            let Some(expression) = extension.get("valueExpression") else { continue };
            self.enter("extension", Some(index));
            self.enter("value", None);
            if let Some(language) = expression.get("language").filter(|it| !it.is_string(FHIRPATH))
            {
                let said = format!(
                    "a filter's expression is FHIRPath ({FHIRPATH}), and this is {}",
                    language.as_str().unwrap_or_default()
                );
                self.error(IssueCode::BusinessRule, expression, "value-set-expression", said);
            } else if let Some(text) = expression.get_str("expression") {
                for name in variables(&text) {
                    let is_known = VARIABLES.contains(&name)
                        || name.starts_with("vs-")
                        || name.starts_with("ext-")
                        || parameters.iter().any(|it| *it == name);
                    if !is_known {
                        let said = format!(
                            "the value set has no parameter '{name}'; add it, or name another"
                        );
                        self.error(
                            IssueCode::BusinessRule,
                            expression,
                            "value-set-expression",
                            said,
                        );
                    }
                }
            }
            self.leave();
            self.leave();
        }
        self.leave();
    }
}

/// The names of variables in an expression. A parameter's name may have hyphens.
fn variables(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let (mut in_string, mut at) = (false, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'\'' => in_string = !in_string,
            b'%' if !in_string => {
                let quotes: &[char] = &['`', '\'', '"'];
                let rest = &text[at + 1..];
                let name = match rest.strip_prefix(quotes) {
                    Some(quoted) => quoted.split(quotes).next().unwrap_or_default(),
                    None => {
                        let is_part = |it: char| it.is_alphanumeric() || it == '_' || it == '-';
                        let length = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
                        &rest[..length]
                    }
                };
                names.push(name);
                at += name.len() + 2 * usize::from(rest.starts_with(quotes));
            }
            _ => {}
        }
        at += 1;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_an_expression_are_found_outside_of_strings() {
        assert_eq!(variables("%a and %b-c"), ["a", "b-c"]);
        assert_eq!(variables("'%a' & %`b c` & '\\'%d'"), ["b c"]);
        assert_eq!(variables("code = 'x'"), Vec::<&str>::new());
    }
}
