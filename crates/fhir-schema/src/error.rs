//! Why definitions could not be read, compiled or decoded.

/// A FHIR package or a compiled file of definitions is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The archive is not a readable gzipped tar file.
    #[error("the package is not a readable tgz archive")]
    Archive(#[source] std::io::Error),
    /// The archive holds more than the limits allow.
    #[error("the package has more than {limit} {what}")]
    TooLarge {
        /// What there is too much of, in words.
        what: &'static str,
        /// The limit, in these units.
        limit: u64,
    },
    /// Two files of the package have the same name.
    #[error("the package holds {0} twice")]
    DuplicateFile(String),
    /// A file of the package is not the JSON which its resource type calls for.
    #[error("{file} is not valid")]
    Json {
        /// The file's name in the package.
        file: String,
        /// What the JSON reader says.
        #[source]
        source: serde_json::Error,
    },
    /// The package lacks a file without which it says nothing.
    #[error("the package has no {0}")]
    Missing(&'static str),
    /// A base type has no snapshot, so that its elements are not known.
    #[error("the definition of {0} has no snapshot")]
    NoSnapshot(String),
    /// An element's definition contradicts the rest of the definitions.
    #[error("{path} {problem}")]
    Element {
        /// The element's path, or a type's name.
        path: String,
        /// What is wrong, as the rest of a sentence.
        problem: &'static str,
    },
    /// The bytes were not written by [`crate::compiled::encode`].
    #[error("the compiled definitions are damaged: {0}")]
    Damaged(&'static str),
    /// The bytes are of a format which this version does not read.
    #[error("the compiled definitions have format {found}, this version reads {known}")]
    UnknownFormat {
        /// The format found.
        found: u16,
        /// The one format known.
        known: u16,
    },
    /// The compressor failed.
    #[error("the definitions could not be compressed")]
    Compression(#[source] std::io::Error),
}
