//! Pictures as people have them, whole and broken, and resampling against what Pillow made of the same pixels.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use catbench::image::{Error, Filter, read_mask, read_photo, resize, resize_bicubic};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba, RgbaImage};
use proptest::prelude::*;

fn pillow(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pillow").join(name)
}

/// A photo with hard and soft parts, none of them symmetrical.
fn scene(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let stripe = if (x / 6 + y / 9) % 2 == 0 { 230 } else { 20 };
        Rgb([stripe, (x * 255 / width) as u8, (y * 255 / height) as u8])
    })
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Reads `bytes` as a photo from a file of that name.
fn read(name: &str, bytes: &[u8]) -> Result<RgbImage, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    read_photo(&path)
}

/// The message of the error, checked to name the file.
fn complaint(name: &str, bytes: &[u8]) -> String {
    let message = read(name, bytes).map(|_| ()).expect_err("it should not be read").to_string();
    assert!(message.contains(name), "{message}");
    message
}

#[test]
fn resampling_equals_pillow_to_the_last_bit() {
    let source = image::open(pillow("source.png")).unwrap().into_rgb8();
    let grey = GrayImage::from_fn(source.width(), source.height(), |x, y| Luma([source.get_pixel(x, y).0[2]]));
    for (name, filter) in [("bicubic", Filter::Bicubic), ("bilinear", Filter::Bilinear)] {
        for (width, height) in [(37, 23), (16, 16), (64, 40), (5, 91), (37, 10), (11, 23), (1, 1), (100, 30)] {
            let expected = image::open(pillow(&format!("{name}_{width}x{height}.png"))).unwrap().into_rgb8();
            assert!(resize(&source, width, height, filter) == expected, "{name} {width} x {height}");
            let expected = image::open(pillow(&format!("{name}_grey_{width}x{height}.png"))).unwrap().into_luma8();
            assert!(resize(&grey, width, height, filter) == expected, "{name} grey {width} x {height}");
        }
    }
}

proptest! {
    #[test]
    fn a_plain_picture_stays_plain(
        width in 1_u32..70, height in 1_u32..70, to_width in 1_u32..70, to_height in 1_u32..70, colour: [u8; 3],
    ) {
        let resized = resize_bicubic(&RgbImage::from_pixel(width, height, Rgb(colour)), to_width, to_height);
        prop_assert_eq!(resized.dimensions(), (to_width, to_height));
        prop_assert!(resized.pixels().all(|pixel| pixel.0 == colour));
    }

    #[test]
    fn thin_and_empty_pictures_do_not_panic(long in 0_u32..300, to_width in 0_u32..90, to_height in 0_u32..90, seed: u8) {
        for (width, height) in [(long, 1), (1, long), (long, 2)] {
            let image = GrayImage::from_fn(width, height, |x, y| Luma([(x * 37 + y * 101) as u8 ^ seed]));
            prop_assert_eq!(resize_bicubic(&image, to_width, to_height).dimensions(), (to_width, to_height));
        }
    }
}

#[test]
fn the_content_decides_and_not_the_ending() {
    let image = scene(20, 12);
    assert!(read("photo.jpg", &encoded(image.clone(), ImageFormat::Png)).unwrap() == image);
    assert!(read("photo", &encoded(image.clone(), ImageFormat::WebP)).unwrap() == image);
    assert!(complaint("notes.png", b"Dear diary, this is not a picture.").contains("not a picture"));
    assert!(complaint("empty.jpg", b"").contains("not a picture"));
    assert!(complaint("scan.png", b"GIF89a\x01\0\x01\0\0\0\0").contains("GIF"));
    assert!(complaint("phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0").contains("HEIC"));
    let missing = read_photo(Path::new("/nowhere/cat.jpg")).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read /nowhere/cat.jpg"), "{missing}");
}

#[test]
fn every_depth_and_kind_becomes_rgb() {
    let sixteen =
        ImageBuffer::<Rgb<u16>, _>::from_fn(9, 5, |x, y| Rgb([x as u16 * 257, y as u16 * 257 * 3 + 200, 65535]));
    let read_sixteen = read("sixteen.png", &encoded(sixteen, ImageFormat::Png)).unwrap();
    assert_eq!(read_sixteen.get_pixel(7, 2), &Rgb([7, 6, 255]), "of 16 bits the high byte is taken");

    let grey16 = ImageBuffer::<Luma<u16>, _>::from_pixel(3, 3, Luma([257 * 200]));
    assert_eq!(read("grey16.png", &encoded(grey16, ImageFormat::Png)).unwrap().get_pixel(1, 1), &Rgb([200; 3]));

    let sticker = RgbaImage::from_fn(3, 1, |x, _| Rgba([200, 100, 0, [0, 128, 255][x as usize]]));
    let flat = read("sticker.png", &encoded(sticker, ImageFormat::Png)).unwrap();
    let over = |value: f32| (value * 128.0 / 255.0 + 127.0).round() as u8;
    let expected = [Rgb([255; 3]), Rgb([over(200.0), over(100.0), over(0.0)]), Rgb([200, 100, 0])];
    assert_eq!(flat.pixels().copied().collect::<Vec<_>>(), expected, "transparency is composited on white");

    let mut palette = Vec::new();
    let mut encoder = png::Encoder::new(&mut palette, 4, 1);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Two);
    encoder.set_palette(vec![255, 0, 0, 0, 255, 0, 0, 0, 255]);
    encoder.set_trns(vec![255, 255, 0]);
    encoder.write_header().unwrap().write_image_data(&[0b0001_1000]).unwrap();
    let colours: Vec<_> = read("palette.png", &palette).unwrap().pixels().map(|pixel| pixel.0).collect();
    assert_eq!(colours, [[255, 0, 0], [0, 255, 0], [255, 255, 255], [255, 0, 0]]);
}

#[test]
fn jpegs_of_every_kind_look_as_in_pillow() {
    for name in ["progressive.jpg", "restarts.jpg", "cmyk.jpg", "grey.jpg"] {
        let expected = image::open(pillow(&format!("{name}.png"))).unwrap().into_rgb8();
        let found = read_photo(&pillow(name)).unwrap();
        assert_eq!(found.dimensions(), expected.dimensions(), "{name}");
        let differences = found.iter().zip(expected.iter()).map(|(a, b)| a.abs_diff(*b));
        let (worst, sum) = differences.fold((0, 0), |(worst, sum), one| (one.max(worst), sum + u32::from(one)));
        let mean = f64::from(sum) / found.len() as f64;
        // Two decoders round the cosine transform and enlarge the chroma differently: it shows at these hard edges.
        assert!(worst <= 12 && mean < 1.0, "{name}: at most {worst}, {mean} in the mean");
    }
}

#[test]
fn a_truncated_jpeg_is_an_error_wherever_it_is_cut() {
    let mut baseline = Vec::new();
    JpegEncoder::new_with_quality(&mut baseline, 90).encode_image(&scene(40, 30)).unwrap();
    assert!(read("whole.jpg", &baseline).is_ok());
    let progressive = std::fs::read(pillow("progressive.jpg")).unwrap();
    let restarts = std::fs::read(pillow("restarts.jpg")).unwrap();
    for whole in [baseline, progressive, restarts] {
        for end in (3..whole.len()).step_by(7).chain([whole.len() - 2, whole.len() - 1]) {
            let message = complaint("cut.jpg", &whole[..end]);
            assert!(message.contains("truncated or damaged"), "cut at {end}: {message}");
            let mut padded = whole[..end].to_vec();
            padded.resize(whole.len(), 0);
            complaint("padded.jpg", &padded);
        }
    }
}

#[test]
fn a_jpeg_with_a_damaged_middle_is_an_error_and_a_tail_is_not() {
    let mut whole = Vec::new();
    JpegEncoder::new_with_quality(&mut whole, 90).encode_image(&scene(64, 64)).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2..][..20].fill(0xff);
    assert!(complaint("damaged.jpg", &damaged).contains("truncated or damaged"));
    let expected = read("whole.jpg", &whole).unwrap();
    whole.extend(b"a motion photo's video follows \xff\xd8\xff\xd9");
    assert!(read("motion.jpg", &whole).unwrap() == expected);
}

#[test]
fn truncated_png_and_webp_are_errors() {
    // A PNG is whole once its last pixel chunk is: what follows is the 12-byte end chunk.
    for (format, tail) in [(ImageFormat::Png, 12), (ImageFormat::WebP, 1)] {
        let whole = encoded(scene(33, 21), format);
        for end in (12..whole.len() - tail).step_by(5).chain([whole.len() - tail - 1]) {
            let message = complaint("cut.png", &whole[..end]);
            assert!(message.contains("truncated or damaged"), "{format:?} cut at {end}: {message}");
        }
    }
}

#[test]
fn bombs_and_empty_pictures_are_refused_before_they_are_decoded() {
    let header = |width: u32, height: u32| {
        let mut bytes = encoded(scene(2, 2), ImageFormat::Png);
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let sum = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    let message = complaint("bomb.png", &header(100_000, 100_000));
    assert!(message.contains("100000 x 100000") && message.contains("limit"), "{message}");
    complaint("nothing.png", &header(0, 5));

    let mut jpeg = Vec::new();
    JpegEncoder::new(&mut jpeg).encode_image(&scene(8, 8)).unwrap();
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    let message = complaint("bomb.jpg", &jpeg);
    assert!(message.contains("65535 x 65535"), "{message}");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0, 0, 0, 8]);
    complaint("nothing.jpg", &jpeg);
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

/// A TIFF directory with nothing but the orientation, little- or big-endian.
fn exif(orientation: u8, big: bool) -> Vec<u8> {
    let mut bytes = if big { b"MM\0*\0\0\0\x08".to_vec() } else { b"II*\0\x08\0\0\0".to_vec() };
    let short = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let long = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    bytes.extend(short(1));
    bytes.extend([short(0x112), short(3)].concat());
    bytes.extend(long(1));
    bytes.extend([short(u16::from(orientation)), short(0)].concat());
    bytes.extend(long(0));
    bytes
}

#[test]
fn all_eight_orientations_come_out_upright() {
    // Blocks of one colour each survive JPEG: red, green / blue, white in a 32 x 16 picture.
    let upright = RgbImage::from_fn(32, 16, |x, y| {
        Rgb(match (x < 16, y < 8) {
            (true, true) => [250, 10, 10],
            (false, true) => [10, 250, 10],
            (true, false) => [10, 10, 250],
            (false, false) => [250, 250, 250],
        })
    });
    for orientation in 1..=8 {
        // How a camera that was held so stores the upright picture: the inverse of what a reader has to do.
        let mut stored = DynamicImage::from(upright.clone());
        stored = match orientation {
            2 => stored.fliph(),
            3 => stored.rotate180(),
            4 => stored.flipv(),
            5 => stored.rotate90().fliph(),
            6 => stored.rotate270(),
            7 => stored.rotate270().fliph(),
            8 => stored.rotate90(),
            _ => stored,
        };
        for big in [false, true] {
            let mut jpeg = Vec::new();
            JpegEncoder::new_with_quality(&mut jpeg, 100).encode_image(&stored).unwrap();
            let mut payload = b"Exif\0\0".to_vec();
            payload.extend(exif(orientation, big));
            let mut segment = vec![0xff, 0xe1];
            segment.extend(u16::try_from(payload.len() + 2).unwrap().to_be_bytes());
            segment.extend(payload);
            jpeg.splice(2..2, segment);
            let found = read("photo.jpg", &jpeg).unwrap();
            assert_eq!(found.dimensions(), (32, 16), "orientation {orientation}");
            let worst = found.iter().zip(upright.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(worst < 30, "orientation {orientation}: {worst}");
        }
    }
    let mut png = Vec::new();
    let mut info = png::Info::with_size(1, 2);
    info.color_type = png::ColorType::Grayscale;
    info.exif_metadata = Some(exif(6, true).into());
    png::Encoder::with_info(&mut png, info).unwrap().write_header().unwrap().write_image_data(&[10, 20]).unwrap();
    let found = read("photo.png", &png).unwrap();
    assert_eq!((found.dimensions(), found.get_pixel(0, 0).0), ((2, 1), [20; 3]), "PNG has orientations too");
}

#[test]
fn a_mask_must_fit_and_mark_something() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("beach.png");
    let save = |image: DynamicImage| image.save(&path).map(|()| read_mask(&path, (12, 8))).unwrap();

    let soft = GrayImage::from_fn(12, 8, |x, _| Luma([(x * 20) as u8]));
    assert_eq!(save(soft.clone().into()).unwrap(), soft, "greys are kept");

    let message = save(GrayImage::from_pixel(8, 12, Luma([255])).into()).unwrap_err().to_string();
    assert!(message.contains("beach.png is 8 x 12 pixels, its photo 12 x 8"), "{message}");
    let message = save(GrayImage::new(12, 8).into()).unwrap_err().to_string();
    assert!(message.contains("beach.png (12 x 8) marks nothing") && message.contains("0 of 255"), "{message}");
    let message = save(GrayImage::from_pixel(12, 8, Luma([1])).into()).unwrap_err().to_string();
    assert!(message.contains("1 of 255"), "masks saved as 0 and 1 are found: {message}");

    let drawn = ImageBuffer::<LumaA<u8>, _>::from_fn(12, 8, |x, _| LumaA([255, if x < 6 { 255 } else { 0 }]));
    let mask = save(drawn.into()).unwrap();
    assert_eq!((mask.get_pixel(2, 2).0, mask.get_pixel(9, 2).0), ([255], [0]), "transparency is black in a mask");
    let three_channels = RgbImage::from_fn(12, 8, |x, _| Rgb([if x < 6 { 255 } else { 0 }; 3]));
    assert_eq!(save(three_channels.into()).unwrap().get_pixel(2, 2).0, [255]);
    let message = save(RgbImage::from_pixel(12, 8, Rgb([250, 255, 255])).into()).unwrap_err().to_string();
    assert!(message.contains("beach.png has colours"), "{message}");
}
