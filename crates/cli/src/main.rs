//! The binary `palisade`: arguments, settings, log, signals, wiring, exit codes.
//!
//! Policy of the whole process: a command that fails prints one error with its
//! causes to standard error and exits with 1; wrong usage exits with 2 (clap);
//! nothing panics on purpose. A second SIGINT or SIGTERM exits at once with 130.

mod args;
mod code;
mod commands;
mod demo;
mod logging;
mod memory;
mod out;
mod progress;
mod reach;
mod ruleset;
mod run;
mod settings;
mod zone;

use std::process::ExitCode;

use clap::Parser as _;

/// Gives back what indexing a burst of events took; glibc's allocator keeps it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match confined() {
        Some(done) => done,
        None => dispatch(args::Cli::parse()),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("palisade: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The two processes that are started by us alone, with one word. The arguments of
/// all commands are not even built there: what that takes stays in memory.
fn confined() -> Option<anyhow::Result<ExitCode>> {
    let mut words = std::env::args_os().skip(1);
    let word = words.next()?;
    match (word.to_str()?, words.next()) {
        ("zone", None) => Some(zone::child::run()),
        ("fetch", None) => Some(zone::fetcher::child::run()),
        _ => None,
    }
}

fn dispatch(cli: args::Cli) -> anyhow::Result<ExitCode> {
    use args::{Command, ConfigCommand};
    if let Command::Completions { shell } = cli.command {
        commands::completions::print(shell);
        return Ok(ExitCode::SUCCESS);
    }
    // Confined before they have a second thread, and told how by their parent.
    if let Command::Zone(args) = &cli.command {
        return match args.attempt {
            Some(attempt) => zone::attempts::run(attempt, &args.user, args.confinement()),
            None => zone::child::run(),
        };
    }
    if let Command::Fetch = &cli.command {
        return zone::fetcher::child::run();
    }
    // These look at other configurations than ours.
    match &cli.command {
        Command::Audit(args) => return commands::audit::run(args),
        Command::Fail2banRegex(args) => {
            return commands::fail2ban::regex(args, cli.global.config.as_deref());
        }
        Command::Import(args::ImportArgs {
            from: Some(args::ImportFrom::Fail2ban { folder, all, format }),
            ..
        }) => return commands::fail2ban::import(folder, *all, format),
        Command::Import(args::ImportArgs {
            from: Some(args::ImportFrom::Strongmonitor { file, output, within }),
            ..
        }) => return commands::import::strongmonitor::run(file, output.as_deref(), *within),
        _ => {}
    }
    if matches!(cli.command, Command::Agent(_) | Command::Scan(_)) {
        memory::give_back_at_once();
    }
    let mut settings = settings::Settings::load(&cli.global)?;
    match cli.command {
        Command::Config(ConfigCommand::Check) => return Ok(commands::config::check(&settings)),
        Command::Config(ConfigCommand::Show) => {
            commands::config::show(&settings)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    match &cli.command {
        Command::Up(args) => {
            settings.apply_hub(&args.hub);
            settings.demo.enabled |= args.demo;
        }
        Command::Hub(args) => settings.apply_hub(args),
        Command::Agent(args) | Command::Sensor(args) => settings.apply_agent(args)?,
        // Commands that answer and end: only what went wrong is of interest.
        _ if cli.global.log.is_none() => "error".clone_into(&mut settings.log.filter),
        _ => {}
    }
    match &cli.command {
        Command::Scan(args) => return commands::scan::run(&settings, args),
        Command::Explain(args) => return commands::explain::run(&settings, args),
        Command::Plugin(command) => return commands::plugin::run(&settings, command),
        _ => {}
    }
    settings.validate()?;
    logging::start(&settings.log)?;
    let runtime = run::runtime()?;
    let code = match cli.command {
        Command::Up(_) => runtime.block_on(run::up(&settings))?,
        Command::Hub(_) => runtime.block_on(run::hub(&settings))?,
        Command::Agent(_) => runtime.block_on(run::agent(&settings))?,
        Command::Sensor(_) => runtime.block_on(run::sensor(&settings))?,
        Command::Demo(args) => runtime.block_on(commands::demo::replay(&settings, &args))?,
        Command::Query(args) => runtime.block_on(commands::query::ask(&settings, &args))?,
        Command::Export(args) => runtime.block_on(commands::export::run(&settings, &args))?,
        Command::Import(args::ImportArgs {
            from: Some(args::ImportFrom::PebaUsers { file, reach }),
            ..
        }) => runtime.block_on(commands::import::users::run(&settings, &file, &reach))?,
        Command::Import(args::ImportArgs { from: Some(args::ImportFrom::Logs(args)), .. }) => {
            runtime.block_on(commands::import::logs(&settings, &args))?
        }
        Command::Import(args) => runtime.block_on(commands::import::run(&settings, &args))?,
        Command::Store(command) => runtime.block_on(commands::store::run(&settings, command))?,
        Command::User(command) => runtime.block_on(commands::user::run(&settings, command))?,
        Command::Key(command) => runtime.block_on(commands::key::run(&settings, command))?,
        Command::State(command) => runtime.block_on(commands::state::run(&settings, command))?,
        Command::Ban(args) => runtime.block_on(commands::bans::ban(&settings, &args))?,
        Command::Unban(args) => runtime.block_on(commands::bans::unban(&settings, &args))?,
        Command::Bans(args) => runtime.block_on(commands::bans::bans(&settings, &args))?,
        Command::Allow(args) => runtime.block_on(commands::bans::allow(&settings, &args))?,
        Command::Knock(args) => runtime.block_on(commands::knock::run(&settings, args))?,
        Command::Blocklist(command) => {
            runtime.block_on(commands::blocklist::run(&settings, command))?
        }
        Command::Sensors(command) => {
            runtime.block_on(commands::sensors::run(&settings, command))?
        }
        Command::Session(command) => {
            runtime.block_on(commands::session::run(&settings, command))?
        }
        Command::Enforce(command) => {
            runtime.block_on(commands::enforce::run(&settings, command))?
        }
        Command::Doctor(args) if args.honeypots => {
            runtime.block_on(commands::tells::run(&settings, args.format))?
        }
        Command::Doctor(args) => {
            runtime.block_on(commands::doctor::examine(&settings, args.format))
        }
        Command::Config(_)
        | Command::Audit(_)
        | Command::Completions { .. }
        | Command::Zone(_)
        | Command::Fetch
        | Command::Fail2banRegex(_)
        | Command::Scan(_)
        | Command::Explain(_)
        | Command::Plugin(_) => ExitCode::SUCCESS,
    };
    // Blocking threads that outlive their task must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    Ok(code)
}
