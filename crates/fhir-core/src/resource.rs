//! A resource as strictly read JSON.

use crate::json::{Kind, Value};
use crate::{Issue, IssueCode, ResourceType};

/// A JSON object that names its resource type; borrows the text it was read from.
#[derive(Debug, Clone)]
pub struct Resource<'a> {
    resource_type: ResourceType,
    value: Value<'a>,
}

/// The JSON value is no resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResource {
    /// It is no JSON object.
    #[error("a resource is a JSON object; this is another kind of JSON value")]
    NotAnObject,
    /// `resourceType` is missing.
    #[error("resourceType is missing: name the type, such as \"resourceType\": \"Patient\"")]
    MissingType,
    /// `resourceType` is no type name.
    #[error("resourceType must be the name of a resource type, such as \"Patient\"")]
    InvalidType,
}

impl InvalidResource {
    /// As an issue for the client.
    #[must_use]
    pub fn issue(&self) -> Issue {
        match self {
            Self::NotAnObject => Issue::error(IssueCode::Structure, self.to_string()),
            Self::MissingType => Issue::error(IssueCode::Required, self.to_string()),
            Self::InvalidType => Issue::error(IssueCode::Value, self.to_string()),
        }
        .at("resourceType")
    }
}

impl<'a> Resource<'a> {
    /// Reads a value as a resource. Whether the type exists is not asked here.
    ///
    /// # Errors
    /// [`InvalidResource`] says what is missing.
    pub fn new(value: Value<'a>) -> Result<Self, InvalidResource> {
        if value.kind() != Kind::Object {
            return Err(InvalidResource::NotAnObject);
        }
        let name = value.get("resourceType").ok_or(InvalidResource::MissingType)?;
        let name = name.as_str().ok_or(InvalidResource::InvalidType)?;
        let resource_type = ResourceType::new(&name).map_err(|_| InvalidResource::InvalidType)?;
        Ok(Self { resource_type, value })
    }

    /// The type.
    #[must_use]
    pub fn resource_type(&self) -> &ResourceType {
        &self.resource_type
    }

    /// The JSON object.
    #[must_use]
    pub fn value(&self) -> Value<'a> {
        self.value
    }
}
