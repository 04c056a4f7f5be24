//! Which paths may go to servers of others, of which it is not known how they read one.

/// Whether a path is read in one way only: without dot segments, empty segments, backslashes, and
/// without escapes of what would be one of these or needs no escape. What follows a semicolon in a
/// segment is a parameter to some servers, which read `..;a` as `..`.
pub(super) fn is_plain(path: &str) -> bool {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let segments_are_plain = inner.split('/').rev().enumerate().all(|(from_end, segment)| {
        match segment.split(';').next() {
            None | Some("") => from_end == 0 && segment.is_empty(),
            Some("." | "..") => false,
            Some(_) => true,
        }
    });
    let escapes_are_plain = path.split('%').skip(1).all(|rest| {
        let escaped = rest.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let digits = rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        escaped.is_some_and(|byte| {
            digits
                && !byte.is_ascii_alphanumeric()
                && !byte.is_ascii_control()
                && !b"/\\.-_~;".contains(&byte)
        })
    });
    segments_are_plain && escapes_are_plain && !path.contains('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_are_read_in_one_way_pass() {
        for path in
            ["/", "/a", "/a/", "/a/b.c/~d", "/a%20b", "/a%C3%A9", "/a/$op", "/a:b", "/a;b=c/d"]
        {
            assert!(is_plain(path), "{path}");
        }
        for path in [
            "//",
            "/a//b",
            "/a/..",
            "/a/./b",
            "/../a",
            "/a/%2e%2e/b",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/%61",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%00",
            "/a%+1",
            "/..;/a",
            "/a/.;x=1/b",
            "/;/a",
            "/a;%2e/b",
            "/a/..%3b/b",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
