//! The part of FHIRPath that says no more than a path (FHIR R4 3.1.1.4.1, "Search Parameters"):
//! steps to elements, choices of types, and a few tests on the way. Nearly every expression of a
//! search parameter is a union of these; what is not, FHIRPath itself evaluates.

/// One way from a resource or an element along named elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route<'t> {
    pub(super) start: Start<'t>,
    pub(super) steps: Vec<Step<'t>>,
}

/// Where a route begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start<'t> {
    /// At a name: of a type, or of an element of what is in focus.
    Name(&'t str),
    /// `%resource`
    Resource,
}

/// One step of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step<'t> {
    /// To the elements with a name, or the alternatives of a choice.
    Child(&'t str),
    /// Those of a type: `as`, `.as(…)`, `.ofType(…)`.
    OfType(&'t str),
    /// `.where(resolve() is Type)`
    ResolvesTo(&'t str),
    /// `.where(name = 'text')`
    Has(&'t str, &'t str),
}

/// Parentheses within each other that are followed.
const MAX_DEPTH: usize = 16;

/// The members of the outermost union.
pub(super) fn union_members(expression: &str) -> Vec<&str> {
    let mut members = Vec::new();
    let (mut depth, mut quoted, mut escaped, mut begin) = (0_usize, None, false, 0);
    for (at, byte) in expression.bytes().enumerate() {
        match (quoted, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(quote), _) if quote == byte => quoted = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"' | b'`') => quoted = Some(byte),
            (None, b'(') => depth += 1,
            (None, b')') => depth = depth.saturating_sub(1),
            (None, b'|') if depth == 0 => {
                members.push(expression[begin..at].trim());
                begin = at + 1;
            }
            (None, _) => {}
        }
    }
    members.push(expression[begin..].trim());
    members
}

/// Reads a member of a union; `None` when it is more than a route.
pub(super) fn read(member: &str) -> Option<Route<'_>> {
    let mut reader = Reader { rest: member.trim_start() };
    let route = reader.route(0)?;
    reader.rest.is_empty().then_some(route)
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    /// Takes what stands next, and the space after it.
    fn takes(&mut self, what: &str) -> bool {
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn name(&mut self) -> Option<&'t str> {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let end = self.rest.find(|letter| !is_part(letter)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        self.rest = rest.trim_start();
        Some(name)
    }

    /// A keyword, which ends where its letters end.
    fn takes_word(&mut self, word: &str) -> bool {
        let before = self.rest;
        let is_it = self.name() == Some(word);
        if !is_it {
            self.rest = before;
        }
        is_it
    }

    fn type_name(&mut self) -> Option<&'t str> {
        let name = self.name()?;
        if name == "FHIR" && self.takes(".") { self.name() } else { Some(name) }
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'t str> {
        let rest = self.rest.strip_prefix('\'')?;
        let (text, rest) = rest.split_once('\'')?;
        self.rest = rest.trim_start();
        (!text.contains('\\')).then_some(text)
    }

    fn route(&mut self, depth: usize) -> Option<Route<'t>> {
        let mut route = if self.takes("(") {
            if depth == MAX_DEPTH {
                return None;
            }
            let inner = self.route(depth + 1)?;
            if !self.takes(")") {
                return None;
            }
            inner
        } else if self.takes("%resource") {
            Route { start: Start::Resource, steps: Vec::new() }
        } else {
            Route { start: Start::Name(self.name()?), steps: Vec::new() }
        };
        while self.takes(".") {
            let name = self.name()?;
            if self.takes("(") {
                self.function(name, &mut route.steps)?;
            } else {
                route.steps.push(Step::Child(name));
            }
        }
        if self.takes_word("as") {
            route.steps.push(Step::OfType(self.type_name()?));
        }
        Some(route)
    }

    /// What stands in the parentheses of a function, and the last of them.
    fn function(&mut self, name: &str, steps: &mut Vec<Step<'t>>) -> Option<()> {
        match name {
            "as" | "ofType" => steps.push(Step::OfType(self.type_name()?)),
            "extension" => {
                let url = self.string()?;
                steps.extend([Step::Child("extension"), Step::Has("url", url)]);
            }
            "where" if self.rest.starts_with("resolve") => {
                let is_resolve = self.takes_word("resolve") && self.takes("(") && self.takes(")");
                if !is_resolve || !self.takes_word("is") {
                    return None;
                }
                steps.push(Step::ResolvesTo(self.type_name()?));
            }
            "where" => {
                let name = self.name()?;
                if !self.takes("=") {
                    return None;
                }
                steps.push(Step::Has(name, self.string()?));
            }
            _ => return None,
        }
        self.takes(")").then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::Step::{Child, Has, OfType, ResolvesTo};
    use super::{Route, Start, read, union_members};

    fn check(text: &str, start: &str, steps: &[super::Step<'_>]) {
        let expected = Route { start: Start::Name(start), steps: steps.to_vec() };
        assert_eq!(read(text), Some(expected), "{text}");
    }

    #[test]
    fn plain_paths_are_read_with_their_types_and_tests() {
        check("Observation", "Observation", &[]);
        check("Patient.name.given", "Patient", &[Child("name"), Child("given")]);
        for text in [
            "(Observation.value as Quantity)",
            "Observation.value as Quantity",
            "((Observation.value) as FHIR.Quantity)",
            "Observation.value.as(Quantity)",
            "Observation.value.ofType( Quantity )",
        ] {
            check(text, "Observation", &[Child("value"), OfType("Quantity")]);
        }
        let steps = [Child("value"), OfType("CodeableConcept"), Child("text")];
        check("(Observation.value as CodeableConcept).text", "Observation", &steps);
        let steps = [Child("subject"), ResolvesTo("Patient")];
        check("Account.subject.where(resolve() is Patient)", "Account", &steps);
        for text in
            ["Patient.telecom.where(system='phone')", "Patient.telecom.where(system = 'phone')"]
        {
            check(text, "Patient", &[Child("telecom"), Has("system", "phone")]);
        }
        for text in ["Patient.extension('u:x').value", "Patient.extension.where(url='u:x').value"] {
            check(text, "Patient", &[Child("extension"), Has("url", "u:x"), Child("value")]);
        }
        let route = read("%resource.referenceSeq.chromosome").unwrap();
        assert_eq!(route.start, Start::Resource);
    }

    #[test]
    fn what_is_more_than_a_path_is_not_read() {
        for text in [
            "",
            "Patient.",
            "Patient.deceased.exists() and Patient.deceased != false",
            "Bundle.entry[0].resource",
            "A.where(hasExtension('x')).b",
            "A.where(b = 'x' and c = 'y')",
            "A.b.where(resolve() is Patient or true)",
            "A.b.first()",
            "(A.b | A.c).d",
            "A.b as Quantity as Age",
            "A.where(b='it\\'s')",
            "`A`.b",
            "'text'",
            "1",
            &"(".repeat(1000),
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn members_of_a_union_are_told_apart_from_what_stands_within_them() {
        let members = union_members("A.b | (B.c | B.d).e|C.where(f='|').g | D.x('it\\'s |')");
        assert_eq!(members, ["A.b", "(B.c | B.d).e", "C.where(f='|').g", "D.x('it\\'s |')"]);
        assert_eq!(union_members(""), [""]);
    }
}
