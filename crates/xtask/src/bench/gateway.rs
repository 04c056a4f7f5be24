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
use super::{Failure, Rounds};
use proxies::{Kind, Proxy, Scheme, Site};
use workload::{CONNECTIONS, WORKLOADS, Workload};

/// Of what the slowest of them gave, how much each is asked while its processor time is counted.
const BELOW_THE_SLOWEST: f64 = 0.5;

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
        for _ in 0..self.rounds.rounds {
            for (proxy, target) in proxies.iter().zip(&mut targets) {
                target.rounds.push(workload.as_fast_as_answered(site, proxy, self.rounds)?);
            }
        }
        let title = format!("{}, {}, {CONNECTIONS} connections", workload.name(), scheme.name());
        print(&table(&title, &targets.iter().collect::<Vec<_>>()))?;
        compare(proxies, &targets, "answers/s", ratio)?;
        let rates = targets.iter().map(|target| target.median(|round| round.rate));
        let rate = rates.fold(f64::INFINITY, f64::min) * BELOW_THE_SLOWEST;
        let mut steady: Vec<Target> =
            proxies.iter().map(|proxy| Target::new(proxy.kind.name())).collect();
        for _ in 0..self.rounds.rounds {
            for (proxy, target) in proxies.iter().zip(&mut steady) {
                target.rounds.push(workload.at_a_rate(site, proxy, self.rounds, rate)?);
            }
        }
        print(&format!("  at {rate:.0} requests/s:\n"))?;
        for target in &steady {
            let cpu = target.cpu_micros().ok_or("no processor time was read")?;
            print(&format!("    {:<42}{cpu:>10.1} µs of CPU an answer\n", target.name))?;
        }
        compare(proxies, &steady, "CPU", |ours, peer| {
            let micros = |target: &Target| target.cpu_micros().unwrap_or(f64::NAN);
            micros(ours) / micros(peer)
        })
    }
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
