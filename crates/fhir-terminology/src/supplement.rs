//! Code system supplements (FHIR R4, 4.8.5): further names and properties of the concepts of a
//! code system, put together with it for whoever asks for them.

use std::sync::Arc;

use crate::canonical::Canonical;
use crate::code_system::{CodeSystem, DesignationRow, Span, ValueRow, ValueSpan};

/// The code system with what these supplements of it add; supplements of others add nothing.
pub(crate) fn supplemented(
    system: Arc<CodeSystem>,
    supplements: &[Arc<CodeSystem>],
) -> Arc<CodeSystem> {
    let mut system = system;
    for supplement in supplements {
        if is_of(supplement, &system) {
            system = Arc::new(with(&system, supplement));
        }
    }
    system
}

fn is_of(supplement: &CodeSystem, system: &CodeSystem) -> bool {
    supplement.supplements.as_deref().map(Canonical::parse).is_some_and(|of| {
        let same =
            of.version.is_none_or(|version| system.naming.version.as_deref() == Some(version));
        of.url == &*system.naming.url && same
    })
}

/// The texts of both stand one after the other; what is the supplement's is further back.
fn with(system: &CodeSystem, supplement: &CodeSystem) -> CodeSystem {
    let language = supplement.naming.language.as_deref().unwrap_or_default();
    let text = [&*system.text, &*supplement.text, language].concat();
    let count =
        |length: usize| u32::try_from(length).expect("a request's resources are far below 4 GiB");
    let behind = count(system.text.len());
    let end = count(text.len());
    let language = Span { start: end - count(language.len()), end };
    let moved = |span: Span| Span { start: span.start + behind, end: span.end + behind };
    let range = |(start, end): (u32, u32)| start as usize..end as usize;

    let mut both = CodeSystem {
        text: text.into_boxed_str(),
        designations: Vec::with_capacity(system.designations.len() + supplement.designations.len()),
        values: Vec::with_capacity(system.values.len() + supplement.values.len()),
        ..system.clone()
    };
    // Codes are told apart as the code system does it.
    let mut additions = vec![None; system.concepts.len()];
    for added in supplement.concepts() {
        if let Some(concept) = system.find(supplement.code(added)) {
            additions[concept as usize] = Some(&supplement.concepts[added as usize]);
        }
    }
    for ((row, own), added) in both.concepts.iter_mut().zip(&system.concepts).zip(additions) {
        let (designations, values) = (count(both.designations.len()), count(both.values.len()));
        both.designations.extend_from_slice(&system.designations[range(own.designations)]);
        both.values.extend_from_slice(&system.values[range(own.values)]);
        if let Some(added) = added {
            let further = &supplement.designations[range(added.designations)];
            both.designations.extend(further.iter().map(|row| DesignationRow {
                language: moved(row.language),
                use_system: moved(row.use_system),
                use_code: moved(row.use_code),
                value: moved(row.value),
            }));
            // What a supplement in another language calls the concept.
            if added.display.start < added.display.end && language.start < language.end {
                both.designations.push(DesignationRow {
                    language,
                    use_system: Span::default(),
                    use_code: Span::default(),
                    value: moved(added.display),
                });
            }
            let further = &supplement.values[range(added.values)];
            both.values.extend(further.iter().map(|row| ValueRow {
                property: moved(row.property),
                value: moved_value(&row.value, moved),
            }));
        }
        row.designations = (designations, count(both.designations.len()));
        row.values = (values, count(both.values.len()));
    }
    let known = |code: &str| system.property(code).is_some();
    let further = supplement.properties.iter().filter(|property| !known(&property.code));
    both.properties.extend(further.cloned());
    both
}

fn moved_value(value: &ValueSpan, moved: impl Fn(Span) -> Span) -> ValueSpan {
    match *value {
        ValueSpan::Code(text) => ValueSpan::Code(moved(text)),
        ValueSpan::String(text) => ValueSpan::String(moved(text)),
        ValueSpan::Integer(text) => ValueSpan::Integer(moved(text)),
        ValueSpan::DateTime(text) => ValueSpan::DateTime(moved(text)),
        ValueSpan::Decimal(text) => ValueSpan::Decimal(moved(text)),
        ValueSpan::Boolean(value) => ValueSpan::Boolean(value),
        ValueSpan::Coding { system, version, code, display } => ValueSpan::Coding {
            system: moved(system),
            version: moved(version),
            code: moved(code),
            display: moved(display),
        },
    }
}
