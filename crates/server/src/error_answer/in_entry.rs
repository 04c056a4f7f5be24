//! Where an issue of an entry stands, as seen from its Bundle. Which issue it is, is not said here.

use fhir_core::Issue;

/// The issue as seen from the Bundle: content stands in the entry's resource, conditions in its
/// request.
pub(super) fn in_entry(mut issue: Issue, entry: &str) -> Issue {
    let prefixed = |expression: &String| match expression.as_str() {
        "http.If-Match" => format!("{entry}.request.ifMatch"),
        "http.If-None-Match" => format!("{entry}.request.ifNoneMatch"),
        "http.If-None-Exist" => format!("{entry}.request.ifNoneExist"),
        "request" | "request.url" | "request.method" => format!("{entry}.{expression}"),
        inner if inner.starts_with("Bundle.entry[") || inner.starts_with("http.") => inner.into(),
        inner @ ("id" | "resourceType") => format!("{entry}.resource.{inner}"),
        inner => match inner.split_once('.') {
            Some((_, inner)) => format!("{entry}.resource.{inner}"),
            None => format!("{entry}.resource"),
        },
    };
    issue.expression = issue.expression.iter().map(prefixed).collect();
    if issue.expression.is_empty() {
        issue.expression.push(entry.to_owned());
    }
    issue
}
