//! Bytes out of any range of some files, one behind the other.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{BlobFolder, CHUNK_BYTES, OpenBlob};
use crate::store::{Blob, BlobId};

/// A part of a file that is to be read.
#[derive(Debug, Clone, Copy)]
pub(in crate::storage) struct Slice {
    pub(in crate::storage) blob: BlobId,
    pub(in crate::storage) from: u64,
    pub(in crate::storage) bytes: u64,
}

/// Where `range` of these files, one behind the other, lies.
pub(in crate::storage) fn slices(blobs: &[Blob], range: std::ops::Range<u64>) -> VecDeque<Slice> {
    let (mut slices, mut start) = (VecDeque::new(), 0);
    for blob in blobs {
        let end = start + blob.bytes;
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            slices.push_back(Slice {
                blob: blob.id,
                from: from - start,
                bytes: to - from,
            });
        }
        start = end;
    }
    slices
}

/// Reads what is in `slices`. The first file is open already, so that it is known to be there.
pub(in crate::storage) fn read(
    folder: Arc<BlobFolder>,
    first: Option<OpenBlob>,
    slices: VecDeque<Slice>,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    struct Reading {
        folder: Arc<BlobFolder>,
        next_file: Option<OpenBlob>,
        slices: VecDeque<Slice>,
        current: Option<(OpenBlob, u64)>,
    }
    let reading = Reading {
        folder,
        next_file: first,
        slices,
        current: None,
    };
    stream::try_unfold(reading, |mut reading| async move {
        if reading.current.is_none() {
            let Some(slice) = reading.slices.pop_front() else {
                return Ok(None);
            };
            let mut file = match reading.next_file.take() {
                Some(file) => file,
                None => reading.folder.open_blob(slice.blob).await?,
            };
            file.file.seek(io::SeekFrom::Start(slice.from)).await?;
            reading.current = Some((file, slice.bytes));
        }
        let Some((mut file, left)) = reading.current.take() else {
            return Ok(None);
        };
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let mut bytes = BytesMut::with_capacity(most);
        let read = (&mut file.file).take(most as u64).read_buf(&mut bytes).await?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file of an object is shorter than it was",
            ));
        }
        let left = left - read as u64;
        if left > 0 {
            reading.current = Some((file, left));
        }
        Ok(Some((bytes.freeze(), reading)))
    })
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::super::tests::{open, receive};
    use super::*;

    #[tokio::test]
    async fn any_range_over_any_number_of_files_reads_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Arc::new(open(dir.path()).unwrap());
        let mut blobs = Vec::new();
        for (number, text) in [(1, "abc"), (2, ""), (3, "defgh")] {
            let mut received = receive(&folder, number, &[text]).await.unwrap();
            received.keep();
            blobs.push(received.blob);
        }
        for from in 0..=8_usize {
            for to in from..=8 {
                let slices = slices(&blobs, from as u64..to as u64);
                let read: Vec<Bytes> = read(Arc::clone(&folder), None, slices).try_collect().await.unwrap();
                assert_eq!(read.concat(), "abcdefgh".as_bytes()[from..to], "{from}..{to}");
            }
        }
    }
}
