//! Distances on the Earth: `near` of Location (FHIR R4, 8.7.5).

use crate::{NearTest, Position};

/// How far away counts as near when the request does not say, in metres.
const NEAR: f64 = 50_000.0;

/// The Earth's mean radius in metres.
const RADIUS: f64 = 6_371_008.8;

/// Whether a position is not further away than is asked, along the surface of a sphere.
pub(super) fn holds(test: &NearTest, position: &Position) -> bool {
    let asked = (test.latitude.to_f64(), test.longitude.to_f64());
    let stored = (position.latitude.to_f64(), position.longitude.to_f64());
    distance(asked, stored) <= test.metres.map_or(NEAR, |metres| metres.to_f64())
}

/// The metres between two latitudes and longitudes, by the haversine formula.
fn distance(one: (f64, f64), other: (f64, f64)) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let along = one.0.to_radians().cos() * other.0.to_radians().cos() * half(one.1, other.1);
    let chord = (half(one.0, other.0) + along).clamp(0.0, 1.0);
    2.0 * RADIUS * chord.sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn a_degree_of_a_great_circle_is_111_kilometres_also_across_the_antimeridian() {
        // SRCH-150
        let degree = 111_195.0;
        for (one, other) in [
            ((0.0, 0.0), (1.0, 0.0)),
            ((0.0, 179.5), (0.0, -179.5)),
            ((89.5, 0.0), (89.5, 180.0)),
            ((60.0, 10.0), (60.0, 12.0)),
        ] {
            let off = distance(one, other) - degree;
            assert!(off.abs() < 30.0, "{one:?} {other:?} {off}");
        }
        assert!(distance((48.2, 16.4), (48.2, 16.4)).abs() < 0.001);
        assert!((distance((0.0, 0.0), (0.0, 180.0)) - 20_015_114.0).abs() < 100.0);
    }
}
