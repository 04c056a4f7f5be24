//! The members of an object (FHIR R4, 2.6.2): which may stand there, how often, and as an array or
//! not. What the value of one may be, its type says.

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_core::{IssueCode, Severity};
use fhir_schema::Kind;

use super::{Instance, Open, Run, Scope};
use crate::program::{Member, Program, Rule, RuleAt};

/// Whose members an object has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A resource: `resourceType` is one of them.
    Resource,
    Element,
    /// A primitive that has a value: there its id alone says something too.
    BesideValue,
}

impl<'a> Run<'a> {
    /// The members of an object, by a rule with names.
    pub(super) fn object(
        &mut self,
        program: &'a Program,
        at: RuleAt,
        value: Value<'a>,
        owner: Owner,
        scope: Scope<'a>,
    ) {
        let rule = program.rule(at);
        let is_resource = owner == Owner::Resource;
        let first_count = self.counts.len();
        self.counts.resize(first_count + rule.children.len(), 0);
        let mut is_empty = true;
        // Looking for `_name` is spared where there is none at all.
        let has_siblings = value.named_members().any(|(name, _)| may_be_sibling(name.raw()));
        for (name, member) in value.named_members() {
            if self.is_full() {
                break;
            }
            let Some(name_text) = name.as_str() else { continue };
            if is_resource && name_text == "resourceType" {
                continue;
            }
            if name_text != "id" || owner == Owner::BesideValue {
                is_empty = false;
            }
            let parent = has_siblings.then_some(value);
            self.member(program, rule, first_count, &name_text, (name, member), parent, scope);
        }
        if is_empty && !is_resource {
            let text = "an object without content says nothing; leave it out";
            self.error(IssueCode::Invalid, value, "ele-1", text);
        } else {
            self.missing(program, rule, first_count, value);
        }
        self.counts.truncate(first_count);
    }

    fn missing(
        &mut self,
        program: &'a Program,
        rule: &'a Rule,
        first_count: usize,
        value: Value<'a>,
    ) {
        for (child_at, child) in rule.children.iter().enumerate() {
            let child = program.rule(*child);
            let count = self.counts[first_count + child_at];
            if count < child.min {
                let name = if child.is_choice {
                    format!("{}[x]", child.name)
                } else {
                    child.name.to_string()
                };
                let text = format!(
                    "'{name}' stands here {count} times and must at least {}; add it",
                    child.min
                );
                self.error(IssueCode::Required, value, "cardinality", text);
            } else if child.max.is_some_and(|max| count > max) {
                let text = if child.is_choice {
                    format!("'{}[x]' has one type and value; leave one", child.name)
                } else {
                    format!("'{}' stands here {count} times, which is too often", child.name)
                };
                self.error(IssueCode::Structure, value, "cardinality", text);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a member is, and where")]
    fn member(
        &mut self,
        program: &'a Program,
        rule: &'a Rule,
        first_count: usize,
        name: &str,
        (name_value, member): (Value<'a>, Value<'a>),
        parent: Option<Value<'a>>,
        scope: Scope<'a>,
    ) {
        if let Some(found) = rule.names.get(name) {
            let parent = parent.filter(|_| is_primitive(found.element.kind));
            let sibling = parent.and_then(|it| it.get(&format_sibling(name)));
            return self.occurrences(
                program,
                rule,
                first_count,
                *found,
                Some(member),
                sibling,
                scope,
            );
        }
        let primitive_name = name.strip_prefix('_');
        if let Some(found) = primitive_name.and_then(|name| rule.names.get(name)) {
            let is_alone = parent.is_none_or(|it| it.get(&name[1..]).is_none());
            let may_have = is_primitive(found.element.kind)
                && found.element.kind != Kind::Xhtml
                && !found.element.is_attribute;
            if may_have {
                // Beside a value it was looked at with it.
                if is_alone {
                    self.occurrences(program, rule, first_count, *found, None, Some(member), scope);
                }
                return;
            }
        }
        let mut text = format!("'{name}' is not known here");
        let choice = rule.children.iter().map(|it| program.rule(*it)).find(|it| {
            it.is_choice && name.strip_prefix('_').unwrap_or(name).starts_with(&*it.name)
        });
        match choice {
            Some(choice) => text.push_str(&format!(
                "; '{}' is written with one of its types, and this is none of them",
                choice.name
            )),
            None => text.push_str("; leave it out, or say it by an extension"),
        }
        // The path of a name from outside has no place in a path of ours but at its end.
        let below: String = name.chars().take(64).collect();
        self.tell_below(
            &below,
            Severity::Error,
            IssueCode::Structure,
            name_value,
            "unknown-property",
            text,
        );
    }

    #[expect(clippy::too_many_arguments, reason = "what an element is, and where")]
    fn occurrences(
        &mut self,
        program: &'a Program,
        rule: &'a Rule,
        first_count: usize,
        found: Member,
        value: Option<Value<'a>>,
        sibling: Option<Value<'a>>,
        scope: Scope<'a>,
    ) {
        let child_at = rule.children[found.child as usize];
        let child = program.rule(child_at);
        let element = found.element;
        let count_at = first_count + found.child as usize;
        let shape = |run: &mut Self, given: Option<Value<'a>>| -> bool {
            let Some(given) = given else { return true };
            let is_array = given.kind() == JsonKind::Array;
            if is_array == element.is_array {
                return true;
            }
            run.enter(&child.name, None);
            let text = if is_array {
                "stands at most once, so it is no array; take the brackets away"
            } else {
                "may repeat, so it is an array even with one item; put it in brackets"
            };
            // What is null or of another kind is told once, and as this.
            run.error(IssueCode::Structure, given, "array", text);
            run.leave();
            false
        };
        if !shape(self, value) || !shape(self, sibling) {
            self.counts[count_at] += 1;
            return;
        }
        if !element.is_array {
            self.counts[count_at] += 1;
            self.enter(&child.name, None);
            let instance = Instance { value, sibling, element: Some(element) };
            self.occurrence(program, child, found, instance, scope);
            self.leave();
            return;
        }
        let length = |it: Option<Value<'a>>| it.map_or(0, |it| it.items().count());
        let (values, siblings) = (length(value), length(sibling));
        let total = values.max(siblings);
        if let (0, Some(array)) = (total, value.or(sibling)) {
            self.counts[count_at] += 1;
            self.enter(&child.name, None);
            let text = "an empty array says nothing; leave the element out";
            self.error(IssueCode::Structure, array, "array", text);
            self.leave();
        }
        let mut each_value = value.into_iter().flat_map(|it| it.items());
        let mut each_sibling = sibling.into_iter().flat_map(|it| it.items());
        for index in 0..total {
            if self.is_full() {
                return;
            }
            let value = each_value.next();
            let sibling = each_sibling.next().filter(|it| it.kind() != JsonKind::Null);
            let given = value.filter(|it| it.kind() != JsonKind::Null);
            self.counts[count_at] += 1;
            self.enter(&child.name, Some(index));
            match (given, sibling, value) {
                (None, None, at) => {
                    if let Some(at) = at.or(sibling) {
                        let text = "null stands for nothing here; leave it out";
                        self.error(IssueCode::Structure, at, "null", text);
                    }
                }
                _ => {
                    let instance = Instance { value: given, sibling, element: Some(element) };
                    self.occurrence(program, child, found, instance, scope);
                }
            }
            self.leave();
        }
    }

    fn occurrence(
        &mut self,
        program: &'a Program,
        rule: &'a Rule,
        found: Member,
        instance: Instance<'a>,
        scope: Scope<'a>,
    ) {
        let type_name = self.validator.schema().type_name(found.element);
        let content = found.content.map_or(rule, |it| program.rule(it));
        let paths: [&'a str; 2] = [&rule.path, &content.path];
        self.elements.push(Open { paths, type_name, instance });
        self.typed(program, rule, found, type_name, instance, scope);
        self.elements.pop();
    }
}

fn is_primitive(kind: Kind) -> bool {
    !matches!(kind, Kind::Complex(_) | Kind::Reference(_) | Kind::Identifier(_) | Kind::Resource)
}

/// Whether a name, as it is written, may begin with `_`; it may be an escape.
fn may_be_sibling(raw: &str) -> bool {
    matches!(raw.as_bytes().get(1), Some(b'_' | b'\\'))
}

/// `_name`, without allocating for the names that FHIR has.
fn format_sibling(name: &str) -> SiblingName {
    let mut bytes = [0_u8; 64];
    bytes[0] = b'_';
    let length = name.len().min(63);
    bytes[1..=length].copy_from_slice(&name.as_bytes()[..length]);
    SiblingName { bytes, length: length + 1 }
}

struct SiblingName {
    bytes: [u8; 64],
    length: usize,
}

impl std::ops::Deref for SiblingName {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}
