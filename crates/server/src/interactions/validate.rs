//! `$validate` (FHIR R4, operation Resource/validate): what is wrong with a resource, told and
//! nothing else done. The answer is 200 with an OperationOutcome whenever validation ran,
//! whatever it found.

use contract::{Interaction, Level};
use fhir_core::json::Document;
use fhir_core::json::{Kind, Value};
use fhir_core::{Instance, Issue, IssueCode, Resource, ResourceId, ResourceType};
use fhir_validation::{Depth, Options, SentIn, Validator};
use fhir_xml::XmlIssue;
use fhirpath::DateTime;

use super::write_refusal::{Write, refusal};
use crate::access;
use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::negotiation::parameters;
use crate::validation::{self, Sent};

/// So many profiles may be asked for at a time.
const MOST_PROFILES: usize = 100;

/// The operation's name in URLs and grants.
pub(crate) const NAME: &str = "$validate";
/// The canonical of its definition.
pub(crate) const DEFINITION: &str = "http://hl7.org/fhir/OperationDefinition/Resource-validate";

/// What the resource is validated for (resource-validation-mode).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Create,
    Update,
    Delete,
    Profile,
}

/// What the request asks.
#[derive(Debug, Default)]
struct Asked<'a> {
    resource: Option<Value<'a>>,
    mode: Option<Mode>,
    profiles: Vec<String>,
}

pub(crate) async fn validate(call: &Call<'_>, level: &Level) -> Result<Answer, ServerError> {
    let current = call.server.validations[&call.grant.tenant].current();
    let current = current.ok_or(ServerError::NotThereYet("$validate of this FHIR version"))?;
    let validator = &*current.validator;
    let (of, instance) = match level {
        Level::Type(of) => (of, None),
        Level::Instance(instance) => (&instance.resource_type, Some(instance)),
        Level::System | Level::Version(..) => {
            return Err(ServerError::NotThereYet("$validate at this level"));
        }
    };
    let asked = Asked::read(call, of)?;
    if asked.mode == Some(Mode::Profile) && asked.profiles.is_empty() {
        return Err(invalid("profile", "the mode profile needs one; name it, or leave mode out"));
    }
    let Some(instance) = instance else {
        call.allowed()?;
        if asked.mode == Some(Mode::Delete) {
            let mend = "delete is asked of a resource: use [type]/[id]/$validate?mode=delete";
            return Err(invalid("mode", mend));
        }
        let resource = asked.resource.ok_or_else(|| {
            invalid("resource", "send the resource as the body, or in Parameters as resource")
        })?;
        let resource = of_type(resource, of)?;
        let mut issues = found((call, validator), &resource, &asked, call.sent);
        match asked.mode {
            Some(Mode::Create) => issues.extend(refusal(call, &resource, Write::Create).await?),
            Some(Mode::Update) => issues.extend(update_refusal(call, &resource, None).await?),
            _ => {}
        }
        return Ok(answer(issues));
    };
    if asked.mode == Some(Mode::Delete) {
        stored(call, instance).await?;
        let deletion = Interaction::Delete(instance.clone());
        return Ok(answer(vec![match may_delete(call, deletion, instance).await? {
            true => Issue::information("the resource may be deleted"),
            false => {
                Issue::error(IssueCode::Forbidden, "it is there, and this key may not delete it")
            }
        }]));
    }
    if let Some(sent) = asked.resource {
        call.allowed()?;
        let resource = of_type(sent, of)?;
        let mut issues = found((call, validator), &resource, &asked, call.sent);
        issues.extend(of_write(call, &resource, instance, asked.mode).await?);
        return Ok(answer(issues));
    }
    let json = stored(call, instance).await?;
    let document = Document::parse(&json).map_err(ServerError::InvalidJson)?;
    let resource = of_type(document.root(), of)?;
    let mut issues = found((call, validator), &resource, &asked, Sent::Stored);
    issues.extend(of_write(call, &resource, instance, asked.mode).await?);
    Ok(answer(issues))
}

/// The answer about XML that cannot become JSON: to `$validate` what is wrong with it, as long as
/// it is XML of a resource.
pub(crate) fn without_json(call: &Call<'_>, issues: Vec<XmlIssue>) -> Result<Answer, ServerError> {
    let has_validator = call.server.validations[&call.grant.tenant].current().is_some();
    let asked = match &call.interaction {
        _ if !has_validator => None,
        Interaction::Operation(name, Level::Type(of)) => Some((name, of)),
        Interaction::Operation(name, Level::Instance(of)) => Some((name, &of.resource_type)),
        _ => None,
    };
    match asked.filter(|(name, _)| name.as_str() == NAME) {
        Some((_, of)) if issues.iter().all(|issue| issue.problem.is_of_content()) => {
            call.known(of)?;
            Ok(answer(issues.iter().map(XmlIssue::issue).collect()))
        }
        _ => Err(ServerError::InvalidXml(issues)),
    }
}

impl<'a> Asked<'a> {
    /// Reads the query and the body: the resource, or Parameters that hold it.
    fn read(call: &Call<'a>, of: &ResourceType) -> Result<Self, ServerError> {
        let mut asked = Self::default();
        for (name, value) in parameters(call.query) {
            match name.as_str() {
                "_format" | "_pretty" | "usageContext" => {}
                "mode" => asked.set_mode(&value)?,
                "profile" => asked.add_profile(&value)?,
                _ => return Err(ServerError::UnsupportedParameter(name)),
            }
        }
        let Some(body) = &call.resource else { return Ok(asked) };
        let list = body.value().get("parameter").filter(|list| list.kind() == Kind::Array);
        let named = |part: &Value<'_>, name: &str| {
            part.kind() == Kind::Object && part.get_str("name").is_some_and(|it| it == name)
        };
        let holds_one = list.iter().flat_map(Value::items).any(|part| named(&part, "resource"));
        let is_input = body.resource_type().as_str() == "Parameters"
            && (of.as_str() != "Parameters" || holds_one);
        if !is_input {
            asked.resource = Some(body.value());
            return Ok(asked);
        }
        for part in list.iter().flat_map(Value::items) {
            let name = Some(part).filter(|part| part.kind() == Kind::Object);
            let name = name
                .and_then(|part| part.get_str("name"))
                .ok_or_else(|| invalid("parameter", "each parameter is an object with a name"))?;
            let texts = ["valueCode", "valueUri", "valueCanonical", "valueUrl", "valueString"];
            let text = || texts.iter().find_map(|member| part.get_str(member)).unwrap_or_default();
            match &*name {
                "resource" if asked.resource.is_some() => {
                    return Err(invalid("resource", "one resource is validated; send one"));
                }
                "resource" => {
                    let mend = "the parameter resource holds the resource itself";
                    asked.resource =
                        Some(part.get("resource").ok_or_else(|| invalid("resource", mend))?);
                }
                "mode" => asked.set_mode(&text())?,
                "profile" => asked.add_profile(&text())?,
                "usageContext" => {}
                _ => return Err(ServerError::UnsupportedParameter(name.into_owned())),
            }
        }
        Ok(asked)
    }

    fn set_mode(&mut self, code: &str) -> Result<(), ServerError> {
        let mode = match code {
            "create" => Mode::Create,
            "update" => Mode::Update,
            "delete" => Mode::Delete,
            "profile" => Mode::Profile,
            _ => return Err(invalid("mode", "use create, update, delete or profile")),
        };
        if self.mode.replace(mode).is_some_and(|other| other != mode) {
            return Err(invalid("mode", "two modes are asked for; name one"));
        }
        Ok(())
    }

    fn add_profile(&mut self, canonical: &str) -> Result<(), ServerError> {
        if canonical.is_empty() {
            return Err(invalid("profile", "name the profile by its canonical URL"));
        }
        if !self.profiles.iter().any(|other| other == canonical) {
            if self.profiles.len() == MOST_PROFILES {
                return Err(invalid("profile", "name at most 100 profiles at a time"));
            }
            self.profiles.push(canonical.to_owned());
        }
        Ok(())
    }
}

fn invalid(name: &'static str, mend: &'static str) -> ServerError {
    ServerError::InvalidParameter { name, mend }
}

fn of_type<'a>(value: Value<'a>, of: &ResourceType) -> Result<Resource<'a>, ServerError> {
    let resource = Resource::new(value).map_err(ServerError::InvalidResource)?;
    if resource.resource_type() == of {
        return Ok(resource);
    }
    let found = resource.resource_type().clone();
    Err(ServerError::TypeDiffers { expected: of.clone(), found })
}

/// Whether the caller may delete what it reads.
async fn may_delete(
    call: &Call<'_>,
    deletion: Interaction,
    instance: &Instance,
) -> Result<bool, ServerError> {
    let of = &instance.resource_type;
    match access::visibility(call, &deletion, of).await {
        Ok(visibility) => Ok(call.snapshot(visibility).newest(of, &instance.id).await?.is_some()),
        Err(ServerError::Denied(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The resource as a read gives it, to whoever may read it.
async fn stored(call: &Call<'_>, instance: &Instance) -> Result<bytes::Bytes, ServerError> {
    let interaction = Interaction::Read(instance.clone());
    let read = Call { interaction, resource: None, conditions: Default::default(), ..call.clone() };
    super::read::read(&read, instance).await?.body.ok_or(ServerError::NotFound)
}

/// What the write would be refused for that the mode asks about, of a resource sent to this
/// instance: without a mode it would be its next version, whoever writes that.
async fn of_write(
    call: &Call<'_>,
    resource: &Resource<'_>,
    instance: &Instance,
    mode: Option<Mode>,
) -> Result<Vec<Issue>, ServerError> {
    match mode {
        Some(Mode::Create) => refusal(call, resource, Write::Create).await,
        Some(Mode::Update) => update_refusal(call, resource, Some(instance)).await,
        _ => Ok(other_id(resource, Some(instance)).into_iter().collect()),
    }
}

/// What an update would be refused for: of the instance, or of the one whose id the resource has.
async fn update_refusal(
    call: &Call<'_>,
    resource: &Resource<'_>,
    instance: Option<&Instance>,
) -> Result<Vec<Issue>, ServerError> {
    if let Some(issue) = other_id(resource, instance) {
        return Ok(vec![issue]);
    }
    let id = resource.value().get_str("id").and_then(|id| ResourceId::new(&id).ok());
    // What is no id has an issue by its type.
    let Some(id) = id else { return Ok(Vec::new()) };
    let instance = Instance { resource_type: resource.resource_type().clone(), id };
    refusal(call, resource, Write::Update(&instance)).await
}

/// An update is of the resource that the URL names, and of one with an id where it names none.
fn other_id(resource: &Resource<'_>, instance: Option<&Instance>) -> Option<Issue> {
    let text = match (resource.value().get("id"), instance) {
        (Some(id), Some(instance)) if id.is_string(instance.id.as_str()) => return None,
        (Some(_), None) => return None,
        (_, Some(instance)) => format!("the id must be the one in the URL, {}", instance.id),
        (None, None) => "an update is of a resource with an id; give it, or ask for create".into(),
    };
    Some(Issue::error(IssueCode::Value, text).at(format!("{}.id", resource.resource_type())))
}

/// What is wrong with it, by everything that is known here.
fn found(
    (call, validator): (&Call<'_>, &Validator<'_>),
    resource: &Resource<'_>,
    asked: &Asked<'_>,
    sent: Sent<'_>,
) -> Vec<Issue> {
    let validation = &call.server.validations[&call.grant.tenant];
    let mut profiles: Vec<&str> = asked.profiles.iter().map(String::as_str).collect();
    for required in validation.policy.required_of(resource.resource_type()) {
        if !profiles.contains(&required) {
            profiles.push(required);
        }
    }
    let options = Options {
        depth: Depth::Terminology,
        profiles: &profiles,
        now: DateTime::parse(&call.server.clock.now().to_string()),
        sent_in: SentIn::Itself,
        ..Options::default()
    };
    validation::issues(validator, resource.value(), &options, sent)
}

fn answer(mut issues: Vec<Issue>) -> Answer {
    if issues.is_empty() {
        issues.push(Issue::information("All OK"));
    }
    Answer::of(validation::outcome(issues))
}
