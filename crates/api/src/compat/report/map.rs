//! The world map: land, and a point for each place that attacks came from. A
//! pure function from places to the bytes of a PNG.
//!
//! The projection is Equal Earth (Šavrič, Patterson, Jenny, 2018). The outline
//! of the land is Natural Earth's 1:110m, which is in the public domain; a line
//! of the file is a ring of `longitude,latitude` in degrees.

use std::sync::OnceLock;

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use palisade_store::Place;
use tiny_skia::{Color, FillRule, Paint, Path, PathBuilder, Pixmap, Stroke, Transform};

const LAND: &str = include_str!("land.txt");

/// Size of the picture, in pixels.
const WIDTH: u32 = 1_200;
const HEIGHT: u32 = 680;
/// Where the map is in it.
const MIDDLE: (f32, f32) = (600.0, 365.0);
/// Pixels of a unit of the projection, which is 5.41 wide.
const SCALE: f32 = 214.0;
/// Longest part of an edge that is drawn straight, in degrees.
const STEP_DEGREES: f32 = 3.0;
/// Size of a point of one attack, and of the largest, in pixels.
const LEAST_RADIUS: f32 = 3.0;
const MOST_RADIUS: f32 = 14.0;

/// The words above and below the map.
pub(super) struct Words {
    pub(super) title: String,
    pub(super) below: String,
}

/// Draws a map.
///
/// # Errors
/// A sentence; the library found no memory.
pub(super) fn draw(places: &[(Place, u64)], words: &Words) -> Result<Vec<u8>, String> {
    let mut picture = Pixmap::new(WIDTH, HEIGHT).ok_or("the picture has no size")?;
    picture.fill(Color::from_rgba8(248, 249, 251, 255));
    let shapes = SHAPES.get_or_init(Shapes::new);
    let fill = |picture: &mut Pixmap, path: &Option<Path>, color: [u8; 4]| {
        if let Some(path) = path {
            let rule = FillRule::EvenOdd;
            picture.fill_path(path, &paint(color), rule, Transform::identity(), None);
        }
    };
    fill(&mut picture, &shapes.globe, [226, 235, 243, 255]);
    fill(&mut picture, &shapes.land, [190, 200, 208, 255]);
    let thin = Stroke { width: 0.8, ..Stroke::default() };
    for path in [&shapes.grid, &shapes.globe].into_iter().flatten() {
        let color = paint([150, 165, 180, 110]);
        picture.stroke_path(path, &color, &thin, Transform::identity(), None);
    }
    // Small points last, so that none is hidden.
    for (place, count) in places {
        if let Some((x, y)) = on_map(place.lon as f32, place.lat as f32) {
            let point = PathBuilder::from_circle(x, y, radius(*count));
            fill(&mut picture, &point, [200, 30, 45, 150]);
            if let Some(point) = &point {
                let color = paint([130, 10, 25, 220]);
                picture.stroke_path(point, &color, &thin, Transform::identity(), None);
            }
        }
    }
    write(&mut picture, &words.title, 20, RasterHeight::Size24);
    write(&mut picture, &words.below, HEIGHT.saturating_sub(32), RasterHeight::Size16);
    picture.encode_png().map_err(|error| error.to_string())
}

fn paint([r, g, b, a]: [u8; 4]) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(r, g, b, a);
    paint
}

fn radius(count: u64) -> f32 {
    (LEAST_RADIUS + (count.max(1) as f32).log10() * 2.5).min(MOST_RADIUS)
}

/// What every map has.
struct Shapes {
    globe: Option<Path>,
    grid: Option<Path>,
    land: Option<Path>,
}

static SHAPES: OnceLock<Shapes> = OnceLock::new();

impl Shapes {
    fn new() -> Self {
        let meridian = |lon: f32| (-30..=30).map(move |step| (lon, step as f32 * 3.0));
        let edge: Vec<(f32, f32)> = meridian(-180.0).chain(meridian(180.0).rev()).collect();
        let mut globe = PathBuilder::new();
        ring(&mut globe, &edge);
        let mut grid = PathBuilder::new();
        for lon in (-5..=5).map(|step| step as f32 * 30.0) {
            line(&mut grid, meridian(lon));
        }
        for lat in [-60.0, -30.0, 0.0, 30.0, 60.0] {
            line(&mut grid, [(-180.0, lat), (180.0, lat)].into_iter());
        }
        let mut land = PathBuilder::new();
        for text in LAND.lines() {
            let points: Vec<(f32, f32)> = text.split(' ').filter_map(point).collect();
            parts(&points).iter().for_each(|part| ring(&mut land, part));
        }
        Self { globe: globe.finish(), grid: grid.finish(), land: land.finish() }
    }
}

fn point(text: &str) -> Option<(f32, f32)> {
    let (lon, lat) = text.split_once(',')?;
    Some((lon.parse().ok()?, lat.parse().ok()?))
}

fn line(path: &mut PathBuilder, points: impl Iterator<Item = (f32, f32)>) {
    let on_map = points.filter_map(|(lon, lat)| on_map(lon, lat));
    for (place, (x, y)) in on_map.enumerate() {
        if place == 0 {
            path.move_to(x, y);
        } else {
            path.line_to(x, y);
        }
    }
}

/// A closed line that crosses the 180th meridian, as what of it is on each side
/// of the map. One that goes around a pole has its edges along the map already.
fn parts(points: &[(f32, f32)]) -> Vec<Vec<(f32, f32)>> {
    let turn = |from: f32, to: f32| match to - from {
        step if step > 180.0 => -360.0,
        step if step < -180.0 => 360.0,
        _ => 0.0,
    };
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let (mut turned, mut before) = (0.0, first.0);
    let mut unrolled = Vec::with_capacity(points.len());
    for (lon, lat) in points {
        turned += turn(before, *lon);
        before = *lon;
        unrolled.push((lon + turned, *lat));
    }
    let crosses = unrolled.iter().any(|(lon, _)| lon.abs() > 180.0);
    if !crosses || turned + turn(last.0, first.0) != 0.0 {
        return vec![points.to_vec()];
    }
    // What is beyond the edge lies on it, without an area.
    let side = |shift: f32| -> Vec<(f32, f32)> {
        unrolled.iter().map(|(lon, lat)| ((lon + shift).clamp(-180.0, 180.0), *lat)).collect()
    };
    [-360.0, 0.0, 360.0].map(side).to_vec()
}

/// A closed line; long edges bend as the map does.
fn ring(path: &mut PathBuilder, points: &[(f32, f32)]) {
    let next = points.iter().cycle().skip(1);
    let edges = points.iter().zip(next).flat_map(|(a, b)| {
        let longest = (b.0 - a.0).abs().max((b.1 - a.1).abs());
        let parts = (longest / STEP_DEGREES).ceil().clamp(1.0, 120.0) as u16;
        (0..parts).map(move |part| {
            let share = f32::from(part) / f32::from(parts);
            (a.0 + (b.0 - a.0) * share, a.1 + (b.1 - a.1) * share)
        })
    });
    line(path, edges);
    path.close();
}

/// Where a place on earth, in degrees, is in the picture, in pixels.
fn on_map(lon: f32, lat: f32) -> Option<(f32, f32)> {
    const A: [f32; 4] = [1.340_264, -0.081_106, 0.000_893, 0.003_796];
    if !(-180.0..=180.0).contains(&lon) || !(-90.0..=90.0).contains(&lat) {
        return None;
    }
    let root = 3f32.sqrt();
    let t = (root / 2.0 * lat.to_radians().sin()).asin();
    let t2 = t * t;
    let t6 = t2 * t2 * t2;
    let below = A[0] + 3.0 * A[1] * t2 + t6 * (7.0 * A[2] + 9.0 * A[3] * t2);
    let x = 2.0 * root * lon.to_radians() * t.cos() / (3.0 * below);
    let y = t * (A[0] + A[1] * t2 + t6 * (A[2] + A[3] * t2));
    Some((MIDDLE.0 + x * SCALE, MIDDLE.1 - y * SCALE))
}

/// Writes a line of ASCII in the middle; what does not fit is left out.
fn write(picture: &mut Pixmap, text: &str, top: u32, size: RasterHeight) {
    let width = get_raster_width(FontWeight::Regular, size) as u32;
    let fits = (WIDTH / width.max(1)) as usize;
    let text: Vec<char> = text.chars().take(fits).collect();
    let mut left = (WIDTH - text.len() as u32 * width) / 2;
    for letter in text {
        let glyph = get_raster(letter, FontWeight::Regular, size);
        for (y, row) in glyph.iter().flat_map(|glyph| glyph.rows().enumerate()) {
            for (x, ink) in row.iter().enumerate() {
                blend(picture, left + x as u32, top + y as u32, *ink);
            }
        }
        left += width;
    }
}

/// Puts dark ink on an opaque pixel.
fn blend(picture: &mut Pixmap, x: u32, y: u32, ink: u8) {
    let start = (y as usize * WIDTH as usize + x as usize) * 4;
    let pixel = picture.data_mut().get_mut(start..start + 4);
    for (byte, dark) in pixel.into_iter().flatten().zip([30_u8, 36, 44]) {
        let (ink, have) = (u16::from(ink), u16::from(*byte));
        *byte = ((have * (255 - ink) + u16::from(dark) * ink) / 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(places: &[(Place, u64)]) -> Pixmap {
        let words = Words { title: "Unique IP addresses".into(), below: "\u{202e}é".into() };
        Pixmap::decode_png(&draw(places, &words).unwrap()).unwrap()
    }

    fn red(picture: &Pixmap, lon: f32, lat: f32) -> bool {
        let (x, y) = on_map(lon, lat).unwrap();
        let color = picture.pixel(x as u32, y as u32).unwrap().demultiply();
        color.red() > 150 && color.green() < 120
    }

    #[test]
    fn each_place_is_a_point_where_it_is_on_earth() {
        let empty = drawn(&[]);
        assert_eq!((empty.width(), empty.height()), (WIDTH, HEIGHT));
        let (berlin, tokyo) = ((13.4, 52.5), (139.7, 35.7));
        let place = |(lon, lat): (f64, f64)| Place { lat, lon };
        let picture = drawn(&[(place(berlin), 1), (place(tokyo), 100_000)]);
        for (lon, lat) in [berlin, tokyo] {
            assert!(red(&picture, lon as f32, lat as f32));
            assert!(!red(&empty, lon as f32, lat as f32));
        }
        assert!(!red(&picture, 0.0, 0.0));
    }

    #[test]
    fn land_is_land_and_sea_is_sea() {
        let picture = drawn(&[]);
        let at = |lon, lat| {
            let (x, y) = on_map(lon, lat).unwrap();
            picture.pixel(x as u32, y as u32).unwrap().red()
        };
        for (lon, lat) in [(10.0, 50.0), (-100.0, 42.0), (135.0, -25.0), (22.0, 5.0), (8.0, -82.0)]
        {
            assert!(at(lon, lat) < 205, "{lon},{lat} is land");
        }
        for (lon, lat) in
            [(-40.0, 35.0), (-140.0, -35.0), (80.0, -33.0), (-150.0, 73.5), (-20.0, -16.8)]
        {
            assert!(at(lon, lat) > 205, "{lon},{lat} is sea");
        }
    }

    #[test]
    fn a_place_that_is_none_is_no_point() {
        for (lon, lat) in [(181.0, 0.0), (0.0, -91.0), (f32::NAN, 0.0), (0.0, f32::INFINITY)] {
            assert_eq!(on_map(lon, lat), None);
        }
        let (x, y) = on_map(180.0, 0.0).unwrap();
        assert!(x < WIDTH as f32 - 15.0 && (y - MIDDLE.1).abs() < 0.01, "{x} {y}");
        let (_, top) = on_map(0.0, 90.0).unwrap();
        assert!(top > 60.0, "{top}");
    }

    #[test]
    fn the_outline_of_the_land_is_read_whole() {
        let points = LAND.lines().flat_map(|line| line.split(' ')).map(point);
        assert!(points.clone().all(|point| point.is_some()));
        assert!(points.count() > 5_000);
    }
}
