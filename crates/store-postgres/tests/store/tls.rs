//! How bytes travel to PostgreSQL.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use fhir_core::Redacted;
use store::Store;
use store::suite::fixture::{append, commit};
use store_postgres::{InvalidConnection, OpenError, PostgresOptions, Transport};

use crate::cluster::{Database, database, open};

fn verified(database: &Database, host: &str, authority: &[u8]) -> PostgresOptions {
    let place = format!("host={host} hostaddr=127.0.0.1 port={}", database.cluster.port);
    database.options_at(&place, Transport::verified_by(authority).unwrap())
}

/// The error with all that caused it.
fn chain(error: &dyn Error) -> String {
    let source = error.source().map(chain).unwrap_or_default();
    format!("{error}: {source}")
}

#[test]
fn a_server_with_a_certificate_of_the_authority_is_spoken_to_over_tls() {
    let Some(database) = database() else { return };
    for host in ["127.0.0.1", "localhost"] {
        let store = open(verified(&database, host, &database.authority())).unwrap();
        let next = store.head().t.get() + 1;
        append(&store, &[commit(next, vec![])]);
        let plain = database.sql(
            "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE application_name = 'hearthgate' AND datname = current_database() AND NOT ssl",
        );
        assert_eq!(plain, "0");
        store.close().unwrap();
    }
}

#[test]
fn a_server_of_another_authority_or_another_name_is_refused() {
    let Some(database) = database() else { return };
    for (host, authority) in
        [("localhost", database.other_authority()), ("another.example", database.authority())]
    {
        let error = open(verified(&database, host, &authority)).unwrap_err();
        assert!(matches!(error, OpenError::Postgres(_)), "{error:?}");
        let told = chain(&error);
        assert!(told.contains("certificate"), "{told}");
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_refused_where_tls_is_asked_for() {
    let Some(database) = database() else { return };
    let transport = Transport::verified_by(&database.authority()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("host=127.0.0.1 port={}", listener.local_addr().unwrap().port());
    let options = database.options_at(&place, transport.clone());
    // Answers the request for TLS by no, and gives what it is sent afterwards.
    let plain = move || {
        let (mut connection, _) = listener.accept().unwrap();
        let (mut request, mut after) = ([0; 8], Vec::new());
        connection.read_exact(&mut request).unwrap();
        connection.write_all(b"N").unwrap();
        connection.read_to_end(&mut after).unwrap();
        after
    };
    let plain = thread::Builder::new().spawn(plain).unwrap();
    assert!(matches!(open(options), Err(OpenError::Postgres(_))));
    assert_eq!(plain.join().unwrap(), b"");

    let over_socket =
        PostgresOptions::new("host=/run/postgresql", None, transport, "here".to_owned());
    assert_eq!(over_socket.err(), Some(InvalidConnection::TlsOverSocket));
}

#[test]
fn a_wrong_password_is_refused_and_stands_in_no_error() {
    let Some(database) = database() else { return };
    let connection = format!(
        "host=127.0.0.1 port={} user=hearthgate dbname={}",
        database.cluster.port, database.name
    );
    let password = Some(Redacted::new("swordfish".to_owned()));
    let options =
        PostgresOptions::new(&connection, password, Transport::Local, "here".to_owned()).unwrap();
    let error = open(options).unwrap_err();
    let told = format!("{error:?} {}", chain(&error));
    assert!(told.contains("28P01") && !told.contains("swordfish"), "{told}");
}
