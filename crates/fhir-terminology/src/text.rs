//! Text search and choice of language: what `filter` matches, and which of a concept's names is
//! shown.

/// Lower case without accents, for Latin letters; other letters in lower case.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for letter in text.chars().flat_map(char::to_lowercase) {
        match letter {
            'à'..='å' | 'ā' | 'ă' | 'ą' | 'ǎ' => folded.push('a'),
            'æ' => folded.push_str("ae"),
            'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => folded.push('c'),
            'ď' | 'đ' | 'ð' => folded.push('d'),
            'è'..='ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => folded.push('e'),
            'ĝ' | 'ğ' | 'ġ' | 'ģ' => folded.push('g'),
            'ĥ' | 'ħ' => folded.push('h'),
            'ì'..='ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' => folded.push('i'),
            'ĵ' => folded.push('j'),
            'ķ' => folded.push('k'),
            'ĺ' | 'ļ' | 'ľ' | 'ŀ' | 'ł' => folded.push('l'),
            'ñ' | 'ń' | 'ņ' | 'ň' => folded.push('n'),
            'ò'..='ö' | 'ø' | 'ō' | 'ŏ' | 'ő' => folded.push('o'),
            'œ' => folded.push_str("oe"),
            'ŕ' | 'ŗ' | 'ř' => folded.push('r'),
            'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => folded.push('s'),
            'ß' => folded.push_str("ss"),
            'ţ' | 'ť' | 'ŧ' | 'ț' => folded.push('t'),
            'ù'..='ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' => folded.push('u'),
            'ŵ' => folded.push('w'),
            'ý' | 'ÿ' | 'ŷ' => folded.push('y'),
            'ź' | 'ż' | 'ž' => folded.push('z'),
            // Combining marks, as in decomposed text.
            '\u{300}'..='\u{36f}' => {}
            other => folded.push(other),
        }
    }
    folded
}

/// Words that must all begin a word of what is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFilter {
    words: Vec<String>,
}

fn words(folded: &str) -> impl Iterator<Item = &str> {
    folded.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

impl TextFilter {
    /// Reads what a user typed; `None` when there is no word in it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let folded = fold(text);
        let words: Vec<String> = words(&folded).map(str::to_owned).collect();
        (!words.is_empty()).then_some(Self { words })
    }

    /// Whether every word begins a word of some of these texts.
    pub fn matches<'a>(&self, texts: impl Iterator<Item = &'a str>) -> bool {
        let mut open: Vec<&str> = self.words.iter().map(String::as_str).collect();
        for text in texts {
            let folded = fold(text);
            open.retain(|prefix| !words(&folded).any(|word| word.starts_with(prefix)));
            if open.is_empty() {
                return true;
            }
        }
        false
    }
}

/// Languages in the order in which they are preferred.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Languages {
    tags: Vec<String>,
}

impl Languages {
    /// Reads one tag, or a list as in `Accept-Language` (RFC 9110, 12.5.4).
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut tags: Vec<(f32, String)> = text
            .split(',')
            .filter_map(|item| {
                let (tag, parameters) = item.split_once(';').unwrap_or((item, ""));
                let quality = parameters.trim().strip_prefix("q=");
                let quality = quality.and_then(|text| text.trim().parse().ok()).unwrap_or(1.0);
                let tag = tag.trim().to_ascii_lowercase();
                (quality > 0.0 && !tag.is_empty() && tag != "*").then_some((quality, tag))
            })
            .collect();
        tags.sort_by(|one, other| other.0.total_cmp(&one.0));
        Self { tags: tags.into_iter().map(|(_, tag)| tag).collect() }
    }

    /// Whether none is preferred.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Of names with their languages, the one that is preferred: the tag itself, then what is
    /// left of it when subtags are cut off from its end (RFC 4647, 3.4), and each more special.
    pub fn choose<'a>(
        &self,
        names: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Option<&'a str> {
        for tag in &self.tags {
            let mut range = tag.as_str();
            loop {
                let exact = |language: &str| language.eq_ignore_ascii_case(range);
                let within = |language: &str| {
                    language.len() > range.len()
                        && language.as_bytes()[range.len()] == b'-'
                        && language.is_char_boundary(range.len())
                        && language[..range.len()].eq_ignore_ascii_case(range)
                };
                let mut found = names.clone().filter(|(language, _)| exact(language));
                let mut near = names.clone().filter(|(language, _)| within(language));
                if let Some((_, name)) = found.next().or_else(|| near.next()) {
                    return Some(name);
                }
                match range.rsplit_once('-') {
                    Some((shorter, _)) => range = shorter,
                    None => break,
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Languages, TextFilter};

    #[test]
    fn a_text_filter_takes_beginnings_of_words_in_any_order_without_case_and_accents() {
        // TERM-062
        let check =
            |filter: &str, text: &str| TextFilter::new(filter).unwrap().matches([text].into_iter());
        assert!(check("myo inf", "Acute Myocardial Infarction"));
        assert!(check("INF myo", "Acute Myocardial Infarction"));
        assert!(check("menieres", "Ménières disease"));
        assert!(check("Straße", "strasse"));
        assert!(!check("yocard", "Acute Myocardial Infarction"));
        assert!(!check("myo fail", "Acute Myocardial Infarction"));
        assert!(TextFilter::new(" ,. ").is_none());
        let words = TextFilter::new("blood glu").unwrap();
        assert!(words.matches(["2339-0", "Glucose", "Mass in blood"].into_iter()));
    }

    #[test]
    fn the_preferred_language_falls_back_to_wider_ones() {
        // TERM-068, TERM-009
        let names = [("en", "Yes"), ("fr", "Oui"), ("de-CH", "Ja")];
        let check = |asked: &str| Languages::parse(asked).choose(names.into_iter());
        assert_eq!(check("fr-CA"), Some("Oui"));
        assert_eq!(check("de"), Some("Ja"));
        assert_eq!(check("it, en;q=0.5"), Some("Yes"));
        assert_eq!(check("en;q=0.1, fr"), Some("Oui"));
        assert_eq!(check("it"), None);
        assert_eq!(check("fr;q=0, *"), None);
    }
}
