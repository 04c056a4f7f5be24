//! References (FHIR R4, 3.1.1.4.13), canonical ones among them.

use fhir_core::{Reference, ResourceId, ResourceType, Target};

use super::{Of, type_of};
use crate::grammar::modifier::{self, Modifier};
use crate::grammar::{Fault, Piece, Reader};
use crate::{Handling, Hierarchy, QueryProblem, ReferenceTest};

const MEND: &str = "write id, Type/id, an absolute URL, urn:uuid:… or, of a canonical, url|version";

impl Reader<'_> {
    pub(super) fn reference(
        &self,
        of: &Of<'_>,
        modifier: Option<&Modifier>,
        value: Piece<'_>,
    ) -> Result<ReferenceTest, Fault> {
        match modifier {
            Some(Modifier::Identifier) => self.code(value).map(ReferenceTest::Identifier),
            Some(Modifier::Above) => self.hierarchy(of, Hierarchy::Above, value),
            Some(Modifier::Below) => self.hierarchy(of, Hierarchy::Below, value),
            _ => self.literal(of, type_of(modifier), value),
        }
    }

    fn invalid(value: Piece<'_>) -> Fault {
        value.fault(QueryProblem::invalid("reference", MEND))
    }

    fn literal(
        &self,
        of: &Of<'_>,
        wanted: Option<&ResourceType>,
        value: Piece<'_>,
    ) -> Result<ReferenceTest, Fault> {
        if let Some(wanted) = wanted {
            self.check_target(of, wanted, value)?;
        }
        let (text, version) = self.canonical(value)?;
        if version.is_some() {
            let is_url = matches!(
                Reference::parse(&text),
                Ok(Reference::Absolute(..) | Reference::Other(_))
            );
            return if is_url {
                Ok(ReferenceTest::Url { url: text, version })
            } else {
                Err(Self::invalid(value))
            };
        }
        if let Ok(id) = ResourceId::new(&text) {
            return Ok(match wanted {
                Some(wanted) => {
                    ReferenceTest::Local { resource_type: wanted.clone(), id, version: None }
                }
                None if self.target_names(of.source()).is_none() => {
                    ReferenceTest::Id { id, types: Vec::new() }
                }
                None => ReferenceTest::Id { id, types: self.targets(of.source()) },
            });
        }
        match Reference::parse(&text) {
            Ok(Reference::Relative(target)) => self.local(of, wanted, &target, value),
            Ok(Reference::Absolute(base, target)) if base == self.base => {
                self.local(of, wanted, &target, value)
            }
            // What is contained is found by no reference: it stays what it is.
            Ok(Reference::Absolute(..) | Reference::Other(_) | Reference::Contained(_)) => {
                Ok(ReferenceTest::Url { url: text, version: None })
            }
            Ok(Reference::Conditional(..)) | Err(_) => Err(Self::invalid(value)),
        }
    }

    fn local(
        &self,
        of: &Of<'_>,
        wanted: Option<&ResourceType>,
        target: &Target<'_>,
        value: Piece<'_>,
    ) -> Result<ReferenceTest, Fault> {
        let resource_type = &target.resource_type;
        self.resource_type(resource_type.as_str()).map_err(|it| value.fault(it))?;
        let contradicts = wanted.is_some_and(|wanted| wanted != resource_type);
        // A type that cannot be referred to is found nowhere, which lenient handling may answer.
        if contradicts || self.handling == Handling::Strict {
            self.check_target(of, resource_type, value)?;
        }
        if contradicts {
            return Err(Self::invalid(value));
        }
        Ok(ReferenceTest::Local {
            resource_type: resource_type.clone(),
            id: target.id.clone(),
            version: target.version.map(Box::from),
        })
    }

    fn check_target(
        &self,
        of: &Of<'_>,
        resource_type: &ResourceType,
        value: Piece<'_>,
    ) -> Result<(), Fault> {
        if self.may_refer_to(of.source(), resource_type.as_str()) {
            return Ok(());
        }
        Err(value.fault(QueryProblem::NotATarget {
            code: (&*of.definition.code).into(),
            resource_type: resource_type.as_str().into(),
            allowed: self.list_targets(of.source()).into(),
        }))
    }

    /// `:above` and `:below`: of resources that refer to their own kind, or of versions of a
    /// canonical URL.
    fn hierarchy(
        &self,
        of: &Of<'_>,
        towards: Hierarchy,
        value: Piece<'_>,
    ) -> Result<ReferenceTest, Fault> {
        let name = match towards {
            Hierarchy::Above => "above",
            Hierarchy::Below => "below",
        };
        // Whether it applies depends on the value.
        let unsupported = || value.fault(modifier::none_here(name, &of.definition.code));
        let own = ResourceType::new(of.resource_type).map_err(|_| unsupported())?;
        let literal = if ResourceId::is_valid(value.text) {
            self.literal(of, Some(&own), value)
        } else {
            self.literal(of, None, value)
        };
        match (literal.map_err(|_| Self::invalid(value))?, towards) {
            (ReferenceTest::Local { resource_type, id, .. }, _)
                if resource_type == own
                    && of.definition.targets.iter().any(|it| **it == *own.as_str()) =>
            {
                Ok(ReferenceTest::Hierarchy { towards, resource_type, id })
            }
            (ReferenceTest::Url { url, version }, Hierarchy::Below) => {
                Ok(ReferenceTest::CanonicalBelow { url, version })
            }
            _ => Err(unsupported()),
        }
    }
}
