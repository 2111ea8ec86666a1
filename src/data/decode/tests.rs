use image::{GrayImage, ImageEncoder, Luma, Rgb, RgbImage, RgbaImage};

use super::*;

pub fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
    written(&picture.into(), ImageFormat::Png)
}

fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub fn jpeg(picture: impl Into<DynamicImage>) -> Vec<u8> {
    let picture = picture.into();
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
    encoder.write_image(picture.as_bytes(), picture.width(), picture.height(), picture.color().into()).unwrap();
    bytes
}

/// Pixel (x, y) is 10 y + x.
pub fn grey(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| Luma([(10 * y + x) as u8]))
}

fn decode_bytes(bytes: &[u8], preparation: Preparation) -> Result<Decoded, Problem> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.png");
    std::fs::write(&path, bytes).unwrap();
    decode(&path, &preparation)
}

pub const NONE: Preparation = Preparation {
    crop: None,
    image_size: None,
    channels: None,
    corrupt: super::super::Corrupt::Refuse,
    background: Background::WHITE,
    orientation: Orientation::Exif,
};

#[track_caller]
fn corrupt(bytes: &[u8], word: &str) {
    match decode_bytes(bytes, NONE) {
        Err(Problem::Corrupt(reason)) => assert!(reason.contains(word), "no {word:?} in: {reason}"),
        other => panic!("expected it corrupt, got {other:?}"),
    }
}

#[test]
fn colour_becomes_planes() {
    let picture = RgbImage::from_fn(2, 1, |x, _| Rgb([1 + x as u8, 3 + x as u8, 5 + x as u8]));
    let decoded = decode_bytes(&png(picture), NONE).unwrap();
    assert_eq!(decoded, Decoded { planes: vec![1, 2, 3, 4, 5, 6], channels: 3, height: 1, width: 2 });
}

#[test]
fn grey_stays_grey_and_colour_becomes_grey_if_asked() {
    let decoded = decode_bytes(&png(grey(3, 2)), NONE).unwrap();
    assert_eq!(decoded, Decoded { planes: vec![0, 1, 2, 10, 11, 12], channels: 1, height: 2, width: 3 });
    assert_eq!(decode_bytes(&png(grey(3, 2)), Preparation { channels: Some(3), ..NONE }).unwrap(), decoded);
    let green = RgbImage::from_pixel(1, 1, Rgb([0, 255, 0]));
    let decoded = decode_bytes(&png(green), Preparation { channels: Some(1), ..NONE }).unwrap();
    assert_eq!(decoded.channels, 1);
    assert!((decoded.planes[0] as f64 - 0.7152 * 255.0).abs() <= 1.0, "{:?}", decoded.planes);
}

#[test]
fn the_crop_is_of_the_middle() {
    let decoded = decode_bytes(&png(grey(7, 6)), Preparation { crop: Some(2), ..NONE }).unwrap();
    assert_eq!((decoded.planes, decoded.height, decoded.width), (vec![22, 23, 32, 33], 2, 2));
    let Err(Problem::Unfit(reason)) = decode_bytes(&png(grey(7, 6)), Preparation { crop: Some(7), ..NONE }) else {
        panic!("a crop of 7 does not fit");
    };
    assert!(reason.contains("7x6") && reason.contains("--crop 7"), "{reason}");
}

#[test]
fn resizing_averages_the_middle_square() {
    // Columns 1 to 4 of 6 are kept: the left half of them black, the right half white.
    let picture = GrayImage::from_fn(6, 4, |x, _| Luma([if x == 0 || x == 5 { 77 } else { 255 * (x / 3) as u8 }]));
    let decoded = decode_bytes(&png(picture.clone()), Preparation { image_size: Some(1), ..NONE }).unwrap();
    assert_eq!((decoded.planes.len(), decoded.planes[0].abs_diff(127) <= 1), (1, true), "{:?}", decoded.planes);
    // The crop comes first: columns 2 and 3 alone.
    let both = Preparation { crop: Some(2), image_size: Some(4), ..NONE };
    let decoded = decode_bytes(&png(picture), both).unwrap();
    assert_eq!((decoded.width, decoded.height), (4, 4));
    assert_eq!((decoded.planes[0], decoded.planes[3]), (0, 255));
    // A chessboard made smaller is grey: without averaging it would stay black or white.
    let chess = GrayImage::from_fn(64, 64, |x, y| Luma([255 * ((x + y) % 2) as u8]));
    let decoded = decode_bytes(&png(chess), Preparation { image_size: Some(8), ..NONE }).unwrap();
    assert!(decoded.planes.iter().all(|p| p.abs_diff(127) < 6), "{:?}", decoded.planes);
}

#[test]
fn the_content_decides_the_format() {
    let picture = RgbImage::from_pixel(8, 8, Rgb([200, 100, 50]));
    let decoded = decode_bytes(&jpeg(picture), NONE).unwrap();
    assert_eq!((decoded.channels, decoded.planes[0].abs_diff(200) < 4), (3, true));
    assert_eq!(decode_bytes(&jpeg(grey(8, 8)), NONE).unwrap().channels, 1);
}

#[test]
fn damaged_files_are_corrupt() {
    corrupt(b"", "no PNG, JPEG, WebP, BMP, TIFF or GIF file");
    corrupt(b"BM is a text", "no PNG, JPEG, WebP, BMP, TIFF or GIF file");
    corrupt(b"GIF89a trailing", "");
    let whole = png(grey(20, 20));
    corrupt(&whole[..whole.len() / 2], "");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x55;
    corrupt(&flipped, "");
    let whole = jpeg(RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8, x as u8, y as u8])));
    for length in [whole.len() / 2, whole.len() - 40, whole.len() - 2] {
        corrupt(&whole[..length], "truncated");
    }
    // An end marker in a segment before the scan is another picture's.
    let mut thumbnail = whole[..2].to_vec();
    thumbnail.extend([0xff, 0xe1, 0, 6, 0xff, 0xd9, 0xff, 0xd9]);
    thumbnail.extend(&whole[2..]);
    assert!(decode_bytes(&thumbnail, NONE).is_ok());
    corrupt(&thumbnail[..thumbnail.len() - 40], "truncated");
}

#[test]
fn a_jpeg_whose_header_claims_more_than_its_data_is_damaged() {
    let noise = |x: u32, y: u32| Rgb([(x * 37 + y * y) as u8, (x * y) as u8, (y * 91) as u8]);
    for picture in [
        DynamicImage::from(RgbImage::from_fn(64, 48, noise)),
        DynamicImage::from(grey(64, 48)),
        DynamicImage::from(GrayImage::from_pixel(64, 48, Luma([255]))),
    ] {
        let whole = jpeg(picture);
        assert!(decode_bytes(&whole, NONE).is_ok());
        // The height stands behind the marker of the frame, its length and the bits of a sample.
        let frame = whole.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        for height in [64u16, 96, 480] {
            let mut claims = whole.clone();
            claims[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
            corrupt(&claims, "truncated or damaged");
        }
        // The end marker is there, but the last quarter of the scan is not.
        let scan = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        let cut = [&whole[..scan + (whole.len() - scan) * 3 / 4], &whole[whole.len() - 2..]].concat();
        corrupt(&cut, "truncated or damaged");
    }
}

#[test]
fn a_decompression_bomb_is_refused() {
    // 20,000 x 20,000 grey: the header alone says so.
    let mut bomb = png(grey(1, 1));
    bomb[16..20].copy_from_slice(&20_000u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&20_000u32.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    corrupt(&bomb, "is 20000x20000 (width x height), but a side may have 16384");
    // 16,000 x 16,000 in colour: each side is allowed, 768 MB are not.
    bomb[16..20].copy_from_slice(&16_000u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&16_000u32.to_be_bytes());
    bomb[25] = 2;
    let mut crc = flate2::Crc::new();
    crc.update(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    corrupt(&bomb, "is 16000x16000 (width x height), 768000000 bytes, but a picture may have 268435456");
}

/// Bytes of EXIF that hold an orientation alone, little-endian: a directory of one entry, tag 0x112, a short.
fn exif(orientation: u16) -> Vec<u8> {
    let [low, high] = orientation.to_le_bytes();
    let entry = [0x12, 1, 3, 0, 1, 0, 0, 0, low, high, 0, 0];
    [&b"II*\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]].concat()
}

/// A grey picture as a TIFF file of one strip, which has the orientation among its own tags.
fn tiff(picture: &GrayImage, orientation: u16) -> Vec<u8> {
    let (size, tags) = (picture.len() as u32, 7u16);
    let first = 8 + 2 + u32::from(tags) * 12 + 4;
    // Width, height, bits, black is 0, strip, orientation, bytes of the strip: each a number of 32 bits.
    let entries = [
        (256, picture.width()),
        (257, picture.height()),
        (258, 8),
        (262, 1),
        (273, first),
        (274, u32::from(orientation)),
        (279, size),
    ];
    assert_eq!(entries.len(), usize::from(tags));
    let mut file = [&b"II*\0\x08\0\0\0"[..], &tags.to_le_bytes()].concat();
    for (tag, value) in entries {
        file.extend([&(tag as u16).to_le_bytes()[..], &[4, 0, 1, 0, 0, 0], &value.to_le_bytes()].concat());
    }
    [&file[..], &[0; 4], picture.as_raw()].concat()
}

/// A grey picture as a WebP file: its header with EXIF's bit, the picture without loss, the note.
fn webp(picture: &GrayImage, orientation: u16) -> Vec<u8> {
    let chunk = |name: &[u8; 4], content: &[u8]| {
        let padding = vec![0; content.len() % 2];
        [&name[..], &(content.len() as u32).to_le_bytes(), content, &padding].concat()
    };
    let [width, height] = [picture.width(), picture.height()].map(|side| (side - 1) as u8);
    let header = chunk(b"VP8X", &[8, 0, 0, 0, width, 0, 0, height, 0, 0]);
    let plain = written(&DynamicImage::from(picture.clone()), ImageFormat::WebP);
    let chunks = [&b"WEBP"[..], &header, &plain[12..], &chunk(b"EXIF", &exif(orientation))].concat();
    [&b"RIFF"[..], &(chunks.len() as u32).to_le_bytes(), &chunks].concat()
}

/// A 3 x 2 picture, as it is stored under each of EXIF's orientations, from 1 on, so that it shows the first one.
const TURNED: [(u32, u32, [u8; 6]); 8] = [
    (3, 2, [10, 60, 110, 160, 210, 250]),
    (3, 2, [110, 60, 10, 250, 210, 160]),
    (3, 2, [250, 210, 160, 110, 60, 10]),
    (3, 2, [160, 210, 250, 10, 60, 110]),
    (2, 3, [10, 160, 60, 210, 110, 250]),
    (2, 3, [110, 250, 60, 210, 10, 160]),
    (2, 3, [250, 110, 210, 60, 160, 10]),
    (2, 3, [160, 10, 210, 60, 250, 110]),
];

#[test]
fn a_picture_is_turned_as_its_camera_noted() {
    let upright = TURNED[0].2;
    for (n, (width, height, stored)) in (1..).zip(TURNED) {
        let picture = GrayImage::from_raw(width, height, stored.to_vec()).unwrap();
        // A chunk eXIf, as PNG has it, behind the header's, which ends at byte 33.
        let chunk = [&b"eXIf"[..], &exif(n)].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&chunk);
        let length = (chunk.len() as u32 - 4).to_be_bytes();
        let chunk = [&length[..], &chunk, &crc.sum().to_be_bytes()].concat();
        let plain = png(picture.clone());
        let noted = [&plain[..33], &chunk, &plain[33..]].concat();
        let decoded = decode_bytes(&noted, NONE).unwrap();
        assert_eq!((decoded.width, decoded.height, &decoded.planes[..]), (3, 2, &upright[..]), "orientation {n}");
        let as_stored = Preparation { orientation: Orientation::Stored, ..NONE };
        let decoded = decode_bytes(&noted, as_stored).unwrap();
        assert_eq!(
            (decoded.width, decoded.height, &decoded.planes[..]),
            (width as usize, height as usize, &stored[..])
        );

        // A segment APP1 behind the start, as JPEG has it. Each pixel is a block, so that nothing bleeds.
        let blocks = image::imageops::resize(&picture, 8 * width, 8 * height, FilterType::Nearest);
        let content = [&b"Exif\0\0"[..], &exif(n)].concat();
        let length = (content.len() as u16 + 2).to_be_bytes();
        let plain = jpeg(blocks);
        let noted = [&plain[..2], &[0xff, 0xe1], &length, &content, &plain[2..]].concat();
        let decoded = decode_bytes(&noted, NONE).unwrap();
        assert_eq!((decoded.width, decoded.height), (24, 16), "orientation {n}");
        for (at, expected) in upright.iter().enumerate() {
            let found = decoded.planes[(at / 3 * 8 + 4) * 24 + at % 3 * 8 + 4];
            assert!(found.abs_diff(*expected) < 6, "orientation {n}, pixel {at}: {found} and {expected}");
        }

        for noted in [tiff(&picture, n), webp(&picture, n)] {
            let decoded = decode_bytes(&noted, NONE).unwrap();
            assert_eq!((decoded.width, decoded.height, &decoded.planes[..6]), (3, 2, &upright[..]), "orientation {n}");
        }
    }
    // A note that cannot be read is none.
    let plain = jpeg(grey(8, 8));
    let strange = [&plain[..2], &[0xff, 0xe1, 0, 12], b"Exif\0\0II*\0", &plain[2..]].concat();
    assert_eq!(decode_bytes(&strange, NONE).unwrap(), decode_bytes(&plain, NONE).unwrap());
}

#[test]
fn what_is_transparent_is_laid_over_the_background() {
    let over = |picture: &[u8], background: &str| {
        decode_bytes(picture, Preparation { background: background.parse().unwrap(), ..NONE }).unwrap().planes
    };
    // Clear, a half (128 of 255) and solid, each in red, green and blue of 100, 0 and 200.
    let picture = png(RgbaImage::from_fn(3, 1, |x, _| image::Rgba([100, 0, 200, [0, 128, 255][x as usize]])));
    assert_eq!(over(&picture, "white"), [255, 177, 100, 255, 127, 0, 255, 227, 200]);
    assert_eq!(over(&picture, "black"), [0, 50, 100, 0, 0, 0, 0, 100, 200]);
    assert_eq!(over(&picture, "#0aff00"), [10, 55, 100, 255, 127, 0, 0, 100, 200]);
    assert_eq!(over(&picture, "none"), [100, 100, 100, 0, 0, 0, 200, 200, 200]);
    // Grey over grey stays grey, over a colour it becomes one.
    let picture = png(image::GrayAlphaImage::from_pixel(1, 1, image::LumaA([50, 0])));
    assert_eq!((over(&picture, "white"), over(&picture, "#010101")), (vec![255], vec![1]));
    assert_eq!((over(&picture, "#010203"), over(&picture, "none")), (vec![1, 2, 3], vec![50]));
    // A clear pixel's own colour does not come back at an edge when the picture is made smaller.
    let edge = RgbaImage::from_fn(8, 8, |x, _| if x < 4 { image::Rgba([0, 0, 0, 0]) } else { image::Rgba([255; 4]) });
    let small = Preparation { image_size: Some(2), ..NONE };
    assert_eq!(decode_bytes(&png(edge), small).unwrap().planes, [255; 12]);
}

#[test]
fn other_formats_are_read() {
    let picture = DynamicImage::from(RgbImage::from_fn(5, 4, |x, y| Rgb([x as u8 * 40, y as u8 * 50, 90])));
    let expected = decode_bytes(&png(picture.clone()), NONE).unwrap();
    for format in [ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::Gif] {
        let bytes = written(&picture, format);
        assert_eq!(decode_bytes(&bytes, NONE).unwrap(), expected, "{format:?}");
        for length in [bytes.len() / 2, bytes.len() - 8] {
            assert!(decode_bytes(&bytes[..length], NONE).is_err(), "{format:?}, {length} of {} bytes", bytes.len());
        }
    }
    // 16 bits become 8.
    let deep = DynamicImage::from(image::ImageBuffer::from_fn(2, 1, |x, _| Luma([x as u16 * 0xffff])));
    assert_eq!(decode_bytes(&written(&deep, ImageFormat::Tiff), NONE).unwrap().planes, [0, 255]);
}

#[test]
fn of_an_animation_the_first_picture_is_taken() {
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
    for level in [30, 200] {
        let frame = RgbaImage::from_pixel(4, 4, image::Rgba([level, level, level, 255]));
        encoder.encode_frame(image::Frame::new(frame)).unwrap();
    }
    drop(encoder);
    assert_eq!(decode_bytes(&bytes, NONE).unwrap().planes, [30; 48]);
}
