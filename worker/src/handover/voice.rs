//! What was said in voice notes, written down by a command of the profile's.
//!
//! The command runs behind the profile's fence, with the least environment, for a bounded time, one at a time; its text is bounded. What
//! goes wrong is one line of the log: the message is taken with its file all the same.

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::{ProfileConfig, Stt};
use hermes_host::blocking;
use hermes_wire::ProfileHome;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::children::{Program, Surroundings};
use crate::fence::Fence;
use crate::media;

/// Longest text that is taken, in bytes.
const MOST: u64 = 64 * 1024;

/// See the module. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Voice(Arc<Inner>);

struct Inner {
    stt: Stt,
    dir: Utf8PathBuf,
    surroundings: Surroundings,
    fence: Fence,
    running: Semaphore,
}

impl Voice {
    /// What the profile has for it, if anything. `inherited` is what its worker was started with.
    pub(crate) fn of(
        config: &ProfileConfig,
        home: &ProfileHome,
        inherited: &[(String, String)],
        fence: Fence,
    ) -> Option<Self> {
        let stt = config.stt.clone()?;
        let (dir, surroundings) = (home.cache().join("audio"), Surroundings::new(config, home, inherited));
        Some(Self(Arc::new(Inner { stt, dir, surroundings, fence, running: Semaphore::new(1) })))
    }

    /// Puts what was said in those of a message's files that are sounds behind its text.
    pub(super) async fn hear(&self, text: &mut String, files: &[Utf8PathBuf]) {
        let sounds = files.iter().filter(|file| file.parent() == Some(&*self.0.dir));
        for file in sounds {
            let Ok(_turn) = self.0.running.acquire().await else { return };
            match timeout(self.0.stt.timeout, self.written(file)).await {
                Ok(Ok(said)) => media::transcript(text, file.file_name().unwrap_or_default(), &said),
                Ok(Err(why)) => tracing::warn!("a voice note is not written down: {why}"),
                Err(_) => {
                    let secs = self.0.stt.timeout.as_secs();
                    tracing::warn!("a voice note is not written down: the command took longer than {secs} s");
                }
            }
        }
    }

    async fn written(&self, file: &Utf8Path) -> Result<String, String> {
        let Inner { stt, dir, surroundings, fence, .. } = &*self.0;
        let (parent, around) = (dir.clone(), surroundings.clone());
        let made = blocking::run(move || (tempfile::tempdir_in(parent), around.plain())).await;
        let (out, environment) = made.map_err(|lost| lost.to_string())?;
        let out = out.map_err(|error| format!("there is no place for its text: {error}"))?;
        let place = Utf8Path::from_path(out.path()).ok_or("its place is not UTF-8")?;
        let command = filled(stt, file, place);
        let program = Program::new("sh", dir, environment).arg("-c").arg(command).heard();
        let mut group =
            fence.start(program).await.map_err(|error| format!("`sh` cannot be started: {error}"))?;
        let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
        let (mut said, mut messages) = (Vec::new(), Vec::new());
        let read = async {
            if let Some(stdout) = stdout {
                // A broken pipe is an end like any other; the exit status tells the rest.
                let _ = stdout.take(MOST).read_to_end(&mut said).await;
            }
        };
        let complains = async {
            if let Some(stderr) = stderr {
                let _ = stderr.take(MOST).read_to_end(&mut messages).await;
            }
        };
        let (ended, (), ()) = tokio::join!(group.child.wait(), read, complains);
        let status = ended.map_err(|error| format!("it cannot be waited for: {error}"))?;
        if !status.success() {
            let messages = String::from_utf8_lossy(&messages);
            let last: String = messages.trim().lines().last().unwrap_or_default().chars().take(200).collect();
            return Err(format!("the command ended with {status}: {last}"));
        }
        let found = blocking::run(move || text_in(&out)).await.map_err(|lost| lost.to_string())?;
        let text = found.or_else(|| media::as_text(said)).ok_or("the command gave no text")?;
        Ok(text.trim().to_owned())
    }
}

/// The text file in a directory, where the command left one.
fn text_in(dir: &tempfile::TempDir) -> Option<String> {
    let files = fs_err::read_dir(dir.path()).ok()?.filter_map(Result::ok);
    let mut texts: Vec<_> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .collect();
    texts.sort();
    let bytes = texts.iter().find_map(|path| {
        let path = Utf8Path::from_path(path)?;
        hermes_host::disk::read_start(path, MOST).ok()
    });
    media::as_text(bytes?)
}

/// The command with what it is about. What is put in is one word of the shell's, whatever is in it.
fn filled(stt: &Stt, input: &Utf8Path, out: &Utf8Path) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let output = out.join("transcript.txt");
    [
        ("{input_path}", input.as_str()),
        ("{output_dir}", out.as_str()),
        ("{output_path}", output.as_str()),
        ("{language}", &stt.language),
        ("{model}", &stt.model),
    ]
    .into_iter()
    .fold(stt.command.clone(), |command, (place, value)| {
        // Some write the quotes themselves.
        let plain = command.replace(&format!("'{place}'"), place).replace(&format!("\"{place}\""), place);
        plain.replace(place, &quoted(value))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stt(command: &str) -> Stt {
        let (language, model) = ("de".to_owned(), "base".to_owned());
        Stt { command: command.to_owned(), language, model, timeout: Duration::from_secs(20) }
    }

    #[test]
    fn what_is_put_into_a_command_is_one_word() {
        let filled = |command: &str| {
            filled(&stt(command), Utf8Path::new("/c/it's; rm -rf x.ogg"), Utf8Path::new("/o"))
        };
        let input = r"'/c/it'\''s; rm -rf x.ogg'";
        assert_eq!(
            filled(r#"w -l {language} -o "{output_dir}" '{input_path}'"#),
            format!("w -l 'de' -o '/o' {input}")
        );
        assert_eq!(filled("w {input_path} > {output_path}"), format!("w {input} > '/o/transcript.txt'"));
    }

    #[tokio::test]
    async fn a_command_writes_down_what_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        fs_err::create_dir_all(home.cache().join("audio")).unwrap();
        let file = home.cache().join("audio").join("audio_0123456789ab_v.ogg");
        fs_err::write(&file, "tone").unwrap();
        let other = home.cache().join("documents").join("doc_0123456789ab_v.txt");
        let path = [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())];
        let heard = async |command: &str| {
            let config =
                ProfileConfig { stt: Some(stt(command)), ..ProfileConfig::new("coder".parse().unwrap()) };
            let voice = Voice::of(&config, &home, &path, Fence::off()).unwrap();
            let mut text = "listen".to_owned();
            voice.hear(&mut text, &[file.clone(), other.clone()]).await;
            text
        };
        let said = "listen\n[Transcript of audio_0123456789ab_v.ogg]:\n";
        assert_eq!(heard("printf 'a '; cat {input_path}").await, format!("{said}a tone"));
        assert_eq!(heard("echo in {language} > {output_dir}/x.txt; echo no").await, format!("{said}in de"));
        assert_eq!(heard("echo broken >&2; exit 3").await, "listen");
        assert_eq!(heard("true").await, "listen");
        let left = fs_err::read_dir(home.cache().join("audio")).unwrap().count();
        assert_eq!(left, 1, "only the note itself");
    }
}
