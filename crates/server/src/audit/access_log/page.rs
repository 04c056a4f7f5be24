//! The list as a page for the patient: readable on a phone, in light and dark. It loads nothing
//! and runs nothing, and its policy lets nothing but its own style count.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use ring::digest::{SHA256, digest};

use super::words::Line;

const STYLE: &str = "\
:root{color-scheme:light dark;--back:#f3f5f7;--card:#fff;--line:#d5dbe1;--text:#1a2027;\
--soft:#56616d;--warn:#b45309;--link:#0b5cad}\
@media(prefers-color-scheme:dark){:root{--back:#14181d;--card:#1e242b;--line:#38424d;--text:#e9edf1;\
--soft:#a3aeb9;--warn:#f0a94e;--link:#7db7f0}}\
body{margin:0;background:var(--back);color:var(--text);font:1.05rem/1.5 system-ui,sans-serif;\
overflow-wrap:anywhere}\
main{max-width:42rem;margin:0 auto;padding:1.25rem 1rem 3rem}\
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .5rem}\
h2{font-size:1.05rem;margin:1.75rem 0 .5rem}\
p{margin:0}\
.soft{color:var(--soft);font-size:.95rem}\
ol{list-style:none;margin:0;padding:0}\
li{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.75rem 1rem;\
margin:0 0 .6rem}\
li.note{border-left:.3rem solid var(--warn)}\
.mark{color:var(--warn);font-weight:600}\
a{color:var(--link)}\
.more{margin-top:1.5rem}";

/// The policy of the page (Content Security Policy Level 3): its style is known by its hash.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("base64 and words are good for a header")
});

pub(crate) fn policy() -> HeaderValue {
    POLICY.clone()
}

/// The page of these lines. `whose` is the patient's name, where it is known.
pub(super) fn html(lines: &[Line], whose: Option<&str>, next: Option<&str>) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>Who looked at your record</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <style>{STYLE}</style></head><body><main>\n<h1>Who looked at your record</h1>\n"
    );
    if let Some(name) = whose {
        page.push_str(&format!("<p>The record of <strong>{}</strong>.</p>\n", escaped(name)));
    }
    page.push_str(
        "<p class=\"soft\">Each time somebody sees or changes data about you, it is written down \
         here. The newest comes first. Times are in UTC, the world's standard time.</p>\n",
    );
    if lines.is_empty() {
        page.push_str("<p class=\"more\">Nothing is written down for this time.</p>\n");
    }
    let mut day = None;
    for line in lines {
        let of_day = line.micros.div_euclid(DAY);
        if day != Some(of_day) {
            page.push_str(if day.is_some() { "</ol>\n" } else { "" });
            page.push_str(&format!("<h2>{}</h2>\n<ol>\n", day_in_words(line, of_day)));
            day = Some(of_day);
        }
        page.push_str(&entry(line));
    }
    page.push_str(if day.is_some() { "</ol>\n" } else { "" });
    if let Some(next) = next {
        let next = escaped(next);
        page.push_str(&format!(
            "<p class=\"more\"><a href=\"{next}\">Show earlier entries</a></p>\n"
        ));
    }
    page.push_str("</main></body></html>\n");
    page
}

fn entry(line: &Line) -> String {
    let time = line.instant.get(11..16).unwrap_or_default();
    let [who, what, why] = [&line.who, &line.what, &line.why].map(|text| escaped(text));
    let who = capitalised(&who);
    let mark = match (line.is_denied, line.is_emergency) {
        (true, _) => "<p class=\"mark\">Refused: nothing was shown</p>",
        (_, true) => "<p class=\"mark\">Emergency access</p>",
        _ => "",
    };
    let class = if mark.is_empty() { "" } else { " class=\"note\"" };
    format!(
        "<li{class}><p class=\"soft\"><time datetime=\"{}\">{time}</time></p>{mark}\
         <p><strong>{who}</strong></p><p>{}.</p><p class=\"soft\">Reason: {why}</p></li>\n",
        line.instant,
        capitalised(&what),
    )
}

const DAY: i64 = 24 * 3600 * 1_000_000;
const WEEKDAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A day as people say it, like `Friday, 2 January 2026`. Day 0 was a Thursday.
fn day_in_words(line: &Line, day: i64) -> String {
    let date = line.instant.get(..10).unwrap_or_default();
    let mut parts = date.split('-');
    let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
    let weekday = usize::try_from(day.rem_euclid(7)).ok().and_then(|at| WEEKDAYS.get(at));
    let (Some(weekday), Some(year), Some(month), Some(day)) =
        (weekday, number(), number(), number())
    else {
        return date.to_owned();
    };
    match MONTHS.get(month.wrapping_sub(1)) {
        Some(month) => format!("{weekday}, {day} {month} {year}"),
        None => date.to_owned(),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(instant: &str, who: &str) -> Line {
        let micros = instant.parse::<fhir_core::Instant>().unwrap().as_micros();
        Line {
            event: Some("AuditEvent/log-1".to_owned()),
            instant: instant.to_owned(),
            micros,
            who: who.to_owned(),
            what: "looked at it".to_owned(),
            why: "treatment".to_owned(),
            is_denied: false,
            is_emergency: false,
        }
    }

    #[test]
    fn days_are_said_as_people_say_them_and_each_once() {
        let lines = [
            line("2026-11-27T00:00:00Z", "a"),
            line("2026-11-26T23:59:59Z", "b"),
            line("2026-11-26T08:30:00Z", "c"),
            line("1969-12-31T08:30:00Z", "d"),
        ];
        let page = html(&lines, None, None);
        let days: Vec<&str> =
            page.split("<h2>").skip(1).map(|it| &it[..it.find('<').unwrap()]).collect();
        let expected = [
            "Friday, 27 November 2026",
            "Thursday, 26 November 2026",
            "Wednesday, 31 December 1969",
        ];
        assert_eq!(days, expected);
        assert!(page.contains(">08:30</time>"), "{page}");
    }

    #[test]
    fn what_clients_call_themselves_is_text_and_nothing_else() {
        let lines = [line("2026-11-27T00:00:00Z", "<script>x</script>\"&")];
        let page = html(&lines, Some("<b>"), Some("http://x/?a=1&b=\""));
        assert!(!page.contains("<script>") && !page.contains("<b>"), "{page}");
        assert!(page.contains("href=\"http://x/?a=1&amp;b=&quot;\""), "{page}");
    }
}
