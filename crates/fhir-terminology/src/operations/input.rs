//! The parameters of an operation: from the query of a GET, or from a Parameters resource.

use std::borrow::Cow;
use std::sync::Arc;

use fhir_core::IssueCode;
use fhir_core::json::{Kind as JsonKind, Value};

use crate::error::TerminologyError;
use crate::layer::{Entry, Kind};
use crate::validate::Coding;

/// How many codings of a CodeableConcept are looked at: each is held against everything.
const CODINGS: usize = 100;

/// What an operation is called with.
#[derive(Debug, Clone, Default)]
pub struct Input<'a> {
    parameters: Vec<Parameter<'a>>,
    /// The resource that the operation is invoked on.
    pub(super) instance: Option<Value<'a>>,
    /// Languages that the client accepts.
    pub(super) accept_language: Option<Cow<'a, str>>,
}

#[derive(Debug, Clone)]
struct Parameter<'a> {
    name: Cow<'a, str>,
    expression: String,
    given: Given<'a>,
}

#[derive(Debug, Clone)]
enum Given<'a> {
    Text(Cow<'a, str>),
    Value(Value<'a>),
    Resource(Value<'a>),
    Parts(Value<'a>),
}

/// A Coding whose texts are owned where they were escaped.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnedCoding<'a> {
    system: Option<Cow<'a, str>>,
    version: Option<Cow<'a, str>>,
    code: Cow<'a, str>,
    display: Option<Cow<'a, str>>,
}

impl OwnedCoding<'_> {
    pub(super) fn as_coding(&self) -> Coding<'_> {
        Coding {
            system: self.system.as_deref(),
            version: self.version.as_deref(),
            code: &self.code,
            display: self.display.as_deref(),
        }
    }
}

pub(super) fn refuse(
    code: IssueCode,
    expression: impl Into<String>,
    problem: impl Into<String>,
) -> TerminologyError {
    TerminologyError::Parameter { expression: expression.into(), problem: problem.into(), code }
}

impl<'a> Input<'a> {
    /// From the decoded parameters of a query. Those of every request (`_format`) are passed over.
    #[must_use]
    pub fn from_query(query: impl Iterator<Item = (String, String)>) -> Self {
        Self::default().and_query(query)
    }

    /// The same with the decoded parameters of a query beside them.
    #[must_use]
    pub fn and_query(mut self, query: impl Iterator<Item = (String, String)>) -> Self {
        let parameters =
            query.filter(|(name, _)| !name.starts_with('_')).map(|(name, text)| Parameter {
                expression: format!("http.{name}"),
                name: name.into(),
                given: Given::Text(text.into()),
            });
        self.parameters.extend(parameters);
        self
    }

    /// From a Parameters resource.
    ///
    /// # Errors
    /// When it is none, or a parameter has no name.
    pub fn from_parameters(resource: Value<'a>) -> Result<Self, TerminologyError> {
        if resource.get_str("resourceType").as_deref() != Some("Parameters") {
            let problem = "the body of an operation is a Parameters resource";
            return Err(refuse(IssueCode::Structure, "resourceType", problem));
        }
        let mut parameters = Vec::new();
        let list = resource.get("parameter").into_iter().flat_map(|list| list.items());
        for (at, item) in list.enumerate() {
            let expression = format!("Parameters.parameter[{at}]");
            let Some(name) = item.get_str("name") else {
                return Err(refuse(IssueCode::Required, expression, "a parameter has no name"));
            };
            let value = item.members().find(|(name, _)| name.starts_with("value"));
            let given = if let Some((_, value)) = value {
                Given::Value(value)
            } else if let Some(resource) = item.get("resource") {
                Given::Resource(resource)
            } else if let Some(parts) = item.get("part") {
                Given::Parts(parts)
            } else {
                let problem = format!("the parameter {name} has no value");
                return Err(refuse(IssueCode::Required, expression, problem));
            };
            parameters.push(Parameter { name, expression, given });
        }
        Ok(Self { parameters, ..Self::default() })
    }

    /// The same, invoked on this resource.
    #[must_use]
    pub fn on(self, instance: Value<'a>) -> Self {
        Self { instance: Some(instance), ..self }
    }

    /// The same, with the request's `Accept-Language`.
    #[must_use]
    pub fn accepting(self, languages: Option<&'a str>) -> Self {
        Self { accept_language: languages.map(Cow::Borrowed), ..self }
    }

    /// Where a parameter of this name stands, for errors.
    pub(super) fn expression(&self, name: &str) -> String {
        let found = self.all(name).next();
        found.map_or_else(|| format!("http.{name}"), |parameter| parameter.expression.clone())
    }

    /// Refuses what the operation does not know: a parameter that is passed over in silence could
    /// have changed the answer.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), TerminologyError> {
        match self.parameters.iter().find(|parameter| !known.contains(&&*parameter.name)) {
            None => Ok(()),
            Some(parameter) => Err(refuse(
                IssueCode::NotSupported,
                &*parameter.expression,
                format!(
                    "this operation has no parameter {}; it takes {}",
                    parameter.name,
                    known.join(", ")
                ),
            )),
        }
    }

    /// Refuses more than one of these, which say the same thing in different ways.
    pub(super) fn one_of(&self, names: &[&str]) -> Result<(), TerminologyError> {
        let mut given = self.parameters.iter().filter(|it| names.contains(&&*it.name));
        let Some(first) = given.next() else { return Ok(()) };
        match given.find(|it| it.name != first.name) {
            None => Ok(()),
            Some(second) => Err(refuse(
                IssueCode::Invalid,
                &*second.expression,
                format!("{} and {} say which code: give one of them", first.name, second.name),
            )),
        }
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &Parameter<'a>> {
        self.parameters.iter().filter(move |parameter| parameter.name == name)
    }

    fn single(&self, name: &str) -> Result<Option<&Parameter<'a>>, TerminologyError> {
        let mut all = self.all(name);
        let first = all.next();
        match all.next() {
            None => Ok(first),
            Some(second) => Err(refuse(
                IssueCode::Invalid,
                &*second.expression,
                format!("the parameter {name} is given twice"),
            )),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'_, str>>, TerminologyError> {
        self.single(name)?.map(Parameter::text).transpose()
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, TerminologyError> {
        self.all(name).map(|parameter| Ok(parameter.text()?.into_owned())).collect()
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, TerminologyError> {
        let Some(parameter) = self.single(name)? else { return Ok(None) };
        match &*parameter.text()? {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(parameter.invalid("is true or false")),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, TerminologyError> {
        let Some(parameter) = self.single(name)? else { return Ok(None) };
        let number = parameter.text()?.parse();
        number.map(Some).map_err(|_| parameter.invalid("is a whole number from 0"))
    }

    /// `system|version` pairs.
    pub(super) fn versions(&self, name: &str) -> Result<Vec<(String, String)>, TerminologyError> {
        self.all(name)
            .map(|parameter| {
                let text = parameter.text()?;
                let (system, version) = text.split_once('|').ok_or_else(|| {
                    parameter.invalid("is a system and a version: system|version")
                })?;
                Ok((system.to_owned(), version.to_owned()))
            })
            .collect()
    }

    pub(super) fn coding(&self, name: &str) -> Result<Option<OwnedCoding<'a>>, TerminologyError> {
        let Some(parameter) = self.single(name)? else { return Ok(None) };
        match &parameter.given {
            Given::Value(value) if value.kind() == JsonKind::Object => Ok(Some(read(*value))),
            Given::Text(text) => {
                // As a search parameter writes a Coding: system|code.
                let (system, code) = text.split_once('|').unwrap_or(("", text));
                let system = (!system.is_empty()).then(|| system.to_owned().into());
                Ok(Some(OwnedCoding { system, code: code.to_owned().into(), ..Default::default() }))
            }
            _ => Err(parameter.invalid("is a Coding")),
        }
    }

    pub(super) fn concept(
        &self,
        name: &str,
    ) -> Result<Option<Vec<OwnedCoding<'a>>>, TerminologyError> {
        let Some(parameter) = self.single(name)? else { return Ok(None) };
        match &parameter.given {
            Given::Value(value) if value.kind() == JsonKind::Object => {
                let codings = value.get("coding").into_iter().flat_map(|list| list.items());
                if codings.clone().nth(CODINGS).is_some() {
                    let problem = format!("a CodeableConcept has at most {CODINGS} codings here");
                    return Err(refuse(IssueCode::TooCostly, &*parameter.expression, problem));
                }
                Ok(Some(codings.map(read).collect()))
            }
            _ => Err(parameter.invalid("is a CodeableConcept, so it takes a POST")),
        }
    }

    /// A resource of this kind that stands in a parameter.
    pub(super) fn resource(
        &self,
        name: &str,
        kind: Kind,
    ) -> Result<Option<Entry>, TerminologyError> {
        let Some(parameter) = self.single(name)? else { return Ok(None) };
        match &parameter.given {
            Given::Resource(resource)
                if resource.get_str("resourceType").as_deref() == Some(kind.as_str()) =>
            {
                Entry::new(*resource).map(Some)
            }
            _ => Err(parameter.invalid(&format!("is a {} resource", kind.as_str()))),
        }
    }

    /// All definitions in `tx-resource`, to count for this request.
    pub(super) fn definitions(&self) -> Result<Vec<Arc<Entry>>, TerminologyError> {
        self.all("tx-resource")
            .map(|parameter| match &parameter.given {
                Given::Resource(resource) => Entry::new(*resource).map(Arc::new),
                _ => Err(parameter.invalid("is a resource")),
            })
            .collect()
    }

    /// `dependency` of `$translate`: element and value of each.
    pub(super) fn dependencies(&self) -> Vec<(String, String)> {
        let part = |parts: Value<'_>, name: &str| {
            let part = parts.items().find(|part| part.get_str("name").as_deref() == Some(name))?;
            let (_, value) = part.members().find(|(name, _)| name.starts_with("value"))?;
            let coding = value.get("coding").and_then(|list| list.items().next());
            coding.and_then(|it| it.get_str("code")).or_else(|| value.as_str()).map(Cow::into_owned)
        };
        self.all("dependency")
            .filter_map(|parameter| match parameter.given {
                Given::Parts(parts) => Some((part(parts, "element")?, part(parts, "concept")?)),
                _ => None,
            })
            .collect()
    }
}

fn read(coding: Value<'_>) -> OwnedCoding<'_> {
    OwnedCoding {
        system: coding.get_str("system"),
        version: coding.get_str("version"),
        code: coding.get_str("code").unwrap_or_default(),
        display: coding.get_str("display"),
    }
}

impl Parameter<'_> {
    fn text(&self) -> Result<Cow<'_, str>, TerminologyError> {
        match &self.given {
            Given::Text(text) => Ok(Cow::Borrowed(text)),
            Given::Value(value) => match value.kind() {
                JsonKind::String => value.as_str().ok_or_else(|| self.invalid("is a text")),
                JsonKind::Number | JsonKind::Boolean => Ok(Cow::Borrowed(value.raw())),
                _ => Err(self.invalid("is a single value")),
            },
            Given::Resource(_) | Given::Parts(_) => Err(self.invalid("is a single value")),
        }
    }

    fn invalid(&self, what: &str) -> TerminologyError {
        refuse(IssueCode::Value, &*self.expression, format!("the parameter {} {what}", self.name))
    }
}
