//! Links inside a narrative: `<a href>` and `<img src>` (FHIR R4, 3.1.0.11.2.1).

/// Replaces the values of `href` and `src` attributes in `div` by what `resolve` gives for them;
/// `None` when nothing is replaced. Everything else is copied as it is.
pub(crate) fn rewrite(div: &str, resolve: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut done = 0;
    let mut at = 0;
    while let Some((start, end)) = next_link(div, at) {
        if let Some(target) = resolve(&div[start..end]) {
            out.push_str(&div[done..start]);
            out.push_str(&target);
            done = end;
        }
        at = end;
    }
    if done == 0 {
        return None;
    }
    out.push_str(&div[done..]);
    Some(out)
}

/// Start and end of the next link's text, from `at` on. A tag is left where its attributes could
/// not be read further, so that the time taken grows with the text and no faster.
fn next_link(div: &str, mut at: usize) -> Option<(usize, usize)> {
    loop {
        at += div[at..].find('<')? + 1;
        let tag = &div[at..];
        if tag.starts_with("!--") {
            at += tag.find("-->")?;
            continue;
        }
        let length = tag.find(|char: char| !char.is_ascii_alphanumeric()).unwrap_or(tag.len());
        let wanted = match &tag[..length] {
            "a" => "href",
            "img" => "src",
            _ => continue,
        };
        at += length;
        while let Some((name, start, end)) = attribute(div, at) {
            if name == wanted {
                return Some((start, end));
            }
            at = end + 1;
        }
    }
}

/// The attribute that stands at `at`: its name, start and end of its value.
fn attribute(div: &str, at: usize) -> Option<(&str, usize, usize)> {
    let of_name = |char: char| char.is_ascii_alphanumeric() || "-_:.".contains(char);
    let rest = div[at..].trim_start();
    let length = rest.find(|char| !of_name(char))?;
    let (name, rest) = rest.split_at(length);
    let value = rest.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
    let start = div.len() - value.len() + 1;
    let length = div[start..].find(quote)?;
    Some((name, start, start + length))
}

#[cfg(test)]
mod tests {
    use super::rewrite;
    use proptest::prelude::*;

    fn check(div: &str, expected: Option<&str>) {
        let resolve = |url: &str| (url == "urn:uuid:1").then(|| "Patient/9".to_owned());
        assert_eq!(rewrite(div, resolve).as_deref(), expected, "{div}");
    }

    #[test]
    fn links_that_name_an_entry_are_replaced_and_all_else_is_kept() {
        // HTTP-178
        check(
            r#"<div><a href="urn:uuid:1">x</a><img alt='a' src = 'urn:uuid:1'/></div>"#,
            Some(r#"<div><a href="Patient/9">x</a><img alt='a' src = 'Patient/9'/></div>"#),
        );
        check(r#"<div><a href="urn:uuid:2">urn:uuid:1 href</a></div>"#, None);
        check(r#"<div data-href="urn:uuid:1">src="</div>"#, None);
        check(r#"<p href="urn:uuid:1">write: href="urn:uuid:1"</p>"#, None);
        check(r#"<abbr href="urn:uuid:1"/><a data-href="urn:uuid:1"/>"#, None);
        check(r#"<!-- <a href="urn:uuid:1"/> --><a>href="urn:uuid:1"</a>"#, None);
        check(
            r#"<a title='>' href="urn:uuid:1">x</a>"#,
            Some(r#"<a title='>' href="Patient/9">x</a>"#),
        );
        check("<div>href", None);
        check(r#"<a href="urn:uuid:1"#, None);
        check("", None);
    }

    /// Texts made of what the reader looks for, so that its every branch is met.
    fn narrative() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            prop::sample::select(vec![
                "<a ",
                "<img ",
                "<!--",
                "-->",
                "href",
                "src",
                "=",
                " ",
                "\n",
                "\"",
                "'",
                "urn:uuid:1",
                "é",
                "😀",
                ">",
            ])
            .prop_map(str::to_owned),
            r"\PC{0,6}",
        ];
        prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_text_is_rewritten_in_its_links_alone(div in narrative()) {
            let resolve = |url: &str| (url == "urn:uuid:1").then(|| "Patient/9".to_owned());
            match rewrite(&div, resolve) {
                None => {}
                Some(rewritten) => {
                    prop_assert_ne!(&rewritten, &div);
                    prop_assert_eq!(rewritten.replace("Patient/9", "urn:uuid:1"), div);
                }
            }
        }
    }
}
