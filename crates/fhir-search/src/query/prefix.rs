//! Prefixes of ordered values (FHIR R4, 3.1.1.4.7).

/// How a value of a resource is compared with the value searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// Equal: within what the value searched for says.
    Eq,
    /// Not equal.
    Ne,
    /// Greater, at least in part.
    Gt,
    /// Less, at least in part.
    Lt,
    /// Greater or equal.
    Ge,
    /// Less or equal.
    Le,
    /// Starts after: greater as a whole.
    Sa,
    /// Ends before: less as a whole.
    Eb,
    /// Approximately the same.
    Ap,
    /// Overlaps: `po` of `_filter`, no prefix of a parameter's value.
    Po,
}

impl Prefix {
    /// Those that a value may begin with.
    pub const ALL: [Self; 9] =
        [Self::Eq, Self::Ne, Self::Gt, Self::Lt, Self::Ge, Self::Le, Self::Sa, Self::Eb, Self::Ap];

    /// Its two letters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Gt => "gt",
            Self::Lt => "lt",
            Self::Ge => "ge",
            Self::Le => "le",
            Self::Sa => "sa",
            Self::Eb => "eb",
            Self::Ap => "ap",
            Self::Po => "po",
        }
    }

    /// The prefix at the start of a value and what follows it; `eq` when there is none.
    #[must_use]
    pub fn split(text: &str) -> (Self, &str) {
        Self::ALL
            .into_iter()
            .find_map(|prefix| Some((prefix, text.strip_prefix(prefix.as_str())?)))
            .unwrap_or((Self::Eq, text))
    }
}
