// Which facets there are, in which order, and which are open; kept per browser.
import { recall, remember } from '../../lib/prefs.svelte';
import { Turns } from '../../lib/turns';

const DEFAULT = ['category', 'country', 'kind', 'ip', 'user', 'password', 'port', 'sensor', 'outcome', 'domain', 'os'];
/** These cost a question each time; the others when they are opened. */
const OPEN_AT_FIRST = ['category', 'country', 'kind', 'ip', 'user', 'password', 'port', 'sensor'];

class FacetChoice {
  shown = $state.raw<string[]>(recall('facets', DEFAULT));
  open = $state.raw<string[]>(recall('facets-open', OPEN_AT_FIRST));

  toggleShown(field: string): void {
    const on = !this.shown.includes(field);
    this.shown = on ? [...this.shown, field] : this.shown.filter((f) => f !== field);
    remember('facets', JSON.stringify(this.shown));
    if (on) this.#setOpen([...this.open, field]);
  }

  toggleOpen(field: string): void {
    this.#setOpen(this.open.includes(field) ? this.open.filter((f) => f !== field) : [...this.open, field]);
  }

  #setOpen(open: string[]): void {
    this.open = [...new Set(open)];
    remember('facets-open', JSON.stringify(this.open));
  }

  reset(): void {
    this.shown = DEFAULT;
    remember('facets', JSON.stringify(DEFAULT));
  }
}

export const facets = new FacetChoice();

/** Facets load beside each other, but leave room for what one looks at first. */
export const facetTurns = new Turns(2);
