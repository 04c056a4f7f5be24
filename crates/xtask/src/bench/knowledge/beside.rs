//! FHIRPath beside rh-fhirpath, round by round in one run: the same expressions over the same
//! resources, compiled before.
//!
//! The peer is a program of its own in a workspace of its own (crates/fhirpath/peer), which is
//! built here and then answers questions on its standard input. Both give what they find as a
//! list. How many items each found is printed where it differs; which of them is right, the
//! official suite says.

use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use fhir_core::json::Document;
use fhir_schema::Schema;
use fhirpath::{Context, Expression, FhirValue, Item, Options};
use serde_json::{Value, json};

use super::processor::micros;
use super::{Failure, Moments, say};

/// An expression on a resource, or on each item that another expression finds there.
struct Case {
    name: &'static str,
    base: &'static str,
    expression: &'static str,
    over: Option<&'static str>,
}

const OF_A_PATIENT: [Case; 4] = [
    Case { name: "a path", base: "Patient", expression: "Patient.name.given", over: None },
    Case {
        name: "a path with a condition",
        base: "Patient",
        expression: "Patient.telecom.where(system = 'phone').value",
        over: None,
    },
    Case { name: "everything", base: "Patient", expression: "descendants()", over: None },
    Case {
        name: "ele-1 on each of these",
        base: "Element",
        expression: "hasValue() or (children().count() > id.count())",
        over: Some("descendants()"),
    },
];

const OF_A_BUNDLE: [Case; 1] = [Case {
    name: "a path through a Bundle",
    base: "Bundle",
    expression: "Bundle.entry.resource.ofType(Patient).name.given",
    over: None,
}];

/// How many patients the Bundle has.
const PATIENTS: usize = 100;

/// What one side says of a case.
struct Told {
    /// Microseconds of processor time.
    micros: f64,
    /// How many items it found; of a case over items, of how many it is true.
    found: u64,
}

/// Builds the peer, measures and prints.
pub(super) fn run(moments: Moments, patient: &str) -> Result<(), Failure> {
    let mut peer = Peer::start()?;
    let entries = vec![format!("{{\"resource\":{patient}}}"); PATIENTS].join(",");
    let bundle =
        format!("{{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{entries}]}}");
    say("FHIRPath beside rh-fhirpath, processor time in µs   ours      peer   peer/ours");
    for (resource, cases) in [(patient, &OF_A_PATIENT[..]), (&bundle, &OF_A_BUNDLE[..])] {
        let document = Document::parse(resource.as_bytes())?;
        for case in cases {
            let compared = compare(
                moments,
                || ours(moments, case, &document),
                || {
                    peer.ask(&json!({
                        "resource": resource,
                        "seconds": moments.seconds,
                        "expression": case.expression,
                        "over": case.over,
                    }))
                },
            );
            print(case.name, &compared?);
        }
        let made = compare(
            moments,
            || prepared(moments, resource),
            || peer.ask(&json!({ "resource": resource, "seconds": moments.seconds })),
        );
        print(&format!("  from {} bytes of text to a context", resource.len()), &made?);
    }
    peer.end()
}

/// The best round of each; the rounds take turns, so that a slow minute slows both.
fn compare(
    moments: Moments,
    mut ours: impl FnMut() -> Result<Told, Failure>,
    mut peers: impl FnMut() -> Result<Told, Failure>,
) -> Result<[Told; 2], Failure> {
    let mut best = [ours()?, peers()?];
    for _ in 1..moments.rounds {
        for (best, next) in best.iter_mut().zip([ours()?, peers()?]) {
            best.micros = best.micros.min(next.micros);
        }
    }
    Ok(best)
}

fn print(name: &str, [ours, peer]: &[Told; 2]) {
    let ratio = peer.micros / ours.micros;
    let differs = match ours.found == peer.found {
        true => String::new(),
        false => format!("   (found {} and {})", ours.found, peer.found),
    };
    say(&format!("  {name:<42} {:>10.3} {:>9.2} {ratio:>9.0}{differs}", ours.micros, peer.micros));
}

fn ours(moments: Moments, case: &Case, document: &Document<'_>) -> Result<Told, Failure> {
    let schema = Schema::r4();
    let context = Context::new(schema);
    let root = Item::Fhir(FhirValue::resource(schema, document.root()));
    let compile =
        |text: &str, base: &str| Expression::compile(text, schema, base, Options::default());
    let expression = compile(case.expression, case.base)?;
    let over = case.over.map(|over| compile(over, "Patient")).transpose()?;
    let items = match &over {
        None => vec![root],
        Some(over) => over.evaluate(&context, &root)?,
    };
    let mut found = 0;
    for item in &items {
        found += match over {
            None => expression.evaluate(&context, item)?.len() as u64,
            Some(_) => u64::from(expression.is_true(&context, item)? == Some(true)),
        };
    }
    let micros = micros(moments.seconds, || {
        for item in &items {
            black_box(expression.evaluate(&context, item).is_ok());
        }
    })?;
    Ok(Told { micros, found })
}

/// What it takes to have a resource that can be evaluated on.
fn prepared(moments: Moments, resource: &str) -> Result<Told, Failure> {
    let schema = Schema::r4();
    let micros = micros(moments.seconds, || {
        if let Ok(document) = Document::parse(black_box(resource).as_bytes()) {
            let context = Context::new(schema);
            black_box((&context, FhirValue::resource(schema, document.root())));
        }
    })?;
    Ok(Told { micros, found: 0 })
}

/// The peer's program; it ends when its input does.
struct Peer {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start() -> Result<Self, Failure> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fhirpath/peer/Cargo.toml");
        say("building the peer; the first time this takes minutes and 3.3 GB of memory");
        let mut command = Command::new("cargo");
        command.args(["run", "--release", "--locked", "--quiet", "--jobs", "1"]);
        command.arg("--manifest-path").arg(manifest);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let questions = process.stdin.take().ok_or("a peer without an input")?;
        let answers = process.stdout.take().ok_or("a peer without an output")?;
        Ok(Self { process, questions, answers: BufReader::new(answers) })
    }

    fn ask(&mut self, question: &Value) -> Result<Told, Failure> {
        writeln!(self.questions, "{question}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value =
            serde_json::from_str(&line).map_err(|_| "the peer ended before its answer")?;
        if let Some(failure) = answer["failure"].as_str() {
            return Err(format!("the peer cannot answer: {failure}").into());
        }
        let micros = answer["micros"].as_f64().ok_or("the peer told no time")?;
        Ok(Told { micros, found: answer["found"].as_u64().unwrap_or(0) })
    }

    fn end(mut self) -> Result<(), Failure> {
        drop(self.questions);
        self.process.wait()?;
        Ok(())
    }
}
