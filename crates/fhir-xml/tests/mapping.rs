//! What each form of XML is in JSON, and back.

#![allow(clippy::unwrap_used, reason = "a test may fail at once")]

mod support;

use fhir_core::json::Document;
use fhir_schema::Schema;
use fhir_xml::{Limits, Style, to_json};
use support::{DIV, FHIR, check_both_ways, read, read_bytes, write, write_styled};

/// A Patient with this in it, in both formats.
fn check_patient(xml: &str, json: &str) {
    check_both_ways(
        &format!("<Patient {FHIR}>{xml}</Patient>"),
        &format!("{{\"resourceType\":\"Patient\",{json}}}"),
    );
}

/// An Observation with what every one has, and this.
fn check_observation(xml: &str, json: &str) {
    check_both_ways(
        &format!("<Observation {FHIR}><status value=\"final\"/>{xml}</Observation>"),
        &format!("{{\"resourceType\":\"Observation\",\"status\":\"final\",{json}}}"),
    );
}

#[test]
fn any_prefix_is_read_and_the_default_namespace_is_written() {
    // XML-001, XML-002
    let json = "{\"resourceType\":\"Patient\",\"active\":true}";
    for xml in [
        "<Patient xmlns=\"http://hl7.org/fhir\"><active value=\"true\"/></Patient>",
        "<f:Patient xmlns:f='http://hl7.org/fhir'><f:active value='true'/></f:Patient>",
        "<Patient xmlns=\"http://hl7.org/fhir\"><g:active xmlns:g=\"http://hl7.org/fhir\" \
         value=\"true\"></g:active></Patient>",
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<?xml-stylesheet a?>\
         <Patient xmlns=\"http:&#47;/hl7.org/fhir\"><active value=\"true\"/></Patient>\n<!-- -->",
    ] {
        assert_eq!(read(xml).as_deref(), Ok(json), "{xml}");
    }
    assert_eq!(
        write_styled(json, Style::Compact).as_deref(),
        Ok("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
            <Patient xmlns=\"http://hl7.org/fhir\"><active value=\"true\"/></Patient>")
    );
    check_both_ways(&format!("<Patient {FHIR}/>"), "{\"resourceType\":\"Patient\"}");
}

#[test]
fn json_in_any_order_is_written_in_the_order_of_the_definition() {
    // XML-004, XML-029, XML-031
    let written = write(
        "{\"contact\":[{\"name\":{\"text\":\"b\"},\"modifierExtension\":[{\"valueCode\":\"c\",\
         \"url\":\"urn:m\"}],\"extension\":[{\"valueCode\":\"d\",\"url\":\"urn:e\"}],\
         \"id\":\"c1\"}],\"active\":true,\"extension\":[{\"valueInteger\":1,\"id\":\"e\",\
         \"url\":\"urn:x\"}],\"id\":\"1\",\"resourceType\":\"Patient\",\"language\":\"en\",\
         \"contained\":[{\"resourceType\":\"Basic\"}],\"meta\":{\"versionId\":\"1\"}}",
    );
    let expected = format!(
        "<Patient {FHIR}><id value=\"1\"/><meta><versionId value=\"1\"/></meta>\
         <language value=\"en\"/><contained><Basic/></contained>\
         <extension id=\"e\" url=\"urn:x\"><valueInteger value=\"1\"/></extension>\
         <active value=\"true\"/><contact id=\"c1\"><extension url=\"urn:e\">\
         <valueCode value=\"d\"/></extension><modifierExtension url=\"urn:m\">\
         <valueCode value=\"c\"/></modifierExtension><name><text value=\"b\"/></name></contact>\
         </Patient>"
    );
    assert_eq!(written.as_deref(), Ok(&*expected));
}

#[test]
fn what_may_repeat_is_an_array_and_what_may_not_is_none() {
    // XML-005, XML-006
    check_patient(
        "<name><given value=\"A\"/></name><maritalStatus><text value=\"M\"/></maritalStatus>",
        "\"name\":[{\"given\":[\"A\"]}],\"maritalStatus\":{\"text\":\"M\"}",
    );
    check_patient(
        "<name><given value=\"A\"/><given value=\"B\"/></name><name><family value=\"C\"/></name>",
        "\"name\":[{\"given\":[\"A\",\"B\"]},{\"family\":\"C\"}]",
    );
}

#[test]
fn ids_and_urls_are_attributes_but_the_id_of_a_resource_is_an_element() {
    // XML-007, XML-028, XML-046
    check_patient(
        "<id value=\"1\"/><text id=\"t\"><status value=\"generated\"/><div \
             xmlns=\"http://www.w3.org/1999/xhtml\" id=\"d\"/></text>\
             <extension id=\"e\" url=\"urn:x\"><valueCode value=\"c\"/></extension>\
             <generalPractitioner id=\"r\"><reference value=\"Practitioner/1\"/>\
             </generalPractitioner>",
        "\"id\":\"1\",\"text\":{\"id\":\"t\",\"status\":\"generated\",\"div\":\"<div \
         xmlns=\\\"http://www.w3.org/1999/xhtml\\\" id=\\\"d\\\"/>\"},\
         \"extension\":[{\"id\":\"e\",\"url\":\"urn:x\",\"valueCode\":\"c\"}],\
         \"generalPractitioner\":[{\"id\":\"r\",\"reference\":\"Practitioner/1\"}]",
    );
    let other_order = format!(
        "<Patient {FHIR}><extension url=\"urn:x\" id=\"e\"><valueCode value=\"c\"/></extension>\
         <birthDate value=\"2000\" id=\"b\"/></Patient>"
    );
    assert!(read(&other_order).is_ok_and(|json| json.contains("\"_birthDate\":{\"id\":\"b\"}")));
}

#[test]
fn what_a_primitive_has_beside_its_value_stands_under_its_name_with_an_underscore() {
    // XML-008, XML-010, XML-030
    let extension = "<extension url=\"urn:x\"><valueString value=\"y\"/></extension>";
    let in_json = "\"extension\":[{\"url\":\"urn:x\",\"valueString\":\"y\"}]";
    check_patient(
        &format!("<birthDate id=\"b\" value=\"1970-03\">{extension}</birthDate>"),
        &format!("\"birthDate\":\"1970-03\",\"_birthDate\":{{\"id\":\"b\",{in_json}}}"),
    );
    check_patient(
        &format!("<birthDate>{extension}</birthDate>"),
        &format!("\"_birthDate\":{{{in_json}}}"),
    );
    // An extension's own value has one.
    check_patient(
        &format!(
            "<active value=\"true\"><extension url=\"urn:a\"><valueCode value=\"c\">{extension}\
             </valueCode></extension></active>"
        ),
        &format!(
            "\"active\":true,\"_active\":{{\"extension\":[{{\"url\":\"urn:a\",\
             \"valueCode\":\"c\",\"_valueCode\":{{{in_json}}}}}]}}"
        ),
    );
}

#[test]
fn repeats_of_a_primitive_are_aligned_with_nulls() {
    // XML-009
    let extension = "<extension url=\"urn:x\"><valueCode value=\"y\"/></extension>";
    let in_json = "{\"extension\":[{\"url\":\"urn:x\",\"valueCode\":\"y\"}]}";
    let check = |given: &str, json: &str| {
        check_patient(&format!("<name>{given}</name>"), &format!("\"name\":[{{{json}}}]"));
    };
    check(
        &format!("<given value=\"A\"/><given>{extension}</given><given value=\"C\"/>"),
        &format!("\"given\":[\"A\",null,\"C\"],\"_given\":[null,{in_json},null]"),
    );
    check(
        &format!("<given>{extension}</given><given id=\"2\" value=\"B\"/>"),
        &format!("\"given\":[null,\"B\"],\"_given\":[{in_json},{{\"id\":\"2\"}}]"),
    );
    check(&format!("<given>{extension}</given>"), &format!("\"_given\":[{in_json}]"));
    // Start and end tag with nothing between them are as good as an empty element.
    let xml = format!(
        "<Patient {FHIR}><name><given value=\"A\"></given><given value=\"B\" id=\"2\"/>\
         <given value=\"C\"></given></name></Patient>"
    );
    let json = "{\"resourceType\":\"Patient\",\"name\":[{\"given\":[\"A\",\"B\",\"C\"],\
                \"_given\":[null,{\"id\":\"2\"},null]}]}";
    assert_eq!(read(&xml).as_deref(), Ok(json));
}

#[test]
fn choices_keep_their_suffix_and_resources_have_an_element_around_them() {
    // XML-011, XML-012, XML-013
    check_observation(
        "<code><text value=\"c\"/></code><valueQuantity><value value=\"1.50\"/></valueQuantity>",
        "\"code\":{\"text\":\"c\"},\"valueQuantity\":{\"value\":1.50}",
    );
    check_patient(
        "<contained><Medication><id value=\"a\"/></Medication></contained>\
         <contained><Basic><id value=\"b\"/></Basic></contained>",
        "\"contained\":[{\"resourceType\":\"Medication\",\"id\":\"a\"},\
         {\"resourceType\":\"Basic\",\"id\":\"b\"}]",
    );
    check_both_ways(
        &format!(
            "<Bundle {FHIR}><type value=\"transaction-response\"/><entry><resource><Patient/>\
             </resource><response><status value=\"200\"/><outcome><OperationOutcome><issue>\
             <code value=\"informational\"/></issue></OperationOutcome></outcome></response>\
             </entry></Bundle>"
        ),
        "{\"resourceType\":\"Bundle\",\"type\":\"transaction-response\",\"entry\":[{\"resource\":\
         {\"resourceType\":\"Patient\"},\"response\":{\"status\":\"200\",\"outcome\":\
         {\"resourceType\":\"OperationOutcome\",\"issue\":[{\"code\":\"informational\"}]}}}]}",
    );
    check_both_ways(
        &format!(
            "<Parameters {FHIR}><parameter><name value=\"r\"/><part><name value=\"p\"/>\
             <resource><Basic/></resource></part></parameter></Parameters>"
        ),
        "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"r\",\"part\":[{\"name\":\
         \"p\",\"resource\":{\"resourceType\":\"Basic\"}}]}]}",
    );
}

#[test]
fn the_narrative_is_the_same_bytes_in_both() {
    // XML-014, XML-036
    let inner = " a  <p\tclass='x'>b<br />&#160;é\n  c</p > ";
    let json = "{\"resourceType\":\"Patient\",\"text\":{\"status\":\"generated\",\"div\":\"<div \
                xmlns=\\\"http://www.w3.org/1999/xhtml\\\"> a  <p\\tclass='x'>b<br />&#160;é\\n  \
                c</p > </div>\"}}";
    let text = format!("<text><status value=\"generated\"/>{DIV}{inner}</div></text>");
    check_both_ways(&format!("<Patient {FHIR}>{text}</Patient>"), json);
    let pretty = write_styled(json, Style::Pretty).unwrap();
    assert!(pretty.contains(&format!("\n    {DIV}{inner}</div>\n  </text>\n</Patient>")));
    assert_eq!(read(&pretty).as_deref(), Ok(json));
}

#[test]
fn a_namespace_declared_outside_of_the_narrative_is_repeated_in_it() {
    // XML-001, XML-014
    let xml = "<f:Patient xmlns:f=\"http://hl7.org/fhir\" xmlns=\"http://www.w3.org/1999/xhtml\" \
               xmlns:h=\"http://www.w3.org/1999/xhtml\"><f:text><f:status value=\"empty\"/>\
               <div>a<h:b/></div></f:text></f:Patient>";
    let json = "{\"resourceType\":\"Patient\",\"text\":{\"status\":\"empty\",\"div\":\"<div \
                xmlns=\\\"http://www.w3.org/1999/xhtml\\\" \
                xmlns:h=\\\"http://www.w3.org/1999/xhtml\\\">a<h:b/></div>\"}}";
    assert_eq!(read(xml).as_deref(), Ok(json));
    assert!(write(json).is_ok());
}

#[test]
fn values_have_the_kind_of_their_type_and_numbers_every_digit() {
    // XML-016, XML-017
    for number in ["1.00", "0.0010", "1.2e3", "-0.5E-7", "123456789012345678901234567890.10"] {
        check_observation(
            &format!("<valueQuantity><value value=\"{number}\"/></valueQuantity>"),
            &format!("\"valueQuantity\":{{\"value\":{number}}}"),
        );
    }
    check_observation("<valueInteger value=\"7\"/>", "\"valueInteger\":7");
    check_observation("<valueBoolean value=\"false\"/>", "\"valueBoolean\":false");
    check_observation("<valueString value=\"12\"/>", "\"valueString\":\"12\"");
    let plus = format!(
        "<Observation {FHIR}><status value=\"final\"/><valueInteger value=\"+5\"/></Observation>"
    );
    assert!(read(&plus).is_ok_and(|json| json.ends_with("\"valueInteger\":5}")));
}

#[test]
fn base64_loses_its_line_breaks() {
    // XML-018
    let xml = format!(
        "<Binary {FHIR}><contentType value=\"a/b\"/><data value=\"QUJD&#10; REVG\n&#9;\"/></Binary>"
    );
    let json = "{\"resourceType\":\"Binary\",\"contentType\":\"a/b\",\"data\":\"QUJDREVG\"}";
    assert_eq!(read(&xml).as_deref(), Ok(json));
    let wrapped = json.replace("QUJD", "QUJD\\r\\n");
    assert_eq!(write(&wrapped), write(json));
}

#[test]
fn strings_keep_every_character() {
    // XML-019, XML-021
    check_observation(
        "<note><text value=\"a&#10;b&#9;c&#13; &amp;&lt;&gt;&quot;'\u{1F600}é\\\"/></note>",
        "\"note\":[{\"text\":\"a\\nb\\tc\\r &<>\\\"'\u{1F600}é\\\\\"}]",
    );
    let escaped = "{\"resourceType\":\"Patient\",\"\\u0069d\":\"\\ud83d\\ude00\\u00e9\\/\"}";
    let expected = format!("<Patient {FHIR}><id value=\"\u{1F600}é/\"/></Patient>");
    assert_eq!(write(escaped).as_deref(), Ok(&*expected));
}

#[test]
fn other_encodings_and_byte_order_marks_are_read() {
    // XML-022
    let xml = format!("<Patient {FHIR}><id value=\"é\"/></Patient>");
    let json = "{\"resourceType\":\"Patient\",\"id\":\"é\"}";
    let marked = format!("\u{feff}{xml}");
    let wide: Vec<u8> = marked.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let narrow = format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>{xml}");
    let narrow: Vec<u8> = narrow.chars().map(|it| u8::try_from(u32::from(it)).unwrap()).collect();
    for bytes in [marked.as_bytes(), &wide, &narrow] {
        assert_eq!(read_bytes(bytes).as_deref(), Ok(json));
    }
}

#[test]
fn comments_instructions_and_hints_at_a_schema_are_no_data() {
    // XML-024, XML-027, XML-042
    let xml = format!(
        "<!-- a --><Patient {FHIR} xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xsi:schemaLocation=\"http://hl7.org/fhir patient.xsd\"><!-- b --> <?pi c?>\
         <name><!-- d --><given value=\"A\"/><!-- e --><given value=\"B\"><!-- f --></given>\
         </name></Patient><!-- g -->"
    );
    let json = "{\"resourceType\":\"Patient\",\"name\":[{\"given\":[\"A\",\"B\"]}]}";
    assert_eq!(read(&xml).as_deref(), Ok(json));
    assert!(write(json).is_ok_and(|xml| !xml.contains("schema")));
}

#[test]
fn every_value_of_the_json_knows_its_line_of_the_xml() {
    // XML-037
    let xml = format!(
        "<Patient {FHIR}>\n  <name>\n    <given value=\"A\"/>\n    <given value=\"é\" \
         id=\"g\">\n      <extension url=\"urn:x\">\n        <valueCode value=\"c\"/>\n      \
         </extension>\n    </given>\n  </name>\n  <gender value=\"male\"/>\n</Patient>"
    );
    let converted = to_json(xml.as_bytes(), Schema::r4(), &Limits::default()).unwrap();
    let document = Document::parse(&converted.json).unwrap();
    let check = |steps: &[&str], expected: (usize, usize)| {
        let value = steps.iter().fold(document.root(), |value, step| match step.parse() {
            Ok(index) => value.items().nth(index).unwrap(),
            Err(_) => value.get(step).unwrap_or_else(|| panic!("{step}")),
        });
        assert_eq!(converted.places.position(value), expected, "{steps:?}");
    };
    check(&[], (1, 1));
    check(&["name"], (2, 3));
    check(&["name", "0"], (2, 3));
    check(&["name", "0", "given", "0"], (3, 5));
    check(&["name", "0", "given", "1"], (4, 5));
    check(&["name", "0", "_given"], (3, 5));
    check(&["name", "0", "_given", "1"], (4, 5));
    check(&["name", "0", "_given", "1", "id"], (4, 22));
    check(&["name", "0", "_given", "1", "extension", "0", "url"], (5, 18));
    check(&["name", "0", "_given", "1", "extension", "0", "valueCode"], (6, 9));
    check(&["gender"], (10, 3));
}

#[test]
fn pretty_is_one_element_a_line_and_compact_has_no_white_space() {
    let json = "{\"resourceType\":\"Patient\",\"name\":[{\"given\":[\"A\"]}]}";
    assert_eq!(
        write_styled(json, Style::Pretty).as_deref(),
        Ok(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Patient xmlns=\"http://hl7.org/fhir\">\n  \
            <name>\n    <given value=\"A\"/>\n  </name>\n</Patient>\n"
        )
    );
}
