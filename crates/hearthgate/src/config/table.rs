//! The one table of keys.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use toml::de::DeValue;

use super::Config;
use super::setting::Setting;

/// One key.
pub(crate) struct Key {
    /// Section and name, with a dot between.
    pub(crate) name: &'static str,
    /// What it decides, for the operator.
    pub(crate) says: &'static str,
    /// What it takes, for people.
    pub(crate) takes: &'static str,
    /// Decides it; false when the value is none it takes.
    pub(crate) decide: fn(&mut Config, &DeValue<'_>) -> bool,
    /// What is decided, as TOML.
    pub(crate) decided: fn(&Config) -> String,
}

fn takes<T: Setting>(_: fn(&Config) -> &T) -> &'static str {
    T::TAKES
}

macro_rules! keys {
    ($($name:literal => $($field:ident).+: $says:literal,)*) => {
        /// Every key, sections together.
        pub(crate) fn keys() -> Vec<Key> {
            vec![$(Key {
                name: $name,
                says: $says,
                takes: takes(|config| &config.$($field).+),
                decide: |config, value| match Setting::read(value) {
                    Some(read) => {
                        config.$($field).+ = read;
                        true
                    }
                    None => false,
                },
                decided: |config| config.$($field).+.write(),
            }),*]
        }
    };
}

keys! {
    "data" => data:
        "The data directory: everything that is kept. Made at the first start. `--data` wins.",
    "run" => run:
        "The directory of the sockets between the two halves. `run` in the data directory where none is named.",
    "tenant" => tenant:
        "The tenant that requests are for.",
    "tenant_key" => tenant_key:
        "Where the tenant's key is, which wraps the keys that resources are sealed with: 64 hexadecimal digits, in a file that other accounts may not read, in the environment, or in a systemd credential. A file is made at the first start, in the data directory as `tenant-keys/TENANT` where none is named. Keep a copy of it apart from the data and from its backups: without it nothing stored can be read.",
    "fhir_package" => fhir_package:
        "The core package (.tgz) of the FHIR version that a tenant begins with, such as hl7.fhir.r5.core. Taken up once, when the tenant holds nothing, and kept beside its data. R4, which is built in, where none is named.",
    "public_base_url" => public_base_url:
        "The FHIR base as clients see it, from which links in answers are built. `http://LISTEN/fhir` where none is named: name it as soon as anything stands between the clients and this machine.",
    "owner_key_file" => owner_key_file:
        "Where the first start writes the owner's key (0600), besides printing it once. Never written over. `--owner-key-file` wins.",
    "gateway.listen" => gateway.listen:
        "Where clients connect: in HTTPS once `gateway.tls.certificates` names a certificate, in plain HTTP until then. `--listen` wins.",
    "gateway.admin_listen" => gateway.admin_listen:
        "Where the admin API (docs/admin.md), `/metrics`, `/livez` and `/readyz` are. An address other than loopback takes the three keys that follow. `--admin` wins.",
    "gateway.admin_certificate_file" => gateway.admin_certificate_file:
        "The certificate that is shown there, in PEM. With it the admin listener speaks HTTPS, and takes connections with a certificate alone that is by `gateway.admin_authority_file`.",
    "gateway.admin_key_file" => gateway.admin_key_file:
        "Its private key, in PEM.",
    "gateway.admin_authority_file" => gateway.admin_authority_file:
        "The authority whose certificates operators and collectors of metrics connect with, in PEM.",
    "gateway.server" => gateway.server:
        "Whether the server of ours is behind this gateway. Without it `hearthgate gateway` serves routes to upstreams of others alone, and `[[gateway.routes]]` says which.",
    "gateway.insecure_http" => gateway.insecure_http:
        "Where clients may be spoken to in plain HTTP. With `loopback` a start on any other address is refused without a certificate; `anywhere` is for what stands behind something else that speaks TLS.",
    "gateway.redirect_listen" => gateway.redirect_listen:
        "Where plain HTTP is answered, beside HTTPS: who only looks and shows no key is sent on to HTTPS, anything else is refused.",
    "gateway.public" => gateway.public:
        "Interactions that are passed on without credentials. Being named here does not widen what the server shows to nobody.",
    "gateway.allow" => gateway.allow:
        "Addresses that are served; all where none is named.",
    "gateway.deny" => gateway.deny:
        "Addresses that are not served, though they be allowed.",
    "gateway.trusted_proxies" => gateway.trusted_proxies:
        "Addresses of proxies in front of the gateway, which say truly who their clients are (docs/gateway.md). Nobody else is believed.",
    "gateway.client_address" => gateway.client_address:
        "How they say it; what is said in any other way is thrown away.",
    "gateway.cors_origins" => gateway.cors_origins:
        "Origins of web pages that may ask, as browsers write them; `https://*.example.org` stands for those with one label more.",
    "gateway.cors_credentials" => gateway.cors_credentials:
        "Whether such pages may have the browser send cookies and client certificates.",
    "gateway.cors_exposed" => gateway.cors_exposed:
        "Headers of answers that such pages may read beside ETag, Location, Content-Location, Last-Modified, X-Request-Id, RateLimit, RateLimit-Policy and Retry-After.",
    "gateway.header_bytes" => gateway.header_bytes:
        "The longest head of a request, in bytes.",
    "gateway.header_count" => gateway.header_count:
        "The most header fields in a request.",
    "gateway.uri_bytes" => gateway.uri_bytes:
        "The longest target of a request, in bytes.",
    "gateway.body_bytes" => gateway.body_bytes:
        "The longest body of a request, in bytes.",
    "gateway.header_seconds" => gateway.header:
        "How long a request's head may take from its first byte to its last.",
    "gateway.idle_seconds" => gateway.idle:
        "How long a connection may be silent.",
    "gateway.client_per_second" => gateway.client_per_second:
        "Requests a second of a client that has no limit of its own.",
    "gateway.client_burst" => gateway.client_burst:
        "Requests at once of such a client after a pause.",
    "gateway.public_per_second" => gateway.public_per_second:
        "Requests a second from one address without credentials; from a /48 of IPv6 16 times as many, from a /32 256 times (docs/gateway.md).",
    "gateway.public_burst" => gateway.public_burst:
        "Requests at once from such an address after a pause.",
    "gateway.failures_per_second" => gateway.failures_per_second:
        "Wrong credentials a second from one address that are forgiven.",
    "gateway.failures_burst" => gateway.failures_burst:
        "Wrong credentials that are not, after which the address waits: a second, and twice as long each time (docs/gateway.md).",
    "gateway.failures_per_account" => gateway.failures_per_account:
        "The same from one address for one account: a key, or the tokens of an issuer.",
    "gateway.admin_refusals_per_minute" => gateway.admin_refusals_per_minute:
        "Refused changes of one operator of the admin API within a minute that have a line each in the trail of changes; those beyond are told in one line (docs/admin.md).",
    "gateway.lockout_seconds" => gateway.lockout:
        "How long such a wait is at most.",
    "gateway.body_grace_seconds" => gateway.body_grace:
        "How long a body on its way to an upstream of others may stop coming before its request gets 408. For the server of ours `server.body_grace_seconds` says so.",
    "gateway.body_bytes_per_second" => gateway.body_rate:
        "Bytes a second that such a body must come with on average, that grace aside.",
    "gateway.break_glass_minutes" => gateway.break_glass_minutes:
        "For how many minutes a break-glass is in force (docs/security.md).",
    "gateway.connections" => gateway.connections:
        "The most connections at a time.",
    "gateway.connections_per_address" => gateway.connections_per_address:
        "The most connections from one address at a time; from a /48 of IPv6 16 times as many, but no more than a quarter of all, from a /32 half of all (docs/gateway.md).",
    "gateway.requests_per_connection" => gateway.requests_per_connection:
        "Requests on one connection, after which it is closed in order.",
    "gateway.http2_streams" => gateway.http2_streams:
        "Requests at a time on one connection of HTTP/2.",
    "gateway.http2_age_seconds" => gateway.http2_age:
        "How old a connection of HTTP/2 may get before its client is told to open another.",
    "gateway.upstream_connect_seconds" => gateway.upstream_connect:
        "How long the server may take to accept a connection.",
    "gateway.upstream_read_seconds" => gateway.upstream_read:
        "How long the server may be silent within an answer.",
    "gateway.resolvers" => gateway.resolvers:
        "Servers of DNS that are asked for the names of upstreams' endpoints. Those of `/etc/resolv.conf`, with `/etc/hosts` before them, where none is named (docs/gateway.md).",
    "gateway.drain_seconds" => gateway.drain:
        "How long requests in flight may take once the process is told to stop.",
    "gateway.link.server" => gateway.link.server:
        "Where the server takes requests when it is on another host (docs/split.md); it is on this one where none is named.",
    "gateway.link.channel" => gateway.link.channel:
        "Where that server answers for its channel, which carries no client's request.",
    "gateway.link.certificate_file" => gateway.link.certificate_file:
        "The certificate (PEM) that the gateway shows to the server. It and the other two files are read again within seconds of a change.",
    "gateway.link.key_file" => gateway.link.key_file:
        "Its private key (PEM), which other accounts may not read.",
    "gateway.link.servers_file" => gateway.link.servers_file:
        "The certificates (PEM) that the server may show, and no others: two while one takes the other's place.",
    "lanes.interactive" => lanes.interactive:
        "Requests of people who wait that the server works on at once (docs/limits.md).",
    "lanes.system" => lanes.system:
        "Requests of other systems that the server works on at once.",
    "lanes.bulk" => lanes.bulk:
        "Bulk requests that the server works on at once. Half of the processors, and at least one, where it is 0.",
    "lanes.wait_seconds" => lanes.wait:
        "How long a request waits for a place among those of its kind before it gets 503.",
    "counters.redis" => counters.redis:
        "The Redis or Valkey in which several gateways share what they count (docs/limits.md). No TLS: keep it on this machine or on a network of your own.",
    "counters.redis_password_file" => counters.redis_password_file:
        "The file that holds the password for it, for this account alone.",
    "counters.gateways" => counters.gateways:
        "How many gateways share, as long as the store has not said it: until it first answers, each admits that part of a limit.",
    "gateway.tls.certificates" => gateway.tls.certificates:
        "Certificates with their keys, for HTTPS (docs/tls.md). A client gets the first that is valid for the host it names, else the first of all. Files that are replaced are in force within 5 s.",
    "gateway.tls.client_certificates" => gateway.tls.client_certificates:
        "Whether clients are asked for certificates, and whether they must have one.",
    "gateway.tls.client_authority_file" => gateway.tls.client_authority_file:
        "The certificates, in PEM, of the authorities that clients' certificates must be by.",
    "gateway.tls.hsts_seconds" => gateway.tls.hsts_seconds:
        "For how many seconds browsers are told to use nothing but HTTPS here (Strict-Transport-Security).",
    "gateway.acme.directory" => gateway.acme.directory:
        "The directory of an authority that gives certificates by ACME, such as https://acme-v02.api.letsencrypt.org/directory (docs/tls.md). The certificate is beside those of `gateway.tls.certificates`.",
    "gateway.acme.names" => gateway.acme.names:
        "The names that the certificate is for.",
    "gateway.acme.contacts" => gateway.acme.contacts:
        "Where the authority may reach you, like `mailto:it@example.org`.",
    "gateway.acme.terms_agreed" => gateway.acme.terms_agreed:
        "Whether you agree to the authority's terms of service; without that nothing is ordered.",
    "gateway.acme.challenge" => gateway.acme.challenge:
        "How the names are proven: over plain HTTP, where `gateway.redirect_listen` has to be port 80 of them, or over HTTPS at port 443.",
    "gateway.acme.authority_file" => gateway.acme.authority_file:
        "The certificates, in PEM, of the authorities that the directory is believed by; the system's where none is named.",
    "server.held_bytes" => server.held_bytes:
        "Bytes of the bodies of all requests that are worked on at once, and of what patches make; a request that has no room among them gets 503. At least `gateway.body_bytes`.",
    "server.body_grace_seconds" => server.body_grace:
        "How long a body may stop coming before its request gets 408.",
    "server.body_bytes_per_second" => server.body_rate:
        "Bytes a second that a body must come with on average, that grace aside.",
    "server.queue_bytes" => server.queue_bytes:
        "Bytes of bodies that may wait to be written before a write gets 503; the one that passes them is taken. As many again may wait of bodies that stand beside the log.",
    "server.search_versions" => server.search_versions:
        "Rows that one search may look at before it gets 400: versions of resources, or 64 times as many entries of the index (docs/api/search.md).",
    "server.index_memory" => server.index_memory:
        "Bytes of memory that keys and orders of the search index may take; what is more is read from the disk as searches need it (docs/search-index.md). At least 16777216. Not with `storage.postgres`, where the whole index is in memory.",
    "server.conditional_deletes" => server.conditional_deletes:
        "Resources that one conditional delete deletes at most; of more matches none is, and the request gets 412 (docs/api/rest.md). With more than 1 the CapabilityStatement says `multiple`.",
    "server.not_deletable" => server.not_deletable:
        "Types of which no client deletes a resource: 405 for everyone, in Bundles and by criteria too, and the CapabilityStatement says so. A purge is the operator's, and goes on.",
    "server.quarantine_items" => server.quarantine_items:
        "Items that the quarantine may hold; beyond them what is invalid gets 422 (docs/validation.md).",
    "server.quarantine_bytes" => server.quarantine_bytes:
        "Bytes of those items, before they are compressed; beyond them what is invalid gets 422.",
    "server.admin_listen" => server.admin_listen:
        "Where the server's half answers its operator alone: `/metrics`, `/livez`, `/readyz` (docs/observability.md). Nowhere where none is named; the gateway's is `gateway.admin_listen`.",
    "server.link.listen" => server.link.listen:
        "Where gateways on other hosts send requests (docs/split.md); none do where none is named.",
    "server.link.channel_listen" => server.link.channel_listen:
        "Where they fetch the channel's secret and tell what they denied. No client's request comes there: another port than `server.link.listen`.",
    "server.link.certificate_file" => server.link.certificate_file:
        "The certificate (PEM) that the server shows to gateways. It and the other two files are read again within seconds of a change.",
    "server.link.key_file" => server.link.key_file:
        "Its private key (PEM), which other accounts may not read.",
    "server.link.gateways_file" => server.link.gateways_file:
        "The certificates (PEM) that gateways may show, and no others: one for each gateway, two while one takes the other's place.",
    "rules.unique_identifiers" => rules.unique_identifiers:
        "Identifiers that one resource of a type alone bears: what would be a second one gets 409 (docs/operations.md).",
    "rules.references_exist" => rules.references_exist:
        "References that must lead to what is there, and is not deleted: what has others gets 422 (docs/operations.md).",
    "validation.depth" => validation.default.depth:
        "How much is asked of what is written: that it can be read; the types' elements and values; their invariants; profiles; value sets. Each has those before it (docs/validation.md).",
    "validation.action" => validation.default.action:
        "What becomes of what is invalid: refused with 422, stored with a tag that says so, or set apart until it is released or discarded (docs/validation.md).",
    "validation.rules" => validation.rules:
        "Other depths and actions for a type, or for what claims a profile; the first that applies.",
    "validation.required_profiles" => validation.required_profiles:
        "Profiles that every resource of a type must meet, claimed or not, whatever the depth is. They come with `hearthgate packages add`.",
    "audit.keep_days" => audit.keep_days:
        "Days that it is kept who saw and changed what (docs/audit.md); whole files go once all in them is older.",
    "audit.query_values" => audit.query_values:
        "Whether the audit log keeps what was searched for beside the names of the parameters: patients' names and numbers, which outlive a purge there.",
    "storage.postgres" => storage.postgres:
        "The PostgreSQL database that holds the tenant, in libpq's form (docs/postgresql.md). The data directory holds it where none is named. What is in one is not moved to the other.",
    "storage.postgres_password_file" => storage.password_file:
        "The file that holds the password for it, for this account alone; systemd's credentials are such files.",
    "storage.postgres_authority_file" => storage.authority_file:
        "The certificate, in PEM, of the authority that signed PostgreSQL's: then it is reached by TLS, and must show one by it.",
    "storage.postgres_without_tls" => storage.without_tls:
        "Where PostgreSQL may be without an authority: `local` is a Unix socket or a loopback address. `insecure-anywhere` sends patients' data readable.",
    "registry.postgres" => registry.postgres:
        "The PostgreSQL database that holds the registry, in libpq's form, where several gateways share one (docs/registry.md). The data directory holds it where none is named. `hearthgate registry move` moves it there.",
    "registry.postgres_password_file" => registry.password_file:
        "The file that holds the password for it, for this account alone; systemd's credentials are such files.",
    "registry.postgres_authority_file" => registry.authority_file:
        "The certificate, in PEM, of the authority that signed PostgreSQL's: then it is reached by TLS, and must show one by it.",
    "registry.postgres_without_tls" => registry.without_tls:
        "Where PostgreSQL may be without an authority: `local` is a Unix socket or a loopback address. `insecure-anywhere` sends hashes of keys and the reasons of break-glasses readable.",
    "traces.endpoint" => traces.endpoint:
        "Where an OpenTelemetry collector takes spans of requests, in OTLP over HTTP (docs/observability.md). None are made where none is named.",
    "traces.sample" => traces.sample:
        "Which part of the requests is recorded; of those that a trusted proxy sends with a trace, the ones that it records.",
    "traces.service_name" => traces.service_name:
        "What the spans are said to be of (`service.name`).",
    "traces.headers_file" => traces.headers_file:
        "The file with headers that the collector is sent beside the spans, `name: value` in each line, such as a token; for this account alone. Not in plain HTTP to another machine.",
    "traces.authority_file" => traces.authority_file:
        "The certificates, in PEM, of the authorities that the collector's must be by; those of the system where none is named.",
    "traces.timeout_seconds" => traces.timeout:
        "How long the collector may take for an answer. What it does not take is counted and thrown away.",
    "log.level" => log_level:
        "From which level on the process logs to stderr. The access log is not meant.",
}

/// What is said where `server.index_memory` decides nothing.
const UNBOUNDED: &str = "# With `storage.postgres` this bounds nothing: the whole search index is in memory \
                         (docs/postgresql.md).\n";

/// The configuration as a file that decides the same.
pub(crate) fn to_toml(config: &Config) -> String {
    let mut text = String::new();
    let mut section = "";
    for key in keys() {
        let (in_section, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if in_section != section {
            section = in_section;
            let _ = write!(text, "\n[{section}]\n");
        }
        if key.name == "server.index_memory" && config.storage.postgres.is_some() {
            text.push_str(UNBOUNDED);
        }
        let _ = writeln!(text, "{name} = {}", (key.decided)(config));
    }
    let routing = config.written_routing.to_toml();
    if !routing.is_empty() {
        text.push('\n');
        text.push_str(&routing);
    }
    if !config.written_roles.is_empty() {
        let roles = BTreeMap::from([(super::file::ROLES, &config.written_roles)]);
        let written = toml::to_string(&roles).expect("what was TOML is TOML");
        text.push('\n');
        text.push_str(&written);
    }
    if !config.written_issuers.is_empty() {
        text.push('\n');
        text.push_str(&super::issuers::to_toml(&config.written_issuers));
    }
    if !config.written_certificates.is_empty() {
        text.push('\n');
        text.push_str(&super::certificates::to_toml(&config.written_certificates));
    }
    if !config.written_plans.is_empty() {
        let plans = BTreeMap::from([(super::plans::PLANS, &config.written_plans)]);
        let written = toml::to_string(&plans).expect("what was TOML is TOML");
        text.push('\n');
        text.push_str(&written);
    }
    text
}

/// The names of all keys, and of what routes are read from.
#[cfg(test)]
pub(crate) fn key_names() -> Vec<&'static str> {
    keys().iter().map(|key| key.name).chain(super::routing::SECTIONS).collect()
}

/// The keys that two configurations decide otherwise, `gateway.routes` where routes or upstreams
/// are others, and `roles` where those are.
pub(super) fn difference(one: &Config, other: &Config) -> Vec<&'static str> {
    let keys = keys();
    let differs = |key: &&Key| (key.decided)(one) != (key.decided)(other);
    let mut names: Vec<_> = keys.iter().filter(differs).map(|key| key.name).collect();
    if one.written_routing != other.written_routing {
        names.push(super::routing::SECTIONS[0]);
    }
    if one.written_roles != other.written_roles {
        names.push(super::file::ROLES);
    }
    if one.written_issuers != other.written_issuers {
        names.push(super::issuers::SECTION);
    }
    if one.written_certificates != other.written_certificates {
        names.push(super::certificates::SECTION);
    }
    if one.written_plans != other.written_plans {
        names.push(super::plans::PLANS);
    }
    names
}

/// docs/configuration.md.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         No file is needed. Where one is wanted it is TOML, named by `--config FILE`. A flag of the \
         command line wins over the file, the file over the default. A key that is not in this \
         table, or a value that a key does not take, is refused with its line. Relative paths \
         count from the directory the command is given in. The file holds no secrets: keys are in \
         the registry (docs/registry.md).\n\n\
         `hearthgate check-config --config FILE` checks a file and prints everything that is \
         decided, as a file that decides the same. `hearthgate check-config --reference` prints \
         this page.\n\n\
         Beside these keys a section `[roles.NAME]` defines what a role may do (docs/roles.md), a \
         section `[gateway.issuers.NAME]` whose tokens are accepted, a section \
         `[gateway.certificates.CLIENT]` by which certificates a client is known (docs/tokens.md), a \
         section `[plans.NAME]` how much may be asked (docs/limits.md), and \
         `[[gateway.routes]]` and `[gateway.upstreams.NAME]` where requests go (below).\n\n\
         | key | default | takes | decides |\n|---|---|---|---|\n",
    );
    let defaults = Config::default();
    for key in keys() {
        let _ = writeln!(
            text,
            "| `{}` | `{}` | {} | {} |",
            key.name,
            (key.decided)(&defaults),
            key.takes,
            key.says
        );
    }
    text.push_str(super::routing::REFERENCE);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_keys_are_those_of_the_table() {
        // GW-060
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let documented = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            documented == reference(),
            "docs/configuration.md is not what `hearthgate check-config --reference` prints"
        );
    }

    #[test]
    fn every_key_has_a_name_of_its_own_and_says_what_it_decides() {
        let mut names = std::collections::HashSet::new();
        for key in keys() {
            assert!(names.insert(key.name), "{} stands twice", key.name);
            assert!(key.says.ends_with('.') && !key.says.contains('|'), "{}", key.name);
        }
    }
}
