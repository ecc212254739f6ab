//! An HTTP server of this process on a free port of this machine, which answers as a test says: whole, cut off, stalled
//! or with lies. It remembers what was asked, and ends with the test.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The path, with its `/`.
    pub path: String,
    /// The first byte that `Range` asks for.
    pub from: Option<u64>,
    /// Which request of the server this is, from 0.
    pub index: usize,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// `200 OK`.
    pub status: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the connection stays open when the body is sent, without a further byte.
    pub stall: bool,
}

impl Reply {
    pub fn status(status: &str) -> Self {
        Self { status: status.to_owned(), headers: Vec::new(), body: Vec::new(), stall: false }
    }

    pub fn header(mut self, name: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// All of a file, whatever range was asked for.
    pub fn whole(file: &[u8]) -> Self {
        Self::status("200 OK").header("Content-Length", &file.len()).body(file)
    }

    /// What was asked of a file.
    pub fn file(file: &[u8], request: &Request) -> Self {
        match request.from {
            None => Self::whole(file),
            Some(from) => Self::part(file, from),
        }
    }

    /// A file from a byte on.
    pub fn part(file: &[u8], from: u64) -> Self {
        let rest = &file[from as usize..];
        Self::status("206 Partial Content")
            .header("Content-Length", &rest.len())
            .header("Content-Range", &format!("bytes {from}-{}/{}", file.len() - 1, file.len()))
            .body(rest)
    }

    /// Sends so many bytes of the body, and closes the connection.
    pub fn cut_off(mut self, bytes: usize) -> Self {
        self.body.truncate(bytes);
        self
    }

    /// Sends so many bytes of the body, and then nothing.
    pub fn stalled(mut self, bytes: usize) -> Self {
        self.body.truncate(bytes);
        self.stall = true;
        self
    }
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a server that answers as `answer` says.
pub fn serve(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (requests, ended) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicBool>::default());
    let (told, over) = (Arc::clone(&requests), Arc::clone(&ended));
    let thread = std::thread::spawn(move || {
        std::thread::scope(|scope| {
            while let Ok((stream, _)) = listener.accept() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                scope.spawn(|| {
                    // A client that goes away is no failure of the server.
                    let _ = converse(stream, &answer, &told, &over);
                });
            }
        });
    });
    Server { address, requests, ended, thread: Some(thread) }
}

fn converse(
    mut stream: TcpStream,
    answer: impl Fn(&Request) -> Reply,
    told: &Mutex<Vec<Request>>,
    ended: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut from = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
    }
    let request = {
        let mut told = told.lock().unwrap();
        let request = Request { path, from, index: told.len() };
        told.push(request.clone());
        request
    };
    let reply = answer(&request);
    write!(stream, "HTTP/1.1 {}\r\nConnection: close\r\n", reply.status)?;
    for (name, value) in &reply.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(&reply.body)?;
    stream.flush()?;
    while reply.stall && !ended.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

impl Server {
    /// The base URL, without a `/` at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far: the path's last part, and the first byte asked for.
    pub fn asked(&self) -> Vec<(String, Option<u64>)> {
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        self.requests.lock().unwrap().iter().map(|request| (last(&request.path), request.from)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
