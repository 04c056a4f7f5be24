//! conditional update (FHIR R4, 3.1.0.4.3): which resource an update by criteria is about, by how
//! many match and what id was sent.
//!
//! | matches | id in the body | |
//! |---|---|---|
//! | none | none | created with an id of the server's |
//! | none | given | created with that id, by whoever may choose ids; 409 where it is there |
//! | one | none, or that of the match | updated |
//! | one | another | 400 |
//! | several | | 412 |

use contract::{Instance, Interaction};
use database::{Expect, Method, Visibility};
use fhir_core::{Issue, IssueCode, Resource, ResourceId, ResourceType, Severity};

use super::patch::has_raced;
use super::preconditions::expected;
use super::retries::Retries;
use super::update::MayCreate;
use super::{update, write};
use crate::access;
use crate::call::{Answer, Call};
use crate::criteria::Criteria;
use crate::error::ServerError;
use crate::quarantine::{Request, Wanted, check_expected, set_apart};
use crate::validation::Judgement;

/// What an update by criteria is about.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) instance: Instance,
    pub(crate) method: Method,
    pub(crate) expect: Expect,
    pub(crate) may_create: MayCreate,
}

impl Chosen {
    /// The interaction whose rules say what may be written.
    fn written_by(&self, call: &Call<'_>) -> Interaction {
        written_by(call, &self.expect)
    }
}

/// The interaction whose rules say what may be written, where this is expected of what is there:
/// what creates is a create.
pub(crate) fn written_by(call: &Call<'_>, expect: &Expect) -> Interaction {
    match (&call.interaction, expect) {
        (Interaction::ConditionalUpdate(of), Expect::New | Expect::Absent) => {
            Interaction::Create(of.clone())
        }
        (interaction, _) => interaction.clone(),
    }
}

pub(crate) async fn conditional_update(
    call: &Call<'_>,
    of: &ResourceType,
) -> Result<Answer, ServerError> {
    let resource = call.resource.as_ref().ok_or(ServerError::BodyMissing)?;
    check_sent(resource, of)?;
    write::check_alone((call.database.schema(), &call.server.base), resource)?;
    let mut retries = Retries::new(&*call.server.clock);
    loop {
        let done = attempt(call, of, resource).await;
        if !has_raced(&done) {
            return done;
        }
        retries.again().await?;
    }
}

async fn attempt(
    call: &Call<'_>,
    of: &ResourceType,
    resource: &Resource<'_>,
) -> Result<Answer, ServerError> {
    let snapshot = call.snapshot(Visibility::everything());
    // Read after that, so that what codes mean is no older.
    let criteria = Criteria::read(call, of, call.query).await?;
    let found = criteria.find(call, &snapshot, 2).await?;
    let chosen = choose((call, of), resource, &found).await?;
    let written_by = chosen.written_by(call);
    let Chosen { instance, method, expect, may_create } = chosen;
    access::check_resource(call, &written_by, resource, &instance.id).await?;
    let judged = match call.judge(resource)? {
        Judgement::MayBeWritten(judged) => judged,
        Judgement::IsSetApart(issues) => {
            let newest = snapshot.newest(of, &instance.id).await?;
            check_expected(&expect, newest.as_ref()).map_err(|error| id_taken(error, &found))?;
            let request = match method {
                Method::Post => {
                    Request::Create { instance, if_none_exist: Some(call.query.to_owned()) }
                }
                _ => Request::Update { instance, newest: newest.map(|newest| newest.version) },
            };
            return set_apart(call, Wanted { resource, request }, issues).await;
        }
    };
    let change = update::change(call, (&instance, resource), &judged, method, expect).await?;
    let mut told = judged.told;
    if let database::Action::Write { body, .. } = &change.action {
        told.extend(unmatched(call, (&criteria, call.query), resource, body.plain()));
    }
    let conditions = vec![criteria.condition(found.clone())];
    let written = write::commit(call, change, snapshot.at(), conditions).await;
    let written = written.map_err(|error| match may_create {
        MayCreate::Seen(_) => may_create.explain(error, &call.conditions),
        _ => id_taken(error, &found),
    })?;
    Ok(Answer { told, ..write::answer(call, of, &instance.id, written).await? })
}

/// Checks that a body is a whole resource of the type that is updated.
pub(crate) fn check_sent(resource: &Resource<'_>, of: &ResourceType) -> Result<(), ServerError> {
    if resource.resource_type() != of {
        let found = resource.resource_type().clone();
        return Err(ServerError::TypeDiffers { expected: of.clone(), found });
    }
    update::check_whole(resource)
}

/// What the update is about, when its criteria match these.
///
/// # Errors
/// When the table says so, or the caller may not do it.
pub(crate) async fn choose(
    (call, of): (&Call<'_>, &ResourceType),
    resource: &Resource<'_>,
    found: &[ResourceId],
) -> Result<Chosen, ServerError> {
    let sent = resource.value().get("id").map(|id| id.as_str().unwrap_or_default());
    let expect = expected(&call.conditions)?;
    match (found, sent) {
        ([], sent) => {
            if call.conditions.if_match.is_some() {
                return Err(ServerError::VersionConflict { newest: None });
            }
            create((call, of), sent.as_deref())
        }
        ([one], sent) => {
            if sent.is_some_and(|sent| *sent != *one.as_str()) {
                return Err(ServerError::IdIsNotOfMatch);
            }
            let instance = Instance { resource_type: of.clone(), id: one.clone() };
            let may_create = update::may_write(call, &instance).await?;
            if matches!(may_create, MayCreate::Seen(_)) {
                let expect = may_create.narrow(expect)?;
                return Ok(Chosen { instance, method: Method::Put, expect, may_create });
            }
            let expect = match expect {
                Expect::Any => Expect::Exists,
                Expect::Versions(versions) => Expect::Existing(versions),
                expect => expect,
            };
            Ok(Chosen { instance, method: Method::Put, expect, may_create })
        }
        _ => Err(ServerError::MultipleMatches { criteria: call.query.to_owned() }),
    }
}

/// Without a match it is a create.
fn create(
    (call, of): (&Call<'_>, &ResourceType),
    sent: Option<&str>,
) -> Result<Chosen, ServerError> {
    // What it says is judged when it is known.
    access::reach(call, &Interaction::Create(of.clone()), of)?;
    let may_create = MayCreate::Yes;
    let Some(sent) = sent else {
        let id = write::new_id(call.server);
        let instance = Instance { resource_type: of.clone(), id };
        return Ok(Chosen { instance, method: Method::Post, expect: Expect::New, may_create });
    };
    let invalid = || {
        let text = "an id has 1 to 64 letters, digits, \"-\" and \".\"; mend it or leave it out";
        let issue = Issue::error(IssueCode::Value, text).at(format!("{of}.id"));
        ServerError::InvalidContent(vec![issue])
    };
    let id = ResourceId::new(sent).map_err(|_| invalid())?;
    if !contract::may_choose_ids(call.grant, of) {
        return Err(ServerError::MayNotChooseIds);
    }
    let instance = Instance { resource_type: of.clone(), id };
    Ok(Chosen { instance, method: Method::Put, expect: Expect::Absent, may_create })
}

/// The error to show for `error` of an update whose criteria matched these.
pub(crate) fn id_taken(error: ServerError, found: &[ResourceId]) -> ServerError {
    match error {
        ServerError::AlreadyThere if found.is_empty() => ServerError::IdTaken,
        error => error,
    }
}

/// What whoever sent a resource is told when the criteria it was sent by do not match it
/// (HTTP-111).
pub(crate) fn unmatched(
    call: &Call<'_>,
    (criteria, text): (&Criteria, &str),
    resource: &Resource<'_>,
    json: &[u8],
) -> Option<Issue> {
    let matches = criteria.match_written(resource, json, call.database.schema());
    (matches == Some(false)).then(|| {
        let text = format!(
            "what was written does not match \"{text}\": by these criteria it is not found again, \
             and the same request would create another"
        );
        Issue { severity: Severity::Warning, ..Issue::error(IssueCode::BusinessRule, text) }
    })
}
