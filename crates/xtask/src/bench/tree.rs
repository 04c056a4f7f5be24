//! What a process and all below it use: nginx works in processes that its first one starts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bench::Failure;

/// What the system says of one process (`proc_pid_stat(5)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    ended: bool,
    parent: u32,
    /// Hundredths of a second of processor time, of all its threads.
    ticks: u64,
    /// The same of those that it started, that ended, and whose end it was told.
    ticks_of_ended: u64,
}

/// Processor time of a process and all below it.
pub(crate) fn cpu(root: u32) -> Result<Duration, Failure> {
    let all = all()?;
    let ticks: u64 = below(&all, root).iter().map(|id| all[id].ticks).sum();
    if ticks == 0 && !all.contains_key(&root) {
        return Err(format!("process {root} is gone").into());
    }
    Ok(Duration::from_millis(10) * u32::try_from(ticks)?)
}

/// Processor time of all programs that this process started and waited for to their end.
pub(crate) fn cpu_of_ended() -> Result<Duration, Failure> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let stat = read(&text).ok_or("the system tells of a process in another form")?;
    Ok(Duration::from_millis(10) * u32::try_from(stat.ticks_of_ended)?)
}

/// Whether a process runs: one that ended stays to be asked for until its parent does.
pub(crate) fn runs(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
    stat.is_ok_and(|text| read(&text).is_some_and(|stat| !stat.ended))
}

/// Kibibytes that a process and all below it have in memory.
pub(crate) fn resident(root: u32) -> Result<u64, Failure> {
    let all = all()?;
    let mut sum = 0;
    for id in below(&all, root) {
        let told = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|it| it.split_whitespace().next());
        sum += kibibytes.ok_or("a process without memory")?.parse::<u64>()?;
    }
    Ok(sum)
}

fn all() -> Result<BTreeMap<u32, Stat>, Failure> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(id) = entry?.file_name().to_string_lossy().parse() else { continue };
        // It may have ended since it was listed.
        let Ok(text) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        all.insert(id, read(&text).ok_or("the system tells of a process in another form")?);
    }
    Ok(all)
}

fn read(text: &str) -> Option<Stat> {
    // The second field is the program's name in parentheses, which may hold anything.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(Stat {
        ended: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks(11)? + ticks(12)?,
        ticks_of_ended: ticks(13)? + ticks(14)?,
    })
}

/// The process, where it is there, and all that it started, and so on.
fn below(all: &BTreeMap<u32, Stat>, root: u32) -> Vec<u32> {
    let mut found: Vec<u32> = all.contains_key(&root).then_some(root).into_iter().collect();
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(all.iter().filter(|(_, stat)| stat.parent == parent).map(|(id, _)| *id));
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;
    use std::time::Duration;

    use super::{Stat, below, cpu_of_ended, read};

    #[test]
    fn what_a_program_took_is_known_once_it_has_ended() {
        let before = cpu_of_ended().unwrap();
        let counts = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";
        assert!(Command::new("sh").args(["-c", counts]).status().unwrap().success());
        assert!(cpu_of_ended().unwrap() >= before + Duration::from_millis(10));
    }

    #[test]
    fn a_name_with_parentheses_hides_no_field() {
        let text = "7 (a) b) (c) S 3 7 7 0 -1 4194560 1 0 0 0 25 17 3 4 20 0 1 0 5";
        let stat = Stat { ended: false, parent: 3, ticks: 42, ticks_of_ended: 7 };
        assert_eq!(read(text), Some(stat));
        let ended = text.replace(" S ", " Z ");
        assert_eq!(read(&ended), Some(Stat { ended: true, ..stat }));
        assert_eq!(read("7 (a) S 3"), None);
    }

    #[test]
    fn workers_and_theirs_are_counted_and_others_are_not() {
        let all = [(1, 0), (5, 1), (6, 5), (7, 6), (8, 1)];
        let stat = |parent| Stat { ended: false, parent, ticks: 1, ticks_of_ended: 0 };
        let all: BTreeMap<u32, Stat> = all.map(|(id, parent)| (id, stat(parent))).into();
        assert_eq!(below(&all, 5), [5, 6, 7]);
        assert!(below(&all, 9).is_empty());
    }
}
