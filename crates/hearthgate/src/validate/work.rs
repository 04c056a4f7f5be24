//! Reading in one thread, validating in several, and what they find in the order of the files.
//!
//! Documents go in batches, so that small ones cost no waiting, and only so many batches are on
//! their way: what is held in memory does not grow with the files.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle, available_parallelism, scope};

use super::ValidateError;
use super::check::{Checked, Checker};
use super::inputs::{Input, Inputs, Source};
use super::reading::{Content, Document, Documents};
use crate::progress::Progress;

/// Bytes after which a batch is full; a document is never divided.
const BATCH_BYTES: usize = 64 << 10;

/// Documents of one file.
struct Batch {
    file: Arc<str>,
    documents: Vec<Document>,
    /// Where what is found goes.
    found: SyncSender<Vec<Checked>>,
}

/// Both ends of what a batch is sent through.
struct Line {
    /// To whoever validates.
    work: SyncSender<Batch>,
    /// To whoever takes what is found, in the order of the files.
    order: SyncSender<Receiver<Vec<Checked>>>,
}

/// Nobody takes what is read any more.
struct Closed;

/// How many threads can work at once.
pub(crate) fn processors() -> usize {
    available_parallelism().map_or(1, Into::into)
}

/// Validates everything in the inputs with so many threads, and gives what is found to `take`.
///
/// # Errors
/// What `take` gives, which ends everything; and when a thread cannot be started or breaks off.
pub(crate) fn run(
    inputs: &Inputs,
    checker: &Checker,
    jobs: usize,
    progress: &Progress,
    take: &mut dyn FnMut(Checked) -> Result<(), ValidateError>,
) -> Result<(), ValidateError> {
    let (send_work, work) = sync_channel(jobs);
    let (send_order, order) = sync_channel(jobs * 4);
    let work = Arc::new(Mutex::new(work));
    let line = Line { work: send_work, order: send_order };
    scope(|scope| {
        let mut threads = vec![start(scope, "validate-reader".to_owned(), move || {
            // Whoever closed the line has said why.
            let _ = read_all(inputs, progress, &line);
        })?];
        for number in 0..jobs {
            let work = Arc::clone(&work);
            let validate = move || validate_all(checker, &work);
            threads.push(start(scope, format!("validate-{number}"), validate)?);
        }
        drop(work);
        let taken = take_all(&order, take);
        // Reading ends when nobody takes what is read.
        drop(order);
        let mut is_whole = true;
        for thread in threads {
            is_whole &= thread.join().is_ok();
        }
        taken?;
        if is_whole { Ok(()) } else { Err(ValidateError::Broken) }
    })
}

fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    work: impl FnOnce() + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, ()>, ValidateError> {
    Builder::new().name(name).spawn_scoped(scope, work).map_err(ValidateError::Thread)
}

fn take_all(
    order: &Receiver<Receiver<Vec<Checked>>>,
    take: &mut dyn FnMut(Checked) -> Result<(), ValidateError>,
) -> Result<(), ValidateError> {
    for found in order {
        let found = found.recv().map_err(|_| ValidateError::Broken)?;
        found.into_iter().try_for_each(&mut *take)?;
    }
    Ok(())
}

fn validate_all(checker: &Checker, work: &Mutex<Receiver<Batch>>) {
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Batch { file, documents, found }) = next else { return };
        let checked = documents.into_iter().map(|document| {
            let line = document.line;
            let (resource, issues) = checker.check(document);
            Checked { file: Arc::clone(&file), line, resource, issues }
        });
        // Where nobody takes it any more, the next batch is the last.
        let _ = found.send(checked.collect());
    }
}

fn read_all(inputs: &Inputs, progress: &Progress, line: &Line) -> Result<(), Closed> {
    inputs.files.iter().try_for_each(|input| read_file(input, progress, line))
}

fn read_file(input: &Input, progress: &Progress, line: &Line) -> Result<(), Closed> {
    let file: Arc<str> = match &input.source {
        Source::Standard => "-".into(),
        Source::File(path) => path.display().to_string().into(),
    };
    let mut documents = match Documents::open(input, progress) {
        Ok(documents) => documents,
        Err(error) => return send(line, &file, vec![unopened(&error)]),
    };
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(document) = documents.next() {
        bytes += match &document.content {
            Content::Json(content) | Content::Xml(content) => content.len(),
            Content::Unreadable(why) => why.len(),
        };
        batch.push(document);
        if bytes >= BATCH_BYTES {
            send(line, &file, std::mem::take(&mut batch))?;
            bytes = 0;
        }
    }
    if batch.is_empty() { Ok(()) } else { send(line, &file, batch) }
}

fn send(line: &Line, file: &Arc<str>, documents: Vec<Document>) -> Result<(), Closed> {
    let (found, receive) = sync_channel(1);
    line.order.send(receive).map_err(|_| Closed)?;
    line.work.send(Batch { file: Arc::clone(file), documents, found }).map_err(|_| Closed)
}

fn unopened(error: &io::Error) -> Document {
    Document { line: 1, content: Content::Unreadable(format!("the file cannot be read: {error}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Instant;
    use fhir_validation::Depth;

    use crate::validate::packages::Packages;

    /// Files of so many lines each, and a checker.
    fn given(files: usize, lines: usize) -> (tempfile::TempDir, Inputs, Checker) {
        let dir = tempfile::tempdir().unwrap();
        for file in 0..files {
            let lines = (0..lines).map(|line| {
                format!("{{\"resourceType\":\"Basic\",\"id\":\"{file}-{line}\",\"x\":1}}\n")
            });
            std::fs::write(dir.path().join(format!("{file}.ndjson")), lines.collect::<String>())
                .unwrap();
        }
        let inputs = Inputs::find(&[dir.path().to_owned()]).unwrap();
        let packages = Packages::load(&[]).unwrap();
        let checker = Checker::new(packages, &[], Depth::Base, Instant::from_micros(0)).unwrap();
        (dir, inputs, checker)
    }

    #[test]
    fn what_is_found_comes_in_the_order_of_the_files_however_many_threads_there_are() {
        let (_dir, inputs, checker) = given(3, 2_500);
        for jobs in [1, 5] {
            let mut found = Vec::new();
            run(&inputs, &checker, jobs, &Progress::hidden(), &mut |checked| {
                assert!(checked.issues.iter().any(|it| it.rule == "unknown-property"));
                found.push((checked.resource, checked.line));
                Ok(())
            })
            .unwrap();
            let expected = (0..3)
                .flat_map(|file| (0..2_500).map(move |at| (format!("Basic/{file}-{at}"), at + 1)));
            assert!(found.iter().cloned().eq(expected), "{jobs}");
        }
    }

    #[test]
    fn who_takes_no_more_ends_it() {
        let (_dir, inputs, checker) = given(2, 20_000);
        let mut taken = 0;
        let ended = run(&inputs, &checker, 2, &Progress::hidden(), &mut |_| {
            taken += 1;
            if taken < 10 { Ok(()) } else { Err(ValidateError::Broken) }
        });
        assert!(ended.is_err() && taken == 10, "{taken}");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told_and_the_next_is_read() {
        let (dir, inputs, checker) = given(2, 1);
        std::fs::remove_file(dir.path().join("0.ndjson")).unwrap();
        let mut found = Vec::new();
        run(&inputs, &checker, 1, &Progress::hidden(), &mut |checked| {
            found.push(checked.issues[0].rule.clone());
            Ok(())
        })
        .unwrap();
        assert_eq!(found[0], "unreadable");
        assert_eq!(found.len(), 2);
    }
}
