//! From what was written to what is evaluated: functions and types are looked up, names are
//! resolved where the type before them is known, and what cannot work with any data is refused.

use std::cell::Cell;

use fhir_schema::{Element, Node, Schema};

use crate::ast::{Ast, AstKind, BinaryOperator, Literal, TypeName};
use crate::error::{CompileError, CompileProblem, Position};
use crate::functions::Function;
use crate::model::{NodeType, SystemType, TypeTest, is_type_or_derived};
use crate::parser::parse;
use crate::pattern::{Extent, Pattern};
use crate::program::{Arithmetic, AsMode, Comparison, Direction, Expr, Op, Sense, Step};
use crate::shape::{Count, Found, Shape, StaticType, find, tested, type_named};
use crate::typing;

/// What is refused when an expression is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Only what means nothing: bad syntax, unknown functions and types. Names of elements that a
    /// type does not have find nothing, and `as` keeps of several items those of its type. The
    /// expressions in R4's own definitions need this.
    Lenient,
    /// Also what the types forbid: elements that do not exist, functions on what they cannot
    /// take. `as` refuses several items when it is evaluated (N1 6.3).
    Strict,
}

/// Whether it is refused to rely on an order that is not there: `children().first()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderCheck {
    /// It is not looked at.
    Off,
    /// It is refused.
    On,
}

/// Bytes that the patterns of one expression may take.
const MOST_PATTERNS: usize = 4 << 20;

pub(crate) struct Compiler<'s> {
    pub(crate) schema: &'s Schema,
    pub(crate) strictness: Strictness,
    pub(crate) order_check: OrderCheck,
    /// What the whole expression is evaluated on.
    pub(crate) root: Shape,
    /// Bytes that the patterns so far take.
    size_of_patterns: Cell<usize>,
}

/// What `$this` and `$total` are.
#[derive(Clone)]
pub(crate) struct Scope {
    this: Shape,
    total: Shape,
}

/// A compiled part and what is known of it.
pub(crate) type Typed = (Expr, Shape);
pub(crate) type Compiled<T> = Result<T, (CompileProblem, u32)>;

/// The type that a path such as `Patient`, `Patient.contact` or `code` names.
pub(crate) fn root_shape(schema: &Schema, path: &str) -> Option<Shape> {
    let mut names = path.split('.');
    let first = names.next()?;
    let mut shape = match type_named(schema, first) {
        Some(node_type) => Shape::fhir(node_type),
        // Of an abstract type anything derived from it can stand there.
        None => {
            schema.type_kind(first)?;
            return Some(Shape::unknown(Count::One));
        }
    };
    for name in names {
        let name = name.strip_suffix("[x]").unwrap_or(name);
        let mut types = Vec::new();
        for from in shape.types.iter().flatten() {
            match find(schema, *from, name) {
                Found::Element(_, element) => {
                    types.push(StaticType::Fhir(NodeType::Element(element)))
                }
                Found::Choice(elements) => types
                    .extend(elements.into_iter().map(|it| StaticType::Fhir(NodeType::Element(it)))),
                Found::System(system_type) => types.push(StaticType::System(system_type)),
                Found::Unknown => return Some(Shape::unknown(Count::One)),
                Found::Nothing => {}
            }
        }
        if types.is_empty() {
            return None;
        }
        shape.types = Some(types);
    }
    Some(shape)
}

impl<'s> Compiler<'s> {
    pub(crate) fn new(
        schema: &'s Schema,
        strictness: Strictness,
        order_check: OrderCheck,
        root: Shape,
    ) -> Self {
        Self { schema, strictness, order_check, root, size_of_patterns: Cell::new(0) }
    }

    pub(crate) fn compile(&self, text: &str) -> Result<Expr, CompileError> {
        let ast = parse(text)?;
        let scope = Scope { this: self.root.clone(), total: Shape::unknown(Count::Many) };
        self.expression(&ast, &scope)
            .map(|(expr, _)| expr)
            .map_err(|(problem, at)| CompileError { problem, at: Position::of(text, at as usize) })
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.strictness == Strictness::Strict
    }

    fn expression(&self, ast: &Ast, scope: &Scope) -> Compiled<Typed> {
        let at = ast.at;
        let (op, shape) = match &ast.kind {
            AstKind::Literal(literal) => self.literal(literal, at)?,
            AstKind::Empty => (Op::Empty, Shape::nothing()),
            AstKind::This => (Op::This, scope.this.clone()),
            AstKind::Index => (Op::Index, Shape::system(SystemType::Integer)),
            AstKind::Total => (Op::Total, scope.total.clone()),
            AstKind::Variable(name) => self.variable(name),
            AstKind::Name(name) => return self.name(name, at, scope),
            AstKind::Member(input, name) => {
                let input = self.expression(input, scope)?;
                return self.member(input, name, at);
            }
            AstKind::Call { input, name, arguments } => {
                let input = match input {
                    Some(input) => self.expression(input, scope)?,
                    None => (Expr { op: Op::This, at }, scope.this.clone()),
                };
                return self.call(input, name, arguments, at, scope);
            }
            AstKind::At(input, index) => {
                let (input, shape) = self.expression(input, scope)?;
                self.check_order(&shape, "[]", at)?;
                let (index, _) = self.expression(index, scope)?;
                (Op::At(Box::new(input), Box::new(index)), shape.one_of())
            }
            AstKind::Minus(operand) => self.minus(operand, scope)?,
            AstKind::Plus(operand) => {
                let (operand, shape) = self.expression(operand, scope)?;
                (Op::Positive(Box::new(operand)), shape)
            }
            AstKind::Binary(operator, left, right) => {
                let left = self.expression(left, scope)?;
                let right = self.expression(right, scope)?;
                self.binary(*operator, left, right, at)?
            }
            AstKind::Union(parts) => {
                let mut compiled = Vec::with_capacity(parts.len());
                let mut whole = Shape::nothing();
                for part in parts {
                    let (part, shape) = self.expression(part, scope)?;
                    compiled.push(part);
                    whole = whole.followed_by(shape);
                }
                (Op::Union(compiled), whole)
            }
            AstKind::Is(operand, name) => {
                let (operand, _) = self.expression(operand, scope)?;
                let test = self.type_test(name)?;
                (Op::Is(Box::new(operand), test), Shape::system(SystemType::Boolean))
            }
            AstKind::As(operand, name) => {
                let operand = self.expression(operand, scope)?;
                self.as_type(operand, &self.type_test(name)?)
            }
        };
        Ok((Expr { op, at }, shape))
    }

    fn literal(&self, literal: &Literal, at: u32) -> Compiled<(Op, Shape)> {
        let system_type = match literal {
            Literal::Boolean(_) => SystemType::Boolean,
            Literal::String(_) => SystemType::String,
            Literal::Integer(integer) if i32::try_from(*integer).is_err() => {
                return Err((CompileProblem::InvalidLiteral(integer.to_string()), at));
            }
            Literal::Integer(_) => SystemType::Integer,
            Literal::Decimal(_) => SystemType::Decimal,
            Literal::Date(_) => SystemType::Date,
            Literal::DateTime(_) => SystemType::DateTime,
            Literal::Time(_) => SystemType::Time,
            Literal::Quantity(..) | Literal::Duration(..) => SystemType::Quantity,
        };
        Ok((Op::Literal(literal.clone()), Shape::system(system_type)))
    }

    fn minus(&self, operand: &Ast, scope: &Scope) -> Compiled<(Op, Shape)> {
        if let AstKind::Literal(Literal::Integer(integer)) = operand.kind {
            let literal = Literal::Integer(-integer);
            return Ok((Op::Literal(literal), Shape::system(SystemType::Integer)));
        }
        let (operand, shape) = self.expression(operand, scope)?;
        Ok((Op::Negate(Box::new(operand)), shape))
    }

    fn variable(&self, name: &str) -> (Op, Shape) {
        let string =
            |text: String| (Op::Literal(Literal::String(text)), Shape::system(SystemType::String));
        match name {
            "resource" => (Op::Resource, Shape::unknown(Count::One)),
            "rootResource" => (Op::RootResource, Shape::unknown(Count::One)),
            "context" => (Op::Context, self.root.clone()),
            "ucum" => string("http://unitsofmeasure.org".to_owned()),
            "sct" => string("http://snomed.info/sct".to_owned()),
            "loinc" => string("http://loinc.org".to_owned()),
            _ => {
                if let Some(rest) = name.strip_prefix("vs-") {
                    string(format!("http://hl7.org/fhir/ValueSet/{rest}"))
                } else if let Some(rest) = name.strip_prefix("ext-") {
                    string(format!("http://hl7.org/fhir/StructureDefinition/{rest}"))
                } else {
                    (Op::Variable(name.into()), Shape::unknown(Count::Many))
                }
            }
        }
    }

    /// A name at the start of a path: the type of what is in focus, or one of its elements.
    fn name(&self, name: &str, at: u32, scope: &Scope) -> Compiled<Typed> {
        let is_type = name.starts_with(|first: char| first.is_ascii_uppercase())
            && self.schema.type_kind(name).is_some();
        if !is_type {
            let this = (Expr { op: Op::This, at }, scope.this.clone());
            return self.member(this, name, at);
        }
        let fits = |it: &StaticType| match it {
            StaticType::System(_) => false,
            StaticType::Fhir(node_type) => match node_type.name(self.schema) {
                // What is unknown, or of any type, may be this one.
                "" | "Resource" | "DomainResource" => true,
                known => is_type_or_derived(self.schema, known, name),
            },
        };
        let mut shape = scope.this.clone();
        match &mut shape.types {
            Some(types) => {
                types.retain(fits);
                if types.is_empty() && self.is_strict() {
                    let given = scope.this.describe(self.schema);
                    let what = format!("a path from {name}");
                    return Err((CompileProblem::TypeMismatch { what, given }, at));
                }
            }
            None => {
                shape.types = type_named(self.schema, name).map(|it| vec![StaticType::Fhir(it)]);
            }
        }
        Ok((Expr { op: Op::OfFocus(TypeTest::Fhir(name.into())), at }, shape))
    }

    fn member(&self, input: Typed, name: &str, at: u32) -> Compiled<Typed> {
        let (input, shape) = input;
        let mut known: Vec<(Node, Element)> = Vec::new();
        let mut types: Option<Vec<StaticType>> = Some(Vec::new());
        let mut count = shape.count;
        let mut is_missing = false;
        let sources = match &shape.types {
            Some(sources) => &sources[..],
            None => {
                types = None;
                &[]
            }
        };
        if shape.types.is_none() {
            count = Count::Many;
        }
        for source in sources {
            let mut push = |it: StaticType| {
                if let Some(types) = &mut types
                    && !types.contains(&it)
                {
                    types.push(it);
                }
            };
            match find(self.schema, *source, name) {
                Found::Element(node, element) => {
                    if !known.iter().any(|(other, _)| *other == node) {
                        known.push((node, element));
                    }
                    if element.is_array {
                        count = Count::Many;
                    }
                    push(StaticType::Fhir(NodeType::Element(element)));
                }
                Found::Choice(elements) => {
                    for element in elements {
                        push(StaticType::Fhir(NodeType::Element(element)));
                    }
                }
                Found::System(system_type) => push(StaticType::System(system_type)),
                Found::Unknown => {
                    types = None;
                    count = Count::Many;
                }
                Found::Nothing => is_missing = true,
            }
        }
        if types.as_ref().is_some_and(Vec::is_empty) && is_missing {
            if self.is_strict() {
                return Err((self.unknown_element(sources, name, &shape), at));
            }
            // Lenient: there may be such data in spite of the definitions.
            types = None;
            count = Count::Many;
        }
        let step = Step { name: name.into(), sibling_name: format!("_{name}").into(), known };
        let shape = Shape { types, count, is_ordered: shape.is_ordered };
        Ok((Expr { op: Op::Child(Box::new(input), step), at }, shape))
    }

    fn unknown_element(&self, from: &[StaticType], name: &str, shape: &Shape) -> CompileProblem {
        let choice = from.iter().find_map(|it| match it {
            StaticType::Fhir(node_type) => {
                let node = node_type.node()?;
                let element = self.schema.element(node, name).filter(|it| it.is_choice)?;
                let type_name = self.schema.type_name(element);
                let stem = name.get(..name.len().checked_sub(type_name.len())?)?;
                Some(format!("; write {stem}.ofType({type_name})"))
            }
            StaticType::System(_) => None,
        });
        CompileProblem::UnknownElement {
            type_name: shape.describe(self.schema),
            name: name.to_owned(),
            hint: choice.unwrap_or_default(),
        }
    }

    pub(crate) fn type_test(&self, name: &TypeName) -> Compiled<TypeTest> {
        let system = SystemType::by_name(&name.name);
        let fhir = self.schema.type_kind(&name.name).map(|_| TypeTest::Fhir((&*name.name).into()));
        Ok(match name.namespace.as_deref() {
            Some("System") => system.map_or(TypeTest::Never, TypeTest::System),
            Some("FHIR") => fhir.unwrap_or(TypeTest::Never),
            Some(_) => TypeTest::Never,
            None => match (fhir, system) {
                (Some(_), Some(SystemType::Quantity)) => TypeTest::AnyQuantity,
                (Some(test), _) => test,
                (None, Some(system_type)) => TypeTest::System(system_type),
                (None, None) => {
                    return Err((CompileProblem::UnknownType(name.name.clone()), name.at));
                }
            },
        })
    }

    pub(crate) fn as_type(&self, operand: Typed, test: &TypeTest) -> (Op, Shape) {
        let (operand, shape) = operand;
        let mode = if self.is_strict() { AsMode::Single } else { AsMode::Each };
        let types = tested(self.schema, test, &shape);
        (Op::As(mode, Box::new(operand), test.clone()), Shape { types, ..shape })
    }

    pub(crate) fn check_order(
        &self,
        input: &Shape,
        function: &'static str,
        at: u32,
    ) -> Compiled<()> {
        if self.order_check == OrderCheck::On && !input.is_ordered {
            return Err((CompileProblem::Unordered(function), at));
        }
        Ok(())
    }

    fn binary(
        &self,
        operator: BinaryOperator,
        left: Typed,
        right: Typed,
        at: u32,
    ) -> Compiled<(Op, Shape)> {
        use BinaryOperator as Binary;
        let boolean = Shape::system(SystemType::Boolean);
        let shape = match operator {
            Binary::Multiply
            | Binary::Divide
            | Binary::DivideWhole
            | Binary::Modulo
            | Binary::Add
            | Binary::Subtract => {
                typing::arithmetic(self, operator.symbol(), &left.1, &right.1, at)?
            }
            Binary::Concatenate => Shape::system(SystemType::String),
            _ => boolean,
        };
        let (left, right) = (Box::new(left.0), Box::new(right.0));
        let op = match operator {
            Binary::Multiply => Op::Arithmetic(Arithmetic::Multiply, left, right),
            Binary::Divide => Op::Arithmetic(Arithmetic::Divide, left, right),
            Binary::DivideWhole => Op::Arithmetic(Arithmetic::DivideWhole, left, right),
            Binary::Modulo => Op::Arithmetic(Arithmetic::Modulo, left, right),
            Binary::Add => Op::Arithmetic(Arithmetic::Add, left, right),
            Binary::Subtract => Op::Arithmetic(Arithmetic::Subtract, left, right),
            Binary::Concatenate => Op::Concatenate(left, right),
            Binary::Less => Op::Compare(Comparison::Less, left, right),
            Binary::LessOrEqual => Op::Compare(Comparison::LessOrEqual, left, right),
            Binary::Greater => Op::Compare(Comparison::Greater, left, right),
            Binary::GreaterOrEqual => Op::Compare(Comparison::GreaterOrEqual, left, right),
            Binary::Equal => Op::Equal(Sense::Plain, left, right),
            Binary::NotEqual => Op::Equal(Sense::Negated, left, right),
            Binary::Equivalent => Op::Equivalent(Sense::Plain, left, right),
            Binary::NotEquivalent => Op::Equivalent(Sense::Negated, left, right),
            Binary::In => Op::In(left, right),
            Binary::Contains => Op::In(right, left),
            Binary::And => Op::And(left, right),
            Binary::Or => Op::Or(left, right),
            Binary::Xor => Op::Xor(left, right),
            Binary::Implies => Op::Implies(left, right),
        };
        Ok((op, shape))
    }

    fn call(
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
