//! The table of crates in docs/ARCHITECTURE.md: which of our crates each may name, and which
//! libraries are confined to whom. A crate without a row fails the test; a row may wait for its
//! crate.

/// One crate's row.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The crate.
    pub name: &'static str,
    /// Where it stands to the line between gateway and server.
    pub side: Side,
    /// Which of our crates it may name.
    pub may_name: MayName,
    /// Libraries confined to it and to the other rows that list them.
    pub libraries: &'static [Library],
}

/// A side of the line. It decides what a crate's tests may name beyond its row: the crates of its
/// own side, and the shared ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who may ask, and how often.
    Gateway,
    /// Every resource, and all that FHIR means.
    Server,
    /// Words of both sides.
    Shared,
    /// Puts both sides together, so that no crate's tests may name it.
    Whole,
}

/// Our crates that a crate may name.
#[derive(Debug, Clone, Copy)]
pub enum MayName {
    /// Whichever.
    All,
    /// These and no others.
    These(&'static [&'static str]),
}

/// A library, or a family of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// The crate of this name.
    Named(&'static str),
    /// The crate of this name and every one whose name continues it after a hyphen.
    Family(&'static str),
    /// All of these.
    Group(&'static [Library]),
}

impl Library {
    /// Whether a crate of this name belongs to it.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Named(own) => name == *own,
            Self::Family(own) => {
                name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            }
            Self::Group(members) => members.iter().any(|member| member.covers(name)),
        }
    }
}

/// A library used outside of the rows that it is confined to.
#[derive(Debug, Clone, Copy)]
pub struct Widening {
    /// The crate that uses it.
    pub crate_name: &'static str,
    /// What it uses.
    pub libraries: &'static [Library],
    /// Why that cannot be avoided.
    pub reason: &'static str,
}

/// What crates must not reach, through whatever stands between.
#[derive(Debug, Clone, Copy)]
pub struct Ban {
    /// The crates.
    pub from: &'static [&'static str],
    /// What they must not reach.
    pub libraries: &'static [Library],
    /// Why.
    pub reason: &'static str,
}

use Library::{Family, Group, Named};
use MayName::{All, These};

/// Serving HTTP. hyper and its parts are what axum stands on, and whoever may use the one may
/// need the others to serve a socket.
const HTTP_SERVER: Library =
    Group(&[Family("axum"), Named("hyper"), Named("hyper-util"), Named("http-body-util")]);

const POSTGRESQL_CLIENT: Library =
    Group(&[Family("tokio-postgres"), Named("postgres"), Family("sqlx")]);

/// The table.
pub const ROWS: &[Row] = &[
    row_of("fhir-core", Side::Shared, These(&[]), &[Named("sonic-rs")]),
    row_of("fhir-schema", Side::Server, These(&["fhir-core"]), &[Named("zstd"), Named("tar")]),
    row_of("fhirpath", Side::Server, These(&["fhir-core", "fhir-schema"]), &[]),
    row_of("fhir-xml", Side::Server, These(&["fhir-core", "fhir-schema"]), &[Named("quick-xml")]),
    row_of("fhir-patch", Side::Server, These(&["fhir-core", "fhir-schema", "fhirpath"]), &[]),
    row_of("fhir-terminology", Side::Server, These(&["fhir-core", "fhir-schema"]), &[]),
    row_of(
        "fhir-validation",
        Side::Server,
        These(&["fhir-core", "fhir-schema", "fhirpath", "fhir-terminology"]),
        &[],
    ),
    row_of(
        "fhir-search",
        Side::Server,
        These(&["fhir-core", "fhir-schema", "fhirpath", "fhir-terminology"]),
        &[],
    ),
    row_of("contract", Side::Shared, These(&["fhir-core"]), &[]),
    row_of("trace", Side::Shared, These(&["fhir-core"]), &[]),
    row_of("link", Side::Shared, These(&[]), &[]),
    row_of("store", Side::Server, These(&["fhir-core"]), &[]),
    row_of("store-sled", Side::Server, These(&["store", "fhir-core", "trace"]), &[Named("sled")]),
    row_of("store-postgres", Side::Server, These(&["store", "fhir-core"]), &[POSTGRESQL_CLIENT]),
    row_of(
        "search-index",
        Side::Server,
        These(&["fhir-core", "fhir-search", "store"]),
        &[Family("tantivy"), Named("roaring")],
    ),
    row_of(
        "database",
        Side::Server,
        These(&[
            "fhir-core",
            "fhir-schema",
            "fhir-search",
            "store",
            "search-index",
            "contract",
            "trace",
        ]),
        &[],
    ),
    row_of(
        "server",
        Side::Server,
        These(&[
            "fhir-core",
            "fhir-schema",
            "fhir-xml",
            "fhir-patch",
            "fhir-terminology",
            "fhir-validation",
            "fhir-search",
            "fhirpath",
            "contract",
            "link",
            "database",
            "trace",
        ]),
        &[HTTP_SERVER],
    ),
    row_of("smart", Side::Gateway, These(&["contract"]), &[Named("jsonwebtoken")]),
    row_of("registry", Side::Gateway, These(&["contract"]), &[Named("sled"), POSTGRESQL_CLIENT]),
    row_of(
        "gateway",
        Side::Gateway,
        These(&["contract", "link", "smart", "registry", "trace"]),
        &[Family("pingora")],
    ),
    row_of(
        "identity",
        Side::Gateway,
        These(&["contract", "smart", "registry"]),
        &[HTTP_SERVER, Named("jsonwebtoken")],
    ),
    row_of("hearthgate", Side::Whole, All, &[Named("clap")]),
    row_of("xtask", Side::Whole, All, &[Named("clap")]),
    row_of("integration-tests", Side::Whole, All, &[]),
];

/// What is used beyond the table's second column.
pub const WIDENINGS: &[Widening] = &[
    Widening {
        crate_name: "database",
        libraries: &[Named("zstd")],
        reason: "bodies are compressed before the serial step, where the transaction is prepared",
    },
    Widening {
        crate_name: "fhir-terminology",
        libraries: &[Named("zstd")],
        reason: "its definitions lie in blocks that are unpacked one by one, as they are asked for",
    },
    Widening {
        crate_name: "hearthgate",
        libraries: &[Named("zstd")],
        reason: "import and validate read .zst files",
    },
    Widening {
        crate_name: "gateway",
        libraries: &[Named("hyper"), Named("hyper-util"), Named("http-body-util")],
        reason: "it is a client of the server's channel socket for what is not proxied",
    },
    Widening {
        crate_name: "xtask",
        libraries: &[
            HTTP_SERVER,
            Family("pingora"),
            Named("quick-xml"),
            Named("tar"),
            Named("zstd"),
        ],
        reason: "bench starts bare peers of the product's own kind, reads compressed data, and trains dictionaries; conformance reads suites that are XML and packages of examples",
    },
    Widening {
        crate_name: "integration-tests",
        libraries: &[HTTP_SERVER, Named("zstd")],
        reason: "black-box tests speak raw HTTP, play foreign upstreams, and read compressed data",
    },
];

/// What may not be reached at any distance.
pub const BANS: &[Ban] = &[
    Ban {
        from: &[
            "fhir-core",
            "fhir-schema",
            "fhirpath",
            "fhir-xml",
            "fhir-patch",
            "fhir-terminology",
            "fhir-validation",
            "fhir-search",
        ],
        libraries: &[
            Named("tokio"),
            Named("async-std"),
            Named("smol"),
            Named("mio"),
            Named("socket2"),
            Family("axum"),
            Named("hyper"),
            Named("reqwest"),
            Named("ureq"),
            Family("pingora"),
            Named("sled"),
        ],
        reason: "the FHIR libraries are plain functions of their inputs: no runtime, no network",
    },
    Ban {
        from: &[
            "fhir-core",
            "fhir-schema",
            "fhirpath",
            "fhir-xml",
            "fhir-patch",
            "fhir-terminology",
            "fhir-validation",
            "fhir-search",
            "contract",
            "store",
            "store-sled",
            "store-postgres",
            "search-index",
            "database",
            "server",
        ],
        libraries: &[Named("jsonwebtoken")],
        reason: "tokens are read on the gateway's side alone; the server obeys the grant",
    },
];

/// A crate's row, if the table has it.
#[must_use]
pub fn row(crate_name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == crate_name)
}

/// Whether a library of this name is confined to some rows.
#[must_use]
pub fn is_confined(name: &str) -> bool {
    let mut libraries = ROWS.iter().flat_map(|row| row.libraries);
    libraries.any(|library| library.covers(name))
}

const fn row_of(
    name: &'static str,
    side: Side,
    may_name: MayName,
    libraries: &'static [Library],
) -> Row {
    Row { name, side, may_name, libraries }
}
