//! Text that people read, in the form that it is compared in (FHIR R4, 3.1.1.4.8).

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// What is asked of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StringTest {
    /// Where the text is to be found.
    pub at: StringMatch,
    /// The text searched for: folded, or with [`StringMatch::Exact`] in Unicode's form NFC.
    pub text: Box<str>,
}

/// Where in a value the text searched for is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StringMatch {
    /// At its start, both folded.
    Start,
    /// Anywhere, both folded: `:contains`.
    Contains,
    /// It is the whole, to the letter: `:exact`.
    Exact,
    /// It is the whole, both folded: `eq` of `_filter`.
    Whole,
    /// At its end, both folded: `ew` of `_filter`.
    End,
}

impl StringTest {
    /// Of a text as it was asked. None when nothing of it is left to compare.
    #[must_use]
    pub fn new(at: StringMatch, text: &str) -> Option<Self> {
        let text = match at {
            StringMatch::Exact => text.nfc().collect(),
            _ => fold(text),
        };
        (!text.is_empty()).then(|| Self { at, text: text.into() })
    }

    /// Whether it holds of a value that is `folded` as [`fold`] does it, or with
    /// [`StringMatch::Exact`] as it is stored.
    #[must_use]
    pub fn holds(&self, value: &str) -> bool {
        match self.at {
            StringMatch::Start => value.starts_with(&*self.text),
            StringMatch::Contains => value.contains(&*self.text),
            StringMatch::Whole => value == &*self.text,
            StringMatch::End => value.ends_with(&*self.text),
            StringMatch::Exact => value.nfc().eq(self.text.chars()),
        }
    }

    /// Whether it holds of a folded value, or of what is left of it from the start of one of its
    /// words: `quinones` of `carreno quinones`.
    #[must_use]
    pub fn holds_of_a_word(&self, folded: &str) -> bool {
        self.holds(folded)
            || (self.at == StringMatch::Start && from_words(folded).any(|rest| self.holds(rest)))
    }
}

/// So many words of a name are found by their starts, the first apart: no name has more, and a
/// text that has is not a name.
const MOST_WORDS: usize = 32;

/// What is left of a folded text from the start of each of its words but the first.
pub fn from_words(folded: &str) -> impl Iterator<Item = &str> {
    folded.match_indices(' ').map(|(space, _)| &folded[space + 1..]).take(MOST_WORDS)
}

/// A text without what does not count when texts are compared: case, accents, how characters are
/// encoded, punctuation, how wide a space is.
///
/// Compatible characters become one (NFKD: ligatures, full width), case is dropped by way of
/// capitals (`ß` is `ss`, the Turkish `ı` and `İ` are `i`), marks that stand above, below or
/// across a letter fall, as do Hebrew and Arabic points. Marks that make another letter, as those
/// of the scripts of India or Japan, stay. Quotes, brackets and marks of sentences are dropped,
/// dashes and slashes are spaces, spaces at the ends are dropped and many are one. All other
/// characters count: `%`, `_` and `*` among them.
#[must_use]
pub fn fold(text: &str) -> String {
    if !text.is_ascii() {
        return fold_any(text);
    }
    // Each of these is decomposed and composed already.
    let letters = text.chars().map(|character| character.to_ascii_lowercase());
    with_single_spaces(letters.filter(|character| !is_dropped(*character)), text.len())
}

/// As [`fold`], of whatever characters.
fn fold_any(text: &str) -> String {
    let letters = text
        .nfkd()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfkd()
        .filter(|character| !is_accent(*character) && !is_dropped(*character))
        .nfc();
    with_single_spaces(letters, text.len())
}

/// Characters with one space for many, and none at the ends; about so many bytes.
fn with_single_spaces(letters: impl Iterator<Item = char>, bytes: usize) -> String {
    let mut folded = String::with_capacity(bytes);
    let mut pending_space = false;
    for character in letters {
        if character.is_whitespace() || is_separator(character) {
            pending_space = !folded.is_empty();
            continue;
        }
        if std::mem::take(&mut pending_space) {
            folded.push(' ');
        }
        folded.push(character);
    }
    folded
}

/// Whether it is a mark on a letter that remains the same letter without it.
fn is_accent(character: char) -> bool {
    // Overlays; the points of Hebrew, Arabic and Syriac; what stands around a letter. Not nukta,
    // kana's voicing, virama and the vowels of scripts in which they are letters.
    matches!(canonical_combining_class(character), 1 | 10..=36 | 200..)
}

/// Whether it is punctuation that does not count.
fn is_dropped(character: char) -> bool {
    matches!(
        character,
        '\'' | '"' | '`' | '´' | '.' | ',' | ';' | ':' | '!' | '?' | '(' | ')' | '[' | ']' | '{' | '}'
            | '¡' | '¿' | '«' | '»' | '·' | '‘'..='‟' | '‹' | '›' | '…' | 'ʹ'..='ʿ' | '׳' | '״' | '،' | '؛'
            | '؟' | '、' | '。' | '「'..='』' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}'
    )
}

/// Whether it stands between words as a space does.
fn is_separator(character: char) -> bool {
    matches!(character, '-' | '/' | '\\' | '‐'..='―' | '−' | '・')
}

#[cfg(test)]
mod tests {
    use super::{StringMatch, StringTest, fold, fold_any};
    use proptest::prelude::*;

    #[test]
    fn what_does_not_count_is_folded_away() {
        // SRCH-083, SRCH-089
        for (text, folded) in [
            ("Müller", "muller"),
            ("MU\u{308}LLER", "muller"),
            ("Straße", "strasse"),
            ("ﬁne ＡＢＣ", "fine abc"),
            ("İstanbul Diyarbakır", "istanbul diyarbakir"),
            ("ΣΊΣΥΦΟΣ", "σισυφοσ"),
            ("  O'Brien,\tDr.  ", "obrien dr"),
            ("Smith-Jones / Lee", "smith jones lee"),
            ("100%_*", "100%_*"),
            ("שָׁלוֹם", "שלום"),
            ("が", "が"),
            ("김", "김"),
            ("की", "की"),
            ("...", ""),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
    }

    fn holds(at: StringMatch, text: &str, stored: &str) -> bool {
        let test = StringTest::new(at, text).unwrap();
        if at == StringMatch::Exact { test.holds(stored) } else { test.holds(&fold(stored)) }
    }

    #[test]
    fn a_text_is_found_at_its_start_anywhere_or_as_a_whole() {
        // SRCH-080, SRCH-081, SRCH-082
        assert!(holds(StringMatch::Start, "mull", "Müller"));
        assert!(holds(StringMatch::Start, "MÜLL", "MULLER"));
        assert!(!holds(StringMatch::Start, "ller", "Müller"));
        assert!(holds(StringMatch::Contains, "SON", "Johnsonville"));
        assert!(holds(StringMatch::Exact, "Son", "Son"));
        assert!(!holds(StringMatch::Exact, "Son", "son"));
        assert!(!holds(StringMatch::Exact, "Son", "Sonja"));
        // Composed and decomposed are the same character to Unicode.
        assert!(holds(StringMatch::Exact, "é", "e\u{301}"));
        assert!(!holds(StringMatch::Exact, "e", "é"));
        assert!(holds(StringMatch::Whole, "MULLER", "Müller"));
        assert!(holds(StringMatch::End, "son", "Johnson"));
    }

    #[test]
    fn a_text_is_found_at_the_start_of_a_word() {
        // SRCH-086
        let at_word = |text: &str, stored: &str| {
            StringTest::new(StringMatch::Start, text).unwrap().holds_of_a_word(&fold(stored))
        };
        assert!(at_word("quinones", "Carreño Quiñones"));
        assert!(at_word("berg", "van der Berg") && at_word("der b", "van der Berg"));
        assert!(!at_word("inones", "Carreño Quiñones"));
        let many = format!("{} x", "a ".repeat(100));
        assert!(at_word("a a", &many) && !at_word("x", &many));
        assert_eq!(StringTest::new(StringMatch::Start, " . "), None);
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(text in any::<String>()) {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded);
        }

        #[test]
        fn texts_in_ascii_are_folded_as_all_others_are(text in "[\\x00-\\x7f]{0,40}") {
            prop_assert_eq!(fold(&text), fold_any(&text));
        }

        #[test]
        fn a_text_begins_with_itself(text in "\\PC{1,20}", more in "\\PC{0,5}") {
            if let Some(test) = StringTest::new(StringMatch::Start, &text) {
                prop_assert!(test.holds(&fold(&text)));
                let longer = fold(&format!("{text} {more}"));
                prop_assert!(test.holds(&longer));
            }
        }
    }
}
