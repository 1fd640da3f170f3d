// Where the page lives below its host: `/`, or `/palisade/` behind a proxy.
// The server writes it into <base href>.

const element = document.querySelector('base');
const path = new URL(element?.getAttribute('href') ?? '/', location.origin).pathname;

/** Ends with a slash. */
export const base = path.endsWith('/') ? path : `${path}/`;
