//! Values that stand together (FHIR R4, 3.1.1.4.16).

use super::Test;

/// What is asked of the parts of one element; all hold of the same one.
#[derive(Debug, Clone, PartialEq)]
pub struct CompositeTest {
    /// One test for each component, in the order of the definition.
    pub parts: Vec<Test>,
}
