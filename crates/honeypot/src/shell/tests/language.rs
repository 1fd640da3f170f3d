//! The language: what bash and BusyBox print for the same lines.

use super::*;

#[test]
fn lines_do_what_they_do_in_bash() {
    for (line, expected) in [
        ("echo a b  c", "a b c\n"),
        ("echo 'a;b' \"c && d\" e\\ f", "a;b c && d e f\n"),
        ("true && echo a || echo b", "a\n"),
        ("false && echo a || echo b; echo c", "b\nc\n"),
        ("x=5; echo $x ${x}y \"$x\" '$x' ${#x}", "5 5y 5 $x 1\n"),
        ("echo ${y:-none} ${y:=set} $y ${y:+other} ${z-}", "none set set other\n"),
        (
            "f=/tmp/a.tar.gz; echo ${f##*/} ${f%%.*} ${f%.gz} ${f#*/} ${f/tar/zip} ${f:1:3}",
            "a.tar.gz /tmp/a /tmp/a.tar tmp/a.tar.gz /tmp/a.zip.gz tmp\n",
        ),
        ("echo $((7*6)) $((1+2)) $(( (2+3)*4 % 7 ))", "42 3 6\n"),
        ("echo $(echo a; echo b) `echo c \\`echo d\\``", "a b c d\n"),
        ("echo \"$(echo \"x y\")\"", "x y\n"),
        ("for i in 1 2 3; do echo -n $i; done; echo", "123\n"),
        ("for i in {1..3} {a,b}c; do echo -n \"$i \"; done; echo", "1 2 3 ac bc \n"),
        ("for ((i=0;i<3;i++)); do echo -n $i; done; echo", "012\n"),
        ("i=0; while [ $i -lt 3 ]; do i=$((i+1)); [ $i = 2 ] && continue; echo $i; done", "1\n3\n"),
        ("until false; do echo once; break; done", "once\n"),
        ("if [ -d /tmp ]; then echo yes; elif true; then echo no; else echo never; fi", "yes\n"),
        ("case abc in x) echo x;; a*|b) echo a;; esac", "a\n"),
        ("f() { echo \"$1-$#\"; return 3; }; f p q; echo $?", "p-2\n3\n"),
        ("function g { local v=in; echo $v; }; v=out; g; echo $v", "in\nout\n"),
        ("(cd /tmp; pwd); pwd", "/tmp\n/root\n"),
        ("{ echo a; echo b; } | wc -l", "2\n"),
        ("echo hi > /tmp/x; cat < /tmp/x; cat /tmp/x >> /tmp/x; wc -l < /tmp/x", "hi\n2\n"),
        ("cat <<EOF\na $((1+1))\nEOF", "a 2\n"),
        ("cat <<'EOF'\na $x\nEOF", "a $x\n"),
        ("cat <<-E\n\tone\n\tE", "one\n"),
        ("cat <<< word", "word\n"),
        ("ls /nowhere 2>/dev/null || echo gone", "gone\n"),
        ("ls /nowhere > /dev/null 2>&1; echo $?", "2\n"),
        ("echo e >&2 2>/dev/null; echo o", "e\no\n"),
        ("a=(x y z); echo ${a[1]} ${#a[@]} ${a[@]}", "y 3 x y z\n"),
        ("set -- p q; echo $# $1 \"$@\"; shift; echo $1", "2 p p q\nq\n"),
        ("echo a | while read l; do echo \"<$l>\"; done", "<a>\n"),
        ("printf '%s-%03d\\n' a 7 b 8", "a-007\nb-008\n"),
        ("echo -e 'a\\tb\\x41'; echo -n x; echo", "a\tbA\nx\n"),
        ("X=1 env | grep ^X=; echo [$X]", "X=1\n[]\n"),
        ("eval 'echo $((2+2))'; sh -c 'echo $0 $1' a b", "4\na b\n"),
        (
            "echo 'echo in script $1' > /tmp/s; chmod +x /tmp/s; /tmp/s arg; sh /tmp/s two",
            "in script arg\nin script two\n",
        ),
        ("[[ abc == a* && ! -e /x ]] && echo m; [[ abc =~ ^a.c$ ]] && echo r", "m\nr\n"),
        ("echo /et[c]/host*", "/etc/hostname /etc/hosts\n"),
        ("echo *.none \"*\" '?'", "*.none * ?\n"),
        ("! true; echo $?; ! false; echo $?", "1\n0\n"),
        ("echo a; exit 3; echo b", "a\n"),
        ("cat /etc/hostname | tr a-z A-Z | rev | rev | wc -l", "1\n"),
        (
            "x='a b'; for w in $x; do echo $w; done; for w in \"$x\"; do echo $w; done",
            "a\nb\na b\n",
        ),
        ("echo ${x:?gone} ; echo after", "-bash: x: gone\n"),
        ("echo a && (exit 4) || echo \"rc $?\"", "a\nrc 4\n"),
        ("echo 1 2 3 | awk '{print $2, $NF; s+=$1} END {print s}'", "2 3\n1\n"),
        ("echo a:b:c | cut -d: -f2; echo abc | cut -c1-2", "b\nab\n"),
        ("echo foo.bar | sed 's/\\./-/;s/o/0/g'", "f00-bar\n"),
        ("seq 3 | sort -rn | head -1; seq 5 | tail -n 2 | paste -sd,", "3\n4,5\n"),
        ("echo 'a b' | xargs -n1 echo x", "x a\nx b\n"),
        ("echo hello | base64; echo aGVsbG8K | base64 -d", "aGVsbG8K\nhello\n"),
        (
            "printf abc | od -An -tx1; printf abc | xxd -p; printf abc | hexdump -C | head -1",
            " 61 62 63\n616263\n00000000  61 62 63                                          |abc|\n",
        ),
        (
            "echo -n abc | md5sum; echo -n abc | sha256sum | cut -c1-8",
            "900150983cd24fb0d6963f7d28e17f72  -\nba7816bf\n",
        ),
        (
            "which ls sh; type cd; command -v curl",
            "/usr/bin/ls\n/usr/bin/sh\ncd is a shell builtin\n/usr/bin/curl\n",
        ),
    ] {
        assert_eq!(bash(line), expected, "{line}");
    }
}

#[test]
fn mistakes_read_as_those_of_the_shell() {
    for (line, expected) in [
        ("nonsense", "-bash: nonsense: command not found\n"),
        ("/bin/nonsense", "-bash: /bin/nonsense: No such file or directory\n"),
        ("/etc", "-bash: /etc: Is a directory\n"),
        ("/etc/passwd", "-bash: /etc/passwd: Permission denied\n"),
        ("cd /nowhere", "-bash: cd: /nowhere: No such file or directory\n"),
        ("echo )", "-bash: syntax error near unexpected token `)'\n"),
        ("cat < /nowhere", "-bash: /nowhere: No such file or directory\n"),
        ("echo x > /proc/x", "-bash: /proc/x: No such file or directory\n"),
        ("bash -c 'nonsense'", "bash: line 1: nonsense: command not found\n"),
        ("sh -c nonsense", "sh: 1: nonsense: not found\n"),
        ("cat nofile", "cat: nofile: No such file or directory\n"),
        (
            "rm nofile; mkdir /tmp; rmdir /etc",
            "rm: cannot remove 'nofile': No such file or directory\nmkdir: cannot create directory '/tmp': File exists\nrmdir: failed to remove '/etc': Directory not empty\n",
        ),
        ("echo $((1/0)); echo next", "-bash: 1/0: division by 0 (error token is \"0\")\n"),
    ] {
        assert_eq!(bash(line), expected, "{line}");
    }
    for (line, expected) in [
        ("enable", "-sh: enable: not found\n"),
        ("/bin/nothing", "-sh: /bin/nothing: not found\n"),
        ("cd /nowhere", "-sh: cd: can't cd to /nowhere: No such file or directory\n"),
        ("cat nofile", "cat: can't open 'nofile': No such file or directory\n"),
        ("echo a > /proc/x", "-sh: can't create /proc/x: nonexistent directory\n"),
        ("echo )", "-sh: syntax error: unexpected \")\"\n"),
        ("ls nofile", "ls: nofile: No such file or directory\n"),
        ("rm nofile", "rm: can't remove 'nofile': No such file or directory\n"),
        ("busybox MIRAI; echo $?", "MIRAI: applet not found\n127\n"),
        ("/bin/busybox ECCHI", "ECCHI: applet not found\n"),
    ] {
        assert_eq!(ash(line), expected, "{line}");
    }
}

#[test]
fn a_line_that_is_not_finished_is_asked_for() {
    let mut shell = server();
    assert_eq!(typed(&mut shell, &["for i in 1 2"]), "");
    assert_eq!(shell.prompt(), b"> ");
    assert_eq!(typed(&mut shell, &["do echo $i", "done"]), "1\n2\n");
    assert_eq!(
        typed(&mut shell, &["cat > /tmp/f << X", "one", "X", "cat /tmp/f", "echo 'a", "b'"]),
        "one\na\nb\n"
    );
    assert_eq!(typed(&mut shell, &["cat > /tmp/g"]), "");
    assert_eq!(typed(&mut shell, &["typed", "lines"]), "");
    shell.end_of_input(NOW);
    assert_eq!(typed(&mut shell, &["cat /tmp/g; echo \\", "x"]), "typed\nlines\nx\n");
    typed(&mut shell, &["echo 'open"]);
    shell.interrupt();
    assert_eq!(typed(&mut shell, &["echo closed"]), "closed\n");
}

#[test]
fn shells_are_left_one_by_one() {
    let mut shell = server();
    assert_eq!(text(&shell.prompt()).split('@').next(), Some("root"));
    assert!(!shell.run(b"sh", NOW).ended);
    assert_eq!(shell.prompt(), b"# ");
    assert_eq!(typed(&mut shell, &["nonsense"]), "sh: 1: nonsense: not found\n");
    assert!(!shell.run(b"exit", NOW).ended);
    assert!(shell.run(b"exit", NOW).ended);
    assert!(shell.end_of_input(NOW).ended);
}

#[test]
fn exec_reads_its_input_and_tells_its_status() {
    let world = world(1, true);
    let run = |command: &str, input: &[u8]| {
        let mut shell = Shell::new(&world, &Visitors::default(), &who(false, Door::Ssh), NOW);
        shell.exec(command.as_bytes(), input.to_vec(), NOW)
    };
    let reply = run("cat > /tmp/x && sh /tmp/x; nonsense; exit 7", b"echo from input\n");
    assert_eq!(text(&reply.output), "from input\n");
    assert_eq!(text(&reply.errors), "bash: line 1: nonsense: command not found\n");
    assert!(reply.ended && reply.status == 7);
}

#[test]
fn files_stay_for_the_same_attacker_alone() {
    let (world, visitors) = (world(1, true), Visitors::default());
    let me = who(true, Door::Ssh);
    let mut first = Shell::new(&world, &visitors, &me, NOW);
    typed(&mut first, &["echo mine > /root/f; rm /etc/motd; rm -rf /var/log; mkdir /var/log"]);
    let mut again = Shell::new(&world, &visitors, &me, NOW.plus_millis(3_600_000));
    assert_eq!(
        typed(&mut again, &["cat f; ls /etc/motd; ls -A /var/log"]),
        "mine\nls: cannot access '/etc/motd': No such file or directory\n"
    );
    let other = Who { address: "198.51.100.8".parse().unwrap(), ..me };
    let mut stranger = Shell::new(&world, &visitors, &other, NOW);
    assert!(typed(&mut stranger, &["cat f; ls /var/log"]).contains("wtmp"));
}

#[test]
fn a_background_command_keeps_its_redirections() {
    let shown = bash("cd /tmp; /nowhere/x >> /dev/null 2>&1& ls");
    assert!(!shown.contains('1') || shown.starts_with("[1] "), "{shown}");
    assert!(
        !bash("cd /tmp; /nowhere/x > /dev/null 2>&1& sleep 1; ls /tmp | cat").contains("\n1\n")
    );
}
