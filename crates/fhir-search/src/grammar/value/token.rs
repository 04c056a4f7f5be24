//! Codes and identifiers (FHIR R4, 3.1.1.4.12).

use super::Of;
use crate::grammar::modifier::Modifier;
use crate::grammar::{Fault, Piece, Reader};
use crate::{Handling, QueryProblem, StringMatch, SystemTest, TokenTest};
use fhir_core::ResourceId;

impl Reader<'_> {
    pub(super) fn token(
        &self,
        of: &Of<'_>,
        modifier: Option<&Modifier>,
        value: Piece<'_>,
    ) -> Result<TokenTest, Fault> {
        let plain = |piece: Piece<'_>| piece.unescape(self.handling).map(Box::<str>::from);
        match modifier {
            Some(Modifier::Text) => {
                let text = super::string(StringMatch::Start, &plain(value)?, value)?;
                Ok(TokenTest::Text(text.text))
            }
            Some(Modifier::In | Modifier::NotIn) => {
                let text = plain(value)?;
                let relative = text.strip_prefix("ValueSet/").is_some_and(ResourceId::is_valid);
                if relative || text.contains(':') {
                    return Ok(TokenTest::In(text));
                }
                let mend = "write its canonical URL, with |version if that matters, or ValueSet/id";
                Err(value.fault(QueryProblem::invalid("value set", mend)))
            }
            Some(direction @ (Modifier::Above | Modifier::Below)) => {
                self.related(direction == &Modifier::Below, value)
            }
            Some(Modifier::OfType) => {
                let parts: Vec<Piece<'_>> = value.split(b'|').collect();
                match parts[..] {
                    [system, code, of_type] if parts.iter().all(|part| !part.text.is_empty()) => {
                        Ok(TokenTest::OfType {
                            system: plain(system)?,
                            code: plain(code)?,
                            value: plain(of_type)?,
                        })
                    }
                    _ => {
                        let mend = "write system|code|value, with the type's system and code";
                        Err(value.fault(QueryProblem::invalid("identifier with its type", mend)))
                    }
                }
            }
            // An id has no system: all of it is the id.
            _ if &*of.definition.code == "_id" => {
                Ok(TokenTest::Code { system: SystemTest::Any, code: plain(value)? })
            }
            _ => {
                let test = self.code(value)?;
                let asks_system = !matches!(&test, TokenTest::Code { system: SystemTest::Any, .. });
                if asks_system
                    && self.handling == Handling::Strict
                    && self.have_no_system(of.source())
                {
                    let mend = "these values have no system; leave it out, with the |";
                    return Err(value.fault(QueryProblem::invalid("code of an element", mend)));
                }
                Ok(test)
            }
        }
    }

    /// `code`, `|code`, `system|` or `system|code`.
    pub(super) fn code(&self, value: Piece<'_>) -> Result<TokenTest, Fault> {
        let plain = |piece: Piece<'_>| piece.unescape(self.handling).map(Box::<str>::from);
        let parts: Vec<Piece<'_>> = value.split(b'|').collect();
        match parts[..] {
            [code] => Ok(TokenTest::Code { system: SystemTest::Any, code: plain(code)? }),
            [system, code] if system.text.is_empty() && !code.text.is_empty() => {
                Ok(TokenTest::Code { system: SystemTest::None, code: plain(code)? })
            }
            [system, code] if code.text.is_empty() && !system.text.is_empty() => {
                Ok(TokenTest::System(plain(system)?))
            }
            [system, code] if !code.text.is_empty() => {
                Ok(TokenTest::Code { system: SystemTest::Is(plain(system)?), code: plain(code)? })
            }
            _ => {
                let mend = r"write code, system|code, |code or system|, and \| for one within";
                Err(value.fault(QueryProblem::invalid("code", mend)))
            }
        }
    }

    /// A code with those above or below it, or a MIME type with all of its parameters.
    fn related(&self, below: bool, value: Piece<'_>) -> Result<TokenTest, Fault> {
        match self.code(value)? {
            TokenTest::Code { system: SystemTest::Is(system), code } if below => {
                Ok(TokenTest::Below { system, code })
            }
            TokenTest::Code { system: SystemTest::Is(system), code } => {
                Ok(TokenTest::Above { system, code })
            }
            TokenTest::Code { system: SystemTest::Any, code } if below && code.contains('/') => {
                Ok(TokenTest::MimeBelow(code))
            }
            _ => {
                let mend = "write system|code; only of a code system it is known what is above and \
                            below";
                Err(value.fault(QueryProblem::invalid("code with its system", mend)))
            }
        }
    }
}
