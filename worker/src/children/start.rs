//! Starting what a profile starts: one way for commands, servers of tools, agents and hooks.
//!
//! Every program has a cleared environment with [exactly what it was given](super::Variables), leads a process group of its own, and is
//! killed with that group when it is let go of before its end.

use std::ffi::OsString;
use std::io;
use std::process::Stdio;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::process::Command;

use super::{Group, Variables};

/// A program that is to be started. Nothing is connected to it unless it is said.
#[derive(Debug)]
pub(crate) struct Program {
    /// A path, or a name that is looked for in the `PATH` of its own environment.
    pub(crate) name: OsString,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// Where it runs.
    pub(crate) dir: Utf8PathBuf,
    /// All of its environment.
    pub(crate) environment: Variables,
    /// Its input.
    pub(crate) stdin: Stdio,
    /// Its output.
    pub(crate) stdout: Stdio,
    /// Its messages.
    pub(crate) stderr: Stdio,
}

impl Program {
    /// One without input, output and arguments.
    pub(crate) fn new(name: impl Into<OsString>, dir: &Utf8Path, environment: Variables) -> Self {
        Self {
            name: name.into(),
            arguments: Vec::new(),
            dir: dir.to_owned(),
            environment,
            stdin: Stdio::null(),
            stdout: Stdio::null(),
            stderr: Stdio::null(),
        }
    }

    /// One more argument.
    #[must_use]
    pub(crate) fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Output and messages can be read.
    #[must_use]
    pub(crate) fn heard(mut self) -> Self {
        (self.stdout, self.stderr) = (Stdio::piped(), Stdio::piped());
        self
    }

    /// Starts it as it is. What a profile starts goes through its [fence](crate::fence) instead. Nothing is awaited between the start and its
    /// being [owned](super::own).
    #[expect(
        clippy::disallowed_methods,
        reason = "what a profile starts is started here, with a cleared environment"
    )]
    pub(crate) fn start_bare(self) -> io::Result<Group> {
        let mut command = Command::new(&self.name);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter())
            .current_dir(&self.dir)
            .stdin(self.stdin)
            .stdout(self.stdout)
            .stderr(self.stderr)
            .process_group(0)
            .kill_on_drop(true);
        Ok(Group::new(command.spawn()?))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_program_sees_what_it_was_given() {
        let mut environment = Variables::default();
        environment.set("PATH", "/usr/local/bin:/usr/bin:/bin");
        environment.set("GIVEN", "1");
        let program = Program::new("sh", Utf8Path::new("/tmp"), environment);
        let mut group = program
            .arg("-c")
            .arg("pwd; env | cut -d= -f1 | sort | tr '\\n' ' '")
            .heard()
            .start_bare()
            .unwrap();
        let mut text = String::new();
        group.child.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
        assert!(group.child.wait().await.unwrap().success());
        let (dir, names) = text.split_once('\n').unwrap();
        assert_eq!(dir, fs_err::canonicalize("/tmp").unwrap().to_str().unwrap());
        // What a shell adds by itself.
        let names = names.split(' ').filter(|name| !["", "_", "PWD", "SHLVL", "OLDPWD"].contains(name));
        assert_eq!(names.collect::<Vec<_>>(), ["GIVEN", "PATH"]);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let program = Program::new("/nowhere/at/all", Utf8Path::new("/"), Variables::default());
        let error = runtime.block_on(async { program.start_bare().unwrap_err() });
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
