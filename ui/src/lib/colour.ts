// Colours of categories, the same on every page, and the theme's colours for
// what is drawn on a canvas.

const FIXED: Record<string, number> = {
  'Telnet(palisade)': 0,
  'SSH/login(sshd)': 1,
  Webpage: 2,
  'SSH/console(palisade)': 3,
  // The types that community sensors send most, apart from each other.
  'SSH/console(cowrie)': 5,
  'Network(Dionaea)': 3,
  'Network(honeytrap)': 6,
  // How logins ended.
  accepted: 3,
  failed: 1,
  'break-in': 8,
  'RDP(rdpy)': 4,
  'VNC(vnclowpot)': 6,
  'Mail(mailoney)': 2,
  'ADB(adbhoney)': 1,
  // Kinds of events, in charts by kind.
  'connection.opened': 0,
  'auth.attempted': 1,
  'http.requested': 2,
  'command.entered': 3,
  'download.attempted': 4,
  'payload.captured': 4,
  'payload.executed': 4,
  'client.identified': 6,
  'session.closed': 6,
};
const SLOTS = 7;
/** Of what has no category, and of the rest. */
export const REST_SLOT = 7;

/** Which of the colours a category has; the one after the eight is for what must
 * be acted on alone. */
export function slot(category: string | undefined): number {
  if (!category) return REST_SLOT;
  const fixed = FIXED[category];
  if (fixed !== undefined) return fixed;
  let hash = 7;
  for (const character of category) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 9973;
  return 3 + (hash % (SLOTS - 3));
}

const probe = document.createElement('span');
probe.hidden = true;

/** The value that a custom property has now, in the theme shown. */
export function themed(property: string): string {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(${property})`;
  return getComputedStyle(probe).color;
}
