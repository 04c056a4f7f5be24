//! What is wrong with routes and upstreams as the operator wrote them.

/// Why a table of routes is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteProblem {
    /// A name that is none.
    #[error(
        "{0:?} is no name of a route: 1 to 40 small letters, digits and hyphens, and neither \
         `none` nor `break-glass`"
    )]
    Name(String),
    /// A path that is none.
    #[error(
        "the path of the route {0} must begin with a slash, not end with one, and be plain ASCII \
         without dot segments"
    )]
    Path(String),
    /// Two routes of one name.
    #[error("two routes are called `{0}`; give each a name of its own")]
    SameName(String),
    /// Neither of two routes is the narrower.
    #[error(
        "the routes {0} and {1} take the same requests, and neither takes fewer than the other; \
         give one of them a longer path, or a host, method or header of its own"
    )]
    Ambiguous(String, String),
    /// Others take all that a route takes.
    #[error("the route {0} is never reached: {1} take each of its methods before it")]
    Shadowed(String, String),
    /// A base would be of two upstreams.
    #[error(
        "the route {1} takes a type of resource out of the base {0}: searches, Bundles and \
         histories of a base cross its types, so that a base belongs to one upstream; give it a \
         base of its own"
    )]
    DividesABase(String, String),
    /// A route for what the gateway answers itself.
    #[error("the route {0} is never reached: the gateway answers {1} itself")]
    OwnPath(String, &'static str),
}
