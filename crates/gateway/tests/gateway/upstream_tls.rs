//! TLS to an upstream: whom the gateway believes, by which name, and what it shows itself.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::foreign::{start_of, to};
use crate::harness::within;

/// `openssl s_server`, which asks for a certificate and answers with what it knows of the
/// connection; it never outlives the test.
struct TlsServer(Child);

impl Drop for TlsServer {
    fn drop(&mut self) {
        // One that ended already is all right.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(directory: &Path, arguments: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(arguments.split_whitespace()).current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Two authorities, and by the first a certificate for `lab.example` and one of the gateway's own.
fn make_certificates(directory: &Path) {
    let run = |arguments: &str| {
        let status = openssl(directory, arguments).status().expect("openssl runs");
        assert!(status.success(), "openssl {arguments}");
    };
    let extensions = "subjectAltName=DNS:lab.example\nbasicConstraints=CA:FALSE\n";
    std::fs::write(directory.join("leaf.ext"), extensions).expect("a file");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for name in ["ca", "other"] {
        run(&format!(
            "req -x509 {key} -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        ));
    }
    for name in ["server", "hub"] {
        run(&format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        run(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile leaf.ext -out {name}.pem"
        ));
    }
}

// GW-002, GW-013
#[tokio::test]
async fn an_upstream_is_believed_by_its_authority_and_name_alone_and_shown_a_certificate() {
    let dir = tempfile::tempdir().expect("a directory");
    make_certificates(dir.path());
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        free.local_addr().expect("an address").port()
    };
    let arguments = format!(
        "s_server -quiet -accept 127.0.0.1:{port} -cert server.pem -key server.key -CAfile ca.pem \
         -Verify 1 -verify_return_error -www"
    );
    let _server = TlsServer(openssl(dir.path(), &arguments).spawn().expect("openssl runs"));
    within("the server to listen", async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let file = |name: &str| dir.path().join(name);
    let own = |tls: &mut Value| {
        tls["certificate_file"] = json!(file("hub.pem"));
        tls["key_file"] = json!(file("hub.key"));
    };
    let upstream = |name: &str, authority: &str, shows: bool| {
        let mut tls = json!({"name": name, "authority_file": file(authority)});
        if shows {
            own(&mut tls);
        }
        json!({
            "endpoints": [{"address": format!("127.0.0.1:{port}")}], "enforces": "none",
            "scheme": "https", "tls": tls, "failures": 100, "first_byte_ms": 2000,
        })
    };
    let running = start_of(
        json!([
            to("/good", "good"),
            to("/other", "other"),
            to("/name", "name"),
            to("/bare", "bare")
        ]),
        json!({
            "good": upstream("lab.example", "ca.pem", true),
            "other": upstream("lab.example", "other.pem", true),
            "name": upstream("ehr.example", "ca.pem", true),
            "bare": upstream("lab.example", "ca.pem", false),
        }),
    )
    .await;
    let answer = running.get("/good/Patient/1").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("CN=hub") || answer.body.contains("CN = hub"), "{}", answer.body);
    for target in ["/other/Patient/1", "/name/Patient/1", "/bare/Patient/1"] {
        let refused = running.get(target).await;
        assert!([502, 503].contains(&refused.status), "{target}: {refused:?}");
    }
}
