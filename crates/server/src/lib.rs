//! FHIR REST over the contract: one file per interaction.
