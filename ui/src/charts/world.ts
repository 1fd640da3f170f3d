// The map data, loaded once, and its projection.
import { geoNaturalEarth1, geoPath, type GeoProjection } from 'd3-geo';
import { feature } from 'topojson-client';
import type { GeometryCollection, Topology } from 'topojson-specification';
import url from '../generated/world.json?url';

/** Width and height of the drawing; it is scaled to its place. */
export const WIDTH = 1000;
export const HEIGHT = 452;

export interface Shape {
  code: string;
  d: string;
}
export interface World {
  shapes: Shape[];
  /** Countries too small for a shape, as points. */
  dots: { code: string; x: number; y: number }[];
  /** The middle of each country. */
  places: Map<string, [number, number]>;
  project: (lon: number, lat: number) => [number, number] | null;
}

interface Data {
  topology: Topology;
  places: Record<string, [number, number]>;
}

let loading: Promise<World> | undefined;
export function loadWorld(): Promise<World> {
  loading ??= fetch(url).then(async (response) => {
    if (!response.ok) throw new Error(`map data: ${response.status}`);
    return build((await response.json()) as Data);
  });
  loading.catch(() => (loading = undefined));
  return loading;
}

function build({ topology, places }: Data): World {
  const countries = feature(topology, topology.objects['countries'] as GeometryCollection);
  const projection: GeoProjection = geoNaturalEarth1().fitExtent([[4, 4], [WIDTH - 4, HEIGHT - 4]], countries);
  const path = geoPath(projection).digits(1);
  const shapes: Shape[] = [];
  for (const country of countries.features) {
    const d = path(country);
    if (d) shapes.push({ code: String(country.id ?? ''), d });
  }
  const project = (lon: number, lat: number) => projection([lon, lat]);
  const drawn = new Set(shapes.map((shape) => shape.code));
  const middles = new Map<string, [number, number]>();
  const dots: World['dots'] = [];
  for (const [code, [lon, lat]] of Object.entries(places)) {
    const point = project(lon, lat);
    if (!point) continue;
    middles.set(code, point);
    if (!drawn.has(code)) dots.push({ code, x: point[0], y: point[1] });
  }
  return { shapes, dots, places: middles, project };
}

/** Where events of private addresses are shown: an island in the Pacific. */
export const PRIVATE_PLACE: [number, number] = [86, 372];
