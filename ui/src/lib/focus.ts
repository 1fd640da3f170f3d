// For fields that appear because one wants to type into them.

/** An action: the focus goes there as it appears. */
export function focus(element: HTMLElement): void {
  element.focus();
}
