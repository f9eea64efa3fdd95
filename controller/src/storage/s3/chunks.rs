//! Bodies in chunks as AWS has them (`aws-chunked`): read along with s3s, to know how many bytes are data, and cut smaller
//! where that is allowed. s3s keeps each chunk whole, and chunks are as large as the client says.
//!
//! A chunk is `HEX[;chunk-signature=...]\r\n`, so many bytes, `\r\n`; one of no bytes is the last, trailers follow.

use bytes::{BufMut as _, Bytes, BytesMut};

/// The line before a chunk, in bytes; a signature has 64.
const LINE_BYTES_MAX: usize = 256;
/// Digits of a size.
const DIGITS_MAX: usize = 16;

/// How far into such a body we are.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// Chunks that are signed one by one must stay as they are.
    are_signed: bool,
}

#[derive(Debug)]
enum State {
    /// In the line before a chunk.
    Line(BytesMut),
    /// In a chunk of which so much is still to come.
    Data(u64),
    /// Behind a chunk: how much of the end of the line has come.
    End(usize),
    /// Behind the last chunk.
    Tail,
}

/// A part of the body as it goes on to s3s.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) bytes: BytesMut,
    /// How many of them are data.
    pub(super) data: u64,
}

impl Chunks {
    pub(super) fn new(are_signed: bool) -> Self {
        Self {
            state: State::Line(BytesMut::new()),
            are_signed,
        }
    }

    /// Reads the next bytes of the body.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub(super) fn pass(&mut self, mut more: Bytes) -> Result<Passed, &'static str> {
        let mut passed = Passed::default();
        while !more.is_empty() {
            self.state = match std::mem::replace(&mut self.state, State::Tail) {
                State::Line(line) => self.line(line, &mut more, &mut passed)?,
                State::Data(left) => self.data(left, &mut more, &mut passed),
                State::End(seen) => self.end(seen, &mut more, &mut passed)?,
                State::Tail => {
                    passed.bytes.extend_from_slice(&std::mem::take(&mut more));
                    State::Tail
                }
            };
        }
        Ok(passed)
    }

    fn line(&self, mut line: BytesMut, more: &mut Bytes, passed: &mut Passed) -> Result<State, &'static str> {
        let end = more.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&more.split_to(end.map_or(more.len(), |end| end + 1)));
        if line.len() > LINE_BYTES_MAX {
            return Err("the line before a chunk is too long");
        }
        if end.is_none() {
            return Ok(State::Line(line));
        }
        let size = size_of(&line)?;
        if self.are_signed || size == 0 {
            passed.bytes.extend_from_slice(&line);
        }
        Ok(match size {
            0 => State::Tail,
            size => State::Data(size),
        })
    }

    fn data(&self, left: u64, more: &mut Bytes, passed: &mut Passed) -> State {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(more.len());
        let data = more.split_to(length);
        if self.are_signed {
            passed.bytes.extend_from_slice(&data);
        } else {
            // What has come by now is a chunk of its own.
            passed
                .bytes
                .extend_from_slice(format!("{:X}\r\n", data.len()).as_bytes());
            passed.bytes.extend_from_slice(&data);
            passed.bytes.extend_from_slice(b"\r\n");
        }
        let came = data.len() as u64;
        passed.data += came;
        match left - came {
            0 => State::End(0),
            left => State::Data(left),
        }
    }

    fn end(&self, seen: usize, more: &mut Bytes, passed: &mut Passed) -> Result<State, &'static str> {
        let byte = more.split_to(1)[0];
        if byte != b"\r\n"[seen] {
            return Err("a chunk is longer than it says");
        }
        if self.are_signed {
            passed.bytes.put_u8(byte);
        }
        Ok(if seen == 0 {
            State::End(1)
        } else {
            State::Line(BytesMut::new())
        })
    }
}

fn size_of(line: &[u8]) -> Result<u64, &'static str> {
    const WRONG: &str = "a chunk does not say its size";
    let line = line.strip_suffix(b"\r\n").ok_or(WRONG)?;
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(WRONG);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| WRONG)?;
    u64::from_str_radix(digits, 16).map_err(|_| WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of the body, given in pieces of that size.
    fn passed(body: &[u8], piece: usize, are_signed: bool) -> Result<(Vec<u8>, u64), &'static str> {
        let mut chunks = Chunks::new(are_signed);
        let (mut bytes, mut data) = (Vec::new(), 0);
        for piece in body.chunks(piece) {
            let passed = chunks.pass(Bytes::copy_from_slice(piece))?;
            bytes.extend_from_slice(&passed.bytes);
            data += passed.data;
        }
        Ok((bytes, data))
    }

    /// The data of a body in chunks, and what follows.
    fn decoded(mut body: &[u8]) -> (Vec<u8>, &[u8]) {
        let mut data = Vec::new();
        loop {
            let end = body.windows(2).position(|pair| pair == b"\r\n").unwrap();
            let size = usize::try_from(size_of(&body[..end + 2]).unwrap()).unwrap();
            if size == 0 {
                return (data, &body[end + 2..]);
            }
            data.extend_from_slice(&body[end + 2..end + 2 + size]);
            assert_eq!(&body[end + 2 + size..end + 4 + size], b"\r\n");
            body = &body[end + 4 + size..];
        }
    }

    const BODY: &[u8] =
        b"5\r\nhello\r\n1A;x=y\r\nabcdefghijklm\r\nopqrstuvwxy\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";

    #[test]
    fn what_is_signed_stays_as_it_is() {
        for piece in 1..BODY.len() + 1 {
            assert_eq!(passed(BODY, piece, true), Ok((BODY.to_vec(), 31)), "{piece}");
        }
    }

    #[test]
    fn what_is_not_signed_is_cut_and_says_the_same() {
        for piece in 1..BODY.len() + 1 {
            let (bytes, data) = passed(BODY, piece, false).unwrap();
            let (found, tail) = decoded(&bytes);
            assert_eq!(
                (&found[..], data),
                (&b"helloabcdefghijklm\r\nopqrstuvwxy"[..], 31),
                "{piece}"
            );
            assert_eq!(tail, b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = [b"5;".as_slice(), &[b'x'; 300]].concat();
        let bodies: [&[u8]; 9] = [
            b"\r\n",
            b"x\r\n",
            b"5\nhello\r\n",
            b"-5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"5\r\nhello!\r\n",
            b"5\r\nhello\n\n",
            b"11111111111111111\r\n",
            &long,
        ];
        for body in bodies {
            for piece in [1, 1_000] {
                assert!(
                    passed(body, piece, false).is_err(),
                    "{:?}",
                    String::from_utf8_lossy(body)
                );
                assert!(passed(body, piece, true).is_err());
            }
        }
    }
}
