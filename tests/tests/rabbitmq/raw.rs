//! A producer that no library would be: it sends a message whose headers are any bytes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// Lists in lists, `depth` of them, as the value of the one header `a`.
pub(super) fn nested_lists(depth: u32) -> Vec<u8> {
    let mut table = b"\x01a".to_vec();
    for level in 0..depth {
        table.push(b'A');
        table.extend(((depth - level - 1) * 5).to_be_bytes());
    }
    long(&table)
}

/// Publishes a message with such headers to a queue; the broker has dealt with it when this returns.
pub(super) async fn publish(address: &str, queue: &str, headers: &[u8], body: &[u8]) {
    let mut socket = TcpStream::connect(address).await.expect("the broker listens");
    socket.write_all(b"AMQP\x00\x00\x09\x01").await.expect("it is sent");
    let start_ok = [&[0; 4][..], &short("PLAIN"), &long(b"\0guest\0guest"), &short("en_US")].concat();
    read(&mut socket).await;
    method(&mut socket, 0, (10, 11), &start_ok).await;
    read(&mut socket).await;
    let tune_ok = [
        &2_047_u16.to_be_bytes()[..],
        &131_072_u32.to_be_bytes(),
        &0_u16.to_be_bytes(),
    ]
    .concat();
    method(&mut socket, 0, (10, 31), &tune_ok).await;
    method(&mut socket, 0, (10, 40), &[short("/"), short(""), vec![0]].concat()).await;
    read(&mut socket).await;
    method(&mut socket, 1, (20, 10), &short("")).await;
    read(&mut socket).await;
    method(
        &mut socket,
        1,
        (60, 40),
        &[vec![0; 2], short(""), short(queue), vec![0]].concat(),
    )
    .await;
    // Class, weight, size of the body, and of the properties the headers only.
    let size = (body.len() as u64).to_be_bytes();
    let head = [&[0, 60, 0, 0][..], &size, &[0x20, 0], headers].concat();
    frame(&mut socket, HEADER, 1, &head).await;
    frame(&mut socket, BODY, 1, body).await;
    let close = [&200_u16.to_be_bytes()[..], &short(""), &[0; 4]].concat();
    method(&mut socket, 0, (10, 50), &close).await;
    assert_eq!(
        read(&mut socket).await[..4],
        [0, 10, 0, 51],
        "the broker took all of it"
    );
}

fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("it is short")], text.as_bytes()].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("it fits").to_be_bytes(), bytes].concat()
}

async fn method(socket: &mut TcpStream, channel: u16, (class, number): (u16, u16), arguments: &[u8]) {
    let payload = [&class.to_be_bytes(), &number.to_be_bytes(), arguments].concat();
    frame(socket, METHOD, channel, &payload).await;
}

async fn frame(socket: &mut TcpStream, kind: u8, channel: u16, payload: &[u8]) {
    let bytes = [&[kind][..], &channel.to_be_bytes(), &long(payload), &[0xce]].concat();
    socket.write_all(&bytes).await.expect("it is sent");
}

async fn read(socket: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 7];
    socket.read_exact(&mut head).await.expect("the broker answers");
    let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    let mut payload = vec![0; length + 1];
    socket.read_exact(&mut payload).await.expect("the broker answers");
    payload.truncate(length);
    payload
}
