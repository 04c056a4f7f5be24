//! Who names whom: what each of our crates declares, from `cargo metadata`, and what is behind
//! the libraries, from `Cargo.lock`.
//!
//! Declared dependencies hold more than the resolved graph: what is optional, or for another
//! target only, is there whether or not anything turns it on, and reading them asks no network.
//! For the libraries the lock file is the graph, since it has every target; its features are
//! those turned on anywhere in the workspace.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use serde_json::Value;

/// Our crates and what is behind them.
#[derive(Debug, Clone, Default)]
pub struct Workspace {
    /// By name: what each declares.
    pub crates: BTreeMap<String, Vec<Dependency>>,
    /// The lock file: from each package, as `name version`, to those it depends on.
    pub locked: BTreeMap<String, Vec<String>>,
}

/// One declared dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The package's own name, whatever it is called where it is used.
    pub name: String,
    /// Whether it lies beside our crates and does not come from a registry.
    pub is_ours: bool,
    /// What it is for.
    pub purpose: Purpose,
    /// The name it is used under, if another.
    pub renamed: Option<String>,
    /// The features that turn it on, when it is optional.
    pub optional: Option<Vec<String>>,
    /// The targets it is for, when not for all.
    pub target: Option<String>,
}

/// The table that a dependency stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `dependencies`.
    Normal,
    /// `build-dependencies`.
    Build,
    /// `dev-dependencies`.
    Development,
}

/// A workspace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// Cargo did not answer.
    #[error("cargo metadata failed")]
    Metadata(#[from] cargo_metadata::Error),
    /// There is no lock file that can be read.
    #[error("Cargo.lock cannot be read")]
    Lock(#[from] io::Error),
    /// The lock file is not TOML.
    #[error("Cargo.lock is not valid")]
    LockSyntax(#[from] toml::de::Error),
}

impl Dependency {
    /// A plain dependency on a library, for all targets.
    #[must_use]
    pub fn library(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_ours: false,
            purpose: Purpose::Normal,
            renamed: None,
            optional: None,
            target: None,
        }
    }
}

impl fmt::Display for Dependency {
    /// The name, and in parentheses what is not plain about it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut remarks = Vec::new();
        match self.purpose {
            Purpose::Normal => {}
            Purpose::Build => remarks.push("build".to_owned()),
            Purpose::Development => remarks.push("dev".to_owned()),
        }
        if let Some(features) = &self.optional {
            remarks.push("optional".to_owned());
            remarks.extend(features.iter().map(|feature| format!("feature {feature:?}")));
        }
        if let Some(target) = &self.target {
            remarks.push(format!("only for {target}"));
        }
        if let Some(name) = &self.renamed {
            remarks.push(format!("as {name}"));
        }
        formatter.write_str(&self.name)?;
        if remarks.is_empty() { Ok(()) } else { write!(formatter, " ({})", remarks.join(", ")) }
    }
}

impl Workspace {
    /// Reads the workspace at `root`, without the network.
    ///
    /// # Errors
    /// [`WorkspaceError`] when cargo or the lock file cannot be understood.
    pub fn read(root: &Path) -> Result<Self, WorkspaceError> {
        let metadata = MetadataCommand::new()
            .current_dir(root)
            .no_deps()
            .other_options(["--offline".to_owned()])
            .exec()?;
        let crates = metadata
            .packages
            .iter()
            .map(|package| (package.name.to_string(), dependencies(package)))
            .collect();
        let lock: toml::Table = fs::read_to_string(root.join("Cargo.lock"))?.parse()?;
        let lock = serde_json::to_value(lock).unwrap_or_default();
        Ok(Self { crates, locked: locked(&lock) })
    }

    /// The packages, as `name version`, that a crate's dependency of this name was resolved to.
    pub(super) fn locked_dependency(&self, crate_name: &str, name: &str) -> Vec<String> {
        let own = self.locked.iter().filter(|(id, _)| name_of(id) == crate_name);
        own.flat_map(|(_, dependencies)| dependencies)
            .filter(|id| name_of(id) == name)
            .cloned()
            .collect()
    }
}

/// The name in `name version`.
pub(super) fn name_of(id: &str) -> &str {
    id.split_once(' ').map_or(id, |(name, _)| name)
}

fn dependencies(package: &Package) -> Vec<Dependency> {
    package
        .dependencies
        .iter()
        .map(|dependency| {
            let used_as = dependency.rename.as_deref().unwrap_or(&dependency.name);
            Dependency {
                name: dependency.name.clone(),
                is_ours: dependency.path.is_some(),
                purpose: match dependency.kind {
                    DependencyKind::Development => Purpose::Development,
                    DependencyKind::Build => Purpose::Build,
                    _ => Purpose::Normal,
                },
                renamed: dependency.rename.clone(),
                optional: dependency.optional.then(|| features_that_enable(package, used_as)),
                target: dependency.target.as_ref().map(ToString::to_string),
            }
        })
        .collect()
}

fn features_that_enable(package: &Package, used_as: &str) -> Vec<String> {
    let enables = |part: &String| {
        part == used_as
            || part.strip_prefix("dep:") == Some(used_as)
            || part.split_once('/').is_some_and(|(name, _)| name == used_as)
    };
    package
        .features
        .iter()
        .filter(|(_, parts)| parts.iter().any(enables))
        .map(|(feature, _)| feature.clone())
        .collect()
}

fn locked(lock: &Value) -> BTreeMap<String, Vec<String>> {
    let packages = lock["package"].as_array().map_or(&[][..], Vec::as_slice);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ids: Vec<(String, String)> = packages
        .iter()
        .map(|package| (text(&package["name"]), text(&package["version"])))
        .collect();
    // A dependency is `name` where that is unique, else `name version`, or these and a source.
    let id_of = |dependency: &Value| {
        let mut words = dependency.as_str().unwrap_or_default().split(' ');
        let name = words.next().unwrap_or_default();
        let version = words.next().or_else(|| {
            let found = ids.iter().find(|(other, _)| other == name);
            found.map(|(_, version)| version.as_str())
        });
        format!("{name} {}", version.unwrap_or_default())
    };
    packages
        .iter()
        .zip(&ids)
        .map(|(package, (name, version))| {
            let dependencies = package["dependencies"].as_array();
            let dependencies = dependencies.into_iter().flatten().map(id_of).collect();
            (format!("{name} {version}"), dependencies)
        })
        .collect()
}
