//! Starts that must not succeed: each is said at once, in one line with what, where and the mend.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use integration_tests::binary::{self, failure, text};
use integration_tests::private_disk::PrivateDisk;
use integration_tests::process::Process;
use integration_tests::site::{Deployment, First, Site};

/// Runs a start that must fail, and gives the one line that says why. It is waited for as long
/// as for anything that should take an instant: a start that succeeds fails the test.
async fn refused(command: Command, folder: &Path) -> String {
    let mut process = Process::start(command, folder, "refused");
    let status = process.ended().await;
    let (stdout, stderr) = (process.stdout().into_bytes(), process.stderr());
    // Whatever the log says besides: the failure is one line, the last.
    let last = stderr.lines().last().unwrap_or_default();
    let output = Output { status, stdout, stderr: last.as_bytes().to_vec() };
    let line = failure(&output, 1);
    assert!(line.contains("; "), "there is no mend in it: {line}");
    assert!(!stderr.contains("owner's key, shown"), "{stderr}");
    line
}

fn serve(site: &Site, verb: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary::hearthgate());
    command.current_dir(site.folder()).arg(verb).arg("--data").arg(site.data());
    command.args(arguments);
    command
}

#[tokio::test]
async fn a_port_in_use_is_said_before_any_data_is_made() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for verb in ["serve", "gateway"] {
        for (listen, admin) in [(taken.as_str(), "127.0.0.1:0"), ("127.0.0.1:0", taken.as_str())] {
            let site = Site::prepare(Deployment::OneProcess);
            let command = serve(&site, verb, &["--listen", listen, "--admin", admin]);
            let line = refused(command, site.folder()).await;
            assert!(line.contains(&taken) && line.contains("in use"), "{line}");
            assert!(!site.data().join("tenants").exists(), "{verb} made a tenant");
        }
    }
}

#[tokio::test]
async fn memory_is_taken_in_small_pages() {
    let site = Site::start(Deployment::OneProcess).await;
    // A system that knows no huge pages gives none.
    assert_ne!(site.front().may_have_huge_pages(), Some(true));
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_directory() {
    let anywhere = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let one = Site::start(Deployment::OneProcess).await;
    let holder = format!("pid {} (serve)", one.front().id());
    for verb in ["serve", "gateway", "server"] {
        let line = refused(serve(&one, verb, &anywhere), one.folder()).await;
        assert!(line.contains(&holder) && line.contains("--data"), "{verb}: {line}");
    }
    let two = Site::start(Deployment::TwoProcesses).await;
    for (verb, holder) in [
        ("serve", format!("pid {} (server)", two.back().id())),
        ("server", format!("pid {} (server)", two.back().id())),
        ("gateway", format!("pid {} (gateway)", two.front().id())),
    ] {
        let line = refused(serve(&two, verb, &anywhere), two.folder()).await;
        assert!(line.contains(&holder), "{verb}: {line}");
    }
    // Nobody was disturbed.
    assert_eq!(one.owner().get("/Patient/1").await.status, 404);
    assert_eq!(two.owner().get("/Patient/1").await.status, 404);
}

#[tokio::test]
async fn data_of_a_newer_release_is_left_alone() {
    for file in ["tenants/default/format", "registry/format"] {
        let mut site = Site::start(Deployment::OneProcess).await;
        let _ =
            site.owner().put("/Patient/1", r#"{"resourceType":"Patient","id":"1"}"#).await.is(201);
        site.stop().await;
        let path = site.data().join(file);
        let now = fs::read_to_string(&path).unwrap();
        let (name, number) = now.trim_end().rsplit_once(' ').unwrap();
        let number = number.parse::<u32>().unwrap() + 1;
        let newer = format!("{name} {number}\n");
        fs::write(&path, &newer).unwrap();
        let line = refused(site.command("serve"), site.folder()).await;
        let told = format!("format {number}");
        assert!(line.contains(&told) && line.contains("start the release"), "{line}");
        assert_eq!(fs::read_to_string(&path).unwrap(), newer);
        fs::write(&path, now).unwrap();
        site.launch(First::Gateway).await;
        assert_eq!(site.owner().get("/Patient/1").await.status, 200);
    }
}

/// An empty or deleted registry beside data would have a new owner: that never happens.
#[tokio::test]
async fn a_registry_lost_beside_data_gives_no_new_owner() {
    for deployment in [Deployment::OneProcess, Deployment::TwoProcesses] {
        let mut site = Site::start(deployment).await;
        let _ =
            site.owner().put("/Patient/1", r#"{"resourceType":"Patient","id":"1"}"#).await.is(201);
        site.stop().await;
        let registry = site.data().join("registry");
        let aside = site.folder().join("registry-aside");
        let changes = fs::read(registry.join("changes.log")).unwrap();
        let verb = if deployment == Deployment::OneProcess { "serve" } else { "gateway" };
        let start = |site: &Site| {
            let arguments = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
            let mut command = serve(site, verb, &arguments);
            command.arg("--owner-key-file").arg(site.folder().join("new-owner.key"));
            command
        };
        let check = async |site: &Site, what: &str| {
            let line = refused(start(site), site.folder()).await;
            assert!(line.contains("registry"), "{what}: {line}");
            assert!(!site.folder().join("new-owner.key").exists(), "{what}");
            // What there was of it is as it was: nothing new was begun.
            let log = fs::read(registry.join("changes.log")).unwrap_or_default();
            assert!(log.is_empty(), "{what}");
        };
        // Emptied.
        fs::write(registry.join("changes.log"), "").unwrap();
        check(&site, "emptied").await;
        fs::remove_file(registry.join("changes.log")).unwrap();
        check(&site, "without its log").await;
        fs::remove_file(registry.join("format")).unwrap();
        check(&site, "without log and format").await;
        // Deleted, and asked twice: the first failure must not make the second a first start.
        fs::rename(&registry, &aside).unwrap();
        check(&site, "deleted").await;
        check(&site, "deleted, again").await;
        let keys = site.keys(&["create", "--client", "owner"]);
        assert_eq!(keys.status.code(), Some(1), "{keys:?}");
        assert!(!text(&keys.stdout).contains("hg_"), "{keys:?}");
        // Put back, everything is as before.
        fs::remove_dir_all(&registry).unwrap();
        fs::rename(&aside, &registry).unwrap();
        fs::write(registry.join("changes.log"), changes).unwrap();
        fs::write(registry.join("format"), "hearthgate registry 1\n").unwrap();
        site.launch(First::Gateway).await;
        assert_eq!(site.owner().get("/Patient/1").await.status, 200);
    }
}

#[tokio::test]
async fn a_place_where_nothing_can_be_written_is_said() {
    let site = Site::prepare(Deployment::OneProcess);
    let file = site.folder().join("file");
    fs::write(&file, "").unwrap();
    for verb in ["serve", "gateway", "server"] {
        let mut command = Command::new(binary::hearthgate());
        command.current_dir(site.folder()).args([verb, "--data", "file/data"]);
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let line = refused(command, site.folder()).await;
        assert!(line.contains("file/data"), "{line}");
    }
}

#[tokio::test]
async fn a_read_only_directory_is_said() {
    let Some(disk) = PrivateDisk::mount("ro") else { return };
    for verb in ["serve", "gateway", "server"] {
        let mut site = Site::prepare(Deployment::OneProcess);
        site.settle(&disk.place().join("data"), disk.launcher());
        let line = refused(site.command(verb), site.folder()).await;
        assert!(line.contains("read-only") && line.contains("disk/data"), "{line}");
        assert!(!site.owner_key_file().exists());
    }
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_start_is_said() {
    let Some(disk) = PrivateDisk::mount("size=64k") else { return };
    fs::write(disk.from_outside().join("filler"), vec![0; 60 << 10]).unwrap();
    let mut site = Site::prepare(Deployment::OneProcess);
    site.settle(&disk.place().join("data"), disk.launcher());
    let line = refused(site.command("serve"), site.folder()).await;
    assert!(line.contains("the disk is full: free space"), "{line}");
}
