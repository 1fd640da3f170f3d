import type { Role } from '../../lib/api/model';

/** Made by the first start; the server keeps it, so that somebody can always administer. */
export const KEPT = 'admin';

/** What accounts may do; each can also do what stands before it. */
export const ROLES: { role: Role; label: string; may: string }[] = [
  { role: 'viewer', label: 'Viewer', may: 'sees events' },
  { role: 'operator', label: 'Operator', may: 'bans, allows, takes files' },
  { role: 'admin', label: 'Admin', may: 'manages accounts and keys' },
];

/** A browser's words in short: `Firefox 128, Linux`. */
export function browser(words: string): string {
  const made = /(Edg|OPR|Firefox|Chrome|Version)\/(\d+)/.exec(words);
  const on = /Windows|Android|iPhone|iPad|Mac OS X|CrOS|Linux/.exec(words);
  const names: Record<string, string> = { Edg: 'Edge', OPR: 'Opera', Version: 'Safari' };
  if (!made) return words;
  return `${names[made[1]!] ?? made[1]} ${made[2]}${on ? `, ${on[0]}` : ''}`;
}
