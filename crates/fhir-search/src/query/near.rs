//! Positions on the Earth: `near` of Location (FHIR R4, 8.7.5).

use fhirpath::Decimal;

/// What is asked of a position: that it is not further away from this one.
#[derive(Debug, Clone, PartialEq)]
pub struct NearTest {
    /// Degrees to the north, -90 to 90.
    pub latitude: Decimal,
    /// Degrees to the east, -180 to 180.
    pub longitude: Decimal,
    /// How far away, in metres; none when the request leaves it to the server.
    pub metres: Option<Decimal>,
}
