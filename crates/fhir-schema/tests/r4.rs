//! Facts of R4, looked up by hand in the specification, against what is built in.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

use fhir_schema::{Kind, Schema, TypeKind, compiled};

/// Follows JSON names from a resource's root or a datatype; `Kind`, node and `[]` for an array.
fn describe(path: &str) -> Option<String> {
    let schema = Schema::r4();
    let mut names = path.split('.');
    let root = names.next()?;
    let mut node = schema.resource(root).or_else(|| schema.datatype(root));
    let mut description = None;
    for name in names {
        let element = schema.element(node?, name)?;
        node = element.kind.node();
        let array = if element.is_array { "[]" } else { "" };
        description = Some(match (element.kind, node) {
            (Kind::Complex(_), Some(node)) => format!("{}{array}", schema.node_path(node)),
            (kind, None) => format!("{kind:?}{array}"),
            (Kind::Reference(_), Some(_)) => format!("Reference{array}"),
            (_, Some(_)) => format!("Identifier{array}"),
        });
    }
    description
}

#[track_caller]
fn check(path: &str, expected: &str) {
    assert_eq!(describe(path).as_deref(), Some(expected), "{path}");
}

#[track_caller]
fn check_absent(path: &str) {
    assert_eq!(describe(path), None, "{path}");
}

#[test]
fn elements_have_the_types_of_the_specification() {
    check("Patient.name", "HumanName[]");
    check("Patient.birthDate", "Primitive");
    check("Patient.identifier", "Identifier[]");
    check("Patient.managingOrganization", "Reference");
    check("Patient.generalPractitioner", "Reference[]");
    check("Observation.code.coding.system", "Uri");
    check("Patient.identifier.system", "Uri");
    check("Patient.identifier.assigner", "Reference");
    check("Observation.subject.identifier", "Identifier");
    check("Observation.subject.reference", "Primitive");
    check("Observation.subject.type", "Uri");
    check("Attachment.url", "Url");
    check("Attachment.data", "Primitive");
    check("Endpoint.address", "Url");
    check("ValueSet.url", "Uri");
    check("Patient.meta.profile", "Canonical[]");
    check("Patient.meta.source", "Uri");
    check("Patient.implicitRules", "Uri");
    check("QuestionnaireResponse.questionnaire", "Canonical");
    check("CarePlan.instantiatesUri", "Uri[]");
    check("Patient.text.div", "Xhtml");
    check("Coverage.payor", "Reference[]");
    check("SampledData.dimensions", "Primitive");
    check("Timing.repeat", "Timing.repeat");
    check("Timing.repeat.boundsPeriod", "Period");
    check("ElementDefinition.slicing.discriminator", "ElementDefinition.slicing.discriminator[]");
}

#[test]
fn backbone_elements_have_nodes_of_their_own() {
    check("Patient.contact", "Patient.contact[]");
    check("Patient.contact.telecom", "ContactPoint[]");
    check("Claim.item.detail.subDetail.udi", "Reference[]");
    check("Observation.component.code", "CodeableConcept");
    check("Dosage.doseAndRate.doseQuantity", "Quantity");
}

#[test]
fn content_references_lead_to_the_elements_they_name() {
    check("Questionnaire.item.item", "Questionnaire.item[]");
    check("Questionnaire.item.item.item.item.enableWhen", "Questionnaire.item.enableWhen[]");
    check("Bundle.entry.link", "Bundle.link[]");
    check("Bundle.entry.link.url", "Uri");
    check("Parameters.parameter.part", "Parameters.parameter[]");
    check("Parameters.parameter.part.part.valueReference", "Reference");
    check("Observation.component.referenceRange.low", "Quantity");
    check("ClaimResponse.adjudication", "ClaimResponse.item.adjudication[]");
    check("Consent.provision.provision", "Consent.provision[]");
}

#[test]
fn a_choice_stands_under_the_names_of_its_types_alone() {
    check("Observation.valueQuantity", "Quantity");
    check("Observation.valueString", "Primitive");
    check("Observation.effectiveDateTime", "Primitive");
    check("MedicationRequest.medicationReference", "Reference");
    check("Extension.valueIdentifier", "Identifier");
    check("Extension.valueUri", "Uri");
    check("Extension.valueOid", "Oid");
    check("Extension.valueUuid", "Uuid");
    check("Extension.valueUrl", "Url");
    check("Extension.valueCanonical", "Canonical");
    check("Parameters.parameter.valueSignature", "Signature");
    check("ElementDefinition.fixedReference", "Reference");
    check_absent("Observation.value");
    check_absent("Observation.value[x]");
    check_absent("Observation.valueReference");
    check_absent("MedicationRequest.medicationString");

    let schema = Schema::r4();
    let observation = schema.resource("Observation").unwrap();
    let is_choice = |name| schema.element(observation, name).unwrap().is_choice;
    assert!(is_choice("valueQuantity") && is_choice("_valueString"));
    assert!(!is_choice("status"));
}

#[test]
fn an_underscore_leads_to_the_id_and_extensions_of_a_primitive() {
    check("Patient._birthDate", "Element");
    check("Patient._birthDate.extension", "Extension[]");
    check("Patient._birthDate.id", "Primitive");
    check("HumanName._given", "Element[]");
    check("Observation._valueString", "Element");
    check("ValueSet._url", "Element");
    // Not of what is no primitive, nor of what has no room for it.
    check_absent("Patient._name");
    check_absent("Patient._id");
    check_absent("Extension._url");
    check_absent("Narrative._div");
    check_absent("Patient.__birthDate");
    check_absent("Patient._");
    check_absent("Patient._birthDate.value");
}

#[test]
fn extensions_are_everywhere_and_nest() {
    check("Patient.extension", "Extension[]");
    check("Patient.modifierExtension", "Extension[]");
    check("Patient.contact.modifierExtension.valueReference", "Reference");
    check("Patient.name.extension.extension.url", "Primitive");
    check_absent("HumanName.modifierExtension");
}

#[test]
fn resources_within_resources_are_told_apart() {
    check("Patient.contained", "Resource[]");
    check("Bundle.entry.resource", "Resource");
    check("Bundle.entry.response.outcome", "Resource");
    check("Parameters.parameter.resource", "Resource");
    check_absent("Bundle.contained");
    check_absent("Bundle.entry.resource.id");
}

#[test]
fn ids_are_bare_values_and_resource_type_is_no_element() {
    check("Patient.id", "Primitive");
    check("Patient.contact.id", "Primitive");
    check_absent("Patient.resourceType");
    // Here it is one.
    check("ExampleScenario.instance.resourceType", "Primitive");
    check_absent("Patient.surname");
    check_absent("Patient.");
}

#[test]
fn resource_types_are_the_concrete_ones() {
    let schema = Schema::r4();
    let names: Vec<&str> = schema.resource_types().collect();
    // The value set resource-types has 148 codes: these and the two abstract types.
    assert_eq!(names.len(), 146);
    assert!(names.is_sorted());
    for name in &names {
        assert!(schema.is_resource_type(name) && !schema.is_abstract(name));
    }
    for name in ["Resource", "DomainResource", "Element", "BackboneElement"] {
        assert!(schema.is_abstract(name), "{name}");
        assert!(!schema.is_resource_type(name) && schema.resource(name).is_none());
    }
    for name in ["patient", "Quantity", "string", "Event", "BodySite", "Citation", ""] {
        assert!(!schema.is_resource_type(name), "{name}");
    }
    assert!(schema.datatype("Patient").is_none());
    assert!(schema.datatype("string").is_none());
    assert!(schema.datatype("Element").is_some());
    assert!(schema.datatype("SimpleQuantity").is_none(), "a profile");
}

#[test]
fn identifier_covers_what_its_search_parameter_says() {
    let paths = |resource_type| -> Vec<String> {
        let paths = Schema::r4().identifier_paths(resource_type).iter();
        paths.map(ToString::to_string).collect()
    };
    assert_eq!(paths("Patient"), ["identifier"]);
    assert_eq!(paths("Practitioner"), ["identifier"]);
    assert_eq!(paths("Bundle"), ["identifier"]);
    assert_eq!(paths("DocumentReference"), ["masterIdentifier", "identifier"]);
    assert_eq!(paths("DocumentManifest"), ["masterIdentifier", "identifier"]);
    assert!(paths("Binary").is_empty() && paths("Nothing").is_empty());
}

#[test]
fn the_patient_compartment_has_the_parameters_of_its_definition_and_no_others() {
    // LEAK-04
    let paths = |resource_type| -> Vec<String> {
        let paths = Schema::r4().patient_compartment(resource_type).iter();
        paths.map(ToString::to_string).collect()
    };
    assert_eq!(paths("Observation"), ["subject", "performer"]);
    assert_eq!(paths("Patient"), ["link.other"]);
    assert_eq!(paths("AllergyIntolerance"), ["patient", "recorder", "asserter"]);
    assert_eq!(paths("AuditEvent"), ["agent.who", "entity.what"]);
    assert_eq!(paths("Appointment"), ["participant.actor"]);
    assert_eq!(paths("CarePlan"), ["subject", "activity.detail.performer"]);
    assert_eq!(paths("Coverage"), ["policyHolder", "subscriber", "beneficiary", "payor"]);
    assert_eq!(paths("EnrollmentRequest"), ["candidate"]);
    assert_eq!(paths("Group"), ["member.entity"]);
    assert_eq!(paths("Encounter"), ["subject"]);

    let schema = Schema::r4();
    for outside in ["Medication", "Organization", "Practitioner", "Binary", "Device", "Nothing"] {
        assert!(!schema.in_patient_compartment(outside), "{outside}");
        assert!(paths(outside).is_empty(), "{outside}");
    }
    let inside = schema.resource_types().filter(|name| schema.in_patient_compartment(name));
    assert_eq!(inside.count(), 66);
}

#[test]
fn every_plain_path_leads_to_a_reference_or_an_identifier() {
    let schema = Schema::r4();
    assert_eq!(schema.unresolved_expressions(), []);
    for resource_type in schema.resource_types() {
        for path in schema.patient_compartment(resource_type) {
            let found = describe(&format!("{resource_type}.{path}")).unwrap();
            assert!(found.starts_with("Reference"), "{resource_type}.{path}");
        }
        for path in schema.identifier_paths(resource_type) {
            let found = describe(&format!("{resource_type}.{path}")).unwrap();
            assert!(found.starts_with("Identifier"), "{resource_type}.{path}");
        }
        let has_paths = !schema.patient_compartment(resource_type).is_empty();
        assert_eq!(has_paths, schema.in_patient_compartment(resource_type));
    }
}

#[test]
fn the_file_says_what_it_was_compiled_from() {
    let file = include_bytes!("../definitions/r4.zst");
    let header = compiled::header(file).unwrap();
    assert_eq!(header.format, compiled::FORMAT);
    assert_eq!(&*header.source.package, "hl7.fhir.r4.core");
    assert_eq!(&*header.source.version, "4.0.1");
    assert_eq!(&*header.source.licence, "CC0-1.0");
    assert_eq!(&*header.source.fhir_version, "4.0.1");
    assert_eq!(Schema::r4().fhir_version(), "4.0.1");
    assert_eq!(*Schema::r4().source(), header.source);
    assert!(file.len() < 300_000);
}

#[test]
fn the_whole_element_tree_is_in_the_file() {
    let definitions = compiled::decode(include_bytes!("../definitions/r4.zst")).unwrap();
    let count = |kind| definitions.types.iter().filter(|it| it.kind == kind).count();
    assert_eq!(count(TypeKind::Resource), 148);
    assert_eq!(count(TypeKind::Complex), 41);
    assert_eq!(count(TypeKind::Primitive), 20);

    let elements = |type_name: &str| {
        let mut types = definitions.types.iter();
        &types.find(|it| &*it.name == type_name).unwrap().elements
    };
    let element = |path: &str| {
        let mut elements = elements(path.split_once('.').unwrap().0).iter();
        elements.find(|it| &*it.path == path).unwrap()
    };
    let status = element("Observation.status");
    assert_eq!((status.min, status.max), (1, Some(1)));
    assert_eq!(element("Patient.name").max, None);
    let code = element("Observation.component.code");
    assert_eq!((code.min, &*code.types[0]), (1, "CodeableConcept"));
    assert_eq!(element("Extension.value[x]").types.len(), 50);
    let part = element("Parameters.parameter.part").content_reference.as_deref();
    assert_eq!(part, Some("Parameters.parameter"));
    let id = &element("Patient.id").types;
    assert_eq!(&*id[0], "http://hl7.org/fhirpath/System.String");
    assert_eq!(element("xhtml.extension").max, Some(0));
}

#[test]
fn elements_stand_in_the_definition_s_order_with_alternatives_of_a_choice_together() {
    let schema = Schema::r4();
    let node = schema.resource("Observation").unwrap();
    let names: Vec<&str> = schema.elements(node).map(|(name, _)| name).collect();
    assert_eq!(names[..5], ["id", "meta", "implicitRules", "language", "text"]);
    let at = names.iter().position(|name| *name == "valueQuantity").unwrap();
    assert_eq!(
        names[at - 1..at + 3],
        ["performer", "valueQuantity", "valueCodeableConcept", "valueString"]
    );
    assert_eq!(*names.last().unwrap(), "component");
    let mut seen = 0;
    for name in schema.type_names() {
        let Some(node) = schema.resource(name).or_else(|| schema.datatype(name)) else { continue };
        for (json_name, element) in schema.elements(node) {
            assert_eq!(schema.element(node, json_name), Some(element), "{name}.{json_name}");
            seen += 1;
        }
    }
    assert!(seen > 2_000, "{seen}");
}

#[test]
fn a_choice_gives_its_alternatives_and_an_alternative_its_choice() {
    let schema = Schema::r4();
    let node = schema.resource("MedicationRequest").unwrap();
    let alternatives: Vec<_> = schema
        .choice(node, "medication")
        .map(|(name, element)| (name, schema.type_name(element), element.min))
        .collect();
    assert_eq!(
        alternatives,
        [
            ("medicationCodeableConcept", "CodeableConcept", 1),
            ("medicationReference", "Reference", 1)
        ]
    );
    let (name, element) = schema.choice(node, "reported").next().unwrap();
    assert_eq!(element.choice_name(name), Some("reported"));
    assert_eq!(schema.choice(node, "status").count(), 0, "no choice");
    assert_eq!(schema.choice(node, "med").count(), 0, "not the whole name");
}

#[test]
fn every_element_has_the_name_of_its_fhir_type() {
    let schema = Schema::r4();
    for (path, type_name) in [
        ("Patient.id", "id"),
        ("Patient.contact", "BackboneElement"),
        ("Patient.contact.id", "string"),
        ("Patient.contact.gender", "code"),
        ("Patient._birthDate", "Element"),
        ("Patient.text.div", "xhtml"),
        ("Patient.contained", "Resource"),
        ("Patient.extension.url", "uri"),
        ("Patient.extension.valueAge", "Age"),
        ("Questionnaire.item.item", "BackboneElement"),
        ("Bundle.entry.link", "BackboneElement"),
        ("Timing.repeat", "Element"),
        ("Quantity.id", "string"),
    ] {
        let mut names = path.split('.');
        let root = names.next().unwrap();
        let mut node = schema.resource(root).or_else(|| schema.datatype(root));
        let mut found = None;
        for name in names {
            found = schema.element(node.unwrap(), name);
            node = found.unwrap().kind.node();
        }
        assert_eq!(schema.type_name(found.unwrap()), type_name, "{path}");
    }
}

#[test]
fn types_have_kinds_and_bases() {
    let schema = Schema::r4();
    for (name, kind, base) in [
        ("Age", TypeKind::Complex, Some("Quantity")),
        ("code", TypeKind::Primitive, Some("string")),
        ("string", TypeKind::Primitive, Some("Element")),
        ("Element", TypeKind::Complex, None),
        ("Patient", TypeKind::Resource, Some("DomainResource")),
        ("Bundle", TypeKind::Resource, Some("Resource")),
    ] {
        assert_eq!(schema.type_kind(name), Some(kind), "{name}");
        assert_eq!(schema.base_type(name), base, "{name}");
    }
    assert_eq!(schema.type_kind("Nothing"), None);
    assert!(schema.is_subtype("Patient", "Resource"));
    assert!(schema.is_subtype("id", "string"));
    assert!(!schema.is_subtype("string", "id"));
}

#[test]
fn ids_of_elements_and_urls_of_extensions_alone_are_attributes_in_xml() {
    let schema = Schema::r4();
    for name in schema.type_names() {
        let Some(node) = schema.resource(name).or_else(|| schema.datatype(name)) else { continue };
        let is_resource = schema.type_kind(name) == Some(TypeKind::Resource);
        for (json_name, element) in schema.elements(node) {
            let expected = match json_name {
                "id" => !is_resource,
                "url" => name == "Extension",
                _ => false,
            };
            assert_eq!(element.is_attribute, expected, "{name}.{json_name}");
        }
    }
}
