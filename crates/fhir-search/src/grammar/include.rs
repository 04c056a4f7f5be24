//! `_include` and `_revinclude` (FHIR R4, 3.1.1.5.4).

use super::elements::Source;
use super::{Fault, Piece, Reading, quoted};
use crate::{Include, IncludeDirection, IncludeSource, Kind, QueryProblem};

impl Reading<'_> {
    pub(super) fn include(
        &mut self,
        name: &str,
        modifier: Option<Piece<'_>>,
        value: Piece<'_>,
    ) -> Result<(), Fault> {
        let iterate = match modifier {
            None => false,
            // As STU3 spelled it.
            Some(it) if matches!(it.text, "iterate" | "recurse") => true,
            Some(it) => {
                return Err(it.fault_in_name(QueryProblem::UnsupportedModifier {
                    modifier: it.text.into(),
                    of: format!("'{name}'").into(),
                    allowed: "it takes iterate".into(),
                }));
            }
        };
        let limit = self.reader.limits.includes;
        if self.includes.len() == limit {
            return Err(value.fault(QueryProblem::TooMany { what: "includes", limit }));
        }
        let direction =
            if name == "_include" { IncludeDirection::Forward } else { IncludeDirection::Reverse };
        let (source, target) = self.include_source(value)?;
        self.includes.push(Include { direction, iterate, source, target });
        Ok(())
    }

    fn include_source(
        &self,
        value: Piece<'_>,
    ) -> Result<(IncludeSource, Option<fhir_core::ResourceType>), Fault> {
        let invalid =
            |at: Piece<'_>, what: String| at.fault(QueryProblem::InvalidInclude(what.into()));
        if value.text == "*" {
            return Ok((IncludeSource::Everything, None));
        }
        if let Some(comma) = value.text.find(',') {
            return Err(invalid(value.after(comma), "several includes in one".to_owned()));
        }
        let parts: Vec<Piece<'_>> = value.split(b':').collect();
        let (of, code, target) = match parts[..] {
            [of, code] => (of, code, None),
            [of, code, target] => (of, code, Some(target)),
            _ => return Err(invalid(value, format!("'{}' is no include", quoted(value.text)))),
        };
        let known = |name: Piece<'_>| {
            self.reader.resource_type(name.text).map_err(|_| {
                invalid(name, format!("there is no resource type '{}'", quoted(name.text)))
            })
        };
        let resource_type = known(of)?;
        let target_type = target.map(known).transpose()?;
        if code.text == "*" {
            return Ok((IncludeSource::OfType(resource_type), target_type));
        }
        let found = self.reader.parameters.get(of.text, code.text);
        let parameter = found.filter(|it| it.kind == Kind::Reference).ok_or_else(|| {
            let what = format!(
                "{resource_type} has no parameter '{}' of type reference",
                quoted(code.text)
            );
            invalid(code, what)
        })?;
        if let (Some(target), Some(target_type)) = (target, &target_type)
            && !self.reader.may_refer_to(Source::of(parameter), target_type.as_str())
        {
            return Err(invalid(
                target,
                format!("'{}' does not refer to {target_type}", code.text),
            ));
        }
        Ok((IncludeSource::Parameter(parameter.clone()), target_type))
    }
}
