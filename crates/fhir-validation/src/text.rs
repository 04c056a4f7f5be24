//! What is asked of texts besides the form of their type (FHIR R4, 2.24.0.1).

use fhir_core::json::Value;
use fhir_core::{IssueCode, Severity};

use crate::options::{ExampleUrls, Html};
use crate::primitive::{has_scheme, has_space_around};
use crate::program::Rule;
use crate::walk::Run;

impl<'a> Run<'a> {
    /// What is asked of strings besides their type.
    pub(crate) fn about_text(
        &mut self,
        rule: &'a Rule,
        type_name: &str,
        value: Value<'a>,
        text: &str,
    ) {
        match type_name {
            "string" => {
                if has_space_around(text) {
                    let said = "there is white space around the text; take it away";
                    self.tell(Severity::Warning, IssueCode::Value, value, "white-space", said);
                }
                if self.options.html_in_strings == Html::Refuse && has_tag(text) {
                    let said = "there is what looks like HTML in the text, which is not allowed \
                                here; take the tags out";
                    self.error(IssueCode::Value, value, "html", said);
                }
            }
            "markdown" if has_tag(text) => match self.options.html_in_markdown {
                Html::Refuse => {
                    let said = "there are HTML tags in the markdown, which are not allowed here; \
                                take them out";
                    self.error(IssueCode::Value, value, "markdown-html", said);
                }
                Html::Remark => {
                    let said = "there are HTML tags in the markdown, which are not shown as such";
                    self.tell(Severity::Warning, IssueCode::Value, value, "markdown-html", said);
                }
            },
            "uri" | "url" | "canonical" => {
                if type_name == "url" && !has_scheme(text) && !text.starts_with('#') {
                    let said = "a url is absolute; this one has no scheme such as https";
                    self.tell(Severity::Warning, IssueCode::Value, value, "relative-url", said);
                }
                if self.options.example_urls == ExampleUrls::Refuse && is_example_url(text) {
                    let said = "this URL is of a domain for examples, which leads nowhere; give \
                                the one that is meant";
                    self.error(IssueCode::Value, value, "example-url", said);
                }
            }
            "id" if &*rule.name == "id" && text.starts_with('#') => {
                let said = "an id stands without '#', which references to it have";
                self.error(IssueCode::Value, value, "contained-id", said);
            }
            "date" | "dateTime" | "instant" => {
                let year = text.get(..4).and_then(|it| it.parse::<u32>().ok());
                if year.is_some_and(|it| !(1800..=2200).contains(&it)) {
                    let said = "the year is far from our time; is it what is meant?";
                    self.tell(Severity::Warning, IssueCode::Value, value, "implausible-date", said);
                }
            }
            _ => {}
        }
    }
}

/// Whether there is what a browser would take for a tag or a comment.
pub(crate) fn has_tag(text: &str) -> bool {
    text.match_indices('<').any(|(at, _)| {
        let rest = &text[at + 1..];
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        rest.starts_with(|it: char| it.is_ascii_alphabetic() || it == '!')
            && rest.bytes().take(200).any(|it| it == b'>')
    })
}

/// Whether a URL is of a domain that is set apart for examples (RFC 2606, 2 and 3).
pub(crate) fn is_example_url(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#', '|']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default().trim_end_matches('.');
    let mut labels = host.rsplit('.');
    let (top, second) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
    let is_top = |it: &&str| top.eq_ignore_ascii_case(it);
    let is_reserved = ["example", "test", "invalid"].iter().any(&is_top);
    let is_second =
        second.eq_ignore_ascii_case("example") && ["com", "net", "org"].iter().any(is_top);
    is_reserved || is_second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_for_examples_are_those_of_rfc_2606() {
        for url in [
            "http://example.org",
            "https://a.b.example.com:8080/x",
            "http://EXAMPLE.net/a",
            "ftp://u@host.test/",
            "http://example.org|1.0",
        ] {
            assert!(is_example_url(url), "{url}");
        }
        for url in
            ["http://example.edu", "http://myexample.org", "urn:example:a", "http://a/example.org"]
        {
            assert!(!is_example_url(url), "{url}");
        }
    }

    #[test]
    fn tags_are_what_a_browser_takes_for_one() {
        for text in ["a <b>c</b>", "</p>", "<!-- x -->", "<script src='x'>"] {
            assert!(has_tag(text), "{text}");
        }
        for text in ["a < b > c", "x<5 and y>3", "<3", "a <b", "<>"] {
            assert!(!has_tag(text), "{text}");
        }
    }
}
