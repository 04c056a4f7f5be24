//! The grammar (N1, appendix B) by precedence: text to [`Ast`]. How deep and how long an
//! expression may be is bounded, so that whatever walks one later may recurse.

use crate::ast::{Ast, AstKind, BinaryOperator, Literal, TypeName};
use crate::calendar::CalendarUnit;
use crate::decimal::Decimal;
use crate::error::{CompileError, CompileProblem, Position};
use crate::lexer::{Failure, Lexer, Token};

/// Bytes that an expression may have.
pub const MAX_LENGTH: usize = 64 * 1024;

/// How many parts of an expression may stand inside each other, each step of a path counted.
pub const MAX_DEPTH: u32 = 100;

/// Reads an expression.
pub(crate) fn parse(text: &str) -> Result<Ast, CompileError> {
    let at = |offset| Position::of(text, offset);
    if text.len() > MAX_LENGTH {
        let problem = CompileProblem::TooLarge("more than 64 KiB");
        return Err(CompileError { problem, at: at(0) });
    }
    Parser::begin(text)
        .and_then(|mut parser| parser.whole())
        .map_err(|(problem, offset)| CompileError { problem, at: at(offset) })
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token,
    /// Where the token begins.
    at: usize,
    /// How many calls of `expression` are open.
    open: u32,
}

/// How tightly an operator binds; the greater, the tighter.
fn binary(token: &Token) -> Option<(u8, BinaryOperator)> {
    use BinaryOperator as Op;
    Some(match token {
        Token::Sign(sign) => match *sign {
            "*" => (11, Op::Multiply),
            "/" => (11, Op::Divide),
            "+" => (10, Op::Add),
            "-" => (10, Op::Subtract),
            "&" => (10, Op::Concatenate),
            "<=" => (7, Op::LessOrEqual),
            "<" => (7, Op::Less),
            ">" => (7, Op::Greater),
            ">=" => (7, Op::GreaterOrEqual),
            "=" => (6, Op::Equal),
            "~" => (6, Op::Equivalent),
            "!=" => (6, Op::NotEqual),
            "!~" => (6, Op::NotEquivalent),
            _ => return None,
        },
        Token::Word(word) => match word.as_str() {
            "div" => (11, Op::DivideWhole),
            "mod" => (11, Op::Modulo),
            "in" => (5, Op::In),
            "contains" => (5, Op::Contains),
            "and" => (4, Op::And),
            "or" => (3, Op::Or),
            "xor" => (3, Op::Xor),
            "implies" => (2, Op::Implies),
            _ => return None,
        },
        _ => return None,
    })
}

const TYPE_TEST: u8 = 9;
const UNION: u8 = 8;
/// Of a sign before an operand.
const POLARITY: u8 = 12;

impl<'t> Parser<'t> {
    fn begin(text: &'t str) -> Result<Self, Failure> {
        let mut lexer = Lexer::new(text);
        let (token, at) = lexer.next()?;
        Ok(Self { lexer, token, at, open: 0 })
    }

    fn whole(&mut self) -> Result<Ast, Failure> {
        let ast = self.expression(0)?;
        match self.token {
            Token::End => Ok(ast),
            _ => Err(self.unexpected("an operator or the end")),
        }
    }

    fn unexpected(&self, expected: &'static str) -> Failure {
        (CompileProblem::Unexpected { found: self.token.describe(), expected }, self.at)
    }

    /// Steps on; gives the token that stood here and its place.
    fn advance(&mut self) -> Result<(Token, usize), Failure> {
        let (token, at) = self.lexer.next()?;
        Ok((std::mem::replace(&mut self.token, token), std::mem::replace(&mut self.at, at)))
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(&self.token, Token::Sign(found) if *found == sign)
    }

    fn takes(&mut self, sign: &str) -> Result<bool, Failure> {
        let found = self.is_sign(sign);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, sign: &str, expected: &'static str) -> Result<(), Failure> {
        if self.takes(sign)? { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn node(&self, kind: AstKind, at: usize) -> Result<Ast, Failure> {
        let inside = match &kind {
            AstKind::Member(input, _)
            | AstKind::Minus(input)
            | AstKind::Plus(input)
            | AstKind::Is(input, _)
            | AstKind::As(input, _) => input.depth,
            AstKind::At(left, right) | AstKind::Binary(_, left, right) => {
                left.depth.max(right.depth)
            }
            AstKind::Call { input, arguments, .. } => {
                let deepest = arguments.iter().map(|argument| argument.depth).max();
                deepest.max(input.as_ref().map(|input| input.depth)).unwrap_or(0)
            }
            AstKind::Union(parts) => parts.iter().map(|part| part.depth).max().unwrap_or(0),
            _ => 0,
        };
        if inside >= MAX_DEPTH {
            return Err((CompileProblem::TooLarge("too many parts inside each other"), at));
        }
        let at = u32::try_from(at).expect("the length is bounded");
        Ok(Ast { kind, at, depth: inside + 1 })
    }

    /// Operators that bind at least as tightly as `least`.
    fn expression(&mut self, least: u8) -> Result<Ast, Failure> {
        self.open += 1;
        if self.open > MAX_DEPTH {
            return Err((CompileProblem::TooLarge("too many parts inside each other"), self.at));
        }
        let mut left = self.operand()?;
        loop {
            let at = self.at;
            if let Some((binding, operator)) = binary(&self.token) {
                if binding < least {
                    break;
                }
                self.advance()?;
                let right = self.expression(binding + 1)?;
                let kind = AstKind::Binary(operator, Box::new(left), Box::new(right));
                left = self.node(kind, at)?;
            } else if self.is_sign("|") && UNION >= least {
                self.advance()?;
                let right = self.expression(UNION + 1)?;
                let kind = match left.kind {
                    AstKind::Union(mut parts) => {
                        parts.push(right);
                        AstKind::Union(parts)
                    }
                    kind => AstKind::Union(vec![Ast { kind, ..left }, right]),
                };
                left = self.node(kind, at)?;
            } else if let Token::Word(word) = &self.token
                && matches!(word.as_str(), "is" | "as")
                && TYPE_TEST >= least
            {
                let is_test = word == "is";
                self.advance()?;
                let name = self.type_name()?;
                let left_box = Box::new(left);
                let kind =
                    if is_test { AstKind::Is(left_box, name) } else { AstKind::As(left_box, name) };
                left = self.node(kind, at)?;
            } else {
                break;
            }
        }
        self.open -= 1;
        Ok(left)
    }

    fn operand(&mut self) -> Result<Ast, Failure> {
        let at = self.at;
        if self.takes("-")? {
            let operand = Box::new(self.expression(POLARITY)?);
            return self.node(AstKind::Minus(operand), at);
        }
        if self.takes("+")? {
            let operand = Box::new(self.expression(POLARITY)?);
            return self.node(AstKind::Plus(operand), at);
        }
        let mut operand = self.term()?;
        loop {
            let at = self.at;
            if self.takes(".")? {
                let at = self.at;
                let name = match self.advance()? {
                    (Token::Word(name) | Token::Quoted(name), _) => name,
                    (Token::Dollar(name), _) if name == "this" => continue,
                    (found, at) => {
                        let found = found.describe();
                        let expected = "the name of an element or function";
                        return Err((CompileProblem::Unexpected { found, expected }, at));
                    }
                };
                operand = self.invocation(Some(Box::new(operand)), name, at)?;
            } else if self.takes("[")? {
                let index = self.expression(0)?;
                self.expect("]", "']'")?;
                operand = self.node(AstKind::At(Box::new(operand), Box::new(index)), at)?;
            } else {
                return Ok(operand);
            }
        }
    }

    fn invocation(
        &mut self,
        input: Option<Box<Ast>>,
        name: String,
        at: usize,
    ) -> Result<Ast, Failure> {
        let kind = if self.takes("(")? {
            let mut arguments = Vec::new();
            if !self.is_sign(")") {
                arguments.push(self.expression(0)?);
                while self.takes(",")? {
                    arguments.push(self.expression(0)?);
                }
            }
            self.expect(")", "',' or ')'")?;
            AstKind::Call { input, name, arguments }
        } else {
            match input {
                Some(input) => AstKind::Member(input, name),
                None => AstKind::Name(name),
            }
        };
        self.node(kind, at)
    }

    fn term(&mut self) -> Result<Ast, Failure> {
        const EXPECTED: &str = "an expression";
        let (token, at) = self.advance()?;
        let kind = match token {
            Token::Literal(literal) => AstKind::Literal(self.with_unit(literal)?),
            Token::Quoted(name) => return self.invocation(None, name, at),
            Token::Word(word) => match word.as_str() {
                "true" => AstKind::Literal(Literal::Boolean(true)),
                "false" => AstKind::Literal(Literal::Boolean(false)),
                "div" | "mod" | "and" | "or" | "xor" | "implies" => {
                    let found = format!("'{word}'");
                    return Err((CompileProblem::Unexpected { found, expected: EXPECTED }, at));
                }
                _ => return self.invocation(None, word, at),
            },
            Token::Variable(name) if !name.is_empty() => AstKind::Variable(name),
            Token::Dollar(name) if name == "this" => AstKind::This,
            Token::Dollar(name) if name == "index" => AstKind::Index,
            Token::Dollar(name) if name == "total" => AstKind::Total,
            Token::Sign("(") => {
                let inside = self.expression(0)?;
                self.expect(")", "an operator or ')'")?;
                return Ok(inside);
            }
            Token::Sign("{") => {
                self.expect("}", "'}'")?;
                AstKind::Empty
            }
            found => {
                let found = found.describe();
                return Err((CompileProblem::Unexpected { found, expected: EXPECTED }, at));
            }
        };
        self.node(kind, at)
    }

    /// A number may have a unit behind it, and is then a quantity.
    fn with_unit(&mut self, literal: Literal) -> Result<Literal, Failure> {
        let value = match &literal {
            Literal::Integer(integer) => Decimal::from(*integer),
            Literal::Decimal(decimal) => *decimal,
            _ => return Ok(literal),
        };
        match &self.token {
            Token::Literal(Literal::String(unit)) => {
                let unit = unit.clone();
                self.advance()?;
                Ok(Literal::Quantity(value, unit))
            }
            Token::Word(word) => match CalendarUnit::from_keyword(word) {
                Some(unit) => {
                    self.advance()?;
                    Ok(Literal::Duration(value, unit))
                }
                None => Ok(literal),
            },
            _ => Ok(literal),
        }
    }

    fn type_name(&mut self) -> Result<TypeName, Failure> {
        let at = u32::try_from(self.at).expect("the length is bounded");
        let name = self.type_part()?;
        // `System.String` is one name, in `Quantity.unit` a path goes on.
        if matches!(name.as_str(), "System" | "FHIR") && self.takes(".")? {
            return Ok(TypeName { namespace: Some(name), name: self.type_part()?, at });
        }
        Ok(TypeName { namespace: None, name, at })
    }

    fn type_part(&mut self) -> Result<String, Failure> {
        match self.advance()? {
            (Token::Word(name) | Token::Quoted(name), _) => Ok(name),
            (found, at) => {
                let found = found.describe();
                Err((CompileProblem::Unexpected { found, expected: "the name of a type" }, at))
            }
        }
    }
}
