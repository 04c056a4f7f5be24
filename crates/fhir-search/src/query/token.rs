//! Codes (FHIR R4, 3.1.1.4.12). Whether case counts depends on the system, and is for whoever
//! compares to know.

/// What is asked of a code, identifier or the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenTest {
    /// It is this code.
    Code {
        /// What is asked of its system.
        system: SystemTest,
        /// The code, or an identifier's value.
        code: Box<str>,
    },
    /// `system|`: any code of the system.
    System(Box<str>),
    /// `:text`: a text that belongs to it begins so, both folded.
    Text(Box<str>),
    /// `:in`: it is in the value set with this canonical URL, version included, or at this
    /// relative reference.
    In(Box<str>),
    /// `:below`: it is this code or one that this subsumes.
    Below {
        /// The system.
        system: Box<str>,
        /// The code.
        code: Box<str>,
    },
    /// `:above`: it is this code or one that subsumes this.
    Above {
        /// The system.
        system: Box<str>,
        /// The code.
        code: Box<str>,
    },
    /// `:below` with a MIME type: it is that type, whatever its parameters; `text/` stands for
    /// all that begin so.
    MimeBelow(Box<str>),
    /// `:of-type`: an identifier with this value, of this type.
    OfType {
        /// The system of the type's code.
        system: Box<str>,
        /// The type's code.
        code: Box<str>,
        /// The identifier's value.
        value: Box<str>,
    },
}

/// What is asked of a code's system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemTest {
    /// `code`: nothing.
    Any,
    /// `|code`: that there is none.
    None,
    /// `system|code`.
    Is(Box<str>),
}

impl SystemTest {
    /// Whether it holds of a system.
    #[must_use]
    pub fn holds(&self, system: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::None => system.is_none(),
            Self::Is(wanted) => system == Some(wanted),
        }
    }
}
