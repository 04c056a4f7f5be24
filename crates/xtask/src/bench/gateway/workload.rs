//! What the proxies are asked, by wrk as fast as they answer and by h2load at a rate.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::program::installed;
use super::proxies::{PATH, Proxy, Scheme, Site};
use super::tree;
use crate::bench::load::Round;
use crate::bench::{Failure, Rounds};

/// Connections of the load.
pub(crate) const CONNECTIONS: u32 = 64;
/// Bytes of a body that is posted.
const POSTED: usize = 100 << 10;
/// What wrk tells at its end: answers, microseconds, p50 and p99 in microseconds, what failed.
const TELL: &str = r#"
done = function(summary, latency, requests)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format("\nmeasured %d %d %d %d %d\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), failed))
end
"#;

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
    let key = proxy.key.as_deref().map(|key| format!("authorization: Bearer {key}\r\n"));
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

    fn url(self, proxy: &Proxy) -> String {
        let scheme = match proxy.scheme {
            Scheme::Plain => "http",
            Scheme::Tls => "https",
        };
        format!("{scheme}://{}{PATH}/{}", proxy.address, self.word())
    }

    /// Asks as fast as is answered.
    pub(crate) fn as_fast_as_answered(
        self,
        site: &Site,
        proxy: &Proxy,
        rounds: Rounds,
    ) -> Result<Round, Failure> {
        let script = site.directory.join(format!("{}.lua", self.word()));
        let post = "wrk.method = \"POST\"\n\
                    wrk.headers[\"Content-Type\"] = \"application/octet-stream\"\n";
        let text = match self {
            Self::Small | Self::Large => TELL.to_owned(),
            Self::Post => format!("{post}wrk.body = string.rep(\"x\", {POSTED})\n{TELL}"),
        };
        std::fs::write(&script, text)?;
        let wrk = installed("wrk").ok_or("wrk is not installed (package wrk)")?;
        let run = |seconds: Duration| {
            let mut command = Command::new(&wrk);
            command.args(["-t", "1", "-c", &CONNECTIONS.to_string()]);
            command.args(["-d", &format!("{}s", whole_seconds(seconds))]);
            command.arg("-s").arg(&script);
            ask(command, proxy, &self.url(proxy))
        };
        let window = rounds.window();
        if !window.warm_up.is_zero() {
            run(window.warm_up)?;
        }
        let before = tree::cpu(proxy.id())?;
        let told = run(window.measured)?;
        let used = tree::cpu(proxy.id())?.saturating_sub(before);
        let measured = Measured::of_wrk(&told).ok_or_else(|| format!("wrk told: {told}"))?;
        if measured.failed > 0 || measured.answers == 0 {
            return Err(self.failed(proxy, measured.failed, measured.answers));
        }
        Ok(Round {
            rate: f64::from(measured.answers) / measured.elapsed.as_secs_f64(),
            median: measured.median,
            slowest_of_100: measured.slowest_of_100,
            cpu: Some(used / measured.answers),
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
        let h2load = installed("h2load").ok_or("h2load is not installed (package nghttp2)")?;
        let seconds = whole_seconds(rounds.window().measured);
        let mut command = Command::new(h2load);
        command.args(["--h1", "-t", "1", "-c", &CONNECTIONS.to_string()]);
        command.args(["-D", &seconds.to_string()]);
        command.arg(format!("--rps={:.3}", rate / f64::from(CONNECTIONS)));
        if self == Self::Post {
            command.arg("-d").arg(posted(site)?);
        }
        let before = tree::cpu(proxy.id())?;
        let told = ask(command, proxy, &self.url(proxy))?;
        let used = tree::cpu(proxy.id())?.saturating_sub(before);
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

fn whole_seconds(duration: Duration) -> u64 {
    // Neither program takes parts of one.
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn ask(mut command: Command, proxy: &Proxy, url: &str) -> Result<String, Failure> {
    if let Some(key) = &proxy.key {
        command.args(["-H", &format!("Authorization: Bearer {key}")]);
    }
    let output = command.arg(url).output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: the load ended: {told} {error}", proxy.kind.name()).into());
    }
    Ok(told)
}

#[derive(Debug, PartialEq, Eq)]
struct Measured {
    answers: u32,
    elapsed: Duration,
    median: Duration,
    slowest_of_100: Duration,
    failed: u32,
}

impl Measured {
    fn of_wrk(told: &str) -> Option<Self> {
        let line = told.lines().find_map(|line| line.strip_prefix("measured "))?;
        let numbers = line.split_whitespace().map(|number| number.parse::<u64>().ok());
        let numbers = numbers.collect::<Option<Vec<_>>>()?;
        let [answers, elapsed, median, slowest, failed] = *numbers else { return None };
        Some(Self {
            answers: u32::try_from(answers).ok()?,
            elapsed: Duration::from_micros(elapsed),
            median: Duration::from_micros(median),
            slowest_of_100: Duration::from_micros(slowest),
            failed: u32::try_from(failed).ok()?,
        })
    }
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
    use std::time::Duration;

    use super::{Measured, of_h2load, whole_seconds};

    #[test]
    fn what_wrk_tells_is_read() {
        let told = "Running 1s test\n  Requests/sec: 5\n\nmeasured 5000 1000200 310 900 2\n";
        let expected = Measured {
            answers: 5000,
            elapsed: Duration::from_micros(1_000_200),
            median: Duration::from_micros(310),
            slowest_of_100: Duration::from_micros(900),
            failed: 2,
        };
        assert_eq!(Measured::of_wrk(told), Some(expected));
        assert_eq!(Measured::of_wrk("Running 1s test\n"), None);
        assert_eq!(Measured::of_wrk("measured 1 2 3 4\n"), None);
    }

    #[test]
    fn what_h2load_tells_is_read_and_bad_answers_are_failures() {
        let told = "requests: 90 total, 90 started, 80 done, 70 succeeded, 10 failed, 0 errored, \
                    0 timeout\nstatus codes: 70 2xx, 0 3xx, 10 4xx, 0 5xx\n";
        assert_eq!(of_h2load(told), Some((70, 10)));
        assert_eq!(of_h2load("finished in 1s\n"), None);
    }

    #[test]
    fn a_part_of_a_second_is_a_whole_one() {
        let seconds = [0.0, 0.5, 1.0, 3.2].map(|it| whole_seconds(Duration::from_secs_f64(it)));
        assert_eq!(seconds, [0, 1, 1, 4]);
    }
}
