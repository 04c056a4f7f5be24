//! What is read of files and flags, what is refused, and that what is printed decides the same.

use super::*;

use database::DeriveFromBody;
use fhir_schema::Schema;
use store_sled::SledStoreOptions;

fn resolved(text: &str, flags: Flags) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hearthgate.toml");
    std::fs::write(&path, text).unwrap();
    let config = Some(path.clone());
    Config::resolve(&Flags { config, ..flags }).map_err(|error| {
        let line = crate::failure::one_line(&error);
        line.replace(path.to_str().unwrap(), "FILE")
    })
}

fn error(text: &str) -> String {
    resolved(text, Flags::default()).unwrap_err()
}

#[test]
fn without_a_file_the_documented_defaults_stand() {
    let config = Config::resolve(&Flags::default()).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.data, Path::new("./data"));
    assert_eq!(config.gateway.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.gateway.admin_listen.to_string(), "127.0.0.1:9090");
    assert_eq!(config.base_url(), "http://127.0.0.1:8080/fhir");
    assert_eq!(config.run_dir(), Path::new("./data/run"));
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let flags = Flags { listen: Some(SocketAddr::from(([0, 0, 0, 0], 81))), ..Flags::default() };
    let text = "data = \"/srv/hg\"\n[gateway]\ninsecure_http = \"anywhere\"\nlisten = \"127.0.0.1:80\"\nadmin_listen = \"127.0.0.1:90\"\n";
    let config = resolved(text, flags).unwrap();
    assert_eq!(config.data, Path::new("/srv/hg"));
    assert_eq!(config.gateway.listen.to_string(), "0.0.0.0:81");
    assert_eq!(config.gateway.admin_listen.to_string(), "127.0.0.1:90");
    assert_eq!(config.gateway.idle, Duration::from_secs(75));
}

#[test]
fn what_check_config_prints_decides_the_same() {
    // GW-060
    let text = "public_base_url = \"https://ehr.example.org/fhir\"\nowner_key_file = \"k\"\n\
                    [gateway]\npublic = []\ncors_origins = [\"https://*.example.org:8443\"]\n\
                    cors_exposed = [\"X-Total\"]\ncors_credentials = true\n\
                    allow = [\"192.0.2.0/24\", \"::1\"]\ndeny = [\"192.0.2.8/29\"]\n\
                    trusted_proxies = [\"10.0.0.1\"]\nclient_address = \"proxy-protocol\"\n\
                    client_per_second = 7\nidle_seconds = 1_0\n\
                    [rules]\nunique_identifiers = [\"Patient urn:x\"]\n\
                    references_exist = [\"*\", \"Observation.subject\"]\n\
                    [validation]\ndepth = \"profiles\"\naction = \"warn\"\n\
                    rules = [\"Observation terminology enforce\", \"http://x/p base warn\"]\n\
                    required_profiles = [\"Patient http://x/p|1\"]\n[log]\nlevel = \"debug\"\n\
                    [roles.lab]\nsays = \"A lab.\"\nlane = \"system\"\n\
                    rules = [{ types = [\"Observation\"], actions = [\"read\"], within = \"all\" }]\n";
    let config = resolved(text, Flags::default()).unwrap();
    assert_ne!(config, Config::default());
    let printed = config.to_toml();
    assert_eq!(resolved(&printed, Flags::default()).unwrap(), config, "{printed}");
    let defaults = Config::default().to_toml();
    assert_eq!(resolved(&defaults, Flags::default()).unwrap(), Config::default());
}

const ROUTES: &str = "[gateway]\nserver = false\n[[gateway.routes]]\nname = \"lab\"\n\
                          path = \"/lab\"\nupstream = \"lab\"\n[gateway.upstreams.lab]\n\
                          endpoints = [{ address = \"lab.example:80\", weight = 2 }]\n\
                          enforces = \"none\"\n[server]\nqueue_bytes = 7\n";

#[test]
fn routes_and_upstreams_are_read_and_printed_as_they_were_written() {
    let config = resolved(ROUTES, Flags::default()).unwrap();
    assert_ne!(config.routing, gateway::Routing::default());
    let printed = config.to_toml();
    assert_eq!(resolved(&printed, Flags::default()).unwrap(), config, "{printed}");
}

#[test]
fn routes_and_upstreams_that_are_wrong_are_refused_with_their_line() {
    // GW-060, GW-001
    for (written, wrong, line, said) in [
        ("upstream = \"lab\"", "upstream = \"labs\"", 3, "there is no upstream `labs`"),
        ("path = \"/lab\"", "pth = \"/lab\"", 5, "unknown field `pth`"),
        ("enforces = \"none\"", "enforces = \"grant\"", 7, "gateway.upstreams.lab: enforces"),
        ("enforces = \"none\"", "enforces = \"all\"", 9, "unknown variant `all`"),
    ] {
        let refused = error(&ROUTES.replace(written, wrong));
        assert!(refused.contains(&format!("FILE line {line}: ")), "{refused}");
        assert!(refused.contains(said), "{refused}");
    }
    let refused = error(&ROUTES.replace("upstream = \"lab\"", "upstream = \"server\""));
    assert!(refused.contains("answers below /fhir alone"), "{refused}");
    let none = error("[gateway]\nserver = false\n");
    assert!(none.contains("there is no route and no server of ours"), "{none}");
}

#[test]
fn with_postgresql_it_is_said_that_nothing_bounds_the_index() {
    let says = |text: &str| {
        let config = resolved(text, Flags::default()).unwrap();
        let printed = config.to_toml();
        assert_eq!(resolved(&printed, Flags::default()).unwrap(), config, "{printed}");
        printed.contains("this bounds nothing")
    };
    assert!(says("[storage]\npostgres = \"host=/run/postgresql dbname=hearthgate\"\n"));
    assert!(!says("[server]\nindex_memory = 16777216\n"));
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    // GW-060
    for (text, line, key, nearest) in [
        ("[gateway]\nlisten_on = \"a\"", 2, "gateway.listen_on", "gateway.listen"),
        ("dta = \"x\"", 1, "dta", "data"),
        ("listen = \"x\"", 1, "listen", "gateway.listen"),
        ("\n\n[gatway]\nlisten = \"x\"", 3, "gatway", "gateway"),
        ("gateway.idle = 1", 1, "gateway.idle", "gateway.idle_seconds"),
        ("[gateway]\n[gateway.limits]\nx = 1", 2, "gateway.limits", ""),
    ] {
        let error = error(text);
        let start = format!("FILE line {line}: there is no key `{key}`; ");
        assert!(error.starts_with(&start), "{text}: {error}");
        assert!(error.contains(nearest), "{text}: {error}");
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_line_and_what_is_expected() {
    for (text, line, key, expected) in [
        ("\ndata = 7", 2, "data", "a path"),
        ("data = \"\"", 1, "data", "a path"),
        ("gateway = 7", 1, "gateway", "a section"),
        ("[gateway]\nlisten = \"8080\"", 2, "gateway.listen", "an address and port"),
        ("[gateway]\nlisten = \"localhost:80\"", 2, "gateway.listen", "an address and port"),
        ("[gateway]\nbody_bytes = 0", 2, "gateway.body_bytes", "a whole number, at least 1"),
        ("[gateway]\nbody_bytes = -1", 2, "gateway.body_bytes", "a whole number"),
        ("[gateway]\nbody_bytes = 1.5", 2, "gateway.body_bytes", "a whole number"),
        ("[gateway]\npublic_burst = 99999999999", 2, "gateway.public_burst", "a whole number"),
        ("[gateway]\nidle_seconds = \"75\"", 2, "gateway.idle_seconds", "seconds"),
        ("[gateway]\npublic = \"all\"", 2, "gateway.public", "a list of texts"),
        ("[gateway]\nallow = [\"10.0.0.1/8\"]", 2, "gateway.allow", "a list of addresses"),
        ("[gateway]\nclient_address = \"x-real-ip\"", 2, "gateway.client_address", "one of"),
        ("[gateway]\ncors_origins = [\"*\"]", 2, "gateway.cors_origins", "a list of origins"),
        (
            "[gateway]\ncors_origins = [\"https://a.example.org/\"]",
            2,
            "gateway.cors_origins",
            "a list of origins",
        ),
        ("[gateway]\ncors_exposed = [\"a b\"]", 2, "gateway.cors_exposed", "a list of names"),
        ("[gateway]\ninsecure_http = true", 2, "gateway.insecure_http", "one of loopback"),
        (
            "[gateway.tls]\ncertificates = [{ certificate = \"c\" }]",
            2,
            "gateway.tls.certificates",
            "a list of tables",
        ),
        (
            "[[gateway.tls.certificates]]\ncertificate = \"c\"\nkey = \"k\"\nname = \"n\"",
            1,
            "gateway.tls.certificates",
            "a list of tables",
        ),
        ("[server]\nqueue_bytes = 0", 2, "server.queue_bytes", "a whole number, at least 1"),
        ("[server]\nbody_grace_seconds = 0", 2, "server.body_grace_seconds", "seconds"),
        ("[server]\nbody_bytes_per_second = -1", 2, "server.body_bytes_per_second", "a whole"),
        ("storage.postgres_without_tls = \"yes\"", 1, "storage.postgres_without_tls", "one of"),
        ("storage = \"postgres\"", 1, "storage", "a section"),
        ("rules.unique_identifiers = [\"Patient\"]", 1, "rules.unique_identifiers", "a list"),
        ("rules.unique_identifiers = [\"Patients urn:x\"]", 1, "rules.unique_identifiers", "a l"),
        ("rules.references_exist = [\"Observations\"]", 1, "rules.references_exist", "a list"),
        ("[validation]\ndepth = \"deep\"", 2, "validation.depth", "one of parse, base"),
        ("[validation]\naction = \"ask\"", 2, "validation.action", "one of enforce, warn"),
        ("validation.rules = [\"Patients base warn\"]", 1, "validation.rules", "a list of"),
        ("validation.rules = [\"Patient base\"]", 1, "validation.rules", "a list of"),
        (
            "validation.required_profiles = [\"Patients http://x\"]",
            1,
            "validation.required_profiles",
            "a list of",
        ),
        ("[log]\nlevel = \"loud\"", 2, "log.level", "one of error, warn, info, debug, trace"),
        ("tenant = \"../x\"", 1, "tenant", "a tenant's name"),
        ("public_base_url = \"ehr.example.org\"", 1, "public_base_url", "a URL"),
    ] {
        let error = error(text);
        let start = format!("FILE line {line}: `{key}` takes {expected}");
        assert!(error.starts_with(&start), "{text}: {error}");
    }
}

const LAB: &str = "[roles.lab]\nsays = \"A lab.\"\n\
                       rules = [{ types = [\"*\"], actions = [\"read\"], within = \"all\" }]\n";

#[test]
fn a_role_stands_beside_the_built_in_ones_or_replaces_one() {
    let roles = |text: &str| resolved(text, Flags::default()).unwrap().roles;
    let says = |roles: &gateway::Roles, name: &str| {
        roles.get(&name.parse().unwrap()).map(|role| role.says.clone())
    };
    assert_eq!(says(&roles(LAB), "lab").as_deref(), Some("A lab."));
    assert!(says(&roles(LAB), "clinician").is_some());
    let replaced = roles(&LAB.replace("roles.lab", "roles.clinician"));
    assert_eq!(says(&replaced, "clinician").as_deref(), Some("A lab."));
    assert_eq!(says(&roles(""), "lab"), None);
}

#[test]
fn a_wrong_role_is_refused_with_its_line_and_place() {
    let with = |from: &str, to: &str| error(&format!("\n{}", LAB.replace(from, to)));
    for (from, to, line, parts) in [
        ("\"*\"", "\"patient\"", 2, ["lab, rules[0].types", "\"patient\" is no type's name"]),
        ("\"all\"", "\"compartment(Patient/1)\"", 2, ["rules[0].within", "there are all"]),
        ("within", "inside", 4, ["unknown field `inside`", "within"]),
        ("says", "say", 3, ["unknown field `say`", "says"]),
        ("roles.lab", "roles.Lab", 2, ["a role's name", "a-z"]),
        ("roles.lab", "roles.owner", 2, ["owner", "stays as it is"]),
    ] {
        let said = with(from, to);
        assert!(said.starts_with(&format!("FILE line {line}: ")), "{to}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{to}: {said}");
    }
    assert!(error("roles = 7").contains("`roles` takes a section of keys"));
}

// GW-021
#[test]
fn plain_http_is_on_loopback_or_asked_for_and_a_certificate_makes_it_https() {
    let listen = |host: &str| format!("[gateway]\nlisten = \"{host}:80\"\n");
    let tls = "[[gateway.tls.certificates]]\ncertificate = \"c\"\nkey = \"k\"\n";
    let anywhere = "insecure_http = \"anywhere\"\n";
    for (text, base) in [
        (listen("127.0.0.1"), "http://127.0.0.1:80/fhir"),
        (listen("[::1]"), "http://[::1]:80/fhir"),
        (listen("192.0.2.1") + anywhere, "http://192.0.2.1:80/fhir"),
        (listen("192.0.2.1") + tls, "https://192.0.2.1:80/fhir"),
        (listen("127.0.0.1") + tls, "https://127.0.0.1:80/fhir"),
    ] {
        let config = resolved(&text, Flags::default()).unwrap();
        assert_eq!(config.base_url(), base);
        assert_eq!(resolved(&config.to_toml(), Flags::default()).unwrap(), config);
    }
    assert!(resolved(&listen("192.0.2.1"), Flags::default()).is_err());
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    for (text, expected) in [
        ("[server]\nheld_bytes = 1000", "`server.held_bytes` is less"),
        ("[gateway]\nbody_bytes = 300000000", "`server.held_bytes` is less"),
        ("[gateway]\nlisten = \"0.0.0.0:80\"", "`gateway.listen` is no loopback address"),
        ("[gateway]\nlisten = \"[::]:80\"", "`gateway.insecure_http = \"anywhere\"`"),
        ("[gateway]\nredirect_listen = \"0.0.0.0:80\"", "sends on to HTTPS"),
        ("[gateway]\nclient_address = \"forwarded\"", "name them"),
        ("[gateway]\ntrusted_proxies = [\"10.0.0.1\"]", "go together"),
        ("[gateway.tls]\nclient_certificates = \"request\"", "say nothing without"),
        (
            "[gateway.tls]\ncertificates = [{ certificate = \"c\", key = \"k\" }]\n\
                 client_certificates = \"require\"",
            "go together",
        ),
        ("[server]\nindex_memory = 16777215", "`server.index_memory` is less"),
        ("[storage]\npostgres_password_file = \"p\"", "name the connection"),
        ("[storage]\npostgres_authority_file = \"p\"", "name the connection"),
        ("[registry]\npostgres_password_file = \"p\"", "without `registry.postgres`"),
        ("[registry]\npostgres_authority_file = \"p\"", "without `registry.postgres`"),
        (
            "registry = { postgres = \"host=db\", postgres_authority_file = \"a\", \
                 postgres_without_tls = \"insecure-anywhere\" }",
            "`registry.postgres_without_tls` says",
        ),
        (
            "storage = { postgres = \"host=db\", postgres_authority_file = \"a\", \
                 postgres_without_tls = \"insecure-anywhere\" }",
            "reached by TLS",
        ),
    ] {
        let error = error(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
    let fine = "gateway.body_bytes = 1000\nserver.held_bytes = 1000\n\
                    storage = { postgres = \"host=/run/postgresql\" }\n";
    let config = resolved(fine, Flags::default()).unwrap();
    assert_eq!(config.storage.postgres.unwrap().as_str(), "host=/run/postgresql");
}

#[test]
fn a_connection_with_a_password_is_refused_and_not_repeated() {
    for connection in ["host=db password=planted", "postgresql://u:planted@db/x", "planted"] {
        for section in ["storage", "registry"] {
            let error = error(&format!("{section}.postgres = \"{connection}\""));
            assert!(error.contains("without a password"), "{error}");
            assert!(!error.contains("planted"), "{error}");
        }
    }
}

#[test]
fn a_url_with_credentials_is_refused_and_not_repeated() {
    let error = error("public_base_url = \"https://user:planted@ehr.example.org/fhir\"");
    assert!(error.contains("`public_base_url` takes a URL"), "{error}");
    assert!(!error.contains("planted"), "{error}");
}

#[test]
fn what_is_not_toml_is_said_with_its_line_in_one_line() {
    for (text, line) in [("data = ", 1), ("a = 1\nb = [\n", 2), ("data = \"a\"\ndata = \"b\"", 2)] {
        let error = error(text);
        let prefix = error.split_once(": ").unwrap().0;
        assert!(prefix.starts_with("FILE line "), "{error}");
        assert!(prefix[10..].parse::<usize>().unwrap() >= line, "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let config = Some(dir.path().join("absent.toml"));
    let missing = Config::resolve(&Flags { config, ..Flags::default() }).unwrap_err();
    let line = crate::failure::one_line(&missing);
    assert!(line.contains("absent.toml") && line.contains("; "), "{line}");
}

#[test]
fn whatever_stands_among_the_tenants_counts_as_data_but_a_store_without_a_commit() {
    let data = tempfile::tempdir().unwrap();
    assert_eq!(beside(data.path()).unwrap(), registry::Beside::NoTenant);
    std::fs::create_dir(data.path().join("tenants")).unwrap();
    assert_eq!(beside(data.path()).unwrap(), registry::Beside::NoTenant);
    let tenant = data.path().join("tenants/default");
    std::fs::create_dir(&tenant).unwrap();
    assert_eq!(beside(data.path()).unwrap(), registry::Beside::NoTenant);
    let derive = DeriveFromBody::new(Schema::r4());
    let options = SledStoreOptions::default();
    let store = SledStore::open(&tenant, "default", Arc::new(derive), options).unwrap();
    assert_eq!(beside(data.path()).unwrap(), registry::Beside::NoTenant);
    drop(store);
    std::fs::remove_dir_all(tenant.join("log")).unwrap();
    assert_eq!(beside(data.path()).unwrap(), registry::Beside::ExistingTenant);
    std::fs::remove_dir_all(&tenant).unwrap();
    assert_eq!(beside(data.path()).unwrap(), registry::Beside::NoTenant);
    std::fs::write(&tenant, "").unwrap();
    assert_eq!(beside(data.path()).unwrap(), registry::Beside::ExistingTenant);
}
