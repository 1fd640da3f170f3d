// Whether a query text makes sense, as the server says: asked while one types.
import { api } from './api/client';
import type { Mistake } from './api/model';

const PAUSE_MS = 250;

class Check {
  /** The text that was looked at last. */
  text = $state('');
  mistake = $state.raw<Mistake | undefined>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #abort: AbortController | undefined;

  /** Looks at a text, soon or now. */
  look(text: string, pause = PAUSE_MS): void {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    if (text === this.text) return;
    if (!text.trim()) {
      this.text = text;
      this.mistake = undefined;
      return;
    }
    this.#timer = setTimeout(() => void this.#ask(text), pause);
  }

  async #ask(text: string): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    try {
      const { mistake } = await api.check(text, abort.signal);
      this.mistake = mistake;
    } catch {
      // A server that does not answer says nothing about the text.
      if (abort.signal.aborted) return;
      this.mistake = undefined;
    }
    this.text = text;
  }
}

export const check = new Check();
