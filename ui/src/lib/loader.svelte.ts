// Something that is loaded: what came, what went wrong, whether it is under way.
import { ApiError } from './api/client';

export class Loader<T> {
  data = $state.raw<T | undefined>();
  error = $state.raw<ApiError | undefined>();
  loading = $state(false);
  #abort: AbortController | undefined;

  /** Loads; a load that is under way is given up. What was there stays until
   * the new is here. */
  async run(load: (signal: AbortSignal) => Promise<T>): Promise<void> {
    this.#abort?.abort();
    const abort = new AbortController();
    this.#abort = abort;
    this.loading = true;
    try {
      const data = await load(abort.signal);
      if (abort.signal.aborted) return;
      this.data = data;
      this.error = undefined;
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = error instanceof ApiError ? error : new ApiError(0, String(error));
    }
    this.loading = false;
  }

  stop(): void {
    this.#abort?.abort();
    this.loading = false;
  }
}
