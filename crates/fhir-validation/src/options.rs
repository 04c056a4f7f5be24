//! What one validation is asked.

use fhirpath::DateTime;

/// How much is asked. Each level has those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Elements, types, cardinalities, references' form and the narrative.
    Base,
    /// The types' invariants.
    Invariants,
    /// Profiles and known extensions.
    Profiles,
    /// Bindings to value sets.
    Terminology,
}

/// What becomes of an extension that no definition is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownExtensions {
    /// Each is an error: a closed system, which takes nothing that it does not know.
    Refuse,
    /// A modifier extension is an error, since its meaning must not be passed over; any other is
    /// information (R4 2.5.1.0.1).
    RefuseModifiers,
    /// A modifier extension is a warning.
    Warn,
}

/// Whether recommendations are told, such as a narrative for every resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BestPractices {
    /// As warnings.
    Warn,
    /// Not at all.
    Silent,
}

/// What becomes of contained resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contained {
    /// They are validated like others.
    Validate,
    /// Neither what is in them is asked, nor whether something refers to them.
    PassOver,
}

/// Comments in JSON, which has none (RFC 8259): `/* … */` and `// …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comments {
    /// A comment is an error.
    Refuse,
    /// They are read as white space: for files that people write.
    PassOver,
}

/// URLs of the domains that are set apart for examples (RFC 2606).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExampleUrls {
    /// They are as good as others: for specifications and tests. An extension with such a URL is
    /// not missed, since nobody can define it.
    Allow,
    /// They are errors: for records, in which they can only be left over from an example.
    Refuse,
}

/// What looks like a tag of HTML in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Html {
    /// It is no error: a text is not read as HTML by anyone who keeps to FHIR.
    Remark,
    /// It is an error, for the sake of those who do not.
    Refuse,
}

/// Whether vital signs must meet the profiles that R4 has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VitalSigns {
    /// By their code, whether or not they claim to (R4, "Vital Signs Profile").
    ByCode,
    /// By that, and in the category of vital signs by the code of a component, too: what has a part
    /// of a blood pressure must then be one by its own code.
    ByCodeOrPart,
    /// Only where they claim to, as with all other profiles.
    WhereClaimed,
}

/// Whether what a reference in a Bundle or in Parameters leads to must stand there too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets {
    /// It may be elsewhere, but for what a document or message must have with it.
    Anywhere,
    /// What a relative reference or a `urn:` does not find there is an error: for what is handed
    /// over as a whole.
    Given,
}

/// A display that its code system does not have for the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongDisplays {
    /// A warning.
    Warn,
    /// An error.
    Refuse,
}

/// What a resource is sent in, and so which references it may have.
#[derive(Debug, Clone, Copy)]
pub enum SentIn<'o> {
    /// Nothing: it stands for itself.
    Itself,
    /// A transaction, which resolves conditional references and those to its other entries (FHIR
    /// R4, 3.1.0.11.2).
    Transaction(OtherEntries<'o>),
}

/// The other entries of a transaction, as far as a reference to one is judged by it.
#[derive(Clone, Copy)]
pub struct OtherEntries<'o>(&'o dyn Fn(&str) -> Option<String>);

impl<'o> OtherEntries<'o> {
    /// Nothing is known of them.
    pub(crate) const UNKNOWN: OtherEntries<'static> = OtherEntries(&|_| None);

    /// `type_of` gives the type of the entry that a reference, as it is written, leads to; `None`
    /// where it leads to none.
    pub fn new(type_of: &'o dyn Fn(&str) -> Option<String>) -> Self {
        Self(type_of)
    }

    pub(crate) fn type_of(&self, reference: &str) -> Option<String> {
        (self.0)(reference)
    }
}

impl std::fmt::Debug for OtherEntries<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("OtherEntries")
    }
}

/// What one validation is asked.
#[derive(Debug, Clone)]
pub struct Options<'o> {
    /// How much is asked.
    pub depth: Depth,
    /// Canonicals of profiles that the resource must meet, besides those it claims.
    pub profiles: &'o [&'o str],
    /// How many issues there are at most.
    pub cap: usize,
    /// What `now()` is in invariants.
    pub now: Option<DateTime>,
    /// What becomes of extensions that are not known.
    pub unknown_extensions: UnknownExtensions,
    /// Beginnings of URLs; an extension with such a URL need not be known.
    pub extension_domains: &'o [&'o str],
    /// Whether recommendations are told.
    pub best_practices: BestPractices,
    /// What becomes of contained resources.
    pub contained: Contained,
    /// Comments in JSON; looked at by [`crate::Validator::validate_json`] alone.
    pub comments: Comments,
    /// URLs of the domains for examples.
    pub example_urls: ExampleUrls,
    /// HTML in strings.
    pub html_in_strings: Html,
    /// HTML in markdown.
    pub html_in_markdown: Html,
    /// Whether vital signs must meet the profiles that R4 has for them.
    pub vital_signs: VitalSigns,
    /// Whether references in a Bundle or in Parameters must lead to what stands there.
    pub targets: Targets,
    /// Displays that the code system does not have.
    pub wrong_displays: WrongDisplays,
    /// What the resource is sent in.
    pub sent_in: SentIn<'o>,
}

impl Options<'_> {
    /// All that is asked, and nothing that R4 leaves to whoever asks.
    pub const DEFAULT: Options<'static> = Options {
        depth: Depth::Terminology,
        profiles: &[],
        cap: 1000,
        now: None,
        unknown_extensions: UnknownExtensions::RefuseModifiers,
        extension_domains: &[],
        best_practices: BestPractices::Warn,
        contained: Contained::Validate,
        comments: Comments::Refuse,
        example_urls: ExampleUrls::Allow,
        html_in_strings: Html::Remark,
        html_in_markdown: Html::Remark,
        vital_signs: VitalSigns::ByCode,
        targets: Targets::Anywhere,
        wrong_displays: WrongDisplays::Warn,
        sent_in: SentIn::Itself,
    };
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Options<'_> {
    /// For an answer to whether something holds: the first error is enough.
    pub(crate) fn silent(depth: Depth) -> Self {
        Self {
            depth,
            cap: 1,
            unknown_extensions: UnknownExtensions::Warn,
            best_practices: BestPractices::Silent,
            // The run that is heard says what is wrong with references.
            sent_in: SentIn::Transaction(OtherEntries::UNKNOWN),
            ..Self::default()
        }
    }
}
