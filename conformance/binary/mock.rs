//! Another server, which the gateway asks: it notes what it is asked and answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;

/// A request that came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) body: String,
}

impl Asked {
    /// The bearer token that was shown.
    pub(crate) fn token(&self) -> &str {
        let authorization = self.authorization.as_deref().unwrap_or_default();
        authorization.strip_prefix("Bearer ").unwrap_or_default()
    }
}

/// An answer.
pub(crate) enum Reply {
    Json(u16, Value),
    /// A redirect to this URL.
    Redirect(String),
    /// What is not HTTP.
    Garbage,
    /// None, for as long as the mock lives.
    Silence,
}

type Answer = Box<dyn FnMut(&Asked) -> Reply + Send>;

/// The server. It ends when this is dropped.
pub(crate) struct Mock {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    asked: Mutex<Vec<Asked>>,
    answer: Mutex<Answer>,
    /// Connections that get no answer.
    silent: Mutex<Vec<TcpStream>>,
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

impl Mock {
    pub(crate) fn start(answer: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let shared = Arc::new(Shared {
            asked: Mutex::default(),
            answer: Mutex::new(Box::new(answer)),
            silent: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let mock = Self {
            address,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.over.load(Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        mock
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers otherwise from now on.
    pub(crate) fn answer_with(&self, answer: impl FnMut(&Asked) -> Reply + Send + 'static) {
        *lock(&self.shared.answer) = Box::new(answer);
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    /// How often it was asked for this.
    pub(crate) fn count(&self, what: impl Fn(&Asked) -> bool) -> usize {
        self.asked().iter().filter(|asked| what(asked)).count()
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        lock(&self.shared.silent).clear();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let Some(asked) = read(&stream) else {
            return;
        };
        lock(&self.asked).push(asked.clone());
        let reply = (lock(&self.answer))(&asked);
        let text = match reply {
            Reply::Json(status, body) => {
                let body = body.to_string();
                let length = body.len();
                format!(
                    "HTTP/1.1 {status} Mock\r\nContent-Type: application/json\r\n\
                     Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                )
            }
            Reply::Redirect(url) => format!(
                "HTTP/1.1 307 Mock\r\nLocation: {url}\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n"
            ),
            Reply::Garbage => "SSH-2.0-mock\r\n\r\n".to_owned(),
            Reply::Silence => return lock(&self.silent).push(stream),
        };
        // Whoever asked may have gone.
        let _ = stream.write_all(text.as_bytes());
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut asked = Asked::default();
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    (asked.method, asked.target) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => asked.authorization = Some(value.to_owned()),
            "content-type" => asked.content_type = Some(value.to_owned()),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    asked.body = String::from_utf8(body).ok()?;
    Some(asked)
}
