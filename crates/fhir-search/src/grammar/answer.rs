//! Parameters that say how the answer is to look (FHIR R4, 3.1.1.5): all but the includes.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Fault, Piece, Reading, modifier};
use crate::{
    Contained, ContainedMatch, Direction, Element, Kind, Parameter, QueryProblem, SortBy, SortKey,
    Summary, Total,
};

/// A parameter that may be given once and has no modifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    Type,
    Sort,
    Count,
    Total,
    Summary,
    Elements,
    Contained,
    ContainedType,
}

impl Control {
    const ALL: [Self; 8] = [
        Self::Type,
        Self::Sort,
        Self::Count,
        Self::Total,
        Self::Summary,
        Self::Elements,
        Self::Contained,
        Self::ContainedType,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Type => "_type",
            Self::Sort => "_sort",
            Self::Count => "_count",
            Self::Total => "_total",
            Self::Summary => "_summary",
            Self::Elements => "_elements",
            Self::Contained => "_contained",
            Self::ContainedType => "_containedType",
        }
    }

    pub(super) fn of(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == code)
    }
}

/// The one of several words that a value is.
fn one_of<T: Copy>(value: Piece<'_>, words: &[(&str, T)], mend: &'static str) -> Result<T, Fault> {
    words
        .iter()
        .find(|(word, _)| *word == value.text)
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| value.fault(QueryProblem::invalid("word that may stand here", mend)))
}

impl Reading<'_> {
    /// Reads one of these; gives its value as far as it is used.
    pub(super) fn control<'v>(
        &mut self,
        control: Control,
        modifier: Option<Piece<'_>>,
        value: Piece<'v>,
    ) -> Result<Cow<'v, str>, Fault> {
        let name = control.as_str();
        if let Some(modifier) = modifier {
            return Err(modifier.fault_in_name(modifier::none_here(modifier.text, name)));
        }
        if !self.given_once.insert(name) {
            return Err(Fault::in_name(0, QueryProblem::Repeated));
        }
        match control {
            // Which types these are has been read before all else.
            Control::Type if self.asks_one_type => {
                return Err(Fault::in_name(0, QueryProblem::TypeOfOneType));
            }
            Control::Type => {}
            Control::Sort => return self.sort(value).map(Cow::Owned),
            Control::Count => return self.count(value),
            Control::Total => {
                let words = [
                    ("none", Total::None),
                    ("estimate", Total::Estimate),
                    ("accurate", Total::Accurate),
                ];
                let total = one_of(value, &words, "write none, estimate or accurate")?;
                self.answer.total = Some(total);
            }
            Control::Summary => {
                let words = [
                    ("true", Summary::True),
                    ("text", Summary::Text),
                    ("data", Summary::Data),
                    ("count", Summary::Count),
                    ("false", Summary::False),
                ];
                let summary = one_of(value, &words, "write true, text, data, count or false")?;
                self.answer.summary = Some(summary);
            }
            Control::Elements => self.elements(value)?,
            Control::Contained => {
                let words = [
                    ("false", Contained::False),
                    ("true", Contained::True),
                    ("both", Contained::Both),
                ];
                self.answer.contained = one_of(value, &words, "write false, true or both")?;
            }
            Control::ContainedType => {
                let words = [
                    ("container", ContainedMatch::Container),
                    ("contained", ContainedMatch::Contained),
                ];
                let meant = one_of(value, &words, "write container or contained")?;
                self.answer.contained_match = meant;
            }
        }
        Ok(Cow::Borrowed(value.text))
    }

    fn count<'v>(&mut self, value: Piece<'v>) -> Result<Cow<'v, str>, Fault> {
        let digits = value.text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            let problem = QueryProblem::invalid("count", "write a whole number, 0 or more");
            return Err(value.fault(problem));
        }
        // What does not fit is above the limit in any case.
        let count = value.text.parse().unwrap_or(u32::MAX).min(self.reader.limits.page);
        self.answer.count = Some(count);
        Ok(Cow::Owned(count.to_string()))
    }

    fn elements(&mut self, value: Piece<'_>) -> Result<(), Fault> {
        for (index, element) in value.split(b',').enumerate() {
            if index == self.reader.limits.values {
                let what = "elements";
                return Err(element.fault(QueryProblem::TooMany { what, limit: index }));
            }
            let (resource_type, name) = match element.text.split_once('.') {
                Some((of, name)) => {
                    let of = self.reader.resource_type(of).map_err(|it| element.fault(it))?;
                    (Some(of), name)
                }
                None => (None, element.text),
            };
            let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !is_name {
                let mend = "write names of elements at the top of a resource, as identifier,name";
                return Err(element.fault(QueryProblem::invalid("element", mend)));
            }
            self.answer.elements.push(Element { resource_type, name: name.into() });
        }
        Ok(())
    }

    /// Reads the keys of `_sort`; gives those that are used.
    fn sort(&mut self, value: Piece<'_>) -> Result<String, Fault> {
        let mut used = Vec::new();
        for (index, key) in value.split(b',').enumerate() {
            if index == self.reader.limits.sorts {
                let what = "keys to sort by";
                return Err(key.fault(QueryProblem::TooMany { what, limit: index }));
            }
            match self.sort_key(key) {
                Ok(sort_key) => {
                    self.sort.push(sort_key);
                    used.push(key.text);
                }
                Err(fault) if self.is_strict() || !fault.problem.may_be_ignored() => {
                    return Err(fault);
                }
                Err(fault) => self.ignored.push(fault.into_error("_sort", value.text)),
            }
        }
        Ok(used.join(","))
    }

    fn sort_key(&self, key: Piece<'_>) -> Result<SortKey, Fault> {
        let (direction, code) = match key.text.strip_prefix('-') {
            Some(_) => (Direction::Descending, key.after(1)),
            None => (Direction::Ascending, key),
        };
        if code.text.is_empty() {
            return Err(code.fault(QueryProblem::EmptyValue));
        }
        if code.text == "_score" {
            return Ok(SortKey { by: SortBy::Score, direction });
        }
        self.of_every_type(code.text).map_err(|it| code.fault(it))?;
        let mut parameters = Vec::with_capacity(self.types.len());
        for of_type in &self.types {
            let resource_type = of_type.resource_type.as_str();
            let parameter = self.known(resource_type, code.text).map_err(|it| code.fault(it))?;
            parameters.push(has_order(parameter).map_err(|it| code.fault(it))?);
        }
        Ok(SortKey { by: SortBy::Parameter(parameters), direction })
    }
}

fn has_order(parameter: Arc<Parameter>) -> Result<Arc<Parameter>, QueryProblem> {
    match parameter.kind {
        Kind::Composite | Kind::Special => Err(QueryProblem::NotSortable {
            code: parameter.code().into(),
            kind: parameter.kind.as_str(),
        }),
        _ => Ok(parameter),
    }
}
