//! Search parameters: those of R4, and the same with a few of a package's.

use std::sync::{Arc, LazyLock};

use fhir_core::{Instant, ResourceType};
use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{
    Compartment, Extractor, Handling, Limits, Parameters, Query, QueryError, Reader, Zone,
    decode_form,
};
use fhir_terminology::Terminology;

use super::compare::BASE;

/// When queries are asked, as they read dates.
const NOW: Instant = Instant::from_micros(1_800_000_000_000_000);

/// What a set of parameters is indexed by and looked at by.
pub(crate) struct Known {
    definitions: DefinitionSet,
    /// Indexes take values by this one.
    pub(crate) indexing: Arc<Extractor<'static>>,
    /// The same parameters once more. No index is by these, so that every resource is looked at.
    pub(crate) scanning: Arc<Extractor<'static>>,
}

static R4: LazyLock<Known> = LazyLock::new(|| Known::of(DefinitionSet::r4().clone()));

static WITH_PACKAGE: LazyLock<Known> = LazyLock::new(|| {
    let set = DefinitionSet::r4().with_packages(vec![package()]);
    Known::of(set.expect("the package is sound"))
});

/// The parameters of the package: type, code, kind, expression, and more members.
const OWN: [(&str, &str, &str, &str, &str); 5] = [
    ("Patient", "-any-given", "string", "Patient.name.given", ""),
    ("Observation", "-said-at", "date", "(Observation.value as dateTime)", ""),
    (
        "Observation",
        "-by-whom",
        "reference",
        "Observation.performer",
        r#","target":["Organization","Patient"]"#,
    ),
    ("Condition", "-since", "quantity", "(Condition.onset as Age)", ""),
    (
        "Observation",
        "-code-said-at",
        "composite",
        "Observation",
        r#","component":[{"definition":"http://hl7.org/fhir/SearchParameter/clinical-code","expression":"code"},{"definition":"http://a.example/SearchParameter/-said-at","expression":"value as dateTime"}]"#,
    ),
];

fn package() -> Package {
    let manifest = r#"{"name":"own.example","version":"1.0.0","fhirVersions":["4.0.1"]}"#;
    let own = OWN.iter().map(|(of, code, kind, expression, more)| {
        let json = format!(
            r#"{{"resourceType":"SearchParameter","id":"{code}","status":"active","url":"http://a.example/SearchParameter/{code}","name":"{code}","description":"x","code":"{code}","base":["{of}"],"type":"{kind}","expression":"{expression}"{more}}}"#
        );
        Ok((format!("SearchParameter-{code}.json"), json.into_bytes()))
    });
    let files = [Ok(("package.json".to_owned(), manifest.as_bytes().to_vec()))];
    let package = Package::from_files(files.into_iter().chain(own), PackageLimits::default());
    package.expect("the package is sound")
}

impl Known {
    /// The parameters of R4.
    pub(crate) fn r4() -> &'static Self {
        &R4
    }

    /// Those, and a few of a package's.
    pub(crate) fn with_package() -> &'static Self {
        &WITH_PACKAGE
    }

    fn of(definitions: DefinitionSet) -> Self {
        let extractor = || {
            let schema = Schema::r4();
            let parameters = Arc::new(Parameters::new(&definitions, schema));
            Extractor::new(schema, parameters, definitions.clone(), Terminology::r4())
        };
        let [indexing, scanning] = [Arc::new(extractor()), Arc::new(extractor())];
        Self { definitions, indexing, scanning }
    }

    /// The parameters.
    pub(crate) fn parameters(&self) -> &Parameters {
        self.indexing.parameters()
    }

    /// Reads a request by these parameters, as [`read_by`] does.
    pub(crate) fn read(&self, request: &str, handling: Handling) -> Result<Query, QueryError> {
        read(&self.indexing, &self.definitions, request, handling)
    }
}

/// Reads a request as after the base of a URL (`Patient?name=a`, `Patient/1/Observation?code=b`,
/// `?_type=…`) by the parameters of an extractor, with the definitions of R4.
pub(crate) fn read_by(
    extractor: &Extractor<'static>,
    request: &str,
    handling: Handling,
) -> Result<Query, QueryError> {
    read(extractor, DefinitionSet::r4(), request, handling)
}

fn read(
    extractor: &Extractor<'static>,
    definitions: &DefinitionSet,
    request: &str,
    handling: Handling,
) -> Result<Query, QueryError> {
    let (path, form) = request.split_once('?').unwrap_or((request, ""));
    let parts: Vec<&str> = path.split('/').collect();
    let (compartment, resource_type) = match parts[..] {
        [of, id, within] => {
            let resource_type = of.parse().expect("the name of a type");
            let id = id.parse().expect("an id");
            (Some(Compartment { resource_type, id }), within)
        }
        [of] => (None, of),
        _ => panic!("{request}"),
    };
    let resource_type = Some(resource_type).filter(|it| !it.is_empty());
    let reader = Reader {
        parameters: extractor.parameters(),
        definitions,
        schema: Schema::r4(),
        base: BASE,
        zone: Zone::UTC,
        now: NOW,
        handling,
        limits: &Limits::default(),
    };
    let parameters = decode_form(form.as_bytes()).expect("it is a form");
    let asked = fhir_search::Asked {
        resource_type: resource_type.map(|it| ResourceType::new(it).expect("a type's name")),
        compartment,
        parameters: &parameters,
    };
    reader.read(&asked)
}
