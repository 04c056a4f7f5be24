//! The peer of the crate `fhirpath` in measurements: rh-fhirpath, asked what the bench asks ours.
//!
//! A line of JSON on the standard input is a question, a line of JSON on the standard output its
//! answer; the process ends when its input does. Times are the thread's processor time. What an
//! expression means is not judged here: the answer says how many items it found.
//!
//! A question has the text of a `resource` and the `seconds` to measure. With an `expression` it
//! asks what evaluating that takes, parsed once before: on the resource or, where `over` is
//! another expression, on each item that this finds, each with a context made before. Without one
//! it asks what it takes to have a context of the resource's text.

use std::error::Error;
use std::fs::read_to_string;
use std::hint::black_box;
use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::time::Duration;

use rh_fhirpath::serde_json::{self, Value, json};
use rh_fhirpath::{EvaluationContext, FhirPathEvaluator, FhirPathParser, FhirPathValue};

/// As in what it is measured beside.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    for line in stdin().lock().lines() {
        let answer =
            answer(&line?).unwrap_or_else(|failure| json!({ "failure": failure.to_string() }));
        let mut output = stdout().lock();
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

/// Answers with `micros` for one time and, of an expression, how many items were `found`; of one
/// that is evaluated over items, for all of them, and how many of them it is true for.
fn answer(line: &str) -> Result<Value, Failure> {
    let question: Value = serde_json::from_str(line)?;
    let text = |name: &str| question[name].as_str();
    let seconds = question["seconds"].as_f64().ok_or("no seconds")?;
    let resource = text("resource").ok_or("no resource")?;
    let context = || -> Result<EvaluationContext, Failure> {
        Ok(EvaluationContext::new(serde_json::from_str(resource)?))
    };
    let Some(expression) = text("expression") else {
        let micros = micros(seconds, || {
            black_box(context().is_ok());
        })?;
        return Ok(json!({ "micros": micros }));
    };
    let (parser, evaluator) = (FhirPathParser::new(), FhirPathEvaluator::new());
    let expression = parser.parse(expression)?;
    let (whole, over) = (context()?, text("over"));
    let contexts = match over {
        None => vec![whole],
        Some(over) => {
            let items = items(evaluator.evaluate(&parser.parse(over)?, &whole)?);
            items.iter().map(|item| EvaluationContext::new(item.to_json())).collect()
        }
    };
    let mut found = 0;
    for context in &contexts {
        let of_this = items(evaluator.evaluate(&expression, context)?);
        let is_true = of_this == [FhirPathValue::Boolean(true)];
        found += if over.is_some() { usize::from(is_true) } else { of_this.len() };
    }
    let micros = micros(seconds, || {
        for context in &contexts {
            black_box(evaluator.evaluate(&expression, context).is_ok());
        }
    })?;
    Ok(json!({ "micros": micros, "found": found }))
}

fn items(value: FhirPathValue) -> Vec<FhirPathValue> {
    match value {
        FhirPathValue::Empty => Vec::new(),
        FhirPathValue::Collection(items) | FhirPathValue::UnorderedCollection(items) => items,
        one => vec![one],
    }
}

/// Microseconds that `work` takes once, measured over about so many seconds.
fn micros(seconds: f64, mut work: impl FnMut()) -> Result<f64, Failure> {
    /// How many times as often the work is done at most when it was too little.
    const STEP: u32 = 16;
    let mut times = 1_u32;
    loop {
        let begun = processor_time()?;
        for _ in 0..times {
            work();
        }
        let taken = processor_time()?.saturating_sub(begun).as_secs_f64();
        if taken >= seconds {
            return Ok(taken / f64::from(times) * 1e6);
        }
        let more = (1..STEP).find(|more| f64::from(*more) * taken >= seconds * 1.1);
        let grown = times.checked_mul(more.unwrap_or(STEP).max(2));
        times = grown.ok_or("work that takes no time")?;
    }
}

/// Processor time of this thread (proc(5), schedstat).
fn processor_time() -> Result<Duration, Failure> {
    let told = read_to_string("/proc/thread-self/schedstat")?;
    let nanos = told.split(' ').next().ok_or("no processor time")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}
