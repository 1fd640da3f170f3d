// The map data, loaded once: outlines that are projected when the page is built
// (`scripts/world.mjs`), and the same projection for single points.
import { geoNaturalEarth1Raw } from 'd3-geo';
import url from '../generated/world.json?url';

/** Width and height of the drawing, as in `scripts/world.mjs`; it is scaled to its place. */
export const WIDTH = 1000;
export const HEIGHT = 452;
const RADIANS = Math.PI / 180;

type Point = [number, number];
export interface Shape {
  code: string;
  d: string;
}
export interface World {
  shapes: Shape[];
  /** Countries too small for a shape, as points. */
  dots: { code: string; x: number; y: number }[];
  /** The middle of each country. */
  places: Map<string, Point>;
  project: (lon: number, lat: number) => Point;
}

interface Data {
  scale: number;
  translate: Point;
  shapes: Shape[];
  places: Record<string, Point>;
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

function build({ scale, translate, shapes, places }: Data): World {
  const drawn = new Set(shapes.map((shape) => shape.code));
  const middles = new Map(Object.entries(places));
  const dots = [...middles].filter(([code]) => !drawn.has(code)).map(([code, [x, y]]) => ({ code, x, y }));
  const project = (lon: number, lat: number): Point => {
    const [x, y] = geoNaturalEarth1Raw(lon * RADIANS, lat * RADIANS);
    return [translate[0] + scale * x, translate[1] - scale * y];
  };
  return { shapes, dots, places: middles, project };
}

/** Where events of private addresses are shown: an island in the Pacific. */
export const PRIVATE_PLACE: Point = [86, 372];
