//! One scope (SMART App Launch 2.2.0, section 3.0, and 1.0.0 for version 1).

use std::fmt;
use std::str::FromStr;

use contract::{ResourceType, Types};

use crate::permissions::Permissions;
use crate::query;

/// A scope that is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Access to resources.
    Resource(ResourceScope),
    /// `launch`: the context that the launch says.
    Launch,
    /// `launch/patient`, `launch/encounter?role=…`: asks for context. The resource's name in
    /// small letters, and the role.
    LaunchContext(String, Option<String>),
    /// `openid`
    OpenId,
    /// `fhirUser`
    FhirUser,
    /// `profile`, which stood for `fhirUser` once and gives nothing else.
    Profile,
    /// `offline_access`: to go on when the person has left.
    OfflineAccess,
    /// `online_access`: to go on while the person is there.
    OnlineAccess,
}

/// `patient/Observation.rs?category=laboratory`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceScope {
    /// On whose behalf.
    pub level: Level,
    /// One type, or all.
    pub types: Types,
    /// What may be done.
    pub permissions: Permissions,
    /// Search criteria that a resource must match as well.
    pub query: Option<String>,
}

/// On whose behalf an app asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// `patient/`: data of the patient in context.
    Patient,
    /// `user/`: what the person may.
    User,
    /// `system/`: the app's own.
    System,
}

/// Why a text is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Problem {
    /// Where it is wrong, in bytes from the scope's beginning.
    pub at: usize,
    /// What is wrong, and what is right.
    pub what: &'static str,
}

const LEVELS: [(Level, &str); 3] =
    [(Level::Patient, "patient/"), (Level::User, "user/"), (Level::System, "system/")];

const WORDS: [(&str, Scope); 6] = [
    ("launch", Scope::Launch),
    ("openid", Scope::OpenId),
    ("fhirUser", Scope::FhirUser),
    ("profile", Scope::Profile),
    ("offline_access", Scope::OfflineAccess),
    ("online_access", Scope::OnlineAccess),
];

const fn problem(at: usize, what: &'static str) -> Problem {
    Problem { at, what }
}

impl FromStr for Scope {
    type Err = Problem;

    /// Reads one scope, whole: nothing is known by how it begins.
    fn from_str(text: &str) -> Result<Self, Problem> {
        // RFC 6749, section 3.3.
        let token = |byte: u8| (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'\\';
        if let Some(at) = text.bytes().position(|byte| !token(byte)) {
            return Err(problem(at, "a scope has visible ASCII characters other than \" and \\"));
        }
        if let Some((_, scope)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(scope.clone());
        }
        if let Some(context) = text.strip_prefix("launch/") {
            return launch_context(context, "launch/".len());
        }
        let found = LEVELS.iter().find(|(_, word)| text.starts_with(word));
        let Some((level, word)) = found else {
            return Err(problem(
                0,
                "there is no such scope; one of a resource begins with patient/, user/ or system/",
            ));
        };
        resource_scope(*level, text, word.len()).map(Self::Resource)
    }
}

fn launch_context(text: &str, at: usize) -> Result<Scope, Problem> {
    let (resource, role) = match text.split_once('?') {
        Some((resource, query)) => (resource, Some(query)),
        None => (text, None),
    };
    if resource.is_empty() || !resource.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Err(problem(at, "the context asked for is a resource's name in small letters"));
    }
    let role = match role.map(|query| query.strip_prefix("role=").unwrap_or_default()) {
        Some("") => {
            let at = at + resource.len() + 1;
            return Err(problem(at, "only role=… stands behind the context asked for"));
        }
        role => role.map(str::to_owned),
    };
    Ok(Scope::LaunchContext(resource.to_owned(), role))
}

fn resource_scope(level: Level, text: &str, at: usize) -> Result<ResourceScope, Problem> {
    let (access, query) = match text.split_once('?') {
        Some((access, query)) => (access, Some(query)),
        None => (text, None),
    };
    let rest = &access[at..];
    let Some((type_name, permissions)) = rest.split_once('.') else {
        return Err(problem(access.len(), "a dot and what may be done follow the type, as in .rs"));
    };
    let types = match type_name {
        "*" => Types::All,
        name => match ResourceType::new(name) {
            Ok(name) => Types::Only([name].into()),
            Err(_) => return Err(problem(at, "the name of a resource type or * stands here")),
        },
    };
    let permissions_at = at + type_name.len() + 1;
    let of_version_1 = match permissions {
        "read" => Some(Permissions::READ),
        "write" => Some(Permissions::WRITE),
        "*" => Some(Permissions::ALL),
        _ => None,
    };
    if of_version_1.is_some() && query.is_some() {
        return Err(problem(
            access.len(),
            "only scopes of version 2, such as .rs, take parameters",
        ));
    }
    let permissions = of_version_1.or_else(|| Permissions::of_letters(permissions)).ok_or(
        problem(permissions_at, "some of c r u d s stand here, in this order, or read, write or *"),
    )?;
    if let Some(query) = query
        && let Some((wrong, what)) = query::fault(query)
    {
        return Err(problem(access.len() + 1 + wrong, what));
    }
    Ok(ResourceScope { level, types, permissions, query: query.map(str::to_owned) })
}

/// As version 2 writes it.
impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(scope) => scope.fmt(formatter),
            Self::LaunchContext(resource, None) => write!(formatter, "launch/{resource}"),
            Self::LaunchContext(resource, Some(role)) => {
                write!(formatter, "launch/{resource}?role={role}")
            }
            word => {
                let (text, _) = WORDS
                    .iter()
                    .find(|(_, scope)| scope == word)
                    .expect("every scope without parts has a word");
                formatter.write_str(text)
            }
        }
    }
}

impl fmt::Display for ResourceScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, level) =
            LEVELS.iter().find(|(level, _)| *level == self.level).expect("every level has a word");
        let types = Vec::from(self.types.clone()).join(",");
        write!(formatter, "{level}{types}.{}", self.permissions)?;
        self.query.iter().try_for_each(|query| write!(formatter, "?{query}"))
    }
}
