//! JSON Patch (RFC 6902) on the JSON of a resource.

use fhir_core::json::{Document, Kind, MAX_DEPTH, Value};

use crate::Limits;
use crate::error::{PatchError, PatchProblem};
use crate::pointer::{Pointer, index};
use crate::tree::Node;

/// So many operations a patch may have.
const MAX_OPERATIONS: usize = 10_000;

/// So many names and items may be looked at or moved on behalf of one patch.
const MAX_STEPS: usize = 50_000_000;
/// Walking through so many bytes of a value counts as a step.
const BYTES_OF_STEP: usize = 8;

/// A JSON Patch that was read.
#[derive(Debug)]
pub struct JsonPatch<'a> {
    operations: Vec<Operation<'a>>,
}

#[derive(Debug)]
struct Operation<'a> {
    path: Pointer,
    kind: Kinds<'a>,
}

#[derive(Debug)]
enum Kinds<'a> {
    Add(Value<'a>),
    Remove,
    Replace(Value<'a>),
    Move(Pointer),
    Copy(Pointer),
    Test(Value<'a>),
}

impl<'a> JsonPatch<'a> {
    /// How many operations copy. Without one the result is no longer than what is patched and the
    /// patch together; each may double it.
    #[must_use]
    pub fn copies(&self) -> usize {
        self.operations.iter().filter(|it| matches!(it.kind, Kinds::Copy(_))).count()
    }

    /// Reads the array of operations.
    ///
    /// # Errors
    /// [`PatchProblem::Malformed`] or [`PatchProblem::TooCostly`].
    pub fn read(patch: Value<'a>) -> Result<Self, PatchError> {
        if patch.kind() != Kind::Array {
            let text = "a JSON Patch is an array of operations, such as \
                        [{\"op\": \"replace\", \"path\": \"/active\", \"value\": true}]";
            return Err(PatchError::whole(PatchProblem::malformed(text), ""));
        }
        let count = patch.items().count();
        if count > MAX_OPERATIONS {
            let text = format!("a patch has at most {MAX_OPERATIONS} operations, this has {count}");
            return Err(PatchError::whole(PatchProblem::TooCostly(text), ""));
        }
        let read = patch.items().enumerate().map(|(index, operation)| {
            read_operation(operation).map_err(|problem| PatchError {
                problem,
                operation: Some(index),
                path: operation_path(operation),
                expression: String::new(),
            })
        });
        Ok(Self { operations: read.collect::<Result<_, _>>()? })
    }

    /// The resource with all operations applied in their order.
    ///
    /// # Errors
    /// The first operation that cannot be applied: then none is.
    pub fn apply(&self, target: Value<'_>, limits: &Limits) -> Result<Vec<u8>, PatchError> {
        let of = target.get_str("resourceType").unwrap_or_default();
        let root = Node::of(target);
        let room = limits.bytes.saturating_sub(root.measure().bytes);
        let mut work = Work { root, room, steps: MAX_STEPS };
        for (index, operation) in self.operations.iter().enumerate() {
            work.perform(operation).map_err(|problem| PatchError {
                problem,
                operation: Some(index),
                path: operation.path.text.clone(),
                expression: operation.path.expression(&of),
            })?;
        }
        let json = work.root.to_json();
        match Document::parse(&json) {
            Ok(_) => Ok(json),
            Err(error) => {
                let text = format!("the result is no JSON that can be stored: {error}");
                Err(PatchError::whole(PatchProblem::Inapplicable(text), error.expression))
            }
        }
    }
}

fn operation_path(operation: Value<'_>) -> String {
    if operation.kind() != Kind::Object {
        return String::new();
    }
    operation.get_str("path").unwrap_or_default().into_owned()
}

fn read_operation(operation: Value<'_>) -> Result<Operation<'_>, PatchProblem> {
    if operation.kind() != Kind::Object {
        return Err(PatchProblem::malformed("an operation is an object with op and path"));
    }
    let pointer = |name: &str| match operation.get(name) {
        None => Err(PatchProblem::malformed(format!("it has no \"{name}\""))),
        Some(value) => match value.as_str() {
            Some(text) => Pointer::read(&text),
            None => Err(PatchProblem::malformed(format!("\"{name}\" must be a string"))),
        },
    };
    let value = || {
        let missing = || PatchProblem::malformed("it has no \"value\"");
        operation.get("value").ok_or_else(missing)
    };
    let path = pointer("path")?;
    let kind = match operation.get_str("op").as_deref() {
        Some("add") => Kinds::Add(value()?),
        Some("remove") => Kinds::Remove,
        Some("replace") => Kinds::Replace(value()?),
        Some("move") => Kinds::Move(pointer("from")?),
        Some("copy") => Kinds::Copy(pointer("from")?),
        Some("test") => Kinds::Test(value()?),
        _ => {
            return Err(PatchProblem::malformed(
                "its \"op\" must be one of add, remove, replace, move, copy, test",
            ));
        }
    };
    Ok(Operation { path, kind })
}

/// A resource while it is patched.
struct Work<'a> {
    root: Node<'a>,
    /// Bytes that may still be added.
    room: usize,
    /// Steps that may still be taken.
    steps: usize,
}

impl<'a> Work<'a> {
    fn perform(&mut self, operation: &Operation<'a>) -> Result<(), PatchProblem> {
        let path = &operation.path;
        match &operation.kind {
            Kinds::Add(value) => self.add(path, Node::of(*value)),
            Kinds::Remove => self.remove(path).map(drop),
            Kinds::Replace(value) => self.replace(path, Node::of(*value)),
            Kinds::Move(from) => {
                if from.is_around(path) {
                    return Err(PatchProblem::malformed("nothing can be moved into itself"));
                }
                // To where it is it need not be moved, but it must be there.
                if from == path {
                    return self.find(from).map(drop);
                }
                let moved = self.remove(from).map_err(|problem| in_from(problem, from))?;
                self.insert(path, moved)
            }
            Kinds::Copy(from) => {
                let copied = self.find(from).map_err(|problem| in_from(problem, from))?;
                let bytes = copied.measure().bytes;
                let copied = copied.clone();
                self.take_room(bytes)?;
                self.insert(path, copied)
            }
            Kinds::Test(value) => {
                let found = self.find(path)?;
                let (bytes, is_equal) = (found.measure().bytes, found.is_equal(&Node::of(*value)));
                self.take_steps(bytes / BYTES_OF_STEP)?;
                if is_equal { Ok(()) } else { Err(PatchProblem::TestFailed) }
            }
        }
    }

    fn add(&mut self, path: &Pointer, value: Node<'a>) -> Result<(), PatchProblem> {
        self.take_room(value.measure().bytes)?;
        self.insert(path, value)
    }

    fn take_room(&mut self, bytes: usize) -> Result<(), PatchProblem> {
        let left = self.room.checked_sub(bytes);
        self.room = left.ok_or_else(|| {
            PatchProblem::too_costly("the result would be longer than a resource may be")
        })?;
        Ok(())
    }

    /// RFC 6902, 4.1: into an object, in the place of what has the name; into an array, before
    /// what has the index.
    fn insert(&mut self, path: &Pointer, value: Node<'a>) -> Result<(), PatchProblem> {
        let measured = value.measure();
        self.take_steps(measured.bytes / BYTES_OF_STEP)?;
        if path.tokens.len() + measured.levels > MAX_DEPTH {
            let text = format!("the result would have more than {MAX_DEPTH} levels");
            return Err(PatchProblem::Inapplicable(text));
        }
        let Some((last, parent)) = path.tokens.split_last() else {
            self.root = value;
            return Ok(());
        };
        let (parent, steps) = self.find_mut(parent)?;
        let more = match parent {
            Node::Object(members) => {
                let steps = members.len();
                match members.iter_mut().find(|(name, _)| name == last) {
                    Some((_, there)) => *there = value,
                    None => members.push((last.clone().into(), value)),
                }
                steps
            }
            Node::Array(items) => {
                let at = if last == "-" { Some(items.len()) } else { index(last) };
                let Some(at) = at.filter(|at| *at <= items.len()) else {
                    return Err(no_index(last));
                };
                items.insert(at, value);
                items.len() - at
            }
            _ => return Err(missing(last)),
        };
        self.take_steps(steps + more)
    }

    fn remove(&mut self, path: &Pointer) -> Result<Node<'a>, PatchProblem> {
        let Some((last, parent)) = path.tokens.split_last() else {
            return Err(PatchProblem::inapplicable("the whole resource cannot be removed"));
        };
        let (parent, steps) = self.find_mut(parent)?;
        let (removed, more) = match parent {
            Node::Object(members) => {
                let at = members.iter().position(|(name, _)| name == last);
                (members.remove(at.ok_or_else(|| missing(last))?).1, members.len())
            }
            Node::Array(items) => {
                let Some(at) = index(last).filter(|at| *at < items.len()) else {
                    return Err(no_index(last));
                };
                (items.remove(at), items.len() - at)
            }
            _ => return Err(missing(last)),
        };
        self.take_steps(steps + more)?;
        Ok(removed)
    }

    fn replace(&mut self, path: &Pointer, value: Node<'a>) -> Result<(), PatchProblem> {
        self.take_room(value.measure().bytes)?;
        if path.tokens.len() + value.measure().levels > MAX_DEPTH {
            let text = format!("the result would have more than {MAX_DEPTH} levels");
            return Err(PatchProblem::Inapplicable(text));
        }
        let (there, steps) = self.find_mut(&path.tokens)?;
        *there = value;
        self.take_steps(steps)
    }

    fn find(&mut self, path: &Pointer) -> Result<&Node<'a>, PatchProblem> {
        let steps = self.find_mut(&path.tokens)?.1;
        self.take_steps(steps)?;
        Ok(self.find_mut(&path.tokens)?.0)
    }

    /// What stands there, and how many steps it took to find it.
    fn find_mut(&mut self, tokens: &[String]) -> Result<(&mut Node<'a>, usize), PatchProblem> {
        let mut node = &mut self.root;
        let mut steps = 1;
        for token in tokens {
            node = match node {
                Node::Object(members) => {
                    steps += members.len();
                    let found = members.iter_mut().find(|(name, _)| name == token);
                    &mut found.ok_or_else(|| missing(token))?.1
                }
                Node::Array(items) => {
                    let found = index(token).and_then(|at| items.get_mut(at));
                    found.ok_or_else(|| no_index(token))?
                }
                _ => return Err(missing(token)),
            };
        }
        Ok((node, steps))
    }

    fn take_steps(&mut self, steps: usize) -> Result<(), PatchProblem> {
        let left = self.steps.checked_sub(steps);
        self.steps = left.ok_or_else(|| {
            PatchProblem::too_costly("the patch takes too long; send it in parts")
        })?;
        Ok(())
    }
}

fn in_from(problem: PatchProblem, from: &Pointer) -> PatchProblem {
    match problem {
        PatchProblem::Inapplicable(text) => {
            PatchProblem::Inapplicable(format!("from {}: {text}", from.text))
        }
        other => other,
    }
}

fn missing(name: &str) -> PatchProblem {
    PatchProblem::inapplicable(format!("there is no \"{name}\" there"))
}

fn no_index(token: &str) -> PatchProblem {
    PatchProblem::inapplicable(match index(token) {
        Some(index) => format!("the array there has no index {index}"),
        None => format!("\"{token}\" is no index of the array there"),
    })
}
