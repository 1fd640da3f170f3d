// Numbers, times and names as people read them.
import { prefs } from './prefs.svelte';

const whole = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 });
const three = new Intl.NumberFormat('en-GB', { maximumSignificantDigits: 3 });
const NBSP = '\u00a0';

/** 12,345 up to 99,999, then 123 k, 1.23 M. */
export function short(n: number): string {
  if (Math.abs(n) < 100_000) return whole.format(n);
  for (const [unit, size] of [['k', 1e3], ['M', 1e6], ['G', 1e9]] as const) {
    if (Math.abs(n) < size * 999.5) return `${three.format(n / size)}${NBSP}${unit}`;
  }
  return `${three.format(n / 1e12)}${NBSP}T`;
}

export function exact(n: number): string {
  return whole.format(n);
}

/** Events in an hour, with a decimal where there are few. */
export function rate(perHour: number): string {
  return perHour >= 10 || perHour === 0 ? short(Math.round(perHour)) : perHour.toFixed(1);
}

export function bytes(n: number): string {
  if (n < 1024) return `${n}${NBSP}B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let value = n;
  let unit = -1;
  do {
    value /= 1024;
    unit += 1;
  } while (value >= 1024 && unit < units.length - 1);
  return `${value >= 100 ? value.toFixed(0) : value.toFixed(1)}${NBSP}${units[unit]}`;
}

export function duration(secs: number): string {
  const s = Math.max(0, Math.round(secs));
  if (s < 60) return `${s}${NBSP}s`;
  if (s < 3600) return `${Math.floor(s / 60)}${NBSP}min`;
  if (s < 86_400) return `${Math.floor(s / 3600)}${NBSP}h ${Math.floor((s % 3600) / 60)}${NBSP}min`;
  return `${Math.floor(s / 86_400)}${NBSP}d ${Math.floor((s % 86_400) / 3600)}${NBSP}h`;
}

/** The same without a second unit that says nothing: "4 h". */
export const brief = (secs: number) => duration(secs).replace(/ 0\u00a0(min|h)$/, '');

type Shape = Intl.DateTimeFormatOptions;
const formats = new Map<string, Intl.DateTimeFormat>();
function format(name: string, shape: Shape): Intl.DateTimeFormat {
  const key = `${name}${prefs.utc ? 'u' : 'l'}`;
  let found = formats.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat('en-GB', {
      hourCycle: 'h23',
      ...shape,
      ...(prefs.utc ? { timeZone: 'UTC' } : {}),
    });
    formats.set(key, found);
  }
  return found;
}

const HMS: Shape = { hour: '2-digit', minute: '2-digit', second: '2-digit' };
const DAY: Shape = { day: 'numeric', month: 'short' };

export const clock = (at: Date) => format('clock', HMS).format(at);
export const day = (at: Date) => format('day', DAY).format(at);
export const dayClock = (at: Date) => `${day(at)} ${clock(at)}`;
export const minute = (at: Date) => format('minute', { hour: '2-digit', minute: '2-digit' }).format(at);
export const dayMinute = (at: Date) => `${day(at)} ${minute(at)}`;

/** The clock for today, with the day before it otherwise. */
export function moment(at: Date, now: Date = new Date()): string {
  return day(at) === day(now) && now.getTime() - at.getTime() < 86_400_000 ? clock(at) : dayClock(at);
}

/** Everything about an instant, with the zone: for hovering. */
export function full(at: Date): string {
  const shape: Shape = { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric', ...HMS, timeZoneName: 'short' };
  return `${format('full', shape).format(at)} · ${at.toISOString()}`;
}

/** "12 s ago" below an hour, else the moment. */
export function ago(at: Date, now: Date): string {
  const secs = (now.getTime() - at.getTime()) / 1000;
  if (secs < 3600) return secs < 2 ? 'now' : `${duration(secs)} ago`;
  return moment(at, now);
}

const regions = new Intl.DisplayNames('en', { type: 'region', fallback: 'code' });
/** Marks private, loopback and other addresses that are not globally routed. */
export const PRIVATE = 'PIR';

export function country(code: string | undefined): string {
  if (!code) return 'Unknown country';
  if (code === PRIVATE) return 'Private address';
  try {
    return regions.of(code) ?? code;
  } catch {
    return code;
  }
}

/** Time that is left, with two units of constant width: "3 h 59 min", "59 min 04 s". */
export function countdown(secs: number): string {
  const s = Math.max(0, Math.round(secs));
  const two = (n: number) => String(n).padStart(2, '0');
  if (s < 60) return `${s}${NBSP}s`;
  if (s < 3600) return `${Math.floor(s / 60)}${NBSP}min ${two(s % 60)}${NBSP}s`;
  if (s < 86_400) return `${Math.floor(s / 3600)}${NBSP}h ${two(Math.floor((s % 3600) / 60))}${NBSP}min`;
  return `${Math.floor(s / 86_400)}${NBSP}d ${Math.floor((s % 86_400) / 3600)}${NBSP}h`;
}
