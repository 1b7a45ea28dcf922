//! The file of static tokens, and what happens when it changes.
//!
//! A line is `NAME: TOKEN`, or a bare `TOKEN` under the name [`BARE_NAME`]; blank lines and those
//! that begin with `#` say nothing. Errors give a line's number and none of its text.
//!
//! A file whose last token is taken out shuts its people out. One that is missing or malformed does
//! not: that is more likely an accident than an order.

use super::{Conflict, add, is_name};
use crate::watch::{FileError, INTERVAL, Watch, content};
use mcp_proto::auth::{InvalidToken, StaticToken, Token};
use std::fmt;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::time::Duration;

/// The name of a token that stands alone on its line.
pub const BARE_NAME: &str = "token-file";

/// Why a file of tokens cannot be used. No text of the file is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It has no content to be used.
    File(FileError),
    /// It is not UTF-8.
    NotUtf8,
    /// It has no token.
    Empty,
    /// The line of this number, the first being 1, has no name before its colon.
    Name(usize),
    /// The line of this number has something that is not a token.
    Token(usize, InvalidToken),
    /// The line of this number does not go with the others.
    Conflict(usize, Conflict),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(why) => why.fmt(f),
            Self::NotUtf8 => f.write_str("is not UTF-8"),
            Self::Empty => f.write_str("has no token; give a line NAME: TOKEN"),
            Self::Name(line) => write!(
                f,
                "line {line} does not begin with a name of letters, digits and - _ . @; give \
                 NAME: TOKEN"
            ),
            Self::Token(line, why @ InvalidToken::Syntax) => {
                write!(f, "line {line}: the token {why}; give NAME: TOKEN")
            }
            Self::Token(line, why) => write!(f, "line {line}: the token {why}"),
            Self::Conflict(line, why) => write!(f, "line {line} {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// `beside`, and after them the tokens of a file with this `content`.
fn parse(
    content: &[u8],
    beside: Vec<StaticToken>,
    foreign_prefixes: &[String],
) -> Result<Vec<StaticToken>, Error> {
    let text = str::from_utf8(content).map_err(|_| Error::NotUtf8)?;
    let mut tokens = beside;
    let mut empty = true;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, token) = match line.split_once(':') {
            Some((name, token)) => (name.trim_end(), token.trim_start()),
            None => (BARE_NAME, line),
        };
        if !is_name(name) {
            return Err(Error::Name(number));
        }
        let token = Token::new(token.to_owned()).map_err(|why| Error::Token(number, why))?;
        let name = name.to_owned();
        add(&mut tokens, StaticToken { name, token }, foreign_prefixes)
            .map_err(|why| Error::Conflict(number, why))?;
        empty = false;
    }
    if empty {
        return Err(Error::Empty);
    }
    Ok(tokens)
}

/// A file of static tokens that has been read, and what its tokens must go with.
#[derive(Clone, Debug)]
pub struct TokenFile {
    path: PathBuf,
    beside: Vec<StaticToken>,
    foreign_prefixes: Vec<String>,
    tokens: Vec<StaticToken>,
}

impl TokenFile {
    /// Reads the file at `path`. Its tokens stand beside those in `beside`, and none may begin with
    /// one of `foreign_prefixes`, which belong to the tokens of other verifiers.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has no token, or if a line of it cannot be meant or does not
    /// go with the others.
    pub fn open(
        path: impl Into<PathBuf>,
        beside: Vec<StaticToken>,
        foreign_prefixes: Vec<String>,
    ) -> Result<Self, Error> {
        let mut file = Self {
            path: path.into(),
            beside,
            foreign_prefixes,
            tokens: Vec::new(),
        };
        file.tokens = file.parse(&content(&file.path).map_err(Error::File)?)?;
        Ok(file)
    }

    /// All tokens as they were last read: those beside the file first.
    pub fn tokens(&self) -> &[StaticToken] {
        &self.tokens
    }

    fn parse(&self, content: &[u8]) -> Result<Vec<StaticToken>, Error> {
        parse(content, self.beside.clone(), &self.foreign_prefixes)
    }

    /// Reads the file again each second, on a thread of its own, and calls `on_change` with all
    /// tokens, those beside the file among them, whenever they are others than before. A file that
    /// has no token any more leaves those beside it, once two readings have found the same: whoever
    /// writes in place empties it first. While the file cannot be used, the tokens that were stay;
    /// the log says so once.
    ///
    /// # Errors
    ///
    /// If no thread can be had.
    pub fn watch(self, on_change: impl Fn(Vec<StaticToken>) + Send + 'static) -> io::Result<Watch> {
        self.watch_each(INTERVAL, on_change)
    }

    fn watch_each(
        mut self,
        interval: Duration,
        on_change: impl Fn(Vec<StaticToken>) + Send + 'static,
    ) -> io::Result<Watch> {
        let mut seen = Seen::default();
        Watch::start("static-tokens", interval, move || {
            self.look(&mut seen, &on_change);
        })
    }

    /// Compares what is in the file with what was. The content is compared, not the time of its
    /// last change: two changes within one tick of a file system's clock look like one.
    fn look(&mut self, seen: &mut Seen, on_change: impl Fn(Vec<StaticToken>)) {
        let content = content(&self.path);
        if seen.content.as_ref() == Some(&content) {
            if mem::take(&mut seen.emptied) {
                self.set(self.beside.clone(), on_change);
            }
            return;
        }
        let tokens = match &content {
            Ok(content) => self.parse(content),
            Err(error) => Err(Error::File(*error)),
        };
        seen.content = Some(content);
        seen.emptied = matches!(tokens, Err(Error::Empty));
        match tokens {
            Ok(tokens) => {
                seen.told = None;
                self.set(tokens, on_change);
            }
            Err(Error::Empty) => seen.told = None,
            Err(error) if seen.told != Some(error) => {
                let file = self.path.display();
                tracing::error!(
                    %file,
                    "static tokens stay as they were, and the old ones are still good: the file \
                     {error}"
                );
                seen.told = Some(error);
            }
            Err(_) => {}
        }
    }

    fn set(&mut self, tokens: Vec<StaticToken>, on_change: impl Fn(Vec<StaticToken>)) {
        if are_equal(&tokens, &self.tokens) {
            return;
        }
        let file = self.path.display();
        if tokens.len() == self.beside.len() {
            tracing::warn!(%file, "static tokens read again: the file has none any more");
        } else {
            tracing::info!(%file, "static tokens read again");
        }
        self.tokens.clone_from(&tokens);
        on_change(tokens);
    }
}

/// What the last reading of a watched file found.
#[derive(Default)]
struct Seen {
    content: Option<Result<Vec<u8>, FileError>>,
    /// The content has no token, which counts if the next reading finds the same.
    emptied: bool,
    /// The error that the log has.
    told: Option<Error>,
}

fn are_equal(tokens: &[StaticToken], others: &[StaticToken]) -> bool {
    let same = |a: &StaticToken, b: &StaticToken| a.name == b.name && a.token == b.token;
    tokens.len() == others.len() && tokens.iter().zip(others).all(|(a, b)| same(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::tests::logged;
    use proptest::prelude::*;
    use std::fs;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

    /// So that a failure does not hang.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn parsed(text: &str) -> Result<Vec<(String, String)>, Error> {
        let tokens = parse(text.as_bytes(), Vec::new(), &["svc_".to_owned()])?;
        Ok(plain(tokens))
    }

    fn plain(tokens: Vec<StaticToken>) -> Vec<(String, String)> {
        let tokens = tokens.into_iter();
        tokens
            .map(|it| (it.name, it.token.expose().to_owned()))
            .collect()
    }

    #[test]
    fn lines_are_names_and_tokens() {
        let text = "# people\n\nalice: a1\r\n alice :a2 \nbob@x.org:b==\nbare\n  # end";
        let pairs = [
            ("alice", "a1"),
            ("alice", "a2"),
            ("bob@x.org", "b=="),
            (BARE_NAME, "bare"),
        ];
        let expected = pairs.map(|(name, token)| (name.to_owned(), token.to_owned()));
        assert_eq!(parsed(text).unwrap(), expected);
        assert_eq!(parsed("a: x\na: x\na: x").unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_line() {
        for (text, error) in [
            ("", Error::Empty),
            ("# only\n\n", Error::Empty),
            ("ok: a\n: b", Error::Name(2)),
            ("a b: c", Error::Name(1)),
            ("a:", Error::Token(1, InvalidToken::Empty)),
            ("\na: b c", Error::Token(2, InvalidToken::Syntax)),
            ("a: b:c", Error::Token(1, InvalidToken::Syntax)),
            ("tö", Error::Token(1, InvalidToken::Syntax)),
            ("a: x\nb: x", Error::Conflict(2, Conflict::SharedToken)),
            (
                "a: x\na: y\na: z",
                Error::Conflict(3, Conflict::ThirdOfName),
            ),
            ("a: svc_1", Error::Conflict(1, Conflict::ForeignPrefix)),
        ] {
            assert_eq!(parsed(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_list_reads_back(
            tokens in prop::collection::btree_set("[A-Za-z0-9._~+/-]{1,20}={0,2}", 1..8),
            names in prop::collection::vec("[a-z._@-]{1,9}", 8),
        ) {
            let numbered = (0..).zip(names).map(|(number, name): (u8, _)| format!("{name}{number}"));
            let expected: Vec<_> = numbered.zip(tokens).collect();
            let text: String = expected.iter().map(|(n, t)| format!("{n}: {t}\n")).collect();
            prop_assert_eq!(plain(parse(text.as_bytes(), Vec::new(), &[]).unwrap()), expected);
        }

        #[test]
        fn no_error_shows_what_is_in_the_file(
            before in "\\PC{0,9}", after in "\\PC{0,9}", again in any::<bool>(),
        ) {
            const MARKER: &str = "mArKeR";
            let line = format!("{before}{MARKER}{after}\n");
            let text = if again { format!("{line}x: {line}y:{line}") } else { line };
            if let Err(error) = parsed(&text) {
                let shown = format!("{error} {error:?}");
                prop_assert!(!shown.contains(MARKER), "{}", shown);
            }
        }
    }

    fn watched(path: &Path, beside: Vec<StaticToken>) -> (Watch, Receiver<Vec<(String, String)>>) {
        let (sender, receiver) = mpsc::channel();
        let file = TokenFile::open(path, beside, Vec::new()).unwrap();
        let watch = file
            .watch_each(Duration::from_millis(5), move |tokens| {
                let _ = sender.send(plain(tokens));
            })
            .unwrap();
        (watch, receiver)
    }

    fn token(name: &str, token: &str) -> StaticToken {
        let token = Token::new(token.to_owned()).unwrap();
        let name = name.to_owned();
        StaticToken { name, token }
    }

    #[test]
    fn a_file_that_is_written_again_is_told_whole_and_a_bad_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        fs::write(&path, "a: one").unwrap();
        let (watch, changes) = watched(&path, vec![token("env", "zero")]);
        let replace = |text: &str| {
            fs::write(directory.path().join("new"), text).unwrap();
            fs::rename(directory.path().join("new"), &path).unwrap();
        };
        let told = |list: &[(&str, &str)]| {
            let owned = list.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned()));
            assert_eq!(
                changes.recv_timeout(PATIENCE).unwrap(),
                owned.collect::<Vec<_>>()
            );
        };
        // In place, and of the same length.
        fs::write(&path, "a: two").unwrap();
        told(&[("env", "zero"), ("a", "two")]);
        replace("b: zero");
        fs::remove_file(&path).unwrap();
        replace("a: two\na: three");
        // Neither the shared token nor the missing file was told in between.
        told(&[("env", "zero"), ("a", "two"), ("a", "three")]);
        drop(watch);
        // The thread has ended: it has let go of the sender.
        assert_eq!(
            changes.recv_timeout(PATIENCE),
            Err(RecvTimeoutError::Disconnected)
        );
    }

    #[test]
    fn a_file_that_turns_bad_is_logged_once_and_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        fs::write(&path, "a: one").unwrap();
        let mut file = TokenFile::open(&path, Vec::new(), Vec::new()).unwrap();
        let logged = logged(|| {
            let mut seen = Seen::default();
            let mut look = || file.look(&mut seen, |_| panic!("nothing good was written"));
            for text in [
                "a: marker one",
                "a: marker one",
                "marker a: b",
                "a: one",
                "marker two",
            ] {
                fs::write(&path, text).unwrap();
                look();
            }
        });
        assert_eq!(logged.matches("stay as they were").count(), 3, "{logged}");
        assert!(!logged.contains("marker"), "{logged}");
    }

    #[test]
    fn a_file_without_tokens_counts_when_it_is_found_twice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        fs::write(&path, "a: one").unwrap();
        let mut file = TokenFile::open(&path, vec![token("env", "zero")], Vec::new()).unwrap();
        let (mut seen, told) = (Seen::default(), Mutex::new(None));
        let mut look = |text: Option<&str>| {
            match text {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            file.look(&mut seen, |tokens| {
                *told.lock().unwrap() = Some(plain(tokens).len());
            });
            told.lock().unwrap().take()
        };
        for (text, tokens) in [
            (Some(""), None),
            (Some("a: one"), None),
            (Some(""), None),
            (Some("# nobody"), None),
            (None, None),
            (Some("# nobody"), None),
            (Some("# nobody"), Some(1)),
            (Some("# nobody"), None),
            (Some(""), None),
            (Some(""), None),
            (Some("a b: c"), None),
            (Some("a: one"), Some(2)),
        ] {
            assert_eq!(look(text), tokens, "{text:?}");
        }
    }

    #[test]
    fn errors_say_what_to_give_and_what_the_system_said() {
        for text in ["x=one", "x one"] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.ends_with("; give NAME: TOKEN"), "{error}");
        }
        let missing = TokenFile::open("/nonexistent/x", Vec::new(), Vec::new()).unwrap_err();
        let expected = "cannot be read: No such file or directory";
        assert_eq!(missing.to_string(), expected);
    }

    #[cfg(unix)]
    #[test]
    fn a_swapped_link_is_a_change() {
        use std::os::unix::fs::symlink;

        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (version, text) in [("1", "a: one"), ("2", "a: two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("tokens"), text).unwrap();
        }
        symlink("1", at("data")).unwrap();
        symlink("data/tokens", at("tokens")).unwrap();
        let (_watch, changes) = watched(&at("tokens"), Vec::new());
        symlink("2", at("data.new")).unwrap();
        fs::rename(at("data.new"), at("data")).unwrap();
        let told = changes.recv_timeout(PATIENCE).unwrap();
        assert_eq!(told, [("a".to_owned(), "two".to_owned())]);
    }
}
