// Makes the map data, projected: outlines at 1:110 m as paths, with two-letter
// codes in place of the numeric ones, and for every country the middle of its
// largest part (from the 1:50 m set, which knows the small ones). The page is
// left with nothing to do but to project single points.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { geoArea, geoCentroid, geoNaturalEarth1, geoPath } from 'd3-geo';
import { feature } from 'topojson-client';

const require = createRequire(import.meta.url);
const load = (name) => JSON.parse(readFileSync(require.resolve(`world-atlas/${name}`), 'utf8'));

/** ISO 3166-1 numeric to alpha-2, by the territory aliases of Unicode CLDR. */
function alpha2(numeric) {
  if (!numeric) return null;
  const region = new Intl.Locale(`und-${numeric}`).region;
  return /^[A-Z]{2}$/.test(region ?? '') ? region : null;
}
/** Without an ISO number of their own in the data. */
const BY_NAME = { Kosovo: 'XK' };
const ANTARCTICA = 'AQ';
const code = (country) => alpha2(country.id) ?? BY_NAME[country.properties.name] ?? null;

function middle(geometry) {
  if (geometry.type !== 'MultiPolygon') return geoCentroid(geometry);
  const parts = geometry.coordinates.map((coordinates) => ({ type: 'Polygon', coordinates }));
  return geoCentroid(parts.reduce((a, b) => (geoArea(a) >= geoArea(b) ? a : b)));
}

/** Width and height of the drawing; it is scaled to its place. */
const [WIDTH, HEIGHT, MARGIN] = [1000, 452, 4];

const coarse = load('countries-110m.json');
const fine = load('countries-50m.json');
const countries = feature(coarse, coarse.objects.countries);
countries.features = countries.features.filter((country) => code(country) !== ANTARCTICA);

const projection = geoNaturalEarth1().fitExtent([[MARGIN, MARGIN], [WIDTH - MARGIN, HEIGHT - MARGIN]], countries);
const path = geoPath(projection).digits(1);
const shapes = countries.features.map((country) => ({ code: code(country) ?? '', d: path(country) })).filter(({ d }) => d);

const places = {};
for (const country of feature(fine, fine.objects.countries).features) {
  const id = code(country);
  if (!id || id === ANTARCTICA || places[id]) continue;
  places[id] = projection(middle(country.geometry)).map((at) => Math.round(at * 10) / 10);
}

mkdirSync(new URL('../src/generated/', import.meta.url), { recursive: true });
writeFileSync(
  new URL('../src/generated/world.json', import.meta.url),
  JSON.stringify({ scale: projection.scale(), translate: projection.translate(), shapes, places }),
);
