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
        source: fhir_core::json::JsonError,
    },
    /// A file of the package is JSON, and not the resource that it says it is.
    #[error("{file} line {line}: {problem}")]
    NotFhir {
        /// The file's name in the package.
        file: String,
        /// The line of what is wrong, or of the object that lacks something.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// An entry of the archive is one that no package needs and an attack has.
    #[error("the package's entry {name:?} {problem}")]
    UnsafeEntry {
        /// The entry's name.
        name: String,
        /// What is wrong, as the rest of a sentence.
        problem: &'static str,
    },
    /// A snapshot is not one, or cannot be made.
    #[error("{profile}: {element} {problem}")]
    Snapshot {
        /// The profile's canonical URL with its version.
        profile: String,
        /// The element's path.
        element: String,
        /// What is wrong, as the rest of a sentence.
        problem: String,
    },
    /// A definition derives from one that is not there.
    #[error("{profile} derives from {base}, which no package has")]
    NoBase {
        /// The definition's canonical URL with its version.
        profile: String,
        /// The canonical URL of its base.
        base: String,
    },
    /// Definitions derive from each other, or need each other's snapshot, in a circle.
    #[error("definitions go round in a circle: {0}")]
    DefinitionCycle(String),
    /// Packages depend on each other in a circle.
    #[error("packages depend on each other in a circle: {0}")]
    DependencyCycle(String),
    /// A package has two definitions with one canonical URL.
    #[error("{package} defines {url} twice{versions}")]
    DuplicateCanonical {
        /// The package's name and version.
        package: String,
        /// The canonical URL.
        url: String,
        /// The versions, when they differ, in words.
        versions: String,
    },
    /// A package is given twice in one version.
    #[error("the package {0} is given twice")]
    DuplicatePackage(String),
    /// A package is for another release of FHIR than those it is used with.
    #[error(
        "{package} is for FHIR {found}, and what it is used with for {expected}: the two cannot be mixed"
    )]
    OtherFhirVersion {
        /// The package's name and version.
        package: String,
        /// The release that it is for.
        found: String,
        /// The release of the others.
        expected: String,
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
