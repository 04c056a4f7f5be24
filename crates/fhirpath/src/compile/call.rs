//! Calls of functions: their arguments, compiled with what is in focus inside them. What a
//! function takes and gives by its types, `typing` knows.

use super::{Compiled, Compiler, Scope, Typed};
use crate::ast::{Ast, AstKind, Literal, TypeName};
use crate::error::CompileProblem;
use crate::functions::Function;
use crate::model::SystemType;
use crate::pattern::{Extent, Pattern};
use crate::program::{AsMode, Direction, Expr, Op};
use crate::shape::{Count, Shape, tested};
use crate::typing;

/// Bytes that the patterns of one expression may take.
const MOST_PATTERNS: usize = 4 << 20;

impl Compiler<'_> {
    pub(super) fn call(
        &self,
        input: Typed,
        name: &str,
        arguments: &[Ast],
        at: u32,
        scope: &Scope,
    ) -> Compiled<Typed> {
        let function = Function::by_name(name)
            .ok_or_else(|| (CompileProblem::UnknownFunction(name.to_owned()), at))?;
        let (least, most) = function.arguments();
        if !(least..=most).contains(&arguments.len()) {
            let takes = match (least, most) {
                (0, 0) => "no argument".to_owned(),
                (1, 1) => "one argument".to_owned(),
                _ if least == most => format!("{least} arguments"),
                _ => format!("{least} to {most} arguments"),
            };
            let (function, given) = (function.name(), arguments.len());
            return Err((CompileProblem::ArgumentCount { function, takes, given }, at));
        }
        if function.needs_order() {
            self.check_order(&input.1, function.name(), at)?;
        }
        typing::input(self, function, &input.1, at)?;
        match function {
            Function::Is | Function::As | Function::OfType => {
                return self.type_function(function, input, &arguments[0], at);
            }
            Function::Sort => return self.sort(input, arguments, at, scope),
            _ => {}
        }
        // Where `aggregate` starts says what `$total` is inside its other argument.
        let mut start = match (function, arguments.get(1)) {
            (Function::Aggregate, Some(start)) => Some(self.expression(start, scope)?),
            _ => None,
        };
        let inner = inner_scope(function, &input.1, start.as_ref().map(|(_, shape)| shape), scope);
        let mut compiled = Vec::with_capacity(arguments.len());
        let mut shapes = Vec::with_capacity(arguments.len());
        for (index, argument) in arguments.iter().enumerate() {
            // The name that `trace` is given is not evaluated for each item.
            let is_lambda = match function {
                Function::Trace => index == 1,
                _ => function.has_lambdas(),
            };
            let (argument, shape) = match start.take_if(|_| index == 1) {
                Some(start) => start,
                None => self.expression(argument, if is_lambda { &inner } else { scope })?,
            };
            compiled.push(argument);
            shapes.push(shape);
        }
        typing::arguments(self, function, &shapes, at)?;
        let shape = typing::result(self, function, &input.1, &shapes);
        let input = Box::new(input.0);
        let extent = match function {
            Function::Matches => Some(Extent::Anywhere),
            Function::MatchesFull => Some(Extent::Whole),
            _ => None,
        };
        if let Some(extent) = extent
            && let [Expr { op: Op::Literal(Literal::String(text)), at }] = &compiled[..]
        {
            let pattern = self.pattern(text, extent, *at)?;
            return Ok((Expr { op: Op::Matches(function, input, pattern), at: *at }, shape));
        }
        Ok((Expr { op: Op::Call(function, input, compiled), at }, shape))
    }

    /// A pattern that the expression holds. All of them together are bounded too.
    fn pattern(&self, text: &str, extent: Extent, at: u32) -> Compiled<Pattern> {
        let pattern = Pattern::compile(text, extent).map_err(|reason| {
            (CompileProblem::InvalidPattern { pattern: text.to_owned(), reason }, at)
        })?;
        let size = self.size_of_patterns.get() + pattern.size();
        if size > MOST_PATTERNS {
            return Err((CompileProblem::TooLarge("its regular expressions"), at));
        }
        self.size_of_patterns.set(size);
        Ok(pattern)
    }

    fn type_function(
        &self,
        function: Function,
        input: Typed,
        argument: &Ast,
        at: u32,
    ) -> Compiled<Typed> {
        let name = match &argument.kind {
            AstKind::Name(name) => {
                TypeName { namespace: None, name: name.clone(), at: argument.at }
            }
            AstKind::Member(namespace, name) => match &namespace.kind {
                AstKind::Name(namespace) => TypeName {
                    namespace: Some(namespace.clone()),
                    name: name.clone(),
                    at: argument.at,
                },
                _ => return Err(not_a_type(argument.at)),
            },
            // Old definitions write the name in quotes.
            AstKind::Literal(Literal::String(name)) => {
                TypeName { namespace: None, name: name.clone(), at: argument.at }
            }
            _ => return Err(not_a_type(argument.at)),
        };
        let test = self.type_test(&name)?;
        let (op, shape) = match function {
            Function::Is => (Op::Is(Box::new(input.0), test), Shape::system(SystemType::Boolean)),
            Function::As => self.as_type(input, &test),
            _ => {
                let (operand, shape) = input;
                let types = tested(self.schema, &test, &shape);
                (Op::As(AsMode::Each, Box::new(operand), test), Shape { types, ..shape })
            }
        };
        Ok((Expr { op, at }, shape))
    }

    fn sort(&self, input: Typed, keys: &[Ast], at: u32, scope: &Scope) -> Compiled<Typed> {
        let (input, shape) = input;
        let inner = Scope { this: shape.one_of(), total: scope.total.clone() };
        let mut compiled = Vec::with_capacity(keys.len());
        for key in keys {
            // A minus before a key turns the order around, also where nothing can be negated.
            let (direction, key) = match &key.kind {
                AstKind::Minus(key) => (Direction::Descending, &**key),
                _ => (Direction::Ascending, key),
            };
            compiled.push((direction, self.expression(key, &inner)?.0));
        }
        let shape = Shape { is_ordered: true, ..shape };
        Ok((Expr { op: Op::Sort(Box::new(input), compiled), at }, shape))
    }
}

/// What stands in focus inside the arguments of a function that works item by item; `start` is
/// where `aggregate` starts.
fn inner_scope(function: Function, input: &Shape, start: Option<&Shape>, scope: &Scope) -> Scope {
    match function {
        // What it finds is in focus again.
        Function::Repeat => Scope { this: Shape::unknown(Count::One), ..scope.clone() },
        // Each round may give another type than the start had.
        Function::Aggregate => Scope {
            this: input.one_of(),
            total: Shape::unknown(start.map_or(Count::Many, |start| start.count)),
        },
        _ => Scope { this: input.one_of(), total: scope.total.clone() },
    }
}

fn not_a_type(at: u32) -> (CompileProblem, u32) {
    let found = "an expression".to_owned();
    (CompileProblem::Unexpected { found, expected: "the name of a type" }, at)
}
