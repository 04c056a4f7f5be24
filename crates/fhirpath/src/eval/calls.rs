//! Which file carries out which function.

use super::{Flow, Run, Scope, Sink, Stop, until_enough};
use crate::functions::Function;
use crate::program::Expr;
use crate::value::Item;

/// A function with its arguments, where it is called.
#[derive(Clone, Copy)]
pub(super) struct Call<'s, 'a> {
    pub(super) function: Function,
    pub(super) input: &'a Expr,
    pub(super) arguments: &'a [Expr],
    pub(super) at: u32,
    pub(super) scope: Scope<'s, 'a>,
}

impl<'a> Run<'a, '_> {
    pub(super) fn call(
        &self,
        function: Function,
        input: &'a Expr,
        arguments: &'a [Expr],
        at: u32,
        scope: Scope<'_, 'a>,
        sink: Sink<'_, 'a>,
    ) -> Flow {
        use Function as F;
        let call = Call { function, input, arguments, at, scope };
        match function {
            // These are answered as truths.
            F::Empty | F::Exists | F::All | F::Not | F::HasValue => Ok(()),
            // And these are parts of their own in a program.
            F::Is | F::As | F::OfType | F::Sort => Ok(()),
            F::AllTrue
            | F::AnyTrue
            | F::AllFalse
            | F::AnyFalse
            | F::SubsetOf
            | F::SupersetOf
            | F::IsDistinct => {
                let boolean = self.of_collection(call)?;
                sink(Item::Boolean(boolean))
            }
            F::Count => {
                let count = self.count_to(input, usize::MAX, scope)?;
                sink(Item::Integer(i64::try_from(count).unwrap_or(i64::MAX)))
            }
            F::Where | F::Select | F::Repeat | F::Iif | F::Trace | F::Aggregate => {
                self.item_by_item(call, sink)
            }
            F::Distinct | F::Intersect | F::Exclude | F::Union | F::Combine => {
                self.as_sets(call, sink)
            }
            F::Single | F::First | F::Last | F::Tail | F::Skip | F::Take => {
                self.part_of_collection(call, sink)
            }
            F::Children => self.visit(input, scope, &mut |item| self.children(&item, at, sink)),
            F::Descendants => {
                self.visit(input, scope, &mut |item| self.descendants(&item, at, sink))
            }
            F::ToBoolean
            | F::ToInteger
            | F::ToDate
            | F::ToDateTime
            | F::ToDecimal
            | F::ToQuantity
            | F::ToString
            | F::ToTime => self.converted(call)?.map_or(Ok(()), sink),
            F::ConvertsToBoolean
            | F::ConvertsToInteger
            | F::ConvertsToDate
            | F::ConvertsToDateTime
            | F::ConvertsToDecimal
            | F::ConvertsToQuantity
            | F::ConvertsToString
            | F::ConvertsToTime => match self.converts(call)? {
                Some(converts) => sink(Item::Boolean(converts)),
                None => Ok(()),
            },
            F::IndexOf
            | F::LastIndexOf
            | F::Substring
            | F::StartsWith
            | F::EndsWith
            | F::Contains
            | F::Upper
            | F::Lower
            | F::Replace
            | F::Matches
            | F::MatchesFull
            | F::ReplaceMatches
            | F::Length
            | F::Trim
            | F::Encode
            | F::Decode
            | F::Escape
            | F::Unescape => self.of_string(call)?.map_or(Ok(()), sink),
            F::ToChars | F::Split => self.strings_of(call, sink),
            F::Join => self.join(call, sink),
            F::Abs
            | F::Ceiling
            | F::Exp
            | F::Floor
            | F::Ln
            | F::Log
            | F::Power
            | F::Round
            | F::Sqrt
            | F::Truncate
            | F::LowBoundary
            | F::HighBoundary
            | F::Precision
            | F::Comparable => self.of_number(call)?.map_or(Ok(()), sink),
            F::Now | F::Today | F::TimeOfDay => sink(self.time_now(function, at)?),
            F::Type => self.visit(input, scope, &mut |item| sink(self.type_of(&item))),
            F::Extension => self.extension(call, sink),
            F::HasExtension => {
                let mut exists = false;
                until_enough(self.extension(call, &mut |_| {
                    exists = true;
                    Err(Stop::Enough)
                }))?;
                sink(Item::Boolean(exists))
            }
            F::GetValue => self.get_value(call)?.map_or(Ok(()), sink),
            F::Resolve => self.resolve(call, sink),
            F::ElementDefinition | F::Slice | F::CheckModifiers => self.by_definition(call, sink),
            F::ConformsTo | F::MemberOf | F::Subsumes | F::SubsumedBy | F::HtmlChecks => {
                match self.by_host(call)? {
                    Some(boolean) => sink(Item::Boolean(boolean)),
                    None => Ok(()),
                }
            }
        }
    }
}
