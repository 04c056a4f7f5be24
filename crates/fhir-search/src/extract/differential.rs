//! What the walk along paths takes from a resource is what FHIRPath finds there, on R4's examples.

#[path = "../../tests/support/examples.rs"]
mod examples;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fhir_schema::{DefinitionSet, Schema};
use fhir_terminology::Terminology;
use fhirpath::{Context, Expression, FhirValue, Item, ReferenceTypes};

use super::convert::Converter;
use super::units::Units;
use super::{ExtractOptions, Extractor};
use crate::parameters::{Kind, ParameterId, Parameters};
use crate::value::{IndexValue, ReferenceTarget};

/// Examples of each type that are looked at.
const OF_A_TYPE: usize = 25;

/// A value as text, a code without the system that only its binding tells.
fn text(value: &IndexValue<'_>) -> String {
    let mut value = value.clone();
    if let IndexValue::Token(token) = &mut value
        && token.text.is_none()
    {
        token.system = None;
    }
    format!("{value:?}")
}

#[test]
fn paths_lead_to_what_fhirpath_finds() {
    let (schema, definitions) = (Schema::r4(), DefinitionSet::r4());
    let parameters = Arc::new(Parameters::new(definitions, schema));
    let terminology = Terminology::r4();
    let extractor =
        Extractor::new(schema, Arc::clone(&parameters), definitions.clone(), terminology.clone());
    let mut expressions: HashMap<ParameterId, Expression> = HashMap::new();
    for parameter in parameters.all() {
        let is_of_values = !matches!(parameter.kind, Kind::Composite | Kind::Special);
        if let Some(text) = parameter.expression().filter(|_| is_of_values) {
            let of = &parameter.resource_type;
            let expression = Expression::compile(text, schema, of, fhirpath::Options::default());
            expressions.insert(parameter.id, expression.unwrap());
        }
    }
    let (units, options, host) = (Units::default(), ExtractOptions::default(), ReferenceTypes);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let (mut compared, mut different) = (0, Vec::new());
    let is_there = examples::each_example(|document| {
        let resource = document.root();
        let of = resource.get_str("resourceType").unwrap().into_owned();
        let count = seen.entry(of.clone()).or_default();
        *count += 1;
        // It shows 1.0 and 1.00, of which a union has one.
        let is_of_decimals = resource.get("id").is_some_and(|it| it.is_string("decimal"));
        if *count > OF_A_TYPE || resource.raw().len() > 100_000 || is_of_decimals {
            return;
        }
        let extracted = extractor.extract(resource, &options);
        let focus = Item::Fhir(FhirValue::resource(schema, resource));
        let context = Context::new(schema).with_host(&host);
        for parameter in parameters.of_type(&of) {
            let Some(expression) = expressions.get(&parameter.id) else { continue };
            let mut converter = Converter {
                schema,
                terminology: &terminology,
                units: &units,
                options: &options,
                values: Vec::new(),
                unreadable: Vec::new(),
            };
            let items = expression.evaluate(&context, &focus).unwrap();
            items.iter().for_each(|item| converter.take_item(parameter.kind, item));
            // FHIRPath alone does not know Reference.type.
            let is_told = |value: &&IndexValue<'_>| match value {
                IndexValue::Reference(reference) => {
                    !matches!(reference.target, ReferenceTarget::Logical)
                        || !expression.text().contains("resolve()")
                }
                _ => true,
            };
            let by_path: BTreeSet<String> =
                extracted.of(parameter.id).filter(is_told).map(text).collect();
            let by_expression: BTreeSet<String> =
                converter.values.iter().filter(is_told).map(text).collect();
            compared += by_expression.len();
            if by_path != by_expression {
                let id = resource.get_str("id").unwrap_or_default();
                let code = parameter.code();
                different.push(format!("{of}/{id} {code}\n  {by_path:?}\n  {by_expression:?}"));
            }
        }
    });
    assert!(!is_there || compared > 10_000, "{compared}");
    assert!(different.is_empty(), "{}\n{}", different.len(), different.join("\n"));
}
