//! How large a query may be, and how strictly it is read.

/// What becomes of what is not understood (`Prefer: handling=…`, FHIR R4, 3.1.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handling {
    /// It is refused.
    Strict,
    /// It is ignored where that is safe, and reported.
    #[default]
    Lenient,
}

/// How large a query may be. More is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all names and values together.
    pub length: usize,
    /// Parameters.
    pub parameters: usize,
    /// Values of one parameter, with commas between them; words of a text.
    pub values: usize,
    /// References that a chain or `_has` goes along, or levels of brackets in a `_filter`.
    pub depth: usize,
    /// `_include` and `_revinclude` together.
    pub includes: usize,
    /// Keys of `_sort`.
    pub sorts: usize,
    /// Conditions in all, those of every type that a chain may lead to among them; a long value
    /// counts as several.
    pub clauses: usize,
    /// The most matches on a page; `_count` is brought below it.
    pub page: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            length: 256 * 1024,
            parameters: 200,
            values: 1_000,
            depth: 8,
            includes: 50,
            sorts: 10,
            clauses: 20_000,
            page: 1_000,
        }
    }
}
