//! What functions and operators take and give, as far as types tell before there is data.

use crate::compile::{Compiled, Compiler};
use crate::error::CompileProblem;
use crate::functions::Function;
use crate::model::{NodeType, SystemType};
use crate::shape::{Count, Shape, StaticType, type_named};

fn mismatch<T>(what: String, compiler: &Compiler<'_>, given: &Shape, at: u32) -> Compiled<T> {
    let given = given.describe(compiler.schema);
    Err((CompileProblem::TypeMismatch { what, given }, at))
}

/// Refuses, when strict, an input that the function can never take.
pub(crate) fn input(
    compiler: &Compiler<'_>,
    function: Function,
    input: &Shape,
    at: u32,
) -> Compiled<()> {
    if compiler.is_strict()
        && function.takes_string()
        && input.is_surely(|it| it.is_complex(compiler.schema))
    {
        return mismatch(format!("{}()", function.name()), compiler, input, at);
    }
    Ok(())
}

/// The same for the arguments.
pub(crate) fn arguments(
    compiler: &Compiler<'_>,
    function: Function,
    arguments: &[Shape],
    at: u32,
) -> Compiled<()> {
    if !compiler.is_strict() || function != Function::Iif {
        return Ok(());
    }
    let criterion = &arguments[0];
    let is_boolean = |it: &StaticType| it.as_system(compiler.schema) == Some(SystemType::Boolean);
    if criterion.is_surely(|it| !is_boolean(it)) {
        return mismatch("the criterion of iif()".to_owned(), compiler, criterion, at);
    }
    if criterion.count == Count::Many && criterion.is_surely(is_boolean) {
        return Err((CompileProblem::NotSingle("the criterion of iif()".to_owned()), at));
    }
    Ok(())
}

/// What an operator of arithmetic gives; refuses, when strict, what it can never take.
pub(crate) fn arithmetic(
    compiler: &Compiler<'_>,
    symbol: &str,
    left: &Shape,
    right: &Shape,
    at: u32,
) -> Compiled<Shape> {
    let schema = compiler.schema;
    let is_moment = |it: &StaticType| {
        matches!(
            it.as_system(schema),
            Some(SystemType::Date | SystemType::DateTime | SystemType::Time)
        )
    };
    let is_duration = |it: &StaticType| it.as_system(schema) == Some(SystemType::Quantity);
    let is_sum = matches!(symbol, "+" | "-");
    if left.is_surely(is_moment) {
        if compiler.is_strict() && (!is_sum || right.is_surely(|it| !is_duration(it))) {
            return mismatch(format!("'{symbol}' after a date or time"), compiler, right, at);
        }
        return Ok(left.one_of());
    }
    let single = |shape: &Shape| match &shape.types.as_deref() {
        Some([one]) => one.as_system(schema),
        _ => None,
    };
    Ok(match (symbol, single(left), single(right)) {
        ("div", _, _) => Shape::system(SystemType::Integer),
        ("/", Some(SystemType::Integer), Some(SystemType::Integer)) => {
            Shape::system(SystemType::Decimal)
        }
        (_, Some(left), Some(right)) if left == right => Shape::system(left),
        _ => Shape::unknown(Count::One),
    })
}

/// What a function gives.
pub(crate) fn result(
    compiler: &Compiler<'_>,
    function: Function,
    input: &Shape,
    arguments: &[Shape],
) -> Shape {
    use Function as F;
    let many = |system_type| Shape::system(system_type).with_count(Count::Many);
    match function {
        F::Empty
        | F::Exists
        | F::All
        | F::AllTrue
        | F::AnyTrue
        | F::AllFalse
        | F::AnyFalse
        | F::SubsetOf
        | F::SupersetOf
        | F::IsDistinct
        | F::ToBoolean
        | F::ConvertsToBoolean
        | F::ConvertsToInteger
        | F::ConvertsToDate
        | F::ConvertsToDateTime
        | F::ConvertsToDecimal
        | F::ConvertsToQuantity
        | F::ConvertsToString
        | F::ConvertsToTime
        | F::StartsWith
        | F::EndsWith
        | F::Contains
        | F::Matches
        | F::MatchesFull
        | F::Not
        | F::Is
        | F::Comparable
        | F::HasValue
        | F::HasExtension
        | F::ConformsTo
        | F::MemberOf
        | F::Subsumes
        | F::SubsumedBy
        | F::HtmlChecks => Shape::system(SystemType::Boolean),
        F::Count
        | F::ToInteger
        | F::IndexOf
        | F::LastIndexOf
        | F::Length
        | F::Ceiling
        | F::Floor
        | F::Truncate
        | F::Precision => Shape::system(SystemType::Integer),
        F::ToDecimal | F::Exp | F::Ln | F::Log | F::Sqrt | F::Round => {
            Shape::system(SystemType::Decimal)
        }
        F::ToString
        | F::Substring
        | F::Upper
        | F::Lower
        | F::Replace
        | F::ReplaceMatches
        | F::Trim
        | F::Join
        | F::Encode
        | F::Decode
        | F::Escape
        | F::Unescape => Shape::system(SystemType::String),
        F::ToChars | F::Split => many(SystemType::String),
        F::ToDate | F::Today => Shape::system(SystemType::Date),
        F::ToDateTime | F::Now => Shape::system(SystemType::DateTime),
        F::ToTime | F::TimeOfDay => Shape::system(SystemType::Time),
        F::ToQuantity => Shape::system(SystemType::Quantity),
        F::Type => Shape::system(SystemType::TypeInfo),
        F::Where
        | F::Distinct
        | F::Tail
        | F::Skip
        | F::Take
        | F::Intersect
        | F::Exclude
        | F::Trace
        | F::Slice
        | F::CheckModifiers
        | F::OfType
        | F::As
        | F::Sort => input.clone(),
        F::Single | F::First | F::Last => input.one_of(),
        F::Select => match arguments.first() {
            Some(selected) => {
                let count = if input.count == Count::Many { Count::Many } else { selected.count };
                let is_ordered = input.is_ordered && selected.is_ordered;
                Shape { count, is_ordered, ..selected.clone() }
            }
            None => Shape::unknown(Count::Many),
        },
        F::Union | F::Combine => match arguments.first() {
            Some(other) => input.clone().followed_by(other.clone()),
            None => input.clone(),
        },
        F::Iif => {
            let then = arguments.get(1).cloned().unwrap_or_else(Shape::nothing);
            let otherwise = arguments.get(2).cloned().unwrap_or_else(Shape::nothing);
            let count = then.count.max(otherwise.count);
            then.merged(otherwise, count)
        }
        F::Children | F::Descendants => Shape { is_ordered: false, ..Shape::unknown(Count::Many) },
        F::Extension => match type_named(compiler.schema, "Extension") {
            Some(extension) => Shape::fhir(extension).with_count(Count::Many),
            None => Shape::unknown(Count::Many),
        },
        F::GetValue => Shape::unknown(Count::One),
        F::ElementDefinition => match type_named(compiler.schema, "ElementDefinition") {
            Some(definition @ NodeType::Root(_)) => Shape::fhir(definition),
            _ => Shape::unknown(Count::Many),
        },
        F::Abs | F::Power | F::LowBoundary | F::HighBoundary => Shape::unknown(Count::One),
        F::Repeat | F::Resolve | F::Aggregate => Shape::unknown(Count::Many),
    }
}
