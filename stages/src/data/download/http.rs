//! One GET request on a thread of its own, which tells what it receives: so that whoever waits can be stopped at any
//! moment, whatever the server does. Knows nothing of files, digests or retries.

use std::io::Read;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use ureq::http::{HeaderMap, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Error, Timeout};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Chunks received and not yet taken; then the server is made to wait.
const AHEAD: usize = 16;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// For the host's address, and again for the connection.
    pub connect: Duration,
    /// For the next byte.
    pub stall: Duration,
}

/// What a request tells, in this order: an answer, bytes, an end.
pub(super) enum Event {
    /// The server's headers, after redirects.
    Answer(Answer),
    /// More of the body.
    Bytes(Vec<u8>),
    /// The body ended as the server said it would.
    End,
    /// No answer, or no more of it: why.
    Failed(String),
}

/// The part of an answer's headers that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    /// Bytes of this body, when stated.
    pub length: Option<u64>,
    /// The first byte's place in the file and the length of all of it, as `Content-Range` states them.
    pub range: Option<(u64, Option<u64>)>,
    /// Its `Content-Type`, for messages.
    pub kind: String,
}

/// Asks for `url` from byte `from` on. To drop the receiver ends the request.
pub(super) fn get(url: &str, from: u64, timeouts: Timeouts) -> Receiver<Event> {
    let (sender, receiver) = sync_channel(AHEAD);
    let url = url.to_owned();
    let told = sender.clone();
    let run = move || {
        if let Err(error) = request(&url, from, timeouts, &sender) {
            // Nobody waits any more: nothing to tell.
            let _ = sender.send(Event::Failed(in_words(&error, timeouts)));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("download".to_owned()).spawn(run) {
        let _ = told.send(Event::Failed(format!("no thread can be started: {error}")));
    }
    receiver
}

fn request(url: &str, from: u64, timeouts: Timeouts, events: &SyncSender<Event>) -> Result<(), Error> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("pru-flow/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .timeout_resolve(Some(timeouts.connect))
        .timeout_connect(Some(timeouts.connect))
        .timeout_per_read(Some(timeouts.stall))
        .timeout_per_write(Some(timeouts.stall));
    // A proxy is for the world outside: it could not reach a server on this machine.
    if is_this_machine(url) {
        config = config.proxy(None);
    }
    // The bytes of the file itself are wanted, whatever they are: a `.gz` that is unpacked on the way is not the file.
    let mut request = Agent::from(config.build()).get(url).header("Accept-Encoding", "identity");
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    let response = request.call()?;
    let answer = Answer::of(response.status().as_u16(), response.headers());
    if events.send(Event::Answer(answer)).is_err() {
        return Ok(());
    }
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; CHUNK];
    loop {
        let event = match body.read(&mut buffer)? {
            0 => Event::End,
            read => Event::Bytes(buffer[..read].to_vec()),
        };
        let last = matches!(event, Event::End);
        if events.send(event).is_err() || last {
            return Ok(());
        }
    }
}

impl Answer {
    fn of(status: u16, headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        Self {
            status,
            length: text("content-length").and_then(|length| length.parse().ok()),
            range: text("content-range").and_then(parse_range),
            kind: text("content-type").unwrap_or("no type stated").to_owned(),
        }
    }
}

/// First byte and length of all in `bytes 5-9/10` or `bytes 5-9/*`.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (place, all) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = place.split_once('-')?;
    Some((first.trim().parse().ok()?, all.trim().parse().ok()))
}

fn is_this_machine(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn in_words(error: &Error, timeouts: Timeouts) -> String {
    let seconds = |duration: Duration| duration.as_secs();
    match error {
        Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => {
            format!("stalled: not a byte for {} s", seconds(timeouts.stall))
        }
        Error::Timeout(Timeout::Resolve) => {
            format!("the host's name was not resolved in {} s", seconds(timeouts.connect))
        }
        Error::Timeout(Timeout::Connect) => format!("no connection in {} s", seconds(timeouts.connect)),
        Error::HostNotFound => "there is no such host, or no network".to_owned(),
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_and_nonsense_is_none() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes */10", "items 5-9/10", "bytes 5/10", "bytes -5-9/10"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_this_machine_is_reached_without_a_proxy() {
        for here in ["http://127.0.0.1:8080/a", "http://localhost/a", "http://[::1]:80/a", "http://127.9.9.9/"] {
            assert!(is_this_machine(here), "{here}");
        }
        for there in ["http://example.org/127.0.0.1", "https://10.0.0.1/", "http://localhost.example.org/", "nothing"] {
            assert!(!is_this_machine(there), "{there}");
        }
    }
}
