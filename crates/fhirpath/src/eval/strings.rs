//! Functions on strings (N1 5.6).

use std::borrow::Cow;
use std::rc::Rc;

use super::calls::Call;
use super::{Flow, Run, Sink, Stop};
use crate::error::EvaluationProblem;
use crate::functions::Function;
use crate::pattern::{Extent, Pattern, substitute_of};
use crate::text::{self, Encoding};
use crate::value::Item;

/// A string that a function made of its input, or its input itself.
fn string(text: String) -> Option<Item<'static>> {
    Some(Item::String(Cow::Owned(text)))
}

impl<'a> Run<'a, '_> {
    pub(super) fn of_string(&self, call: Call<'_, 'a>) -> Result<Option<Item<'a>>, Stop> {
        let what = call.function.name();
        let Some(input) = self.text(call.input, call.scope, what)? else {
            return Ok(None);
        };
        self.spend_on_text(input.len(), call.at)?;
        match call.function {
            Function::Upper => Ok(string(input.to_uppercase())),
            Function::Lower => Ok(string(input.to_lowercase())),
            Function::Trim => Ok(string(input.trim().to_owned())),
            Function::Length => {
                Ok(Some(Item::Integer(i64::try_from(input.chars().count()).unwrap_or(i64::MAX))))
            }
            Function::Substring => self.substring(call, &input),
            _ => self.of_two_strings(call, &input),
        }
    }

    fn substring(&self, call: Call<'_, 'a>, input: &str) -> Result<Option<Item<'a>>, Stop> {
        let what = call.function.name();
        let Some(start) = self.integer(&call.arguments[0], call.scope, what)? else {
            return Ok(None);
        };
        let length = match call.arguments.get(1) {
            Some(length) => self.integer(length, call.scope, what)?,
            None => None,
        };
        Ok(text::substring(input, start, length).and_then(|part| string(part.to_owned())))
    }

    fn of_two_strings(&self, call: Call<'_, 'a>, input: &str) -> Result<Option<Item<'a>>, Stop> {
        let what = call.function.name();
        let Some(first) = self.text(&call.arguments[0], call.scope, what)? else {
            return Ok(None);
        };
        let boolean = |it: bool| Some(Item::Boolean(it));
        let unknown = || {
            let reason = format!("'{first}' is not known");
            self.fail(call.at, EvaluationProblem::Unavailable { function: what, reason })
        };
        Ok(match call.function {
            Function::IndexOf => Some(Item::Integer(text::index_of(input, input.find(&*first)))),
            Function::LastIndexOf => {
                Some(Item::Integer(text::index_of(input, input.rfind(&*first))))
            }
            Function::StartsWith => boolean(input.starts_with(&*first)),
            Function::EndsWith => boolean(input.ends_with(&*first)),
            Function::Contains => boolean(input.contains(&*first)),
            Function::Matches => {
                let pattern = self.pattern(&first, Extent::Anywhere, call.at)?;
                boolean(self.is_match(&pattern, input, call.at)?)
            }
            Function::MatchesFull => {
                let pattern = self.pattern(&first, Extent::Whole, call.at)?;
                boolean(self.is_match(&pattern, input, call.at)?)
            }
            Function::Replace | Function::ReplaceMatches => {
                return self.replaced(call, input, &first);
            }
            Function::Encode => {
                let encoding = Encoding::by_name(&first).ok_or_else(unknown)?;
                string(encoding.encode(input))
            }
            Function::Decode => {
                let encoding = Encoding::by_name(&first).ok_or_else(unknown)?;
                encoding.decode(input).and_then(string)
            }
            Function::Escape => match &*first {
                "html" => string(text::escape_html(input)),
                "json" => string(text::escape_json(input)),
                _ => return Err(unknown()),
            },
            Function::Unescape => match &*first {
                "html" => string(text::unescape_html(input)),
                "json" => text::unescape_json(input).and_then(string),
                _ => return Err(unknown()),
            },
            _ => None,
        })
    }

    /// A pattern that is known only now. The last few are kept, since most often the next item
    /// has the same.
    fn pattern(&self, text: &str, extent: Extent, at: u32) -> Result<Rc<Pattern>, Stop> {
        const KEPT: usize = 8;
        self.spend(1 + text.len() as u64 / 64, at)?;
        let mut kept = self.patterns.borrow_mut();
        let same = kept.iter().find(|(other, of, _)| **other == *text && *of == extent);
        if let Some((_, _, pattern)) = same {
            return Ok(Rc::clone(pattern));
        }
        self.spend(100 + text.len() as u64, at)?;
        let pattern = Pattern::compile(text, extent)
            .map_err(|reason| self.fail(at, EvaluationProblem::InvalidPattern(reason)))?;
        self.spend(pattern.cost(), at)?;
        if kept.len() == KEPT {
            kept.remove(0);
        }
        let pattern = Rc::new(pattern);
        kept.push((text.into(), extent, Rc::clone(&pattern)));
        Ok(pattern)
    }

    /// Whether a pattern matches a text, which is paid for.
    pub(super) fn is_match(&self, pattern: &Pattern, text: &str, at: u32) -> Result<bool, Stop> {
        self.spend(pattern.cost_of_matching(text.len()), at)?;
        Ok(pattern.regex().is_match(text))
    }

    fn replaced(
        &self,
        call: Call<'_, 'a>,
        input: &str,
        pattern: &str,
    ) -> Result<Option<Item<'a>>, Stop> {
        let what = call.function.name();
        let Some(substitute) = self.text(&call.arguments[1], call.scope, what)? else {
            return Ok(None);
        };
        if call.function == Function::Replace {
            let count = input.matches(pattern).count();
            self.spend_on_text(input.len() + count * substitute.len(), call.at)?;
            return Ok(string(input.replace(pattern, &substitute)));
        }
        if pattern.is_empty() {
            return Ok(string(input.to_owned()));
        }
        let pattern = self.pattern(pattern, Extent::Anywhere, call.at)?;
        let substitute = substitute_of(&substitute);
        // Once to find out how long it becomes, once to make it.
        self.spend(pattern.cost_of_matching(input.len()).saturating_mul(2), call.at)?;
        let references = substitute.matches('$').count();
        let mut length = input.len();
        for found in pattern.regex().find_iter(input) {
            // Each reference to a group may stand for all that was found.
            let more = substitute.len() + found.len() * references;
            length += more;
            self.spend_on_part(more, length, call.at)?;
        }
        Ok(string(pattern.regex().replace_all(input, &*substitute).into_owned()))
    }

    /// `toChars()` and `split()`.
    pub(super) fn strings_of(&self, call: Call<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        let what = call.function.name();
        let Some(input) = self.text(call.input, call.scope, what)? else {
            return Ok(());
        };
        let mut hand_on = |part: &str| {
            self.spend(1, call.at)?;
            sink(Item::String(Cow::Owned(part.to_owned())))
        };
        let by_characters = |input: &str, hand_on: &mut dyn FnMut(&str) -> Flow| {
            let mut buffer = [0; 4];
            input.chars().try_for_each(|it| hand_on(it.encode_utf8(&mut buffer)))
        };
        let separator = match call.arguments.first() {
            None => return by_characters(&input, &mut hand_on),
            Some(separator) => self.text(separator, call.scope, what)?,
        };
        match separator {
            None => Ok(()),
            Some(separator) if separator.is_empty() => by_characters(&input, &mut hand_on),
            Some(separator) => input.split(&*separator).try_for_each(hand_on),
        }
    }

    pub(super) fn join(&self, call: Call<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        let separator = match call.arguments.first() {
            Some(separator) => self.text(separator, call.scope, "join")?.unwrap_or_default(),
            None => Cow::Borrowed(""),
        };
        let mut joined: Option<String> = None;
        self.visit(call.input, call.scope, &mut |item| {
            let part =
                item.to_text(self.schema).ok_or_else(|| self.mismatch(call.at, "join()", &item))?;
            let joined = match &mut joined {
                Some(joined) => {
                    joined.push_str(&separator);
                    joined
                }
                None => joined.insert(String::new()),
            };
            joined.push_str(&part);
            self.spend_on_part(separator.len() + part.len(), joined.len(), call.at)
        })?;
        joined.map_or(Ok(()), |joined| sink(Item::String(Cow::Owned(joined))))
    }
}
