//! Who may learn that a resource exists: the Existence table of the contract.

/// A situation in which an answer could tell that a resource exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Situation {
    /// No credentials, or bad ones.
    NoCredentials,
    /// The client may never do this, or never see this type.
    NeverAllowed,
    /// The resource addressed is outside what the caller may see.
    UnseenAddressed,
    /// A resource outside what the caller may see would belong in a search, history or count.
    UnseenListed,
    /// PUT or PATCH to an id that the caller cannot see, whether it exists or not.
    UnseenWritten,
    /// Conditional criteria match a resource outside what the caller may see.
    UnseenMatched,
    /// A reference to a resource outside what the caller may see.
    UnseenReferenced,
    /// A version conflict on a resource that the caller may see.
    VersionConflict,
    /// A precondition that fails on a resource that the caller may see.
    PreconditionFailed,
    /// A uniqueness rule is broken by a resource that the caller may see.
    NotUniqueSeen,
    /// A uniqueness rule, judged over all data, is broken by a resource outside what the caller
    /// may see: the one exception.
    NotUniqueUnseen,
}

/// What an answer may tell of the other resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reveals {
    /// Nothing: no Location, no ETag, no count, no different timing.
    Nothing,
    /// The name of the rule that is broken, and no more.
    RuleName,
    /// The resource.
    Resource,
}

impl Situation {
    /// Every situation.
    pub const ALL: [Self; 11] = [
        Self::NoCredentials,
        Self::NeverAllowed,
        Self::UnseenAddressed,
        Self::UnseenListed,
        Self::UnseenWritten,
        Self::UnseenMatched,
        Self::UnseenReferenced,
        Self::VersionConflict,
        Self::PreconditionFailed,
        Self::NotUniqueSeen,
        Self::NotUniqueUnseen,
    ];

    /// A label that never changes, the status of the answer, and what it reveals. No status: the
    /// resource is left out (a criterion has one match less, a reference points at nothing), and
    /// the answer is the one it would be had the resource never existed.
    #[must_use]
    pub const fn answer(self) -> (&'static str, Option<u16>, Reveals) {
        use Reveals::{Nothing, Resource, RuleName};
        match self {
            Self::NoCredentials => ("no-credentials", Some(401), Nothing),
            Self::NeverAllowed => ("never-allowed", Some(403), Nothing),
            Self::UnseenAddressed => ("unseen-addressed", Some(404), Nothing),
            Self::UnseenListed => ("unseen-listed", None, Nothing),
            Self::UnseenWritten => ("unseen-written", Some(404), Nothing),
            Self::UnseenMatched => ("unseen-matched", None, Nothing),
            Self::UnseenReferenced => ("unseen-referenced", None, Nothing),
            Self::VersionConflict => ("version-conflict", Some(409), Resource),
            Self::PreconditionFailed => ("precondition-failed", Some(412), Resource),
            Self::NotUniqueSeen => ("not-unique-seen", Some(409), Resource),
            Self::NotUniqueUnseen => ("not-unique-unseen", Some(409), RuleName),
        }
    }

    /// The status of the answer, when there is one of its own.
    #[must_use]
    pub const fn status(self) -> Option<u16> {
        self.answer().1
    }

    /// What the answer may tell.
    #[must_use]
    pub const fn reveals(self) -> Reveals {
        self.answer().2
    }
}
