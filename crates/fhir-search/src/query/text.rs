//! Words to be found in a text as a whole: `_text` and `_content` (FHIR R4, 3.1.1.4.19).

/// What is asked of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextTest {
    /// These words, folded by [`super::fold`], stand next to each other in this order.
    Phrase(Vec<Box<str>>),
    /// All hold; at least two.
    All(Vec<TextTest>),
    /// At least one holds; at least two.
    Any(Vec<TextTest>),
    /// It does not hold.
    Not(Box<TextTest>),
}
