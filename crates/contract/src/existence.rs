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

/// For each situation the status of the answer, and what it reveals. No status: the resource is
/// left out (a criterion has one match less, a reference points at nothing), and the answer is
/// the one it would be had the resource never existed.
pub const EXISTENCE: [(Situation, Option<u16>, Reveals); 11] = [
    (Situation::NoCredentials, Some(401), Reveals::Nothing),
    (Situation::NeverAllowed, Some(403), Reveals::Nothing),
    (Situation::UnseenAddressed, Some(404), Reveals::Nothing),
    (Situation::UnseenListed, None, Reveals::Nothing),
    (Situation::UnseenWritten, Some(404), Reveals::Nothing),
    (Situation::UnseenMatched, None, Reveals::Nothing),
    (Situation::UnseenReferenced, None, Reveals::Nothing),
    (Situation::VersionConflict, Some(409), Reveals::Resource),
    (Situation::PreconditionFailed, Some(412), Reveals::Resource),
    (Situation::NotUniqueSeen, Some(409), Reveals::Resource),
    (Situation::NotUniqueUnseen, Some(409), Reveals::RuleName),
];

impl Situation {
    /// The status of the answer, when there is one of its own.
    #[must_use]
    pub const fn status(self) -> Option<u16> {
        EXISTENCE[self as usize].1
    }

    /// What the answer may tell.
    #[must_use]
    pub const fn reveals(self) -> Reveals {
        EXISTENCE[self as usize].2
    }
}
