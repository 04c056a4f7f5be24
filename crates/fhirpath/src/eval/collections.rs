//! Functions on collections (N1 5.1 to 5.4, 7): parts of them, sets, and what is evaluated item
//! by item.

use std::cmp::Ordering;

use super::calls::Call;
use super::{Few, Flow, Run, Scope, Sink, Stop, until_enough};
use crate::decimal::Decimal;
use crate::equality::DistinctItems;
use crate::error::EvaluationProblem;
use crate::functions::Function;
use crate::program::{Direction, Expr};
use crate::value::Item;

impl<'a> Run<'a, '_> {
    /// `[index]`
    pub(super) fn item_at(
        &self,
        input: &'a Expr,
        index: &'a Expr,
        scope: Scope<'_, 'a>,
        sink: Sink<'_, 'a>,
    ) -> Flow {
        let Some(index) = self.integer(index, scope, "[]")? else {
            return Ok(());
        };
        let Ok(mut before) = usize::try_from(index) else {
            return Ok(());
        };
        let mut found = None;
        until_enough(self.visit(input, scope, &mut |item| {
            if before == 0 {
                found = Some(item);
                return Err(Stop::Enough);
            }
            before -= 1;
            Ok(())
        }))?;
        found.map_or(Ok(()), sink)
    }

    /// Hands on an item that is not yet among `distinct`.
    pub(super) fn hand_on_new(
        &self,
        distinct: &mut DistinctItems<'a>,
        item: Item<'a>,
        at: u32,
        sink: Sink<'_, 'a>,
    ) -> Flow {
        let (is_new, cost) = distinct.add(self.schema, item);
        self.spend(cost, at)?;
        match distinct.last() {
            Some(item) if is_new => sink(item.clone()),
            _ => Ok(()),
        }
    }

    /// All items of a part, each once.
    fn distinct(&self, expr: &'a Expr, scope: Scope<'_, 'a>) -> Result<DistinctItems<'a>, Stop> {
        let mut distinct = DistinctItems::new();
        self.visit(expr, scope, &mut |item| {
            self.hand_on_new(&mut distinct, item, expr.at, &mut |_| Ok(()))
        })?;
        Ok(distinct)
    }

    fn contains(
        &self,
        distinct: &DistinctItems<'a>,
        item: &Item<'a>,
        at: u32,
    ) -> Result<bool, Stop> {
        let (is_there, cost) = distinct.contains(self.schema, item);
        self.spend(cost, at)?;
        Ok(is_there)
    }

    pub(super) fn of_collection(&self, call: Call<'_, 'a>) -> Result<bool, Stop> {
        let Call { function, input, arguments, at, scope } = call;
        match function {
            Function::AllTrue => self.each_is(call, true, "allTrue()"),
            Function::AllFalse => self.each_is(call, false, "allFalse()"),
            Function::AnyTrue => self.each_is(call, false, "anyTrue()").map(|none| !none),
            Function::AnyFalse => self.each_is(call, true, "anyFalse()").map(|none| !none),
            Function::SubsetOf => self.is_subset(input, &arguments[0], scope),
            Function::SupersetOf => self.is_subset(&arguments[0], input, scope),
            _ => {
                let mut distinct = DistinctItems::new();
                let mut is_distinct = true;
                until_enough(self.visit(input, scope, &mut |item| {
                    let mut is_new = false;
                    self.hand_on_new(&mut distinct, item, at, &mut |_| {
                        is_new = true;
                        Ok(())
                    })?;
                    is_distinct = is_new;
                    if is_new { Ok(()) } else { Err(Stop::Enough) }
                }))?;
                Ok(is_distinct)
            }
        }
    }

    /// Whether every item is this truth; an item that is no boolean is an error.
    fn each_is(&self, call: Call<'_, 'a>, wanted: bool, what: &'static str) -> Result<bool, Stop> {
        let mut each_is = true;
        // To the end, so that what is no boolean is found wherever it stands.
        self.visit(call.input, call.scope, &mut |item| {
            match item.into_system(self.schema) {
                Item::Boolean(boolean) => each_is &= boolean == wanted,
                other => return Err(self.mismatch(call.at, what, &other)),
            }
            Ok(())
        })?;
        Ok(each_is)
    }

    fn is_subset(
        &self,
        part: &'a Expr,
        whole: &'a Expr,
        scope: Scope<'_, 'a>,
    ) -> Result<bool, Stop> {
        let whole = self.distinct(whole, scope)?;
        let mut is_subset = true;
        until_enough(self.visit(part, scope, &mut |item| {
            is_subset = self.contains(&whole, &item, part.at)?;
            if is_subset { Ok(()) } else { Err(Stop::Enough) }
        }))?;
        Ok(is_subset)
    }

    pub(super) fn as_sets(&self, call: Call<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        let Call { function, input, arguments, at, scope } = call;
        match function {
            Function::Distinct => {
                let mut distinct = DistinctItems::new();
                self.visit(input, scope, &mut |item| {
                    self.hand_on_new(&mut distinct, item, at, sink)
                })
            }
            Function::Union => {
                let mut distinct = DistinctItems::new();
                for part in [input, &arguments[0]] {
                    self.visit(part, scope, &mut |item| {
                        self.hand_on_new(&mut distinct, item, at, sink)
                    })?;
                }
                Ok(())
            }
            Function::Intersect => {
                let other = self.distinct(&arguments[0], scope)?;
                let mut distinct = DistinctItems::new();
                self.visit(input, scope, &mut |item| {
                    if self.contains(&other, &item, at)? {
                        self.hand_on_new(&mut distinct, item, at, sink)
                    } else {
                        Ok(())
                    }
                })
            }
            Function::Exclude => {
                let other = self.distinct(&arguments[0], scope)?;
                self.visit(input, scope, &mut |item| {
                    if self.contains(&other, &item, at)? { Ok(()) } else { sink(item) }
                })
            }
            _ => {
                self.visit(input, scope, sink)?;
                self.visit(&arguments[0], scope, sink)
            }
        }
    }

    pub(super) fn part_of_collection(&self, call: Call<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        let Call { function, input, arguments, scope, .. } = call;
        match function {
            Function::Single => self.single(input, scope, "single()")?.map_or(Ok(()), sink),
            Function::First => {
                let mut first = None;
                until_enough(self.visit(input, scope, &mut |item| {
                    first = Some(item);
                    Err(Stop::Enough)
                }))?;
                first.map_or(Ok(()), sink)
            }
            Function::Last => {
                let mut last = None;
                self.visit(input, scope, &mut |item| {
                    last = Some(item);
                    Ok(())
                })?;
                last.map_or(Ok(()), sink)
            }
            Function::Take => {
                let take = self.integer(&arguments[0], scope, "take()")?;
                let mut left = take.and_then(|take| usize::try_from(take).ok()).unwrap_or(0);
                if left == 0 {
                    return Ok(());
                }
                let mut is_taken = false;
                let flow = self.visit(input, scope, &mut |item| {
                    sink(item)?;
                    left -= 1;
                    is_taken = left == 0;
                    if is_taken { Err(Stop::Enough) } else { Ok(()) }
                });
                if is_taken { until_enough(flow) } else { flow }
            }
            _ => {
                let skip = match function {
                    Function::Tail => Some(1),
                    _ => self.integer(&arguments[0], scope, "skip()")?,
                };
                let Some(skip) = skip else {
                    return Ok(());
                };
                let mut left = skip;
                self.visit(input, scope, &mut |item| {
                    if left > 0 {
                        left -= 1;
                        return Ok(());
                    }
                    sink(item)
                })
            }
        }
    }

    pub(super) fn item_by_item(&self, call: Call<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        let Call { function, input, arguments, scope, .. } = call;
        match function {
            Function::Where => {
                let mut index = 0;
                self.visit(input, scope, &mut |item| {
                    let inner = scope.at(&item, index);
                    index += 1;
                    if self.boolean(&arguments[0], inner, "where()")? == Some(true) {
                        sink(item)
                    } else {
                        Ok(())
                    }
                })
            }
            Function::Select => {
                let mut index = 0;
                self.visit(input, scope, &mut |item| {
                    let inner = scope.at(&item, index);
                    index += 1;
                    self.visit(&arguments[0], inner, sink)
                })
            }
            Function::Iif => self.iif(call, sink),
            Function::Trace => self.trace(call, sink),
            Function::Aggregate => self.aggregate(call, sink),
            _ => self.repeat(call, sink),
        }
    }

    fn iif(&self, call: Call<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        let Call { input, arguments, scope, .. } = call;
        let item = self.single(input, scope, "iif()")?;
        let inner = match &item {
            Some(item) => scope.at(item, scope.index),
            // Nothing is in focus then; what stands around it stays.
            None => scope,
        };
        let criterion = match self.single_system(&arguments[0], inner, "iif()")? {
            Some(Item::Boolean(boolean)) => boolean,
            Some(other) => return Err(self.mismatch(call.at, "iif()", &other)),
            None => false,
        };
        match (criterion, arguments.get(2)) {
            (true, _) => self.visit(&arguments[1], inner, sink),
            (false, Some(otherwise)) => self.visit(otherwise, inner, sink),
            (false, None) => Ok(()),
        }
    }

    fn trace(&self, call: Call<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        let Call { input, arguments, scope, .. } = call;
        let name = self.text(&arguments[0], scope, "trace()")?.unwrap_or_default();
        let items = self.collect(input, scope)?;
        match arguments.get(1) {
            None => self.context.host().trace(&name, &items),
            Some(projection) => {
                let mut projected = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    projected.extend(self.collect(projection, scope.at(item, index))?);
                }
                self.context.host().trace(&name, &projected);
            }
        }
        items.into_iter().try_for_each(sink)
    }

    fn aggregate(&self, call: Call<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        let Call { input, arguments, scope, .. } = call;
        let mut total = match arguments.get(1) {
            Some(start) => self.collect(start, scope)?,
            None => Few::new(),
        };
        let mut index = 0;
        self.visit(input, scope, &mut |item| {
            let inner = Scope { this: &item, index, total: &total };
            index += 1;
            let next = self.collect(&arguments[0], inner)?;
            total = next;
            Ok(())
        })?;
        total.into_iter().try_for_each(sink)
    }

    /// What the projection finds, what it finds there, and so on; each item once.
    fn repeat(&self, call: Call<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        let Call { input, arguments, at, scope, .. } = call;
        let mut found = DistinctItems::new();
        let mut index = 0;
        self.visit(input, scope, &mut |item| {
            let inner = scope.at(&item, index);
            index += 1;
            self.visit(&arguments[0], inner, &mut |it| {
                self.hand_on_new(&mut found, it, at, &mut |_| Ok(()))
            })
        })?;
        let mut next = 0;
        while let Some(item) = found.items().get(next).cloned() {
            sink(item.clone())?;
            let inner = scope.at(&item, next);
            next += 1;
            self.visit(&arguments[0], inner, &mut |it| {
                self.hand_on_new(&mut found, it, at, &mut |_| Ok(()))
            })?;
        }
        Ok(())
    }

    pub(super) fn sorted(
        &self,
        input: &'a Expr,
        keys: &'a [(Direction, Expr)],
        scope: Scope<'_, 'a>,
        sink: Sink<'_, 'a>,
    ) -> Flow {
        let mut rows = Vec::new();
        for (index, item) in self.collect(input, scope)?.into_iter().enumerate() {
            let mut row = Vec::with_capacity(keys.len().max(1));
            if keys.is_empty() {
                row.push(self.sort_key(Some(item.clone()), input.at)?);
            }
            for (_, key) in keys {
                let found = self.single(key, scope.at(&item, index), "sort()")?;
                row.push(self.sort_key(found, key.at)?);
            }
            self.spend(row.len() as u64 * 8, input.at)?;
            rows.push((row, item));
        }
        let has_one_kind = |column: usize| {
            let mut kinds = rows.iter().filter_map(|(row, _)| row[column].kind());
            let first = kinds.next();
            kinds.all(|kind| Some(kind) == first)
        };
        for column in 0..keys.len().max(1) {
            if !has_one_kind(column) {
                let given = "items that have no order".to_owned();
                let problem = EvaluationProblem::TypeMismatch { what: "sort()", given };
                return Err(self.fail(input.at, problem));
            }
        }
        let direction =
            |column: usize| keys.get(column).map_or(Direction::Ascending, |(it, _)| *it);
        rows.sort_by(|(left, _), (right, _)| {
            let orders = left.iter().zip(right).enumerate().map(|(column, (left, right))| {
                match direction(column) {
                    // What is empty comes first both ways, as the official suite has it.
                    Direction::Descending
                        if *left != SortKey::Empty && *right != SortKey::Empty =>
                    {
                        right.cmp(left)
                    }
                    _ => left.cmp(right),
                }
            });
            orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
        rows.into_iter().try_for_each(|(_, item)| sink(item))
    }

    fn sort_key(&self, item: Option<Item<'a>>, at: u32) -> Result<SortKey<'a>, Stop> {
        Ok(match item.map(|item| item.into_system(self.schema)) {
            None => SortKey::Empty,
            Some(Item::Boolean(boolean)) => SortKey::Boolean(boolean),
            Some(Item::Integer(integer)) => SortKey::Number(Decimal::from(integer)),
            Some(Item::Decimal(decimal)) => SortKey::Number(decimal),
            Some(Item::String(text)) => SortKey::Text(text),
            Some(Item::Date(date)) => SortKey::Moment(date.to_date_time().sort_key()),
            Some(Item::DateTime(moment)) => SortKey::Moment(moment.sort_key()),
            Some(Item::Time(time)) => SortKey::Time(time.sort_key()),
            Some(other) => return Err(self.mismatch(at, "sort()", &other)),
        })
    }
}

/// What is sorted by. What is empty comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum SortKey<'a> {
    Empty,
    Boolean(bool),
    Number(Decimal),
    Text(std::borrow::Cow<'a, str>),
    Moment(Vec<i64>),
    Time(Vec<i64>),
}

impl SortKey<'_> {
    fn kind(&self) -> Option<std::mem::Discriminant<Self>> {
        (*self != Self::Empty).then(|| std::mem::discriminant(self))
    }
}
