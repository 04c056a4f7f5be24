//! `$quarantine`: what is quarantined, the newest first, in pages; with `item`, one item and its
//! body as it was sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use database::T;
use fhir_core::{Instant, Issue, IssueCode, ResourceId};

use super::{issues, parameters, text};
use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::negotiation;
use crate::page_link::{self, PageLinks};
use crate::quarantine::{Asked, Found, Listed, ListedItem, Quarantine};

/// The operation's URL, relative to the base.
const PATH: &str = "$quarantine";

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Query {
    sender: Option<String>,
    resource_type: Option<String>,
    count: usize,
    /// The item before which it begins.
    before: Option<(u64, String)>,
}

pub(super) async fn list(call: &Call<'_>) -> Result<Answer, ServerError> {
    let quarantine = Quarantine::of(call);
    let links = PageLinks::of(call, PATH);
    let query = match read(call)? {
        Wanted::Item(id) => {
            let item = match quarantine.item(&id).await? {
                Found::Item(item) => item,
                Found::Unreadable { why, .. } => return Err(why),
                Found::Nothing => return Err(ServerError::NotFound),
            };
            let data = STANDARD.encode(&item.body);
            let mut shown = shown(call, &item.listed());
            shown.push(json!({ "name": "body", "valueBase64Binary": data }));
            return Ok(Answer::of(parameters(shown).to_string()));
        }
        Wanted::Page(text) => {
            let query = serde_json::from_slice(&links.open(&text)?);
            query.map_err(|_| ServerError::PageLinkInvalid)?
        }
        Wanted::First(query) => query,
    };
    let before = match &query.before {
        Some((t, id)) => {
            let id = ResourceId::new(id).map_err(|_| ServerError::PageLinkInvalid)?;
            Some((T::new(*t), id))
        }
        None => None,
    };
    let asked = Asked { sender: query.sender.clone(), resource_type: query.resource_type.clone() };
    let page = quarantine.page(&asked, before, query.count).await?;
    let url = format!("{}/{PATH}", call.server.base.as_str());
    let own = match call.query.is_empty() {
        true => url.clone(),
        false => format!("{url}?{}", call.query),
    };
    let mut link = vec![json!({ "relation": "self", "url": own })];
    if let Some((t, id)) = page.next {
        let next = Query { before: Some((t.get(), id.to_string())), ..query };
        let next = serde_json::to_vec(&next).expect("it is plain data");
        let next = format!("{url}?{}={}", page_link::PARAMETER, links.seal(&next));
        link.push(json!({ "relation": "next", "url": next }));
    }
    let mut bundle = json!({ "resourceType": "Bundle", "type": "collection", "link": link });
    if !page.items.is_empty() {
        let entries = page.items.iter().map(|listed| {
            let (id, shown) = match listed {
                Listed::Item(item) => (&item.id, shown(call, item)),
                Listed::Unreadable { id, received } => (id, unreadable(call, (id, *received))),
            };
            json!({ "fullUrl": item_url(call, id), "resource": parameters(shown) })
        });
        bundle["entry"] = entries.collect();
    }
    Ok(Answer::of(bundle.to_string()))
}

/// What the query asks for.
enum Wanted {
    Item(ResourceId),
    Page(String),
    First(Query),
}

fn read(call: &Call<'_>) -> Result<Wanted, ServerError> {
    let most = call.server.limits.history_page;
    let mut query = Query { sender: None, resource_type: None, count: most, before: None };
    let mut wanted = None;
    for (name, value) in negotiation::parameters(call.query) {
        match name.as_str() {
            "_format" | "_pretty" => {}
            "item" => {
                let mend = "write the id of one item, as it is listed";
                let id = ResourceId::new(&value);
                let id = id.map_err(|_| ServerError::InvalidParameter { name: "item", mend })?;
                wanted = Some(Wanted::Item(id));
            }
            page_link::PARAMETER => wanted = Some(Wanted::Page(value)),
            "sender" => query.sender = Some(value),
            "type" => query.resource_type = Some(value),
            "_count" => {
                let mend = "write a whole number from 1 on";
                let count = value.parse::<usize>().ok().filter(|count| *count > 0);
                let count = count.ok_or(ServerError::InvalidParameter { name: "_count", mend })?;
                query.count = count.min(most);
            }
            _ => return Err(ServerError::UnsupportedParameter(name)),
        }
    }
    Ok(wanted.unwrap_or(Wanted::First(query)))
}

fn item_url(call: &Call<'_>, id: &ResourceId) -> String {
    format!("{}/{PATH}?item={id}", call.server.base.as_str())
}

/// What is known of any item.
fn known(call: &Call<'_>, (id, received): (&ResourceId, Instant)) -> Vec<Value> {
    vec![
        json!({ "name": "item", "valueId": id.as_str() }),
        json!({ "name": "url", "valueUrl": item_url(call, id) }),
        json!({ "name": "received", "valueInstant": received.to_string() }),
    ]
}

/// One that cannot be read, as parameters.
fn unreadable(call: &Call<'_>, item: (&ResourceId, Instant)) -> Vec<Value> {
    let mut shown = known(call, item);
    let text = "it cannot be read; the operator's log has the reason. It may be in a backup";
    shown.push(json!({ "name": "unreadable", "valueBoolean": true }));
    shown.extend(issues(&[Issue::error(IssueCode::Exception, text)]));
    shown
}

/// An item as parameters.
fn shown(call: &Call<'_>, item: &ListedItem) -> Vec<Value> {
    let mut shown = known(call, (&item.id, item.received));
    shown.extend(text("sender", &item.sender));
    shown.extend(item.user.as_deref().and_then(|user| text("user", user)));
    shown.extend(item.request_id.as_deref().and_then(|id| text("request-id", id)));
    shown.extend(text("request", &item.request));
    shown.push(json!({ "name": "format", "valueCode": item.media_type }));
    shown.push(json!({ "name": "bytes", "valueInteger": item.bytes }));
    shown.extend(issues(&item.issues));
    shown
}
