//! Synthea's Bundles, copied until there are as many resources as are wanted: each copy of a
//! Bundle is another patient, with names, identifiers and ids of their own, whose dates lie some
//! days before those of the original, and whose conditions are drawn anew, few of them often and
//! many of them seldom. What refers to each other in a Bundle does so in its copies.
//!
//! The same seed gives the same copies. Originals are taken apart once, when they are read; a copy
//! is written from the pieces, one Bundle at a time.

mod draw;
mod template;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use integration_tests::test_data::{documents, folder};

use super::Failure;
use super::figures::print;
pub(crate) use draw::Draw;
pub(crate) use template::Form;
use template::{Concepts, Original};

/// Where the originals are in the folder of test data.
const ORIGINALS: &str = "synthea/bundles.ndjson.zst";
/// What copies are drawn with when nothing else is said.
pub(crate) const SEED: u64 = 20_261_126;

/// Write copies to a file, one Bundle or resource a line.
#[derive(clap::Args)]
pub(crate) struct Sizes {
    /// Resources at least: the last Bundle is not cut.
    #[arg(long, default_value_t = 1_000_000)]
    resources: u64,
    /// What they are drawn with.
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Resources by themselves, which refer to each other by type and id, instead of transactions
    /// as `hearthgate import` takes them.
    #[arg(long)]
    bare: bool,
    /// The file.
    file: PathBuf,
}

/// Writes the file.
pub(crate) fn run(sizes: &Sizes) -> Result<(), Failure> {
    let copies = Copies::of_test_data(sizes.seed)?.ok_or("there is no test data to copy")?;
    let mut file = BufWriter::new(File::create(&sizes.file)?);
    let mut written = 0;
    for copy in copies.until(sizes.resources) {
        if sizes.bare {
            copy.each_resource(|_, json| Ok(writeln!(file, "{json}")?))?;
        } else {
            writeln!(file, "{}", copy.transaction())?;
        }
        written += copy.len();
    }
    file.flush()?;
    Ok(print(&format!("{written} resources, seed {}\n", sizes.seed))?)
}

/// The originals, taken apart.
pub(crate) struct Copies {
    originals: Vec<Original>,
    concepts: Concepts,
    seed: u64,
}

impl Copies {
    /// Of the folder of test data; none where there is none.
    pub(crate) fn of_test_data(seed: u64) -> Result<Option<Self>, Failure> {
        folder().map(|folder| Self::of(&folder.join(ORIGINALS), seed)).transpose()
    }

    fn of(file: &Path, seed: u64) -> Result<Self, Failure> {
        let mut concepts = Concepts::default();
        let read = |text: &String| Original::read(text, &mut concepts);
        let originals = documents(file).iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if originals.is_empty() {
            return Err("there is nothing to copy".into());
        }
        concepts.order();
        Ok(Self { originals, concepts, seed })
    }

    /// A copy by its number: of each original in turn.
    pub(crate) fn copy(&self, number: u64) -> Copy<'_> {
        let of = &self.originals[(number % self.originals.len() as u64) as usize];
        Copy { of, concepts: &self.concepts, draw: Draw::of(self.seed, number) }
    }

    /// Copies until there are so many resources.
    pub(crate) fn until(&self, resources: u64) -> impl Iterator<Item = Copy<'_>> {
        let mut before = 0;
        (0..).map(|number| self.copy(number)).take_while(move |copy| {
            let goes_on = before < resources;
            before += copy.len();
            goes_on
        })
    }
}

/// A copy of one Bundle.
pub(crate) struct Copy<'c> {
    of: &'c Original,
    concepts: &'c Concepts,
    draw: Draw,
}

impl Copy<'_> {
    /// How many resources it has.
    pub(crate) fn len(&self) -> u64 {
        self.of.resources.len() as u64
    }

    /// As a transaction that creates what is in it.
    pub(crate) fn transaction(&self) -> String {
        let mut out = String::from(r#"{"resourceType":"Bundle","type":"transaction","entry":["#);
        for (at, resource) in self.of.resources.iter().enumerate() {
            let (comma, id) = (if at == 0 { "" } else { "," }, self.draw.id(resource.id));
            out.push_str(&format!(r#"{comma}{{"fullUrl":"urn:uuid:{id}","resource":"#));
            resource.write(&self.draw, self.concepts, Form::Entry, &mut out);
            let of = &resource.resource_type;
            out.push_str(&format!(r#","request":{{"method":"POST","url":"{of}"}}}}"#));
        }
        out.push_str("]}");
        out
    }

    /// Calls with the type and the text of each resource, as it would be stored: references name
    /// type and id.
    pub(crate) fn each_resource(
        &self,
        mut each: impl FnMut(&str, &str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut text = String::new();
        for resource in &self.of.resources {
            text.clear();
            resource.write(&self.draw, self.concepts, Form::Stored, &mut text);
            each(&resource.resource_type, &text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Copies, SEED};

    fn all(copies: &Copies, number: u64) -> Vec<serde_json::Value> {
        let mut all = Vec::new();
        let read = |_: &str, json: &str| {
            all.push(serde_json::from_str(json)?);
            Ok(())
        };
        copies.copy(number).each_resource(read).unwrap();
        all
    }

    fn references(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                for (name, value) in members {
                    match value.as_str().filter(|_| name == "reference") {
                        Some(text) => found.push(text.to_owned()),
                        None => references(value, found),
                    }
                }
            }
            serde_json::Value::Array(items) => {
                items.iter().for_each(|item| references(item, found));
            }
            _ => {}
        }
    }

    #[test]
    fn copies_are_others_and_whole() {
        let Some(copies) = Copies::of_test_data(SEED).unwrap() else { return };
        let first = all(&copies, 0);
        let ids: HashSet<String> = first
            .iter()
            .map(|it| {
                format!("{}/{}", it["resourceType"].as_str().unwrap(), it["id"].as_str().unwrap())
            })
            .collect();
        assert_eq!(ids.len(), first.len());
        let mut named = Vec::new();
        first.iter().for_each(|it| references(it, &mut named));
        let local: Vec<_> = named.iter().filter(|it| !it.starts_with('#')).collect();
        assert!(local.len() > first.len(), "{}", local.len());
        for reference in local {
            assert!(ids.contains(reference), "{reference}");
        }
        // Of the same original: everything that names somebody is another.
        let next = all(&copies, copies.originals.len() as u64);
        assert_eq!(first.len(), next.len());
        for (one, other) in first.iter().zip(&next) {
            assert_ne!(one["id"], other["id"]);
            assert_eq!(one["resourceType"], other["resourceType"]);
        }
        let patient = |of: &[serde_json::Value]| {
            of.iter().find(|it| it["resourceType"] == "Patient").cloned().unwrap()
        };
        let (one, other) = (patient(&first), patient(&next));
        for member in ["name", "identifier", "birthDate"] {
            assert_ne!(one[member], other[member], "{member}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_copies() {
        let Some(copies) = Copies::of_test_data(7).unwrap() else { return };
        let again = Copies::of_test_data(7).unwrap().unwrap();
        let other = Copies::of_test_data(8).unwrap().unwrap();
        let text = |copies: &Copies| copies.copy(61).transaction();
        assert_eq!(text(&copies), text(&again));
        assert_ne!(text(&copies), text(&other));
        let taken: u64 = copies.until(20_000).map(|copy| copy.len()).sum();
        assert!((20_000..25_000).contains(&taken), "{taken}");
    }
}
