//! Plug-ins of the measured honeypot: a login like that of telnet, written in
//! Luau, and twenty more that only wait.

use std::fmt::Write as _;
use std::path::Path;

/// How many more are loaded for the row about memory at rest.
pub(super) const AT_REST: usize = 20;

const LOGIN: &str = r#"
local function serve(conn)
	conn:write("login: ")
	local user = conn:read_line()
	if user == nil then
		return
	end
	conn:write("password: ")
	local password = conn:read_line()
	if password == nil then
		return
	end
	credentials({ username = user, password = password })
	record({ user = user, try = 1 })
	conn:write("Login incorrect\r\n")
end

return {
	api = 1,
	name = "NAME",
	about = "A login",
	ports = { tcp = { 7007 } },
	columns = { { "user", "TEXT" }, { "try", "INTEGER" } },
	serve = serve,
}
"#;

/// Changes the first of them: its greeting, and every second time what it listens
/// on beside its port.
///
/// # Errors
/// It cannot be written.
pub(super) fn change(home: &Path, round: usize) -> std::io::Result<()> {
    let mut text = LOGIN.replace("NAME", "login0");
    text = text.replace("\"login: \"", &format!("\"host{round} login: \""));
    if round % 2 == 1 {
        text = text.replace("{ 7007 } },", "{ 7007 }, udp = { 7007 } },");
        text = text
            .replace("serve = serve,", "serve = serve,\n\tdatagram = function() return nil end,");
    }
    let folder = home.join("plugins/login0");
    // Never half of it.
    std::fs::write(folder.join("init.new"), text)?;
    std::fs::rename(folder.join("init.new"), folder.join("init.luau"))
}

/// Writes `count` plug-ins below a folder, and the settings that have them serve.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn write(home: &Path, count: usize) -> std::io::Result<String> {
    let mut settings = String::new();
    for index in 0..count {
        let name = format!("login{index}");
        let folder = home.join("plugins").join(&name);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("init.luau"), LOGIN.replace("NAME", &name))?;
        let _ = write!(settings, "[[honeypot.plugin]]\npath = \"plugins/{name}\"\nport = 0\n");
    }
    Ok(settings)
}
