//! What the doctor says of the disk: its room, how soon a write lasts, who may enter the data, and
//! whether it is encrypted. What is in the data is not looked at here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::Clock;
use store_sled::Room;

use super::{Finding, Grade, unknown};

/// A disk that takes longer than this for a write to last makes every commit slow.
const SLOW_SYNC: Duration = Duration::from_millis(20);

const SYNCS: u32 = 50;

const PRIVATE: u32 = 0o077;

/// How much room there is, and how much is kept back.
pub(super) fn disk(room: io::Result<Room>) -> Finding {
    let of = "free space";
    let Room { free, reserve } = match room {
        Ok(room) => room,
        Err(error) => return unknown(of, &error),
    };
    let megabytes = |bytes: u64| bytes >> 20;
    let text = format!("{} MB, of which {} MB are kept back", megabytes(free), megabytes(reserve));
    if free < reserve {
        let text = format!("{text}: writes are refused; free space on the disk");
        return Finding { grade: Grade::Bad, of, text };
    }
    let grade = if free < 2 * reserve { Grade::Note } else { Grade::Good };
    Finding { grade, of, text }
}

/// The median time of a small write to last.
pub(super) fn sync_time(data: &Path, clock: &dyn Clock) -> io::Result<Duration> {
    let path = data.join(format!("doctor-{}", std::process::id()));
    let written: io::Result<Duration> = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let mut times = Vec::new();
        for _ in 0..SYNCS {
            let begun = clock.monotonic();
            file.write_all(&[0; 4096])?;
            file.sync_data()?;
            times.push(clock.monotonic() - begun);
        }
        times.sort();
        Ok(times[times.len() / 2])
    })();
    let removed = fs::remove_file(&path);
    let median = written?;
    removed?;
    Ok(median)
}

/// Whether a write lasts soon enough.
pub(super) fn sync(median: io::Result<Duration>) -> Finding {
    let of = "time of fdatasync";
    let median = match median {
        Ok(median) => median,
        Err(error) => return unknown(of, &error),
    };
    let text = format!("{:.2} ms, the median of {SYNCS}", median.as_secs_f64() * 1000.0);
    if median > SLOW_SYNC {
        let text = format!("{text}: every commit waits so long; use a faster disk");
        return Finding { grade: Grade::Note, of, text };
    }
    Finding { grade: Grade::Good, of, text }
}

/// Whether other accounts may enter the data.
pub(super) fn permissions(data: &Path) -> Finding {
    let of = "permissions";
    let mut open = Vec::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        let listed = fs::symlink_metadata(&folder).and_then(|metadata| {
            if metadata.mode() & PRIVATE != 0 {
                open.push(folder.clone());
            }
            fs::read_dir(&folder)
        });
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => return unknown(of, &format!("{}: {error}", folder.display())),
        };
        for entry in listed.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    match open.first() {
        None => {
            let text = "only this account reads the data".to_owned();
            Finding { grade: Grade::Good, of, text }
        }
        Some(first) => {
            let text = format!(
                "other accounts may enter {} directories, {} among them; chmod go= them",
                open.len(),
                first.display()
            );
            // Inside a directory that nobody enters the rest is shut too.
            let grade = if open.contains(&data.to_owned()) { Grade::Bad } else { Grade::Note };
            Finding { grade, of, text }
        }
    }
}

/// Whether the disk is seen to be encrypted.
pub(super) fn encryption(data: &Path) -> Finding {
    let of = "encryption of the disk";
    let device = match File::open(data).and_then(|file| file.metadata()) {
        Ok(metadata) => metadata.dev(),
        Err(error) => return unknown(of, &error),
    };
    if is_encrypted(&device_directory(device)) {
        let text = "the disk is encrypted (dm-crypt)".to_owned();
        return Finding { grade: Grade::Good, of, text };
    }
    let text = "not seen: bodies and indexes lie readable; use LUKS, or know that the disk does it"
        .to_owned();
    Finding { grade: Grade::Note, of, text }
}

/// Where the system tells of a block device.
fn device_directory(device: u64) -> PathBuf {
    // The kernel's encoding of a device number (makedev(3)).
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff);
    let minor = (device & 0xff) | ((device >> 12) & !0xff);
    PathBuf::from(format!("/sys/dev/block/{major}:{minor}"))
}

/// Whether this device or one that it lies on is dm-crypt's.
fn is_encrypted(device: &Path) -> bool {
    let mut devices = vec![device.to_owned()];
    while let Some(device) = devices.pop() {
        let uuid = fs::read_to_string(device.join("dm/uuid")).unwrap_or_default();
        if uuid.starts_with("CRYPT-") {
            return true;
        }
        let below = fs::read_dir(device.join("slaves")).into_iter().flatten().flatten();
        devices.extend(below.map(|entry| entry.path()));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn little_room_is_noted_and_less_than_the_reserve_is_bad() {
        let grade = |free| disk(Ok(Room { free, reserve: 100 })).grade;
        assert_eq!(
            [99, 100, 199, 200].map(grade),
            [Grade::Bad, Grade::Note, Grade::Note, Grade::Good]
        );
        assert_eq!(disk(Err(io::ErrorKind::Other.into())).grade, Grade::Bad);
    }

    #[test]
    fn a_slow_disk_is_noted() {
        assert_eq!(sync(Ok(Duration::from_millis(20))).grade, Grade::Good);
        assert_eq!(sync(Ok(Duration::from_millis(21))).grade, Grade::Note);
    }

    #[test]
    fn an_open_data_directory_is_bad_and_one_inside_a_shut_one_noted() {
        let data = tempfile::tempdir().unwrap();
        let inner = data.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let chmod = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        chmod(data.path(), 0o700);
        chmod(&inner, 0o700);
        assert_eq!(permissions(data.path()).grade, Grade::Good);
        chmod(&inner, 0o755);
        let noted = permissions(data.path());
        assert_eq!(noted.grade, Grade::Note);
        assert!(noted.text.contains("inner"), "{}", noted.text);
        chmod(data.path(), 0o750);
        assert_eq!(permissions(data.path()).grade, Grade::Bad);
    }

    #[test]
    fn encryption_is_seen_through_what_lies_between() {
        let sys = tempfile::tempdir().unwrap();
        let top = sys.path().join("253:1");
        let below = top.join("slaves/dm-0");
        fs::create_dir_all(below.join("dm")).unwrap();
        fs::create_dir_all(top.join("dm")).unwrap();
        fs::write(top.join("dm/uuid"), "LVM-abc").unwrap();
        fs::write(below.join("dm/uuid"), "LVM-def").unwrap();
        assert!(!is_encrypted(&top));
        fs::write(below.join("dm/uuid"), "CRYPT-LUKS2-abc").unwrap();
        assert!(is_encrypted(&top));
    }
}
