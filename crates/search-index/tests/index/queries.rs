//! Each kind of query finds what it asks for.

use crate::support::{CONTEXT, Site, query};
use fhir_search::NoCodes;
use search_index::{SearchError, Visible};

/// What queries find, in the order of the log: ids alone.
fn check(site: &Site, expected: &[(&str, &[&str])]) {
    for (url, ids) in expected {
        let found = site.find(url);
        let found: Vec<&str> = found.iter().filter_map(|it| it.split('/').nth(1)).collect();
        assert_eq!(found, *ids, "{url}");
    }
}

/// The same from the tail, from a segment, and from several.
fn check_settled(resources: &[&str], expected: &[(&str, &[&str])]) {
    let site = Site::with(resources);
    check(&site, expected);
    site.settle();
    check(&site, expected);
    let mut site = Site::default();
    for resource in resources {
        site.put(resource);
        site.settle();
    }
    check(&site, expected);
}

const PATIENTS: &[&str] = &[
    r#"{"resourceType":"Patient","id":"a","active":true,"gender":"male","birthDate":"1970-03-30",
        "name":[{"family":"Carreño Quiñones","given":["Eve","Adam"]}],
        "identifier":[{"system":"counts","value":"X1","type":{"text":"Medical record",
            "coding":[{"system":"t","code":"MR"}]}},{"value":"free"}],
        "address":[{"line":["5 Main St, rear"]}],
        "managingOrganization":{"reference":"Organization/child"}}"#,
    r#"{"resourceType":"Patient","id":"b","active":false,"gender":"female","birthDate":"1980-01",
        "name":[{"family":"Müller","given":["Anna"]}],
        "identifier":[{"system":"counts","value":"x1"},{"system":"other","value":"X1"}],
        "managingOrganization":{"reference":"Organization/root"}}"#,
    r#"{"resourceType":"Patient","id":"c","name":[{"family":"Muller"}],
        "meta":{"tag":[{"system":"s","code":"vip"}],"profile":["http://a/p|1.0"]},
        "generalPractitioner":[{"reference":"Practitioner/p"},{"display":"Dr Who",
            "identifier":{"system":"npi","value":"7"}}]}"#,
    r#"{"resourceType":"Organization","id":"root","name":"All"}"#,
    r#"{"resourceType":"Organization","id":"child","name":"Ward","partOf":{"reference":"Organization/root"}}"#,
    r#"{"resourceType":"Practitioner","id":"p","name":[{"family":"Who"}]}"#,
];

#[test]
fn strings_are_found_folded_by_their_start_anywhere_and_to_the_letter() {
    // SRCH-080, SRCH-081, SRCH-082, SRCH-086
    check_settled(
        PATIENTS,
        &[
            ("Patient?family=mull", &["b", "c"]),
            ("Patient?family=Quinones", &["a"]),
            ("Patient?family:exact=Muller", &["c"]),
            ("Patient?family:contains=arren", &["a"]),
            ("Patient?name=adam,anna", &["a", "b"]),
            ("Patient?given=eve&given=adam", &["a"]),
            ("Patient?address=5%20main%20st\\, rear", &["a"]),
            ("Patient?family=uller", &[]),
            ("Patient?name=quinones", &["a"]),
            // Words of other texts than names do not count.
            ("Patient?address=main", &[]),
            ("Organization?name=war", &["child"]),
        ],
    );
}

#[test]
fn tokens_are_found_by_code_and_system_and_by_what_belongs_to_them() {
    // SRCH-095, SRCH-101, SRCH-102, SRCH-103, SRCH-246
    check_settled(
        PATIENTS,
        &[
            ("Patient?identifier=X1", &["a", "b"]),
            ("Patient?identifier=counts|X1", &["a"]),
            ("Patient?identifier=other|x1", &["b"]),
            ("Patient?identifier=|free", &["a"]),
            ("Patient?identifier=|X1", &[]),
            ("Patient?identifier=counts|", &["a", "b"]),
            ("Patient?identifier:of-type=t|MR|X1", &["a"]),
            ("Patient?identifier:of-type=t|MR|free", &[]),
            ("Patient?identifier:text=medical", &["a"]),
            ("Patient?gender:not=male", &["b", "c"]),
            ("Patient?gender:not=male,female", &["c"]),
            ("Patient?active=false", &["b"]),
            ("Patient?gender=http://hl7.org/fhir/administrative-gender|male", &["a"]),
            ("Patient?gender:in=http://vs/fe", &["b"]),
            ("Patient?gender:not-in=http://vs/fe", &["a", "c"]),
            ("Patient?_tag=s|vip", &["c"]),
        ],
    );
}

#[test]
fn dates_are_found_by_their_stretch_of_time() {
    // SRCH-062, SRCH-063, SRCH-064, SRCH-065, SRCH-066
    check_settled(
        PATIENTS,
        &[
            ("Patient?birthdate=1970", &["a"]),
            ("Patient?birthdate=1980-01-05", &[]),
            ("Patient?birthdate=ne1970", &["b"]),
            ("Patient?birthdate=gt1980-01-05", &["b"]),
            ("Patient?birthdate=lt1980-01-05", &["a", "b"]),
            ("Patient?birthdate=sa1979", &["b"]),
            ("Patient?birthdate=eb1980-01-05", &["a"]),
            ("Patient?birthdate=ge1970-03-30&birthdate=le1970-03-30", &["a"]),
        ],
    );
}

#[test]
fn what_is_missing_is_found_by_that() {
    // SRCH-155
    check_settled(
        PATIENTS,
        &[
            ("Patient?birthdate:missing=true", &["c"]),
            ("Patient?birthdate:missing=false", &["a", "b"]),
            ("Patient?death-date:missing=true", &["a", "b", "c"]),
            ("Patient?death-date:missing=false", &[]),
        ],
    );
}

#[test]
fn ids_and_times_are_known_to_the_index_itself() {
    // SRCH-030, SRCH-031
    check_settled(
        PATIENTS,
        &[
            ("Patient?_id=b,a,nobody", &["a", "b"]),
            ("Patient?_id=A", &[]),
            ("Patient?_id:not=a", &["b", "c"]),
            ("Patient?_lastUpdated=2023-11-14T22:13:22Z", &["b"]),
            ("Patient?_lastUpdated=gt2023-11-14T22:13:22Z", &["c"]),
            ("Patient?_lastUpdated=lt2023-11-14T22:13:22Z", &["a"]),
            ("Patient?_lastUpdated=le2023-11-14T22:13:22Z", &["a", "b"]),
            ("Patient?_lastUpdated=ne2023-11-14T22:13:22Z", &["a", "c"]),
        ],
    );
}

#[test]
fn references_chains_and_hierarchies_lead_to_other_resources() {
    // SRCH-115, SRCH-121, SRCH-125, SRCH-160, SRCH-162
    check_settled(
        PATIENTS,
        &[
            ("Patient?general-practitioner=Practitioner/p", &["c"]),
            ("Patient?general-practitioner=http://own/fhir/Practitioner/p", &["c"]),
            ("Patient?general-practitioner=p", &["c"]),
            ("Patient?general-practitioner=q", &[]),
            ("Patient?general-practitioner:identifier=npi|7", &["c"]),
            ("Patient?general-practitioner:Practitioner.name=who", &["c"]),
            ("Patient?organization.name=ward", &["a"]),
            ("Patient?organization.partof.name=all", &["a"]),
            ("Patient?organization.partof.name=ward", &[]),
            ("Patient?organization:Organization._id=root,child", &["a", "b"]),
            ("Organization?partof:below=Organization/root", &["child"]),
            ("Organization?_has:Patient:organization:gender=male", &["child"]),
            (
                "Organization?_has:Organization:partof:_has:Patient:organization:gender=male",
                &["root"],
            ),
        ],
    );
}

#[test]
fn a_circle_of_references_is_gone_round_once() {
    // SRCH-125
    let part = |id: &str, of: &str| {
        format!(
            r#"{{"resourceType":"Location","id":"{id}","partOf":{{"reference":"Location/{of}"}}}}"#
        )
    };
    let evidence = r#"{"resourceType":"Condition","id":"c",
        "evidence":[{"detail":[{"reference":"Observation/o"}]}]}"#;
    let all = [part("1", "2"), part("2", "3"), part("3", "1"), part("4", "5"), evidence.to_owned()];
    check_settled(
        &all.each_ref().map(|it| &**it),
        &[
            ("Condition?evidence-detail:above=Condition/c", &[]),
            ("Location?partof:below=Location/1", &["1", "2", "3"]),
            ("Location?partof:above=Location/1", &["1", "2", "3"]),
        ],
    );
}

const OBSERVATIONS: &[&str] = &[
    r#"{"resourceType":"Observation","id":"mg","status":"final","code":{"coding":[{"system":"l","code":"m"}]},
        "valueQuantity":{"value":5400,"unit":"milligrams","system":"http://unitsofmeasure.org","code":"mg"}}"#,
    r#"{"resourceType":"Observation","id":"pounds","status":"final","code":{"coding":[{"system":"l","code":"m"}]},
        "valueQuantity":{"value":5.4,"unit":"pounds"}}"#,
    r#"{"resourceType":"Observation","id":"less","status":"final","code":{"coding":[{"system":"l","code":"w"}]},
        "valueQuantity":{"value":5,"comparator":"<","system":"http://unitsofmeasure.org","code":"g"}}"#,
    r#"{"resourceType":"Observation","id":"bp","status":"final","code":{"coding":[{"system":"l","code":"bp"}]},
        "component":[{"code":{"coding":[{"system":"l","code":"sys"}]},"valueQuantity":{"value":140}},
            {"code":{"coding":[{"system":"l","code":"dia"}]},"valueQuantity":{"value":90}}]}"#,
];

#[test]
fn quantities_are_found_in_their_own_unit_and_converted() {
    // SRCH-130, SRCH-131, SRCH-132, SRCH-133
    check_settled(
        OBSERVATIONS,
        &[
            ("Observation?value-quantity=5.4|http://unitsofmeasure.org|g", &["mg"]),
            ("Observation?value-quantity=5400|http://unitsofmeasure.org|mg", &["mg"]),
            ("Observation?value-quantity=5.4", &["pounds"]),
            ("Observation?value-quantity=5.4||pounds", &["pounds"]),
            ("Observation?value-quantity=lt10", &["pounds", "less"]),
            ("Observation?value-quantity=lt5.1|http://unitsofmeasure.org|g", &["less"]),
            ("Observation?value-quantity=gt5|http://unitsofmeasure.org|g", &["mg"]),
            ("Observation?value-quantity=ne5.4", &["mg", "less"]),
        ],
    );
}

#[test]
fn what_has_a_system_and_no_code_is_found_by_its_text_alone() {
    // SRCH-095, SRCH-113
    check_settled(
        &[
            r#"{"resourceType":"Group","id":"none","characteristic":[{"code":{"coding":[{"system":"s","display":"x"}]},
                "valueCodeableConcept":{"coding":[{"system":"v","code":"1"}]}}]}"#,
            r#"{"resourceType":"Group","id":"some","characteristic":[{"code":{"coding":[{"system":"s","code":"c"}]},
                "valueCodeableConcept":{"coding":[{"system":"v","code":"1"}]}}]}"#,
            r#"{"resourceType":"Observation","id":"none","subject":{"identifier":{"system":"s"}}}"#,
            r#"{"resourceType":"Observation","id":"some","subject":{"identifier":{"system":"s","value":"1"}}}"#,
        ],
        &[
            ("Group?characteristic=s|", &["some"]),
            ("Group?characteristic:text=x", &["none"]),
            ("Group?characteristic-value=s|$v|", &["some"]),
            ("Observation?subject:identifier=s|", &["some"]),
        ],
    );
}

#[test]
fn the_parts_of_a_composite_stand_in_one_element() {
    // SRCH-145, SRCH-146
    check_settled(
        OBSERVATIONS,
        &[
            ("Observation?component-code-value-quantity=l|sys$140", &["bp"]),
            ("Observation?component-code-value-quantity=l|sys$gt90", &["bp"]),
            ("Observation?component-code-value-quantity=l|sys$90", &[]),
            ("Observation?component-code-value-quantity=dia$90", &["bp"]),
            ("Observation?code-value-quantity=m$5.4", &["pounds"]),
        ],
    );
}

#[test]
fn an_element_with_very_many_combinations_is_found_all_the_same() {
    let codes: Vec<String> = (0..300).map(|at| format!(r#"{{"code":"c{at}"}}"#)).collect();
    let values: Vec<String> = (0..300).map(|at| format!(r#"{{"code":"v{at}"}}"#)).collect();
    let (codes, values) = (codes.join(","), values.join(","));
    let resource = format!(
        r#"{{"resourceType":"Observation","id":"o","status":"final","code":{{"coding":[{codes}]}},
            "valueCodeableConcept":{{"coding":[{values}]}}}}"#
    );
    check_settled(
        &[&resource],
        &[
            ("Observation?code-value-concept=c299$v0", &["o"]),
            ("Observation?code-value-concept=c299$v300", &[]),
        ],
    );
}

#[test]
fn uris_and_canonicals_are_found_to_the_letter_and_by_segments() {
    // SRCH-033, SRCH-123, SRCH-124, SRCH-140, SRCH-141
    check_settled(
        &[
            r#"{"resourceType":"ValueSet","id":"v","status":"active","url":"http://acme.org/fhir/x"}"#,
            r#"{"resourceType":"ValueSet","id":"w","status":"active","url":"http://acme.org/fhirx"}"#,
            r#"{"resourceType":"QuestionnaireResponse","id":"q","status":"completed","questionnaire":"http://a/q|1.1"}"#,
            r#"{"resourceType":"StructureDefinition","id":"p","url":"http://a/p","name":"P","status":"draft","kind":"resource","abstract":false,"type":"Patient"}"#,
            r#"{"resourceType":"Patient","id":"c","meta":{"profile":["http://a/p|1.0"]}}"#,
        ],
        &[
            ("ValueSet?url=http://acme.org/fhirx", &["w"]),
            ("ValueSet?url:below=http://acme.org/fhir", &["v"]),
            ("ValueSet?url:above=http://acme.org/fhir/x/y", &["v"]),
            ("QuestionnaireResponse?questionnaire=http://a/q", &["q"]),
            ("QuestionnaireResponse?questionnaire=http://a/q|1.0", &[]),
            ("QuestionnaireResponse?questionnaire:below=http://a/q|1", &["q"]),
            ("Patient?_profile=http://a/p", &["c"]),
            ("Patient?_profile=StructureDefinition/p", &["c"]),
            ("Patient?_profile=http://a/p|2.0", &[]),
        ],
    );
}

#[test]
fn positions_are_found_by_their_distance() {
    // SRCH-150
    let at = |id: &str, latitude: &str, longitude: &str| {
        format!(
            r#"{{"resourceType":"Location","id":"{id}","position":{{"latitude":{latitude},"longitude":{longitude}}}}}"#
        )
    };
    let all = [at("west", "0.01", "179.99"), at("east", "-0.01", "-179.99"), at("far", "1", "10")];
    check_settled(
        &all.each_ref().map(|it| &**it),
        &[
            ("Location?near=0|180|5|km", &["west", "east"]),
            ("Location?near=0|180|1|km", &[]),
            ("Location?near=1|10.1", &["far"]),
        ],
    );
}

#[test]
fn what_is_contained_is_found_by_way_of_its_container_alone() {
    // SRCH-127, SRCH-223
    let mut site = Site::with(&[
        r##"{"resourceType":"MedicationRequest","id":"r","status":"active","intent":"order",
            "contained":[{"resourceType":"Medication","id":"m","code":{"coding":[{"code":"abc"}]}}],
            "medicationReference":{"reference":"#m"},"subject":{"reference":"Patient/a"}}"##,
    ]);
    let expected: &[(&str, &[&str])] = &[
        ("MedicationRequest?medication.code=abc", &["r"]),
        ("MedicationRequest?medication.code=abd", &[]),
        ("MedicationRequest?medication=m", &[]),
        ("Medication?code=abc", &[]),
    ];
    check(&site, expected);
    site.settle();
    check(&site, expected);
    site.put(
        r##"{"resourceType":"MedicationRequest","id":"r","status":"active","intent":"order",
            "contained":[{"resourceType":"Medication","id":"m","code":{"coding":[{"code":"new"}]}}],
            "medicationReference":{"reference":"#m"},"subject":{"reference":"Patient/a"}}"##,
    );
    check(
        &site,
        &[
            ("MedicationRequest?medication.code=abc", &[]),
            ("MedicationRequest?medication.code=new", &["r"]),
        ],
    );
}

#[test]
fn a_compartment_holds_what_refers_to_its_resource_and_that_itself() {
    // SRCH-007, SRCH-008
    check_settled(
        &[
            r#"{"resourceType":"Patient","id":"a"}"#,
            r#"{"resourceType":"Observation","id":"1","status":"final","code":{},"subject":{"reference":"Patient/a"}}"#,
            r#"{"resourceType":"Observation","id":"2","status":"final","code":{},"subject":{"reference":"Patient/b"}}"#,
            r#"{"resourceType":"Condition","id":"3","subject":{"reference":"Patient/a"}}"#,
        ],
        &[
            ("Patient/a/Observation", &["1"]),
            ("Patient/a/*", &["a", "1", "3"]),
            ("Patient/a/*?_type=Observation", &["1"]),
            ("Patient/nobody/Observation", &[]),
        ],
    );
}

#[test]
fn members_of_a_list_are_found_by_it() {
    // SRCH-036
    check_settled(
        &[
            r#"{"resourceType":"Patient","id":"a","gender":"male"}"#,
            r#"{"resourceType":"Patient","id":"b","gender":"female"}"#,
            r#"{"resourceType":"List","id":"l","status":"current","mode":"working",
                "entry":[{"item":{"reference":"Patient/a"}},{"item":{"reference":"Patient/b"}}]}"#,
        ],
        &[
            ("Patient?_list=l", &["a", "b"]),
            ("Patient?_list=l&gender=male", &["a"]),
            ("Patient?_list=none", &[]),
        ],
    );
}

#[test]
fn a_filter_is_conditions_as_any_others() {
    // SRCH-043, SRCH-044
    check_settled(
        PATIENTS,
        &[
            ("Patient?_filter=gender eq male or family sw \"mu\"", &["a", "b", "c"]),
            ("Patient?_filter=not(gender eq male)&family=muller", &["b", "c"]),
            ("Patient?_filter=gender ne male", &["b"]),
            ("Patient?_filter=birthdate pr true", &["a", "b"]),
        ],
    );
}

#[test]
fn several_types_are_searched_together() {
    // SRCH-005
    check_settled(
        PATIENTS,
        &[("?_type=Organization,Practitioner&_lastUpdated=gt2000", &["root", "child", "p"])],
    );
}

#[test]
fn hits_come_in_the_order_asked_for_those_without_a_value_last() {
    // SRCH-190, SRCH-191, SRCH-192, SRCH-193, SRCH-195
    check_settled(
        PATIENTS,
        &[
            ("Patient?_sort=birthdate", &["a", "b", "c"]),
            ("Patient?_sort=-birthdate", &["b", "a", "c"]),
            ("Patient?_sort=given", &["a", "b", "c"]),
            ("Patient?_sort=-given", &["a", "b", "c"]),
            ("Patient?_sort=family,-_lastUpdated", &["a", "c", "b"]),
            ("Patient?_sort=family", &["a", "b", "c"]),
            ("Patient?_sort=-_lastUpdated", &["c", "b", "a"]),
            ("Patient?_sort=-_id", &["c", "b", "a"]),
            ("Patient?_sort=organization", &["a", "b", "c"]),
            ("Patient?_sort=-organization", &["b", "a", "c"]),
            ("Patient?_sort=-gender,_id", &["a", "b", "c"]),
            ("Observation?_sort=value-quantity", &[]),
        ],
    );
    check_settled(
        OBSERVATIONS,
        &[("Observation?_sort=value-quantity", &["less", "mg", "pounds", "bp"])],
    );
}

#[test]
fn a_page_by_several_keys_is_one_of_the_whole_order_however_many_are_alike_by_the_first() {
    // SRCH-193, SRCH-207
    let mut site = Site::default();
    for at in 0..700_u32 {
        let (year, family) = (1900 + at * 37 % 90, at * 13 % 7);
        let gender = if at % 5 == 0 { "female" } else { "male" };
        let born = match at % 11 {
            0 => String::new(),
            _ => format!(r#""birthDate":"{year}","#),
        };
        site.put(&format!(
            r#"{{"resourceType":"Patient","id":"p{at}",{born}"gender":"{gender}",
                "name":[{{"family":"Family{family}"}}]}}"#
        ));
    }
    site.settle();
    let number = |name: &String| name.rsplit_once('p').unwrap().1.parse::<u32>().unwrap();
    let found: Vec<u32> = site.find("Patient?_sort=-birthdate,family").iter().map(number).collect();
    let mut expected: Vec<u32> = (0..700).collect();
    let born = |at: u32| (!at.is_multiple_of(11)).then_some(at * 37 % 90);
    expected.sort_by_key(|at| (std::cmp::Reverse(born(*at)), at * 13 % 7));
    assert_eq!(found, expected);
    for url in [
        "Patient?_sort=birthdate,-family,gender",
        "Patient?_sort=gender,-birthdate",
        "Patient?gender=female&_sort=-birthdate,family",
        "Patient?birthdate=gt1950&_sort=family,_id",
    ] {
        // Each page is compared with the whole.
        assert!(!site.find(url).is_empty(), "{url}");
    }
}

#[test]
fn codes_are_sorted_without_case_and_quantities_and_references_by_their_parts() {
    // SRCH-194
    let observation = |id: &str, members: &str| {
        format!(r#"{{"resourceType":"Observation","id":"{id}",{members}}}"#)
    };
    let quantity = |comparator: &str, number: &str, unit: &str| {
        format!(
            r#""valueQuantity":{{{comparator}"value":{number},"code":"{unit}",
            "system":"http://unitsofmeasure.org"}}"#
        )
    };
    let resources = [
        observation("1", &quantity("", "2", "m")),
        observation("2", &quantity("", "1500", "g")),
        observation("3", &quantity("", "1", "kg")),
        observation("4", &quantity(r#""comparator":">","#, "1", "kg")),
        observation(
            "5",
            r#""subject":{"reference":"Patient/1"},"code":{"coding":[{"code":"Bc"}]}"#,
        ),
        observation("6", r#""subject":{"reference":"Group/2"},"code":{"coding":[{"code":"ab"}]}"#),
        observation("7", r#""subject":{"reference":"Group/1"},"code":{"coding":[{"code":"BB"}]}"#),
        observation(
            "8",
            r##""subject":{"reference":"#a"},"contained":[{"resourceType":"Patient","id":"a"}]"##,
        ),
        observation("9", r#""subject":{"identifier":{"value":"1"}}"#),
    ];
    check_settled(
        &resources.each_ref().map(|it| &**it),
        &[
            ("Observation?_sort=value-quantity", &["3", "4", "2", "1", "5", "6", "7", "8", "9"]),
            ("Observation?_sort=subject", &["7", "5", "6", "1", "2", "3", "4", "8", "9"]),
            ("Observation?_sort=_score&_id=7,5", &["5", "7"]),
            ("Observation?_sort=code", &["6", "7", "5", "1", "2", "3", "4", "8", "9"]),
            ("Observation?_filter=subject ne Group/1", &["5", "6", "8", "9"]),
        ],
    );
}

#[test]
fn a_system_finds_what_has_a_code_of_it_and_a_profile_its_address_here_too() {
    // SRCH-033
    check_settled(
        &[
            r#"{"resourceType":"Patient","id":"a","meta":{"tag":[{"system":"s"}],
                "profile":["StructureDefinition/p"]}}"#,
            r#"{"resourceType":"Patient","id":"b","meta":{"tag":[{"system":"s","code":"c"}],
                "profile":["http://own/fhir/StructureDefinition/p"]}}"#,
            r#"{"resourceType":"Patient","id":"c",
                "meta":{"profile":["http://other/StructureDefinition/p"]}}"#,
        ],
        &[("Patient?_tag=s|", &["b"]), ("Patient?_profile=StructureDefinition/p", &["a", "b"])],
    );
}

#[test]
fn what_is_contained_has_its_id_and_no_time_of_its_own() {
    // SRCH-030
    check_settled(
        &[
            r##"{"resourceType":"MedicationRequest","id":"1","medicationReference":{"reference":"#a"},
            "contained":[{"resourceType":"Medication","id":"a"}]}"##,
        ],
        &[
            ("MedicationRequest?medication:Medication._id=a", &["1"]),
            ("MedicationRequest?medication:Medication._id=b", &[]),
            ("MedicationRequest?medication:Medication._lastUpdated=gt2000", &[]),
            ("MedicationRequest?medication:Medication._lastUpdated:missing=true", &["1"]),
        ],
    );
}

#[test]
fn what_may_not_be_asked_is_an_error_and_never_ignored() {
    let site = Site::with(PATIENTS);
    let ask = |url: &str, context| {
        let query = query(url);
        let search = site.index.search(site.t(), &Visible::Everything, context).unwrap();
        search.find(&query).map(|found| found.total())
    };
    for url in ["Patient?_text=x", "Patient?_content=x"] {
        assert!(matches!(ask(url, CONTEXT), Err(SearchError::Unsupported(_))), "{url}");
    }
    let without_codes = search_index::Context { codes: &NoCodes, ..CONTEXT };
    let unknown = ask("Patient?gender:in=http://vs/fe", without_codes);
    assert!(matches!(unknown, Err(SearchError::Codes(_))), "{unknown:?}");
}
