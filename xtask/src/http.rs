//! The smallest HTTP/1.1 client that `demo` and `bench` need, to this machine only.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Longer than any time limit that is used here.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// From before the request was written, or before the connection was opened for it, until an answer began.
    pub(crate) first_byte: Duration,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }
}

pub(crate) fn get(url: &str) -> Result<Answer> {
    request("GET", url, &[], "")
}

pub(crate) fn post(url: &str, body: &str) -> Result<Answer> {
    request("POST", url, &[], body)
}

/// One request on a connection of its own.
pub(crate) fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
    let began = Instant::now();
    let (host, path) = split(url)?;
    let mut connection = Connection::open(host)?;
    let headers: Vec<_> = headers.iter().copied().chain([("connection", "close")]).collect();
    let mut answer = connection
        .send(method, path, &headers, body)
        .with_context(|| format!("cannot read the answer to {method} {url}"))?;
    answer.first_byte += connection.opened - began;
    Ok(answer)
}

/// A connection that stays open for more requests, one after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    host: String,
    opened: Instant,
}

impl Connection {
    /// `host` is an address and a port, or the URL of a server.
    pub(crate) fn open(host: &str) -> Result<Self> {
        let host = host.trim_start_matches("http://");
        let stream = TcpStream::connect(host).with_context(|| format!("cannot connect to {host}"))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            reader: BufReader::new(stream),
            host: host.to_owned(),
            opened: Instant::now(),
        })
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
        let began = Instant::now();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            self.host,
            body.len()
        );
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.reader.get_mut().write_all((head + "\r\n" + body).as_bytes())?;
        self.reader.fill_buf()?;
        let first_byte = began.elapsed();
        let mut answer = read(&mut self.reader)?;
        answer.first_byte = first_byte;
        Ok(answer)
    }
}

fn split(url: &str) -> Result<(&str, &str)> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("only http:// addresses are used here, got {url}")
    };
    Ok(rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash)))
}

fn read(reader: &mut impl BufRead) -> Result<Answer> {
    let status = line(reader)?.split(' ').nth(1).context("no status line")?.parse()?;
    let mut headers = Vec::new();
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut answer = Answer {
        status,
        headers,
        body: String::new(),
        first_byte: Duration::ZERO,
    };
    let bytes = if answer.header("transfer-encoding") == "chunked" {
        chunks(reader)?
    } else if let Ok(length) = answer.header("content-length").parse() {
        exactly(reader, length)?
    } else {
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest)?;
        rest
    };
    answer.body = String::from_utf8_lossy(&bytes).into_owned();
    Ok(answer)
}

fn line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some(text) = line.strip_suffix("\r\n") else {
        bail!("the answer ended inside its head, or inside a chunk")
    };
    Ok(text.to_owned())
}

fn exactly(reader: &mut impl Read, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).context("the answer was cut short")?;
    Ok(bytes)
}

fn chunks(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = usize::from_str_radix(line(reader)?.trim(), 16)?;
        body.extend(exactly(reader, size)?);
        ensure!(line(reader)?.is_empty(), "a chunk does not end where it should");
        if size == 0 {
            return Ok(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined() {
        let answer = read(
            &mut b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".as_slice(),
        )
        .unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "abcde"));
    }

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let mut bytes =
            b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 204 No Content\r\n\r\n".as_slice();
        let first = read(&mut bytes).unwrap();
        assert_eq!((first.status, first.body.as_str()), (201, "ok"));
        assert_eq!(read(&mut bytes).unwrap().status, 204);
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        assert!(read(&mut b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc".as_slice()).is_err());
        assert!(read(&mut b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".as_slice()).is_err());
        assert!(read(&mut b"HTTP/1.1 200 OK\r\n".as_slice()).is_err());
    }
}
