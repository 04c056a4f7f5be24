//! What is refused, with its place and the way to mend it.

#![allow(clippy::unwrap_used, reason = "a test may fail at once")]

mod support;

use fhir_core::json::Document;
use fhir_schema::Schema;
use fhir_xml::{HtmlEntities, Limits, Style, WriteError, XmlProblem, to_json, to_xml};
use support::{DIV, FHIR, check_refused, read, read_bytes, write};

fn check_patient(inner: &str, expression: &str, text: &str) {
    check_refused(&format!("<Patient {FHIR}>{inner}</Patient>"), expression, text);
}

#[test]
fn what_is_not_fhir_is_refused() {
    // XML-001, XML-002, XML-026
    check_refused("<Patient/>", "", "<Patient xmlns=\"http://hl7.org/fhir\">");
    check_refused("<Patient xmlns=\"urn:x\"/>", "", "not in FHIR's namespace");
    check_refused("<f:Patient/>", "", "prefix that is not declared");
    check_refused(&format!("<patient {FHIR}/>"), "", "patient is no resource type");
    check_refused(&format!("<Resource {FHIR}/>"), "", "Resource is no resource type");
    check_patient("<active xmlns=\"\" value=\"true\"/>", "Patient", "of the namespace \"\"");
    check_patient("<x:a xmlns:x=\"urn:x\"/>", "Patient", "of the namespace \"urn:x\"");
    check_patient("<name><x:given xmlns:x=\"urn:x\"/></name>", "Patient.name[0]", "urn:x");
    check_patient("<resourceType value=\"Patient\"/>", "Patient", "\"resourceType\" is not known");
}

#[test]
fn values_stand_in_their_attribute_and_are_not_empty() {
    // XML-003, XML-025, XML-043
    check_patient("<active>true</active>", "Patient.active", "the attribute value=");
    check_patient("<active>true</active>", "Patient.active", "neither a value nor elements");
    check_patient("<active><![CDATA[true]]></active>", "Patient.active", "the attribute value=");
    check_patient("text", "Patient", "text where there is none");
    check_patient("&lt;", "Patient", "text where there is none");
    check_patient("<gender/>", "Patient.gender", "neither a value nor elements");
    check_patient("<gender id=\"a\"/>", "Patient.gender", "neither a value nor elements");
    check_patient("<name/>", "Patient.name[0]", "neither a value nor elements");
    check_patient("<name id=\"a\"></name>", "Patient.name[0]", "neither a value nor elements");
    check_patient("<gender value=\"\"/>", "Patient.gender", "\"value\" is empty");
    check_patient("<name id=\"\"><text value=\"a\"/></name>", "Patient.name[0]", "\"id\" is empty");
}

#[test]
fn unknown_names_and_a_wrong_order_are_refused() {
    // XML-004, XML-007, XML-024, XML-029, XML-030
    check_patient("<foo value=\"1\"/>", "Patient", "\"foo\" is not known in Patient");
    check_patient("<_active value=\"1\"/>", "Patient", "\"_active\" is not known");
    check_patient("<active values=\"1\"/>", "Patient.active", "\"values\" is not known");
    check_patient("<name value=\"A\"/>", "Patient.name[0]", "no value of its own");
    check_patient("<name url=\"A\"/>", "Patient.name[0]", "\"url\" is not known");
    check_refused(&format!("<Patient {FHIR} id=\"1\"/>"), "Patient", "<id value=");
    check_patient("<name><id value=\"1\"/></name>", "Patient.name[0]", "is an attribute here");
    check_patient(
        "<birthDate value=\"2000\"/><active value=\"true\"/>",
        "Patient",
        "\"active\" stands after \"birthDate\"",
    );
    check_patient(
        "<name><given value=\"a\"/><family value=\"b\"/></name>",
        "Patient.name[0]",
        "\"family\" stands after \"given\"",
    );
    check_patient(
        "<extension url=\"urn:x\"><valueCode value=\"a\"/><extension url=\"urn:y\"/></extension>",
        "Patient.extension[0]",
        "\"extension\" stands after \"valueCode\"",
    );
    check_patient(
        "<active value=\"true\"><valueCode value=\"a\"/></active>",
        "Patient.active",
        "not known in Element",
    );
    check_patient(
        "<active value=\"true\"/><active value=\"true\"/>",
        "Patient",
        "stands more than once",
    );
    check_patient(
        "<extension url=\"urn:x\"><valueString value=\"a\"/><valueQuantity><value value=\"1\"/>\
         </valueQuantity><valueString value=\"b\"/></extension>",
        "Patient.extension[0]",
        "\"valueString\" stands more than once",
    );
    check_patient("<id value=\"1\" id=\"a\"/>", "Patient.id", "a value alone");
}

#[test]
fn values_of_another_kind_are_refused() {
    // XML-016, XML-017
    let check = |name: &str, value: &str| {
        let xml = format!("<Observation {FHIR}><{name} value=\"{value}\"/></Observation>");
        check_refused(&xml, &format!("Observation.{name}"), &format!("\"{value}\" is no "));
    };
    for value in ["True", "1", " true", "true "] {
        check("valueBoolean", value);
    }
    for value in ["01", "1.", ".5", "+", "+-1", "1 ", "0x1", "1e", "NaN", "--1", "1,5"] {
        check("valueInteger", value);
    }
    let quantity = |value: &str| {
        let xml = format!(
            "<Observation {FHIR}><valueQuantity><value value=\"{value}\"/></valueQuantity>\
             </Observation>"
        );
        check_refused(&xml, "Observation.valueQuantity.value", "is no decimal");
    };
    let data = format!("<Binary {FHIR}><data value=\" &#10;\"/></Binary>");
    check_refused(&data, "Binary.data", "is no base64Binary");
    for value in ["+1.5", "1.5.1", " ", "1e+"] {
        quantity(value);
    }
}

#[test]
fn an_element_that_holds_a_resource_holds_one() {
    // XML-012, XML-013
    let held = "Patient.contained[0]";
    check_patient("<contained/>", held, "there is no resource");
    check_patient("<contained><!-- a --></contained>", held, "there is no resource");
    check_patient("<contained><Foo/></contained>", held, "Foo is no resource type");
    check_patient("<contained><Basic/><Basic/></contained>", held, "holds one resource");
    check_patient("<contained>a<Basic/></contained>", held, "text where there is none");
    check_patient("<contained id=\"a\"><Basic/></contained>", held, "\"id\" is not known");
    check_patient("<contained><x:a xmlns:x=\"urn:x\"/></contained>", held, "urn:x");
}

#[test]
fn entities_and_document_types_are_refused_wherever_they_stand() {
    // XML-020, XML-023
    let laughs = "<!DOCTYPE lolz [<!ENTITY a \"a\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]>";
    let doctype = "a DOCTYPE is not taken";
    check_refused(&format!("{laughs}<Patient {FHIR}/>"), "", doctype);
    check_refused("<!DOCTYPE Patient SYSTEM \"file:///etc/passwd\"><Patient/>", "", doctype);
    check_patient("<!DOCTYPE a><active value=\"true\"/>", "Patient", doctype);
    check_patient("<id value=\"&xxe;\"/>", "Patient.id", "\"&xxe;\" is not known");
    check_patient("<id value=\"&nbsp;\"/>", "Patient.id", "\"&nbsp;\" is not known");
    check_patient("<id value=\"&#0;\"/>", "Patient.id", "U+0000 cannot");
    let raw = format!("<Patient {FHIR}><id value=\"\u{1}\"/></Patient>");
    check_refused(&raw, "", "U+0001 cannot");
}

#[test]
fn html_names_of_characters_are_read_unless_they_are_refused() {
    // XML-044
    let xml = format!(
        "<Patient {FHIR}><text><status value=\"generated\"/>\
         <div xmlns=\"http://www.w3.org/1999/xhtml\">a&nbsp;b</div></text></Patient>"
    );
    let read = |html_entities| {
        let limits = Limits { html_entities, ..Limits::default() };
        to_json(xml.as_bytes(), Schema::r4(), &limits).map(|_| ()).map_err(|it| it.to_string())
    };
    assert_eq!(read(HtmlEntities::Read), Ok(()));
    let refused = read(HtmlEntities::Refuse).unwrap_err();
    assert!(refused.contains("\"&nbsp;\" is not known"), "{refused}");
}

#[test]
fn bytes_that_are_no_xml_are_refused_with_the_place() {
    // XML-022, XML-024
    let check = |xml: &str, text: &str| {
        let error = read(xml).expect_err(xml);
        assert!(error.contains(text), "{xml}: {error}");
    };
    check("", "no content");
    check("{\"resourceType\":\"Patient\"}", "text outside of all elements (line 1, column 1)");
    check("<!-- a -->", "no element in it");
    check(&format!("<Patient {FHIR}>\n<name>"), "ends inside an element (line 2, column 7)");
    check(&format!("<Patient {FHIR}>\n é</Patien>"), "not well-formed XML");
    check(&format!("<Patient {FHIR}/><Patient {FHIR}/>"), "more than one element");
    check(&format!("<Patient {FHIR}/>a"), "outside of all elements");
    check(&format!("<Patient {FHIR}><a"), "not well-formed XML");
    check(&format!("<Patient {FHIR}><1/></Patient>"), "'<' that begins no tag");
    check(&format!("\n<?xml version=\"1.0\"?><Patient {FHIR}/>"), "at the very beginning");
    check(&format!("<?xml version=\"1.1\"?><Patient {FHIR}/>"), "must say version=\"1.0\"");
    assert!(read_bytes(b"<Patient>\xFF").unwrap_err().contains("not UTF-8"));
    // A second byte order mark is text.
    let marked = format!("\u{feff}\u{feff}<Patient {FHIR}/>");
    assert!(read_bytes(marked.as_bytes()).unwrap_err().contains("text outside of all elements"));
    let wide: Vec<u8> = marked.encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert!(read_bytes(&wide).unwrap_err().contains("text outside of all elements"));
}

#[test]
fn a_narrative_that_is_no_div_is_refused_in_both_formats() {
    // XML-014, XML-015, XML-026
    let check = |inner: &str, text: &str| {
        check_patient(&format!("<text>{inner}</text>"), "Patient.text", text)
    };
    check("<div>a</div>", "not one <div");
    check("<p xmlns=\"http://www.w3.org/1999/xhtml\"/>", "of the namespace");
    let within = |inner: &str, text: &str| {
        check_patient(&format!("<text>{DIV}{inner}</div></text>"), "Patient.text.div", text);
    };
    within("&unknown;", "is not known");
    within("<x:b xmlns:x=\"urn:x\"/>", "urn:x");
    let json = "{\"resourceType\":\"Patient\",\"text\":{\"status\":\"generated\",\"div\":\"a\"}}";
    let error = write(json).unwrap_err();
    assert!(error.starts_with("Patient.text.div: the narrative is not one <div"), "{error}");
    assert!(error.ends_with("(line 1, column 63)"), "{error}");
}

#[test]
fn deep_nesting_is_refused_and_never_overflows_the_stack() {
    // XML-045
    let item = "<item><linkId value=\"a\"/>".repeat(1000);
    let xml = format!("<Questionnaire {FHIR}>{item}{}</Questionnaire>", "</item>".repeat(1000));
    let error = read(&xml).unwrap_err();
    assert!(error.contains("more than 128 levels"), "{error}");
    let part = "<part><name value=\"a\"/>".repeat(1000);
    let xml = format!("<Parameters {FHIR}><parameter>{part}{}", "</part>".repeat(1000));
    assert!(read(&xml).unwrap_err().contains("more than 128 levels"));
    // What is just not too deep comes back.
    let item = "<item><linkId value=\"a\"/>".repeat(63);
    let xml = format!("<Questionnaire {FHIR}>{item}{}</Questionnaire>", "</item>".repeat(63));
    let json = read(&xml).unwrap();
    assert_eq!(write(&json).as_deref(), Ok(&*xml));
    assert!(read(&xml.replace("<Q", "<a>").repeat(100_000)).is_err());
}

#[test]
fn issues_name_all_places_and_what_can_be_read_is_given_beside() {
    // XML-037
    let xml = format!(
        "<Patient {FHIR}>\n  <active value=\"yes\"/>\n  <foo/>\n  <name>\n    <given value=\"A\"/>\n\
         \t<given value=\"é\" x=\"1\"/>\n  </name>\n  <id value=\"1\"/>\n</Patient>"
    );
    let refused = to_json(xml.as_bytes(), Schema::r4(), &Limits::default()).unwrap_err();
    let places: Vec<_> =
        refused.issues.iter().map(|it| (it.line, it.column, &*it.expression)).collect();
    assert_eq!(
        places,
        [
            (2, 18, "Patient.active"),
            (3, 3, "Patient"),
            (6, 19, "Patient.name[0].given[1]"),
            (8, 3, "Patient"),
        ]
    );
    let readable = refused.readable.unwrap();
    assert_eq!(
        String::from_utf8(readable.json).unwrap(),
        "{\"resourceType\":\"Patient\",\"name\":[{\"given\":[\"A\",\"é\"]}],\"id\":\"1\"}"
    );
    let issue = refused.issues[0].issue();
    assert_eq!(issue.expression, ["Patient.active"]);
    assert!(issue.diagnostics.contains("line 2, column 18"), "{}", issue.diagnostics);
}

#[test]
fn texts_and_issues_are_limited() {
    let xml = format!("<Patient {FHIR}>{}</Patient>", "<foo/>".repeat(1000));
    let limits = Limits { issues: 10, ..Limits::default() };
    let refused = to_json(xml.as_bytes(), Schema::r4(), &limits).unwrap_err();
    assert_eq!(refused.issues.len(), 10);
    let limits = Limits { bytes: 100, ..Limits::default() };
    let refused = to_json(xml.as_bytes(), Schema::r4(), &limits).unwrap_err();
    assert_eq!(refused.issues[0].problem, XmlProblem::TooLong(100));
}

#[test]
fn json_that_xml_cannot_say_is_refused_with_its_element() {
    // XML-020, XML-024, XML-025
    let check = |members: &str, expression: &str, text: &str| {
        let json = format!("{{\"resourceType\":\"Patient\",{members}}}");
        let error = write(&json).expect_err(&json);
        assert!(error.starts_with(&format!("{expression}: ")), "{error}");
        assert!(error.contains(text), "{error}");
    };
    check("\"foo\":1", "Patient", "\"foo\" is not known in Patient");
    check("\"_name\":[{}]", "Patient", "\"_name\" is not known");
    check("\"_id\":{\"id\":\"a\"}", "Patient.id", "a value alone");
    check("\"active\":\"true\"", "Patient.active", "a JSON boolean was expected");
    check("\"birthDate\":2000", "Patient.birthDate", "a JSON string was expected");
    check("\"birthDate\":\"\"", "Patient.birthDate", "is empty");
    check("\"birthDate\":null", "Patient.birthDate", "neither a value nor elements");
    check("\"_birthDate\":{\"id\":\"a\"}", "Patient.birthDate", "neither a value nor elements");
    check("\"_birthDate\":[]", "Patient.birthDate", "a JSON object was expected");
    check("\"name\":{}", "Patient.name", "a JSON array was expected");
    check("\"name\":[]", "Patient.name", "neither a value nor elements");
    check("\"name\":[{}]", "Patient.name[0]", "neither a value nor elements");
    check("\"name\":[1]", "Patient.name[0]", "a JSON object was expected");
    check("\"name\":[{\"given\":[null]}]", "Patient.name[0].given[0]", "neither a value");
    check("\"name\":[{\"text\":\"\\u0001\"}]", "Patient.name[0].text", "U+0001 cannot");
    check("\"name\":[{\"text\":\"\\uffff\"}]", "Patient.name[0].text", "U+FFFF cannot");
    check("\"name\":[{\"id\":1,\"text\":\"a\"}]", "Patient.name[0].id", "a JSON string");
    check("\"contained\":[1]", "Patient.contained[0]", "a resource as JSON object");
    check("\"contained\":[{}]", "Patient.contained[0]", "a resourceType");
    check("\"contained\":[{\"resourceType\":\"X\"}]", "Patient.contained[0]", "X is no resource");
    check("\"text\":{\"div\":1}", "Patient.text.div", "a JSON string was expected");
}

/// A sink that counts, and the most that it got at once.
struct Counting {
    bytes: usize,
    most: usize,
    full_after: usize,
}

impl std::io::Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes += bytes.len();
        self.most = self.most.max(bytes.len());
        if self.bytes > self.full_after {
            return Err(std::io::Error::other("full"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_long_bundle_is_written_in_pieces_as_it_would_be_at_once() {
    // XML-035
    let entry = "{\"resource\":{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"A\"}]}}";
    let entries = vec![entry; 20_000].join(",");
    let json = format!("{{\"resourceType\":\"Bundle\",\"entry\":[{entries}]}}");
    let document = Document::parse(json.as_bytes()).unwrap();
    let root = document.root();
    let whole = to_xml(root, Schema::r4(), Style::Compact).unwrap();
    let mut sink = Counting { bytes: 0, most: 0, full_after: usize::MAX };
    fhir_xml::write(root, Schema::r4(), Style::Compact, &mut sink).unwrap();
    assert_eq!(sink.bytes, whole.len());
    assert!(sink.most < 70_000, "{} of {}", sink.most, whole.len());
    let mut sink = Counting { bytes: 0, most: 0, full_after: 100_000 };
    let written = fhir_xml::write(root, Schema::r4(), Style::Compact, &mut sink);
    assert!(matches!(written, Err(WriteError::Sink(_))));
}
