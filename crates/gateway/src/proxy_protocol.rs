//! The PROXY protocol, versions 1 and 2: what a proxy says before the first byte of a connection.
//!
//! Read to its last byte and no further, so that what follows is the client's. Extensions of
//! version 2 are passed over.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;
/// The longest rest of version 2: addresses, and extensions that nobody looks at.
const LONGEST_REST: usize = 4096;

/// Reads the header. `None` when the proxy speaks for itself, or does not say for whom.
///
/// # Errors
/// What the connection says, or `InvalidData` when it begins with no such header.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    // No header of either version is shorter.
    let mut begin = [0; SIGNATURE.len()];
    stream.read_exact(&mut begin).await?;
    if begin == *SIGNATURE {
        return version_2(stream).await;
    }
    if !begin.starts_with(b"PROXY ") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut line = begin.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LONGEST_LINE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        line.push(stream.read_u8().await?);
    }
    let text = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix("\r\n"));
    text.and_then(version_1).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`; outer `None` when it is none such.
fn version_1(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let source: IpAddr = words.next()?.parse().ok()?;
    let _destination: IpAddr = words.next()?.parse().ok()?;
    let port: u16 = words.next()?.parse().ok()?;
    let _destination_port: u16 = words.next()?.parse().ok()?;
    let fits = match family {
        "TCP4" => source.is_ipv4(),
        "TCP6" => source.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none()).then_some(Some(SocketAddr::new(source, port)))
}

async fn version_2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let command = stream.read_u8().await?;
    let family = stream.read_u8().await?;
    let length = usize::from(stream.read_u16().await?);
    if length > LONGEST_REST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    if is_local {
        return Ok(None);
    }
    let port = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
    let source = match family {
        0x11 => {
            let bytes = rest.first_chunk::<4>().filter(|_| rest.len() >= 12);
            bytes.zip(port(8)).map(|(bytes, port)| (IpAddr::from(Ipv4Addr::from(*bytes)), port))
        }
        0x21 => {
            let bytes = rest.first_chunk::<16>().filter(|_| rest.len() >= 36);
            bytes.zip(port(32)).map(|(bytes, port)| (IpAddr::from(Ipv6Addr::from(*bytes)), port))
        }
        // Of no address, or of none that clients have here.
        0x00 => return Ok(None),
        _ => None,
    };
    let (address, port) = source.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(SocketAddr::new(address.to_canonical(), port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a header with more behind it, and says what is left.
    fn check(bytes: &[u8], expected: Result<Option<&str>, ()>) {
        let all = [bytes, b"GET"].concat();
        let mut stream = &all[..];
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let found = runtime.block_on(read(&mut stream));
        let named = expected.map(|named| named.map(|text| text.parse().expect("an address")));
        assert_eq!(found.map_err(|_| ()), named, "{}", bytes.escape_ascii());
        if expected.is_ok() {
            assert_eq!(stream, b"GET");
        }
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    // GW-027
    #[test]
    fn both_versions_are_read_to_their_last_byte() {
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n", Ok(Some("192.0.2.1:4711")));
        check(b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n", Ok(Some("[2001:db8::1]:4711")));
        check(b"PROXY UNKNOWN\r\n", Ok(None));
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 1, 187];
        check(&version_2(0x21, 0x11, &four), Ok(Some("192.0.2.1:4711")));
        let extended = [&four[..], &[4, 0, 1, 9]].concat();
        check(&version_2(0x21, 0x11, &extended), Ok(Some("192.0.2.1:4711")));
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        six[15] = 1;
        six[33] = 80;
        check(&version_2(0x21, 0x21, &six), Ok(Some("[2001:db8::1]:80")));
        check(&version_2(0x20, 0x00, &[]), Ok(None));
        check(&version_2(0x21, 0x00, &[]), Ok(None));
    }

    #[test]
    fn anything_else_is_no_header() {
        for bytes in [
            &b"GET /fhir HTTP/1.1\r\n\r\n"[..],
            b"PROXY TCP4 192.0.2.1 10.0.0.1 4711\r\n",
            b"PROXY TCP4 2001:db8::1 ::1 4711 443\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443 x\r\n",
            b"PROXY TCP5 192.0.2.1 10.0.0.1 4711 443\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n",
        ] {
            check(bytes, Err(()));
        }
        check(&[b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat(), Err(()));
        check(&version_2(0x11, 0x11, &[0; 12]), Err(()));
        check(&version_2(0x21, 0x11, &[0; 11]), Err(()));
        check(&version_2(0x21, 0x31, &[0; 216]), Err(()));
    }
}
