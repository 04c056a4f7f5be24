//! What the proxies are asked, by wrk as fast as they answer and by h2load at a rate.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use integration_tests::tools::Tool;
use integration_tests::wrk::{Load, Wrk, whole_seconds};

use super::proxies::{PATH, Proxy, Scheme, Site};
use crate::bench::load::Round;
use crate::bench::{Failure, Rounds, tree};

/// Connections of the load.
pub(crate) const CONNECTIONS: u32 = 64;
/// Bytes of a body that is posted.
const POSTED: usize = 100 << 10;
/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    Small,
    Large,
    Post,
}

pub(crate) const WORKLOADS: [Workload; 3] = [Workload::Small, Workload::Large, Workload::Post];

/// A GET of the small file, for a connection of our own.
pub(crate) fn small_request(proxy: &Proxy) -> Vec<u8> {
    let key = authorization(proxy).map(|value| format!("authorization: {value}\r\n"));
    let key = key.unwrap_or_default();
    format!("GET {PATH}/small HTTP/1.1\r\nhost: localhost\r\n{key}\r\n").into_bytes()
}

impl Workload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "GET of 2 KiB",
            Self::Large => "GET of 1 MiB",
            Self::Post => "POST of 100 KiB",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
            Self::Post => "sink",
        }
    }

    fn path(self) -> String {
        format!("{PATH}/{}", self.word())
    }

    /// Asks as fast as is answered.
    pub(crate) fn as_fast_as_answered(
        self,
        site: &Site,
        proxy: &Proxy,
        rounds: Rounds,
    ) -> Result<Round, Failure> {
        let (base, path) = (base(proxy), self.path());
        let authorization = authorization(proxy);
        let wrk = Wrk {
            base: &base,
            paths: &[&path],
            authorization: authorization.as_deref(),
            posted: (self == Self::Post).then_some(POSTED),
            connections: CONNECTIONS,
        };
        let run = |time: Duration| output(wrk.command(&site.directory, time)?, proxy);
        let window = rounds.window();
        if !window.warm_up.is_zero() {
            run(window.warm_up)?;
        }
        let (before, load_before) = (tree::cpu(proxy.id())?, tree::cpu_of_ended()?);
        let told = run(window.measured)?;
        let used = tree::cpu(proxy.id())?.saturating_sub(before);
        let of_load = tree::cpu_of_ended()?.saturating_sub(load_before);
        let load = Load::told(&told).ok_or_else(|| format!("wrk told: {told}"))?;
        if load.failed.sum() > 0 || load.answers == 0 {
            return Err(self.failed(proxy, load.failed.sum(), load.answers));
        }
        Ok(Round {
            rate: f64::from(load.answers) / load.elapsed.as_secs_f64(),
            median: load.median,
            slowest_of_100: load.slowest_of_100,
            cpu: Some(used / load.answers),
            load: Some(of_load.as_secs_f64() / load.elapsed.as_secs_f64()),
        })
    }

    /// Asks so many times a second.
    pub(crate) fn at_a_rate(
        self,
        site: &Site,
        proxy: &Proxy,
        rounds: Rounds,
        rate: f64,
    ) -> Result<Round, Failure> {
        let window = rounds.window();
        let seconds = whole_seconds(window.measured);
        let run = |seconds: u64| {
            let mut command = Command::new(Tool::H2load.path()?);
            command.args(["--h1", "-t", "1", "-c", &CONNECTIONS.to_string()]);
            command.args(["-D", &seconds.to_string()]);
            command.arg(format!("--rps={:.3}", rate / f64::from(CONNECTIONS)));
            if self == Self::Post {
                command.arg("-d").arg(posted(site)?);
            }
            if let Some(authorization) = authorization(proxy) {
                command.args(["-H", &format!("Authorization: {authorization}")]);
            }
            command.arg(base(proxy) + &self.path());
            output(command, proxy)
        };
        if !window.warm_up.is_zero() {
            run(whole_seconds(window.warm_up))?;
        }
        let (before, load_before) = (tree::cpu(proxy.id())?, tree::cpu_of_ended()?);
        let told = run(seconds)?;
        let used = tree::cpu(proxy.id())?.saturating_sub(before);
        let of_load = tree::cpu_of_ended()?.saturating_sub(load_before);
        let (answers, failed) = of_h2load(&told).ok_or_else(|| format!("h2load told: {told}"))?;
        if failed > 0 || answers == 0 {
            return Err(self.failed(proxy, failed, answers));
        }
        Ok(Round {
            rate: f64::from(answers) / Duration::from_secs(seconds).as_secs_f64(),
            // h2load tells no quantiles.
            median: Duration::ZERO,
            slowest_of_100: Duration::ZERO,
            cpu: Some(used / answers),
            load: Some(of_load.as_secs_f64() / Duration::from_secs(seconds).as_secs_f64()),
        })
    }

    fn failed(self, proxy: &Proxy, failed: u32, answers: u32) -> Failure {
        let (name, what) = (proxy.kind.name(), self.name());
        format!("{name}, {what}: {failed} requests failed beside {answers} answers").into()
    }
}

/// The file of a body that is posted.
fn posted(site: &Site) -> Result<PathBuf, Failure> {
    let path = site.directory.join("posted");
    std::fs::write(&path, "x".repeat(POSTED))?;
    Ok(path)
}

fn base(proxy: &Proxy) -> String {
    let scheme = match proxy.scheme {
        Scheme::Plain => "http",
        Scheme::Tls => "https",
    };
    format!("{scheme}://{}", proxy.address)
}

fn authorization(proxy: &Proxy) -> Option<String> {
    proxy.key.as_deref().map(|key| format!("Bearer {key}"))
}

/// What a load on the proxy wrote.
fn output(mut command: Command, proxy: &Proxy) -> Result<String, Failure> {
    let output = command.output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: the load ended: {told} {error}", proxy.kind.name()).into());
    }
    Ok(told)
}

/// Answers that were good, and what failed.
fn of_h2load(told: &str) -> Option<(u32, u32)> {
    let requests = told.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let statuses = told.lines().find_map(|line| line.strip_prefix("status codes: "))?;
    let of = |line: &str, word: &str| {
        line.split(',').find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u32>().ok())
    };
    let bad = of(statuses, "3xx")? + of(statuses, "4xx")? + of(statuses, "5xx")?;
    Some((of(statuses, "2xx")?, of(requests, "failed")?.max(bad)))
}

#[cfg(test)]
mod tests {
    use super::of_h2load;

    #[test]
    fn what_h2load_tells_is_read_and_bad_answers_are_failures() {
        let told = "requests: 90 total, 90 started, 80 done, 70 succeeded, 10 failed, 0 errored, \
                    0 timeout\nstatus codes: 70 2xx, 0 3xx, 10 4xx, 0 5xx\n";
        assert_eq!(of_h2load(told), Some((70, 10)));
        assert_eq!(of_h2load("finished in 1s\n"), None);
    }
}
