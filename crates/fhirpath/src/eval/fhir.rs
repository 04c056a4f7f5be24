//! The functions that FHIR R4 adds (FHIRPath page, 2.9.1.2 "Additional functions"), and those of
//! the language that look outside: types and the time.

use super::calls::Call;
use super::{Flow, Run, Sink, Stop};
use crate::error::EvaluationProblem;
use crate::functions::Function;
use crate::host::{Resolved, Unavailable};
use crate::model::{NodeType, SystemType};
use crate::value::{FhirValue, Item, TypeInfo};

impl<'a> Run<'a, '_> {
    fn unavailable(&self, call: Call<'_, 'a>, reason: Unavailable) -> Stop {
        let function = call.function.name();
        let reason = reason.into_owned();
        self.fail(call.at, EvaluationProblem::Unavailable { function, reason })
    }

    pub(super) fn type_of(&self, item: &Item<'a>) -> Item<'a> {
        let (namespace, name) = match item {
            Item::Fhir(value) => ("FHIR", value.type_name(self.schema)),
            other => ("System", other.system_type().map_or("Any", SystemType::name)),
        };
        Item::Type(Box::new(TypeInfo { namespace, name: name.to_owned() }))
    }

    pub(super) fn time_now(&self, function: Function, at: u32) -> Result<Item<'a>, Stop> {
        let now = self.context.host().now().ok_or_else(|| {
            let reason = "no time was given".to_owned();
            self.fail(at, EvaluationProblem::Unavailable { function: function.name(), reason })
        })?;
        Ok(match (function, now.time) {
            (Function::Today, _) => Item::Date(now.date),
            (Function::TimeOfDay, Some(time)) => Item::Time(time),
            _ => Item::DateTime(now),
        })
    }

    /// The extensions with a url.
    pub(super) fn extension(&self, call: Call<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        let Some(url) = self.text(&call.arguments[0], call.scope, "extension()")? else {
            return Ok(());
        };
        let element = self.schema.datatype("Element");
        let node_type = element
            .and_then(|node| self.schema.element(node, "extension"))
            .map_or(NodeType::Unknown, NodeType::Element);
        self.visit(call.input, call.scope, &mut |item| {
            let object = item.as_fhir().and_then(FhirValue::object);
            let extensions = match object {
                Some(object) => self.member(object, "extension", call.at)?,
                None => None,
            };
            for extension in extensions.into_iter().flat_map(|it| it.each()) {
                self.spend(1, call.at)?;
                if extension.get_str("url").is_some_and(|it| it == url)
                    && let Some(value) = FhirValue::of_type(node_type, Some(extension), None)
                {
                    sink(Item::Fhir(value))?;
                }
            }
            Ok(())
        })
    }

    /// The value of a primitive as one of FHIRPath's own types.
    pub(super) fn get_value(&self, call: Call<'_, 'a>) -> Result<Option<Item<'a>>, Stop> {
        Ok(match self.single(call.input, call.scope, "getValue()")? {
            Some(Item::Fhir(value)) if value.has_primitive_value() => value.to_system(self.schema),
            Some(Item::Fhir(_)) | None => None,
            Some(system) => Some(system),
        })
    }

    pub(super) fn resolve(&self, call: Call<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        self.visit(call.input, call.scope, &mut |item| {
            self.spend(1, call.at)?;
            let reference = match &item {
                Item::Fhir(value) => {
                    match value.object().filter(|_| !value.has_primitive_value()) {
                        Some(object) => object.get("reference"),
                        None => value.value(),
                    }
                }
                Item::String(text) => return self.resolve_text(text, None, sink),
                _ => None,
            };
            match reference.and_then(|it| Some((it, it.as_str()?))) {
                Some((value, text)) => self.resolve_text(&text, Some(value), sink),
                None => Ok(()),
            }
        })
    }

    fn resolve_text(
        &self,
        reference: &str,
        place: Option<fhir_core::json::Value<'a>>,
        sink: Sink<'_, 'a>,
    ) -> Flow {
        let resource = |value| Item::Fhir(FhirValue::resource(self.schema, value));
        if let Some(id) = reference.strip_prefix('#') {
            let Some(root) = self.context.root_resource_or(self.focus) else {
                return Ok(());
            };
            if id.is_empty() {
                return sink(Item::Fhir(root));
            }
            let contained = root.value().and_then(|root| root.get("contained"));
            let mut each = contained.into_iter().flat_map(|it| it.each());
            return match each.find(|it| it.get_str("id").is_some_and(|it| it == id)) {
                Some(found) => sink(resource(found)),
                None => Ok(()),
            };
        }
        match self.context.host().resolve(reference) {
            Resolved::Resource(found) => sink(resource(found)),
            Resolved::Type(name) => {
                match (self.schema.resource(&name), place.or_else(|| self.any_place())) {
                    (Some(node), Some(place)) => {
                        let node_type = NodeType::Root(node);
                        sink(Item::Fhir(FhirValue::of_referenced_type(node_type, place)))
                    }
                    _ => Ok(()),
                }
            }
            Resolved::Nothing => Ok(()),
        }
    }

    /// Something in a document for an item to stand at that has no place of its own.
    fn any_place(&self) -> Option<fhir_core::json::Value<'a>> {
        self.focus.as_fhir().and_then(FhirValue::value)
    }

    /// What the host answers with yes, no or nothing.
    pub(super) fn by_host(&self, call: Call<'_, 'a>) -> Result<Option<bool>, Stop> {
        let what = call.function.name();
        let Some(input) = self.single(call.input, call.scope, what)? else {
            return Ok(None);
        };
        let host = self.context.host();
        let answer = match call.function {
            Function::HtmlChecks => {
                let text = input.to_text(self.schema).unwrap_or_default();
                host.html_checks(&text).map(Some)
            }
            Function::ConformsTo => {
                let profile = self.text(&call.arguments[0], call.scope, what)?;
                match (profile, &input) {
                    (None, _) => return Ok(None),
                    (Some(profile), Item::Fhir(value)) => host.conforms_to(value, &profile),
                    (Some(_), _) => return Ok(Some(false)),
                }
            }
            Function::MemberOf => match self.text(&call.arguments[0], call.scope, what)? {
                None => return Ok(None),
                Some(value_set) => host.member_of(&input, &value_set),
            },
            _ => match self.single(&call.arguments[0], call.scope, what)? {
                None => return Ok(None),
                Some(other) if call.function == Function::Subsumes => host.subsumes(&input, &other),
                Some(other) => host.subsumes(&other, &input),
            },
        };
        answer.map_err(|reason| self.unavailable(call, reason))
    }

    /// What needs a definition, or the list of known modifiers.
    pub(super) fn by_definition(&self, call: Call<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        match call.function {
            Function::ElementDefinition => self.visit(call.input, call.scope, &mut |item| {
                let Some(value) = item.as_fhir() else {
                    return Ok(());
                };
                let found = self.context.host().element_definition(value);
                match found.map_err(|reason| self.unavailable(call, reason))? {
                    Some(definition) => sink(definition),
                    None => Ok(()),
                }
            }),
            Function::Slice => {
                let profile = self.text(&call.arguments[0], call.scope, "slice()")?;
                let name = self.text(&call.arguments[1], call.scope, "slice()")?;
                let (Some(profile), Some(name)) = (profile, name) else {
                    return Ok(());
                };
                self.visit(call.input, call.scope, &mut |item| {
                    let Some(value) = item.as_fhir() else {
                        return Ok(());
                    };
                    let found = self.context.host().is_in_slice(value, &profile, &name);
                    let is_in = found.map_err(|reason| self.unavailable(call, reason))?;
                    if is_in { sink(item) } else { Ok(()) }
                })
            }
            _ => self.check_modifiers(call, sink),
        }
    }

    /// Refuses modifier extensions that the arguments do not name.
    fn check_modifiers(&self, call: Call<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        let mut known = Vec::with_capacity(call.arguments.len());
        for argument in call.arguments {
            known.extend(self.text(argument, call.scope, "checkModifiers()")?);
        }
        self.visit(call.input, call.scope, &mut |item| {
            let object = item.as_fhir().and_then(FhirValue::object);
            let modifiers = object.and_then(|object| object.get("modifierExtension"));
            for modifier in modifiers.into_iter().flat_map(|it| it.each()) {
                self.spend(1, call.at)?;
                let url = modifier.get_str("url").unwrap_or_default();
                if !known.contains(&url) {
                    let reason = format!("the modifier extension '{url}' is not known");
                    return Err(self.unavailable(call, reason.into()));
                }
            }
            sink(item)
        })
    }
}
