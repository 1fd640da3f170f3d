//! The path of a request as a server looks it up: escapes decoded, slashes
//! merged, dots resolved. Pure.

/// A target that no server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathError {
    /// Out of the root, a broken escape, no path at all.
    Bad,
    /// A zero byte.
    Zero,
}

/// The path of a target, without its query, decoded and resolved.
pub(super) fn resolve(target: &[u8]) -> Result<Vec<u8>, PathError> {
    let target = match target.get(..7) {
        Some(start) if start.eq_ignore_ascii_case(b"http://") => after_host(target, 7),
        _ => match target.get(..8) {
            Some(start) if start.eq_ignore_ascii_case(b"https://") => after_host(target, 8),
            _ => target,
        },
    };
    let raw = target.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    if !raw.starts_with(b"/") {
        return Err(PathError::Bad);
    }
    let decoded = decode(raw)?;
    let mut path: Vec<u8> = Vec::with_capacity(decoded.len());
    let mut segments = decoded.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" | b"." if last => path.push(b'/'),
            b"" | b"." => {}
            b".." => {
                let up = path.iter().rposition(|byte| *byte == b'/').ok_or(PathError::Bad)?;
                path.truncate(up);
                if last {
                    path.push(b'/');
                }
            }
            name => {
                path.push(b'/');
                path.extend_from_slice(name);
            }
        }
    }
    if path.is_empty() {
        path.push(b'/');
    }
    Ok(path)
}

/// What follows the host of an absolute target.
fn after_host(target: &[u8], scheme: usize) -> &[u8] {
    let rest = target.get(scheme..).unwrap_or_default();
    rest.iter().position(|byte| *byte == b'/').and_then(|at| rest.get(at..)).unwrap_or(b"/")
}

fn decode(raw: &[u8]) -> Result<Vec<u8>, PathError> {
    if !raw.contains(&b'%') {
        return Ok(raw.to_vec());
    }
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let [high, low, after @ ..] = after else { return Err(PathError::Bad) };
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
            return Err(PathError::Bad);
        };
        match high << 4 | low {
            0 => return Err(PathError::Zero),
            byte => out.push(byte),
        }
        rest = after;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_as_servers_do() {
        for (target, path) in [
            ("/", Ok("/")),
            ("//index.html?a=/../", Ok("/index.html")),
            ("/a/../b/./c", Ok("/b/c")),
            ("/a/b/..", Ok("/a/")),
            ("/a/", Ok("/a/")),
            ("/%2e%67it/config", Ok("/.git/config")),
            ("http://h:80/x#y", Ok("/x")),
            ("HTTPS://h", Ok("/")),
            ("/../x", Err(PathError::Bad)),
            ("/a/../../x", Err(PathError::Bad)),
            ("/%zz", Err(PathError::Bad)),
            ("/%4", Err(PathError::Bad)),
            ("/a%00", Err(PathError::Zero)),
            ("x", Err(PathError::Bad)),
            ("*", Err(PathError::Bad)),
            ("", Err(PathError::Bad)),
        ] {
            let resolved = resolve(target.as_bytes());
            assert_eq!(resolved, path.map(|path| path.as_bytes().to_vec()), "{target}");
        }
    }
}
