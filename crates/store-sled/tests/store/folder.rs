//! A tenant's folder: its format, its owner, its making.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use store_sled::{Flaw, OpenError, SledStore};

use crate::support::{
    Folder, close, damage, files, fill, holds, open, open_at, options, two_groups,
};

/// G9's part here: what is not known is not touched.
#[test]
fn a_newer_format_is_refused_naming_both() {
    let (folder, _) = two_groups();
    let format = folder.path().join("format");
    assert_eq!(fs::read_to_string(&format).unwrap(), "hearthgate store 3\n");
    fs::write(&format, "hearthgate store 4\n").unwrap();
    let before = files(&folder.path());
    let error = folder.open_with(options()).unwrap_err();
    let named = matches!(&error, OpenError::NewerFormat { found: 4, known: 3, .. });
    assert!(named, "{error:?}");
    assert!(error.to_string().contains("format 4, this release knows up to 3"));
    for text in ["", "hearthgate store 0\n", "hearthgate store one\n", "something else\n"] {
        fs::write(&format, text).unwrap();
        let error = folder.open_with(options()).unwrap_err();
        assert!(matches!(error, OpenError::FormatUnreadable { .. }), "{text:?}: {error:?}");
    }
    fs::remove_file(&format).unwrap();
    let error = folder.open_with(options()).unwrap_err();
    assert!(matches!(error, OpenError::FormatMissing { .. }), "{error:?}");
    fs::write(&format, "hearthgate store 4\n").unwrap();
    assert!(files(&folder.path()) == before);
}

#[test]
fn a_folder_whose_making_was_interrupted_is_made_whole() {
    let folder = Folder::new();
    close(open(&folder));
    fs::remove_file(folder.path().join("format")).unwrap();
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    let store = open(&folder);
    assert_eq!(store.report().rebuilt, None);
    fill(&store, 1, 2);
    holds(&store, 2);
}

#[test]
fn a_folder_holds_nothing_until_something_is_committed() {
    let check = |folder: &Folder, expected: bool, what: &str| {
        assert_eq!(SledStore::holds_nothing(&folder.path()).unwrap(), expected, "{what}");
    };
    let folder = Folder::new();
    check(&folder, true, "not there");
    let store = open(&folder);
    check(&folder, true, "open and empty");
    close(store);
    check(&folder, true, "closed and empty");
    // What was there and is lost is not what never was.
    let log = folder.path().join("log");
    fs::rename(&log, folder.path().join("aside")).unwrap();
    check(&folder, false, "its log is gone");
    fs::rename(folder.path().join("aside"), &log).unwrap();
    let header = fs::read(folder.segment(1)).unwrap();
    fs::write(folder.segment(1), "").unwrap();
    check(&folder, false, "its log is empty");
    fs::write(folder.segment(1), &header).unwrap();
    check(&folder, true, "as it was");
    let store = open(&folder);
    fill(&store, 1, 2);
    check(&folder, false, "one commit, open");
    close(store);
    check(&folder, false, "one commit, closed");
}

#[test]
fn a_log_is_opened_for_its_own_tenant_alone() {
    let (folder, _) = two_groups();
    let derive = std::sync::Arc::new(store::suite::fixture::FirstLine);
    let opened = SledStore::open(&folder.path(), "another", derive.clone(), options());
    let damage = damage(opened.unwrap_err());
    assert_eq!(damage.flaw, Flaw::OtherTenant("clinic".to_owned()));
    let opened = SledStore::open(&folder.path(), "../clinic", derive, options());
    assert!(matches!(opened, Err(OpenError::InvalidTenant(_))));
}

#[test]
fn a_store_that_is_in_use_is_not_touched() {
    let (folder, _) = two_groups();
    let store = open(&folder);
    let error = open_at(&folder.path(), options()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    holds(&store, 4);
}

#[test]
fn directories_and_files_are_the_owners_alone() {
    let (folder, whole) = two_groups();
    let log = fs::read(folder.segment(1)).unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    fs::create_dir_all(folder.path().parent().unwrap()).unwrap();
    let store = open(&folder);
    fill(&store, 1, 2);
    close(store);
    fs::write(folder.segment(1), &log[..whole + 9]).unwrap();
    let store = open(&folder);
    let cut = store.report().cut.clone().unwrap().copied_to;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = folder.path();
    for folder in [path.clone(), path.join("log"), path.join("state")] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    for file in [path.join("format"), folder.segment(1), cut] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
