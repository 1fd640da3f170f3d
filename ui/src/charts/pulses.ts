// Live events on a canvas over the map: a ring where an attack comes from and,
// where the target is known, a short arc to it. What the eye could not follow
// is drawn as one larger ring a place and second.
import { slot, themed } from '../lib/colour';
import { HEIGHT, WIDTH } from './world';

/** A live event as the map needs it. */
export interface Hit {
  from: { country?: string | undefined; lat?: number | undefined; lon?: number | undefined } | undefined;
  to: { lat?: number | undefined; lon?: number | undefined } | undefined;
  category: string | undefined;
}
/** Calls with live events until the returned function is called. */
export type Feed = (take: (hits: Hit[]) => void) => () => void;

type Point = [number, number];
interface Pulse {
  from: Point;
  to: Point | undefined;
  colour: string;
  began: number;
  radius: number;
}

/** What the eye can follow. */
const MOST_PER_SECOND = 30;
const LIFE_MS = 1_500;
const ARC_MS = 900;
const BATCH_MS = 1_000;
const MOST_PULSES = 120;

export class Pulses {
  readonly #canvas: HTMLCanvasElement;
  readonly #calm: boolean;
  #pulses: Pulse[] = [];
  #rest = new Map<string, { at: Point; colour: string; count: number }>();
  #colours: string[] = [];
  /** Around marks, so that they are seen on any shade. */
  #halo = '';
  #allowance = MOST_PER_SECOND;
  #refilled = performance.now();
  #batched = 0;
  #frame = 0;

  constructor(canvas: HTMLCanvasElement, calm: boolean) {
    this.#canvas = canvas;
    this.#calm = calm;
    this.repaint();
  }

  /** Reads the theme's colours again. */
  repaint(): void {
    this.#colours = Array.from({ length: 8 }, (_, i) => themed(`--cat-${i}`));
    this.#halo = themed('--panel');
  }

  add(from: Point, to: Point | undefined, category: string | undefined): void {
    if (document.hidden) return;
    const now = performance.now();
    this.#allowance = Math.min(MOST_PER_SECOND, this.#allowance + ((now - this.#refilled) / 1000) * MOST_PER_SECOND);
    this.#refilled = now;
    const colour = this.#colours[slot(category)] ?? '';
    if (this.#allowance >= 1) {
      this.#allowance -= 1;
      this.#push({ from, to, colour, began: now, radius: 11 });
    } else {
      const key = from.join();
      const rest = this.#rest.get(key) ?? { at: from, colour, count: 0 };
      rest.count += 1;
      this.#rest.set(key, rest);
    }
    this.#frame ||= requestAnimationFrame((time) => this.#draw(time));
  }

  stop(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#pulses = [];
    this.#rest.clear();
    this.#canvas.getContext('2d')?.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  #push(pulse: Pulse): void {
    this.#pulses.push(pulse);
    if (this.#pulses.length > MOST_PULSES) this.#pulses.shift();
  }

  #draw(now: number): void {
    const canvas = this.#canvas;
    const context = canvas.getContext('2d');
    if (!context) return;
    if (now - this.#batched > BATCH_MS && this.#rest.size > 0) {
      this.#batched = now;
      for (const { at, colour, count } of this.#rest.values()) {
        this.#push({ from: at, to: undefined, colour, began: now, radius: 12 + Math.min(16, 4 * Math.log2(count + 1)) });
      }
      this.#rest.clear();
    }
    const dense = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * dense);
    const height = Math.round(canvas.clientHeight * dense);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const scale = Math.min(width / WIDTH, height / HEIGHT);
    context.setTransform(scale, 0, 0, scale, (width - WIDTH * scale) / 2, (height - HEIGHT * scale) / 2);
    context.clearRect(-WIDTH, -HEIGHT, 3 * WIDTH, 3 * HEIGHT);
    // Marks keep their size on the screen, whatever the size of the map.
    const unit = Math.max(0.6, Math.min(2.2, dense / scale));
    this.#pulses = this.#pulses.filter((pulse) => now - pulse.began < LIFE_MS);
    for (const pulse of this.#pulses) this.#paint(context, pulse, now, unit);
    const more = this.#pulses.length > 0 || this.#rest.size > 0;
    this.#frame = more ? requestAnimationFrame((time) => this.#draw(time)) : 0;
    if (!more) context.clearRect(-WIDTH, -HEIGHT, 3 * WIDTH, 3 * HEIGHT);
  }

  #paint(context: CanvasRenderingContext2D, { from, to, colour, began, radius }: Pulse, now: number, unit: number): void {
    const age = Math.max(0, now - began) / LIFE_MS;
    context.fillStyle = colour;
    context.strokeStyle = this.#halo;
    context.globalAlpha = this.#calm ? 0.9 : 1 - age * age;
    context.lineWidth = 2.4 * unit;
    context.beginPath();
    context.arc(from[0], from[1], 2.8 * unit, 0, 7);
    context.stroke();
    context.fill();
    if (this.#calm) return;
    const out = 1 - (1 - age) ** 3;
    context.globalAlpha = 0.75 * (1 - age);
    context.beginPath();
    context.arc(from[0], from[1], (2.6 + (radius - 2.6) * out) * unit, 0, 7);
    context.lineWidth = 3.4 * unit;
    context.stroke();
    context.strokeStyle = colour;
    context.lineWidth = 1.6 * unit;
    context.stroke();
    if (to) this.#arc(context, from, to, Math.max(0, now - began) / ARC_MS, unit);
  }

  /** A short stroke that travels along a bow from the source to the target. */
  #arc(context: CanvasRenderingContext2D, from: Point, to: Point, progress: number, unit: number): void {
    if (progress >= 1.25) return;
    const lift = Math.min(90, Math.hypot(to[0] - from[0], to[1] - from[1]) * 0.28);
    const [cx, cy] = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2 - lift];
    const at = (t: number): Point => {
      const u = 1 - t;
      return [u * u * from[0] + 2 * u * t * cx + t * t * to[0], u * u * from[1] + 2 * u * t * cy + t * t * to[1]];
    };
    const [tail, head] = [Math.max(0, progress - 0.25), Math.min(1, progress)];
    context.globalAlpha = 0.85;
    context.lineWidth = 1.4 * unit;
    context.lineCap = 'round';
    context.beginPath();
    for (let i = 0; i <= 12; i += 1) {
      const [x, y] = at(tail + ((head - tail) * i) / 12);
      if (i === 0) context.moveTo(x, y);
      else context.lineTo(x, y);
    }
    context.stroke();
  }
}
