//! Proxies on loopback: the product's gateway beside nginx, HAProxy and a bare proxy of its own
//! kind, before one upstream in one run; and its whole chain of the contract before a stub of the
//! server.
//!
//! Left out: HTTP/2, new connections (each request here comes on one that stands).

mod chain;
mod idle;
mod nginx;
mod program;
mod proxies;
mod workload;

use clap::ValueEnum;

use super::directory::Directory;
use super::figures::{Target, print, ratio, table};
use super::turns::order;
use super::{Failure, Rounds};
use proxies::{Kind, Proxy, Scheme, Site};
use workload::{CONNECTIONS, WORKLOADS, Workload};

/// Of what the slowest of them gave, how much each is asked while its processor time is counted.
const BELOW_THE_SLOWEST: f64 = 0.5;
/// From what share of a processor on a load of one thread is what is full.
const FULL: f64 = 0.9;
/// What part of a rate has to be reached.
const REACHED: f64 = 0.95;

/// What to measure, and how long.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Gateway {
    #[command(flatten)]
    rounds: Rounds,
    /// Which half of it.
    #[arg(long, value_enum, default_value = "both")]
    part: Part,
    /// Idle connections that are held open to see what memory one takes.
    #[arg(long, default_value_t = 10_000, value_name = "CONNECTIONS")]
    idle: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The chain of the contract before a stub of the server.
    Chain,
    /// A foreign upstream behind each proxy.
    Proxies,
    /// One after the other.
    Both,
}

pub(crate) fn run(gateway: Gateway) -> Result<(), Failure> {
    if gateway.part != Part::Proxies {
        chain::run(gateway.rounds)?;
    }
    if gateway.part != Part::Chain {
        gateway.proxies()?;
    }
    Ok(())
}

impl Gateway {
    fn proxies(self) -> Result<(), Failure> {
        let directory = Directory::new("proxies")?;
        let site = Site::prepare(directory.path())?;
        print(&proxies::what_is_on(site.threads))?;
        for scheme in [Scheme::Plain, Scheme::Tls] {
            let started = Kind::ALL.map(|kind| site.start(kind, scheme));
            let mut proxies = Vec::new();
            for started in started {
                match started? {
                    Ok(proxy) => proxies.push(proxy),
                    Err(absent) => print(&format!("  {absent}, and left out\n"))?,
                }
            }
            for workload in WORKLOADS {
                self.saturate(&site, &proxies, scheme, workload)?;
            }
            if scheme == Scheme::Plain {
                idle::measure(&proxies, self.idle)?;
            }
        }
        Ok(())
    }

    /// Asks each as fast as it answers, in turns, and then all at one rate.
    fn saturate(
        self,
        site: &Site,
        proxies: &[Proxy],
        scheme: Scheme,
        workload: Workload,
    ) -> Result<(), Failure> {
        let mut targets: Vec<Target> =
            proxies.iter().map(|proxy| Target::new(proxy.kind.name())).collect();
        for round in 0..self.rounds.rounds {
            for place in order(round, proxies.len()) {
                let round = workload.as_fast_as_answered(site, &proxies[place], self.rounds)?;
                targets[place].rounds.push(round);
            }
        }
        let title = format!("{}, {}, {CONNECTIONS} connections", workload.name(), scheme.name());
        print(&table(&title, &targets.iter().collect::<Vec<_>>()))?;
        print(&targets.iter().filter_map(full_load).collect::<String>())?;
        compare(proxies, &targets, "answers/s", ratio)?;
        let rates = targets.iter().map(|target| target.median(|round| round.rate));
        let rate = rates.fold(f64::INFINITY, f64::min) * BELOW_THE_SLOWEST;
        let mut steady: Vec<Target> =
            proxies.iter().map(|proxy| Target::new(proxy.kind.name())).collect();
        for round in 0..self.rounds.rounds {
            for place in order(round, proxies.len()) {
                let round = workload.at_a_rate(site, &proxies[place], self.rounds, rate)?;
                steady[place].rounds.push(round);
            }
        }
        print(&format!("  at {rate:.0} requests/s:\n"))?;
        for target in &steady {
            let cpu = target.cpu_micros().ok_or("no processor time was read")?;
            print(&format!("    {:<42}{cpu:>10.1} µs of CPU an answer\n", target.name))?;
        }
        print(&steady.iter().filter_map(|target| short_of(target, rate)).collect::<String>())?;
        compare(proxies, &steady, "CPU", |ours, peer| {
            let micros = |target: &Target| target.cpu_micros().unwrap_or(f64::NAN);
            micros(ours) / micros(peer)
        })
    }
}

/// A warning where wrk, of one thread, was what was full: the row then says too little.
fn full_load(target: &Target) -> Option<String> {
    let load = target.load().filter(|load| *load > FULL)?;
    Some(format!(
        "  WARNING: wrk took {:.0} % of a processor before {}, which may have more to give\n",
        load * 100.0,
        target.name
    ))
}

/// A warning where the rate that was asked for was not reached.
fn short_of(target: &Target, rate: f64) -> Option<String> {
    let reached = target.median(|round| round.rate);
    (reached < rate * REACHED)
        .then(|| format!("  WARNING: {} was asked {reached:.0} times a second only\n", target.name))
}

/// Prints how the gateway is to each peer that it is measured by.
fn compare(
    proxies: &[Proxy],
    targets: &[Target],
    what: &str,
    of: impl Fn(&Target, &Target) -> f64,
) -> Result<(), Failure> {
    let find = |kind| proxies.iter().position(|proxy| proxy.kind == kind);
    let Some(ours) = find(Kind::Gateway) else {
        return Err("the gateway was not measured".into());
    };
    for peer in [Kind::Nginx, Kind::HaProxy, Kind::BarePingora] {
        if let Some(place) = find(peer) {
            let found = of(&targets[ours], &targets[place]);
            print(&format!("  {what} of gateway / {}: {found:.2}\n", peer.name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Target, full_load, short_of};
    use crate::bench::load::Round;

    fn target(rate: f64, load: f64) -> Target {
        let (time, load) = (Duration::from_millis(1), Some(load));
        let round = Round { rate, median: time, slowest_of_100: time, cpu: None, load };
        Target { name: "nginx".to_owned(), rounds: vec![round] }
    }

    #[test]
    fn a_load_that_is_full_and_a_rate_that_is_not_reached_are_said() {
        assert_eq!(full_load(&target(1.0, 0.9)), None);
        let full = full_load(&target(1.0, 0.97)).expect("a warning");
        assert!(full.contains("97 % of a processor before nginx"), "{full}");
        assert_eq!(short_of(&target(950.0, 0.1), 1000.0), None);
        let short = short_of(&target(900.0, 0.1), 1000.0).expect("a warning");
        assert!(short.contains("nginx was asked 900 times"), "{short}");
    }
}
