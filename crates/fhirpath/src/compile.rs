//! From what was written to what is evaluated: functions and types are looked up, names are
//! resolved where the type before them is known, and what cannot work with any data is refused.
//!
//! Names in a path are in `path`, calls of functions in `call`.

mod call;
mod path;

pub(crate) use path::root_shape;

use std::cell::Cell;

use fhir_schema::Schema;

use crate::ast::{Ast, AstKind, BinaryOperator, Literal, TypeName};
use crate::error::{CompileError, CompileProblem, Position};
use crate::model::{SystemType, TypeTest};
use crate::parser::parse;
use crate::program::{Arithmetic, AsMode, Comparison, Expr, Op, Sense};
use crate::shape::{Count, Shape, tested};
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
}
