//! Photos as other programs write them: colour profiles against lcms2, orientations wherever they stand, bytes too many, and
//! what of a folder is no photo.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs::{copy, create_dir_all, read, write};
use std::path::{Path, PathBuf};

use assert_cmd::assert::OutputAssertExt;
use catbench::image::{Colours, Kind, look_at_photo, read_any_mask, read_photo};
use catbench::protocol::PhotoReading;
use common::{Workspace, catbench, fixture, json};
use image::RgbImage;
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;

fn colours(name: &str) -> PathBuf {
    fixture("colours").join(name)
}

/// The greatest difference between two pictures.
fn worst(a: &RgbImage, b: &RgbImage) -> u8 {
    assert_eq!(a.dimensions(), b.dimensions());
    a.iter().zip(b.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn colour_profiles_are_applied_as_by_lcms() {
    let plain = read_photo(&colours("plain.png")).unwrap();
    for (name, profile, expected, allowed) in [
        ("p3.png", "Display P3", "p3_lcms.png", 2),
        ("p3.webp", "Display P3", "p3_lcms.png", 2),
        ("p3_alpha.png", "Display P3", "p3_lcms.png", 2),
        ("adobe.png", "Adobe RGB (1998)", "adobe_lcms.png", 2),
        ("grey.png", "Grey 1.8", "grey_lcms.png", 2),
    ] {
        let photo = look_at_photo(&colours(name), PhotoReading::Converted).unwrap();
        assert_eq!(photo.colours, Colours::Converted(profile.into()), "{name}");
        let expected = image::open(colours(expected)).unwrap().into_rgb8();
        assert!(worst(&photo.pixels, &expected) <= allowed, "{name}: {} from lcms", worst(&photo.pixels, &expected));
        // As versions before had it, and runs that they began.
        let stored = look_at_photo(&colours(name), PhotoReading::Stored).unwrap();
        assert_eq!(stored.colours, Colours::Srgb, "{name}");
        assert!(worst(&stored.pixels, &photo.pixels) > 5, "{name} is another without its profile");
        if stored.pixels.dimensions() == plain.dimensions() {
            assert!(stored.pixels == plain, "{name}");
        }
    }
    let jpeg = look_at_photo(&colours("p3.jpg"), PhotoReading::Converted).unwrap();
    assert_eq!(jpeg.colours, Colours::Converted("Display P3".into()));
}

#[test]
fn photos_without_a_profile_or_with_that_of_srgb_stay_as_they_are() {
    let plain = image::open(colours("plain.png")).unwrap().into_rgb8();
    for name in ["plain.png", "srgb.png"] {
        let photo = look_at_photo(&colours(name), PhotoReading::Converted).unwrap();
        assert!(photo.pixels == plain && photo.colours == Colours::Srgb, "{name}");
    }
}

#[test]
fn a_profile_that_cannot_be_applied_is_named_and_changes_nothing() {
    for (name, words) in [
        ("broken.png", "damaged"),
        ("grey_of_colours.png", "Display P3"),
        ("cmyk.jpg", "CMYK"),
    ] {
        let photo = look_at_photo(&colours(name), PhotoReading::Converted).unwrap();
        let said = photo.colours.words().unwrap();
        assert!(matches!(photo.colours, Colours::Left(_)) && said.contains(words), "{name}: {said}");
        assert!(photo.pixels == look_at_photo(&colours(name), PhotoReading::Stored).unwrap().pixels, "{name}");
    }
    let mask = read_any_mask(&colours("grey.png")).unwrap();
    assert!(mask.iter().enumerate().all(|(i, value)| usize::from(*value) == i), "greys of a mask are no colours");
}
