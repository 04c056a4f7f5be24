//! Snapshots made from the differentials of published packages against the published snapshots,
//! where the folder that `HEARTHGATE_TEST_DATA` names has them. Every difference has its reason
//! here, or the test fails.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]
#![expect(clippy::print_stdout, reason = "a skipped test says why, and differences are listed")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fhir_schema::DefinitionSet;
use fhir_schema::package::Package;
use fhir_schema::structure::{ElementDefinition, StructureDefinition, TypeReference};
use support::{TEST_DATA, folder};

fn read(folder: &Path, name: &str) -> Package {
    support::read(&folder.join("packages").join(format!("{name}.tgz")))
}

const OF_A_SLICE: &str =
    "a slice begins as what its profile says of all, published ones as what the base says";
const BEYOND: &str = "which elements are spelled out beyond those that someone constrains";

/// The element of which a slice is one, looked up with one slice's name less at a time.
fn unsliced<'a>(structure: &'a StructureDefinition, id: &str) -> Option<&'a ElementDefinition> {
    let mut id = id.to_owned();
    while let Some(at) = id.rfind(':') {
        let end = id[at..].find('.').map_or(id.len(), |end| at + end);
        id.replace_range(at..end, "");
        if let Some(found) = structure.element(&id) {
            return Some(found);
        }
    }
    None
}

fn codes(types: &[TypeReference]) -> Vec<TypeReference> {
    // What R4 calls a string later tools call an id.
    types.iter().map(|it| TypeReference { fhir_type: None, ..it.clone() }).collect()
}

fn keys(element: &ElementDefinition) -> Vec<(&str, Option<&str>)> {
    let mut keys: Vec<_> =
        element.constraints.iter().map(|it| (&*it.key, it.expression.as_deref())).collect();
    keys.sort_unstable();
    keys
}

/// Whether the first has a binding that asks for less than the second's.
fn is_weaker(one: &ElementDefinition, other: &ElementDefinition) -> bool {
    let strengths = ["example", "preferred", "extensible", "required"];
    let strength = |element: &ElementDefinition| {
        let binding = element.binding.as_ref()?;
        strengths.iter().position(|it| **it == *binding.strength)
    };
    strength(one).zip(strength(other)).is_some_and(|(one, other)| one < other)
}

/// What the base types say of a path, followed into datatypes.
fn base_element<'a>(type_name: &str, path: &str) -> Option<&'a ElementDefinition> {
    let structure = DefinitionSet::r4().type_structure(type_name)?;
    if let Some(found) = structure.elements.iter().find(|it| &*it.path == path) {
        return Some(found);
    }
    let holder = structure.elements.iter().skip(1).find(|it| {
        path.strip_prefix(&*it.path).is_some_and(|rest| rest.starts_with('.'))
            && !it.types.iter().any(|it| matches!(&*it.code, "BackboneElement" | "Element"))
    })?;
    let datatype = &*holder.types.first()?.code;
    base_element(datatype, &format!("{datatype}{}", path.strip_prefix(&*holder.path)?))
}

/// Why what was made differs from what was published in each member; `None` for no good reason.
fn differences(
    published: &ElementDefinition,
    made: &ElementDefinition,
    all_made: &StructureDefinition,
    base: Option<&ElementDefinition>,
) -> Vec<(&'static str, Option<&'static str>)> {
    let sliced = unsliced(all_made, &made.id);
    let mut found = Vec::new();
    macro_rules! compare {
        ($($member:ident $same:expr, $($or:expr),*);* $(;)?) => {$(
            if published.$member != made.$member && !$same {
                let of_slice = sliced.is_some_and(|it| it.$member == made.$member);
                let reason = if of_slice { Some(OF_A_SLICE) } else { None $(.or($or))* };
                found.push((stringify!($member), reason));
            }
        )*};
    }
    let binding = |element: &ElementDefinition| {
        element.binding.as_ref().map(|it| (Arc::clone(&it.strength), it.value_set.clone()))
    };
    let is_choice = made.name().ends_with("[x]");
    let choice = (is_choice && made.slicing != published.slicing)
        .then_some("a choice named by one alternative is not a slice in some published ones");
    compare! {
        slice_name false, None;
        min false, choice;
        max false, None;
        slicing false, choice;
        types codes(&published.types) == codes(&made.types), choice;
        content_reference false, made.content_reference.as_ref().zip(published.content_reference.as_ref())
            .is_some_and(|(made, published)| published.starts_with(&**made))
            .then_some("published as that of a slice, which the base does not have");
        fixed false, choice;
        pattern false, choice;
        min_value false, None;
        max_value false, None;
        max_length false, None;
        binding false, (binding(made) == binding(published))
            .then_some("the base's greatest value set holds for profiles too"),
            is_weaker(published, made).then_some("published with a weaker binding than the base's"),
            (published.binding.is_none() && made.slice_name.is_some())
            .then_some("published without the binding that the differential gives a slice"), choice;
        flags false, base.is_some_and(|base| {
                (made.flags.is_modifier || !base.flags.is_modifier)
                    && (made.flags.is_summary == base.flags.is_summary
                        || made.flags.is_summary == published.flags.is_summary)
                    && made.flags.must_support == published.flags.must_support
            })
            .then_some("what the type says of meaning and summary is published wrong in profiles"), choice;
    }
    if keys(published) != keys(made) {
        let of_slice = sliced.is_some_and(|it| keys(it) == keys(made));
        let of_resource = made.types.iter().any(|it| it.code.starts_with(char::is_uppercase))
            && keys(published).iter().filter(|it| !keys(made).contains(it)).count() > 0;
        found.push((
            "constraints",
            of_slice.then_some(OF_A_SLICE).or(of_resource
                .then_some("published with those of the type's own root, which hold anyway")),
        ));
    }
    found
}

#[test]
fn snapshots_made_from_differentials_say_what_the_published_ones_say() {
    let Some(folder) = folder(TEST_DATA) else { return };
    for name in ["hl7.fhir.us.core-6.1.0", "hl7.fhir.us.core-7.0.0", "hl7.fhir.uv.ips-1.1.0"] {
        let core = DefinitionSet::r4();
        let published = core.with_packages(vec![read(&folder, name)]).unwrap();
        let mut stripped = read(&folder, name);
        for source in &mut stripped.structure_definitions {
            // A profile of another package, which is not at hand, keeps its snapshot.
            let base = source.structure.base.as_deref().unwrap();
            if published.structure(base).is_some() {
                source.snapshot = None;
            }
        }
        let made = core.with_packages(vec![stripped]).unwrap();

        let mut compared = 0;
        let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut unexplained = Vec::new();
        for one in published.structures() {
            if &*published.package(one).unwrap().name == "hl7.fhir.r4.core" {
                continue;
            }
            let other = made.structure(&one.canonical()).unwrap();
            for element in &one.elements {
                let Some(own) = other.element(&element.id) else {
                    reasons.entry(BEYOND).or_default().push(format!("{} {}", one.name, element.id));
                    continue;
                };
                compared += 1;
                let base = base_element(&one.type_name, &element.path);
                for (member, reason) in differences(element, own, other, base) {
                    let line = format!("{} {} {member}", one.name, element.id);
                    match reason {
                        Some(reason) => reasons.entry(reason).or_default().push(line),
                        None => unexplained.push(line),
                    }
                }
            }
            for element in &other.elements {
                if one.element(&element.id).is_none() {
                    reasons.entry(BEYOND).or_default().push(format!("{} {}", one.name, element.id));
                }
            }
        }
        println!("{name}: {compared} elements compared");
        for (reason, lines) in &reasons {
            println!("  {} because {reason}", lines.len());
            for line in lines {
                println!("    {line}");
            }
        }
        assert!(compared > 2_000, "{compared}");
        assert!(unexplained.is_empty(), "{name}: {unexplained:#?}");
    }
}
