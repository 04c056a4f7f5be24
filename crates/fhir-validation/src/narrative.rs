//! The narrative's XHTML (FHIR R4, 2.4.0): well-formed, a `div`, with formatting alone, and with
//! something to read. txt-1 and txt-2 are checked here.

use std::borrow::Cow;

use fhir_core::IssueCode;

use crate::markup::{Token, Tokens, unknown_reference};

/// How deep elements may stand in each other.
const MAX_DEPTH: usize = 256;

/// How many problems of one narrative are told.
const MOST_PROBLEMS: usize = 20;

const NAMESPACE: &str = "http://www.w3.org/1999/xhtml";

/// HTML 4.0 chapters 7 to 11 (without section 4 of chapter 9) and 15, and links and images.
const ELEMENTS: &[&str] = &[
    "p",
    "br",
    "div",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "a",
    "span",
    "b",
    "em",
    "i",
    "strong",
    "small",
    "big",
    "tt",
    "dfn",
    "q",
    "var",
    "abbr",
    "acronym",
    "cite",
    "blockquote",
    "hr",
    "address",
    "bdo",
    "kbd",
    "sub",
    "sup",
    "ul",
    "ol",
    "li",
    "dl",
    "dt",
    "dd",
    "pre",
    "table",
    "caption",
    "colgroup",
    "col",
    "thead",
    "tr",
    "tfoot",
    "tbody",
    "th",
    "td",
    "code",
    "samp",
    "img",
    "map",
    "area",
    "ins",
    "del",
    "center",
    "strike",
    "s",
    "u",
    "font",
];

const ATTRIBUTES: &[&str] = &[
    "title",
    "style",
    "class",
    "id",
    "lang",
    "xml:lang",
    "dir",
    "accesskey",
    "tabindex",
    "span",
    "width",
    "align",
    "valign",
    "char",
    "charoff",
    "abbr",
    "axis",
    "headers",
    "scope",
    "rowspan",
    "colspan",
    "xmlns",
    "xml:space",
    "cite",
    "datetime",
    "idref",
];

/// Attributes of one element.
const OWN_ATTRIBUTES: &[(&str, &[&str])] = &[
    (
        "a",
        &["href", "name", "target", "rel", "rev", "charset", "type", "hreflang", "shape", "coords"],
    ),
    ("img", &["src", "alt", "border", "longdesc", "height", "usemap", "ismap", "name"]),
    ("table", &["summary", "border", "frame", "rules", "cellspacing", "cellpadding", "bgcolor"]),
    ("td", &["nowrap", "bgcolor", "height"]),
    ("th", &["nowrap", "bgcolor", "height"]),
    ("tr", &["bgcolor"]),
    ("font", &["color", "face", "size"]),
    ("ol", &["type", "start", "compact"]),
    ("ul", &["type", "compact"]),
    ("li", &["type", "value"]),
    ("hr", &["size", "noshade"]),
    ("br", &["clear"]),
    ("map", &["name"]),
    ("area", &["shape", "coords", "href", "nohref", "alt"]),
];

/// What is wrong with a narrative.
pub(crate) struct Problem {
    pub(crate) rule: &'static str,
    /// `Structure` of what cannot be read as XHTML.
    pub(crate) code: IssueCode,
    pub(crate) text: Cow<'static, str>,
}

/// Whether a narrative keeps all rules.
pub(crate) fn is_valid(xhtml: &str) -> bool {
    check(xhtml).is_empty()
}

/// All that is wrong with a narrative, each kind once.
pub(crate) fn check(xhtml: &str) -> Vec<Problem> {
    let mut reading = Reading { problems: Vec::new(), has_content: false };
    if let Err(reason) = reading.read(xhtml) {
        reading.unreadable(format!("the narrative is no well-formed XHTML: {reason}"));
    } else if !reading.has_content && reading.problems.is_empty() {
        reading.add("txt-2", "the narrative has nothing to read; say something or leave it out");
    }
    reading.problems
}

struct Reading {
    problems: Vec<Problem>,
    has_content: bool,
}

impl Reading {
    fn add(&mut self, rule: &'static str, text: impl Into<Cow<'static, str>>) {
        self.problem(Problem { rule, code: IssueCode::Invalid, text: text.into() });
    }

    /// What cannot be read keeps no rule about what is in it.
    fn unreadable(&mut self, text: String) {
        self.problem(Problem { rule: "txt-1", code: IssueCode::Structure, text: text.into() });
    }

    fn problem(&mut self, problem: Problem) {
        let is_told = self.problems.iter().any(|it| it.text == problem.text);
        if self.problems.len() < MOST_PROBLEMS && !is_told {
            self.problems.push(problem);
        }
    }

    fn references(&mut self, text: &str) {
        if let Some(unknown) = unknown_reference(text) {
            let text = format!(
                "'{unknown}' means nothing in XHTML as FHIR takes it; write the character itself"
            );
            self.unreadable(text);
        }
    }

    fn read(&mut self, xhtml: &str) -> Result<(), &'static str> {
        let mut tokens = Tokens::new(xhtml);
        let mut open: Vec<&str> = Vec::new();
        let mut has_root = false;
        while let Some(token) = tokens.next()? {
            match token {
                Token::Text(text) => {
                    let is_blank = text.chars().all(char::is_whitespace);
                    if open.is_empty() && !is_blank {
                        return Err("text stands outside the div");
                    }
                    self.references(text);
                    self.has_content |= !is_blank;
                }
                Token::CharacterData(text) => self.has_content |= !text.trim().is_empty(),
                Token::Comment => {}
                Token::Declaration => {
                    self.add(
                        "txt-1",
                        "DOCTYPE, processing instructions and the like are not \
                                       taken; leave them out",
                    );
                }
                Token::Close(name) => {
                    if open.pop() != Some(name) {
                        return Err("an end tag closes what is not open");
                    }
                }
                Token::Open { name, attributes, is_closed } => {
                    if open.is_empty() {
                        if has_root {
                            return Err("there is more than one root");
                        }
                        has_root = true;
                        self.root(name, &attributes);
                    }
                    self.element(name, &attributes);
                    if !is_closed {
                        open.push(name);
                        if open.len() > MAX_DEPTH {
                            return Err("elements stand too deep in each other");
                        }
                    }
                }
            }
        }
        if !open.is_empty() {
            return Err("a tag is not closed");
        }
        if has_root { Ok(()) } else { Err("there is no div") }
    }

    fn root(&mut self, name: &str, attributes: &[(&str, &str)]) {
        let local = name.rsplit_once(':').map_or(name, |(_, local)| local);
        if local != "div" {
            self.add("txt-1", "the root of a narrative is a div");
        }
        let declaration = match name.split_once(':') {
            Some((prefix, _)) => format!("xmlns:{prefix}"),
            None => "xmlns".to_owned(),
        };
        let namespace = attributes.iter().find(|(name, _)| *name == declaration);
        if namespace.is_none_or(|(_, it)| *it != NAMESPACE) {
            self.add("txt-1", format!("the div needs xmlns=\"{NAMESPACE}\""));
        }
    }

    fn element(&mut self, name: &str, attributes: &[(&str, &str)]) {
        let local = name.rsplit_once(':').map_or(name, |(_, local)| local);
        if !ELEMENTS.contains(&local) {
            let text = format!("<{}> is not allowed in a narrative; leave it out", short(local));
            return self.add("txt-1", text);
        }
        if local == "img" {
            self.has_content = true;
        }
        for (attribute, value) in attributes {
            self.references(value);
            let own = OWN_ATTRIBUTES.iter().find(|(of, _)| *of == local);
            let is_known = ATTRIBUTES.contains(attribute)
                || attribute.starts_with("xmlns:")
                || own.is_some_and(|(_, own)| own.contains(attribute));
            if !is_known {
                let text = format!(
                    "the attribute '{}' is not allowed on <{local}>; leave it out",
                    short(attribute)
                );
                self.add("txt-1", text);
            } else if matches!(*attribute, "href" | "src") && !is_safe_link(attribute, value) {
                let text = format!(
                    "'{}' is no link that a narrative may have: http, https, ftp, mailto, tel, '#' and \
                     relative ones, and images as data:",
                    short(value)
                );
                self.add("txt-1", text);
            }
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

fn is_safe_link(attribute: &str, value: &str) -> bool {
    let compact: String = value
        .chars()
        .filter(|it| !it.is_whitespace() && !it.is_control())
        .take(40)
        .collect::<String>()
        .to_ascii_lowercase();
    // A colon in a reference's disguise is still a colon to a browser.
    if compact.contains("&#") {
        return false;
    }
    let scheme = compact.split_once(':').map(|(scheme, _)| scheme);
    let scheme = scheme.filter(|it| !it.contains(['/', '?', '#']));
    match scheme {
        None => true,
        Some("http" | "https" | "ftp" | "mailto" | "tel") => true,
        Some("data") => attribute == "src" && compact.starts_with("data:image/"),
        Some("cid") => attribute == "src",
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(inner: &str) -> Vec<&'static str> {
        let div = format!("<div xmlns=\"{NAMESPACE}\">{inner}</div>");
        check(&div).iter().map(|it| it.rule).collect()
    }

    #[test]
    fn a_narrative_with_formatting_alone_is_valid() {
        // VAL-160, VAL-161, VAL-162
        for inner in [
            "text",
            "<p class='x' style=\"color:red\">a &lt; b &#160;</p>",
            "<a href=\"http://a/b\">x</a><a href='#y'>y</a><br/>",
            "<table><tr><td colspan=\"2\">x</td></tr></table>",
            "<img src=\"data:image/png;base64,AAAA\" alt=\"x\"/>",
            "<!-- a comment --> x",
        ] {
            assert!(
                rules(inner).is_empty(),
                "{inner}: {:?}",
                check(inner).first().map(|it| it.text.clone())
            );
        }
    }

    #[test]
    fn what_could_act_or_is_not_well_formed_is_found() {
        // VAL-160, VAL-161, VAL-162
        for inner in [
            "<script>alert(1)</script>",
            "<p onclick=\"x()\">x</p>",
            "<a href=\"javascript:alert(1)\">x</a>",
            "<a href=\"java\nscript:alert(1)\">x</a>",
            "<a href=\"javascript&#58;alert(1)\">x</a>",
            "<a href=\"data:text/html,x\">x</a>",
            "<iframe src=\"http://a\"/>x",
            "<form>x</form>",
            "<object>x</object>",
            "<style>x</style>",
            "a &nbsp; b",
            "a & b",
            "<p>x",
            "x</p>",
            "<p a=1>x</p>",
            "<?php x ?>y",
        ] {
            assert_eq!(rules(inner), ["txt-1"], "{inner}");
        }
        assert_eq!(rules("  <p> </p> "), ["txt-2"]);
        for whole in ["<p xmlns=\"http://www.w3.org/1999/xhtml\">x</p>", "<div>x</div>", "text", ""]
        {
            assert!(!is_valid(whole), "{whole}");
        }
        let laughs =
            "<!DOCTYPE x [<!ENTITY a \"b\">]><div xmlns=\"http://www.w3.org/1999/xhtml\">&a;</div>";
        assert!(!is_valid(laughs));
    }
}
