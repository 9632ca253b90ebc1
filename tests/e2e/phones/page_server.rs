//! The web server behind a browser's phones: it serves their page, hands it commands and takes what it tells.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::sound::Sound;

/// It listens until the test's process ends.
pub struct PageServer {
    pub url: String,
    commands: Sender<Value>,
    told: Arc<Mutex<Told>>,
}

/// What the page has told so far.
#[derive(Default)]
pub struct Told {
    /// In the order in which it happened.
    pub events: Vec<Value>,
    /// By phone and call.
    pub sounds: HashMap<(String, String), Sound>,
}

impl PageServer {
    /// Serves these files; the first one is the page.
    pub fn start(files: Vec<(&'static str, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the page");
        let url = format!("http://{}/", listener.local_addr().expect("its address"));
        let (commands, waiting) = channel();
        let told = Arc::<Mutex<Told>>::default();
        let behind = Arc::new(Behind { files, waiting: Mutex::new(waiting), told: told.clone() });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let behind = behind.clone();
                std::thread::spawn(move || behind.serve(stream));
            }
        });
        Self { url, commands, told }
    }

    /// Hands the page a command.
    pub fn tell(&self, command: Value) {
        self.commands.send(command).expect("the server of the page");
    }

    /// What the page has told so far.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Behind {
    files: Vec<(&'static str, String)>,
    waiting: Mutex<Receiver<Value>>,
    told: Arc<Mutex<Told>>,
}

impl Behind {
    /// Requests over one connection, until it is closed or cut.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut writer = stream.try_clone().ok()?;
        let mut reader = BufReader::new(stream);
        loop {
            let (path, body) = read_request(&mut reader)?;
            let (kind, body) = self.answer(&path, body);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
            writer.write_all(&[head.into_bytes(), body].concat()).ok()?;
        }
    }

    fn answer(&self, path: &str, body: Vec<u8>) -> (&'static str, Vec<u8>) {
        let mut parts = path.trim_start_matches('/').split('/');
        match parts.next().unwrap_or_default() {
            "next" => {
                let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let command = waiting.recv_timeout(Duration::from_secs(5)).unwrap_or(Value::Null);
                ("application/json", command.to_string().into_bytes())
            }
            "event" => {
                let event = serde_json::from_slice(&body).unwrap_or(Value::Null);
                self.told.lock().unwrap_or_else(PoisonError::into_inner).events.push(event);
                ("text/plain", Vec::new())
            }
            "sound" => {
                let mut part = || parts.next().unwrap_or_default().to_owned();
                let key = (part(), part());
                let samples =
                    body.chunks_exact(2).map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])));
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                let sound = told.sounds.entry(key).or_insert_with(|| Sound(Vec::new()));
                sound.0.extend(samples.map(|sample| sample / 32768.0));
                ("text/plain", Vec::new())
            }
            name => {
                let file = self.files.iter().find(|(known, _)| *known == name).or(self.files.first());
                let kind = if name.ends_with(".js") { "text/javascript" } else { "text/html" };
                (kind, file.map(|(_, text)| text.clone().into_bytes()).unwrap_or_default())
            }
        }
    }
}

/// The path and the body of the next request.
fn read_request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line);
    }
    let length = |line: &String| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    };
    let length = head.iter().find_map(length);
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((head.first()?.split(' ').nth(1)?.to_owned(), body))
}
