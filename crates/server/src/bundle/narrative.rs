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

/// Start and end of the next attribute value, from `at` on.
fn next_link(div: &str, at: usize) -> Option<(usize, usize)> {
    let mut at = at;
    loop {
        let rest = &div[at..];
        let found = ["href", "src"]
            .iter()
            .filter_map(|name| rest.find(name).map(|offset| (offset, name.len())))
            .min()?;
        let name_start = at + found.0;
        at = name_start + found.1;
        if !div[..name_start].ends_with([' ', '\t', '\n', '\r']) {
            continue;
        }
        let value = div[at..].trim_start();
        let Some(value) = value.strip_prefix('=') else {
            continue;
        };
        let value = value.trim_start();
        let Some(quote) = value.chars().next().filter(|quote| ['"', '\''].contains(quote)) else {
            continue;
        };
        let start = div.len() - value.len() + 1;
        let end = start + div[start..].find(quote)?;
        return Some((start, end));
    }
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
        check("<div>href", None);
        check(r#"<a href="urn:uuid:1"#, None);
        check("", None);
    }

    /// Texts made of what the reader looks for, so that its every branch is met.
    fn narrative() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            prop::sample::select(vec![
                "<a ",
                "<img",
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
