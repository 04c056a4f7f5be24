//! XML in and out, with JSON in any mixture (XML-032 to XML-034).

use crate::support::{Answer, Ask, Site};

const XML: &str = "application/fhir+xml";
const JSON: &str = "application/fhir+json";

/// A Patient in XML; one of these has an id.
fn patient(id: &str) -> String {
    let id = if id.is_empty() { String::new() } else { format!("<id value=\"{id}\"/>") };
    format!(
        "<Patient xmlns=\"http://hl7.org/fhir\">{id}<text><status value=\"generated\"/>\
         <div xmlns=\"http://www.w3.org/1999/xhtml\"><p>a  b</p></div></text><extension \
         url=\"urn:weight\"><valueDecimal value=\"1.50\"/></extension><name>\
         <given value=\"A\"/></name></Patient>"
    )
}

async fn sent(ask: Ask<'_>, accept: &str) -> Answer {
    let answer = ask.header("accept", accept).send().await;
    let is_xml = accept == XML;
    assert_eq!(answer.header("content-type"), Some(accept), "{}", answer.text());
    assert_eq!(answer.body.starts_with(b"<?xml"), is_xml, "{}", answer.text());
    answer
}

#[tokio::test]
async fn each_format_goes_in_and_each_comes_out() {
    // XML-032
    let site = Site::start().await;
    let json = "{\"resourceType\":\"Patient\",\"id\":\"1\"}";
    for (sent_as, body) in [(XML, patient("1")), (JSON, json.to_owned())] {
        for accept in [XML, JSON] {
            let put = site.ask("PUT", "Patient/1").bytes(sent_as, body.clone());
            let answer = sent(put, accept).await;
            assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
            assert_eq!(answer.json()["id"], "1");
        }
    }
    let created = sent(site.ask("POST", "Patient").bytes(XML, patient("")), JSON).await.is(201);
    // What was sent as XML is stored as JSON, to the digit.
    let text = created.text();
    assert!(text.contains("\"valueDecimal\":1.50"), "{text}");
    assert!(text.contains("<p>a  b</p>"), "{text}");
    let reference = created.reference();
    for target in [reference.clone(), format!("{reference}/_history/1")] {
        let read = sent(site.ask("GET", &target), XML).await.is(200);
        assert!(read.text().contains("<valueDecimal value=\"1.50\"/>"), "{}", read.text());
        assert_eq!(read.header("etag"), Some("W/\"1\""));
        assert_eq!(read.json(), created.json());
    }
}

#[tokio::test]
async fn refusals_are_xml_where_xml_is_asked_for() {
    // XML-033, HTTP-005
    let site = Site::start().await;
    for (method, target, status) in [
        ("GET", "Patient/none", 404),
        ("GET", "Foo/1", 404),
        ("DELETE", "Foo/1", 404),
        ("GET", "Patient/none/_history/1", 404),
        ("GET", "_history?_count=x", 400),
    ] {
        let answer = sent(site.ask(method, target), XML).await.is(status);
        assert_eq!(answer.json()["resourceType"], "OperationOutcome");
    }
    let refused = sent(site.ask("POST", "Patient").body("{\"a\":\"\u{1}"), XML).await.is(400);
    assert_eq!(refused.code(), "structure");
    // What cannot be answered at all is refused in JSON.
    let asked = site.ask("GET", "Patient/none").header("accept", "text/html").send().await.is(406);
    assert_eq!(asked.header("content-type"), Some(JSON));
}

#[tokio::test]
async fn xml_that_is_no_resource_is_refused_with_line_and_element() {
    // XML-023, XML-024, XML-037
    let site = Site::start().await;
    let position = site.position();
    let check = async |body: &str, expression: &str, text: &str| {
        let answer = sent(site.ask("POST", "Patient").bytes(XML, body.to_owned()), JSON).await;
        let answer = answer.is(400);
        let diagnostics = answer.json()["issue"][0]["diagnostics"].to_string();
        assert!(diagnostics.contains(text), "{diagnostics}");
        if !expression.is_empty() {
            assert_eq!(answer.expressions(), [expression]);
        }
    };
    check("<Patient/>", "", "http://hl7.org/fhir").await;
    check("<!DOCTYPE a><a/>", "", "DOCTYPE").await;
    check("{}", "", "not well-formed").await;
    check(
        "<Patient xmlns=\"http://hl7.org/fhir\">\n<active value=\"yes\"/></Patient>",
        "Patient.active",
        "line 2, column 16",
    )
    .await;
    assert_eq!(site.position(), position);
}

#[tokio::test]
async fn batches_transactions_histories_and_capabilities_are_there_in_xml() {
    // XML-013, XML-034
    let site = Site::start().await;
    for kind in ["batch", "transaction"] {
        let bundle = format!(
            "<Bundle xmlns=\"http://hl7.org/fhir\"><type value=\"{kind}\"/><entry><resource>{}\
             </resource><request><method value=\"PUT\"/><url value=\"Patient/{kind}\"/></request>\
             </entry></Bundle>",
            patient(kind)
        );
        let answer = sent(site.ask("POST", "").bytes(XML, bundle), XML).await.is(200);
        assert_eq!(answer.statuses(), [201], "{}", answer.text());
        assert_eq!(answer.json()["type"], format!("{kind}-response"));
    }
    for target in ["Patient/batch/_history", "Patient/_history", "_history"] {
        let history = sent(site.ask("GET", target), XML).await.is(200);
        assert_eq!(history.json()["type"], "history");
        assert_eq!(history.json(), site.get(target).await.json(), "{target}");
    }
    let metadata = sent(site.ask("GET", "metadata"), XML).await.is(200);
    let formats = metadata.json()["format"].clone();
    for format in ["xml", XML, "json", JSON] {
        assert!(formats.as_array().unwrap().iter().any(|it| it == format), "{formats}");
    }
    assert_eq!(metadata.json(), site.get("metadata").await.json());
}

#[tokio::test]
async fn pretty_xml_leaves_the_narrative_alone() {
    // XML-036, HTTP-018
    let site = Site::start().await;
    site.ask("PUT", "Patient/1").bytes(XML, patient("1")).send().await.is(201);
    let plain = site.get("Patient/1?_format=xml").await.is(200);
    let pretty = site.get("Patient/1?_format=xml&_pretty=true").await.is(200);
    assert!(pretty.text().lines().count() > 10, "{}", pretty.text());
    assert!(pretty.text().contains("><p>a  b</p></div>\n"), "{}", pretty.text());
    assert_eq!(pretty.json(), plain.json());
}

#[tokio::test]
async fn what_xml_cannot_say_is_406_when_read_and_json_when_written() {
    // XML-020
    let site = Site::start().await;
    let json = "{\"resourceType\":\"Patient\",\"id\":\"1\",\"name\":[{\"text\":\"a\\u0001\"}]}";
    let put = site.ask("PUT", "Patient/1").body(json).header("accept", XML).send().await;
    assert_eq!(put.is(201).header("content-type"), Some(JSON));
    let read = sent(site.ask("GET", "Patient/1"), XML).await.is(406);
    assert_eq!(read.expressions(), ["Patient.name[0].text"]);
    assert!(read.text().contains("ask for application/fhir+json"), "{}", read.text());
    site.get("Patient/1").await.is(200);
}

#[tokio::test]
async fn a_byte_order_mark_where_none_belongs_is_refused_and_harms_no_connection() {
    // XML-015, XML-022
    let site = Site::start().await;
    let marked = format!("\u{feff}\u{feff}{}", patient(""));
    site.ask("POST", "Patient").bytes(XML, marked).send().await.is(400);
    let json = "{\"resourceType\":\"Patient\",\"id\":\"1\",\"text\":{\"status\":\"generated\",\
                \"div\":\"\u{feff}<div/>\"}}";
    let put = site.ask("PUT", "Patient/1").body(json).header("accept", XML).send().await;
    put.is(201);
    let read = sent(site.ask("GET", "Patient/1"), XML).await.is(406);
    assert_eq!(read.expressions(), ["Patient.text.div"]);
}

#[tokio::test]
async fn a_long_bundle_goes_in_and_out_as_xml() {
    // XML-034
    let site = Site::start().await;
    let entries: String = (0..200)
        .map(|count| {
            format!(
                "<entry><resource>{}</resource><request><method value=\"PUT\"/><url \
                 value=\"Patient/p{count}\"/></request></entry>",
                patient(&format!("p{count}"))
            )
        })
        .collect();
    let bundle =
        format!("<Bundle xmlns=\"http://hl7.org/fhir\"><type value=\"batch\"/>{entries}</Bundle>");
    assert!(bundle.len() > 32 << 10);
    let answer = sent(site.ask("POST", "").bytes(XML, bundle), XML).await.is(200);
    assert_eq!(answer.statuses(), vec![201; 200]);
    let history = sent(site.ask("GET", "Patient/_history"), XML).await.is(200);
    assert!(history.body.len() > 32 << 10);
    assert_eq!(history.json()["total"], 200);
}
