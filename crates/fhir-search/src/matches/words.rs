//! The words of a resource and what is asked of them (FHIR R4, 3.1.1.4.19).
//!
//! A piece of text is one whose words follow each other: the narrative, or one string of the
//! resource. A phrase is within a piece. Markup counts as a space where it begins something new.

use fhir_core::json::{Kind, Value};

use crate::{TextTest, fold};

/// The words of a text, folded.
pub(super) type Words = Box<[Box<str>]>;

/// Whether a test holds of some pieces of text together.
pub(super) fn holds(test: &TextTest, pieces: &[Words]) -> bool {
    match test {
        TextTest::Phrase(phrase) => pieces.iter().any(|words| {
            words.windows(phrase.len().max(1)).any(|window| window == phrase.as_slice())
        }),
        TextTest::All(tests) => tests.iter().all(|test| holds(test, pieces)),
        TextTest::Any(tests) => tests.iter().any(|test| holds(test, pieces)),
        TextTest::Not(test) => !holds(test, pieces),
    }
}

/// The words that a person reads in a resource's narrative.
pub(super) fn of_narrative(resource: Value<'_>) -> Option<Words> {
    let narrative = resource.get("text").filter(|it| it.kind() == Kind::Object)?;
    Some(words(&plain(&narrative.get_str("div")?)))
}

/// The words of each string within a resource; of narratives those that a person reads.
pub(super) fn of_content(resource: Value<'_>) -> Vec<Words> {
    let mut pieces = Vec::new();
    let mut next = vec![resource];
    while let Some(value) = next.pop() {
        match value.kind() {
            Kind::Object => {
                for (name, member) in value.members() {
                    match member.as_str().filter(|_| name == "div") {
                        Some(markup) => pieces.push(words(&plain(&markup))),
                        None => next.push(member),
                    }
                }
            }
            Kind::Array => next.extend(value.items()),
            Kind::String => pieces.extend(value.as_str().map(|text| words(&text))),
            Kind::Number | Kind::Boolean | Kind::Null => {}
        }
    }
    pieces
}

fn words(text: &str) -> Words {
    fold(text).split(' ').filter(|word| !word.is_empty()).map(Box::from).collect()
}

/// Elements that do not part words.
const INLINE: [&str; 14] = [
    "a", "abbr", "b", "big", "cite", "code", "em", "i", "small", "span", "strong", "sub", "sup",
    "tt",
];

/// XHTML without its markup.
fn plain(markup: &str) -> String {
    let mut text = String::with_capacity(markup.len());
    let mut rest = markup;
    while let Some(at) = rest.find(['<', '&']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('&') {
            rest = character(rest, &mut text);
            continue;
        }
        let (begin, end) = if rest.starts_with("<!--") { (4, "-->") } else { (1, ">") };
        let tag = &rest[begin..];
        let length = tag.find(end);
        let name = tag.trim_start_matches('/');
        let name = name.split(|it: char| !it.is_ascii_alphanumeric()).next().unwrap_or_default();
        if !INLINE.contains(&name) {
            text.push(' ');
        }
        rest = length.map_or("", |length| &tag[length + end.len()..]);
    }
    text.push_str(rest);
    text
}

/// Adds the character that a reference such as `&amp;` stands for; what is none stays as it is.
/// Gives what follows it.
fn character<'m>(markup: &'m str, text: &mut String) -> &'m str {
    let reference = markup[1..].split_once(';').filter(|(name, _)| name.len() <= 8);
    let found = reference.and_then(|(name, rest)| {
        let character = match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            "nbsp" => ' ',
            _ => {
                let number = name.strip_prefix('#')?;
                let number = match number.strip_prefix(['x', 'X']) {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => number.parse(),
                };
                char::from_u32(number.ok()?)?
            }
        };
        Some((character, rest))
    });
    let (character, rest) = found.unwrap_or(('&', &markup[1..]));
    text.push(character);
    rest
}

#[cfg(test)]
mod tests {
    use super::{holds, of_content, of_narrative, plain};
    use crate::TextTest;
    use fhir_core::json::Document;

    fn phrase(text: &str) -> TextTest {
        TextTest::Phrase(text.split(' ').map(Into::into).collect())
    }

    const PATIENT: &str = r#"{"resourceType":"Patient","text":{"status":"generated","div":
        "<div>Bone <b>mar</b>row<br/>scan</div>"},"name":[{"text":"Liver Smith"}]}"#;

    #[test]
    fn words_of_the_narrative_are_those_that_a_person_reads() {
        // SRCH-035
        let document = Document::parse(PATIENT.as_bytes()).unwrap();
        let narrative = [of_narrative(document.root()).unwrap()];
        let content = of_content(document.root());
        for (test, in_narrative, in_content) in [
            (phrase("marrow"), true, true),
            (phrase("bone marrow scan"), true, true),
            (phrase("scan bone"), false, false),
            (phrase("div"), false, false),
            (phrase("liver"), false, true),
            (phrase("scan liver"), false, false),
            (TextTest::All(vec![phrase("bone"), phrase("liver")]), false, true),
            (TextTest::Any(vec![phrase("bone"), phrase("liver")]), true, true),
            (TextTest::Not(Box::new(phrase("liver"))), true, false),
        ] {
            assert_eq!(holds(&test, &narrative), in_narrative, "{test:?}");
            assert_eq!(holds(&test, &content), in_content, "{test:?}");
        }
    }

    #[test]
    fn markup_is_no_text_and_characters_may_be_written_by_number() {
        for (markup, text) in [
            ("<p>a</p><p>b</p>", " a  b "),
            ("x<sub>2</sub>", "x2"),
            ("a&amp;b &#65;&#x42; &unknown; & c", "a&b AB &unknown; & c"),
            ("a<!-- > not <b>this -->b", "a b"),
            ("open <p", "open  "),
        ] {
            assert_eq!(plain(markup), text);
        }
    }
}
