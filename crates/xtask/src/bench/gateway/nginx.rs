//! nginx, as the upstream of all and as a proxy before it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::proxies::{REQUESTS_OF_A_CONNECTION, Site};

/// What both begin with. Its directories are the run's: those that it was built with are root's.
fn beginning(directory: &Path, threads: usize, name: &str) -> String {
    let at = directory.join(name);
    let at = at.display();
    format!(
        "daemon off;\nuser root;\nworker_processes {threads};\npid {at}.pid;\nerror_log stderr error;\n\
         events {{ worker_connections 16384; }}\nhttp {{\nsendfile on;\ntcp_nopush on;\n\
         default_type application/octet-stream;\n\
         client_body_temp_path {at}-body;\nproxy_temp_path {at}-proxy;\n\
         fastcgi_temp_path {at}-fastcgi;\nuwsgi_temp_path {at}-uwsgi;\nscgi_temp_path {at}-scgi;\n"
    )
}

/// The upstream: two files, and a sink that answers once it has the whole body.
pub(crate) fn upstream(
    directory: &Path,
    threads: usize,
    listen: SocketAddr,
    behind: SocketAddr,
) -> String {
    let mut text = beginning(directory, threads, "upstream");
    let files = directory.join("files");
    let _ = write!(
        text,
        "access_log off;\nkeepalive_requests 1000000000;\nkeepalive_timeout 600s;\n\
         upstream end {{ server {behind}; keepalive 64; keepalive_requests 1000000000; }}\n\
         server {{\nlisten {behind};\nreturn 200 taken;\n}}\n\
         server {{\nlisten {listen};\nroot {};\nopen_file_cache max=10;\n\
         location /bench/sink {{\nclient_max_body_size 1m;\nclient_body_buffer_size 256k;\n\
         proxy_pass_request_body off;\nproxy_set_header Content-Length \"\";\n\
         proxy_http_version 1.1;\nproxy_set_header Connection \"\";\nproxy_method GET;\n\
         proxy_pass http://end;\n}}\n}}\n}}\n",
        files.display()
    );
    text
}

/// A proxy: bodies pass in pieces, and nothing goes to the disk but the access log, ten times a
/// second as the gateway's.
pub(crate) fn proxy(
    site: &Site,
    name: &str,
    listen: SocketAddr,
    certificate: Option<(&Path, &Path)>,
    access_log: Option<&Path>,
) -> String {
    let mut text = beginning(&site.directory, site.threads, name);
    let (tls, certificates) = match certificate {
        Some((certificate, key)) => (
            " ssl",
            format!(
                "ssl_certificate {};\nssl_certificate_key {};\n\
                 ssl_session_cache shared:sessions:10m;\nssl_protocols TLSv1.2 TLSv1.3;\n",
                certificate.display(),
                key.display()
            ),
        ),
        None => ("", String::new()),
    };
    let log = access_log.map_or("off".to_owned(), |path| {
        // The format has to be named where there is more to say.
        format!("{} combined buffer=64k flush=100ms", path.display())
    });
    let _ = write!(
        text,
        "access_log {log};\nkeepalive_requests {REQUESTS_OF_A_CONNECTION};\nkeepalive_timeout 75s;\n\
         upstream behind {{ server {}; keepalive 128; keepalive_requests 1000000000; }}\n\
         server {{\nlisten {listen}{tls};\n{certificates}client_max_body_size 64m;\n\
         location / {{\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n\
         proxy_request_buffering off;\nproxy_max_temp_file_size 0;\n\
         proxy_pass http://behind;\n}}\n}}\n}}\n",
        site.upstream
    );
    text
}
