//! BCP 47 (RFC 5646): a tag is well-formed, its primary language of two letters is one of ISO
//! 639-1, and its region of two letters one of ISO 3166-1. Longer subtags are checked by form
//! alone: the registry of all subtags is not built in.

use crate::tables::Table;

/// ISO 639-1, with the withdrawn codes that the registry of subtags keeps.
const TWO_LETTERS: &str = "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca \
    ce ch co cr cs cu cv cy da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu \
    gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik in io is it iu iw ja ji jv jw ka kg ki kj kk \
    kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mo mr ms mt my na \
    nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg \
    sh si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur \
    uz ve vi vo wa wo xh yi yo za zh zu";

/// Tags from before the grammar that do not follow it (RFC 5646, 2.2.8).
const IRREGULAR: &[&str] = &[
    "en-gb-oed",
    "i-ami",
    "i-bnn",
    "i-default",
    "i-enochian",
    "i-hak",
    "i-klingon",
    "i-lux",
    "i-mingo",
    "i-navajo",
    "i-pwn",
    "i-tao",
    "i-tay",
    "i-tsu",
    "sgn-be-fr",
    "sgn-be-nl",
    "sgn-ch-de",
];

pub(super) fn is_language(tag: &str) -> bool {
    let tag = tag.to_ascii_lowercase();
    if IRREGULAR.contains(&&*tag) {
        return true;
    }
    let mut subtags: &[&str] = &tag.split('-').collect::<Vec<_>>();
    let sized = |subtag: &str, sizes: std::ops::RangeInclusive<usize>| {
        sizes.contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let alphabetic = |subtag: &str| subtag.bytes().all(|byte| byte.is_ascii_alphabetic());
    if !subtags.iter().all(|subtag| sized(subtag, 1..=8)) {
        return false;
    }
    let mut take = |fits: &dyn Fn(&str) -> bool| match subtags.split_first() {
        Some((first, rest)) if fits(first) => {
            subtags = rest;
            true
        }
        _ => false,
    };
    if take(&|subtag| subtag == "x") {
        return !subtags.is_empty();
    }
    // Subtags of four to eight letters are reserved, and none is registered.
    let language = |subtag: &str| {
        alphabetic(subtag)
            && match subtag.len() {
                2 => TWO_LETTERS.split(' ').any(|known| known == subtag),
                length => length == 3,
            }
    };
    if !take(&language) {
        return false;
    }
    // Three extended languages, a script, a region, variants.
    for _ in 0..3 {
        take(&|subtag| subtag.len() == 3 && alphabetic(subtag));
    }
    take(&|subtag| subtag.len() == 4 && alphabetic(subtag));
    take(&|subtag| match subtag.len() {
        2 => Table::has("urn:iso:std:iso:3166", &subtag.to_ascii_uppercase()),
        3 => subtag.bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    });
    let variant = |subtag: &str| {
        sized(subtag, 5..=8) || (subtag.len() == 4 && subtag.as_bytes()[0].is_ascii_digit())
    };
    while take(&variant) {}
    while take(&|subtag| subtag.len() == 1 && subtag != "x") {
        if !take(&|subtag| sized(subtag, 2..=8)) {
            return false;
        }
        while take(&|subtag| sized(subtag, 2..=8)) {}
    }
    if take(&|subtag| subtag == "x") {
        return !subtags.is_empty();
    }
    subtags.is_empty()
}
