//! Good examples of US Core, each broken in one thing that a profile asks for: every copy is found
//! out, at the path of what was broken.
//!
//! What is broken follows from the definitions alone, in their order: the same copies every time.
//! Where something has to be told of a slice, the test finds it by itself (`broken/places.rs`).

#[path = "broken/places.rs"]
mod places;
mod published;
mod support;

use std::collections::BTreeMap;

use fhir_schema::TypeKind;
use fhir_schema::structure::{ElementDefinition, StructureDefinition, StructureKind};
use fhir_validation::{Issue, Options};
use places::{Place, Step, Way, at, at_mut, expression, template};
use published::{Loaded, examples_of};
use serde_json::{Value, json};

const PACKAGE: &str = "packages/hl7.fhir.us.core-6.1.0.tgz";
const US_CORE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/";

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Break {
    /// An element that must be supported gets a value of the wrong kind.
    MustSupport,
    /// An element that must be there is not.
    TooFew,
    /// An element stands once more than it may.
    TooMany,
    /// A code is not of the value set that it must be of.
    Binding,
    /// A value is not the fixed one, or not of the pattern.
    Fixed,
    /// A slice that must be there is not.
    SliceTooFew,
    /// A slice stands once more than it may.
    SliceTooMany,
}

/// Everything that can be broken, and how many copies the package is good for at least.
const ALL: [(Break, usize); 7] = [
    (Break::MustSupport, 515),
    (Break::TooFew, 311),
    (Break::TooMany, 607),
    (Break::Binding, 71),
    (Break::Fixed, 81),
    (Break::SliceTooFew, 28),
    (Break::SliceTooMany, 55),
];

/// What came of everything that is asked in one way.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Copies that were broken.
    broken: usize,
    /// Those found out at the right path.
    found: usize,
    /// Asked for, and no good example has the element.
    without_example: usize,
    /// The value set is of a package that is not there.
    unknown: usize,
    /// What was broken is of no slice that must be there any more, and nothing else is asked.
    outside: usize,
}

/// A broken copy.
struct Broken {
    copy: Value,
    /// The place of the element, and whether something within it may be named instead.
    path: String,
    within: bool,
}

impl Break {
    /// Whether a profile's element asks for this.
    fn is_asked_by(self, element: &ElementDefinition) -> bool {
        let is_slice = element.slice_name.is_some();
        match self {
            Self::MustSupport => element.flags.must_support,
            Self::TooFew => element.min > 0 && !is_slice,
            Self::TooMany => element.max.is_some_and(|max| max > 0) && !is_slice,
            Self::Binding => element
                .binding
                .as_ref()
                .is_some_and(|it| &*it.strength == "required" && it.value_set.is_some()),
            Self::Fixed => template(element).is_some(),
            Self::SliceTooFew => element.min > 0 && is_slice,
            Self::SliceTooMany => element.max.is_some_and(|max| max > 0) && is_slice,
        }
    }

    /// A copy that is broken at the first of these places.
    fn apply(self, root: &Value, element: &ElementDefinition, places: &[Place]) -> Option<Broken> {
        let place = places.first()?;
        let (last, parent) = place.split_last()?;
        let type_name = root.get("resourceType")?.as_str()?;
        let own = expression(type_name, place);
        let around = expression(type_name, parent);
        let mut copy = root.clone();
        let (path, within) = match self {
            Self::MustSupport => {
                let value = at_mut(&mut copy, place)?;
                *value = if value.is_object() { json!("wrong") } else { json!({ "wrong": 1 }) };
                (own, false)
            }
            Self::TooFew => {
                let members = at_mut(&mut copy, parent)?.as_object_mut()?;
                members.remove(&last.key);
                members.remove(&format!("_{}", last.key));
                (around, false)
            }
            Self::SliceTooFew => {
                remove(&mut copy, parent, places)?;
                (around, false)
            }
            Self::TooMany | Self::SliceTooMany => {
                let more =
                    (element.max? as usize + 1).checked_sub(places_beside(places, parent))?;
                let value = at(root, place)?.clone();
                let member = at_mut(&mut copy, parent)?.get_mut(&last.key)?;
                match member.as_array_mut() {
                    Some(items) => {
                        items.extend(std::iter::repeat_n(value, more));
                        (around, false)
                    }
                    // One value has no array to stand in.
                    None => {
                        *member = json!([value.clone(), value]);
                        (own, true)
                    }
                }
            }
            Self::Binding => {
                unbind(at_mut(&mut copy, place)?);
                (own, true)
            }
            Self::Fixed => {
                alter(at_mut(&mut copy, place)?, &template(element)?)?;
                (own, true)
            }
        };
        Some(Broken { copy, path, within })
    }
}

/// How many of the places are beside each other.
fn places_beside(places: &[Place], parent: &[Step]) -> usize {
    places.iter().filter(|it| it.len() == parent.len() + 1 && it.starts_with(parent)).count()
}

/// Takes out what stands at these places under one parent.
fn remove(copy: &mut Value, parent: &[Step], places: &[Place]) -> Option<()> {
    for place in places.iter().rev().filter(|it| it.starts_with(parent)) {
        let Step { key, index, .. } = place.last()?;
        let members = at_mut(copy, parent)?.as_object_mut()?;
        let is_empty = match index {
            Some(index) => {
                let items = members.get_mut(key)?.as_array_mut()?;
                items.remove(*index);
                items.is_empty()
            }
            None => true,
        };
        if is_empty {
            members.remove(key);
        }
    }
    Some(())
}

/// Puts a code that no value set has in place of whatever is coded.
fn unbind(value: &mut Value) {
    let coding = json!({ "system": "http://example.org/none", "code": "no-such-code" });
    match value {
        Value::Object(members) if members.contains_key("coding") => {
            members.insert("coding".into(), json!([coding]));
        }
        Value::Object(members) if members.contains_key("code") => {
            members.insert("code".into(), json!("no-such-code"));
        }
        other if other.is_object() => *other = json!({ "coding": [coding] }),
        other => *other = json!("no-such-code"),
    }
}

/// Changes one thing that a template has, wherever the value has it.
fn alter(value: &mut Value, template: &Value) -> Option<()> {
    match (value, template) {
        (Value::Object(value), Value::Object(template)) => {
            // The code rather than the system: a code of no system has a rule of its own.
            let name =
                if template.contains_key("code") { "code" } else { template.keys().next()? };
            alter(value.get_mut(name)?, &template[name])
        }
        (Value::Array(items), Value::Array(template)) => {
            let changed: Vec<_> =
                items.iter_mut().filter_map(|it| alter(it, template.first()?)).collect();
            (!changed.is_empty()).then_some(())
        }
        (Value::String(text), _) => {
            text.push_str("-altered");
            Some(())
        }
        (Value::Bool(value), _) => {
            *value = !*value;
            Some(())
        }
        (value @ Value::Number(_), _) => {
            *value = json!(987_654);
            Some(())
        }
        _ => None,
    }
}

/// A good example of a profile, and the validator that it is good for.
struct Bench {
    loaded: Loaded,
    /// By profile: name and resource.
    good: BTreeMap<String, Vec<(String, Value)>>,
}

impl Bench {
    fn issues(&self, profile: &str, resource: &Value) -> Vec<Issue> {
        let asked = [profile];
        let options = Options { profiles: &asked, ..Options::default() };
        self.loaded.validator.validate_json(resource.to_string().as_bytes(), &options)
    }

    /// Breaks the first good example that has the element.
    fn one(
        &self,
        how: Break,
        profile: &StructureDefinition,
        element: &ElementDefinition,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let examples = self.good.get(&*profile.url).map_or(&[][..], Vec::as_slice);
        let way = Way::to(profile, element);
        let broken = way.iter().find_map(|way| {
            examples.iter().find_map(|(name, root)| {
                let places = way.places(root);
                Some((way, name, how.apply(root, element, &places)?, places))
            })
        });
        let Some((way, name, broken, places)) = broken else {
            counts.without_example += 1;
            return Ok(());
        };
        let type_name = &*profile.type_name;
        let mut right = vec![broken.path.clone()];
        let mut left_optional = false;
        for slice in &way.slices {
            let of_slice = &places[0][..slice.steps.min(places[0].len())];
            // Without its mark it is of the slice no longer, which is told where it is missed.
            if way.is_in(slice, &broken.copy, of_slice) != Some(true) {
                right.push(expression(type_name, &of_slice[..of_slice.len() - 1]));
                left_optional |= slice.definition.min == 0;
            }
        }
        let issues = self.issues(&profile.url, &broken.copy);
        let is_right = |it: &&Issue| {
            let within = broken.within && is_within(&it.expression, &broken.path);
            right.contains(&it.expression) || within
        };
        let is_found = issues.iter().filter(|it| it.is_error()).any(|it| is_right(&it));
        if !is_found && left_optional {
            counts.outside += 1;
            return Ok(());
        }
        let is_unknown = |it: &Issue| it.rule == "binding-unknown";
        if !is_found
            && how == Break::Binding
            && issues.iter().any(|it| is_unknown(it) && is_right(&it))
        {
            counts.unknown += 1;
            return Ok(());
        }
        counts.broken += 1;
        if is_found {
            counts.found += 1;
            return Ok(());
        }
        let errors: Vec<String> =
            issues.iter().filter(|it| it.is_error()).map(ToString::to_string).collect();
        Err(format!("{how:?} {} in {name} at {right:?}: {errors:?}", element.id))
    }
}

fn is_within(expression: &str, path: &str) -> bool {
    expression
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[test]
fn one_broken_copy_for_all_that_us_core_asks_is_found_at_its_path() {
    // VAL-051
    let Some(folder) = support::folder("HEARTHGATE_TEST_DATA") else { return };
    let file = folder.join(PACKAGE);
    let mut bench = Bench { loaded: Loaded::read(&file).unwrap(), good: BTreeMap::new() };
    for (name, json) in examples_of(&file).unwrap() {
        let resource: Value = serde_json::from_slice(&json).unwrap();
        let profiles = resource["meta"]["profile"].as_array().into_iter().flatten();
        for profile in profiles.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>() {
            let is_good = !bench.issues(&profile, &resource).iter().any(Issue::is_error);
            if profile.starts_with(US_CORE) && is_good {
                let of = bench.good.entry(profile).or_default();
                of.push((name.clone(), resource.clone()));
            }
        }
    }
    let mut counts: BTreeMap<Break, Counts> = BTreeMap::new();
    let (mut profiles, mut missed) = (0, Vec::new());
    for profile in bench.loaded.definitions.structures() {
        let is_ours = profile.url.starts_with(US_CORE)
            && profile.kind == StructureKind::Type(TypeKind::Resource);
        if !is_ours || !profile.is_profile() {
            continue;
        }
        profiles += 1;
        for element in &profile.elements[1..] {
            for (how, _) in ALL.into_iter().filter(|(how, _)| how.is_asked_by(element)) {
                let of = counts.entry(how).or_default();
                missed.extend(bench.one(how, profile, element, of).err());
            }
        }
    }
    report(profiles, &counts);
    assert!(profiles >= 49, "{profiles}");
    for (how, least) in ALL {
        let Counts { broken, .. } = counts[&how];
        assert!(broken >= least, "{how:?}: {broken} copies, and there were {least}");
    }
    assert!(missed.is_empty(), "{} missed\n{}", missed.len(), missed.join("\n"));
}

#[expect(clippy::print_stdout, reason = "the output of a test is what this is for")]
fn report(profiles: usize, counts: &BTreeMap<Break, Counts>) {
    println!("{profiles} profiles");
    for (how, counts) in counts {
        println!("{how:?}: {counts:?}");
    }
}
