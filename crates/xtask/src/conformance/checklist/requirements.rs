//! A checklist: one requirement a line, `- HTTP-034 [M] what is required — T: how to test it`.

use std::fmt;

use super::id::Id;

/// How much depends on a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Level {
    /// It must hold.
    #[value(name = "M")]
    Must,
    /// Every serious system does it.
    #[value(name = "S")]
    Should,
    /// More than that.
    #[value(name = "X")]
    Extra,
}

impl Level {
    /// All of them, those first on which most depends.
    pub(super) const ALL: [Self; 3] = [Self::Must, Self::Should, Self::Extra];
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Must => "M",
            Self::Should => "S",
            Self::Extra => "X",
        })
    }
}

/// A line of a checklist.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Requirement {
    /// Its id.
    pub(super) id: Id,
    /// Its level.
    pub(super) level: Level,
    /// What is required, and how to test it.
    pub(super) text: String,
}

/// The requirements of a checklist, in order; lines that are none are passed over.
pub(super) fn read(checklist: &str) -> Vec<Requirement> {
    checklist.lines().filter_map(requirement).collect()
}

fn requirement(line: &str) -> Option<Requirement> {
    let (id, rest) = line.strip_prefix("- ")?.split_once(' ')?;
    let (level, text) = rest.strip_prefix('[')?.split_once("] ")?;
    let level = Level::ALL.into_iter().find(|it| it.to_string() == level)?;
    Some(Requirement { id: Id::parse(id)?, level, text: text.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::{Level, read};

    #[test]
    fn each_line_with_an_id_and_a_level_is_a_requirement() {
        let text = "# List\nLine format: `- ID [M|S|X] requirement`.\n\n- AB-01 [M] one — T: x\n\
            - AB-S2 [X]  two \n- a note [M] none\n- AB-03 [Q] none\n";
        let found: Vec<_> =
            read(text).into_iter().map(|it| (it.id.to_string(), it.level, it.text)).collect();
        assert_eq!(
            found,
            [
                ("AB-01".to_owned(), Level::Must, "one — T: x".to_owned()),
                ("AB-S2".to_owned(), Level::Extra, "two".to_owned()),
            ]
        );
    }
}
