//! `hearthgate doctor`: looks at what a data directory stands on (disk, clock, permissions,
//! limits) and says what will hurt before it does. Reads, and writes one small file that it
//! removes; safe beside a running server. What it says of the disk is in `disk`.

mod disk;
mod registry_database;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use contract::{Clock, Instant};
use store_postgres::Condition;
use store_sled::{SledStoreOptions, newest_commit, room};

use self::disk::{disk, encryption, permissions, sync, sync_time};
use crate::backup::{BackupError, in_postgres, tenants};
use crate::config::{Config, Flags};
use crate::data_directory::DataDirectory;
use crate::doors::SystemClock;
use crate::failure::one_line;
use crate::key_copies::Folder;
use crate::storage;
use crate::tenant_key::{KeptKey, KeySource, TenantKeys};

/// What `doctor` takes.
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    data: DataDirectory,
    /// The configuration file, where the data is in PostgreSQL
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Nothing to do.
    Good,
    /// It works, and somebody should know.
    Note,
    /// It fails or will.
    Bad,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub grade: Grade,
    /// What was looked at.
    pub of: &'static str,
    /// What was found, and the mend.
    pub text: String,
}

/// Further apart, the server refuses writes.
const CLOCK_APART: i64 = 60_000_000;
/// Fewer descriptors do not carry a busy gateway's connections.
const FEW_DESCRIPTORS: u64 = 4096;
impl Doctor {
    /// Looks at everything. Returns the findings, in the order they were looked at.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn run(&self) -> io::Result<Vec<Finding>> {
        let data = fs::canonicalize(&self.data.path)?;
        let clock = SystemClock::start();
        let mut findings = vec![
            disk(room(&data, &SledStoreOptions::default())),
            sync(sync_time(&data, &clock)),
            time(&data, clock.now()),
            permissions(&data),
            keys(&data),
            descriptors(fs::read_to_string("/proc/self/limits")),
            encryption(&data),
        ];
        let config = self.config.as_deref().map(|file| {
            let flags = Flags { config: Some(file.to_owned()), ..Flags::default() };
            Config::resolve(&flags).map_err(|error| one_line(&error))
        });
        let config = config.as_ref().map(Result::as_ref);
        findings.extend(postgres_of_tenant(&data, config, &clock));
        findings.extend(registry_database::finding(&data, config, &clock));
        Ok(findings)
    }
}

/// The configuration that was named, or why it is none.
type Named<'a> = Option<Result<&'a Config, &'a String>>;

/// How the tenant stands in PostgreSQL, where that holds one.
fn postgres_of_tenant(data: &Path, config: Named<'_>, clock: &dyn Clock) -> Option<Finding> {
    let of = "PostgreSQL";
    let bad = |text| Some(Finding { grade: Grade::Bad, of, text });
    let marked = match storage::in_postgres(data) {
        Ok(marked) => marked,
        Err(error) => return Some(unknown(of, &error)),
    };
    let config = match config {
        None => {
            let tenant = marked.first()?;
            let text = format!("holds the tenant {tenant}; name --config FILE to look at it");
            return Some(Finding { grade: Grade::Note, of, text });
        }
        Some(Err(why)) => return bad(why.clone()),
        Some(Ok(config)) => config,
    };
    match storage::condition(config, clock) {
        Ok(condition) => condition.map(|condition| postgres(&condition)),
        Err(error) => bad(one_line(&error)),
    }
}

fn postgres(condition: &Condition) -> Finding {
    let of = "PostgreSQL";
    let head = condition.head.map_or_else(
        || "there is no data".to_owned(),
        |(t, instant)| format!("the newest commit is {t} of {instant}"),
    );
    let held = condition.held.as_ref().map_or_else(
        || "no server holds it".to_owned(),
        |(holder, left)| format!("{holder} holds it for {} s more", left.as_secs()),
    );
    let text = format!("version {}; {head}; {held}", condition.server);
    if let [first, ..] = condition.unsafe_settings.as_slice() {
        let text = format!("{text}; {first} is off: what was acknowledged may be lost; set it on");
        return Finding { grade: Grade::Bad, of, text };
    }
    if condition.clock_ahead.abs() > CLOCK_APART {
        let text = format!(
            "{text}; its clock and this machine's disagree by {} s: set both by NTP",
            condition.clock_ahead.abs() / 1_000_000
        );
        return Finding { grade: Grade::Bad, of, text };
    }
    Finding { grade: Grade::Good, of, text }
}

/// The findings as lines.
#[must_use]
pub fn report(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let grade = match finding.grade {
            Grade::Good => "good",
            Grade::Note => "note",
            Grade::Bad => "BAD ",
        };
        format!("{grade}  {}: {}\n", finding.of, finding.text)
    };
    findings.iter().map(line).collect()
}

fn unknown(of: &'static str, error: &dyn std::fmt::Display) -> Finding {
    Finding { grade: Grade::Bad, of, text: format!("cannot be told: {error}") }
}

fn time(data: &Path, now: Instant) -> Finding {
    let of = "clock";
    let newest = match newest(data) {
        Ok(Some(newest)) => newest,
        Ok(None) => {
            let text = format!("{now}; there is no data to compare it with");
            return Finding { grade: Grade::Good, of, text };
        }
        Err(why) => return Finding { grade: Grade::Bad, of, text: why },
    };
    let text = format!("{now}; the newest data is of {newest}");
    if newest.as_micros() - now.as_micros() > CLOCK_APART {
        let text = format!("{text}: writes are refused; set the clock right");
        return Finding { grade: Grade::Bad, of, text };
    }
    Finding { grade: Grade::Good, of, text }
}

/// The instant of the newest commit of any tenant.
fn newest(data: &Path) -> Result<Option<Instant>, String> {
    let tenants = match tenants(data) {
        Err(BackupError::NoTenant(_)) => return Ok(None),
        tenants => tenants.map_err(|error| one_line(&error))?,
    };
    let mut newest = None;
    for tenant in tenants {
        let path = data.join("tenants").join(tenant.as_str());
        let head = newest_commit(&path, &tenant).map_err(|error| one_line(&error))?;
        newest = newest.max((head.t != store::T::ZERO).then_some(head.instant));
    }
    Ok(newest)
}

/// Whether what is sealed can be opened, and whether what opens it is there a second time.
fn keys(data: &Path) -> Finding {
    let of = "keys";
    let mut tenants = match tenants(data) {
        Err(BackupError::NoTenant(_)) => Vec::new(),
        Ok(tenants) => tenants,
        Err(error) => return unknown(of, &one_line(&error)),
    };
    match in_postgres(data) {
        Ok(elsewhere) => tenants.extend(elsewhere),
        Err(error) => return unknown(of, &one_line(&error)),
    }
    let (mut grade, mut texts) = (Grade::Good, Vec::new());
    for tenant in tenants {
        let folder = Folder::of_tenant(&data.join("tenants").join(tenant.as_str()));
        if !folder.has_keys() {
            texts.push(format!("tenant {tenant} has none"));
            continue;
        }
        let source = KeySource::noted(data, &tenant);
        let kept = TenantKeys { data, tenant: &tenant, source: &source }.look();
        let copies = folder.copies();
        let (found, text) = match kept {
            Err(error) => (Grade::Bad, one_line(&error)),
            Ok(KeptKey::BesideTheData(place)) => (
                Grade::Note,
                format!(
                    "the key of tenant {tenant} is {place}, in the data directory: keep a copy \
                     apart; `tenant_key` names another place"
                ),
            ),
            Ok(KeptKey::Apart(place)) => {
                (Grade::Good, format!("the key of tenant {tenant} is {place}"))
            }
            Ok(KeptKey::Elsewhere(place)) => {
                (Grade::Good, format!("the key of tenant {tenant} is in {place}"))
            }
        };
        grade = grade.max(found);
        texts.push(text);
        match copies {
            Ok(copies) if copies.is_empty() => {
                grade = grade.max(Grade::Note);
                texts.push("the keys it wraps were never copied: `backup --keys-to`".to_owned());
            }
            Ok(copies) => texts.push(format!("{} copies of the keys it wraps", copies.len())),
            Err(error) => {
                grade = Grade::Bad;
                texts.push(one_line(&error));
            }
        }
    }
    if texts.is_empty() {
        texts.push("there is no data yet".to_owned());
    }
    Finding { grade, of, text: texts.join("; ") }
}

/// What a start says of the descriptors that this process may have, when they are few.
pub(crate) fn few_descriptors() -> Option<String> {
    let found = descriptors(fs::read_to_string("/proc/self/limits"));
    (found.grade != Grade::Good).then(|| format!("{}: {}", found.of, found.text))
}

fn descriptors(limits: io::Result<String>) -> Finding {
    let of = "open files";
    let limits = match limits {
        Ok(limits) => limits,
        Err(error) => return unknown(of, &error),
    };
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).unwrap_or("");
    let text = format!("this account may have {soft} at a time");
    match soft.parse::<u64>() {
        Ok(soft) if soft < FEW_DESCRIPTORS => {
            let text = format!("{text}: raise it (LimitNOFILE=65536) for many connections");
            Finding { grade: Grade::Note, of, text }
        }
        _ => Finding { grade: Grade::Good, of, text },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(path: &Path) -> DataDirectory {
        DataDirectory { path: path.to_owned() }
    }

    #[test]
    fn few_descriptors_are_noted() {
        let limits = |soft: &str| Ok(format!("Limit\nMax open files  {soft}  524288  files\n"));
        assert_eq!(descriptors(limits("1024")).grade, Grade::Note);
        assert_eq!(descriptors(limits("65536")).grade, Grade::Good);
        assert_eq!(descriptors(limits("unlimited")).grade, Grade::Good);
    }

    #[test]
    fn what_loses_commits_in_postgresql_is_bad() {
        let sound = Condition {
            server: "15.1".to_owned(),
            clock_ahead: -59_000_000,
            unsafe_settings: Vec::new(),
            head: None,
            fhir_version: None,
            held: Some(("a, process 1".to_owned(), Duration::from_secs(9))),
        };
        let told = postgres(&sound);
        assert_eq!(told.grade, Grade::Good);
        assert!(told.text.contains("a, process 1 holds it for 9 s"), "{}", told.text);
        let apart = Condition { clock_ahead: -61_000_000, ..sound.clone() };
        assert_eq!(postgres(&apart).grade, Grade::Bad);
        let risky = Condition { unsafe_settings: vec!["fsync".to_owned()], ..sound };
        assert!(postgres(&risky).text.contains("fsync is off"));
    }

    #[test]
    fn a_tenant_elsewhere_is_named_and_asked_for_its_configuration() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("postgres-clinic"), "").unwrap();
        let doctor = |config| Doctor { data: at(data.path()), config };
        let last = |doctor: Doctor| doctor.run().unwrap().pop().unwrap();
        let noted = last(doctor(None));
        assert_eq!(noted.grade, Grade::Note);
        assert!(noted.text.contains("the tenant clinic; name --config"), "{}", noted.text);
        let file = data.path().join("c.toml");
        fs::write(&file, "storage.postgres = \"host=/nowhere\"").unwrap();
        assert_eq!(last(doctor(Some(file))).grade, Grade::Bad);
    }

    #[test]
    fn everything_is_looked_at_and_nothing_left_behind() {
        let data = tempfile::tempdir().unwrap();
        let doctor = Doctor { data: at(data.path()), config: None };
        let findings = doctor.run().unwrap();
        assert_eq!(findings.len(), 7);
        assert_eq!(report(&findings).lines().count(), 7);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
        let doctor = Doctor { data: at(&data.path().join("absent")), config: None };
        assert!(doctor.run().is_err());
    }
}
