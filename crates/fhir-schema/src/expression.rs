//! The part of FHIRPath that says no more than a path, read from the expressions of search
//! parameters (R4 section 3.1.1.4.1): unions, steps, `(X as T)`, `.as(T)`, `.ofType(T)` and
//! `.where(resolve() is T)`.
//!
//! `resolve() is T` is taken as true: who follows a path to a reference looks at its target
//! anyway. Anything else (other filters, functions, indexes) is given back as not understood.

use crate::definitions::{PlainPath, choice_json_name};
use crate::schema::{Kind, Node, Schema};

/// Parentheses within parentheses that are followed.
const MAX_DEPTH: usize = 16;

/// What a path must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Reference,
    Identifier,
}

/// What an expression says about one resource type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolved<'a> {
    /// In the expression's order.
    pub(crate) paths: Vec<PlainPath>,
    /// The members of the union which are about this type, or about none, and are no plain path
    /// to what is wanted.
    pub(crate) unresolved: Vec<&'a str>,
}

/// Turns those members of a union which begin at `resource_type` into plain paths.
pub(crate) fn resolve<'a>(
    schema: &Schema,
    resource_type: &str,
    expression: &'a str,
    wanted: Wanted,
) -> Resolved<'a> {
    let mut resolved = Resolved { paths: Vec::new(), unresolved: Vec::new() };
    for member in union_members(expression) {
        let is_other_type = |word| word != resource_type && schema.is_resource_type(word);
        if first_word(member).is_some_and(is_other_type) {
            continue;
        }
        let mut paths = Vec::new();
        let mut understood = true;
        match parse(member) {
            Some(routes) => {
                for route in routes {
                    if is_other_type(route.root) {
                        continue;
                    }
                    // Any other root than the type (`Resource`, an element) leads nowhere.
                    let found = match route.root == resource_type {
                        true => follow(schema, &route, wanted),
                        false => Vec::new(),
                    };
                    understood &= !found.is_empty();
                    paths.extend(found);
                }
            }
            None => understood = false,
        }
        if understood {
            resolved.paths.extend(paths);
        } else {
            resolved.unresolved.push(member);
        }
    }
    resolved
}

/// The members of the outermost union.
fn union_members(expression: &str) -> Vec<&str> {
    let mut members = Vec::new();
    let mut depth = 0_usize;
    let mut quoted = false;
    let mut begin = 0;
    for (at, byte) in expression.bytes().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            _ if quoted => {}
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'|' if depth == 0 => {
                members.push(expression[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    members.push(expression[begin..].trim());
    members
}

fn first_word(member: &str) -> Option<&str> {
    member.split(|letter: char| !letter.is_ascii_alphanumeric()).find(|word| !word.is_empty())
}

/// One way from a type along named elements.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route<'a> {
    root: &'a str,
    steps: Vec<Step<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step<'a> {
    name: &'a str,
    of_type: Option<&'a str>,
}

/// The plain paths of a route that lead to what is wanted; none when the route leads nowhere.
fn follow(schema: &Schema, route: &Route<'_>, wanted: Wanted) -> Vec<PlainPath> {
    let Some(root) = schema.resource(route.root) else {
        return Vec::new();
    };
    let mut fronts = vec![(Vec::<Box<str>>::new(), Kind::Complex(root))];
    for step in &route.steps {
        let mut next = Vec::new();
        for (path, kind) in fronts {
            let Some(node) = kind.node() else { continue };
            for (name, kind) in elements_of_step(schema, node, step) {
                let mut path = path.clone();
                path.push(name);
                next.push((path, kind));
            }
        }
        fronts = next;
    }
    fronts
        .into_iter()
        .filter(|(_, kind)| match wanted {
            Wanted::Reference => matches!(kind, Kind::Reference(_)),
            Wanted::Identifier => matches!(kind, Kind::Identifier(_)),
        })
        .map(|(steps, _)| PlainPath { steps })
        .collect()
}

/// The JSON elements that a step names: one, or the alternatives of a choice.
fn elements_of_step(schema: &Schema, node: Node, step: &Step<'_>) -> Vec<(Box<str>, Kind)> {
    if let Some(element) = schema.element(node, step.name).filter(|element| !element.is_choice) {
        let matches =
            step.of_type.is_none_or(|of_type| schema.kind_of(of_type) == Some(element.kind));
        return if matches { vec![(step.name.into(), element.kind)] } else { Vec::new() };
    }
    let mut alternatives: Vec<_> = schema
        .type_names()
        .filter(|type_name| step.of_type.is_none_or(|of_type| of_type == *type_name))
        .filter_map(|type_name| {
            let name = choice_json_name(step.name, type_name);
            let element = schema.element(node, &name)?;
            element.is_choice.then(|| (name.into_boxed_str(), element.kind))
        })
        .collect();
    alternatives.sort_by(|(one, _), (other, _)| one.cmp(other));
    alternatives
}

/// Reads an expression; `None` when it says more than paths.
fn parse(expression: &str) -> Option<Vec<Route<'_>>> {
    let mut parser = Parser { rest: expression, depth: 0 };
    let routes = parser.union()?;
    parser.rest.trim().is_empty().then_some(routes)
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn union(&mut self) -> Option<Vec<Route<'a>>> {
        let mut routes = self.typed()?;
        while self.take("|") {
            routes.extend(self.typed()?);
        }
        Some(routes)
    }

    /// `path` or `path as Type`.
    fn typed(&mut self) -> Option<Vec<Route<'a>>> {
        let mut routes = self.path()?;
        if self.take_keyword("as") {
            let of_type = self.word()?;
            narrow(&mut routes, of_type)?;
        }
        Some(routes)
    }

    fn path(&mut self) -> Option<Vec<Route<'a>>> {
        let mut routes = if self.take("(") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return None;
            }
            let routes = self.union()?;
            self.expect(")")?;
            self.depth -= 1;
            routes
        } else {
            let root = self.word()?;
            vec![Route { root, steps: Vec::new() }]
        };
        while self.take(".") {
            let name = self.word()?;
            if !self.take("(") {
                for route in &mut routes {
                    route.steps.push(Step { name, of_type: None });
                }
                continue;
            }
            match name {
                "as" | "ofType" => {
                    let of_type = self.word()?;
                    narrow(&mut routes, of_type)?;
                }
                "where" => {
                    for token in ["resolve", "(", ")", "is"] {
                        self.expect(token)?;
                    }
                    self.word()?;
                }
                _ => return None,
            }
            self.expect(")")?;
        }
        Some(routes)
    }

    fn word(&mut self) -> Option<&'a str> {
        let rest = self.rest.trim_start();
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        word.starts_with(|letter: char| letter.is_ascii_alphabetic()).then_some(word)
    }

    fn take(&mut self, token: &str) -> bool {
        let taken = self.rest.trim_start().strip_prefix(token);
        self.rest = taken.unwrap_or(self.rest);
        taken.is_some()
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let before = self.rest;
        let is_keyword = self.word() == Some(keyword);
        if !is_keyword {
            self.rest = before;
        }
        is_keyword
    }

    fn expect(&mut self, token: &str) -> Option<()> {
        self.take(token).then_some(())
    }
}

/// Sets the type of each route's last element.
fn narrow<'a>(routes: &mut [Route<'a>], of_type: &'a str) -> Option<()> {
    for route in routes {
        route.steps.last_mut()?.of_type = Some(of_type);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{Wanted, resolve};
    use crate::Schema;

    /// Paths of a reference, or the members not understood after an exclamation mark.
    #[track_caller]
    fn check(resource_type: &str, expression: &str, expected: &[&str]) {
        let resolved = resolve(Schema::r4(), resource_type, expression, Wanted::Reference);
        let mut found: Vec<String> = resolved.paths.iter().map(ToString::to_string).collect();
        found.extend(resolved.unresolved.iter().map(|it| format!("!{it}")));
        assert_eq!(found, expected, "{expression}");
    }

    #[test]
    fn a_union_gives_the_members_of_the_type_alone() {
        check(
            "Observation",
            "Encounter.subject | Observation.subject | Observation.performer",
            &["subject", "performer"],
        );
    }

    #[test]
    fn a_choice_is_expanded_to_its_json_name() {
        for expression in [
            "(MedicationRequest.medication as Reference)",
            "MedicationRequest.medication as Reference",
            "MedicationRequest.medication.as(Reference)",
            "MedicationRequest.medication.ofType(Reference)",
            "MedicationRequest.medication",
            "MedicationRequest.medication.where(resolve() is Medication)",
        ] {
            check("MedicationRequest", expression, &["medicationReference"]);
        }
    }

    #[test]
    fn a_path_goes_through_backbones_and_content_references() {
        check("Bundle", "Bundle.entry.resource", &["!Bundle.entry.resource"]);
        check(
            "Provenance",
            "Provenance.entity.agent.who.where(resolve() is Patient)",
            &["entity.agent.who"],
        );
    }

    #[test]
    fn a_union_in_parentheses_keeps_what_follows_it() {
        check(
            "AuditEvent",
            "(AuditEvent.agent | AuditEvent.source).who.where(resolve() is Patient)",
            // The source has an observer, and no who: half a union is not understood.
            &["!(AuditEvent.agent | AuditEvent.source).who.where(resolve() is Patient)"],
        );
        check(
            "AuditEvent",
            "(AuditEvent.agent.who | AuditEvent.entity.what).where(resolve() is Patient)",
            &["agent.who", "entity.what"],
        );
    }

    #[test]
    fn whatever_says_more_than_a_path_is_given_back() {
        for expression in [
            "Patient.deceased.exists()",
            "Patient.telecom.where(system='phone')",
            "Patient.name",
            "Patient.nothing",
            "Patient.generalPractitioner[0]",
            "Patient.generalPractitioner as Identifier",
            "Patient.as(Reference)",
            "name",
            "",
            "(Patient.generalPractitioner",
            &format!("{}Patient", "(".repeat(100_000)),
        ] {
            check("Patient", expression, &[&format!("!{expression}")]);
        }
        check(
            "Patient",
            "Patient.telecom.where(system='a|b') | Patient.generalPractitioner",
            &["generalPractitioner", "!Patient.telecom.where(system='a|b')"],
        );
    }
}
