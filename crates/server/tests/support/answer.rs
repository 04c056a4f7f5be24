//! An answer, with short ways to look at it.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn new(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        let status = status.as_u16();
        Self { status, headers, body }
    }

    /// Checks the status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("UTF-8")
    }

    /// The body as JSON; one in XML as the JSON that it means.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let body = match self.header("content-type") {
            Some(media_type) if media_type.contains("xml") => {
                let schema = fhir_schema::Schema::r4();
                fhir_xml::to_json(&self.body, schema, &fhir_xml::Limits::default())
                    .unwrap_or_else(|refused| panic!("{refused}: {}", self.text()))
                    .json
            }
            _ => self.body.to_vec(),
        };
        serde_json::from_slice(&body).expect("JSON")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// `Type/id` from `Location`.
    #[track_caller]
    pub(crate) fn reference(&self) -> String {
        let location = self.header("location").expect("a Location");
        let relative = location.strip_prefix(super::BASE).expect("under the public base");
        let (resource, _) =
            relative[1..].split_once("/_history/").expect("a version in the Location");
        resource.to_owned()
    }

    /// The first issue's code.
    pub(crate) fn code(&self) -> String {
        let code = self.json()["issue"][0]["code"].clone();
        code.as_str().expect("a code").to_owned()
    }

    /// All expressions of all issues.
    pub(crate) fn expressions(&self) -> Vec<String> {
        let outcome = self.json();
        let issues = outcome["issue"].as_array().expect("issues");
        let lists = issues.iter().filter_map(|issue| issue["expression"].as_array());
        lists.flatten().map(|it| it.as_str().expect("text").to_owned()).collect()
    }

    /// `entry[index].response` of a Bundle.
    #[track_caller]
    pub(crate) fn entry(&self, index: usize) -> Value {
        self.json()["entry"][index]["response"].clone()
    }

    /// The numbers of all entries' statuses.
    #[track_caller]
    pub(crate) fn statuses(&self) -> Vec<u16> {
        let bundle = self.json();
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .map(|entry| {
                let status = entry["response"]["status"].as_str().expect("a status");
                status[..3].parse().expect("a number")
            })
            .collect()
    }

    /// `Type/id` from `entry[index].response.location`.
    #[track_caller]
    pub(crate) fn entry_reference(&self, index: usize) -> String {
        let response = self.entry(index);
        let location = response["location"].as_str().expect("a location");
        location.split_once("/_history/").expect("a version").0.to_owned()
    }
}
