// What this browser prefers; kept in its storage.

export type Theme = 'auto' | 'light' | 'dark';

function read(name: string): string | null {
  try {
    return localStorage.getItem(`palisade.${name}`);
  } catch {
    return null;
  }
}

/** Whether this browser lets the page keep anything. */
export const keeps = (() => {
  try {
    return typeof localStorage.length === 'number';
  } catch {
    return false;
  }
})();

export function remember(name: string, value: string): void {
  try {
    localStorage.setItem(`palisade.${name}`, value);
  } catch {
    // Storage is blocked: it lasts as long as the page.
  }
}

export function recall<T>(name: string, fallback: T): T {
  try {
    const text = read(name);
    return text === null ? fallback : (JSON.parse(text) as T);
  } catch {
    return fallback;
  }
}

class Prefs {
  theme = $state<Theme>(((stored) => (stored === 'light' || stored === 'dark' ? stored : 'auto'))(read('theme')));
  /** Times in UTC rather than in the zone of this computer. */
  utc = $state(read('utc') === '1');
  /** Counts changes of colours, for what is drawn on a canvas. */
  painted = $state(0);

  constructor() {
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => (this.painted += 1));
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    remember('theme', theme);
    if (theme === 'auto') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
    this.painted += 1;
  }

  setUtc(utc: boolean): void {
    this.utc = utc;
    remember('utc', utc ? '1' : '0');
  }
}

export const prefs = new Prefs();
export const calm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
