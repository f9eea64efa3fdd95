//! Makes thumbnails of the pictures that come into a bucket: a function of the `event` kind with the types of AWS Lambda.

use std::io::Cursor;

use aws_lambda_events::s3::{S3Event, S3EventRecord, S3Object};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use mayfly_sdk::bucket::Bucket;
use mayfly_sdk::{Context, Error, handler};
use serde::Serialize;

/// Width and height of a thumbnail.
const SIDE_PIXELS_MAX: u32 = 128;
/// File of a picture.
const FILE_BYTES_MAX: u64 = 10 << 20;
/// A JPEG that comes in several passes is in memory three times: an instance has 128 MiB when nobody says otherwise.
const PIXELS_MAX: u64 = 8_000_000;
/// A picture in memory, where it has to lie beside its file.
const DECODED_BYTES_MAX: u64 = 48 << 20;

/// Below this are the pictures.
const RAW: &str = "raw/";
/// Below this are their thumbnails. Not below the other one, or thumbnails would get thumbnails.
const THUMBS: &str = "thumbs/";

/// What was made of a picture.
#[derive(Serialize)]
struct Thumb {
    key: String,
    width: u32,
    height: u32,
}

handler!(make_thumbs);

/// What is no picture is an error: the event ends as a dead letter, where somebody sees it.
async fn make_thumbs(event: S3Event, _context: Context) -> Result<Vec<Thumb>, Error> {
    let mut thumbs = Vec::new();
    for record in event.records.iter().filter(|record| is_created(record)) {
        thumbs.extend(make_thumb(record).await?);
    }
    Ok(thumbs)
}

fn is_created(record: &S3EventRecord) -> bool {
    let name = record.event_name.as_deref();
    name.is_some_and(|name| name.starts_with("ObjectCreated"))
}

/// None when the picture was deleted before its turn came: then nobody wants its thumbnail.
#[expect(clippy::print_stderr, reason = "what a function prints is its log")]
async fn make_thumb(record: &S3EventRecord) -> Result<Option<Thumb>, Error> {
    let name = record.s3.bucket.name.as_deref();
    let bucket = Bucket::named(name.ok_or_else(|| incomplete("bucket"))?);
    let key = key_of(&record.s3.object)?;
    let thumb_key = thumb_key(&key)?;
    // As the event has it, so that the bytes of a file that is too large are not even asked for.
    let announced = record.s3.object.size.and_then(|size| u64::try_from(size).ok());
    check_file_bytes(&key, announced.unwrap_or_default())?;
    let file = match bucket.get(&key).await {
        Err(error) if error.code() == "object_not_found" => {
            eprintln!("'{key}' is gone");
            return Ok(None);
        }
        got => got?,
    };
    // Another file may have taken its place since.
    check_file_bytes(&key, file.len() as u64)?;
    let thumb = shrunk(&key, file)?;
    let mut png = Cursor::new(Vec::new());
    thumb.write_to(&mut png, ImageFormat::Png)?;
    bucket.put(&thumb_key, png.into_inner(), "image/png").await?;
    Ok(Some(Thumb {
        key: thumb_key,
        width: thumb.width(),
        height: thumb.height(),
    }))
}

/// The key as the picture was stored under it. The plain one is newer than the event; older senders leave it out.
fn key_of(object: &S3Object) -> Result<String, Error> {
    if let Some(key) = &object.url_decoded_key {
        return Ok(key.clone());
    }
    let encoded = object.key.as_deref().ok_or_else(|| incomplete("key"))?;
    let decoded = form_urlencoded::parse(encoded.as_bytes()).next();
    Ok(decoded.ok_or_else(|| incomplete("key"))?.0.into_owned())
}

fn incomplete(what: &str) -> Error {
    Error::new("invalid_event", format!("the event names no {what}"))
}

/// `raw/trip/sea.jpg` becomes `thumbs/trip/sea.png`.
fn thumb_key(key: &str) -> Result<String, Error> {
    let Some(rest) = key.strip_prefix(RAW) else {
        return Err(Error::new(
            "not_raw",
            format!("'{key}' is not below {RAW}: give the trigger --prefix {RAW}"),
        ));
    };
    let stem = match rest.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('/') => stem,
        _ => rest,
    };
    Ok(format!("{THUMBS}{stem}.png"))
}

fn check_file_bytes(key: &str, bytes: u64) -> Result<(), Error> {
    if bytes <= FILE_BYTES_MAX {
        return Ok(());
    }
    Err(too_large(
        key,
        &format!("it has {bytes} bytes, and {FILE_BYTES_MAX} are the most"),
    ))
}

fn too_large(key: &str, why: &str) -> Error {
    Error::new("picture_too_large", format!("the picture '{key}' is too large: {why}"))
}

/// The picture, not larger than a thumbnail, and the way up that its camera was held.
fn shrunk(key: &str, file: Vec<u8>) -> Result<DynamicImage, Error> {
    let refused = |error: ImageError| match error {
        ImageError::Limits(error) => too_large(key, &error.to_string()),
        error => Error::new(
            "not_a_picture",
            format!("'{key}' is not a JPEG or PNG that can be read: {error}"),
        ),
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format()?;
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(refused)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > PIXELS_MAX {
        let why = format!("it has {width} x {height} pixels, and {PIXELS_MAX} are the most");
        return Err(too_large(key, &why));
    }
    limits.reserve(decoder.total_bytes()).map_err(refused)?;
    let orientation = decoder.orientation().map_err(refused)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(refused)?;
    let mut thumb = if width.max(height) > SIDE_PIXELS_MAX {
        picture.thumbnail(SIDE_PIXELS_MAX, SIDE_PIXELS_MAX)
    } else {
        picture
    };
    thumb.apply_orientation(orientation);
    Ok(thumb)
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{GenericImageView, ImageEncoder, Rgb, RgbImage};

    use super::*;

    fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    fn blank(width: u32, height: u32) -> DynamicImage {
        DynamicImage::new_rgb8(width, height)
    }

    fn refused(file: Vec<u8>) -> Error {
        shrunk("raw/a.jpg", file).unwrap_err()
    }

    #[test]
    fn what_is_no_picture_is_refused_in_words() {
        let png = written(&blank(300, 200), ImageFormat::Png);
        let half = png[..png.len() / 2].to_vec();
        let jpeg = written(&blank(300, 200), ImageFormat::Jpeg);
        let head = jpeg[..20].to_vec();
        for file in [vec![], b"hello".to_vec(), b"GIF89a\x01\0\x01\0".to_vec(), half, head] {
            let error = refused(file);
            assert_eq!(error.code(), "not_a_picture", "{error}");
            assert!(error.message().contains("'raw/a.jpg' is not a JPEG or PNG"), "{error}");
        }
    }

    /// A JPEG says its height and width behind the mark of its frame, whatever follows.
    fn jpeg_that_claims(width: u16, height: u16) -> Vec<u8> {
        let mut jpeg = written(&blank(16, 16), ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|bytes| bytes == [0xFF, 0xC0]).unwrap();
        jpeg[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
        jpeg[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
        jpeg
    }

    #[test]
    fn a_picture_that_is_too_large_is_refused_before_it_is_decoded() {
        let error = refused(jpeg_that_claims(4_001, 2_000));
        assert_eq!(error.code(), "picture_too_large");
        assert!(error.message().contains("4001 x 2000 pixels"), "{error}");
        assert_eq!(refused(jpeg_that_claims(65_535, 65_535)).code(), "picture_too_large");
        assert!(check_file_bytes("raw/a.jpg", FILE_BYTES_MAX).is_ok());
        let error = check_file_bytes("raw/a.jpg", FILE_BYTES_MAX + 1).unwrap_err();
        assert_eq!(error.code(), "picture_too_large");
    }

    #[test]
    fn a_picture_of_few_pixels_that_are_large_is_refused() {
        let deep = DynamicImage::new_rgba16(2_800, 2_800);
        let error = refused(written(&deep, ImageFormat::Png));
        assert_eq!(error.code(), "picture_too_large", "{error}");
    }

    #[test]
    fn a_real_picture_keeps_its_ratio_and_its_colours() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/pictures/quadrants.jpg");
        let thumb = shrunk("raw/quadrants.jpg", std::fs::read(path).unwrap()).unwrap();
        assert_eq!(thumb.dimensions(), (128, 80));
        for (x, y, expected) in [
            (16, 10, [200, 40, 40]),
            (112, 10, [40, 160, 60]),
            (16, 70, [40, 70, 190]),
            (112, 70, [225, 190, 40]),
            (64, 40, [245, 245, 245]),
        ] {
            let pixel = thumb.get_pixel(x, y).0;
            let is_near = (0..3).all(|channel| pixel[channel].abs_diff(expected[channel]) < 40);
            assert!(is_near, "{pixel:?} at {x}, {y} is not {expected:?}");
        }
    }

    #[test]
    fn a_thumbnail_is_never_larger_than_its_picture() {
        for (width, height, expected) in [
            (100, 50, (100, 50)),
            (128, 128, (128, 128)),
            (129, 10, (128, 10)),
            (200, 400, (64, 128)),
            (3_000, 1, (128, 1)),
        ] {
            let file = written(&blank(width, height), ImageFormat::Png);
            let thumb = shrunk("raw/a.png", file).unwrap();
            assert_eq!(thumb.dimensions(), expected, "{width} x {height}");
        }
    }

    #[test]
    fn a_camera_that_was_held_upright_gives_an_upright_thumbnail() {
        // White on the left; to be turned clockwise by a quarter, so white comes to lie above.
        let lying = RgbImage::from_fn(200, 100, |x, _| Rgb([if x < 100 { 255 } else { 0 }; 3]));
        let turned = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
        let mut file = Vec::new();
        let mut encoder = JpegEncoder::new(&mut file);
        encoder.set_exif_metadata(turned).unwrap();
        DynamicImage::from(lying).write_with_encoder(encoder).unwrap();
        let thumb = shrunk("raw/a.jpg", file).unwrap();
        assert_eq!(thumb.dimensions(), (64, 128));
        assert!(thumb.get_pixel(32, 10).0[0] > 200 && thumb.get_pixel(32, 118).0[0] < 50);
    }

    #[test]
    fn a_thumbnail_lies_beside_the_pictures_and_not_among_them() {
        for (key, expected) in [
            ("raw/picture.jpg", "thumbs/picture.png"),
            ("raw/trip.2024/sea.side.jpeg", "thumbs/trip.2024/sea.side.png"),
            ("raw/trip.2024/sea", "thumbs/trip.2024/sea.png"),
            ("raw/raw/a.png", "thumbs/raw/a.png"),
        ] {
            assert_eq!(thumb_key(key).unwrap(), expected);
        }
        for key in ["thumbs/picture.png", "picture.jpg", "raw"] {
            assert_eq!(thumb_key(key).unwrap_err().code(), "not_raw", "{key}");
        }
    }

    #[test]
    fn the_key_is_found_in_either_spelling() {
        let mut object = S3Object::default();
        assert_eq!(key_of(&object).unwrap_err().code(), "invalid_event");
        object.key = Some("raw/a+b%2Bc%3D%C3%BC.jpg".to_owned());
        assert_eq!(key_of(&object).unwrap(), "raw/a b+c=ü.jpg");
        object.url_decoded_key = Some("raw/plain+.jpg".to_owned());
        assert_eq!(key_of(&object).unwrap(), "raw/plain+.jpg");
    }
}
