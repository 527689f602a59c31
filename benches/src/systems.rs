//! What is measured: the real `argon`, the floor, and gearmand; and how each is started.

use std::env;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use argon::StatusReport;

use crate::Problem;
use crate::parts::runtime;
use crate::process::{Process, READY};

/// How long after a worker has said that it is ready its manager may need to know it.
const SETTLE: Duration = Duration::from_millis(100);
/// The core of those that share one.
const ONE_CORE: &str = "0";
const ANY_CORE: &str = "-";

/// The programs that were built.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) argon: PathBuf,
    parts: PathBuf,
    workspace: PathBuf,
    /// Everything on one core.
    pinned: bool,
}

impl Programs {
    /// Builds `argon` as users do, and the parts. Each by itself: in one command with the
    /// simulations they would have the test features of tokio.
    pub(crate) fn build() -> Result<Self, Problem> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .canonicalize()?;
        let mut programs = Self {
            argon: PathBuf::new(),
            parts: PathBuf::new(),
            workspace,
            pinned: false,
        };
        programs.argon = programs.cargo("argon-cli", "argon")?;
        programs.parts = programs.cargo("argon-benches", "argon-bench-parts")?;
        Ok(programs)
    }

    /// The folder of the workspace.
    pub(crate) fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// The program `name` of a package.
    fn cargo(&self, package: &str, name: &str) -> Result<PathBuf, Problem> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args([
                "build",
                "--profile",
                "dist",
                "--quiet",
                "--message-format=json",
            ])
            .args(["-p", package, "--bin", name])
            .current_dir(&self.workspace)
            .stderr(std::process::Stdio::inherit())
            .output()?;
        if !built.status.success() {
            return Err(format!("cannot build {name}").into());
        }
        let text = String::from_utf8(built.stdout)?;
        let messages = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let found = messages
            .filter(|message| message["target"]["name"] == name)
            .find_map(|message| message["executable"].as_str().map(PathBuf::from));
        found.ok_or_else(|| format!("cargo does not say where {name} is").into())
    }

    /// The same with all processes on one core.
    pub(crate) fn pinned(&self) -> Self {
        Self {
            pinned: true,
            ..self.clone()
        }
    }

    /// A command that ends with this process.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(&self.parts);
        let core = if self.pinned { ONE_CORE } else { ANY_CORE };
        command.args(["leash", core]).arg(program);
        command
    }

    /// Starts a part.
    pub(crate) fn part(&self, arguments: &[&str]) -> Result<Process, Problem> {
        Process::start(self.command(&self.parts).args(arguments))
    }

    /// Starts a part and waits until it says that it is ready.
    pub(crate) fn ready(&self, arguments: &[&str]) -> Result<Process, Problem> {
        let part = self.part(arguments)?;
        part.wait_for("ready", READY)?;
        sleep(SETTLE);
        Ok(part)
    }

    /// Starts a part that says where it listens.
    pub(crate) fn listening(&self, arguments: &[&str]) -> Result<Server, Problem> {
        let process = self.part(arguments)?;
        let address = process.line(READY)?;
        Ok(Server { process, address })
    }

    /// Starts the real manager.
    pub(crate) fn manager(&self, options: &[&str]) -> Result<Server, Problem> {
        let mut command = self.command(&self.argon);
        let process = Process::start(command.arg("manager").args(options))?;
        let line = process.wait_for("listening on", READY)?;
        let address = line.rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(Server { process, address })
    }

    /// Starts the real worker, whose children are parts.
    pub(crate) fn worker(&self, manager: &str, children: &str) -> Result<Process, Problem> {
        let mut command = self.command(&self.argon);
        command
            .args(["worker", "--manager", manager, "--workers", children, "--"])
            .arg(&self.parts)
            .arg("argon-pool");
        Process::start(&mut command)
    }

    /// Starts gearmand, if it is here.
    pub(crate) fn gearmand(&self) -> Result<Option<Server>, Problem> {
        let Some(program) = find("gearmand") else {
            return Ok(None);
        };
        let port = TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port()
            .to_string();
        let address = format!("127.0.0.1:{port}");
        let pid_file = env::temp_dir().join(format!("argon-bench-gearmand-{port}.pid"));
        let mut command = self.command(&program);
        command
            .args([
                "-t",
                "0",
                "-L",
                "127.0.0.1",
                "-p",
                &port,
                "-l",
                "none",
                "-P",
            ])
            .arg(&pid_file);
        let process = Process::start(&mut command)?;
        let until = Instant::now() + READY;
        while TcpStream::connect(&address).is_err() {
            if Instant::now() > until {
                return Err("gearmand does not listen".into());
            }
            sleep(Duration::from_millis(20));
        }
        let _ = std::fs::remove_file(pid_file);
        Ok(Some(Server { process, address }))
    }
}

/// Where a program is, if it is installed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let usual = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(usual)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A process that listens.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: String,
}

impl Server {
    /// How a real manager is doing.
    pub(crate) fn status(&self) -> Result<StatusReport, Problem> {
        let asking = argon::status(&self.address, None, READY);
        Ok(runtime()?.block_on(asking)?)
    }

    /// Waits until a real manager says so.
    pub(crate) fn wait(
        &self,
        what: &str,
        limit: Duration,
        so: impl Fn(&StatusReport) -> bool,
    ) -> Result<(), Problem> {
        let until = Instant::now() + limit;
        while !so(&self.status()?) {
            if Instant::now() > until {
                return Err(format!("the manager does not have {what}").into());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits until the slots of all workers are so many, and something can run there.
    pub(crate) fn wait_capacity(&self, slots: u64) -> Result<(), Problem> {
        self.wait("all workers", READY, |status| {
            status.manager.capacity >= slots && !status.groups.is_empty()
        })?;
        sleep(SETTLE);
        Ok(())
    }
}
