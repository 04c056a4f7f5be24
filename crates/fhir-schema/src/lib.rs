//! FHIR definitions, compiled to a compact form; R4 core built in.
