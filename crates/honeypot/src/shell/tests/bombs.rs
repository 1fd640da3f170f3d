//! Whatever is typed, a line ends, soon and with bounded output and memory.

use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::shell::vfs::{MAX_ENTRIES, MAX_STORED_BYTES};

/// Far more than any line takes also without optimisation, far less than one
/// that does not end.
const PATIENCE_SECS: u64 = 20;

fn ends(line: &[u8]) -> Reply {
    let mut last = Reply::default();
    for mut shell in [device(), server()] {
        let begun = Instant::now();
        last = shell.run(line, NOW);
        let shown = line.get(..60).unwrap_or(line).escape_ascii().to_string();
        assert!(begun.elapsed().as_secs() < PATIENCE_SECS, "{shown}: {:?}", begun.elapsed());
        assert!(last.output.len() <= MAX_OUTPUT_BYTES, "{shown}");
        assert!(last.pause.as_millis() <= u128::from(MAX_PAUSE_MS), "{shown}");
        // The shell is as good as before.
        shell.interrupt();
        assert_eq!(text(&shell.run(b"echo still here", NOW).output), "still here\n", "{shown}");
    }
    last
}

#[test]
fn loops_end() {
    for line in [
        "while :; do :; done",
        "while true; do echo x; done",
        "until false; do sleep 1; done",
        "for ((;;)); do :; done",
        "yes",
        "yes | cat",
        "yes | while read l; do echo $l; done",
        "f() { f; }; f",
        "f() { f | f; }; f",
        ":(){ :|:& };:",
        "a() { a; a; }; a",
        "while :; do cat /dev/urandom; done > /tmp/x",
        "cat /dev/zero",
        "cat /dev/zero | cat > /tmp/z",
        "i=0; while [ $i -lt 999999999 ]; do i=$((i+1)); done",
        "echo 'sh b; sh b' > /tmp/b; cd /tmp; sh b",
        "echo '. /tmp/c' > /tmp/c; . /tmp/c",
        "x=a; while :; do x=$x$x; done",
        "eval eval eval eval echo; e='eval $e'; eval $e",
        "seq 999999999 | sort | uniq -c | wc -l",
        "awk 'BEGIN { while (1) x = x \"aaaaaaaa\" }'",
        "awk 'BEGIN { for (;;) print \"a\" }'",
        "find / -exec find / \\;",
        "ls -R / | xargs ls -R",
        "sleep 99999; sleep 99999",
        "dd if=/dev/zero of=/tmp/big bs=1G count=1000",
        "tail -f /var/log/messages",
    ] {
        ends(line.as_bytes());
    }
}

#[test]
fn a_fork_bomb_looks_like_one() {
    let shown = bash(":(){ :|:& };:");
    assert!(shown.contains("fork: retry: Resource temporarily unavailable"), "{shown}");
    assert!(
        server().run(b"while :; do :; done", NOW).pause.as_secs() >= 3,
        "whoever wears us out waits"
    );
}

#[test]
fn nesting_ends() {
    for part in [
        "$(",
        "`",
        "(",
        "{ ",
        "if ",
        "$((",
        "${a:-",
        "while ",
        "case x in x) ",
        "\"$(",
        "<<A ",
        "! ",
        "f() ",
        "[[ ( ",
    ] {
        ends(part.repeat(10_000).as_bytes());
    }
    let closed = format!("echo {}a{}", "$(echo ".repeat(5_000), ")".repeat(5_000));
    ends(closed.as_bytes());
    ends(format!("echo {}", "{a,b}".repeat(60)).as_bytes());
    ends(format!("echo $(({}1{}))", "(".repeat(9_000), ")".repeat(9_000)).as_bytes());
    ends(b"echo {1..999999999} {1..4000}{1..4000}");
}

#[test]
fn a_line_of_100_megabytes_is_cut() {
    let mut line = b"echo ".to_vec();
    line.resize(100 * 1024 * 1024, b'a');
    ends(&line);
    line.fill(b'(');
    ends(&line);
    let document = ["cat << E\n".as_bytes(), &b"line\n".repeat(2_000_000)].concat();
    ends(&document);
}

#[test]
fn a_here_document_without_end_is_bounded() {
    let mut shell = server();
    shell.run(b"cat > /tmp/x << END", NOW);
    let line = vec![b'x'; 4_096];
    for _ in 0..5_000 {
        shell.run(&line, NOW);
    }
    assert!(shell.pending.len() <= 512 * 1024, "{}", shell.pending.len());
}

#[test]
fn patterns_do_not_grow() {
    for line in [
        "cd /tmp; for i in $(seq 3000); do > f$i; done; echo * * * * * *; echo /*/*/*/*/*/*/*/*",
        "echo /proc/*/* /*/*/* /*/*/*/*",
        "x=$(printf 'a%.0s' $(seq 20000)); echo ${x##*a*a*a*a*b} ${x//a*a/b}",
        "x=$(printf 'a%.0s' $(seq 5000)); case $x in *a*a*a*a*a*a*b) echo m;; esac",
        "seq 9999 | grep -E '(a|b|c|[0-9]+)+x'; echo a | grep -E '((((a{1,99}){1,99}){1,99}){1,99})'",
        "seq 9999 | sed 's/.*/&&&&&&&&&&/;s/.*/&&&&&&&&&&/;s/.*/&&&&&&&&&&/;s/.*/&&&&&&&&&&/'",
    ] {
        ends(line.as_bytes());
    }
}

#[test]
fn files_and_variables_are_bounded() {
    let mut shell = server();
    for _ in 0..30 {
        shell.run(b"cd /tmp; for i in $(seq 2000); do echo x > $RANDOM.$i; done", NOW);
        shell.run(b"head -c 1000000 /dev/urandom >> /tmp/big; cp /tmp/big /tmp/big.$RANDOM", NOW);
        shell.run(b"for i in $(seq 5000); do eval v$i=$i; done", NOW);
    }
    let held = shell.files.overlay().held();
    assert!(held <= MAX_STORED_BYTES + MAX_ENTRIES * 200, "{held}");
    assert!(shell.variables.len() <= 1_100, "{}", shell.variables.len());
    let shown = text(&shell.run(b"cp /tmp/big /tmp/bigger; head -c 1000000 /dev/urandom > /tmp/b3 && head -c 1000000 /dev/urandom > /tmp/b4; echo $?", NOW).output);
    assert!(shown.contains("No space left") || shell.budget.is_spent(), "{shown}");
}

proptest! {
    #[test]
    fn any_line_is_survived_and_bounded(
        lines in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..300), 1..4),
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "cat", "echo", "-e", "\\x4", ">", ">>", "<", "<<E", "a", "|", "||", "&&", ";", "&", "/", "\n",
                "..", "cd", "cp", "dd", "bs=99999999", "if=/bin/ls", "count=9", "'", "\"", "$", "$(", "`", "$((",
                "${", "(", ")", "}", "{", "head", "-n", "99", "wc", "grep", "sh", "-c", "ls", "-la", "mkdir", "x=1",
                "while", "do", "done", "if", "then", "fi", "for", "i", "in", "case", "esac", ";;", "2>&1", "busybox",
                "sleep", "rm", "-rf", "mv", "chmod", "*", "?", "[a-z]", "awk", "sed", "s/a/b/", "{print", "$1}",
                "find", "xargs", "tail", "sort", "cut", "tr", "test", "[", "]", "[[", "]]", "f()", "local", "read",
            ]), 0..40),
    ) {
        for mut shell in [device(), server()] {
            for line in lines.iter().map(Vec::as_slice).chain([words.join(" ").as_bytes()]) {
                let reply = shell.run(line, NOW);
                prop_assert!(reply.output.len() <= MAX_OUTPUT_BYTES);
                prop_assert!(reply.pause.as_millis() <= u128::from(MAX_PAUSE_MS));
            }
            shell.end_of_input(NOW);
            shell.finish();
        }
    }
}
