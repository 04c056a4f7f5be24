//! search (FHIR R4, 3.1.1).

mod projection;
