//! From a document to what is sent: a look at type, id and entries, the bytes untouched.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use contract::{ResourceId, ResourceType};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use super::reading::Read;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    /// Counted from 1; 1 in a file that is one document.
    pub(crate) line: u64,
    /// The Bundle's entry, counted from 1.
    pub(crate) entry: Option<usize>,
}

/// One request to be.
#[derive(Debug)]
pub(crate) struct Shipment {
    pub(crate) place: Place,
    pub(crate) what: What,
    pub(crate) body: Bytes,
    /// The room in memory that the body takes up, until it is answered.
    pub(crate) memory: Option<OwnedSemaphorePermit>,
}

/// What a request does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A Bundle that is done as a whole: the types of its entries.
    Transaction(Vec<String>),
    /// A Bundle whose entries are done one by one.
    Batch(Vec<String>),
    /// A resource under its id.
    Put(ResourceType, ResourceId),
    /// A resource that is to get an id.
    Create(ResourceType),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    resource_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct BundleHead<'a> {
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
}

/// Nobody takes the parts any more.
#[derive(Debug)]
pub(crate) struct NotTaken;

/// What a type cannot be told of is counted under.
const UNTOLD: &str = "?";

/// Gives `take` what the document at `place` comes to.
pub(crate) fn take_apart(
    document: Vec<u8>,
    place: &Place,
    take: &mut dyn FnMut(Read) -> bool,
) -> Result<(), NotTaken> {
    let document = Bytes::from(document).trimmed();
    let mut give = |read| if take(read) { Ok(()) } else { Err(NotTaken) };
    let unreadable = |why: String| Read::Unreadable(place.clone(), why);
    match serde_json::from_slice::<Head<'_>>(&document) {
        Err(error) => give(unreadable(format!("no JSON of a resource: {error}"))),
        Ok(head) if head.resource_type.as_deref() == Some("Bundle") => {
            match serde_json::from_slice::<BundleHead<'_>>(&document) {
                Err(error) => give(unreadable(format!("no JSON of a Bundle: {error}"))),
                Ok(bundle) => take_bundle_apart(&document, &head, &bundle, place, &mut give),
            }
        }
        Ok(head) => give(single(&head, document.clone(), place.clone())),
    }
}

fn take_bundle_apart(
    document: &Bytes,
    head: &Head<'_>,
    bundle: &BundleHead<'_>,
    place: &Place,
    give: &mut dyn FnMut(Read) -> Result<(), NotTaken>,
) -> Result<(), NotTaken> {
    let types = || bundle.entry.iter().map(type_of).collect();
    let whole = |what| {
        Read::Shipment(Shipment {
            place: place.clone(),
            what,
            body: document.clone(),
            memory: None,
        })
    };
    match bundle.r#type.as_deref() {
        Some("transaction") => give(whole(What::Transaction(types()))),
        Some("batch") => give(whole(What::Batch(types()))),
        Some("collection" | "searchset") => {
            for (at, entry) in bundle.entry.iter().enumerate() {
                let place = Place { entry: Some(at + 1), ..place.clone() };
                let Some(resource) = entry.resource else {
                    give(Read::Unreadable(place, "an entry without a resource".to_owned()))?;
                    continue;
                };
                let body = Bytes::copy_from_slice(resource.get().as_bytes());
                match serde_json::from_str::<Head<'_>>(resource.get()) {
                    Ok(head) => give(single(&head, body, place))?,
                    Err(error) => give(Read::Unreadable(place, error.to_string()))?,
                }
            }
            Ok(())
        }
        // A document, a message, a history: kept as the Bundle it is.
        _ => give(single(head, document.clone(), place.clone())),
    }
}

fn single(head: &Head<'_>, body: Bytes, place: Place) -> Read {
    let name = head.resource_type.as_deref().unwrap_or_default();
    let Ok(resource_type) = ResourceType::new(name) else {
        return Read::Unreadable(place, "no resourceType that names a type".to_owned());
    };
    let what = match head.id.as_deref().map(ResourceId::new) {
        None => What::Create(resource_type),
        Some(Ok(id)) => What::Put(resource_type, id),
        Some(Err(error)) => return Read::Unreadable(place, error.to_string()),
    };
    Read::Shipment(Shipment { place, what, body, memory: None })
}

/// The type that an entry is about: its resource's, or the one in the request's URL.
fn type_of(entry: &Entry<'_>) -> String {
    let of_resource = entry.resource.and_then(|resource| {
        let head: Head<'_> = serde_json::from_str(resource.get()).ok()?;
        head.resource_type.map(Cow::into_owned)
    });
    let of_url = || {
        let url = entry.request.as_ref()?.url.as_deref()?;
        let first = url.split(['/', '?']).next()?;
        ResourceType::is_valid(first).then(|| first.to_owned())
    };
    of_resource
        .filter(|name| ResourceType::is_valid(name))
        .or_else(of_url)
        .unwrap_or_else(|| UNTOLD.to_owned())
}

trait Trimmed {
    fn trimmed(self) -> Self;
}

impl Trimmed for Bytes {
    /// Without the white space around.
    fn trimmed(self) -> Self {
        let trimmed = self.trim_ascii();
        let start = self.len() - self.trim_ascii_start().len();
        self.slice(start..start + trimmed.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { file: "f".into(), line: 7, entry: None }
    }

    /// Each part as `entry what body`, or `entry ! why`.
    fn parts(document: &str) -> Vec<String> {
        let mut parts = Vec::new();
        take_apart(document.as_bytes().to_vec(), &place(), &mut |read| {
            parts.push(match read {
                Read::Shipment(shipment) => format!(
                    "{} {} {}",
                    shipment.place.entry.unwrap_or(0),
                    match &shipment.what {
                        What::Transaction(types) => format!("transaction {types:?}"),
                        What::Batch(types) => format!("batch {types:?}"),
                        What::Put(name, id) => format!("PUT {name}/{id}"),
                        What::Create(name) => format!("POST {name}"),
                    },
                    std::str::from_utf8(&shipment.body).unwrap()
                ),
                Read::Unreadable(place, why) => format!("{} ! {why}", place.entry.unwrap_or(0)),
                Read::NextArgument => unreachable!(),
            });
            true
        })
        .unwrap();
        parts
    }

    #[test]
    fn a_single_resource_is_put_under_its_id_and_posted_without_one() {
        let with =
            r#" {"type":[{"x":1}],"entry":{}, "resourceType":"Basic","id":"a.1", "v":1.50e0} "#;
        assert_eq!(parts(with), [format!("0 PUT Basic/a.1 {}", with.trim())]);
        let without = r#"{"resourceType":"Basic"}"#;
        assert_eq!(parts(without), [format!("0 POST Basic {without}")]);
    }

    #[test]
    fn transactions_and_batches_go_whole_and_untouched() {
        let bundle = r#"{"entry":[
            {"resource":{"resourceType":"Patient","n":0.010}},
            {"request":{"method":"DELETE","url":"Basic/1"}},
            {"request":{"method":"GET","url":"metadata"}}],
            "type":"transaction","resourceType":"Bundle"}"#;
        let expected = format!(r#"0 transaction ["Patient", "Basic", "?"] {bundle}"#);
        assert_eq!(parts(bundle), [expected]);
        let batch = bundle.replace("transaction", "batch");
        assert!(parts(&batch)[0].starts_with("0 batch ["));
    }

    #[test]
    fn entries_of_collections_go_one_by_one_with_their_numbers_as_written() {
        let bundle = r#"{"resourceType":"Bundle","type":"collection","entry":[
            {"resource":{"resourceType":"Basic","id":"1","n":1.0}},
            {"fullUrl":"x"},
            {"resource":{"resourceType":"Basic","n":123456789012345678901234567890.10}},
            {"resource":{"id":"1"}}]}"#;
        assert_eq!(
            parts(bundle),
            [
                r#"1 PUT Basic/1 {"resourceType":"Basic","id":"1","n":1.0}"#,
                "2 ! an entry without a resource",
                r#"3 POST Basic {"resourceType":"Basic","n":123456789012345678901234567890.10}"#,
                "4 ! no resourceType that names a type",
            ]
        );
    }

    #[test]
    fn another_bundle_is_a_resource_like_others() {
        for (bundle, what) in [
            (r#"{"resourceType":"Bundle","type":"document","id":"d"}"#, "0 PUT Bundle/d"),
            (r#"{"resourceType":"Bundle","type":"message"}"#, "0 POST Bundle"),
        ] {
            assert_eq!(parts(bundle), [format!("{what} {bundle}")]);
        }
    }

    #[test]
    fn what_is_no_resource_is_said() {
        for bad in [
            "",
            "7",
            "[]",
            "{",
            "{}",
            r#"{"resourceType":"patient"}"#,
            r#"{"resourceType":"Basic","id":"a/b"}"#,
            r#"{"resourceType":"Basic","id":7}"#,
            r#"{"resourceType":"Basic"} x"#,
            r#"{"resourceType":"Bundle","type":"collection","entry":7}"#,
        ] {
            let parts = parts(bad);
            assert!(parts.len() == 1 && parts[0].starts_with("0 ! "), "{bad}: {parts:?}");
        }
    }
}
