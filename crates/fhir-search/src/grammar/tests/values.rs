//! Values of each type of parameter.

use super::{
    Handling, Reader, check_error, clause, clauses, lenient, read_by, reader, refused, strict,
};
use crate::{
    Clause, Hierarchy, Place, Query, ReferenceTest, SystemTest, Test, TextTest, TokenTest,
    UnitTest, UriTest, Zone,
};
use fhir_core::{ResourceId, ResourceType};

/// The tests of the only condition on the only type.
fn tests_of(query: &Query) -> Vec<Test> {
    let [of_type] = &query.types[..] else { panic!() };
    match &of_type.clauses[..] {
        [Clause::Value(it)] => it.tests.to_vec(),
        [Clause::Not(it)] => match &**it {
            Clause::Value(it) => it.tests.to_vec(),
            _ => panic!(),
        },
        _ => panic!(),
    }
}

fn tokens(url: &str) -> Vec<TokenTest> {
    let token = |it| if let Test::Token(it) = it { it } else { panic!("{url}") };
    tests_of(&lenient(url)).into_iter().map(token).collect()
}

fn token(url: &str) -> TokenTest {
    let [ref only] = tokens(url)[..] else { panic!("{url}") };
    only.clone()
}

fn reference(url: &str) -> ReferenceTest {
    match &tests_of(&lenient(url))[..] {
        [Test::Reference(it)] => it.clone(),
        other => panic!("{url} {other:?}"),
    }
}

fn uri(url: &str) -> UriTest {
    match &tests_of(&lenient(url))[..] {
        [Test::Uri(it)] => it.clone(),
        other => panic!("{url} {other:?}"),
    }
}

fn code(system: SystemTest, code: &str) -> TokenTest {
    TokenTest::Code { system, code: code.into() }
}

fn local(of: &str, id: &str) -> ReferenceTest {
    ReferenceTest::Local {
        resource_type: ResourceType::new(of).unwrap(),
        id: ResourceId::new(id).unwrap(),
        version: None,
    }
}

#[test]
fn escapes_are_understood_within_each_part() {
    // SRCH-012, SRCH-087, SRCH-110, SRCH-147
    assert_eq!(clause(r"Patient?address=Main\, 5"), "address Start 'main 5'");
    assert_eq!(clause(r"Patient?name:exact=a\\b,c"), r"name Exact 'a\b' | Exact 'c'");
    let pipe = code(SystemTest::Is("s|t".into()), "a|b");
    assert_eq!(token(r"Observation?code=s\|t|a\|b"), pipe);
    assert_eq!(
        clause(r"Observation?code-value-string=a\$b$x"),
        "code-value-string Code { system: Any, code: \"a$b\" } $ Start 'x'"
    );
    let error = read_by(&reader(Handling::Strict), r"Patient?name:exact=xx\xx").unwrap_err();
    check_error(&error, "name:exact", Place::Value(2), "a backslash may stand before");
    assert_eq!(clause(r"Patient?name:exact=xx\xx"), r"name Exact 'xx\xx'");
    assert_eq!(clause(r"Patient?name:exact=x\"), r"name Exact 'x\'");
}

#[test]
fn a_code_is_asked_with_its_system_or_without() {
    // SRCH-095, SRCH-110, SRCH-112, SRCH-256
    assert_eq!(token("Observation?code=c"), code(SystemTest::Any, "c"));
    assert_eq!(token("Observation?code=s|c"), code(SystemTest::Is("s".into()), "c"));
    assert_eq!(token("Observation?code=|c"), code(SystemTest::None, "c"));
    assert_eq!(token("Observation?code=s|"), TokenTest::System("s".into()));
    assert_eq!(token("Patient?gender=%20male"), code(SystemTest::Any, " male"));
    assert_eq!(
        tokens("Patient?identifier=|1.2.3,1.2.3"),
        [code(SystemTest::None, "1.2.3"), code(SystemTest::Any, "1.2.3"),]
    );
    for bad in ["|", "a|b|c", "||"] {
        let error = refused(&format!("Observation?code={bad}"));
        check_error(&error, "code", Place::Value(0), "this is no code");
    }
}

#[test]
fn a_system_is_not_asked_of_what_has_none() {
    // SRCH-099
    for url in ["Patient?active=x|true", "Patient?telecom=phone|1", "Patient?email=|a"] {
        let error = read_by(&reader(Handling::Strict), url).unwrap_err();
        assert!(error.to_string().contains("these values have no system"), "{error}");
        assert!(!lenient(url).types[0].clauses.is_empty());
    }
    strict("Patient?active=true");
    strict("Patient?gender=http://hl7.org/fhir/administrative-gender|male");
    strict("Patient?deceased=s|true");
}

#[test]
fn an_id_has_no_system() {
    // SRCH-030
    assert_eq!(tokens("Patient?_id=a,b"), [code(SystemTest::Any, "a"), code(SystemTest::Any, "b")]);
    assert_eq!(token("Patient?_id=s|a"), code(SystemTest::Any, "s|a"));
    assert_eq!(token("Patient?_tag=s|a"), code(SystemTest::Is("s".into()), "a"));
    assert_eq!(token("Patient?_security=s|"), TokenTest::System("s".into()));
}

#[test]
fn codes_are_asked_by_text_value_set_and_hierarchy() {
    // SRCH-105, SRCH-106, SRCH-108, SRCH-109, SRCH-255
    assert_eq!(token("Observation?code:text=Blöod"), TokenTest::Text("blood".into()));
    for set in ["http://vs|1.0", "ValueSet/1", "http://snomed.info/sct?fhir_vs=ecl/<<1"] {
        let encoded = set.replace('?', "%3F").replace('=', "%3D");
        assert_eq!(token(&format!("Observation?code:in={encoded}")), TokenTest::In(set.into()));
    }
    assert!(clause("Observation?code:not-in=http://vs").starts_with("not(code In"));
    let (system, concept) = ("s".into(), "c".into());
    assert_eq!(token("Observation?code:below=s|c"), TokenTest::Below { system, code: concept });
    let (system, concept) = ("s".into(), "c".into());
    assert_eq!(token("Observation?code:above=s|c"), TokenTest::Above { system, code: concept });
    assert_eq!(
        token("DocumentReference?contenttype:below=text/xml"),
        TokenTest::MimeBelow("text/xml".into())
    );
    let of_type = TokenTest::OfType { system: "s".into(), code: "MR".into(), value: "1".into() };
    assert_eq!(token("Patient?identifier:of-type=s|MR|1"), of_type);
    for bad in [
        "Observation?code:in=vs",
        "Observation?code:below=c",
        "Observation?code:above=text/xml",
        "Observation?code:below=s|",
        "Patient?identifier:of-type=s|MR",
        "Patient?identifier:of-type=s||1",
        "Patient?identifier:of-type=1",
        "Observation?code:text=.",
    ] {
        refused(bad);
    }
}

#[test]
fn a_prefix_where_there_is_none_is_text() {
    // SRCH-025, SRCH-089
    assert_eq!(clause("Patient?name=ne"), "name Start 'ne'");
    assert_eq!(token("Observation?code=gtfoo"), code(SystemTest::Any, "gtfoo"));
    assert_eq!(clause("Patient?name=%25"), "name Start '%'");
    let error = refused("Patient?name=...");
    check_error(&error, "name", Place::Value(0), "nothing is left of this text");
}

#[test]
fn a_date_says_as_much_as_is_written_of_it() {
    // SRCH-018, SRCH-060, SRCH-061, SRCH-071, SRCH-073
    let date = |text: &str| clause(&format!("Patient?birthdate={text}"));
    let whole = "birthdate eq 2013-01-14T10:00:00.000000Z..2013-01-14T10:01:00.000000Z";
    assert_eq!(date("2013-01-14T10:00Z"), whole);
    assert_eq!(date("2013-01-14T10%3A00Z"), whole);
    assert_eq!(date("2013-01-14T15:00+05:00"), whole);
    assert_eq!(date("2013-01-14T15:00%2B05:00"), whole);
    assert_eq!(date("2013-01-14T05:00-05:00"), whole);
    assert_eq!(
        date("2013,ge2021-01"),
        "birthdate eq 2013-01-01T00:00:00.000000Z..2014-01-01T00:00:00.000000Z | \
         ge 2021-01-01T00:00:00.000000Z..2021-02-01T00:00:00.000000Z"
    );
    assert!(date("9999").contains("..9999-12-31T23:59:59.999999Z"));
    let east = Reader { zone: Zone::east(14 * 60).unwrap(), ..reader(Handling::Strict) };
    let query = read_by(&east, "Patient?birthdate=1970-03-30").unwrap();
    assert_eq!(
        clauses(&query),
        ["birthdate eq 1970-03-29T10:00:00.000000Z..1970-03-30T10:00:00.000000Z"]
    );
}

#[test]
fn what_is_no_date_is_refused() {
    // SRCH-024, SRCH-061, SRCH-075, SRCH-076, SRCH-077
    for (bad, at) in [
        ("abc", 0),
        ("2021-02-30", 0),
        ("2013-01-14T10", 0),
        ("GT2020", 0),
        ("gtt2020", 2),
        ("g2020", 0),
        ("ge", 2),
        ("0000", 0),
        ("2020-1", 0),
        ("2020 01:00", 0),
        ("2023-02-29", 0),
    ] {
        let error = refused(&format!("Patient?birthdate={bad}"));
        check_error(&error, "birthdate", Place::Value(at), "this is no date");
    }
    for good in ["2024-02-29", "0001", "9999-12-31", "2016-12-31T23:59:60Z"] {
        strict(&format!("Patient?birthdate={good}"));
    }
    let error = refused("Patient?birthdate=2020,ge2021,ap20");
    check_error(&error, "birthdate", Place::Value(14), "this is no date");
}

#[test]
fn a_number_has_a_prefix_and_digits() {
    // SRCH-055, SRCH-241
    assert_eq!(clause("RiskAssessment?probability=gt0.80"), "probability gt 0.80");
    assert_eq!(clause("RiskAssessment?probability=+5"), "probability eq 5");
    for (bad, at) in [("x", 0), ("gt", 2), ("1|2", 0), ("lt 1 ", 2), ("GT1", 0)] {
        let error = refused(&format!("RiskAssessment?probability={bad}"));
        check_error(&error, "probability", Place::Value(at), "this is no number");
    }
}

#[test]
fn a_quantity_has_a_number_and_perhaps_a_unit() {
    // SRCH-130, SRCH-132, SRCH-136
    let quantity =
        |text: &str| match &tests_of(&lenient(&format!("Observation?value-quantity={text}")))[..] {
            [Test::Quantity(it)] => it.clone(),
            other => panic!("{other:?}"),
        };
    assert_eq!(quantity("5.4").unit, UnitTest::Any);
    assert_eq!(quantity("5.4||mg").unit, UnitTest::CodeOrUnit("mg".into()));
    assert_eq!(quantity("5.4|s|").unit, UnitTest::System("s".into()));
    let UnitTest::Coded { system, code, canonical } =
        quantity("le5.40e-3|http://unitsofmeasure.org|kg").unit
    else {
        panic!()
    };
    assert_eq!((&*system, &*code), ("http://unitsofmeasure.org", "kg"));
    let (unit, number) = *canonical.unwrap();
    assert_eq!((&*unit, number.value.normalized().to_string().as_str()), ("g", "5.4"));
    for (bad, at) in [("x||mg", 0), ("gt5.4|mg", 2), ("5|a|b|c", 0), ("||mg", 0)] {
        let error = refused(&format!("Observation?value-quantity={bad}"));
        check_error(&error, "value-quantity", Place::Value(at), "this is no ");
    }
}

#[test]
fn a_reference_to_this_server_is_the_same_in_each_form() {
    // SRCH-115, SRCH-116, SRCH-117, SRCH-118, SRCH-120
    let of = |value: &str| reference(&format!("Observation?patient={value}"));
    let types = vec![ResourceType::new("Patient").unwrap()];
    let id = ResourceId::new("123").unwrap();
    assert_eq!(of("123"), ReferenceTest::Id { id, types });
    assert_eq!(of("Patient/123"), local("Patient", "123"));
    assert_eq!(of("http://own/fhir/Patient/123"), local("Patient", "123"));
    assert_eq!(reference("Observation?subject:Patient=123"), local("Patient", "123"));
    assert_eq!(reference("Observation?subject:Patient=Patient/123"), local("Patient", "123"));
    let ReferenceTest::Id { types, .. } = reference("Observation?subject=1") else { panic!() };
    assert_eq!(types.len(), 4);
    let ReferenceTest::Local { version, .. } = of("Patient/1/_history/2") else { panic!() };
    assert_eq!(version.as_deref(), Some("2"));
}

#[test]
fn a_reference_elsewhere_is_a_url() {
    // SRCH-119, SRCH-122, SRCH-123, SRCH-127
    let url = |text: &str| ReferenceTest::Url { url: text.into(), version: None };
    for text in ["http://other/Patient/1", "urn:uuid:1-2", "urn:oid:1.2", "http://a/b", "#m"] {
        let encoded = text.replace('#', "%23");
        assert_eq!(reference(&format!("Observation?subject={encoded}")), url(text));
    }
    let questionnaire = "QuestionnaireResponse?questionnaire";
    let version = Some("1.0".into());
    assert_eq!(
        reference(&format!("{questionnaire}=http://a/q|1.0")),
        ReferenceTest::Url { url: "http://a/q".into(), version }
    );
    let version = Some("1".into());
    assert_eq!(
        reference(&format!("{questionnaire}:below=http://a/q|1")),
        ReferenceTest::CanonicalBelow { url: "http://a/q".into(), version }
    );
}

#[test]
fn a_reference_by_identifier_is_asked_as_a_code() {
    // SRCH-121
    let expected = code(SystemTest::Is("s".into()), "1");
    assert_eq!(
        reference("Observation?subject:identifier=s|1"),
        ReferenceTest::Identifier(expected)
    );
}

#[test]
fn what_is_above_and_below_is_asked_of_resources_that_refer_to_their_kind() {
    // SRCH-125
    let hierarchy = |towards| ReferenceTest::Hierarchy {
        towards,
        resource_type: ResourceType::new("Location").unwrap(),
        id: ResourceId::new("1").unwrap(),
    };
    assert_eq!(reference("Location?partof:below=1"), hierarchy(Hierarchy::Below));
    assert_eq!(reference("Location?partof:above=Location/1"), hierarchy(Hierarchy::Above));
    for bad in ["Observation?encounter:below=1", "Location?partof:above=http://a/b"] {
        refused(bad);
    }
}

#[test]
fn a_reference_that_is_none_is_refused() {
    // SRCH-024, SRCH-128
    for bad in ["patient=a_b", "patient=Patient/", "patient=patient/1", "patient=Patient?x%3D1"] {
        let error = refused(&format!("Observation?{bad}"));
        check_error(&error, "patient", Place::Value(0), "this is no reference");
    }
    refused("Observation?patient=Foo/1");
    refused("Observation?subject:Patient=Group/1");
    let device = "Observation?patient=Device/1";
    let error = read_by(&reader(Handling::Strict), device).unwrap_err();
    check_error(&error, "patient", Place::Value(0), "'patient' does not refer to Device");
    assert_eq!(reference(device), local("Device", "1"));
}

#[test]
fn a_uri_is_asked_whole_or_by_its_segments() {
    // SRCH-034, SRCH-140, SRCH-143
    assert_eq!(uri("ValueSet?url=http://a/b"), UriTest::Is("http://a/b".into()));
    assert_eq!(uri("Patient?_source=http://a%23b"), UriTest::Is("http://a#b".into()));
    assert_eq!(uri("Patient?_source:below=http://a"), UriTest::Below("http://a".into()));
    assert_eq!(uri("ValueSet?url:above=http://a/b"), UriTest::Above("http://a/b".into()));
    refused("ValueSet?url:below=urn:oid:1.2");
    refused("ValueSet?url:above=urn:oid:1.2");
}

#[test]
fn a_url_with_a_version_asks_both() {
    // SRCH-144
    assert_eq!(
        clause("ValueSet?url=http://x|1.0"),
        "all(url Is(\"http://x\"), version Code { system: Any, code: \"1.0\" })"
    );
    assert_eq!(
        clause("ValueSet?url=http://x|1.0,http://y"),
        "any(all(url Is(\"http://x\"), version Code { system: Any, code: \"1.0\" }), \
         url Is(\"http://y\"))"
    );
}

#[test]
fn a_profile_is_asked_by_canonical_url_or_by_the_resource_that_defines_it() {
    // SRCH-033
    let canonical = |version: Option<&str>| UriTest::Canonical {
        url: "http://a/p".into(),
        version: version.map(Into::into),
    };
    assert_eq!(uri("Patient?_profile=http://a/p"), canonical(None));
    assert_eq!(uri("Patient?_profile=http://a/p|1"), canonical(Some("1")));
    assert_eq!(uri("Patient?_profile:below=http://a"), UriTest::Below("http://a".into()));
    assert_eq!(
        uri("Patient?_profile:below=http://a/p|1"),
        UriTest::VersionBelow { url: "http://a/p".into(), version: "1".into() }
    );
    assert_eq!(
        uri("Patient?_profile=StructureDefinition/x"),
        UriTest::OfResource {
            resource_type: ResourceType::new("StructureDefinition").unwrap(),
            id: ResourceId::new("x").unwrap(),
        }
    );
}

#[test]
fn the_parts_of_a_composite_are_each_of_their_type() {
    // SRCH-145, SRCH-147, SRCH-148
    assert_eq!(
        clause("Observation?code-value-quantity=http://loinc.org|8480-6$gt140,a$5||mg"),
        "code-value-quantity \
         Code { system: Is(\"http://loinc.org\"), code: \"8480-6\" } $ gt 140 Any | \
         Code { system: Any, code: \"a\" } $ eq 5 CodeOrUnit(\"mg\")"
    );
    for (bad, at, text) in [
        ("a", 0, "1 parts where the composite has 2"),
        ("a$1$2", 0, "3 parts"),
        ("x$1,a", 4, "1 parts"),
        ("a$", 2, "the value is empty"),
        ("$1", 0, "the value is empty"),
        ("a$b", 2, "this is no number"),
    ] {
        let error =
            read_by(&reader(Handling::Strict), &format!("Observation?code-value-quantity={bad}"));
        check_error(&error.unwrap_err(), "code-value-quantity", Place::Value(at), text);
    }
}

#[test]
fn near_is_a_position_and_perhaps_a_distance() {
    // SRCH-150, SRCH-151
    let near = |text: &str| match &tests_of(&lenient(&format!("Location?near={text}")))[..] {
        [Test::Near(it)] => {
            let metres = it.metres.map(|it| it.normalized().to_string());
            (it.latitude.to_string(), it.longitude.to_string(), metres)
        }
        other => panic!("{other:?}"),
    };
    let at = |metres: Option<&str>| ("48.2".to_owned(), "-16.4".to_owned(), metres.map(Into::into));
    assert_eq!(near("48.2|-16.4"), at(None));
    assert_eq!(near("48.2|-16.4|10.5"), at(Some("10500")));
    assert_eq!(near("48.2|-16.4|10|m"), at(Some("10")));
    assert_eq!(near("48.2|-16.4|1|[mi_i]"), at(Some("1609.344")));
    for (bad, place) in [
        ("91|0", 0),
        ("-91|0", 0),
        ("0|181", 2),
        ("0", 0),
        ("a|b", 0),
        ("0|0|-1|km", 4),
        ("0|0|1|kg", 6),
        ("0|0|1|km|x", 0),
    ] {
        let error = refused(&format!("Location?near={bad}"));
        check_error(&error, "near", Place::Value(place), "this is no ");
    }
}

#[test]
fn words_are_joined_by_and_or_and_not() {
    // SRCH-035
    let phrase = |words: &[&str]| TextTest::Phrase(words.iter().map(|it| (*it).into()).collect());
    let text = |value: &str| match &lenient(&format!("Condition?_text={value}")).types[0].clauses[..]
    {
        [Clause::Text(it)] => it.clone(),
        other => panic!("{other:?}"),
    };
    let (bone, liver, scan) = (phrase(&["bone"]), phrase(&["liver"]), phrase(&["scan"]));
    let either = TextTest::Any(vec![bone.clone(), liver.clone()]);
    let both = TextTest::All(vec![either.clone(), phrase(&["metastases"])]);
    assert_eq!(text("(bone OR liver) and metastases"), both);
    assert_eq!(text("bone or liver"), either);
    assert_eq!(text("Bone liver"), TextTest::All(vec![bone.clone(), liver.clone()]));
    let second = TextTest::All(vec![liver, TextTest::Not(Box::new(scan))]);
    assert_eq!(text("bone or liver not scan"), TextTest::Any(vec![bone, second]));
    assert_eq!(text("\"Bone-Scan and\""), phrase(&["bone", "scan", "and"]));
    assert!(clause("Patient?_content=a").starts_with("content Phrase"));
    assert_eq!(clause("Patient?_content=a,b").matches("content").count(), 2);
    for (bad, at) in [("(a", 2), ("a)", 1), ("and a", 0), ("a or", 4), ("\"a", 0), ("()", 1)] {
        let error = refused(&format!("Patient?_text={bad}"));
        let place = Place::Value(at);
        assert_eq!(error.place, place, "{error}");
    }
    refused("Patient?_text=.");
}

#[test]
fn a_list_is_a_resource_or_one_that_the_server_makes() {
    // SRCH-036
    assert_eq!(clause("Condition?_list=42"), "list 42");
    assert_eq!(clause("Condition?_list=List/42,7"), "any(list 42, list 7)");
    for (bad, said) in [
        ("Condition?_list=$problems", "$current-problems, $current-medications"),
        ("Patient?_list=$current-problems", "ask for it among Condition"),
    ] {
        let error = refused(bad);
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(error.place, Place::Value(0));
    }
    strict("?_type=Patient,Group&_list=42&gender=male&_id=1".replace("&gender=male", "").as_str());
    for bad in ["_list=a_b", "_list=$", "_list=Group/1", "_list:missing=true"] {
        refused(&format!("Condition?{bad}"));
    }
}
